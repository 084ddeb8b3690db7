"""The new program's side of a restart: a successor for each child, beside the one that serves; then the change, at once.

Theory.

    raising   one post after the other gets a second member, which serves on the same sockets as the first
    leaving   all successors serve: they fill the posts, and those before them retire: they accept no more, and finish what they have
    (failed)  a successor has ended before it served: all successors retire, and those before them go on as if nothing had been

Nothing waits: `step` is called in each round of the supervisor, looks, and does what is due.

Rules:
- Until all successors serve nobody is asked to leave, so there is always a whole crew.
- Who dies meanwhile is not replaced: its successor comes, or, after a failure, is started like any other.
- Those that workers need while they retire (the agent answers /readyz) have been replaced, and have ended, before workers retire.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.supervisor import progress as _progress
from gateway.supervisor._crew import Crew, Member, Post, describe_exit
from gateway.supervisor._policy import MS, Deaths
from gateway.supervisor.progress import Progress

_FIRST_LEAVE_MS = 5_000
"""How long workers wait for the old agent's end before they retire."""


class HandOver:
    """See the module."""

    def __init__(self, crew: Crew, progress: Progress, report: Callable[[Progress], None]) -> None:
        self._crew = crew
        self.progress = progress
        self._report = report
        self._waiting = list(crew.posts)
        """Posts whose successor does not serve yet, in order."""
        self._had_one = [post for post in crew.posts if post.member is not None]
        self._to_retire: list[Member] = []
        self._retire_at_ns = 0
        self._short_of_slots = False
        self.ended = False
        report(progress)

    @property
    def raising(self) -> bool:
        return self.progress.state == _progress.RAISING

    def step(self, now: int) -> bool:
        """True when the successors have just taken over."""
        if self.raising:
            return self._raise_next(now)
        if self._to_retire:
            self._retire(now)
        if self.progress.state == _progress.LEAVING and not self._crew.leaving:
            self._end(_progress.DONE, "those before have finished")
        return False

    def _raise_next(self, now: int) -> bool:
        while self._waiting:
            post = self._waiting[0]
            if post.raised is None and not self._start(post, now):
                return False
            assert post.raised is not None
            if not self._stands(post.raised, now):
                return False
            self._waiting.pop(0)
            before = f" in place of {post.member.pid}" if post.member is not None else ""
            self._note(f"{post.spec.name}: {post.raised.pid} serves{before}", post.raised)
        self._change(now)
        return True

    def _start(self, post: Post, now: int) -> bool:
        if post.spec.slots and self._crew.free_slot(post.spec) is None:
            if not self._short_of_slots:
                self._short_of_slots = True
                self._note(f"{post.spec.name}: waits until a worker that an earlier restart replaced has finished")
            return False
        self._short_of_slots = False
        try:
            post.raised = self._crew.start(post, now)
        except OSError as error:
            self.fail(f"{post.spec.name} could not be started: {error.strerror or error}", now)
            return False
        return True

    def _stands(self, member: Member, now: int) -> bool:
        if member.spec.slots:
            return member.ready_ns is not None
        return now - member.started_ns >= self._crew.policy.proof_ms * MS

    def _change(self, now: int) -> None:
        crew = self._crew
        for post in crew.posts:
            if post.member is not None:
                crew.leaving.append(post.member)
            post.member, post.raised, post.deaths = post.raised, None, Deaths(crew.policy)
        for member in crew.leaving:
            if member.kill_at_ns is None and not member.spec.retires:
                crew.terminate(member, now)
        self._to_retire = [m for m in crew.leaving if m.kill_at_ns is None]
        self._retire_at_ns = now + _FIRST_LEAVE_MS * MS
        self.progress.state = _progress.LEAVING
        count = len(crew.leaving)
        self._note(f"version {self.progress.version} serves; those before finish what they have ({count} processes)")

    def _retire(self, now: int) -> None:
        first = [m for m in self._crew.leaving if m.terminated and m.slot is not None]
        if not first or now >= self._retire_at_ns:
            for member in self._to_retire:
                if member in self._crew.leaving and member.kill_at_ns is None:
                    self._crew.retire(member, now)
            self._to_retire = []

    # -- what may come between

    def lost(self, member: Member, code: int, now: int) -> None:
        """A successor has ended before all were there."""
        self.fail(
            f"{member.spec.name} ended before it could take over: {describe_exit(code)}; the node's log says why", now
        )

    def fail(self, why: str, now: int) -> None:
        """Those before go on."""
        crew = self._crew
        for post in crew.posts:
            member, post.raised = post.raised, None
            if member is not None:
                crew.leaving.append(member)
                if member.ready_ns is not None:
                    crew.retire(member, now)
                else:
                    crew.terminate(member, now)
            if post.member is None and post in self._had_one:
                post.due_ns = now
        self.progress.errors.append(why)
        self._end(_progress.FAILED, why)

    def stop(self) -> None:
        """The node drains: whatever belongs to it ends."""
        if self.raising:
            self.progress.errors.append("the node was told to stop")
            self._end(_progress.FAILED, "the node was told to stop")
        elif not self.ended:
            self._end(_progress.DONE, "the node was told to stop")
        self._to_retire = []

    def _end(self, state: str, why: str) -> None:
        self.ended = True
        self.progress.end(state)
        self._note(why)

    def _note(self, message: str, member: Member | None = None) -> None:
        if member is None:
            self.progress.note(message)
        else:
            self.progress.note(message, member.spec.name, member.pid)
        level = "error" if self.progress.state == _progress.FAILED else "info"
        self._crew.log(level, "supervisor.restart", state=self.progress.state, message=message)
        self._report(self.progress)
