"""The report for a terminal: it fits 100 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.compare.figures import DIRECT, FIGURES, YARDSTICK, Failed, Outcome, Value, faults, outcome, ratio
from bench.compare.samples import Run, Target

COLUMNS: Final = 100

_COST: Final = ("cpu_us", "event_cpu_us", "requests_per_s", "busy_percent", "idle_mib", "start_ms")
_LATENCY: Final = ("added_p50_us", "added_p99_us", "added_p999_us")


def render(run: Run) -> Group:
    """Tables, then what each target does, what failed, what was left out, and how it was measured."""
    return Group(*_parts(run))


def _parts(run: Run) -> Iterator[RenderableType]:
    yield _table(run, "What it costs", _COST, ratio_of="cpu_us")
    yield _table(run, "What it adds to a lone caller's wait", _LATENCY, ratio_of="added_p50_us")
    yield Text("What was on", style="bold")
    for target in run.targets:
        yield Padding(
            Text(f"{' '.join(filter(None, (target.name, target.version)))}: {'; '.join(target.features)}"), (0, 0, 0, 2)
        )
    for target in run.targets:
        for fault in faults(target):
            yield Text(f"{target.name} failed: {fault}", style="red")
    for one in run.skipped:
        yield Text(f"{one.name} left out: {one.reason}", style="yellow")
    yield Text(f"\n{conditions(run)}", style="dim")


def _table(run: Run, title: str, keys: tuple[str, ...], ratio_of: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("does", no_wrap=True)
    for key in keys:
        table.add_column(FIGURES[key].short, justify="right", no_wrap=True)
        if key == ratio_of:
            table.add_column(f"x {YARDSTICK}", justify="right", no_wrap=True)
    for target in run.targets:
        if target.name == DIRECT and keys == _LATENCY:
            continue
        table.add_row(*_row(run, target, keys, ratio_of), style="bold" if target.name == "throughway" else "")
    return table


def _row(run: Run, target: Target, keys: tuple[str, ...], ratio_of: str) -> Iterator[str]:
    yield target.name
    yield target.does
    for key in keys:
        yield cell(outcome(run, target, FIGURES[key]), FIGURES[key].places)
        if key == ratio_of:
            yield ratio_text(ratio(run, target, FIGURES[key]))


def cell(found: Outcome, places: int) -> str:
    """A figure, `failed`, or a dash where there is none."""
    match found:
        case Value(value=value):
            return f"{value:,.{places}f}"
        case Failed():
            return "failed"
        case None:
            return "-"


def ratio_text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 20 else f"{value:.2f}"


def conditions(run: Run) -> str:
    """How and where it was measured, in a few sentences."""
    how, machine = run.conditions, run.machine
    return (
        f"Medians of {how.rounds} round{'s' * (how.rounds != 1)}; phases of {how.seconds} s; "
        f"full load is {how.connections} connections. "
        f"Each target afresh and alone on core {how.target_core}, load and upstream on {_cores(how.other_cores)}. "
        f"{machine.cores} cores of {machine.cpu}, Linux {machine.kernel}, {machine.load}; "
        f"load average before the run {how.busy_before:.1f}."
    )


def _cores(cores: tuple[int, ...]) -> str:
    return f"core{'s' * (len(cores) != 1)} {', '.join(map(str, cores))}"
