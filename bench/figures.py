"""Medians and ratios over the samples of one run.

A noisy machine slows whatever runs at that moment. So targets take turns in short rounds, a figure is the median of its
rounds, a ratio is that of two medians; its range is that of the rounds taken one by one, which shows how far to trust it.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import msgspec


class Sample(msgspec.Struct, frozen=True):
    """One target in one round. CPU is user and system time, in microseconds a request."""

    requests: int
    requests_per_s: float
    p50_us: float
    p99_us: float
    worker_cpu_us: float
    """Of the process that serves."""
    tree_cpu_us: float
    """Of it and all that stands around it: master or supervisor, shipper."""


class Series(msgspec.Struct, frozen=True):
    """All samples of one target, in the order of the rounds."""

    target: str
    features: tuple[str, ...]
    """What it does for each request."""
    samples: tuple[Sample, ...]

    def median(self, figure: Callable[[Sample], float]) -> float:
        return median(figure(sample) for sample in self.samples)


class Ratio(msgspec.Struct, frozen=True):
    """Of two medians, with the lowest and highest of the pairs of a round."""

    value: float
    low: float
    high: float


class Comparison(msgspec.Struct, frozen=True):
    """One scenario. The first series is the yardstick."""

    scenario: str
    title: str
    series: tuple[Series, ...]

    @property
    def yardstick(self) -> Series:
        return self.series[0]

    @property
    def others(self) -> tuple[Series, ...]:
        return self.series[1:]

    def ratio(self, series: Series, figure: Callable[[Sample], float]) -> Ratio:
        """A target's figure beside the yardstick's."""
        pairs = [
            figure(ours) / figure(theirs) for ours, theirs in zip(series.samples, self.yardstick.samples, strict=True)
        ]
        return Ratio(series.median(figure) / self.yardstick.median(figure), min(pairs), max(pairs))


def worker_cpu_us(sample: Sample) -> float:
    return sample.worker_cpu_us


def tree_cpu_us(sample: Sample) -> float:
    return sample.tree_cpu_us


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured, and with what."""

    cpu: str
    cores: int
    kernel: str
    python: str
    nginx: str
    wrk: str


class Report(msgspec.Struct, frozen=True):
    """One run."""

    machine: Machine
    rounds: int
    seconds: int
    connections: int
    comparisons: tuple[Comparison, ...]

    def breaches(self, budget: float) -> list[str]:
        """A sentence for each target whose worker costs more than `budget` times the yardstick's."""
        return [
            f"{one.scenario}: {series.target} costs {ratio.value:.2f} x {one.yardstick.target}, the budget is {budget:.2f}"
            for one in self.comparisons
            for series in one.others
            if (ratio := one.ratio(series, worker_cpu_us)).value > budget
        ]

    def as_json(self) -> bytes:
        """Samples, medians and ratios, for machines."""
        built = msgspec.to_builtins(self)
        for comparison, out in zip(self.comparisons, built["comparisons"], strict=True):
            for series, row in zip(comparison.series, out["series"], strict=True):
                row["median"] = {
                    name: series.median(lambda sample, name=name: float(getattr(sample, name)))  # type: ignore[misc]
                    for name in Sample.__struct_fields__
                    if name != "requests"
                }
                row["ratio"] = {
                    "worker_cpu": msgspec.to_builtins(comparison.ratio(series, worker_cpu_us)),
                    "tree_cpu": msgspec.to_builtins(comparison.ratio(series, tree_cpu_us)),
                }
        return msgspec.json.format(msgspec.json.encode(built))
