"""Callers of streams: many at once that stay."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.compare.press import Ask
from bench.errors import BenchError

_EVENT: Final = b"data:"
_END: Final = b"data: [DONE]"
_PIECE_BYTES: Final = 65_536
_OPENING: Final = 64
"""Connections that are being opened at the same time: no backlog is shorter."""


@dataclass(frozen=True, slots=True)
class Flow:
    """Many streams that were open at the same time, for a while."""

    streams: int
    begun_s: float
    """From the first request until each had its first event."""
    events: int
    """That came while all were open."""
    window_s: float


def hold(
    ask: Ask,
    count: int,
    window_s: float,
    patience_s: float,
    on_open: Callable[[], object],
    on_end: Callable[[], object],
) -> Flow:
    """Opens streams, waits until each has its first event, lets them flow, and leaves.

    Args:
        ask: for a stream that lasts longer than all of this.
        count: of streams.
        window_s: how long they flow.
        patience_s: until each must have begun.
        on_open, on_end: called at the beginning and the end of the window.

    Raises:
        BenchError: a stream was refused, ended, or did not begin in time.
    """
    return asyncio.run(_Crowd(ask, count).hold(window_s, patience_s, on_open, on_end))


class _Crowd:
    def __init__(self, ask: Ask, count: int) -> None:
        self._host, self._port = ask.place
        self._request = ask.message()
        self._count = count
        self._begun = 0
        self._events = 0
        self._all_begun = asyncio.Event()
        self._gate = asyncio.Semaphore(_OPENING)

    async def hold(
        self, window_s: float, patience_s: float, on_open: Callable[[], object], on_end: Callable[[], object]
    ) -> Flow:
        began_s = time.monotonic()
        callers = [asyncio.create_task(self._call()) for _ in range(self._count)]
        failed = asyncio.create_task(_first_failure(callers))
        try:
            await self._until(self._all_begun.wait(), failed, patience_s)
            begun_s = time.monotonic() - began_s
            on_open()
            before, opened_s = self._events, time.monotonic()
            await self._until(asyncio.sleep(window_s), failed, None)
            events, lasted_s = self._events - before, time.monotonic() - opened_s
            on_end()
        finally:
            for task in (failed, *callers):
                task.cancel()
            await asyncio.gather(failed, *callers, return_exceptions=True)
        return Flow(self._count, begun_s, events, lasted_s)

    async def _until(
        self, what: Coroutine[Any, Any, object], failed: asyncio.Task[None], patience_s: float | None
    ) -> None:
        """Waits for it, or for the first stream that fails."""
        waiting = asyncio.create_task(what)
        done, _ = await asyncio.wait({waiting, failed}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        if failed in done:
            waiting.cancel()
            failed.result()
        if not done:
            waiting.cancel()
            raise BenchError(f"of {self._count:,} streams {self._begun:,} had begun after {patience_s:g} s")

    async def _call(self) -> None:
        async with self._gate:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise BenchError(f"a stream was refused: {head[:40]!r} {await reader.read(_PIECE_BYTES)!r}")
            await self._read(reader)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise BenchError(f"a stream failed: {error!r}") from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        begun = False
        while piece := await reader.read(_PIECE_BYTES):
            self._events += piece.count(_EVENT)
            if not begun and _EVENT in piece:
                begun = True
                self._begun += 1
                if self._begun == self._count:
                    self._all_begun.set()
            if _END in piece:
                break
        raise BenchError("a stream ended before it was left")


async def _first_failure(tasks: Sequence[asyncio.Task[None]]) -> None:
    for done in asyncio.as_completed(tasks):
        await done
