"""Prices, against fractions."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from _fastpath.usage import MOST_NANO_USD, Rates, Usage

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
    assert repr(Usage(1, 2)) == "Usage(1, 2, 0, 0, 0, 0, 0, False)"
