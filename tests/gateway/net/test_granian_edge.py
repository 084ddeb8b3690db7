"""What the Granian edge relies on and Granian does not promise. A version that breaks one of these must not be taken."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from typing import Any

import pytest
import uvloop

from gateway.base.node import Bounds, ServerTimeouts
from gateway.base.ports import Exchange
from gateway.net.edge import BACKLOG
from gateway.net.granian_edge import GranianEdge
from tests.support.http2_client import Http2Client

WAIT_S = 5.0


class Application:
    """Keeps exchanges, answers by their path, and notes who has left."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.taken: list[str] = []
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

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.port = self.listener.getsockname()[1]
        self.application = Application()
        self.failures: list[str] = []
        self.events: list[Any] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._main()))

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
        self.edge = GranianEdge(
            self.application,
            self.listener,
            tls=None,
            bounds=Bounds(connections=64),
            timeouts=ServerTimeouts(),
            report=lambda *event, **_: self.events.append(event),
            on_failure=self.failures.append,
        )
        self._ready.set()
        await self._stop.wait()
        self.edge.drain()
        self.edge.abort_all()
        await asyncio.sleep(0.2)

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


def test_a_server_that_ends_by_itself_is_a_failure() -> None:
    with Running() as running:
        running.loop.call_soon_threadsafe(running.edge._server.stop)
        running.until(lambda: bool(running.failures), "it is told")
        assert "ended by itself" in running.failures[0]


def test_a_bad_certificate_is_told_before_anything_is_served(tmp_path: Any) -> None:
    from gateway.base.node import Tls

    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(OSError, match="PEM"):
            GranianEdge(
                Application(),
                listener,
                tls=Tls(str(bad), str(bad)),
                bounds=Bounds(),
                timeouts=ServerTimeouts(),
                report=lambda *_, **__: None,
                on_failure=lambda _: None,
            )

    uvloop.run(main())
