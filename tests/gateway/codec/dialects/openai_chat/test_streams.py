"""Streams that cannot be told apart, writers that are fed in another order than the usual one, and the cost of long ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from _fastpath.usage import Usage
from gateway.base.dialect import AnswerError
from gateway.base.messages import (
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
    Refusal,
    Request,
    Signature,
    Signed,
    StoredFile,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.dialects.openai_chat import DIALECT
from gateway.codec.dialects.openai_chat._stream_reader import MAX_CALLS, MAX_KNOWN_CHARS
from gateway.codec.dialects.openai_chat._stream_writer import MAX_HELD_CITATIONS, MAX_OPEN_BLOCKS
from gateway.codec.raw import ABSENT
from tests.support.goldens import events_of

DONE = b"[DONE]"


def chunk(finish: str | None = None, index: int = 0, **delta: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode()


def call(
    index: int | None, arguments: str | None = None, call_id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    told: dict[str, Any] = {"function": {"name": name, "arguments": arguments}}
    return told | ({} if index is None else {"index": index}) | ({} if call_id is None else {"id": call_id})


def read(*chunks: bytes) -> list[Event]:
    reader = DIALECT.stream_reader()
    return [event for data in chunks for event in reader.read(b"", data)] + list(reader.end())


# -- what a provider says


@pytest.mark.parametrize(
    "chunks",
    [
        [DONE],
        [chunk(content="Hi"), DONE],
        [chunk("stop", content="Hi"), chunk(content="Ho", index=1), DONE],
        [chunk("stop", content="Hi"), chunk(content="Ho")],
        [chunk("tool_calls", tool_calls=[call(0, "{}", "a", "f")]), chunk(tool_calls=[call(0, "{}")])],
        [chunk(tool_calls=[call(0, "{}")])],
        [chunk(tool_calls=[call(None, "{}")])],
        [chunk(tool_calls=[call(0, call_id="a")]), chunk("tool_calls")],
        [chunk(tool_calls=[call(0, "", "a", "f")]), chunk(tool_calls=[call(1, "", "a", "f")])],
        [
            chunk(tool_calls=[call(0, "{}", "a", "f")]),
            chunk(tool_calls=[call(1, "{", "b", "f")]),
            chunk(tool_calls=[call(0, "}")]),
        ],
        [chunk(tool_calls=[call(0, "{}", "a", "f")]), chunk(content="Hm"), chunk(tool_calls=[call(0, "}")])],
        [chunk(content=[{"type": "image_url"}])],
        [chunk(images=[{"type": "image_url"}])],
        [json.dumps({"choices": [{"delta": {"content": [{"type": "reference"}]}}] * 2}).encode()],
        [chunk(content="Hi", index=128)],
        [chunk(content="Hi", index=-1)],
        [chunk(content=7)],
        [b"[]"],
        [b"{"],
        [b""],
        [chunk(tool_calls=[call(i, "", f"a{i}", "f") for i in range(MAX_CALLS + 1)])],
    ],
)
def test_what_cannot_be_told_apart_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(AnswerError):
        read(*chunks)


def test_a_refusal_tells_nothing_of_the_conversation() -> None:
    with pytest.raises(AnswerError) as refused:
        read(json.dumps({"choices": [{"delta": {"content": {"secret": "word"}}}]}).encode())
    assert "secret" not in str(refused.value)
    assert "word" not in str(refused.value)


def test_nothing_follows_the_terminal_or_an_error() -> None:
    ended = read(chunk("stop", content="Hi"), DONE, DONE, chunk(content="Ho"), b"{")
    assert ended[-1] == Ended()
    failed = read(chunk(content="Hi"), b'{"error":{"message":"m","code":"c"}}', chunk("stop"), DONE)
    assert failed[-1] == Failed("m", "c")


def test_an_event_that_is_named_error_is_one_whatever_it_holds() -> None:
    reader = DIALECT.stream_reader()
    assert reader.read(b"error", b"the model has left") == (Failed("the model has left"),)


def test_a_text_that_is_not_utf_8_is_read_as_well_as_it_can_be() -> None:
    assert read(b'{"choices":[{"delta":{"content":"a\xffb"}}]}')[-1] == Delta(0, "text", "a\ufffdb")


def test_calls_that_are_told_by_turns_are_not_torn() -> None:
    events = read(
        chunk(tool_calls=[call(0, '{"a":', "a", "f")]),
        chunk(tool_calls=[call(1, '{"b":', "b", "f")]),
        chunk(tool_calls=[call(0, " {}}")]),
        chunk(content="Hm"),
        chunk(tool_calls=[call(1, " {}}")]),
        chunk("tool_calls"),
    )
    made = {0: "", 1: "", 2: ""}
    for event in events:
        if isinstance(event, Delta):
            made[event.index] += event.text
    assert made == {0: '{"a": {}}', 1: '{"b": {}}', 2: "Hm"}
    ended = [event.index for event in events if isinstance(event, BlockEnded)]
    assert ended == [0, 2, 1]


@pytest.mark.parametrize("arguments", ["x" * (MAX_KNOWN_CHARS + 1), "no json", '"a text"'])
def test_a_call_whose_arguments_may_go_on_ends_with_its_choice(arguments: str) -> None:
    first, second = call(0, arguments, "a", "f"), call(1, "{}", "b", "f")
    events = read(chunk(tool_calls=[first]), chunk(tool_calls=[second]), chunk("tool_calls"))
    assert [event.index for event in events if isinstance(event, BlockBegan | BlockEnded)] == [0, 1, 0, 1]


def test_a_detail_that_is_no_object_is_passed_over() -> None:
    assert read(chunk(reasoning_details=[7]), chunk("stop"), DONE)[1:] == [Finished("stop"), Ended()]


def test_an_unfinished_detail_of_openrouter_is_sealed_where_the_thought_ends() -> None:
    detail = {"type": "reasoning.text", "text": "Hm", "index": 0}
    events = read(
        chunk(reasoning_details=[detail]), chunk(reasoning_details=[{**detail, "index": 1}]), chunk("stop"), DONE
    )
    signed = [event for event in events if isinstance(event, Signed)]
    assert [event.index for event in signed] == [0, 1]
    assert json.loads(signed[1].signature.value) == {"type": "reasoning.text", "index": 1}


# -- what a caller gets

BEGAN = Began("c", "m", 5)
CALL = ToolCall("a", "f", "")


def write(*events: Event, include_usage: bool = False) -> list[Any]:
    """The values of what is written."""
    writer = DIALECT.stream_writer(Request(model="m", messages=[], include_usage=include_usage))
    written = b"".join(map(writer.write, events))
    return [data if data == DONE else json.loads(data) for _, data in events_of(written)]


def deltas(*events: Event) -> list[Any]:
    return [value["choices"][0]["delta"] for value in write(BEGAN, *events)]


@pytest.mark.parametrize(
    "events",
    [
        [BlockBegan(0, Text(""))],
        [Delta(0, "text", "Hi")],
        [BEGAN, BEGAN],
        [BEGAN, Delta(0, "text", "Hi")],
        [BEGAN, BlockBegan(0, Text("")), Delta(1, "text", "Hi")],
        [BEGAN, BlockBegan(0, Text("")), Delta(0, "text", "Hi", 1)],
        [BEGAN, BlockBegan(0, Text("")), BlockEnded(0), Delta(0, "text", "Hi")],
        [BEGAN, BlockBegan(0, Text("")), Delta(0, "arguments", "{}")],
        [BEGAN, BlockBegan(0, Text("")), BlockBegan(0, Text(""))],
        [BEGAN, BlockEnded(0)],
        [BEGAN, Signed(0, Signature("anthropic", "x"))],
        [BEGAN, Cited(0, Citation("u"))],
        [BEGAN, Finished("stop"), Finished("stop")],
        [BEGAN, Finished("stop"), BlockBegan(0, Text(""))],
        [BEGAN, BlockBegan(0, Text("")), Finished("stop"), Delta(0, "text", "Hi")],
        [Finished("stop")],
        [Ended()],
        [BEGAN, Ended()],
        [BEGAN, BlockBegan(0, Text("")), Ended()],
        [BEGAN, Finished("stop"), BlockBegan(0, Text(""), 1), Ended()],
        [BEGAN, *(BlockBegan(i, Text("")) for i in range(MAX_OPEN_BLOCKS + 1))],
    ],
)
def test_an_impossible_order_is_refused(events: list[Event]) -> None:
    with pytest.raises(AnswerError):
        write(*events)


def test_each_chunk_names_the_answer_and_the_role_is_said_once_a_choice() -> None:
    chunks = write(
        BEGAN,
        BlockBegan(0, Text("")),
        Delta(0, "text", "A"),
        BlockBegan(0, Text(""), 1),
        Delta(0, "text", "B", 1),
        Delta(0, "text", "C"),
        Finished("stop"),
        Finished("length", choice=1),
        Ended(),
    )
    assert chunks.pop() == DONE
    assert all(
        (c["id"], c["model"], c["created"], c["object"]) == ("c", "m", 5, "chat.completion.chunk") for c in chunks
    )
    said = [(c["choices"][0]["index"], c["choices"][0]["delta"].get("role")) for c in chunks]
    assert said == [(0, "assistant"), (1, "assistant"), (0, None), (0, None), (1, None)]


def test_a_choice_that_says_nothing_has_its_role_nevertheless() -> None:
    (ended,) = write(BEGAN, Finished("content_filter"))
    assert ended["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_nothing_is_said_before_there_is_something_to_say() -> None:
    assert write(BEGAN, Noted("ping"), BlockBegan(0, Text("")), BlockBegan(1, Thinking()), Used(Usage(1))) == []


def test_usage_is_told_once_and_last_wherever_it_came() -> None:
    events: list[Event] = [
        BEGAN,
        Used(Usage(1)),
        BlockBegan(0, Text("Hi")),
        Used(Usage(3, 1)),
        Finished("stop"),
        Used(Usage(3, 2)),
        Ended(),
    ]
    *chunks, usage, done = write(*events, include_usage=True)
    assert done == DONE
    assert all(value["usage"] is None for value in chunks)
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 5)
    assert all("usage" not in value for value in write(*events)[:-1])


def test_usage_that_was_known_at_the_beginning_is_told_where_nothing_else_was() -> None:
    *_, usage, _ = write(Began("c", "m", usage=Usage(7)), Finished("stop"), Ended(), include_usage=True)
    assert usage["usage"]["prompt_tokens"] == 7


def test_usage_that_nobody_told_is_not_invented() -> None:
    *chunks, done = write(BEGAN, Finished("stop"), Ended(), include_usage=True)
    assert done == DONE
    assert [value["usage"] for value in chunks] == [None]


def test_calls_that_are_open_at_once_are_told_apart() -> None:
    events: list[Event] = [
        BlockBegan(0, CALL),
        BlockBegan(1, ToolCall("b", "g", "")),
        Delta(1, "arguments", "{"),
        Delta(0, "arguments", "[]"),
        Delta(1, "arguments", "}"),
        Finished("tool_calls"),
    ]
    made = {0: "", 1: ""}
    for delta in deltas(*events):
        for told in delta.get("tool_calls", ()):
            made[told["index"]] += told["function"]["arguments"]
    assert made == {0: "[]", 1: "{}"}


@pytest.mark.parametrize("ending", [[BlockEnded(0)], [Finished("tool_calls")]])
def test_a_call_without_arguments_has_an_empty_object(ending: list[Event]) -> None:
    told = deltas(BlockBegan(0, CALL), Delta(0, "arguments", ""), *ending)
    assert "".join(call["function"]["arguments"] for delta in told for call in delta.get("tool_calls", ())) == "{}"


@pytest.mark.parametrize(
    ("events", "delta"),
    [
        (
            [BlockBegan(0, Thinking()), Signed(0, Signature("anthropic", "EqoB"))],
            {
                "reasoning_content": "",
                "thinking_blocks": [
                    {"index": 0, "type": "thinking", "thinking": "", "signature": "tw1.anthropic.EqoB"}
                ],
            },
        ),
        (
            [BlockBegan(0, Thinking(signature=Signature("anthropic", "Emw="), redacted=True))],
            {"thinking_blocks": [{"index": 0, "type": "redacted_thinking", "data": "tw1.anthropic.Emw="}]},
        ),
        (
            [BlockBegan(0, Thinking(redacted=True)), Signed(0, Signature("anthropic", "Emw="))],
            {"thinking_blocks": [{"index": 0, "type": "redacted_thinking", "data": "tw1.anthropic.Emw="}]},
        ),
        ([BlockBegan(0, Refusal("No"))], {"refusal": "No"}),
        (
            [BlockBegan(0, Audio(Inline("", "UklG"), "Hi"))],
            {"audio": {"id": "audio_c", "data": "UklG", "transcript": "Hi"}},
        ),
        ([BlockBegan(0, Audio(StoredFile("audio_1")))], {"audio": {"id": "audio_1"}}),
        (
            [BlockBegan(0, Image(Inline("image/png", "iVBO")))],
            {"images": [{"index": 0, "type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]},
        ),
        (
            [BlockBegan(0, ToolCall("a", "f", "{}", signature=Signature("gemini", "Cg==")))],
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "a",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "extra_content": {"google": {"thought_signature": "tw1.gemini.Cg=="}},
                    }
                ]
            },
        ),
        (
            [BlockBegan(0, ToolCall("", "f", "x", custom=True))],
            {"tool_calls": [{"index": 0, "id": "call_0_0", "type": "custom", "custom": {"name": "f", "input": "x"}}]},
        ),
    ],
)
def test_blocks_have_their_place_in_a_delta(events: list[Event], delta: dict[str, Any]) -> None:
    assert deltas(*events) == [{"role": "assistant", **delta}]


@pytest.mark.parametrize("block", [Opaque("anthropic", "server_tool_use", ABSENT), Image(StoredFile("f")), Text("")])
def test_blocks_without_a_place_are_left_out_and_hurt_nobody(block: Any) -> None:
    told = deltas(BlockBegan(0, block), BlockEnded(0), BlockBegan(1, Text("")), Delta(1, "text", "Hi"))
    assert told == [{"role": "assistant", "content": "Hi"}]


def test_a_signature_of_a_text_has_no_place() -> None:
    assert deltas(BlockBegan(0, Text("Hi")), Signed(0, Signature("gemini", "Cg=="))) == [
        {"role": "assistant", "content": "Hi"}
    ]


@pytest.mark.parametrize("ending", [BlockEnded(1), Finished("stop")])
def test_a_citation_without_a_place_is_of_all_of_the_block_that_it_stands_in(ending: Event) -> None:
    """Also where it came before the text, as Anthropic sends it."""
    told = deltas(
        BlockBegan(0, Text("It rained. ")),
        BlockEnded(0),
        BlockBegan(1, Text("")),
        Cited(1, Citation("https://example.com", "News")),
        Delta(1, "text", "It snowed."),
        Cited(1, Citation(title="Book", quote="Snow", document=0)),
        ending,
    )
    (annotation,) = told[2]["annotations"]
    assert annotation["url_citation"] == {
        "url": "https://example.com",
        "title": "News",
        "start_index": 11,
        "end_index": 21,
    }
    assert told[3]["provider_specific_fields"]["citation"]["cited_text"] == "Snow"


def test_citations_that_wait_are_bounded() -> None:
    cited = [Cited(0, Citation("https://example.com"))] * (MAX_HELD_CITATIONS + 1)
    told = deltas(BlockBegan(0, Text("")), *cited, Delta(0, "text", "Hi"))
    assert [*told[0]] == ["role", "annotations"]
    assert told[1] == {"content": "Hi"}


def test_an_error_is_the_last_word() -> None:
    writer = DIALECT.stream_writer(Request(model="m", messages=[]))
    for event in (BEGAN, BlockBegan(0, Text("Hi"))):
        writer.write(event)
    (told,) = events_of(writer.write(Failed("The model has left.", "gone")))
    assert json.loads(told[1])["error"] == {
        "message": "The model has left.",
        "type": "provider_error",
        "param": None,
        "code": "gone",
    }
    assert [writer.write(event) for event in (Delta(0, "text", "Ho"), Finished("stop"), Ended())] == [b"", b"", b""]


def test_a_ping_is_a_comment() -> None:
    writer = DIALECT.stream_writer(Request(model="m", messages=[]))
    assert writer.ping().startswith(b":")
    assert events_of(writer.ping()) == []


# -- cost


def _cpu_s(work: Callable[[], object]) -> float:
    def once() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return min(once() for _ in range(3))


def _read_arguments(pieces: int) -> None:
    reader = DIALECT.stream_reader()
    reader.read(b"", chunk(tool_calls=[call(0, "", "a", "f")]))
    piece = chunk(tool_calls=[call(0, "sixteen letters.")])
    for _ in range(pieces):
        reader.read(b"", piece)


def _read_turns(pieces: int) -> None:
    """Arguments of two calls, by turns."""
    reader = DIALECT.stream_reader()
    turns = [chunk(tool_calls=[call(i, "sixteen letters.", str(i), "f")]) for i in range(2)]
    for _ in range(pieces // 2):
        for turn in turns:
            reader.read(b"", turn)


def _write_texts(pieces: int) -> None:
    writer = DIALECT.stream_writer(Request(model="m", messages=[]))
    writer.write(BEGAN)
    writer.write(BlockBegan(0, CALL))
    piece = Delta(0, "arguments", "sixteen letters.")
    for _ in range(pieces):
        writer.write(piece)


def _read_parts(count: int) -> None:
    """In one chunk."""
    DIALECT.stream_reader().read(b"", chunk(content=[{"type": "reference", "reference_ids": [1]}] * (count // 4)))


@pytest.mark.parametrize("work", [_read_arguments, _read_turns, _write_texts, _read_parts])
def test_a_long_stream_costs_as_much_a_piece_as_a_short_one(work: Callable[[int], None]) -> None:
    few, many = _cpu_s(lambda: work(1_000)), _cpu_s(lambda: work(10_000))
    assert many < 25 * few


def test_a_chunk_costs_no_more_than_json_of_the_standard_library() -> None:
    data = chunk(content=" world")
    reader, writer = DIALECT.stream_reader(), DIALECT.stream_writer(Request(model="m", messages=[]))
    for event in reader.read(b"", data):
        writer.write(event)

    def translated() -> None:
        for _ in range(1_000):
            for event in reader.read(b"", data):
                writer.write(event)

    def reference() -> None:
        for _ in range(1_000):
            json.dumps(json.loads(data))

    assert _cpu_s(translated) < 1.5 * _cpu_s(reference)
