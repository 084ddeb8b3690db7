"""What Vertex AI wants otherwise than the Gemini API and Anthropic: only that is changed in a request of the same dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.codec.dialects import anthropic, gemini

HELLO = {"parts": [{"text": "Grüße 🌍"}]}


@pytest.mark.parametrize("role", ["user", "model"])
def test_a_request_with_roles_keeps_its_bytes(role: str) -> None:
    body = b'{ "contents" : [{"role":"%b", "parts":[{"text":"\\u00e9"}]}],"new":1.50 }' % role.encode()
    assert gemini.for_vertex("generate", body, "m", b"") is body
    assert gemini.for_vertex("gemini_count_tokens", body, "m", b"") is body


@pytest.mark.parametrize("role", [{}, {"role": None}, {"role": ""}, {"role": "function"}])
def test_who_says_no_role_that_vertex_knows_is_the_user(role: dict[str, Any]) -> None:
    content = json.dumps({**role, **HELLO, "kept": [1]}, ensure_ascii=False)
    rest = ',{"role":"model","parts":[{"text":"\\u00e9"}]}],"somethingNew":{"a":1.50}}'
    body = '{"contents":[' + content + rest
    sent = gemini.for_vertex("generate", body.encode(), "m", b"").decode()
    first = json.loads(sent)["contents"][0]
    assert first == {"role": "user", **HELLO, "kept": [1]}
    assert sent.endswith(rest), "byte for byte"


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
def test_what_is_counted_stands_beside_the_contents(name: str) -> None:
    inner = {
        "model": "models/m",
        "contents": [HELLO],
        "systemInstruction": HELLO,
        "tools": [{"functionDeclarations": []}],
        "toolConfig": {},
        "safetySettings": [],
    }
    sent = json.loads(gemini.for_vertex("gemini_count_tokens", json.dumps({name: inner}).encode(), "m", b""))
    assert sent == {
        "contents": [{"role": "user", **HELLO}],
        "systemInstruction": HELLO,
        "tools": [{"functionDeclarations": []}],
    }


@pytest.mark.parametrize("contents", ["", '"contents":null,', '"contents":[],'])
def test_a_request_without_contents_is_the_providers_to_refuse(contents: str) -> None:
    body = b"{" + contents.encode() + b'"systemInstruction":{"parts":[]}}'
    assert gemini.for_vertex("generate", body, "m", b"") is body


def test_a_model_in_the_body_is_left_out() -> None:
    body = json.dumps({"model": "the-callers", "contents": [{"role": "user", **HELLO}]}).encode()
    assert json.loads(gemini.for_vertex("generate", body, "m", b"")) == {"contents": [{"role": "user", **HELLO}]}


def test_anthropics_version_stands_in_the_body_and_the_model_does_not() -> None:
    body = b'{"model":"a", "max_tokens":9,"messages":[{"role":"user","content":"\\u00e9"}],"new":1.50,"anthropic_version":"x"}'
    expected = b'{"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[{"role":"user","content":"\\u00e9"}],"new":1.50}'
    assert anthropic.for_vertex("messages", body, "claude@1", b"2023-06-01") == expected
    assert json.loads(anthropic.for_vertex("count_tokens", body, "claude@1", b"2023-06-01")) == {
        **json.loads(expected),
        "model": "claude@1",
    }


@pytest.mark.parametrize(
    ("told", "written"),
    [
        (b"", "vertex-2023-10-16"),
        (b"2023-06-01", "vertex-2023-10-16"),
        (b"2026-10-21", "2026-10-21"),
        (b"2031-01-01", "2031-01-01"),
    ],
)
def test_the_version_is_the_callers(told: bytes, written: str) -> None:
    body = anthropic.for_vertex("messages", b'{"model":"a","max_tokens":9,"messages":[]}', "m", told)
    assert json.loads(body)["anthropic_version"] == written
