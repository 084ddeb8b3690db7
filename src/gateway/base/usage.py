"""What a call used and what it cost."""

from __future__ import annotations

import msgspec

from _fastpath.usage import Rates
from gateway.base.snapshot import Price


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


def rates_of(price: Price) -> Rates:
    """A price, ready to be multiplied."""

    def own(value: int | None) -> int:
        return -1 if value is None else value

    return Rates(
        price.input,
        price.output,
        cache_read=own(price.cache_read),
        cache_write=own(price.cache_write),
        input_audio=own(price.input_audio),
        output_audio=own(price.output_audio),
        request_nano_usd=price.request_nano_usd,
    )
