"""Writes tools, instructions, turns and their blocks: what can hold cache marks."""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.base.messages import (
    Audio,
    Block,
    CacheMark,
    Citation,
    Document,
    Image,
    Lost,
    Opaque,
    Refusal,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Video,
)
from gateway.codec.dialects.anthropic._models import Traits
from gateway.codec.dialects.anthropic._parts import FREE_TEXT, encode, input_of
from gateway.codec.dialects.anthropic._sources import document_source, image_source
from gateway.codec.raw import ABSENT

MAX_MARKS = 4
"""Cache marks in one request; Anthropic refuses more."""

_GOOD_ID = re.compile(r"[A-Za-z0-9_-]+")
_BAD_IN_ID = re.compile(r"[^A-Za-z0-9_-]")
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
_FREE_TEXT_PARAMETERS = msgspec.Raw(
    encode({"type": "object", "properties": {FREE_TEXT: {"type": "string"}}, "required": [FREE_TEXT]})
)


class _Schema(msgspec.Struct):
    type: msgspec.Raw = ABSENT


_schema = msgspec.json.Decoder(_Schema)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Turn:
    """One turn as it is written; results of tools are kept apart, for they come first."""

    __slots__ = ("others", "results", "role")

    def __init__(self, role: Literal["user", "assistant"]) -> None:
        self.role = role
        self.results: list[Any] = []
        self.others: list[Any] = []

    def content(self) -> list[Any] | str:
        """A text that is all of it stands for itself."""
        if not self.results and len(self.others) == 1:
            only = self.others[0]
            if isinstance(only, dict) and only["type"] == "text" and len(only) == 2:
                text: str = only["text"]
                return text
        return self.results + self.others


class Writer:
    """Of the parts that can hold cache marks, which are counted over all of them."""

    __slots__ = ("_ids", "_lost", "_marked", "_unnamed")

    def __init__(self, lost: Lost) -> None:
        self._lost = lost
        self._ids: dict[str, str] = {}
        self._unnamed: deque[str] = deque()
        """Ids made for calls that have none, until their results take them."""
        self._marked: list[tuple[dict[str, Any], _Place]] = []

    # -- marks

    def _mark(self, written: dict[str, Any], mark: CacheMark, at: _Place) -> None:
        control = {"type": "ephemeral"}
        if mark.ttl in ("5m", "1h"):
            control["ttl"] = mark.ttl
        written["cache_control"] = control
        self._marked.append((written, at))

    def keep_last_marks(self) -> None:
        for written, at in self._marked[:-MAX_MARKS]:
            del written["cache_control"]
            self._lost.hint(f"{_path(at)}.cache")

    # -- tools

    def tools(self, request: Request, traits: Traits) -> list[Any]:
        allowed = request.tool_choice.allowed if request.tool_choice is not None else ()
        if allowed:
            self._lost.hint("tool_choice.allowed")
        written: list[Any] = []
        for i, tool in enumerate(request.tools):
            if not allowed or tool.name in allowed:
                written.append(self._tool(tool, i, traits))
        for i, hosted in enumerate(request.hosted_tools):
            if hosted.dialect == "anthropic":
                written.append(hosted.value)
            else:
                self._lost.field(f"hosted_tools[{i}].{hosted.kind}")
        return written

    def _tool(self, tool: Tool, i: int, traits: Traits) -> dict[str, Any]:
        written: dict[str, Any] = {"name": tool.name}
        if tool.description:
            written["description"] = tool.description
        written["input_schema"] = _FREE_TEXT_PARAMETERS if tool.custom else _parameters(tool.parameters)
        if tool.grammar is not None:
            self._lost.field(f"tools[{i}].grammar")
        if tool.strict:
            if traits.structured:
                written["strict"] = True
            else:
                self._lost.field(f"tools[{i}].strict")
        if tool.cache is not None:
            self._mark(written, tool.cache, (TOOLS, i))
        return written

    # -- instructions and turns

    def system(self, request: Request) -> list[Any] | str:
        blocks = request.system
        if len(blocks) == 1 and type(blocks[0]) is Text and blocks[0].cache is None:
            text = blocks[0].text
            return "" if text.isspace() else text
        written: list[Any] = []
        for i, block in enumerate(blocks):
            if isinstance(block, Text):
                text_block = self._text(block, "user", (SYSTEM, i))
                if text_block is not None:
                    written.append(text_block)
            elif isinstance(block, Opaque) and block.dialect == "anthropic":
                written.append(block.value)
            else:
                self._lost.field(f"system[{i}]")
        return written

    def turns(self, request: Request) -> list[dict[str, Any]]:
        turns: list[_Turn] = []
        turn: _Turn | None = None
        for i, message in enumerate(request.messages):
            role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
            if message.role == "system":
                self._lost.hint(f"messages[{i}].role")
            if message.name:
                self._lost.hint(f"messages[{i}].name")
            if turn is None or turn.role != role:
                turn = _Turn(role)
            for j, block in enumerate(message.blocks):
                written = _WRITE[type(block)](self, block, role, (i, j))
                if written is not None:
                    (turn.results if type(block) is ToolResult else turn.others).append(written)
            if not turns or turns[-1] is not turn:
                if turn.results or turn.others:
                    turns.append(turn)
                else:
                    turn = turns[-1] if turns else None
        if not turns:
            lost = next((path for path in self._lost.fields if path.startswith("messages[")), None)
            told = f"'messages' holds no turn that says anything{f', for {lost!r} has no place here' if lost else ''}."
            raise GatewayError(INVALID_VALUE, told, param=lost or "messages")
        _trim_prefill(turns[-1])
        return [{"role": turn.role, "content": turn.content()} for turn in turns]

    def _text(self, block: Text, role: str, at: _Place) -> dict[str, Any] | None:
        text = block.text
        if not text or text.isspace():
            if block.cache is not None:
                self._lost.hint(f"{_path(at)}.cache")
            return None
        written: dict[str, Any] = {"type": "text", "text": text}
        if block.citations:
            self._cite(written, block.citations, role, at)
        if block.cache is not None:
            self._mark(written, block.cache, at)
        return written

    def _cite(self, written: dict[str, Any], found: list[Citation], role: str, at: _Place) -> None:
        """Only the assistant cites, and only what Anthropic has cited itself is believed."""
        own = [each.raw for each in found if each.dialect == "anthropic" and each.raw is not None]
        if own and role == "assistant":
            written["citations"] = own
        if role != "assistant" or len(own) < len(found):
            self._lost.hint(f"{_path(at)}.citations")

    def _refusal(self, block: Refusal, role: str, at: _Place) -> dict[str, Any] | None:
        return {"type": "text", "text": block.text} if block.text and not block.text.isspace() else None

    def _thinking(self, block: Thinking, role: str, at: _Place) -> dict[str, Any] | None:
        signature = block.signature
        if signature is None or signature.dialect != "anthropic" or role != "assistant":
            self._lost.hint(_path(at))
            return None
        if block.redacted:
            return {"type": "redacted_thinking", "data": signature.value}
        return {"type": "thinking", "thinking": block.text, "signature": signature.value}

    def _opaque(self, block: Opaque, role: str, at: _Place) -> Any | None:
        return block.value if block.dialect == "anthropic" else self._cannot(block, role, at)

    def _cannot(self, block: Block, role: str, at: _Place) -> dict[str, Any] | None:
        self._lost.field(_path(at))
        return None

    def _image(self, block: Image, role: str, at: _Place) -> dict[str, Any] | None:
        source = image_source(block) if role == "user" else None
        if source is None:
            return self._cannot(block, role, at)
        if block.detail not in ("", "auto"):
            self._lost.hint(f"{_path(at)}.detail")
        written = {"type": "image", "source": source}
        if block.cache is not None:
            self._mark(written, block.cache, at)
        return written

    def _document(self, block: Document, role: str, at: _Place) -> dict[str, Any] | None:
        source = document_source(block) if role == "user" else None
        if source is None:
            return self._cannot(block, role, at)
        written: dict[str, Any] = {"type": "document", "source": source}
        if block.title:
            written["title"] = block.title
        if block.context:
            written["context"] = block.context
        if block.citations:
            written["citations"] = {"enabled": True}
        if block.cache is not None:
            self._mark(written, block.cache, at)
        return written

    # -- calls and their results

    def _tool_call(self, block: ToolCall, role: str, at: _Place) -> dict[str, Any] | None:
        if role != "assistant":
            return self._cannot(block, role, at)
        call_id = block.id
        if not call_id:
            call_id = f"call_{at[0]}_{at[1]}"
            self._unnamed.append(call_id)
        call = {"type": "tool_use", "id": self._good_id(call_id), "name": block.name, "input": input_of(block)}
        if block.cache is not None:
            self._mark(call, block.cache, at)
        if block.signature is not None:
            self._lost.hint(f"{_path(at)}.signature")
        return call

    def _good_id(self, told: str) -> str:
        if _GOOD_ID.fullmatch(told):
            return told
        known = self._ids.get(told)
        if known is None:
            checksum = zlib.crc32(told.encode())
            known = self._ids[told] = f"{_BAD_IN_ID.sub('_', told)}_{checksum:08x}"
        return known

    def _tool_result(self, block: ToolResult, role: str, at: _Place) -> dict[str, Any] | None:
        if role != "user":
            return self._cannot(block, role, at)
        call_id = block.call_id or (self._unnamed.popleft() if self._unnamed else "call_unknown")
        written: dict[str, Any] = {"type": "tool_result", "tool_use_id": self._good_id(call_id)}
        content = self._result_content(block, at)
        if block.is_error:
            written["is_error"] = True
            content = content or "(no output)"  # an error without content is refused
        if content:
            written["content"] = content
        if block.cache is not None:
            self._mark(written, block.cache, at)
        return written

    def _result_content(self, block: ToolResult, at: _Place) -> list[Any] | str:
        blocks = block.content
        if len(blocks) == 1:
            only = blocks[0]
            if type(only) is Text and only.cache is None and not only.citations:
                return "" if only.text.isspace() else only.text
        content = (_WRITE[type(inner)](self, inner, "user", (*at, k)) for k, inner in enumerate(blocks))
        return [written for written in content if written is not None]


_Place: TypeAlias = tuple[int, ...]
"""Of a block: its turn (SYSTEM for the instructions), its number there, its number in a result."""

SYSTEM, TOOLS = -1, -2

_WRITE: dict[type, Callable[..., Any]] = {
    Text: Writer._text,
    ToolCall: Writer._tool_call,
    ToolResult: Writer._tool_result,
    Thinking: Writer._thinking,
    Image: Writer._image,
    Document: Writer._document,
    Refusal: Writer._refusal,
    Opaque: Writer._opaque,
    Audio: Writer._cannot,
    Video: Writer._cannot,
}


def _path(at: _Place) -> str:
    i, j, *inner = at
    if i == TOOLS:
        return f"tools[{j}]"
    return (f"system[{j}]" if i == SYSTEM else f"messages[{i}].blocks[{j}]") + "".join(f".content[{k}]" for k in inner)


def _trim_prefill(last: _Turn) -> None:
    """The beginning of an answer must not end in white space."""
    if last.role == "assistant" and last.others:
        final = last.others[-1]
        if isinstance(final, dict) and final["type"] == "text":
            final["text"] = final["text"].rstrip()


def _parameters(schema: msgspec.Raw | None) -> Any:
    """A schema; one that does not say so is told to be of an object."""
    if schema is None:
        return _NO_PARAMETERS
    try:
        if _schema.decode(schema).type != ABSENT:
            return schema
        return {**_fields.decode(schema), "type": "object"}
    except msgspec.ValidationError:
        return _NO_PARAMETERS
