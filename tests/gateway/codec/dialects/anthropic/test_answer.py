"""Whole answers that break the dialect, the table of finish reasons, and errors."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from gateway.base.dialect import AnswerError
from gateway.base.errors import CATALOGUE, Fault
from gateway.base.messages import Answer, Choice, Finish, Refusal, Text
from gateway.codec.dialects.anthropic import DIALECT


def answer(**fields: object) -> bytes:
    return json.dumps({"id": "msg_1", "type": "message", "model": "m", "content": [], **fields}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b'{"type":"error","error":{}}',
        answer(content=None),
        answer(content=["x"]),
        answer(content=[{"text": "x"}]),
        answer(content=[{"type": "tool_use", "name": "f"}]),
        answer(content=[{"type": "text", "text": 5}]),
        answer(content=[{"type": "text", "text": "x", "citations": [{"url": 5}]}]),
        answer(type="completion"),
        b'{"content":[{"type":"text","text":"\xff"}]}',
        b'{"content":[' + b"[" * 5_000 + b"]" * 5_000 + b"]}",
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError):
        DIALECT.read_answer(body)


REASONS: list[tuple[str, Finish]] = [
    ("end_turn", "stop"),
    ("max_tokens", "length"),
    ("stop_sequence", "stop_sequence"),
    ("tool_use", "tool_calls"),
    ("pause_turn", "pause"),
    ("refusal", "refusal"),
    ("model_context_window_exceeded", "context_length"),
]


@pytest.mark.parametrize(("reason", "finish"), REASONS)
def test_reasons_there_and_back(reason: str, finish: Finish) -> None:
    read = DIALECT.read_answer(answer(stop_reason=reason))
    assert read.choices[0].finish == finish
    assert json.loads(DIALECT.write_answer(read))["stop_reason"] == reason


@pytest.mark.parametrize(("reason", "finish"), [("compaction", "pause"), ("tired", "length"), ("", "length")])
def test_reasons_that_have_no_word_of_their_own_claim_no_success(reason: str, finish: Finish) -> None:
    assert DIALECT.read_answer(answer(stop_reason=reason)).choices[0].finish == finish


def test_every_finish_has_a_reason_and_none_is_invented() -> None:
    reasons = {
        finish: json.loads(DIALECT.write_answer(Answer(id="", model="", choices=[Choice([], finish)])))["stop_reason"]
        for finish in (*get_args(Finish), None)
    }
    expected: dict[Finish | None, str | None] = {finish: reason for reason, finish in REASONS}
    assert reasons == expected | {"content_filter": "refusal", None: None}


def test_an_answer_of_no_choice_is_an_empty_message() -> None:
    written = json.loads(DIALECT.write_answer(Answer(id="i", model="m", choices=[])))
    assert (written["content"], written["stop_reason"]) == ([], None)


def test_words_of_a_refusal_are_shown_and_the_reason_says_so() -> None:
    choice = Choice([Text(""), Refusal("No.")], "stop")
    written = json.loads(DIALECT.write_answer(Answer(id="i", model="m", choices=[choice])))
    assert written["content"] == [{"type": "text", "text": "No."}]
    assert written["stop_reason"] == "refusal"
    assert written["stop_details"]["type"] == "refusal"


# -- errors

TYPES = {
    "invalid_value": "invalid_request_error",
    "invalid_api_key": "authentication_error",
    "budget_exceeded": "billing_error",
    "model_not_allowed": "permission_error",
    "model_not_found": "not_found_error",
    "body_too_large": "request_too_large",
    "rate_limit_exceeded": "rate_limit_error",
    "internal_error": "api_error",
    "provider_unreachable": "api_error",
    "stream_truncated": "api_error",
    "overloaded": "overloaded_error",
    "provider_timeout": "timeout_error",
    "client_closed_request": "invalid_request_error",
}


@pytest.mark.parametrize("fault", CATALOGUE.values(), ids=lambda fault: fault.code)
def test_each_fault_has_a_type_of_this_dialect(fault: Fault) -> None:
    error = json.loads(DIALECT.write_error(fault, "m"))["error"]
    assert error["type"] == TYPES.get(fault.code, error["type"])
    assert (error["type"] in ("api_error", "overloaded_error", "timeout_error")) == (
        fault.status >= 500 or fault.status == 408
    )
    assert error["details"]["error_code"] == fault.code
    told = DIALECT.read_error(DIALECT.write_error(fault, "m"))
    assert (told.message, told.code) == ("m", error["type"])


def test_a_providers_own_code_is_kept() -> None:
    fault = CATALOGUE["provider_error"]
    assert json.loads(DIALECT.write_error(fault, "m", code="overloaded_error"))["error"] == {
        "type": "overloaded_error",
        "message": "m",
        "details": {"error_code": "provider_error"},
    }
    assert json.loads(DIALECT.write_error(fault, "m", code="insufficient_quota"))["error"] == {
        "type": "api_error",
        "message": "m",
        "details": {"error_code": "insufficient_quota"},
    }


def test_an_event_of_an_error_is_the_error() -> None:
    fault = CATALOGUE["stream_truncated"]
    assert DIALECT.write_error_event(fault, "m") == b"event: error\ndata: " + DIALECT.write_error(fault, "m") + b"\n\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"Bad gateway", "Bad gateway"),
        (b"\xff", "\ufffd"),
        (b"", ""),
        (b'"x"', "x"),
        (b"[1]", "[1]"),
        (b'{"error":"x"}', "x"),
        (b'{"detail":"x"}', "x"),
        (b'{"error":{"message":5,"type":6,"param":7}}', "5"),
        (b"[" * 5_000, "[" * 2_000),
        (b'{"error":{"message":"' + b"x" * 5_000 + b'"}}', "x" * 2_000),
    ],
)
def test_an_error_of_any_shape_is_read(body: bytes, message: str) -> None:
    assert DIALECT.read_error(body).message == message


@pytest.mark.parametrize("body", [b"", b"{}", b'{"input_tokens":null}', b'{"input_tokens":-1}', b"[]"])
def test_what_is_no_count_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError):
        DIALECT.read_count(body)
