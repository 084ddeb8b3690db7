"""Public prices: found by the provider's host, exact, and without the network."""

from __future__ import annotations

import socket
import stat
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice, TieredPrices

from gateway.base.snapshot import NANO_USD, Price
from gateway.control.prices import LOCAL, PriceBook, _edition

OPENAI = "https://api.openai.com/v1"
price_of = PriceBook().price_of
DAY = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("prices reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_known_model_has_its_public_price() -> None:
    assert price_of(OPENAI, "gpt-4o-mini") == Price(
        input=150_000_000, output=600_000_000, cache_read=75_000_000, source="genai-prices/openai/gpt-4o-mini"
    )


def _dollars(value: object) -> Decimal | None:
    return value.base if isinstance(value, TieredPrices) else value if isinstance(value, Decimal) else None


def test_every_plain_price_of_openai_is_taken_over_exactly() -> None:
    (openai,) = [provider for provider in get_snapshot().providers if provider.id == "openai"]
    compared = 0
    for model in openai.models:
        found = price_of(OPENAI, model.id, DAY)
        if not isinstance(model.prices, ModelPrice) or found is None or not found.source.endswith(f"/{model.id}"):
            continue
        assert Decimal(found.input) / NANO_USD == _dollars(model.prices.input_mtok)
        assert Decimal(found.output) / NANO_USD == (_dollars(model.prices.output_mtok) or 0)
        compared += 1
    assert compared > 40


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "http://127.0.0.1/v1",
        "http://[::1]:1/v1",
        "http+unix://%2Frun%2Fllm.sock/v1",
        "http://a.localhost/v1",
    ],
)
def test_a_model_on_this_machine_is_free(url: str) -> None:
    assert price_of(url, "gpt-4o-mini") is LOCAL


@pytest.mark.parametrize(
    ("url", "model"),
    [("https://llm.example/v1", "gpt-4o-mini"), (OPENAI, "no-such-model"), ("http://vllm:8000/v1", "gpt-4o")],
)
def test_an_unknown_host_or_model_has_no_price(url: str, model: str) -> None:
    assert price_of(url, model) is None


def test_prices_that_changed_follow_the_day() -> None:
    dated = [
        (provider, model)
        for provider in get_snapshot().providers
        if provider.id in ("openai", "deepseek")
        for model in provider.models
        if not isinstance(model.prices, ModelPrice)
    ]
    assert dated
    urls = {"openai": OPENAI, "deepseek": "https://api.deepseek.com/v1"}
    for provider, model in dated:
        morning, evening = (price_of(urls[provider.id], model.id, DAY.replace(hour=hour)) for hour in (1, 23))
        assert morning == evening, "the time of day must not change a snapshot"


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the package was asked")

    monkeypatch.setattr("gateway.control.prices._found", refuse)


def asked(book: PriceBook) -> list[Price | None]:
    return [book.price_of(OPENAI, "gpt-4o-mini"), book.price_of(OPENAI, "no-such-model")]


def test_what_was_found_is_kept_and_found_again_without_the_package(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "run" / "prices.json"
    book = PriceBook(file)
    found = asked(book)
    book.keep()
    assert found[0] is not None and found[1] is None
    request.getfixturevalue("no_package")
    again = PriceBook(file)
    assert asked(again) == found
    before = file.stat().st_ino
    again.keep()
    assert file.stat().st_ino == before, "nothing has changed"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(list(file.parent.iterdir())) == 1


def test_what_is_asked_no_more_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    for model in ("gpt-4o-mini", "gpt-4o"):
        book = PriceBook(file)
        assert book.price_of(OPENAI, model) is not None
        book.keep()
    assert b"gpt-4o-mini" not in file.read_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b'{"edition": "another", "schedules": {"a": 1}}', None])
def test_a_file_of_another_edition_or_a_broken_one_is_not_believed(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "prices.json"
    book = PriceBook(file)
    found = asked(book)
    book.keep()
    if content is None:  # of an older genai-prices, with other prices
        kept = file.read_bytes()
        content = kept.replace(b"150000000", b"1").replace(b"genai-prices 0", b"genai-prices 9", 1)
        assert content != kept
    file.write_bytes(content)
    assert asked(PriceBook(file)) == found


def test_a_kept_price_follows_the_day_too(tmp_path: Path) -> None:
    schedules = {f"{OPENAI} m": [[None, {"input": 1, "output": 1}], ["2026-11-24", {"input": 2, "output": 2}]]}
    file = tmp_path / "prices.json"
    file.write_bytes(msgspec.json.encode({"edition": _edition(), "schedules": schedules}))
    days = (datetime(2026, 11, 23, 23, 59, tzinfo=UTC), DAY)
    assert [price.input for day in days if (price := PriceBook(file).price_of(OPENAI, "m", day))] == [1, 2]
