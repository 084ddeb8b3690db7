"""Messages as they stand on the wire, in requests and in answers; nothing of it is refused for what it does not know.

A caller's own are read by the strict twins in `_request_wire`, so that what is unknown is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec


class Mark(msgspec.Struct):
    """`cache_control` (Anthropic's, in LiteLLM and OpenRouter) or `prompt_cache_breakpoint` (OpenAI's)."""

    type: str | None = None
    mode: str | None = None
    ttl: str | None = None


class ImageURL(msgspec.Struct):
    url: str
    detail: str | None = None
    format: str | None = None
    """The media type, in LiteLLM."""


class InputAudio(msgspec.Struct):
    data: str
    format: str | None = None


class File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None
    format: str | None = None


class Part(msgspec.Struct, kw_only=True):
    type: str = "text"
    text: str | None = None
    refusal: str | None = None
    image_url: ImageURL | str | None = None
    input_audio: InputAudio | None = None
    audio_url: ImageURL | str | None = None
    video_url: ImageURL | str | None = None
    file: File | None = None
    thinking: str | Sequence[Part] | None = None
    """A list in Mistral's."""
    signature: str | None = None
    data: str | None = None
    index: int | None = None
    """Of an image in a delta."""
    cache_control: Mark | None = None
    prompt_cache_breakpoint: Mark | None = None


class ThinkingBlock(msgspec.Struct):
    type: str = "thinking"
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    index: int | None = None
    """In a delta: pieces of one have the same."""
    cache_control: Mark | None = None


class Function(msgspec.Struct):
    """A call of one."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None
    """A text; some servers send the object itself."""


class Custom(msgspec.Struct):
    name: str | None = None
    input: str | None = None


class Google(msgspec.Struct):
    thought_signature: str | None = None


class ExtraContent(msgspec.Struct):
    google: Google | None = None


class Call(msgspec.Struct, kw_only=True):
    id: str | None = None
    type: str | None = None
    index: int | None = None
    function: Function | None = None
    custom: Custom | None = None
    extra_content: ExtraContent | None = None
    cache_control: Mark | None = None


class AudioOut(msgspec.Struct):
    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: float | None = None


class Spoken(msgspec.Struct, kw_only=True):
    """What an assistant says: in an answer, in a delta of one, or sent back to it."""

    content: str | Sequence[Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: Sequence[ThinkingBlock] | None = None
    reasoning_details: list[msgspec.Raw] | None = None
    tool_calls: Sequence[Call] | None = None
    function_call: Function | None = None
    annotations: list[msgspec.Raw] | None = None
    audio: AudioOut | None = None
    images: Sequence[Part] | None = None


class URLCitation(msgspec.Struct):
    url: str = ""
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Annotation(msgspec.Struct):
    type: str = ""
    url_citation: URLCitation | None = None
