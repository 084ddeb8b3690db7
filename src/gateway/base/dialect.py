"""What a dialect is to the rest: bytes in, canonical values out, and the way back.

A dialect is a package under `codec/dialects` whose `__init__` hands out one `DIALECT`, an object of the shape of `Dialect`, or of one
side of it where callers never speak it. It holds no state and touches no socket. Translating is reading in one dialect and writing in another:

    request   caller.read_request  -> Request -> provider.write_request
    answer    provider.read_answer -> Answer  -> caller.write_answer
    stream    provider.stream_reader().read(event) -> [Event] -> caller.stream_writer(request).write(event) -> bytes

Each side tells `Lost` of what it has no place for: a reader of fields that it does not know, a writer of values that its dialect cannot
carry, both by the path at which the caller wrote them, as well as that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from gateway.base.errors import Fault
from gateway.base.messages import Answer, DialectName, Event, Lost, Request

Operation: TypeAlias = Literal["conversation", "embedding"]
"""What is asked for: each has a canonical form of its own."""


class AnswerError(ValueError):
    """A provider's answer breaks its own dialect; the message says how, without a text of the conversation."""


class ToldError(msgspec.Struct):
    """What a provider said of an error."""

    message: str = ""
    code: str | None = None
    """The finest that it tells, in its own words."""
    param: str | None = None
    retry_after_ms: int = 0
    """When it says, in the body, that a retry can help; 0 where it does not."""


def type_named(name: str) -> str | None:
    """The type alone of `namespace#Type:address`, as errors are named by Smithy's protocols; None of nothing."""
    return name.partition(":")[0].rpartition("#")[2].strip() or None


class StreamReader(Protocol):
    """Reads one stream of a provider."""

    def read(self, name: bytes, data: bytes) -> Sequence[Event]:
        """One event, by its name and its data: of a server-sent one the `event` field (b"" where it has none) and its `data`.

        `Ended` is among what is returned only where the dialect's terminal was read. An unknown event is `Noted`.

        Raises:
            AnswerError
        """

    def end(self) -> Sequence[Event]:
        """The transport has ended: what a dialect without a terminal of its own (Gemini) makes of that."""


class StreamWriter(Protocol):
    """Writes one stream to a caller. What comes in an impossible order is put into order or refused with AnswerError, never guessed."""

    def write(self, event: Event) -> bytes:
        """Whole server-sent events; b"" where nothing is to be said yet. `Ended` and `Failed` are the last."""

    def ping(self) -> bytes:
        """What says that the stream is alive, to this dialect's clients."""


class StreamEvents(Protocol):
    """Finds the events in the bytes of one stream, however these are cut: server-sent events, or another framing."""

    @property
    def passed(self) -> bytes:
        """What of the bytes of the last `follow` a caller of the same dialect gets: whole events."""

    def follow(self, data: bytes) -> Iterable[tuple[bytes, bytes]]:
        """(name, data) of each event that is whole with `data`, to be taken one by one; the name is b"" where it has none.

        Raises:
            AnswerError: the framing is broken, behind the events that were handed out.
        """

    def finish(self) -> bytes:
        """The transport has ended: what may still leave. An event that is not whole is dropped."""


class Framing(msgspec.Struct, frozen=True):
    """How a stream's events stand in its bytes."""

    content_type: bytes
    """What the header of such a stream begins with."""
    begin: Callable[[], StreamEvents]
    """For each stream anew."""


class ProviderCodec(Protocol):
    """How a provider's dialect speaks of one operation: whole requests and whole answers of its canonical form (`gateway.base.embedding`).

    A `ProviderDialect` is that of conversations, and more.
    """

    def write_request(self, request: Any, lost: Lost) -> bytes:
        """As `ProviderDialect.write_request`."""

    def read_answer(self, body: bytes) -> Any:
        """Raises AnswerError."""


class Codec(ProviderCodec, Protocol):
    """The same of a dialect that callers speak, too."""

    def read_request(self, body: bytes, lost: Lost) -> Any:
        """As `CallerDialect.read_request`."""

    def write_answer(self, answer: Any, request: Any) -> bytes:
        """A whole answer for a caller; raises AnswerError where it can be none to this request."""


class Errors(Protocol):
    """How callers are told of errors."""

    def write_error(self, fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
        """The body of an error; `code` is the provider's own."""

    def write_error_event(self, fault: Fault, message: str, param: str | None = None) -> bytes:
        """The same as an event of a stream that has begun, where no writer has a word in it."""


class ProviderDialect(Protocol):
    """One way in which providers speak."""

    @property
    def name(self) -> DialectName: ...

    def write_request(self, request: Request, lost: Lost) -> bytes:
        """The body for a provider. `request` is not changed.

        Raises:
            gateway.base.errors.GatewayError: it cannot be said in this dialect at all; `param` names what.
        """

    def read_answer(self, body: bytes) -> Answer:
        """Raises AnswerError."""

    def stream_reader(self) -> StreamReader: ...

    def read_error(self, body: bytes) -> ToldError:
        """What a provider's error says, whatever its shape. Never raises."""


class CallerDialect(Errors, Protocol):
    """One way in which callers speak."""

    @property
    def name(self) -> DialectName: ...

    def read_request(self, body: bytes, lost: Lost) -> Request:
        """A caller's request.

        Raises:
            gateway.base.errors.GatewayError: INVALID_VALUE with `param` for what is missing, of a wrong type or out of range.
        """

    def write_answer(self, answer: Answer, request: Request | None = None) -> bytes:
        """A whole answer for a caller.

        Args:
            request: what it answers, where the dialect repeats some of it, or tells calls of some tools from others.
        """

    def stream_writer(self, request: Request) -> StreamWriter: ...


class Dialect(CallerDialect, ProviderDialect, Protocol):
    """One that both speak."""
