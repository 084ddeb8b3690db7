"""Asks tiktoken's own regular expressions how they class each code point, and writes `classes.txt`.

    python -m vocabularies.derive_classes            # write it anew, after tiktoken was upgraded
    python -m vocabularies.derive_classes --check    # exit with 1 if it differs from what tiktoken says

An encoding of single bytes whose pattern is one class drops all text that is not of the class and spells out the rest, so one
call tells a whole class. No table of Unicode's own is read: what counts is which version tiktoken was built with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby

import tiktoken

from vocabularies.classes import CLASSES_FILE, Class

_BYTES = {bytes([byte]): byte for byte in range(256)}
_SCALARS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
_EVERY_CHARACTER = "".join(map(chr, _SCALARS))

PATTERNS = {
    Class.MARK: r"\p{M}",
    Class.UPPER: r"\p{Lu}|\p{Lt}",
    Class.LOWER: r"\p{Ll}",
    Class.CASELESS: r"\p{Lm}|\p{Lo}",
    Class.NUMBER: r"\p{N}",
    Class.SPACE: r"[^\S\r\n]",
    Class.NEWLINE: r"[\r\n]",
}
"""Of each class but OTHER. What the encodings call letters is the union of three of them."""


def matching(pattern: str, text: str = _EVERY_CHARACTER) -> str:
    """Those characters of `text` that a pattern of one character matches, in tiktoken's engine."""
    encoding = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=_BYTES, special_tokens={})
    return bytes(encoding.encode_ordinary(text)).decode()


def derive() -> bytearray:
    """The class of each code point; surrogates are OTHER, for text has none. Raises ValueError where classes overlap."""
    classes = bytearray(0x110000)
    for name, pattern in PATTERNS.items():
        for character in matching(pattern):
            if classes[ord(character)]:
                raise ValueError(f"U+{ord(character):04X} is of two classes")
            classes[ord(character)] = name
    letters = {Class.UPPER, Class.LOWER, Class.CASELESS}
    if {ord(c) for c in matching(r"\p{L}")} != {code for code, of in enumerate(classes) if of in letters}:
        raise ValueError("the letters are not the union of the classes of letters")
    return classes


def ranges(classes: bytearray) -> Iterator[tuple[int, int, Class]]:
    """(first, last, class), without those of OTHER."""
    for of, codes in groupby(range(len(classes)), classes.__getitem__):
        if of != Class.OTHER:
            run = list(codes)
            yield run[0], run[-1], Class(of)


def render(classes: bytearray) -> str:
    lines = [
        "# The class of each code point in the patterns of OpenAI's encodings: first and last code point, class.",
        f"# Written by vocabularies/derive_classes.py out of tiktoken {tiktoken.__version__}; what is absent is OTHER.",
    ]
    lines += [f"{first:04X} {last:04X} {of.name}" for first, last, of in ranges(classes)]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    text = render(derive())
    if arguments == ["--check"]:
        return int(CLASSES_FILE.read_text() != text)
    CLASSES_FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
