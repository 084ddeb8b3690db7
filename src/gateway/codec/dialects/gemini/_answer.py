"""A whole answer, read and written.

A provider's call without an id gets one from the answer's own and its place, so that the calls of a long conversation differ. Parts of
a kind that nobody knows are kept whole. A prompt that was blocked has no candidate: it becomes an answer that was
filtered, with Google's message, if there is one, as the refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.base.dialect import AnswerError
from gateway.base.messages import Answer, Block, Choice, Citation, Refusal, Text, ToolCall
from gateway.codec.raw import given

from ._citations import Cited, cited, count_chars, read_citations, write_grounding
from ._finish import read_finish, write_finish
from ._logprobs import read_logprobs, write_logprobs
from ._parts import join, read_part, read_unknown
from ._usage import read_usage, write_usage
from ._wire import Candidate, PromptFeedback, Response, raw_part, response_decoder
from ._write_parts import write_block

_NO_ID = re.compile(r"[^A-Za-z0-9_-]")
_ID_CHARS = 24
"""Of a response's id, in the ids of its calls: OpenAI takes 40 of one."""

_encoder = msgspec.json.Encoder()


def decode(body: bytes) -> Response:
    try:
        return response_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise AnswerError(f"no GenerateContentResponse: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise AnswerError("no JSON") from error


def id_stem(response_id: str) -> str:
    """What the ids of an answer's calls begin with."""
    stem = _NO_ID.sub("", response_id)[-_ID_CHARS:]
    return f"call_{stem}" if stem else "call"


def seconds_of(time: str | None) -> int:
    """Unix time of an RFC 3339 time; 0 where it is none."""
    try:
        return max(int(datetime.fromisoformat(time or "").timestamp()), 0)
    except (ValueError, OverflowError):
        return 0


def time_of(seconds: int) -> str:
    """The RFC 3339 time; "" where it has no year of four digits."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return ""


# -- reading


def read_answer(body: bytes) -> Answer:
    """Raises AnswerError."""
    response = decode(body)
    if given(response.error):
        raise AnswerError("an error in place of an answer")
    stem = id_stem(response.response_id or "")
    choices = [_read_candidate(c, i, stem, body) for i, c in enumerate(response.candidates or ())]
    if not choices:
        choices = [blocked(response.prompt_feedback)]
    usage, tier = read_usage(response.usage_metadata) if given(response.usage_metadata) else (None, None)
    return Answer(
        id=response.response_id or "",
        model=response.model_version or "",
        choices=choices,
        created_s=seconds_of(response.create_time),
        usage=usage,
        service_tier=tier,
    )


def blocked(feedback: PromptFeedback | None) -> Choice:
    """What stands for an answer to a prompt that was blocked."""
    if feedback is None or not feedback.block_reason:
        raise AnswerError("neither a candidate nor a reason why there is none")
    message = feedback.block_reason_message
    return Choice([Refusal(message)] if message else [], "content_filter")


def _read_candidate(candidate: Candidate, i: int, stem: str, body: bytes) -> Choice:
    choice = Choice([])
    texts: dict[int, Text] = {}
    parts = candidate.content.parts or [] if candidate.content is not None else []
    for j, part in enumerate(parts):
        found: Iterable[Block] = read_part(part, f"{stem}_{i}_{j}")
        if not found and (opaque := read_unknown(raw_part(body, i, j))) is not None:
            found = [opaque]
        for block in found:
            join(choice.blocks, block)
            if isinstance(block, Text):
                texts[j] = block
    _check_calls(choice.blocks)
    _cite(candidate, texts)
    if candidate.finish_reason:
        calls = any(isinstance(block, ToolCall) for block in choice.blocks)
        choice.finish = read_finish(candidate.finish_reason, calls)
    if given(candidate.logprobs_result):
        choice.logprobs = read_logprobs(candidate.logprobs_result)
    return choice


def _check_calls(blocks: list[Block]) -> None:
    ids: set[str] = set()
    for block in blocks:
        if isinstance(block, ToolCall):
            if not block.name:
                raise AnswerError("a call without a name")
            if block.id in ids:
                raise AnswerError("two calls with one id")
            ids.add(block.id)


def _cite(candidate: Candidate, texts: dict[int, Text]) -> None:
    """Ties citations to the texts of the parts that they name, or else to the first text."""
    if not texts:
        return
    first = next(iter(texts))
    found: dict[int, list[Citation]] = {}
    for cite in read_citations(candidate.grounding_metadata, candidate.citation_metadata):
        found.setdefault(cite.part if cite.part in texts else first, []).append(cite.citation)
    for part, citations in found.items():
        text = texts[part]
        count_chars(citations, text.text)
        text.citations = citations


# -- writing


def write_answer(answer: Answer) -> bytes:
    body: dict[str, Any] = {"candidates": [_write_choice(choice, i) for i, choice in enumerate(answer.choices)]}
    if usage := write_usage(answer.usage, answer.service_tier):
        body["usageMetadata"] = usage
    if answer.model:
        body["modelVersion"] = answer.model
    if answer.created_s and (time := time_of(answer.created_s)):
        body["createTime"] = time
    if answer.id:
        body["responseId"] = answer.id
    return _encoder.encode(body)


def _write_choice(choice: Choice, i: int) -> dict[str, Any]:
    parts: list[Any] = []
    found: list[Cited] = []
    for block in choice.blocks:
        part = write_block(block)
        if part is None:
            continue
        if isinstance(block, Text) and block.citations:
            found += cited(len(parts), block.citations, block.text)
        parts.append(part)
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}}
    if choice.finish is not None:
        candidate["finishReason"] = write_finish(choice.finish)
    candidate["index"] = i
    if found:
        candidate["groundingMetadata"] = write_grounding(found)
    if choice.logprobs is not None and (logprobs := write_logprobs(choice.logprobs)) is not None:
        candidate["logprobsResult"] = logprobs
    return candidate
