"""A request for a provider, as OpenAI has it.

What this dialect does otherwise than the canonical form: results of tools are messages of their own, and hold no more than text, so that
images and files of theirs follow in a message of the user; thoughts, text and calls stand in that order, whichever they came in.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.base.messages import (
    Lost,
    OutputFormat,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)
from gateway.codec.dialects.openai_chat._message_writer import write_messages
from gateway.codec.dialects.openai_chat._thoughts import OWN
from gateway.codec.efforts import effort_of

_encoder = msgspec.json.Encoder()

_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})


def write_request(request: Request, lost: Lost) -> bytes:
    body: dict[str, Any] = {"model": request.model, "messages": write_messages(request, lost)}
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    _write_numbers(body, request, lost)
    if request.stop:
        body["stop"] = request.stop
    if request.tools or request.hosted_tools:
        _write_tools(body, request, lost)
    if request.tool_choice is not None:
        _write_tool_choice(body, request, request.tool_choice, lost)
    if request.output is not None:
        body["response_format"] = _output(request.output)
    if request.reasoning is not None:
        _write_reasoning(body, request.reasoning, lost)
    if request.verbosity is not None:
        body["verbosity"] = request.verbosity
    if request.choices != 1:
        body["n"] = request.choices
    if request.logprobs is not None:
        body["logprobs"] = True
        if request.logprobs:
            body["top_logprobs"] = request.logprobs
    _write_bookkeeping(body, request, lost)
    return _encoder.encode(body)


def _write_numbers(body: dict[str, Any], request: Request, lost: Lost) -> None:
    if request.max_output_tokens is not None:
        body["max_completion_tokens"] = request.max_output_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.top_k is not None:
        lost.field("top_k")
    if request.seed is not None:
        body["seed"] = request.seed
    if request.frequency_penalty is not None:
        body["frequency_penalty"] = request.frequency_penalty
    if request.presence_penalty is not None:
        body["presence_penalty"] = request.presence_penalty
    if request.logit_bias is not None:
        body["logit_bias"] = request.logit_bias


def _write_bookkeeping(body: dict[str, Any], request: Request, lost: Lost) -> None:
    if request.user is not None:
        body["user"] = request.user
    if request.store is not None:
        body["store"] = request.store
    if request.metadata:
        if request.store:  # OpenAI refuses it elsewhere
            body["metadata"] = request.metadata
        else:
            lost.hint("metadata")
    if request.service_tier is not None:
        if request.service_tier in _TIERS:
            body["service_tier"] = request.service_tier
        else:
            lost.hint("service_tier")


# -- tools


def _write_tools(body: dict[str, Any], request: Request, lost: Lost) -> None:
    tools: list[Any] = [_tool(tool, i, lost) for i, tool in enumerate(request.tools)]
    for i, hosted in enumerate(request.hosted_tools):
        if hosted.dialect != OWN:
            lost.field(f"hosted_tools[{i}].{hosted.kind}")
        elif hosted.kind == "web_search_options":
            body[hosted.kind] = hosted.value
        else:
            tools.append(hosted.value)
    if tools:
        body["tools"] = tools
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls


def _tool(tool: Tool, i: int, lost: Lost) -> dict[str, Any]:
    if tool.cache is not None:
        lost.hint(f"tools[{i}].cache")
    entry: dict[str, Any] = {"name": tool.name}
    if tool.description:
        entry["description"] = tool.description
    if tool.custom:
        if tool.grammar is not None:
            entry["format"] = _grammar(tool.grammar)
        if tool.strict is not None:
            lost.hint(f"tools[{i}].strict")
        return {"type": "custom", "custom": entry}
    if tool.parameters is not None:
        entry["parameters"] = tool.parameters
    if tool.strict is not None:
        entry["strict"] = tool.strict
    return {"type": "function", "function": entry}


class _Grammar(msgspec.Struct):
    definition: str
    syntax: str


_grammar_decoder = msgspec.json.Decoder(_Grammar)


def _grammar(grammar: msgspec.Raw) -> object:
    """Chat completions have it one level deeper than Responses; another form than either goes as it is."""
    try:
        return {"type": "grammar", "grammar": _grammar_decoder.decode(grammar)}
    except msgspec.ValidationError:
        return grammar


def _write_tool_choice(body: dict[str, Any], request: Request, choice: ToolChoice, lost: Lost) -> None:
    if "tools" not in body:  # beside which alone it is allowed
        if choice.mode in {"required", "one"}:
            lost.field("tool_choice")
        return
    custom = {tool.name for tool in request.tools if tool.custom}
    if choice.mode == "one":
        body["tool_choice"] = _reference(choice.name, custom)
    elif choice.allowed:
        tools = [_reference(name, custom) for name in choice.allowed]
        body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}
    else:
        body["tool_choice"] = choice.mode


def _reference(name: str, custom: set[str]) -> dict[str, Any]:
    kind = "custom" if name in custom else "function"
    return {"type": kind, kind: {"name": name}}


# -- the rest


def _output(output: OutputFormat) -> dict[str, Any]:
    if output.kind == "text":
        return {"type": "text"}
    if output.kind == "json":
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": output.name or "answer"}
    if output.description:
        schema["description"] = output.description
    if output.schema is not None:
        schema["schema"] = output.schema
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}


def _write_reasoning(body: dict[str, Any], reasoning: Reasoning, lost: Lost) -> None:
    """Where the model decides by itself, nothing is to be said."""
    if reasoning.effort is not None:
        body["reasoning_effort"] = reasoning.effort
        if reasoning.budget_tokens is not None:
            lost.hint("reasoning.budget_tokens")
    elif reasoning.budget_tokens is not None:
        body["reasoning_effort"] = effort_of(reasoning.budget_tokens)
    if reasoning.shown is not None:
        lost.hint("reasoning.shown")
