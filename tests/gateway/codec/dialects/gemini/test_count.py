"""countTokens: both bodies of the Gemini API, that of Vertex AI, and the count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.base.dialect import AnswerError
from gateway.base.errors import GatewayError
from gateway.base.messages import Lost, Message, Request, Text, Tool
from gateway.codec.dialects.gemini import read_count, read_count_request, write_count, write_count_request

CONTENTS: list[Any] = [{"role": "user", "parts": [{"text": "Hi"}]}]
SYSTEM = {"parts": [{"text": "Be brief."}]}


@pytest.mark.parametrize(
    "body",
    [
        {"contents": CONTENTS, "systemInstruction": SYSTEM},
        {"generateContentRequest": {"model": "models/m", "contents": CONTENTS, "systemInstruction": SYSTEM}},
        {"generate_content_request": {"model": "models/m", "contents": CONTENTS, "system_instruction": SYSTEM}},
    ],
)
def test_what_is_to_be_counted_is_a_request(body: dict[str, Any]) -> None:
    lost = Lost()
    request = read_count_request(json.dumps(body).encode(), lost)
    assert request == Request(model="", messages=[Message("user", [Text("Hi")])], system=[Text("Be brief.")])
    assert not lost.fields


def test_unknown_fields_are_told_by_their_paths() -> None:
    lost = Lost()
    read_count_request(json.dumps({"generateContentRequest": {"contents": CONTENTS, "colour": 1}}).encode(), lost)
    assert lost.fields == ["generateContentRequest.colour"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"contents": CONTENTS, "generateContentRequest": {"contents": CONTENTS}}, "contents"),
        ({}, "contents"),
        ({"generateContentRequest": {"contents": 5}}, "generateContentRequest.contents"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_count_request(json.dumps(body).encode(), Lost())
    assert caught.value.param == param


def test_a_request_is_wrapped_where_it_holds_more_than_contents() -> None:
    bare = Request(model="gemini-2.5-pro", messages=[Message("user", [Text("Hi")])], metadata={"a": "b"})
    assert json.loads(write_count_request(bare, Lost())) == {"contents": CONTENTS}
    whole = Request(model="models/m", messages=bare.messages, system=[Text("Be brief.")], tools=[Tool("f")])
    fields = {
        "contents": CONTENTS,
        "systemInstruction": SYSTEM,
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
    }
    assert json.loads(write_count_request(whole, Lost())) == {"generateContentRequest": {"model": "models/m", **fields}}
    assert json.loads(write_count_request(whole, Lost(), wrapped=False)) == fields


def test_the_count_goes_both_ways() -> None:
    assert read_count(write_count(31)) == 31
    assert read_count(b'{"totalTokens": 7, "promptTokensDetails": []}') == 7
    assert read_count(b"{}") == 0


@pytest.mark.parametrize("body", [b"", b"[]", b'{"totalTokens": "many"}', b'{"totalTokens": -1}'])
def test_what_is_no_count_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError):
        read_count(body)
