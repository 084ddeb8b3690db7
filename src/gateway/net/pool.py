"""Connections to one provider, kept alive and shared by the requests of a worker.

Rules.
- `take` is synchronous: an idle connection, or None; who must have one then waits, and is called when there is one.
- The most recently used connection goes first, so that those which are not needed grow old and close.
- Bounds: `max_connections` open or opening, MAX_WAITERS waiting; a waiter waits for `connect_ms` at most.
- Whatever frees room (a connection lost, a dial that failed) opens a connection for who still waits.
- A waiter that raises loses its connection, and the loop's exception handler is told; the others go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from _fastpath.upstream import UpstreamConnection
from _fastpath.wheel import Timer, Wheel, now_ns
from gateway.base.context import PoolWaiter
from gateway.base.errors import PROVIDER_BUSY, GatewayError

MAX_WAITERS = 4_096
IDLE_MS = 55_000
"""Below the 60 s after which common servers and balancers close a silent connection."""
CLOSE_BEFORE_MS = 1_000
"""A connection is closed so long before its provider would: a request that meets the provider's closing cannot be sent again."""
WARM_EVERY_MS = 5_000
"""Warm connections grow old too; so often their number is made up."""

Dial = Callable[[Callable[[], asyncio.BaseProtocol]], Awaitable[object]]
"""Opens a connection with the given protocol factory; raises DialError."""


class DialError(OSError):
    """No connection could be made. `kind` is "connect" for a time-out, else "resolve", "address", "refused" or "tls"."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class _Waiting:
    """A place in the queue."""

    __slots__ = ("pool", "timer", "waiter")

    def __init__(self, pool: UpstreamPool, waiter: PoolWaiter) -> None:
        self.pool = pool
        self.waiter: PoolWaiter | None = waiter
        self.timer: Timer | None = Timer(self.expire)

    @property
    def live(self) -> bool:
        return self.waiter is not None and not self.waiter.cancelled

    def take(self) -> PoolWaiter | None:
        """The waiter, once, if it still waits."""
        waiter, self.waiter = self.waiter, None
        timer, self.timer = self.timer, None  # which holds this place, in a cycle that only the collector would find
        if timer is not None:
            self.pool.wheel.cancel(timer)
        return None if waiter is None or waiter.cancelled else waiter

    def expire(self) -> None:
        waiter = self.take()
        self.pool.forget_the_dead()
        if waiter is None:
            return
        if now_ns() >= waiter.deadline_ns:
            waiter.on_unavailable("total", "the deadline passed before there was a connection")
        elif self.pool.full:
            waiter.on_unavailable("busy", "all connections that may be open are in use")
        else:
            waiter.on_unavailable("connect", "no connection came in time")


class UpstreamPool:
    """See the module.

    Args:
        name: the provider's, for messages.
        dial: opens one connection.
        max_connections, warm_connections: of this worker.
        connect_ms: bounds the wait for a connection, and is what `dial` keeps to.
    """

    def __init__(
        self,
        name: str,
        loop: asyncio.AbstractEventLoop,
        wheel: Wheel,
        dial: Dial,
        *,
        max_connections: int,
        warm_connections: int,
        connect_ms: int,
    ) -> None:
        self.name = name
        self.wheel = wheel
        self._loop = loop
        self._dial = dial
        self._max = max_connections
        self._warm = warm_connections
        self._connect_ms = connect_ms
        self._idle: list[UpstreamConnection] = []
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[UpstreamConnection] = set()
        self._dialling = 0
        self._closed = False
        self._warmer = Timer(self.warm)
        self.dialled = 0
        self.dial_failures = 0

    @property
    def full(self) -> bool:
        """As many connections are open, or being opened, as may."""
        return len(self._open) + self._dialling >= self._max

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def busy(self) -> int:
        return len(self._open) - len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self) -> UpstreamConnection | None:
        """An idle connection that its peer has not closed, as far as can be known."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.idle and not connection.is_stale():
                return connection
            connection.close()
        return None

    def wait(self, waiter: PoolWaiter) -> None:
        """Calls the waiter once: with a connection, or with why there is none.

        Raises:
            GatewayError: as many wait as may.
        """
        if len(self._waiting) >= MAX_WAITERS:
            raise GatewayError(
                PROVIDER_BUSY, f"Too many requests wait for a connection to {self.name!r}.", retry_after_ms=1_000
            )
        place = _Waiting(self, waiter)
        self._waiting.append(place)
        left_ms = (waiter.deadline_ns - now_ns()) // 1_000_000 + 1  # rounded up: what expires has passed its deadline
        assert place.timer is not None
        self.wheel.set(place.timer, max(1, min(self._connect_ms + 100, left_ms)))
        self._open_for_waiters()

    def warm(self) -> None:
        """Opens connections until as many are idle as should be, and sees to it that they remain so many."""
        if self._closed or self._warm == 0:
            return
        self.wheel.set(self._warmer, WARM_EVERY_MS)
        for _ in range(self._warm - len(self._idle) - self._dialling):
            self._open_one()

    def close(self) -> None:
        """Nothing rests here any more: idle connections close now, busy ones when their response is complete.

        Requests that pin the snapshot of this pool may still come, and are served.
        """
        self._closed = True
        self.wheel.cancel(self._warmer)
        self._warmer = Timer()  # the old one holds the pool, which nobody would find to free
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def forget_the_dead(self) -> None:
        """Takes those that wait no more from the front of the queue, where each is after `connect_ms` at the latest."""
        while self._waiting and not self._waiting[0].live:
            self._waiting.popleft().take()

    # -- called by connections

    def released(self, connection: UpstreamConnection) -> None:
        """A response is complete: the connection goes to who waits longest, or rests."""
        while self._waiting:
            waiter = self._waiting.popleft().take()
            if waiter is not None:
                self._hand_over(connection, waiter)
                return
        if self._closed:
            connection.close()
            return
        told_ms = connection.keep_alive_ms
        connection.rest(IDLE_MS if told_ms == 0 else min(IDLE_MS, max(told_ms - CLOSE_BEFORE_MS, told_ms // 2)))
        self._idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._open_for_waiters()

    def _hand_over(self, connection: UpstreamConnection, waiter: PoolWaiter) -> None:
        try:
            waiter.on_connection(connection)
        except Exception as error:
            connection.close()
            self._report(error)

    def _report(self, error: Exception) -> None:
        message = f"the connections of {self.name!r}"
        self._loop.call_exception_handler({"message": message, "exception": error})

    # -- opening

    def _open_for_waiters(self) -> None:
        self.forget_the_dead()
        while self._dialling < len(self._waiting) and self._open_one():
            pass

    def _open_one(self) -> bool:
        """False where as many are open or opening as may."""
        if len(self._open) + self._dialling >= self._max:
            return False
        self._dialling += 1
        task = self._loop.create_task(self._open_connection())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _make(self, made: list[UpstreamConnection]) -> UpstreamConnection:
        made.append(UpstreamConnection(self.wheel, self))
        return made[-1]

    async def _open_connection(self) -> None:
        made: list[UpstreamConnection] = []
        protocol = partial(self._make, made)  # a function in here would hold itself, and what was made, in a cycle
        failure: tuple[str, str] | None = None
        try:
            await self._dial(cast("Callable[[], asyncio.BaseProtocol]", protocol))  # by its methods, not by its base
        except DialError as error:
            failure = error.kind, error.message
        except Exception as error:
            failure = "refused", "the dial failed"
            self._report(error)
        finally:
            self._dialling -= 1
        if failure is not None:
            self.dial_failures += 1
            self._fail_one(*failure)
        else:
            self._opened(made[-1])
        self._open_for_waiters()

    def _opened(self, connection: UpstreamConnection) -> None:
        self.dialled += 1
        if connection.idle:
            self._open.add(connection)
            self.released(connection)
        else:
            self._fail_one("closed", "the provider closed the connection at once")

    def _fail_one(self, kind: str, message: str) -> None:
        while self._waiting:
            waiter = self._waiting.popleft().take()
            if waiter is not None:
                waiter.on_unavailable(kind, message)
                return
