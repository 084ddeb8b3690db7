"""The processes of a node: who is to run, who runs, and what can be done to them. Decides nothing by itself.

A post is a spec that is to be filled, a member a process that fills it. A post has at most one member that serves for it, and
in a restart a second one that is to follow (`raised`). Members that a restart has replaced belong to no post: they are `leaving`.

Rules:
- A member is signalled only between its start and its reaping, so a recycled pid is never hit.
- Its slot is vacated after it was reaped, and is nobody else's before that; the process itself occupies it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.base.node import DRAINING, RETIRING, SERVING
from gateway.supervisor import _reports
from gateway.supervisor._child import Boot, ChildEnv, ChildSpec, Closable, Restart
from gateway.supervisor._memo import ChildNote
from gateway.supervisor._policy import MS, Deaths, Policy
from gateway.supervisor._process import Process, Started, StartMethod, TakenOver
from gateway.supervisor._signals import RETIRE_SIGNAL, masked
from gateway.supervisor._statelock import StateLock

_AT_WORK = (SERVING, DRAINING, RETIRING)


class SlotTable(Protocol):
    """What the supervisor needs of `_fastpath.shm.NodeMemory`."""

    @property
    def slots(self) -> int: ...
    def vacate(self, slot: int) -> None: ...
    def heartbeat_ns(self, slot: int) -> int: ...
    def pid(self, slot: int) -> int: ...
    def state(self, slot: int) -> int: ...


class Log(Protocol):
    """`level` is debug, info, warning or error; `event` a dotted name that stays; the fields say the rest."""

    def __call__(self, level: str, event: str, **fields: object) -> None: ...


@dataclass(eq=False, slots=True)
class Member:
    """A process, from its start to its reaping."""

    spec: ChildSpec
    process: Process
    generation: int
    slot: int | None
    started_ns: int
    ready_ns: int | None = None
    """When it was first seen to serve."""
    kill_at_ns: int | None = None
    killed: bool = False
    terminated: bool = False
    """It was sent SIGTERM."""
    stuck: bool = False
    """It was sent SIGABRT, to write its stacks."""

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass(eq=False, slots=True)
class Post:
    """A spec, and who fulfils it now."""

    spec: ChildSpec
    deaths: Deaths
    due_ns: int | None = None
    """When to start a member; None while one runs, and when none is to follow."""
    generation: int = 0
    member: Member | None = None
    raised: Member | None = None

    @property
    def serves(self) -> bool:
        """Whether the node's readiness does not wait for it."""
        waited_for = self.spec.essential and bool(self.spec.slots)
        return not waited_for or (self.member is not None and self.member.ready_ns is not None)


@dataclass(slots=True)
class Crew:
    """See the module."""

    memory: SlotTable
    memory_file: Path
    posts: list[Post]
    lock: StateLock
    log: Log
    policy: Policy
    start_method: StartMethod
    not_for_children: tuple[Closable, ...]
    """What fork copies and no child may keep."""
    leaving: list[Member] = field(default_factory=list)

    def members(self) -> list[Member]:
        """All that run."""
        filled = [m for post in self.posts for m in (post.member, post.raised) if m is not None]
        return filled + self.leaving

    # -- start

    def free_slot(self, spec: ChildSpec) -> int | None:
        """A slot for a new member; None where all are taken."""
        taken = {m.slot for m in self.members()}
        return next((slot for slot in spec.slots if slot not in taken), None)

    def start(self, post: Post, now: int) -> Member:
        """Raises OSError where no process can be had."""
        post.generation += 1
        slot = self.free_slot(post.spec)
        process = self._launch(post.spec, post.generation, slot)
        self.log("info", "child.started", child=post.spec.name, pid=process.pid, generation=post.generation)
        return Member(post.spec, process, post.generation, slot, now)

    def start_apart(self, spec: ChildSpec, now: int) -> Member:
        """Starts a process that fills no post. Raises OSError."""
        return Member(spec, self._launch(spec, 1, None), 1, None, now)

    def _launch(self, spec: ChildSpec, generation: int, slot: int | None) -> Process:
        run_dir = self.lock.run_dir
        recent = _reports.recent_file(run_dir, spec.name, generation)
        env = ChildEnv(spec.name, slot, generation, spec.sockets, spec.args, self.memory_file, recent)
        inherited = tuple(self._not_for(spec)) if self.start_method == "fork" else ()
        boot = Boot(spec.target, env, os.getpid(), _reports.stack_file(run_dir, spec.name, generation), inherited)
        with masked():
            return Started(self.start_method, spec.name, boot)

    def _not_for(self, spec: ChildSpec) -> Iterator[Closable]:
        own = {listener.fileno() for listener in spec.sockets.values()}
        yield from (self.lock, *self.not_for_children)
        others = {s.fileno(): s for post in self.posts for s in post.spec.sockets.values() if s.fileno() not in own}
        yield from others.values()

    # -- what a restart carries over

    def notes(self) -> list[ChildNote]:
        """Of all that run, for the program that takes over."""
        leaving = set(map(id, self.leaving))
        return [
            ChildNote(m.spec.name, m.pid, m.slot, m.generation, id(m) in leaving, m.spec.retires, m.spec.drain_order)
            for m in self.members()
        ]

    def adopt(self, notes: Sequence[ChildNote], now: int, *, same_memory: bool) -> None:
        """Takes over those that run. Who has a post of its name serves for it; the others are leaving."""
        posts = {post.spec.name: post for post in self.posts}
        for note in notes:
            post = posts.get(note.name)
            spec = post.spec if post is not None else _foreign(note)
            slot = note.slot if same_memory else None
            member = Member(spec, TakenOver(note.pid), note.generation, slot, now)
            if slot is None:
                member.ready_ns = now  # nobody can ask it: it has served
            if post is not None:
                post.generation = max(post.generation, note.generation)
            if post is not None and not note.leaving:
                post.member, post.due_ns = member, None
            else:
                self.leaving.append(member)
                if note.leaving:
                    member.kill_at_ns = now + self.policy.retire_grace_ms * MS

    # -- watch

    def state(self, member: Member) -> int:
        """The state that its own process has reported; 0 before it took its slot, and without one."""
        slot = member.slot
        return self.memory.state(slot) if slot is not None and self.memory.pid(slot) == member.pid else 0

    def note_ready(self, member: Member, now: int) -> None:
        if member.ready_ns is None and self.state(member) in _AT_WORK:
            member.ready_ns = now

    def silent_ms(self, member: Member, now: int, awake_since: int) -> int | None:
        """For how long it has not given the sign of life that it owes; None where it owes none, or not yet."""
        if member.slot is None:
            return None
        if self.state(member) not in _AT_WORK:
            since, allowed_ms = max(member.started_ns, awake_since), self.policy.start_timeout_ms
        else:
            since = max(self.memory.heartbeat_ns(member.slot), awake_since)
            allowed_ms = self.policy.heartbeat_timeout_ms
        silent_ms = (now - since) // MS
        return silent_ms if silent_ms > allowed_ms else None

    # -- end

    def retire(self, member: Member, now: int) -> None:
        """Its successor serves: it may finish what it has."""
        if not member.spec.retires:
            self.terminate(member, now)
            return
        os.kill(member.pid, RETIRE_SIGNAL)
        member.kill_at_ns = now + self.policy.retire_grace_ms * MS
        self.log("info", "child.retiring", child=member.spec.name, pid=member.pid)

    def terminate(self, member: Member, now: int) -> None:
        grace_ms = member.spec.term_grace_ms if member.spec.term_grace_ms is not None else self.policy.term_grace_ms
        os.kill(member.pid, signal.SIGTERM)
        member.terminated, member.kill_at_ns = True, now + grace_ms * MS
        self.log("info", "child.terminating", child=member.spec.name, pid=member.pid, grace_ms=grace_ms)

    def abort(self, member: Member, silent_ms: int, now: int) -> None:
        """Ends one that is stuck: SIGABRT, upon which faulthandler writes its stacks, then SIGKILL."""
        self.log("error", "child.stalled", child=member.spec.name, pid=member.pid, silent_ms=silent_ms)
        os.kill(member.pid, signal.SIGABRT)
        member.stuck, member.kill_at_ns = True, now + self.policy.report_ms * MS

    def kill(self, member: Member, now: int) -> None:
        os.kill(member.pid, signal.SIGKILL)
        member.killed, member.kill_at_ns = True, now
        self.log("warning", "child.killed", child=member.spec.name, pid=member.pid)

    def dismiss(self, member: Member, code: int, now: int) -> None:
        """It has ended: its slot is free, and what it has left becomes a report."""
        self.note_ready(member, now)  # it may have become ready and ended between two rounds
        if member.slot is not None:
            self.memory.vacate(member.slot)
        expected = code == 0 or (member.terminated and code == -signal.SIGTERM)
        self.log(
            "info" if expected else "error",
            "child.exited",
            child=member.spec.name,
            pid=member.pid,
            status=describe_exit(code),
            report=self._report(member, code),
        )
        member.process.forget()

    def _report(self, member: Member, code: int) -> str | None:
        facts: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "child": member.spec.name,
            "pid": member.pid,
            "generation": member.generation,
            "status": describe_exit(code),
            "stuck": "yes" if member.stuck else "no",
        }
        try:
            report = _reports.collect(self.lock.run_dir, member.spec.name, member.generation, facts, asked=member.stuck)
        except OSError as error:  # a full disk: the node goes on without
            self.log("error", "child.report_failed", child=member.spec.name, error=str(error))
            return None
        return None if report is None else str(report)


def describe_exit(code: int) -> str:
    """`exit code 3`, or `signal SIGKILL` for a process that a signal ended (negative, as multiprocessing has it)."""
    if code >= 0:
        return f"exit code {code}"
    names = {int(number): number.name for number in signal.Signals}  # most real-time signals have none
    return f"signal {names.get(-code, -code)}"


def make_posts(specs: Sequence[ChildSpec], policy: Policy) -> list[Post]:
    return [Post(spec, Deaths(policy)) for spec in specs]


def _foreign(note: ChildNote) -> ChildSpec:
    """Stands for the spec of a child that this configuration has no more."""
    return ChildSpec(
        note.name,
        _nothing,
        essential=False,
        restart=Restart.NEVER,
        drain_order=note.drain_order,
        retires=note.retires,
    )


def _nothing(_: ChildEnv) -> None:
    raise AssertionError("it is never started")
