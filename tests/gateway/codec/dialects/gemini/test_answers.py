"""Answers of Gemini's dialect: what they mean, how that is written, and why they ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from _fastpath.usage import Usage
from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Answer,
    Block,
    Choice,
    Citation,
    Finish,
    Lost,
    Opaque,
    Refusal,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gateway.codec.dialects.gemini import DIALECT
from tests.gateway.codec.dialects.gemini.test_requests import raw
from tests.support.goldens import cases, plain

HERE = Path(__file__).parent


def read(body: Any) -> Answer:
    return DIALECT.read_answer(json.dumps(body).encode())


def written(*choices: Choice, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DIALECT.write_answer(Answer(id="r", model="m", choices=list(choices), **fields)))
    return found


@pytest.mark.parametrize("path", cases(HERE / "answers"), ids=lambda path: path.stem)
def test_an_answer_means_and_is_written_as_the_golden_file_says(path: Path) -> None:
    golden = json.loads(path.read_text())
    answer = read(golden["body"])
    assert plain(answer) == golden["canonical"]
    assert json.loads(DIALECT.write_answer(answer)) == golden.get("written", golden["body"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"candidates": 5}',
        b'{"candidates": []}',
        b"{}",
        b'{"promptFeedback": {}}',
        b'{"error": {"code": 500, "message": "x"}}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]}',
        b'{"candidates": [{"content": {"parts": [{"functionCall": {"id": "a", "name": "f"}}, {"functionCall": {"id": "a", "name": "f"}}]}}]}',
        b'{"candidates": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"candidates": "\xff"}',
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerError):
        DIALECT.read_answer(body)


NO_SUCCESS = (
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_RECITATION",
    "UNEXPECTED_TOOL_CALL",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "MODEL_ARMOR",
    "FINISH_REASON_UNSPECIFIED",
    "NEVER_HEARD_OF",
)
FINISHES: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "TOO_MANY_TOOL_CALLS": "pause",
    **dict.fromkeys(NO_SUCCESS, "content_filter"),
}


@pytest.mark.parametrize(("reason", "finish"), FINISHES.items())
def test_only_stop_is_success(reason: str, finish: Finish) -> None:
    parts = [{"text": "a"}, {"functionCall": {"name": "f"}}]
    for calls, expected in ((1, finish), (2, "tool_calls" if finish == "stop" else finish)):
        candidate = {"content": {"parts": parts[:calls]}, "finishReason": reason}
        assert read({"candidates": [candidate]}).choices[0].finish == expected


def test_every_reason_that_the_client_knows_is_in_the_table() -> None:
    from google.genai import types

    assert {reason.value for reason in types.FinishReason} <= FINISHES.keys()


@pytest.mark.parametrize("finish", get_args(Finish))
def test_what_is_no_success_is_never_written_as_one(finish: Finish) -> None:
    reason = written(Choice([Text("a")], finish))["candidates"][0]["finishReason"]
    assert (reason == "STOP") == (finish in ("stop", "stop_sequence", "tool_calls"))


def test_without_a_reason_none_is_invented() -> None:
    assert "finishReason" not in written(Choice([Text("a")]))["candidates"][0]


def test_thoughts_of_another_provider_come_back_as_they_were() -> None:
    blocks: list[Block] = [
        Thinking("Hm.", Signature("anthropic", "EqQB+/="), summary=True),
        Thinking("", Signature("anthropic", "secret"), redacted=True),
        ToolCall("a", "f", "{}", signature=Signature("openai_chat", "s")),
    ]
    body = written(Choice(list(blocks), "tool_calls"))
    parts = body["candidates"][0]["content"]["parts"]
    request = DIALECT.read_request(json.dumps({"contents": [{"role": "model", "parts": parts}]}).encode(), Lost())
    assert request.messages[0].blocks == blocks


def test_what_a_caller_of_this_dialect_cannot_read_is_left_out() -> None:
    body = written(
        Choice([Opaque("anthropic", "server_tool_use", raw({"a": 1})), Refusal("No."), Text("a")], "refusal")
    )
    assert body["candidates"][0]["content"]["parts"] == [{"text": "No."}, {"text": "a"}]


def test_sources_of_another_provider_are_grounding() -> None:
    cited = [Citation("https://a.example", "A", start=0, end=5), Citation(title="B", quote="b", document=0)]
    (candidate,) = written(Choice([Text("ä"), Text("Grüße", citations=cited)], "stop"))["candidates"]
    assert candidate["groundingMetadata"] == {
        "groundingChunks": [
            {"web": {"uri": "https://a.example", "title": "A"}},
            {"retrievedContext": {"title": "B", "text": "b"}},
        ],
        "groundingSupports": [
            {"segment": {"partIndex": 1, "startIndex": 0, "endIndex": 7}, "groundingChunkIndices": [0]}
        ],
    }


def test_many_citations_of_a_long_text_are_counted_in_one_pass() -> None:
    text = "ä" * 100_000
    supports = [
        {"segment": {"startIndex": 2 * i, "endIndex": 2 * i + 2}, "groundingChunkIndices": [0]} for i in range(5_000)
    ]
    grounding = {"groundingChunks": [{"web": {"uri": "https://a.example"}}], "groundingSupports": supports}
    candidate = {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "groundingMetadata": grounding}
    answer = read({"candidates": [candidate]})
    block = answer.choices[0].blocks[0]
    assert isinstance(block, Text)
    assert (block.citations[-1].start, block.citations[-1].end) == (4_999, 5_000)
    again = json.loads(DIALECT.write_answer(answer))["candidates"][0]["groundingMetadata"]["groundingSupports"]
    assert again[-1]["segment"] == {"partIndex": 0, "startIndex": 9_998, "endIndex": 10_000}


@pytest.mark.parametrize("span", [(1, 2), (-5, 3), (3, 1), (0, 10**12), (5, None), (None, None)])
def test_a_place_that_is_none_is_bounded_by_the_text(span: tuple[int | None, int | None]) -> None:
    segment = {"startIndex": span[0], "endIndex": span[1]}
    grounding = {
        "groundingChunks": [{"web": {"uri": "u"}}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0, 7, -1]}],
    }
    candidate = {"content": {"parts": [{"text": "äöü"}]}, "groundingMetadata": grounding}
    block = read({"candidates": [candidate]}).choices[0].blocks[0]
    assert isinstance(block, Text)
    (citation,) = block.citations
    assert citation.end is None or 0 <= (citation.start or 0) <= citation.end <= 3


def test_usage_is_told_in_full() -> None:
    usage = Usage(100, 30, 40, 5, 10, 7, 6)
    told = written(Choice([], "stop"), usage=usage)["usageMetadata"]
    assert told == {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 10,
        "totalTokenCount": 130,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 93}, {"modality": "AUDIO", "tokenCount": 7}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 14}, {"modality": "AUDIO", "tokenCount": 6}],
    }


def test_ids_of_calls_differ_between_answers_and_suit_other_dialects() -> None:
    ids = set()
    for response_id in ("a/b+c=", "x" * 200, ""):
        body = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}], "responseId": response_id}
        call = read(body).choices[0].blocks[0]
        assert isinstance(call, ToolCall)
        assert len(call.id) <= 40 and call.id.replace("_", "").isalnum()
        ids.add(call.id)
    assert ids == {"call_abc_0_0", "call_" + "x" * 24 + "_0_0", "call_0_0"}
