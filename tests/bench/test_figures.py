from __future__ import annotations

import json

import pytest

from bench.figures import Comparison, Ratio, Report, Series, tree_cpu_us, worker_cpu_us
from tests.bench.samples import COMPARISON, MACHINE, NGINX, OURS, REPORT, sample


def test_a_figure_is_the_median_of_its_rounds() -> None:
    assert NGINX.median(worker_cpu_us) == 20.0
    assert OURS.median(worker_cpu_us) == 40.0
    assert OURS.median(tree_cpu_us) == 50.0


def test_an_even_number_of_rounds_takes_the_middle_of_the_two_in_the_middle() -> None:
    series = Series("any", (), (sample(10.0), sample(40.0), sample(20.0), sample(26.0)))
    assert series.median(worker_cpu_us) == 23.0


def test_a_ratio_is_that_of_the_medians_and_its_range_that_of_the_rounds() -> None:
    assert COMPARISON.ratio(OURS, worker_cpu_us) == Ratio(40.0 / 20.0, 37.5 / 25.0, 45.0 / 18.0)
    assert COMPARISON.ratio(OURS, tree_cpu_us) == Ratio(50.0 / 20.0, 47.5 / 25.0, 54.0 / 18.0)


def test_the_yardstick_costs_once_itself() -> None:
    assert COMPARISON.ratio(NGINX, worker_cpu_us) == Ratio(1.0, 1.0, 1.0)


def test_series_of_different_lengths_have_no_ratio() -> None:
    shorter = Series("throughway", (), OURS.samples[:2])
    with pytest.raises(ValueError, match="longer"):
        Comparison("chat", "", (NGINX, shorter)).ratio(shorter, worker_cpu_us)


@pytest.mark.parametrize(
    ("budget", "breached"), [(2.5, False), (2.0, False), (1.99, True)], ids=["below", "exactly", "above"]
)
def test_only_more_than_the_budget_breaches_it(budget: float, breached: bool) -> None:
    expected = [f"chat: throughway costs 2.00 x nginx, the budget is {budget:.2f}"] if breached else []
    assert REPORT.breaches(budget) == expected


def test_each_scenario_is_held_to_the_budget() -> None:
    cheap = Comparison("stream", "", (NGINX, NGINX))
    report = Report(MACHINE, 3, 4, 64, (cheap, COMPARISON))
    assert [breach.partition(":")[0] for breach in report.breaches(1.5)] == ["chat"]


def test_json_holds_samples_medians_and_ratios() -> None:
    report = json.loads(REPORT.as_json())
    nginx, ours = report["comparisons"][0]["series"]
    assert (report["machine"]["cores"], report["rounds"], report["connections"]) == (2, 3, 64)
    assert [one["worker_cpu_us"] for one in ours["samples"]] == [40.0, 45.0, 37.5]
    assert ours["median"] == {
        "requests_per_s": 10_000.0,
        "p50_us": 4_000.0,
        "p99_us": 9_500.0,
        "worker_cpu_us": 40.0,
        "tree_cpu_us": 50.0,
    }
    assert ours["ratio"] == {
        "worker_cpu": {"value": 2.0, "low": 1.5, "high": 2.5},
        "tree_cpu": {"value": 2.5, "low": 1.9, "high": 3.0},
    }
    assert nginx["ratio"]["worker_cpu"]["value"] == 1.0
