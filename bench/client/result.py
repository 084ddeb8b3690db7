"""The figures of a run, and whether they may be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from bench.native.histogram import Histogram

if TYPE_CHECKING:
    from bench.native.caller import Load

MAX_BUSY_SHARE: Final = 0.95
"""Of a core, with the time that the load generator waited for one: beyond, it could not have asked more."""
TRUNCATED: Final = ("cut", "no_terminal", "half_json", "error_event")
"""Failures that leave a caller with a part of its answer."""


@dataclass(slots=True)
class Part:
    """What one process saw, and what it did for that."""

    cpu_s: float
    busy_share: float
    sent: int
    unsent: int
    answered: int
    events: int
    received_bytes: int
    waited: int
    reconnects: int
    failures: dict[str, int]
    statuses: dict[int, int]
    latency: Histogram
    first: Histogram
    gap: Histogram
    duration: Histogram
    lag: Histogram

    @classmethod
    def of(cls, load: Load, cpu_s: float, busy_share: float) -> Part:
        return cls(
            cpu_s,
            busy_share,
            load.sent,
            load.unsent,
            load.answered,
            load.events,
            load.received_bytes,
            load.waited,
            load.reconnects,
            load.failures,
            load.statuses,
            load.latency,
            load.first,
            load.gap,
            load.duration,
            load.lag,
        )

    @property
    def requests(self) -> int:
        return self.sent + self.unsent

    def add(self, other: Part) -> None:
        """Makes it what both saw."""
        for name in ("cpu_s", "sent", "unsent", "answered", "events", "received_bytes", "waited", "reconnects"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.busy_share = max(self.busy_share, other.busy_share)
        for kind, count in other.failures.items():
            self.failures[kind] = self.failures.get(kind, 0) + count
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        for name in ("latency", "first", "gap", "duration", "lag"):
            getattr(self, name).merge(getattr(other, name))


class Times(msgspec.Struct, frozen=True):
    """A distribution, in microseconds."""

    count: int
    mean_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float


class Streams(msgspec.Struct, frozen=True):
    """What callers of streams saw."""

    first_token: Times
    gap: Times
    duration: Times
    events: int
    first_token_buckets_us: list[tuple[float, int]]
    """(at most, count): all of the distribution."""


class Generator(msgspec.Struct, frozen=True):
    """What the load generator did to make this."""

    lag: Times
    """How late it sent what was due; of an open loop."""
    max_lag_us: float
    """Of its 99th percentile: beyond, what is measured is this side."""
    busy_share: float
    """Of the measured time in which it ran or waited for a core; of several processes, the busiest's."""
    cpu_us_per_request: float
    processes: int
    waited: int
    """Requests that found all connections busy; their time ran."""
    reconnects: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    target: str
    loop: Literal["open", "closed"]
    arrivals: Literal["constant", "poisson"] | None
    asked_per_s: float | None
    connections: int
    seconds: float
    requests: int
    """Whose time to be sent fell in the measured time."""
    answered: int
    """Of those: whole and well."""
    answered_per_s: float
    received_bytes: int
    latency: Times
    """From when a request was to be sent to the end of its answer."""
    failures: dict[str, int]
    statuses: dict[int, int]
    streams: Streams | None
    generator: Generator
    latency_buckets_us: list[tuple[float, int]]
    """(at most, count): all of the distribution."""

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def failed_share(self) -> float:
        total = self.answered + self.failed
        return self.failed / total if total else 0.0

    @property
    def truncated(self) -> dict[str, int]:
        """Answers of which a part came, by how they broke off."""
        return {kind: self.failures[kind] for kind in TRUNCATED if kind in self.failures}

    @property
    def doubts(self) -> list[str]:
        """Why the figures say more of the load generator than of the target; empty where they do not."""
        found = []
        if self.generator.lag.p99_us > self.generator.max_lag_us:
            found.append(
                f"the load generator fell behind its schedule: p99 of its lateness is {self.generator.lag.p99_us:,.0f} us, "
                f"at most {self.generator.max_lag_us:,.0f} may be"
            )
        if self.generator.busy_share > MAX_BUSY_SHARE:
            found.append(
                f"the load generator was at its limit: it ran, or waited for a core, for {self.generator.busy_share:.0%} of "
                "the time; what the target could do is not known"
            )
        return found

    def as_json(self) -> bytes:
        extra = {
            "failed": self.failed,
            "truncated": sum(self.truncated.values()),
            "truncated_by": self.truncated,
            "trusted": not self.doubts,
            "doubts": self.doubts,
        }
        return msgspec.json.encode({**msgspec.to_builtins(self, str_keys=True), **extra})


def buckets_us(histogram: Histogram) -> list[tuple[float, int]]:
    """(at most, count) of each bucket of a histogram of nanoseconds."""
    return [(value / 1e3, count) for value, count in histogram.buckets()]


def times(histogram: Histogram) -> Times:
    """The distribution that a histogram of nanoseconds holds."""
    p50, p90, p99, p999 = (histogram.percentile(percent) / 1e3 for percent in (50, 90, 99, 99.9))
    return Times(histogram.count, histogram.mean / 1e3, p50, p90, p99, p999, histogram.maximum / 1e3)
