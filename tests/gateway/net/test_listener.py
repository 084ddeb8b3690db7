"""The listener over real sockets and real TLS: behind proxies, with certificates of callers, and while its own are replaced."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest
import uvloop

from _fastpath.edge import Edge
from _fastpath.wheel import Wheel
from gateway.base.node import Address, Cors, Node, ServerTimeouts, Tls, TrustedProxies
from gateway.base.ports import Exchange
from gateway.codec.proxy_protocol import SIGNATURE_V2
from gateway.net import gate
from gateway.net.edge import behind_node, native_edge
from gateway.net.listener import Listener
from tests.support.certificates import Authority

T = TypeVar("T")
LOOPBACK = ("127.0.0.0/8",)
ELSEWHERE = ("192.0.2.0/24",)
GET = b"GET /who HTTP/1.1\r\nhost: x\r\n%b\r\n"
V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n"
V2 = SIGNATURE_V2 + struct.pack("!BBH", 0x21, 0x11, 15) + bytes([203, 0, 113, 7, 198, 51, 100, 1]) + b"\1\2\1\xbb\4\0\0"
LOCAL = SIGNATURE_V2 + struct.pack("!BBH", 0x20, 0, 0)


class Application:
    """Tells each caller who it is."""

    def on_request(self, exchange: Exchange) -> None:
        exchange.respond(
            200, b"content-type: text/plain\r\n", (exchange.client or exchange.peer.rpartition(":")[0]).encode()
        )

    def on_head(self, exchange: Exchange) -> bool:
        return True

    def on_refusal(self, status: int, reason: str, peer: str) -> tuple[bytes, bytes]:
        return b"x-peer: %b\r\n" % peer.encode(), reason.encode()


class Serving(NamedTuple):
    port: int
    listener: Listener
    edge: Edge
    events: list[dict[str, Any]]
    """What was reported."""

    @property
    def reasons(self) -> list[str]:
        return [event["reason"] for event in self.events]


def bound_to(at: str) -> socket.socket:
    """A socket that listens on an address, or on the path of a Unix socket."""
    if not at.startswith("/"):
        family = socket.AF_INET6 if ":" in at else socket.AF_INET
        return socket.create_server((at, 0), family=family, backlog=256, dualstack_ipv6=at == "::")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(at)
    listener.listen()
    return listener


@asynccontextmanager
async def serving(at: str = "127.0.0.1", **settings: Any) -> AsyncIterator[Serving]:
    """A listener of a node with these settings; at the end nothing of it is left."""
    loop = asyncio.get_running_loop()
    node = Node(listen=Address(port=0), **{"timeouts": ServerTimeouts(head_ms=5_000), **settings})
    wheel = Wheel(loop)
    wheel.start()
    events: list[dict[str, Any]] = []
    handler, refusal_fields = behind_node(Application(), node)
    edge = native_edge(loop, wheel, handler, node.bounds, node.timeouts)
    edge.refusal_fields = refusal_fields
    with bound_to(at) as bound:
        bound.setblocking(False)
        listener = Listener(
            loop,
            edge,
            bound,
            node,
            lambda level, event, **fields: events.append({"level": level, "event": event, **fields}),
        )
        await listener.open()
        try:
            yield Serving(0 if at.startswith("/") else bound.getsockname()[1], listener, edge, events)
        finally:
            listener.close()
            edge.abort_all()
            wheel.close()
            await asyncio.sleep(0.01)
            assert edge.connections == 0


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def bounded() -> T:
        loop, reports = asyncio.get_running_loop(), list[dict[str, Any]]()
        loop.set_exception_handler(lambda _, report: reports.append(report))
        async with asyncio.timeout(20):
            result = await main()
        assert reports == []
        return result

    return uvloop.run(bounded())


class Client:
    """A caller on one connection. `status`, `fields` and `body` are of the last answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.status = 0
        self.fields: dict[str, str] = {}
        self.body = b""

    async def ask(self, request: bytes = GET % b"") -> bytes:
        self.writer.write(request)
        return await self.read()

    async def read(self) -> bytes:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(head[0].split(" ")[1])
        self.fields = dict(line.split(": ", 1) for line in head[1:] if line)
        self.body = await self._reader.readexactly(int(self.fields.get("content-length", 0)))
        return self.body

    async def closed(self) -> bool:
        """Whether the other side has closed, without a byte."""
        try:
            return await self._reader.read(1) == b""
        except ConnectionError:
            return True

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context, server_hostname="localhost")

    @property
    def certificate(self) -> bytes:
        found: bytes = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found


@asynccontextmanager
async def calling(port: int, before: bytes = b"", tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """A connection that begins with `before`, then TLS."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        client.writer.write(before)
        if tls is not None:
            await client.start_tls(tls)
        yield client
    finally:
        client.writer.close()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Test CA")


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> tuple[str, str]:
    return authority.issue("localhost").write(tmp_path)


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """A caller's context."""
    return ssl.create_default_context(cadata=authority.pem.decode())


# -- PROXY


def test_without_trust_the_listener_is_the_loops_own_server() -> None:
    async def main() -> None:
        async with serving() as served, calling(served.port) as client:
            assert await client.ask() == b"127.0.0.1"
        async with serving() as served, calling(served.port, V1) as client:
            await client.read()
            assert client.status == 400

    run(main)


@pytest.mark.parametrize(("header", "caller"), [(V1, b"203.0.113.7"), (V2, b"203.0.113.7"), (LOCAL, b"127.0.0.1")])
@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize("cut", ["whole", "bytes", "with the request"])
def test_a_header_names_the_caller_in_clear_and_before_tls(
    header: bytes, caller: bytes, over_tls: bool, cut: str, pair: tuple[str, str], trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serving(proxy_protocol=LOOPBACK, tls=Tls(*pair) if over_tls else None) as served:
            async with calling(served.port) as client:
                pieces = [header] if cut != "bytes" else [bytes([byte]) for byte in header]
                if cut == "with the request":
                    pieces = [] if over_tls else [header + GET % b""]
                for piece in pieces:
                    client.writer.write(piece)
                    await asyncio.sleep(0.001)
                if over_tls and cut == "with the request":
                    assert await ask_in_one_segment(served.port, header, trusting) == caller
                    return
                if over_tls:
                    await client.start_tls(trusting)
                answer = client.read() if cut == "with the request" else client.ask()
                assert await answer == caller
                assert await client.ask() == caller, "of the connection, and so of each of its requests"
            assert served.events == []

    run(main)


async def ask_in_one_segment(port: int, header: bytes, context: ssl.SSLContext) -> bytes:
    """The header and the first bytes of TLS leave in one segment."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    before = header

    async def step(call: Callable[[], Any]) -> Any:
        nonlocal before
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                result = None
            writer.write(before + outgoing.read())
            before = b""
            if result is not None:
                return result
            incoming.write(await reader.read(65_536))

    def handshake() -> bool:
        tls.do_handshake()
        return True

    await step(handshake)
    await step(lambda: tls.write(GET % b""))
    answer: bytes = await step(lambda: tls.read(65_536))
    writer.close()
    return answer.rpartition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(("header", "caller"), [(V1, b"203.0.113.7"), (LOCAL, b"unix")])
def test_a_proxy_on_a_unix_socket_is_trusted_by_that_name(header: bytes, caller: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "s")
        for trusted, refused in ((("unix",), False), (LOOPBACK, True)):
            async with serving(path, proxy_protocol=trusted) as served:
                client = Client(*await asyncio.open_unix_connection(path))
                client.writer.write(header)
                if refused:
                    assert await client.closed() and "does not name" in served.reasons[0]
                else:
                    assert await client.ask() == caller
                client.writer.close()
            os.unlink(path)

    run(main)


def test_a_socket_of_both_families_knows_its_ipv4_callers_as_such() -> None:
    async def main() -> None:
        async with serving("::", proxy_protocol=LOOPBACK) as served:
            for header, caller in ((LOCAL, b"127.0.0.1"), (V1, b"203.0.113.7")):
                async with calling(served.port, header) as client:
                    assert await client.ask() == caller

    run(main)


REFUSED = [
    (LOOPBACK, GET % b"", True, "does not begin with a PROXY header"),
    (LOOPBACK, b"\x16\x03\x01", True, "does not begin with a PROXY header"),
    (LOOPBACK, b"PROXY TCP4 1.2.3.4\r\n", True, "two addresses"),
    (LOOPBACK, V2[:12] + b"\x21\x11\xff\xff", True, "4096 are taken"),
    (ELSEWHERE, V1 + GET % b"", False, "does not name"),
    (ELSEWHERE, V2 + GET % b"", False, "does not name"),
    (("unix",), V1 + GET % b"", False, "does not name"),
]


@pytest.mark.parametrize(("trusted", "sent", "is_trusted", "said"), REFUSED)
@pytest.mark.parametrize("over_tls", [False, True])
def test_who_must_send_a_header_and_does_not_and_who_must_not_and_does_are_refused(
    trusted: tuple[str, ...], sent: bytes, is_trusted: bool, said: str, over_tls: bool, pair: tuple[str, str]
) -> None:
    async def main() -> None:
        async with serving(proxy_protocol=trusted, tls=Tls(*pair) if over_tls else None) as served:
            async with calling(served.port, sent) as client:
                assert await client.closed()
            (event,) = served.events
            assert (event["level"], event["event"]) == ("warning", "proxy_header_refused")
            assert (event["peer"], event["trusted"]) == ("127.0.0.1", is_trusted)
            assert said in event["reason"]

    run(main)


@pytest.mark.parametrize("over_tls", [False, True])
def test_who_is_not_trusted_is_served_as_itself(
    over_tls: bool, pair: tuple[str, str], trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with (
            serving(proxy_protocol=ELSEWHERE, tls=Tls(*pair) if over_tls else None) as served,
            calling(served.port, tls=trusting if over_tls else None) as client,
        ):
            assert await client.ask() == b"127.0.0.1"
            assert served.events == []

    run(main)


def test_a_header_that_does_not_come_is_not_awaited_for_long() -> None:
    async def main() -> None:
        async with serving(proxy_protocol=LOOPBACK, timeouts=ServerTimeouts(head_ms=50)) as served:
            for sent in (b"", b"PROXY TCP4 ", V2[:20]):
                async with calling(served.port, sent) as client:
                    assert await client.closed()
            assert served.reasons == ["the PROXY header did not arrive in time"] * 3
        async with serving(proxy_protocol=ELSEWHERE, timeouts=ServerTimeouts(head_ms=50)) as served:
            async with calling(served.port) as client:
                assert await client.closed()
            assert served.events == []

    run(main)


def test_a_balancer_that_only_knocks_is_no_news_and_one_that_breaks_off_is() -> None:
    async def main() -> None:
        async with serving(proxy_protocol=LOOPBACK) as served:
            async with calling(served.port):
                pass
            reset = socket.create_connection(("127.0.0.1", served.port))
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reset.close()
            await asyncio.sleep(0.02)
            assert served.events == []
            async with calling(served.port, V1[:9]):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.02)
            assert served.reasons == ["the connection ended within the PROXY header"]

    run(main)


async def counted(served: Serving, count: int) -> None:
    while served.edge.connections != count:  # noqa: ASYNC110 - of others
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("tls", "proxied"), [(True, False), (False, True), (True, True)])
def test_who_has_not_entered_counts_from_the_moment_it_was_accepted(
    tls: bool, proxied: bool, pair: tuple[str, str], trusting: ssl.SSLContext
) -> None:
    """Neither a PROXY header, nor a handshake, nor a request: past the bound a newcomer is closed at once, until one is gone."""
    bounds = msgspec.structs.replace(Node().bounds, connections=6)
    settings: dict[str, Any] = {"tls": Tls(*pair) if tls else None, "proxy_protocol": LOOPBACK if proxied else ()}
    header, context = V1 if proxied else b"", trusting if tls else None

    async def main() -> None:
        async with serving(bounds=bounds, **settings) as served, calling(served.port, header, context) as first:
            await first.ask()
            silent = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(3)]
            begun = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
            for _, writer in begun:
                writer.write(header + b"\x16\x03\x01" if tls else header)  # a handshake begins, or a request does not
            await counted(served, 6)
            async with calling(served.port) as late:
                assert await late.closed()
            assert served.edge.refused_connections == 1
            await first.ask()
            for _, writer in (*silent[:2], *begun[:1]):
                writer.close()
            await counted(served, 3)
            async with calling(served.port, header, context) as next_one:
                await next_one.ask()
                assert (next_one.status, served.edge.connections) == (200, 4)
            for _, writer in (*silent, *begun):
                writer.close()
            await counted(served, 1)

    run(main)


def test_who_shakes_no_hands_is_gone_when_its_time_is(pair: tuple[str, str], trusting: ssl.SSLContext) -> None:
    async def main() -> None:
        async with serving(tls=Tls(*pair), timeouts=ServerTimeouts(head_ms=100)) as served:
            halves = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(20)]
            for _, writer in halves:
                writer.write(b"\x16\x03\x01")
            await counted(served, 20)
            await counted(served, 0)
            for _, writer in halves:
                writer.close()
            async with calling(served.port, tls=trusting) as client:
                await client.ask()

    run(main)


def test_who_waits_in_the_queue_as_the_listener_ends_is_taken_in(
    pair: tuple[str, str], trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serving(tls=Tls(*pair)) as served:
            listener = served.listener
            waiting = [asyncio.ensure_future(asyncio.open_connection("127.0.0.1", served.port)) for _ in range(3)]
            ending = asyncio.ensure_future(listener.take_the_last())
            for reader, writer in await asyncio.gather(*waiting):
                client = Client(reader, writer)
                await client.start_tls(trusting)
                await client.ask()
                assert client.status == 200
            await ending
            assert served.edge.connections == 3

    run(main)


def test_a_process_without_descriptors_rests_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "REST_S", 0.05)
    faults = [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError()]
    accept = socket.socket.accept

    def failing(self: socket.socket) -> Any:
        if faults:
            raise faults.pop(0)
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)

    async def main() -> None:
        async with serving(proxy_protocol=LOOPBACK) as served, calling(served.port, V1) as client:
            assert await client.ask() == b"203.0.113.7"
            (event,) = served.events
            assert (event["event"], event["error"]) == ("accept_failed", "Too many open files")

    run(main)


def test_a_closed_listener_accepts_nobody_and_its_connections_go_on() -> None:
    async def main() -> None:
        async with serving(proxy_protocol=LOOPBACK) as served, calling(served.port, V1) as client:
            await client.ask()
            async with calling(served.port) as silent:
                await asyncio.sleep(0.01)
                served.listener.close()
                served.listener.close()
                assert await silent.closed()
            async with calling(served.port, V1) as late:
                late.writer.write(GET % b"")
                assert await client.ask() == b"203.0.113.7"
                assert served.edge.connections == 1

    run(main)


def test_the_edges_bound_of_connections_holds_behind_the_gate() -> None:
    async def main() -> None:
        bounds = msgspec.structs.replace(Node().bounds, connections=1)
        async with serving(proxy_protocol=LOOPBACK, bounds=bounds) as served, calling(served.port, V1) as client:
            await client.ask()
            async with calling(served.port, V1) as other:
                assert await other.closed()
            assert served.edge.refused_connections == 1

    run(main)


def test_a_refusal_below_the_application_knows_the_caller() -> None:
    async def main() -> None:
        async with serving(proxy_protocol=LOOPBACK) as served, calling(served.port, V1) as client:
            await client.ask(b"nonsense\r\n\r\n")
            assert (client.status, client.fields["x-peer"]) == (400, "203.0.113.7")

    run(main)


# -- x-forwarded-for


def test_a_trusted_proxys_header_names_the_caller_of_each_request() -> None:
    async def main() -> None:
        async with serving(trusted_proxies=TrustedProxies(LOOPBACK)) as served, calling(served.port) as client:
            assert (
                await client.ask(GET % b"x-forwarded-for: 1.2.3.4\r\nX-Forwarded-For: 203.0.113.8\r\n")
                == b"203.0.113.8"
            )
            assert await client.ask(GET % b"x-forwarded-for: 203.0.113.9\r\n") == b"203.0.113.9"
            assert await client.ask(GET % b"forwarded: for=203.0.113.9\r\n") == b"127.0.0.1"
            assert await client.ask() == b"127.0.0.1"

    run(main)


def test_the_header_of_a_request_is_believed_by_the_address_that_the_connection_was_told_of() -> None:
    async def main() -> None:
        asked = GET % b"forwarded: for=192.0.2.9\r\n"
        for trusted, caller in ((("203.0.113.7",), b"192.0.2.9"), (LOOPBACK, b"203.0.113.7")):
            proxies = TrustedProxies(trusted, "forwarded")
            async with (
                serving(proxy_protocol=LOOPBACK, trusted_proxies=proxies) as served,
                calling(served.port, V1) as client,
            ):
                assert await client.ask(asked) == caller

    run(main)


# -- cross-origin requests


def test_what_the_edge_itself_refuses_can_be_read_by_the_page() -> None:
    async def main() -> None:
        cors = Cors(("https://app.example",))
        async with serving(cors=cors) as served:
            for fields, expected in (
                (b"origin: https://app.example\r\n", "https://app.example"),
                (b"origin: https://evil.example\r\n", None),
                (b"", None),
            ):
                async with calling(served.port) as client:
                    await client.ask(b"POST /who HTTP/1.1\r\nhost: x\r\n%bcontent-length: 99999999999\r\n\r\n" % fields)
                    assert client.status == 413
                    assert client.fields.get("access-control-allow-origin") == expected
                    assert client.fields["vary"] == "origin"
            async with calling(served.port) as client:
                await client.ask(GET % b"origin: https://app.example\r\n")
                await client.ask(b"GET /who HTTP/1.1\r\nhost: x\r\nbad field: 1\r\n\r\n")
                assert client.status == 400 and "access-control-allow-origin" not in client.fields

    run(main)


# -- certificates of callers


def caller_context(trusted: Authority, pair: tuple[str, str] | None, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=trusted.pem.decode())
    context.maximum_version = version
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("proxied", [False, True])
def test_a_caller_shows_a_certificate_of_the_right_authority_or_none_where_it_may(
    version: ssl.TLSVersion, proxied: bool, authority: Authority, pair: tuple[str, str], tmp_path: Path
) -> None:
    callers, others = Authority("Callers"), Authority("Others")
    ca = tmp_path / "callers.pem"
    ca.write_bytes(callers.pem)
    shown = {
        "good": callers.issue("app").write(tmp_path, "good"),
        "foreign": others.issue("app").write(tmp_path, "foreign"),
        "expired": callers.issue("app", expired=True).write(tmp_path, "expired"),
        "none": None,
    }
    header, trusted = (V1, LOOPBACK) if proxied else (b"", ())

    async def served_of(served: Serving) -> set[str]:
        found = set()
        for name, files in shown.items():
            try:
                async with calling(served.port, header, caller_context(authority, files, version)) as client:
                    await client.ask()
            except (OSError, asyncio.IncompleteReadError):
                continue
            found.add(name)
        return found

    async def main() -> None:
        for tls, expected in (
            (Tls(*pair, str(ca)), {"good"}),
            (Tls(*pair, str(ca), "required"), {"good"}),
            (Tls(*pair, str(ca), "optional"), {"good", "none"}),
        ):
            async with serving(tls=tls, proxy_protocol=trusted) as served:
                assert await served_of(served) == expected

    run(main)


# -- certificates that are replaced


def der(file: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(file).read_text())


@pytest.mark.parametrize("proxied", [False, True])
def test_a_new_certificate_is_shown_to_new_connections_and_disturbs_no_other(
    proxied: bool, authority: Authority, pair: tuple[str, str], trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    header, trusted = (V1, LOOPBACK) if proxied else (b"", ())

    async def renew(served: Serving) -> None:
        authority.issue("localhost").write(tmp_path)
        assert served.listener.tls is not None and await asyncio.to_thread(served.listener.tls.renew) == ""

    async def main() -> None:
        async with (
            serving(tls=Tls(*pair), proxy_protocol=trusted) as served,
            calling(served.port, header, trusting) as old,
        ):
            await old.ask()
            seen = {old.certificate}
            stopping, asked = asyncio.Event(), 0

            async def hammer() -> None:
                nonlocal asked
                while not stopping.is_set():
                    async with calling(served.port, header, trusting) as client:
                        await client.ask()
                        seen.add(client.certificate)
                        asked += 1

            callers = [asyncio.ensure_future(hammer()) for _ in range(4)]
            for _ in range(10):
                await asyncio.sleep(0.03)
                await renew(served)
            await asyncio.sleep(0.03)
            stopping.set()
            await asyncio.gather(*callers)  # none has failed
            assert asked > 20 and len(seen) > 5
            async with calling(served.port, header, trusting) as client:
                newest = await asyncio.to_thread(der, pair[0])
                assert client.certificate == newest != old.certificate
            await old.ask()
            assert old.status == 200

    run(main)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_that_was_opened_under_a_withdrawn_authority_is_not_resumed(
    version: ssl.TLSVersion, authority: Authority, pair: tuple[str, str], tmp_path: Path
) -> None:
    before, after = Authority("Before"), Authority("After")
    ca = tmp_path / "callers.pem"
    ca.write_bytes(before.pem)
    context = caller_context(authority, before.issue("app").write(tmp_path, "app"), version)

    def ask(port: int, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        raw = socket.create_connection(("127.0.0.1", port), timeout=5)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as connection:
            connection.sendall(GET % b"")
            if not connection.recv(1):
                raise ConnectionResetError
            return connection.session, connection.session_reused

    async def main() -> None:
        async with serving(tls=Tls(*pair, str(ca))) as served:
            session, _ = await asyncio.to_thread(ask, served.port, None)
            _, reused = await asyncio.to_thread(ask, served.port, session)
            assert reused, "while the authority stands, a session saves the handshake"
            ca.write_bytes(after.pem)
            assert served.listener.tls is not None and served.listener.tls.renew() == ""
            with pytest.raises(OSError):
                await asyncio.to_thread(ask, served.port, session)

    run(main)
