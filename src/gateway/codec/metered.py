"""Answers in the caller's own dialect of which no kernel knows what they used: bytes pass, and their usage is read.

`ReadWhole` is for answers that are short, `Metered` for those that are not: sound, and images in base64, go on as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from _fastpath.sse import EventFollower
from _fastpath.usage import Usage
from gateway.base.context import Meter
from gateway.base.dialect import AnswerError
from gateway.codec.framing import MAX_EVENT_BYTES, SERVER_SENT
from gateway.codec.translation import Whole


class ReadWhole:
    """Follows an answer that is read whole.

    Args:
        read: tells its usage, None where it tells none; raises AnswerError.
    """

    __slots__ = ("_read",)
    passes: Literal[False] = False
    stream_type = SERVER_SENT.content_type

    def __init__(self, read: Callable[[bytes], Usage | None]) -> None:
        self._read = read

    def answer(self, body: bytes) -> Whole:
        """Raises AnswerError."""
        return Whole(body, self._read(body), "", 0, 0)

    def scanner(self) -> None:
        """No stream answers it."""


class Metered:
    """Follows an answer that goes on as it comes.

    Args:
        meter: makes what counts it.
        scanner: makes what reads it where it is a stream; None where none was asked for.
    """

    __slots__ = ("_meter", "_scanner")
    passes: Literal[True] = True
    stream_type = SERVER_SENT.content_type

    def __init__(self, meter: Callable[[], Meter], scanner: Callable[[], EventFollower] | None) -> None:
        self._meter = meter
        self._scanner = scanner

    def meter(self) -> Meter:
        return self._meter()

    def scanner(self) -> EventFollower | None:
        return self._scanner() if self._scanner is not None else None


class MeteredEvents(EventFollower):
    """A stream that passes; a subclass reads its events by `note`. An event that nobody knows yet passes like any other.

    Args:
        decoder: of the events.
    """

    def __init__(self, decoder: msgspec.json.Decoder[Any]) -> None:
        super().__init__(MAX_EVENT_BYTES)
        self._decode = decoder.decode

    def note(self, event: Any, data: bytes) -> None:
        """Sets `told`, `terminal`, `error` and what was produced by one event, of which `data` are the bytes; raises AnswerError."""
        raise NotImplementedError

    def feed(self, data: bytes) -> bytes:
        try:
            for _, payload in self.follow(data):
                if not self.terminal:
                    self._read(payload)
            if self.oversized:
                raise AnswerError(f"an event is longer than {MAX_EVENT_BYTES:,} bytes")
        except AnswerError as error:
            self.fault = str(error)
            return b""
        return self.passed

    def _read(self, data: bytes) -> None:
        try:
            event = self._decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return
        self.note(event, data)
