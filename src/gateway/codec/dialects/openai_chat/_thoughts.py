"""Thoughts of a model, in the three ways in which they stand beside a text.

`reasoning_content` or `reasoning` is the text alone. `thinking_blocks` (LiteLLM's) are Anthropic's own blocks. `reasoning_details`
(OpenRouter's) are signed in as many ways as there are providers behind it, and it wants each entry back as it was: the signature of such
a thought is the entry itself without its text, as JSON, so that it comes through any other dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.base.messages import DialectName, Signature, Thinking
from gateway.codec import signatures
from gateway.codec.dialects.openai_chat._wire import Spoken, ThinkingBlock

OWN: DialectName = "openai_chat"


def read_thoughts(spoken: Spoken) -> list[Thinking]:
    """Of several ways in which the same thought is told, the one that keeps its signature."""
    if spoken.thinking_blocks:
        return [read_block(block) for block in spoken.thinking_blocks]
    if spoken.reasoning_details:
        return [thought for raw in spoken.reasoning_details if (thought := read_detail(raw)) is not None]
    text = spoken.reasoning_content or spoken.reasoning
    return [Thinking(text)] if text else []


def read_block(block: ThinkingBlock) -> Thinking:
    if block.type == "redacted_thinking":
        return Thinking(signature=signatures.taken(block.data or "", OWN), redacted=True)
    return Thinking(block.thinking or "", signatures.taken(block.signature, OWN) if block.signature else None)


def read_detail(raw: msgspec.Raw) -> Thinking | None:
    """An entry of `reasoning_details`; None where it is none."""
    entry = detail_of(raw)
    return sealed(*entry) if entry is not None else None


def detail_of(raw: msgspec.Raw) -> tuple[str, dict[str, Any]] | None:
    """(text, the rest of it) of an entry of `reasoning_details`; None where it is none."""
    try:
        entry = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None
    text = entry.pop(_text_field(entry), None)
    return (text if isinstance(text, str) else ""), entry


def sealed(text: str, entry: dict[str, Any]) -> Thinking:
    """The thought of an entry of `reasoning_details`, which is its signature."""
    signature = Signature(OWN, msgspec.json.encode(entry).decode())
    return Thinking(text, signature, is_hidden(entry), entry.get("type") == "reasoning.summary")


def is_hidden(entry: dict[str, Any]) -> bool:
    return entry.get("type") == "reasoning.encrypted"


def _text_field(entry: dict[str, Any]) -> str:
    return "summary" if entry.get("type") == "reasoning.summary" else "text"


def write_detail(thought: Thinking) -> dict[str, Any] | None:
    """The entry of `reasoning_details` that a thought of ours was; None where it was none."""
    signature = thought.signature
    if signature is None or not signature.value.startswith("{"):
        return None
    try:
        entry = msgspec.json.decode(signature.value.encode("utf-8", "replace"), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None
    if not str(entry.get("type")).startswith("reasoning."):
        return None
    if not thought.redacted:
        entry[_text_field(entry)] = thought.text
    return entry


def is_signed(thought: Thinking) -> bool:
    return thought.signature is not None and bool(thought.signature.value)


def write_block(thought: Thinking) -> dict[str, object]:
    """An entry of `thinking_blocks`."""
    value = (
        signatures.shown(thought.signature, OWN) if thought.signature is not None and thought.signature.value else ""
    )
    if thought.redacted:
        return {"type": "redacted_thinking", "data": value}
    block: dict[str, object] = {"type": "thinking", "thinking": thought.text}
    if value:
        block["signature"] = value
    return block


def spoken_thoughts(thoughts: Sequence[Thinking]) -> dict[str, object]:
    """Fields of a message."""
    fields: dict[str, object] = {}
    text = "".join([thought.text for thought in thoughts])
    if text:
        fields["reasoning_content"] = text
    if any(map(is_signed, thoughts)):
        fields["thinking_blocks"] = [write_block(thought) for thought in thoughts]
    return fields
