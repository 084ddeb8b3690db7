"""Why an answer has ended, from each word of a provider to the canonical one and on to a caller."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from gateway.base.dialect import AnswerError
from gateway.base.messages import Answer, Choice, Failed, Finish, Finished, Refusal, Text
from gateway.codec.dialects.openai_chat import DIALECT

SUCCESS = {"stop", "stop_sequence", "tool_calls"}

TABLE: list[tuple[str, Finish, str]] = [
    # a provider's, the canonical one, a caller's
    ("stop", "stop", "stop"),
    ("length", "length", "length"),
    ("tool_calls", "tool_calls", "tool_calls"),
    ("function_call", "tool_calls", "tool_calls"),
    ("content_filter", "content_filter", "content_filter"),
    ("eos", "stop", "stop"),
    ("eos_token", "stop", "stop"),
    ("end_turn", "stop", "stop"),
    ("stop_sequence", "stop_sequence", "stop"),
    ("max_tokens", "length", "length"),
    ("MAX_TOKENS", "length", "length"),
    ("model_length", "context_length", "length"),
    ("tool_use", "tool_calls", "tool_calls"),
    ("safety", "content_filter", "content_filter"),
    ("sensitive", "content_filter", "content_filter"),
    ("recitation", "content_filter", "content_filter"),
    ("refusal", "refusal", "content_filter"),
    ("a_word_of_tomorrow", "length", "length"),
]
FAILURES = ["error", "abort", "cancelled", "network_error", "insufficient_system_resource"]


def answer(reason: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": "Hi"}, "finish_reason": reason}]}).encode()


def chunk(reason: str) -> bytes:
    return json.dumps({"choices": [{"delta": {"content": "Hi"}, "finish_reason": reason}]}).encode()


@pytest.mark.parametrize(("told", "finish", "shown"), TABLE)
def test_a_reason_is_neither_lost_nor_invented(told: str, finish: Finish, shown: str) -> None:
    read = DIALECT.read_answer(answer(told))
    assert read.choices[0].finish == finish
    assert json.loads(DIALECT.write_answer(read))["choices"][0]["finish_reason"] == shown
    assert DIALECT.stream_reader().read(b"", chunk(told))[-1] == Finished(finish)


@pytest.mark.parametrize("told", FAILURES)
def test_a_provider_that_broke_off_is_an_error(told: str) -> None:
    with pytest.raises(AnswerError):
        DIALECT.read_answer(answer(told))
    assert DIALECT.stream_reader().read(b"", chunk(told)) == (Failed("The provider broke its answer off.", told),)


@pytest.mark.parametrize("finish", get_args(Finish))
def test_every_reason_has_a_word_and_no_failure_looks_like_success(finish: Finish) -> None:
    body = DIALECT.write_answer(Answer(id="", model="", choices=[Choice([Text("Hi")], finish)]))
    shown = json.loads(body)["choices"][0]["finish_reason"]
    assert (shown in SUCCESS) == (finish in SUCCESS)


def test_a_refusal_in_words_ends_as_openai_has_it() -> None:
    body = DIALECT.write_answer(Answer(id="", model="", choices=[Choice([Refusal("No.")], "refusal")]))
    assert json.loads(body)["choices"][0]["finish_reason"] == "stop"
    assert DIALECT.read_answer(body).choices[0].finish == "refusal"
