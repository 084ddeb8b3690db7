"""The supervisor: one loop, no threads, no asyncio, and nothing in it that waits for a child.

Theory: a round waits for a signal or the next due time, then reaps what has ended, looks at the heartbeats, and does
what is due. All state is in `_Child` records; a round changes them and returns. A child's life:

    due --start--> running --exits--> reaped --> due after a back-off | ended
                      |  SIGTERM (drain), or SIGABRT (stuck): `kill_at_ns` is set
                      +--> SIGKILL when that time has come

Rules:
- A child is signalled only between its start and its reaping, so a recycled pid is never hit.
- Its slot is vacated after it was reaped and before its successor starts; the child occupies it.
- Once draining, nothing is started any more.
- Heartbeats are judged by the supervisor's own wakefulness: after a suspension (SIGSTOP, a paused machine) every child
  gets a whole time-out anew.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, Protocol

from gateway.base.node import DRAINING, SERVING
from gateway.supervisor._child import Boot, ChildEnv, ChildSpec, Closable, Restart, run_child
from gateway.supervisor._notify import sd_notify
from gateway.supervisor._policy import MS, Deaths, Policy
from gateway.supervisor._signals import STOP_SIGNALS, Inbox, masked
from gateway.supervisor._statelock import StateLock

EXIT_CLEAN = 0
"""Drained: every child ended by itself in time."""
EXIT_KILLED = 1
"""Stopped, but a child had to be killed: its requests in flight were cut."""
EXIT_CRASH_LOOP = 70
"""An essential child could not be kept up (EX_SOFTWARE of sysexits.h)."""

StartMethod = Literal["fork", "spawn"]
DEFAULT_START_METHOD: StartMethod = "fork" if sys.platform == "linux" else "spawn"

_READY_TICK_MS = 20
_TICK_MS = 1_000


class SlotTable(Protocol):
    """What the supervisor needs of `_fastpath.shm.NodeMemory`."""

    def vacate(self, slot: int) -> None: ...
    def heartbeat_ns(self, slot: int) -> int: ...
    def pid(self, slot: int) -> int: ...
    def state(self, slot: int) -> int: ...


class Log(Protocol):
    """`level` is debug, info, warning or error; `event` a dotted name that stays; the fields say the rest."""

    def __call__(self, level: str, event: str, **fields: object) -> None: ...


class _Child:
    """One spec and the process that fulfils it now."""

    __slots__ = ("deaths", "due_ns", "generation", "kill_at_ns", "killed", "process", "ready_ns", "spec", "started_ns")

    def __init__(self, spec: ChildSpec, policy: Policy, due_ns: int) -> None:
        self.spec = spec
        self.deaths = Deaths(policy)
        self.due_ns: int | None = due_ns  # when to start it; None while it runs and when it has ended for good
        self.generation = 0
        self.process: BaseProcess | None = None
        self.started_ns = 0
        self.ready_ns: int | None = None
        self.kill_at_ns: int | None = None
        self.killed = False

    @property
    def pid(self) -> int:
        assert self.process is not None
        assert self.process.pid is not None
        return self.process.pid

    @property
    def next_ns(self) -> int | None:
        """When the loop must look at it next, whatever happens."""
        return self.due_ns if self.process is None else None if self.killed else self.kill_at_ns


class Supervisor:
    """Keeps the children of one node running until it is told to stop.

    Args:
        memory: the node's shared memory, whose slots are watched.
        memory_file: where children find it.
        specs: the children, started in this order.
        lock: the held state directory; stack reports are left in its `run` folder.
        log: takes structured events; see `Log`.
        policy: times and bounds.
        start_method: `fork` (children share what the supervisor has imported), or `spawn` (targets and arguments are
            pickled).
        on_ready: called once, when all essential children with a slot serve.
    """

    def __init__(
        self,
        *,
        memory: SlotTable,
        memory_file: Path,
        specs: Sequence[ChildSpec],
        lock: StateLock,
        log: Log,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        start_method: StartMethod = DEFAULT_START_METHOD,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        _refuse_duplicates("name", [spec.name for spec in specs])
        _refuse_duplicates("slot", [spec.slot for spec in specs if spec.slot is not None])
        self.failure: str | None = None
        """After EXIT_CRASH_LOOP: one line that says which child failed, and how."""
        self._memory = memory
        self._memory_file = memory_file
        self._lock = lock
        self._log = log
        self._policy = policy
        self._start_method: StartMethod = start_method
        self._on_ready = on_ready
        now = _now()
        self._children = [_Child(spec, policy, now) for spec in specs]
        self._inbox = Inbox()
        self._awake_since = now
        self._ready = False
        self._draining = False
        self._stopped_ns: int | None = None
        """When the first stop signal came."""
        self._unlisten_ns: int | None = None
        """When to stop listening; None while nobody drains, and once it is done."""
        self._forced = False

    def run(self) -> int:
        """Starts the children, keeps them running, drains on SIGTERM or SIGINT.

        Returns:
            EXIT_CLEAN, EXIT_KILLED or EXIT_CRASH_LOOP.
        """
        if self._start_method == "spawn":
            resource_tracker.ensure_running()  # else the first spawn does it, and takes the signal mask off
        with self._inbox:
            try:
                while any(child.process is not None or child.due_ns is not None for child in self._children):
                    self._round()
            finally:
                self._kill_all()  # only if the loop itself has failed: nothing may outlive it
        code = EXIT_CRASH_LOOP if self.failure is not None else EXIT_KILLED if self._forced else EXIT_CLEAN
        self._log("info", "supervisor.stopped", exit_code=code)
        return code

    # -- a round

    def _round(self) -> None:
        begun = _now()
        self._start_due(begun)
        timeout_ms = self._timeout_ms(_now())
        numbers = self._inbox.wait(timeout_ms)
        now = _now()
        if now - begun > (timeout_ms + self._policy.heartbeat_timeout_ms // 2) * MS:
            self._awake_since = now
        for number in numbers:
            self._on_signal(signal.Signals(number), now)
        self._reap(now)
        self._observe(now)
        if self._draining:
            self._drain_next_group(now)
        self._kill_overdue(now)

    def _timeout_ms(self, now: int) -> int:
        tick_ms = min(_TICK_MS, self._policy.heartbeat_timeout_ms // 4) if self._ready else _READY_TICK_MS
        due = [child.next_ns for child in self._children]
        soonest = min((at for at in due if at is not None), default=now + tick_ms * MS)
        return max(0, min(tick_ms, -((now - soonest) // MS)))  # rounded up: a wait that ends early would spin

    def _on_signal(self, number: signal.Signals, now: int) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number in STOP_SIGNALS:
            if self._stopped_ns is None:
                self._stopped_ns = now
                self._drain(reason=number.name)
            elif now - self._stopped_ns >= self._policy.repeat_ms * MS:
                self._log("warning", "supervisor.stopping_now", reason=f"a second signal, {number.name}")
                for child in self._running():
                    self._kill(child, now)

    def _running(self) -> list[_Child]:
        return [child for child in self._children if child.process is not None]

    # -- start

    def _start_due(self, now: int) -> None:
        for child in self._children:
            if child.due_ns is not None and child.due_ns <= now:
                self._start(child, now)

    def _start(self, child: _Child, now: int) -> None:
        child.generation += 1
        child.due_ns = child.ready_ns = child.kill_at_ns = None
        child.killed = False
        child.started_ns = now
        process = _make_process(self._start_method, child.spec.name, self._boot(child))
        try:
            with masked():
                process.start()
        except OSError as error:  # no memory, no process to be had, or a spawned child died before it read its task
            self._log("error", "child.start_failed", child=child.spec.name, error=str(error))
            self._plan_successor(child, f"could not be started: {error}", now, failed=True)
            return
        child.process = process
        self._log("info", "child.started", child=child.spec.name, pid=process.pid, generation=child.generation)

    def _boot(self, child: _Child) -> Boot:
        spec = child.spec
        env = ChildEnv(spec.name, spec.slot, child.generation, spec.sockets, spec.args, self._memory_file)
        inherited = self._not_for(spec) if self._start_method == "fork" else ()
        return Boot(spec.target, env, os.getpid(), self._live_stack_file(child), inherited)

    def _not_for(self, spec: ChildSpec) -> tuple[Closable, ...]:
        own = {listener.fileno() for listener in spec.sockets.values()}
        others = {
            listener.fileno(): listener
            for child in self._children
            for listener in child.spec.sockets.values()
            if listener.fileno() not in own
        }
        return (self._lock, self._inbox, *others.values())

    # -- end

    def _reap(self, now: int) -> None:
        for child in self._running():
            assert child.process is not None
            code = child.process.exitcode  # waitpid(WNOHANG)
            if code is not None:
                self._ended(child, code, now)

    def _ended(self, child: _Child, code: int, now: int) -> None:
        assert child.process is not None
        self._note_ready(child, now)  # it may have become ready and died between two rounds
        if child.spec.slot is not None:
            self._memory.vacate(child.spec.slot)
        self._log(
            "info" if code == 0 or (self._draining and code == -signal.SIGTERM) else "error",
            "child.exited",
            child=child.spec.name,
            pid=child.pid,
            status=describe_exit(code),
            stack_file=self._keep_stack(child),
        )
        child.process.close()
        child.process = None
        self._plan_successor(child, describe_exit(code), now, failed=code != 0)

    def _plan_successor(self, child: _Child, status: str, now: int, *, failed: bool) -> None:
        """Plans the successor of a child that has ended, or none."""
        restart = child.spec.restart
        if self._draining or restart is Restart.NEVER or (restart is Restart.ON_FAILURE and not failed):
            return
        served_since = child.started_ns if child.spec.slot is None else child.ready_ns
        healthy = served_since is not None and now - served_since >= self._policy.backoff.healthy_ms * MS
        # A child without a slot has no way to say that it is ready: having lived for so long says it.
        child.deaths.note(now, ready=healthy or child.ready_ns is not None, healthy=healthy)
        if child.spec.essential and child.deaths.looping:
            self._give_up(child, status)
            return
        delay_ms = child.deaths.delay_ms
        child.due_ns = now + delay_ms * MS
        if delay_ms:
            self._log("warning", "child.backing_off", child=child.spec.name, delay_ms=delay_ms)

    def _give_up(self, child: _Child, status: str) -> None:
        policy = self._policy
        self.failure = (
            f"{child.spec.name} ended {policy.loop_deaths} times within {policy.loop_window_ms / 1000:g} s "
            f"without becoming ready, the last time: {status}"
        )
        self._log("error", "supervisor.crash_loop", child=child.spec.name, status=status, message=self.failure)
        self._drain(reason=f"crash loop of {child.spec.name}")

    # -- watch

    def _observe(self, now: int) -> None:
        for child in self._running():
            self._note_ready(child, now)
            if child.kill_at_ns is None and self._stalled(child, now):
                self._abort(child, now)
        if not self._ready and not self._draining and all(map(_serves, self._children)):
            self._ready = True
            self._log("info", "supervisor.ready")
            self._notify("READY=1")
            if self._on_ready is not None:
                self._on_ready()

    def _state(self, child: _Child) -> int:
        """The state that the child's own process has reported; 0 before it took its slot, and without one."""
        slot = child.spec.slot
        return self._memory.state(slot) if slot is not None and self._memory.pid(slot) == child.pid else 0

    def _note_ready(self, child: _Child, now: int) -> None:
        if child.ready_ns is None and self._state(child) in (SERVING, DRAINING):
            child.ready_ns = now

    def _stalled(self, child: _Child, now: int) -> bool:
        slot = child.spec.slot
        if slot is None or self._state(child) not in (SERVING, DRAINING):
            return False
        silent_since = max(self._memory.heartbeat_ns(slot), self._awake_since)
        return now - silent_since > self._policy.heartbeat_timeout_ms * MS

    def _abort(self, child: _Child, now: int) -> None:
        """Ends a stuck child: SIGABRT, upon which faulthandler writes its stacks, then SIGKILL."""
        self._log("error", "child.stalled", child=child.spec.name, pid=child.pid, silent_ms=self._silent_ms(child, now))
        os.kill(child.pid, signal.SIGABRT)
        child.kill_at_ns = now + self._policy.report_ms * MS
        self._forced |= self._draining

    def _silent_ms(self, child: _Child, now: int) -> int:
        assert child.spec.slot is not None
        return (now - self._memory.heartbeat_ns(child.spec.slot)) // MS

    def _live_stack_file(self, child: _Child) -> Path:
        return self._lock.run_dir / f"stack-{child.spec.name}.live"

    def _keep_stack(self, child: _Child) -> str | None:
        """The report that the child left, moved out of its successor's way: the last one of each child is kept."""
        live = self._live_stack_file(child)
        if not live.exists():
            return None
        if live.stat().st_size == 0:
            live.unlink()
            return None
        return str(live.replace(live.with_suffix(".txt")))

    # -- stop

    def _reload(self) -> None:
        for child in self._running():
            if child.spec.reloads:
                os.kill(child.pid, signal.SIGHUP)
                self._log("info", "child.reloading", child=child.spec.name, pid=child.pid)

    def _drain(self, reason: str) -> None:
        if self._draining:
            return
        self._draining = True
        self._log("info", "supervisor.draining", reason=reason)
        self._notify("STOPPING=1")
        self._unlisten_ns = _now() + self._policy.lame_duck_ms * MS
        for child in self._children:
            child.due_ns = None

    def _unlisten(self) -> None:
        """Closes the sockets of those that are stopped first: what nobody will accept must be refused, not queued."""
        self._unlisten_ns = None
        first = min(child.spec.drain_order for child in self._children)
        for child in self._children:
            if child.spec.drain_order == first:
                for listener in child.spec.sockets.values():
                    listener.close()

    def _drain_next_group(self, now: int) -> None:
        if self._unlisten_ns is not None and now >= self._unlisten_ns:
            self._unlisten()
        running = self._running()
        order = min((child.spec.drain_order for child in running), default=0)
        for child in running:
            if child.spec.drain_order == order and child.kill_at_ns is None:
                self._terminate(child, now)

    def _terminate(self, child: _Child, now: int) -> None:
        grace_ms = child.spec.term_grace_ms if child.spec.term_grace_ms is not None else self._policy.term_grace_ms
        os.kill(child.pid, signal.SIGTERM)
        child.kill_at_ns = now + grace_ms * MS
        self._log("info", "child.terminating", child=child.spec.name, pid=child.pid, grace_ms=grace_ms)

    def _kill_overdue(self, now: int) -> None:
        for child in self._running():
            if child.kill_at_ns is not None and child.kill_at_ns <= now:
                self._kill(child, now)

    def _kill(self, child: _Child, now: int) -> None:
        if child.killed:
            return
        os.kill(child.pid, signal.SIGKILL)
        child.killed, child.kill_at_ns = True, now
        self._forced |= self._draining
        self._log("warning", "child.killed", child=child.spec.name, pid=child.pid)

    def _kill_all(self) -> None:
        for child in self._running():
            assert child.process is not None
            child.process.kill()
            child.process.join()

    def _notify(self, state: str) -> None:
        try:
            sd_notify(state)
        except OSError as error:  # the service runs, though its manager does not hear it
            self._log("warning", "supervisor.notify_failed", state=state, error=str(error))


def describe_exit(code: int) -> str:
    """`exit code 3`, or `signal SIGKILL` for a process that a signal ended (negative, as multiprocessing has it)."""
    if code >= 0:
        return f"exit code {code}"
    names = {int(number): number.name for number in signal.Signals}  # most real-time signals have none
    return f"signal {names.get(-code, -code)}"


def _serves(child: _Child) -> bool:
    """Whether the node's readiness does not wait for it."""
    waited_for = child.spec.essential and child.spec.slot is not None
    return not waited_for or (child.process is not None and child.ready_ns is not None)


def _make_process(method: StartMethod, name: str, boot: Boot) -> BaseProcess:
    if method == "fork":
        return multiprocessing.get_context("fork").Process(target=run_child, args=(boot,), name=name)
    return multiprocessing.get_context("spawn").Process(target=run_child, args=(boot,), name=name)


def _refuse_duplicates(what: str, values: Sequence[object]) -> None:
    if len(set(values)) != len(values):
        raise ValueError(f"two children have the same {what}: {values}")


def _now() -> int:
    """The clock of heartbeats: CLOCK_MONOTONIC, which `time.monotonic_ns` is not on macOS."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
