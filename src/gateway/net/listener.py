"""The listener of a worker: accepts for the edge, by TLS where there are files for it, behind proxies where some are trusted.

Where neither is configured, this is the loop's own server and nothing more.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from _fastpath.edge import Edge
from gateway.base.addresses import Networks
from gateway.base.node import Node
from gateway.net.edge import BACKLOG, connect, listen
from gateway.net.gate import Gate, Report
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
        """Renewed by its owner; each connection gets the newest."""
        self._server: asyncio.Server | None = None
        self._gate: Gate | None = None
        if node.proxy_protocol or self.tls is not None:
            trusted = Networks(node.proxy_protocol) if node.proxy_protocol else None
            arrival_s = node.timeouts.head_ms / 1_000
            self._gate = Gate(loop, edge, listener, report, trusted=trusted, arrival_s=arrival_s, tls=self.tls)

    async def open(self) -> None:
        """Accepts from now on. Raises OSError."""
        if self._gate is not None:
            self._gate.open()
        else:
            self._server = await listen(self._loop, self._edge, self._socket)

    def stop(self) -> None:
        """Accepts nobody more; those who have connected stay."""
        if self._gate is not None:
            self._gate.stop()
        if self._server is not None:
            self._server.close()

    async def take_the_last(self) -> None:
        """Stops, and takes in those who wait in the socket's queue: closing the socket resets them."""
        if self._gate is not None:
            await self._gate.take_the_last(BACKLOG)
            return
        self.stop()
        arriving = []
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # nobody waits; or the socket was closed before
                break
            connection.setblocking(False)
            arriving.append(connect(self._loop, self._edge, connection))
        await asyncio.gather(*arriving, return_exceptions=True)  # those who break off are gone

    def close(self) -> None:
        """Accepts nobody more, and drops those whose PROXY header or handshake is not done."""
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
