"""The supervisor: one loop, no threads, no asyncio, and nothing in it that waits for a child.

Theory. A round waits for a signal or the next due time, then reaps what has ended, looks at the heartbeats, and does
what is due. All state is in the records of `Crew`; a round changes them and returns. A child's life:

    due --start--> running --exits--> reaped --> due after a back-off | ended
                      |  SIGTERM (drain), SIGUSR1 (replaced), or SIGABRT (stuck): `kill_at_ns` is set
                      +--> SIGKILL when that time has come

A restart (SIGUSR2) replaces the supervisor's own program too: `_memo` tells how, `_rehearsal` is the old program's side of it,
`_hand_over` the new one's.

Rules:
- Once draining, nothing is started any more.
- Heartbeats are judged by the supervisor's own wakefulness: after a suspension (SIGSTOP, a paused machine) every child
  gets a whole time-out anew.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import resource_tracker
from pathlib import Path

from gateway.supervisor import _reports
from gateway.supervisor import progress as _progress
from gateway.supervisor._child import ChildSpec, Restart
from gateway.supervisor._crew import Crew, Log, Member, Post, SlotTable, describe_exit, make_posts
from gateway.supervisor._hand_over import HandOver
from gateway.supervisor._memo import TakeOver
from gateway.supervisor._notify import sd_notify
from gateway.supervisor._policy import MS, Policy
from gateway.supervisor._process import StartMethod, end_now
from gateway.supervisor._rehearsal import RehearsalFailedError, Succession, Trial
from gateway.supervisor._signals import RESTART_SIGNAL, STOP_SIGNALS, Inbox
from gateway.supervisor._statelock import StateLock
from gateway.supervisor.progress import Progress

EXIT_CLEAN = 0
"""Drained: every child ended by itself in time."""
EXIT_KILLED = 1
"""Stopped, but a child had to be killed: its requests in flight were cut."""
EXIT_CRASH_LOOP = 70
"""An essential child could not be kept up (EX_SOFTWARE of sysexits.h)."""

DEFAULT_START_METHOD: StartMethod = "fork" if sys.platform == "linux" else "spawn"

_READY_TICK_MS = 20
_TICK_MS = 1_000
_SLOT_WAIT_MS = 200
"""Between two looks for a slot where all are taken by workers that retire."""


class Supervisor:
    """Keeps the children of one node running until it is told to stop.

    Args:
        memory: the node's shared memory, whose slots are watched.
        memory_file: where children find it.
        specs: the children, started in this order.
        lock: the held state directory; reports are left in its `run` folder.
        log: takes structured events; see `Log`.
        policy: times and bounds.
        start_method: `fork` (children share what the supervisor has imported), or `spawn` (targets and arguments are
            pickled).
        on_ready: called when all essential children with a slot serve, once, and in a program that has taken over when the
            successors do.
        succession: how the program is replaced; None where it cannot be.
        same_memory: of a program that has taken over: `memory` is what the children it adopts use too.
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
        succession: Succession | None = None,
        same_memory: bool = True,
    ) -> None:
        _refuse_duplicates([spec.name for spec in specs])
        self.failure: str | None = None
        """After EXIT_CRASH_LOOP: one line that says which child failed, and how."""
        self._log = log
        self._policy = policy
        self._start_method: StartMethod = start_method
        self._on_ready = on_ready
        self._succession = succession
        self._inbox = Inbox()
        self._crew = Crew(
            memory, memory_file, make_posts(specs, policy), lock, log, policy, start_method, (self._inbox,)
        )
        self._run_dir = lock.run_dir
        self._trial: Trial | None = None
        self._hand_over: HandOver | None = None
        now = _now()
        self._awake_since = now
        self._ready = False
        self._draining = False
        self._stopped_ns: int | None = None
        """When the first stop signal came."""
        self._forced = False
        taken_over = succession.taken_over if succession is not None else None
        if taken_over is not None:
            self._take_over(taken_over, now, same_memory=same_memory)
        else:
            _reports.clear(self._run_dir)
            self._settle_stale()
            for post in self._crew.posts:
                post.due_ns = now

    def run(self) -> int:
        """Starts the children, keeps them running, drains on SIGTERM or SIGINT.

        Returns:
            EXIT_CLEAN, EXIT_KILLED or EXIT_CRASH_LOOP.
        """
        if self._start_method == "spawn":
            resource_tracker.ensure_running()  # else the first spawn does it, and takes the signal mask off
        with self._inbox:
            try:
                while self._members() or self._raising or any(p.due_ns is not None for p in self._crew.posts):
                    self._round()
            finally:
                for member in self._members():  # only if the loop itself has failed: nothing may outlive it
                    end_now(member.process)
        code = EXIT_CRASH_LOOP if self.failure is not None else EXIT_KILLED if self._forced else EXIT_CLEAN
        self._log("info", "supervisor.stopped", exit_code=code)
        return code

    def _members(self) -> list[Member]:
        members = self._crew.members()
        return [*members, self._trial.member] if self._trial is not None else members

    @property
    def _raising(self) -> bool:
        return self._hand_over is not None and self._hand_over.raising

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
        elif self._hand_over is not None and not self._hand_over.ended and self._hand_over.step(now):
            self._on_served()
        self._kill_overdue(now)

    def _timeout_ms(self, now: int) -> int:
        steady = self._ready and not self._raising and all(post.serves for post in self._crew.posts)
        tick_ms = min(_TICK_MS, self._policy.heartbeat_timeout_ms // 4) if steady else _READY_TICK_MS
        due = [post.due_ns for post in self._crew.posts]
        due += [member.kill_at_ns for member in self._members() if not member.killed]
        soonest = min((at for at in due if at is not None), default=now + tick_ms * MS)
        return max(0, min(tick_ms, -((now - soonest) // MS)))  # rounded up: a wait that ends early would spin

    def _on_signal(self, number: signal.Signals, now: int) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number == RESTART_SIGNAL:
            self._restart(now)
        elif number in STOP_SIGNALS:
            if self._stopped_ns is None:
                self._stopped_ns = now
                self._drain(reason=number.name)
            elif now - self._stopped_ns >= self._policy.repeat_ms * MS:
                self._log("warning", "supervisor.stopping_now", reason=f"a second signal, {number.name}")
                for member in self._members():
                    self._kill(member, now)

    # -- start

    def _start_due(self, now: int) -> None:
        for post in self._crew.posts:
            if post.due_ns is not None and post.due_ns <= now:
                self._start(post, now)

    def _start(self, post: Post, now: int) -> None:
        if post.spec.slots and self._crew.free_slot(post.spec) is None:
            post.due_ns = now + _SLOT_WAIT_MS * MS
            return
        post.due_ns = None
        try:
            post.member = self._crew.start(post, now)
        except OSError as error:  # no memory, no process to be had, or a spawned child died before it read its task
            self._log("error", "child.start_failed", child=post.spec.name, error=str(error))
            self._plan_successor(post, None, f"could not be started: {error}", now, failed=True)

    # -- end

    def _reap(self, now: int) -> None:
        for member in self._members():
            code = member.process.poll()
            if code is None:
                continue
            self._crew.dismiss(member, code, now)
            if self._trial is not None and member is self._trial.member:
                self._rehearsed(member, code, now)
            else:
                self._ended(member, code, now)

    def _ended(self, member: Member, code: int, now: int) -> None:
        crew = self._crew
        if member in crew.leaving:
            crew.leaving.remove(member)
            return
        post = next(p for p in crew.posts if member in (p.member, p.raised))
        if member is post.raised:
            post.raised = None
            if self._hand_over is not None and not self._draining:
                self._hand_over.lost(member, code, now)
            return
        post.member = None
        if not self._raising:
            self._plan_successor(post, member, describe_exit(code), now, failed=code != 0)

    def _plan_successor(self, post: Post, member: Member | None, status: str, now: int, *, failed: bool) -> None:
        """Plans the successor of a child that has ended or could not be started, or none."""
        restart = post.spec.restart
        if self._draining or restart is Restart.NEVER or (restart is Restart.ON_FAILURE and not failed):
            return
        backoff = self._policy.backoff
        ready_ns = member.ready_ns if member is not None else None
        if post.spec.slots or member is None:
            healthy = ready_ns is not None and now - ready_ns >= backoff.healthy_ms * MS
        else:  # it has no way to say that it is ready: having lived for so long says it
            healthy = now - member.started_ns >= backoff.settled_ms * MS
        post.deaths.note(now, ready=healthy or ready_ns is not None, healthy=healthy)
        if post.spec.essential and post.deaths.looping:
            self._give_up(post, status)
            return
        delay_ms = post.deaths.delay_ms
        post.due_ns = now + delay_ms * MS
        if delay_ms:
            self._log("warning", "child.backing_off", child=post.spec.name, delay_ms=delay_ms)

    def _give_up(self, post: Post, status: str) -> None:
        policy = self._policy
        self.failure = (
            f"{post.spec.name} ended {policy.loop_deaths} times within {policy.loop_window_ms / 1000:g} s "
            f"without becoming ready, the last time: {status}"
        )
        self._log("error", "supervisor.crash_loop", child=post.spec.name, status=status, message=self.failure)
        self._drain(reason=f"crash loop of {post.spec.name}")

    # -- watch

    def _observe(self, now: int) -> None:
        for member in self._crew.members():
            self._crew.note_ready(member, now)
            if member.stuck or member.terminated or member.killed:
                continue  # its end is decided, and bounded
            silent_ms = self._crew.silent_ms(member, now, self._awake_since)
            if silent_ms is not None:
                self._crew.abort(member, silent_ms, now)
        if not self._ready and not self._draining and all(post.serves for post in self._crew.posts):
            self._on_served()

    def _on_served(self) -> None:
        self._ready = True
        self._log("info", "supervisor.ready")
        self._notify("READY=1")
        if self._on_ready is not None:
            self._on_ready()

    # -- restart

    def _restart(self, now: int) -> None:
        if self._trial is not None or self._raising or self._draining:
            self._log("warning", "supervisor.restart_ignored", reason="one is under way, or the node drains")
            return
        before = _progress.read(self._run_dir)
        version = self._succession.version if self._succession is not None else ""
        progress = Progress(before.number + 1 if before else 1, version, began_at_s=time.time())
        if self._succession is None or not self._succession.command or self._start_method != "fork":
            self._restart_failed(progress, ["this node cannot be restarted in place: stop it and start it again"])
            return
        try:
            self._trial = Trial(self._crew, self._succession, progress, now)
        except OSError as error:
            self._restart_failed(progress, [f"the rehearsal could not be started: {error.strerror or error}"])
            return
        self._log("info", "supervisor.restart", state=progress.state, command=list(self._succession.command))
        self._write_progress(progress)

    def _rehearsed(self, member: Member, code: int, now: int) -> None:
        trial, self._trial = self._trial, None
        assert trial is not None
        try:
            if self._draining:
                raise RehearsalFailedError("the node was told to stop")
            trial.become_next(member, code)
        except RehearsalFailedError as error:
            self._restart_failed(trial.progress, list(error.args))
        finally:
            trial.close()

    def _restart_failed(self, progress: Progress, errors: list[str]) -> None:
        progress.errors = errors
        progress.end(_progress.FAILED)
        self._log("error", "supervisor.restart", state=progress.state, errors=errors)
        self._write_progress(progress)

    def _take_over(self, taken_over: TakeOver, now: int, *, same_memory: bool) -> None:
        memo = taken_over.memo
        self._crew.adopt(memo.children, now, same_memory=same_memory)
        self._ready = True
        self._log("info", "supervisor.taken_over", version_before=memo.version, children=len(memo.children))
        self._hand_over = HandOver(self._crew, memo.progress, self._write_progress)

    def _settle_stale(self) -> None:
        """A restart that its file shows under way went down with the supervisor that did it."""
        found = _progress.read(self._run_dir)
        if found is not None and found.ended_at_s is None:
            found.errors.append("the node ended meanwhile")
            found.end(_progress.DONE if found.settled else _progress.FAILED)
            self._write_progress(found)

    def _write_progress(self, progress: Progress) -> None:
        try:
            _progress.write(self._run_dir, progress)
        except OSError as error:  # nobody can watch; the restart goes on
            self._log("error", "supervisor.restart_not_shown", error=str(error))

    # -- stop

    def _reload(self) -> None:
        for member in self._crew.members():
            if member.spec.reloads:
                os.kill(member.pid, signal.SIGHUP)
                self._log("info", "child.reloading", child=member.spec.name, pid=member.pid)

    def _drain(self, reason: str) -> None:
        if self._draining:
            return
        self._draining = True
        self._log("info", "supervisor.draining", reason=reason)
        self._notify("STOPPING=1")
        self._unlisten()
        for post in self._crew.posts:
            post.due_ns = None
        if self._hand_over is not None:
            self._hand_over.stop()
        if self._trial is not None:
            self._crew.kill(self._trial.member, _now())

    def _unlisten(self) -> None:
        """Closes its own copy of the sockets of those that are stopped first. They take in what waits there, and close it then; were
        this one still open, others would go on queueing, and be reset."""
        first = min(post.spec.drain_order for post in self._crew.posts)
        for post in self._crew.posts:
            if post.spec.drain_order == first:
                for listener in post.spec.sockets.values():
                    listener.close()

    def _drain_next_group(self, now: int) -> None:
        members = self._crew.members()
        order = min((member.spec.drain_order for member in members), default=0)
        for member in members:
            if member.spec.drain_order == order and not (member.terminated or member.stuck or member.killed):
                self._crew.terminate(member, now)

    def _kill_overdue(self, now: int) -> None:
        for member in self._members():
            if member.kill_at_ns is not None and member.kill_at_ns <= now:
                self._kill(member, now)

    def _kill(self, member: Member, now: int) -> None:
        if member.killed:
            return
        self._crew.kill(member, now)
        self._forced |= self._draining and (self._trial is None or member is not self._trial.member)

    def _notify(self, state: str) -> None:
        try:
            sd_notify(state)
        except OSError as error:  # the service runs, though its manager does not hear it
            self._log("warning", "supervisor.notify_failed", state=state, error=str(error))


def _refuse_duplicates(names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"two children have the same name: {names}")


def _now() -> int:
    """The clock of heartbeats: CLOCK_MONOTONIC, which `time.monotonic_ns` is not on macOS."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
