"""What a request asks for besides its turns: bounds, sampling, reasoning, choice of tools, form of the answer.

What Converse has no field for, and a family of models takes all the same, goes into `additionalModelRequestFields`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.base.messages import Effort, Lost, Request, ToolChoice
from gateway.codec.dialects import anthropic
from gateway.codec.dialects.bedrock._families import Family
from gateway.codec.efforts import effort_of

MAX_METADATA = 16
"""Pairs of `requestMetadata`."""
MAX_METADATA_CHARS = 256
"""Of a name or a value of it."""

_EFFORTS: dict[Effort, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
_METADATA = re.compile(rf"[a-zA-Z0-9\s:_@$#=/+,.-]{{1,{MAX_METADATA_CHARS}}}")
_TIERS = {
    "default": "default",
    "standard": "default",
    "standard_only": "default",
    "priority": "priority",
    "flex": "flex",
}

_CHOICES = {"auto": "auto", "required": "any", "one": "tool"}

STOP_SEQUENCE = "/stop_sequence"
"""Where Anthropic's models tell which stop sequence was met; asked for in `additionalModelResponseFieldPaths`."""

_Out = dict[str, Any]


def write_settings(request: Request, family: Family, out: _Out, lost: Lost) -> None:
    """Writes all of it into `out`, which has its tools already. Raises GatewayError for a bound of nought."""
    settings = _Settings(request, family, out, lost)
    settings.write()
    if settings.inference:
        out["inferenceConfig"] = settings.inference
    if settings.more:
        out["additionalModelRequestFields"] = settings.more


class _Settings:
    __slots__ = ("_family", "_lost", "_out", "_request", "inference", "more")

    def __init__(self, request: Request, family: Family, out: _Out, lost: Lost) -> None:
        self._request = request
        self._family = family
        self._out = out
        self._lost = lost
        self.inference: _Out = {}
        self.more: _Out = {}

    def write(self) -> None:
        bound = self._request.max_output_tokens
        if bound is not None:
            if bound < 1:
                raise GatewayError(INVALID_VALUE, "The bound of an answer must be at least 1 here.", param="max_tokens")
            self.inference["maxTokens"] = bound
        if self._family is Family.CLAUDE:
            self._claude()
        else:
            self._sampling()
            self._reasoning()
        self._stop()
        if "toolConfig" in self._out:
            self._tool_choice()
        elif self._request.tool_choice is not None and self._request.tool_choice.mode in ("required", "one"):
            self._lost.field("tool_choice")
        self._output()
        self._told()
        self._unsaid()

    # -- sampling and reasoning

    def _claude(self) -> None:
        request = self._request
        traits = anthropic.traits_of(request.model)
        thinks = anthropic.write_thinking(request, traits, self.more, self._lost, own="bedrock")
        effort = self.more.pop("output_config", None)
        if effort is not None:
            self._out["outputConfig"] = effort
        sampling: _Out = {}
        anthropic.write_sampling(request, traits, thinks, sampling, self._lost)
        for ours, theirs in (("temperature", "temperature"), ("top_p", "topP")):
            if ours in sampling:
                self.inference[theirs] = sampling[ours]
        if "top_k" in sampling:
            self.more["top_k"] = sampling["top_k"]

    def _sampling(self) -> None:
        request = self._request
        if request.temperature is not None:
            if request.temperature > 1:
                self._lost.field("temperature")
            self.inference["temperature"] = min(request.temperature, 1.0)
        if request.top_p is not None:
            self.inference["topP"] = request.top_p
        if request.top_k is not None:
            if self._family.is_nova:
                self.more["inferenceConfig"] = {"topK": request.top_k}
            else:
                self._lost.field("top_k")

    def _reasoning(self) -> None:
        asked = self._request.reasoning
        if asked is None or not (asked.effort or asked.budget_tokens is not None or asked.adaptive or asked.shown):
            return
        effort = asked.effort or (effort_of(asked.budget_tokens) if asked.budget_tokens is not None else "medium")
        if self._family is Family.NOVA_2:
            self.more["reasoningConfig"] = self._nova_reasoning(effort)
        elif self._family is Family.GPT_OSS and effort != "none":
            self.more["reasoning_effort"] = _EFFORTS[effort]
        elif effort != "none" or self._family is Family.GPT_OSS:
            self._lost.hint("reasoning")

    def _nova_reasoning(self, effort: Effort) -> _Out:
        """The highest effort goes with neither a bound of the answer nor with sampling."""
        if effort == "none":
            return {"type": "disabled"}
        level = _EFFORTS[effort]
        if level == "high" and self.inference:
            self._lost.hint("reasoning.effort")
            level = "medium"
        return {"type": "enabled", "maxReasoningEffort": level}

    # -- the rest

    def _stop(self) -> None:
        stop = [each for each in self._request.stop if each and not each.isspace()]
        for i, each in enumerate(self._request.stop):
            if not each or each.isspace():
                self._lost.field(f"stop[{i}]")
        if stop:
            self.inference["stopSequences"] = stop
            self._out["additionalModelResponseFieldPaths"] = [STOP_SEQUENCE]

    def _tool_choice(self) -> None:
        request = self._request
        choice = request.tool_choice or ToolChoice()
        mode = choice.mode
        claude = self._family is Family.CLAUDE
        if claude and mode in ("required", "one") and not anthropic.traits_of(request.model).forced_tools:
            self._lost.field("tool_choice")
            mode = "auto"
        if mode == "none":  # where no tool was called yet, the tools are left out instead
            if claude:
                self.more["tool_choice"] = {"type": "none"}
            else:
                self._lost.field("tool_choice")
            return
        named = {"name": choice.name} if mode == "one" else {}
        if request.parallel_tool_calls is False:
            if claude:
                self.more["tool_choice"] = {"type": _CHOICES[mode], **named, "disable_parallel_tool_use": True}
                return
            self._lost.field("parallel_tool_calls")
        if request.tool_choice is not None:
            self._out["toolConfig"]["toolChoice"] = {_CHOICES[mode]: named}

    def _output(self) -> None:
        output = self._request.output
        if output is None or output.kind == "text":
            return
        if output.kind == "json" or output.schema is None:
            self._lost.field("output")
            return
        schema: _Out = {"schema": bytes(output.schema).decode()}
        if output.name:
            schema["name"] = output.name
        if output.description:
            schema["description"] = output.description
        text_format = {"type": "json_schema", "structure": {"jsonSchema": schema}}
        self._out.setdefault("outputConfig", {})["textFormat"] = text_format

    def _told(self) -> None:
        """What Bedrock is told besides."""
        request = self._request
        pairs = request.metadata
        if pairs:
            if len(pairs) <= MAX_METADATA and all(map(_METADATA.fullmatch, (*pairs, *pairs.values()))):
                self._out["requestMetadata"] = pairs
            else:
                self._lost.hint("metadata")
        if request.service_tier is not None and request.service_tier != "auto":
            tier = _TIERS.get(request.service_tier)
            if tier is None:
                self._lost.hint("service_tier")
            else:
                self._out["serviceTier"] = {"type": tier}

    def _unsaid(self) -> None:
        request = self._request
        if request.choices != 1:
            self._lost.field("choices")
        for name in ("seed", "logit_bias", "logprobs", "verbosity"):
            if getattr(request, name) is not None:
                self._lost.field(name)
        for name in ("frequency_penalty", "presence_penalty"):
            if getattr(request, name):
                self._lost.field(name)
        for name in ("user", "store"):
            if getattr(request, name):
                self._lost.hint(name)


def takes_strict(request: Request, family: Family) -> bool:
    """Whether the model keeps to the schemas of tools that are `strict`."""
    return family is Family.CLAUDE and anthropic.traits_of(request.model).structured


encode = msgspec.json.Encoder().encode
