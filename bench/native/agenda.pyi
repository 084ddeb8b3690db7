"""Deadlines of many on one timer of the kernel, to the microsecond."""

import asyncio
from collections.abc import Callable
from typing import final

from typing_extensions import disjoint_base

@disjoint_base
class Task:
    """Something that is to be done at a time, by native code."""

@final
class Call(Task):
    """Calls `callback` with the time in ns (CLOCK_MONOTONIC)."""

    def __init__(self, callback: Callable[[int], object]) -> None: ...

@final
class Agenda:
    """A heap of deadlines behind one timerfd(2) that the loop watches.

    A task is never early. It is late by what the loop is late, and, where tasks are dense, by up to `tick_us`: between two
    wakes lies at least so much, so that what is due meanwhile is done in one. A lone task waits for no tick.

    Args:
        loop: watches the timer.
        tick_us: 0 to wake for each task.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_us: int = 0) -> None: ...
    def at(self, task: Task, due_ns: int) -> None:
        """Does it then (CLOCK_MONOTONIC); a task that is on the agenda already is moved."""
    def cancel(self, task: Task) -> None: ...
    def close(self) -> None: ...
    def __len__(self) -> int: ...
    @property
    def wakes(self) -> int: ...

def now_ns() -> int:
    """CLOCK_MONOTONIC."""
