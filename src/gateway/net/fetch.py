"""One small request beside the traffic, on a connection of its own: for what a worker must ask others than providers.

It is made of what carries requests to providers: names are resolved off the loop, addresses are judged, TLS is verified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from _fastpath.http1 import ResponseHead
from _fastpath.upstream import UpstreamConnection
from _fastpath.wheel import Wheel, now_ns
from gateway.net.dial import Dialer
from gateway.net.pool import DialError


class FetchError(Exception):
    """There is no whole answer. The message says why."""


async def fetch(
    dial: Dialer,
    wheel: Wheel,
    method: str,
    url: str,
    *,
    headers: tuple[tuple[str, str], ...],
    body: bytes,
    within_ms: int,
    most_bytes: int,
) -> tuple[int, bytes]:
    """Status and body of the answer.

    Args:
        dial: opens a connection to the host of `url`.
        within_ms: of all of it, connecting included.
        most_bytes: of the answer's body.

    Raises:
        FetchError: no connection, no whole answer in time, or one that is too long.
    """
    made: list[UpstreamConnection] = []

    def make() -> UpstreamConnection:
        made.append(UpstreamConnection(wheel, _NoPool()))
        return made[-1]

    try:
        async with asyncio.timeout(within_ms / 1_000):
            await dial(cast("Callable[[], asyncio.BaseProtocol]", make))
            connection = made[-1]
            if not connection.idle:
                raise FetchError("the connection was closed at once")
            answer = _Answer(connection, most_bytes)
            deadline_ns = now_ns() + within_ms * 1_000_000
            connection.send(_request(method, url, headers, body), answer, method, within_ms, within_ms, deadline_ns)
            return await answer.done
    except DialError as error:
        refused = "its address is none that may be connected to for this" if error.kind == "address" else error.message
        raise FetchError(refused) from error
    except TimeoutError as error:
        raise FetchError(f"no whole answer within {within_ms / 1_000:g} s") from error
    finally:
        for connection in made:
            connection.close()


def _request(method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> bytes:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"{method} {target} HTTP/1.1",
        f"host: {parts.netloc}",
        "accept: application/json",
        "accept-encoding: identity",
        "user-agent: throughway",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers),
    ]
    if method == "POST":
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class _NoPool:
    """Where the connection would go back to."""

    def released(self, connection: UpstreamConnection) -> None:
        connection.close()

    def lost(self, connection: UpstreamConnection) -> None:
        """Its answer was told of that, if it was not whole."""


class _Answer:
    """Takes the answer as it arrives."""

    def __init__(self, connection: UpstreamConnection, most_bytes: int) -> None:
        self.done: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._most_bytes = most_bytes
        self._status = 0
        self._body = bytearray()

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        self._status = head.status
        self.on_data(body, True)

    def on_head(self, head: ResponseHead, more: bool) -> None:
        self._status = head.status

    def on_data(self, data: bytes, last: bool) -> None:
        if self.done.done():
            return
        self._body += data
        if len(self._body) > self._most_bytes:
            self._fail(f"the answer is longer than {self._most_bytes:,} bytes")
        elif last:
            self.done.set_result((self._status, bytes(self._body)))

    def on_error(self, kind: str, message: str) -> None:
        self._fail(message)

    def on_crash(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(FetchError(why))
