"""What the tests of the spool, the shipper and the ledger share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from gateway.adapters import segments
from gateway.base.usage import UsageRecord
from tests.support.records import encode

_numbers = count()


def record(id_: str = "", **changed: object) -> UsageRecord:
    fields: dict[str, object] = {
        "id": id_ or f"req_{next(_numbers):08d}",
        "at_ms": 1_772_366_400_123,  # 2026-03-01T12:00:00.123Z
        "key_id": "key_search",
        "team": "search",
        "endpoint": "/v1/chat/completions",
        "model": "gpt-4o-mini",
        "provider": "openai",
        "target_model": "gpt-4o-mini-2024-07-18",
        "config_version": "3f786850e387550f",
        "status": 200,
        "code": "",
        "stream": True,
        "input_tokens": 123,
        "output_tokens": 456,
        "cost_nano_usd": 292_050,
        "duration_us": 1_345_678,
        "first_token_us": 212_345,
        "overhead_us": 61,
        "attempts": 1,
        "finish_reason": "stop",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }
    return UsageRecord(**(fields | changed))  # type: ignore[arg-type]


class ListSink:
    """Keeps records by id, as a ledger does; fails while `fault` is set."""

    def __init__(self) -> None:
        self.records: dict[str, UsageRecord] = {}
        self.batches: list[int] = []
        self.fault: Exception | None = None

    def write(self, records: Sequence[UsageRecord]) -> None:
        if self.fault is not None:
            raise self.fault
        self.batches.append(len(records))
        for each in records:
            self.records.setdefault(each.id, each)

    def close(self) -> None:
        pass


def frames_of(records: list[UsageRecord]) -> segments.Encoded:
    return segments.encode([encode(each) for each in records])


def seal(directory: Path, records: list[UsageRecord], at_ms: int = 1, suffix: str = segments.READY) -> Path:
    """A segment as a worker leaves it."""
    directory.mkdir(exist_ok=True)
    frames, refused = frames_of(records)
    assert refused == 0
    path = directory / (segments.name("w0-1", at_ms, next(_numbers)) + suffix)
    path.write_bytes(b"".join(frame.data for frame in frames))
    return path


def files(directory: Path, suffix: str) -> list[Path]:
    return [path for path in segments_of(directory) if path.suffix == suffix]


def segments_of(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.exists() else []


def size_of(directory: Path) -> int:
    """Bytes of all files; they may come and go meanwhile."""
    size = 0
    for path in segments_of(directory):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def eventually(claim: Callable[[], bool], seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < limit, "did not come about in time"
        time.sleep(0.01)


@contextmanager
def failing_writes(monkeypatch: pytest.MonkeyPatch, error: int, after_bytes: int = 0) -> Iterator[None]:
    """Every os.write fails, after it has taken `after_bytes` in all: what a disk does that fills up."""
    real, left = os.write, after_bytes

    def write(fd: int, data: bytes) -> int:
        nonlocal left
        part = bytes(data)[:left]
        left -= len(part)
        if not part:
            raise OSError(error, os.strerror(error))
        return real(fd, part)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        yield
