"""A caller's request as it stands on the wire; what it holds beside this is refused by the decoder, and then named (`_unknown`)."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.codec.dialects.openai_chat import _wire as wire
from gateway.codec.raw import ABSENT


class Mark(wire.Mark, forbid_unknown_fields=True):
    pass


class ImageURL(wire.ImageURL, forbid_unknown_fields=True):
    pass


class InputAudio(wire.InputAudio, forbid_unknown_fields=True):
    pass


class File(wire.File, forbid_unknown_fields=True):
    pass


class Part(wire.Part, kw_only=True, forbid_unknown_fields=True):
    image_url: ImageURL | str | None = None
    input_audio: InputAudio | None = None
    audio_url: ImageURL | str | None = None
    video_url: ImageURL | str | None = None
    file: File | None = None
    thinking: str | list[Part] | None = None
    cache_control: Mark | None = None
    prompt_cache_breakpoint: Mark | None = None


class ThinkingBlock(wire.ThinkingBlock, forbid_unknown_fields=True):
    cache_control: Mark | None = None


class Function(wire.Function, forbid_unknown_fields=True):
    pass


class Custom(wire.Custom, forbid_unknown_fields=True):
    pass


class Google(wire.Google, forbid_unknown_fields=True):
    pass


class ExtraContent(wire.ExtraContent, forbid_unknown_fields=True):
    google: Google | None = None


class AudioOut(wire.AudioOut, forbid_unknown_fields=True):
    pass


class Call(wire.Call, kw_only=True, forbid_unknown_fields=True):
    function: Function | None = None
    custom: Custom | None = None
    extra_content: ExtraContent | None = None
    cache_control: Mark | None = None
    provider_specific_fields: msgspec.Raw = ABSENT


class Message(wire.Spoken, kw_only=True, forbid_unknown_fields=True):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    thinking_blocks: list[ThinkingBlock] | None = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    audio: AudioOut | None = None
    images: list[Part] | None = None
    cache_control: Mark | None = None
    provider_specific_fields: msgspec.Raw = ABSENT
    """LiteLLM's answers have it, and their clients send it back: it says nothing that is not said elsewhere."""


class FunctionEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None
    cache_control: Mark | None = None


class CustomEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    description: str | None = None
    format: msgspec.Raw = ABSENT


class ToolEntry(msgspec.Struct, forbid_unknown_fields=True):
    type: str = "function"
    function: FunctionEntry | None = None
    custom: CustomEntry | None = None
    cache_control: Mark | None = None


class Named(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class ToolReference(msgspec.Struct, forbid_unknown_fields=True):
    type: str = "function"
    function: Named | None = None
    custom: Named | None = None


class AllowedTools(msgspec.Struct, forbid_unknown_fields=True):
    mode: str = "auto"
    tools: list[ToolReference] = []


class ToolChoice(ToolReference, forbid_unknown_fields=True):
    allowed_tools: AllowedTools | None = None


class JSONSchema(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    json_schema: JSONSchema | None = None
    schema: msgspec.Raw = ABSENT
    """Beside `json_object`, in llama.cpp and Together."""


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Reasoning(msgspec.Struct, forbid_unknown_fields=True):
    """OpenRouter's."""

    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None
    enabled: bool | None = None
    summary: str | None = None


class Thinking(msgspec.Struct, forbid_unknown_fields=True):
    """LiteLLM's (Anthropic's own) and DeepSeek's."""

    type: str = "enabled"
    budget_tokens: int | None = None


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    tools: list[ToolEntry] | None = None
    functions: list[FunctionEntry] | None = None
    tool_choice: str | ToolChoice | None = None
    function_call: str | Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    thinking: Thinking | None = None
    include_reasoning: bool | None = None
    verbosity: str | None = None
    n: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: msgspec.Raw = ABSENT
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None
    store: bool | None = None
    web_search_options: msgspec.Raw = ABSENT
    modalities: list[str] | None = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    prediction: Any = None
