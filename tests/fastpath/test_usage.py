"""Prices, against fractions."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.usage import MOST_NANO_USD, Rates, Usage, charged

MOST = MOST_NANO_USD
TOKENS = st.integers(0, 100_000_000)
PRICE = st.integers(0, 10**14)
OWN = st.just(-1) | PRICE


@given(TOKENS, TOKENS, st.data(), PRICE, PRICE, OWN, OWN, OWN, OWN, st.integers(0, 10**12))
def test_a_call_costs_the_exact_sum_rounded_up(
    prompt: int,
    answer: int,
    data: st.DataObject,
    input_: int,
    output: int,
    read: int,
    write: int,
    heard: int,
    said: int,
    base: int,
) -> None:
    cached, written, audio = (data.draw(st.integers(0, prompt // 3)) for _ in range(3))
    spoken = data.draw(st.integers(0, answer))
    usage = Usage(prompt, answer, cached, written, input_audio=audio, output_audio=spoken)
    rates = Rates(
        input_, output, cache_read=read, cache_write=write, input_audio=heard, output_audio=said, request_nano_usd=base
    )
    plain = prompt * input_ + answer * output
    parts = ((cached, read, input_), (written, write, input_), (audio, heard, input_), (spoken, said, output))
    exact = plain + sum(tokens * (own - whole) for tokens, own, whole in parts if own >= 0)
    assert rates.cost(usage) == max(0, min(MOST, base + ceil(Fraction(exact, 1_000_000))))
    usage.calls = 3
    assert rates.cost(usage) == max(0, min(MOST, 3 * base + ceil(Fraction(exact, 1_000_000))))
    assert rates.most(prompt, answer) == min(MOST, base + ceil(Fraction(plain, 1_000_000)))


def test_no_amount_is_beyond_the_most() -> None:
    largest = 2**63 - 1
    assert Rates(largest, largest).most(largest, largest) == MOST


def test_no_amount_is_negative_whatever_the_parts_of_a_total_are_said_to_be() -> None:
    rates = Rates(3_000_000_000, 0, cache_read=300_000_000, cache_write=0)
    assert rates.cost(Usage(100_000, 0, cache_read=100_000, cache_write=100_000)) == 0


def test_equal_counts_are_equal_usage() -> None:
    assert Usage(1, 2, estimated=True) == Usage(1, 2, estimated=True)
    assert Usage(1, 2) != Usage(1, 2, estimated=True)
    assert Usage(1, 2) != (1, 2)
    assert repr(Usage(1, 2)) == "Usage(1, 2, 0, 0, 0, 0, 0, False, 1)"


@pytest.mark.parametrize(
    ("told", "counted", "expected"),
    [
        # (input, output, audio) as told; (prompt, made, media, complete) as counted; what is charged, and whether it was told
        (None, (7, 5, 0, True), ((7, 5, 0), False)),
        (None, (7, 5, 3, False), ((7, 8, 3), False)),
        ((0, 0, 0), (0, 0, 0, True), ((0, 0, 0), True)),
        ((4, 0, 0), (7, 0, 0, True), ((4, 0, 0), True)),
        ((0, 2, 0), (7, 2, 0, True), ((7, 2, 0), False)),
        ((4, 0, 0), (7, 1, 0, True), ((4, 1, 0), False)),
        ((4, 0, 0), (7, 0, 1, True), ((4, 1, 1), False)),
        ((4, 2, 0), (7, 32, 0, True), ((4, 2, 0), True)),
        ((4, 2, 0), (7, 33, 0, True), ((4, 33, 0), False)),
        ((4, 2, 2), (7, 0, 99, True), ((4, 2, 2), True)),
        ((4, 2, 0), (7, 3, 0, False), ((4, 3, 0), False)),
        ((4, 3, 0), (7, 3, 0, False), ((4, 3, 0), True)),
        ((4, 9, 0), (7, 3, 0, False), ((4, 9, 0), True)),
        ((4, 2, 1), (7, 1, 9, False), ((4, 10, 9), False)),
    ],
)
def test_what_is_told_is_charged_as_far_as_it_can_be_true(
    told: tuple[int, int, int] | None,
    counted: tuple[int, int, int, bool],
    expected: tuple[tuple[int, int, int], bool],
) -> None:
    usage = charged(Usage(told[0], told[1], output_audio=told[2]) if told is not None else None, *counted)
    assert ((usage.input, usage.output, usage.output_audio), not usage.estimated) == expected


@given(st.none() | st.builds(Usage, TOKENS, TOKENS), TOKENS, TOKENS, TOKENS, st.booleans())
def test_nothing_that_was_seen_is_free(told: Usage | None, prompt: int, made: int, media: int, complete: bool) -> None:
    usage = charged(told, prompt, made, media, complete)
    assert (usage.input > 0) or prompt == 0
    assert 16 * usage.output >= made and (usage.output > 0 or made + media == 0)
    assert complete or usage.output >= made + media
