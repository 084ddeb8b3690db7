"""Counters, gauges and histograms of one process, in its slot's region of the node's shared memory."""

from typing import final

from _fastpath.shm import NodeMemory

@final
class Registry:
    """The series of one slot. A successor in the slot goes on with its predecessor's series, so counters never fall;
    its gauges begin at 0."""

    def __new__(cls, memory: NodeMemory, slot: int) -> Registry: ...
    def counter(self, name: str, labels: dict[str, str] | None = None) -> Cell:
        """The series' cell, made at first use. When the region is full, the labels are replaced by {"overflow": "true"}
        so that memory stays bounded, and `dropped_series` counts it. Keep the cell: finding it again costs a dictionary
        look-up and a JSON text.

        Raises:
            ValueError: the name was declared as another kind, or with other bounds.
        """
    def gauge(self, name: str, labels: dict[str, str] | None = None) -> Cell: ...
    def histogram(self, name: str, bounds: tuple[int, ...], labels: dict[str, str] | None = None) -> Histogram:
        """`bounds`: increasing upper bounds, integers of the unit that `observe` takes; +Inf is added. At most 32.

        Raises:
            ValueError: bounds that do not increase or are too many; or as for `counter`.
        """
    @property
    def dropped_series(self) -> int:
        """How often a series was asked for that found no room, by this process and its predecessors in the slot."""

@final
class Cell:
    """The number of a counter or a gauge. A counter raises ValueError rather than fall."""

    def add(self, amount: int = 1) -> None: ...
    def set(self, value: int) -> None: ...
    @property
    def value(self) -> int: ...

@final
class Histogram:
    """Counts at each bound, and the sum."""

    def observe(self, value: int) -> None: ...
    def observe_n(self, value: int, n: int) -> None:
        """`value`, n times. ValueError where n is negative."""

@final
class Sample:
    """One series summed over all slots."""

    @property
    def kind(self) -> str:
        """ "counter", "gauge" or "histogram"."""
    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> dict[str, str]: ...
    @property
    def value(self) -> int:
        """The sum; for a histogram, the count."""
    @property
    def total(self) -> int:
        """Sum of the observed values (histograms)."""
    @property
    def bounds(self) -> tuple[int, ...]: ...
    @property
    def buckets(self) -> tuple[int, ...]:
        """Counts at or below each bound, cumulative, +Inf last."""

def collect(memory: NodeMemory) -> list[Sample]:
    """All series of all slots, summed by kind, name, labels and bounds; sorted by name, then labels.

    Raises:
        LayoutError: a slot's region is damaged.
    """
