"""The server's side of a connection: a provider that plays prepared answers.

An answer is made of immutable bytes before anybody asks. What a request costs is a read, a look at its head, a look for
`"stream": true`, the draw of its latency, and a write.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, final

from bench.native.agenda import Agenda, Task
from bench.native.draw import Draw

@final
class Answer:
    """An answer, ready to be written.

    Args:
        start: status line and fields, but for those that frame the body, and without the blank line.
        parts: the body; of a stream its events.
        tokens: how many it is made of; with the gap between two that says how long a provider takes for it.
        streamed: each part is a chunk of its own, and leaves when its time has come; else all leaves at once.
    """

    def __init__(self, start: bytes, parts: Sequence[bytes], tokens: int, streamed: bool) -> None: ...
    @property
    def streamed(self) -> bool: ...
    @property
    def tokens(self) -> int: ...

@final
class Fault:
    """What goes wrong with a share of the answers.

    Args:
        kind: error (another answer, whole), error_event (of a stream; else as error), stall (silence, then it goes on), reset
            (RST), close (FIN, in the middle of the framing), truncate (the framing ends well, what it holds does not).
        share: of all answers, from 0 to 1.
        at: where in the answer, from 0 to 1; of `error` nothing is sent before.
        for_ms: of the silence; 0: until the client leaves.
        answer: of an error.
        event: of an error in a stream.
    """

    def __init__(
        self,
        kind: Literal["error", "error_event", "stall", "reset", "close", "truncate"],
        share: float,
        at: float,
        for_ms: float,
        answer: bytes,
        event: bytes,
    ) -> None: ...

@final
class Route:
    """How a path is answered. Of several answers one is drawn.

    Args:
        latency_ms: from a whole request to the first byte.
        gap_ms: between two events of a stream; an answer that is not streamed comes when its last token would have.
        faults: at most one of them hits an answer.
        answers, streams, streams_with_usage: the last where the request asks with `"include_usage": true`.
        streaming: when to stream: as the body says, always, or never.
        fixed: answers everything, at once, in place of all the above.
    """

    def __init__(
        self,
        latency_ms: Draw,
        gap_ms: Draw,
        faults: Sequence[Fault],
        answers: Sequence[Answer],
        streams: Sequence[Answer],
        streams_with_usage: Sequence[Answer],
        streaming: Literal["asked", "always", "never"],
        fixed: bytes | None = None,
    ) -> None: ...

@final
class Provider:
    """What its connections share.

    Args:
        agenda: does what is due later.
        seed: of all draws.
        resolve: finds the route of a method, path and query that was not asked before; up to 4,096 are remembered.
        freezes: (begin, length, period) in seconds after the first request, in which nothing is sent; period 0: once.
        tls: connections are TLS, so that bytes must pass through their transport.
    """

    def __init__(
        self,
        agenda: Agenda,
        seed: int,
        resolve: Callable[[str, str, bytes], Route],
        freezes: Sequence[tuple[float, float, float]] = (),
        tls: bool = False,
    ) -> None: ...
    def accept(self) -> Connection:
        """A protocol for an accepted socket."""
    def counts(self) -> dict[str, int]:
        """What was done so far: requests, answers that ended well, events, sent_bytes, faults by kind, and so on."""

@final
class Connection(Task):
    """What `asyncio.Protocol` is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exception: Exception | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
