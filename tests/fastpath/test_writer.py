"""Bytes made piece by piece, against `json`, `Decimal` and `%`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.writer import Ids, Writer

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.binary(max_size=3_000) | st.text() | INT64, max_size=20))
def test_pieces_stand_in_the_order_in_which_they_came(pieces: list[bytes | str | int]) -> None:
    writer, expected = Writer(), b""
    for piece in pieces:
        if isinstance(piece, bytes):
            writer.raw(piece)
            expected += piece
        elif isinstance(piece, str):
            writer.text(piece)
            expected += piece.encode("utf-8", "replace")
        else:
            writer.number(piece)
            expected += b"%d" % piece
    assert writer.take() == expected
    assert writer.take() == b""


@given(st.text(st.characters(codec="utf-8"), max_size=500))
def test_a_string_is_read_back_by_json(text: str) -> None:
    assert json.loads(Writer().json(text).take()) == text


@pytest.mark.parametrize("code", [*range(128), 0x80, 0x7FF, 0x800, 0xFFFF, 0x10FFFF])
def test_each_byte_is_escaped_where_it_must_be(code: int) -> None:
    made = Writer().json(f"a{chr(code)}b").take()
    assert json.loads(made) == f"a{chr(code)}b"
    assert not any(byte < 0x20 for byte in made)


def test_a_lone_surrogate_is_replaced_and_nothing_that_was_written_is_lost() -> None:
    writer = Writer().raw(b"x")
    assert writer.json("a\ud800b").text("c\udfffd").take() == b'x"a?b"c?d'


@given(st.integers(0, 2**63 - 1))
def test_an_amount_is_exact_and_has_no_zeros_at_its_end(nano_usd: int) -> None:
    shown = Writer().usd(nano_usd).take().decode()
    assert Decimal(shown) == Decimal(nano_usd) / 10**9
    assert "." not in shown or shown[-1] not in "0."


@pytest.mark.parametrize(
    ("nano_usd", "shown"),
    [(0, b"0"), (1, b"0.000000001"), (1_500_000, b"0.0015"), (10**9, b"1"), (10**12 + 10, b"1000.00000001")],
)
def test_amounts_by_hand(nano_usd: int, shown: bytes) -> None:
    assert Writer().usd(nano_usd).take() == shown


def test_a_negative_amount_is_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        Writer().usd(-1)


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)))
def test_a_time_is_shown_as_datetime_shows_it(at: datetime) -> None:
    unix_ms = (at - datetime(1970, 1, 1)) // timedelta(milliseconds=1)
    assert Writer().utc(unix_ms).take().decode() == at.isoformat(timespec="milliseconds") + "Z"


def test_every_day_of_four_centuries_has_its_date() -> None:
    day = datetime(1999, 12, 31)
    first = (day - datetime(1970, 1, 1)).days
    for number in range(146_098):
        shown = Writer().utc((first + number) * 86_400_000).take()
        assert shown == b"%bT00:00:00.000Z" % (day + timedelta(number)).strftime("%Y-%m-%d").encode()


@pytest.mark.parametrize("unix_ms", [-1, 253_402_300_800_000, -(2**63), 2**63 - 1])
def test_a_time_that_has_no_four_digit_year_is_refused(unix_ms: int) -> None:
    with pytest.raises(ValueError, match="1970 to 9999"):
        Writer().utc(unix_ms)


def test_what_was_not_taken_is_forgotten_at_a_beginning() -> None:
    assert Writer().raw(b"left over").begin().raw(b"new").take() == b"new"


def test_a_piece_may_begin_behind_its_first_bytes() -> None:
    assert Writer().raw(b"{abc", 1).raw(b"x", 1).raw(b"x", 9).take() == b"abc"


def test_a_large_buffer_is_let_go_and_the_next_piece_is_whole() -> None:
    writer = Writer()
    assert writer.raw(b"z" * 10_000_000).take() == b"z" * 10_000_000
    assert writer.text("next").take() == b"next"


def test_ids_count_in_eight_hexadecimal_digits() -> None:
    ids = Ids(b"req_")
    assert [ids.next() for _ in range(17)][::8] == ["req_00000001", "req_00000009", "req_00000011"]


@pytest.mark.parametrize("prefix", ["é".encode(), b"x" * 65])
def test_a_prefix_that_is_no_short_ascii_is_refused(prefix: bytes) -> None:
    with pytest.raises(ValueError):
        Ids(prefix).next()
