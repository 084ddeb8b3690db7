"""How the events of a provider's stream are found in its bytes: what the readers of dialects need not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from _fastpath.sse import EventFollower
from gateway.base.dialect import AnswerError, Framing
from gateway.codec.eventstream import Frames

MAX_EVENT_BYTES = 16_777_216
"""Of one event of a stream that is read: an image in base64 is one."""


class _ServerSent:
    """Server-sent events; see `gateway.base.dialect.StreamEvents`."""

    __slots__ = ("_follower",)

    def __init__(self) -> None:
        self._follower = EventFollower(MAX_EVENT_BYTES)

    @property
    def passed(self) -> bytes:
        return self._follower.passed

    def follow(self, data: bytes) -> Iterable[tuple[bytes, bytes]]:
        found = self._follower.follow(data)
        return found if not self._follower.oversized else _broken(found)

    def finish(self) -> bytes:
        return self._follower.finish()


def _broken(found: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    yield from found
    raise AnswerError(f"an event is longer than {MAX_EVENT_BYTES:,} bytes")


def _frames() -> Frames:
    return Frames(MAX_EVENT_BYTES)


SERVER_SENT = Framing(b"text/event-stream", _ServerSent)
EVENT_STREAM = Framing(b"application/vnd.amazon.eventstream", _frames)
