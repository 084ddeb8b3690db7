"""A request for Google's models, written.

- Turns of one role that follow each other become one content: Google wants the results of parallel calls in the content
  behind the calls. A turn of the system amid the conversation is text of the user at its place.
- JSON Schemas of tools and answers stand as they are in `parametersJsonSchema` and `responseJsonSchema`; strict tools are asked for with the mode
  VALIDATED, which holds for all of them.
- A tool that takes free text becomes one with a parameter `input`.
- A thought that nobody signed is sent as a thought; one that another provider signed is left out.
- For Gemini 3 and later the first call of a turn that Google did not sign gets Google's own word for such a call
  (`_signature.SKIP`); they take pictures inside results, where for older ones they stand behind the results.
- `store` is not written: Vertex AI does not know it.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.base.messages import (
    Audio,
    Block,
    CacheMark,
    Document,
    Image,
    Inline,
    Lost,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Video,
)
from gateway.codec.efforts import BUDGETS

from ._arguments import write_result
from ._media import write_media
from ._models import LEVELS, generation, most_budget
from ._signature import SKIP
from ._write_parts import write_call, write_thinking

_Part = dict[str, Any] | msgspec.Raw

_TIERS = {
    "default": "standard",
    "standard": "standard",
    "standard_only": "standard",
    "flex": "flex",
    "priority": "priority",
}
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_MOST_LABELS = 64
_CUSTOM = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
"""Stands for a tool that takes free text."""

_encoder = msgspec.json.Encoder()


def write_request(request: Request, lost: Lost) -> bytes:
    """Raises GatewayError."""
    return _encoder.encode(body_of(request, lost))


def body_of(request: Request, lost: Lost) -> dict[str, Any]:
    contents = _Turns(request.model, lost).write(request.messages)
    if not contents:
        raise GatewayError(INVALID_VALUE, "The conversation holds nothing that Gemini can be sent.", param="messages")
    body: dict[str, Any] = {"contents": contents}
    if request.system and (parts := _write_system(request.system, lost)):
        body["systemInstruction"] = {"parts": parts}
    if request.tools or request.hosted_tools:
        _write_tools(body, request, lost)
    if request.tool_choice is not None or any(tool.strict for tool in request.tools):
        _write_choice(body, request, lost)
    if config := _write_config(request, lost):
        body["generationConfig"] = config
    if request.metadata:
        _write_labels(body, request.metadata, lost)
    if request.service_tier is not None and request.service_tier != "auto":
        if (tier := _TIERS.get(request.service_tier)) is not None:
            body["serviceTier"] = tier
        else:
            lost.hint("service_tier")
    _tell_lost(request, lost)
    return body


def _tell_lost(request: Request, lost: Lost) -> None:
    """What has no place at all."""
    if request.parallel_tool_calls is False:
        lost.field("parallel_tool_calls")
    if request.logit_bias is not None:
        lost.field("logit_bias")
    if request.verbosity is not None:
        lost.field("verbosity")
    if request.user is not None:
        lost.hint("user")
    if request.store is not None:
        lost.hint("store")


def _write_labels(body: dict[str, Any], metadata: dict[str, str], lost: Lost) -> None:
    if len(metadata) <= _MOST_LABELS and all(
        _LABEL_KEY.fullmatch(key) and _LABEL_VALUE.fullmatch(value) for key, value in metadata.items()
    ):
        body["labels"] = metadata
    else:
        lost.hint("metadata")


# -- turns


class _Turns:
    """Writes turns in order."""

    def __init__(self, model: str, lost: Lost) -> None:
        generation_ = generation(model)
        self._lost = lost
        self._signs_calls = generation_ >= 3
        self._nests_media = generation_ not in (1, 2)
        self._names: dict[str, str] = {}
        """Of functions, by the ids of their calls."""
        self._contents: list[dict[str, Any]] = []
        self._parts: list[_Part] = []
        """Of the last content."""
        self._has_call = False
        self._behind: list[_Part] = []
        """Media of results, to stand behind all of them."""

    def write(self, messages: list[Message]) -> list[dict[str, Any]]:
        for i, message in enumerate(messages):
            self._turn_to("model" if message.role == "assistant" else "user")
            if message.role == "system":
                self._lost.hint(f"messages[{i}].role")
            if message.name:
                self._lost.field(f"messages[{i}].name")
            parts = self._parts
            for j, block in enumerate(message.blocks):
                if isinstance(block, Text):
                    if self._behind:
                        self._flush()
                    parts.append({"text": block.text})
                    if block.citations:
                        self._lost.hint(f"messages[{i}].blocks[{j}].citations")
                    if block.cache is not None:
                        self._lost.hint(f"messages[{i}].blocks[{j}].cache")
                else:
                    self._write_block(block, i, j)
        self._flush()
        return [content for content in self._contents if content["parts"]]

    def _turn_to(self, role: str) -> None:
        if self._contents and self._contents[-1]["role"] == role:
            return
        self._flush()
        self._parts, self._has_call = [], False
        self._contents.append({"role": role, "parts": self._parts})

    def _flush(self) -> None:
        self._parts += self._behind
        self._behind.clear()

    def _write_block(self, block: Block, i: int, j: int) -> None:
        if isinstance(block, ToolResult):
            self._parts.append(self._write_result(block, i, j))
        else:
            self._flush()
            if (part := self._part_of(block, i, j)) is not None:
                self._parts.append(part)
        cache: CacheMark | None = getattr(block, "cache", None)
        if cache is not None:
            self._lost.hint(f"messages[{i}].blocks[{j}].cache")

    def _part_of(self, block: Block, i: int, j: int) -> _Part | None:
        match block:
            case ToolCall():
                return self._write_call(block, i, j)
            case Thinking():
                return self._write_thinking(block, f"messages[{i}].blocks[{j}]")
            case Image() | Audio() | Video() | Document():
                return write_any_media(block, f"messages[{i}].blocks[{j}]", self._lost)
            case Refusal():
                self._lost.hint(f"messages[{i}].blocks[{j}]")
                return {"text": block.text}
            case Opaque() if block.dialect == "gemini":
                return block.value
            case _:
                self._lost.field(f"messages[{i}].blocks[{j}]")
                return None

    def _write_call(self, call: ToolCall, i: int, j: int) -> _Part:
        self._names[call.id] = call.name
        signature = call.signature
        if signature is not None and signature.dialect != "gemini":
            self._lost.hint(f"messages[{i}].blocks[{j}].signature")
            signature = None
        part = write_call(call, call.arguments, signature)
        if signature is None and self._signs_calls and not self._has_call:
            part["thoughtSignature"] = SKIP
        self._has_call = True
        return part

    def _write_thinking(self, block: Thinking, path: str) -> _Part | None:
        if block.signature is not None and block.signature.dialect != "gemini":
            self._lost.hint(path)
            return None
        return write_thinking(block.text, block.signature) if block.text or block.signature is not None else None

    def _write_result(self, result: ToolResult, i: int, j: int) -> _Part:
        path = f"messages[{i}].blocks[{j}]"
        name = result.name or self._names.get(result.call_id)
        if name is None:
            message = f"No call before it has the id {result.call_id[:100]!r} that this result names."
            raise GatewayError(INVALID_VALUE, message, param=f"{path}.call_id")
        response: dict[str, Any] = {"id": result.call_id} if result.call_id else {}
        texts: list[str] = []
        nested: list[_Part] = []
        for k, block in enumerate(result.content):
            if isinstance(block, Text):
                texts.append(block.text)
            else:
                self._write_inner(block, nested, f"{path}.content[{k}]")
        response["name"] = name
        response["response"] = write_result("\n".join(texts), result.is_error)
        if nested:
            response["parts"] = nested
        return {"functionResponse": response}

    def _write_inner(self, block: Image | Document | Opaque, nested: list[_Part], path: str) -> None:
        if isinstance(block, Opaque):
            if block.dialect == "gemini":
                nested.append(block.value)
            else:
                self._lost.field(path)
            return
        part = write_any_media(block, path, self._lost)
        if part is None:
            return
        inline = isinstance(block.source, Inline) or (isinstance(block, Document) and block.text is not None)
        (nested if inline and self._nests_media else self._behind).append(part)


def write_any_media(block: Image | Audio | Video | Document, path: str, lost: Lost) -> dict[str, Any] | None:
    """The part for it; what of it cannot be carried is told."""
    part = write_media(block)
    match block:
        case Audio(transcript=transcript) if transcript:
            lost.hint(path if part is None else f"{path}.transcript")
            return part if part is not None else {"text": transcript}
        case Image(detail=detail) if detail not in ("", "auto"):
            lost.hint(f"{path}.detail")
        case Document():
            if block.context:
                lost.field(f"{path}.context")
            if block.citations:
                lost.field(f"{path}.citations")
    if part is None:
        lost.field(path)
    return part


def _write_system(blocks: list[Block], lost: Lost) -> list[_Part]:
    parts: list[_Part] = []
    for j, block in enumerate(blocks):
        if isinstance(block, Text):
            parts.append({"text": block.text})
            if block.cache is not None:
                lost.hint(f"system[{j}].cache")
        elif isinstance(block, Image | Audio | Video | Document):
            if (part := write_any_media(block, f"system[{j}]", lost)) is not None:
                parts.append(part)
        elif isinstance(block, Opaque) and block.dialect == "gemini":
            parts.append(block.value)
        else:
            lost.field(f"system[{j}]")
    return parts


# -- tools


def _write_tools(body: dict[str, Any], request: Request, lost: Lost) -> None:
    entries: list[_Part] = []
    if request.tools:
        entries.append({"functionDeclarations": [_write_tool(t, i, lost) for i, t in enumerate(request.tools)]})
    for i, hosted in enumerate(request.hosted_tools):
        if hosted.dialect == "gemini":
            entries.append(hosted.value)
        else:
            lost.field(f"hosted_tools[{i}].{hosted.kind}")
    if entries:
        body["tools"] = entries


def _write_tool(tool: Tool, i: int, lost: Lost) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    if tool.custom:
        if tool.grammar is not None:
            lost.field(f"tools[{i}].grammar")
        declared["parametersJsonSchema"] = _CUSTOM
    elif tool.parameters is not None:
        declared["parametersJsonSchema"] = tool.parameters
    if tool.cache is not None:
        lost.hint(f"tools[{i}].cache")
    return declared


def _write_choice(body: dict[str, Any], request: Request, lost: Lost) -> None:
    choice = request.tool_choice
    mode = choice.mode if choice is not None else "auto"
    names = choice.allowed if choice is not None else []
    config: dict[str, Any]
    match mode:
        case "none":
            config = {"mode": "NONE"}
        case "one":
            config = {"mode": "ANY", "allowedFunctionNames": [choice.name if choice is not None else ""]}
        case "required":
            config = {"mode": "ANY"}
        case _:
            strict = any(tool.strict for tool in request.tools)
            config = {"mode": "VALIDATED" if strict or names else "AUTO"}
    if names and mode in ("auto", "required"):
        config["allowedFunctionNames"] = names
    if request.tools:
        body["toolConfig"] = {"functionCallingConfig": config}
    elif mode not in ("auto", "none"):
        lost.field("tool_choice")


# -- generationConfig


def _write_config(request: Request, lost: Lost) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if request.temperature is not None:
        config["temperature"] = request.temperature
    if request.top_p is not None:
        config["topP"] = request.top_p
    if request.top_k is not None:
        config["topK"] = request.top_k
    if request.choices != 1:
        config["candidateCount"] = request.choices
    if request.max_output_tokens is not None:
        config["maxOutputTokens"] = request.max_output_tokens
    if request.stop:
        config["stopSequences"] = request.stop
    if request.seed is not None:
        config["seed"] = request.seed
    if request.presence_penalty is not None:
        config["presencePenalty"] = request.presence_penalty
    if request.frequency_penalty is not None:
        config["frequencyPenalty"] = request.frequency_penalty
    if request.logprobs is not None:
        config["responseLogprobs"] = True
        if request.logprobs:
            config["logprobs"] = request.logprobs
    if request.output is not None:
        _write_output(config, request, lost)
    if request.reasoning is not None and (thinking := _write_reasoning(request.reasoning, request.model, lost)):
        config["thinkingConfig"] = thinking
    return config


def _write_output(config: dict[str, Any], request: Request, lost: Lost) -> None:
    output = request.output
    assert output is not None
    if output.kind == "text":
        config["responseMimeType"] = "text/plain"
        return
    config["responseMimeType"] = "application/json"
    if output.schema is not None:
        config["responseJsonSchema"] = output.schema
    if output.name:
        lost.hint("output.name")
    if output.description:
        lost.field("output.description")


def _write_reasoning(reasoning: Reasoning, model: str, lost: Lost) -> dict[str, Any]:
    """`thinkingConfig`: a level or a budget, never both, which Google refuses."""
    config: dict[str, Any] = {}
    effort, budget = reasoning.effort, reasoning.budget_tokens
    newer = generation(model) >= 3
    if budget is not None:
        config["thinkingBudget"] = _bounded(budget, model, lost, "reasoning.budget_tokens")
    elif effort == "none" and not newer:
        config["thinkingBudget"] = 0
    elif effort is not None and (newer or generation(model) == 0):
        config["thinkingLevel"] = LEVELS[effort]
        if effort == "none":
            lost.hint("reasoning.effort")
    elif effort is not None and not reasoning.adaptive:
        config["thinkingBudget"] = _bounded(BUDGETS.get(effort, 0), model, lost, "reasoning.effort")
    elif reasoning.adaptive:
        config["thinkingBudget"] = -1
    if reasoning.shown is not None:
        config["includeThoughts"] = reasoning.shown
    return config


def _bounded(budget: int, model: str, lost: Lost, path: str) -> int:
    most = most_budget(model)
    if most is None or budget <= most:
        return budget
    lost.hint(path)
    return most
