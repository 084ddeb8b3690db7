"""Public prices, from genai-prices' data as it was packaged: nothing here reaches for the network.

The package is Python code and its import takes a quarter of a second, which is much of a node's start. So what was
found in it is kept in a file, and the package is imported for what that file does not tell.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway import __version__
from gateway.base.files import replace_private
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


class _Dated(msgspec.Struct, frozen=True, array_like=True):
    """What a model costs from a day on; None for the day: since ever, None for the price: it does not count tokens."""

    since: date | None
    price: Price | None


_Schedule = tuple[_Dated, ...]
"""Later entries win; empty where no price is known."""


class _Kept(msgspec.Struct, frozen=True):
    edition: str
    schedules: dict[str, _Schedule]


class PriceBook:
    """Public prices.

    Args:
        file: where found prices are kept; None: nowhere. Another edition's, and one that cannot be read, counts as none.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._kept: dict[str, _Schedule] | None = None
        """What the file holds; None: nobody needed to know."""
        self._used: dict[str, _Schedule] = {}

    def price_of(self, base_url: str, model: str, at: datetime | None = None) -> Price | None:
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
        if self._kept is None:
            self._kept = _read(self._file) if self._file is not None else {}
        name = f"{base_url} {model}"
        schedule = self._kept.get(name)
        self._used[name] = schedule = _found(base_url, model) if schedule is None else schedule
        day = (at or datetime.now(UTC)).date()
        return next((e.price for e in reversed(schedule) if e.since is None or e.since <= day), None)

    def keep(self) -> None:
        """Writes what was asked for, if anything was and the file does not hold just that. Raises OSError."""
        if self._file is None or not self._used or self._used == self._kept:
            return
        replace_private(self._file, msgspec.json.encode(_Kept(_edition(), self._used)), durable=False)


def _edition() -> str:
    """Of the data, and of the code here that reads it."""
    from importlib.metadata import version  # noqa: PLC0415 (slow)

    return f"throughway {__version__}, genai-prices {version('genai-prices')}"


def _read(file: Path) -> dict[str, _Schedule]:
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):  # they are found anew, and the next `keep` writes another file
        return {}
    return kept.schedules if kept.edition == _edition() else {}


def _found(base_url: str, model: str) -> _Schedule:
    """Out of the package."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 (slow)

    try:
        provider, info = get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return ()
    source = f"genai-prices/{provider.id}/{info.id}"
    return tuple(_Dated(since, _compiled(prices, source)) for since, prices in _by_day(info))


def _by_day(info: ModelInfo) -> list[tuple[date | None, ModelPrice]]:
    """The prices and the days from which they hold; what holds for some hours of the day is passed over."""
    from genai_prices.types import ModelPrice, StartDateConstraint  # noqa: PLC0415 (slow)

    if isinstance(info.prices, ModelPrice):
        return [(None, info.prices)]
    dated = [
        (entry.constraint.start_date if isinstance(entry.constraint, StartDateConstraint) else None, entry.prices)
        for entry in info.prices
        if entry.constraint is None or isinstance(entry.constraint, StartDateConstraint)
    ]
    return dated or [(None, info.prices[0].prices)]


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
