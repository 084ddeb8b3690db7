"""JSON logs of a process: one object a line, written in batches on a thread of its own.

    {"ts":"2026-03-01T12:00:00.123Z","level":"info","event":"request", ...}

`ts` is UTC (ISO 8601), taken when the line was handed in. Lines that the reader of the stream does not take in time
are dropped once `max_queue_bytes` wait, and a later line tells how many: {"event":"log_lines_dropped","count":N}.

Several processes write to one pipe. POSIX keeps a write whole only up to PIPE_BUF bytes, so on anything but a regular
file that is the size of a write: lines of two workers never mix. A regular file must be open for appending.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from _fastpath.wheel import unix_ms
from _fastpath.writer import Writer
from gateway.adapters._background import BackgroundWriter
from gateway.adapters._masking import mask_fields, mask_text

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

MAX_QUEUE_BYTES = 4_194_304
FILE_WRITE_BYTES = 1_048_576
STREAM_WRITE_BYTES = select.PIPE_BUF
STALL_S = 0.5
"""How long to wait at a time for a stream that takes nothing."""

_encoder = msgspec.json.Encoder()


class LogWriter:
    """Writes JSON lines to a descriptor. Nothing here blocks the caller or raises for the stream's sake.

    Args:
        stream_fd: such as 1; stays open. May be non-blocking.
        level: the least that is written: "debug", "info", "warning" or "error".
        max_queue_bytes: bound of the lines that wait.
        also: called with whole lines before they are written, on the writer's thread.

    Raises:
        ValueError: no such level.
    """

    def __init__(
        self,
        stream_fd: int,
        level: str = "info",
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        also: Callable[[bytes], None] | None = None,
    ) -> None:
        self.level = level
        self._lines = _Lines(stream_fd, also)
        self._writer: BackgroundWriter[bytes] = BackgroundWriter("log-writer", self._lines, max_queue_bytes)
        self._lines.source = self._writer
        self._put = self._writer.put
        self._out = Writer()

    @property
    def level(self) -> str:
        """May be set at any time."""
        return self._level

    @level.setter
    def level(self, level: str) -> None:
        if level not in LEVELS:
            raise ValueError(f"no log level {level!r}: one of {', '.join(LEVELS)}")
        self._level = level
        self._threshold = LEVELS[level]
        self._requests = LEVELS["info"] >= self._threshold

    def request(self, record: bytes, error: str = "") -> None:
        """The line of a request, at level "info".

        Args:
            record: a JSON object on one line, with fields of ours alone: none is `ts`, `level`, `event` or `error`, none
                holds a secret.
            error: what went wrong; it may hold text of others, such as a provider's, and is masked.
        """
        if not self._requests:
            return
        if error:
            record = b'%b,"error":%b}' % (record[:-1], _encoder.encode(mask_text(error)))
        out = self._out.begin()
        out.raw(b'{"ts":"').utc(unix_ms()).raw(b'","level":"info","event":"request",').raw(record, 1).raw(b"\n")
        line = out.take()
        self._put(line, len(line))

    def event(self, level: str, event: str, **fields: object) -> None:
        """Something that happened beside requests.

        Args:
            level: one of LEVELS.
            event: what happened, in snake_case.
            fields: anything; secrets are masked, and what JSON does not know is written as text.
        """
        if LEVELS[level] >= self._threshold:
            self._event(level, event, fields)

    def _event(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        line = event_line(level, event, fields)
        self._put(line, len(line))

    @property
    def queued_bytes(self) -> int:
        """Of lines that wait for the thread."""
        return self._writer.waiting

    @property
    def dropped(self) -> int:
        """Lines that nobody will see: the queue was full, or the stream refused them."""
        return self._writer.refused + self._lines.lost

    def close(self, timeout: float) -> bool:
        """Writes what waits. False if that took longer than `timeout` seconds."""
        return self._writer.close(timeout)


def event_line(level: str, event: str, fields: Mapping[str, object]) -> bytes:
    """One line as `LogWriter.event` writes it, for a process that writes its few lines itself."""
    head: dict[str, object] = {
        "ts": Writer().utc(unix_ms()).take().decode(),
        "level": level,
        "event": mask_text(event),
    }
    return _encoder.encode(head | mask_fields(fields) | head) + b"\n"


class _Lines:
    """The thread's side: lines to the stream."""

    source: BackgroundWriter[bytes]

    def __init__(self, fd: int, also: Callable[[bytes], None] | None) -> None:
        self._fd = fd
        self._also = also
        self._write_bytes = FILE_WRITE_BYTES if stat.S_ISREG(os.fstat(fd).st_mode) else STREAM_WRITE_BYTES
        self._reported = 0
        """Of the dropped lines."""
        self.lost = 0
        """Lines that the stream refused, and that the queue does not know of."""
        self._cut = False
        """The last write ended within a line."""

    # -- Drain

    def write(self, items: list[bytes], stopping: threading.Event) -> None:
        start = size = 0
        for at, line in enumerate(items):
            size += len(line)
            if size > self._write_bytes and at > start:
                self._send(b"".join(items[start:at]), stopping)
                start, size = at, len(line)
        self._send(b"".join(items[start:]), stopping)
        self._report(stopping)

    def rest(self) -> float | None:
        return None

    def close(self) -> None:
        pass

    def forget(self) -> None:
        self._reported = self.source.refused

    # -- writing

    def _send(self, chunk: bytes, stopping: threading.Event) -> None:
        """Writes whole lines. What the stream does not take, for good or as the process ends, is lost and counted."""
        if self._also is not None:
            self._also(chunk)
        # A line that was cut short must not spoil the next.
        view = memoryview(b"\n" + chunk if self._cut else chunk)
        while view:
            try:
                done = os.write(self._fd, view)
                self._cut = view[done - 1] != 0x0A
                view = view[done:]
            except BlockingIOError:
                if not self._writable() and stopping.is_set():
                    break
            except OSError:  # the reader has gone, or the disk is full: a log has nowhere to complain, but counts
                break
        if view:
            self.lost += min(bytes(view).count(b"\n"), chunk.count(b"\n"))

    def _writable(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(STALL_S * 1000))

    def _report(self, stopping: threading.Event) -> None:
        dropped = self.source.refused + self.lost - self._reported
        if not dropped:
            return
        before = self.lost
        self._reported += dropped
        self._send(event_line("warning", "log_lines_dropped", {"count": dropped}), stopping)
        if self.lost > before:  # nobody has read that either: keep the count for the next time
            self.lost = before
            self._reported -= dropped


__all__ = ["LEVELS", "LogWriter", "event_line"]
