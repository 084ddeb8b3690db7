"""A worker: one process, one loop, one pipeline. Accepts, swaps snapshots, drains.

Order at start: take the slot, load the snapshot, fetch the tokens that providers are shown, listen, report SERVING. Order at the end of
the node (SIGTERM): report DRAINING, so that /readyz fails; tell each client that its answer is the last one on its connection while the
load balancer looks (`lame_duck_ms`); stop accepting; let what is under way finish, at most `drain_grace_ms`; account; exit.

Order when a successor serves on the same sockets (SIGUSR1): report RETIRING; stop accepting; finish what there is, for which there
is no haste; account; exit. No connection is closed under a client that may be about to use it: it is told so with an answer, or
has rested for `idle_ms`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from _fastpath.bucket import Table
from _fastpath.metrics import Registry
from _fastpath.shm import NodeMemory
from _fastpath.wheel import Wheel, now_ns
from gateway.base import node as slots
from gateway.base.context import Compiled
from gateway.base.node import Node
from gateway.base.ports import RecordSpool, TokenCounter
from gateway.base.snapshot import Encoded
from gateway.dataplane.calibrations import Calibrations
from gateway.dataplane.certificates import follow_certificates
from gateway.dataplane.compile import Pools, Resolve, compile_snapshot, dismantle
from gateway.dataplane.credentials import Credentials, Fetcher, Source
from gateway.dataplane.pipeline import Pipeline
from gateway.dataplane.slices import in_slices
from gateway.net.edge import RunningEdge, behind_node, native_edge
from gateway.net.listener import Listener, NativeEdge
from gateway.net.tls import server_files
from gateway.phases.account import Accountant, RequestLog
from gateway.phases.admit import Admission
from gateway.phases.authenticate import Authenticator

if TYPE_CHECKING:
    from gateway.net.granian_edge import GranianEdge

LOOP_LAG_US_BOUNDS = (100, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000)
NOTICE_S = 0.02
"""How often a worker looks whether there is a new snapshot: one read of the shared memory."""
_UNUSED = 3
"""References to a retired snapshot that no request pins: of the list, of its reader, and of the call that counts."""
_CLOSE_S = 5.0
ARRIVAL_NS = 100_000_000
"""From accepting a connection to its being counted, at most."""
_LOOK_S = 0.01
"""Between two looks whether all callers have gone."""


class Log(RequestLog, Protocol):
    """JSON logs."""

    level: str

    def event(self, level: str, event: str, **fields: object) -> None: ...
    def close(self, timeout: float) -> bool: ...


class Spool(RecordSpool, Protocol):
    def close(self, timeout: float) -> bool: ...


class Services(msgspec.Struct):
    """What a worker is given by the composition root."""

    node: Node
    memory: NodeMemory
    slot: int
    number: int
    """Of the worker in its node, from 0."""
    pepper: bytes
    listeners: list[socket.socket]
    http2_listeners: list[socket.socket]
    """Of the Granian edge; empty where the node has none."""
    resolve: Resolve
    token_source: Source
    log: Log
    counter: Callable[[Registry], TokenCounter]
    spool: Callable[[Registry], Spool]
    """Both are made once the worker has its metrics, in which they count what they estimate and what they drop."""


def read_snapshot(path: Path) -> Encoded:
    """The node's snapshot file, to be decoded in slices. Raises OSError or SnapshotError."""
    return Encoded(path.read_bytes())


class Worker:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._memory = services.memory
        self._slot = services.slot
        self._node = services.node
        self._log = services.log
        self._generation = -1
        self._compiled: Compiled | None = None
        self._retired: list[Compiled] = []
        """Snapshots that were swapped out; as many as requests in flight pin."""
        self._called = asyncio.Event()
        """It is to end: at once if `_stopping`, else when everybody has left."""
        self._stopping = False
        self._edges: list[RunningEdge] = []
        self._http2_edges: list[GranianEdge] = []
        self._failure = ""
        """Why the worker ends although nobody asked it to."""

    async def main(self) -> None:
        services, memory, slot = self._services, self._memory, self._slot
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_stop)
        loop.add_signal_handler(signal.SIGUSR1, self._called.set)
        spool = await self._build(self._node.snapshot_file)
        await self._credentials.begin()
        self._pools.warm()
        await self._open()
        tasks = [asyncio.create_task(step()) for step in (self._beat, self._follow)]
        shown = [each.tls for each in self._listeners] + [each.tls for each in self._http2_edges]
        of_listeners = [files for files in shown if files is not None]
        certificates = asyncio.create_task(follow_certificates(of_listeners, self._pools, services.log.event))
        certificates.add_done_callback(_raise_failure)
        tasks.append(certificates)
        _settle_memory()
        memory.set_state(slot, slots.SERVING)
        self._log.event("info", "worker.serving", slot=slot, pid=os.getpid(), version=self._pipeline.version)
        await self._called.wait()
        if not self._stopping:
            await self._retire()
        if self._stopping:
            await self._drain()
        for task in tasks:
            task.cancel()
        await self._close(spool)

    async def rehearse(self, snapshot_file: Path) -> None:
        """Builds all of it and serves nobody: whether this version can serve that snapshot on this node.

        Raises:
            OSError, SnapshotError, ValueError, RuntimeError: it cannot.
        """
        spool = await self._build(snapshot_file)
        for tls in (self._node.tls, self._node.http2.tls if self._node.http2 is not None else None):
            server_files(tls)
        await self._close(spool)

    async def _build(self, snapshot_file: Path) -> Spool:
        services, memory, slot = self._services, self._memory, self._slot
        memory.occupy(slot, os.getpid())
        memory.set_gauge(slot, slots.G_ROLE, slots.ROLE_WORKER)
        memory.set_gauge(slot, slots.G_WORKER, services.number)
        loop = asyncio.get_running_loop()
        registry = Registry(memory, slot)
        spool = services.spool(registry)
        self._counter = services.counter(registry)
        self._wheel = Wheel(loop)
        self._wheel.start()
        self._pools = Pools(loop, self._wheel)
        fetcher = Fetcher(loop, self._wheel)
        self._credentials = Credentials(services.token_source, fetcher, registry, services.log.event)
        self._table = Table(memory, slot)
        self._pipeline = Pipeline(
            Authenticator(services.pepper), Accountant(registry, spool, services.log), services.log.event
        )
        self._loop_lag = registry.histogram("throughway_loop_lag_us", LOOP_LAG_US_BOUNDS)
        self._calibrations = Calibrations(registry)
        self._swaps = registry.counter("throughway_snapshot_swaps_total")
        self._swap_failures = registry.counter("throughway_snapshot_failures_total")
        await self._load_snapshot(snapshot_file, rests=False)
        self._handler, self._refusal_fields = behind_node(self._pipeline, self._node)
        native = native_edge(loop, self._wheel, self._handler, self._node.bounds, self._node.timeouts)
        native.refusal_fields = self._refusal_fields
        self._listeners = [
            Listener(loop, native, listener, self._node, services.log.event) for listener in services.listeners
        ]
        self._edges = [NativeEdge(native, self._listeners)]
        return spool

    async def _close(self, spool: Spool) -> None:
        self._credentials.close()
        for pool in self._pools.all():
            pool.close()
        self._wheel.close()
        spool.close(_CLOSE_S)
        self._log.event("info", "worker.stopped", slot=self._slot)
        self._log.close(_CLOSE_S)
        if self._failure:
            raise RuntimeError(self._failure)

    # -- the edges

    async def _open(self) -> None:
        """Begins to accept on every edge."""
        node = self._node
        for listener in self._listeners:
            await listener.open()
        for http2_listener in self._services.http2_listeners if node.http2 is not None else ():
            from gateway.net.granian_edge import GranianEdge  # noqa: PLC0415 - Granian is loaded where it is asked for

            assert node.http2 is not None
            self._http2_edges.append(
                GranianEdge(
                    self._handler,
                    http2_listener,
                    wheel=self._wheel,
                    http2=node.http2,
                    bounds=node.bounds,
                    timeouts=node.timeouts,
                    report=self._log.event,
                    on_failure=self._fail,
                    refusal_fields=self._refusal_fields,
                )
            )
        self._edges += self._http2_edges

    def _fail(self, reason: str) -> None:
        """Ends the worker as at SIGTERM, but so that the supervisor hears of it."""
        self._log.event("error", "worker.failed", slot=self._slot, error=reason)
        self._failure = reason
        self._on_stop()

    # -- the end

    def _on_stop(self) -> None:
        self._stopping = True
        self._called.set()

    def _close_sockets(self) -> None:
        for listener in (*self._services.listeners, *self._services.http2_listeners):
            listener.close()

    async def _retire(self) -> None:
        """Returns when nobody is left, or when the node is to stop."""
        edges = self._edges
        self._memory.set_state(self._slot, slots.RETIRING)
        for edge in edges:
            edge.retire()
        self._close_sockets()
        self._log.event("info", "worker.retiring", slot=self._slot, connections=sum(e.connections for e in edges))
        stay_until_ns = now_ns() + ARRIVAL_NS
        while not self._stopping:
            if now_ns() >= stay_until_ns and not any(e.in_flight or e.connections for e in edges):
                break
            await asyncio.sleep(_LOOK_S)

    async def _drain(self) -> None:
        edges = self._edges
        self._memory.set_state(self._slot, slots.DRAINING)
        for edge in edges:
            edge.announce()
        self._log.event("info", "worker.draining", slot=self._slot, in_flight=sum(e.in_flight for e in edges))
        await asyncio.sleep(self._node.lame_duck_ms / 1_000)
        deadline_ns = now_ns() + self._node.drain_grace_ms * 1_000_000
        await asyncio.gather(*(edge.take_the_last() for edge in edges))
        self._close_sockets()
        for edge in edges:
            edge.drain()
        while any(e.in_flight or e.connections for e in edges) and now_ns() < deadline_ns:  # noqa: ASYNC110 - counters
            await asyncio.sleep(_LOOK_S)
        cut = sum(e.in_flight for e in edges)
        if cut:
            self._log.event("warning", "worker.grace_ended", slot=self._slot, cut=cut)
        for edge in edges:
            edge.abort_all()
        await asyncio.sleep(0)  # connection_lost, which accounts for what was cut, runs now
        await asyncio.sleep(0)

    # -- heartbeat

    async def _beat(self) -> None:
        memory, slot, edges = self._memory, self._slot, self._edges
        agents = range(memory.slots - slots.AGENT_SLOTS, memory.slots)
        interval_s = slots.HEARTBEAT_MS / 1_000
        while True:
            memory.beat(slot)
            pools = self._pools.all()
            for gauge, value in (
                (slots.G_IN_FLIGHT, sum(e.in_flight for e in edges)),
                (slots.G_CONNECTIONS, sum(e.connections for e in edges)),
                (slots.G_BODY_BYTES, sum(e.body_bytes for e in edges)),
                (slots.G_TOKENS_IN_FLIGHT, self._pipeline.tokens_in_flight),
                (slots.G_UPSTREAM_IDLE, sum(p.idle for p in pools)),
                (slots.G_UPSTREAM_BUSY, sum(p.busy for p in pools)),
            ):
                memory.set_gauge(slot, gauge, value)
            level = slots.LOG_LEVELS[max(memory.gauge(agent, slots.G_LOG_LEVEL) for agent in agents)]
            if level and level != self._log.level:
                self._log.level = level
            before_ns = now_ns()
            await asyncio.sleep(interval_s)
            lag_us = max(0, now_ns() - before_ns - slots.HEARTBEAT_MS * 1_000_000) // 1_000
            memory.set_gauge(slot, slots.G_LOOP_LAG_US, lag_us)
            self._loop_lag.observe(lag_us)

    # -- snapshots

    async def _follow(self) -> None:
        """Takes up each snapshot that the agent announces, and lets go of those that no request pins any more."""
        while True:
            if self._memory.snapshot_generation != self._generation:
                await self._reload()
            if self._retired:
                await self._dismantle_retired()
            await asyncio.sleep(NOTICE_S)

    async def _load_snapshot(self, file: Path, *, rests: bool) -> None:
        """Takes the node's snapshot into use, in slices. Raises SnapshotError, OSError, ValueError, RuntimeError."""
        generation = self._memory.snapshot_generation
        encoded = await asyncio.to_thread(read_snapshot, file)
        snapshot = await in_slices(encoded.decode(), rests=rests)
        await asyncio.to_thread(self._pools.prepare, snapshot.providers)
        admission = Admission(self._table, self._counter, {t.name: t for t in snapshot.teams})
        resolve, credentials = self._services.resolve, self._credentials
        steps = compile_snapshot(snapshot, self._pools, resolve, admission, self._calibrations, credentials=credentials)
        compiled = await in_slices(steps, rests=rests)
        if rests:
            await credentials.begin()
        before, self._compiled = self._compiled, compiled
        self._pipeline.swap(compiled, admission)
        self._pools.keep(snapshot.providers)
        self._calibrations.keep(snapshot)
        credentials.keep(snapshot.providers)
        self._generation = generation
        self._memory.set_gauge(self._slot, slots.G_GENERATION, generation)
        self._swaps.add(1)
        if before is not None:
            self._retired.append(before)

    async def _dismantle_retired(self) -> None:
        free = [compiled for compiled in self._retired if sys.getrefcount(compiled) <= _UNUSED]
        self._retired = [compiled for compiled in self._retired if compiled not in free]
        for compiled in free:
            await in_slices(dismantle(compiled))

    async def _reload(self) -> None:
        """The node has a new snapshot. One that cannot be used is reported, and the last good one goes on serving."""
        generation = self._memory.snapshot_generation
        gc.collect(0)  # what is frozen below is never looked at again, garbage neither
        gc.disable()  # it would walk all that is being made, for milliseconds
        try:
            await self._load_snapshot(self._node.snapshot_file, rests=True)
            self._pools.warm()
        except Exception as error:  # whatever is wrong with it or with us, the last good one goes on serving
            self._generation = generation
            self._swap_failures.add(1)
            why = f"{type(error).__name__}: {error}"
            self._log.event("error", "worker.snapshot_refused", slot=self._slot, error=why)
        else:
            self._log.event("info", "worker.snapshot_swapped", slot=self._slot, version=self._pipeline.version)
        finally:
            gc.freeze()  # what was made stays, as what stood at the start does; it is freed by its last reference
            gc.enable()


def _raise_failure(task: asyncio.Task[None]) -> None:
    """A task that nobody awaits must not fail in silence: the loop's exception handler is told."""
    if not task.cancelled():
        task.result()


def _settle_memory() -> None:
    """What stands by now stays, so the collector need not walk it; a request leaves no cycle, so it need not run often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
