"""Public prices, from genai-prices' data as it was packaged: nothing here reaches for the network.

The package is imported at the first look-up only: its import takes a quarter of a second.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gateway.base.snapshot import NANO_USD, Price
from gateway.control import _urls

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

LOCAL = Price(input=0, output=0, source="local")
"""Of a model on this machine."""

_KINDS = {
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
}
"""Our kinds of tokens, and the names under which genai-prices gives US dollars for a million."""


def price_of(base_url: str, model: str, at: datetime | None = None) -> Price | None:
    """What a provider asks for a model.

    A provider is known by the host of its base URL alone, since any server may speak OpenAI's dialect. A loopback
    address or a Unix socket is a model of one's own and costs nothing. Of prices in tiers of prompt length the base
    tier is taken, of prices that depend on the time of day the one that holds for the rest of the day.

    Args:
        base_url: the provider's, http, https or http+unix.
        model: the name that the provider knows.
        at: the day whose prices are meant; None: today.

    Returns:
        nano-USD for a million tokens, with the source; None where no public price is known.
    """
    if _urls.is_loopback(_urls.host_of(base_url)):
        return LOCAL
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 (slow)

    try:
        provider, info = get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    return _compiled(_on_day(info, at or datetime.now(UTC)), f"genai-prices/{provider.id}/{info.id}")


def _on_day(info: ModelInfo, at: datetime) -> ModelPrice:
    """The prices that hold at a date. Later entries win; one that holds for some hours of the day is passed over."""
    from genai_prices.types import ModelPrice, StartDateConstraint  # noqa: PLC0415 (slow)

    if isinstance(info.prices, ModelPrice):
        return info.prices
    for entry in reversed(info.prices):
        constraint = entry.constraint
        if constraint is None or (isinstance(constraint, StartDateConstraint) and constraint.active(at)):
            return entry.prices
    return info.prices[0].prices


def _compiled(prices: ModelPrice, source: str) -> Price | None:
    """None where it does not count tokens in and out (images, minutes of speech)."""
    in_, out = _nano(prices.input_mtok), _nano(prices.output_mtok)
    if in_ is None:
        return None
    kinds = {ours: _nano(getattr(prices, theirs)) for ours, theirs in _KINDS.items()}
    request = _nano(prices.requests_kcount)
    return Price(
        input=in_,
        output=out if out is not None else 0,  # embeddings put nothing out
        request_nano_usd=(request or 0) // 1_000,
        source=source,
        **kinds,
    )


def _nano(price: Any) -> int | None:
    """US dollars as nano-USD, rounded up; of tiers the base."""
    if price is None:
        return None
    base = price if isinstance(price, Decimal) else price.base
    return int((base * NANO_USD).to_integral_value("ROUND_CEILING"))
