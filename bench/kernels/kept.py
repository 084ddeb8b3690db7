"""`python -m bench budgets`: measures kernels and a request's parts, and says which keep to their budgets."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import budgets
from bench.budgets import Figures, Kind, Measure
from bench.kernels import counts, ratios
from bench.ledger import parts

EXIT_OVER_BUDGET = 1


def main(*, update: bool, console: Console, errors: Console, file: Path = budgets.FILE) -> int:
    """The exit code."""
    breached = False
    text = file.read_text() if file.exists() else ""
    kinds: dict[Kind, Measure] = {
        budgets.instructions_of(counts.fingerprint()): counts.instructions,
        budgets.RATIOS: ratios.ratios,
        budgets.request_of(counts.fingerprint()): parts.whole,
        budgets.ledger_of(counts.fingerprint()): parts.parts,
    }
    for kind, measure in kinds.items():
        if update:
            figures = budgets.settled(measure)
            console.print(table(kind, figures, text))
            file.write_text(text := budgets.updated(text, kind, figures))
            continue
        figures, breaches = budgets.check(kind, measure, text, file)
        console.print(table(kind, figures, text))
        if not budgets.section(text, kind):
            errors.print(
                f"no budgets for [{kind.section}]: python -m bench budgets --update", markup=False, soft_wrap=True
            )
            continue
        for name in budgets.missing(kind, figures, text):
            errors.print(f"{name}: measured or budgeted, not both", style="red", markup=False, soft_wrap=True)
            breached = True
        for breach in breaches:
            errors.print(f"over budget: {breach}", style="red", markup=False, soft_wrap=True)
            breached = True
    return EXIT_OVER_BUDGET if breached else 0


def table(kind: Kind, figures: Figures, text: str) -> Table:
    shown = Table(kind.section.partition(".")[0], kind.unit, "budget", "off")
    known = budgets.section(text, kind)
    for name, figure in figures.items():
        budget = known.get(name)
        shown.add_row(
            name,
            f"{figure:,}",
            "" if budget is None else f"{budget:,}",
            "" if budget is None else f"{100 * (figure / budget - 1):+.1f} %",
        )
    return shown
