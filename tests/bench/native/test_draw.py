"""What is drawn has the distribution that was asked for. The seeds are fixed: a test draws the same numbers each time."""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, stdev

import pytest

from bench.native.draw import Draw, Random

COUNT = 20_000
DRAWS = [
    Draw("fixed", 12.5),
    Draw("uniform", 10.0, 30.0),
    Draw("exponential", 20.0),
    Draw("lognormal", 20.0, 80.0),
]


def cumulative(draw: Draw, value: float) -> float:
    """The share of draws that are at most `value`: the textbook's formula."""
    if draw.kind == "uniform":
        return (value - draw.a) / (draw.b - draw.a)
    if draw.kind == "exponential":
        return 1 - math.exp(-value / draw.a)
    sigma = math.log(draw.b / draw.a) / NormalDist().inv_cdf(0.99)
    return NormalDist(math.log(draw.a), sigma).cdf(math.log(value))


@pytest.mark.parametrize("draw", DRAWS[1:], ids=lambda draw: draw.kind)
@pytest.mark.parametrize("seed", [1, 2**63 + 5])
def test_draws_follow_their_distribution(draw: Draw, seed: int) -> None:
    """Kolmogorov and Smirnov: 1.95 over the root of the count is passed by chance once in a thousand times."""
    values = sorted(draw.sample(Random(seed), COUNT))
    furthest = max(abs((rank + 0.5) / COUNT - cumulative(draw, value)) for rank, value in enumerate(values))
    assert furthest < 1.95 / math.sqrt(COUNT)


@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: draw.kind)
def test_the_mean_is_that_of_the_draws(draw: Draw) -> None:
    values = draw.sample(Random(3), COUNT)
    assert fmean(values) == pytest.approx(draw.mean, abs=4 * stdev(values) / math.sqrt(COUNT))


@pytest.mark.parametrize("draw", DRAWS[1:], ids=lambda draw: draw.kind)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_quantile_has_its_share_below_it(draw: Draw, share: float) -> None:
    assert cumulative(draw, draw.quantile(share)) == pytest.approx(share)


def test_a_lognormal_is_named_by_its_median_and_99th_percentile() -> None:
    draw = Draw("lognormal", 20, 80)
    assert draw.quantile(0.5) == pytest.approx(20)
    assert draw.quantile(0.99) == pytest.approx(80)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    draw = Draw("lognormal", 20, 80)
    assert draw.sample(Random(7), 50) == draw.sample(Random(7), 50)
    assert draw.sample(Random(7), 50) != draw.sample(Random(8), 50)


def test_the_first_numbers_of_splitmix64_are_the_published_ones() -> None:
    """Those of seed 1234567, as the reference implementation prints them; a unit is their upper 53 bits."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    units = Draw("uniform", 0, 1).sample(Random(1234567), len(published))
    assert units == [(number >> 11) / 2**53 for number in published]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("normal", 1, 2), "normal is no distribution; there are fixed, uniform, exponential, lognormal"),
        (("fixed", -1), "fixed: its numbers must be finite, and not negative"),
        (("exponential", math.inf), "exponential: its numbers must be finite, and not negative"),
        (("uniform", 3, 2), "uniform: it ends at 2, before it begins at 3"),
        (("lognormal", 0, 2), "lognormal: the median must be above 0, and the 99th percentile not below it"),
        (("lognormal", 3, 2), "lognormal: the median must be above 0, and the 99th percentile not below it"),
    ],
)
def test_what_is_no_distribution_is_refused(arguments: tuple[str, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Draw(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0, 1, -0.1, math.nan])
def test_a_quantile_is_of_a_share_between_none_and_all(share: float) -> None:
    with pytest.raises(ValueError, match="the share must be"):
        Draw("fixed", 1).quantile(share)
