"""What is written and read again is the same; what is wrong is refused in words, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.base.dialect import AnswerError
from gateway.base.errors import GatewayError
from gateway.base.messages import (
    Answer,
    Began,
    Block,
    BlockBegan,
    BlockEnded,
    Cited,
    Delta,
    Ended,
    Event,
    Finished,
    Lost,
    Message,
    Refusal,
    Request,
    Signed,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Used,
)
from gateway.codec.dialects.openai_responses import DIALECT
from tests.gateway.codec.dialects.openai_responses.events import joined
from tests.gateway.codec.dialects.openai_responses.strategies import (
    any_block,
    any_requests,
    sayable_answers,
    sayable_requests,
)
from tests.gateway.codec.dialects.openai_responses.test_goldens import ASKED, read_stream
from tests.support.goldens import cases, events_of, plain

HERE = Path(__file__).parent


def spoken(request: Request) -> list[tuple[str, Any]]:
    """Who says what, in order: where one turn ends and the next of the same role begins is not kept."""
    turns = [Message("system", request.system), *request.messages]
    return [(turn.role, plain(block)) for turn in turns for block in turn.blocks]


def settings_of(request: Request) -> Request:
    return msgspec.structs.replace(request, system=[], messages=[])


@settings(max_examples=25, deadline=None)
@given(sayable_requests())
def test_a_request_that_loses_nothing_is_the_same_again(request: Request) -> None:
    lost = Lost()
    again = DIALECT.read_request(DIALECT.write_request(request, lost), lost)
    assert (lost.fields, lost.hints) == ([], [])
    assert spoken(again) == spoken(request)
    assert settings_of(again) == settings_of(request)


@settings(max_examples=25, deadline=None)
@given(any_requests)
def test_any_request_can_be_written_and_means_what_it_says(request: Request) -> None:
    once = DIALECT.read_request(DIALECT.write_request(request, Lost()), Lost())
    twice = DIALECT.read_request(DIALECT.write_request(once, Lost()), Lost())
    empty = {"type": "text", "text": ""}
    assert [each for each in spoken(twice) if each[1] != empty] == [each for each in spoken(once) if each[1] != empty]
    assert settings_of(twice) == settings_of(once)


@settings(max_examples=25, deadline=None)
@given(sayable_answers())
def test_an_answer_is_the_same_again(answer: Answer) -> None:
    assert plain(DIALECT.read_answer(DIALECT.write_answer(answer))) == plain(answer)


@settings(max_examples=25, deadline=None)
@given(sayable_answers())
def test_an_output_can_be_the_next_input(answer: Answer) -> None:
    """As clients send it back that keep the state themselves, and as whoever stores it puts it in before the next request."""
    output = json.loads(DIALECT.write_answer(answer))["output"]
    lost = Lost()
    body = {"model": "m", "input": [{"role": "user", "content": "Hi"}, *output]}
    request = DIALECT.read_request(json.dumps(body).encode(), lost)
    assert (lost.fields, lost.hints) == ([], [])
    assert plain([block for message in request.messages[1:] for block in message.blocks]) == plain(
        answer.choices[0].blocks
    )


# -- streams


def told(index: int, block: Block, cut: int) -> list[Event]:
    """How a block is told in a stream, its text in two pieces."""
    kind: Any
    empty: Block
    match block:
        case Text(text):
            kind, empty = "text", Text("")
            rest: list[Event] = [Cited(index, each) for each in block.citations]
        case Refusal(text):
            kind, empty, rest = "refusal", Refusal(""), []
        case ToolCall():
            kind, text = "arguments", block.arguments
            empty = ToolCall(block.id, block.name, "", block.custom)
            rest = [Signed(index, block.signature)] if block.signature is not None else []
        case Thinking(text) if text:
            kind, empty = "thinking", Thinking(summary=block.summary)
            rest = [Signed(index, block.signature)] if block.signature is not None else []
        case _:
            return [BlockBegan(index, block), BlockEnded(index)]
    pieces: list[Event] = [Delta(index, kind, text[:cut]), Delta(index, kind, text[cut:])] if text else []
    return [BlockBegan(index, empty), *pieces, *rest, BlockEnded(index)]


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """An answer, told: blocks one by one, or calls beside each other."""
    answer = draw(sayable_answers())
    choice = answer.choices[0]
    blocks = [told(at, block, draw(st.integers(0, 3))) for at, block in enumerate(choice.blocks)]
    events: list[Event] = []
    if draw(st.booleans()):
        waiting = [iter(each) for each in blocks]
        events += [next(each) for each in waiting]  # all begin in order
        while waiting:
            at = draw(st.integers(0, len(waiting) - 1))
            event = next(waiting[at], None)
            if event is None:
                del waiting[at]
            else:
                events.append(event)
    else:
        events = [event for block in blocks for event in block]
    assert choice.finish is not None
    used: list[Event] = [Used(answer.usage)] if answer.usage is not None else []
    last: list[Event] = draw(st.permutations([Finished(choice.finish), *used]))
    return [Began(answer.id, answer.model, answer.created_s), *events, *last, Ended()]


def meant(events: list[Event]) -> Any:
    """Blocks and the rest apart: texts of one message are told one after another, whatever else is open."""
    parts = joined(events)
    return [each for each in parts if "block" not in each], sorted(
        (each for each in parts if "block" in each), key=lambda each: json.dumps(each, sort_keys=True)
    )


@settings(max_examples=25, deadline=None)
@given(streams())
def test_a_stream_is_the_same_again(events: list[Event]) -> None:
    writer = DIALECT.stream_writer(ASKED)
    written = b"".join(writer.write(event) for event in events)
    again = read_stream(written)
    used = [each for each in events if isinstance(each, Used)]
    finished = [each for each in events if isinstance(each, Finished)]
    rest = [each for each in events if not isinstance(each, Used | Finished | Ended)]
    assert meant(again) == meant([*rest, *finished, *used, Ended()])


@settings(max_examples=20, deadline=None)
@given(streams())
def test_the_response_at_the_end_is_what_was_told(events: list[Event]) -> None:
    writer = DIALECT.stream_writer(ASKED)
    told = events_of(b"".join(writer.write(event) for event in events))
    items = {}
    for _, data in told:
        event = json.loads(data)
        if event["type"] == "response.output_item.done":
            items[event["output_index"]] = event["item"]
    assert json.loads(told[-1][1])["response"]["output"] == [items[at] for at in sorted(items)]
    assert sorted(items) == list(range(len(items)))


@settings(max_examples=20, deadline=None)
@given(st.lists(any_block, max_size=5), st.data())
def test_any_blocks_can_be_told(blocks: list[Any], data: st.DataObject) -> None:
    """Whole ones, ended or not, of whatever dialect: what comes out can be read."""
    writer = DIALECT.stream_writer(ASKED)
    events: list[Event] = [Began("r", "m")]
    for at, block in enumerate(blocks):
        events.append(BlockBegan(at, block))
        if data.draw(st.booleans()):
            events.append(BlockEnded(at))
    written = b"".join(writer.write(event) for event in [*events, Finished("length"), Ended()])
    assert plain(read_stream(written))[-1] == {"type": "ended"}


# -- what is wrong


def mutations(value: Any) -> st.SearchStrategy[Any]:
    """The same with something else somewhere."""
    odd = st.sampled_from([None, True, 0, -1, 2.5, "", "x", [], {}, [None], {"type": "x"}, {"type": None}, 10**30])
    if isinstance(value, dict) and value:
        return st.sampled_from(sorted(value)).flatmap(
            lambda key: (
                (odd | mutations(value[key])).map(lambda new: {**value, key: new})
                | st.just({name: each for name, each in value.items() if name != key})
                | odd.map(lambda new: {**value, "odd": new})
            )
        )
    if isinstance(value, list) and value:
        return st.integers(0, len(value) - 1).flatmap(
            lambda at: (odd | mutations(value[at])).map(lambda new: [*value[:at], new, *value[at + 1 :]])
        )
    return odd


def bodies(directory: str) -> st.SearchStrategy[Any]:
    found = [json.loads(path.read_text())["body"] for path in cases(HERE / directory)]
    return st.sampled_from(found).flatmap(mutations)


@settings(max_examples=60, deadline=None)
@given(bodies("requests"))
def test_a_request_is_read_or_refused_in_words(body: Any) -> None:
    try:
        request = DIALECT.read_request(json.dumps(body).encode(), Lost())
    except GatewayError as error:
        assert error.fault.status == 400
        assert error.message.endswith(".")
        return
    DIALECT.write_request(request, Lost())


@settings(max_examples=40, deadline=None)
@given(bodies("answers"))
def test_an_answer_is_read_or_refused(body: Any) -> None:
    try:
        answer = DIALECT.read_answer(json.dumps(body).encode())
    except AnswerError:
        return
    DIALECT.write_answer(answer)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_stream_is_read_or_refused(data: st.DataObject) -> None:
    """One event of it is changed, left out or said twice."""
    path = data.draw(st.sampled_from(cases(HERE / "streams", "*.sse")))
    events = events_of(path.read_bytes())
    at = data.draw(st.integers(0, len(events) - 1))
    name, body = events[at]
    change = data.draw(st.sampled_from(["change", "leave out", "repeat"]))
    if change == "change" and body != b"[DONE]":
        events[at] = name, json.dumps(data.draw(mutations(json.loads(body)))).encode()
    elif change == "leave out":
        del events[at]
    else:
        events.insert(at, events[at])
    reader, writer = DIALECT.stream_reader(), DIALECT.stream_writer(ASKED)
    try:
        read = [event for name, body in events for event in reader.read(name, body)]
        for event in read:
            writer.write(event)
    except AnswerError:
        return
    terminals = [event for event in read if isinstance(event, Ended)]
    assert len(terminals) <= 1


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60) | st.sampled_from([b'"\\ud800"', b'{"a":"\xff"}', b"[" * 9_000, b'{"error":' * 2_000]))
def test_bytes_are_read_or_refused(body: bytes) -> None:
    """What is no JSON is refused; what happens to be some may be nothing that matters."""
    DIALECT.read_error(body)
    readers: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: DIALECT.read_request(body, Lost()), GatewayError),
        (lambda: DIALECT.read_answer(body), AnswerError),
        (lambda: DIALECT.stream_reader().read(b"response.created", body), AnswerError),
    ]
    for read, refusal in readers:
        try:
            read()
        except refusal:
            continue
        assert body == b"[DONE]" or isinstance(json.loads(body), dict)


def test_results_and_texts_of_one_turn_keep_their_order() -> None:
    turn = Message("user", [Text("a"), ToolResult("c", [Text("r")]), Text("b")])
    request = Request(model="m", messages=[turn])
    items = json.loads(DIALECT.write_request(request, Lost()))["input"]
    assert [item["type"] for item in items] == ["message", "function_call_output", "message"]
