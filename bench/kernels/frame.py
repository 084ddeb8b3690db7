"""What all micro-benchmarks of kernels share: contestants that take turns in one process, medians of CPU time, one table.

A contestant is run many times in a row, by a loop of its own: the kernels by one in C (`native`), since a call from Python costs
as much as some of them do; libraries as Python calls them. A ratio above 1 says how many times faster the kernel is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

ROUNDS = 15
TURN_S = 0.01
MAX_TIMES = 1 << 22

Run = Callable[[int], object]
"""Does the same so many times."""


def called(function: Callable[..., object], *arguments: object) -> Run:
    """The loop around a call from Python."""

    def run(times: int) -> None:
        for _ in range(times):
            function(*arguments)

    return run


@dataclass(frozen=True)
class Case:
    """What is done, and by whom: the kernel first. A figure is GB/s where `size_bytes` is given, else ns for each of `parts`."""

    what: str
    runs: Mapping[str, Run]
    size_bytes: int | None = None
    parts: int = 1
    bar: float | None = None
    """What the kernel must reach: at least so many GB/s, or at most so many ns."""

    def figure(self, seconds: float) -> float:
        return self.size_bytes / seconds / 1e9 if self.size_bytes else seconds * 1e9 / self.parts

    def reaches(self, figure: float) -> bool:
        return self.bar is None or (figure >= self.bar if self.size_bytes else figure <= self.bar)

    @property
    def unit(self) -> str:
        return "GB/s" if self.size_bytes else "ns"

    def held(self, seconds: float) -> list[str]:
        """What is done, the kernel's figure, and whether it reaches the bar."""
        figure = self.figure(seconds)
        bar = "" if self.bar is None else f"{'>=' if self.size_bytes else '<='} {self.bar:g} {self.unit}"
        return [self.what, f"{figure:.3g} {self.unit}", bar if self.reaches(figure) else f"{bar}: missed"]


def seconds(run: Run, times: int) -> float:
    """CPU time of the thread for one of so many times."""
    begun = time.thread_time()
    run(times)
    return (time.thread_time() - begun) / times


def times_in_a_turn(run: Run) -> int:
    times = 1
    while times < MAX_TIMES and seconds(run, times) * times < TURN_S / 2:
        times *= 2
    return times


def samples(runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each in each round; they take turns."""
    times = {name: times_in_a_turn(run) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            taken[name].append(seconds(run, times[name]))
    return taken


def row(case: Case, rounds: int) -> list[str]:
    taken = samples(case.runs, rounds)
    ours, *theirs = (median(taken[name]) for name in case.runs)
    return [*case.held(ours), *(f"{seconds / ours:.1f} x" for seconds in theirs)]


def show(cases: list[Case], rounds: int) -> None:
    """One table; the cases have the same contestants, or fewer."""
    kernel, *others = max((list(case.runs) for case in cases), key=len)
    table = Table("case", kernel, "bar", *(f"of {name}" for name in others))
    for case in cases:
        table.add_row(*row(case, rounds))
    Console(highlight=False).print(table)


def rounds_asked_for() -> int:
    return int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
