from __future__ import annotations

import json

import msgspec
import pytest

from bench.compare.figures import FIGURES, Failed, Value, as_json, faults, outcome, pooled, ratio
from bench.compare.samples import SHARES, Run
from tests.bench.compare.runs import DEAD, DIRECT, NGINX, OURS, RUN, SLOW, STORED


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("cpu_us", Value(40.0, 38.0, 44.0)),
        ("stream_cpu_us", Value(80.0, 76.0, 88.0)),
        ("event_cpu_us", Value(40.0, 38.0, 44.0)),
        ("held_mib", Value(73.0, 73.0, 73.0)),
        ("stream_kib", Value(10.0, 10.0, 10.0)),
        ("requests_per_s", Value(2_500.0, 2_500.0, 2_500.0)),
        ("busy_percent", Value(10.0, 9.5, 11.0)),
        ("added_p50_us", Value(100.0, 80.0, 100.0)),
        ("half_p50_us", Value(150.0, 140.0, 170.0)),
        ("half_per_s", Value(1_250.0, 1_250.0, 1_250.0)),
        ("first_p50_us", Value(200.0, 160.0, 200.0)),
        ("first_p99_us", Value(200.0, 160.0, 200.0)),
        ("idle_mib", Value(50.0, 50.0, 50.0)),
        ("loaded_mib", Value(63.0, 63.0, 63.0)),
        ("slope_mib", Value(2.0, 2.0, 2.0)),
        ("start_ms", Value(500.0, 400.0, 600.0)),
    ],
)
def test_a_figure_is_the_median_of_its_turns_with_the_lowest_and_highest(key: str, expected: Value) -> None:
    found = outcome(RUN, OURS, FIGURES[key])
    assert isinstance(found, Value)
    assert msgspec.structs.astuple(found) == pytest.approx(msgspec.structs.astuple(expected))


def test_added_latency_is_beside_direct_in_the_same_round() -> None:
    # through 150, 140, 170; direct 50, 60, 70: pairs 100, 80, 100, where the medians alone would say 90
    assert outcome(RUN, OURS, FIGURES["added_p99_us"]) == Value(100.0, 80.0, 100.0)


def test_direct_adds_nothing_and_has_no_process_to_measure() -> None:
    assert {key for key, figure in FIGURES.items() if outcome(RUN, DIRECT, figure) is not None} == {"requests_per_s"}


def test_without_direct_nothing_was_added() -> None:
    alone = msgspec.structs.replace(RUN, targets=(NGINX, OURS))
    assert outcome(alone, OURS, FIGURES["added_p50_us"]) is None


def test_a_fault_in_one_turn_fails_that_figure_and_no_other() -> None:
    assert outcome(RUN, SLOW, FIGURES["stream_cpu_us"]) == Failed("round 2: of 7 requests some failed: 1 status")
    assert isinstance(outcome(RUN, SLOW, FIGURES["cpu_us"]), Value)


def test_what_does_not_start_has_no_figure_at_all() -> None:
    assert all(isinstance(outcome(RUN, DEAD, figure), Failed) for figure in FIGURES.values())
    assert faults(DEAD)[0] == "start, round 1: it ended with 1 while it started: <no luck>"


def test_a_ratio_is_to_the_yardstick() -> None:
    assert ratio(RUN, OURS, FIGURES["cpu_us"]) == pytest.approx(2.0)
    assert ratio(RUN, NGINX, FIGURES["cpu_us"]) == 1.0
    assert ratio(RUN, DEAD, FIGURES["cpu_us"]) is None
    assert ratio(RUN, OURS, FIGURES["half_p50_us"]) is None  # each has a load of its own
    assert ratio(msgspec.structs.replace(RUN, targets=(DIRECT, OURS)), OURS, FIGURES["cpu_us"]) is None


def test_a_curve_is_the_median_of_the_turns_at_each_share() -> None:
    *known, beyond = pooled(OURS, "chat 1")
    assert known == [150.0 + step for step in range(len(SHARES) - 1)]
    assert beyond == 150.0 + len(SHARES) - 1  # of 10,000 requests one lies beyond 99.99 %
    assert pooled(SLOW, "stream full") == ()


def test_json_holds_samples_figures_and_ratios_and_is_read_back_as_the_run() -> None:
    built = json.loads(as_json(RUN))
    ours = next(one for one in built["targets"] if one["name"] == "throughway")
    assert ours["figures"]["cpu_us"]["ratio"] == pytest.approx(2.0)
    assert len(ours["turns"][0]["loads"]["chat 1"]["latency_us"]) == len(SHARES)
    dead = next(one for one in built["targets"] if one["name"] == "envoy")
    assert dead["figures"]["cpu_us"] == {"reason": "round 1: it ended with 1 while it started: <no luck>"}
    assert msgspec.json.decode(as_json(RUN), type=Run) == RUN
    assert built == json.loads(STORED.read_text())
