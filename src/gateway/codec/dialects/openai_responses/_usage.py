"""What a response says that it has used."""

from __future__ import annotations

from typing import Annotated

import msgspec

from _fastpath.chat import MOST_TOKENS
from _fastpath.usage import Usage

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None
"""What is out of bounds is no usage."""


class _InputDetails(msgspec.Struct):
    cached_tokens: _Count = None
    cache_write_tokens: _Count = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: _Count = None


class _Usage(msgspec.Struct):
    input_tokens: _Count = None
    input_tokens_details: _InputDetails | None = None
    output_tokens: _Count = None
    output_tokens_details: _OutputDetails | None = None


_decoder = msgspec.json.Decoder(_Usage | None)


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """None where it is no usage. Parts are never more than their whole, or they would earn money."""
    try:
        found = _decoder.decode(raw)
    except msgspec.ValidationError:
        return None
    if found is None:
        return None
    whole, made = found.input_tokens or 0, found.output_tokens or 0
    asked, told = found.input_tokens_details, found.output_tokens_details
    read = min(asked.cached_tokens or 0, whole) if asked is not None else 0
    written = min(asked.cache_write_tokens or 0, whole - read) if asked is not None else 0
    reasoning = min(told.reasoning_tokens or 0, made) if told is not None else 0
    return Usage(whole, made, read, written, reasoning)


class _WrittenInput(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int


class _WrittenOutput(msgspec.Struct):
    reasoning_tokens: int


class WrittenUsage(msgspec.Struct):
    input_tokens: int
    input_tokens_details: _WrittenInput
    output_tokens: int
    output_tokens_details: _WrittenOutput
    total_tokens: int


def write_usage(usage: Usage | None) -> WrittenUsage | None:
    if usage is None:
        return None
    return WrittenUsage(
        usage.input,
        _WrittenInput(usage.cache_read, usage.cache_write),
        usage.output,
        _WrittenOutput(usage.reasoning),
        usage.input + usage.output,
    )
