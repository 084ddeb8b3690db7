"""Takes the PROXY header off each new connection and hands the connection on to the edge, under TLS or not.

Theory. The header stands before TLS, so it must be gone before either the edge or TLS reads a byte, and not one byte more may
be taken. A connection is therefore accepted here, its bytes are looked at while they stay in the kernel's buffer (MSG_PEEK),
exactly the header's are taken, and the socket goes on as any accepted socket does. The edge knows nothing of it but the
caller's address, and a listener that trusts nobody has no gate.

Rules.
- Who is trusted must send a header; who is not must not. Either is refused with a line in the log, by closing.
- At most MAX_ARRIVALS connections wait here, each for `header_s` at most; while so many do, the rest wait in the kernel's queue.
- A connection that closes before its first byte is a balancer's way to ask whether we live, and no line in the log.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from _fastpath.edge import Edge
from gateway.base.addresses import UNIX, Networks, packed, shown
from gateway.codec.proxy_protocol import MAX_V2_BYTES, ProxyProtocolError, may_begin, read
from gateway.net.tls import TlsFiles

MAX_ARRIVALS = 1_024
ACCEPTS_A_TURN = 64
"""Connections accepted in one callback, so that a flood of them does not hold the requests of others."""
REST_S = 1.0
"""How long nothing is accepted after the system had no descriptor or memory left."""

Report = Callable[..., None]
"""Called as report(level, event, **fields)."""


class ProxyGate:
    """See the module.

    Args:
        edge: who gets the connections.
        listener: the socket, which stays the caller's.
        trusted: networks whose connections begin with a header.
        header_s: for the header to arrive.
        tls: the listener's certificate; None speaks in clear.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        edge: Edge,
        listener: socket.socket,
        trusted: Networks,
        report: Report,
        *,
        header_s: float,
        tls: TlsFiles | None = None,
    ) -> None:
        self.loop = loop
        self.header_s = header_s
        self.report = report
        self._edge = edge
        self._listener = listener.dup()
        self._trusted = trusted
        self._tls = tls
        self._arrivals: set[_Arrival] = set()
        self._entering: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._resting: asyncio.TimerHandle | None = None
        self._closed = False

    def open(self) -> None:
        self._accept_again()

    def stop(self) -> None:
        """Accepts nobody more; those whose header has not come may still enter."""
        if self._closed:
            return
        self._closed = True
        self._pause()
        if self._resting is not None:
            self._resting.cancel()
        self._listener.close()

    def close(self) -> None:
        """Accepts nobody more, and drops those whose header has not come."""
        self.stop()
        for arrival in list(self._arrivals):
            arrival.drop()

    @property
    def waiting(self) -> int:
        """Connections whose header has not come yet."""
        return len(self._arrivals)

    def _accept_again(self) -> None:
        if not self._accepting and not self._closed:
            self._accepting = True
            self.loop.add_reader(self._listener, self._accept)

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self.loop.remove_reader(self._listener)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if len(self._arrivals) >= MAX_ARRIVALS:
                self._pause()
                return
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # it has left already
                continue
            except OSError as error:
                self._pause()
                self.report("error", "accept_failed", error=error.strerror or str(error), rests_s=REST_S)
                self._resting = self.loop.call_later(REST_S, self._accept_again)
                return
            accepted.setblocking(False)
            host = shown(packed(address[0])) if isinstance(address, tuple) else UNIX
            trusted = self._trusted.unix if host == UNIX else packed(host) in self._trusted
            self._arrivals.add(_Arrival(self, accepted, host, trusted=trusted))

    # -- called by arrivals

    def forget(self, arrival: _Arrival) -> None:
        self._arrivals.discard(arrival)
        if self._resting is None or self._resting.when() <= self.loop.time():
            self._accept_again()

    def enter(self, accepted: socket.socket, client: str) -> None:
        """Hands the connection of `client` on, whose next byte is the caller's first."""
        task = self.loop.create_task(self._enter(accepted, client))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _enter(self, accepted: socket.socket, client: str) -> None:
        def protocol() -> asyncio.BaseProtocol:
            return cast(asyncio.BaseProtocol, self._edge.on_behalf_of(client))  # by its methods, not by its base

        context = self._tls.context if self._tls is not None else None
        try:
            await self.loop.connect_accepted_socket(protocol, accepted, ssl=context)
        except OSError:  # the TLS handshake failed, or the caller has left: as on any listener, no news
            accepted.close()


class _Arrival:
    """A connection whose header has not come yet."""

    def __init__(self, gate: ProxyGate, accepted: socket.socket, host: str, *, trusted: bool) -> None:
        self._gate = gate
        self._socket = accepted
        self._host = host
        self._trusted = trusted
        self._taken = b""
        self._timer = gate.loop.call_later(gate.header_s, self._expire)
        gate.loop.add_reader(accepted, self._look)

    def drop(self) -> None:
        self._leave()
        self._socket.close()

    def _leave(self) -> None:
        self._timer.cancel()
        self._gate.loop.remove_reader(self._socket)
        self._gate.forget(self)

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
        self._leave()
        self._gate.enter(self._socket, client)
