"""What the Granian edge relies on and Granian does not promise. A version that breaks one of these must not be taken."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import uvloop

from _fastpath.wheel import Wheel
from gateway.base.node import Address, Bounds, Http2, ServerTimeouts, Tls
from gateway.base.ports import Exchange
from gateway.net.edge import BACKLOG
from gateway.net.granian_edge import GranianEdge
from gateway.net.relay import PATIENCE
from tests.support.certificates import Authority
from tests.support.http2_client import Http2Client

WAIT_S = 5.0


class Application:
    """Keeps exchanges, answers by their path, and notes who has left."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.taken: list[str] = []
        self.kept: list[Exchange] = []
        self.drained = 0

    def on_head(self, _: Exchange) -> bool:
        return True

    def on_refusal(self, _: int, reason: str, __: str) -> tuple[bytes, bytes]:
        return b"", reason.encode()

    def on_request(self, exchange: Exchange) -> None:
        path = exchange.path
        self.taken.append(path)
        exchange.on_disconnect = lambda: self.left.append(path)
        if path.startswith("/wait"):
            self.kept.append(exchange)
            return
        if path == "/who":
            exchange.respond(200, b"", (exchange.client or exchange.peer.rpartition(":")[0]).encode())
            return
        exchange.start(200, b"content-type: text/event-stream\r\n")
        exchange.write(b"begun")
        if path == "/broken":
            exchange.abort()
        elif path == "/endless":
            self._fill(exchange)

    def _fill(self, exchange: Exchange) -> None:
        def go_on() -> None:
            self.drained += 1
            self._fill(exchange)

        exchange.on_drain = go_on
        while exchange.write(b"x" * 16_384):
            pass


class Running:
    """The edge on a loop and thread of its own, on a socket that stays the test's."""

    def __init__(self, timeouts: ServerTimeouts | None = None, **speaks: Any) -> None:
        self.timeouts = timeouts or ServerTimeouts()
        self.speaks = speaks
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.application = Application()
        self.failures: list[str] = []
        self.events: list[Any] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: uvloop.run(self._main()), daemon=True
        )  # one that hangs fails its test alone

    def __enter__(self) -> Running:
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        self.listener.close()
        assert not self._thread.is_alive()

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        wheel = Wheel(self.loop)
        wheel.start()
        self.edge = GranianEdge(
            self.application,
            self.listener,
            wheel=wheel,
            http2=Http2(Address(), **self.speaks),
            bounds=Bounds(connections=64),
            timeouts=self.timeouts,
            report=lambda *event, **_: self.events.append(event),
            on_failure=self.failures.append,
        )
        self._ready.set()
        await self._stop.wait()
        self.edge.drain()
        self.edge.abort_all()
        await asyncio.sleep(0.2)
        wheel.close()
        assert self.edge.connections == 0

    def until(self, true: Callable[[], bool], what: str) -> None:
        async def poll() -> None:
            async with asyncio.timeout(WAIT_S):
                while not true():  # noqa: ASYNC110 - the test's own state
                    await asyncio.sleep(0.005)

        try:
            asyncio.run_coroutine_threadsafe(poll(), self.loop).result(WAIT_S + 1)
        except TimeoutError:
            raise AssertionError(f"not within {WAIT_S} s: {what}") from None


def test_the_version_is_one_that_was_looked_at() -> None:
    major, minor, patch = map(int, version("granian").split("."))
    assert (major, minor) == (2, 8) and patch >= 7, "2.8.1 told no stream that was reset before its answer"


def test_a_stream_that_is_reset_before_its_answer_is_told_and_no_other() -> None:
    with Running() as running, Http2Client(running.port) as client:
        first, _second = (client.request(f"/wait-{n}", method="GET") for n in (1, 2))
        running.until(lambda: len(running.application.taken) == 2, "both are taken")
        client.reset(first)
        running.until(lambda: running.application.left == ["/wait-1"], "the one that was reset has left")
        assert running.edge.in_flight == 1


def test_every_stream_of_a_connection_that_closes_is_told() -> None:
    with Running() as running:
        with Http2Client(running.port) as client:
            for n in range(20):
                client.request(f"/wait-{n}", method="GET")
            running.until(lambda: running.edge.in_flight == 20, "all are taken")
        running.until(lambda: len(running.application.left) == 20, "all have left")


def test_an_answer_that_breaks_off_resets_its_stream_and_no_other() -> None:
    with Running() as running, Http2Client(running.port) as client:
        other = client.request("/wait", method="GET")
        broken = client.answer(client.request("/broken", method="GET"))
        assert not broken.ended and broken.reset is not None
        assert client.open and not client.streams[other].over
        assert running.events == [], "and nothing is logged of it"


def test_an_answer_that_breaks_off_over_http1_has_no_end() -> None:
    with Running() as running, socket.create_connection(("127.0.0.1", running.port), timeout=WAIT_S) as connection:
        connection.sendall(b"GET /broken HTTP/1.1\r\nhost: h\r\n\r\n")
        seen = b""
        while part := connection.recv(65_536):
            seen += part
    assert seen.startswith(b"HTTP/1.1 200 ") and not seen.endswith(b"0\r\n\r\n")


def test_what_a_client_does_not_take_is_not_sent() -> None:
    with Running() as running, Http2Client(running.port, takes=False) as client:
        number = client.request("/endless", method="GET")
        client.until(number, b"x" * 60_000)
        running.until(lambda: running.edge.in_flight == 1, "it is taken")
        seen = -1
        while seen != running.application.drained:
            seen = running.application.drained
            client.read(0.3)
        assert seen < 16, "64 KiB of the window, the server's buffers, and then no more"


def test_our_socket_stays_ours_and_its_copy_is_closed_while_connections_last() -> None:
    with Running() as running, Http2Client(running.port) as client:
        client.request("/wait", method="GET")
        running.until(lambda: running.edge.in_flight == 1, "it is taken")
        running.loop.call_soon_threadsafe(running.edge.drain)
        while not client.goaway:
            client.read()
        with (
            socket.create_connection(("127.0.0.1", running.port), timeout=WAIT_S),
            closing(running.listener.accept()[0]),
        ):
            pass  # a successor on the same socket takes what comes
        running.listener.close()

        def refused() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", running.port)) != 0

        running.until(refused, "nobody listens any more")
        assert running.edge.in_flight == 1 and running.edge.connections == 1


class Http1Client:
    """Asks who it is, on one connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)

    def ask(self, path: str = "/who") -> None:
        self.socket.sendall(b"GET %b HTTP/1.1\r\nhost: h\r\n\r\n" % path.encode())

    def answer(self) -> bytes:
        seen = b""
        while b"127.0.0.1" not in seen:
            part = self.socket.recv(65_536)
            assert part, f"closed under the request: {seen!r}"
            seen += part
        return seen

    @property
    def closed(self) -> bool:
        return self.socket.recv(1) == b""


def test_whoever_retires_closes_no_connection_under_its_next_request() -> None:
    """HTTP/1.1 at rest, with a request under way, and new: each is answered once more, and told that this was the last one."""
    with Running() as running, ExitStack() as stack:
        resting, waiting, new = (Http1Client(running.port) for _ in range(3))
        for each in (resting, waiting, new):
            stack.enter_context(closing(each.socket))
        resting.ask()
        assert b"connection: close" not in resting.answer()
        waiting.ask("/wait")
        running.until(lambda: running.application.taken[-1:] == ["/wait"], "it was asked")
        running.until(lambda: running.edge.connections == 3, "the third has come")
        running.loop.call_soon_threadsafe(running.edge.retire)
        time.sleep(0.5)
        for each in (resting, new):
            each.ask()
            assert b"connection: close" in each.answer() and each.closed
        running.loop.call_soon_threadsafe(running.application.kept[0].respond, 200, b"", b"127.0.0.1")
        assert b"connection: close" in waiting.answer() and waiting.closed


def test_who_rests_when_a_worker_retires_goes_when_its_time_is_over_and_no_later() -> None:
    timeouts = ServerTimeouts(head_ms=600)
    with Running(timeouts) as running, ExitStack() as stack:
        resting, new = (Http1Client(running.port) for _ in range(2))
        for each in (resting, new):
            stack.enter_context(closing(each.socket))
        resting.ask()
        resting.answer()
        began_s = time.monotonic()
        running.loop.call_soon_threadsafe(running.edge.retire)
        assert resting.closed and new.closed
        assert time.monotonic() - began_s > 0.3
        running.until(lambda: running.edge.connections == 0, "the worker may go")


def test_http2_is_told_to_go_once_nobody_could_lose_a_request_by_it() -> None:
    with Running() as running, ExitStack() as stack:
        resting = Http1Client(running.port)
        stack.enter_context(closing(resting.socket))
        resting.ask()
        resting.answer()
        client = stack.enter_context(Http2Client(running.port))
        running.until(lambda: running.edge.connections == 2, "both have come")
        running.loop.call_soon_threadsafe(running.edge.retire)
        client.read(0.5)
        assert not client.goaway
        assert client.answer(client.request("/who", method="GET")).status == 200
        resting.ask()
        assert b"connection: close" in resting.answer()
        client.read(WAIT_S)
        assert client.goaway


def test_a_server_that_ends_by_itself_is_a_failure() -> None:
    with Running() as running:
        running.loop.call_soon_threadsafe(running.edge._server.stop)
        running.until(lambda: bool(running.failures), "it is told")
        assert "ended by itself" in running.failures[0]


def test_a_bad_certificate_is_told_before_anything_is_served(tmp_path: Any) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises((OSError, ValueError), match="PEM"):
            GranianEdge(
                Application(),
                listener,
                wheel=Wheel(asyncio.get_running_loop()),
                http2=Http2(Address(), Tls(str(bad), str(bad))),
                bounds=Bounds(),
                timeouts=ServerTimeouts(),
                report=lambda *_, **__: None,
                on_failure=lambda _: None,
            )

    uvloop.run(main())


# -- what stands before Granian


V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n"
LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Test CA")


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> tuple[str, str]:
    return authority.issue("127.0.0.1").write(tmp_path)


def over_http2(authority: Authority, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
    """A caller's context."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context


def who(port: int, tls: ssl.SSLContext | None = None, before: bytes = b"") -> bytes:
    with Http2Client(port, tls, before=before) as client:
        answer = client.answer(client.request("/who", method="GET"))
        if not answer.ended:
            raise ConnectionResetError("the connection ended before the answer")
        return answer.body


def test_the_caller_is_the_other_end_of_the_connection() -> None:
    with Running() as running:
        assert who(running.port) == b"127.0.0.1"


@pytest.mark.parametrize("tls", [False, True])
def test_a_proxy_header_names_the_caller_before_tls_or_without(
    tls: bool, authority: Authority, pair: tuple[str, str]
) -> None:
    context = over_http2(authority) if tls else None
    with Running(tls=Tls(*pair) if tls else None, proxy_protocol=LOOPBACK) as running:
        assert who(running.port, context, V1) == b"203.0.113.7"
        with pytest.raises(OSError):
            who(running.port, context)
        assert running.events == [("warning", "proxy_header_refused")]


def test_without_trust_no_proxy_header_is_read() -> None:
    with Running() as running, pytest.raises(OSError):
        who(running.port, before=V1)


@pytest.mark.parametrize(("asked", "served"), [("required", {"good"}), ("optional", {"good", "none"})])
def test_callers_show_certificates_as_the_listener_asks(
    asked: Any, served: set[str], authority: Authority, pair: tuple[str, str], tmp_path: Path
) -> None:
    callers = Authority("Callers")
    (tmp_path / "callers.pem").write_bytes(callers.pem)
    shown = {
        "good": callers.issue("app").write(tmp_path, "good"),
        "stranger": Authority("Others").issue("app").write(tmp_path, "stranger"),
        "none": None,
    }
    found = set()
    with Running(tls=Tls(*pair, str(tmp_path / "callers.pem"), asked)) as running:
        for name, certificate in shown.items():
            with contextlib.suppress(OSError):
                assert who(running.port, over_http2(authority, certificate)) == b"127.0.0.1"
                found.add(name)
    assert found == served


def test_a_new_certificate_is_shown_to_new_connections_and_ends_no_other(
    authority: Authority, pair: tuple[str, str], tmp_path: Path
) -> None:
    with Running(tls=Tls(*pair)) as running, Http2Client(running.port, over_http2(authority)) as old:
        under_way = old.request("/endless", method="GET")
        fresh = authority.issue("127.0.0.1")
        fresh.write(tmp_path)
        assert running.edge.tls is not None and running.edge.tls.renew() == ""
        with Http2Client(running.port, over_http2(authority)) as new:
            assert new.certificate == ssl.PEM_cert_to_DER_cert(fresh.pem.decode()) != old.certificate
        assert old.answer(old.request("/who", method="GET")).status == 200
        assert old.open and not old.goaway and not old.streams[under_way].over


def test_connections_are_bounded_and_the_idle_ones_closed() -> None:
    """A word that begins no request keeps a connection from its first time-out, and pings only for so long."""
    with Running(ServerTimeouts(head_ms=1_000, idle_ms=150)) as running, ExitStack() as opened:
        busy = opened.enter_context(Http2Client(running.port))
        busy.request("/wait", method="GET")
        running.until(lambda: running.edge.in_flight == 1, "it is taken")
        silent = []
        while running.edge.connections < 64:
            silent.append(opened.enter_context(socket.create_connection(("127.0.0.1", running.port))))
            time.sleep(0.005)  # one that enters is counted twice for a turn of the loop
        with socket.create_connection(("127.0.0.1", running.port), timeout=WAIT_S) as late:
            assert late.recv(1) == b"", "one too many"
        running.until(lambda: running.edge.connections == 1, "who says nothing is closed")
        assert {each.recv(1) for each in silent} == {b""}
        chatty = opened.enter_context(Http2Client(running.port))
        begun = time.monotonic()
        while chatty.open:
            with contextlib.suppress(OSError):
                chatty.ping()
            chatty.read(0.05)
        assert 0.15 < time.monotonic() - begun < 0.15 * PATIENCE + 1
        assert busy.open and running.edge.in_flight == 1


def test_a_client_that_takes_too_little_is_dropped() -> None:
    timeouts = ServerTimeouts(write_ms=200, write_bytes_per_s=1_000_000)
    with Running(timeouts) as running, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.settimeout(WAIT_S)
        slow.connect(("127.0.0.1", running.port))
        slow.sendall(b"GET /endless HTTP/1.1\r\nhost: h\r\n\r\n")
        begun = time.monotonic()
        while running.edge.connections or not running.application.left:
            slow.recv(16)
            time.sleep(0.01)
            assert time.monotonic() - begun < WAIT_S


def test_nobody_else_on_the_machine_gets_past_the_gate() -> None:
    with Running() as running:
        names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if "/way-in" in line]
        ours = [name for name in names if not Path(name).exists()]
        assert ours, "the socket's name is gone"
        with socket.socket(socket.AF_UNIX) as stranger, pytest.raises(OSError):
            stranger.connect(ours[0])
        assert who(running.port) == b"127.0.0.1"
