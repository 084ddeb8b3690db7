"""The composition root: the one place that knows both planes. Gives each process its parts, and the supervisor its children."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from _fastpath.bucket import Table
from _fastpath.metrics import Registry
from _fastpath.shm import NodeMemory
from gateway.adapters.ledger_sqlite import SqliteLedger
from gateway.adapters.logs import LogWriter, event_line
from gateway.adapters.shipper import Shipper
from gateway.adapters.spool import Spool
from gateway.adapters.tokens import KernelCounter
from gateway.base.budget import period_at
from gateway.base.node import Node
from gateway.base.snapshot import Snapshot
from gateway.control.config import Loaded, resolve
from gateway.dataplane.agent import Agent, AgentServices, write_snapshot
from gateway.dataplane.worker import Services, Worker
from gateway.fleet import load_node, source_of
from gateway.phases.admit import key_scope, team_scope
from gateway.supervisor import (
    ChildEnv,
    ChildSpec,
    Policy,
    StateLock,
    Supervisor,
    bind_listeners,
    check_file_limit,
    worker_count,
)

METRICS_BYTES = 1_048_576
"""Of each process's series: about 1,500 of them."""
LIMIT_ROWS_PER_SCOPE = 4
MIN_LIMIT_ROWS = 4_096
MIN_FLEET_LIMIT_ROWS = 65_536
"""Where the configuration may grow while the node serves, by what is published elsewhere: enough for 16,000 keys and teams."""


class ProcessArgs(msgspec.Struct, frozen=True):
    """What the children of a node are started with. Picklable."""

    config: Path
    node: Node
    pepper: bytes
    workers: int
    log_level: str
    log_file: Path | None

    def __repr__(self) -> str:
        return f"ProcessArgs(config={self.config}, workers={self.workers})"


class Options(msgspec.Struct, frozen=True):
    """How a node is started."""

    config: Path
    workers: int | None = None
    data_plane: bool = True
    control_plane: bool = True
    log_level: str | None = None
    log_file: Path | None = None


# -- children


def run_worker(env: ChildEnv) -> None:
    """The target of a worker."""
    args = cast(ProcessArgs, env.args)
    assert env.slot is not None
    log = open_log(args)

    def spool(registry: Registry) -> Spool:
        dropped = registry.counter("throughway_usage_records_dropped_total")
        return Spool(args.node.spool_dir, env.name, args.node.spool_bytes, dropped.add)

    def counter(registry: Registry) -> KernelCounter:
        return KernelCounter(registry.counter("throughway_estimated_prompts_total").add)

    services = Services(
        node=args.node,
        memory=NodeMemory.attach(str(env.memory_file)),
        slot=env.slot,
        agent_slot=args.workers,
        pepper=args.pepper,
        listener=env.sockets["listen"],
        http2_listener=env.sockets.get("http2"),
        resolve=lambda reference: resolve(reference, os.environ),
        log=log,
        counter=counter,
        spool=spool,
    )
    uvloop.run(Worker(services).main())


def run_agent(env: ChildEnv) -> None:
    """The target of the node's agent."""
    args = cast(ProcessArgs, env.args)
    assert env.slot is not None
    services = AgentServices(
        node=args.node,
        memory=NodeMemory.attach(str(env.memory_file)),
        slot=env.slot,
        workers=args.workers,
        listener=env.sockets["ops"],
        source=source_of(args.config, args.node, args.pepper),
        shipper=Shipper(args.node.spool_dir, SqliteLedger(args.node.ledger_file)),
        log=open_log(args),
    )
    uvloop.run(Agent(services).main())


def run_control_plane(env: ChildEnv) -> None:
    """The target of the control plane."""
    from gateway.control import admin  # noqa: PLC0415 - Litestar and Granian are wanted in this process alone

    args = cast(ProcessArgs, env.args)
    services = admin.Services(
        node=args.node,
        pepper=args.pepper,
        open_usage=lambda: SqliteLedger(args.node.ledger_file),
        log=open_log(args),
    )
    admin.serve_admin(env.sockets["admin"], services)


def open_log(args: ProcessArgs) -> LogWriter:
    """The process's log: standard output, or the file that was asked for."""
    descriptor = 1
    if args.log_file is not None:
        descriptor = os.open(args.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return LogWriter(descriptor, args.log_level)


# -- a node


def start(
    options: Options,
    *,
    extra: Sequence[ChildSpec] = (),
    on_ready: Callable[[Loaded, int], None] = lambda *_: None,
    on_warning: Callable[[str], None] = lambda _: None,
) -> tuple[int, str]:
    """Runs a node until it is told to stop: (exit code, one line on why it failed, or "").

    Args:
        options: what to run.
        extra: further children, such as the demo's model.
        on_ready: called once, with the configuration and the number of workers, when the node serves.
        on_warning: called with each line that an operator should read.

    Raises:
        ConfigurationError: the configuration has mistakes.
        gateway.supervisor.StartError: the state directory or an address cannot be had.
    """
    loaded = load_node(options.config)
    node = loaded.node
    workers = worker_count(options.workers or loaded.workers) if options.data_plane else 0
    for warning in loaded.warnings:
        on_warning(str(warning))
    if options.data_plane:
        for line in check_file_limit(node.bounds.connections * (2 if node.http2 is not None else 1)):
            on_warning(line)
    args = ProcessArgs(
        config=options.config.resolve(),
        node=node,
        pepper=loaded.pepper or b"",
        workers=workers,
        log_level=options.log_level or node.log_level,
        log_file=options.log_file,
    )
    state_dir = node.state_dir if options.data_plane else node.state_dir / "control"
    with StateLock(state_dir) as lock:
        memory_file = node.memory_file if options.data_plane else state_dir / "run" / "node.mem"
        scopes = len(loaded.snapshot.keys) + len(loaded.snapshot.teams)
        least = MIN_LIMIT_ROWS if node.redis is None else MIN_FLEET_LIMIT_ROWS
        rows = max(least, 1 << (scopes * LIMIT_ROWS_PER_SCOPE).bit_length())
        memory = NodeMemory.create(str(memory_file), workers + 1, rows, METRICS_BYTES)
        specs: list[ChildSpec] = []
        if options.data_plane:
            write_snapshot(node.snapshot_file, loaded.snapshot)
            seed_budgets(node, loaded.snapshot, memory, slot=workers)
            specs += _data_plane(node, workers, args)
            node.ops_file.write_text(f"{node.ops}\n")
        if options.control_plane and node.admin is not None:
            specs.append(_control_plane(node, args))
        supervisor = Supervisor(
            memory=memory,
            memory_file=memory_file,
            specs=[*extra, *specs],
            lock=lock,
            log=supervisor_log(args),
            policy=Policy(drain_grace_ms=node.drain_grace_ms, lame_duck_ms=node.lame_duck_ms),
            on_ready=lambda: on_ready(loaded, workers),
        )
        try:
            code = supervisor.run()
        finally:
            if options.data_plane:
                node.ops_file.unlink(missing_ok=True)
        return code, supervisor.failure or ""


def _data_plane(node: Node, workers: int, args: ProcessArgs) -> list[ChildSpec]:
    listeners = {"listen": bind_listeners(node.listen, workers)}
    if node.http2 is not None:
        listeners["http2"] = bind_listeners(node.http2.listen, workers)
    ops = bind_listeners(node.ops, 1)[0]
    specs = [
        ChildSpec(
            f"worker-{i}",
            run_worker,
            slot=i,
            sockets={name: of_workers[i] for name, of_workers in listeners.items()},
            args=args,
        )
        for i in range(workers)
    ]
    # The agent leaves last: it ships what the workers wrote while they drained.
    specs.append(
        ChildSpec("agent", run_agent, slot=workers, sockets={"ops": ops}, args=args, drain_order=1, reloads=True)
    )
    return specs


def _control_plane(node: Node, args: ProcessArgs) -> ChildSpec:
    assert node.admin is not None
    listener = bind_listeners(node.admin.listen, 1)[0]
    return ChildSpec(
        "control-plane", run_control_plane, sockets={"admin": listener}, args=args, drain_order=1, essential=False
    )


def supervisor_log(args: ProcessArgs) -> Callable[..., None]:
    """The supervisor has no threads: it writes its few lines itself."""
    descriptor = 1
    if args.log_file is not None:
        descriptor = os.open(args.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(level: str, event: str, **fields: object) -> None:
        try:
            os.write(descriptor, event_line(level, event, fields))
        except OSError as error:  # the reader of the log has gone; the node goes on
            print(f"throughway: the log cannot be written: {error.strerror}", file=sys.stderr)

    return write


def seed_budgets(node: Node, snapshot: Snapshot, memory: NodeMemory, slot: int) -> None:
    """Tells the table of limits what was spent in the budgets' running periods, out of the ledger, which is the truth.

    Raises:
        gateway.adapters.ledger_sqlite.LedgerError: the ledger is of a newer version.
    """
    if not node.ledger_file.exists() and not node.spool_dir.exists():
        return
    budgets = [(key_scope(key.id), key.budget, 0, key.id) for key in snapshot.keys if key.budget is not None]
    budgets += [
        (team_scope(team.name), team.budget, 1, team.name) for team in snapshot.teams if team.budget is not None
    ]
    if not budgets:
        return
    ledger = SqliteLedger(node.ledger_file)
    try:
        shipper = Shipper(node.spool_dir, ledger)
        while shipper.run_once().records:
            pass
        table = Table(memory, slot)
        periods = {budget.per: period_at(budget.per, time.time()) for _, budget, _, _ in budgets}
        spent = {per: ledger.spent_since(begin_s * 1_000) for per, (_, begin_s, _) in periods.items()}
        for scope, budget, of_team, name in budgets:
            table.seed_spent(scope, periods[budget.per][0], spent[budget.per][of_team].get(name, 0))
    finally:
        ledger.close()
