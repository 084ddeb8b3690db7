"""A request made to fit a provider that is compatible with OpenAI, but for some things; all else stays as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.messages import Lost, Request
from gateway.base.snapshot import Provider
from gateway.codec.dialects.openai_chat._request_writer import write_request
from gateway.codec.dialects.openai_chat.quirks import Quirks, quirks_of
from tests.gateway.codec.dialects.openai_chat.strategies import requests


def quirks(**fields: Any) -> Quirks:
    made = quirks_of(Provider("p", "openai", "https://example.test/v1", **fields))
    assert made is not None
    return made


def fitted(made: Quirks, request: Any, *, ask_usage: bool = False) -> tuple[Any, Lost]:
    lost = Lost()
    return json.loads(made.fit(json.dumps(request).encode(), b'"theirs"', lost, ask_usage=ask_usage)), lost


def test_most_providers_have_none() -> None:
    assert quirks_of(Provider("p", "openai", "https://example.test/v1")) is None


@given(requests())
def test_what_is_not_touched_stays_and_in_its_order(request: Request) -> None:
    body = json.loads(write_request(request, Lost()))
    made = quirks(unsupported_params=("nobody", "messages.no.such", "tools.function.nobody"), developer_role="system")
    got, lost = fitted(made, body)
    roles = {"developer": "system"}
    messages = [{**m, "role": roles.get(m["role"], m["role"])} for m in body["messages"]]
    assert json.dumps(got) == json.dumps({**body, "model": "theirs", "messages": messages})
    assert not lost.fields and not lost.hints


@pytest.mark.parametrize(
    ("path", "request_", "left", "fields", "hints"),
    [
        ("store", {"store": True, "n": 2}, {"n": 2}, [], ["store"]),
        ("verbosity", {"verbosity": "low"}, {}, ["verbosity"], []),
        ("verbosity", {"verbosity": None}, {}, [], []),
        ("n", {"n": 1}, {}, [], []),
        ("n", {"n": 2}, {}, ["n"], []),
        ("frequency_penalty", {"frequency_penalty": 0.0}, {}, [], []),
        (
            "messages.name",
            {"messages": [{"role": "user"}, {"role": "user", "name": "a"}]},
            None,
            ["messages[1].name"],
            [],
        ),
        (
            "messages.name",
            {"messages": [{"role": "tool", "name": "f"}]},
            {"messages": [{"role": "tool", "name": "f"}]},
            [],
            [],
        ),
        ("messages.name", {"messages": "odd"}, {"messages": "odd"}, [], []),
        ("messages.name", {"messages": [1, "a", None]}, {"messages": [1, "a", None]}, [], []),
        (
            "tools.function.strict",
            {"tools": [{"function": {"strict": False}}, {"function": {"strict": True, "name": "f"}}]},
            {"tools": [{"function": {}}, {"function": {"name": "f"}}]},
            ["tools[1].function.strict"],
            [],
        ),
    ],
)
def test_what_it_refuses_is_left_out_and_told(
    path: str, request_: Any, left: Any, fields: list[str], hints: list[str]
) -> None:
    got, lost = fitted(quirks(unsupported_params=(path,)), {"model": "ours", **request_})
    assert (lost.fields, lost.hints) == (fields, hints)
    if left is not None:
        assert got == {"model": "theirs", **left}


def test_names_are_those_of_the_provider() -> None:
    made = quirks(renamed_params=(("seed", "random_seed"),), max_tokens_field="max_tokens")
    got, _ = fitted(made, {"model": "m", "seed": 3, "max_completion_tokens": 7})
    assert got == {"model": "theirs", "random_seed": 3, "max_tokens": 7}
    got, _ = fitted(made, {"model": "m", "max_tokens": 6, "max_completion_tokens": 7})
    assert got == {"model": "theirs", "max_tokens": 6, "max_completion_tokens": 7}


@pytest.mark.parametrize("options", [{}, {"stream_options": None}, {"stream_options": {"include_obfuscation": False}}])
def test_a_stream_is_asked_what_it_used_where_the_provider_takes_that(options: dict[str, Any]) -> None:
    got, _ = fitted(quirks(max_tokens_field="max_tokens"), {"model": "m", **options}, ask_usage=True)
    assert got["stream_options"] == {**(options.get("stream_options") or {}), "include_usage": True}
    deaf = quirks(unsupported_params=("stream_options",))
    got, lost = fitted(deaf, {"model": "m", **options}, ask_usage=True)
    assert "stream_options" not in got and not deaf.takes_stream_options and not lost.fields


@given(st.lists(st.text(max_size=40), min_size=1, max_size=20, unique=True))
def test_ids_of_calls_become_nine_letters_or_digits_the_same_in_call_and_result(ids: list[str]) -> None:
    calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids]
    results = [{"role": "tool", "tool_call_id": each, "content": ""} for each in ids]
    request = {"model": "m", "messages": [{"role": "assistant", "tool_calls": calls}, *results]}
    got, _ = fitted(quirks(tool_call_ids="alphanumeric_9"), request)
    called = [call["id"] for call in got["messages"][0]["tool_calls"]]
    assert called == [result["tool_call_id"] for result in got["messages"][1:]]
    assert all(len(each) == 9 and each.isascii() and each.isalnum() for each in called)
    assert len(set(called)) == len(ids)


def test_an_id_that_fits_stays() -> None:
    request = {"model": "m", "messages": [{"role": "tool", "tool_call_id": "aB3456789", "content": ""}]}
    assert fitted(quirks(tool_call_ids="alphanumeric_9"), request)[0]["messages"] == request["messages"]
