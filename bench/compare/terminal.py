"""The report for a terminal: it fits 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench.compare.figures import GROUPS, YARDSTICK, Failed, Figure, Outcome, Value, faults, outcome, ratio
from bench.compare.samples import Run, Target

COLUMNS: Final = 100


def render(run: Run) -> Group:
    """Tables, then what each target does, what failed, what was left out, and how it was measured."""
    return Group(*_parts(run))


def _parts(run: Run) -> Iterator[RenderableType]:
    for title, group in GROUPS.items():
        yield _table(run, title, group)
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


def _table(run: Run, title: str, group: Sequence[Figure]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("does", no_wrap=True)
    for number, figure in enumerate(group):
        table.add_column(figure.short, justify="right", no_wrap=True)
        if number == 0:
            table.add_column(f"x {YARDSTICK}", justify="right", no_wrap=True)
    for target in run.targets:
        outcomes = [outcome(run, target, figure) for figure in group]
        if any(found is not None for found in outcomes):
            table.add_row(*_row(run, target, group, outcomes), style="bold" if target.name == "throughway" else "")
    return table


def _row(run: Run, target: Target, group: Sequence[Figure], outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield target.name
    yield target.does
    for number, (figure, found) in enumerate(zip(group, outcomes, strict=True)):
        yield cell(found, figure.places)
        if number == 0:
            yield ratio_text(ratio(run, target, figure))


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
