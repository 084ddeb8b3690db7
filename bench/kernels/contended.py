"""What something costs while a rival does the same to the same row at the same time, and the proof that it did.

A median over all that was measured proves nothing: on a busy machine the two may have taken turns. So it is measured in windows that are
shorter than a turn, and a window counts only if

- we ran all the time: CPU time and time on the wall are the same, and whoever else was seen to work did so beside us;
- the rival did its share in it: its operations are read, before and after, from the row that both work on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from bench.errors import BenchError
from bench.kernels.frame import Run, seconds

MIN_RAN = 0.9
"""Of a window's time on the wall, that we ran."""
MIN_SHARE = 0.25
"""Of all operations in a window, that are the rival's."""
WINDOW_S = 0.000_25
"""A scheduler's turns are ten times as long: in many windows nobody is put aside."""
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Window:
    """A short while.

    Args:
        ours, rivals: operations.
        cpu_s: that ours took.
        wall_s: that passed.
    """

    ours: int
    rivals: int
    cpu_s: float
    wall_s: float

    @property
    def share(self) -> float:
        return self.rivals / (self.ours + self.rivals)

    @property
    def counts(self) -> bool:
        return self.cpu_s >= MIN_RAN * self.wall_s and self.share >= MIN_SHARE


@dataclass(frozen=True)
class Contended:
    """The windows that count.

    Args:
        windows: at least one.
        tried: how many there were in all.
    """

    windows: list[Window]
    tried: int

    @property
    def seconds(self) -> float:
        """CPU time of one operation, the median."""
        return median(window.cpu_s / window.ours for window in self.windows)

    @property
    def ours(self) -> int:
        return sum(window.ours for window in self.windows)

    @property
    def rivals(self) -> int:
        return sum(window.rivals for window in self.windows)

    def __str__(self) -> str:
        share = self.rivals / (self.ours + self.rivals)
        return (
            f"{self.ours:,} of ours and {self.rivals:,} of the rival's ({share:.0%}) on one row, "
            f"in {len(self.windows)} windows of {self.tried}"
        )


def measured(run: Run, rivals: Callable[[], int], wanted: int) -> Contended:
    """Runs until as many windows count.

    Args:
        run: what is measured.
        rivals: how many operations the rival has done so far.
        wanted: windows that count.

    Raises:
        BenchError: so few did that nothing is proven.
    """
    return chosen(_windows(run, rivals), wanted)


def chosen(windows: Iterable[Window], wanted: int) -> Contended:
    found: list[Window] = []
    shares: list[float] = []
    for window in windows:
        shares.append(window.share)
        if window.counts:
            found.append(window)
            if len(found) == wanted:
                return Contended(found, len(shares))
    raise BenchError(
        f"not contended: of {len(shares):,} windows {len(found)} count, and {wanted} must; the rival's share was at most "
        f"{max(shares, default=0.0):.0%}, where it must be {MIN_SHARE:.0%} while we run"
    )


def _windows(run: Run, rivals: Callable[[], int]) -> Iterator[Window]:
    """As many as there is patience for."""
    times = max(1, round(WINDOW_S / seconds(run, 1_000)))
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        before, begun_s, ran_s = rivals(), time.perf_counter(), time.thread_time()
        run(times)
        cpu_s, wall_s = time.thread_time() - ran_s, time.perf_counter() - begun_s
        yield Window(times, rivals() - before, cpu_s, wall_s)
