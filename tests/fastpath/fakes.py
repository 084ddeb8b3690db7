"""A loop, a transport and clients for tests of protocols: no sockets, no time but what the test lets pass."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

from _fastpath.wheel import Wheel, now_ns


class FakeLoop:
    """`call_soon` and the report of exceptions; `run` runs what was asked for."""

    def __init__(self) -> None:
        self.soon: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self.reports: list[dict[str, Any]] = []

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        self.soon.append((callback, args))

    def call_exception_handler(self, report: dict[str, Any]) -> None:
        self.reports.append(report)

    def run(self) -> None:
        for _ in range(10_000):
            if not self.soon:
                return
            callback, args = self.soon.popleft()
            callback(*args)
        raise AssertionError("the callbacks never end")

    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast(asyncio.AbstractEventLoop, self)


class FakeTransport:
    """What uvloop's transport does, strictly: what it would answer with an exception or a warning fails the test.

    `calls` holds one entry a `write` or `writelines`; the client takes bytes only by `take`.
    """

    def __init__(self, loop: FakeLoop, protocol: asyncio.Protocol, *, half_close: bool = True) -> None:
        self.loop = loop
        self.protocol = protocol
        self.half_close = half_close
        self.calls: list[bytes] = []
        self.sent = b""
        self.options: list[tuple[int, int, bytes]] = []
        self.high = 65_536
        self.buffered = 0
        self.closing = self.lost = self.aborted = self.ended = self.reading_paused = self.writing_paused = False

    # -- what the protocol calls

    def write(self, data: bytes) -> None:
        self._written(data)

    def writelines(self, parts: Iterable[bytes]) -> None:
        self._written(b"".join(parts))

    def _written(self, data: bytes) -> None:
        assert not self.lost, "written after connection_lost"
        assert not self.ended, "written after write_eof"
        assert data, "a write of nothing"
        if self.closing:
            assert self.aborted, "written after close"
            return
        self.calls.append(data)
        self.sent += data

    def close(self) -> None:
        assert not self.lost, "closed after connection_lost"
        if not self.closing:
            self.closing = True
            self._lose_when_flushed()

    def abort(self) -> None:
        assert not self.lost, "aborted after connection_lost"
        self.aborted = self.closing = True
        self.buffered = 0
        self._lose_when_flushed()

    def write_eof(self) -> None:
        assert not self.closing and not self.ended
        self.ended = True

    def can_write_eof(self) -> bool:
        return self.half_close

    def is_closing(self) -> bool:
        return self.closing

    def is_reading(self) -> bool:
        return not self.reading_paused

    def pause_reading(self) -> None:
        assert not self.reading_paused and not self.lost
        self.reading_paused = True

    def resume_reading(self) -> None:
        assert self.reading_paused and not self.lost
        self.reading_paused = False

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def get_extra_info(self, name: str) -> object:
        return ("192.0.2.1", 4321) if name == "peername" else self

    def fileno(self) -> int:
        raise OSError("no socket, and so no kernel's buffer")

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.options.append((level, option, value))

    # -- what the test does

    def connect(self) -> None:
        self.protocol.connection_made(cast(asyncio.Transport, self))

    def feed(self, data: bytes) -> None:
        """The peer's bytes arrive, unless nobody reads."""
        assert data
        if not self.closing and not self.reading_paused:
            self.protocol.data_received(data)

    def feed_eof(self) -> None:
        if not self.closing and not self.protocol.eof_received():
            self.close()

    def block(self, buffered: int = 70_000) -> None:
        """The peer takes nothing any more: so many bytes stay behind."""
        if not self.writing_paused and not self.lost:
            self.buffered = buffered
            self.writing_paused = True
            self.protocol.pause_writing()

    def unblock(self) -> None:
        if self.writing_paused and not self.lost:
            self.buffered = 0
            self.writing_paused = False
            self.protocol.resume_writing()
            self._lose_when_flushed()

    def lose(self, error: Exception | None = None) -> None:
        if not self.lost:
            self.lost = self.closing = True
            self.protocol.connection_lost(error)

    def _lose_when_flushed(self) -> None:
        if self.closing and self.buffered == 0:
            self.loop.call_soon(self.lose)


class Clock:
    """Lets time pass on a wheel. What is armed reckons from the real clock: chains of deadlines need `sleep_ms`."""

    def __init__(self, wheel: Wheel) -> None:
        self.wheel = wheel
        self.at_ns = now_ns()

    def pass_ms(self, ms: int, step_ms: int = 10) -> None:
        for _ in range(max(1, ms // step_ms)):
            self.at_ns = max(self.at_ns, now_ns()) + step_ms * 1_000_000
            self.wheel.advance(self.at_ns)

    def sleep_ms(self, ms: int) -> None:
        time.sleep(ms / 1_000)
        self.wheel.advance(now_ns())
