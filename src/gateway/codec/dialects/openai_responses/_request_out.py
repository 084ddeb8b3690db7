"""Writes a request for a provider.

What a provider wants back of a thought is what it signed itself; another one's thoughts are left out, as OpenAI refuses reasoning items
that it did not encrypt. Where a caller says nothing of `store`, nothing is to be stored: the callers of other dialects do not know that a
provider would keep their conversation for 30 days.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from gateway.base.messages import (
    Block,
    Lost,
    Message,
    Opaque,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gateway.codec.dialects.openai_responses import _signed
from gateway.codec.dialects.openai_responses._parts import SEARCH, object_of, part_of, said_parts_of, split_name
from gateway.codec.dialects.openai_responses._settings import (
    TIERS,
    VERBOSITIES,
    Chosen,
    ReasoningSettings,
    TextSettings,
    write_format,
    write_reasoning,
    write_tool_choice,
    write_tools,
)
from gateway.codec.dialects.openai_responses._wire import (
    CustomToolCall,
    FunctionCall,
    PlainText,
    ReasoningText,
    SearchCall,
    SearchOutput,
    SummaryText,
)

LEAST_OUTPUT = 16
"""Tokens; OpenAI refuses a smaller bound."""

NAME_CHARS = 64
"""The longest id of a call, and name of an end user, that OpenAI takes; a longer one is replaced by its digest."""


class _Body(msgspec.Struct, omit_defaults=True):
    model: str
    input: list[object]
    instructions: str | None = None
    stream: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    tools: list[object] | None = None
    tool_choice: str | Chosen | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    include: list[str] | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None


class _Message(msgspec.Struct, tag="message"):
    role: str
    content: str | list[object]


class _Reasoning(msgspec.Struct, tag="reasoning", omit_defaults=True):
    summary: list[SummaryText]
    encrypted_content: str
    content: list[ReasoningText | PlainText] | None = None


class _Output(msgspec.Struct, tag="function_call_output"):
    call_id: str
    output: str | list[object]


class _CustomOutput(msgspec.Struct, tag="custom_tool_call_output"):
    call_id: str
    output: str | list[object]


_encoder = msgspec.json.Encoder()


def write_request(request: Request, lost: Lost) -> bytes:
    """The body for a provider."""
    items = _Items(lost)
    instructions = items.add_system(request.system)
    for at, message in enumerate(request.messages):
        items.add(message, f"messages[{at}]")
    body = _Body(
        request.model,
        items.items,
        instructions,
        request.stream,
        _bound(request.max_output_tokens, lost),
        request.temperature,
        request.top_p,
        request.logprobs or None,
        write_tools(request, lost) or None,
        write_tool_choice(request),
        request.parallel_tool_calls,
        store=request.store is True,  # `false` is said
        metadata=request.metadata or None,
        safety_identifier=_short(request.user) if request.user is not None else None,
        service_tier=_tier(request.service_tier, lost),
    )
    _write_reasoning(request, body, items.signed, lost)
    _write_text(request, body, lost)
    _note_lost(request, lost)
    return _encoder.encode(body)


def _bound(bound: int | None, lost: Lost) -> int | None:
    if bound is not None and bound < LEAST_OUTPUT:
        lost.hint("max_output_tokens")
        return LEAST_OUTPUT
    return bound


def _short(name: str) -> str:
    return name if len(name) <= NAME_CHARS else sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def _tier(tier: str | None, lost: Lost) -> str | None:
    if tier is not None and tier not in TIERS:
        lost.hint("service_tier")
        return None
    return tier


def _write_reasoning(request: Request, body: _Body, signed: bool, lost: Lost) -> None:
    include = []
    thinks = signed
    if request.reasoning is not None:
        body.reasoning = write_reasoning(request.reasoning, lost)
        thinks = thinks or body.reasoning.effort != "none"
    if thinks:  # models that do not reason refuse it
        include.append("reasoning.encrypted_content")
    if request.logprobs is not None:
        include.append("message.output_text.logprobs")
    body.include = include or None


def _write_text(request: Request, body: _Body, lost: Lost) -> None:
    verbosity = request.verbosity
    if verbosity is not None and verbosity not in VERBOSITIES:
        lost.hint("verbosity")
        verbosity = None
    if request.output is not None or verbosity is not None:
        body.text = TextSettings(write_format(request.output) if request.output is not None else None, verbosity)


def _note_lost(request: Request, lost: Lost) -> None:
    for name in ("top_k", "seed", "frequency_penalty", "presence_penalty", "logit_bias"):
        if getattr(request, name) is not None:
            lost.field(name)
    if request.stop:
        lost.field("stop")
    if request.choices > 1:
        lost.field("choices")


_tools_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def _tools_in(result: ToolResult) -> list[msgspec.Raw]:
    """Such as a search has found; none where it says something else."""
    try:
        return _tools_decoder.decode("".join(block.text for block in result.content if isinstance(block, Text)))
    except msgspec.DecodeError:
        return []


# -- the conversation


class _Items:
    """Turns, put into items."""

    def __init__(self, lost: Lost) -> None:
        self.items: list[object] = []
        self.signed = False
        """A thought of the provider's own stands among them."""
        self._lost = lost
        self._custom: set[str] = set()
        """Ids of calls of custom tools."""
        self._searches: set[str] = set()
        """The same of searches of tools."""
        self._parts: list[object] = []
        """Of a message that is not complete yet."""
        self._said: list[Text | Refusal] = []
        """The same of one of the model's."""

    def add_system(self, blocks: list[Block]) -> str | None:
        """The first text are the instructions, where nothing marks it; the rest is a message."""
        if not blocks:
            return None
        first, rest, at = blocks[0], blocks, 0
        instructions = None
        if isinstance(first, Text) and first.cache is None:
            instructions, rest, at = first.text or None, blocks[1:], 1
        self._add_said("system", rest, "system", at)
        return instructions

    def add(self, message: Message, path: str) -> None:
        if message.name:
            self._lost.hint(f"{path}.name")
        if message.role == "assistant":
            self._add_assistant(message.blocks, f"{path}.blocks")
        else:
            self._add_said(message.role, message.blocks, f"{path}.blocks")

    def _add_said(self, role: str, blocks: list[Block], path: str, first: int = 0) -> None:
        for at, block in enumerate(blocks, first):
            match block:
                case ToolResult():
                    self._flush(role)
                    self.items.append(self._result(block, f"{path}[{at}]"))
                case Opaque(_signed.OWN):
                    self._flush(role)
                    self._add_opaque(block, f"{path}[{at}]")
                case _:
                    part = part_of(block, f"{path}[{at}]", self._lost)
                    if part is not None:
                        self._parts.append(part)
        self._flush(role)

    def _add_assistant(self, blocks: list[Block], path: str) -> None:
        for at, block in enumerate(blocks):
            where = f"{path}[{at}]"
            match block:
                case Text() | Refusal():
                    if isinstance(block, Text) and block.cache is not None:
                        self._lost.hint(f"{where}.cache")
                    self._said.append(block)
                case ToolCall():
                    self._flush_said()
                    self._add_call(block, where)
                case Thinking():
                    self._flush_said()
                    self._add_thinking(block, where)
                case ToolResult():
                    self._flush_said()
                    self.items.append(self._result(block, where))
                case Opaque(_signed.OWN):
                    self._flush_said()
                    self._add_opaque(block, where)
                case _:
                    self._lost.field(where)
        self._flush_said()

    def _flush(self, role: str) -> None:
        if self._parts:
            self.items.append(_Message(role, self._parts))
            self._parts = []

    def _flush_said(self) -> None:
        if self._said:
            self.items.append(_Message("assistant", said_parts_of(self._said)))
            self._said = []

    def _add_opaque(self, block: Opaque, path: str) -> None:
        if block.cache is not None:
            self._lost.hint(f"{path}.cache")
        self.items.append(block.value)

    def _add_thinking(self, block: Thinking, path: str) -> None:
        signature = block.signature
        if signature is None or signature.dialect != _signed.OWN:
            self._lost.hint(path)
            return
        self.signed = True
        texts = [block.text] if block.text else []
        summary = [SummaryText(text) for text in texts] if block.summary else []
        content: list[ReasoningText | PlainText] = [ReasoningText(text) for text in texts] if not block.summary else []
        self.items.append(_Reasoning(summary, signature.value, content or None))

    def _add_call(self, block: ToolCall, path: str) -> None:
        if block.signature is not None:
            self._lost.hint(f"{path}.signature")
        if block.cache is not None:
            self._lost.hint(f"{path}.cache")
        namespace, name = split_name(block.name)
        call_id = _short(block.id)
        if name == SEARCH:
            self._searches.add(block.id)
            self.items.append(SearchCall(object_of(block.arguments), call_id, "client"))
        elif block.custom:
            self._custom.add(block.id)
            self.items.append(CustomToolCall(call_id, name, block.arguments, namespace=namespace))
        else:
            self.items.append(FunctionCall(call_id, name, block.arguments, namespace=namespace))

    def _result(self, block: ToolResult, path: str) -> object:
        if block.is_error:  # which the text says, as far as the model is concerned
            self._lost.hint(f"{path}.is_error")
        if block.cache is not None:
            self._lost.hint(f"{path}.cache")
        if block.call_id in self._searches:
            return SearchOutput(_tools_in(block), _short(block.call_id), "client")
        output: str | list[object]
        match block.content:
            case []:
                output = ""
            case [Text(text, None)]:
                output = text
            case _:
                output = self._output(block, path)
        return (_CustomOutput if block.call_id in self._custom else _Output)(_short(block.call_id), output)

    def _output(self, block: ToolResult, path: str) -> list[object]:
        parts: list[object] = []
        for at, each in enumerate(block.content):
            if isinstance(each, Opaque) and each.dialect == _signed.OWN:
                parts.append(each.value)
            elif (part := part_of(each, f"{path}.content[{at}]", self._lost)) is not None:
                parts.append(part)
        return parts
