"""The client's side: many connections that ask, by a schedule or as fast as they are answered, and what they see."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, final

from bench.native.agenda import Agenda, Task
from bench.native.draw import Draw
from bench.native.histogram import Histogram

@final
class Payload:
    """One kind of request.

    Args:
        request: head and body, ready to be sent.
        weight: how often, beside the others.
        dialect: how its stream ends well; `none`: nobody knows.
        streams: it asks for a stream.
    """

    def __init__(
        self, request: bytes, weight: float, dialect: Literal["none", "openai", "anthropic", "gemini"], streams: bool
    ) -> None: ...

@final
class Load(Task):
    """Whom the connections work for.

    An open loop sends when it is time, whether or not what was sent before has been answered, and times each request from when
    it was to be sent: a target that stands still is charged for all that should have been asked meanwhile (no coordinated
    omission). A request that finds no connection free waits, and its time runs.

    Args:
        agenda: keeps the schedule and the time-outs.
        seed: of what is drawn.
        payloads: what is asked.
        interval_ns: between two requests, for an open loop; None for a closed one, in which each connection asks again as soon
            as it has been answered.
        timeout_ms: of a request, from when it was to be sent; of a closed loop's, from when it was.
        on_lost: called when a connection was lost that is still needed.
        tls: connections are TLS.
    """

    def __init__(
        self,
        agenda: Agenda,
        seed: int,
        payloads: Sequence[Payload],
        interval_ns: Draw | None,
        timeout_ms: float,
        on_lost: Callable[[], object],
        tls: bool,
    ) -> None: ...
    def accept(self) -> Caller:
        """A protocol for a connection."""
    def start(self, begin_ns: int, from_ns: int, until_ns: int) -> None:
        """Asks from `begin_ns` until `until_ns`; what was to be sent before `from_ns` is no part of the figures."""
    def stop(self) -> None:
        """Asks nothing more; what still waits for a connection counts as unsent."""
    def close(self) -> None:
        """Stops, and drops all connections."""
    @property
    def pending(self) -> int:
        """Requests that wait for a connection or for their answer."""
    def refused(self) -> None:
        """A connection could not be made again: counts as a failure."""
    @property
    def latency(self) -> Histogram:
        """Of whole answers, from the intended time to their end. All are in ns."""
    @property
    def first(self) -> Histogram:
        """Of streams, to the first event with text."""
    @property
    def gap(self) -> Histogram:
        """Between two such events; 0 where they came in one read."""
    @property
    def duration(self) -> Histogram:
        """Of whole streams, to their end."""
    @property
    def lag(self) -> Histogram:
        """How late this side was: from the intended time to when the schedule got to it."""
    @property
    def busy(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def answered(self) -> int:
        """Whole and well."""
    @property
    def events(self) -> int: ...
    @property
    def received_bytes(self) -> int: ...
    @property
    def waited(self) -> int:
        """Requests that found no connection free."""
    @property
    def unsent(self) -> int: ...
    @property
    def reconnects(self) -> int: ...
    @property
    def failures(self) -> dict[str, int]:
        """By what failed: connect, closed (before the answer), cut (within it), timeout, protocol, status, no_terminal,
        half_json (it ended well, its text did not), error_event, unsent."""
    @property
    def statuses(self) -> dict[int, int]:
        """Of answers that were not 2xx."""

@final
class Caller(Task):
    """What `asyncio.Protocol` is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exception: Exception | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
