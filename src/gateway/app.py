"""The composition root: the one place that knows both planes. Gives each process its parts, and the supervisor its children."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from _fastpath.bucket import Table
from _fastpath.metrics import Registry
from _fastpath.shm import LayoutError, NodeMemory
from gateway import __version__
from gateway.adapters.ledger_sqlite import SqliteLedger
from gateway.adapters.logs import LogWriter, event_line
from gateway.adapters.shipper import Shipper
from gateway.adapters.spool import Spool
from gateway.adapters.token_sources import token_source
from gateway.adapters.tokens import KernelCounter
from gateway.base.budget import period_at
from gateway.base.files import is_loose
from gateway.base.node import AGENT_SLOTS, Address, Node, slot_count
from gateway.base.snapshot import Snapshot, SnapshotError
from gateway.control.config import Loaded
from gateway.dataplane.agent import Agent, AgentServices, write_snapshot
from gateway.dataplane.worker import Services, Worker
from gateway.fleet import load_node, resolve_here, source_of
from gateway.phases.admit import key_scope, team_scope
from gateway.supervisor import (
    ChildEnv,
    ChildSpec,
    Memo,
    Policy,
    RecentLines,
    Rehearsal,
    StartError,
    StateLock,
    Succession,
    Supervisor,
    TakeOver,
    arrive,
    bind_listeners,
    check_file_limit,
    hold_restarts,
    spread,
    worker_count,
)

METRICS_BYTES = 1_048_576
"""Of each process's series: about 1,500 of them."""
LIMIT_ROWS_PER_SCOPE = 4
MIN_LIMIT_ROWS = 4_096
MIN_FLEET_LIMIT_ROWS = 65_536
"""Where the configuration may grow while the node serves, by what is published elsewhere: enough for 16,000 keys and teams."""

WORKER = "worker-"
LISTEN, HTTP2, OPS, ADMIN = "listen", "http2", "ops", "admin"
"""Roles of listeners."""
Listeners = dict[str, tuple[str, list[socket.socket]]]
"""Address and sockets of each role."""


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
    restarts: bool = True
    """Whether its command, given again, makes the same node: only then it can be restarted in place."""


# -- children


def run_worker(env: ChildEnv) -> None:
    """The target of a worker."""
    args = cast(ProcessArgs, env.args)
    assert env.slot is not None
    memory = NodeMemory.attach(str(env.memory_file))
    services = _worker_services(args, memory, env.slot, int(env.name.removeprefix(WORKER)), open_log(args, env))
    services.listeners = _of_role(env, LISTEN)
    services.http2_listeners = _of_role(env, HTTP2)
    uvloop.run(Worker(services).main())


def _of_role(env: ChildEnv, role: str) -> list[socket.socket]:
    return [env.sockets[name] for name in sorted(env.sockets) if name.startswith(f"{role}-")]


def _worker_services(args: ProcessArgs, memory: NodeMemory, slot: int, number: int, log: LogWriter) -> Services:
    # Its predecessor may be writing still: two workers of one number are two owners.
    owner = f"{WORKER}{number}-{os.getpid()}"

    def spool(registry: Registry) -> Spool:
        dropped = registry.counter("throughway_usage_records_dropped_total")
        return Spool(args.node.spool_dir, owner, args.node.spool_bytes, dropped.add)

    def counter(registry: Registry) -> KernelCounter:
        return KernelCounter(registry.counter("throughway_estimated_prompts_total").add)

    return Services(
        node=args.node,
        memory=memory,
        slot=slot,
        number=number,
        pepper=args.pepper,
        listeners=[],
        http2_listeners=[],
        resolve=resolve_here,
        token_source=lambda auth: token_source(auth, resolve_here, os.environ),
        log=log,
        counter=counter,
        spool=spool,
    )


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
        log=open_log(args, env),
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
        log=open_log(args, env),
    )
    admin.serve_admin(env.sockets["admin"], services)


def open_log(args: ProcessArgs, env: ChildEnv | None = None) -> LogWriter:
    """The process's log: standard output, or the file that was asked for. A child keeps its last lines for a report too."""
    descriptor = 1
    if args.log_file is not None:
        descriptor = os.open(args.log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    if env is None:
        return LogWriter(descriptor, args.log_level)
    try:
        recent = RecentLines(env.recent_file)
    except OSError as error:  # a full disk must not keep a worker from starting
        log = LogWriter(descriptor, args.log_level)
        log.event("warning", "log.no_recent_lines", child=env.name, error=str(error))
        return log
    return LogWriter(descriptor, args.log_level, also=recent.keep)


# -- a node


class Prepared(msgspec.Struct, frozen=True):
    """All that a start has found out. In a restart the rehearsal finds it out, and the program that takes over is given it."""

    loaded: Loaded
    args: ProcessArgs
    state_dir: Path
    """That this node locks: a control plane of its own has one inside the data plane's."""
    memory_file: Path
    new_memory: bool
    """The memory that is there cannot be used: another lies beside it (NEXT)."""

    def __repr__(self) -> str:
        return f"Prepared({self.loaded}, {self.args})"


def start(
    options: Options,
    *,
    extra: Sequence[ChildSpec] = (),
    on_ready: Callable[[Loaded, int], None] = lambda *_: None,
    on_warning: Callable[[str], None] = lambda _: None,
) -> tuple[int, str]:
    """Runs a node until it is told to stop: (exit code, one line on why it failed, or "").

    In a restart this is where the new program begins: it rehearses and returns, or takes over and goes on.

    Args:
        options: what to run.
        extra: further children, such as the demo's model.
        on_ready: called with the configuration and the number of workers, when the node serves.
        on_warning: called with each line that an operator should read.

    Raises:
        ConfigurationError: the configuration has mistakes.
        gateway.supervisor.StartError: the state directory or an address cannot be had.
    """
    arrival = arrive()
    if isinstance(arrival, TakeOver):
        prepared = cast(Prepared, pickle.loads(arrival.prepared))  # noqa: S301 - written by the rehearsal of this very program
        return _take_over(options, prepared, arrival, on_ready, on_warning)
    prepared = _prepare(options, on_warning)
    if isinstance(arrival, Rehearsal):
        _rehearse(options, prepared, arrival)
        return 0, ""
    hold_restarts()
    with StateLock(prepared.state_dir) as lock:
        memory = _create_memory(options, prepared, prepared.memory_file)
        if options.data_plane:
            write_snapshot(prepared.args.node.snapshot_file, prepared.loaded.snapshot)
        return _run(options, prepared, memory, lock, extra=extra, on_ready=on_ready)


def _prepare(options: Options, on_warning: Callable[[str], None]) -> Prepared:
    loaded = load_node(options.config)
    node = loaded.node
    workers = (
        worker_count(options.workers if options.workers is not None else loaded.workers) if options.data_plane else 0
    )
    args = ProcessArgs(
        config=options.config.resolve(),
        node=node,
        pepper=loaded.pepper or b"",
        workers=workers,
        log_level=options.log_level or node.log_level,
        log_file=options.log_file,
    )
    _warn(options, loaded, on_warning)
    state_dir = node.state_dir if options.data_plane else node.control_state_dir
    return Prepared(loaded, args, state_dir, state_dir / "run" / "node.mem", new_memory=True)


def _warn(options: Options, loaded: Loaded, on_warning: Callable[[str], None]) -> None:
    for warning in loaded.warnings:
        on_warning(str(warning))
    state_dir = loaded.node.state_dir
    if state_dir.exists() and is_loose(state_dir):
        on_warning(
            f"{state_dir} is open to others than its owner, who may find keys and usage in it: `chmod 700 {state_dir}`"
        )
    if options.data_plane:
        for line in check_file_limit(loaded.node.bounds.connections, edges=1 + (loaded.node.http2 is not None)):
            on_warning(line)


def _create_memory(options: Options, prepared: Prepared, file: Path) -> NodeMemory:
    args = prepared.args
    memory = NodeMemory.create(str(file), slot_count(args.workers), _limit_rows(prepared.loaded), METRICS_BYTES)
    if options.data_plane:
        seed_budgets(args.node, prepared.loaded.snapshot, memory, slot=memory.slots - 1)
    return memory


def _limit_rows(loaded: Loaded) -> int:
    scopes = len(loaded.snapshot.keys) + len(loaded.snapshot.teams)
    least = MIN_LIMIT_ROWS if loaded.node.redis is None else MIN_FLEET_LIMIT_ROWS
    return max(least, 1 << (scopes * LIMIT_ROWS_PER_SCOPE).bit_length())


def _wanted(options: Options, node: Node, workers: int) -> dict[str, tuple[Address, int]]:
    """Address of each role, and how many sockets it has."""
    wanted: dict[str, tuple[Address, int]] = {}
    if options.data_plane:
        wanted |= {LISTEN: (node.listen, workers), OPS: (node.ops, 1)}
        if node.http2 is not None:
            wanted[HTTP2] = (node.http2.listen, workers)
    if options.control_plane and node.admin is not None:
        wanted[ADMIN] = (node.admin.listen, 1)
    return wanted


def _listeners(
    options: Options, node: Node, workers: int, have: Listeners | None = None
) -> tuple[Listeners, Listeners]:
    """Of each role: all its sockets, and those of them that were bound here. What `have` holds of an address is kept."""
    listeners, bound = Listeners(), Listeners()
    for role, (address, count) in _wanted(options, node, workers).items():
        old_address, old = (have or {}).get(role, ("", []))
        kept = old if old_address == str(address) else []
        new = bind_listeners(address, count, beside=kept)
        listeners[role] = (str(address), [*kept, *new])
        bound[role] = (str(address), new)
    return listeners, bound


def _run(
    options: Options,
    prepared: Prepared,
    memory: NodeMemory,
    lock: StateLock,
    *,
    on_ready: Callable[[Loaded, int], None],
    extra: Sequence[ChildSpec] = (),
    listeners: Listeners | None = None,
    taken_over: TakeOver | None = None,
) -> tuple[int, str]:
    """The supervisor's life."""
    args, node = prepared.args, prepared.args.node
    if listeners is None:
        listeners, _ = _listeners(options, node, args.workers)
    specs: list[ChildSpec] = []
    if options.data_plane:
        specs += _data_plane(listeners, memory.slots, args)
    if ADMIN in listeners:
        (admin,) = listeners[ADMIN][1]
        specs.append(
            ChildSpec(
                "control-plane", run_control_plane, sockets={ADMIN: admin}, args=args, drain_order=1, essential=False
            )
        )

    command = _command() if options.restarts else []
    succession = Succession(command, __version__, prepared.state_dir, listeners, taken_over)
    supervisor = Supervisor(
        memory=memory,
        memory_file=prepared.memory_file,
        specs=[*extra, *specs],
        lock=lock,
        log=supervisor_log(args),
        policy=Policy(drain_grace_ms=node.drain_grace_ms, lame_duck_ms=node.lame_duck_ms),
        on_ready=lambda: on_ready(prepared.loaded, args.workers),
        succession=succession,
        same_memory=not prepared.new_memory,
    )
    if options.data_plane:
        node.ops_file.write_text(f"{node.ops}\n")
    try:
        code = supervisor.run()
    finally:
        if options.data_plane:
            node.ops_file.unlink(missing_ok=True)
    return code, supervisor.failure or ""


def _data_plane(listeners: Listeners, slots: int, args: ProcessArgs) -> list[ChildSpec]:
    (ops,) = listeners[OPS][1]
    shares = {role: spread(listeners[role][1], args.workers) for role in (LISTEN, HTTP2) if role in listeners}
    specs = [
        ChildSpec(
            f"{WORKER}{number}",
            run_worker,
            slots=range(slots - AGENT_SLOTS),
            sockets={f"{role}-{i:04}": one for role, share in shares.items() for i, one in enumerate(share[number])},
            args=args,
            retires=True,
        )
        for number in range(args.workers)
    ]
    # The agent leaves last: it ships what the workers wrote while they drained.
    agent_slots = range(slots - AGENT_SLOTS, slots)
    specs.append(
        ChildSpec("agent", run_agent, slots=agent_slots, sockets={OPS: ops}, args=args, drain_order=1, reloads=True)
    )
    return specs


# -- its restart


def _command() -> list[str]:
    """What this program was started with. A script is called by itself: its first line names the interpreter that it has now."""
    words = sys.orig_argv[1:]
    if words and os.access(words[0], os.X_OK) and Path(words[0]).is_file():
        return [str(Path(words[0]).absolute()), *words[1:]]
    return [sys.executable, *words]


def _rehearse(options: Options, prepared: Prepared, rehearsal: Rehearsal) -> None:
    """Does what can fail of a start, beside the node that runs, and hands it over. Changes nothing that the node uses.

    Raises:
        StartError: it cannot take over.
    """
    memo = rehearsal.memo
    if memo.state_dir != str(prepared.state_dir):
        raise StartError(
            f"state_dir was {memo.state_dir} and is {prepared.state_dir}: stop the node and start it again"
        )
    try:
        prepared, bound = _prepare_beside(options, prepared, memo)
    except OSError as error:
        _forget_next(prepared)
        raise StartError(str(error)) from error
    except BaseException:
        _forget_next(prepared)
        raise
    rehearsal.done(__version__, pickle.dumps(prepared), {role: sockets for role, (_, sockets) in bound.items()})


def _prepare_beside(options: Options, prepared: Prepared, memo: Memo) -> tuple[Prepared, Listeners]:
    prepared = _prepare_memory(options, prepared)
    have = {role: (old.address, [socket.socket(fileno=fd) for fd in old.fds]) for role, old in memo.listeners.items()}
    _, bound = _listeners(options, prepared.args.node, prepared.args.workers, have)
    if options.data_plane:
        write_snapshot(next_to(prepared.args.node.snapshot_file), prepared.loaded.snapshot)
        _rehearse_worker(prepared)
    if options.control_plane:
        from gateway.control import admin  # noqa: F401, PLC0415 - whether it can be had
    return prepared, bound


def _forget_next(prepared: Prepared) -> None:
    for file in (prepared.memory_file, prepared.args.node.snapshot_file):
        next_to(file).unlink(missing_ok=True)


def next_to(file: Path) -> Path:
    """Where a rehearsal leaves what is to replace `file`."""
    return file.with_name(f"{file.name}.next")


def _prepare_memory(options: Options, prepared: Prepared) -> Prepared:
    """The memory that is there is kept, and with it every limit to the unit, if it is large enough and of this layout."""
    try:
        memory = NodeMemory.attach(str(prepared.memory_file))
    except LayoutError:
        pass
    else:
        if memory.slots >= slot_count(prepared.args.workers) and memory.limit_rows >= _limit_rows(prepared.loaded):
            return msgspec.structs.replace(prepared, new_memory=False)
    _create_memory(options, prepared, next_to(prepared.memory_file))
    return prepared


def _rehearse_worker(prepared: Prepared) -> None:
    """Builds a worker as far as that goes without a caller."""
    file = prepared.memory_file.with_name("rehearsal.mem")
    memory = NodeMemory.create(str(file), slot_count(1), _limit_rows(prepared.loaded), METRICS_BYTES)
    try:
        services = _worker_services(prepared.args, memory, 0, 0, LogWriter(2, "error"))
        uvloop.run(Worker(services).rehearse(next_to(prepared.args.node.snapshot_file)))
    except (SnapshotError, ValueError, RuntimeError) as error:
        raise StartError(f"a worker cannot be built: {error}") from error
    finally:
        file.unlink()


def _take_over(
    options: Options,
    prepared: Prepared,
    arrival: TakeOver,
    on_ready: Callable[[Loaded, int], None],
    on_warning: Callable[[str], None],
) -> tuple[int, str]:
    """This process was the supervisor of an older program: it goes on with what the rehearsal has left."""
    _warn(options, prepared.loaded, on_warning)
    with StateLock(prepared.state_dir, arrival.memo.lock_fd) as lock:
        if prepared.new_memory:
            next_to(prepared.memory_file).replace(prepared.memory_file)
        if options.data_plane:
            snapshot_file = prepared.args.node.snapshot_file
            next_to(snapshot_file).replace(snapshot_file)
        memory = NodeMemory.attach(str(prepared.memory_file))
        listeners = _inherit(arrival, prepared, options)
        return _run(options, prepared, memory, lock, on_ready=on_ready, listeners=listeners, taken_over=arrival)


def _inherit(arrival: TakeOver, prepared: Prepared, options: Options) -> Listeners:
    """The old sockets whose address is still wanted, with the new ones; the others are closed here, and by those who retire."""
    listeners = Listeners()
    for role, (address, _) in _wanted(options, prepared.args.node, prepared.args.workers).items():
        old_address, old = arrival.listening.pop(role, ("", []))
        kept = old if old_address == str(address) else []
        for listener in old[len(kept) :]:
            listener.close()
        listeners[role] = (str(address), [*kept, *arrival.bound.get(role, [])])
    for _, sockets in arrival.listening.values():
        for listener in sockets:
            listener.close()
    return listeners


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
