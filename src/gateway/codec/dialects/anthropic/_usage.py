"""What an answer used. The wire tells the prompt in three parts that do not overlap; the canonical form tells its whole, and two of them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from _fastpath.chat import MOST_TOKENS
from _fastpath.usage import Usage

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None


class OutputDetails(msgspec.Struct):
    thinking_tokens: Count = None


class Told(msgspec.Struct):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    output_tokens_details: OutputDetails | None = None


class _Tier(msgspec.Struct):
    service_tier: str | None = None


_told = msgspec.json.Decoder(Told)
_tier = msgspec.json.Decoder(_Tier)

_TIERS = {"standard": "default"}
_TIERS_BACK = {"default": "standard", "priority": "priority", "batch": "batch"}


def told_of(raw: msgspec.Raw) -> Told | None:
    """None where it is no usage: what is out of bounds neither pays a budget back nor drains it."""
    try:
        return _told.decode(raw)
    except msgspec.ValidationError:
        return None


def tier_of(raw: msgspec.Raw) -> str | None:
    try:
        tier = _tier.decode(raw).service_tier
    except msgspec.ValidationError:
        return None
    return None if tier is None else _TIERS.get(tier, tier)


def updated(known: Told | None, later: Told) -> Told:
    """What is told later is of the whole so far; what it leaves out holds as it was told before."""
    if known is None:
        return later
    return Told(
        known.input_tokens if later.input_tokens is None else later.input_tokens,
        known.output_tokens if later.output_tokens is None else later.output_tokens,
        known.cache_read_input_tokens if later.cache_read_input_tokens is None else later.cache_read_input_tokens,
        known.cache_creation_input_tokens
        if later.cache_creation_input_tokens is None
        else later.cache_creation_input_tokens,
        later.output_tokens_details or known.output_tokens_details,
    )


def usage_of(told: Told) -> Usage:
    read, written = told.cache_read_input_tokens or 0, told.cache_creation_input_tokens or 0
    made = told.output_tokens or 0
    thought = told.output_tokens_details.thinking_tokens or 0 if told.output_tokens_details is not None else 0
    return Usage((told.input_tokens or 0) + read + written, made, read, written, min(thought, made))


def written_usage(usage: Usage | None, tier: str | None = None) -> dict[str, Any]:
    """Clients demand the counts; they are nought where nobody has told them."""
    if usage is None:
        usage = Usage()
    written: dict[str, Any] = {
        "input_tokens": max(usage.input - usage.cache_read - usage.cache_write, 0),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if tier in _TIERS_BACK:
        written["service_tier"] = _TIERS_BACK[tier]
    return written
