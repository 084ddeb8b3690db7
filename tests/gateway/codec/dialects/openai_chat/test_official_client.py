"""OpenAI's own client reads what is written: its types hold with nothing missing, and nothing beside them but the known extensions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk, completion_create_params
from openai.types.chat import chat_completion_assistant_message_param as assistant
from openai.types.chat import chat_completion_system_message_param as system
from openai.types.chat import chat_completion_tool_message_param as tool
from openai.types.chat import chat_completion_user_message_param as user
from pydantic import BaseModel

from gateway.base.errors import CATALOGUE, Fault
from gateway.base.messages import Lost, Request
from gateway.codec.dialects.openai_chat import DIALECT
from tests.support.goldens import cases, events_of

HERE = Path(__file__).parent

EXTENSIONS = {
    "annotations": {"index"},
    "delta": {"reasoning_content", "thinking_blocks", "annotations", "images"},
    "message": {"reasoning_content", "thinking_blocks", "images"},
    "tool_calls": {"extra_content"},
}
"""What an answer may hold beside OpenAI's own, by the field that it stands in; `annotations` stand in deltas of its search models."""

UNTYPED = {"reason_missing", "citations_of_a_kind_nobody_knows", "tool_call_custom"}
"""Answers and streams that say what the client's types have no word for: null for a reason, another annotation, a custom tool in a delta."""


def extras(value: object, field: str = "") -> Iterator[str]:
    """Paths of what a typed object holds beside its type."""
    if isinstance(value, BaseModel):
        yield from (f"{field}.{name}" for name in set(value.model_extra or ()) - EXTENSIONS.get(field, set()))
        for name in type(value).model_fields:
            yield from extras(getattr(value, name), name)
    elif isinstance(value, list):
        for inner in value:
            yield from extras(inner, field)


_answers: list[httpx2.Response] = []
_CLIENT = openai.OpenAI(
    api_key="k",
    base_url="http://test/v1",
    http_client=httpx2.Client(transport=httpx2.MockTransport(lambda _: _answers.pop())),
    max_retries=0,
)


def client(status: int, body: bytes, content_type: str = "application/json") -> openai.OpenAI:
    """The one client, which gets this answer to what it asks next."""
    _answers[:] = [httpx2.Response(status, content=body, headers={"content-type": content_type})]
    return _CLIENT


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}], **fields)


def typed(kind: str) -> list[Path]:
    return [path for path in cases(HERE / kind) if path.stem not in UNTYPED]


@pytest.mark.parametrize("path", typed("answers"), ids=lambda path: path.stem)
def test_an_answer_is_of_the_clients_type(path: Path) -> None:
    body = DIALECT.write_answer(DIALECT.read_answer(json.dumps(json.loads(path.read_text())["body"]).encode()))
    ChatCompletion.model_validate_json(body)
    answer = ask(client(200, body))
    assert list(extras(answer)) == []
    assert json.loads(answer.to_json(exclude_unset=True)) == json.loads(body)


def written(path: Path) -> bytes:
    """What the writer makes of a stream."""
    reader, writer = DIALECT.stream_reader(), DIALECT.stream_writer(Request(model="m", messages=[]))
    events = [event for name, data in events_of(path.read_bytes()) for event in reader.read(name, data)]
    return b"".join(map(writer.write, events))


def ends(path: Path) -> str:
    events = json.loads(path.with_suffix(".json").read_text())["events"]
    kind: str = events[-1]["type"]
    return kind


STREAMS = [path for path in cases(HERE / "streams", "*.sse") if path.stem not in UNTYPED]
WHOLE = [path for path in STREAMS if ends(path) == "ended"]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_each_chunk_is_of_the_clients_type(path: Path) -> None:
    for _, data in events_of(written(path)):
        if data != b"[DONE]" and b'"error"' not in data:
            assert list(extras(ChatCompletionChunk.model_validate_json(data))) == []


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_the_client_puts_a_stream_together_to_what_was_said(path: Path) -> None:
    events = json.loads(path.with_suffix(".json").read_text())["events"]
    answer = put_together(path)
    if answer is None:
        assert "content_filter" in {event.get("finish") for event in events}
        return
    for i, choice in enumerate(answer.choices):
        own = [event for event in events if event.get("choice", 0) == i]
        assert (choice.message.content or "") == _joined(own, "text")
        assert (choice.message.refusal or "") == _joined(own, "refusal")
        assert getattr(choice.message, "reasoning_content", "") == _joined(own, "thinking")
        blocks = [event["block"] for event in own if event["type"] == "block_began"]
        calls = [block["id"] for block in blocks if block["type"] == "tool_call"]
        assert [call.id for call in choice.message.tool_calls or ()] == calls
        made = "".join(call.function.arguments for call in choice.message.tool_calls or () if call.type == "function")
        assert made == (_joined(own, "arguments") or "{}" * len(calls))
        thoughts = [block for block in blocks if block["type"] == "thinking"]
        assert len(getattr(choice.message, "thinking_blocks", ())) == len(thoughts)
        assert choice.finish_reason
    told = [event["usage"] for event in events if event["type"] == "used"]
    assert (answer.usage.prompt_tokens if answer.usage else None) == (told[-1]["input"] if told else None)


def put_together(path: Path) -> ChatCompletion | None:
    """By the client's own helper, which has exceptions for answers that were cut; None where it keeps nothing of such a one."""
    made = client(200, written(path), "text/event-stream")
    with made.chat.completions.stream(model="m", messages=[{"role": "user", "content": "Hello"}]) as stream:
        try:
            return stream.get_final_completion()
        except openai.LengthFinishReasonError as cut:
            return cut.completion
        except openai.ContentFilterFinishReasonError:
            return None


def _joined(events: list[dict[str, Any]], kind: str) -> str:
    return "".join(event["text"] for event in events if event["type"] == "delta" and event["kind"] == kind)


@pytest.mark.parametrize("path", [path for path in STREAMS if ends(path) == "failed"], ids=lambda path: path.stem)
def test_the_client_raises_its_own_exception_where_a_stream_fails(path: Path) -> None:
    told = json.loads(path.with_suffix(".json").read_text())["events"][-1]
    with pytest.raises(openai.APIError) as failed:
        list(ask(client(200, written(path), "text/event-stream"), stream=True))
    assert (failed.value.message, failed.value.code) == (told["message"], told["code"])


# -- errors

RAISED: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}


@pytest.mark.parametrize("fault", CATALOGUE.values(), ids=CATALOGUE)
def test_each_fault_is_the_clients_own_exception(fault: Fault) -> None:
    other = openai.InternalServerError if fault.status >= 500 else openai.APIStatusError
    with pytest.raises(RAISED.get(fault.status, other)) as raised:
        ask(client(fault.status, DIALECT.write_error(fault, "What was wrong.", "messages")))
    error = raised.value
    assert (error.code, error.type, error.param) == (fault.code, fault.type, "messages")
    assert "What was wrong." in error.message


@pytest.mark.parametrize("fault", CATALOGUE.values(), ids=CATALOGUE)
def test_each_fault_within_a_stream_is_the_clients_own_exception(fault: Fault) -> None:
    body = b'data: {"id":"c","choices":[]}\n\n' + DIALECT.write_error_event(fault, "What was wrong.")
    with pytest.raises(openai.APIError) as raised:
        list(ask(client(200, body, "text/event-stream"), stream=True))
    assert (raised.value.code, raised.value.type) == (fault.code, fault.type)


def test_a_providers_own_code_is_kept() -> None:
    fault = CATALOGUE["provider_rejected"]
    with pytest.raises(openai.BadRequestError) as raised:
        ask(client(400, DIALECT.write_error(fault, "Too long.", None, "context_length_exceeded")))
    assert raised.value.code == "context_length_exceeded"


# -- requests

FIELDS = {
    "system": {*system.ChatCompletionSystemMessageParam.__annotations__},
    "user": {*user.ChatCompletionUserMessageParam.__annotations__},
    "assistant": {*assistant.ChatCompletionAssistantMessageParam.__annotations__}
    | {"reasoning_content", "thinking_blocks", "reasoning_details"},
    "tool": {*tool.ChatCompletionToolMessageParam.__annotations__, "name"},
}
TOP = {*completion_create_params.CompletionCreateParamsBase.__annotations__, "stream"}


@pytest.mark.parametrize("path", cases(HERE / "requests"), ids=lambda path: path.stem)
def test_a_request_has_no_field_that_the_client_does_not_know(path: Path) -> None:
    body = json.dumps(json.loads(path.read_text())["body"]).encode()
    found = json.loads(DIALECT.write_request(DIALECT.read_request(body, Lost()), Lost()))
    assert set(found) <= TOP
    for message in found["messages"]:
        assert set(message) <= FIELDS[message["role"]]
