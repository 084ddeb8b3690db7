"""The native edge: what clients may do, over real sockets on uvloop and over a transport that the test drives.

Each test ends with the same claim (`Server`, `Bench.over`): when all clients have gone, nothing is counted any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.edge import Edge, EdgeConnection, Exchange
from _fastpath.wheel import Wheel
from tests.fastpath.fakes import Clock, FakeLoop, FakeTransport
from tests.fastpath.http1_cases import CHUNKED, REQUESTS, Case, ChunkedCase, request

T = TypeVar("T")
App = Callable[[Exchange], object]

JSON = b"content-type: application/json\r\n"
KIB = 1_024
GET = request()
POST_LINE = b"POST /v1/x HTTP/1.1"
BOUNDS: dict[str, int] = {
    "head_bytes": 64 * KIB,
    "body_bytes": 1_024 * KIB,
    "all_bodies_bytes": 8_192 * KIB,
    "max_in_flight": 1_000,
    "max_connections": 1_000,
    "head_ms": 30_000,
    "body_gap_ms": 30_000,
    "body_ms": 30_000,
    "body_bytes_per_s": 1_000,
    "idle_ms": 30_000,
    "write_ms": 30_000,
    "write_bytes_per_s": 1_000,
}


def post(body: bytes, *fields: bytes) -> bytes:
    return request(b"Content-Length: %d" % len(body), *fields, line=POST_LINE) + body


def post_chunked(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return request(b"Transfer-Encoding: chunked", line=POST_LINE) + framed + b"0\r\n\r\n"


def echo(exchange: Exchange) -> None:
    """Tells what was understood."""
    exchange.respond(200, JSON, f"{exchange.method} {exchange.path} ".encode() + exchange.body)


def refuse(status: int, reason: str, peer: str) -> tuple[bytes, bytes]:
    assert peer
    return b"x-refused: 1\r\n", reason.encode()


def run(main: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await main

    return uvloop.run(bounded())


# -- reading answers, independently of the code under test


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes


def read_answer(raw: bytes, method: str = "GET") -> tuple[Answer, bytes] | None:
    """The answer that `raw` begins with, and what follows; None where it is incomplete."""
    head, blank, rest = raw.partition(b"\r\n\r\n")
    if not blank:
        return None
    line, *lines = head.decode("latin-1").split("\r\n")
    assert re.fullmatch(r"HTTP/1\.1 \d{3} [ -~]+", line), line
    fields: dict[str, str] = {}
    for text in lines:
        name, _, value = text.partition(": ")
        assert name not in fields, f"{name} twice"
        fields[name] = value
    status = int(line[9:12])
    assert "date" in fields or status == 100
    if status in (100, 204, 304) or method == "HEAD":
        return Answer(status, fields, b""), rest
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size_line, crlf, rest = rest.partition(b"\r\n")
            if not crlf:
                return None
            size = int(size_line, 16)
            if len(rest) < size + 2:
                return None
            assert rest[size : size + 2] == b"\r\n"
            body, rest = body + rest[:size], rest[size + 2 :]
            if size == 0:
                return Answer(status, fields, body), rest
    if "content-length" not in fields:
        return Answer(status, fields, rest), b""  # until the end
    length = int(fields["content-length"])
    return (Answer(status, fields, rest[:length]), rest[length:]) if len(rest) >= length else None


def read_answers(raw: bytes, method: str = "GET") -> list[Answer]:
    """All of them; nothing may be left."""
    answers = []
    while raw:
        got = read_answer(raw, method)
        assert got is not None, f"incomplete: {raw[-200:]!r}"
        answers.append(got[0])
        raw = got[1]
    return answers


# -- over sockets


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.raw = b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, method: str = "GET") -> Answer:
        while (got := read_answer(self.raw, method)) is None:
            data = await self.reader.read(65_536)
            assert data, f"closed after {self.raw!r}"
            self.raw += data
        self.raw = got[1]
        return got[0]

    async def rest(self) -> bytes:
        """All that comes until the server closes. Raises ConnectionError where it breaks the connection instead."""
        rest = self.raw + await self.reader.read()
        self.raw = b""
        return rest

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass
class Server:
    edge: Edge
    wheel: Wheel
    port: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    async def client(self, *, receive_bytes: int = 0) -> Client:
        raw = socket.socket()
        raw.setblocking(False)
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        name = "localhost" if self.tls else None
        client = Client(*await asyncio.open_connection(sock=raw, ssl=self.tls, server_hostname=name, limit=2**16))
        self.clients.append(client)
        return client

    async def ask(self, data: bytes) -> bytes:
        """All that a connection answers to `data` until the server closes it."""
        client = await self.client()
        await client.send(data)
        return await client.rest()


async def until(true: Callable[[], object], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - of what others do, and tell nobody
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving(
    app: App = echo,
    on_head: Callable[[Exchange], bool] = lambda _: True,
    *,
    failures: int = 0,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    send_bytes: int = 0,
    **bounds: int,
) -> AsyncIterator[Server]:
    """An edge on a socket, which must have counted down to nothing once its clients have closed."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop, tick_ms=5, slots=64)
    wheel.start()
    edge = Edge(loop, wheel, app, on_head, refuse, **(BOUNDS | bounds))
    listener = socket.socket()
    if send_bytes:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
    listener.bind(("127.0.0.1", 0))
    factory = cast(Callable[[], asyncio.BaseProtocol], edge)
    server = await loop.create_server(factory, sock=listener, ssl=tls[0] if tls else None, backlog=1_024)
    world = Server(edge, wheel, listener.getsockname()[1], tls=tls[1] if tls else None)
    loop.set_exception_handler(lambda _, report: world.failures.append(report))
    try:
        yield world
        for client in world.clients:
            client.reset()
        await until(lambda: edge.connections == 0)
        assert (edge.in_flight, edge.body_bytes) == (0, 0)
        assert len(world.failures) == failures, world.failures
    finally:
        for client in world.clients:
            client.reset()
        server.close()
        edge.abort_all()
        wheel.close()
        await asyncio.sleep(0)


@contextlib.contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Yields what tells the bytes allocated since, less those freed."""
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


class Answers:
    """An application that keeps the exchanges, to be answered by the test."""

    def __init__(self) -> None:
        self.got: list[Exchange] = []
        self.left: list[Exchange] = []
        self.drained = 0

    def __call__(self, exchange: Exchange) -> None:
        exchange.on_disconnect = lambda: self.left.append(exchange)
        exchange.on_drain = self._drain
        self.got.append(exchange)

    def _drain(self) -> None:
        self.drained += 1

    async def next(self, n: int = 1) -> Exchange:
        await until(lambda: len(self.got) >= n)
        return self.got[n - 1]


def ids(cases: list[Any]) -> list[str]:
    return [case.name for case in cases]


def persists(case: Case) -> bool:
    return case.valid and bool(case.head.get("keep_alive", b" HTTP/1.0\r\n" not in case.raw))


def expected(case: Case) -> bytes:
    body = b"hello" if case.head.get("chunked") else case.body
    method, path = case.raw.lstrip(b"\r\n").split(b" ", 2)[:2]
    path = cast(str, case.head.get("path", "")).encode() or path.split(b"?")[0]
    return method + b" " + path + b" " + body


def check(case: Case, raw: bytes) -> None:
    """One answer, the right one; behind a refusal nothing else."""
    method = "HEAD" if case.raw.startswith(b"HEAD") else "GET"
    answers = [answer for answer in read_answers(raw, method) if answer.status != 100]
    assert [answer.status for answer in answers] == [case.status or 200], case.name
    if case.valid:
        assert answers[0].body == expected(case), case.name
    else:
        assert answers[0].fields["connection"] == "close"
        assert answers[0].fields["x-refused"] == "1"


async def drive(server: Server, case: Case, parts: list[bytes]) -> bytes:
    client = await server.client()
    client.writer.transport.set_write_buffer_limits(0)
    for part in parts:
        await client.send(part)
        await asyncio.sleep(0)
    if persists(case):
        while (got := read_answer(client.raw)) is None or got[0].status == 100:
            client.raw = got[1] if got else client.raw + await client.reader.read(65_536)
        await asyncio.sleep(0.005)  # for a second answer, if there were one
        raw = client.raw
        client.reset()
        return raw
    return await client.rest()


def cut(case: Case, how: str) -> list[list[bytes]]:
    raw = case.raw + case.body
    if how == "whole":
        return [[raw]]
    if how == "byte by byte":
        return [[raw[i : i + 1] for i in range(len(raw))]] if len(raw) < 600 else []
    places = sorted({len(raw) // 3, len(case.raw) - 1, len(case.raw), len(raw) - 1})
    return [[raw[:place], raw[place:]] for place in places if 0 < place < len(raw)]


@pytest.mark.parametrize("how", ["whole", "byte by byte", "two cuts"])
def test_each_case_over_a_socket(how: str) -> None:
    async def one(server: Server, limit: asyncio.Semaphore, case: Case, parts: list[bytes]) -> None:
        async with limit:
            try:
                check(case, await drive(server, case, parts))
            except ConnectionError:
                assert not case.valid  # it went on sending after the close, and was reset: that is how TCP tells it
                assert how != "whole"

    async def main() -> None:
        async with serving() as server:
            limit = asyncio.Semaphore(50)
            async with asyncio.TaskGroup() as group:
                for case in REQUESTS:
                    for parts in cut(case, how):
                        group.create_task(one(server, limit, case, parts))

    run(main())


# -- over a transport that the test drives


class Bench:
    """One connection of an edge, on fakes."""

    def __init__(
        self,
        app: App = echo,
        on_head: Callable[[Exchange], bool] = lambda _: True,
        *,
        half_close: bool = True,
        **bounds: int,
    ) -> None:
        self.loop = FakeLoop()
        self.wheel = Wheel(self.loop.as_loop(), tick_ms=5, slots=64)
        self.clock = Clock(self.wheel)
        self.edge = Edge(self.loop.as_loop(), self.wheel, app, on_head, refuse, **(BOUNDS | bounds))
        self.transport = self.connect(half_close=half_close)

    def connect(self, *, half_close: bool = True) -> FakeTransport:
        transport = FakeTransport(self.loop, cast(asyncio.Protocol, self.edge()), half_close=half_close)
        transport.connect()
        return transport

    def feed(self, *parts: bytes) -> bytes:
        """Feeds each part and runs what it set off; all that was sent since the connection was made."""
        for part in filter(None, parts):
            self.transport.feed(part)
            self.loop.run()
        return self.transport.sent

    def over(self, *others: FakeTransport, failures: int = 0) -> None:
        for transport in (self.transport, *others):
            transport.lose()
        self.loop.run()
        assert (self.edge.connections, self.edge.in_flight, self.edge.body_bytes) == (0, 0, 0)
        assert len(self.loop.reports) == failures, self.loop.reports
        self.clock.pass_ms(1_000, 50)  # no timer of the dead touches anything
        assert self.wheel.armed == 0


@pytest.mark.parametrize("case", REQUESTS, ids=ids(REQUESTS))
def test_each_case_byte_by_byte_is_read_as_it_is_whole(case: Case) -> None:
    raw = case.raw + case.body
    whole = Bench()
    check(case, whole.feed(raw))
    step = 1 if len(raw) < 10_000 else 97
    bytewise = Bench()
    check(case, bytewise.feed(*[raw[i : i + step] for i in range(0, len(raw), step)]))
    assert whole.transport.ended == (not case.valid)
    for bench in (whole, bytewise):
        assert bench.transport.is_closing() == (case.valid and not persists(case))
        bench.over()


@pytest.mark.parametrize("case", [case for case in REQUESTS if len(case.raw) < 300], ids=lambda case: case.name)
def test_each_case_cut_anywhere_is_read_the_same(case: Case) -> None:
    raw = case.raw + case.body
    for place in range(1, len(raw)):
        bench = Bench()
        check(case, bench.feed(raw[:place], raw[place:]))
        bench.over()


@pytest.mark.parametrize("case", CHUNKED, ids=ids(CHUNKED))
def test_each_chunked_body(case: ChunkedCase) -> None:
    head = request(b"Transfer-Encoding: chunked", line=POST_LINE)
    steps = [len(case.raw)] + ([1] if len(case.raw) < 2_000 else [501])
    for step in steps:
        bench = Bench()
        raw = bench.feed(head, *[case.raw[i : i + step] for i in range(0, len(case.raw), step)])
        answers = read_answers(raw)
        if case.payload is None:
            assert [answer.status for answer in answers] == [400]
        else:
            assert [answer.body for answer in answers] == [b"POST /v1/x " + case.payload]
        bench.over()


# -- pipelining


def test_requests_in_one_read_are_answered_in_order() -> None:
    bench = Bench()
    raw = bench.feed(b"".join(post(b"%d" % n) for n in range(50)) + post_chunked(b"a", b"b") + post(b"last"))
    bodies = [answer.body.split()[-1] for answer in read_answers(raw)]
    assert bodies == [b"%d" % n for n in range(50)] + [b"ab", b"last"]
    assert len(bench.transport.calls) == 52, "one write an answer"
    bench.over()


def test_a_pipelined_request_waits_for_the_answer_before_it() -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(post(b"1") + post(b"2"), post(b"3")[:20])
    assert [exchange.body for exchange in app.got] == [b"1"]
    app.got[0].respond(200, b"", b"a")
    bench.loop.run()
    assert [exchange.body for exchange in app.got] == [b"1", b"2"]
    app.got[1].respond(200, b"", b"b")
    bench.feed(post(b"3")[20:])
    app.got[2].respond(200, b"", b"c")
    assert [answer.body for answer in read_answers(bench.transport.sent)] == [b"a", b"b", b"c"]
    bench.over()


def test_bytes_that_wait_are_bounded_and_reading_goes_on_afterwards() -> None:
    app = Answers()
    bench = Bench(app, head_bytes=1_000)
    burst = post(b"x" * 100) * 12
    bench.feed(post(b"first"), burst)
    assert not bench.transport.is_reading()
    for n in range(13):
        assert bench.transport.is_reading() == (len(burst) - len(burst) // 12 * n <= 1_000), n
        app.got[n].respond(200, b"", b"")
        bench.loop.run()
    assert bench.transport.is_reading(), "also where each answer came later than its request"
    bench.feed(post(b"again"))
    assert app.got[-1].body == b"again"
    app.got[-1].respond(200, b"", b"")
    bench.over()


def test_waiting_bytes_are_bounded_where_each_request_is_answered_at_once() -> None:
    """One request a turn of the loop is answered; a client that sends more than that a turn must not fill the memory."""
    bench = Bench(head_bytes=1_000)
    fed = 0
    for _ in range(100):
        if bench.transport.is_reading():
            bench.transport.feed(GET * 100)
            fed += 100
        callback, args = bench.loop.soon.popleft()
        callback(*args)
    assert fed == 200, "no more than what two reads bring before what waits is below the bound"
    bench.loop.run()
    assert bench.transport.is_reading()
    assert len(read_answers(bench.transport.sent)) == fed
    bench.over()


def test_a_client_that_takes_no_answers_gets_no_more_of_them() -> None:
    bench = Bench()
    bench.feed(GET)
    bench.transport.block()
    bench.feed(GET * 10, GET)
    assert len(read_answers(bench.transport.sent)) == 1
    bench.transport.unblock()
    bench.loop.run()
    assert len(read_answers(bench.transport.sent)) == 12
    bench.over()


def test_a_head_that_comes_with_the_answer_before_it_has_its_own_time() -> None:
    """The bytes came while a slow request was answered; they are late by nobody's fault."""
    app = Answers()
    bench = Bench(app, head_ms=50)
    bench.feed(post(b"slow"), GET[:10])
    bench.clock.sleep_ms(80)
    app.got[0].respond(200, b"", b"")
    bench.transport.feed(GET[10:20])  # before the loop comes to what waited
    bench.clock.sleep_ms(15)
    bench.loop.run()
    bench.feed(GET[20:])
    assert len(app.got) == 2
    assert app.got[1].received_ns > app.got[0].received_ns
    app.got[1].respond(200, b"", b"")
    bench.over()


def test_a_fault_behind_good_requests_is_answered_in_its_turn() -> None:
    bench = Bench()
    answers = read_answers(bench.feed(GET + GET + b"BAD\r\n\r\n" + GET))
    assert [answer.status for answer in answers] == [200, 200, 400]
    assert bench.transport.ended
    bench.over()


def test_nothing_is_answered_behind_a_request_that_closes() -> None:
    bench = Bench()
    answers = read_answers(bench.feed(request(b"Connection: close") + GET))
    assert [answer.fields["connection"] for answer in answers] == ["close"]
    assert bench.transport.is_closing()
    bench.over()


# -- answers on the wire


def head_of(raw: bytes) -> bytes:
    return re.sub(rb"date: [^\r]*\r\n", b"", raw)


def test_whole_answers_byte_for_byte() -> None:
    bench = Bench(lambda exchange: exchange.respond(201, JSON, b"{}"))
    raw = bench.feed(GET)
    assert head_of(raw) == b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    assert re.search(rb"\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", raw)
    bench.over()


def test_an_unknown_status_has_a_reason_all_the_same() -> None:
    bench = Bench(lambda exchange: exchange.respond(599, b"", b""))
    assert bench.feed(GET).startswith(b"HTTP/1.1 599 Unknown\r\n")
    bench.over()


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_body_has_none(status: int) -> None:
    bench = Bench(lambda exchange: exchange.respond(status, b"", b"not to be sent"))
    assert b"content-length" not in bench.feed(GET)
    assert bench.transport.sent.endswith(b"\r\n\r\n")
    bench.over()

    def stream(exchange: Exchange) -> None:
        exchange.start(status, b"")
        exchange.write(b"not to be sent")
        exchange.end(b"nor this")

    bench = Bench(stream)
    raw = bench.feed(GET)
    assert raw.endswith(b"\r\n\r\n")
    assert b"transfer-encoding" not in raw
    bench.over()


def test_chunks_byte_for_byte() -> None:
    def stream(exchange: Exchange) -> None:
        exchange.start(200, b"a: b\r\n")
        exchange.write(b"hello")
        exchange.write(b"")
        exchange.write(b"x" * 255)
        exchange.end(b"!")

    bench = Bench(stream)
    raw = bench.feed(GET)
    framed = b"5\r\nhello\r\nff\r\n" + b"x" * 255 + b"\r\n1\r\n!\r\n0\r\n\r\n"
    assert head_of(raw) == b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n" + framed
    bench.over()


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000])
@pytest.mark.parametrize("length", [False, True])
def test_one_write_carries_a_head_and_a_body_of_any_size(size: int, length: bool) -> None:
    body = b"b" * size

    def respond(exchange: Exchange) -> None:
        exchange.respond(200, JSON, body)

    def stream(exchange: Exchange) -> None:
        exchange.start(200, JSON, size if length else -1)
        exchange.end(body)

    for app in (respond, stream):
        bench = Bench(app)
        assert [answer.body for answer in read_answers(bench.feed(GET))] == [body]
        assert len(bench.transport.calls) == 1
        bench.over()


@pytest.mark.parametrize("size", [1, 70_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_each_write_is_one_write(size: int, framing: str) -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(request(line=b"GET / HTTP/1.0") if framing == "close" else GET)
    exchange = app.got[0]
    exchange.start(200, b"", 3 * size if framing == "length" else -1)
    exchange.flush()
    exchange.flush()
    assert len(bench.transport.calls) == 1
    exchange.write(b"1" * size)
    exchange.write(b"2" * size)
    assert len(bench.transport.calls) == 3
    exchange.end(b"3" * size)
    assert len(bench.transport.calls) == 4
    assert read_answers(bench.transport.sent)[0].body == b"1" * size + b"2" * size + b"3" * size
    assert bench.transport.is_closing() == (framing == "close")
    bench.over()


def test_an_empty_end_writes_nothing_but_the_end_of_the_framing() -> None:
    app = Answers()
    bench = Bench(app)
    for n, (framing, tail) in enumerate([(3, b""), (-1, b"0\r\n\r\n")]):
        bench.feed(GET)
        app.got[n].start(200, b"", framing)
        app.got[n].write(b"abc")
        before = bench.transport.sent
        app.got[n].end()
        assert bench.transport.sent == before + tail
    bench.over()


@pytest.mark.parametrize("streamed", [False, True])
def test_head_has_the_fields_and_no_body(streamed: bool) -> None:
    def app(exchange: Exchange) -> None:
        if not streamed:
            exchange.respond(200, JSON, b"12345")
            return
        exchange.start(200, JSON, 5)
        exchange.write(b"123")
        exchange.end(b"45")

    bench = Bench(app)
    raw = bench.feed(request(line=b"HEAD / HTTP/1.1") * 2)
    answers = read_answers(raw, "HEAD")
    assert [answer.fields["content-length"] for answer in answers] == ["5", "5"]
    assert len(bench.transport.calls) == 2
    bench.over()


def test_old_clients_get_what_they_understand() -> None:
    def stream(exchange: Exchange) -> None:
        exchange.start(200, b"")
        exchange.write(b"a")
        exchange.end(b"b")

    bench = Bench(stream)
    raw = bench.feed(request(b"Connection: keep-alive", line=b"GET / HTTP/1.0"))
    assert head_of(raw) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"
    assert bench.transport.is_closing()
    bench.over()
    bench = Bench()
    raw = bench.feed(request(b"Connection: keep-alive", line=b"GET / HTTP/1.0") + request(line=b"GET / HTTP/1.0"))
    assert [answer.fields["connection"] for answer in read_answers(raw)] == ["keep-alive", "close"]
    assert bench.transport.is_closing()
    bench.over()


def test_an_answer_of_another_length_than_announced_is_a_loud_fault_and_no_second_answer() -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(GET + GET)
    app.got[0].start(200, b"", 3)
    app.got[0].write(b"ab")
    with pytest.raises(RuntimeError, match="more bytes"):
        app.got[0].write(b"cd")
    with pytest.raises(RuntimeError, match="1 bytes before"):
        app.got[0].end()
    assert app.got[0].finished
    assert bench.transport.is_closing()
    assert bench.transport.sent.endswith(b"\r\n\r\nab")
    bench.over()


def test_abort_leaves_the_framing_open() -> None:
    app = Answers()
    for written in (False, True):
        bench = Bench(app)
        bench.feed(GET + GET)
        exchange = app.got[-1]
        exchange.start(200, b"")
        if written:
            exchange.write(b"abc")
        exchange.abort()
        exchange.abort()
        assert bench.transport.is_closing()
        assert bench.transport.sent.endswith(b"3\r\nabc\r\n" if written else b"chunked\r\n\r\n")
        assert not app.left
        bench.over()
    assert len(app.got) == 2, "what waited is not read any more"


def test_abort_of_a_body_that_ends_with_the_connection_resets_it() -> None:
    async def main() -> None:
        app = Answers()
        async with serving(app) as server:
            client = await server.client()
            await client.send(request(line=b"GET / HTTP/1.0"))
            exchange = await app.next()
            exchange.start(200, b"")
            exchange.write(b"half")
            while b"half" not in client.raw:
                client.raw += await client.reader.read(1_000)
            exchange.abort()
            with pytest.raises(ConnectionResetError):
                await client.rest()

    run(main())


def test_an_exchange_is_harmless_once_it_is_finished() -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(post(b"1"))
    exchange = app.got[0]
    exchange.respond(200, b"", b"first")
    bench.feed(post(b"2"))
    before = bench.transport.sent
    exchange.respond(200, b"", b"second")
    exchange.start(200, b"")
    exchange.flush()
    assert exchange.write(b"x") is True
    exchange.end(b"y")
    exchange.abort()
    assert bench.transport.sent == before
    assert (exchange.finished, exchange.started, exchange.peer, exchange.body) == (True, True, "", b"1")
    assert exchange.header(b"host") is exchange.credential() is exchange.content_type is exchange.traceparent is None
    assert not exchange.plain
    assert not app.got[1].finished
    app.got[1].respond(200, b"", b"")
    assert len(read_answers(bench.transport.sent)) == 2
    bench.over()


@pytest.mark.parametrize("call", ["respond", "start", "write", "end"])
def test_none_for_bytes_is_refused(call: str) -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(GET)
    exchange = cast(Any, app.got[0])
    arguments = (200, b"", None)[: 3 if call == "respond" else 2]
    with pytest.raises(TypeError):
        getattr(exchange, call)(*((200, None) if call == "start" else arguments if call == "respond" else (None,)))
    exchange.respond(200, b"", b"")
    bench.over()


CREDENTIALS = [
    ("none", [], None),
    ("bearer", [b"Authorization: Bearer k1"], b"k1"),
    ("bearer in another case", [b"authorization: BEARER  k1 "], b"k1"),
    ("basic", [b"Authorization: Basic eDp5"], b""),
    ("x-api-key", [b"x-api-key: k1"], b"k1"),
    ("api-key", [b"api-key: k1"], b"k1"),
    ("x-goog-api-key", [b"x-goog-api-key: k1"], b"k1"),
    ("the same twice", [b"Authorization: Bearer k1", b"x-api-key: k1"], b"k1"),
    ("two", [b"Authorization: Bearer k1", b"x-api-key: k2"], b""),
    ("two of the others", [b"api-key: k1", b"x-goog-api-key: k2"], b""),
]


@pytest.mark.parametrize(("fields", "found"), [case[1:] for case in CREDENTIALS], ids=[case[0] for case in CREDENTIALS])
def test_the_credential_is_the_only_one_there_is(fields: list[bytes], found: bytes | None) -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(request(*fields))
    assert app.got[0].credential() == found
    bench.over()


PLAIN = [
    ("json", [b"Content-Type: application/json"], True),
    ("with charset", [b"Content-Type: application/json; charset=utf-8"], False),
    ("none", [], False),
    ("compressed", [b"Content-Type: application/json", b"Content-Encoding: gzip"], False),
    ("traced", [b"Content-Type: application/json", b"traceparent: 00-1-2-03"], False),
    ("tagged", [b"Content-Type: application/json", b"X-Throughway-Tags: a=b"], False),
    ("with others", [b"Content-Type: application/json", b"X-Through: a", b"Accept: */*"], True),
]


@pytest.mark.parametrize(("fields", "plain"), [case[1:] for case in PLAIN], ids=[case[0] for case in PLAIN])
def test_plain_requests_are_told_apart(fields: list[bytes], plain: bool) -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(request(*fields))
    assert app.got[0].plain is plain
    assert app.got[0].peer == "192.0.2.1:4321"
    bench.over()


# -- bodies


def test_expectations_are_met_only_once_the_head_was_agreed_to() -> None:
    asked: list[bytes] = []

    def on_head(exchange: Exchange) -> bool:
        asked.append(bench.transport.sent)
        assert exchange.body == b""
        return True

    bench = Bench(on_head=on_head)
    raw = post(b"body", b"Expect: 100-continue")
    assert bench.feed(raw[:-4]) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert asked == [b""]
    assert [answer.status for answer in read_answers(bench.feed(b"bo", b"dy"))] == [100, 200]
    bench.over()


@pytest.mark.parametrize(("seen", "why"), [(0, "the whole body"), (3, "a part of it")])
def test_no_continue_where_the_body_has_come(seen: int, why: str) -> None:
    bench = Bench()
    raw = post(b"body", b"Expect: 100-continue")
    place = len(raw) - seen
    assert [answer.status for answer in read_answers(bench.feed(raw[:place], raw[place:]))] == [200], why
    bench.over()


def test_a_head_that_is_not_agreed_to_is_answered_without_its_body() -> None:
    def on_head(exchange: Exchange) -> bool:
        exchange.respond(401, b"", b"no")
        return False

    bench = Bench(lambda _: pytest.fail("the body was read"), on_head)
    answers = read_answers(bench.feed(post(b"body", b"Expect: 100-continue")[:-4], b"body", GET))
    assert [(answer.status, answer.fields["connection"]) for answer in answers] == [(401, "close")]
    assert bench.transport.ended and not bench.transport.is_closing(), "it lingers: the client may be sending still"
    bench.clock.pass_ms(2_200, 50)
    assert bench.transport.aborted
    bench.over()


def test_on_head_that_refuses_and_does_not_answer_is_a_fault() -> None:
    bench = Bench(on_head=lambda _: False)
    assert [answer.status for answer in read_answers(bench.feed(post(b"body")[:-1]))] == [500]
    bench.over(failures=1)


@pytest.mark.parametrize("parts", [1, 2, 7, 1_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_in_any_number_of_reads(parts: int, chunked: bool) -> None:
    body = bytes(range(256)) * 40
    raw = post_chunked(body[:5_000], body[5_000:]) if chunked else post(body)
    step = len(raw) // parts + 1
    bench = Bench()
    sent = bench.feed(*[raw[i : i + step] for i in range(0, len(raw), step)], GET)
    assert [answer.body for answer in read_answers(sent)] == [b"POST /v1/x " + body, b"GET / "]
    bench.over()


def test_a_body_in_crumbs_costs_little_more_than_its_bytes() -> None:
    """Each bytes object costs some 50 bytes beside its own; the bound on bodies must bound memory."""
    bench = Bench(Answers())
    bench.feed(request(b"Content-Length: 1000000", line=POST_LINE))
    with traced() as grown_bytes:
        for n in range(100_000):
            bench.transport.feed(b"%02d" % (n % 100))  # an object of its own each time, as a read is
        assert bench.edge.body_bytes == 200_000
        assert grown_bytes() < 400_000
    bench.over()


def test_a_body_longer_than_the_limit_is_refused_by_its_length() -> None:
    bench = Bench(on_head=lambda _: pytest.fail("asked for nothing"), body_bytes=100)
    raw = bench.feed(request(b"Content-Length: 101", line=POST_LINE))
    assert [answer.status for answer in read_answers(raw)] == [413]
    bench.over()
    bench = Bench(body_bytes=100)
    assert [answer.status for answer in read_answers(bench.feed(post(b"x" * 100)))] == [200]
    bench.over()


def test_a_chunked_body_longer_than_the_limit_is_refused_when_it_is() -> None:
    bench = Bench(body_bytes=100)
    assert [answer.status for answer in read_answers(bench.feed(post_chunked(b"x" * 60, b"y" * 40)))] == [200]
    assert [answer.status for answer in read_answers(bench.feed(post_chunked(b"x" * 60, b"y" * 41)))] == [200, 413]
    bench.over()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_refused_client_can_read_the_answer_although_it_is_still_sending(chunked: bool) -> None:
    async def main() -> None:
        async with serving(body_bytes=64 * KIB) as server:
            client = await server.client()
            framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 3000000"
            await client.send(request(framing, line=POST_LINE))
            chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n" if chunked else b"x" * 65_536
            for _ in range(40):
                await client.send(chunk)
            answer = await client.answer()
            assert (answer.status, answer.fields["connection"]) == (413, "close")
            assert await client.rest() == b""

    run(main())


def test_all_bodies_together_are_bounded() -> None:
    bench = Bench(Answers(), all_bodies_bytes=250)
    second = bench.connect()
    bench.feed(post(b"x" * 100))
    assert bench.edge.body_bytes == 100
    second.feed(post_chunked(b"y" * 100)[:-7])
    assert bench.edge.body_bytes == 200
    third, fourth = bench.connect(), bench.connect()
    third.feed(post(b"z" * 51))
    fourth.feed(post(b"z" * 100)[:-20])
    for refused in (third, fourth):
        assert [answer.status for answer in read_answers(refused.sent)] == [503]
    assert bench.edge.body_bytes == 200
    assert bench.edge.in_flight == 2
    bench.over(second, third, fourth)


def test_requests_in_flight_are_bounded() -> None:
    app = Answers()
    bench = Bench(app, max_in_flight=1)
    second = bench.connect()
    bench.feed(GET)
    second.feed(GET)
    assert [answer.status for answer in read_answers(second.sent)] == [503]
    app.got[0].respond(200, b"", b"")
    third = bench.connect()
    third.feed(GET)
    assert len(app.got) == 2
    bench.over(second, third)


def test_connections_are_bounded() -> None:
    async def main() -> None:
        async with serving(max_connections=2) as server:
            first, second = await server.client(), await server.client()
            for client in (first, second):
                await client.send(GET)
                assert (await client.answer()).status == 200
            refused = await server.client()
            with contextlib.suppress(ConnectionError):
                assert await refused.rest() == b""
            assert (server.edge.connections, server.edge.refused_connections) == (2, 1)
            first.close()
            await until(lambda: server.edge.connections == 1)
            again = await server.client()
            await again.send(GET)
            assert (await again.answer()).status == 200

    run(main())


# -- time


def test_a_head_has_its_time_however_slowly_it_comes() -> None:
    bench = Bench(head_ms=300)
    for byte in GET[:20]:
        bench.feed(bytes([byte]))
        bench.clock.pass_ms(10)
    assert bench.transport.sent == b""
    bench.clock.pass_ms(300)
    assert [answer.status for answer in read_answers(bench.transport.sent)] == [408]
    assert bench.edge.timeouts == 1
    bench.over()


def test_a_connection_without_any_byte_is_closed_without_a_word() -> None:
    bench = Bench(head_ms=100, idle_ms=10_000)
    bench.clock.pass_ms(80)
    assert not bench.transport.is_closing()
    bench.clock.pass_ms(100)
    assert bench.transport.is_closing()
    assert bench.transport.sent == b""
    bench.over()


def test_an_idle_connection_is_closed_without_a_word() -> None:
    bench = Bench(idle_ms=200, head_ms=10)
    sent = bench.feed(GET)
    bench.clock.pass_ms(150)
    assert not bench.transport.is_closing()
    bench.clock.pass_ms(100)
    assert bench.transport.is_closing()
    assert bench.transport.sent == sent
    bench.over()


def test_a_body_has_time_between_reads() -> None:
    bench = Bench(body_gap_ms=100, head_ms=30, idle_ms=30)
    bench.feed(request(b"Content-Length: 100", line=POST_LINE))
    for _ in range(8):
        bench.clock.sleep_ms(20)
        bench.feed(b"x")
    assert bench.transport.sent == b""
    bench.clock.pass_ms(800)
    assert [answer.status for answer in read_answers(bench.transport.sent)] == [408]
    bench.over()


@pytest.mark.parametrize("how", [b"Content-Length: 100", b"Transfer-Encoding: chunked"], ids=["length", "chunked"])
def test_a_body_that_comes_byte_by_byte_has_its_time_in_all(how: bytes) -> None:
    bench = Bench(body_gap_ms=1_000, body_ms=60, body_bytes_per_s=100)
    bench.feed(request(how, line=POST_LINE))
    begun = time.monotonic()
    while not bench.transport.sent:
        assert time.monotonic() - begun < 1, "60 ms, and 10 for each byte"
        bench.clock.sleep_ms(20)
        bench.feed(b"x" if b"Length" in how else b"1\r\nx\r\n")
    assert time.monotonic() - begun >= 0.06
    assert [answer.status for answer in read_answers(bench.transport.sent)] == [408]
    bench.over()


def test_a_body_that_makes_its_rate_takes_the_time_that_it_needs() -> None:
    bench = Bench(body_gap_ms=1_000, body_ms=100, body_bytes_per_s=200)
    bench.feed(request(b"Content-Length: 2000", line=POST_LINE))
    for _ in range(10):
        bench.clock.sleep_ms(20)
        bench.feed(b"x" * 200)
    assert [answer.status for answer in read_answers(bench.transport.sent)] == [200]
    bench.over()


def test_an_application_has_all_the_time_it_wants() -> None:
    app = Answers()
    bench = Bench(app, head_ms=10, body_gap_ms=10, idle_ms=10, write_ms=10)
    bench.feed(post(b"x")[:-1], b"x")
    bench.clock.pass_ms(2_000, 50)
    app.got[0].respond(200, b"", b"")
    assert len(read_answers(bench.transport.sent)) == 1
    bench.over()


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    app = Answers()
    bench = Bench(app, write_ms=100)
    bench.feed(GET)
    app.got[0].start(200, b"")
    assert app.got[0].write(b"x") is True
    bench.transport.block()
    assert app.got[0].write(b"x") is False
    bench.clock.pass_ms(250)
    bench.loop.run()
    assert bench.transport.aborted
    assert len(app.left) == 1
    assert bench.edge.timeouts == 1
    bench.over()


def test_a_client_that_takes_little_is_not_cut_off() -> None:
    app = Answers()
    bench = Bench(app, write_ms=25)
    bench.feed(GET)
    app.got[0].start(200, b"")
    bench.transport.block(100_000)
    for _ in range(10):
        bench.transport.buffered -= 1_000
        bench.clock.sleep_ms(15)
    assert not bench.transport.aborted
    bench.transport.unblock()
    assert app.drained == 1
    app.got[0].end()
    bench.over()


def test_a_client_that_takes_too_little_in_the_long_run_is_cut_off() -> None:
    app = Answers()
    bench = Bench(app, write_ms=25, write_bytes_per_s=10_000)
    bench.feed(GET)
    app.got[0].start(200, b"")
    bench.transport.block(100_000)
    begun = time.monotonic()
    while not bench.transport.aborted:
        assert time.monotonic() - begun < 1
        bench.transport.buffered -= 1
        bench.clock.sleep_ms(15)
        bench.loop.run()
    assert time.monotonic() - begun >= 0.025, "the write time-out is free"
    assert (len(app.left), bench.edge.timeouts) == (1, 1)
    bench.over()


@pytest.mark.parametrize("state", ["awaiting", "head", "body", "busy", "answered", "lingering", "closed"])
def test_a_client_that_takes_nothing_is_cut_off_in_whatever_state(state: str) -> None:
    app = Answers()
    bench = Bench(app, write_ms=100)
    bench.feed(GET)
    if state == "busy":
        bench.transport.block()
    elif state == "lingering":
        app.got[0].respond(200, b"", b"")
        bench.feed(b"BAD\r\n\r\n")
        bench.transport.block()
    elif state == "closed":
        app.got[0].start(200, b"")
        app.got[0].abort()
        bench.transport.block()
    elif state == "answered":
        bench.transport.block()
        app.got[0].respond(200, b"", b"")
    else:
        app.got[0].respond(200, b"", b"")
        bench.feed({"awaiting": b"", "head": GET[:5], "body": post(b"x")[:-1]}[state])
        bench.transport.block()
    if state == "body":
        bench.feed(b"x")
    bench.clock.pass_ms(300)
    assert bench.transport.aborted or (state == "closed" and bench.transport.lost)
    bench.loop.run()
    bench.over()


@pytest.mark.parametrize("state", ["awaiting", "head", "body", "lingering"])
def test_what_was_awaited_is_awaited_again_when_the_client_takes_its_bytes(state: str) -> None:
    bench = Bench(head_ms=100, body_gap_ms=100, idle_ms=100, write_ms=100)
    part = {"awaiting": b"", "head": GET[:5], "body": post(b"x")[:-1], "lingering": b"BAD\r\n\r\n"}[state]
    bench.feed(GET, part)
    answers = len(read_answers(bench.transport.sent))
    bench.transport.block()
    bench.transport.unblock()
    bench.clock.pass_ms(2_200 if state == "lingering" else 250)
    assert bench.transport.aborted if state == "lingering" else bench.transport.ended or bench.transport.is_closing()
    more = {"head": [408], "body": [408]}.get(state, [])
    assert [answer.status for answer in read_answers(bench.transport.sent)[answers:]] == more
    bench.over()


def test_time_outs_over_a_socket() -> None:
    async def main() -> None:
        async with serving(head_ms=60, body_gap_ms=60, idle_ms=60) as server:
            got = await asyncio.gather(
                server.ask(b""),
                server.ask(GET[:10]),
                server.ask(post(b"x")[:-1]),
                server.ask(GET),
                server.ask(GET + GET[:9]),
            )
            statuses = [[answer.status for answer in read_answers(raw)] for raw in got]
            assert statuses == [[], [408], [408], [200], [200, 408]]

    run(main())


# -- slow readers


def test_a_slow_reader_holds_the_application_back_and_lets_it_go_on() -> None:
    async def main() -> None:
        app = Answers()
        async with serving(app, send_bytes=16 * KIB) as server:
            client = await server.client(receive_bytes=8 * KIB)
            await client.send(GET)
            exchange = await app.next()
            exchange.start(200, b"")
            part = bytes(range(256)) * 128
            written = 0
            while exchange.write(part):
                written += 1
                await asyncio.sleep(0)
                assert written < 1_000, "nobody reads: it must end"
            before = app.drained
            reading = asyncio.ensure_future(client.answer())
            await until(lambda: app.drained == before + 1)
            assert exchange.write(part[:10]) is True
            exchange.end(b"end")
            assert (await reading).body == part * (written + 1) + part[:10] + b"end"

    run(main())


def test_a_client_that_reads_nothing_is_cut_off_over_a_socket() -> None:
    async def main() -> None:
        app = Answers()
        async with serving(app, send_bytes=16 * KIB, write_ms=80) as server:
            client = await server.client(receive_bytes=8 * KIB)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET)
            exchange = await app.next()
            exchange.respond(200, b"", b"x" * 5_000_000)
            assert exchange.finished, "the answer is given, whoever takes it"
            await until(lambda: server.edge.connections == 0)
            assert server.edge.timeouts == 1
            assert not app.left

    run(main())


# -- leaving


def test_a_client_that_leaves_is_told_once() -> None:
    app = Answers()
    for how in ("eof", "lost", "both"):
        for begun in (False, True):
            bench = Bench(app)
            bench.feed(GET + GET)
            exchange = app.got[-1]
            if begun:
                exchange.start(200, b"")
                exchange.write(b"x")
            app.left.clear()
            if how != "lost":
                bench.transport.feed_eof()
                assert bench.transport.is_closing()
            if how != "eof":
                bench.transport.lose(ConnectionResetError())
            bench.loop.run()
            assert app.left == [exchange]
            assert exchange.finished
            exchange.write(b"more")
            exchange.respond(200, b"", b"more")
            bench.over()
            assert len(app.left) == 1


def test_a_client_that_leaves_before_or_after_its_request_disturbs_nobody() -> None:
    app = Answers()
    for sent in (b"", GET[:7], post(b"abc")[:-2], post_chunked(b"abc")[:-3]):
        bench = Bench(app)
        bench.feed(sent)
        bench.transport.feed_eof()
        bench.over()
    assert app.got == app.left == []
    bench = Bench(app)
    bench.feed(GET)
    app.got[0].respond(200, b"", b"")
    bench.transport.feed_eof()
    bench.over()
    assert app.left == []


def test_a_client_that_left_behind_unread_bytes_is_not_waited_for_forever() -> None:
    app = Answers()
    bench = Bench(app, write_ms=100)
    bench.feed(GET)
    app.got[0].start(200, b"")
    app.got[0].write(b"x" * 100)
    bench.transport.buffered = 100  # below the mark at which writing is paused
    bench.transport.feed_eof()
    bench.loop.run()
    assert not bench.transport.lost
    bench.clock.pass_ms(300)
    assert bench.transport.aborted
    bench.over()


def test_a_client_that_has_taken_all_and_says_no_good_bye_is_not_waited_for() -> None:
    """As TLS would have it: there the transport waits for the other side's word."""
    bench = Bench(write_ms=30_000)
    bench.feed(GET)
    bench.transport.buffered = 100  # the transport does not close while it waits
    bench.edge.drain()
    bench.loop.run()
    assert bench.transport.closing and not bench.transport.lost
    bench.transport.buffered = 0
    bench.clock.pass_ms(2_500)
    assert bench.transport.aborted and bench.edge.timeouts == 0
    bench.over()


def test_leaving_over_a_socket() -> None:
    async def main() -> None:
        app = Answers()
        async with serving(app) as server:
            for n, leave in enumerate((Client.close, Client.reset), start=1):
                client = await server.client()
                await client.send(post(b"x"))
                exchange = await app.next(n)
                exchange.start(200, b"")
                exchange.write(b"first")
                leave(client)
                await until(lambda n=n: len(app.left) == n)  # type: ignore[misc]
                for _ in range(10):
                    exchange.write(b"more")
                exchange.end()
            assert server.edge.in_flight == 0

    run(main())


def test_on_disconnect_may_use_the_exchange() -> None:
    def app(exchange: Exchange) -> None:
        def left() -> None:
            exchange.abort()
            exchange.respond(499, b"", b"")
            exchange.write(b"x")

        exchange.on_disconnect = left

    bench = Bench(app)
    bench.feed(GET)
    bench.transport.lose()
    assert bench.transport.sent == b""
    bench.over()


# -- draining


def test_draining_closes_who_asks_nothing_and_lets_the_others_finish() -> None:
    app = Answers()
    bench = Bench(app)
    idle, partial = bench.connect(), bench.connect()
    idle.feed(GET)
    app.got[0].respond(200, b"", b"")
    bench.feed(GET + GET)
    partial.feed(GET[:9])
    bench.edge.drain()
    assert bench.edge.draining
    assert (idle.is_closing(), partial.is_closing(), bench.transport.is_closing()) == (True, False, False)
    app.got[1].respond(200, b"", b"")
    assert bench.transport.is_closing()
    partial.feed(GET[9:])
    app.got[2].start(200, b"")
    app.got[2].end(b"x")
    assert partial.is_closing()
    for transport in (bench.transport, partial):
        assert [answer.fields["connection"] for answer in read_answers(transport.sent)] == ["close"]
    bench.loop.run()
    assert bench.edge.connections == 0
    bench.over()


def test_retiring_loses_no_request_of_a_connection_that_rests() -> None:
    app = Answers()
    bench = Bench(app)
    resting, fresh = bench.connect(), bench.connect()
    resting.feed(GET)
    app.got[0].respond(200, b"", b"")
    bench.edge.retire()
    assert (bench.edge.retiring, bench.edge.draining) == (True, False)
    assert not (resting.is_closing() or fresh.is_closing()), "the next request may be under way"
    for number, transport in enumerate((resting, fresh), 1):
        transport.feed(GET)
        app.got[number].respond(200, b"", b"")
        assert transport.is_closing()
    told = [[answer.fields.get("connection") for answer in read_answers(t.sent)] for t in (resting, fresh)]
    assert told == [[None, "close"], ["close"]]
    bench.over()


def test_a_stream_that_began_before_retiring_leaves_its_connection_open_as_it_said() -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(GET)
    app.got[0].start(200, b"")
    app.got[0].write(b"x")
    bench.edge.retire()
    app.got[0].end(b"y")
    assert not bench.transport.is_closing()
    bench.feed(GET)
    app.got[1].respond(200, b"", b"")
    assert bench.transport.is_closing()
    assert [answer.fields.get("connection") for answer in read_answers(bench.transport.sent)] == [None, "close"]
    bench.over()


def test_who_rests_while_the_edge_retires_is_closed_by_the_idle_timeout_as_ever() -> None:
    app = Answers()
    bench = Bench(app, idle_ms=1_000)
    bench.feed(GET)
    app.got[0].respond(200, b"", b"")
    bench.edge.retire()
    bench.clock.pass_ms(900, 50)
    assert not bench.transport.is_closing()
    bench.clock.pass_ms(200, 50)
    assert bench.transport.is_closing()
    bench.over()


def test_a_drain_after_retiring_closes_who_rests() -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(GET)
    app.got[0].respond(200, b"", b"")
    bench.edge.retire()
    bench.edge.drain()
    assert bench.transport.is_closing()
    bench.over()


def test_who_has_just_come_when_the_drain_begins_may_ask_for_a_second() -> None:
    app = Answers()
    bench = Bench(app)
    silent = bench.connect()
    bench.edge.drain()
    bench.clock.pass_ms(900, 50)
    assert not (silent.is_closing() or bench.transport.is_closing())
    bench.feed(GET)
    app.got[0].respond(200, b"", b"")
    assert [answer.fields["connection"] for answer in read_answers(bench.transport.sent)] == ["close"]
    bench.clock.pass_ms(200, 50)
    assert (silent.is_closing(), silent.sent) == (True, b"")
    bench.over(silent)


def test_a_stream_that_began_before_the_drain_ends_and_closes() -> None:
    app = Answers()
    bench = Bench(app)
    bench.feed(GET)
    app.got[0].start(200, b"")
    app.got[0].write(b"x")
    bench.edge.drain()
    assert not bench.transport.is_closing()
    app.got[0].end(b"y")
    assert bench.transport.is_closing()
    assert read_answers(bench.transport.sent)[0].body == b"xy"
    bench.over()


def test_abort_all_breaks_every_connection() -> None:
    app = Answers()
    bench = Bench(app)
    idle = bench.connect()
    bench.feed(GET)
    bench.edge.abort_all()
    bench.loop.run()
    assert (bench.transport.aborted, idle.aborted, len(app.left)) == (True, True, 1)
    bench.over()


# -- applications that raise


def crash(_: Exchange) -> None:
    raise LookupError("of the application")


def test_an_application_that_raises_answers_500_and_the_loop_is_told() -> None:
    bench = Bench(crash)
    assert [answer.status for answer in read_answers(bench.feed(GET + GET))] == [500]
    assert isinstance(bench.loop.reports[0]["exception"], LookupError)
    bench.over(failures=1)


def test_an_application_that_raises_at_a_pipelined_request_ends_it_too() -> None:
    def app(exchange: Exchange) -> None:
        if exchange.body == b"2":
            crash(exchange)
        echo(exchange)

    bench = Bench(app)
    assert [answer.status for answer in read_answers(bench.feed(post(b"1") + post(b"2")))] == [200, 500]
    bench.over(failures=1)


def test_an_application_that_raises_in_its_answer_breaks_it_off() -> None:
    def app(exchange: Exchange) -> None:
        exchange.start(200, b"")
        exchange.write(b"x")
        crash(exchange)

    bench = Bench(app)
    assert bench.feed(GET).endswith(b"1\r\nx\r\n")
    assert bench.transport.is_closing()
    bench.over(failures=1)


def test_an_application_that_raises_after_its_answer_harms_nobody() -> None:
    def app(exchange: Exchange) -> None:
        echo(exchange)
        crash(exchange)

    bench = Bench(app)
    assert [answer.status for answer in read_answers(bench.feed(GET + GET))] == [200, 200]
    bench.over(failures=2)


def test_on_head_that_raises_answers_500() -> None:
    def on_head(exchange: Exchange) -> bool:
        crash(exchange)
        return True

    bench = Bench(on_head=on_head)
    assert [answer.status for answer in read_answers(bench.feed(post(b"x")[:-1]))] == [500]
    bench.over(failures=1)


def test_a_refusal_that_raises_is_a_refusal_all_the_same() -> None:
    loop = FakeLoop()
    wheel = Wheel(loop.as_loop())

    def fail(status: int, reason: str, peer: str) -> tuple[bytes, bytes]:
        raise LookupError("of the refusal")

    edge = Edge(loop.as_loop(), wheel, echo, lambda _: True, fail, **BOUNDS)
    transport = FakeTransport(loop, cast(asyncio.Protocol, edge()))
    transport.connect()
    transport.feed(b"BAD\r\n\r\n")
    assert [(answer.status, answer.body) for answer in read_answers(transport.sent)] == [(400, b"")]
    assert len(loop.reports) == 1
    transport.lose()
    assert edge.connections == 0


def test_an_application_that_raises_over_a_socket() -> None:
    async def main() -> None:
        async with serving(crash, failures=2) as server:
            assert [answer.status for answer in read_answers(await server.ask(GET))] == [500]
            assert [answer.status for answer in read_answers(await server.ask(post(b"x") + GET))] == [500]

    run(main())


# -- sockets


def test_accepted_sockets_do_not_wait_to_fill_packets() -> None:
    """uvloop sees to that; were it to stop, small answers would wait 40 ms for a delayed ACK."""
    seen: list[int] = []
    edges: list[Edge] = []

    class Watch(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.set_protocol(cast(asyncio.BaseProtocol, edges[0]()))
            cast(EdgeConnection, transport.get_protocol()).connection_made(cast(asyncio.Transport, transport))

    async def main() -> None:
        async with serving() as server:
            edges.append(server.edge)
            other = await asyncio.get_running_loop().create_server(Watch, "127.0.0.1", 0)
            server.port = other.sockets[0].getsockname()[1]
            client = await server.client()
            await client.send(GET)
            assert (await client.answer()).status == 200
            other.close()

    run(main())
    assert seen == [1]


def test_tls_clients_are_served_and_can_read_a_refusal(tmp_path: Path) -> None:
    from tests.support.certificates import Authority

    authority = Authority("Test CA")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(*authority.issue("localhost").write(tmp_path))
    client_side = ssl.create_default_context(cadata=authority.pem.decode())

    async def main() -> None:
        async with serving(tls=(server_side, client_side), body_bytes=1_000) as server:
            client = await server.client()
            await client.send(post(b"x" * 900) + GET)
            assert (await client.answer()).body == b"POST /v1/x " + b"x" * 900
            assert (await client.answer()).body == b"GET / "
            await client.send(request(b"Content-Length: 1000000", line=POST_LINE))
            for _ in range(10):
                await client.send(b"x" * 10_000)
            assert (await client.answer()).status == 413
            client.close()
            big = await server.client()
            await big.send(post_chunked(b"y" * 500, b"z" * 500))
            assert (await big.answer()).status == 200

    run(main())


def test_ten_thousand_connections_leave_nothing_behind() -> None:
    app = Answers()
    bench = Bench(app)

    def come_and_go(times: int) -> None:
        for n in range(times):
            transport = bench.connect()
            transport.feed(post(b"x" * 100))
            if n % 2:
                app.got[-1].respond(200, b"", b"")
            transport.lose()
            app.got.clear()
            app.left.clear()
        bench.loop.run()
        gc.collect()

    come_and_go(100)
    objects = len(gc.get_objects())
    with traced() as grown_bytes:
        come_and_go(10_000)
        assert grown_bytes() < 100_000
    assert len(gc.get_objects()) - objects < 50
    bench.over()


def test_nothing_of_a_request_needs_the_garbage_collector() -> None:
    app = Answers()
    bench = Bench(app)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(200):
            transport = bench.connect()
            transport.feed(GET)
            app.got[0].respond(200, b"", b"")
            app.got.clear()
            transport.feed(GET)
            transport.lose()
            app.got.clear()
            app.left.clear()
            transport.protocol = cast(asyncio.Protocol, None)  # as uvloop does
        assert len(gc.get_objects()) - before < 50
    finally:
        gc.enable()
    bench.over()


# -- whatever clients, applications and sockets do, in whatever order

PIECES: list[tuple[bytes, int | None]] = [
    (GET, 200),
    (post(b"hello"), 200),
    (post(b"x" * 300), 200),
    (post_chunked(b"ab", b"c"), 200),
    (request(line=b"HEAD / HTTP/1.1"), 200),
    (request(b"Connection: close"), 200),
    (request(line=b"GET / HTTP/1.0"), 200),
    (b"BAD\r\n\r\n", 400),
    (request(b"Content-Length: 5000", line=POST_LINE), 413),
]

step = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 400)),
    st.tuples(st.just("send"), st.just(100_000)),
    st.tuples(st.sampled_from(["loop", "eof", "lost", "block", "unblock", "drain"]), st.just(0)),
    st.tuples(st.just("loop"), st.just(0)),
    st.tuples(st.just("time"), st.integers(1, 200)),
    st.tuples(st.sampled_from(["respond", "start", "write", "end", "flush", "abort", "crash"]), st.integers(0, 200)),
    st.tuples(st.sampled_from(["respond", "end"]), st.just(3)),
)


@dataclass
class World:
    """One connection, its client's script and what its application was given."""

    at_once: bool
    agrees: bool
    given: list[Exchange] = field(default_factory=list)
    left: list[Exchange] = field(default_factory=list)

    def on_request(self, exchange: Exchange) -> None:
        assert not [e for e in self.given if not e.finished], "two requests of a connection at a time"
        exchange.on_disconnect = lambda: self.left.append(exchange)
        exchange.on_drain = lambda: None
        self.given.append(exchange)
        if self.at_once:
            exchange.respond(200, b"n: %d\r\n" % len(self.given), b"now")

    def on_head(self, exchange: Exchange) -> bool:
        if not self.agrees:
            exchange.respond(401, b"", b"no")
        return self.agrees

    def act(self, what: str, size: int) -> None:
        if not self.given:
            return
        exchange = self.given[-1]
        if what == "respond":
            exchange.respond(200, b"", b"r" * size)
        elif what == "start":
            exchange.start(200, b"")
        elif what == "write":
            exchange.write(b"w" * size)
        elif what == "end":
            exchange.end(b"e" * size)
        elif what == "flush":
            exchange.flush()
        else:
            exchange.abort()


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(range(len(PIECES))), min_size=1, max_size=8),
    st.lists(step, max_size=40),
    st.booleans(),
    st.booleans(),
)
def test_no_order_of_events_breaks_a_connection(
    pieces: list[int], script: list[tuple[str, int]], at_once: bool, agrees: bool
) -> None:
    world = World(at_once, agrees)
    bounds = {
        "head_bytes": 500,
        "body_bytes": 1_000,
        "head_ms": 100,
        "body_gap_ms": 100,
        "body_ms": 150,
        "body_bytes_per_s": 100_000,
        "idle_ms": 200,
        "write_ms": 100,
        "write_bytes_per_s": 100_000,
    }
    bench = Bench(world.on_request, world.on_head, half_close=True, **bounds)
    transport, edge = bench.transport, bench.edge
    raw = b"".join(PIECES[n][0] for n in pieces)
    for what, size in script:
        if what == "send" and not transport.reading_paused:
            if raw:
                transport.feed(raw[:size])
            raw = raw[size:]
        elif what == "loop":
            bench.loop.run()
        elif what == "eof":
            transport.feed_eof()
        elif what == "lost":
            transport.lose()
        elif what == "block":
            transport.block()
        elif what == "unblock":
            transport.unblock()
        elif what == "drain":
            edge.drain()
        elif what == "time":
            bench.clock.pass_ms(size)
        elif what != "send":
            world.act(what, size)
        unfinished = [exchange for exchange in world.given if not exchange.finished]
        assert len(unfinished) <= edge.in_flight <= 1
        assert edge.in_flight or edge.body_bytes == 0
        assert len(world.left) == len(set(map(id, world.left)))
    transport.unblock()
    if not transport.is_closing():  # left in peace, what waits is answered, and nothing is stuck
        for _ in range(20):
            bench.loop.run()
            if world.given and not world.given[-1].finished:
                world.given[-1].end(b"") if world.given[-1].started else world.given[-1].respond(200, b"", b"")
        assert not transport.reading_paused
    transport.lose()
    check_stream(transport.sent, world, pieces)
    bench.over()


def check_stream(raw: bytes, world: World, pieces: list[int]) -> None:
    """Answers stand in the order of the requests, each of a kind that its request may have, and at most one is broken off."""
    answers = 0
    while raw and answers < len(pieces) + 1:
        method = "HEAD" if answers < len(pieces) and PIECES[pieces[answers]][0].startswith(b"HEAD") else "GET"
        got = read_answer(raw, method)
        if got is None:
            break  # broken off: nothing follows
        assert got[0].status in (200, 400, 401, 408, 413)
        if world.at_once and got[0].status == 200:
            assert got[0].fields["n"] == str(answers + 1)
        answers, raw = answers + 1, got[1]
        if got[0].fields.get("connection") == "close":
            if method == "HEAD" and got[0].status == 408:  # its method had not come, or not whole
                raw = raw[int(got[0].fields["content-length"]) :]
            assert raw == b"", "behind the last answer nothing is sent"
    assert answers <= len(pieces) + 1


# -- on behalf of others


def test_the_values_of_a_field_that_repeats_come_in_order_whatever_its_case() -> None:
    seen: list[Exchange] = []

    def answer(exchange: Exchange) -> None:
        seen.append(exchange)
        told = exchange.values(b"x-forwarded-for")
        assert told == [b"1.2.3.4", b"5.6.7.8, 9.9.9.9"] and exchange.values(b"forwarded") == []
        assert exchange.client is None
        exchange.respond(200, JSON, b"")

    async def main() -> None:
        async with serving(answer) as server:
            asked = request(b"X-Forwarded-For: 1.2.3.4", b"x-other: 1", b"x-FORWARDED-for: 5.6.7.8, 9.9.9.9")
            await server.ask(asked + request(b"Connection: close", line=b"nonsense"))
        assert seen[0].values(b"x-forwarded-for") == [], "a request that was answered is read no more"

    run(main())
