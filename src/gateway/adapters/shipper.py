"""The shipper: moves usage records from the spool's segments to a sink. Runs in the node's agent, beside the workers.

At least once from here, exactly once in effect: records are committed, then their segment is deleted; a crash between
the two ships them again, and the sink passes over ids it knows. The oldest segment goes first. A segment is locked
while it is read, so two shippers, such as an agent and its successor, share the work and never the file.

Nothing is deleted that was not committed. Segments with damage are renamed to `.corrupt` after every whole frame in
them was committed; the torn end of an orphan is the one thing that goes, and it is counted.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec

from gateway.adapters import segments
from gateway.base.ports import UsageSink
from gateway.base.usage import UsageRecord

BATCH_RECORDS = 5_000
"""Records a transaction, from which point on; a frame is never split."""
BATCH_SEGMENTS = 64
"""Segments that may wait for one transaction: each holds a file descriptor."""
RUN_RECORDS = 50_000
"""Records a run: about a second, so that its caller gets to its heartbeat."""

IDLE_DELAY_MS = 1_000
FIRST_BACKOFF_MS, MAX_BACKOFF_MS = 500, 60_000


class ShipResult(msgspec.Struct, frozen=True):
    """What one run did."""

    records: int
    """Committed to the sink."""
    segments: int
    """Deleted, or set aside, after that."""
    bytes_left: int
    """In segments that still wait, those that workers are writing among them."""
    torn: int = 0
    """Orphans that ended in a part of a frame."""
    corrupt: int = 0
    """Segments set aside as `.corrupt`."""
    rejected: int = 0
    """Records that the sink found unfit; their segments are among `corrupt`."""
    error: str = ""
    """What stopped the run; "" if nothing did. Whatever was not committed is left for the next."""


class Shipper:
    """Ships the segments of a directory.

    Args:
        directory: the spool's; need not exist yet.
        sink: its errors end a run, and are reported in its result. ValueError and OverflowError are faults of a
            record, all others are the sink's.
    """

    def __init__(self, directory: Path, sink: UsageSink, *, batch_records: int = BATCH_RECORDS) -> None:
        self._directory = directory
        self._sink = sink
        self._batch_records = batch_records
        self._failures = 0
        self._more = False

    def run_once(self) -> ShipResult:
        """Ships what is there, at most about RUN_RECORDS. Blocks for the sink; never raises for it or for the disk."""
        run = _Run(self._sink, self._batch_records)
        error = ""
        try:
            self._more = run.ship(segments.waiting(self._directory)) if self._directory.exists() else False
        except Exception as fault:  # the sink is a port: its errors are of any kind
            error = f"{type(fault).__name__}: {fault}"
        finally:
            run.release()
        error = error or run.error
        self._failures = self._failures + 1 if error else 0
        return ShipResult(
            records=run.records,
            segments=run.segments,
            bytes_left=_bytes_left(self._directory),
            torn=run.torn,
            corrupt=run.corrupt,
            rejected=run.rejected,
            error=error,
        )

    @property
    def next_delay_ms(self) -> int:
        """How long to wait before the next run: not at all while more is there, longer with each failure in a row."""
        if self._failures:
            bound = min(FIRST_BACKOFF_MS << min(self._failures - 1, 16), MAX_BACKOFF_MS)
            return random.randint(bound // 2, bound)  # noqa: S311 - jitter, no secret
        return 0 if self._more else IDLE_DELAY_MS


class _Claimed(msgspec.Struct):
    """A segment that this run holds the lock of."""

    path: Path
    fd: int
    damaged: bool = False


class _Run:
    """One run: the batch that gathers, the segments it comes from, and the tally."""

    def __init__(self, sink: UsageSink, batch_records: int) -> None:
        self._sink = sink
        self._batch_records = batch_records
        self._batch: list[UsageRecord] = []
        self._held: list[_Claimed] = []
        """Oldest first; all read to their end but, while it is read, the last."""
        self.records = self.segments = self.torn = self.corrupt = self.rejected = 0
        self.error = ""

    def ship(self, paths: list[Path]) -> bool:
        """Ships segments in order. True if it stopped because the run had its fill."""
        full = False
        for path in paths:
            full = self.records >= RUN_RECORDS
            if full:
                break
            try:
                fd = segments.claim(path)
                if fd is None:
                    continue
                segment = _Claimed(path, fd)
                self._held.append(segment)
                data = _read(fd)
            except OSError as fault:  # of this file; the others may be well
                self.error = str(fault)
                self._give_back(path)
                continue
            self._read_segment(segment, data)
            if len(self._held) >= BATCH_SEGMENTS:
                self._commit_and_settle()
        self._commit_and_settle()
        return full

    def _read_segment(self, segment: _Claimed, data: bytes) -> None:
        found = segments.scan(data)
        if found.gaps or (found.tail_bytes and segment.path.suffix == segments.READY):
            segment.damaged = True
        elif found.tail_bytes:
            self.torn += 1
        for payload in found.payloads:
            try:
                self._batch += segments.decode(payload)
            except msgspec.DecodeError:
                segment.damaged = True
            if len(self._batch) >= self._batch_records:
                self._commit()

    def _commit(self) -> None:
        if not self._batch:
            return
        try:
            self._sink.write(self._batch)
            self.records += len(self._batch)
        except (ValueError, OverflowError):
            self._commit_singly()
        self._batch = []

    def _commit_singly(self) -> None:
        """A record is unfit for the sink: one that no retry mends must not hold up all that come after it."""
        for record in self._batch:
            try:
                self._sink.write([record])
                self.records += 1
            except (ValueError, OverflowError):
                self.rejected += 1
                for segment in self._held:
                    segment.damaged = True

    def _commit_and_settle(self) -> None:
        self._commit()
        while self._held:
            segment = self._held[0]
            self._settle(segment)
            os.close(segment.fd)
            del self._held[0]

    def _settle(self, segment: _Claimed) -> None:
        if segment.damaged:
            segment.path.rename(segment.path.with_suffix(segments.CORRUPT))
            self.corrupt += 1
        else:
            segment.path.unlink(missing_ok=True)
        self.segments += 1

    def _give_back(self, path: Path) -> None:
        if self._held and self._held[-1].path == path:
            os.close(self._held.pop().fd)

    def release(self) -> None:
        """Lets go of the segments that could not be settled."""
        while self._held:
            os.close(self._held.pop().fd)


def _read(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def _bytes_left(directory: Path) -> int:
    left = 0
    for path in segments.waiting(directory) if directory.exists() else ():
        try:
            left += path.stat().st_size
        except FileNotFoundError:
            continue  # sealed or shipped by another in the meantime
    return left
