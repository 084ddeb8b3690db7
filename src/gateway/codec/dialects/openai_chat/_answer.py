"""A whole answer, from a provider and for a caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from _fastpath.chat import MAX_CHOICES
from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Answer,
    Audio,
    Block,
    Choice,
    Citation,
    Image,
    Inline,
    Refusal,
    StoredFile,
    Text,
    Thinking,
    ToolCall,
)
from gateway.codec import signatures
from gateway.codec.dialects.openai_chat import _wire as wire
from gateway.codec.dialects.openai_chat._blocks_reader import PartError, read_spoken
from gateway.codec.dialects.openai_chat._finish import is_failure, read_finish, written_finish
from gateway.codec.dialects.openai_chat._media import image_url
from gateway.codec.dialects.openai_chat._thoughts import OWN, spoken_thoughts
from gateway.codec.dialects.openai_chat.usage import usage_object, usage_of
from gateway.codec.raw import ABSENT

TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
"""`service_tier` as the official client types it; another one is left out."""

_encoder = msgspec.json.Encoder()


class _Choice(msgspec.Struct):
    message: wire.Spoken
    index: int | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: msgspec.Raw = ABSENT


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: msgspec.Raw = ABSENT
    id: str | None = None
    model: str | None = None
    created: float | None = None
    usage: msgspec.Raw = ABSENT
    service_tier: str | None = None


_decoder = msgspec.json.Decoder(_Answer)


# -- from a provider


def read_answer(body: bytes) -> Answer:
    """Raises AnswerError."""
    told = decode_leniently(_decoder, body)
    if told.error is not ABSENT and told.error != ABSENT:
        raise AnswerError("the answer is an error, under a status of success")
    if not told.choices:
        raise AnswerError("the answer has no choices")
    if len(told.choices) > MAX_CHOICES:
        raise AnswerError(f"the answer has more than {MAX_CHOICES} choices")
    raws = _Raws(body)
    places = [i if choice.index is None else choice.index for i, choice in enumerate(told.choices)]
    if sorted(places) != list(range(len(places))):
        raise AnswerError("the indices of the choices are not 0, 1, 2 and so on")
    choices: list[Choice] = [Choice([])] * len(places)
    for i, (place, choice) in enumerate(zip(places, told.choices, strict=True)):
        choices[place] = _read_choice(choice, i, place, raws)
    return Answer(
        id=told.id or "",
        model=told.model or "",
        choices=choices,
        created_s=created_of(told.created),
        usage=usage_of(told.usage) if told.usage is not ABSENT else None,
        service_tier=told.service_tier,
    )


def decode_leniently(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """What a provider said; a text that is not UTF-8 is read as well as it can be. Raises AnswerError, without the text."""
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:  # which msgspec leaves as it is
        return decode_leniently(decoder, str(body, "utf-8", "replace").encode())
    except msgspec.ValidationError as error:
        raise AnswerError(f"the answer is of another shape: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise AnswerError("the answer is not valid JSON") from error


def created_of(told: float | None) -> int:
    return int(told) if told is not None and 0 <= told < 1 << 53 else 0


class _RawMessage(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None


class _RawChoice(msgspec.Struct):
    message: _RawMessage


class _RawAnswer(msgspec.Struct):
    choices: list[_RawChoice]


_raw_decoder = msgspec.json.Decoder(_RawAnswer)


class _Raws:
    """The bytes of parts of a type that nobody knows; the body is decoded for them once, if ever."""

    __slots__ = ("_body", "_found")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._found: _RawAnswer | None = None

    def part(self, choice: int, part: int) -> msgspec.Raw:
        if self._found is None:
            found: _RawAnswer = decode_leniently(_raw_decoder, self._body)
            self._found = found
        content = self._found.choices[choice].message.content
        assert isinstance(content, list)
        return content[part]


def _read_choice(told: _Choice, i: int, place: int, raws: _Raws) -> Choice:
    reason = told.finish_reason
    if reason is not None and is_failure(reason):
        raise AnswerError("the provider broke its answer off")
    try:
        blocks = read_spoken(told.message, place, lambda part: raws.part(i, part))
    except PartError as error:
        raise AnswerError(f"choices[{i}].message.{error} is missing, or cannot be read") from error
    calls = [block.id for block in blocks if isinstance(block, ToolCall)]
    if len(set(calls)) != len(calls):
        raise AnswerError("two calls of tools have the same id")
    choice = Choice(blocks)
    if reason is not None:
        refused = any(isinstance(block, Refusal) for block in blocks)
        choice.finish, choice.stop_sequence = read_finish(reason, told.stop_reason, called=bool(calls), refused=refused)
    if told.logprobs is not ABSENT and told.logprobs != ABSENT:
        choice.logprobs = told.logprobs
    return choice


# -- for a caller


def write_answer(answer: Answer) -> bytes:
    body: dict[str, Any] = {
        "id": answer.id,
        "object": "chat.completion",
        "created": answer.created_s,
        "model": answer.model,
        "choices": [_choice(choice, i, answer) for i, choice in enumerate(answer.choices)],
    }
    if answer.usage is not None:
        body["usage"] = usage_object(answer.usage)
    if answer.service_tier in TIERS:
        body["service_tier"] = answer.service_tier
    return _encoder.encode(body)


def _choice(choice: Choice, i: int, answer: Answer) -> dict[str, Any]:
    message = write_spoken(choice.blocks, answer, i)
    refused = message["refusal"] is not None
    return {
        "index": i,
        "message": message,
        "logprobs": choice.logprobs,
        "finish_reason": written_finish(choice.finish, refused=refused) if choice.finish is not None else None,
    }


def write_spoken(blocks: Sequence[Block], answer: Answer, at: int) -> dict[str, Any]:
    """`message` of a choice."""
    texts: list[Text] = []
    refusals: list[str] = []
    thoughts: list[Thinking] = []
    calls: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    for block in blocks:
        match block:
            case Text():
                texts.append(block)
            case Thinking():
                thoughts.append(block)
            case ToolCall():
                calls.append(written_call(block, at, len(calls)))
            case Refusal():
                refusals.append(block.text)
            case Audio():
                message["audio"] = _audio(block, answer)
            case Image() if not isinstance(block.source, StoredFile):
                message.setdefault("images", []).append(written_image(block))
            case _:  # known to another dialect alone, or no part of an answer
                pass
    if texts:
        message["content"] = "".join([text.text for text in texts])
        _write_citations(message, texts)
    if refusals:
        message["refusal"] = "".join(refusals)
    if thoughts:
        message.update(spoken_thoughts(thoughts))
    if calls:
        message["tool_calls"] = calls
    return message


def written_call(call: ToolCall, at: int, i: int) -> dict[str, Any]:
    call_id = call.id or f"call_{at}_{i}"
    written: dict[str, Any]
    if call.custom:
        written = {"id": call_id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    else:
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        written = {"id": call_id, "type": "function", "function": function}
    if call.signature is not None:
        written["extra_content"] = {"google": {"thought_signature": signatures.shown(call.signature, OWN)}}
    return written


def written_image(image: Image) -> dict[str, Any]:
    """An entry of `images`, as OpenRouter and LiteLLM have it."""
    assert not isinstance(image.source, StoredFile)
    return {"type": "image_url", "image_url": {"url": image_url(image.source)}}


def _audio(audio: Audio, answer: Answer) -> dict[str, Any]:
    """It is kept nowhere, so that it has expired when it was made."""
    data = audio.source.data if isinstance(audio.source, Inline) else ""
    return {
        "id": audio.source.id if isinstance(audio.source, StoredFile) else f"audio_{answer.id}",
        "data": data,
        "expires_at": answer.created_s,
        "transcript": audio.transcript,
    }


def _write_citations(message: dict[str, Any], texts: list[Text]) -> None:
    annotations: list[Any] = []
    others: list[Any] = []
    offset = 0
    for text in texts:
        for citation in text.citations:
            if (annotation := annotation_of(citation, offset, offset + len(text.text))) is not None:
                annotations.append(annotation)
            else:
                others.append(other_citation(citation))
        offset += len(text.text)
    if annotations:
        message["annotations"] = annotations
    if others:
        message["provider_specific_fields"] = {"citations": others}


def annotation_of(citation: Citation, start: int, end: int) -> Any:
    """`url_citation` of a text that begins and ends there in `content`; None for what it cannot say."""
    if citation.dialect == OWN and citation.raw is not None:
        return citation.raw
    if not citation.url:
        return None
    place = {
        "start_index": start if citation.start is None else start + citation.start,
        "end_index": end if citation.end is None else start + citation.end,
    }
    return {"type": "url_citation", "url_citation": {"url": citation.url, "title": citation.title, **place}}


def other_citation(citation: Citation) -> Any:
    """A citation of a document, which this dialect has none of: in the words of its own, or in Anthropic's, as LiteLLM hands them on."""
    if citation.raw is not None:
        return citation.raw
    return {
        "cited_text": citation.quote,
        "document_title": citation.title,
        "document_index": citation.document,
        "start_index": citation.start,
        "end_index": citation.end,
    }
