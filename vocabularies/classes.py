"""The classes of characters that the encodings' patterns tell apart, and which code point is of which.

`classes.txt` is data that `derive_classes` wrote: the running Python's Unicode plays no part in it.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

CLASSES_FILE = Path(__file__).with_name("classes.txt")
CODE_POINTS = 0x110000
BLOCK = 128
"""Code points of one block of the two-stage table."""


class Class(IntEnum):
    """As the kernel numbers them; `_fastpath/tokens.pyx` has the same list."""

    OTHER = 0
    MARK = 1
    UPPER = 2
    LOWER = 3
    CASELESS = 4
    NUMBER = 5
    SPACE = 6
    NEWLINE = 7


MIXED = 255
"""Instead of a class, where a lead byte has characters of several."""


def read_classes() -> bytearray:
    """The class of each code point."""
    classes = bytearray(CODE_POINTS)
    for line in CLASSES_FILE.read_text().splitlines():
        if not line.startswith("#"):
            first, last, name = line.split()
            begin, end = int(first, 16), int(last, 16) + 1
            classes[begin:end] = bytes([Class[name]]) * (end - begin)
    return classes


def two_stages(classes: bytearray) -> tuple[list[int], bytes]:
    """For each block of BLOCK code points which block of classes it has; and those blocks, each once, one after another."""
    numbers: dict[bytes, int] = {}
    stage = [numbers.setdefault(bytes(classes[at : at + BLOCK]), len(numbers)) for at in range(0, len(classes), BLOCK)]
    return stage, b"".join(numbers)


def of_lead_bytes(classes: bytearray) -> bytes:
    """For each first byte of a character in UTF-8, the class of all of its characters; MIXED where they differ."""
    found: dict[int, set[int]] = {}
    for lead in range(0xC2, 0xF5):
        if lead < 0xE0:
            begin, size = (lead & 0x1F) << 6, 1 << 6
        elif lead < 0xF0:
            begin, size = (lead & 0x0F) << 12, 1 << 12
        else:
            begin, size = (lead & 0x07) << 18, 1 << 18
        found[lead] = set(classes[begin : begin + size])
    return bytes(
        classes[byte] if byte < 0x80 else next(iter(found[byte])) if len(found.get(byte, ())) == 1 else MIXED
        for byte in range(256)
    )
