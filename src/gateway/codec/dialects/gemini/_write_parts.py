"""Blocks are parts: how one is written in an answer, and what a request does the same."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.base.messages import (
    Audio,
    Block,
    Document,
    Image,
    Opaque,
    Refusal,
    Signature,
    Text,
    Thinking,
    ToolCall,
    Video,
)

from ._arguments import one_line, write_arguments
from ._media import write_media
from ._signature import shown


def write_thinking(text: str, signature: Signature | None, redacted: bool = False) -> dict[str, Any]:
    """A thought. One that is but Google's own signature stands on a text, as Google sends it at the end of an answer."""
    if signature is None:
        return {"text": text, "thought": True}
    if not text and signature.dialect == "gemini":
        return {"text": "", "thoughtSignature": signature.value}
    return {"text": text, "thought": True, "thoughtSignature": shown(signature, redacted)}


def write_call(call: ToolCall, arguments: str, signature: Signature | None) -> dict[str, Any]:
    function: dict[str, Any] = {"id": call.id} if call.id else {}
    function["name"] = call.name
    function["args"] = write_arguments(arguments, call.custom)
    part: dict[str, Any] = {"functionCall": function}
    if signature is not None:
        part["thoughtSignature"] = shown(signature)
    return part


def write_block(block: Block) -> dict[str, Any] | msgspec.Raw | None:
    """The part of an answer for a block; None where a caller of this dialect could not read it."""
    match block:
        case Text() | Refusal():
            return {"text": block.text}
        case Thinking():
            return write_thinking(block.text, block.signature, block.redacted)
        case ToolCall():
            return write_call(block, block.arguments, block.signature)
        case Audio():
            part = write_media(block)
            if block.transcript:
                part = (part or {}) | {"audioTranscription": {"text": block.transcript}}
            return part
        case Image() | Video() | Document():
            return write_media(block)
        case Opaque() if block.dialect == "gemini":
            return one_line(block.value)
        case _:
            return None
