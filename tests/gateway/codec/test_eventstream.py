"""Frames of Amazon's event streams, held against botocore's reader: whatever the cuts, and however they are damaged."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer, ParserError
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.base.dialect import AnswerError
from gateway.codec.eventstream import MAX_HEADERS_BYTES, Frames, read_headers
from gateway.codec.framing import EVENT_STREAM, MAX_EVENT_BYTES
from tests.support.amazon import event_frame, frame

Event = tuple[bytes, bytes]

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
HEADERS = st.dictionaries(TEXT.filter(lambda name: not name.startswith(":")), TEXT, max_size=4)
MESSAGES = st.tuples(
    st.one_of(
        st.builds(lambda kind: {":message-type": "event", ":event-type": kind}, TEXT),
        st.builds(lambda kind: {":message-type": "exception", ":exception-type": kind}, TEXT),
        st.builds(
            lambda code, text: {":message-type": "error", ":error-code": code, ":error-message": text}, TEXT, TEXT
        ),
    ),
    HEADERS,
    st.binary(max_size=60),
)


def read(stream: bytes, cuts: Sequence[int] = (), max_bytes: int = 100_000) -> tuple[list[Event], str]:
    """(the events, how the stream is broken)"""
    frames = Frames(max_bytes)
    found: list[Event] = []
    try:
        for begin, end in itertools.pairwise([0, *cuts, len(stream)]):
            found.extend(frames.follow(stream[begin:end]))
    except AnswerError as error:
        return found, str(error)
    return found, ""


def told(headers: dict[str, object], payload: bytes) -> Event:
    """What an event of botocore's is to us."""

    def value(name: str) -> bytes:
        found = headers.get(name, "")
        return found if isinstance(found, bytes) else str(found).encode()

    match headers.get(":message-type", "event"):
        case "event":
            return value(":event-type"), payload
        case "exception":
            return b"exception:" + value(":exception-type"), payload
        case _:
            return b"error:" + value(":error-code"), value(":error-message") or payload


def botocores(stream: bytes) -> tuple[list[Event], bool]:
    """(the events, whether the stream is broken), as botocore reads it."""
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    found: list[Event] = []
    try:
        found.extend(told(message.headers, message.payload) for message in buffer)
    except (ParserError, struct.error, KeyError, UnicodeDecodeError, IndexError):
        return found, True
    return found, False


@given(st.lists(MESSAGES, max_size=5), st.data())
def test_events_are_those_that_botocore_reads_however_they_are_cut(
    messages: list[tuple[dict[str, str], dict[str, str], bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame({**told, **more}, payload) for told, more, payload in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    assert read(stream, cuts) == (botocores(stream)[0], "")


@given(st.lists(MESSAGES, min_size=1, max_size=3), st.data())
def test_damage_is_found_wherever_it_is(
    messages: list[tuple[dict[str, str], dict[str, str], bytes]], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(frame({**told, **more}, payload) for told, more, payload in messages))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    found, fault = read(bytes(stream), cuts)
    theirs, broken = botocores(bytes(stream))
    assert broken and fault
    assert found == theirs, "what came before is told"


@given(st.binary(max_size=120))
@example(b"\x01a")
@example(b"\x01a\x07\x00")
@example(b"\x01a\x0a")
@example(b"\x01a\x00\x01a\x00")
def test_any_bytes_are_headers_or_broken(headers: bytes) -> None:
    try:
        found = read_headers(headers)
    except AnswerError:
        return
    names = [name.decode("utf-8", "surrogateescape") for name in found]
    assert sum(len(name.encode("utf-8", "surrogateescape")) + 2 for name in names) <= len(headers)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (0, b""),
        (1, b""),
        (2, b"\x05"),
        (3, b"\x00\x05"),
        (4, b"\x00\x00\x00\x05"),
        (5, b"\x00" * 8),
        (6, b"\x00\x03abc"),
        (7, b"\x00\x03abc"),
        (8, b"\x00" * 8),
        (9, b"\x00" * 16),
    ],
)
def test_a_header_of_each_type_is_passed_over(kind: int, value: bytes) -> None:
    headers = b"\x01x" + bytes([kind]) + value + b"\x0b:event-type\x07\x00\x01e"
    prelude = struct.pack(">II", 12 + len(headers) + 4, len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers
    stream = message + struct.pack(">I", crc32(message))
    assert read(stream) == ([(b"e", b"")], "")
    assert botocores(stream) == ([(b"e", b"")], False)


def test_a_frame_that_is_too_long_is_refused_before_it_comes() -> None:
    prelude = struct.pack(">II", 2**31, 0)
    assert read(prelude + struct.pack(">I", crc32(prelude)))[1] == "a frame is longer than 100,000 bytes"


def test_headers_that_are_too_long_or_longer_than_their_frame_are_refused() -> None:
    for total, headers in ((MAX_HEADERS_BYTES + 100, MAX_HEADERS_BYTES + 1), (20, 5), (3, 0)):
        prelude = struct.pack(">II", total, headers)
        assert "of headers" in read(prelude + struct.pack(">I", crc32(prelude)), max_bytes=10**9)[1]


def test_what_is_held_never_is_more_than_a_frame() -> None:
    frames = Frames(1_000)
    for _ in range(1_000):
        for byte in event_frame("e", {"a": "b" * 500}):
            list(frames.follow(bytes([byte])))
            assert len(frames._held) < 1_000


def test_a_stream_is_framed_by_its_content_type() -> None:
    events = EVENT_STREAM.begin()
    assert list(events.follow(event_frame("e", {}))) == [(b"e", b"{}")]
    assert events.passed == b"" and events.finish() == b""
    assert MAX_EVENT_BYTES == 16_777_216
