"""Carries connections to a server in this process that accepts by itself, byte for byte, and knows of each what that server does not.

Theory. An embedded server that is given a listening socket takes who comes, by its own TLS, whose certificate it reads once, and
tells nothing of its connections. So it listens on a socket that only this process can reach, in clear; the gate takes connections in
(bound, PROXY header, TLS), and each is carried through a pair of transports here. A request tells the server's name of the connection
it came on, which leads to the connection it was carried from.

Rules.
- The way in has no name: a Unix socket that is bound in a folder of ours and unlinked at once, held by its descriptor (Linux). So
  nobody else on the machine gets past the gate. A carried connection is bound to a name of its own, for the server to tell; that
  name is unlinked at once too, and lies in memory: the loop waits for no disk.
- Who does not read stops whoever writes to him: each transport that is full pauses the other one's reading.
- A connection without a request under way is closed after `idle_ms` without a byte, or `head_ms` if it never sent one; and after
  PATIENCE times `idle_ms` without a request, whatever it says meanwhile: a head that never ends, or pings. Once the server has been
  told to end, `idle_ms` is LINGER_MS.
- A client that takes nothing of what waits for it, or too little, is dropped as by the native edge.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from _fastpath.edge import untaken
from _fastpath.wheel import Timer, Wheel, now_ns
from gateway.base.addresses import UNIX
from gateway.base.node import Bounds, ServerTimeouts
from gateway.net.reading import Reader

BACKLOG = 4_096
"""Carried connections that the server has not accepted yet."""
WRITE_HIGH_BYTES = 32_768
"""That wait in a transport, past which the other one of its pair is not read."""
PATIENCE = 8
READ_BYTES = 16_384
"""Of an answer that are taken from the server at once, a TLS record: what a client is owed who takes nothing."""
LINGER_MS = 500
"""From closing to looking whether all has been taken; and see above."""
_PREFACE = b"PRI * HTTP/2.0"
"""How HTTP/2 begins (RFC 9113 section 3.4)."""
_MEMORY = Path("/dev/shm")  # noqa: S108 - names of no content, gone at once

Report = Callable[..., None]


class Relay:
    """The connections that are carried to one server. A `gateway.net.gate.Host`.

    Args:
        bounds, timeouts: of the listener.
        report: called as report(level, event, **fields).
    """

    def __init__(self, wheel: Wheel, bounds: Bounds, timeouts: ServerTimeouts, report: Report) -> None:
        self.wheel = wheel
        self.timeouts = timeouts
        self.report = report
        self.way_in = WayIn()
        self.carried: set[Carried] = set()
        self.by_name: dict[str, Carried] = {}
        self.refused_connections = 0
        self.idle_ms = timeouts.idle_ms
        self._arriving = 0
        self._most = bounds.connections

    @property
    def connections(self) -> int:
        """Accepted and not closed, also those that do not stand yet."""
        return len(self.carried) + self._arriving

    @property
    def settled(self) -> bool:
        """All that stand have reached the server."""
        return all(each.joined for each in self.carried)

    @property
    def may_ask(self) -> bool:
        """Somebody would lose a request if the server ended now: over HTTP/1.1 it closes who rests without a word."""
        return not all(each.http2 for each in self.carried)

    def arrive(self) -> bool:
        if self.connections >= self._most:
            self.refused_connections += 1
            return False
        self._arriving += 1
        return True

    def arrived(self) -> None:
        self._arriving -= 1

    def on_behalf_of(self, client: str | None) -> Carried:
        return Carried(self, client)

    def of(self, name: str) -> Carried | None:
        """The connection that the server knows by that name."""
        return self.by_name.get(name)

    def hurry(self) -> None:
        """The server ends: who asks nothing has been told so by it, or never will be."""
        self.idle_ms = LINGER_MS
        for each in self.carried:
            each.look_again()

    def abort_all(self) -> None:
        for each in list(self.carried):
            each.abort()

    def close(self) -> None:
        self.way_in.close()


class WayIn:
    """Where the server listens, for this process alone."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="throughway-", dir=_folder()))
        at = self._folder / "way-in"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(at))
        self.listener.listen(BACKLOG)
        self.listener.setblocking(False)
        self._held = -1
        self._address = str(at)
        if sys.platform == "linux":
            self._held = os.open(at, os.O_PATH)
            self._address = f"/proc/self/fd/{self._held}"
            self._forget()

    def connect(self) -> tuple[socket.socket, str]:
        """A connection, and the name by which the server knows it. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setblocking(False)
            name = f"{_folder() or tempfile.gettempdir()}/throughway-{secrets.token_hex(8)}"
            connection.bind(name)
            os.unlink(name)  # noqa: PTH108 - text, as the server tells it
            connection.connect(self._address)
        except OSError:
            connection.close()
            raise
        return connection, name

    def close(self) -> None:
        self.listener.close()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        else:
            self._forget()

    def _forget(self) -> None:
        (self._folder / "way-in").unlink(missing_ok=True)
        if self._folder.exists():
            self._folder.rmdir()


def _folder() -> str | None:
    """In memory, where the system has such a place; None: where temporary files lie."""
    return str(_MEMORY) if os.access(_MEMORY, os.W_OK) else None


class Carried(asyncio.Protocol):
    """One connection: the protocol of the client's transport."""

    __slots__ = (
        "_asked_ns",
        "_client_full",
        "_closing",
        "_early",
        "_held",
        "_in_flight",
        "_joining",
        "_offered",
        "_outer",
        "_paused_ns",
        "_relay",
        "_seen_ns",
        "_spoke",
        "_timer",
        "_untaken",
        "client",
        "http2",
        "inner",
        "name",
        "peer",
    )

    def __init__(self, relay: Relay, client: str | None) -> None:
        self.client = client
        """Whose connection it is, where a PROXY header has told; else None."""
        self.http2 = False
        """Known to speak it; else, HTTP/1.1 as it may, it ends with an answer that says so, or by its time-outs."""
        self.peer = UNIX
        self.name = ""
        self._relay = relay
        self._outer: asyncio.Transport | None = None
        self.inner: asyncio.Transport | None = None
        """To the server."""
        self._early: list[bytes] = []
        """What came before the server was reached: at most one read."""
        self._timer = Timer(self._expire)
        self._spoke = self._client_full = self._closing = False
        self._in_flight = 0
        self._held = False
        self._seen_ns = self._asked_ns = now_ns()
        self._paused_ns = self._offered = self._untaken = 0

    @property
    def joined(self) -> bool:
        """The server has been reached, or never will be."""
        return self._joining.done()

    # -- told by the server's application

    def begin(self, *, http2: bool) -> None:
        """A request came on it."""
        self.http2 = http2
        self._in_flight += 1
        self._asked_ns = now_ns()

    def end(self) -> None:
        """It has been answered, or its client has left."""
        self._in_flight -= 1
        self._asked_ns = self._seen_ns = now_ns()

    def look_again(self) -> None:
        """What it may wait for has changed."""
        if not (self._client_full or self._closing):
            self._wait(self._relay.idle_ms)

    # -- of the client's transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        outer = self._outer = cast(asyncio.Transport, transport)
        outer.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = outer.get_extra_info("peername")
        self.peer = self.client or (f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else UNIX)
        self._relay.carried.add(self)
        self._wait(self._relay.timeouts.head_ms)
        self._joining = asyncio.get_running_loop().create_task(self._join())

    def data_received(self, data: bytes) -> None:
        if not self._spoke:
            self._spoke = True
            self.http2 = data.startswith(_PREFACE)
        self._seen_ns = now_ns()
        if self.inner is not None:
            self.inner.write(data)
        elif self._outer is not None and not self._closing:
            if not self._early:
                self._outer.pause_reading()
            self._early.append(data)

    def eof_received(self) -> bool:
        if self.inner is None or self._outer is None or self._outer.get_extra_info("sslcontext") is not None:
            return False
        self.inner.write_eof()
        return True  # what was asked before may still be answered

    def pause_writing(self) -> None:
        if self.inner is None or self._outer is None:
            return
        self._client_full = True
        self.inner.pause_reading()
        self._paused_ns = now_ns()
        self._offered = self._untaken = untaken(self._outer)
        self._wait(self._relay.timeouts.write_ms)

    def resume_writing(self) -> None:
        self._client_full = False
        self._wait(LINGER_MS if self._closing else self._relay.idle_ms)
        if self.inner is not None:
            self.inner.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._outer = None
        self._early = []
        self._relay.carried.discard(self)
        self._relay.by_name.pop(self.name, None)
        self._relay.wheel.cancel(self._timer)
        del self._timer  # whose callback is ours: a cycle
        self._joining.cancel()
        if self.inner is not None:
            self.inner.abort()

    # -- of the server's

    async def _join(self) -> None:
        relay = self._relay
        try:
            connection, self.name = relay.way_in.connect()
            relay.by_name[self.name] = self
            loop = asyncio.get_running_loop()
            inner, _ = await loop.create_unix_connection(lambda: _Inner(self), sock=connection)
        except OSError as error:
            relay.report("error", "edge.unreachable", error=error.strerror or str(error))
            self.abort()
            return
        if self._outer is None:
            inner.abort()
            return
        inner.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self.inner = inner
        if self._early:
            early, self._early = self._early, []
            inner.write(b"".join(early))
            self._outer.resume_reading()

    def answer(self, data: bytes) -> None:
        """From the server."""
        self._seen_ns = now_ns()
        if self._outer is not None:
            self._outer.write(data)

    def hold(self, *, back: bool) -> None:
        """The server has as much as it takes, or takes more again."""
        self._held = back
        if self._outer is not None and not self._outer.is_closing():
            if back:
                self._outer.pause_reading()
            else:
                self._outer.resume_reading()

    def finish(self, *, unread: bool = False) -> None:
        """The server has closed its side: so does this one, when the client has taken what there is.

        Args:
            unread: the server has closed without reading all that the client sent.
        """
        self.inner = None
        if self._outer is not None:
            self._part(self._outer, linger=unread or self._held)
            if not self._client_full:
                self._paused_ns = now_ns()
                self._wait(LINGER_MS)

    def _part(self, outer: asyncio.Transport, *, linger: bool) -> None:
        """Who is still sending gets our end first, and what he sends is dropped: closing under it would take the answer along."""
        if self._closing:
            return
        self._closing = True
        if not linger:
            outer.close()
            return
        if outer.can_write_eof():
            outer.write_eof()
        if self._held:
            outer.resume_reading()

    def abort(self) -> None:
        if self._outer is not None:
            self._outer.abort()

    # -- time

    def _wait(self, ms: int) -> None:
        if self._outer is not None:
            self._relay.wheel.set(self._timer, ms)

    def _expire(self) -> None:
        timeouts = self._relay.timeouts
        now = now_ns()
        if self._client_full:
            if self._takes_enough(now):
                self._wait(timeouts.write_ms)
            else:
                self.abort()
            return
        if self._closing:
            self._linger(now)
            return
        if not self._spoke:
            self.abort()
            return
        idle_ns = self._relay.idle_ms * 1_000_000
        left_ns = idle_ns
        if not self._in_flight:
            left_ns = min(self._seen_ns + idle_ns, self._asked_ns + PATIENCE * idle_ns) - now
        if left_ns > 0:
            self._wait(max(1, left_ns // 1_000_000))
        else:
            if self.inner is not None:
                self.inner.abort()
            self.finish()

    def _linger(self, now: int) -> None:
        """Who has taken all need not say good-bye, as TLS would have it; who has not, still may."""
        assert self._outer is not None
        if untaken(self._outer) and now < self._paused_ns + self._relay.timeouts.write_ms * 1_000_000:
            self._wait(LINGER_MS)
        else:
            self.abort()

    def _takes_enough(self, now: int) -> bool:
        assert self._outer is not None
        timeouts = self._relay.timeouts
        before, self._untaken = self._untaken, untaken(self._outer)
        owed_s = (now - self._paused_ns) / 1e9 - timeouts.write_ms / 1_000
        return self._untaken < before and self._offered - self._untaken >= owed_s * timeouts.write_bytes_per_s


class _Inner(Reader):
    """The protocol of the server's transport."""

    __slots__ = ("_carried",)

    def __init__(self, carried: Carried) -> None:
        super().__init__(carried.answer, READ_BYTES)
        self._carried = carried

    def pause_writing(self) -> None:
        self._carried.hold(back=True)

    def resume_writing(self) -> None:
        self._carried.hold(back=False)

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._read_the_rest()
        self._carried.finish(unread=error is not None)

    def _read_the_rest(self) -> None:
        """Writing to a server that has closed fails before its last words have been read: they are in the kernel's buffer still."""
        inner = self._carried.inner
        if inner is None:
            return
        with suppress(OSError):
            while rest := os.read(inner.get_extra_info("socket").fileno(), WRITE_HIGH_BYTES):
                self._carried.answer(rest)
