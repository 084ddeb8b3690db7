"""The HTTP/1.1 server side of a connection, as an asyncio protocol for uvloop."""

import asyncio
from collections.abc import Callable
from typing import final

from _fastpath.wheel import Timer, Wheel

def untaken(transport: asyncio.Transport) -> int:
    """Bytes that were written and that the other end has not taken: those of the transport's buffer, and those that the kernel still
    holds, where it tells."""

@final
class Edge:
    """What the connections of a listener share: the application, the bounds, and what is counted. Calling it makes a protocol.

    Args:
        loop, wheel: the worker's event loop and timers.
        on_request: called with each Exchange whose body is complete.
        on_head: called with an Exchange whose body is still to come; answers True to receive it, or has answered whole. It must not
            keep the exchange.
        on_refusal: called with (status, reason, peer) for what is refused below the application (framing, bounds, time-outs);
            returns the fields and the body of the answer.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wheel: Wheel,
        on_request: Callable[[Exchange], object],
        on_head: Callable[[Exchange], bool],
        on_refusal: Callable[[int, str, str], tuple[bytes, bytes]],
        *,
        head_bytes: int,
        body_bytes: int,
        all_bodies_bytes: int,
        max_in_flight: int,
        max_connections: int,
        head_ms: int,
        body_gap_ms: int,
        body_ms: int,
        body_bytes_per_s: int,
        idle_ms: int,
        write_ms: int,
        write_bytes_per_s: int,
    ) -> None: ...
    refusal_fields: Callable[[bytes | None], bytes] | None
    """Given the `origin` of what is refused below the application, further fields of the answer; None: there are none."""
    def __call__(self) -> EdgeConnection: ...
    def arrive(self) -> bool:
        """Counts a connection that was accepted elsewhere and does not stand yet; False, and refused, past the bound."""
    def arrived(self) -> None:
        """One that was counted so stands, or is gone."""
    def on_behalf_of(self, client: str | None) -> EdgeConnection:
        """A protocol for one accepted socket of `client`, which need not be its other end; None: of its other end."""
    @property
    def connections(self) -> int:
        """Also those that do not stand yet."""
    @property
    def retiring(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def body_bytes(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def timeouts(self) -> int: ...
    @property
    def refused_connections(self) -> int: ...
    def retire(self) -> None:
        """From now on each answer says that it is the last one on its connection; who rests between two requests may ask once more."""
    def drain(self) -> None:
        """As `retire`, and who asks nothing is closed, or a second later if it never did."""
    def abort_all(self) -> None:
        """Breaks every connection, whatever it does."""

@final
class Exchange:
    """A request and the answer to it: `gateway.base.ports.Exchange`. Header fields are whole lines, each with its CRLF."""

    on_disconnect: Callable[[], object] | None
    on_drain: Callable[[], object] | None
    client: str | None
    """The caller's address, where proxies are trusted to tell it; None where none are, and `peer` is all that is known."""
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> bytes: ...
    @property
    def body(self) -> bytes: ...
    @property
    def received_ns(self) -> int: ...
    @property
    def peer(self) -> str: ...
    @property
    def started(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    @property
    def plain(self) -> bool:
        """Content-type is `application/json` to the letter, and no field that would change how the request is handled is there."""
    @property
    def content_type(self) -> bytes | None: ...
    @property
    def traceparent(self) -> bytes | None: ...
    def credential(self) -> bytes | None:
        """The caller's secret, from `authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`; None where there is
        none, b"" where what is there is no single credential."""
    def header(self, name: bytes) -> bytes | None: ...
    def values(self, name: bytes) -> list[bytes]: ...
    def respond(self, status: int, headers: bytes, body: bytes) -> None: ...
    def start(self, status: int, headers: bytes, length: int = -1) -> None: ...
    def flush(self) -> None: ...
    def write(self, data: bytes) -> bool: ...
    def end(self, data: bytes = b"") -> None: ...
    def abort(self) -> None: ...

@final
class EdgeConnection(Timer):
    """One accepted connection."""

    def connection_made(self, transport: asyncio.Transport) -> None: ...
    def connection_lost(self, exception: BaseException | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
