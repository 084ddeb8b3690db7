"""What was used, in `usage` of an answer or of a stream's chunk.

Sources: OpenAI's `CompletionUsage`; DeepSeek, "Context caching" (`prompt_cache_hit_tokens`); Moonshot (`cached_tokens` beside the
totals); LiteLLM (`cache_creation_tokens`, `cache_read_input_tokens`, `cache_creation_input_tokens`).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from _fastpath.chat import MOST_TOKENS
from _fastpath.usage import Usage

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None
"""What is out of bounds is no usage: a provider's slip neither pays a budget back nor drains it."""


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Count = None
    audio_tokens: _Count = None
    cache_write_tokens: _Count = None
    cache_creation_tokens: _Count = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: _Count = None
    audio_tokens: _Count = None


class WireUsage(msgspec.Struct):
    """The object, as whoever speaks the dialect writes it."""

    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: _Count = None
    cached_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    cache_creation_input_tokens: _Count = None


_decoder = msgspec.json.Decoder(WireUsage)
_NO_PROMPT_DETAILS, _NO_COMPLETION_DETAILS = _PromptDetails(), _CompletionDetails()


def usage_from(told: WireUsage) -> Usage:
    """Its counts. Of several names of one the largest value counts; parts are together never more than their whole, or they would earn money."""
    prompt = told.prompt_tokens_details or _NO_PROMPT_DETAILS
    completion = told.completion_tokens_details or _NO_COMPLETION_DETAILS
    whole, made = told.prompt_tokens or 0, told.completion_tokens or 0
    read = prompt.cached_tokens or 0
    written = max(
        prompt.cache_write_tokens or 0, prompt.cache_creation_tokens or 0, told.cache_creation_input_tokens or 0
    )
    read = max(read, told.prompt_cache_hit_tokens or 0, told.cached_tokens or 0, told.cache_read_input_tokens or 0)
    read = min(read, whole)
    written = min(written, whole - read)
    return Usage(
        whole,
        made,
        read,
        written,
        min(completion.reasoning_tokens or 0, made),
        min(prompt.audio_tokens or 0, whole - read - written),
        min(completion.audio_tokens or 0, made),
    )


def usage_of(fragment: bytes | msgspec.Raw) -> Usage | None:
    """The usage in the JSON object `fragment`; None where it is no usage: what is odd about it spoils no answer."""
    try:
        told = _decoder.decode(fragment)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if told.prompt_tokens is None and told.completion_tokens is None else usage_from(told)


def usage_object(usage: Usage) -> dict[str, object]:
    """`usage` of an answer."""
    prompt = {"cached_tokens": usage.cache_read, "audio_tokens": usage.input_audio}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.output_audio},
    }
