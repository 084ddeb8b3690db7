"""How often which values were seen, to three significant digits: what HdrHistogram counts, with its buckets."""

from collections.abc import Sequence
from typing import final

@final
class Histogram:
    """Counts values from 0 to 2**42 - 1; larger ones as that, negative ones as 0. 270 kB, whatever it holds.

    Values below 2,048 are counted exactly; above, in buckets that are narrower than a thousandth of what they hold.
    """

    def __init__(self) -> None: ...
    def record(self, value: int, times: int = 1) -> None: ...
    def percentile(self, percent: float) -> int:
        """The largest value of the bucket that holds it, as HdrHistogram has it; 0 where nothing was seen."""
    def merge(self, other: Histogram) -> None: ...
    def __reduce__(self) -> tuple[object, ...]: ...
    def buckets(self) -> list[tuple[int, int]]:
        """(largest value, count) of each bucket that is not empty, in order."""
    @property
    def count(self) -> int: ...
    @property
    def minimum(self) -> int: ...
    @property
    def maximum(self) -> int:
        """Exact."""
    @property
    def mean(self) -> float:
        """Exact."""
    @property
    def total(self) -> int: ...

def restored(counts: Sequence[tuple[int, int]], minimum: int, maximum: int, count: int, total: int) -> Histogram:
    """What was pickled: (slot, count) of each bucket that is not empty, and what is exact."""
