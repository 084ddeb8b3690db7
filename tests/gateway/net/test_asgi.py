"""Exchanges over ASGI: what reaches `send` for each way to answer, and what the edge refuses, waits for and gives up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from gateway.base.node import Bounds, ServerTimeouts
from gateway.base.ports import Exchange
from gateway.net.asgi import FREE_PARTS, PART_BYTES, WRITE_HIGH_BYTES, AsgiEdge, Message

BOUNDS = Bounds(head_bytes=4_096, body_bytes=100, all_bodies_bytes=150, in_flight=2)
TIMEOUTS = ServerTimeouts(body_gap_ms=50, write_ms=50)
Answer = Callable[[Exchange], Any]


class Application:
    """Answers with a function; refusals are told as they are."""

    def __init__(self, answer: Answer, on_head: Answer = lambda _: True) -> None:
        self.on_request = answer
        self.on_head = on_head
        self.refusals: list[tuple[int, str, str]] = []

    def on_refusal(self, status: int, reason: str, peer: str) -> tuple[bytes, bytes]:
        self.refusals.append((status, reason, peer))
        return b"x-refused: yes\r\n", reason.encode()


class Server:
    """One request, as an ASGI server would bring it; the client takes all, until `takes` is cleared."""

    def __init__(self, *messages: Message, **scope: Any) -> None:
        self.scope = {
            "type": "http",
            "http_version": "2",
            "method": "POST",
            "raw_path": b"/a%20b",
            "query_string": b"q=1",
            "client": ("10.0.0.1", "5"),
            "headers": [],
            **scope,
        }
        self._messages = list(messages)
        self.gone = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self.sent: list[Message] = []

    def receive(self) -> Awaitable[Message]:
        return asyncio.ensure_future(self._receive())

    async def _receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    def send(self, message: Message) -> Awaitable[None]:
        self.sent.append(message)
        return asyncio.ensure_future(self._taken()) if not self.takes.is_set() else asyncio.sleep(0)

    async def _taken(self) -> None:
        await self.takes.wait()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.sent[1:])

    @property
    def ended(self) -> bool:
        return len(self.sent) > 1 and not self.sent[-1]["more_body"]


def part(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def run(main: Coroutine[Any, Any, Any]) -> None:
    asyncio.run(asyncio.wait_for(main, 5))


def serve(server: Server, application: Application, edge: AsgiEdge | None = None) -> asyncio.Task[None]:
    edge = edge or AsgiEdge(application, BOUNDS, TIMEOUTS)
    return asyncio.ensure_future(edge(server.scope, server.receive, server.send))


def answered(
    answer: Answer, *messages: Message, on_head: Answer = lambda _: True, **scope: Any
) -> tuple[Server, Application]:
    """The server after a request that `answer` has answered."""
    made: list[tuple[Server, Application]] = []

    async def main() -> None:
        server, application = Server(*(messages or [part(b"{}")]), **scope), Application(answer, on_head)
        await serve(server, application)
        made.append((server, application))

    run(main())
    return made[0]


# -- answers


def test_a_request_is_what_the_scope_says() -> None:
    seen: list[Any] = []

    def answer(e: Exchange) -> None:
        seen.extend([e.method, e.path, e.query, e.body, e.peer, e.header(b"x-a"), e.header(b"x-b"), e.started])
        e.respond(200, b"a: b\r\n", b"fine")

    server, _ = answered(answer, part(b"{", more=True), part(b"}"), headers=[(b"x-a", b"1"), (b"x-a", b"2")])
    assert seen == ["POST", "/a%20b", b"q=1", b"{}", "10.0.0.1:5", b"1", None, False]
    assert (server.status, server.body, server.ended) == (200, b"fine", True)
    assert server.headers == {b"a": b"b", b"content-length": b"4", b"server": b"throughway"}


CREDENTIALS: dict[str, tuple[list[tuple[bytes, bytes]], bytes | None]] = {
    "none": ([], None),
    "bearer": ([(b"authorization", b"bearer k ")], b"k"),
    "basic": ([(b"authorization", b"Basic k")], b""),
    "x-api-key": ([(b"x-api-key", b"k")], b"k"),
    "two-alike": ([(b"authorization", b"Bearer k"), (b"api-key", b"k")], b"k"),
    "two": ([(b"x-goog-api-key", b"j"), (b"api-key", b"k")], b""),
}


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_credential_is_found_wherever_it_may_stand(name: str) -> None:
    headers, expected = CREDENTIALS[name]
    found: list[bytes | None] = []

    def answer(e: Exchange) -> None:
        found.append(e.credential())
        e.respond(200, b"", b"")

    answered(answer, headers=headers)
    assert found == [expected]


@pytest.mark.parametrize(
    ("more", "plain"),
    [
        ([], True),
        ([(b"x-other", b"1")], True),
        ([(b"traceparent", b"1")], False),
        ([(b"content-encoding", b"gzip")], False),
        ([(b"x-throughway-tags", b"1")], False),
    ],
)
def test_a_plain_request_has_no_field_that_would_change_its_handling(more: list[Any], plain: bool) -> None:
    found: list[bool] = []

    def answer(e: Exchange) -> None:
        found.append(e.plain)
        e.respond(200, b"", b"")

    answered(answer, headers=[(b"content-type", b"application/json"), *more])
    answered(answer, headers=[(b"content-type", b"application/json; charset=utf-8"), *more])
    assert found == [plain, False]


def streamed(e: Exchange) -> None:
    e.start(200, b"a: b\r\n")
    e.write(b"one ")
    e.end(b"two")


def sized(e: Exchange) -> None:
    e.start(200, b"", 3)
    e.end(b"two")


def broken(e: Exchange) -> None:
    e.start(200, b"")
    e.write(b"one")
    e.abort()


def broken_at_once(e: Exchange) -> None:
    e.start(200, b"")
    e.abort()


def twice(e: Exchange) -> None:
    e.respond(200, b"", b"first")
    e.respond(500, b"", b"second")
    e.start(500, b"")
    e.write(b"third")
    e.end()
    e.abort()


ANSWERS: dict[str, tuple[Answer, str, int, bytes, bool, bytes | None]] = {
    # answer, method, status, body, ended, content-length
    "whole": (lambda e: e.respond(404, b"", b"none"), "POST", 404, b"none", True, b"4"),
    "large": (lambda e: e.respond(200, b"", b"x" * 100_000), "POST", 200, b"x" * 100_000, True, b"100000"),
    "empty": (lambda e: e.respond(200, b"", b""), "POST", 200, b"", True, b"0"),
    "no-content": (lambda e: e.respond(204, b"", b"x"), "POST", 204, b"", True, None),
    "head": (lambda e: e.respond(200, b"", b"none"), "HEAD", 200, b"", True, b"4"),
    "streamed": (streamed, "POST", 200, b"one two", True, None),
    "streamed-head": (streamed, "HEAD", 200, b"", True, None),
    "sized": (sized, "POST", 200, b"two", True, b"3"),
    "broken": (broken, "POST", 200, b"one", False, None),
    "broken-at-once": (broken_at_once, "POST", 200, b"", False, None),
    "twice": (twice, "POST", 200, b"first", True, b"5"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_each_way_to_answer(name: str) -> None:
    answer, method, status, body, ended, length = ANSWERS[name]
    server, _ = answered(answer, method=method)
    assert (server.status, server.body, server.ended) == (status, body, ended)
    assert server.headers.get(b"content-length") == length
    assert max(len(m["body"]) for m in server.sent[1:]) <= PART_BYTES


def longer(e: Exchange) -> None:
    e.start(200, b"", 3)
    e.write(b"four")


def shorter(e: Exchange) -> None:
    e.start(200, b"", 3)
    e.end(b"2!")


def raises(_: Exchange) -> None:
    raise KeyError("a mistake")


@pytest.mark.parametrize(
    ("answer", "status", "ended"), [(longer, 200, False), (shorter, 200, False), (raises, 500, True)]
)
def test_a_mistake_of_the_application_ends_its_request_loudly(answer: Answer, status: int, ended: bool) -> None:
    reported: list[Any] = []
    made: list[Server] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        server = Server(part(b"{}"))
        await serve(server, Application(answer))
        made.append(server)

    run(main())
    assert len(reported) == 1 and isinstance(reported[0], RuntimeError | KeyError)
    assert (made[0].status, made[0].ended) == (status, ended)


def test_a_head_leaves_alone_when_it_is_flushed() -> None:
    async def main() -> None:
        server, held = Server(part(b"{}")), []

        def answer(e: Exchange) -> None:
            held.append(e)
            e.start(200, b"")

        task = serve(server, Application(answer))
        await asyncio.sleep(0.01)
        assert server.sent == []
        held[0].flush()
        await asyncio.sleep(0.01)
        assert [m["type"] for m in server.sent] == ["http.response.start", "http.response.body"]
        held[0].end(b"x")
        await task
        assert server.body == b"x" and server.ended

    run(main())


# -- a client that does not take, and one that leaves


def test_a_full_buffer_says_stop_and_an_emptied_one_says_go_on() -> None:
    async def main() -> None:
        server, held, drained = Server(part(b"{}")), [], []

        def answer(e: Exchange) -> None:
            held.append(e)
            e.on_drain = lambda: drained.append(True)
            e.start(200, b"")

        application = Application(answer)
        edge = AsgiEdge(application, BOUNDS, ServerTimeouts(write_ms=5_000))
        task = serve(server, application, edge)
        await asyncio.sleep(0.01)
        server.takes.clear()
        exchange = held[0]
        assert exchange.write(b"x" * WRITE_HIGH_BYTES)
        assert not exchange.write(b"x")
        assert not exchange.write(b"x"), "until it was emptied"
        await asyncio.sleep(0.01)
        assert not drained and len(server.body) <= PART_BYTES
        server.takes.set()
        await asyncio.sleep(0.01)
        assert drained == [True] and len(server.body) == WRITE_HIGH_BYTES + 2
        assert exchange.write(b"y")
        exchange.end()
        await task
        assert server.ended and edge.in_flight == 0

    run(main())


def test_a_client_that_takes_nothing_has_left() -> None:
    async def main() -> None:
        server, left = Server(part(b"{}")), []

        def answer(e: Exchange) -> None:
            e.on_disconnect = lambda: left.append(True)
            e.start(200, b"")
            e.write(b"x")

        server.takes.clear()
        await serve(server, Application(answer))
        assert left == [True] and not server.ended

    run(main())


def test_leaving_is_told_once_and_not_after_the_answer() -> None:
    async def main() -> None:
        server, held, left = Server(part(b"{}")), [], []

        def answer(e: Exchange) -> None:
            held.append(e)
            e.on_disconnect = lambda: left.append(True)

        task = serve(server, Application(answer))
        await asyncio.sleep(0.01)
        server.gone.set()
        await task
        assert left == [True] and server.sent == []
        held[0].respond(200, b"", b"too late")
        held[0].abort()
        assert left == [True] and server.sent == []

        def answer_at_once(e: Exchange) -> None:
            answer(e)
            e.respond(200, b"", b"")

        late = Server(part(b"{}"))
        late.gone.set()
        await serve(late, Application(answer_at_once))
        assert left == [True]

    run(main())


def test_a_cut_tells_every_application_and_ends_no_answer() -> None:
    async def main() -> None:
        left: list[Exchange] = []

        def answer(e: Exchange) -> None:
            e.on_disconnect = lambda: left.append(e)
            e.start(200, b"")
            e.write(b"x")

        application = Application(answer)
        edge = AsgiEdge(application, BOUNDS, TIMEOUTS)
        servers = [Server(part(b"{}")) for _ in range(2)]
        tasks = [serve(s, application, edge) for s in servers]
        await asyncio.sleep(0.01)
        assert (edge.in_flight, edge.body_bytes) == (2, 4)
        refused = Server(part(b"{}"))
        await serve(refused, application, edge)
        assert refused.status == 503
        edge.abort_all()
        assert len(left) == 2
        await asyncio.gather(*tasks)
        assert (edge.in_flight, edge.body_bytes) == (0, 0)
        assert not any(s.ended for s in servers)

    run(main())


# -- what is refused

JSON = (b"content-type", b"application/json")
REFUSED: dict[str, tuple[int, dict[str, Any], list[Message]]] = {
    "announced-too-large": (413, {"headers": [(b"content-length", b"101")]}, []),
    "too-large": (413, {}, [part(b"x" * 60, more=True), part(b"x" * 60)]),
    "gap": (408, {}, [part(b"x", more=True)]),
    "gap-before-any": (408, {"headers": [(b"content-length", b"5")]}, []),
    "bad-chunk": (
        400,
        {"http_version": "1.1", "headers": [(b"host", b"h"), (b"transfer-encoding", b"chunked")]},
        [part(b"x", more=True), {"type": "http.disconnect"}],
    ),
    "cut-body": (
        400,
        {"http_version": "1.1", "headers": [(b"host", b"h"), (b"content-length", b"5")]},
        [part(b"x", more=True), {"type": "http.disconnect"}],
    ),
    "no-host": (400, {"http_version": "1.1", "headers": [(b"host", b"")]}, []),
    "two-hosts": (400, {"http_version": "1.1", "headers": [(b"host", b"a"), (b"host", b"b")]}, []),
    "two-types": (400, {"headers": [JSON, JSON]}, []),
    "host": (400, {"http_version": "1.1", "headers": [(b"host", b"h/a")]}, []),
    "host-port": (400, {"http_version": "1.1", "headers": [(b"host", b"h:65536")]}, []),
    "host-ipv6": (400, {"http_version": "1.1", "headers": [(b"host", b"[::g]")]}, []),
    "no-form": (400, {"http_version": "1.1", "headers": [(b"host", b"h")], "raw_path": b"*"}, []),
    "authority": (400, {"http_version": "1.1", "headers": [(b"host", b"h")], "raw_path": b""}, []),
    "target-bytes": (400, {"http_version": "1.1", "headers": [(b"host", b"h")], "query_string": b"\xe4"}, []),
    "coding": (
        400,
        {"http_version": "1.1", "headers": [(b"host", b"h"), (b"transfer-encoding", b"gzip, chunked")]},
        [],
    ),
    "length": (400, {"headers": [(b"content-length", b"+5")]}, []),
    "digits": (400, {"headers": [(b"content-length", b"9" * 4_000)]}, []),
    "expectation": (417, {"headers": [(b"expect", b"miracles")]}, []),
    "version": (505, {"http_version": "1", "headers": [(b"host", b"h")]}, []),
    "tunnel": (501, {"method": "CONNECT", "raw_path": b""}, []),
    "target": (414, {"raw_path": b"/" * 9_000}, []),
    "fields": (431, {"headers": [(b"x-%d" % n, b"") for n in range(101)]}, []),
    "head": (431, {"headers": [(b"x", b"y" * 5_000)]}, []),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_never_becomes_a_request(name: str) -> None:
    status, scope, messages = REFUSED[name]
    made: list[tuple[Server, Application]] = []

    async def main() -> None:
        server, application = Server(*messages, **scope), Application(raises)
        begun = time.monotonic()
        await serve(server, application)
        assert time.monotonic() - begun < 1
        made.append((server, application))

    run(main())
    ((server, application),) = made
    assert [r[0] for r in application.refusals] == [status] == [server.status]
    assert server.ended and server.headers[b"x-refused"] == b"yes"
    http1 = scope.get("http_version", "2") != "2"
    assert (server.headers.get(b"connection") == b"close") == http1, "what comes next on it is not to be trusted"


def test_all_bodies_together_are_bounded() -> None:
    async def main() -> None:
        application = Application(lambda _: None)
        edge = AsgiEdge(application, BOUNDS, TIMEOUTS)
        first = serve(Server(part(b"x" * 90)), application, edge)
        await asyncio.sleep(0.01)
        second = Server(part(b"x" * 90))
        await serve(second, application, edge)
        assert second.status == 503 and edge.body_bytes == 90
        edge.abort_all()
        await first
        assert edge.body_bytes == 0

    run(main())


def test_a_body_that_nobody_wants_is_not_waited_for() -> None:
    def refuse(e: Exchange) -> bool:
        e.respond(401, b"", b"no")
        return False

    server, application = answered(raises, on_head=refuse, headers=[(b"content-length", b"5")])
    assert (server.status, server.body, application.refusals) == (401, b"no", [])


def test_a_body_that_was_not_announced_is_asked_for_too() -> None:
    asked: list[bool] = []

    def refuse(e: Exchange) -> bool:
        asked.append(True)
        e.respond(401, b"", b"no")
        return False

    server, _ = answered(raises, part(b"x", more=True), on_head=refuse, method="PUT")
    assert (server.status, asked) == (401, [True])
    server, _ = answered(lambda e: e.respond(200, b"", b""), part(b""), on_head=refuse, method="GET")
    assert (server.status, asked) == (200, [True]), "there is none to ask for"


def test_a_body_of_tiny_parts_is_whole() -> None:
    bodies: list[bytes] = []

    def answer(e: Exchange) -> None:
        bodies.append(e.body)
        e.respond(200, b"", b"")

    answered(answer, *(part(b"%d" % (n % 10), more=n < 99) for n in range(100)))
    assert bodies == [b"0123456789" * 10]


def dripping(server: Server, data: bytes, every_s: float, count: int) -> None:
    """The client sends its body so."""

    async def receive() -> Message:
        nonlocal count
        await asyncio.sleep(every_s)
        count -= 1
        return part(data, more=count > 0)

    server.receive = lambda: asyncio.ensure_future(receive())  # type: ignore[method-assign]


@pytest.mark.parametrize(("data", "status"), [(b"x", 408), (b"x" * 10, 200)], ids=["too slow", "fast enough"])
def test_a_body_has_its_time_in_all_by_its_bytes(data: bytes, status: int) -> None:
    timeouts = ServerTimeouts(body_gap_ms=1_000, body_ms=60, body_bytes_per_s=500)

    async def main() -> None:
        server, application = Server(), Application(lambda e: e.respond(200, b"", b""))
        dripping(server, data, 0.01, 10)
        await serve(server, application, AsgiEdge(application, BOUNDS, timeouts))
        assert server.status == status
        assert bool(application.refusals) == (status == 408)

    run(main())


def test_a_body_in_too_many_small_parts_is_refused() -> None:
    bounds = Bounds(body_bytes=1_000_000)

    async def main(size: int, count: int, status: int) -> None:
        server = Server(*(part(b"x" * size, more=n < count - 1) for n in range(count)))
        server.receive = server._receive  # type: ignore[method-assign]
        application = Application(lambda e: e.respond(200, b"", b""))
        await serve(server, application, AsgiEdge(application, bounds, ServerTimeouts()))
        assert server.status == status

    run(main(1, FREE_PARTS, 200))
    run(main(1, FREE_PARTS + 100, 400))
    run(main(30, FREE_PARTS + 100, 200))


def test_a_client_that_leaves_while_it_sends_is_forgotten() -> None:
    server, application = answered(raises, part(b"x", more=True), {"type": "http.disconnect"})
    assert server.sent == [] and application.refusals == []


def test_websocket_is_refused_and_a_lifespan_is_a_mistake() -> None:
    async def main() -> None:
        application = Application(raises)
        socket = Server({"type": "websocket.connect"}, type="websocket")
        await serve(socket, application)
        assert [m["type"] for m in socket.sent] == ["websocket.http.response.start", "websocket.http.response.body"]
        assert socket.status == 501 and b"WebSocket" in socket.sent[1]["body"]
        with pytest.raises(ValueError, match="lifespan"):
            await serve(Server(type="lifespan"), application)

    run(main())


def test_an_endless_answer_to_who_has_left_lets_the_loop_hear_of_it() -> None:
    """A server takes at once what nobody will read: `send` is done before it is awaited."""

    def endless(exchange: Exchange) -> None:
        def fill() -> None:
            while exchange.write(b"x" * 16_384):
                pass

        exchange.on_drain = fill
        exchange.start(200, b"content-type: text/event-stream\r\n")
        fill()

    class Careless(Server):
        def send(self, message: Message) -> Awaitable[None]:
            self.sent.append(message)
            assert len(self.sent) < 100_000, "the loop has had no turn"
            return Done()

    class Done:
        def __await__(self) -> Generator[None, None, None]:
            yield from ()

    async def main() -> None:
        server = Careless(part(b"{}"))
        serving = serve(server, Application(endless))
        asyncio.get_running_loop().call_later(0.1, server.gone.set)
        await serving

    run(main())
