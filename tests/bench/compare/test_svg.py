from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bench.compare import svg
from bench.compare.svg import Bar, Line

NS = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([20.0, 16_000.0], 20, 20_000), ([1.0], 1, 10), ([3.0, 7.0], 2, 10), ([0.05, 0.9], 0.05, 1), ([], 1, 10)],
)
def test_a_log_axis_ends_at_round_values_around_all(values: list[float], low: float, high: float) -> None:
    axis = svg.log_axis(values, "")
    assert (axis.low, axis.high) == pytest.approx((low, high))
    assert all(axis.low * 0.99 <= tick.at <= axis.high * 1.01 for tick in axis.ticks)
    assert len(axis.ticks) <= 9


def test_each_decade_of_a_log_axis_is_as_wide_as_the_next() -> None:
    axis = svg.log_axis([1.0, 1_000.0], "")
    assert [axis.place(value) for value in (1, 10, 100, 1_000)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_the_tail_axis_gives_each_nine_the_same_room() -> None:
    axis = svg.tail_axis("")
    assert [axis.place(1 / (1 - share)) for share in (0, 0.9, 0.99, 0.999)] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(
    ("seconds", "high", "ticks"), [(0.4, 1, 2), (33, 35, 8), (95, 100, 6), (9_000, 9_600, 9), (100, 100, 6)]
)
def test_a_time_axis_has_few_ticks(seconds: float, high: float, ticks: int) -> None:
    axis = svg.time_axis(seconds, "")
    assert (axis.high, len(axis.ticks)) == (high, ticks)


def test_bars_are_as_long_as_the_logarithm_says_and_have_a_dot_a_sample() -> None:
    axis = svg.log_axis([1.0, 1_000.0], "")
    rows = [Bar("a", "c-a", "x", 10, [9, 10, 11], "10"), Bar("b", "c-b", "y", 100, [100], "100")]
    root = parsed(svg.bars(rows, axis, "<label>"))
    a, b = (float(rect.get("width", "nan")) for rect in root.iter(f"{NS}rect"))
    assert b / a == pytest.approx(2, abs=0.01)
    assert len(list(root.iter(f"{NS}circle"))) == 4
    assert root.get("aria-label") == "<label>"


def test_names_at_the_ends_of_curves_do_not_cover_each_other() -> None:
    axis = svg.log_axis([1.0, 1_000.0], "")
    curves = [Line(f"<{number}>", "c", [(1, 1), (1_000, 500 + number)]) for number in range(6)]
    root = parsed(svg.lines(curves, axis, axis, "x"))
    names = [one for one in root.iter(f"{NS}text") if one.get("class", "").startswith("end")]
    places = [float(one.get("y", "nan")) for one in names]
    assert sorted(one.text or "" for one in names) == [f"<{number}>" for number in range(6)]
    assert all(b - a >= 17.9 for a, b in pairwise(places))


def test_a_curve_without_points_is_left_out() -> None:
    axis = svg.log_axis([1.0, 10.0], "")
    root = parsed(svg.lines([Line("none", "c", [])], axis, axis, "x"))
    assert [one for one in root.iter(f"{NS}text") if one.text == "none"] == []


@pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (20, "20"), (3_000, "3k"), (2e6, "2M"), (999, "999")])
def test_numbers_are_spelled_short(value: float, text: str) -> None:
    assert svg.spelled(value) == text
