"""The listener of a worker: accepts for the edge, by TLS where there are files for it, behind proxies where some are trusted.

Where neither is configured, this is the loop's own server and nothing more.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

from _fastpath.edge import Edge
from gateway.base.addresses import Networks
from gateway.base.node import Node
from gateway.net.edge import connect, listen
from gateway.net.proxy_gate import ProxyGate, Report
from gateway.net.tls import server_files


class Listener:
    """See the module.

    Args:
        listener: the socket, which stays the caller's.
        node: says what the listener speaks, and who is trusted.
        report: called as report(level, event, **fields).

    Raises:
        OSError, ValueError: the certificate, its key or the callers' authorities cannot be used.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        edge: Edge,
        listener: socket.socket,
        node: Node,
        report: Report,
    ) -> None:
        self._loop = loop
        self._edge = edge
        self._socket = listener
        self.tls = server_files(node.tls)
        """Renewed by its owner; see `take_up_tls`."""
        self._server: asyncio.Server | None = None
        self._context: ssl.SSLContext | None = None
        """Of the server."""
        self._gate: ProxyGate | None = None
        if node.proxy_protocol:
            trusted, header_s = Networks(node.proxy_protocol), node.timeouts.head_ms / 1_000
            self._gate = ProxyGate(loop, edge, listener, trusted, report, header_s=header_s, tls=self.tls)
        self._closed = False

    async def open(self) -> None:
        """Accepts from now on. Raises OSError."""
        if self._gate is not None:  # it takes the context for each connection
            self._gate.open()
            return
        context = self.tls.context if self.tls is not None else None
        server = await listen(self._loop, self._edge, self._socket, context)
        before, self._server = self._server, server
        self._context = context
        if before is not None:
            before.close()
        if self._closed:
            server.close()

    async def take_up_tls(self) -> None:
        """New connections get the context that `tls` has by now. Raises OSError: they still get the one before.

        The socket is not touched: another server begins to accept on it before the present one ends, so nobody is refused.
        """
        stale = self.tls is not None and self.tls.context is not self._context
        if stale and self._gate is None and not self._closed:
            await self.open()

    @property
    def waiting(self) -> int:
        """Connections whose PROXY header has not come yet."""
        return self._gate.waiting if self._gate is not None else 0

    def stop(self) -> None:
        """Accepts nobody more; those who have connected stay."""
        self._closed = True
        if self._gate is not None:
            self._gate.stop()
        if self._server is not None:
            self._server.close()

    async def take_the_last(self) -> None:
        """Stops, and takes in those who wait in the socket's queue: closing the socket resets them. Not behind a gate."""
        self.stop()
        arriving = []
        while self._gate is None:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # nobody waits; or the socket was closed before
                break
            connection.setblocking(False)
            context = self.tls.context if self.tls is not None else None
            arriving.append(connect(self._loop, self._edge, connection, context))
        await asyncio.gather(*arriving, return_exceptions=True)  # those who break off are gone

    def close(self) -> None:
        """Accepts nobody more, and drops those whose PROXY header has not come."""
        self.stop()
        if self._gate is not None:
            self._gate.close()


class NativeEdge:
    """The native edge on its listeners."""

    def __init__(self, edge: Edge, listeners: Sequence[Listener]) -> None:
        self._edge = edge
        self._listeners = listeners
        self.abort_all = edge.abort_all

    @property
    def in_flight(self) -> int:
        return self._edge.in_flight

    @property
    def connections(self) -> int:
        return self._edge.connections

    @property
    def body_bytes(self) -> int:
        return self._edge.body_bytes

    @property
    def waiting(self) -> int:
        return sum(listener.waiting for listener in self._listeners)

    def announce(self) -> None:
        self._edge.retire()

    def retire(self) -> None:
        self._edge.retire()
        for listener in self._listeners:
            listener.stop()

    async def take_the_last(self) -> None:
        for listener in self._listeners:
            await listener.take_the_last()

    def drain(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._edge.drain()
