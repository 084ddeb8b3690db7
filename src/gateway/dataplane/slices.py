"""Long work on a loop that has requests to serve: done in slices, with rests between them.

A thread would not do: it holds the interpreter's lock through each call into C, and keeps it for up to 5 ms otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar

from _fastpath.wheel import now_ns

SLICE_NS = 600_000
"""The loop waits no longer for a slice, but for its last step."""
REST_S = 0.001
"""Between two slices, so that less than half of the time goes into the work."""

T = TypeVar("T")


async def in_slices(steps: Generator[None, None, T], *, rests: bool = True) -> T:
    """What `steps` returns. Each of its steps should take a fraction of SLICE_NS.

    Args:
        rests: False for a process that serves nobody yet.
    """
    while True:
        end_ns = now_ns() + SLICE_NS
        while now_ns() < end_ns:
            try:
                next(steps)
            except StopIteration as done:
                result: T = done.value
                return result
        if rests:
            await asyncio.sleep(REST_S)
