"""Reads whole answers.

A block is an object with one member, named for what it is. One that nobody has seen is `Opaque`, and so is what only this dialect knows: what
a guardrail says, a tool that Bedrock runs itself and its result. Another field is left alone, the trace of a guardrail among them: that one
has stepped in is told by why the answer ended. The wire tells neither an id nor a model.

Source: AWS's API reference, "Converse", `ContentBlock`.
"""

from __future__ import annotations

import msgspec

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
    Text,
    Thinking,
    ToolCall,
)
from gateway.codec.dialects.bedrock._finish import finish_of
from gateway.codec.dialects.bedrock._media import media_type_of
from gateway.codec.dialects.bedrock._usage import tier_of, usage_of
from gateway.codec.dialects.bedrock._write_blocks import INVALID
from gateway.codec.raw import ABSENT


class _Message(msgspec.Struct):
    content: list[dict[str, msgspec.Raw]]


class _Output(msgspec.Struct):
    message: _Message


class _Additional(msgspec.Struct):
    stop_sequence: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str
    usage: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT
    additional_model_response_fields: msgspec.Raw = ABSENT


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw = ABSENT
    type: str | None = None


class _ReasoningText(msgspec.Struct):
    text: str = ""
    signature: str | None = None


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _Spoken(msgspec.Struct):
    text: str = ""


class _CitationsContent(msgspec.Struct):
    content: list[_Spoken] = []
    citations: list[msgspec.Raw] = []


class _Web(msgspec.Struct):
    url: str = ""


class _InDocument(msgspec.Struct, rename="camel"):
    document_index: int | None = None


class _Location(msgspec.Struct, rename="camel"):
    web: _Web | None = None
    document_char: _InDocument | None = None
    document_page: _InDocument | None = None
    document_chunk: _InDocument | None = None


class _Citation(msgspec.Struct, rename="camel"):
    title: str | None = None
    source: str | None = None
    source_content: list[_Spoken] = []
    location: _Location | None = None


class _Bytes(msgspec.Struct, frozen=True):
    bytes: str | None = None


class ImageBlock(msgspec.Struct):
    format: str = ""
    source: _Bytes = _Bytes()


_answer = msgspec.json.Decoder(_Answer)
_additional = msgspec.json.Decoder(_Additional)
_text = msgspec.json.Decoder(str)
_tool_use = msgspec.json.Decoder(_ToolUse)
_reasoning = msgspec.json.Decoder(_Reasoning)
_cited = msgspec.json.Decoder(_CitationsContent)
_citation = msgspec.json.Decoder(_Citation)
_image = msgspec.json.Decoder(ImageBlock)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(body: bytes) -> Answer:
    """Raises AnswerError."""
    try:
        found = _answer.decode(body)
        blocks = [_block(each) for each in found.output.message.content]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerError(f"The answer is no answer of Converse: {error}") from error
    choice = Choice(blocks, finish_of(found.stop_reason))
    if choice.finish == "stop_sequence":
        choice.stop_sequence = stop_sequence_of(found.additional_model_response_fields)
    answer = Answer(id="", model="", choices=[choice])
    if found.usage is not ABSENT:
        answer.usage = usage_of(found.usage)
    answer.service_tier = tier_of(found.service_tier)
    return answer


def _block(told: dict[str, msgspec.Raw]) -> Block:
    if len(told) != 1:
        raise msgspec.ValidationError(f"a block has {len(told)} members instead of one")
    ((kind, raw),) = told.items()
    match kind:
        case "text":
            return Text(_text.decode(raw))
        case "toolUse":
            call = _tool_use.decode(raw)
            if call.type is None:
                return ToolCall(call.tool_use_id, call.name, arguments_of(call.input))
        case "reasoningContent":
            return _thinking(_reasoning.decode(raw))
        case "citationsContent":
            cited = _cited.decode(raw)
            return Text(
                "".join(part.text for part in cited.content), None, [citation_of(each) for each in cited.citations]
            )
        case "image":
            image = _image.decode(raw)
            if image.source.bytes:
                return Image(Inline(media_type_of(image.format), image.source.bytes))
    return Opaque("bedrock", kind, msgspec.Raw(bytes(raw)))


def _thinking(told: _Reasoning) -> Thinking:
    if told.reasoning_text is None:
        return Thinking(signature=signed(told.redacted_content), redacted=True)
    return Thinking(told.reasoning_text.text, signed(told.reasoning_text.signature))


def signed(signature: str | None) -> Signature | None:
    return Signature("bedrock", signature) if signature else None


def arguments_of(raw: msgspec.Raw) -> str:
    """The text of an object, or the one that could not be read as an object."""
    value = bytes(raw)
    if value == b"null":
        return "{}"
    if value.startswith(b"{") and INVALID.encode() in value[:32]:
        fields = _fields.decode(value)
        if len(fields) == 1 and INVALID in fields:
            return _text.decode(fields[INVALID])
    return value.decode()


def citation_of(raw: msgspec.Raw) -> Citation:
    """Where in a document a quote stands is left in `raw`. Raises msgspec.ValidationError."""
    found = _citation.decode(raw)
    place = found.location or _Location()
    document = place.document_char or place.document_page or place.document_chunk
    return Citation(
        url=place.web.url if place.web is not None else "",
        title=found.title or found.source or "",
        quote="".join(part.text for part in found.source_content),
        document=document.document_index if document is not None else None,
        raw=msgspec.Raw(bytes(raw)),
        dialect="bedrock",
    )


def stop_sequence_of(additional: msgspec.Raw) -> str:
    """The one that was met, as far as the model tells it."""
    try:
        return _additional.decode(additional).stop_sequence or ""
    except msgspec.ValidationError:
        return ""
