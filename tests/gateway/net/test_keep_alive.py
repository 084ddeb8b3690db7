"""A provider that says when it closes idle connections is believed: nothing is sent into its closing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import uvloop

from _fastpath.http1 import ResponseHead
from _fastpath.upstream import UpstreamConnection
from _fastpath.wheel import Wheel, now_ns
from gateway.net.pool import CLOSE_BEFORE_MS, IDLE_MS, UpstreamPool

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%b\r\nok"


class Sink:
    """Asks once, and notes that the answer came."""

    cancelled = False

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.connection: UpstreamConnection | None = None
        self.deadline_ns = now_ns() + 5_000_000_000

    def on_connection(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
        connection.send(request, self, "POST", 5_000, 5_000, now_ns() + 5_000_000_000)

    def on_unavailable(self, kind: str, message: str) -> None:
        raise AssertionError((kind, message))

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        self.answered.set()

    def on_head(self, head: ResponseHead, more: bool) -> None: ...

    def on_data(self, data: bytes, last: bool) -> None:
        if last:
            self.answered.set()

    def on_error(self, kind: str, message: str) -> None:
        raise AssertionError((kind, message))

    def on_crash(self, error: Exception) -> None:
        raise error


async def ask(field: bytes) -> tuple[int, float]:
    """(what the connection was told, how long it then rested, in s; -1 where it still rests after two)."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop, tick_ms=10)
    wheel.start()
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER % field)
        await reader.read()  # the client's closing, not ours
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def dial(protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        await loop.create_connection(protocol, "127.0.0.1", port)

    pool = UpstreamPool("p", loop, wheel, dial, max_connections=4, warm_connections=0, connect_ms=1_000)
    sink = Sink()
    pool.wait(sink)
    async with asyncio.timeout(5):
        await sink.answered.wait()
    began = time.monotonic()
    assert sink.connection is not None
    told = sink.connection.keep_alive_ms
    try:
        async with asyncio.timeout(2):
            await gone.wait()
        rested = time.monotonic() - began
    except TimeoutError:
        rested = -1.0
    pool.close()
    server.close()
    await asyncio.sleep(0.05)
    wheel.close()
    return told, rested


@pytest.mark.parametrize(
    ("field", "told_ms", "rests_s"),
    [
        (b"Keep-Alive: timeout=2, max=100\r\n", 2_000, (2_000 - CLOSE_BEFORE_MS) / 1_000),
        (b"keep-alive: TIMEOUT=1\r\n", 1_000, 0.5),
        (b"keep-alive: max=100\r\n", 0, None),
        (b"keep-alive: timeout=soon\r\n", 0, None),
        (b"", 0, None),
    ],
)
def test_an_idle_connection_closes_before_its_provider_would(field: bytes, told_ms: int, rests_s: float | None) -> None:
    assert IDLE_MS > 2_000
    told, rested = uvloop.run(ask(field))
    assert told == told_ms
    if rests_s is None:
        assert rested == -1.0
    else:
        assert rests_s - 0.05 <= rested <= rests_s + 0.8
