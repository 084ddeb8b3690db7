"""From samples to figures.

A figure is the median of its turns. Latency is given as what the target adds: a turn's quantile through the target minus
the same quantile direct, in the same round. A fault in one turn fails the figure: a median of the luckier turns flatters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import linear_regression, median
from typing import Final

import msgspec

from bench.compare.samples import SHARES, Load, Run, Target, Turn

DIRECT: Final = "direct"
YARDSTICK: Final = "nginx"
LONE: Final = "chat 1"
FULL: Final = "chat full"
STREAM: Final = "stream full"
HALF: Final = "chat half"
HALF_DIRECT: Final = "chat half direct"
FIRST: Final = "stream first"

MIB: Final = 1_048_576


class Value(msgspec.Struct, frozen=True):
    """A median with the lowest and highest of its turns."""

    value: float
    low: float
    high: float


class Failed(msgspec.Struct, frozen=True):
    """There is no figure, and this is why."""

    reason: str


Outcome = Value | Failed | None
"""None: this figure is none of this target's."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One column of the report.

    Args:
        key: in JSON.
        title: for people, with its unit.
        short: the same for a narrow column.
        phase: that it comes from; a fault there fails it.
        of: a turn, and direct's of the same round -> its value, None if it has none.
        places: decimals.
        less_is_better: None where neither is, or where each target has conditions of its own: there is no ratio then.
    """

    key: str
    title: str
    short: str
    phase: str
    of: Callable[[Turn, Turn | None], float | None]
    places: int = 0
    less_is_better: bool | None = True


def _cpu_us(phase: str) -> Callable[[Turn, Turn | None], float | None]:
    def of(turn: Turn, _: Turn | None) -> float | None:
        load = turn.loads.get(phase)
        return None if load is None or load.cpu_s is None else load.cpu_s / load.requests * 1e6

    return of


def _event_cpu_us(turn: Turn, _: Turn | None) -> float | None:
    held = turn.held
    return None if held is None or held.cpu_s is None or not held.events else held.cpu_s / held.events * 1e6


def _held_mib(turn: Turn, _: Turn | None) -> float | None:
    return None if turn.held is None or turn.held.size_bytes is None else turn.held.size_bytes / MIB


def _stream_kib(turn: Turn, _: Turn | None) -> float | None:
    held = turn.held
    if held is None or held.size_bytes is None or held.before_bytes is None:
        return None
    return (held.size_bytes - held.before_bytes) / held.streams / 1_024


def _per_s(phase: str) -> Callable[[Turn, Turn | None], float | None]:
    def of(turn: Turn, _: Turn | None) -> float | None:
        load = turn.loads.get(phase)
        return None if load is None else load.requests / load.duration_s

    return of


def _offered(phase: str) -> Callable[[Turn, Turn | None], float | None]:
    def of(turn: Turn, _: Turn | None) -> float | None:
        load = turn.loads.get(phase)
        return None if load is None else load.offered_per_s

    return of


def _busy(phase: str) -> Callable[[Turn, Turn | None], float | None]:
    def of(turn: Turn, _: Turn | None) -> float | None:
        load = turn.loads.get(phase)
        return None if load is None or load.cpu_s is None else load.cpu_s / load.duration_s * 100

    return of


def _added_us(phase: str, share: float) -> Callable[[Turn, Turn | None], float | None]:
    def of(turn: Turn, direct: Turn | None) -> float | None:
        through = turn.loads.get(phase)
        beside = None if direct is None else direct.loads.get(phase)
        if through is None or beside is None or turn.start_s is None:
            return None
        over, under = through.at(share), beside.at(share)
        return None if over is None or under is None else over - under

    return of


def _idle_mib(turn: Turn, _: Turn | None) -> float | None:
    return None if turn.idle_bytes is None else turn.idle_bytes / MIB


def _loaded_mib(turn: Turn, _: Turn | None) -> float | None:
    return next((one.size_bytes / MIB for one in reversed(turn.memory) if one.phase == "end"), None)


def _slope_mib(turn: Turn, _: Turn | None) -> float | None:
    """The line of least squares through the samples of the full load."""
    samples = [(one.at_s / 60, one.size_bytes / MIB) for one in turn.memory if one.phase == FULL]
    if len(samples) < 3:
        return None
    return linear_regression(*zip(*samples, strict=True)).slope


def _start_ms(turn: Turn, _: Turn | None) -> float | None:
    return None if turn.start_s is None else turn.start_s * 1e3


def _added_half_us(share: float) -> Callable[[Turn, Turn | None], float | None]:
    """Beside direct at the same rate, in the same turn."""

    def of(turn: Turn, _: Turn | None) -> float | None:
        through, direct = turn.loads.get(HALF), turn.loads.get(HALF_DIRECT)
        if through is None or direct is None:
            return None
        over, under = through.at(share), direct.at(share)
        return None if over is None or under is None else over - under

    return of


GROUPS: Final = {
    "What it costs": (
        Figure("cpu_us", "CPU us a request", "CPU us", FULL, _cpu_us(FULL), 1),
        Figure("stream_cpu_us", "CPU us a stream", "stream us", STREAM, _cpu_us(STREAM), 1),
        Figure("event_cpu_us", "CPU us a streamed event", "event us", "held", _event_cpu_us, 1),
        Figure("requests_per_s", "requests/s at one core", "req/s", FULL, _per_s(FULL), less_is_better=False),
        Figure("busy_percent", "its core busy, %", "busy %", FULL, _busy(FULL), less_is_better=None),
    ),
    "What it adds to a lone caller's wait": (
        Figure("added_p50_us", "p50 us", "p50 us", LONE, _added_us(LONE, 0.5)),
        Figure("added_p99_us", "p99 us", "p99 us", LONE, _added_us(LONE, 0.99)),
        Figure("added_p999_us", "p99.9 us", "p99.9 us", LONE, _added_us(LONE, 0.999)),
        Figure("first_p50_us", "first token, p50 us", "first p50", FIRST, _added_us(FIRST, 0.5)),
        Figure("first_p99_us", "first token, p99 us", "first p99", FIRST, _added_us(FIRST, 0.99)),
    ),
    "What it adds at half its load": (
        Figure("half_p50_us", "p50 us", "p50 us", HALF, _added_half_us(0.5), less_is_better=None),
        Figure("half_p99_us", "p99 us", "p99 us", HALF, _added_half_us(0.99), less_is_better=None),
        Figure("half_p999_us", "p99.9 us", "p99.9 us", HALF, _added_half_us(0.999), less_is_better=None),
        Figure("half_per_s", "arrivals/s", "arrivals", HALF, _offered(HALF), less_is_better=None),
    ),
    "Memory and start": (
        Figure("idle_mib", "idle, MiB", "idle MiB", "idle", _idle_mib, 1),
        Figure("held_mib", "with all streams held, MiB", "held MiB", "held", _held_mib, 1),
        Figure("stream_kib", "a held stream, KiB", "KiB each", "held", _stream_kib, 1),
        Figure("loaded_mib", "after all loads, MiB", "loaded", "end", _loaded_mib, 1),
        Figure("slope_mib", "growth under load, MiB a minute", "MiB/min", FULL, _slope_mib, 1),
        Figure("start_ms", "start, ms", "start ms", "start", _start_ms),
    ),
}
"""The first of a group is the one that is set beside the yardstick's."""

FIGURES: Final = {figure.key: figure for group in GROUPS.values() for figure in group}


def outcome(run: Run, target: Target, figure: Figure) -> Outcome:
    """A target's figure."""
    for turn in target.turns:
        for phase in ("start", figure.phase):
            if reason := turn.faults.get(phase):
                return Failed(f"round {turn.round}: {reason}")
    direct = run.target(DIRECT)
    beside = {} if direct is None else {turn.round: turn for turn in direct.turns}
    values = [figure.of(turn, beside.get(turn.round)) for turn in target.turns]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return Value(median(known), min(known), max(known))


def ratio(run: Run, target: Target, figure: Figure) -> float | None:
    """To the yardstick's in the same run; None where there is none, either has no figure, or the yardstick's is nothing."""
    if figure.less_is_better is None:
        return None
    yardstick = run.target(YARDSTICK)
    theirs = None if yardstick is None else outcome(run, yardstick, figure)
    ours = outcome(run, target, figure)
    if not isinstance(ours, Value) or not isinstance(theirs, Value) or theirs.value <= 0:
        return None
    return ours.value / theirs.value


def pooled(target: Target, phase: str) -> tuple[float | None, ...]:
    """The median of a target's turns at each of `SHARES`, for a curve; empty if a turn has none."""
    loads = loads_of(target, phase)
    return tuple(_median([load.at(share) for load in loads]) for share in SHARES) if loads else ()


def loads_of(target: Target, phase: str) -> list[Load]:
    """Of each turn; empty if one of them failed."""
    loads = [turn.loads.get(phase) for turn in target.turns]
    return [load for load in loads if load is not None] if None not in loads else []


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known and len(known) == len(values) else None


def faults(target: Target) -> list[str]:
    """A sentence for each fault, as many as there are."""
    return [f"{phase}, round {turn.round}: {reason}" for turn in target.turns for phase, reason in turn.faults.items()]


def as_json(run: Run) -> bytes:
    """The run with its figures and ratios beside the samples. Reading it again ignores those: they are worked out anew."""
    built = msgspec.to_builtins(run)
    for target, out in zip(run.targets, built["targets"], strict=True):
        out["figures"] = {}
        for key, figure in FIGURES.items():
            if (found := outcome(run, target, figure)) is not None:
                beside = ratio(run, target, figure)
                out["figures"][key] = msgspec.to_builtins(found) | ({} if beside is None else {"ratio": beside})
    return msgspec.json.encode(built)
