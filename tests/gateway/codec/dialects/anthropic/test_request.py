"""Reading requests: what is wrong is named, what is unknown is told, what a version has removed is refused in it alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.base.dialect import Dialect
from gateway.base.errors import INVALID_JSON, INVALID_VALUE, MISSING_MODEL, GatewayError
from gateway.base.messages import Lost
from gateway.codec.dialects.anthropic import DIALECT
from gateway.codec.dialects.anthropic import _wire as wire
from gateway.codec.dialects.anthropic._unknown import without_unknown

HELLO = {"role": "user", "content": "Hello"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [HELLO], **fields}).encode()


def block(*blocks: Any, role: str = "user") -> bytes:
    return body(messages=[{"role": role, "content": list(blocks)}])


def refused(raw: bytes, **options: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        DIALECT.read_request(raw, Lost(), **options)
    return caught.value


def test_it_is_a_dialect() -> None:
    dialect: Dialect = DIALECT
    assert dialect.name == "anthropic"


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (body(max_tokens=None), "max_tokens"),
        (body(max_tokens="10"), "max_tokens"),
        (body(max_tokens=-1), "max_tokens"),
        (body(messages=None), "messages"),
        (body(messages="Hello"), "messages"),
        (body(messages=[HELLO, {"role": "robot", "content": "x"}]), "messages[1].role"),
        (body(messages=[{"role": "user"}]), "messages[0].content"),
        (body(messages=[{"role": "user", "content": 5}]), "messages[0].content"),
        (body(temperature=1.5), "temperature"),
        (body(top_p=-0.1), "top_p"),
        (body(top_k=1.5), "top_k"),
        (body(stop_sequences="x"), "stop_sequences"),
        (body(system=[{"type": "text"}]), "system[0]"),
        (body(thinking={}), "thinking"),
        (block({"type": "image", "source": {"url": "x"}}), "messages[0].content[0].source"),
        (body(stream="yes"), "stream"),
        (body(tools=[{"description": "no name"}]), "tools[0]"),
        (body(tools=[{"name": 5, "input_schema": {}, "novel": 1}]), "tools[0].name"),
        (body(tools=["x"]), "tools[0]"),
        (body(tool_choice={"type": "tool"}), "tool_choice.name"),
        (body(thinking={"type": "enabled"}), "thinking.budget_tokens"),
        (body(metadata={"user_id": 5}), "metadata.user_id"),
        (block({"type": "text"}), "messages[0].content[0]"),
        (block({"text": "x"}), "messages[0].content[0]"),
        (block({"type": "text", "text": 5}), "messages[0].content[0].text"),
        (block({"type": "tool_result", "content": "x"}), "messages[0].content[0]"),
        (
            block({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}),
            "messages[0].content[0].content[0]",
        ),
        (
            block({"type": "hologram"}, {"type": "text", "text": "x", "colour": 1}, {"type": "text", "text": None}),
            "messages[0].content[2].text",
        ),
        (
            block({"type": "text", "text": "x", "citations": [{"type": 5}]}, role="assistant"),
            "messages[0].content[0].citations.type",
        ),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, param: str) -> None:
    error = refused(raw)
    assert error.fault is INVALID_VALUE
    assert error.param == param


@pytest.mark.parametrize("model", [None, ""])
def test_a_request_names_its_model(model: str | None) -> None:
    assert refused(body(model=model)).fault is MISSING_MODEL


def test_what_nests_too_deep_is_refused_however_deep_the_interpreter_goes() -> None:
    assert refused(b'{"a":' * 5_000 + b"1" + b"}" * 5_000).fault in (INVALID_JSON, MISSING_MODEL)


@pytest.mark.parametrize("raw", [b"", b"{", b'{"model": "\xff"}'])
def test_what_is_no_json_is_refused_as_such(raw: bytes) -> None:
    assert refused(raw).fault is INVALID_JSON


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"5"])
def test_a_body_is_an_object(raw: bytes) -> None:
    assert refused(raw).fault is INVALID_VALUE


def test_the_text_of_schemas_and_inputs_stays_as_it_came() -> None:
    raw = (
        b'{"model":"m","max_tokens":1,"tools":[{"name":"t","input_schema":{ "type" : "object", "b":1.0 }}],"messages":'
        b'[{"role":"assistant","content":[{"type":"tool_use","id":"i","name":"t","input":{ "x":1e2,  "y":"\\u00e9" }}]}]%b}'
    )
    for more in (b"", b',"novel":1'):  # either way of reading
        request = DIALECT.read_request(raw % more, Lost())
        assert bytes(request.tools[0].parameters or b"") == b'{ "type" : "object", "b":1.0 }'
        assert request.messages[0].blocks[0].arguments == '{ "x":1e2,  "y":"\\u00e9" }'  # type: ignore[union-attr]


def test_unknown_fields_are_told_once_each_and_no_further_than_the_bound() -> None:
    lost = Lost()
    DIALECT.read_request(block(*({"type": "text", "text": "x", "novel": 1} for _ in range(300))), lost)
    assert lost.fields[:2] == ["messages[0].content[0].novel", "messages[0].content[1].novel"]
    assert len(lost.fields) == Lost.MAX_FIELDS


def test_unknown_fields_that_are_null_are_not_lost() -> None:
    lost = Lost()
    DIALECT.read_request(body(novel=None), lost)
    assert lost.fields == []


def test_taking_out_what_is_unknown_changes_nothing_else() -> None:
    raw = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "é\n"}]}]}
    ).encode()
    assert json.loads(bytes(without_unknown(raw, wire.Request, Lost()))) == json.loads(raw)


SAMPLED = body(temperature=1, top_p=None)
ASSISTANT_DOCUMENT = block(
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}, role="assistant"
)
CITATION = {"type": "char_location", "cited_text": "x", "document_index": 0}
CITED = {"type": "text", "text": "x", "citations": [CITATION]}
USER_CITATION = block(CITED)
SEARCH_CITATION = block({"type": "search_result", "source": "s", "title": "t", "content": [CITED]})


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (SAMPLED, "temperature"),
        (body(top_p=0.9), "top_p"),
        (body(top_k=5), "top_k"),
        (ASSISTANT_DOCUMENT, "messages[0].content[0]"),
        (USER_CITATION, "messages[0].content[0]"),
        (SEARCH_CITATION, "messages[0].content[0]"),
    ],
)
def test_what_a_version_has_removed_is_refused_in_it_alone(raw: bytes, param: str) -> None:
    DIALECT.read_request(raw, Lost(), version="2023-06-01")
    DIALECT.read_request(raw, Lost())
    error = refused(raw, version="2026-10-21")
    assert error.fault is INVALID_VALUE
    assert error.param == param


def test_the_newer_version_takes_the_rest() -> None:
    DIALECT.read_request(block({"type": "text", "text": "x", "citations": []}), Lost(), version="2026-10-21")


# -- counting


def test_a_count_is_asked_without_max_tokens() -> None:
    raw = json.dumps({"model": "m", "messages": [HELLO]}).encode()
    assert refused(raw).param == "max_tokens"
    request = DIALECT.read_count_request(raw, Lost())
    assert request.max_output_tokens is None
    assert json.loads(DIALECT.write_count_request(request, Lost())) == json.loads(raw)


def test_a_count_is_asked_for_the_prompt_alone() -> None:
    request = DIALECT.read_request(
        body(temperature=0.5, stop_sequences=["x"], stream=True, metadata={"user_id": "u"}), Lost()
    )
    assert set(json.loads(DIALECT.write_count_request(request, Lost()))) == {"model", "messages"}


def test_a_count_is_answered_and_read() -> None:
    assert json.loads(DIALECT.write_count(2095)) == {"input_tokens": 2095}
    assert DIALECT.read_count(DIALECT.write_count(2095)) == 2095
