"""A bounded list that one side fills and another takes whole, without a lock: each call is atomic under the GIL."""

from collections.abc import Callable
from typing import Any, final

@final
class Gatherer:
    """Items that wait.

    Args:
        max_weight: bound of the sum of their weights.
        wake: called, in the thread that puts, after the first item of an empty list.
    """

    def __init__(self, max_weight: int, wake: Callable[[], object]) -> None: ...
    def put(self, item: Any, weight: int = 1) -> bool:
        """Adds an item. False: that would be more than `max_weight`; it is counted in `refused`."""

    def take(self) -> list[Any]:
        """All that waits, the oldest first. The list is empty then."""

    def close(self) -> None:
        """Nothing is added any more."""

    @property
    def weight(self) -> int:
        """Of all that waits."""

    @property
    def refused(self) -> int: ...
