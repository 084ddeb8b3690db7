"""What is left of a child that was stuck or crashed: its stacks and the last lines of its log, a file each, the newest few.

While a child runs it has two files in `run`: `NAME-GENERATION.stack`, which faulthandler writes when a fatal signal or SIGABRT
ends it, and `NAME-GENERATION.recent`, in which it keeps the last lines of its log (`RecentLines`).
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

KEPT = 20
"""Reports of a node; the oldest go."""
RECENT_BYTES = 32_768
_POSITION = struct.Struct("<Q")


class RecentLines:
    """A ring of the last RECENT_BYTES of what a process logged, in a mapped file: whoever kills the process, the kernel keeps it.

    Raises OSError where the file cannot be had.
    """

    def __init__(self, file: Path) -> None:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, bytes(_POSITION.size + RECENT_BYTES))  # not a hole, which on a full disk would be a SIGBUS
            self._map = mmap.mmap(fd, _POSITION.size + RECENT_BYTES)
        finally:
            os.close(fd)
        self._written = 0

    def keep(self, data: bytes) -> None:
        """Takes whole lines."""
        skipped = max(0, len(data) - RECENT_BYTES)
        self._written += skipped
        data = data[skipped:]
        at = self._written % RECENT_BYTES
        first = data[: RECENT_BYTES - at]
        start = _POSITION.size + at
        self._map[start : start + len(first)] = first
        rest = data[len(first) :]
        self._map[_POSITION.size : _POSITION.size + len(rest)] = rest
        self._written += len(data)
        self._map[: _POSITION.size] = _POSITION.pack(self._written)


def read_recent(file: Path) -> bytes:
    """Whole lines, oldest first; nothing where there is no file."""
    if not file.exists():
        return b""
    data = file.read_bytes()
    if len(data) != _POSITION.size + RECENT_BYTES:
        return b""
    (written,) = _POSITION.unpack_from(data)
    ring = data[_POSITION.size :]
    if written <= RECENT_BYTES:
        return ring[:written]
    at = written % RECENT_BYTES
    return (ring[at:] + ring[:at]).partition(b"\n")[2]  # the first line has lost its beginning


def stack_file(run_dir: Path, name: str, generation: int) -> Path:
    return run_dir / f"{name}-{generation}.stack"


def recent_file(run_dir: Path, name: str, generation: int) -> Path:
    return run_dir / f"{name}-{generation}.recent"


def clear(run_dir: Path) -> None:
    """Before the first child starts: removes what a supervisor that was killed has left."""
    for pattern in ("*.stack", "*.recent"):
        for file in run_dir.glob(pattern):
            file.unlink(missing_ok=True)


def collect(run_dir: Path, name: str, generation: int, facts: dict[str, object], *, asked: bool) -> Path | None:
    """After a child's end: makes its two files a report if it left a stack or one was asked of it; removes them in any case.

    Args:
        facts: what the report begins with.
        asked: it was stuck, and told to write its stacks.

    Returns:
        the report, if there is one.

    Raises:
        OSError: it cannot be written.
    """
    live, recent = stack_file(run_dir, name, generation), recent_file(run_dir, name, generation)
    try:
        stacks = live.read_bytes() if live.exists() else b""
        if not stacks and not asked:
            return None
        return _write(run_dir, name, facts, stacks or b"none: it did not answer SIGABRT\n", read_recent(recent))
    finally:
        live.unlink(missing_ok=True)
        recent.unlink(missing_ok=True)


def _write(run_dir: Path, name: str, facts: dict[str, object], stacks: bytes, lines: bytes) -> Path:
    now = time.time()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f"{int(now * 1_000) % 1_000:03d}Z"
    report = run_dir / f"report-{stamp}-{name}.txt"
    head = "".join(f"{key}: {value}\n" for key, value in facts.items())
    with os.fdopen(os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(head.encode() + b"\nstacks:\n\n" + stacks + b"\nlast lines of its log:\n\n" + (lines or b"none\n"))
    for old in sorted(run_dir.glob("report-*.txt"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return report
