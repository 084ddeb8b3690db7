"""The histogram counts what HdrHistogram counts: its own library is the oracle, and a sorted list the judge of both."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable

import pytest
from hdrh.histogram import HdrHistogram

from bench.native.histogram import Histogram

LARGEST = 2**42 - 1
EXACT = ("count", "minimum", "maximum", "total", "mean")
PERCENTS = (0, 1, 25, 50, 75, 90, 99, 99.9, 99.99, 100)
EDGES = [0, 1, 2, 1_023, 1_024, 2_047, 2_048, 2_049, 4_095, 4_096, 10**6, 2**41 - 1, 2**41, LARGEST]
SHAPES: dict[str, Callable[[random.Random], int]] = {
    "small": lambda numbers: numbers.randrange(5_000),
    "lognormal": lambda numbers: int(numbers.lognormvariate(13, 1.5)),
    "every power": lambda numbers: int(2 ** numbers.uniform(0, 41.9)),
    "two peaks": lambda numbers: numbers.choice((90_000, 1_000_000_000)) + numbers.randrange(20_000),
}


def filled(values: list[int]) -> tuple[Histogram, HdrHistogram]:
    ours, theirs = Histogram(), HdrHistogram(1, LARGEST, 3)
    for value in values:
        ours.record(value)
        theirs.record_value(value)
    return ours, theirs


@pytest.mark.parametrize("shape", SHAPES)
def test_percentiles_are_those_of_the_library_and_near_the_sorted_list(shape: str) -> None:
    numbers = random.Random(shape)
    values = [SHAPES[shape](numbers) for _ in range(5_000)]
    ours, theirs = filled(values)
    values.sort()
    for percent in PERCENTS:
        rank = max(1, int(percent * len(values) / 100 + 0.5))
        exact = values[rank - 1]
        found = ours.percentile(percent)
        if percent:  # at 0 the library gives the lowest value of the first bucket
            assert found == theirs.get_value_at_percentile(percent), percent
        assert exact <= found <= exact + exact / 1_000
    assert (ours.count, ours.minimum, ours.maximum) == (len(values), values[0], values[-1])
    assert ours.mean == pytest.approx(math.fsum(values) / len(values))


@pytest.mark.parametrize("value", EDGES)
def test_the_edges_of_buckets_are_those_of_the_library(value: int) -> None:
    ours, theirs = filled([value])
    assert ours.buckets() == [(theirs.get_highest_equivalent_value(value), 1)]
    assert ours.percentile(50) == theirs.get_highest_equivalent_value(value)


def test_what_is_out_of_range_is_counted_at_its_edge() -> None:
    histogram = Histogram()
    histogram.record(-5)
    histogram.record(2**50)
    assert (histogram.count, histogram.minimum, histogram.maximum) == (2, 0, LARGEST)
    assert [count for _, count in histogram.buckets()] == [1, 1]


def test_merging_is_as_if_all_had_been_recorded_in_one() -> None:
    numbers = random.Random(9)
    values = [int(numbers.expovariate(1e-6)) for _ in range(4_000)]
    whole, parts = Histogram(), [Histogram() for _ in range(3)]
    for position, value in enumerate(values):
        whole.record(value)
        parts[position % 3].record(value)
    merged = Histogram()
    merged.merge(Histogram())
    for part in parts:
        merged.merge(part)
    assert merged.buckets() == whole.buckets()
    assert (merged.count, merged.minimum, merged.maximum, merged.total) == (
        whole.count,
        whole.minimum,
        whole.maximum,
        whole.total,
    )


def test_a_value_may_be_recorded_many_times_at_once() -> None:
    many, single = Histogram(), Histogram()
    many.record(70_000, 500)
    for _ in range(500):
        single.record(70_000)
    assert (many.buckets(), many.total) == (single.buckets(), single.total)


def test_an_empty_one_says_nothing() -> None:
    histogram = Histogram()
    assert (histogram.percentile(99), histogram.mean, histogram.buckets()) == (0, 0.0, [])


@pytest.mark.parametrize("percent", [-1, 100.1, math.nan])
def test_a_percentile_is_from_0_to_100(percent: float) -> None:
    with pytest.raises(ValueError, match="a percentile is from 0 to 100"):
        Histogram().percentile(percent)


def test_a_value_is_recorded_once_at_least() -> None:
    with pytest.raises(ValueError, match="once at least"):
        Histogram().record(1, 0)


def test_a_histogram_goes_to_another_process_and_stays_what_it_was() -> None:
    ours, _ = filled([*EDGES, 90_000, 90_001])
    for histogram in (ours, Histogram()):
        copy = pickle.loads(pickle.dumps(histogram))
        assert copy.buckets() == histogram.buckets()
        assert [getattr(copy, name) for name in EXACT] == [getattr(histogram, name) for name in EXACT]
