"""Writes requests: what `_request` reads, and what other dialects have that this one says otherwise or not at all.

| in the canonical form | on the wire |
|---|---|
| an empty text | left out: it is refused |
| turns of one role after another | one turn; results of tools come first in it |
| a turn of the system amid the conversation | a text of the user at its place (a hint: not every model takes `role: system`, nor everywhere) |
| `Thinking` of another provider, or of none | left out (a hint) |
| `Refusal` in a turn | a text |
| a tool that takes free text | one with a parameter `input` |
| a call's id that holds other characters than letters, digits, `_` and `-` | they become `_`, and a checksum follows; results alike |
| `tool_choice.allowed` | the other tools are left out (a hint) |
| more than four cache marks | the last four |
| audio, video, `top_k` beside thinking, `seed`, penalties, `logit_bias`, `logprobs`, `choices`, `verbosity`, any JSON | lost |

Source: Anthropic's API reference, "Create a Message", and its pages "Define tools", "Prompt caching", "Structured outputs".
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from typing import Any, Literal

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
from gateway.codec.dialects.anthropic._models import Traits, traits_of
from gateway.codec.dialects.anthropic._parts import FREE_TEXT, encode, input_of
from gateway.codec.dialects.anthropic._sources import document_source, image_source
from gateway.codec.dialects.anthropic._thinking import bounded_max_tokens, write_sampling, write_thinking

MAX_MARKS = 4
"""Cache marks in one request; Anthropic refuses more."""

MAX_USER_CHARS = 256
"""Of `metadata.user_id`."""

VERSION = "2023-06-01"
"""The `anthropic-version` that what is written here is meant for: alone it has `temperature`, `top_p` and `top_k`."""

_GOOD_ID = re.compile(r"[A-Za-z0-9_-]+")
_BAD_IN_ID = re.compile(r"[^A-Za-z0-9_-]")
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')
_FREE_TEXT_PARAMETERS = msgspec.Raw(
    encode({"type": "object", "properties": {FREE_TEXT: {"type": "string"}}, "required": [FREE_TEXT]})
)


_ABSENT = msgspec.Raw(b"null")


class _Schema(msgspec.Struct):
    type: msgspec.Raw = _ABSENT


_schema = msgspec.json.Decoder(_Schema)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def write(request: Request, lost: Lost, *, counting: bool = False) -> bytes:
    """The body of a request; with `counting` that of one for the count of its tokens.

    Raises:
        GatewayError: INVALID_VALUE without `max_output_tokens`, or with no turn that says anything.
    """
    traits = traits_of(request.model)
    writer = _Writer(lost)
    out: dict[str, Any] = {"model": request.model}
    if not counting:
        out["max_tokens"] = bounded_max_tokens(request)
    if request.tools or request.hosted_tools:
        tools = writer.tools(request, traits)
        if tools:
            out["tools"] = tools
    system = writer.system(request)
    if system:
        out["system"] = system
    out["messages"] = writer.turns(request)
    thinks = False
    if not counting or request.max_output_tokens is not None:
        thinks = write_thinking(request, traits, out, lost)
    if request.tool_choice is not None or request.parallel_tool_calls is not None:
        _write_tool_choice(request, traits, out, lost)
    if request.output is not None:
        _write_format(request, traits, out, lost)
    if not counting:
        write_sampling(request, traits, thinks, out, lost)
        _write_rest(request, out, lost)
    writer.keep_last_marks()
    return encode(out)


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


class _Writer:
    """Of the parts that can hold cache marks, which are counted over all of them."""

    __slots__ = ("_ids", "_lost", "_marked", "_unnamed")

    def __init__(self, lost: Lost) -> None:
        self._lost = lost
        self._ids: dict[str, str] = {}
        self._unnamed: deque[str] = deque()
        """Ids made for calls that have none, until their results take them."""
        self._marked: list[tuple[dict[str, Any], str]] = []

    # -- marks

    def _mark(self, written: dict[str, Any], mark: CacheMark, path: str) -> None:
        control = {"type": "ephemeral"}
        if mark.ttl in ("5m", "1h"):
            control["ttl"] = mark.ttl
        written["cache_control"] = control
        self._marked.append((written, path))

    def keep_last_marks(self) -> None:
        for written, path in self._marked[:-MAX_MARKS]:
            del written["cache_control"]
            self._lost.hint(f"{path}.cache")

    # -- tools

    def tools(self, request: Request, traits: Traits) -> list[Any]:
        allowed = request.tool_choice.allowed if request.tool_choice is not None else ()
        if allowed:
            self._lost.hint("tool_choice.allowed")
        written: list[Any] = []
        for i, tool in enumerate(request.tools):
            if not allowed or tool.name in allowed:
                written.append(self._tool(tool, f"tools[{i}]", traits))
        for i, hosted in enumerate(request.hosted_tools):
            if hosted.dialect == "anthropic":
                written.append(hosted.value)
            else:
                self._lost.field(f"hosted_tools[{i}]")
        return written

    def _tool(self, tool: Tool, path: str, traits: Traits) -> dict[str, Any]:
        written: dict[str, Any] = {"name": tool.name}
        if tool.description:
            written["description"] = tool.description
        written["input_schema"] = _FREE_TEXT_PARAMETERS if tool.custom else _parameters(tool.parameters)
        if tool.grammar is not None:
            self._lost.field(f"{path}.grammar")
        if tool.strict:
            if traits.structured:
                written["strict"] = True
            else:
                self._lost.field(f"{path}.strict")
        if tool.cache is not None:
            self._mark(written, tool.cache, path)
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
                text_block = self._text(block, f"system[{i}]", cites=False)
                if text_block is not None:
                    written.append(text_block)
            else:
                self._lost.field(f"system[{i}]")
        return written

    def turns(self, request: Request) -> list[dict[str, Any]]:
        turns: list[_Turn] = []
        for i, message in enumerate(request.messages):
            path = f"messages[{i}]"
            role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
            if message.role == "system":
                self._lost.hint(f"{path}.role")
            if message.name:
                self._lost.hint(f"{path}.name")
            turn = turns[-1] if turns and turns[-1].role == role else _Turn(role)
            for j, block in enumerate(message.blocks):
                written = self._block(block, role, path, i, j)
                if written is not None:
                    (turn.results if type(block) is ToolResult else turn.others).append(written)
            if (turn.results or turn.others) and (not turns or turns[-1] is not turn):
                turns.append(turn)
        if not turns:
            raise GatewayError(INVALID_VALUE, "'messages' holds no turn that says anything.", param="messages")
        _trim_prefill(turns[-1])
        return [{"role": turn.role, "content": turn.content()} for turn in turns]

    def _block(self, block: Block, role: str, path: str, i: int, j: int) -> Any | None:
        """None where it says nothing or cannot be said."""
        kind = type(block)
        if kind is Text:
            return self._text(block, f"{path}.blocks[{j}]", cites=role == "assistant")  # type: ignore[arg-type]
        match block:
            case ToolCall():
                call = {
                    "type": "tool_use",
                    "id": self._call_id(block.id, i, j),
                    "name": block.name,
                    "input": input_of(block),
                }
                if block.cache is not None:
                    self._mark(call, block.cache, f"{path}.blocks[{j}]")
                if block.signature is not None:
                    self._lost.hint(f"{path}.blocks[{j}].signature")
                return call
            case ToolResult():
                return self._result(block, f"{path}.blocks[{j}]")
            case Thinking():
                return self._thinking(block, role, f"{path}.blocks[{j}]")
            case Refusal(text=text):
                return {"type": "text", "text": text} if text and not text.isspace() else None
            case _:
                return self._media(block, role, f"{path}.blocks[{j}]")

    def _text(self, block: Text, path: str, *, cites: bool) -> dict[str, Any] | None:
        text = block.text
        if not text or text.isspace():
            if block.cache is not None:
                self._lost.hint(f"{path}.cache")
            return None
        written: dict[str, Any] = {"type": "text", "text": text}
        if block.citations:
            citations = (
                [c.raw for c in block.citations if c.dialect == "anthropic" and c.raw is not None] if cites else []
            )
            if citations:
                written["citations"] = citations
            if len(citations) < len(block.citations):
                self._lost.hint(f"{path}.citations")
        if block.cache is not None:
            self._mark(written, block.cache, path)
        return written

    def _thinking(self, block: Thinking, role: str, path: str) -> dict[str, Any] | None:
        signature = block.signature
        if signature is None or signature.dialect != "anthropic" or role != "assistant":
            self._lost.hint(path)
            return None
        if block.redacted:
            return {"type": "redacted_thinking", "data": signature.value}
        return {"type": "thinking", "thinking": block.text, "signature": signature.value}

    def _media(self, block: Block, role: str, path: str) -> Any | None:
        written: dict[str, Any] | None = None
        match block:
            case Opaque(dialect="anthropic"):
                return block.value
            case Image() if role == "user":
                written = self._image(block, path)
            case Document() if role == "user":
                written = self._document(block)
            case Audio() | Video() | Image() | Document() | Opaque():
                pass
        if written is None:
            self._lost.field(path)
        elif isinstance(block, Image | Document) and block.cache is not None:
            self._mark(written, block.cache, path)
        return written

    def _image(self, block: Image, path: str) -> dict[str, Any] | None:
        source = image_source(block)
        if source is None:
            return None
        if block.detail not in ("", "auto"):
            self._lost.hint(f"{path}.detail")
        return {"type": "image", "source": source}

    def _document(self, block: Document) -> dict[str, Any] | None:
        source = document_source(block)
        if source is None:
            return None
        written: dict[str, Any] = {"type": "document", "source": source}
        if block.title:
            written["title"] = block.title
        if block.context:
            written["context"] = block.context
        if block.citations:
            written["citations"] = {"enabled": True}
        return written

    # -- calls and their results

    def _call_id(self, told: str, i: int, j: int) -> str:
        if not told:
            made = f"call_{i}_{j}"
            self._unnamed.append(made)
            return made
        return self._good_id(told)

    def _good_id(self, told: str) -> str:
        if _GOOD_ID.fullmatch(told):
            return told
        known = self._ids.get(told)
        if known is None:
            checksum = zlib.crc32(told.encode("utf-8", "replace"))
            known = self._ids[told] = f"{_BAD_IN_ID.sub('_', told)}_{checksum:08x}"
        return known

    def _result(self, block: ToolResult, path: str) -> dict[str, Any]:
        if block.call_id:
            call_id = self._good_id(block.call_id)
        else:
            call_id = self._unnamed.popleft() if self._unnamed else "call_unknown"
        written: dict[str, Any] = {"type": "tool_result", "tool_use_id": call_id}
        content = self._result_content(block, path)
        if block.is_error:
            written["is_error"] = True
            content = content or "(no output)"  # an error without content is refused
        if content:
            written["content"] = content
        if block.cache is not None:
            self._mark(written, block.cache, path)
        return written

    def _result_content(self, block: ToolResult, path: str) -> list[Any] | str:
        blocks = block.content
        if len(blocks) == 1 and type(blocks[0]) is Text and blocks[0].cache is None and not blocks[0].citations:
            return "" if blocks[0].text.isspace() else blocks[0].text
        content: list[Any] = []
        for k, inner in enumerate(blocks):
            inner_path = f"{path}.content[{k}]"
            written = (
                self._text(inner, inner_path, cites=False)
                if isinstance(inner, Text)
                else self._media(inner, "user", inner_path)
            )
            if written is not None:
                content.append(written)
        return content


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
        if _schema.decode(schema).type != _ABSENT:
            return schema
        return {**_fields.decode(schema), "type": "object"}
    except msgspec.ValidationError:
        return _NO_PARAMETERS


# -- the rest of a request

_CHOICES = {"auto": "auto", "none": "none", "required": "any", "one": "tool"}


def _write_tool_choice(request: Request, traits: Traits, out: dict[str, Any], lost: Lost) -> None:
    choice = request.tool_choice
    mode = choice.mode if choice is not None else "auto"
    if "tools" not in out:
        if mode in ("required", "one"):
            lost.field("tool_choice")
        return
    if mode in ("required", "one") and not traits.forced_tools:
        lost.field("tool_choice")
        mode = "auto"
    written: dict[str, Any] = {"type": _CHOICES[mode]}
    if mode == "one" and choice is not None:
        written["name"] = choice.name
    if request.parallel_tool_calls is not None and mode != "none":
        written["disable_parallel_tool_use"] = not request.parallel_tool_calls
    out["tool_choice"] = written


def _write_format(request: Request, traits: Traits, out: dict[str, Any], lost: Lost) -> None:
    output = request.output
    if output is None or output.kind == "text":
        return
    if output.kind == "json" or output.schema is None or not traits.structured:
        lost.field("output")
        return
    out.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": output.schema}


_TIERS = {"auto": "auto", "default": "standard_only", "standard": "standard_only", "standard_only": "standard_only"}


def _write_rest(request: Request, out: dict[str, Any], lost: Lost) -> None:
    if request.stream:
        out["stream"] = True
    if request.stop:
        stop = [each for each in request.stop if each and not each.isspace()]
        for i, each in enumerate(request.stop):
            if not each or each.isspace():
                lost.field(f"stop[{i}]")
        if stop:
            out["stop_sequences"] = stop
    if request.user:
        if len(request.user) <= MAX_USER_CHARS:
            out["metadata"] = {"user_id": request.user}
        else:
            lost.hint("user")
    if request.service_tier is not None:
        tier = _TIERS.get(request.service_tier)
        if tier is None:
            lost.hint("service_tier")
        else:
            out["service_tier"] = tier
    _tell_lost(request, lost)


def _tell_lost(request: Request, lost: Lost) -> None:
    if request.choices != 1:
        lost.field("choices")
    for name in ("seed", "logit_bias", "logprobs", "verbosity"):
        if getattr(request, name) is not None:
            lost.field(name)
    for name in ("frequency_penalty", "presence_penalty"):
        if getattr(request, name):
            lost.field(name)
    if request.metadata:
        lost.hint("metadata")
    if request.store:
        lost.hint("store")
