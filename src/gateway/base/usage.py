"""What a call used and what it cost."""

from __future__ import annotations

import msgspec

from gateway.base.snapshot import Price


class Usage(msgspec.Struct):
    """Tokens of one call. `input` and `output` are totals; the other counts are parts of them."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    input_audio: int = 0
    output_audio: int = 0
    estimated: bool = False
    """Counted by us because the provider told nothing."""


class UsageRecord(msgspec.Struct, omit_defaults=True):
    """One line of the ledger: a governed request, however it ended. No text of prompt or answer stands in it."""

    id: str
    """The request id: shipping twice is harmless."""
    at_ms: int
    """Unix time at which the request was received."""
    key_id: str
    team: str
    endpoint: str
    model: str
    """As the caller named it."""
    provider: str
    target_model: str
    config_version: str
    status: int
    """HTTP status sent; 499 where the client had left before there was one."""
    code: str
    """Of the error catalogue; "" for success."""
    stream: bool
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    duration_us: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    unpriced: bool = False
    first_token_us: int = 0
    overhead_us: int = 0
    """Of `duration_us`, what was not the provider's."""
    attempts: int = 0
    finish_reason: str = ""
    trace_id: str = ""
    tags: str = ""


_encoder = msgspec.json.Encoder()


def encode(record: UsageRecord) -> bytes:
    """A record as one JSON object on one line, for the spool and the log alike."""
    return _encoder.encode(record)


_MILLION = 1_000_000


def cost_nano_usd(price: Price, usage: Usage) -> int:
    """The price of a call, rounded up to the nano-dollar.

    Parts with a price of their own (cached, cache-written, audio) are taken out of the totals before those are priced.
    """
    total = price.input * usage.input + price.output * usage.output
    if usage.cache_read and price.cache_read is not None:
        total += (price.cache_read - price.input) * usage.cache_read
    if usage.cache_write and price.cache_write is not None:
        total += (price.cache_write - price.input) * usage.cache_write
    if usage.input_audio and price.input_audio is not None:
        total += (price.input_audio - price.input) * usage.input_audio
    if usage.output_audio and price.output_audio is not None:
        total += (price.output_audio - price.output) * usage.output_audio
    return price.request_nano_usd - (-total // _MILLION)
