"""What an answer has used.

Source: Gemini API reference, "UsageMetadata": `promptTokenCount` holds the cached tokens, `candidatesTokenCount` does not hold those of thoughts,
`totalTokenCount` is the sum of prompt, candidates, results of Google's own tools and thoughts. The results of tools are input.
"""

from __future__ import annotations

from typing import Any

import msgspec

from _fastpath.chat import MOST_TOKENS
from _fastpath.usage import Usage


class _OfModality(msgspec.Struct, rename="camel"):
    modality: str | None = None
    token_count: int | None = None


class _Told(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: list[_OfModality] | None = None
    cache_tokens_details: list[_OfModality] | None = None
    candidates_tokens_details: list[_OfModality] | None = None
    tool_use_prompt_tokens_details: list[_OfModality] | None = None
    traffic_type: str | None = None


_decoder = msgspec.json.Decoder(_Told)

_TIERS = {"ON_DEMAND": "default", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}
_TRAFFIC = {tier: traffic for traffic, tier in _TIERS.items()}


def _count(told: int | None) -> int:
    """What is out of bounds is no usage: a provider's slip neither pays a budget back nor drains it."""
    return told if told is not None and 0 <= told <= MOST_TOKENS else 0


def _audio(details: list[_OfModality] | None) -> int:
    return sum(_count(part.token_count) for part in details or () if part.modality == "AUDIO")


def read_usage(raw: msgspec.Raw) -> tuple[Usage | None, str | None]:
    """(usage, tier) that `usageMetadata` tells; None where it tells nothing that can be read."""
    try:
        told = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError):
        return None, None
    whole = _count(told.prompt_token_count) + _count(told.tool_use_prompt_token_count)
    thoughts = _count(told.thoughts_token_count)
    made = _count(told.candidates_token_count) + thoughts
    # Parts are together never more than their whole, or they would earn money; cached audio is cached.
    cached = min(_count(told.cached_content_token_count), whole)
    heard = _audio(told.prompt_tokens_details) + _audio(told.tool_use_prompt_tokens_details)
    heard = max(heard - _audio(told.cache_tokens_details), 0)
    usage = Usage(
        whole,
        made,
        cached,
        reasoning=thoughts,
        input_audio=min(heard, whole - cached),
        output_audio=min(_audio(told.candidates_tokens_details), made - thoughts),
    )
    return usage, _TIERS.get(told.traffic_type or "")


def write_usage(usage: Usage | None, tier: str | None = None) -> dict[str, Any]:
    """`usageMetadata`."""
    found: dict[str, Any] = {}
    if usage is not None:
        thoughts = min(usage.reasoning, usage.output)
        found["promptTokenCount"] = usage.input
        if usage.cache_read:
            found["cachedContentTokenCount"] = usage.cache_read
        found["candidatesTokenCount"] = usage.output - thoughts
        if thoughts:
            found["thoughtsTokenCount"] = thoughts
        found["totalTokenCount"] = usage.input + usage.output
        if usage.input_audio:
            found["promptTokensDetails"] = _details(usage.input, usage.input_audio)
        if usage.output_audio:
            found["candidatesTokensDetails"] = _details(usage.output - thoughts, usage.output_audio)
    if tier in _TRAFFIC:
        found["trafficType"] = _TRAFFIC[tier]
    return found


def _details(whole: int, audio: int) -> list[dict[str, Any]]:
    return [
        {"modality": "TEXT", "tokenCount": max(whole - audio, 0)},
        {"modality": "AUDIO", "tokenCount": audio},
    ]
