"""Reads requests, and says what became of what only Anthropic knows.

| on the wire | in the canonical form |
|---|---|
| `system`, `role: system` amid the conversation | `Request.system`, a turn of the system |
| `thinking` enabled, adaptive; disabled, between_tools | `Reasoning.budget_tokens`, `.adaptive`; effort "none" |
| `output_config.effort`, `.format` | `Reasoning.effort`, `Request.output` |
| `tool_choice` auto, any, tool, none; `disable_parallel_tool_use` | auto, required, one, none; `parallel_tool_calls` |
| `search_result`, a document made up of texts | `Document` of their text |
| `tool_reference` | its name as a text: whoever is asked has all tools before it, which `defer_loading` (a hint) would have kept back |
| tools with a `type` of their own, other blocks | `HostedTool`, `Opaque` |
| `service_tier: standard_only` | "default" |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NoReturn, TypeAlias

import msgspec

from gateway.base import messages as canonical
from gateway.base.errors import INVALID_JSON, INVALID_VALUE, MISSING_MODEL, GatewayError
from gateway.base.messages import CacheMark, Lost
from gateway.codec import signatures
from gateway.codec.dialects.anthropic import _wire as wire
from gateway.codec.dialects.anthropic._parts import arguments_of, carrier, citation_of
from gateway.codec.dialects.anthropic._unknown import without_unknown

_request = msgspec.json.Decoder(wire.Request)
_tool = msgspec.json.Decoder(wire.Tool)

VERSIONS = ("2023-06-01", "2026-10-21")
"""What clients send as `anthropic-version` today."""


class _Kind(msgspec.Struct):
    type: str | None = None


class _Caller(msgspec.Struct):
    type: str = "direct"


_kind = msgspec.json.Decoder(_Kind)
_caller = msgspec.json.Decoder(_Caller)


def read(body: bytes, lost: Lost, *, counting: bool = False, version: str = "") -> canonical.Request:
    """A request of the Messages API.

    Args:
        counting: it asks for the count of its tokens only, and `max_tokens` may be missing.
        version: the caller's `anthropic-version`; what 2026-10-21 has taken away is refused there, and read in any other.

    Raises:
        GatewayError: INVALID_JSON, MISSING_MODEL or INVALID_VALUE.
    """
    asked = _decoded(body, lost)
    if not asked.model:
        raise GatewayError(MISSING_MODEL, "The body has no 'model'.", param="model")
    if asked.messages is None:
        _refuse("messages", "'messages' is missing.")
    if asked.max_tokens is None and not counting:
        _refuse("max_tokens", "'max_tokens' is missing.")
    if version == VERSIONS[1]:
        _refuse_removed(asked)
    reader = _Reader(lost)
    request = canonical.Request(
        model=asked.model,
        messages=[reader.message(message, i) for i, message in enumerate(asked.messages)],
        stream=asked.stream is True,
        max_output_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
    )
    if asked.system:
        request.system = reader.blocks(asked.system, SYSTEM)
    if asked.stop_sequences:
        request.stop = asked.stop_sequences
    if asked.tools:
        _note_tools(request, asked.tools, lost)
    if asked.tool_choice is not None:
        _note_tool_choice(request, asked.tool_choice)
    if asked.metadata is not None and asked.metadata.user_id:
        request.user = asked.metadata.user_id
    if asked.service_tier is not None:
        request.service_tier = "default" if asked.service_tier == "standard_only" else asked.service_tier
    if asked.thinking is not None or asked.output_config is not None or asked.output_format is not None:
        _note_output(request, asked, lost)
    if asked.cache_control is not None:
        _note_last_mark(request, asked.cache_control, lost)
    for name in wire.HINTS:
        value: msgspec.Raw = getattr(asked, name)
        if wire.given(value):
            lost.hint(name)
    return request


# -- decoding


def _decoded(body: bytes, lost: Lost) -> wire.Request:
    try:
        return _request.decode(body)
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GatewayError(INVALID_JSON, f"The body is not valid JSON: {error}.") from error
    try:
        return _request.decode(without_unknown(body, wire.Request, lost))
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GatewayError(INVALID_JSON, f"The body is not valid JSON: {error}.") from error


def _invalid(text: str, prefix: str = "") -> GatewayError:
    """msgspec says "Expected `str`, got `int` - at `$.messages[0].role`"."""
    what, _, where = text.partition(" - at ")
    param = (prefix + where.strip("`").removeprefix("$")).removeprefix(".") or None
    return GatewayError(INVALID_VALUE, f"{what}{f' in {param!r}' if param else ''}.", param=param)


def _refuse(param: str, message: str) -> NoReturn:
    raise GatewayError(INVALID_VALUE, message, param=param)


def _refuse_removed(asked: wire.Request) -> None:
    """What version 2026-10-21 answers with a 400."""
    for name in ("temperature", "top_p", "top_k"):
        if getattr(asked, name) is not None:
            _refuse(name, f"{name!r} is no parameter of anthropic-version {VERSIONS[1]}.")
    for i, message in enumerate(asked.messages or ()):
        if isinstance(message.content, list):
            for j, block in enumerate(message.content):
                at = f"messages[{i}].content[{j}]"
                if message.role == "assistant" and isinstance(block, wire.DocumentBlock):
                    _refuse(
                        at, f"A document cannot stand in a turn of the assistant in anthropic-version {VERSIONS[1]}."
                    )
                if message.role == "user":
                    texts = block.content if isinstance(block, wire.SearchResultBlock) else (block,)
                    if any(isinstance(text, wire.TextBlock) and text.citations for text in texts):
                        _refuse(at, f"A text of the user cannot hold citations in anthropic-version {VERSIONS[1]}.")


# -- turns and their blocks

SYSTEM = -1
"""In place of the number of a turn."""


def _mark(found: wire.CacheControl | None) -> CacheMark | None:
    return None if found is None else CacheMark(found.ttl or "")


class _Reader:
    """Of blocks; tells `lost` of what it leaves out.

    Where a block stands is passed on as numbers (of its turn, in it, in a result in it): a path is made only for what is told.
    """

    __slots__ = ("_lost",)

    def __init__(self, lost: Lost) -> None:
        self._lost = lost

    def message(self, found: wire.Message, i: int) -> canonical.Message:
        if found.content is None:
            if found.role != "system":
                _refuse(f"messages[{i}].content", f"'messages[{i}].content' is missing.")
            return canonical.Message("system", [])
        return canonical.Message(found.role, self.blocks(found.content, i))

    def blocks(self, content: str | list[wire.Block] | list[wire.TextBlock], i: int) -> list[canonical.Block]:
        if isinstance(content, str):
            return [canonical.Text(content)]
        blocks: list[canonical.Block] = []
        signed: dict[str, canonical.Signature] | None = None
        for j, block in enumerate(content):
            if type(block) is wire.RedactedThinkingBlock:
                of_call = carrier(block.data)
                if of_call is not None:
                    signed = signed if signed is not None else {}
                    signed[of_call[0]] = of_call[1]
                    continue
            blocks.append(_READ[type(block)](self, block, (i, j)))
        if signed is not None:
            for call in blocks:
                if type(call) is canonical.ToolCall and call.id in signed:
                    call.signature = signed[call.id]
        return blocks

    def _text(self, block: wire.TextBlock, at: _Place) -> canonical.Text:
        mark = block.cache_control
        if mark is None and not block.citations:
            return canonical.Text(block.text)
        text = canonical.Text(block.text, _mark(mark))
        if block.citations:
            try:
                text.citations = [citation_of(raw) for raw in block.citations]
            except msgspec.ValidationError as error:
                raise _invalid(str(error), f"{_path(at)}.citations") from error
        return text

    def _tool_use(self, block: wire.ToolUseBlock, at: _Place) -> canonical.ToolCall:
        if block.toolset_name:
            self._lost.hint(f"{_path(at)}.toolset_name")
        if block.caller is not wire.ABSENT and not _is_direct(block.caller):
            self._lost.hint(f"{_path(at)}.caller")
        call = canonical.ToolCall(block.id, block.name, arguments_of(block.input))
        if block.cache_control is not None:
            call.cache = _mark(block.cache_control)
        return call

    def _tool_result(self, block: wire.ToolResultBlock, at: _Place) -> canonical.ToolResult:
        if block.toolset_name:
            self._lost.hint(f"{_path(at)}.toolset_name")
        found = block.content
        result = canonical.ToolResult(block.tool_use_id, [], block.is_error is True)
        if isinstance(found, str):
            result.content = [canonical.Text(found)]
        elif found is not None:
            result.content = [_READ[type(inner)](self, inner, (*at, k)) for k, inner in enumerate(found)]
        if block.cache_control is not None:
            result.cache = _mark(block.cache_control)
        return result

    def _thinking(self, block: wire.ThinkingBlock, at: _Place) -> canonical.Thinking:
        return canonical.Thinking(
            block.thinking, signatures.taken(block.signature, "anthropic") if block.signature else None
        )

    def _redacted_thinking(self, block: wire.RedactedThinkingBlock, at: _Place) -> canonical.Thinking:
        return canonical.Thinking(signature=signatures.taken(block.data, "anthropic"), redacted=True)

    def _image(self, block: wire.ImageBlock, at: _Place) -> canonical.Image:
        if wire.given(block.transformations):
            self._lost.hint(f"{_path(at)}.transformations")
        return canonical.Image(_source(block.source), cache=_mark(block.cache_control))

    def _search_result(self, block: wire.SearchResultBlock, at: _Place) -> canonical.Document:
        return canonical.Document(
            text="\n".join(text.text for text in block.content),
            title=block.title,
            context=block.source,
            citations=_may_cite(block.citations),
            cache=_mark(block.cache_control),
        )

    def _tool_reference(self, block: wire.ToolReferenceBlock, at: _Place) -> canonical.Text:
        return canonical.Text(block.tool_name, _mark(block.cache_control))

    def _opaque(self, block: wire.UnknownBlock, at: _Place) -> canonical.Opaque:
        return canonical.Opaque("anthropic", block.kind, block.value)

    def _document(self, block: wire.DocumentBlock, at: _Place) -> canonical.Document | canonical.Opaque:
        document = canonical.Document(
            title=block.title or "",
            context=block.context or "",
            citations=_may_cite(block.citations),
            cache=_mark(block.cache_control),
        )
        match block.source:
            case wire.PlainText(data=text):
                document.text = text
            case wire.Content(content=content):
                if isinstance(content, str):
                    document.text = content
                elif all(isinstance(each, wire.TextBlock) for each in content):
                    document.text = "\n".join(each.text for each in content if isinstance(each, wire.TextBlock))
                else:
                    return canonical.Opaque("anthropic", "document", msgspec.Raw(msgspec.json.encode(block)))
            case source:
                document.source = _source(source)
                if isinstance(document.source, canonical.Address):
                    document.source.media_type = "application/pdf"
        return document


_Place: TypeAlias = tuple[int, ...]

_READ: dict[type, Callable[..., Any]] = {
    wire.TextBlock: _Reader._text,
    wire.ToolUseBlock: _Reader._tool_use,
    wire.ToolResultBlock: _Reader._tool_result,
    wire.ThinkingBlock: _Reader._thinking,
    wire.RedactedThinkingBlock: _Reader._redacted_thinking,
    wire.ImageBlock: _Reader._image,
    wire.DocumentBlock: _Reader._document,
    wire.SearchResultBlock: _Reader._search_result,
    wire.ToolReferenceBlock: _Reader._tool_reference,
    wire.UnknownBlock: _Reader._opaque,
}


def _path(at: _Place) -> str:
    i, *inner = at
    turn = "system" if i == SYSTEM else f"messages[{i}].content"
    return turn + ".content".join(f"[{j}]" for j in inner)


def _is_direct(raw: msgspec.Raw) -> bool:
    """Whether the model itself has made a call, and not a program of its own."""
    if not wire.given(raw):
        return True
    try:
        return _caller.decode(raw).type == "direct"
    except msgspec.ValidationError:
        return False


def _may_cite(found: wire.CitationsConfig | None) -> bool:
    return found is not None and found.enabled is True


def _source(source: wire.Base64 | wire.Url | wire.File) -> canonical.Source:
    match source:
        case wire.Base64():
            return canonical.Inline(source.media_type, source.data)
        case wire.Url():
            return canonical.Address(source.url)
        case wire.File():
            return canonical.StoredFile(source.file_id)


# -- the rest of a request


def _note_tools(request: canonical.Request, found: list[msgspec.Raw], lost: Lost) -> None:
    tools: list[canonical.Tool] = []
    hosted: list[canonical.HostedTool] = []
    for i, raw in enumerate(found):
        tool = _tool_of(raw, i, lost)
        if isinstance(tool, canonical.HostedTool):
            hosted.append(tool)
            continue
        parameters = tool.input_schema
        made = canonical.Tool(
            tool.name,
            tool.description or "",
            parameters if wire.given(parameters) else None,
            tool.strict,
        )
        if tool.cache_control is not None:
            made.cache = _mark(tool.cache_control)
        tools.append(made)
        if tool.defer_loading:
            lost.hint(f"tools[{i}].defer_loading")
        if tool.eager_input_streaming is not None:
            lost.hint(f"tools[{i}].eager_input_streaming")
        if tool.allowed_callers and tool.allowed_callers != ["direct"]:
            lost.field(f"tools[{i}].allowed_callers")
        if wire.given(tool.input_examples):
            lost.hint(f"tools[{i}].input_examples")
    if tools:
        request.tools = tools
    if hosted:
        request.hosted_tools = hosted


def _tool_of(raw: msgspec.Raw, i: int, lost: Lost) -> wire.Tool | canonical.HostedTool:
    try:
        return _tool.decode(raw)
    except msgspec.ValidationError:
        pass
    prefix = f"tools[{i}]"
    try:
        kind = _kind.decode(raw).type
        if kind is not None and kind != "custom":
            return canonical.HostedTool("anthropic", kind, raw)
        return _tool.decode(without_unknown(raw, wire.Tool, lost, prefix))
    except msgspec.ValidationError as error:
        raise _invalid(str(error), prefix) from error


_MODES: dict[str, Literal["auto", "none", "required", "one"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "one",
    "none": "none",
}


def _note_tool_choice(request: canonical.Request, found: wire.ToolChoice) -> None:
    if found.type == "tool" and not found.name:
        _refuse("tool_choice.name", "'tool_choice.name' is missing.")
    request.tool_choice = canonical.ToolChoice(_MODES[found.type], found.name or "" if found.type == "tool" else "")
    if found.disable_parallel_tool_use is not None:
        request.parallel_tool_calls = not found.disable_parallel_tool_use


def _note_output(request: canonical.Request, asked: wire.Request, lost: Lost) -> None:
    config = asked.output_config
    shape = config.format if config is not None and config.format is not None else asked.output_format
    if shape is not None:
        request.output = canonical.OutputFormat("json_schema", schema=shape.schema)
    effort = config.effort if config is not None else None
    if config is not None and wire.given(config.task_budget):
        lost.hint("output_config.task_budget")
    thinking = asked.thinking
    if thinking is None:
        if effort is not None:
            request.reasoning = canonical.Reasoning(effort)
        return
    if wire.given(thinking.block_binding):
        lost.hint("thinking.block_binding")
    match thinking.type:
        case "disabled" | "between_tools":
            if thinking.type == "between_tools":
                lost.hint("thinking")
            if effort is not None:
                lost.hint("output_config.effort")
            request.reasoning = canonical.Reasoning("none")
        case "enabled":
            if thinking.budget_tokens is None:
                _refuse("thinking.budget_tokens", "'thinking.budget_tokens' is missing.")
            request.reasoning = canonical.Reasoning(effort, thinking.budget_tokens, shown=_shown(thinking.display))
        case "adaptive":
            request.reasoning = canonical.Reasoning(effort, adaptive=True, shown=_shown(thinking.display))


def _shown(display: str | None) -> bool | None:
    return None if display is None else display != "omitted"


def _note_last_mark(request: canonical.Request, found: wire.CacheControl, lost: Lost) -> None:
    """One mark for the whole request stands at its last block."""
    last = request.messages[-1].blocks[-1] if request.messages and request.messages[-1].blocks else None
    if last is None or isinstance(last, canonical.Thinking | canonical.Refusal | canonical.Opaque):
        lost.hint("cache_control")
    elif last.cache is None:
        last.cache = _mark(found)
