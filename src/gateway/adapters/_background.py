"""A bounded queue with one thread behind it: how the request path hands work to slow file descriptors.

Theory. `put` costs the caller a list append. The thread sleeps until a list that was empty is no
longer, lets items gather for INTERVAL_S, takes the whole list and gives it to its drain; the event loop never waits for
a disk. Items come as bytes that are ready to be written: a thread that runs Python takes the GIL from the loop, and each
hand-over of the GIL costs both of them more than encoding an item does.

Rules:
- The queue is bounded by weight; past it `put` refuses and counts. It never blocks and never raises.
- Re-entrant: a signal handler may `put` while the thread it interrupted is inside `put`. Hence a Gatherer, whose calls are
  atomic, and a SimpleQueue (documented as re-entrant) to wake the thread; at worst one wake-up is spurious.
- The thread starts with the first item, in the process that puts it. A child made by fork inherits neither thread nor
  items: they are the parent's, and it will write them.
- Each writer has a thread of its own, so that a log reader that has stopped reading cannot hold up usage records.
"""

from __future__ import annotations

import os
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from _fastpath.gather import Gatherer

T = TypeVar("T")

INTERVAL_S = 0.2
"""How long items gather before they are drained."""


class Drain(Protocol[T]):
    """What the thread does with the items. Operating errors are the drain's to handle: none of these may raise them."""

    def write(self, items: list[T], stopping: threading.Event) -> None:
        """Takes the items; may wait, but on `stopping`, and once that is set no longer."""

    def rest(self) -> float | None:
        """Called after each round; seconds until it wants to be called again, None for not before the next item."""

    def close(self) -> None:
        """Nothing more will come."""

    def forget(self) -> None:
        """In a forked child: lets go of what the parent holds, without touching it."""


class BackgroundWriter(Generic[T]):
    """Moves items to a drain on a thread of its own.

    Args:
        name: of the thread.
        drain: called on that thread alone.
        max_weight: bound of the items that wait, in the unit of `put`'s `weight`.
    """

    def __init__(self, name: str, drain: Drain[T], max_weight: int) -> None:
        self._name = name
        self._drain = drain
        self._gathered = Gatherer(max_weight, self._awaken)
        self.put: Callable[..., bool] = self._gathered.put
        """put(item, weight=1) queues an item. False: the queue is full, or closed."""
        self._reset()
        _LIVE.add(self)

    @property
    def refused(self) -> int:
        """Items that `put` has turned away since the start."""
        return self._gathered.refused

    @property
    def waiting(self) -> int:
        """The weight of the items that wait."""
        return self._gathered.weight

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def _awaken(self) -> None:
        if self._thread is None:
            self._start()
        self._wake.put(None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause: float | None = None
        while not self._stopping.is_set():
            if self._woken(pause):
                self._stopping.wait(INTERVAL_S)
            if items := self._gathered.take():
                self._drain.write(items, self._stopping)
            pause = self._drain.rest()
        if items := self._gathered.take():
            self._drain.write(items, self._stopping)
        self._drain.close()

    def _woken(self, pause: float | None) -> bool:
        try:
            self._wake.get(timeout=pause)
        except queue.Empty:
            return False
        return True

    def close(self, timeout: float) -> bool:
        """Refuses new items, drains what waits and ends the thread. False if `timeout` seconds did not suffice."""
        with self._lock:
            self._gathered.close()
            self._stopping.set()
            thread = self._thread
        if thread is None:
            return True
        self._wake.put(None)
        thread.join(timeout)
        return not thread.is_alive()

    def after_fork_in_child(self) -> None:
        self._gathered.take()
        self._reset()
        self._drain.forget()


_LIVE: weakref.WeakSet[BackgroundWriter[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for writer in list(_LIVE):
        writer.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
