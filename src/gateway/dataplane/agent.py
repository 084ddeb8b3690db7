"""The node's agent: one process beside the workers, for what must not cost them time.

    reload    watches the source of configuration, compiles what has changed, writes the snapshot, announces it
    ship      moves usage records from the spool to the ledger
    ops       answers /healthz, /readyz, /metrics and /status for the whole node, out of the shared memory

Workers do not need it: while it is away they go on with the snapshot they have, and records wait in the spool.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from _fastpath.edge import Edge, Exchange
from _fastpath.metrics import Registry
from _fastpath.shm import NodeMemory
from _fastpath.wheel import Wheel, now_ns
from gateway import __version__
from gateway.base import node as slots
from gateway.base.errors import ConfigurationError
from gateway.base.files import replace_private
from gateway.base.node import Bounds, Node, ServerTimeouts
from gateway.base.ports import SOURCE_KINDS, SnapshotSource, SourceStatus
from gateway.base.snapshot import Encoded, Key, Limits, Snapshot, Team, encode
from gateway.dataplane.calibrations import learnt
from gateway.dataplane.worker import Log
from gateway.net.edge import listen, native_edge

POLL_S = 0.25
"""How often the source is asked whether it has changed."""
FRESH_NS = 3_000_000_000
"""A worker whose heartbeat is older is not counted as alive."""
LEAVE_S = 2.0
"""The longest that a leaving agent waits for those whom it has accepted: a request that is still to come has a second."""
_TEXT = b"content-type: text/plain; charset=utf-8\r\n"
_JSON = b"content-type: application/json\r\n"
_PROMETHEUS = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


_OPS_BOUNDS = Bounds(head_bytes=16_384, body_bytes=16_384, all_bodies_bytes=1_048_576, in_flight=256, connections=256)
_OPS_TIMEOUTS = ServerTimeouts(head_ms=5_000, body_gap_ms=5_000, idle_ms=75_000, write_ms=10_000)


class _Ops:
    """The application behind the ops listener."""

    def __init__(self, answer: Callable[[Exchange], None]) -> None:
        self.on_request = answer

    def on_head(self, _: Exchange) -> bool:
        return True

    def on_refusal(self, _: int, reason: str, __: str) -> tuple[bytes, bytes]:
        return _TEXT, f"{reason}\n".encode()


class Shipping(Protocol):
    """One round of moving records; see `adapters.shipper`."""

    def run_once(self) -> Any: ...
    @property
    def next_delay_ms(self) -> int: ...


class AgentServices(msgspec.Struct):
    """What the agent is given by the composition root."""

    node: Node
    memory: NodeMemory
    slot: int
    workers: int
    listener: socket.socket
    source: SnapshotSource
    shipper: Shipping
    log: Log


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Replaces the node's snapshot file: another reader sees the old one or the new one, whole. Raises OSError."""
    replace_private(path, encode(snapshot))


class SourceGauges:
    """The source of configuration, as metrics. Its labels are closed sets."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._kinds = {kind: registry.gauge("throughway_config_source", {"source": kind}) for kind in SOURCE_KINDS}
        self._up = registry.gauge("throughway_config_source_up")
        self._sequence = registry.gauge("throughway_config_sequence")
        self._loaded = registry.gauge("throughway_config_loaded_timestamp_seconds")

    def show(self, status: SourceStatus) -> None:
        for kind, gauge in self._kinds.items():
            gauge.set(kind == status.kind)
        self._up.set(not status.fault)
        self._sequence.set(status.sequence or 0)
        self._loaded.set(int(status.loaded_at_s or 0))

    def fault(self, reason: str) -> None:
        self._registry.counter("throughway_config_source_faults_total", {"reason": reason}).add(1)


class Agent:
    """See the module."""

    def __init__(self, services: AgentServices) -> None:
        self._services = services
        self._node = services.node
        self._memory = services.memory
        self._log = services.log
        self._stopping = asyncio.Event()
        self._nudged = asyncio.Event()
        """There is a reason to look at the source before the next poll."""
        self._asked = False
        """The reason is a signal: the source is read even if it seems unchanged."""
        self._source = SourceStatus("file")
        """As it was reported last."""
        self._version = ""
        """Of the snapshot that was published last."""
        self._problems: list[str] = []
        self._configured_level: str | None = None
        self._loaded = False
        self._reloaded_at_s = 0.0

    async def main(self) -> None:
        services = self._services
        self._memory.occupy(services.slot, os.getpid())
        self._memory.set_gauge(services.slot, slots.G_ROLE, slots.ROLE_AGENT)
        self._memory.set_gauge(services.slot, slots.G_LOG_LEVEL, slots.LOG_LEVELS.index(self._log.level))
        self._version = Encoded(self._node.snapshot_file.read_bytes()).version
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._ask)
        registry = Registry(self._memory, services.slot)
        self._reloads = registry.counter("throughway_config_reloads_total")
        self._reload_failures = registry.counter("throughway_config_reload_failures_total")
        self._source_gauges = SourceGauges(registry)
        self._shipped = registry.counter("throughway_usage_records_shipped_total")
        self._ship_failures = registry.counter("throughway_usage_ship_failures_total")
        self._spool_bytes = registry.gauge("throughway_spool_bytes")
        services.source.watch(lambda: loop.call_soon_threadsafe(self._nudged.set))
        wheel = Wheel(loop)
        wheel.start()
        edge = self._ops_edge(loop, wheel)
        server = await listen(loop, edge, services.listener)
        tasks = [asyncio.create_task(step()) for step in (self._beat, self._watch, self._ship)]
        self._memory.set_state(services.slot, slots.SERVING)
        stop = asyncio.create_task(self._wait_for_stop())
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        server.close()
        edge.retire()  # who asks meanwhile is answered, and told to connect anew
        for task in tasks:
            task.cancel()
        for task in done - {stop}:
            task.result()  # a step that has failed ends the agent loudly; the supervisor starts another
        services.source.close()
        await asyncio.to_thread(services.shipper.run_once)
        await self._let_go(edge)
        wheel.close()
        self._log.close(5.0)

    async def _let_go(self, edge: Edge) -> None:
        """Answers whom it has accepted before it closed: a probe that is cut off takes a load balancer's node away."""
        edge.drain()
        until_ns = now_ns() + int(LEAVE_S * 1e9)
        while edge.connections and now_ns() < until_ns:  # noqa: ASYNC110 - a counter
            await asyncio.sleep(0.01)

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()

    async def _beat(self) -> None:
        while True:
            self._memory.beat(self._services.slot)
            await asyncio.sleep(slots.HEARTBEAT_MS / 1_000)

    # -- reload

    def _ask(self) -> None:
        self._asked = True
        self._nudged.set()

    async def _watch(self) -> None:
        source = self._services.source
        while True:
            try:
                async with asyncio.timeout(POLL_S):
                    await self._nudged.wait()
            except TimeoutError:
                pass
            self._nudged.clear()
            asked, self._asked = self._asked, False
            if asked or await asyncio.to_thread(source.changed):
                await self._reload()
            self._report_source(source.status)

    def _report_source(self, status: SourceStatus) -> None:
        """Says once what has become of the source."""
        before, self._source = self._source, status
        self._source_gauges.show(status)
        if (status.reason, status.fault) != (before.reason, before.fault):
            if status.fault:
                self._source_gauges.fault(status.reason)
                self._log.event(
                    "error", "config.source_fault", reason=status.reason, error=status.fault, serves=status.kind
                )
            else:
                self._log.event("info", "config.source_recovered", source=status.kind, where=status.where)
        if (status.kind, status.sequence) != (before.kind, before.sequence):
            self._log.event("info", "config.source", source=status.kind, where=status.where, sequence=status.sequence)

    async def _reload(self) -> None:
        try:
            snapshot = await asyncio.to_thread(self._services.source.load)
        except ConfigurationError as error:
            self._refuse([str(problem) for problem in error.problems])
            last_good = await asyncio.to_thread(self._services.source.last_good)
            if last_good is not None and last_good.version != self._version and not self._too_large(last_good):
                await self._publish(last_good)
            return
        if too_large := self._too_large(snapshot):
            self._refuse([too_large])
            return
        self._problems = []
        self._follow_log_level(self._services.source.log_level)
        for warning in self._services.source.warnings:
            self._log.event("warning", "config.warning", message=warning)
        first, self._loaded = not self._loaded, True
        if first and snapshot.version == self._version:
            return  # the node began with it
        # An equal version is announced all the same: a provider's credential may have changed behind its reference.
        await self._publish(snapshot)

    def _refuse(self, problems: list[str]) -> None:
        self._reload_failures.add(1)
        self._problems = problems
        self._log.event("error", "config.refused", problems=problems[:20], problem_count=len(problems))

    def _too_large(self, snapshot: Snapshot) -> str:
        return _too_large(snapshot, self._memory.limit_rows)

    async def _publish(self, snapshot: Snapshot) -> None:
        try:
            await asyncio.to_thread(write_snapshot, self._node.snapshot_file, snapshot)
        except OSError as error:
            self._reload_failures.add(1)
            self._problems = [f"{self._node.snapshot_file}: {error.strerror}"]
            self._log.event("error", "config.not_written", file=str(self._node.snapshot_file), error=str(error))
            return
        self._version = snapshot.version
        self._reloaded_at_s = time.time()
        generation = self._memory.announce_snapshot()
        self._reloads.add(1)
        self._log.event("info", "config.published", version=snapshot.version, generation=generation)

    def _follow_log_level(self, level: str | None) -> None:
        """A level that changes in the configuration takes effect; until then the one that the node was started with holds."""
        before, self._configured_level = self._configured_level, level
        if level is not None and before is not None and level != before:
            self._log.level = level
            self._memory.set_gauge(self._services.slot, slots.G_LOG_LEVEL, slots.LOG_LEVELS.index(level))
            self._log.event("info", "log.level_changed", to=level)

    # -- ship

    async def _ship(self) -> None:
        shipper = self._services.shipper
        failing = False
        while True:
            result = await asyncio.to_thread(shipper.run_once)
            self._shipped.add(result.records)
            self._spool_bytes.set(result.bytes_left)
            if result.error:
                self._ship_failures.add(1)
                if not failing:
                    self._log.event("error", "usage.ship_failed", error=result.error)
            elif failing:
                self._log.event("info", "usage.ship_recovered")
            failing = bool(result.error)
            await asyncio.sleep(shipper.next_delay_ms / 1_000)

    # -- ops

    def _ops_edge(self, loop: asyncio.AbstractEventLoop, wheel: Wheel) -> Edge:
        return native_edge(loop, wheel, _Ops(self._answer), _OPS_BOUNDS, _OPS_TIMEOUTS)

    def _answer(self, exchange: Exchange) -> None:
        if exchange.method not in ("GET", "HEAD"):
            exchange.respond(405, _TEXT + b"allow: GET, HEAD\r\n", b"this endpoint answers GET and HEAD\n")
        elif exchange.path == "/healthz":
            alive = len(self._states())
            exchange.respond(
                200 if alive else 503, _TEXT, f"{alive} of {self._services.workers} workers alive\n".encode()
            )
        elif exchange.path == "/readyz":
            ready, why = self._readiness()
            exchange.respond(200 if ready else 503, _TEXT, f"{why}\n".encode())
        elif exchange.path == "/metrics":
            from gateway.dataplane.exposition import render  # noqa: PLC0415 - wanted in this process alone

            exchange.respond(200, _PROMETHEUS, render(self._memory, self._services.workers))
        elif exchange.path == "/status":
            exchange.respond(200, _JSON, msgspec.json.encode(self.status()))
        else:
            exchange.respond(404, _TEXT, b"there are /healthz, /readyz, /metrics and /status\n")

    def _slots_of_workers(self) -> list[int]:
        """Those that a worker's process has taken."""
        memory = self._memory
        return [
            slot
            for slot in range(memory.slots)
            if memory.pid(slot) and memory.gauge(slot, slots.G_ROLE) == slots.ROLE_WORKER
        ]

    def _states(self) -> dict[int, int]:
        """Of each worker that lives: the state of whoever serves for it, not of one that a restart has replaced."""
        memory, oldest_ns = self._memory, now_ns() - FRESH_NS
        found: dict[int, int] = {}
        for slot in self._slots_of_workers():
            state = memory.state(slot)
            if memory.heartbeat_ns(slot) > oldest_ns and state != slots.RETIRING:
                number = memory.gauge(slot, slots.G_WORKER)
                found[number] = slots.SERVING if found.get(number) == slots.SERVING else state
        return found

    def _readiness(self) -> tuple[bool, str]:
        """Ready while a worker serves and none drains: draining is of the whole node."""
        states = list(self._states().values())
        if slots.DRAINING in states:
            return False, "draining"
        serving = states.count(slots.SERVING)
        return serving > 0, f"{serving} of {self._services.workers} workers serving"

    def status(self) -> dict[str, object]:
        """What happens now; `throughway status` shows it."""
        memory = self._memory
        rows = [self._row(slot) for slot in self._slots_of_workers()]
        rows.sort(key=lambda row: row["state"] == slots.STATE_NAMES[slots.RETIRING])
        first = {row["worker"]: row for row in reversed(rows)}
        workers = [first.get(number) or _missing(number) for number in range(self._services.workers)]
        workers += [row for row in rows if row not in workers]  # those who hand over
        ready, why = self._readiness()
        return {
            "version": __version__,
            "ready": ready,
            "readiness": why,
            "config": {
                "version": self._version,
                "generation": memory.snapshot_generation,
                "reloaded_at_s": self._reloaded_at_s or None,
                "problems": self._problems,
                "source": self._services.source.status,
            },
            "workers": workers,
            "calibrations": learnt(memory),
        }

    def _row(self, slot: int) -> dict[str, object]:
        memory = self._memory
        return {
            "worker": memory.gauge(slot, slots.G_WORKER),
            "pid": memory.pid(slot),
            "state": slots.STATE_NAMES.get(memory.state(slot), "unknown"),
            "heartbeat_age_ms": (now_ns() - memory.heartbeat_ns(slot)) // 1_000_000,
            **{name: memory.gauge(slot, which) for name, which in _SHOWN},
        }


def _missing(number: int) -> dict[str, object]:
    """The row of a worker that nobody is now."""
    return {"worker": number, "pid": 0, "state": "empty", "heartbeat_age_ms": None} | {name: 0 for name, _ in _SHOWN}


def _too_large(snapshot: Snapshot, limit_rows: int) -> str:
    """Why the node's table of limits cannot hold a snapshot's; "" where it can. Past half of it, rows become hard to find."""
    scopes: list[Key | Team] = [*snapshot.keys, *snapshot.teams]
    with_budget = sum(scope.budget is not None for scope in scopes)
    wanted = with_budget + sum(scope.budget is not None or scope.limits != Limits() for scope in scopes)
    if wanted <= limit_rows // 2:
        return ""
    return (
        f"the limits and budgets of {len(scopes):,} keys and teams need {wanted:,} rows, more than half of the {limit_rows:,} that the "
        "node made when it started; restart it"
    )


_SHOWN = (
    ("generation", slots.G_GENERATION),
    ("in_flight", slots.G_IN_FLIGHT),
    ("connections", slots.G_CONNECTIONS),
    ("body_bytes", slots.G_BODY_BYTES),
    ("upstream_idle", slots.G_UPSTREAM_IDLE),
    ("upstream_busy", slots.G_UPSTREAM_BUSY),
    ("tokens_in_flight", slots.G_TOKENS_IN_FLIGHT),
    ("loop_lag_us", slots.G_LOOP_LAG_US),
)
