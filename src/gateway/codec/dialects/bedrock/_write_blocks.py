"""Writes tools, instructions, turns and their blocks: what cache points can follow."""

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
from gateway.codec.dialects.bedrock._families import Family
from gateway.codec.dialects.bedrock._media import (
    MAX_NAME_CHARS,
    audio_block,
    document_block,
    document_name,
    image_block,
    video_block,
)

MAX_CACHE_POINTS = 4
"""In one request; Bedrock refuses more."""
MAX_ID_CHARS = 64
"""Of a call."""

FREE_TEXT = "input"
"""The parameter of a tool that takes free text."""
INVALID = "INVALID_JSON"
"""What holds arguments that are no object."""
NOTHING = "(no output)"
"""What a tool that tells nothing is said to tell: a result must have content, and no text may be blank."""

_GOOD_ID = re.compile(rf"[A-Za-z0-9_.:-]{{1,{MAX_ID_CHARS}}}")
_BAD_IN_ID = re.compile(r"[^A-Za-z0-9_.:-]")
ANY_INPUT = {"json": {"type": "object"}}
"""The schema of a tool that is there for its calls of the past alone."""
_NO_PARAMETERS = {"type": "object", "properties": {}}
_FREE_TEXT_PARAMETERS = {"type": "object", "properties": {FREE_TEXT: {"type": "string"}}, "required": [FREE_TEXT]}

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])

_Written: TypeAlias = dict[str, Any]


class _Turn:
    """One turn as it is written; results of tools are kept apart, for they come first."""

    __slots__ = ("others", "results", "role")

    def __init__(self, role: Literal["user", "assistant"]) -> None:
        self.role = role
        self.results: list[Any] = []
        self.others: list[Any] = []


class Writer:
    """Of the parts that cache points can follow, which are counted over all of them."""

    __slots__ = ("_family", "_ids", "_lost", "_names", "_points", "_unnamed")

    def __init__(self, family: Family, lost: Lost) -> None:
        self._family = family
        self._lost = lost
        self._ids: dict[str, str] = {}
        self._names: set[str] = set()
        """Of documents: each is another one's."""
        self._unnamed: deque[str] = deque()
        """Ids made for calls that have none, until their results take them."""
        self._points: list[tuple[list[Any], _Written, str]] = []
        """(where it stands, it, the path of what was marked)"""

    # -- cache points

    def _mark(self, mark: CacheMark | None, place: list[Any], path: str) -> None:
        """Puts a cache point behind the last of what is written at its place."""
        if mark is None:
            return
        if not self._family.has_cache_points or (self._family.is_nova and path.startswith("tools")):
            self._lost.hint(f"{path}.cache")
            return
        point: _Written = {"type": "default"}
        if mark.ttl in ("5m", "1h") and not self._family.is_nova:
            point["ttl"] = mark.ttl
        written = {"cachePoint": point}
        place.append(written)
        self._points.append((place, written, path))

    def keep_last_points(self) -> None:
        for place, written, path in self._points[:-MAX_CACHE_POINTS]:
            place[:] = [each for each in place if each is not written]
            self._lost.hint(f"{path}.cache")

    # -- tools

    def tools(self, request: Request, strict: bool) -> list[Any]:
        """Args:
        strict: the model takes `strict`.
        """
        allowed = request.tool_choice.allowed if request.tool_choice is not None else ()
        if allowed:
            self._lost.hint("tool_choice.allowed")
        written: list[Any] = []
        for i, tool in enumerate(request.tools):
            if not allowed or tool.name in allowed:
                written.append({"toolSpec": self._tool(tool, i, strict)})
                self._mark(tool.cache, written, f"tools[{i}]")
        for i, hosted in enumerate(request.hosted_tools):
            self._lost.field(f"hosted_tools[{i}].{hosted.kind}")
        return written

    def _tool(self, tool: Tool, i: int, strict: bool) -> _Written:
        written: _Written = {"name": tool.name}
        if tool.description:
            written["description"] = tool.description
        written["inputSchema"] = {"json": _FREE_TEXT_PARAMETERS if tool.custom else _parameters(tool.parameters)}
        if tool.grammar is not None:
            self._lost.field(f"tools[{i}].grammar")
        if tool.strict:
            if strict:
                written["strict"] = True
            else:
                self._lost.field(f"tools[{i}].strict")
        return written

    # -- instructions and turns

    def system(self, request: Request) -> list[Any]:
        written: list[Any] = []
        for i, block in enumerate(request.system):
            path = f"system[{i}]"
            if isinstance(block, Text):
                if block.text and not block.text.isspace():
                    written.append({"text": block.text})
                    self._mark(block.cache, written, path)
            else:
                self._lost.field(path)
        return written

    def turns(self, request: Request) -> list[_Turn]:
        """Those that say something, roles in alternation."""
        turns: list[_Turn] = []
        for i, message in enumerate(request.messages):
            role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
            if message.role == "system":
                self._lost.hint(f"messages[{i}].role")
            if message.name:
                self._lost.hint(f"messages[{i}].name")
            turn = turns[-1] if turns and turns[-1].role == role else _Turn(role)
            for j, block in enumerate(message.blocks):
                self._block(block, turn, f"messages[{i}].blocks[{j}]")
            if (turn.results or turn.others) and (not turns or turns[-1] is not turn):
                turns.append(turn)
        if not turns:
            lost = next((path for path in self._lost.fields if path.startswith("messages[")), None)
            told = f"'messages' holds no turn that says anything{f', for {lost!r} has no place here' if lost else ''}."
            raise GatewayError(INVALID_VALUE, told, param=lost or "messages")
        return turns

    def _block(self, block: Block, turn: _Turn, path: str) -> None:
        place = turn.results if type(block) is ToolResult else turn.others
        written = _WRITE[type(block)](self, block, turn.role, path)
        if written is not None:
            place.append(written)
        mark: CacheMark | None = getattr(block, "cache", None)
        if type(block) is ToolResult:  # nothing in a result can be followed by a cache point
            mark = next((part.cache for part in reversed(block.content) if part.cache is not None), mark) or mark
        if written is None and mark is not None:
            self._lost.hint(f"{path}.cache")
        elif written is not None:
            self._mark(mark, place, path)

    def _text(self, block: Text, role: str, path: str) -> _Written | None:
        if block.citations:
            self._lost.hint(f"{path}.citations")
        return {"text": block.text} if block.text and not block.text.isspace() else None

    def _refusal(self, block: Refusal, role: str, path: str) -> _Written | None:
        return {"text": block.text} if block.text and not block.text.isspace() else None

    def _thinking(self, block: Thinking, role: str, path: str) -> _Written | None:
        signature = block.signature
        if signature is None or signature.dialect != "bedrock" or role != "assistant":
            self._lost.hint(path)
            return None
        if block.redacted:
            return {"reasoningContent": {"redactedContent": signature.value}}
        return {"reasoningContent": {"reasoningText": {"text": block.text, "signature": signature.value}}}

    def _cannot(self, block: Block, role: str, path: str) -> _Written | None:
        self._lost.field(path)
        return None

    # -- media

    def _image(self, block: Image, role: str, path: str) -> _Written | None:
        if block.detail not in ("", "auto"):
            self._lost.hint(f"{path}.detail")
        return self._media("image", image_block(block), role, block, path)

    def _video(self, block: Video, role: str, path: str) -> _Written | None:
        return self._media("video", video_block(block), role, block, path)

    def _audio(self, block: Audio, role: str, path: str) -> _Written | None:
        if role == "assistant" and block.transcript:
            return {"text": block.transcript}
        return self._media("audio", audio_block(block), role, block, path)

    def _media(self, kind: str, written: _Written | None, role: str, block: Block, path: str) -> _Written | None:
        return {kind: written} if written is not None and role == "user" else self._cannot(block, role, path)

    def _document(self, block: Document, role: str, path: str) -> _Written | None:
        written = document_block(block)
        if written is None or role != "user":
            return self._cannot(block, role, path)
        written["name"] = self._name(block.title)
        if block.context:
            written["context"] = block.context
        if block.citations:
            written["citations"] = {"enabled": True}
        return {"document": written}

    def _name(self, title: str) -> str:
        name = wanted = document_name(title)
        number = 1
        while name in self._names:
            number += 1
            name = f"{wanted[: MAX_NAME_CHARS - 8]} {number}"
        self._names.add(name)
        return name

    # -- calls and their results

    def _tool_call(self, block: ToolCall, role: str, path: str) -> _Written | None:
        if role != "assistant":
            return self._cannot(block, role, path)
        call_id = block.id
        if not call_id:
            call_id = f"call_{zlib.crc32(path.encode()):08x}"
            self._unnamed.append(call_id)
        if block.signature is not None:
            self._lost.hint(f"{path}.signature")
        return {"toolUse": {"toolUseId": self._good_id(call_id), "name": block.name, "input": _input(block)}}

    def _good_id(self, told: str) -> str:
        if _GOOD_ID.fullmatch(told):
            return told
        known = self._ids.get(told)
        if known is None:
            checksum = f"_{zlib.crc32(told.encode()):08x}"
            known = _BAD_IN_ID.sub("_", told)[: MAX_ID_CHARS - len(checksum)] + checksum
            self._ids[told] = known
        return known

    def _tool_result(self, block: ToolResult, role: str, path: str) -> _Written | None:
        if role != "user":
            return self._cannot(block, role, path)
        call_id = block.call_id or (self._unnamed.popleft() if self._unnamed else "call_unknown")
        parts = [(part, f"{path}.content[{k}]") for k, part in enumerate(block.content)]
        content = [_WRITE[type(part)](self, part, "user", inner) for part, inner in parts]
        result: _Written = {
            "toolUseId": self._good_id(call_id),
            "content": [written for written in content if written is not None] or [{"text": NOTHING}],
        }
        if block.is_error:
            result["status"] = "error"
        return {"toolResult": result}


_WRITE: dict[type, Callable[..., Any]] = {
    Text: Writer._text,
    ToolCall: Writer._tool_call,
    ToolResult: Writer._tool_result,
    Thinking: Writer._thinking,
    Image: Writer._image,
    Document: Writer._document,
    Refusal: Writer._refusal,
    Opaque: Writer._cannot,
    Audio: Writer._audio,
    Video: Writer._video,
}


def content_of(turns: list[_Turn]) -> list[_Written]:
    """The turns as they stand on the wire. The beginning of an answer must not end in white space."""
    last = turns[-1]
    if last.role == "assistant" and last.others and "text" in last.others[-1]:
        last.others[-1]["text"] = last.others[-1]["text"].rstrip()
    return [{"role": turn.role, "content": turn.results + turn.others} for turn in turns]


def called_tools(turns: list[_Turn]) -> list[str]:
    """The names of the tools that were called, each once."""
    calls = (each["toolUse"]["name"] for turn in turns for each in turn.others if "toolUse" in each)
    return list(dict.fromkeys(calls))


def _parameters(schema: msgspec.Raw | None) -> Any:
    """A schema; one that does not say so is told to be of an object."""
    if schema is None:
        return _NO_PARAMETERS
    try:
        fields = _object.decode(schema)
    except msgspec.ValidationError:
        return _NO_PARAMETERS
    return schema if "type" in fields else {**fields, "type": "object"}


def _input(call: ToolCall) -> Any:
    """The arguments as an object: free text as the one parameter of such a tool, and what is no object as the text that it is."""
    text = call.arguments
    if call.custom:
        return {FREE_TEXT: text}
    if not text or text.isspace():
        return {}
    try:
        _object.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {INVALID: text}
    return msgspec.Raw(text.encode())
