"""Reads a caller's request.

Instructions and what system or developer messages say before anybody else are the canonical `system`. Adjacent items of the model
(reasoning, calls, messages, what the provider's tools did) are one turn of the assistant, in order; adjacent results of tools are one turn
of the user; each message of a user is a turn.

Stored state is not known here. `previous_response_id`, `conversation` and `prompt` are told as lost, and so is an `item_reference`. Who has
the stored items puts them in before: a body whose `input` is the stored input, the stored output and the new input, one list of items as
they came, with references replaced by the items they name and `previous_response_id` left out, is read like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from gateway.base.errors import INVALID_JSON, INVALID_VALUE, JSON_TOO_DEEP, MISSING_MODEL, GatewayError
from gateway.base.messages import (
    Block,
    Lost,
    Message,
    Opaque,
    Request,
    Signature,
    Text,
    ToolCall,
    ToolResult,
)
from gateway.codec.dialects.openai_responses import _signed
from gateway.codec.dialects.openai_responses._blocks import (
    block_of_call,
    block_of_search,
    blocks_of_message,
    blocks_of_output,
    blocks_of_reasoning,
)
from gateway.codec.dialects.openai_responses._parts import joined_name
from gateway.codec.dialects.openai_responses._settings import (
    Chosen,
    ReasoningSettings,
    TextSettings,
    read_format,
    read_reasoning,
    read_tool_choice,
    read_tools,
)
from gateway.codec.dialects.openai_responses._wire import (
    CustomToolCall,
    CustomToolCallOutput,
    FunctionCall,
    FunctionCallOutput,
    Item,
    MessageItem,
    OpaquePart,
    ReasoningItem,
    SearchCall,
    SearchOutput,
    UnreadableError,
    Wire,
    decode,
    read_items,
)
from gateway.codec.raw import ABSENT, given

_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"


class _Body(Wire):
    model: str | None = None
    input: msgspec.Raw = ABSENT
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: str | Chosen | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    include: list[str] | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    truncation: str | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    client_metadata: msgspec.Raw = ABSENT
    stream_options: msgspec.Raw = ABSENT


_body_decoder = msgspec.json.Decoder(_Body)
_text_decoder = msgspec.json.Decoder(str)


def read_request(body: bytes, lost: Lost) -> Request:
    """The canonical request; raises GatewayError."""
    try:
        return _read(decode(_body_decoder, body, "", lost), lost)
    except UnreadableError as error:
        raise GatewayError(INVALID_VALUE, f"{error}.", param=error.path or None) from error
    except RecursionError as error:
        raise GatewayError(JSON_TOO_DEEP, "The body nests too deep.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayError(INVALID_JSON, f"The body is not valid JSON: {error}.") from error


def _read(body: _Body, lost: Lost) -> Request:
    if not body.model:
        raise GatewayError(MISSING_MODEL, "The body has no 'model'.", param="model")
    conversation = _Conversation(body.instructions, lost)
    _read_input(body, conversation)
    request = Request(
        model=body.model,
        messages=conversation.finished(),
        system=conversation.system,
        stream=body.stream is True,
        max_output_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        parallel_tool_calls=body.parallel_tool_calls,
        user=body.safety_identifier if body.safety_identifier is not None else body.user,
        metadata=body.metadata or {},
        service_tier=body.service_tier,
        store=body.store,
    )
    if body.tools:
        read_tools(body.tools, "tools", lost, request)
    for path, raws in conversation.more_tools:
        read_tools(raws, path, lost, request)
    if body.tool_choice is not None:
        request.tool_choice = read_tool_choice(body.tool_choice, lost)
    if body.reasoning is not None:
        request.reasoning = read_reasoning(body.reasoning, lost)
    if body.text is not None:
        request.verbosity = body.text.verbosity
        if body.text.format is not None:
            request.output = read_format(body.text.format, lost)
    _read_logprobs(body, request, lost)
    _note_lost(body, lost)
    return request


def _read_logprobs(body: _Body, request: Request, lost: Lost) -> None:
    request.logprobs = body.top_logprobs
    for at, name in enumerate(body.include or ()):
        if name == _LOGPROBS:
            request.logprobs = body.top_logprobs or 0
        elif name != _ENCRYPTED:  # which is always told
            lost.hint(f"include[{at}]")


def _note_lost(body: _Body, lost: Lost) -> None:
    if body.truncation == "auto":
        lost.field("truncation")
    if body.background:
        lost.field("background")
    if body.previous_response_id is not None:
        lost.field("previous_response_id")
    if given(body.conversation):
        lost.field("conversation")
    if given(body.prompt):
        lost.field("prompt")
    if body.safety_identifier is not None and body.user not in (None, body.safety_identifier):
        lost.hint("user")
    if body.prompt_cache_key is not None:
        lost.hint("prompt_cache_key")
    if body.prompt_cache_retention is not None:
        lost.hint("prompt_cache_retention")
    if given(body.client_metadata):
        lost.hint("client_metadata")
    if given(body.stream_options):
        lost.hint("stream_options")


# -- the conversation


def _read_input(body: _Body, conversation: _Conversation) -> None:
    raw = body.input
    first = bytes(memoryview(raw)[:1])
    if first == b'"':
        conversation.messages.append(Message("user", [Text(_text_decoder.decode(raw))]))
    elif first == b"[":
        for item, each, path in read_items(raw, "input", conversation.lost):
            conversation.add(item, each, path)
    elif given(raw):
        raise UnreadableError("Expected a text or a list of items", "input")
    elif body.previous_response_id is None and not given(body.conversation) and not given(body.prompt):
        raise UnreadableError("Nothing is asked: a text or a list of items is needed", "input")


class _MoreTools(msgspec.Struct):
    tools: list[msgspec.Raw]


_more_tools_decoder = msgspec.json.Decoder(_MoreTools)


class _Conversation:
    """Items, put into turns."""

    def __init__(self, instructions: str | None, lost: Lost) -> None:
        self.system: list[Block] = [Text(instructions)] if instructions else []
        self.messages: list[Message] = []
        self.more_tools: list[tuple[str, list[msgspec.Raw]]] = []
        """Such as a client declares amid the conversation, and where."""
        self.lost = lost
        self._results: Message | None = None
        """The last turn, where it holds results of tools."""
        self._signatures: dict[str, Signature] = {}
        """Of calls, by their ids."""

    def add(self, item: Item, raw: msgspec.Raw, path: str) -> None:
        _ADDING[type(item)](self, item, raw, path)

    def _add_call(self, item: FunctionCall | CustomToolCall, raw: msgspec.Raw, path: str) -> None:
        self._say([block_of_call(item, path, self.lost)])

    def _add_output(self, item: FunctionCallOutput | CustomToolCallOutput, raw: msgspec.Raw, path: str) -> None:
        if not item.call_id:  # of no call
            self._return(Opaque(_signed.OWN, "function_call_output", raw))
            return
        content = blocks_of_output(item.output, path, self.lost)
        name = joined_name(item.namespace, item.name) if item.name else ""
        self._return(ToolResult(item.call_id, content, name=name))

    def _add_search(self, item: SearchCall, raw: msgspec.Raw, path: str) -> None:
        self._say([block_of_search(item, raw)])

    def _add_found(self, item: SearchOutput, raw: msgspec.Raw, path: str) -> None:
        """Tools that were found may be called from then on."""
        if item.execution != "client" or not item.call_id:
            self._return(Opaque(_signed.OWN, "tool_search_output", raw))
            return
        self.more_tools.append((f"{path}.tools", item.tools))
        self._return(ToolResult(item.call_id, [Text(msgspec.json.encode(item.tools).decode())]))

    def _add_message(self, item: MessageItem, raw: msgspec.Raw, path: str) -> None:
        blocks = blocks_of_message(item, path, self.lost)
        if item.phase is not None:
            self.lost.hint(f"{path}.phase")
        match item.role:
            case "assistant":
                self._say(blocks)
            case "user":
                self._add_turn(Message("user", blocks))
            case "system" | "developer" if not self.messages:
                self.system += blocks
            case "system" | "developer":
                self._add_turn(Message("system", blocks))
            case _:
                raise UnreadableError("Expected 'user', 'assistant', 'system' or 'developer'", f"{path}.role")

    def _add_reasoning(self, item: ReasoningItem, raw: msgspec.Raw, path: str) -> None:
        if item.encrypted_content is not None and (signed := _signed.call_of(item.encrypted_content)) is not None:
            self._signatures[signed[0]] = signed[1]
            return
        blocks = blocks_of_reasoning(item)
        if blocks:
            self._say(blocks)
        else:
            self.lost.hint(path)  # a reference to what the provider keeps

    def _add_opaque(self, item: OpaquePart, raw: msgspec.Raw, path: str) -> None:
        block = Opaque(_signed.OWN, item.kind, item.value)
        match item.kind:
            case "item_reference":
                self.lost.field(path)
            case "additional_tools":
                try:
                    self.more_tools.append((f"{path}.tools", _more_tools_decoder.decode(item.value).tools))
                except msgspec.ValidationError as error:
                    raise UnreadableError("Expected a list of tools", f"{path}.tools") from error
            case "mcp_approval_response" | "compaction_trigger" | "configuration_update":
                self._return(block)
            case kind if kind.endswith("_output"):
                self._return(block)
            case _:
                self._say([block])

    def _say(self, blocks: list[Block]) -> None:
        if self.messages and self.messages[-1].role == "assistant":
            self.messages[-1].blocks += blocks
        else:
            self._add_turn(Message("assistant", blocks))

    def _return(self, block: ToolResult | Opaque) -> None:
        if self._results is None:
            results = Message("user", [])
            self._add_turn(results)
            self._results = results
        self._results.blocks.append(block)

    def _add_turn(self, message: Message) -> None:
        self._results = None
        self.messages.append(message)

    def finished(self) -> list[Message]:
        """All turns, with the signatures of calls where they belong."""
        if self._signatures:
            for message in self.messages:
                for block in message.blocks:
                    if isinstance(block, ToolCall):
                        block.signature = self._signatures.get(block.id)
        return self.messages


_ADDING: dict[type, Callable[[_Conversation, Any, msgspec.Raw, str], None]] = {
    MessageItem: _Conversation._add_message,
    FunctionCall: _Conversation._add_call,
    CustomToolCall: _Conversation._add_call,
    FunctionCallOutput: _Conversation._add_output,
    CustomToolCallOutput: _Conversation._add_output,
    ReasoningItem: _Conversation._add_reasoning,
    SearchCall: _Conversation._add_search,
    SearchOutput: _Conversation._add_found,
    OpaquePart: _Conversation._add_opaque,
}
