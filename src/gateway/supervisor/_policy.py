"""When to start a child again, and when to give up: numbers in, numbers out, no clock of its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MS = 1_000_000
"""Nanoseconds in a millisecond."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first successor comes at once, each later one waits twice as long as the one before."""

    first_ms: int = 100
    max_ms: int = 10_000
    healthy_ms: int = 1_000
    """A child that served for so long has made good: its next death is a first one."""
    settled_ms: int = 10_000
    """The same of a child without a slot, which cannot say that it serves: from its start."""

    def delay_ms(self, deaths: int) -> int:
        """Milliseconds from the last of `deaths` in a row to the successor's start."""
        if deaths <= 1:
            return 0
        doublings = min(deaths - 2, self.max_ms.bit_length())  # bounded, else the shift grows with the deaths
        return min(self.max_ms, self.first_ms << doublings)


@dataclass(frozen=True, slots=True)
class Policy:
    """How the supervisor treats its children; the defaults are the documented ones."""

    heartbeat_timeout_ms: int = 10_000
    """A worker that serves and has not beaten for so long is stuck."""
    start_timeout_ms: int = 60_000
    """A child that has a slot and does not serve so long after its start is stuck."""
    report_ms: int = 500
    """Between SIGABRT, upon which a stuck child writes its stack, and SIGKILL."""
    drain_grace_ms: int = 30_000
    lame_duck_ms: int = 0
    repeat_ms: int = 500
    """A stop signal that follows another so closely is the same one, sent to the process and to its group (as `timeout` does)."""
    drain_slack_ms: int = 5_000
    """What a child gets past grace and lame duck to account and exit."""
    rehearsal_ms: int = 60_000
    """A new version that is not ready to take over within so long is refused."""
    proof_ms: int = 500
    """A successor without a slot that has lived for so long is taken to serve."""
    retire_grace_ms: int = 90_000_000
    """From a hand-over to SIGKILL. Each request is bounded by its provider's total time-out, a day at most; this is an hour more."""
    backoff: Backoff = Backoff()
    loop_deaths: int = 5
    loop_window_ms: int = 10_000
    """So many deaths before becoming ready within so long are a crash loop."""

    @property
    def term_grace_ms(self) -> int:
        """From SIGTERM to SIGKILL."""
        return self.drain_grace_ms + self.lame_duck_ms + self.drain_slack_ms


@dataclass(slots=True)
class Deaths:
    """What is remembered of one child's predecessors."""

    policy: Policy
    in_a_row: int = 0
    _early_ns: deque[int] = field(init=False)

    def __post_init__(self) -> None:
        self._early_ns = deque(maxlen=self.policy.loop_deaths)

    def note(self, now_ns: int, *, ready: bool, healthy: bool) -> None:
        """A child has died. `ready`: it had begun to serve; `healthy`: and did so for `healthy_ms`."""
        self.in_a_row = 1 if healthy else self.in_a_row + 1
        if ready:
            self._early_ns.clear()
        else:
            self._early_ns.append(now_ns)

    @property
    def delay_ms(self) -> int:
        return self.policy.backoff.delay_ms(self.in_a_row)

    @property
    def looping(self) -> bool:
        early = self._early_ns
        return len(early) == self.policy.loop_deaths and early[-1] - early[0] <= self.policy.loop_window_ms * MS
