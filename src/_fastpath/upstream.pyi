"""The HTTP/1.1 client side of a connection to a provider, as an asyncio protocol for uvloop."""

import asyncio
from typing import Protocol, final

from _fastpath.http1 import ResponseHead
from _fastpath.wheel import Timer, Wheel

class _Sink(Protocol):
    """Takes a response as it arrives; called inside `data_received`."""

    def on_response(self, head: ResponseHead, body: bytes) -> object:
        """The whole response came in one read; nothing else is called."""
    def on_head(self, head: ResponseHead, more: bool) -> object:
        """Else: the head, valid during the call; `more`: a part of the body follows at once."""
    def on_data(self, data: bytes, last: bool) -> object:
        """A part of the body."""
    def on_error(self, kind: str, message: str) -> object:
        """The response will not be complete, and nothing else is called.

        `kind`: "first_byte", "gap", "total", "closed", "truncated" or "protocol".
        """

    def on_crash(self, error: Exception) -> object:
        """One of the above raised `error`; the connection is closed."""

class _Pool(Protocol):
    def released(self, connection: UpstreamConnection) -> object:
        """Its response is complete and its sink was told; it can carry another request."""
    def lost(self, connection: UpstreamConnection) -> object:
        """It is gone; called once for each connection that was made."""

@final
class UpstreamConnection(Timer):
    """One connection to a provider."""

    def __init__(self, wheel: Wheel, pool: _Pool) -> None: ...
    @property
    def idle(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def keep_alive_ms(self) -> int:
        """How long the provider says that it keeps an idle connection; 0 where it says nothing."""
    @property
    def requests(self) -> int: ...
    @property
    def idle_since_ns(self) -> int: ...
    @property
    def sent_ns(self) -> int: ...
    @property
    def first_byte_ns(self) -> int: ...
    @property
    def last_byte_ns(self) -> int: ...
    def is_stale(self) -> bool:
        """Whether the peer has closed this idle connection, as far as the kernel knows."""
    def send(
        self,
        parts: bytes | list[bytes],
        sink: _Sink,
        method: str,
        first_byte_ms: int,
        gap_ms: int,
        total_deadline_ns: int,
    ) -> None:
        """Writes a request on this idle connection; RuntimeError if it carries one."""
    def rest(self, idle_ms: int) -> None:
        """Closes this idle connection if nothing is sent on it for so long."""
    def pause_reading(self) -> None:
        """The sink takes no more of the body for now. What was read already still comes."""
    def resume_reading(self) -> None: ...
    def close(self) -> None:
        """Drops the connection, and with it the request it carries: the sink hears nothing more."""
    def connection_made(self, transport: asyncio.Transport) -> None: ...
    def connection_lost(self, exception: BaseException | None) -> None: ...
    def get_buffer(self, sizehint: int) -> memoryview: ...
    def buffer_updated(self, size: int) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
