"""Seeded random numbers of the distributions that latencies have."""

from typing import Literal, final

@final
class Random:
    """SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed, on every machine."""

    def __init__(self, seed: int) -> None: ...

@final
class Draw:
    """A distribution of numbers that are not negative.

    Args:
        kind: what `a` and `b` mean: fixed (a the value), uniform (from a to b), exponential (a the mean), lognormal (a the
            median, b the 99th percentile).

    Raises:
        ValueError: the numbers make no such distribution.
    """

    def __init__(
        self, kind: Literal["fixed", "uniform", "exponential", "lognormal"], a: float, b: float = 0.0
    ) -> None: ...
    @property
    def kind(self) -> str: ...
    @property
    def a(self) -> float: ...
    @property
    def b(self) -> float: ...
    @property
    def mean(self) -> float: ...
    def sample(self, random: Random, count: int) -> list[float]: ...
    def quantile(self, share: float) -> float:
        """The value below which `share` of all draws are; `share` is above 0 and below 1."""
