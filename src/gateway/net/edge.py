"""The native edge: HTTP/1.1 and server-sent events, plain or TLS, in front of an application."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from _fastpath.edge import Edge, Exchange
from _fastpath.wheel import Wheel
from gateway.base.addresses import Networks
from gateway.base.node import Bounds, Node, ServerTimeouts
from gateway.net.cors import CrossOrigin
from gateway.net.forwarded import Forwarded, Handler

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


def edge_of_node(loop: asyncio.AbstractEventLoop, wheel: Wheel, application: Handler, node: Node) -> Edge:
    """The edge where applications ask. What the node does not configure is not there and costs nothing."""
    cross_origin = None
    if node.cors is not None:
        application = cross_origin = CrossOrigin(application, node.cors)
    if node.trusted_proxies is not None:
        trusted = node.trusted_proxies
        application = Forwarded(application, Networks(trusted.networks), trusted.header.encode())
    edge = native_edge(loop, wheel, application, node.bounds, node.timeouts)
    if cross_origin is not None:
        edge.refusal_fields = cross_origin.fields
    return edge


async def listen(
    loop: asyncio.AbstractEventLoop, edge: Edge, listener: socket.socket, tls: ssl.SSLContext | None = None
) -> asyncio.Server:
    """Accepts on a copy of `listener`, which stays the caller's."""
    protocol = cast("Callable[[], asyncio.Protocol]", edge)  # a protocol by its methods, not by its base
    return await loop.create_server(protocol, sock=listener.dup(), backlog=BACKLOG, ssl=tls)
