"""Takes connections in for an edge where more than accepting is to be done: the PROXY header, TLS, or both, in that order.

Theory. The header stands before TLS, so it must be gone before either the edge or TLS reads a byte, and not one byte more may
be taken. A connection is therefore accepted here, its bytes are looked at while they stay in the kernel's buffer (MSG_PEEK),
exactly the header's are taken, and the socket goes on as any accepted socket does, with the certificate that is the newest then.
The edge knows nothing of it but the caller's address.

Rules.
- A connection counts against the edge's bound from the moment it is accepted; past the bound it is closed at once. So who opens
  connections and shakes no hands takes no more of them than who asks nothing, and none for longer than `arrival_s` a step.
- Who is trusted must send a header; who is not must not. Either is refused with a line in the log, by closing.
- A connection that closes before its first byte is a balancer's way to ask whether we live, and no line in the log.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

from gateway.base.addresses import UNIX, Networks, packed, shown
from gateway.codec.proxy_protocol import MAX_V2_BYTES, ProxyProtocolError, may_begin, read
from gateway.net.reading import Decrypted
from gateway.net.tls import TlsFiles

ACCEPTS_A_TURN = 64
"""Connections accepted in one callback, so that a flood of them does not hold the requests of others."""
REST_S = 1.0
"""How long nothing is accepted after the system had no descriptor or memory left."""
SHUTDOWN_S = 3_600.0
"""Of TLS, whose end a client must answer: the edge ends it sooner, when all has been taken or too little is."""
LAST_S = 0.5
"""For those who connect as the worker drains: header and handshake."""

Report = Callable[..., None]
"""Called as report(level, event, **fields)."""


class Host(Protocol):
    """Who gets the connections: `_fastpath.edge.Edge`, or the way to another server."""

    def arrive(self) -> bool:
        """Counts a connection that was accepted; False where there are as many as there may be."""

    def arrived(self) -> None:
        """One that was counted so stands, and is counted by its protocol, or is gone."""

    def on_behalf_of(self, client: str | None) -> object:
        """A protocol for a connection of `client`; None: of whoever its other end is."""


class Gate:
    """See the module.

    Args:
        listener: the socket, which stays the caller's.
        trusted: networks whose connections begin with a PROXY header; None: there are no such headers.
        arrival_s: for the header to arrive, and again for the handshake.
        tls: the listener's certificate; None speaks in clear.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: Host,
        listener: socket.socket,
        report: Report,
        *,
        trusted: Networks | None,
        arrival_s: float,
        tls: TlsFiles | None = None,
    ) -> None:
        self.loop = loop
        self.arrival_s = arrival_s
        self.report = report
        self._host = host
        self._listener = listener.dup()
        self._trusted = trusted
        self._tls = tls
        self._arrivals: set[_Arrival] = set()
        self._entering: set[asyncio.Task[None]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._closed = False

    def open(self) -> None:
        if not self._closed:
            self._resting = None
            self.loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Accepts nobody more; those who have been accepted may still enter."""
        if self._closed:
            return
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        else:
            self.loop.remove_reader(self._listener)
        self._listener.close()

    async def take_the_last(self, most: int) -> None:
        """Accepts those who wait by now, at most so many, and stops; returns when all have entered or are gone, or after LAST_S."""
        for _ in range(most):
            if self._closed or self._resting is not None or not self._take_one():
                break
        self.stop()
        deadline_s = self.loop.time() + LAST_S
        while (self._arrivals or self._entering) and self.loop.time() < deadline_s:  # noqa: ASYNC110 - sets
            await asyncio.sleep(0.01)

    def close(self) -> None:
        """Accepts nobody more, and drops those who have not entered."""
        self.stop()
        for arrival in list(self._arrivals):
            arrival.drop()
        for task in self._entering:
            task.cancel()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if not self._take_one():
                return

    def _take_one(self) -> bool:
        """Accepts a connection; False where nobody waits, or the system cannot."""
        try:
            accepted, address = self._listener.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:  # it has left already
            return True
        except OSError as error:
            self.loop.remove_reader(self._listener)
            self.report("error", "accept_failed", error=error.strerror or str(error), rests_s=REST_S)
            self._resting = self.loop.call_later(REST_S, self.open)
            return False
        if not self._host.arrive():
            accepted.close()
            return True
        accepted.setblocking(False)
        if self._trusted is None:
            self.enter(accepted, None)
            return True
        host = shown(packed(address[0])) if isinstance(address, tuple) else UNIX
        trusted = self._trusted.unix if host == UNIX else packed(host) in self._trusted
        self._arrivals.add(_Arrival(self, accepted, host, trusted=trusted))
        return True

    # -- called by arrivals

    def forget(self, arrival: _Arrival, *, gone: bool) -> None:
        self._arrivals.discard(arrival)
        if gone:
            self._host.arrived()

    def enter(self, accepted: socket.socket, client: str | None) -> None:
        """Hands the connection of `client` on, whose next byte is the caller's first."""
        task = self.loop.create_task(self._enter(accepted, client))
        self._entering.add(task)
        task.add_done_callback(self._entered)

    def _entered(self, task: asyncio.Task[None]) -> None:
        self._entering.discard(task)
        self._host.arrived()

    async def _enter(self, accepted: socket.socket, client: str | None) -> None:
        context = self._tls.context if self._tls is not None else None

        def protocol() -> asyncio.BaseProtocol:
            made = cast(asyncio.BaseProtocol, self._host.on_behalf_of(client))  # by its methods, not by its base
            return made if context is None else Decrypted(made)

        try:
            await self.loop.connect_accepted_socket(
                protocol,
                accepted,
                ssl=context,
                ssl_handshake_timeout=self.arrival_s if context is not None else None,
                ssl_shutdown_timeout=SHUTDOWN_S if context is not None else None,
            )
        except OSError:  # the TLS handshake failed, or the caller has left: as on any listener, no news
            accepted.close()


class _Arrival:
    """A connection whose header has not come yet."""

    def __init__(self, gate: Gate, accepted: socket.socket, host: str, *, trusted: bool) -> None:
        self._gate = gate
        self._socket = accepted
        self._host = host
        self._trusted = trusted
        self._taken = b""
        self._timer = gate.loop.call_later(gate.arrival_s, self._expire)
        gate.loop.add_reader(accepted, self._look)

    def drop(self) -> None:
        self._leave(gone=True)
        self._socket.close()

    def _leave(self, *, gone: bool) -> None:
        self._timer.cancel()
        self._gate.loop.remove_reader(self._socket)
        self._gate.forget(self, gone=gone)

    def _expire(self) -> None:
        if self._trusted or self._taken:
            self._refuse("the PROXY header did not arrive in time")
        else:
            self.drop()

    def _refuse(self, reason: str) -> None:
        self._gate.report("warning", "proxy_header_refused", peer=self._host, trusted=self._trusted, reason=reason)
        self.drop()

    def _look(self) -> None:
        try:
            seen = self._socket.recv(MAX_V2_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.drop()
            return
        if not seen:
            if self._taken:
                self._refuse("the connection ended within the PROXY header")
            else:
                self.drop()
        elif self._trusted:
            self._read(seen)
        elif may_begin(seen):
            self._refuse("a PROXY header from an address that proxy_protocol.from does not name")
        else:
            self._enter(self._host)

    def _read(self, seen: bytes) -> None:
        try:
            header = read(self._taken + seen)
        except ProxyProtocolError as error:
            self._refuse(str(error))
            return
        # While the header is not whole, all that has come belongs to it.
        more = len(seen) if header is None else header.size - len(self._taken)
        self._taken += self._socket.recv(more)
        if header is not None:
            self._enter(header.client or self._host)

    def _enter(self, client: str) -> None:
        self._leave(gone=False)
        self._gate.enter(self._socket, client)
