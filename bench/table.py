"""The report for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

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
            ratio = comparison.ratio(series, worker_cpu_us)
            line = f"{series.target} costs {ratio_text(ratio)} x {comparison.yardstick.target}"
            yield Text(f"{line}, with {'; '.join(series.features)}.\n", style="bold")
    yield Text(conditions(report), style="dim")


def _table(comparison: Comparison) -> Table:
    table = Table(title=f"\n{comparison.scenario}: {comparison.title}", title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("worker CPU\nus a request", "x nginx\nlow..high", "all processes\nus a request", "x nginx\nlow..high"):
        table.add_column(name.replace("nginx", comparison.yardstick.target), justify="right")
    for name in ("\nrequests/s", "\np50 ms", "\np99 ms"):
        table.add_column(name, justify="right")
    for series in comparison.series:
        table.add_row(*_row(comparison, series))
    return table


def _row(comparison: Comparison, series: Series) -> list[str]:
    cells = [series.target]
    for figure in (worker_cpu_us, tree_cpu_us):
        yardstick = series is comparison.yardstick
        cells += [f"{series.median(figure):.1f}", "1" if yardstick else ratio_text(comparison.ratio(series, figure))]
    cells.append(f"{series.median(lambda sample: sample.requests_per_s):,.0f}")
    cells.append(f"{series.median(lambda sample: sample.p50_us) / 1e3:.2f}")
    cells.append(f"{series.median(lambda sample: sample.p99_us) / 1e3:.2f}")
    return cells


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
