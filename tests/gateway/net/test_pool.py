"""The pool: bounds kept, nobody forgotten, nobody called twice."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

import pytest
import uvloop

from _fastpath.http1 import ResponseHead
from _fastpath.upstream import UpstreamConnection
from _fastpath.wheel import Wheel, now_ns
from gateway.base.errors import PROVIDER_BUSY, GatewayError
from gateway.net import pool as pool_module
from gateway.net.pool import DialError, UpstreamPool
from tests.fastpath.fakes import FakeLoop, FakeTransport

T = TypeVar("T")
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Waiter:
    """Keeps what it was called with; `sends` a request at once, as the gateway does."""

    def __init__(self, *, sends: bool = False, within_ms: int = 60_000) -> None:
        self.cancelled = False
        self.deadline_ns = now_ns() + within_ms * 1_000_000
        self.sends = sends
        self.connection: UpstreamConnection | None = None
        self.failure: str | None = None
        self.answered = False
        self.calls = 0

    def on_connection(self, connection: UpstreamConnection) -> None:
        assert connection.idle
        self.calls += 1
        self.connection = connection
        if self.sends:
            ask(connection, self)

    def on_unavailable(self, kind: str, message: str) -> None:
        assert message
        self.calls += 1
        self.failure = kind

    # -- as a sink

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        self.answered = True

    def on_head(self, head: ResponseHead, more: bool) -> None: ...
    def on_data(self, data: bytes, last: bool) -> None: ...
    def on_error(self, kind: str, message: str) -> None: ...
    def on_crash(self, error: Exception) -> None: ...


def ask(connection: UpstreamConnection, sink: Waiter | None = None) -> None:
    connection.send(b"x", sink or Waiter(), "POST", 60_000, 60_000, now_ns() + 60_000_000_000)


class Network:
    """Dials when the test says so."""

    def __init__(self) -> None:
        self.pending: list[tuple[asyncio.Future[None], Callable[[], asyncio.BaseProtocol]]] = []
        self.transports: dict[int, FakeTransport] = {}
        self.sockets = FakeLoop()
        self.most_open = 0
        self.ends_at_once = False

    async def dial(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        made = asyncio.get_running_loop().create_future()
        self.pending.append((made, protocol))
        await made
        connection = protocol()
        transport = self.transports[id(connection)] = FakeTransport(self.sockets, cast(asyncio.Protocol, connection))
        transport.connect()
        if self.ends_at_once:
            transport.feed_eof()
            self.sockets.run()
        self.most_open = max(self.most_open, sum(not t.lost for t in self.transports.values()))

    async def succeed(self) -> None:
        self.pending.pop(0)[0].set_result(None)
        await settle()

    async def fail(self, error: Exception | None = None) -> None:
        self.pending.pop(0)[0].set_exception(error or DialError("refused", "nobody listens"))
        await settle()

    def transport(self, connection: UpstreamConnection | None) -> FakeTransport:
        return self.transports[id(connection)]

    def answer(self, connection: UpstreamConnection | None) -> None:
        self.transport(connection).feed(ANSWER)
        self.sockets.run()

    def lose(self, connection: UpstreamConnection | None) -> None:
        self.transport(connection).lose()
        self.sockets.run()


async def until(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110 - of what timers do
        await asyncio.sleep(0.002)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(
    main: Callable[[UpstreamPool, Network], Coroutine[Any, Any, T]],
    *,
    most: int = 4,
    warm: int = 0,
    connect_ms: int = 60_000,
    failures: int = 0,
) -> T:
    async def bounded() -> T:
        loop = asyncio.get_running_loop()
        reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, report: reports.append(report))
        wheel = Wheel(loop, tick_ms=2, slots=64)
        wheel.start()
        network = Network()
        pool = UpstreamPool(
            "p", loop, wheel, network.dial, max_connections=most, warm_connections=warm, connect_ms=connect_ms
        )
        async with asyncio.timeout(20):
            result = await main(pool, network)
        wheel.close()
        for future, _ in network.pending:
            future.cancel()
        await settle()
        assert len(reports) == failures, reports
        return result

    return uvloop.run(bounded())


async def opened(pool: UpstreamPool, network: Network, n: int) -> list[UpstreamConnection]:
    """So many connections, each carrying a request."""
    waiters = [Waiter(sends=True) for _ in range(n)]
    for waiter in waiters:
        pool.wait(waiter)
        await settle()
        await network.succeed()
    return [cast(UpstreamConnection, waiter.connection) for waiter in waiters]


def test_the_most_recently_used_connection_goes_first() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        first, second, third = await opened(pool, network, 3)
        for connection in (third, first, second):
            network.answer(connection)
        assert (pool.idle, pool.busy) == (3, 0)
        assert [pool.take() for _ in range(4)] == [second, first, third, None]

    run(main)


def test_take_passes_over_connections_that_have_closed() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        first, second = await opened(pool, network, 2)
        network.answer(first)
        network.answer(second)
        network.transport(second).feed_eof()  # the loop has not told of the loss yet
        assert pool.take() is first
        assert pool.take() is None
        network.sockets.run()
        assert (pool.idle, pool.busy) == (0, 1)

    run(main)


def test_no_more_connections_than_allowed_are_open_or_opening() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        waiters = [Waiter(sends=True) for _ in range(10)]
        for waiter in waiters:
            pool.wait(waiter)
        await settle()
        assert (len(network.pending), pool.waiting) == (3, 10)
        for _ in range(3):
            await network.succeed()
        assert len(network.pending) == 0
        for waiter in waiters[:7]:
            network.answer(waiter.connection)
        assert all(waiter.calls == 1 for waiter in waiters)
        assert (pool.busy, pool.waiting, network.most_open) == (3, 0, 3)

    run(main, most=3)


def test_who_waits_longest_goes_first() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        (connection,) = await opened(pool, network, 1)
        waiters = [Waiter(sends=True) for _ in range(5)]
        for waiter in waiters:
            pool.wait(waiter)
        for n in range(5):
            network.answer(connection)
            assert [waiter.calls for waiter in waiters] == [1] * (n + 1) + [0] * (4 - n)

    run(main, most=1)


def test_those_that_wait_are_bounded() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        for _ in range(pool_module.MAX_WAITERS):
            pool.wait(Waiter())
        with pytest.raises(GatewayError) as refused:
            pool.wait(Waiter())
        assert refused.value.fault is PROVIDER_BUSY

    run(main, most=1)


def test_who_waits_too_long_is_told_and_leaves_its_place() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        (connection,) = await opened(pool, network, 1)
        waiters = [Waiter() for _ in range(3)]
        for waiter in waiters:
            pool.wait(waiter)
        await until(lambda: all(waiter.calls for waiter in waiters))
        assert [(waiter.failure, waiter.calls) for waiter in waiters] == [("busy", 1)] * 3
        assert pool.waiting == 0, "the queue is bounded by those who wait, not by those who ever did"
        network.answer(connection)
        assert pool.idle == 1
        assert [waiter.calls for waiter in waiters] == [1, 1, 1]

    run(main, most=1, connect_ms=20)


def test_who_waits_in_vain_is_told_why() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        patient, hurried = Waiter(), Waiter(within_ms=10)
        pool.wait(patient)
        pool.wait(hurried)
        await until(lambda: hurried.calls)
        assert (patient.failure, hurried.failure) == (None, "total")
        await until(lambda: patient.calls)
        assert (patient.failure, patient.calls, hurried.calls) == ("connect", 1, 1)
        assert pool.waiting == 0

    run(main, connect_ms=300)


def test_who_has_left_is_passed_over() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        (connection,) = await opened(pool, network, 1)
        waiters = [Waiter() for _ in range(3)]
        for waiter in waiters:
            pool.wait(waiter)
        waiters[0].cancelled = waiters[1].cancelled = True
        network.answer(connection)
        assert [waiter.calls for waiter in waiters] == [0, 0, 1]

    run(main, most=1)


def test_who_has_left_costs_no_connection() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        (connection,) = await opened(pool, network, 1)
        for _ in range(3):
            waiter = Waiter()
            pool.wait(waiter)
            waiter.cancelled = True
        network.lose(connection)
        await settle()
        assert network.pending == []
        assert pool.waiting == 0

    run(main, most=1)


def test_a_failed_dial_fails_one_and_opens_for_the_next() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        waiters = [Waiter(sends=True) for _ in range(5)]
        for waiter in waiters:
            pool.wait(waiter)
        await settle()
        for n in range(4):
            await network.fail()
            assert [waiter.failure for waiter in waiters] == ["refused"] * (n + 1) + [None] * (4 - n)
            assert len(network.pending) == min(2, 4 - n), "who still waits is dialled for"
        await network.succeed()
        assert waiters[4].connection is not None
        assert pool.dial_failures == 4
        assert pool.dialled == 1

    run(main, most=2)


def test_a_dial_that_crashes_is_reported_and_fails_one() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        waiter = Waiter()
        pool.wait(waiter)
        await settle()
        await network.fail(LookupError("of the dialler"))
        assert waiter.failure is not None

    run(main, failures=1)


def test_a_lost_connection_makes_room_for_who_waits() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        first, _ = await opened(pool, network, 2)
        waiter = Waiter()
        pool.wait(waiter)
        await settle()
        assert network.pending == []
        network.lose(first)
        await settle()
        await network.succeed()
        assert waiter.connection is not None

    run(main, most=2)


def alive(kind: type[object]) -> int:
    return sum(isinstance(o, kind) for o in gc.get_objects())


def test_a_lost_connection_is_freed_without_the_collector() -> None:
    """Each would wait for a collection with its buffers and its decoder, and those come after tens of thousands of objects."""

    async def main(pool: UpstreamPool, network: Network) -> None:
        gc.collect()
        before = alive(UpstreamConnection)
        gc.disable()
        try:
            for _ in range(5):
                (connection,) = await opened(pool, network, 1)
                network.lose(connection)
                del connection
                network.transports.clear()
                await settle()
            assert alive(UpstreamConnection) - before <= 1  # what the fake loop has called last
        finally:
            gc.enable()

    run(main)


@pytest.mark.parametrize("ends", ["a connection", "no connection", "nobody"])
def test_a_place_in_the_queue_is_freed_without_the_collector(ends: str) -> None:
    """What a reload finds uncollected it freezes, and it is never looked at again."""

    async def main(pool: UpstreamPool, network: Network) -> None:
        gc.collect()
        before = alive(pool_module._Waiting)
        gc.disable()
        try:
            for _ in range(5):
                waiter = Waiter()
                pool.wait(waiter)
                await settle()
                if ends == "a connection":
                    await network.succeed()
                    assert waiter.connection is not None
                    network.lose(waiter.connection)
                elif ends == "no connection":
                    await network.fail()
                    assert waiter.failure is not None
                else:
                    waiter.cancelled = True
                    await network.succeed()
                    resting = pool.take()
                    assert resting is not None
                    network.lose(resting)
                await settle()
            assert pool.waiting == 0
            assert alive(pool_module._Waiting) == before
        finally:
            gc.enable()

    run(main)


def test_a_connection_that_is_closed_as_it_opens_fails_one() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        waiter, after = Waiter(), Waiter()
        pool.wait(waiter)
        pool.wait(after)
        await settle()
        network.ends_at_once = True
        await network.succeed()
        assert (waiter.failure, waiter.calls) == ("closed", 1)
        network.ends_at_once = False
        await network.succeed()
        assert after.connection is not None
        assert (pool.busy, pool.idle) == (1, 0)

    run(main, most=1)


def test_a_waiter_that_raises_costs_its_connection_and_nobody_else() -> None:
    class Failing(Waiter):
        def on_connection(self, connection: UpstreamConnection) -> None:
            raise LookupError("of the waiter")

    async def main(pool: UpstreamPool, network: Network) -> None:
        (connection,) = await opened(pool, network, 1)
        failing, after = Failing(), Waiter()
        pool.wait(failing)
        pool.wait(after)
        network.answer(connection)
        assert network.transport(connection).lost
        await settle()
        await network.succeed()
        assert after.connection is not None

    run(main, most=1, failures=1)


def test_a_waiter_may_wait_again_when_it_is_told_that_there_is_none() -> None:
    class Stubborn(Waiter):
        def on_unavailable(self, kind: str, message: str) -> None:
            super().on_unavailable(kind, message)
            self.pool.wait(self.again)

        pool: UpstreamPool
        again: Waiter

    async def main(pool: UpstreamPool, network: Network) -> None:
        stubborn = Stubborn()
        stubborn.pool, stubborn.again = pool, Waiter()
        pool.wait(stubborn)
        await settle()
        await network.fail()
        await network.succeed()
        assert stubborn.again.connection is not None

    run(main, most=1)


def test_a_closed_pool_keeps_nothing_and_forgets_nobody() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        resting, busy = await opened(pool, network, 2)
        network.answer(resting)
        pool.close()
        network.sockets.run()
        assert network.transport(resting).lost
        assert not network.transport(busy).closing
        network.answer(busy)
        assert network.transport(busy).lost, "its response was complete: nobody needs it"
        late = Waiter(sends=True)
        assert pool.take() is None
        pool.wait(late)  # of a request that pins the old snapshot
        await settle()
        await network.succeed()
        network.answer(late.connection)
        assert late.answered
        assert network.transport(late.connection).lost
        assert (pool.idle, pool.busy, pool.waiting) == (0, 0, 0)

    run(main)


def test_warm_connections_are_opened_ahead_and_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "WARM_EVERY_MS", 20)

    async def main(pool: UpstreamPool, network: Network) -> None:
        pool.warm()
        pool.warm()
        await settle()
        assert len(network.pending) == 2
        await network.succeed()
        await network.succeed()
        assert (pool.idle, len(network.pending)) == (2, 0)
        taken = pool.take()
        assert taken is not None
        ask(taken)
        network.lose(taken)
        await until(lambda: network.pending)
        await network.fail()
        await asyncio.sleep(0.1)
        assert len(network.pending) == 1, "a failure is not the end of it, and no storm either"
        pool.close()
        await network.succeed()
        network.sockets.run()
        await asyncio.sleep(0.1)
        assert (pool.idle, pool.busy, len(network.pending)) == (0, 0, 0)

    run(main, warm=2)


def test_warming_keeps_the_bound() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        pool.warm()
        await settle()
        assert len(network.pending) == 3

    run(main, warm=10, most=3)


def test_a_pool_without_warmth_opens_nothing_by_itself() -> None:
    async def main(pool: UpstreamPool, network: Network) -> None:
        pool.warm()
        await settle()
        assert network.pending == []

    run(main)


@pytest.mark.parametrize("seed", range(30))
def test_in_whatever_order_everybody_is_called_once(seed: int) -> None:
    """Waiters come and leave, dials succeed and fail, connections answer and break; in the end all are served."""
    chance = random.Random(seed)
    most = chance.choice([1, 2, 5])
    waiters: list[Waiter] = []

    def begin(pool: UpstreamPool) -> None:
        waiter = Waiter(sends=True)
        waiters.append(waiter)
        connection = pool.take()
        if connection is not None:
            waiter.on_connection(connection)
        else:
            pool.wait(waiter)

    def busy(network: Network) -> list[UpstreamConnection]:
        at_work = [w.connection for w in waiters if w.connection is not None and not w.answered]
        return [c for c in at_work if not network.transport(c).lost and not c.idle]

    async def act(pool: UpstreamPool, network: Network) -> None:
        what = chance.choices(["begin", "leave", "succeed", "fail", "answer", "lose", "eof"], [6, 1, 4, 2, 6, 1, 1])[0]
        if what == "begin":
            begin(pool)
        elif what == "leave" and waiters:
            chance.choice(waiters).cancelled = True
        elif what in ("succeed", "fail") and network.pending:
            await (network.succeed() if what == "succeed" else network.fail())
        elif what in ("answer", "lose", "eof") and busy(network):
            connection = chance.choice(busy(network))
            if what == "answer":
                network.answer(connection)
            elif what == "lose":
                network.lose(connection)
            else:
                network.transport(connection).feed_eof()
        if chance.random() < 0.5:
            await settle()
        network.sockets.run()
        assert pool.busy + pool.idle <= most
        assert network.most_open <= most

    async def main(pool: UpstreamPool, network: Network) -> None:
        for _ in range(300):
            await act(pool, network)
        for _ in range(1_000):
            if network.pending:
                await network.succeed()
            for connection in busy(network):
                network.answer(connection)
            await settle()
            if not network.pending and not busy(network):
                break
        assert pool.waiting == 0, "nobody is forgotten"
        assert all(w.calls == 1 or (w.cancelled and w.calls == 0) for w in waiters)
        pool.close()
        network.sockets.run()
        assert (pool.busy, pool.idle) == (0, 0)

    run(main, most=most)
