"""The spool: usage records leave the request path here and wait on disk for the shipper.

Durability, in the order of what can go wrong:
- The process is killed: what was written is in the page cache and survives; at most the records of the last 200 ms are
  lost.
- The machine loses power: segments are synced when they are sealed, a second after their first record, not with each
  batch. At most that second is lost, and a torn frame is recognised.
- The disk is full or fails, or the directory holds `max_bytes`: what is whole is sealed, so that the shipper can free
  its space, and the write is tried again with growing pauses. Meanwhile records gather in memory, up to
  QUEUE_RECORDS; beyond that new ones are dropped and counted. The oldest are kept because budgets are rebuilt from a
  ledger without holes up to a known moment; a ring would punch its hole into records that were already safe on disk.

The bound of the directory is shared by all workers of the node without a word between them: each counts an open
segment as if it were full, and puts its own there before it counts.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.adapters import segments
from gateway.adapters._background import BackgroundWriter

QUEUE_RECORDS = 65_536
"""Records that wait in memory, a process: three seconds at 20,000 requests a second."""
SEGMENT_BYTES = 4_194_304
SEGMENT_AGE_S = 1.0
MAX_SEGMENT_AGE_S = 60.0
FILES_PER_AGE = 64
"""Each so many that wait let the next segment grow SEGMENT_AGE_S older: while nobody ships, freshness has no value."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 5.0


class Spool:
    """Takes usage records and writes them to segments on a thread of its own. Implements `RecordSpool`.

    Args:
        directory: made if it is missing; shared by all workers of the node.
        owner: names the worker in its segments, such as "w0-4711"; letters, digits, "_" and "-".
        max_bytes: bound of the whole directory; give it at least 2 * SEGMENT_BYTES a worker.
        on_dropped: called with how many records were lost, from either thread.
    """

    def __init__(self, directory: Path, owner: str, max_bytes: int, on_dropped: Callable[[int], None]) -> None:
        if not owner.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"owner {owner!r} does not make a file name")
        self._on_dropped = on_dropped
        self._segments = _SegmentWriter(directory, owner, max_bytes, on_dropped)
        self._writer: BackgroundWriter[bytes] = BackgroundWriter("usage-spool", self._segments, QUEUE_RECORDS)
        self._put = self._writer.put

    def append(self, record: bytes) -> None:
        """Takes a `UsageRecord` as a JSON object on one line. Never blocks and never raises."""
        if not self._put(record):
            self._on_dropped(1)

    @property
    def faults(self) -> int:
        """Writes to the disk that failed so far."""
        return self._segments.faults

    @property
    def last_fault(self) -> str:
        """What the disk said when a write last failed; "" if none has."""
        return self._segments.last_fault

    def close(self, timeout: float) -> bool:
        """Writes what waits, syncs and seals. False if that took longer than `timeout` seconds."""
        return self._writer.close(timeout)


class _Segment(msgspec.Struct):
    """The segment that is being written."""

    fd: int
    path: Path
    """With its `.open`."""
    size: int
    """Bytes of whole frames."""
    seal_at: float
    """CLOCK_MONOTONIC, seconds."""


class _SegmentWriter:
    """The spool's thread: frames to files. Only its two figures are read elsewhere."""

    def __init__(self, directory: Path, owner: str, max_bytes: int, on_dropped: Callable[[int], None]) -> None:
        self._directory = directory
        self._owner = owner
        self._max_bytes = max_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // 4)
        self._on_dropped = on_dropped
        self._segment: _Segment | None = None
        self._seq = 0
        self.faults = 0
        self.last_fault = ""

    # -- Drain

    def write(self, items: list[bytes], stopping: threading.Event) -> None:
        # One frame at a time: between two of them the event loop can have the GIL.
        for at in range(0, len(items), segments.FRAME_RECORDS):
            frames, refused = segments.encode(items[at : at + segments.FRAME_RECORDS])
            if refused:
                self._on_dropped(refused)
            for frame in frames:
                self._keep(frame, stopping)

    def rest(self) -> float | None:
        if self._segment is None:
            return None
        left = self._segment.seal_at - time.monotonic()
        if left > 0:
            return left
        self._seal()
        return None

    def close(self) -> None:
        self._seal()

    def forget(self) -> None:
        # The lock belongs to the open file, which parent and child share: closing it here leaves it held there.
        if self._segment is not None:
            os.close(self._segment.fd)
            self._segment = None

    # -- writing

    def _keep(self, frame: segments.Frame, stopping: threading.Event) -> None:
        """Writes a frame, however long the disk needs to take it; gives up only when the process ends."""
        backoff = FIRST_BACKOFF_S
        while True:
            last = stopping.is_set()
            try:
                self._append(frame.data)
            except OSError as fault:
                self._note(fault)
                self._seal()
            else:
                return
            if last:
                self._on_dropped(frame.records)
                return
            stopping.wait(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF_S)

    def _append(self, frame: bytes) -> None:
        segment = self._segment
        if segment is not None and segment.size and segment.size + len(frame) > self._segment_bytes:
            self._seal()
            segment = None
        if segment is None:
            segment = self._segment = self._open()
        _write_all(segment.fd, frame)
        segment.size += len(frame)

    def _open(self) -> _Segment:
        """A new segment, locked. Raises OSError, ENOSPC too where the directory's bound is reached."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = None
        while fd is None:  # an eager shipper takes a segment for an orphan if it finds it before it is locked
            self._seq += 1
            name = segments.name(self._owner, time.time_ns() // 1_000_000, self._seq)
            path = self._directory / (name + segments.OPEN)
            fd = segments.claim(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            files = self._check_room()
        except OSError:
            path.unlink(missing_ok=True)
            os.close(fd)
            raise
        age = min(SEGMENT_AGE_S * (1 + files // FILES_PER_AGE), MAX_SEGMENT_AGE_S)
        return _Segment(fd, path, 0, time.monotonic() + age)

    def _check_room(self) -> int:
        """How many files the directory holds. Raises OSError (ENOSPC) where they and what is to come pass its bound."""
        used = files = 0
        with os.scandir(self._directory) as entries:
            for entry in entries:
                try:
                    size = entry.stat().st_size
                except FileNotFoundError:
                    continue  # shipped in the meantime
                files += 1
                used += max(size, self._segment_bytes) if entry.name.endswith(segments.OPEN) else size
        if used > self._max_bytes:
            raise OSError(errno.ENOSPC, f"spool holds {used:,} of {self._max_bytes:,} bytes", str(self._directory))
        return files

    def _seal(self) -> None:
        """Hands the segment over. If the disk refuses, it stays `.open` without a lock: an orphan for the shipper."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        try:
            try:
                _publish(segment)
            finally:
                os.close(segment.fd)
        except OSError as fault:
            self._note(fault)

    def _note(self, fault: OSError) -> None:
        self.faults += 1
        self.last_fault = str(fault)


def _publish(segment: _Segment) -> None:
    if not segment.size:
        segment.path.unlink(missing_ok=True)
        return
    os.ftruncate(segment.fd, segment.size)  # a write that failed midway leaves a part of a frame
    os.fsync(segment.fd)
    segment.path.rename(segment.path.with_suffix(segments.READY))
    _sync_directory(segment.path.parent)


def _sync_directory(directory: Path) -> None:
    """Makes new and changed names outlast a loss of power; fsync of a file does not promise that (fsync(2))."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


__all__ = ["QUEUE_RECORDS", "Spool"]
