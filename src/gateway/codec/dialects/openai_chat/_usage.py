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
"""What is out of bounds is no usage."""


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Count = None
    audio_tokens: _Count = None
    cache_write_tokens: _Count = None
    cache_creation_tokens: _Count = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: _Count = None
    audio_tokens: _Count = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count = None
    completion_tokens: _Count = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: _Count = None
    cached_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    cache_creation_input_tokens: _Count = None


_decoder = msgspec.json.Decoder(_Usage)
_NO_PROMPT_DETAILS, _NO_COMPLETION_DETAILS = _PromptDetails(), _CompletionDetails()


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """None where it is no usage: what is odd about it spoils no answer."""
    try:
        told = _decoder.decode(raw)
    except msgspec.DecodeError:
        return None
    if told.prompt_tokens is None and told.completion_tokens is None:
        return None
    prompt = told.prompt_tokens_details or _NO_PROMPT_DETAILS
    completion = told.completion_tokens_details or _NO_COMPLETION_DETAILS
    whole, made = told.prompt_tokens or 0, told.completion_tokens or 0
    read = prompt.cached_tokens or told.prompt_cache_hit_tokens or told.cached_tokens or told.cache_read_input_tokens
    written = prompt.cache_write_tokens or prompt.cache_creation_tokens or told.cache_creation_input_tokens
    # Parts are together never more than their whole, or they would earn money.
    read = min(read or 0, whole)
    written = min(written or 0, whole - read)
    return Usage(
        whole,
        made,
        read,
        written,
        min(completion.reasoning_tokens or 0, made),
        min(prompt.audio_tokens or 0, whole - read - written),
        min(completion.audio_tokens or 0, made),
    )


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
