"""Reads requests, and says what became of what only Anthropic knows.

| on the wire | in the canonical form |
|---|---|
| `system`, `role: system` amid the conversation | `Request.system`, a turn of the system |
| `thinking` enabled, adaptive; disabled, between_tools | `Reasoning.budget_tokens`, `.adaptive`; effort "none" |
| `output_config.effort`, `.format` | `Reasoning.effort`, `Request.output` |
| `tool_choice` auto, any, tool, none; `disable_parallel_tool_use` | auto, required, one, none; `parallel_tool_calls` |
| `search_result`, a document made up of texts | `Document` of their text |
| `tool_reference` | its name as a text: whoever is asked has all tools before it, which `defer_loading` (a hint) would have kept back |
| the provider's search for tools, and what it has found | nothing (hints), for the same reason |
| tools with a `type` of their own, other blocks | `HostedTool`, `Opaque` |
| `service_tier: standard_only` | "default" |
"""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.base import messages as canonical
from gateway.base.errors import INVALID_JSON, MISSING_MODEL, GatewayError
from gateway.base.messages import Lost
from gateway.codec.dialects.anthropic import _wire as wire
from gateway.codec.dialects.anthropic._read_blocks import SYSTEM, TOOL_SEARCH, Reader, invalid, mark_of, refuse
from gateway.codec.dialects.anthropic._unknown import without_unknown
from gateway.codec.raw import given

_request = msgspec.json.Decoder(wire.Request)
_tool = msgspec.json.Decoder(wire.Tool)

VERSIONS = ("2023-06-01", "2026-10-21")
"""What clients send as `anthropic-version` today."""


class _Kind(msgspec.Struct):
    type: str | None = None


_kind = msgspec.json.Decoder(_Kind)


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
        refuse("messages", "'messages' is missing.")
    if asked.max_tokens is None and not counting:
        refuse("max_tokens", "'max_tokens' is missing.")
    if version == VERSIONS[1]:
        _refuse_removed(asked)
    reader = Reader(lost)
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
        _note_tool_choice(request, asked.tool_choice, lost)
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
        if given(value):
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
        raise invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GatewayError(INVALID_JSON, f"The body is not valid JSON: {error}.") from error


def _refuse_removed(asked: wire.Request) -> None:
    """What version 2026-10-21 answers with a 400."""
    for name in ("temperature", "top_p", "top_k"):
        if getattr(asked, name) is not None:
            refuse(name, f"{name!r} is no parameter of anthropic-version {VERSIONS[1]}.")
    for i, message in enumerate(asked.messages or ()):
        if isinstance(message.content, list):
            for j, block in enumerate(message.content):
                at = f"messages[{i}].content[{j}]"
                if message.role == "assistant" and isinstance(block, wire.DocumentBlock):
                    refuse(
                        at, f"A document cannot stand in a turn of the assistant in anthropic-version {VERSIONS[1]}."
                    )
                if message.role == "user":
                    texts = block.content if isinstance(block, wire.SearchResultBlock) else (block,)
                    if any(isinstance(text, wire.TextBlock) and text.citations for text in texts):
                        refuse(at, f"A text of the user cannot hold citations in anthropic-version {VERSIONS[1]}.")


# -- the rest of a request


def _note_tools(request: canonical.Request, found: list[msgspec.Raw], lost: Lost) -> None:
    tools: list[canonical.Tool] = []
    hosted: list[canonical.HostedTool] = []
    for i, raw in enumerate(found):
        tool = _tool_of(raw, i, lost)
        if isinstance(tool, canonical.HostedTool):
            if tool.kind.startswith(TOOL_SEARCH):
                lost.hint(f"tools[{i}]")
            else:
                hosted.append(tool)
            continue
        parameters = tool.input_schema
        made = canonical.Tool(
            tool.name,
            tool.description or "",
            parameters if given(parameters) else None,
            tool.strict,
        )
        if tool.cache_control is not None:
            made.cache = mark_of(tool.cache_control)
        tools.append(made)
        if tool.defer_loading:
            lost.hint(f"tools[{i}].defer_loading")
        if tool.eager_input_streaming is not None:
            lost.hint(f"tools[{i}].eager_input_streaming")
        if tool.allowed_callers and tool.allowed_callers != ["direct"]:
            lost.field(f"tools[{i}].allowed_callers")
        if given(tool.input_examples):
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
        raise invalid(str(error), prefix) from error


_MODES: dict[str, Literal["auto", "none", "required", "one"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "one",
    "none": "none",
}


def _note_tool_choice(request: canonical.Request, found: wire.ToolChoice, lost: Lost) -> None:
    if found.type not in _MODES:
        lost.field("tool_choice")
        return
    if found.type == "tool" and not found.name:
        refuse("tool_choice.name", "'tool_choice.name' is missing.")
    request.tool_choice = canonical.ToolChoice(_MODES[found.type], found.name or "" if found.type == "tool" else "")
    if found.disable_parallel_tool_use is not None:
        request.parallel_tool_calls = not found.disable_parallel_tool_use


def _note_output(request: canonical.Request, asked: wire.Request, lost: Lost) -> None:
    config = asked.output_config
    shape = config.format if config is not None and config.format is not None else asked.output_format
    if shape is not None:
        if shape.type == "json_schema" and given(shape.schema):
            request.output = canonical.OutputFormat("json_schema", schema=shape.schema)
        else:
            lost.field("output_config.format")
    effort = _effort(config, lost)
    if config is not None and given(config.task_budget):
        lost.hint("output_config.task_budget")
    thinking = asked.thinking
    if thinking is None:
        if effort is not None:
            request.reasoning = canonical.Reasoning(effort)
        return
    if given(thinking.block_binding):
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
                refuse("thinking.budget_tokens", "'thinking.budget_tokens' is missing.")
            request.reasoning = canonical.Reasoning(effort, thinking.budget_tokens, shown=_shown(thinking.display))
        case "adaptive":
            request.reasoning = canonical.Reasoning(effort, adaptive=True, shown=_shown(thinking.display))
        case _:
            lost.field("thinking")
            request.reasoning = canonical.Reasoning(effort) if effort is not None else None


_EFFORTS: dict[str, canonical.Effort] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}


def _effort(config: wire.OutputConfig | None, lost: Lost) -> canonical.Effort | None:
    if config is None or config.effort is None:
        return None
    if config.effort not in _EFFORTS:
        lost.field("output_config.effort")
    return _EFFORTS.get(config.effort)


def _shown(display: str | None) -> bool | None:
    return None if display is None else display != "omitted"


def _note_last_mark(request: canonical.Request, found: wire.CacheControl, lost: Lost) -> None:
    """One mark for the whole request stands at its last block."""
    last = request.messages[-1].blocks[-1] if request.messages and request.messages[-1].blocks else None
    if last is None or isinstance(last, canonical.Thinking | canonical.Refusal | canonical.Opaque):
        lost.hint("cache_control")
    elif last.cache is None:
        last.cache = mark_of(found)
