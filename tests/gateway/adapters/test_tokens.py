"""Prompts are counted exactly from the first one on; very long ones are estimated, well enough, and it is said."""

from __future__ import annotations

import random
import secrets
import statistics
import time

import pytest

from _fastpath import tokens
from gateway.adapters.tokens import SAMPLE_BYTES, SAMPLES, KernelCounter
from gateway.control.config._schema import ENCODINGS
from tests.support import texts


@pytest.fixture(autouse=True)
def same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where samples lie is drawn the same way in each run: a test that fails once in a thousand runs says nothing."""
    monkeypatch.setattr(secrets, "randbelow", random.Random(7).randrange)


@pytest.fixture
def estimates() -> list[None]:
    """One for each prompt that was estimated."""
    return []


@pytest.fixture
def counter(estimates: list[None]) -> KernelCounter:
    return KernelCounter(lambda: estimates.append(None))


def utf8(*prompt: str) -> list[bytes]:
    return [text.encode() for text in prompt]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_that_can_be_configured_is_counted_exactly(
    counter: KernelCounter, estimates: list[None], encoding: str
) -> None:
    expected = tokens.count(texts.PROSE[:5_000], encoding) + tokens.count(texts.CJK, encoding)
    assert counter.count(utf8(texts.PROSE[:5_000], "", texts.CJK), encoding) == expected
    assert counter.count([], encoding) == 0
    assert not estimates


@pytest.mark.parametrize("kind", ["prose", "code", "chat"])
def test_a_hundred_and_fifty_kilobytes_are_counted_exactly(
    counter: KernelCounter, estimates: list[None], kind: str
) -> None:
    text = (texts.ALL[kind] * 1_000)[:150_000]
    assert counter.count(utf8(text), "o200k_base") == tokens.count(text, "o200k_base")
    assert not estimates


def test_the_bound_is_of_the_whole_prompt(counter: KernelCounter, estimates: list[None]) -> None:
    page = texts.PROSE[:10_000]
    counter.count(utf8(page) * 15, "o200k_base")
    assert not estimates
    counter.count(utf8(page) * 40, "o200k_base")
    assert len(estimates) == 1


@pytest.mark.parametrize("kind", texts.ALL)
@pytest.mark.parametrize("encoding", tokens.ENCODINGS)
def test_estimates_scatter_closely_around_what_is_exact(
    counter: KernelCounter, estimates: list[None], kind: str, encoding: str
) -> None:
    text = texts.ALL[kind] * (1_000_000 // len(texts.ALL[kind]))
    exact = tokens.count(text, encoding)
    found = [counter.count(utf8(text), encoding) / exact for _ in range(40)]
    assert statistics.mean(found) == pytest.approx(
        1.0, abs=0.025
    )  # a hundredth too many where a cut falls into a token
    assert statistics.pstdev(found) < 0.05  # texts whose parts differ most: 0.035
    assert len(estimates) == len(found)


def test_an_estimate_sees_what_stands_anywhere_in_the_prompt(counter: KernelCounter) -> None:
    mixed = [texts.PROSE * 20, texts.CJK * 300, texts.CODE * 10, "a" * 50_000]
    exact = sum(tokens.count(text, "o200k_base") for text in mixed)
    assert counter.count(utf8(*mixed), "o200k_base") == pytest.approx(exact, rel=0.15)


NOISE = random.Random(11)
LONG = {
    **{kind: text * (1_000_000 // len(text)) for kind, text in texts.ALL.items()},
    "random letters": "".join(NOISE.choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000)),
    "random characters": "".join(map(chr, NOISE.choices(range(0x20, 0xD800), k=300_000))),
    "spaces": " " * 5_000_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_prompt_of_a_megabyte_holds_the_loop_no_longer_than_a_short_while(counter: KernelCounter, text: str) -> None:
    prompt = utf8(text)

    def held_ms() -> float:
        begun = time.thread_time()
        counter.count(prompt, "o200k_base")
        return (time.thread_time() - begun) * 1_000

    assert min(held_ms() for _ in range(5)) < 6  # 2 ms on a machine of its own


def test_many_short_texts_are_bounded_like_a_long_one(counter: KernelCounter, estimates: list[None]) -> None:
    text = "".join(NOISE.choices("abcdefghijklmnopqrstuvwxyz", k=50))
    assert counter.count(utf8(text) * 20_000, "o200k_base") > 0
    assert estimates


def test_a_short_prompt_that_costs_too_much_is_still_counted(counter: KernelCounter, estimates: list[None]) -> None:
    text = LONG["random letters"][: SAMPLES * SAMPLE_BYTES]
    assert counter.count(utf8(text), "cl100k_base") == tokens.count(text, "cl100k_base")
    assert estimates
