"""The report for a browser: one page that asks for nothing else and runs no script, light or dark as its reader likes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from bench.compare import svg
from bench.compare.figures import (
    DIRECT,
    FIGURES,
    GROUPS,
    HALF,
    LONE,
    MIB,
    YARDSTICK,
    Failed,
    Figure,
    Value,
    faults,
    loads_of,
    outcome,
    pooled,
    ratio,
)
from bench.compare.samples import SHARES, Run, Target
from bench.compare.terminal import cell, conditions, ratio_text

_TAIL: Final = 0.999
_OURS: Final = "throughway"
_TILES: Final = 6

_COLOURS: Final = {
    # name: (on light, on dark)
    "direct": ("#9a9fa8", "#7d8794"),
    "nginx": ("#475569", "#cbd5e1"),
    "haproxy": ("#2563eb", "#60a5fa"),
    "envoy": ("#9333ea", "#c084fc"),
    "litellm": ("#dc2626", "#f87171"),
    "tensorzero": ("#d97706", "#fbbf24"),
    "portkey": ("#db2777", "#f472b6"),
    "ferro": ("#4d7c0f", "#a3e635"),
    "smg": ("#0284c7", "#38bdf8"),
    "throughway": ("#0d9488", "#2dd4bf"),
}

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --dim: #667085; --paper: #faf9f6; --card: #fff; --line: #e7e4dd; --sample: #1c2430; @LIGHT@ }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --dim: #98a2b3; --paper: #11151b; --card: #191f28; --line: #2b3340; --sample: #f8fafc; @DARK@ } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 44px 24px 64px; }
h1 { font-size: 1.9rem; letter-spacing: -.02em; line-height: 1.2; margin: 0 0 8px; } .lead { color: var(--dim); margin: 0 0 28px; max-width: 68ch; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 26px 30px; margin-bottom: 22px; }
h2 { font-size: 1.15rem; margin: 0 0 4px; } .say { color: var(--dim); font-size: .9rem; margin: 0 0 16px; max-width: 84ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 14px; margin-bottom: 22px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 16px 20px; }
.tile b { display: block; color: var(--throughway); font-size: 1.9rem; line-height: 1.25; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tile span { color: var(--dim); font-size: .88rem; }
svg { display: block; width: 100%; height: auto; font: 13px system-ui, "DejaVu Sans", sans-serif; overflow: visible; } svg text { fill: var(--ink); }
svg .tick, svg .title, svg .note { fill: var(--dim); } svg .note { font-size: 11.5px; } svg .name { font-weight: 600; font-size: 14px; }
svg .value { font-weight: 600; font-variant-numeric: tabular-nums; } svg .end { font-weight: 600; }
.grid { stroke: var(--line); } .leader { stroke: var(--line); fill: none; }
svg text.end { fill: currentColor; }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; } .fill { fill: currentColor; }
.line.c-direct { stroke-dasharray: 5 4; } .line.c-throughway { stroke-width: 3.4; }
.sample { fill: var(--sample); opacity: .5; }
@CLASSES@
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 8px 0 8px 14px; border-top: 1px solid var(--line); vertical-align: top; white-space: nowrap; }
th { font-weight: 500; color: var(--dim); border-top: 0; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; min-width: 230px; }
td small { display: block; color: var(--dim); font-size: .92em; line-height: 1.4; } td b { font-weight: 600; }
tr.c-throughway td { color: var(--ink); } tr.c-throughway b { color: var(--throughway); }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 26px; } @media (max-width: 800px) { .two { grid-template-columns: 1fr; } }
ul { margin: 8px 0 0; padding-left: 20px; } li { overflow-wrap: anywhere; } p { margin: 10px 0 0; }
"""


def render(run: Run) -> str:
    """The page, complete."""
    style = (
        _STYLE.replace("@LIGHT@", " ".join(f"--{name}: {light};" for name, (light, _) in _COLOURS.items()))
        .replace("@DARK@", " ".join(f"--{name}: {dark};" for name, (_, dark) in _COLOURS.items()))
        .replace("@CLASSES@", " ".join(f".c-{name} {{ color: var(--{name}); }}" for name in _COLOURS))
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Gateways beside each other</title><style>{style}</style></head>\n"
        f"<body><main>{''.join(_parts(run))}</main></body>\n</html>\n"
    )


def _parts(run: Run) -> Iterator[str]:
    yield "<h1>Gateways beside each other</h1>"
    yield (
        '<p class="lead">The same requests through each of them, in turn, alone on the same core, started afresh each time. '
        "They do not do the same for a request: what was on stands below each name in the table.</p>"
    )
    yield _tiles(run)
    yield _section("CPU a request", _CPU_SAYS, _cpu_bars(run))
    yield _section("How long a lone caller waits", _TAIL_SAYS, _tail_lines(run, LONE, "Latency of a lone caller"))
    if any(loads_of(target, HALF) for target in run.targets):
        yield _section("How long callers wait at half load", _HALF_SAYS, _tail_lines(run, HALF, "Latency at half load"))
    yield _section(
        "Throughput against latency",
        _STEPS_SAYS,
        f'<div class="two"><div>{_steps_lines(run, 0.5, "p50")}</div><div>{_steps_lines(run, 0.99, "p99")}</div></div>',
    )
    yield _section("Memory over a turn", _MEMORY_SAYS, _memory_lines(run))
    for title, group in GROUPS.items():
        yield _section(escape(title), _TABLE_SAYS, _table(run, group))
    yield _section("How it was measured", "", _method(run))


_CPU_SAYS: Final = (
    "User and system time of all its processes, microseconds, under a full load. A dot is a turn. "
    "The scale is logarithmic: each tick is ten times the one before."
)
_TAIL_SAYS: Final = (
    "One connection, one request at a time, microseconds. Each further nine to the right is as wide as the one before, "
    "so that the tail can be seen. Direct is load and upstream alone: what lies above it was added."
)
_HALF_SAYS: Final = (
    "Requests arrive evenly, whether or not those before are answered, at half the rate that each target reached: "
    "a wait counts from when a request was due."
)
_STEPS_SAYS: Final = (
    "From one connection to a full load: further right is more work done, further down is less waiting."
)
_TABLE_SAYS: Final = f"Medians of the turns; in small the lowest and highest of them, and &times; {YARDSTICK}'s."
_MEMORY_SAYS: Final = (
    "All its processes, MiB, from the first answer to the stop: idle, then loads of growing width. "
    "Pages shared by several processes are counted once. The last turn of each."
)


def _section(title: str, says: str, content: str) -> str:
    say = f'<p class="say">{says}</p>' if says else ""
    return f"<section><h2>{title}</h2>{say}{content}</section>\n"


# -- tiles: what it says at a glance


def _tiles(run: Run) -> str:
    ours, cpu = run.target(_OURS), FIGURES["cpu_us"]
    mine = None if ours is None else outcome(run, ours, cpu)
    if ours is None or not isinstance(mine, Value):
        return ""
    tiles: list[tuple[str, str]] = []
    if (beside := ratio(run, ours, cpu)) is not None:
        tiles.append((f"{ratio_text(beside)} &times;", f"Throughway's CPU a request beside {YARDSTICK}'s bare proxy"))
    for key, words in (("added_p50_us", "added to a lone caller's wait, p50"), ("added_p99_us", "the same, p99")):
        if isinstance(found := outcome(run, ours, FIGURES[key]), Value):
            tiles.append((f"{found.value:,.0f} \u00b5s", words))
    gateways = [target for target in run.targets if target.does != "proxies" and target.name not in {DIRECT, _OURS}]
    costs = [(found.value, one.name) for one in gateways if isinstance(found := outcome(run, one, cpu), Value)]
    tiles += [
        (f"1/{theirs / mine.value:,.0f}", f"of {escape(name)}'s CPU a request")
        for theirs, name in sorted(costs, reverse=True)
        if theirs >= 1.5 * mine.value
    ]
    return f'<div class="tiles">{"".join(f"<div class=tile><b>{big}</b><span>{small}</span></div>" for big, small in tiles[:_TILES])}</div>\n'


# -- plots


def _cpu_bars(run: Run) -> str:
    figure = FIGURES["cpu_us"]
    rows: list[svg.Bar] = []
    for target in run.targets:
        found = outcome(run, target, figure)
        if not isinstance(found, Value):
            continue
        beside = ratio(run, target, figure)
        text = f"{found.value:,.1f} \u00b5s" + (
            "" if beside is None or target.name == YARDSTICK else f"  \u00d7{ratio_text(beside)}"
        )
        samples = [value for turn in target.turns if (value := figure.of(turn, None)) is not None]
        rows.append(svg.Bar(target.name, _style(target), target.does, found.value, samples, text))
    if not rows:
        return "<p>No target has this figure.</p>"
    rows.sort(key=lambda row: row.value)
    low = min(min(row.values) for row in rows)
    axis = svg.log_axis(
        [low / 3, *(value for row in rows for value in row.values)], "microseconds a request, logarithmic"
    )
    return svg.bars(rows, axis, "CPU a request: " + ", ".join(f"{row.name} {row.text}" for row in rows))


def _tail_lines(run: Run, phase: str, label: str) -> str:
    series = []
    for target in _drawn(run):
        curve = pooled(target, phase)
        points = [
            (1 / (1 - share), value)
            for share, value in zip(SHARES, curve, strict=False)
            if share <= _TAIL and value is not None and value > 0
        ]
        series.append(svg.Line(target.name, _style(target), points))
    values = [y for line in series for _, y in line.points]
    return svg.lines(
        series,
        svg.tail_axis("share of requests answered within"),
        svg.log_axis(values, "\u00b5s"),
        label,
    )


def _steps_lines(run: Run, share: float, name: str) -> str:
    series = []
    for target in _drawn(run):
        points = [point for phase in _steps(target) if (point := _step(target, phase, share)) is not None]
        series.append(svg.Line(target.name, _style(target), points, dots=True))
    points = [point for line in series for point in line.points]
    return svg.lines(
        series,
        svg.log_axis([x for x, _ in points], "requests/s"),
        svg.log_axis([y for _, y in points], f"{name}, \u00b5s"),
        f"Requests a second against {name}",
        width=620,
        height=480,
    )


def _steps(target: Target) -> list[str]:
    """Phases of growing width, as the turns went through them."""
    loads = target.turns[0].loads if target.turns else {}
    return [phase for phase, load in loads.items() if load.scenario == "chat" and load.offered_per_s is None]


def _step(target: Target, phase: str, share: float) -> svg.Point | None:
    loads = loads_of(target, phase)
    latencies = [value for load in loads if (value := load.at(share)) is not None and value > 0]
    if not loads or len(latencies) < len(loads):
        return None
    return _middle([load.requests / load.duration_s for load in loads]), _middle(latencies)


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _memory_lines(run: Run) -> str:
    series = []
    for target in _drawn(run):
        points = [(one.at_s, one.size_bytes / MIB) for one in target.turns[-1].memory] if target.turns else []
        if points:
            series.append(svg.Line(target.name, _style(target), points))
    points = [point for line in series for point in line.points]
    if not points:
        return "<p>No target has this figure.</p>"
    longest = max(x for x, _ in points)
    return svg.lines(
        series,
        svg.time_axis(longest, "since its start"),
        svg.log_axis([y for _, y in points], "MiB"),
        "Memory over a turn",
    )


def _drawn(run: Run) -> list[Target]:
    """Ours last, and so above all others."""
    return sorted(run.targets, key=lambda target: target.name == _OURS)


def _style(target: Target) -> str:
    return f"c-{target.name}" if target.name in _COLOURS else ""


# -- the rest


def _table(run: Run, group: Sequence[Figure]) -> str:
    titles = [figure.title.replace(" us", " \u00b5s", 1) for figure in group]
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    rows = "".join(
        _row(run, target, group)
        for target in run.targets
        if any(outcome(run, target, figure) is not None for figure in group)
    )
    return f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(run: Run, target: Target, group: Sequence[Figure]) -> str:
    features = "; ".join(target.features)
    name = f"<td><b>{escape(target.name)}</b> {escape(target.version)}<small>{escape(features)}</small></td>"
    cells = "".join(f"<td>{_cell(run, target, figure)}</td>" for figure in group)
    return f'<tr class="{_style(target)}">{name}{cells}</tr>'


def _cell(run: Run, target: Target, figure: Figure) -> str:
    found = outcome(run, target, figure)
    text = cell(found, figure.places)
    if isinstance(found, Failed):
        return f'<span title="{escape(found.reason)}">failed</span>'
    if not isinstance(found, Value):
        return text
    span = f"{found.low:,.{figure.places}f}..{found.high:,.{figure.places}f}"
    beside = None if target.name in {YARDSTICK, DIRECT} else ratio(run, target, figure)
    return f"{text}<small>{span}</small>" + ("" if beside is None else f"<small>&times;{ratio_text(beside)}</small>")


def _method(run: Run) -> str:
    items = [f"{target.name} failed: {fault}" for target in run.targets for fault in faults(target)]
    items += [f"{one.name} left out: {one.reason}" for one in run.skipped]
    listed = f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""
    return (
        f"<p>{escape(conditions(run))}</p>"
        "<p>CPU is read from /proc once the target has come to rest. Added latency is a quantile through the target minus the same "
        "quantile direct, in the same round. A latency is given where at least one request lies beyond it. Figures compare what "
        "stood on one machine at one time; they promise nothing.</p>"
        f"{listed}"
    )
