"""Reads and writes whole answers.

A provider's answer may hold what nobody has seen: a block of another type is `Opaque`, another field is left alone. Written for a client of
this dialect, a block that only another one knows is left out, and so is audio without a transcript; a picture, which no block of an
answer can hold, becomes a text that says so, or its address. A refusal is a text, and `stop_reason` says that it is one.

Source: Anthropic's API reference, "Messages", and `anthropic/types/message.py` of its official Python client.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Address,
    Answer,
    Audio,
    Block,
    Choice,
    Citation,
    Image,
    Inline,
    Opaque,
    Refusal,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gateway.codec import signatures
from gateway.codec.dialects.anthropic._finish import ending, finish_of
from gateway.codec.dialects.anthropic._parts import (
    arguments_of,
    carried,
    citation_of,
    encode,
    input_of,
    written_citation,
)
from gateway.codec.dialects.anthropic._usage import tier_of, told_of, usage_of, written_usage
from gateway.codec.raw import ABSENT


class Kind(msgspec.Struct):
    type: str


class TextBlock(msgspec.Struct):
    text: str | None = None
    citations: list[msgspec.Raw] | None = None


class ThinkingBlock(msgspec.Struct):
    thinking: str | None = None
    signature: str | None = None


class RedactedThinkingBlock(msgspec.Struct):
    data: str


class ToolUseBlock(msgspec.Struct):
    id: str
    name: str
    input: msgspec.Raw = ABSENT


class StopDetails(msgspec.Struct):
    explanation: str | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw]
    type: Literal["message"] = "message"
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: msgspec.Raw = ABSENT


kind_decoder = msgspec.json.Decoder(Kind)
text_decoder = msgspec.json.Decoder(TextBlock)
thinking_decoder = msgspec.json.Decoder(ThinkingBlock)
redacted_decoder = msgspec.json.Decoder(RedactedThinkingBlock)
tool_use_decoder = msgspec.json.Decoder(ToolUseBlock)
_message = msgspec.json.Decoder(_Message)


def signed(signature: str | None) -> Signature | None:
    return signatures.taken(signature, "anthropic") if signature else None


def read(body: bytes) -> Answer:
    """Raises AnswerError."""
    try:
        found = _message.decode(body)
        blocks = [_block(raw) for raw in found.content]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerError(f"The answer is no message: {error}") from error
    choice = Choice(blocks)
    if found.stop_reason is not None:
        choice.finish = finish_of(found.stop_reason)
        if choice.finish == "stop_sequence":
            choice.stop_sequence = found.stop_sequence or ""
        if found.stop_details is not None and found.stop_details.explanation:
            blocks.append(Refusal(found.stop_details.explanation))
    answer = Answer(id=found.id or "", model=found.model or "", choices=[choice])
    told = told_of(found.usage) if found.usage is not ABSENT else None
    if told is not None:
        answer.usage = usage_of(told)
        answer.service_tier = tier_of(found.usage)
    return answer


def _block(raw: msgspec.Raw) -> Block:
    match kind_decoder.decode(raw).type:
        case "text":
            text = text_decoder.decode(raw)
            return Text(text.text or "", None, [citation_of(each) for each in text.citations or ()])
        case "tool_use":
            call = tool_use_decoder.decode(raw)
            return ToolCall(call.id, call.name, arguments_of(call.input))
        case "thinking":
            thought = thinking_decoder.decode(raw)
            return Thinking(thought.thinking or "", signed(thought.signature))
        case "redacted_thinking":
            return Thinking(signature=signatures.taken(redacted_decoder.decode(raw).data, "anthropic"), redacted=True)
        case kind:
            return Opaque("anthropic", kind, raw)


# -- writing


def write(answer: Answer) -> bytes:
    """Its first choice: the dialect has no more."""
    choice = answer.choices[0] if answer.choices else Choice([])
    return encode(
        {
            "id": answer.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [written for block in choice.blocks for written in _written(block)],
            **ending(
                choice.finish,
                choice.stop_sequence,
                refused=any(isinstance(block, Refusal) for block in choice.blocks),
            ),
            "usage": written_usage(answer.usage, answer.service_tier),
        }
    )


def _written(block: Block) -> Iterator[Any]:
    match block:
        case Text(text=text, citations=citations):
            if text:
                written = {"type": "text", "text": text}
                yield {**written, "citations": written_citations(citations)} if citations else written
        case ToolCall(id=call_id, name=name, signature=signature):
            if signature is not None:
                yield written_redacted(carried(call_id, signature))
            yield {"type": "tool_use", "id": call_id, "name": name, "input": input_of(block)}
        case Thinking(signature=signature):
            if not block.redacted:
                shown = signatures.shown(signature, "anthropic") if signature is not None else ""
                yield {"type": "thinking", "thinking": block.text, "signature": shown}
            elif signature is not None:
                yield written_redacted(signatures.shown(signature, "anthropic"))
        case Opaque(dialect="anthropic", value=value):
            yield value
        case _:
            words = words_of(block)
            if words:
                yield {"type": "text", "text": words}


def written_redacted(data: str) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


def written_citations(citations: list[Citation]) -> list[Any] | None:
    return [written for each in citations if (written := written_citation(each)) is not None] or None


def words_of(block: Block) -> str:
    """What a client of this dialect can read of a block that its answers cannot hold."""
    match block:
        case Refusal(text=text) | Audio(transcript=text):
            return text
        case Image(source=Address(url=url)):
            return f"![image]({url})"
        case Image(source=Inline(media_type=media_type)):
            return f"[an image of type {media_type or 'unknown'}, which this API's answers cannot hold]"
        case Image():
            return "[an image, which this API's answers cannot hold]"
        case _:
            return ""
