"""The native edge: HTTP/1.1 and server-sent events, plain or TLS, in front of an application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

from _fastpath.edge import Edge, Exchange
from _fastpath.wheel import Wheel
from gateway.base.addresses import Networks
from gateway.base.node import Bounds, Node, ServerTimeouts
from gateway.net.cors import CrossOrigin
from gateway.net.forwarded import Forwarded, Handler

BACKLOG = 4_096

RefusalFields = Callable[[bytes | None], bytes]
"""Header lines that are added to the refusal of a request of that `origin`."""


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
        body_ms=timeouts.body_ms,
        body_bytes_per_s=timeouts.body_bytes_per_s,
        idle_ms=timeouts.idle_ms,
        write_ms=timeouts.write_ms,
        write_bytes_per_s=timeouts.write_bytes_per_s,
    )


def behind_node(application: Handler, node: Node) -> tuple[Handler, RefusalFields | None]:
    """What the node puts before the application, and what it adds to refusals; what it does not configure costs nothing."""
    cross_origin = None
    if node.cors is not None:
        application = cross_origin = CrossOrigin(application, node.cors)
    if node.trusted_proxies is not None:
        trusted = node.trusted_proxies
        application = Forwarded(application, Networks(trusted.networks), trusted.header.encode())
    return application, cross_origin.fields if cross_origin is not None else None


class RunningEdge(Protocol):
    """An edge that accepts on its listener until it is drained."""

    @property
    def in_flight(self) -> int:
        """Requests taken and not yet answered."""

    @property
    def connections(self) -> int:
        """Accepted sockets, also those whose PROXY header or TLS handshake is under way."""

    @property
    def body_bytes(self) -> int:
        """Of request bodies that it holds."""

    def announce(self) -> None:
        """From now on answers tell their callers to connect anew, where the protocol has a word for that."""

    def retire(self) -> None:
        """As `announce`, and accepts no more: another worker does. Nobody is closed who may be about to ask."""

    async def take_the_last(self) -> None:
        """Accepts no more but who has connected already: to be drained next."""

    def drain(self) -> None:
        """Accepts no more, closes connections without a request, and the others when their answer has ended."""

    def abort_all(self) -> None:
        """Breaks off what is left; each request is accounted for."""


async def listen(loop: asyncio.AbstractEventLoop, edge: Edge, listener: socket.socket) -> asyncio.Server:
    """Accepts on a copy of `listener`, which stays the caller's."""
    protocol = cast("Callable[[], asyncio.Protocol]", edge)  # a protocol by its methods, not by its base
    return await loop.create_server(protocol, sock=listener.dup(), backlog=BACKLOG)


async def connect(loop: asyncio.AbstractEventLoop, edge: Edge, connection: socket.socket) -> None:
    """Takes in a connection that was accepted elsewhere; returns when it stands. Raises OSError."""
    await loop.connect_accepted_socket(cast("Callable[[], asyncio.Protocol]", edge), connection)
