"""What one process does: connections first, then the load, then what is still to be answered."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import uvloop

from bench.client.payloads import Entry, Target, payloads
from bench.client.result import Part
from bench.errors import BenchError
from bench.native.agenda import Agenda, Call, now_ns
from bench.native.caller import Load
from bench.native.draw import Draw

DIALS: Final = 128
"""Connections that are made at once, by all processes together."""
_DIAL_S: Final = 10.0
_RETRY_S: Final = 0.1
_LOOK_S: Final = 0.1
SETTLE_NS: Final = 20_000_000
"""Between the last connection and the first request."""
_NS_PER_S: Final = 1_000_000_000
_FOREVER_NS: Final = 1 << 62
_SCHEDSTAT: Final = Path("/proc/self/schedstat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to ask.

    Args:
        rate: requests a second, for an open loop; None for a closed one.
        arrivals: of an open loop.
        processes: that ask; they share connections and rate evenly.
        connections: kept open. Of an open loop: at most so many requests are under way.
        seconds: that are measured, after `warm_up_s`.
        timeout_s: of a request.
        max_lag_ms: of the schedule's lateness, 99th percentile: beyond, the figures are not to be trusted.
        trust: a file with the authorities of a TLS target; None for the system's.
        check_certificate: False to take whoever answers.
    """

    target: Target
    rate: float | None
    arrivals: Literal["constant", "poisson"]
    processes: int
    connections: int
    seconds: float
    warm_up_s: float
    timeout_s: float
    seed: int
    max_lag_ms: float
    trust: Path | None
    check_certificate: bool


Gate = Callable[[], Awaitable[int]]
"""Awaited when all connections are made: says when to begin (CLOCK_MONOTONIC)."""


async def at_once() -> int:
    """Whoever asks alone waits for nobody."""
    return now_ns() + SETTLE_NS


def play(
    settings: Settings,
    entries: Sequence[Entry],
    key: str | None,
    on_progress: Callable[[str, float], object],
    gate: Gate = at_once,
    offset_ns: int = 0,
) -> Part:
    """Asks, and says what came.

    Args:
        settings: how, this process's share of connections and rate.
        entries: what.
        key: the caller's.
        on_progress: called now and then with what is done and which share of it.
        gate: when to begin.
        offset_ns: from then to the first request of an open loop.

    Raises:
        BenchError: the target cannot be reached, or did not answer at all.
    """
    context = _context(settings)
    return uvloop.run(_Run(settings, entries, key, context, on_progress).play(gate, offset_ns))


class _Run:
    def __init__(
        self,
        settings: Settings,
        entries: Sequence[Entry],
        key: str | None,
        context: ssl.SSLContext | None,
        on_progress: Callable[[str, float], object],
    ) -> None:
        self._settings = settings
        self._payloads = payloads(entries, settings.target, key)
        self._context = context
        self._on_progress = on_progress
        self._dials = asyncio.Semaphore(max(1, DIALS // settings.processes))
        self._tasks: set[asyncio.Task[None]] = set()
        self._until_ns = _FOREVER_NS

    async def play(self, gate: Gate, offset_ns: int) -> Part:
        settings = self._settings
        self._agenda = agenda = Agenda(asyncio.get_running_loop())
        interval = None
        if settings.rate is not None:
            kind: Literal["fixed", "exponential"] = "fixed" if settings.arrivals == "constant" else "exponential"
            interval = Draw(kind, _NS_PER_S / settings.rate)
        self._load = Load(
            agenda,
            settings.seed,
            self._payloads,
            interval,
            settings.timeout_s * 1e3,
            self._lost,
            self._context is not None,
        )
        try:
            await self._connect_all()
            gc.collect()
            gc.freeze()
            return await self._measure(await gate(), offset_ns)
        finally:
            self._load.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0.01)  # the loop tells all connections that they are lost
            agenda.close()

    # -- connections

    async def _connect_all(self) -> None:
        made = 0

        async def one() -> None:
            nonlocal made
            await self._connect()
            made += 1
            self._on_progress("connecting", made / self._settings.connections)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._settings.connections):
                    group.create_task(one())
        except* (OSError, TimeoutError) as errors:
            first = errors.exceptions[0]
            reason = "no answer in time" if isinstance(first, TimeoutError) else str(first)
            where = f"{self._settings.target.host}:{self._settings.target.port}"
            raise BenchError(f"{where} cannot be reached with connection {made + 1}: {reason}") from first

    async def _connect(self) -> None:
        where = self._settings.target
        name = None if self._context is None else where.host
        protocols = cast("Callable[[], asyncio.Protocol]", self._load.accept)
        async with self._dials, asyncio.timeout(_DIAL_S):
            await asyncio.get_running_loop().create_connection(
                protocols, where.host, where.port, ssl=self._context, server_hostname=name
            )

    def _lost(self) -> None:
        """Makes a new connection in place of one that was lost, as long as there is something to ask."""
        if now_ns() >= self._until_ns and not self._load.pending:
            return
        task = asyncio.ensure_future(self._reconnect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reconnect(self) -> None:
        while now_ns() < self._until_ns or self._load.pending:
            try:
                await self._connect()
            except (OSError, TimeoutError):
                self._load.refused()
                await asyncio.sleep(_RETRY_S)
            else:
                return

    # -- the measured time

    async def _measure(self, begin_ns: int, offset_ns: int) -> Part:
        settings = self._settings
        from_ns = begin_ns + int(settings.warm_up_s * _NS_PER_S)
        self._until_ns = until_ns = from_ns + int(settings.seconds * _NS_PER_S)
        # The agenda marks both ends: the loop's own timers starve while more than 1,024 sockets are ready at a time.
        marks: list[tuple[float, int, int]] = []
        ends = [Call(lambda _: marks.append((time.process_time(), _ran_ns(), now_ns()))) for _ in range(2)]
        for end, at_ns in zip(ends, (from_ns, until_ns), strict=True):
            self._agenda.at(end, at_ns)
        self._load.start(begin_ns + offset_ns, from_ns, until_ns)
        await self._sleep_until(from_ns, "warm-up", begin_ns - SETTLE_NS)
        await self._sleep_until(until_ns, "measuring", from_ns)
        deadline_ns = until_ns + int((settings.timeout_s + 1) * _NS_PER_S)
        while len(marks) < 2 or (self._load.pending and now_ns() < deadline_ns):
            self._on_progress("awaiting answers", 1.0)
            await asyncio.sleep(_LOOK_S / 5)
        self._load.stop()
        cpu_s, ran_ns, wall_ns = (end - begin for begin, end in zip(*marks, strict=True))
        return Part.of(self._load, cpu_s, ran_ns / wall_ns)

    async def _sleep_until(self, then_ns: int, what: str, since_ns: int) -> None:
        while (left_ns := then_ns - now_ns()) > 0:
            self._on_progress(what, 1 - left_ns / (then_ns - since_ns))
            await asyncio.sleep(min(left_ns / _NS_PER_S, _LOOK_S))


def _ran_ns() -> int:
    """For how long this process ran, or could have run and waited for a core. Source: proc(5), schedstat."""
    ran, waited, *_ = _SCHEDSTAT.read_text().split()
    return int(ran) + int(waited)


def _context(settings: Settings) -> ssl.SSLContext | None:
    if settings.target.scheme == "http":
        return None
    try:
        context = ssl.create_default_context(cafile=None if settings.trust is None else str(settings.trust))
    except (OSError, ssl.SSLError) as error:
        raise BenchError(f"{settings.trust}: no authorities can be read: {error.strerror or error}") from error
    if not settings.check_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
