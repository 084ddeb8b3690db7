"""Anthropic's official client reads what is written here: typed objects without extras, and its own exceptions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pydantic
import pytest
from anthropic.types import Message, MessageTokensCount
from anthropic.types.message_create_params import (
    MessageCreateParamsBase,
    MessageCreateParamsNonStreaming,
    MessageCreateParamsStreaming,
)
from anthropic.types.message_stream_event import MessageStreamEvent

from _fastpath.usage import Usage
from gateway.base.errors import CATALOGUE, Fault
from gateway.base.messages import (
    Answer,
    Began,
    Block,
    BlockBegan,
    BlockEnded,
    Choice,
    Citation,
    Cited,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Image,
    Inline,
    Lost,
    Noted,
    Refusal,
    Request,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.dialects.anthropic import DIALECT
from tests.support.goldens import cases, events_of

HERE = Path(__file__).parent
REQUEST = Request(model="m", messages=[])


def client(body: bytes, *, status: int = 200, stream: bool = False) -> anthropic.Anthropic:
    kind = "text/event-stream" if stream else "application/json"

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers={"content-type": kind, "request-id": "req_1"}, content=body)

    return anthropic.Anthropic(
        api_key="k",
        base_url="http://gateway.invalid",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )


def without_extras(value: Any, path: str = "$") -> None:
    """Fails where a typed object holds what its type does not know."""
    if isinstance(value, pydantic.BaseModel):
        assert not value.model_extra, f"{path} has {value.model_extra}"
        for name in type(value).model_fields:
            without_extras(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for i, each in enumerate(value):
            without_extras(each, f"{path}[{i}]")


@cache
def adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def strict(kind: Any, value: Any) -> Any:
    """Validated as the types say, which the client itself is lenient about."""
    typed = adapter(kind).validate_python(value)
    without_extras(typed)
    return typed


KNOWN_BLOCKS = [path for path in cases(HERE / "answers") if "unknown" not in path.stem]


@pytest.mark.parametrize("path", KNOWN_BLOCKS, ids=lambda path: path.stem)
def test_answers_are_messages_to_it(path: Path) -> None:
    body = json.dumps(json.loads(path.read_text())["body"]).encode()
    written = DIALECT.write_answer(DIALECT.read_answer(body))
    strict(Message, json.loads(written))
    message = client(written).messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    without_extras(message)


FOREIGN = Answer(
    id="chatcmpl-1",
    model="gpt-6",
    choices=[
        Choice(
            [
                Thinking("Hm.", Signature("openai_responses", "gAAA")),
                Thinking(signature=Signature("gemini", "CoMB"), redacted=True),
                Thinking("Unsigned."),
                Text("Green.", citations=[Citation(url="https://example.com", title="T", quote="green")]),
                Image(Inline("image/png", "iVBORw0KGgo=")),
                Refusal("No."),
                ToolCall("call_1", "f", '{"a": 1}', signature=Signature("gemini", "CsUB")),
                ToolCall("call_2", "f", "{not json"),
                ToolCall("call_3", "f", ""),
                ToolCall("call_4", "patch", "*** Begin", custom=True),
            ],
            "tool_calls",
        )
    ],
    usage=Usage(100, 20, 60, 10, 5),
)


def test_answers_of_other_providers_are_messages_to_it() -> None:
    message = strict(Message, json.loads(DIALECT.write_answer(FOREIGN)))
    assert message.usage.input_tokens == 30
    assert [block.type for block in message.content] == [
        *("thinking", "redacted_thinking", "thinking", "text", "text", "text"),
        *("redacted_thinking", "tool_use", "tool_use", "tool_use", "tool_use"),
    ]
    inputs = [block.input for block in message.content if block.type == "tool_use"]
    assert inputs == [{"a": 1}, {"INVALID_JSON": "{not json"}, {}, {"input": "*** Begin"}]


def test_what_it_sends_back_of_other_providers_finds_home() -> None:
    """The client's own rendering of an answer, as the next request holds it."""
    message = strict(Message, json.loads(DIALECT.write_answer(FOREIGN)))
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": message.to_param()["content"]}],
    }
    raw = json.dumps(body, default=lambda each: each.to_dict()).encode()
    lost = Lost()
    blocks = DIALECT.read_request(raw, lost).messages[1].blocks
    thoughts = [block for block in blocks if isinstance(block, Thinking)]
    assert thoughts == FOREIGN.choices[0].blocks[:3]
    calls = [block for block in blocks if isinstance(block, ToolCall)]
    assert calls[:2] == FOREIGN.choices[0].blocks[6:8]
    assert lost.fields == []


# -- streams


def streamed(events: list[Event]) -> bytes:
    writer = DIALECT.stream_writer(REQUEST)
    return b"".join(writer.write(event) for event in events)


def message_of(stream: bytes) -> Message:
    """By the client's own accumulator; each of its events validated strictly as well."""
    for name, data in events_of(stream):
        if name not in (b"ping", b"error"):
            event = strict(MessageStreamEvent, json.loads(data))
            assert event.type.encode() == name
    with client(stream, stream=True).messages.stream(
        model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}]
    ) as taken:
        return taken.get_final_message()


# A compaction is of a beta, which the stable types do not know.
WHOLE_STREAMS = [
    path
    for path in cases(HERE / "streams", "*.sse")
    if path.stem not in ("cut", "error", "compaction") and b"hologram" not in path.read_bytes()
]


@pytest.mark.parametrize("path", WHOLE_STREAMS, ids=lambda path: path.stem)
def test_streams_add_up_to_the_message_that_the_provider_has_sent(path: Path) -> None:
    reader = DIALECT.stream_reader()
    events = [event for name, data in events_of(path.read_bytes()) for event in reader.read(name, data)]
    ours, theirs = message_of(streamed(events)), message_of(path.read_bytes())
    assert ours.usage.output_tokens == theirs.usage.output_tokens
    assert ours.stop_reason == theirs.stop_reason
    if path.stem != "refusal":  # whose explanation becomes a text
        assert [block.to_dict() for block in ours.content] == [
            {k: v for k, v in block.to_dict().items() if k != "citations" or v} for block in theirs.content
        ]


BEGAN = Began("gen-1", "gemini-3")


def told(*blocks: Block) -> list[Event]:
    """The events of blocks, one after another."""
    events: list[Event] = []
    for i, block in enumerate(blocks):
        match block:
            case Text(text=text):
                events += (BlockBegan(i, Text("")), Delta(i, "text", text), BlockEnded(i))
            case ToolCall(id=call_id, name=name, arguments=arguments):
                head = ToolCall(call_id, name, "", block.custom, block.signature)
                events += (BlockBegan(i, head), Delta(i, "arguments", arguments), BlockEnded(i))
            case _:
                events += (BlockBegan(i, block), BlockEnded(i))
    return events


def test_calls_that_are_open_at_once_do_not_mix() -> None:
    events: list[Event] = [
        BEGAN,
        BlockBegan(0, Text("")),
        Delta(0, "text", "Two."),
        BlockBegan(1, ToolCall("a", "f", "")),
        BlockBegan(2, ToolCall("b", "g", "")),
        Delta(1, "arguments", '{"x":'),
        Delta(2, "arguments", '{"y":'),
        Delta(1, "arguments", "1}"),
        Delta(2, "arguments", "2}"),
        Finished("tool_calls"),
        Used(Usage(10, 5)),
        Ended(),
    ]
    message = message_of(streamed(events))
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "Two."},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {"y": 2}},
    ]
    assert message.usage.input_tokens == 10
    assert message.usage.output_tokens == 5


def test_usage_may_come_before_the_end_or_after_it_and_more_than_once() -> None:
    tails: list[list[Event]] = [
        [Used(Usage(1, 1)), Used(Usage(10, 5, 4, 3, 2)), Finished("stop"), Ended()],
        [Used(Usage(1, 1)), Finished("stop"), Used(Usage(10, 5, 4, 3, 2)), Ended()],
    ]
    for tail in tails:
        usage = message_of(streamed([BEGAN, *told(Text("x")), *tail])).usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (3, 4, 3)
        assert usage.output_tokens_details is not None
        assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (5, 2)


def test_signatures_of_calls_travel_whenever_they_come() -> None:
    signature = Signature("gemini", "CsUB")
    early: list[Event] = [
        BEGAN,
        *told(ToolCall("call_1", "f", '{"a":1}', signature=signature)),
        Finished("tool_calls"),
        Ended(),
    ]
    late: list[Event] = [
        BEGAN,
        BlockBegan(0, ToolCall("call_1", "f", "")),
        Delta(0, "arguments", '{"a":1}'),
        Signed(0, signature),
        BlockEnded(0),
        BlockBegan(1, Text("")),
        Delta(1, "text", "x"),
        BlockEnded(1),
        Finished("tool_calls"),
        Ended(),
    ]
    for events in (early, late):
        message = message_of(streamed(events))
        content = [block.to_dict() for block in message.content]
        body = {"model": "m", "max_tokens": 5, "messages": [{"role": "assistant", "content": content}]}
        blocks = DIALECT.read_request(json.dumps(body).encode(), Lost()).messages[0].blocks
        assert ToolCall("call_1", "f", '{"a": 1}', signature=signature) in blocks


def test_thoughts_of_others_are_thoughts_to_it() -> None:
    events: list[Event] = [
        BEGAN,
        BlockBegan(0, Thinking()),
        Delta(0, "thinking", "Hm"),
        Signed(0, Signature("openai_responses", "gAAA")),
        BlockEnded(0),
        BlockBegan(1, Thinking(redacted=True)),
        Signed(1, Signature("gemini", "CoMB")),
        BlockEnded(1),
        BlockBegan(2, Thinking(redacted=True)),
        BlockEnded(2),
        *(event for event in (BlockBegan(3, Text("")), Delta(3, "text", "Hi"), BlockEnded(3))),
        Finished("stop"),
        Ended(),
    ]
    assert [block.to_dict() for block in message_of(streamed(events)).content] == [
        {"type": "thinking", "thinking": "Hm", "signature": "tw1.openai_responses.gAAA"},
        {"type": "redacted_thinking", "data": "tw1.gemini.CoMB"},
        {"type": "text", "text": "Hi"},
    ]


def test_a_call_of_free_text_streams_as_one_field() -> None:
    events: list[Event] = [
        BEGAN,
        BlockBegan(0, ToolCall("c", "patch", "", custom=True)),
        Delta(0, "arguments", '*** "Begin"\n'),
        Delta(0, "arguments", "\\é"),
        BlockEnded(0),
        Finished("tool_calls"),
        Ended(),
    ]
    (call,) = message_of(streamed(events)).content
    assert call.to_dict()["input"] == {"input": '*** "Begin"\n\\é'}


def test_citations_and_pings_stream() -> None:
    events: list[Event] = [
        BEGAN,
        Noted("weather"),
        BlockBegan(0, Text("")),
        Delta(0, "text", "Green"),
        Cited(0, Citation(url="https://example.com", title="T", quote="q")),
        Cited(0, Citation(document=1, quote="q")),
        BlockEnded(0),
        Finished("stop_sequence", "END"),
        Ended(),
    ]
    message = message_of(streamed(events))
    (text,) = message.content
    assert text.to_dict()["citations"] == [
        {
            "type": "web_search_result_location",
            "url": "https://example.com",
            "title": "T",
            "cited_text": "q",
            "encrypted_index": "",
        }
    ]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert DIALECT.stream_writer(REQUEST).ping() in streamed(events)


def test_a_refusal_in_words_stops_as_one() -> None:
    events: list[Event] = [
        BEGAN,
        BlockBegan(0, Refusal("")),
        Delta(0, "refusal", "No."),
        BlockEnded(0),
        Finished("stop"),
        Ended(),
    ]
    message = message_of(streamed(events))
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert message.content[0].to_dict() == {"type": "text", "text": "No."}


def test_a_stream_that_fails_raises_in_it() -> None:
    begun: list[Event] = [BEGAN, BlockBegan(0, Text("")), Delta(0, "text", "Hel")]
    failed = streamed([*begun, Failed("Too busy", "overloaded_error"), Finished("stop"), Ended()])
    assert b"message_stop" not in failed
    with pytest.raises(anthropic.APIStatusError, match="Too busy") as caught:
        message_of(failed)
    assert caught.value.type == "overloaded_error"
    written = streamed(begun) + DIALECT.write_error_event(CATALOGUE["stream_truncated"], "It was cut.")
    with pytest.raises(anthropic.APIStatusError, match="It was cut") as caught:
        message_of(written)
    assert caught.value.type == "api_error"
    assert caught.value.error_code == "stream_truncated"


# -- errors and counts

CLASSES: dict[int, type[anthropic.APIStatusError]] = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    409: anthropic.ConflictError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
}


@pytest.mark.parametrize("fault", CATALOGUE.values(), ids=lambda fault: fault.code)
def test_each_error_raises_its_exception(fault: Fault) -> None:
    body = DIALECT.write_error(fault, "What went wrong.", "messages[0]")
    with pytest.raises(CLASSES.get(fault.status, anthropic.APIStatusError)) as caught:
        client(body, status=fault.status).messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}]
        )
    error = caught.value
    assert error.status_code == fault.status
    assert error.error_code == fault.code
    assert error.type is not None
    assert "What went wrong." in str(error)


def test_a_count_is_one_to_it() -> None:
    counted = client(DIALECT.write_count(17)).messages.count_tokens(
        model="m", messages=[{"role": "user", "content": "x"}]
    )
    without_extras(counted)
    assert counted == MessageTokensCount(input_tokens=17)


# -- requests

STABLE = [
    path
    for path in cases(HERE / "requests")
    if not any(word in path.stem for word in ("unknown", "compaction", "sampling"))  # which the types do not have
]


@pytest.mark.parametrize("path", STABLE, ids=lambda path: path.stem)
def test_requests_are_what_its_types_ask_for(path: Path) -> None:
    body = json.dumps(json.loads(path.read_text())["body"]).encode()
    written = json.loads(DIALECT.write_request(DIALECT.read_request(body, Lost()), Lost()))
    kind = MessageCreateParamsStreaming if written.get("stream") else MessageCreateParamsNonStreaming
    adapter(kind).validate_python(written)
    assert set(written) <= set(kind.__annotations__) | set(MessageCreateParamsBase.__annotations__)
