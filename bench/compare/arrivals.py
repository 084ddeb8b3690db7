"""An open loop: requests arrive at a constant rate, whether or not those before them are answered.

A request that finds no free connection waits for one, and its latency counts from the moment it was due: what a slow target
makes others wait is not left out (the omission that closed loops commit).
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import httptools
import uvloop

from bench.compare.press import ANSWER_S, Ask, Seen
from bench.compare.streams import quantiles
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.native.agenda import Agenda, Call

MAX_WAITING: Final = 100_000
"""Requests that are due and have no connection; a target this far behind gives no figure."""


def arrive(ask: Ask, per_s: float, connections: int, seconds: float) -> Seen:
    """Asks `per_s` times a second.

    Args:
        ask: the request.
        per_s: arrivals a second, evenly spaced.
        connections: as many requests are under way at most.
        seconds: of arrivals; the answers may take longer.

    Raises:
        BenchError: a request failed, or the target fell too far behind.
    """
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(_Crossing(ask, per_s, connections).run(seconds))
    finally:
        gc.enable()


class _Crossing:
    """The arrivals, and who carries them."""

    def __init__(self, ask: Ask, per_s: float, connections: int) -> None:
        self._host, self._port = ask.place
        self._message = ask.message()
        self._interval_ns = 1e9 / per_s
        self._connections = connections
        self._free: deque[_Caller] = deque()
        self._waiting: deque[int] = deque()
        self._waits_us: list[float] = []
        self._arrived = 0
        self._begun_ns = 0
        self._wanted = 0
        self._over: asyncio.Future[None]
        self._agenda: Agenda
        self._tick: Call

    async def run(self, seconds: float) -> Seen:
        from bench.native.agenda import Agenda, Call, now_ns  # noqa: PLC0415  (native, Linux)

        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        callers = [await self._caller(loop) for _ in range(self._connections)]
        self._free.extend(callers)
        self._wanted = max(1, round(seconds * 1e9 / self._interval_ns))
        self._agenda, self._tick = Agenda(loop), Call(self._on_tick)
        self._begun_ns = now_ns() + 1_000_000
        self._agenda.at(self._tick, self._begun_ns)
        try:
            async with asyncio.timeout(seconds + ANSWER_S):
                await self._over
        except TimeoutError:
            raise BenchError(f"of {self._wanted:,} requests {len(self._waits_us):,} were answered in time") from None
        finally:
            self._agenda.close()
            for caller in callers:
                caller.close()
        return Seen(self._wanted, (now_ns() - self._begun_ns) // 1_000, quantiles(self._waits_us))

    async def _caller(self, loop: asyncio.AbstractEventLoop) -> _Caller:
        _, caller = await loop.create_connection(lambda: _Caller(self.done, self.fail), self._host, self._port)
        return caller

    def _on_tick(self, now_ns: int) -> None:
        """Lets all arrive that are due."""
        while self._arrived < self._wanted:
            due_ns = self._begun_ns + int(self._arrived * self._interval_ns)
            if due_ns > now_ns:
                self._agenda.at(self._tick, due_ns)
                return
            self._arrived += 1
            if self._free:
                self._free.pop().send(self._message, due_ns)
            elif len(self._waiting) < MAX_WAITING:
                self._waiting.append(due_ns)
            else:
                self.fail(f"{MAX_WAITING:,} requests wait for a connection")
                return

    def done(self, caller: _Caller, due_ns: int) -> None:
        self._waits_us.append((time.monotonic_ns() - due_ns) / 1e3)
        if self._waiting:
            caller.send(self._message, self._waiting.popleft())
        else:
            self._free.append(caller)
            if len(self._waits_us) == self._wanted and not self._over.done():
                self._over.set_result(None)

    def fail(self, why: str) -> None:
        if not self._over.done():
            self._over.set_exception(BenchError(f"of {self._arrived:,} requests one failed: {why}"))


class _Caller(asyncio.Protocol):
    """One connection with one request under way at most."""

    def __init__(self, done: Callable[[_Caller, int], None], fail: Callable[[str], None]) -> None:
        self._done = done
        self._fail = fail
        self._parser = httptools.HttpResponseParser(self)
        self._due_ns = 0
        self._transport: asyncio.Transport
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, message: bytes, due_ns: int) -> None:
        self._due_ns = due_ns
        self._transport.write(message)

    def close(self) -> None:
        self._closing = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")

    def on_message_complete(self) -> None:
        status, parser = self._parser.get_status_code(), self._parser
        if status != 200:
            self._fail(f"status {status}")
        elif not parser.should_keep_alive():
            self._fail("its connection is not kept")
        else:
            self._done(self, self._due_ns)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self._fail("its connection was lost")
