"""Deadlines on a hashed timer wheel (Varghese and Lauck, 1987), for many connections with few expiries."""

import asyncio
from collections.abc import Callable
from typing import final

from typing_extensions import disjoint_base

@disjoint_base
class Timer:
    """One deadline. `callback` is called without arguments once it has passed."""

    def __init__(self, callback: Callable[[], object] | None = None) -> None: ...
    @property
    def deadline_ns(self) -> int:
        """CLOCK_MONOTONIC; 0 while disarmed."""

@final
class Wheel:
    """A wheel driven by one `call_later` a tick of `loop`. A deadline is met up to two ticks late, never early.

    Arming a timer again for a later deadline only stores the number; its slot is corrected when the old one comes round. So
    a connection may move its deadline with every read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, tick_ms: int = 50, slots: int = 512) -> None: ...
    def start(self) -> None: ...
    def close(self) -> None: ...
    def set(self, timer: Timer, delay_ms: int) -> None: ...
    def cancel(self, timer: Timer) -> None:
        """It stands in no slot any more, and whatever its callback holds is held no longer."""

    def advance(self, now_ns: int) -> None:
        """Runs all ticks up to `now_ns`; what `start` does by itself. For tests."""
    @property
    def armed(self) -> int:
        """Timers that stand in a slot (one that a kernel has disarmed does until its slot comes round)."""
    @property
    def now_ns(self) -> int: ...

def now_ns() -> int:
    """CLOCK_MONOTONIC."""

def unix_ms() -> int:
    """CLOCK_REALTIME."""
