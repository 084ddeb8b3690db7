"""Answers that cannot be, and answers of other dialects as this one writes them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Answer,
    Block,
    Choice,
    Citation,
    Image,
    Inline,
    Opaque,
    Signature,
    StoredFile,
    Text,
    Thinking,
)
from gateway.codec.dialects.openai_chat import DIALECT


def answer(*choices: Any) -> bytes:
    return json.dumps({"choices": choices}).encode()


def said(**message: Any) -> dict[str, Any]:
    return {"message": message, "finish_reason": "stop"}


F = {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>",
        b'{"error": {"message": "no"}}',
        answer(),
        answer({"finish_reason": "stop"}),
        answer(said(content=7)),
        answer(said(tool_calls=[{"id": "a"}])),
        answer(said(tool_calls=[{"id": "a", "function": {"arguments": "{}"}}])),
        answer(said(tool_calls=[{"id": "a", "function": F}, {"id": "a", "function": F}])),
        answer(said(content=[{"type": "text"}])),
        answer(said(images=[{"type": "image_url"}])),
        answer({"index": 1, **said(content="A")}),
        answer({"index": 0, **said(content="A")}, {"index": 0, **said(content="B")}),
        answer(*[said(content="A")] * 129),
    ],
)
def test_an_answer_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError):
        DIALECT.read_answer(body)


def test_a_refusal_tells_nothing_of_the_conversation() -> None:
    with pytest.raises(AnswerError) as refused:
        DIALECT.read_answer(answer(said(content={"secret": "word"})))
    assert "secret" not in str(refused.value)
    assert "word" not in str(refused.value)


def test_an_answer_that_is_not_utf_8_is_read_as_well_as_it_can_be() -> None:
    read = DIALECT.read_answer(b'{"choices":[{"message":{"content":"a\xffb"},"finish_reason":"stop"}]}')
    assert read.choices[0].blocks == [Text("a\ufffdb")]


@pytest.mark.parametrize(
    ("message", "blocks"),
    [
        (
            {"content": "Hi", "annotations": [7]},
            [Text("Hi", citations=[Citation(raw=msgspec.Raw(b"7"), dialect="openai_chat")])],
        ),
        ({"content": "Hi", "reasoning_details": [7]}, [Text("Hi")]),
        ({"content": None, "annotations": [7]}, []),
        ({"content": "Hi", "audio": {}}, [Text("Hi")]),
    ],
)
def test_what_is_odd_about_an_answer_spoils_no_text(message: dict[str, Any], blocks: list[Block]) -> None:
    assert DIALECT.read_answer(answer(said(**message))).choices[0].blocks == blocks


def message(*blocks: Block) -> dict[str, Any]:
    body = DIALECT.write_answer(Answer(id="a", model="m", choices=[Choice(list(blocks), "stop")]))
    found: dict[str, Any] = json.loads(body)["choices"][0]["message"]
    assert found.pop("role") == "assistant"
    return {name: value for name, value in found.items() if value is not None}


RAW = msgspec.Raw(b'{"type":"char_location","cited_text":"Snow"}')


@pytest.mark.parametrize(
    ("blocks", "shown"),
    [
        ([Text("A"), Text("B")], {"content": "AB"}),
        ([Text("")], {"content": ""}),
        ([], {}),
        ([Opaque("anthropic", "server_tool_use", RAW), Text("A")], {"content": "A"}),
        ([Image(StoredFile("f")), Text("A")], {"content": "A"}),
        ([Thinking("Hm")], {"reasoning_content": "Hm"}),
        (
            [Thinking("A", Signature("anthropic", "EqoB")), Thinking("B")],
            {
                "reasoning_content": "AB",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "A", "signature": "tw1.anthropic.EqoB"},
                    {"type": "thinking", "thinking": "B"},
                ],
            },
        ),
        (
            [Image(Inline("image/png", "iVBO"))],
            {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]},
        ),
    ],
)
def test_blocks_have_their_place(blocks: list[Block], shown: dict[str, Any]) -> None:
    assert message(*blocks) == shown


def test_citations_are_of_the_text_as_it_is_put_together() -> None:
    found = message(
        Text("It rained. "),
        Text(
            "It snowed.", citations=[Citation("https://example.com", start=3, end=9), Citation("https://example.org")]
        ),
    )
    places = [(a["url_citation"]["start_index"], a["url_citation"]["end_index"]) for a in found["annotations"]]
    assert [found["content"][start:end] for start, end in places] == ["snowed", "It snowed."]


def test_citations_of_documents_are_handed_on_as_litellm_does() -> None:
    found = message(
        Text("Snow", citations=[Citation(raw=RAW, dialect="anthropic"), Citation(title="Book", quote="Snow")])
    )
    first, second = found["provider_specific_fields"]["citations"]
    assert first == json.loads(bytes(RAW))
    assert (second["document_title"], second["cited_text"]) == ("Book", "Snow")
