"""Reads the server-sent events that pass (WHATWG HTML, section 9.2) without taking them apart."""

from typing import final

@final
class ChatScanner:
    """Follows an OpenAI chat or text completion stream across arbitrary cuts.

    `feed` takes what was read and returns what may be sent on: whole events only, so that an event is never torn by an
    error that must follow it, and an event to be hidden never leaves in part. Where all of `data` may pass, the very
    object is returned. At most `max_held_bytes` are held back; an event longer than that (its blank line not counted)
    passes in pieces and is not read: `oversized` counts it, and nothing else does.

    Args:
        hide_usage: drop the chunk that carries usage and empty `choices` (it was asked for by us, not by the caller).
        max_held_bytes: bound of the incomplete event that is held, at least 16.

    Raises:
        ValueError: `max_held_bytes` is out of bounds.
    """

    def __init__(self, hide_usage: bool = False, max_held_bytes: int = 1048576) -> None: ...
    def feed(self, data: bytes) -> bytes:
        """The bytes to send on; b"" where nothing may leave yet."""

    def finish(self) -> bytes:
        """What may still be sent at the end of the stream.

        An incomplete event is dropped (WHATWG): b"". But where a server ended with `data: [DONE]` and spared its blank
        line, or the line end too, the terminal counts as seen, and b"data: [DONE]\\n\\n" is returned.
        """

    @property
    def terminal(self) -> bool:
        """`data: [DONE]` was seen as a whole event."""

    @property
    def error(self) -> bytes | None:
        """The payload of the first event whose object has a top-level `error` member that is not null, else None."""

    @property
    def usage(self) -> bytes | None:
        """The JSON object of the last `usage` that was not null, else None."""

    @property
    def finish_reason(self) -> str | None:
        """The last finish reason that was neither null nor empty, of whichever choice."""

    @property
    def events(self) -> int:
        """Events seen that had data (comments and the terminal are none)."""

    @property
    def content_events(self) -> int:
        """Events with something that was produced.

        That is a `delta` (or `message`) in which a member that is produced, or media, is neither empty nor a number or literal, or
        (completions) a non-empty `text`. `_fastpath.answer` says what is produced.
        """

    @property
    def content_bytes(self) -> int:
        """Bytes of the JSON strings that were produced as text, as they stand (escapes not resolved).

        It is what to estimate tokens from when the stream breaks before its usage.
        """

    @property
    def media_bytes(self) -> int:
        """The same of audio, images and video, in base64, and all bytes of events that were oversized."""

    @property
    def usage_is_last(self) -> bool:
        """Nothing was produced after the usage."""

    @property
    def model(self) -> str | None:
        """The `model` of the first event that has one which is not empty."""

    @property
    def at_boundary(self) -> bool:
        """No event has been passed on or held in part: an event of our own may be sent now."""

    @property
    def oversized(self) -> int:
        """Events longer than `max_held_bytes`."""
