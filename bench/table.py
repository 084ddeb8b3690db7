"""The report for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.figures import Comparison, Ratio, Report, Series, tree_cpu_us, worker_cpu_us


def render(report: Report) -> Group:
    """A table a scenario, then the machine."""
    return Group(*_parts(report))


def _parts(report: Report) -> Iterator[RenderableType]:
    for comparison in report.comparisons:
        yield _table(comparison)
        for series in comparison.others:
            yield Text(_sentence(comparison, series), style="bold")
            yield Text(f"  with {'; '.join(series.features)}\n")
    yield Text(conditions(report), style="dim")


def _sentence(comparison: Comparison, series: Series) -> str:
    worker, tree = (ratio_text(comparison.ratio(series, figure)) for figure in (worker_cpu_us, tree_cpu_us))
    return f"{series.target} costs {worker} x {comparison.yardstick.target}; with all its processes {tree}"


def _table(comparison: Comparison) -> Table:
    table = Table(
        title=f"\n{comparison.scenario}: {comparison.title}", title_justify="left", title_style="bold", box=SIMPLE_HEAD
    )
    table.add_column("CPU us a request")
    for name in ("worker", f"x {comparison.yardstick.target}", "all", "requests/s", "p50 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for series in comparison.series:
        table.add_row(*_row(comparison, series))
    return table


def _row(comparison: Comparison, series: Series) -> list[str]:
    yardstick = series is comparison.yardstick
    return [
        series.target,
        f"{series.median(worker_cpu_us):.1f}",
        "1" if yardstick else f"{comparison.ratio(series, worker_cpu_us).value:.2f}",
        f"{series.median(tree_cpu_us):.1f}",
        f"{series.median(lambda sample: sample.requests_per_s):,.0f}",
        f"{series.median(lambda sample: sample.p50_us) / 1e3:.2f}",
        f"{series.median(lambda sample: sample.p99_us) / 1e3:.2f}",
    ]


def ratio_text(ratio: Ratio) -> str:
    return f"{ratio.value:.2f} ({ratio.low:.2f}..{ratio.high:.2f})"


def conditions(report: Report) -> str:
    """One sentence on how and where it was measured."""
    machine = report.machine
    return (
        f"Medians of {report.rounds} round{'s' * (report.rounds != 1)} of {report.seconds} s, {report.connections} connections, "
        f"{machine.cores} core{'s' * (machine.cores != 1)} of {machine.cpu}, Linux {machine.kernel}, Python {machine.python}, "
        f"nginx {machine.nginx}, wrk {machine.wrk}."
    )
