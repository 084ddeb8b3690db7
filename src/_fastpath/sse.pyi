"""Reads the server-sent events that pass (WHATWG HTML, section 9.2) without taking them apart."""

from typing import final

from typing_extensions import disjoint_base

from _fastpath.usage import Usage

@disjoint_base
class EventScanner:
    """Follows a stream across arbitrary cuts.

    `feed` takes what was read and returns what may be sent on: whole events only, so that an event is never torn by an
    error that must follow it, and an event to be hidden never leaves in part. Where all of `data` may pass, the very
    object is returned. At most `max_held_bytes` are held back; an event longer than that (its blank line not counted)
    passes in pieces and is not read: `oversized` counts it, and nothing else does.

    What the events say is told by whoever reads them: a subclass, here or in Python.

    Args:
        max_held_bytes: bound of the incomplete event that is held, at least 16.

    Raises:
        ValueError: `max_held_bytes` is out of bounds.
    """

    terminal: bool
    """The dialect's terminal was seen as a whole event."""
    error: bytes | None
    """The payload of the first event that told an error, else None."""
    usage: bytes | None
    """The JSON object of the last usage that was told, else None."""
    told: Usage | None
    """The same, where it is read already."""
    fault: str | None
    """How the stream breaks its dialect: it is not to be read any further."""
    events: int
    """Events seen that had data (comments and the terminal are none)."""
    content_events: int
    """Events with something that was produced."""
    content_bytes: int
    """Bytes of what was produced as text. It is what to estimate tokens from when the stream breaks before its usage."""
    media_bytes: int
    """The same of audio, images and video, in base64, and all bytes of events that were oversized."""
    usage_is_last: bool
    """Nothing was produced after the usage."""

    def __init__(self, max_held_bytes: int = 1048576) -> None: ...
    def feed(self, data: bytes) -> bytes:
        """The bytes to send on; b"" where nothing may leave yet."""

    def finish(self) -> bytes:
        """What may still be sent at the end of the stream. An incomplete event is dropped (WHATWG)."""

    def failed(self, code: str, message: str) -> bytes | None:
        """The event that tells the caller of an error, where the scanner writes the stream itself; else None."""

    @property
    def finish_reason(self) -> str | None:
        """The last finish reason that was neither null nor empty, of whichever choice."""

    @property
    def at_boundary(self) -> bool:
        """No event has been passed on or held in part: an event of our own may be sent now."""

    @property
    def oversized(self) -> int:
        """Events longer than `max_held_bytes`."""

@final
class ChatScanner(EventScanner):
    """Follows an OpenAI chat or text completion stream.

    `terminal` is `data: [DONE]`; `error` an object with a top-level `error` member that is not null. Something was produced in a `delta` (or
    `message`) in which a member that is produced, or media, is neither empty nor a number or literal, or (completions) a non-empty
    `text`: `_fastpath.answer` says what is produced. `content_bytes` are those of JSON strings as they stand (escapes not resolved).

    `finish`: where a server ended with `data: [DONE]` and spared its blank line, or the line end too, the terminal counts as seen, and
    b"data: [DONE]\\n\\n" is returned.

    Args:
        hide_usage: drop the chunk that carries usage and empty `choices` (it was asked for by us, not by the caller).
    """

    def __init__(self, hide_usage: bool = False, max_held_bytes: int = 1048576) -> None: ...
    @property
    def model(self) -> str | None:
        """The `model` of the first event that has one which is not empty."""

@disjoint_base
class EventFollower(EventScanner):
    """Hands out the events that pass, to be read by a subclass in Python."""

    def follow(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """(name, data) of each event that is whole with `data`; its name is b"" where it has no `event` field."""

    @property
    def passed(self) -> bytes:
        """What `feed` would have returned at the last `follow`."""
