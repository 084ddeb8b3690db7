"""Snapshots, prices, budget periods and the catalogue of errors."""

from __future__ import annotations

import datetime as dt
import hashlib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.usage import Usage
from gateway.base.budget import period_at
from gateway.base.errors import CATALOGUE, ConfigurationError, Problem, catalogue_markdown
from gateway.base.snapshot import (
    PIECE,
    Encoded,
    Key,
    Model,
    Period,
    Price,
    Provider,
    Snapshot,
    SnapshotError,
    Target,
    decode,
    encode,
)
from gateway.base.usage import rates_of

ROOT = Path(__file__).parents[3]
MILLION = 1_000_000


def snapshot() -> Snapshot:
    return Snapshot(
        "",
        (Provider("p", "openai", "https://example.invalid/v1"),),
        (Model("m", (Target("p", "m"),)),),
        keys=(Key("k1", "one", "00" * 32),),
    ).sealed()


# -- snapshots


def framed(body: bytes, version: str = "x") -> bytes:
    """An encoded snapshot of these lines, whatever they are."""
    digest = hashlib.sha256(body).hexdigest()
    return b'{"version":"%b","format":2,"digest":"%b"}\n%b' % (version.encode(), digest.encode(), body)


def test_a_snapshot_survives_its_encoding() -> None:
    assert decode(encode(snapshot())) == snapshot()


def test_equal_content_has_an_equal_version_and_other_content_another() -> None:
    assert snapshot().version == snapshot().version
    other = Snapshot("", (Provider("p", "openai", "https://example.invalid/v2"),)).sealed()
    assert other.version != snapshot().version
    assert len(snapshot().version) == 16


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not a snapshot"),
        (b"{", "not a snapshot"),
        (b'{"version":"x","strange":1}', "not a snapshot"),
        (b'{"version":"x","format":1,"digest":""}', "snapshot format 1"),
        (b'{"version":"x","format":2,"digest":""}', "x is damaged"),
        (framed(b""), "not a snapshot"),
        (framed(b"{"), "not a snapshot"),
        (framed(b'{"strange":1}'), "not a snapshot"),
        (framed(b'{}\n{"models":[{}]}'), "not a snapshot"),
        (framed(b"{}"), "does not have the content"),
    ],
)
def test_what_is_no_snapshot_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(SnapshotError, match=says):
        decode(data)


def test_a_snapshot_that_was_changed_is_refused() -> None:
    changed = encode(snapshot()).replace(b'"one"', b'"two"')
    with pytest.raises(SnapshotError, match="is damaged"):
        decode(changed)
    with pytest.raises(SnapshotError, match="does not have the content"):
        decode(framed(changed.partition(b"\n")[2], snapshot().version))


def test_a_large_snapshot_is_decoded_in_many_small_steps() -> None:
    keys = tuple(Key(f"k{i}", f"k{i}", "0" * 64) for i in range(10 * PIECE + 1))
    models = tuple(Model(f"m{i}", (Target("p", "m"),)) for i in range(2 * PIECE))
    large = Snapshot("", keys=keys, models=models).sealed()
    assert decode(encode(large)) == large
    assert sum(1 for _ in Encoded(encode(large)).decode()) == 2 + 11 + 2


# -- money


@pytest.mark.parametrize(
    ("price", "usage", "nano_usd"),
    [
        # gpt-4o-mini: $0.15 in, $0.60 out, $0.075 cached a million. 25 in, 40 out: 25*150 + 40*600.
        (Price(150_000_000, 600_000_000), Usage(25, 40), 27_750),
        # 1,000 in of which 600 cached, 10 out: 400*150 + 600*75 + 10*600.
        (Price(150_000_000, 600_000_000, cache_read=75_000_000), Usage(1_000, 10, cache_read=600), 111_000),
        # without a price of their own, cached tokens cost as input
        (Price(150_000_000, 600_000_000), Usage(1_000, 10, cache_read=600), 156_000),
        # cache written at 1.25 of the input price: 100 plain, 200 written
        (Price(3_000_000_000, 0, cache_write=3_750_000_000), Usage(300, 0, cache_write=200), 1_050_000),
        # audio in and out
        (
            Price(1_000_000_000, 2_000_000_000, input_audio=10_000_000_000, output_audio=20_000_000_000),
            Usage(100, 50, input_audio=40, output_audio=30),
            60 * 1_000 + 40 * 10_000 + 20 * 2_000 + 30 * 20_000,
        ),
        # a price a request
        (Price(0, 0, request_nano_usd=5), Usage(10, 10), 5),
        # less than a nano-dollar is rounded up, nothing is nothing
        (Price(1, 0), Usage(1, 0), 1),
        (Price(1, 0), Usage(0, 0), 0),
    ],
)
def test_a_call_is_priced_to_the_nano_dollar(price: Price, usage: Usage, nano_usd: int) -> None:
    assert rates_of(price).cost(usage) == nano_usd


_tokens = st.integers(0, 10_000_000)
_price = st.integers(0, 10**12)


@given(_price, _price, _price, _tokens, _tokens, st.data())
def test_a_price_is_the_exact_one_rounded_up(
    input_: int, output: int, cached: int, prompt: int, answer: int, data: st.DataObject
) -> None:
    read = data.draw(st.integers(0, prompt))
    exact = Fraction(input_ * (prompt - read) + cached * read + output * answer, MILLION)
    cost = rates_of(Price(input_, output, cache_read=cached)).cost(Usage(prompt, answer, cache_read=read))
    assert exact <= cost < exact + 1


# -- periods


def at(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("per", "when", "number", "begin", "end"),
    [
        ("day", "2026-11-23T00:00:00", 20261123, "2026-11-23", "2026-11-24"),
        ("day", "2026-12-31T23:59:59", 20261231, "2026-12-31", "2027-01-01"),
        ("week", "2026-11-29T23:59:59", 20261123, "2026-11-23", "2026-11-30"),
        ("week", "2026-11-30T00:00:00", 20261130, "2026-11-30", "2026-12-07"),
        ("month", "2026-12-31T12:00:00", 202612, "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00:00", 202802, "2028-02-01", "2028-03-01"),
    ],
)
def test_a_period_has_its_calendar_bounds(per: Period, when: str, number: int, begin: str, end: str) -> None:
    assert period_at(per, at(when)) == (number, int(at(begin)), int(at(end)))


def test_a_budget_without_a_period_never_begins_anew() -> None:
    assert period_at("total", at("2026-01-01"))[:2] == period_at("total", at("2036-01-01"))[:2] == (1, 0)


@given(st.sampled_from(["day", "week", "month"]), st.integers(0, 4_000_000_000))
def test_periods_follow_each_other_without_gap(per: Period, unix_s: int) -> None:
    number, begin_s, end_s = period_at(per, unix_s)
    assert begin_s <= unix_s < end_s
    assert period_at(per, end_s - 1)[0] == number
    assert period_at(per, end_s)[0] > number
    assert period_at(per, end_s)[1] == end_s


# -- errors


def test_the_documented_errors_are_those_of_the_catalogue() -> None:
    path = ROOT / "docs" / "errors.md"
    assert path.read_text() == catalogue_markdown(), "run: python -m gateway.base.errors > docs/errors.md"


@pytest.mark.parametrize("code", CATALOGUE)
def test_each_error_says_what_happened(code: str) -> None:
    fault = CATALOGUE[code]
    assert 400 <= fault.status <= 599
    assert fault.meaning.endswith(".")
    assert fault.retry or fault.status not in (408, 500, 502, 503, 504)


def test_a_problem_reads_as_compilers_write_them() -> None:
    problem = Problem("gateway.yaml", 3, 7, "models.m.targets[0].provider", "there is no provider 'opena'")
    assert str(problem) == "gateway.yaml:3:7: models.m.targets[0].provider: there is no provider 'opena'"
    assert str(ConfigurationError([problem, problem])).count("\n") == 1
