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
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.adapters._background import BackgroundWriter
from gateway.adapters._masking import mask_fields, mask_text

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

MAX_QUEUE_BYTES = 4_194_304
FILE_WRITE_BYTES = 65_536
STREAM_WRITE_BYTES = select.PIPE_BUF
REQUEST_LINE_BYTES = 768
"""What a request's line weighs in the queue before it is encoded."""
STALL_S = 0.5
"""How long to wait at a time for a stream that takes nothing."""

_encoder = msgspec.json.Encoder()


class LogWriter:
    """Writes JSON lines to a descriptor. Nothing here blocks the caller or raises for the stream's sake.

    Args:
        stream_fd: such as 1; stays open. May be non-blocking.
        level: the least that is written: "debug", "info", "warning" or "error".
        max_queue_bytes: bound of the lines that wait.
        free_text: fields of a request's struct that may hold text of others, such as a provider's error: masked.

    Raises:
        ValueError: no such level.
    """

    def __init__(
        self,
        stream_fd: int,
        level: str = "info",
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        free_text: tuple[str, ...] = ("error",),
    ) -> None:
        self.level = level
        self._lines = _Lines(stream_fd, free_text)
        self._writer: BackgroundWriter[_Item] = BackgroundWriter("log-writer", self._lines, max_queue_bytes)
        self._lines.source = self._writer
        self._put = self._writer.put

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

    def request(self, line: msgspec.Struct | Mapping[str, object]) -> None:
        """The line of a request, at level "info".

        Args:
            line: must not be changed afterwards, and hold no field `ts`, `level` or `event`. Of a struct only the
                fields named as `free_text` are masked: its others are ours and hold no secret. A mapping is masked
                whole.
        """
        if not self._requests:
            return
        if isinstance(line, msgspec.Struct):
            self._put((time.time(), line), REQUEST_LINE_BYTES)
        else:
            self._event("info", "request", line)

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
        line = _event_line(time.time(), level, event, fields)
        self._put(line, len(line))

    @property
    def dropped(self) -> int:
        """Lines that nobody will see: the queue was full, or the stream refused them."""
        return self._writer.refused + self._lines.lost

    def close(self, timeout: float) -> bool:
        """Writes what waits. False if that took longer than `timeout` seconds."""
        return self._writer.close(timeout)


_Item = bytes | tuple[float, msgspec.Struct]
"""An event's line, or the time and the struct of a request."""


def event_line(level: str, event: str, fields: Mapping[str, object]) -> bytes:
    """One line as `LogWriter.event` writes it, for a process that writes its few lines itself."""
    return _event_line(time.time(), level, event, fields)


def _event_line(at: float, level: str, event: str, fields: Mapping[str, object]) -> bytes:
    head: dict[str, object] = {"ts": _timestamp(at), "level": level, "event": mask_text(event)}
    return _encoder.encode(head | mask_fields(fields) | head) + b"\n"


def _timestamp(at: float) -> str:
    ms = int(at * 1000)
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000))
    return f"{second}.{ms % 1000:03d}Z"


class _Lines:
    """The thread's side: items to bytes, bytes to the stream."""

    source: BackgroundWriter[_Item]

    def __init__(self, fd: int, free_text: tuple[str, ...]) -> None:
        self._fd = fd
        self._free_text = free_text
        self._write_bytes = FILE_WRITE_BYTES if stat.S_ISREG(os.fstat(fd).st_mode) else STREAM_WRITE_BYTES
        self._reported = 0
        """Of the dropped lines."""
        self.lost = 0
        """Lines that the stream refused, and that the queue does not know of."""
        self._cut = False
        """The last write ended within a line."""
        self._prefix_ms = -1
        self._prefix = b""
        """How the lines of that millisecond begin."""

    # -- Drain

    def write(self, items: list[_Item], stopping: threading.Event) -> None:
        chunk = bytearray()
        for item in items:
            start = len(chunk)
            self._add(chunk, item)
            if len(chunk) > self._write_bytes and start:
                self._send(chunk[:start], stopping)
                del chunk[:start]
        self._send(chunk, stopping)
        self._report(stopping)

    def rest(self) -> float | None:
        return None

    def close(self) -> None:
        pass

    def forget(self) -> None:
        self._reported = self.source.refused

    # -- encoding

    def _add(self, chunk: bytearray, item: _Item) -> None:
        if isinstance(item, bytes):
            chunk += item
            return
        at, line = item
        start = len(chunk)
        try:
            self._add_request(chunk, at, self._masked(line))
        except (TypeError, ValueError, OverflowError) as fault:
            del chunk[start:]
            chunk += _event_line(at, "error", "log_line_invalid", {"type": type(line).__name__, "error": fault})

    def _add_request(self, chunk: bytearray, at: float, line: msgspec.Struct) -> None:
        ms = int(at * 1000)
        if ms != self._prefix_ms:
            self._prefix_ms = ms
            self._prefix = b'{"ts":"%b","level":"info","event":"request"' % _timestamp(at).encode()
        chunk += self._prefix
        joint = len(chunk)
        _encoder.encode_into(line, chunk, joint)
        if len(chunk) == joint + 2:
            del chunk[joint]  # a struct without fields: "{}"
        else:
            chunk[joint] = 0x2C  # its "{" becomes the comma after the prefix
        chunk += b"\n"

    def _masked(self, line: msgspec.Struct) -> msgspec.Struct:
        changed: dict[str, object] = {}
        for name in self._free_text:
            text = getattr(line, name, "")
            if text and (masked := mask_text(str(text))) != text:
                changed[name] = masked
        return msgspec.structs.replace(line, **changed) if changed else line

    # -- writing

    def _send(self, chunk: bytearray, stopping: threading.Event) -> None:
        """Writes whole lines. What the stream does not take, for good or as the process ends, is lost and counted."""
        # A line that was cut short must not spoil the next.
        view = memoryview(b"\n" * self._cut + bytes(chunk))
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
        self._send(bytearray(_event_line(time.time(), "warning", "log_lines_dropped", {"count": dropped})), stopping)
        if self.lost > before:  # nobody has read that either: keep the count for the next time
            self.lost = before
            self._reported -= dropped


__all__ = ["LEVELS", "LogWriter", "event_line"]
