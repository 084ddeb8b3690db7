"""Segments: the files in which usage records wait on disk, and their format.

A segment is a run of frames and nothing else:

    "TWU1"  length: u32 LE  crc: u32 LE  payload: UsageRecord objects, a line of JSON each

`crc` is CRC-32 of the payload, begun at the value of `length`, so that it vouches for both. Records are objects, not
arrays: a shipper older or newer than the worker beside it passes over fields it does not know and fills in those it
misses. They are the very lines that the request path made for the log: nothing is encoded twice.

`<owner>-<unix ms>-<seq>` names a segment; its suffix tells its state:

    .open     a worker appends to it and holds an flock on it. If the lock can be had, that worker is dead: an orphan
    .ready    sealed: whole and synced. The shipper deletes it once its records are committed
    .corrupt  holds bytes that are no frame, or records that no ledger takes. Kept for a person to look at

An orphan may end in a torn frame: the process died in mid-write. That is expected; everything before the tear is
good. Bytes that are no frame *between* frames, or anywhere in a sealed segment, are damage: reading goes on at the
next frame whose checksum holds.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.base.usage import UsageRecord

OPEN, READY, CORRUPT = ".open", ".ready", ".corrupt"

FRAME_RECORDS = 128
"""Records a frame: about 50 KiB, joined in a few us; checksum and write leave the GIL to others."""
MAX_PAYLOAD_BYTES = 1_048_576
"""Of a frame. A length beyond it is damage, and reading does not believe it."""

_MARK = b"TWU1"
_HEADER = struct.Struct("<4sII")
_decoder = msgspec.json.Decoder(UsageRecord)


class Frame(NamedTuple):
    data: bytes
    records: int


class Encoded(NamedTuple):
    frames: list[Frame]
    refused: int
    """Records that are too long for a frame of their own."""


def encode(lines: list[bytes]) -> Encoded:
    """Records (JSON objects, one a line) as frames, in order. One that is too long costs no other its place."""
    frames: list[Frame] = []
    refused = 0
    waiting = [lines[at : at + FRAME_RECORDS] for at in range(0, len(lines), FRAME_RECORDS)]
    waiting.reverse()
    while waiting:
        group = waiting.pop()
        payload = b"\n".join(group)
        if len(payload) <= MAX_PAYLOAD_BYTES:
            crc = zlib.crc32(payload, len(payload))
            frames.append(Frame(_HEADER.pack(_MARK, len(payload), crc) + payload, len(group)))
        elif len(group) == 1:
            refused += 1
        else:
            half = len(group) // 2
            waiting += (group[half:], group[:half])
    return Encoded(frames, refused)


def decode(payload: memoryview) -> list[UsageRecord]:
    """The records of a frame.

    Raises:
        msgspec.DecodeError: the payload is whole but holds something else.
    """
    return _decoder.decode_lines(payload)


class Scan(NamedTuple):
    """What a segment's bytes turned out to be."""

    payloads: list[memoryview]
    gaps: int
    """Runs of bytes that are no frame and have a frame after them."""
    tail_bytes: int
    """Bytes after the last frame that are none."""


def scan(data: bytes) -> Scan:
    """Finds every whole frame of a segment, whatever lies between them."""
    view = memoryview(data)
    payloads: list[memoryview] = []
    gaps, at = 0, 0
    while at < len(data):
        end = _frame_end(view, at)
        if end is None:
            start = _next_frame(data, view, at + 1)
            if start is None:
                break
            gaps += 1
            at = start
        else:
            payloads.append(view[at + _HEADER.size : end])
            at = end
    return Scan(payloads, gaps, len(data) - at)


def _frame_end(view: memoryview, at: int) -> int | None:
    """Where the frame that begins at `at` ends; None if none begins there."""
    start = at + _HEADER.size
    if start > len(view):
        return None
    mark, length, crc = _HEADER.unpack_from(view, at)
    end: int = start + length
    if mark != _MARK or length > MAX_PAYLOAD_BYTES or end > len(view) or zlib.crc32(view[start:end], length) != crc:
        return None
    return end


def _next_frame(data: bytes, view: memoryview, at: int) -> int | None:
    at = data.find(_MARK, at)
    while at >= 0 and _frame_end(view, at) is None:
        at = data.find(_MARK, at + 1)
    return at if at >= 0 else None


def name(owner: str, unix_ms: int, seq: int) -> str:
    """A segment's name, without suffix."""
    return f"{owner}-{unix_ms:013d}-{seq:06d}"


def waiting(directory: Path) -> list[Path]:
    """Segments that hold records, oldest first whoever their owner is. Foreign files are passed over."""
    found = [(_age(path), path) for path in _listed(directory) if path.suffix in (OPEN, READY)]
    return [path for _, path in sorted(found)]


def _listed(directory: Path) -> Iterator[Path]:
    return (path for path in directory.iterdir() if path.stem.count("-") >= 2)


def _age(path: Path) -> tuple[str, str]:
    _, unix_ms, seq = path.stem.rsplit("-", 2)
    return unix_ms, seq


def claim(path: Path, flags: int = os.O_RDWR) -> int | None:
    """Opens a segment and locks it, without waiting. None: somebody else holds it, or it is gone.

    The lock is flock's: the kernel frees it when its owner dies, however it dies.

    Raises:
        OSError: the file cannot be opened for another reason.
    """
    try:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between open and lock it may have been shipped and deleted, or sealed under its new name.
        if path.stat().st_ino == os.fstat(fd).st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None
