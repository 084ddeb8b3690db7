"""Counts that are corrected by what providers tell come near, soon, and nobody moves them far."""

# ruff: noqa: RUF001 - other scripts have letters that look like ours

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import tokens
from gateway.base.calibration import (
    FEWEST_TOKENS,
    FRAMING_SHARE,
    LATIN,
    LEAST,
    MOST,
    ONE,
    OTHER,
    WIDE,
    Calibration,
    Ratio,
    script_of,
)
from tests.support import texts

CHOICES = random.Random(5)


def prompts(text: str, count: int) -> list[str]:
    """Parts of a text, as one application's prompts."""
    long = text * (3_000 // len(text) + 1)
    sizes = [CHOICES.randrange(200, 2_000) for _ in range(count)]
    return [long[at : at + size] for size in sizes for at in [CHOICES.randrange(len(long) - size)]]


def errors(calibration: Calibration, some: list[str], of_provider: Callable[[str], int], *, learn: bool) -> list[float]:
    """How far the estimate of each prompt is from what the provider tells, as a part of it."""
    found = []
    for text in some:
        counted, told = tokens.count(text, "o200k_base"), of_provider(text)
        ratio = calibration.of(script_of([text.encode()]))
        found.append(abs(ratio.corrected(counted) - told) / told)
        if learn:
            ratio.learn(counted, 7, told + 7)
    return found


def cl100k(text: str) -> int:
    return tokens.count(text, "cl100k_base")


@pytest.mark.parametrize(
    ("kind", "before_at_least", "after_at_most"),
    [("prose", 0.0, 0.02), ("code", 0.0, 0.02), ("cjk", 0.2, 0.06), ("other scripts", 0.5, 0.1)],
)
def test_a_vocabulary_that_is_not_ours_is_estimated_within_a_few_percent_after_some_answers(
    kind: str, before_at_least: float, after_at_most: float
) -> None:
    """cl100k_base is the provider's here, of which only the counts are seen."""
    calibration = Calibration()
    some = prompts(texts.ALL[kind], 160)
    before = errors(Calibration(), some, cl100k, learn=False)
    after = errors(calibration, some, cl100k, learn=True)[60:]
    assert sum(before) / len(before) >= before_at_least
    assert sum(after) / len(after) <= after_at_most


def test_a_mixture_of_scripts_is_estimated_as_each_of_them() -> None:
    some = [prompt for text in texts.ALL.values() for prompt in prompts(text, 60)]
    CHOICES.shuffle(some)
    before = errors(Calibration(), some, cl100k, learn=False)
    after = errors(Calibration(), some, cl100k, learn=True)[150:]
    assert sum(after) / len(after) < 0.1 < 0.15 < sum(before) / len(before)


def test_the_ratio_follows_what_is_sent() -> None:
    ratio = Ratio()
    for told in (1_000, 2_300, 700):
        for _ in range(300):
            ratio.learn(1_000, 7, told + 7)
        assert ratio.value == pytest.approx(told * 1_000, rel=0.01)


@pytest.mark.parametrize(
    ("texts", "script"),
    [
        ([], LATIN),
        ([texts.PROSE], LATIN),
        (["Tous les êtres humains naissent libres et égaux en dignité et en droits."], LATIN),
        (["“Curly” — quotes… and ‘dashes’ – do not make it another"], LATIN),
        ([texts.CJK], WIDE),
        (["모든 인간은 태어날 때부터 자유로우며"], WIDE),
        (["Все люди рождаются свободными и равными"], OTHER),
        (["सभी मनुष्यों को गौरव"], OTHER),
        (["be brief", "a word " * 500 + "中文" * 2_000 + " or two" * 500], WIDE),
        (["中文", "a much longer text in English"], LATIN),
    ],
)
def test_the_kind_of_script_is_that_of_the_longest_text(texts: list[str], script: str) -> None:
    assert script_of([text.encode() for text in texts]) == script


def test_an_observation_that_says_little_is_passed_over() -> None:
    ratio = Ratio()
    for counted, beside, told in (
        (FEWEST_TOKENS - 1, 7, 400),
        (100, 100 // FRAMING_SHARE + 1, 400),
        (100, 7, 7),
        (100, 7, 0),
        (0, 0, 100),
    ):
        assert not ratio.learn(counted, beside, told)
    assert ratio.value == ONE
    assert ratio.learn(FEWEST_TOKENS, 7, 100)


def test_one_odd_answer_moves_the_ratio_by_a_fiftieth_at_the_most() -> None:
    ratio = Ratio()
    for _ in range(200):
        ratio.learn(1_000, 7, 1_207)
    settled = ratio.value
    assert settled == pytest.approx(1.2 * ONE, rel=0.01)
    ratio.learn(1_000, 7, 100_000_000)
    assert settled < ratio.value <= settled * 51 // 50
    before = ratio.value
    ratio.learn(1_000, 7, 8)
    assert before * 49 // 50 <= ratio.value < before


def test_what_one_of_two_callers_sends_moves_the_ratio_between_them() -> None:
    ratio = Ratio()
    for _ in range(500):  # as many of each: a key is believed once a second
        ratio.learn(1_000, 0, 1_000)
        ratio.learn(1_000, 0, 100_000_000)
    assert ratio.value < 1.8 * ONE


def test_what_was_learnt_before_is_where_a_calibration_begins() -> None:
    learnt: list[tuple[int, int]] = []
    first = Ratio(0, 0, lambda told, counted: learnt.append((told, counted)))
    for _ in range(40):
        first.learn(1_000, 7, 1_407)
    told, counted = map(sum, zip(*learnt, strict=True))
    assert Ratio(told, counted).value == pytest.approx(1.4 * ONE, rel=0.001)
    assert Ratio(10**12, 1).value == MOST
    assert Ratio(0, 1).value == LEAST


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**4), st.integers(0, 10**8))), st.integers(0, 10**8))
def test_whatever_is_told_the_ratio_stays_within_its_bounds(told: list[tuple[int, int, int]], counted: int) -> None:
    ratio = Ratio()
    for observation in told:
        ratio.learn(*observation)
        assert LEAST <= ratio.value <= MOST
    assert counted // 2 <= ratio.corrected(counted) <= counted * 5 // 2 + 1
