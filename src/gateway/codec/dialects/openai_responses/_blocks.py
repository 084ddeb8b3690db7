"""What items of the model's own turn are: the same in a request, in an answer and at the end of an item of a stream."""

from __future__ import annotations

import msgspec

from gateway.base.messages import Block, Document, Image, Lost, Opaque, ResultBlock, Text, Thinking, ToolCall
from gateway.codec.dialects.openai_responses import _signed
from gateway.codec.dialects.openai_responses._parts import SEARCH, block_of, joined_name
from gateway.codec.dialects.openai_responses._wire import (
    Caller,
    CustomToolCall,
    FunctionCall,
    InputAudio,
    MessageItem,
    OpaquePart,
    Part,
    PlainText,
    ReasoningItem,
    ReasoningText,
    SearchCall,
)


def blocks_of_message(item: MessageItem, path: str, lost: Lost) -> list[Block]:
    """Its parts; one of an unknown type becomes a message of that part alone, so that it can go back."""
    if item.content is None:
        return []
    if isinstance(item.content, str):
        return [Text(item.content)]
    return [
        _foreign_part(item.role, part)
        if isinstance(part, OpaquePart)
        else block_of(part, f"{path}.content[{at}]", lost)
        for at, part in enumerate(item.content)
    ]


def _foreign_part(role: str, part: OpaquePart) -> Opaque:
    message = {"type": "message", "role": role, "content": [part.value]}
    return Opaque(_signed.OWN, part.kind, msgspec.Raw(msgspec.json.encode(message)))


def blocks_of_reasoning(item: ReasoningItem) -> list[Block]:
    """A summary and a thought stand in one item; what is signed is the latter, where both are there."""
    summary = "\n\n".join(part.text for part in item.summary or () if not isinstance(part, OpaquePart))
    parts = [part.text for part in item.content or () if isinstance(part, ReasoningText | PlainText)]
    encrypted = item.encrypted_content
    if not encrypted:
        blocks: list[Block] = [Thinking(summary, summary=True)] if summary else []
        return [*blocks, Thinking("".join(parts))] if parts else blocks
    if parts:
        thought = _signed.thinking_of("".join(parts), encrypted, summary=False)
        return [Thinking(summary, summary=True), thought] if summary else [thought]
    return [_signed.thinking_of(summary, encrypted, summary=bool(summary))]


def block_of_call(item: FunctionCall | CustomToolCall, path: str, lost: Lost) -> ToolCall:
    _note_caller(item.caller, path, lost)
    name = joined_name(item.namespace, item.name)
    if isinstance(item, FunctionCall):
        return ToolCall(item.call_id, name, item.arguments)
    return ToolCall(item.call_id, name, item.input, custom=True)


def block_of_search(item: SearchCall, raw: msgspec.Raw) -> ToolCall | Opaque:
    """A call of the client's own search, or what the provider's has done."""
    if item.execution != "client" or not item.call_id:
        return Opaque(_signed.OWN, "tool_search_call", raw)
    return ToolCall(item.call_id, SEARCH, bytes(item.arguments).decode())


def _note_caller(caller: Caller | None, path: str, lost: Lost) -> None:
    if caller is not None and caller.type != "direct":
        lost.field(f"{path}.caller")


def blocks_of_output(output: str | list[Part] | None, path: str, lost: Lost) -> list[ResultBlock]:
    """What a tool returned."""
    if not output:
        return []
    if isinstance(output, str):
        return [Text(output)]
    return [_result(part, f"{path}.output[{at}]", lost) for at, part in enumerate(output)]


def _result(part: Part, path: str, lost: Lost) -> ResultBlock:
    block = block_of(part, path, lost)
    if isinstance(block, Text | Image | Document | Opaque):
        return block
    kind = "input_audio" if isinstance(part, InputAudio) else "refusal"
    return Opaque(_signed.OWN, kind, msgspec.Raw(msgspec.json.encode(part)))
