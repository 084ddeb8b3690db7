"""What an answer used. `inputTokens` has neither what was read from a cache nor what was written to it.

Source: AWS's user guide of Amazon Bedrock, "Prompt caching for faster model inference"; `TokenUsage` of the service model.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from _fastpath.chat import MOST_TOKENS
from _fastpath.usage import Usage

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None


class _Told(msgspec.Struct, rename="camel"):
    input_tokens: _Count = None
    output_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    cache_write_input_tokens: _Count = None


class _Tier(msgspec.Struct):
    type: str | None = None


_told = msgspec.json.Decoder(_Told)
_tier = msgspec.json.Decoder(_Tier | None)


def usage_of(raw: msgspec.Raw) -> Usage | None:
    """None where it is no usage: what is out of bounds neither pays a budget back nor drains it."""
    try:
        told = _told.decode(raw)
    except msgspec.ValidationError:
        return None
    read, written = told.cache_read_input_tokens or 0, told.cache_write_input_tokens or 0
    return Usage((told.input_tokens or 0) + read + written, told.output_tokens or 0, read, written)


def tier_of(raw: msgspec.Raw) -> str | None:
    try:
        tier = _tier.decode(raw)
    except msgspec.ValidationError:
        return None
    return tier.type if tier is not None else None
