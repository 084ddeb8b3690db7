"""Why an answer has ended, both ways, whole and streamed."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Answer,
    Began,
    Block,
    BlockBegan,
    Choice,
    Ended,
    Event,
    Finish,
    Finished,
    Refusal,
    Text,
    ToolCall,
)
from gateway.codec.dialects.openai_responses import DIALECT
from tests.gateway.codec.dialects.openai_responses.test_goldens import ASKED, read_stream
from tests.support.goldens import events_of

TEXT, CALL, REFUSAL = Text("x"), ToolCall("c", "f", "{}"), Refusal("No.")

WRITTEN: list[tuple[Finish, Block, str, str | None]] = [
    ("stop", TEXT, "completed", None),
    ("stop_sequence", TEXT, "completed", None),
    ("tool_calls", CALL, "completed", None),
    ("refusal", REFUSAL, "completed", None),
    ("refusal", TEXT, "incomplete", "content_filter"),
    ("length", TEXT, "incomplete", "max_output_tokens"),
    ("context_length", TEXT, "incomplete", "max_output_tokens"),
    ("content_filter", TEXT, "incomplete", "content_filter"),
    ("pause", TEXT, "incomplete", "max_messages"),
]
READ: list[tuple[str, str | None, list[str], Finish]] = [
    ("completed", None, ["message"], "stop"),
    ("completed", None, ["message", "function_call"], "tool_calls"),
    ("completed", None, ["custom_tool_call"], "tool_calls"),
    ("completed", None, ["refusal"], "refusal"),
    ("completed", None, ["refusal", "function_call"], "tool_calls"),
    ("completed", None, ["web_search_call"], "stop"),
    ("incomplete", "max_output_tokens", ["function_call"], "length"),
    ("incomplete", "content_filter", ["message"], "content_filter"),
    ("incomplete", "max_messages", ["message"], "pause"),
    ("incomplete", "steered", ["message"], "pause"),
    ("incomplete", "something_new", ["message"], "length"),
    ("incomplete", None, ["message"], "length"),
]
ITEMS: dict[str, Any] = {
    "message": {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
    "refusal": {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "x"}]},
    "function_call": {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    "custom_tool_call": {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"},
    "web_search_call": {"type": "web_search_call", "id": "ws", "status": "completed"},
}


def test_all_reasons_are_written() -> None:
    assert {finish for finish, *_ in WRITTEN} == set(get_args(Finish))


@pytest.mark.parametrize(("finish", "block", "status", "reason"), WRITTEN)
def test_a_reason_is_written(finish: Finish, block: Block, status: str, reason: str | None) -> None:
    whole = json.loads(DIALECT.write_answer(Answer(id="r", model="m", choices=[Choice([block], finish)])))
    writer = DIALECT.stream_writer(ASKED)
    events: list[Event] = [Began("r", "m"), BlockBegan(0, block), Finished(finish), Ended()]
    name, data = events_of(b"".join(writer.write(event) for event in events))[-1]
    assert name.decode() == f"response.{status}"
    for response in (whole, json.loads(data)["response"]):
        assert response["status"] == status
        assert (response["incomplete_details"] or {}).get("reason") == reason


def test_a_reason_that_nobody_told_is_none() -> None:
    response = json.loads(DIALECT.write_answer(Answer(id="r", model="m", choices=[Choice([TEXT])])))
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": None})


@pytest.mark.parametrize(("tier", "told"), [("priority", "priority"), ("standard", None), (None, None)])
def test_a_tier_of_another_provider_is_none_here(tier: str | None, told: str | None) -> None:
    answer = Answer(id="r", model="m", choices=[Choice([TEXT], "stop")], service_tier=tier)
    assert json.loads(DIALECT.write_answer(answer))["service_tier"] == told


@pytest.mark.parametrize(("status", "reason", "items", "finish"), READ)
def test_a_reason_is_read(status: str, reason: str | None, items: list[str], finish: Finish) -> None:
    details = {"reason": reason} if reason is not None else None
    output = [ITEMS[item] for item in items]
    response = {"id": "r", "model": "m", "status": status, "incomplete_details": details, "output": output}
    assert DIALECT.read_answer(json.dumps(response).encode()).choices[0].finish == finish
    events: list[Any] = [{"type": "response.created", "response": {**response, "status": "in_progress", "output": []}}]
    events += [
        {"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(output)
    ]
    events.append({"type": f"response.{status}", "response": response})
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    assert [event.finish for event in read_stream(stream) if isinstance(event, Finished)] == [finish]


@pytest.mark.parametrize("status", ["failed", "cancelled", "queued", "in_progress", "new"])
def test_a_response_that_is_no_answer_is_an_error(status: str) -> None:
    response = {
        "id": "r",
        "model": "m",
        "status": status,
        "output": [],
        "error": {"code": "server_error", "message": "x"},
    }
    with pytest.raises(AnswerError, match=rf"{status} \(server_error\)"):
        DIALECT.read_answer(json.dumps(response).encode())
