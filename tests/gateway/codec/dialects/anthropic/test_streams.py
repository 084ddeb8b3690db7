"""Streams that break the dialect are refused, by whoever reads or writes them; what is new does not break them; nothing grows out of bounds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from _fastpath.usage import Usage
from gateway.base.dialect import AnswerError, StreamReader, StreamWriter
from gateway.base.messages import (
    Address,
    Audio,
    Began,
    BlockBegan,
    BlockEnded,
    Citation,
    Cited,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Image,
    Inline,
    Noted,
    Opaque,
    Request,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
    Video,
)
from gateway.codec.dialects.anthropic import DIALECT, _stream_reader
from tests.support.goldens import events_of


def event(kind: str, **fields: Any) -> tuple[bytes, bytes]:
    return kind.encode(), json.dumps({"type": kind, **fields}).encode()


def start(index: int, block: Any) -> tuple[bytes, bytes]:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **fields: Any) -> tuple[bytes, bytes]:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def stop(index: int) -> tuple[bytes, bytes]:
    return event("content_block_stop", index=index)


BEGIN = event("message_start", message={"id": "msg_1", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}})
TEXT = start(0, {"type": "text", "text": ""})
SAY = delta(0, "text_delta", text="Hi")
LAST = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2})
END = event("message_stop")
CALL = start(0, {"type": "tool_use", "id": "t", "name": "f", "input": {}})


def read(*events: tuple[bytes, bytes]) -> list[Event]:
    reader: StreamReader = DIALECT.stream_reader()
    return [each for name, data in events for each in reader.read(name, data)] + list(reader.end())


# -- reading


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([TEXT], id="a block before the message"),
        pytest.param([LAST], id="an end before the message"),
        pytest.param([END], id="a stop before the message"),
        pytest.param([BEGIN, BEGIN], id="two messages"),
        pytest.param([BEGIN, SAY], id="a delta for a block that never began"),
        pytest.param([BEGIN, stop(0)], id="an end of a block that never began"),
        pytest.param([BEGIN, TEXT, TEXT], id="two blocks open with one index"),
        pytest.param([BEGIN, TEXT, stop(0), TEXT], id="an index that was used"),
        pytest.param([BEGIN, TEXT, stop(0), SAY], id="a delta for a block that has ended"),
        pytest.param([BEGIN, TEXT, stop(0), stop(0)], id="a block that ends twice"),
        pytest.param([BEGIN, start(1, {"type": "text", "text": ""}), TEXT], id="blocks out of order"),
        pytest.param([BEGIN, start(-1, {"type": "text", "text": ""})], id="a negative index"),
        pytest.param([BEGIN, END], id="a stop without a reason"),
        pytest.param([BEGIN, LAST, TEXT], id="a block after the reason"),
        pytest.param([BEGIN, TEXT, delta(0, "input_json_delta", partial_json="{")], id="arguments of a text"),
        pytest.param([BEGIN, CALL, delta(0, "text_delta", text="x")], id="a text of a call"),
        pytest.param([BEGIN, TEXT, delta(0, "signature_delta", signature="x")], id="a signature of a text"),
        pytest.param([BEGIN, CALL, delta(0, "citations_delta", citation={})], id="a citation of a call"),
        pytest.param([BEGIN, TEXT, delta(0, "compaction_delta", content="x")], id="a compaction of a text"),
        pytest.param([BEGIN, TEXT, delta(0, "text_delta")], id="a delta without its text"),
        pytest.param([BEGIN, start(0, {"type": "tool_use", "name": "f"})], id="a call without its id"),
        pytest.param([BEGIN, start(0, {"text": "x"})], id="a block without a type"),
        pytest.param([event("message_start")], id="a start without a message"),
        pytest.param([(b"message_start", b"{}")], id="an event without a type"),
        pytest.param([(b"ping", b"[]")], id="an event that is no object"),
        pytest.param([(b"ping", b"")], id="an empty event"),
        pytest.param([(b"ping", b"{")], id="half an event"),
        pytest.param([(b"", b"[DONE]")], id="the terminal of another dialect"),
        pytest.param([(b"ping", b'{"type":"\xff"}')], id="no UTF-8"),
    ],
)
def test_what_makes_an_answer_ambiguous_is_refused(events: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(AnswerError):
        read(*events)


def test_an_empty_stream_has_no_end() -> None:
    assert read() == []
    assert read(event("ping")) == [Noted("ping")]


def test_nothing_follows_the_terminal() -> None:
    whole = [BEGIN, TEXT, SAY, stop(0), LAST, END]
    assert read(*whole, TEXT, (b"x", b"{"), BEGIN) == read(*whole)
    failed = read(BEGIN, event("error", error={"type": "api_error", "message": "Internal"}), LAST, END)
    assert failed[-1] == Failed("Internal", "api_error")


@pytest.mark.parametrize(("error", "told"), [("x", Failed("x")), (None, Failed("")), ({}, Failed(""))])
def test_an_error_of_any_shape_fails(error: Any, told: Failed) -> None:
    assert read(event("error", error=error)) == [told]


def test_blocks_that_were_left_open_end_with_the_message() -> None:
    events = read(
        BEGIN,
        CALL,
        delta(0, "input_json_delta", partial_json="{}"),
        start(1, {"type": "tool_use", "id": "u", "name": "g"}),
        LAST,
        END,
    )
    assert events[-6:] == [
        BlockEnded(0),
        Delta(1, "arguments", "{}"),
        BlockEnded(1),
        Finished("stop"),
        Used(Usage(3, 2)),
        Ended(),
    ]


def test_what_is_null_is_absent() -> None:
    begin = event("message_start", message={"id": None, "model": None, "usage": None})
    thought = start(1, {"type": "thinking", "thinking": None, "signature": None})
    assert read(begin, start(0, {"type": "text", "text": None}), stop(0), thought, stop(1)) == [
        Began("", ""),
        BlockBegan(0, Text("")),
        BlockEnded(0),
        BlockBegan(1, Thinking()),
        BlockEnded(1),
    ]


def test_blocks_are_counted_without_gaps() -> None:
    events = read(BEGIN, TEXT, stop(0), start(5, {"type": "text", "text": "x"}), stop(5), LAST, END)
    assert events[3:6] == [BlockBegan(1, Text("")), Delta(1, "text", "x"), BlockEnded(1)]


def test_usage_that_is_none_is_not_told() -> None:
    last = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": -5})
    assert not [each for each in read(BEGIN, last, END) if isinstance(each, Used)]


def test_a_second_reason_changes_nothing() -> None:
    other = event("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 2})
    finished = [each for each in read(BEGIN, LAST, other, END) if isinstance(each, Finished)]
    assert finished == [Finished("stop")]


def test_the_input_of_a_search_need_not_be_json() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    events = read(BEGIN, start(0, search), delta(0, "input_json_delta", partial_json='{"q'), stop(0), LAST, END)
    (block,) = [each.block for each in events if isinstance(each, BlockBegan)]
    assert isinstance(block, Opaque)
    assert json.loads(bytes(block.value))["input"] == {"INVALID_JSON": '{"q'}


def test_what_is_gathered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream_reader, "MAX_KEPT_BYTES", 1_000)
    reader = DIALECT.stream_reader()
    reader.read(*BEGIN)
    reader.read(*start(0, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}))
    more = delta(0, "input_json_delta", partial_json="x" * 100)
    with pytest.raises(AnswerError, match="1,000 bytes"):
        for _ in range(20):
            reader.read(*more)


def test_open_blocks_have_a_bound() -> None:
    reader = DIALECT.stream_reader()
    reader.read(*BEGIN)
    with pytest.raises(AnswerError, match="open at once"):
        for i in range(_stream_reader.MAX_OPEN_BLOCKS + 1):
            reader.read(*start(i, {"type": "text", "text": ""}))


# -- writing

BEGAN = Began("id", "m")
OPEN = BlockBegan(0, Text(""))


def write(*events: Event) -> list[tuple[bytes, Any]]:
    writer: StreamWriter = DIALECT.stream_writer(Request(model="m", messages=[]))
    return [(name, json.loads(data)) for name, data in events_of(b"".join(writer.write(each) for each in events))]


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([OPEN], id="a block before the message"),
        pytest.param([Finished("stop")], id="a reason before the message"),
        pytest.param([BEGAN, BEGAN], id="two messages"),
        pytest.param([BEGAN, OPEN, OPEN], id="two blocks open with one index"),
        pytest.param([BEGAN, Delta(0, "text", "x")], id="a delta for a block that never began"),
        pytest.param([BEGAN, Signed(0, Signature("gemini", "x"))], id="a signature for none"),
        pytest.param([BEGAN, Cited(0, Citation())], id="a citation for none"),
        pytest.param([BEGAN, BlockEnded(0)], id="an end for none"),
        pytest.param([BEGAN, OPEN, Delta(0, "arguments", "x")], id="arguments of a text"),
        pytest.param([BEGAN, BlockBegan(0, Thinking()), Delta(0, "text", "x")], id="a text of a thought"),
        pytest.param([BEGAN, Finished("stop"), OPEN], id="a block after the reason"),
        pytest.param([BEGAN, Finished("stop"), Finished("stop")], id="two reasons"),
        pytest.param([BEGAN, Ended()], id="an end without a reason"),
    ],
)
def test_an_impossible_order_is_refused(events: list[Event]) -> None:
    with pytest.raises(AnswerError):
        write(*events)


def test_after_the_end_nothing_is_said() -> None:
    for last in ([Finished("stop"), Ended()], [Failed("x")]):
        assert write(BEGAN, *last) == write(BEGAN, *last, OPEN, BEGAN, Ended(), Failed("y"), Noted())


def test_before_the_message_nothing_is_said() -> None:
    assert write(Noted("x")) == []


def test_a_failure_has_a_type_of_this_dialect_and_keeps_its_code() -> None:
    assert write(Failed("m", "overloaded_error"))[0][1]["error"] == {
        "type": "overloaded_error",
        "message": "m",
        "details": {"error_code": "overloaded_error"},
    }
    assert write(Failed("m", "server_had_a_bad_day"))[0][1]["error"] == {
        "type": "api_error",
        "message": "m",
        "details": {"error_code": "server_had_a_bad_day"},
    }
    assert write(Failed("m"))[0][1]["error"] == {"type": "api_error", "message": "m"}


def test_other_choices_than_the_first_are_not_told() -> None:
    first: list[Event] = [OPEN, Delta(0, "text", "x"), BlockEnded(0), Finished("stop")]
    second: list[Event] = [
        BlockBegan(0, Text(""), 1),
        Delta(0, "text", "y", 1),
        Signed(0, Signature("gemini", "x"), 1),
        Cited(0, Citation(), 1),
        BlockEnded(0, 1),
        Finished("length", choice=1),
    ]
    mixed = [each for pair in zip(second, [*first, Noted(), Noted()], strict=True) for each in pair]
    assert [each for each in write(BEGAN, *mixed, Ended()) if each[0] != b"ping"] == write(BEGAN, *first, Ended())


def said(*events: Event) -> list[Any]:
    return [
        data.get("content_block", data.get("delta"))
        for name, data in write(BEGAN, *events, Finished("stop"), Ended())
        if name.startswith(b"content_block") and name != b"content_block_stop"
    ]


def test_what_an_answer_cannot_hold() -> None:
    assert said(
        BlockBegan(0, Opaque("gemini", "executable_code", msgspec.Raw(b'{"x":1}'))),
        Delta(0, "text", "left out"),
        BlockEnded(0),
        BlockBegan(1, Image(Address("https://example.com/a.png"))),
        BlockEnded(1),
        BlockBegan(2, Image(Inline("image/png", "iVBOR"))),
        BlockEnded(2),
        BlockBegan(3, Video(Address("https://example.com/a.mp4"))),
        BlockEnded(3),
        BlockBegan(4, Audio(Inline("audio/wav", ""))),
        Delta(4, "audio", "UklGR"),
        Delta(4, "transcript", "Hello"),
        Delta(4, "audio", "UklGR"),
        BlockEnded(4),
        BlockBegan(5, Audio(Inline("audio/wav", ""), "Said")),
        BlockEnded(5),
    ) == [
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "![image](https://example.com/a.png)"},
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "[an image of type image/png, which this API's answers cannot hold]"},
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "Hello"},
        {"type": "text", "text": ""},
        {"type": "text_delta", "text": "Said"},
    ]


def test_blocks_that_begin_with_content_are_told_whole() -> None:
    assert said(
        BlockBegan(0, Text("a", citations=[Citation(url="https://example.com")])),
        BlockBegan(1, Thinking("b", Signature("anthropic", "Eq"))),
        BlockBegan(2, ToolCall("t", "f", '{"a":1}')),
    ) == [
        {"type": "text", "text": ""},
        {
            "type": "citations_delta",
            "citation": {
                "type": "web_search_result_location",
                "url": "https://example.com",
                "title": None,
                "cited_text": "",
                "encrypted_index": "",
            },
        },
        {"type": "text_delta", "text": "a"},
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "b"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a":1}'},
        {"type": "signature_delta", "signature": "Eq"},
    ]


# -- cost


def cpu_s(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(3):
        begun = time.process_time()
        call()
        best = min(best, time.process_time() - begun)
    return best


def through(deltas: int) -> None:
    """A call whose arguments come in so many pieces, read and written."""
    reader, writer = DIALECT.stream_reader(), DIALECT.stream_writer(Request(model="m", messages=[]))
    piece = delta(0, "input_json_delta", partial_json='"0123456789",')
    for name, data in (BEGIN, CALL):
        for each in reader.read(name, data):
            writer.write(each)
    for _ in range(deltas):
        for each in reader.read(*piece):
            writer.write(each)


def test_a_long_stream_costs_as_much_a_delta_as_a_short_one() -> None:
    short, long = cpu_s(lambda: through(2_000)), cpu_s(lambda: through(40_000))
    assert long < 20 * short * 3


def test_an_event_costs_less_than_the_standard_librarys_reading_and_writing_of_its_json() -> None:
    data = SAY[1]

    def plainly() -> None:
        for _ in range(5_000):
            json.dumps(json.loads(data))

    assert cpu_s(lambda: through(5_000)) < cpu_s(plainly)
