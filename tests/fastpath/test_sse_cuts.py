"""`_fastpath.sse`: what a stream says and what leaves of it does not depend on how it was cut."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.sse import ChatScanner
from tests.fastpath.sse_oracle import (
    CHUNKS,
    USAGE,
    Reading,
    choice,
    chunk,
    event_of,
    read_stream,
    reading_of,
    recorded_stream,
    tool_call,
)

EOLS = [b"\n", b"\r\n", b"\r"]


def read_in_pieces(pieces: Iterable[bytes], hide_usage: bool, max_held_bytes: int = 1 << 20) -> Reading:
    chat = ChatScanner(hide_usage, max_held_bytes)
    output = b"".join([chat.feed(piece) for piece in pieces])
    return reading_of(chat, output)


def bytes_of(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


@pytest.mark.parametrize("eol", EOLS)
def test_the_oracle_reads_the_recorded_stream_as_it_was_meant(eol: bytes) -> None:
    stream = recorded_stream(eol)
    reading = read_stream(stream, True)
    assert reading.output == stream.replace(event_of(CHUNKS[-1], eol), b"")
    assert (reading.terminal, reading.usage, reading.finish_reason) == (True, USAGE, "tool_calls")
    assert (reading.events, reading.content_events) == (len(CHUNKS) + 1, 9)
    assert (reading.model, reading.error) == ("gpt-4o-mini-2024-07-18", None)


@pytest.mark.parametrize("hide_usage", [False, True])
@pytest.mark.parametrize("eol", EOLS)
def test_a_recorded_stream_cut_in_two_at_every_byte(eol: bytes, hide_usage: bool) -> None:
    stream = recorded_stream(eol)
    expected = read_stream(stream, hide_usage)
    for cut in range(len(stream) + 1):
        assert read_in_pieces([stream[:cut], stream[cut:]], hide_usage) == expected, cut


@pytest.mark.parametrize("hide_usage", [False, True])
@pytest.mark.parametrize("eol", EOLS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 100])
def test_a_recorded_stream_in_pieces_of_one_size(eol: bytes, hide_usage: bool, size: int) -> None:
    stream = recorded_stream(eol)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert read_in_pieces(pieces, hide_usage) == read_stream(stream, hide_usage)


@pytest.mark.parametrize("hide_usage", [False, True])
@pytest.mark.parametrize("eol", EOLS)
def test_after_every_byte_what_has_left_and_what_is_known_are_right(eol: bytes, hide_usage: bool) -> None:
    stream = recorded_stream(eol)
    chat, output = ChatScanner(hide_usage), b""
    for size, byte in enumerate(bytes_of(stream), 1):
        output += chat.feed(byte)
        if size % 7 == 0 or byte in b"\r\n":
            expected = read_stream(stream[:size], hide_usage)
            assert reading_of(chat, output) == expected
            assert chat.at_boundary == (not expected.rest)


@pytest.mark.parametrize("eol", EOLS)
def test_no_prefix_of_a_stream_ends_well_before_its_terminal_is_whole(eol: bytes) -> None:
    stream = recorded_stream(eol)
    complete = stream.rindex(b"[DONE]") + len(b"[DONE]")
    for size in range(len(stream) + 1):
        chat = ChatScanner()
        chat.feed(stream[:size])
        assert not (chat.terminal and size < complete)
        ended = chat.finish()
        assert chat.terminal == (size >= complete)
        assert ended in (b"", b"data: [DONE]\n\n")
        assert not (ended and size < complete)


def test_an_error_in_mid_stream_is_found_at_every_cut() -> None:
    error = {"error": {"message": 'overloaded, "choices":[]', "type": "server_error", "code": None}}
    stream = event_of(CHUNKS[1]) + event_of(error)
    for cut in range(len(stream) + 1):
        reading = read_in_pieces([stream[:cut], stream[cut:]], True)
        assert reading.output == stream
        assert reading.error == event_of(error)[6:-2]
        assert not reading.terminal


# --- properties ---------------------------------------------------------------------------------------------------

tricky = st.sampled_from(
    [
        '"usage":{"x":1}',
        "[DONE]",
        "data: [DONE]\n\n",
        "\r\n\r\n",
        '{"choices":[],"usage":{"x":1}}',
        "\\",
        '\\"',
        '"',
        "}",
        "]}",
        '"error":1',
        "\u2028é😀",
        "",
        "x" * 40,
    ]
)
texts = st.lists(tricky | st.text(st.characters(codec="utf-8"), max_size=6), max_size=3).map("".join)
scalars = st.none() | st.booleans() | st.integers() | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.sampled_from(["usage", "content", "text", "name", "choices"]), inner, max_size=3)
    ),
    max_leaves=6,
)
contents = texts | values
deltas = (
    st.dictionaries(st.sampled_from(["role", "content", "reasoning", "refusal", "reasoning_content"]), contents)
    | st.builds(lambda name, text: tool_call({"name": name, "arguments": text}, id="call_1"), texts, texts)
    | st.dictionaries(st.sampled_from(["tool_calls", "function_call", "audio"]), values)
)
choices = st.builds(choice, deltas, st.none() | texts) | st.fixed_dictionaries(
    {}, optional={"text": contents, "finish_reason": scalars, "delta": values, "logprobs": values, "index": values}
)
usages = st.none() | st.just(USAGE) | st.dictionaries(texts, values, max_size=3)
chunks = st.builds(lambda items, usage: chunk(*items, usage=usage), st.lists(choices, max_size=2), usages)
loose_chunks = st.fixed_dictionaries(
    {}, optional={"choices": values, "usage": values, "error": values, "model": scalars, "x": values}
)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    value: Any = draw(st.one_of(chunks, chunks, loose_chunks, values))
    separators = draw(st.sampled_from([None, (",", ":"), (" ,\t", " : ")]))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators).encode()
    if isinstance(value, dict) and draw(st.integers(0, 9)) == 0:
        return text[:-1]  # does not close
    return text


@st.composite
def lines_of_data(draw: st.DrawFn, payload: bytes) -> list[bytes]:
    """The payload in one data line, or cut behind its first brace."""
    prefix = draw(st.sampled_from([b"data: ", b"data:"]))
    if payload[:1] == b"{" and draw(st.integers(0, 4)) == 0:
        return [prefix + payload[:1], prefix + payload[1:]]
    return [prefix + payload]


odd_lines = st.sampled_from(
    [b": ping", b":", b"event: x", b"id", b"retry: 1", b"dat", b"datax: 1", b" ", b"data: [DONE]", b"data", b"data: ",
     b"\xef\xbb\xbf", b"\xef\xbb", b"\xff\xfe", b": " + b"x" * 90]
)  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Events of every kind, each line with a line end of its own; the last event may be incomplete."""
    lines: list[bytes] = []
    for _ in range(draw(st.integers(0, 5))):
        lines += draw(st.lists(odd_lines, max_size=2))
        if draw(st.integers(0, 4)):
            lines += draw(lines_of_data(draw(payloads())))
        lines += draw(st.lists(odd_lines, max_size=1))
        lines += [b""] * draw(st.integers(1, 2))
    ends = st.just(draw(st.sampled_from(EOLS))) if draw(st.booleans()) else st.sampled_from(EOLS)
    stream = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + b"".join(line + draw(ends) for line in lines)
    return stream + draw(st.sampled_from([b"", b"", b"data: {", b"data: [DONE]\n", b"\r"]))


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(streams())
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return stream, pieces


@given(cut_streams(), st.booleans(), st.sampled_from([16, 40, 100, 400, 1 << 20]))
@settings(max_examples=300, deadline=None)
def test_random_streams_are_read_as_the_oracle_reads_them(
    cut_stream: tuple[bytes, list[bytes]], hide_usage: bool, max_held_bytes: int
) -> None:
    stream, pieces = cut_stream
    expected = read_stream(stream, hide_usage, max_held_bytes)
    assert read_in_pieces([stream], hide_usage, max_held_bytes) == expected
    assert read_in_pieces(pieces, hide_usage, max_held_bytes) == expected
    assert read_in_pieces(bytes_of(stream), hide_usage, max_held_bytes) == expected


@given(st.lists(st.binary(max_size=30) | st.text('data:{}[]",\\ \r\n').map(str.encode), max_size=12), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_pass_without_loss_and_do_not_depend_on_the_cuts(pieces: list[bytes], hide_usage: bool) -> None:
    stream = b"".join(pieces)
    whole, cut = read_in_pieces([stream], hide_usage, 64), read_in_pieces(pieces, hide_usage, 64)
    assert whole == cut
    assert stream.startswith(whole.output) or (hide_usage and whole.usage is not None)
