"""Plots as inline SVG: values in, text out. Colours are classes; the page has their values for light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final, NamedTuple

WIDTH: Final = 960
_LEFT: Final = 74
_RIGHT: Final = 128
_TOP: Final = 26
_BOTTOM: Final = 52
_LABEL_STEP: Final = 18.0

_BAR_LEFT: Final = 250
_BAR_RIGHT: Final = 150
_BAR_ROW: Final = 54
_BAR: Final = 22

Point = tuple[float, float]


class Line(NamedTuple):
    """A curve. Points with a value of 0 or less have no place on a log scale: leave them out."""

    name: str
    style: str
    """Its class."""
    points: Sequence[Point]
    dots: bool = False


class Bar(NamedTuple):
    name: str
    style: str
    note: str
    """Small, below the name."""
    value: float
    values: Sequence[float]
    """Its samples, a dot each."""
    text: str
    """Behind the bar."""


class Tick(NamedTuple):
    at: float
    label: str


class Axis(NamedTuple):
    """A scale. Values are mapped by `log` or straight."""

    low: float
    high: float
    ticks: Sequence[Tick]
    title: str
    log: bool = True

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        if self.log:
            return (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return (value - self.low) / (self.high - self.low)


def log_axis(values: Iterable[float], title: str, unit: str = "") -> Axis:
    """From the 1, 2 or 5 times a power of ten below all values to the one above them."""
    known = list(values) or [1.0]
    low, high = _below(min(known)), _above(max(known))
    if low == high:
        high = low * 10
    decades = log10(high / low)
    factors = (1, 2, 5) if decades <= 2.4 else (1, 3) if decades <= 3 else (1,)
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    ticks = [Tick(mark, f"{spelled(mark)}{unit}") for mark in marks if low * 0.999 <= mark <= high * 1.001]
    return Axis(low, high, ticks, title)


def time_axis(seconds: float, title: str) -> Axis:
    """From 0 to some seconds."""
    step = next(
        step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 3_600) if seconds / step <= 8 or step == 3_600
    )
    high = ceil(max(seconds, 1) / step) * step
    return Axis(0, high, [Tick(at, f"{at:g} s") for at in range(0, high + 1, step)], title, log=False)


def tail_axis(title: str) -> Axis:
    """Shares of requests up to 99.9 %, spread by 1/(1-share): each further nine is as wide as the one before."""
    marks = ((0.0, "0"), (0.5, "50"), (0.9, "90"), (0.95, "95"), (0.99, "99"), (0.995, "99.5"), (0.999, "99.9"))
    return Axis(1, 1_000, [Tick(1 / (1 - share), f"{label} %") for share, label in marks], title)


def spelled(value: float) -> str:
    """A number that is short: 0.5, 20, 3k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def lines(series: Sequence[Line], x: Axis, y: Axis, label: str, *, width: int = WIDTH, height: int = 440) -> str:
    """Curves with their names at their ends.

    Args:
        series: to draw; the later stands above.
        x, y: the axes.
        label: what it shows, for who cannot see it.
        width, height: of the view box.
    """
    right, bottom = width - _RIGHT, height - _BOTTOM

    def at(point: Point) -> Point:
        return _LEFT + x.place(point[0]) * (right - _LEFT), bottom - y.place(point[1]) * (bottom - _TOP)

    parts = [*_frame(x, y, right, bottom)]
    ends: list[tuple[float, float, Line]] = []
    for line in series:
        if not line.points:
            continue
        placed = [at(point) for point in line.points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in placed)
        parts.append(f'<polyline class="line {line.style}" points="{path}"/>')
        if line.dots:
            parts += [f'<circle class="fill {line.style}" cx="{px:.1f}" cy="{py:.1f}" r="3.2"/>' for px, py in placed]
        ends.append((*placed[-1], line))
    parts += _end_labels(ends, right)
    return _svg(width, height, label, parts)


def bars(rows: Sequence[Bar], x: Axis, label: str) -> str:
    """Horizontal bars on a log scale, a dot for each sample."""
    height = _BAR_ROW * len(rows) + _BOTTOM
    right, bottom = WIDTH - _BAR_RIGHT, height - _BOTTOM

    def at(value: float) -> float:
        return _BAR_LEFT + max(0.0, x.place(value)) * (right - _BAR_LEFT)

    parts = [*_columns(x, at, 0, bottom), _title(x.title, (_BAR_LEFT + right) / 2, height - 8)]
    for number, row in enumerate(rows):
        middle = number * _BAR_ROW + _BAR_ROW / 2
        parts.append(
            f'<text class="name" x="{_BAR_LEFT - 14}" y="{middle - 2:.1f}" text-anchor="end">{escape(row.name)}</text>'
        )
        parts.append(
            f'<text class="note" x="{_BAR_LEFT - 14}" y="{middle + 14:.1f}" text-anchor="end">{escape(row.note)}</text>'
        )
        width = max(2.0, at(row.value) - _BAR_LEFT)
        parts.append(
            f'<rect class="fill {row.style}" x="{_BAR_LEFT}" y="{middle - _BAR / 2:.1f}" width="{width:.1f}" height="{_BAR}" rx="4"/>'
        )
        parts += [f'<circle class="sample" cx="{at(value):.1f}" cy="{middle:.1f}" r="3"/>' for value in row.values]
        end = max(at(value) for value in (row.value, *row.values)) + 12
        parts.append(f'<text class="value" x="{end:.1f}" y="{middle + 5:.1f}">{escape(row.text)}</text>')
    return _svg(WIDTH, height, label, parts)


# -- parts


def _svg(width: int, height: int, label: str, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _frame(x: Axis, y: Axis, right: float, bottom: float) -> Iterator[str]:
    yield from _columns(x, lambda value: _LEFT + x.place(value) * (right - _LEFT), _TOP, bottom)
    for tick in y.ticks:
        py = bottom - y.place(tick.at) * (bottom - _TOP)
        yield f'<line class="grid" x1="{_LEFT}" x2="{right:.1f}" y1="{py:.1f}" y2="{py:.1f}"/>'
        yield f'<text class="tick" x="{_LEFT - 10}" y="{py + 4:.1f}" text-anchor="end">{escape(tick.label)}</text>'
    yield _title(x.title, (_LEFT + right) / 2, bottom + _BOTTOM - 8)
    yield f'<text class="title" x="{_LEFT - 64}" y="14">{escape(y.title)}</text>'


def _columns(x: Axis, at: object, top: float, bottom: float) -> Iterator[str]:
    assert callable(at)
    for tick in x.ticks:
        px = at(tick.at)
        yield f'<line class="grid" x1="{px:.1f}" x2="{px:.1f}" y1="{top}" y2="{bottom + 5:.1f}"/>'
        yield f'<text class="tick" x="{px:.1f}" y="{bottom + 22:.1f}" text-anchor="middle">{escape(tick.label)}</text>'


def _title(text: str, px: float, py: float) -> str:
    return f'<text class="title" x="{px:.1f}" y="{py:.1f}" text-anchor="middle">{escape(text)}</text>'


def _end_labels(ends: list[tuple[float, float, Line]], right: float) -> Iterator[str]:
    """Names in a column, in the order of the ends, moved apart, each with a thin line to its end."""
    ends = sorted(ends, key=lambda end: end[1])
    for (px, py, line), label in zip(ends, _apart([end[1] for end in ends]), strict=True):
        yield f'<polyline class="leader" points="{px:.1f},{py:.1f} {right + 4:.1f},{label:.1f} {right + 12:.1f},{label:.1f}"/>'
        yield f'<text class="end {line.style}" x="{right + 16:.1f}" y="{label + 5:.1f}">{escape(line.name)}</text>'


def _apart(places: Sequence[float]) -> list[float]:
    """Sorted places, moved so that neighbours are a line of text apart and their middle stays where it is."""
    groups: list[list[float]] = []  # [sum of places, count]
    for place in places:
        groups.append([place, 1.0])
        while len(groups) > 1 and _bottom(groups[-2]) + _LABEL_STEP > _top(groups[-1]):
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    return [_top(group) + index * _LABEL_STEP for group in groups for index in range(int(group[1]))]


def _top(group: list[float]) -> float:
    return group[0] / group[1] - (group[1] - 1) / 2 * _LABEL_STEP


def _bottom(group: list[float]) -> float:
    return group[0] / group[1] + (group[1] - 1) / 2 * _LABEL_STEP


def _below(value: float) -> float:
    power = 10.0 ** floor(log10(value))
    return next(factor * power for factor in (5, 2, 1) if factor * power <= value * 1.0001)


def _above(value: float) -> float:
    power = 10.0 ** floor(log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * 0.9999)
