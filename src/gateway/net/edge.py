"""The native edge: HTTP/1.1 and server-sent events, plain or TLS, in front of an application."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from _fastpath.edge import Edge, Exchange
from _fastpath.wheel import Wheel
from gateway.base.node import Bounds, ServerTimeouts, Tls

BACKLOG = 4_096


class Application(Protocol):
    """What answers exchanges; see `_fastpath.edge.Edge`."""

    def on_request(self, exchange: Exchange, /) -> None: ...
    def on_head(self, exchange: Exchange, /) -> bool: ...
    def on_refusal(self, status: int, reason: str, peer: str, /) -> tuple[bytes, bytes]: ...


def native_edge(
    loop: asyncio.AbstractEventLoop, wheel: Wheel, application: Application, bounds: Bounds, timeouts: ServerTimeouts
) -> Edge:
    """The edge of one listener."""
    return Edge(
        loop,
        wheel,
        application.on_request,
        application.on_head,
        application.on_refusal,
        head_bytes=bounds.head_bytes,
        body_bytes=bounds.body_bytes,
        all_bodies_bytes=bounds.all_bodies_bytes,
        max_in_flight=bounds.in_flight,
        max_connections=bounds.connections,
        head_ms=timeouts.head_ms,
        body_gap_ms=timeouts.body_gap_ms,
        idle_ms=timeouts.idle_ms,
        write_ms=timeouts.write_ms,
    )


async def listen(
    loop: asyncio.AbstractEventLoop, edge: Edge, listener: socket.socket, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Accepts on a copy of `listener`, which stays the caller's."""
    protocol = cast("Callable[[], asyncio.Protocol]", edge)  # a protocol by its methods, not by its base
    return await loop.create_server(protocol, sock=listener.dup(), backlog=BACKLOG, ssl=tls)


def server_tls(tls: Tls | None) -> ssl.SSLContext | None:
    """Raises OSError or ssl.SSLError for a bad certificate or key."""
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.cert_file, tls.key_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
