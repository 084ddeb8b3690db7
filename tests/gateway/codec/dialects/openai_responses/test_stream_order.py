"""What a stream may not do, what it may leave out, and what a writer makes of an order that no provider of this dialect has."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from _fastpath.usage import Usage
from gateway.base.dialect import AnswerError
from gateway.base.messages import (
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
    Noted,
    Opaque,
    Request,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    Used,
)
from gateway.codec.dialects.openai_responses import DIALECT, _stream_out
from gateway.codec.dialects.openai_responses._parts import SEARCH
from tests.gateway.codec.dialects.openai_responses.strategies import raw
from tests.gateway.codec.dialects.openai_responses.test_goldens import ASKED, read_stream
from tests.support.goldens import events_of, plain

BEGAN = Began("resp_1", "m", 5)
CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 5}}
MESSAGE = {"type": "message", "role": "assistant", "content": []}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}


def added(index: int, item: object) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: object) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(kind: str, index: int, text: str = "x", **more: object) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": text, **more}


def read(*events: dict[str, Any]) -> list[Event]:
    reader = DIALECT.stream_reader()
    return [event for each in events for event in reader.read(b"", json.dumps(each).encode())]


def written(*events: Event, request: Request = ASKED) -> list[dict[str, Any]]:
    writer = DIALECT.stream_writer(request)
    return [json.loads(data) for _, data in events_of(b"".join(writer.write(event) for event in events))]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


PART = {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": {"type": "output_text"}}
PART_DONE = {**PART, "type": "response.content_part.done"}


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([added(0, MESSAGE)], id="an_item_before_the_response"),
        pytest.param([CREATED, CREATED], id="two_responses"),
        pytest.param([CREATED, delta("output_text", 0)], id="a_delta_of_no_item"),
        pytest.param([CREATED, delta("function_call_arguments", 0)], id="arguments_of_no_item"),
        pytest.param([CREATED, added(0, MESSAGE), delta("function_call_arguments", 0)], id="arguments_of_a_message"),
        pytest.param([CREATED, added(0, MESSAGE), added(0, CALL)], id="two_items_at_one_place"),
        pytest.param([CREATED, added(0, MESSAGE), PART, PART], id="two_parts_at_one_place"),
        pytest.param(
            [CREATED, added(0, MESSAGE), done(0, MESSAGE), delta("output_text", 0)], id="a_delta_after_the_end"
        ),
        pytest.param([CREATED, added(0, MESSAGE), done(0, MESSAGE), done(0, MESSAGE)], id="two_ends"),
        pytest.param([CREATED, added(0, MESSAGE), done(0, CALL)], id="another_item_at_the_end"),
        pytest.param(
            [CREATED, added(0, MESSAGE), PART, delta("output_text", 0), PART_DONE, delta("output_text", 0)],
            id="a_delta_after_the_end_of_its_part",
        ),
        pytest.param([CREATED, added(0, {"type": "function_call", "name": "f"})], id="a_call_without_an_id"),
        pytest.param([{"type": "response.created", "response": {"id": 5}}], id="an_id_that_is_no_text"),
    ],
)
def test_an_ambiguous_stream_is_refused(events: list[dict[str, Any]]) -> None:
    with pytest.raises(AnswerError):
        read(*events)


def test_what_follows_the_end_is_nothing() -> None:
    completed = {"type": "response.completed", "response": {"status": "completed"}}
    events = read(CREATED, completed, delta("output_text", 0), completed, CREATED)
    assert plain(events)[-1] == {"type": "ended"}
    assert len(events) == 3


def test_an_event_of_an_unknown_type_is_noted_whatever_it_holds() -> None:
    assert read(CREATED, {"type": "response.new", "delta": "x", "output_index": 7})[1:] == [Noted("response.new")]


def test_the_type_may_stand_in_the_name_of_the_event_alone() -> None:
    reader = DIALECT.stream_reader()
    data = json.dumps({"response": CREATED["response"]}).encode()
    assert list(reader.read(b"response.created", data)) == [BEGAN]


def test_an_empty_stream_says_nothing() -> None:
    assert read_stream(b"") == []


# -- writing


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([BlockBegan(0, Text(""))], id="a_block_before_the_stream"),
        pytest.param([Used(Usage(1, 1))], id="usage_before_the_stream"),
        pytest.param([BEGAN, BEGAN], id="two_beginnings"),
        pytest.param([BEGAN, Delta(0, "text", "x")], id="a_delta_of_no_block"),
        pytest.param([BEGAN, BlockEnded(0)], id="an_end_of_no_block"),
        pytest.param([BEGAN, Signed(0, Signature("anthropic", "x"))], id="a_signature_of_no_block"),
        pytest.param([BEGAN, Cited(0, Citation())], id="a_citation_of_no_block"),
        pytest.param([BEGAN, BlockBegan(0, Text("")), BlockBegan(0, Text(""))], id="two_blocks_of_one_index"),
        pytest.param([BEGAN, BlockBegan(0, Text("")), Delta(0, "arguments", "x")], id="arguments_of_a_text"),
        pytest.param(
            [BEGAN, BlockBegan(0, Text("")), BlockEnded(0), Delta(0, "text", "x")], id="a_delta_after_the_end"
        ),
        pytest.param([BEGAN, BlockBegan(0, Text("")), Ended()], id="an_end_for_no_reason"),
    ],
)
def test_an_impossible_order_is_refused(events: list[Event]) -> None:
    with pytest.raises(AnswerError):
        written(*events)


def test_texts_beside_each_other_are_parts_of_one_message() -> None:
    events = written(
        BEGAN,
        *(BlockBegan(0, Text("")), Delta(0, "text", "a"), BlockEnded(0)),
        *(BlockBegan(1, Text("")), Delta(1, "text", "b"), BlockEnded(1)),
        *(Finished("stop"), Ended()),
    )
    assert kinds(events) == [
        *("created", "in_progress", "output_item.added"),
        *("content_part.added", "output_text.delta", "output_text.done", "content_part.done"),
        *("content_part.added", "output_text.delta", "output_text.done", "content_part.done"),
        *("output_item.done", "completed"),
    ]
    assert [part["text"] for part in events[-1]["response"]["output"][0]["content"]] == ["a", "b"]


def test_a_call_amid_a_text_ends_the_message_with_its_part() -> None:
    events = written(
        *(BEGAN, BlockBegan(0, Text("")), Delta(0, "text", "a"), BlockBegan(1, ToolCall("c", "f", ""))),
        *(Delta(0, "text", "b"), Delta(1, "arguments", "{}"), BlockEnded(0)),
        *(BlockBegan(2, Text("")), Delta(2, "text", "c")),
        *(Finished("tool_calls"), Ended()),
    )
    items = events[-1]["response"]["output"]
    assert [item["type"] for item in items] == ["message", "function_call", "message"]
    assert [part["text"] for item in items if item["type"] == "message" for part in item["content"]] == ["ab", "c"]
    assert items[1]["arguments"] == "{}"


def test_a_citation_of_all_the_text_is_told_at_its_end() -> None:
    """Anthropic tells it before the text."""
    events = written(
        *(BEGAN, BlockBegan(0, Text("")), Cited(0, Citation(url="https://example.com", title="X"))),
        *(Delta(0, "text", "It "), Delta(0, "text", "rains."), BlockEnded(0), Finished("stop"), Ended()),
    )
    assert kinds(events)[4:8] == [
        *("output_text.delta", "output_text.delta", "output_text.annotation.added", "output_text.done")
    ]
    (annotation,) = events[-1]["response"]["output"][0]["content"][0]["annotations"]
    assert (annotation["start_index"], annotation["end_index"]) == (0, 9)


def test_the_last_usage_counts_wherever_it_stands() -> None:
    events = written(BEGAN, Used(Usage(1, 1)), Finished("stop"), Used(Usage(7, 2, 3, 1, 1)), Ended())
    assert events[-1]["response"]["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 1},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 9,
    }


def test_a_thought_that_is_hidden_has_no_part() -> None:
    events = written(
        *(BEGAN, BlockBegan(0, Thinking()), Signed(0, Signature("anthropic", "x")), BlockEnded(0)),
        *(Finished("stop"), Ended()),
    )
    assert kinds(events)[2:-1] == ["output_item.added", "output_item.done"]
    (item,) = events[-1]["response"]["output"]
    assert (item["summary"], item.get("content"), item["encrypted_content"]) == ([], None, "tw1.anthropic.x")


def test_a_thought_whose_signature_is_known_from_the_start_is_told_all_the_same() -> None:
    thinking = Thinking(signature=Signature("gemini", "x"))
    events = written(BEGAN, BlockBegan(0, thinking), Delta(0, "thinking", "Hm."), Finished("stop"), Ended())
    (item,) = events[-1]["response"]["output"]
    assert (item["content"][0]["text"], item["encrypted_content"]) == ("Hm.", "tw1.gemini.x")


def test_blocks_of_other_dialects_and_of_other_choices_are_left_out() -> None:
    events = written(
        *(BEGAN, BlockBegan(0, Opaque("anthropic", "server_tool_use", raw({}))), BlockEnded(0)),
        *(BlockBegan(0, Text(""), 1), Delta(0, "text", "x", 1), BlockEnded(0, 1), Finished("stop", choice=1)),
        *(Noted("ping"), Finished("stop"), Ended()),
    )
    assert kinds(events) == ["created", "in_progress", "completed"]
    assert events[-1]["response"]["output"] == []


def test_an_item_of_the_same_dialect_is_passed_on() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    opaque = Opaque("openai_responses", "web_search_call", raw(item))
    events = written(BEGAN, BlockBegan(0, opaque), BlockEnded(0), Finished("stop"), Ended())
    assert events[-1]["response"]["output"] == [item]


def test_json_of_many_lines_is_one_line_of_a_stream() -> None:
    value = b'{\r\n "type": "web_search_call",\n "id": "ws_1"\n}'
    opaque = Opaque("openai_responses", "web_search_call", msgspec.Raw(value))
    search = ToolCall("c", SEARCH, '{\n "query": "x"\n}')
    told: list[Event] = [BEGAN, BlockBegan(0, opaque), BlockEnded(0), BlockBegan(1, search), BlockEnded(1)]
    events = written(*told, Finished("stop"), Ended())
    items = events[-1]["response"]["output"]
    assert items[0] == {"type": "web_search_call", "id": "ws_1"}
    assert items[1]["arguments"] == {"query": "x"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [('{"query":"x"}', {"query": "x"}), ("", {}), ("x y", {"query": "x y"}), ("[1]", {"query": "[1]"})],
)
def test_a_search_of_tools_is_told_as_one(arguments: str, told: object) -> None:
    deltas = [Delta(0, "arguments", each) for each in arguments]
    call = BlockBegan(0, ToolCall("c", SEARCH, ""))
    events = written(BEGAN, call, *deltas, BlockEnded(0), Finished("tool_calls"), Ended())
    assert kinds(events)[2:-1] == ["output_item.added", "output_item.done"]
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["call_id"], item["execution"]) == ("tool_search_call", "c", "client")
    assert item["arguments"] == told


def test_nothing_follows_an_error() -> None:
    writer = DIALECT.stream_writer(ASKED)
    events: list[Event] = [BEGAN, BlockBegan(0, Text("")), Delta(0, "text", "x")]
    for event in events:
        writer.write(event)
    told = writer.write(Failed("Broken.", "api_error"))
    assert b"response.completed" not in told
    assert writer.write(Ended()) == writer.write(Delta(0, "text", "y")) == b""


def test_a_response_tells_what_was_asked() -> None:
    request = Request(model="m", messages=[], temperature=0.5, tool_choice=ToolChoice("required"), user="u", logprobs=3)
    response = written(BEGAN, Finished("stop"), Ended(), request=request)[-1]["response"]
    assert (response["temperature"], response["tool_choice"], response["safety_identifier"]) == (0.5, "required", "u")
    assert (response["id"], response["model"], response["top_logprobs"]) == ("resp_1", "m", 3)


def test_a_response_has_the_model_that_was_asked_where_a_provider_tells_none() -> None:
    assert written(Began("r", ""), Finished("stop"), Ended())[-1]["response"]["model"] == ASKED.model


def test_blocks_that_are_given_to_it_are_not_changed() -> None:
    events: list[Event] = [
        *(BEGAN, BlockBegan(0, Text("")), Cited(0, Citation(url="https://example.com"))),
        *(BlockBegan(1, Thinking()), Signed(1, Signature("gemini", "x")), BlockBegan(2, ToolCall("c", "f", ""))),
        *(Signed(2, Signature("gemini", "x")), Delta(2, "arguments", "{}"), Finished("tool_calls"), Ended()),
    ]
    before = plain(events)
    written(*events)
    assert plain(events) == before


# -- bounds


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream_out, "MAX_KEPT_BYTES", 1_000)
    writer = DIALECT.stream_writer(ASKED)
    writer.write(BEGAN)
    writer.write(BlockBegan(0, Text("")))
    with pytest.raises(AnswerError, match="longer than 1,000 bytes"):
        for _ in range(200):
            writer.write(Delta(0, "text", "0123456789"))


def _seconds(deltas: int) -> float:
    writer, reader = DIALECT.stream_writer(ASKED), DIALECT.stream_reader()
    events: list[Event] = [
        BEGAN,
        BlockBegan(0, ToolCall("c", "f", "")),
        *[Delta(0, "arguments", "0123456789")] * deltas,
    ]
    began = time.process_time()
    events += [BlockEnded(0), Finished("tool_calls"), Ended()]
    for event in events:
        told = writer.write(event)
        if told.startswith(b"event: response.function_call_arguments.delta"):
            reader.read(b"", told[told.index(b"{") :])
        else:
            for name, data in events_of(told):
                reader.read(name, data)
    return time.process_time() - began


def test_a_long_stream_costs_as_much_a_delta_as_a_short_one() -> None:
    """Half a megabyte of arguments in small pieces."""
    short = min(_seconds(5_000) for _ in range(3))
    assert _seconds(50_000) < 10 * short * 2.5


def test_an_event_costs_less_than_its_json() -> None:
    """Compared with what the standard library takes to decode and encode the same."""
    writer, reader = DIALECT.stream_writer(ASKED), DIALECT.stream_reader()
    began: list[Event] = [BEGAN, BlockBegan(0, Text(""))]
    for event in began:
        for name, data in events_of(writer.write(event)):
            reader.read(name, data)
    delta = Delta(0, "text", " word")
    (told,) = events_of(writer.write(delta))

    def cost(act: Any) -> float:
        best = 1e9
        for _ in range(7):
            start = time.process_time()
            for _ in range(500):
                act()
            best = min(best, time.process_time() - start)
        return best

    both = cost(lambda: (reader.read(*told), writer.write(delta)))
    assert both < cost(lambda: json.dumps(json.loads(told[1])))
