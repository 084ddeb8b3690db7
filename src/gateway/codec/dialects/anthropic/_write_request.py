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

from typing import Any

from gateway.base.messages import (
    Lost,
    Request,
)
from gateway.codec.dialects.anthropic._models import Traits, traits_of
from gateway.codec.dialects.anthropic._parts import encode
from gateway.codec.dialects.anthropic._thinking import bounded_max_tokens, write_sampling, write_thinking
from gateway.codec.dialects.anthropic._write_blocks import Writer

MAX_USER_CHARS = 256
"""Of `metadata.user_id`."""

VERSION = "2023-06-01"
"""The `anthropic-version` that what is written here is meant for: alone it has `temperature`, `top_p` and `top_k`."""


def write(request: Request, lost: Lost, *, counting: bool = False) -> bytes:
    """The body of a request; with `counting` that of one for the count of its tokens.

    Raises:
        GatewayError: INVALID_VALUE without `max_output_tokens`, or with no turn that says anything.
    """
    traits = traits_of(request.model)
    writer = Writer(lost)
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
