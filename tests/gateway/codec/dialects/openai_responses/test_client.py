"""OpenAI's own client takes what is written here: every event and every response, with nothing in it that it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pydantic
import pytest
from openai import APIError, BadRequestError, OpenAI, RateLimitError
from openai.types.responses import Response, ResponseStreamEvent

from _fastpath.usage import Usage
from gateway.base.errors import CATALOGUE, INVALID_VALUE, RATE_LIMIT_EXCEEDED
from gateway.base.messages import (
    Address,
    Audio,
    Began,
    Block,
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
    Refusal,
    Request,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.dialects.openai_responses import DIALECT
from tests.gateway.codec.dialects.openai_responses.test_goldens import ASKED, names, read_stream
from tests.support.goldens import events_of

TOLD_BESIDE = {"frequency_penalty", "presence_penalty", "store"}
"""Of a response, by OpenAI itself and as the Open Responses specification requires; the client has no name for them."""

EVENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)


def extras(value: object, path: str = "") -> Iterator[str]:
    """Fields that a typed value of the client's holds and its type does not have."""
    if isinstance(value, pydantic.BaseModel):
        for name, each in value:
            if name in (value.model_extra or {}):
                yield f"{path}.{name}"
            else:
                yield from extras(each, f"{path}.{name}")
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from extras(each, f"{path}[{at}]")


def unexpected(value: object) -> list[str]:
    return [path for path in extras(value) if path.rpartition(".")[2] not in TOLD_BESIDE]


def client_of(status: int, body: bytes, content_type: str) -> OpenAI:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers={"content-type": content_type})

    return OpenAI(
        api_key="sk-none",
        base_url="http://gateway.test/v1",
        max_retries=0,
        http_client=httpx.Client(transport=httpx.MockTransport(answer)),
    )


def stream_of(events: Iterable[Event], request: Request = ASKED) -> bytes:
    writer = DIALECT.stream_writer(request)
    return b"".join(writer.write(event) for event in events)


ANTHROPIC = Signature("anthropic", "EqQB")
GEMINI = Signature("gemini", "CiQB")

FOREIGN: list[Event] = [
    Began("msg_01", "claude-opus", 1_764_000_000),
    BlockBegan(0, Thinking()),
    Delta(0, "thinking", "Let me "),
    Delta(0, "thinking", "see."),
    Signed(0, ANTHROPIC),
    BlockEnded(0),
    BlockBegan(1, Thinking(signature=ANTHROPIC, redacted=True)),
    BlockEnded(1),
    BlockBegan(2, Thinking(summary=True)),
    Delta(2, "thinking", "In short."),
    BlockEnded(2),
    BlockBegan(3, Text("")),
    Delta(3, "text", "See the page"),
    Cited(3, Citation(url="https://example.com", title="Example", start=4)),
    Cited(3, Citation(title="a.pdf", quote="the page", document=1)),
    BlockEnded(3),
    BlockBegan(4, Text("")),
    Delta(4, "text", "."),
    BlockBegan(5, ToolCall("call_1", "ns--mcp__docs--search", "", signature=GEMINI)),
    BlockBegan(6, ToolCall("call_2", "apply_patch", "", custom=True)),
    Delta(5, "arguments", '{"q":'),
    Delta(6, "arguments", "*** Begin"),
    Delta(5, "arguments", '"x"}'),
    BlockBegan(7, ToolCall("call_3", "f", "")),
    Signed(7, GEMINI),
    BlockEnded(5),
    BlockBegan(8, Image(Inline("image/png", "AAAA"))),
    BlockEnded(8),
    Finished("tool_calls"),
]
"""What no provider of this dialect tells: several blocks open at once, some never ended."""


def whole(blocks: list[Block]) -> list[Event]:
    return [
        Began("chatcmpl-1", "some", 5),
        *(BlockBegan(at, each) for at, each in enumerate(blocks)),
        Finished("stop"),
        Ended(),
    ]


STREAMS: dict[str, list[Event]] = {
    "foreign": [*FOREIGN, Ended()],
    "refusal": [Began("r", "m"), BlockBegan(0, Refusal("")), Delta(0, "refusal", "No."), Finished("refusal"), Ended()],
    "nothing": [Began("r", "m"), Finished("stop"), Ended()],
    "whole_blocks": whole(
        [Text("a"), Thinking("b"), ToolCall("c", "f", "{}"), Refusal("d"), Thinking("e", summary=True)]
    ),
    "media": whole([Audio(Inline("audio/wav", "AA"), "said"), Image(Address("https://example.com/a.png"))]),
}


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS)
def test_each_event_is_one_that_the_client_knows(events: list[Event]) -> None:
    told = events_of(stream_of(events))
    for at, (name, data) in enumerate(told):
        event = EVENT.validate_json(data, strict=True)
        assert (event.type, event.sequence_number) == (name.decode(), at)
        assert unexpected(event) == []


@pytest.mark.parametrize("path", names("streams"))
def test_each_event_of_a_golden_stream_is_one_that_the_client_knows(path: Path) -> None:
    for _, data in events_of(stream_of(read_stream(path.with_suffix(".sse").read_bytes()))):
        if b'"type":"error"' not in data and b"response.failed" not in data:
            assert unexpected(EVENT.validate_json(data, strict=True)) == []


@pytest.mark.parametrize("path", names("answers"))
def test_a_response_is_one_that_the_client_knows(path: Path) -> None:
    body = json.dumps(json.loads(path.read_text())["written"])
    if "telepathy_call" in body or "future_citation" in body:  # which nobody knows, and are carried
        return
    assert unexpected(Response.model_validate_json(body, strict=True)) == []


@pytest.mark.parametrize("events", STREAMS.values(), ids=STREAMS)
def test_the_client_puts_a_stream_together(events: list[Event]) -> None:
    """Its own bookkeeping of items and parts, and the response that the last event repeats, agree."""
    client = client_of(200, stream_of(events), "text/event-stream")
    with client.responses.stream(model="gpt-5.2", input="Hi") as stream:
        deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        response = stream.get_final_response()
    assert response.status == "completed"
    assert response.output_text == deltas


def test_the_client_sees_what_was_said() -> None:
    client = client_of(200, stream_of(STREAMS["foreign"]), "text/event-stream")
    with client.responses.stream(model="gpt-5.2", input="Hi") as stream:
        response = stream.get_final_response()
    assert response.output_text == "See the page."
    kinds = [item.type for item in response.output]
    assert kinds == [
        *("reasoning", "reasoning", "reasoning", "message", "reasoning", "function_call"),
        *("custom_tool_call", "function_call", "reasoning", "image_generation_call"),
    ]
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.call_id, call.name, call.namespace, call.arguments) for call in calls] == [
        ("call_1", "search", "mcp__docs", '{"q":"x"}'),
        ("call_3", "f", None, ""),
    ]


def test_a_stream_that_its_bound_cut_is_no_completed_one() -> None:
    events: list[Event] = [
        Began("r", "m"),
        BlockBegan(0, Text("")),
        Delta(0, "text", "Once"),
        Finished("length"),
        Ended(),
    ]
    client = client_of(200, stream_of(events), "text/event-stream")
    with client.responses.stream(model="gpt-5.2", input="Hi") as stream:
        last = list(stream)[-1]
        with pytest.raises(RuntimeError, match="completed"):
            stream.get_final_response()
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output[0].type == "message"
    assert last.response.output[0].status == "incomplete"


@pytest.mark.parametrize("began", [True, False])
def test_a_streamed_error_is_raised(began: bool) -> None:
    events: list[Event] = [*(FOREIGN if began else []), Failed("Overloaded.", "overloaded_error")]
    client = client_of(200, stream_of(events), "text/event-stream")
    with (
        client.responses.create(model="gpt-5.2", input="Hi", stream=True) as stream,
        pytest.raises(APIError, match="Overloaded") as raised,
    ):
        list(stream)
    assert raised.value.code == "server_is_overloaded"


def test_what_follows_an_error_is_a_failed_response() -> None:
    """Codex takes no notice of `error`, and the message from `response.failed`."""
    events = events_of(stream_of([Began("r", "m"), Failed("Slow down.", "rate_limit_error"), Ended()]))
    assert [name for name, _ in events[-2:]] == [b"error", b"response.failed"]
    failed = EVENT.validate_json(events[-1][1], strict=True)
    assert (failed.response.status, failed.response.error.code) == ("failed", "rate_limit_exceeded")
    assert failed.response.error.message == "Slow down."


def test_an_error_before_a_stream_is_raised() -> None:
    body = DIALECT.write_error_event(RATE_LIMIT_EXCEEDED, "Slow down.")
    client = client_of(200, body, "text/event-stream")
    with (
        client.responses.create(model="gpt-5.2", input="Hi", stream=True) as stream,
        pytest.raises(APIError, match="Slow down"),
    ):
        list(stream)


@pytest.mark.parametrize("fault", CATALOGUE.values(), ids=lambda fault: fault.code)
def test_each_error_is_raised_with_what_it_says(fault: Any) -> None:
    client = client_of(fault.status, DIALECT.write_error(fault, "Because.", "input[1]"), "application/json")
    with pytest.raises(APIError, match="Because") as raised:
        client.responses.create(model="gpt-5.2", input="Hi")
    assert (raised.value.code, raised.value.param, raised.value.type) == (fault.code, "input[1]", fault.type)


def test_errors_have_their_own_classes() -> None:
    for fault, kind in ((INVALID_VALUE, BadRequestError), (RATE_LIMIT_EXCEEDED, RateLimitError)):
        client = client_of(fault.status, DIALECT.write_error(fault, "Because.", code="own"), "application/json")
        with pytest.raises(kind) as raised:
            client.responses.create(model="gpt-5.2", input="Hi")
        assert raised.value.code == "own"


def test_a_ping_is_nothing_to_the_client() -> None:
    writer = DIALECT.stream_writer(ASKED)
    events: list[Event] = [
        Began("r", "m"),
        BlockBegan(0, Text("")),
        Delta(0, "text", "Hi"),
        Used(Usage(3, 1)),
        Finished("stop"),
        Ended(),
    ]
    body = b"".join(writer.write(event) + writer.ping() for event in events)
    client = client_of(200, writer.ping() + body, "text/event-stream")
    with client.responses.stream(model="gpt-5.2", input="Hi") as stream:
        assert stream.get_final_response().usage is not None
