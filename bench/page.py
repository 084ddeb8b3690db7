"""The report for a browser: one HTML page with its chart inside, that asks for nothing else and runs no script."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import ceil, log10
from typing import Final

from bench.figures import Comparison, Report, Series, tree_cpu_us, worker_cpu_us
from bench.servers import CONF
from bench.table import conditions, ratio_text

# The chart, in units of its view box.
_WIDTH: Final = 860
_LEFT: Final = 120
_RIGHT: Final = 90
_ROW: Final = 64
_BAR: Final = 30
_AXIS: Final = 34

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #667085; --paper: #fbfaf7; --card: #fff; --line: #e4e2dc;
        --ours: #0f766e; --ours-rest: #99d5cc; --yardstick: #64748b; --yardstick-rest: #cbd5e1; --dot: #1c2430; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --dim: #98a2b3; --paper: #12161c; --card: #1a2029; --line: #2c3440;
          --ours: #2dd4bf; --ours-rest: #17645b; --yardstick: #94a3b8; --yardstick-rest: #3d4a5c; --dot: #f8fafc; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 48px 24px 64px; }
h1 { font-size: 1.05rem; font-weight: 600; margin: 0 0 28px; color: var(--dim); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 28px 32px; margin-bottom: 24px; }
h2 { font-size: 1.15rem; margin: 0; }
.headline { display: flex; align-items: baseline; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 18px; }
.headline b { font-size: 3.4rem; line-height: 1.1; letter-spacing: -.03em; color: var(--ours); font-variant-numeric: tabular-nums; }
.headline span { color: var(--dim); }
svg { display: block; width: 100%; height: auto; font: 14px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .dim { fill: var(--dim); } svg .value { font-weight: 600; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); } .mark { stroke: var(--yardstick); stroke-dasharray: 4 4; }
.legend { color: var(--dim); font-size: .86rem; margin: 6px 0 0; } .dot { fill: var(--dot); opacity: .55; }
.ours { fill: var(--ours); } .ours-rest { fill: var(--ours-rest); }
.yardstick { fill: var(--yardstick); } .yardstick-rest { fill: var(--yardstick-rest); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: 16px; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 7px 0 7px 12px; border-top: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 500; color: var(--dim); border-top: 0; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 20px; margin: 14px 0 0; } dt { font-weight: 600; } dd { margin: 0; }
p { margin: 12px 0 0; } details { margin-top: 14px; } summary { cursor: pointer; font-weight: 500; }
pre { overflow-x: auto; font-size: .8rem; line-height: 1.5; padding: 14px; border: 1px solid var(--line); border-radius: 8px; }
"""


_LEGEND: Final = (
    '<p class="legend">CPU a request. Strong: the worker, the median of its rounds, each round a dot. '
    "Pale: the processes around it. Dashed: the yardstick.</p>"
)


def render(report: Report) -> str:
    """The page, complete."""
    sections = "".join(_section(comparison) for comparison in report.comparisons)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Throughway bench</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>Throughway bench: CPU a request, beside nginx in the same run</h1>\n{sections}{_method(report)}</main></body>\n</html>\n"
    )


def _section(comparison: Comparison) -> str:
    headlines = "".join(
        f'<p class="headline"><b>{comparison.ratio(series, worker_cpu_us).value:.2f}&thinsp;&times;</b>'
        f"<span>{escape(series.target)}'s CPU beside {escape(comparison.yardstick.target)}'s, worker against worker</span></p>"
        for series in comparison.others
    )
    return f"<section><h2>{escape(_sentence(comparison.title))}</h2>{headlines}{chart(comparison)}{_LEGEND}{_figures(comparison)}</section>\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# -- the chart


def chart(comparison: Comparison) -> str:
    """Bars of CPU a request: the worker's, and behind it that of all processes; a dot for each round of the worker."""
    height = _ROW * len(comparison.series) + _AXIS
    step_us, end_us = _axis(max(_highest(series) for series in comparison.series))
    scale = (_WIDTH - _LEFT - _RIGHT) / end_us
    parts = [*_grid(step_us, end_us, scale, height)]
    mark = _LEFT + comparison.yardstick.median(worker_cpu_us) * scale
    for row, series in enumerate(comparison.series):
        parts += _bar(series, row * _ROW, scale, "yardstick" if series is comparison.yardstick else "ours")
    parts.append(f'<line class="mark" x1="{mark:.1f}" x2="{mark:.1f}" y1="0" y2="{height - _AXIS}"/>')
    label = f"CPU microseconds a request: {_spoken(comparison)}"
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _highest(series: Series) -> float:
    return max(series.median(tree_cpu_us), *(sample.worker_cpu_us for sample in series.samples), 1e-3)


def _axis(highest: float) -> tuple[float, float]:
    """The distance of ticks, of the form 1, 2 or 5 times a power of ten, and the end of the axis, a tick itself."""
    power = 10.0 ** (ceil(log10(highest)) - 1)
    step = next(factor * power for factor in (0.2, 0.5, 1, 2, 5) if highest / (factor * power) <= 8)
    return step, ceil(highest / step) * step


def _grid(step_us: float, end_us: float, scale: float, height: int) -> Iterator[str]:
    bottom = height - _AXIS
    for tick in range(round(end_us / step_us) + 1):
        x = _LEFT + tick * step_us * scale
        unit = " \u00b5s" if tick else ""
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom + 6}"/>'
        yield f'<text class="dim" x="{x:.1f}" y="{bottom + 24}" text-anchor="middle">{tick * step_us:g}{unit}</text>'


def _bar(series: Series, top: float, scale: float, colour: str) -> Iterator[str]:
    worker, tree = series.median(worker_cpu_us) * scale, series.median(tree_cpu_us) * scale
    y, middle = top + (_ROW - _BAR) / 2, top + _ROW / 2
    values = [sample.worker_cpu_us * scale for sample in series.samples]
    yield f'<text x="{_LEFT - 14}" y="{middle + 5:.1f}" text-anchor="end">{escape(series.target)}</text>'
    yield f'<rect class="{colour}-rest" x="{_LEFT}" y="{y:.1f}" width="{tree:.1f}" height="{_BAR}" rx="3"/>'
    yield f'<rect class="{colour}" x="{_LEFT}" y="{y:.1f}" width="{worker:.1f}" height="{_BAR}" rx="3"/>'
    for value in values:
        yield f'<circle class="dot" cx="{_LEFT + value:.1f}" cy="{middle:.1f}" r="3.5"/>'
    end = _LEFT + max(tree, worker, *values) + 12
    yield f'<text class="value" x="{end:.1f}" y="{middle + 5:.1f}">{series.median(worker_cpu_us):.1f} \u00b5s</text>'


def _spoken(comparison: Comparison) -> str:
    return ", ".join(f"{series.target} {series.median(worker_cpu_us):.1f}" for series in comparison.series)


# -- the rest


def _figures(comparison: Comparison) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "",
            "worker, \u00b5s",
            "low..high",
            "all, \u00b5s",
            "ratio, worker",
            "ratio, all",
            "requests/s",
            "p50 ms",
            "p99 ms",
        )
    )
    rows = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(comparison, one))}</tr>" for one in comparison.series
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cells(comparison: Comparison, series: Series) -> Iterator[str]:
    workers = [sample.worker_cpu_us for sample in series.samples]
    yield escape(series.target)
    yield f"{series.median(worker_cpu_us):.1f}"
    yield f"{min(workers):.1f}..{max(workers):.1f}"
    yield f"{series.median(tree_cpu_us):.1f}"
    for figure in (worker_cpu_us, tree_cpu_us):
        yield "1" if series is comparison.yardstick else ratio_text(comparison.ratio(series, figure))
    yield f"{series.median(lambda sample: sample.requests_per_s):,.0f}"
    yield f"{series.median(lambda sample: sample.p50_us) / 1e3:.2f}"
    yield f"{series.median(lambda sample: sample.p99_us) / 1e3:.2f}"


def _method(report: Report) -> str:
    features = "".join(
        f"<dt>{escape(series.target)}</dt><dd>{escape('; '.join(series.features))}</dd>"
        for series in report.comparisons[0].series
    )
    published = "".join(
        f"<details><summary>{name}</summary><pre>{escape((CONF / name).read_text())}</pre></details>"
        for name in ("proxy.conf", "gateway.yaml", "upstream.conf")
    )
    return (
        f"<section><h2>What each did for a request</h2><dl>{features}</dl></section>\n"
        f"<section><h2>How it was measured</h2><p>{escape(conditions(report))}</p>"
        "<p>CPU is user and system time from /proc, a request. Targets took turns, in rounds. "
        "The range behind a ratio is that of its rounds. "
        "Latencies are of a closed loop that shares the cores with all it measures: they compare, they do not promise.</p>"
        f"{published}</section>\n"
    )
