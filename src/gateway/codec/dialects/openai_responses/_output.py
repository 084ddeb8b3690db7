"""The response object, and the items of its output as they are written.

Ids of items are made of the response's id and the place of the item, so that they are the same whenever they are written.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from gateway.base.messages import Image, Inline, Request, Text, Thinking, ToolCall
from gateway.codec.dialects.openai_responses import _signed
from gateway.codec.dialects.openai_responses._parts import SEARCH, annotation_of, object_of, split_name
from gateway.codec.dialects.openai_responses._settings import (
    Chosen,
    ReasoningSettings,
    effort_of,
    write_format,
    write_tool_choice,
)
from gateway.codec.dialects.openai_responses._usage import WrittenUsage
from gateway.codec.dialects.openai_responses._wire import (
    ReasoningText,
    RefusalPart,
    SummaryText,
)


class TextPart(msgspec.Struct, tag="output_text"):
    text: str
    annotations: list[object] = []
    logprobs: list[object] = []


class MessageOut(msgspec.Struct, tag="message"):
    id: str
    status: str
    content: list[TextPart | RefusalPart]
    role: str = "assistant"


class ReasoningOut(msgspec.Struct, tag="reasoning", omit_defaults=True):
    id: str
    status: str
    summary: list[SummaryText]
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


class CallOut(msgspec.Struct, tag="function_call", omit_defaults=True):
    id: str
    status: str
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


class CustomCallOut(msgspec.Struct, tag="custom_tool_call", omit_defaults=True):
    id: str
    call_id: str
    name: str
    input: str
    namespace: str | None = None


class SearchOut(msgspec.Struct, tag="tool_search_call"):
    id: str
    status: str
    call_id: str
    arguments: msgspec.Raw
    execution: str = "client"


class ImageOut(msgspec.Struct, tag="image_generation_call", omit_defaults=True):
    id: str
    status: str
    result: str
    output_format: str | None = None


CallItem: TypeAlias = CallOut | CustomCallOut | SearchOut


def item_id(prefix: str, response_id: str, place: int) -> str:
    return f"{prefix}_{response_id.removeprefix('resp_')}_{place}"


def text_part(text: Text) -> TextPart:
    return TextPart(text.text, [annotation_of(each, len(text.text)) for each in text.citations])


def reasoning_item(thinking: Thinking, id_: str) -> ReasoningOut:
    item = ReasoningOut(id_, "completed", [], None, _signed.of_thinking(thinking))
    if thinking.summary:
        item.summary = [SummaryText(thinking.text)]
    elif thinking.text:
        item.content = [ReasoningText(thinking.text)]
    return item


def signature_item(call: ToolCall, id_: str) -> ReasoningOut:
    """What brings the signature of a call back."""
    assert call.signature is not None
    return ReasoningOut(id_, "completed", [], None, _signed.of_call(call.id, call.signature))


def custom_names(request: Request) -> frozenset[str]:
    """Of tools that take free text: a call of one by a provider that has no such tools is of a function."""
    return frozenset(tool.name for tool in request.tools if tool.custom)


def call_item(call: ToolCall, response_id: str, place: int, status: str = "completed") -> CallItem:
    if call.name == SEARCH:
        return SearchOut(item_id("tsc", response_id, place), status, call.id, object_of(call.arguments or "{}"))
    namespace, name = split_name(call.name)
    if call.custom:
        return CustomCallOut(item_id("ctc", response_id, place), call.id, name, call.arguments, namespace)
    return CallOut(item_id("fc", response_id, place), status, call.id, name, call.arguments, namespace)


def image_item(image: Image, id_: str) -> ImageOut | None:
    """As the provider's own image tool gives it; None for one that is elsewhere."""
    if not isinstance(image.source, Inline):
        return None
    form = image.source.media_type.removeprefix("image/")
    return ImageOut(id_, "completed", image.source.data, form if form in ("png", "webp", "jpeg", "gif") else None)


# -- the response


class _Text(msgspec.Struct, omit_defaults=True, frozen=True):
    format: object
    verbosity: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None


class ErrorOut(msgspec.Struct):
    code: str
    message: str


class ResponseOut(msgspec.Struct):
    """All that the API tells, and the Open Responses specification requires. `instructions` and `tools` are not repeated: they
    would be sent three times a stream, to whom has sent them."""

    id: str
    created_at: int
    model: str
    status: str = "in_progress"
    output: list[object] = []
    object: str = "response"
    completed_at: int | None = None
    error: ErrorOut | None = None
    incomplete_details: _Incomplete | None = None
    usage: WrittenUsage | None = None
    service_tier: str | None = None
    background: bool = False
    frequency_penalty: float = 0.0
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    metadata: dict[str, str] = {}
    parallel_tool_calls: bool = True
    presence_penalty: float = 0.0
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    reasoning: ReasoningSettings | None = None
    safety_identifier: str | None = None
    store: bool = False
    temperature: float | None = None
    text: _Text = _Text({"type": "text"})
    tool_choice: str | Chosen = "auto"
    tools: list[msgspec.Raw] = []
    top_logprobs: int = 0
    top_p: float | None = None
    truncation: str = "disabled"
    user: str | None = None

    def end(self, status: str, reason: str | None) -> None:
        self.status = status
        if status == "completed":
            self.completed_at = self.created_at
        else:
            self.incomplete_details = _Incomplete(reason)


def response(id_: str, model: str, created_s: int, request: Request | None) -> ResponseOut:
    """A response that has no output yet, with what the request asked for where that is known."""
    made = ResponseOut(id_, created_s, model)
    if request is None:
        return made
    made.max_output_tokens = request.max_output_tokens
    made.metadata = request.metadata
    made.parallel_tool_calls = request.parallel_tool_calls is not False
    made.temperature, made.top_p = request.temperature, request.top_p
    made.top_logprobs = request.logprobs or 0
    made.safety_identifier = request.user
    made.store = request.store is not False
    if request.tool_choice is not None:
        made.tool_choice = write_tool_choice(request) or "auto"
    if request.reasoning is not None:
        made.reasoning = ReasoningSettings(effort_of(request.reasoning), "auto" if request.reasoning.shown else None)
    if request.output is not None or request.verbosity is not None:
        form = write_format(request.output) if request.output is not None else {"type": "text"}
        made.text = _Text(form, request.verbosity)
    return made
