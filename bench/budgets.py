"""What kernels and the parts of a request may cost: `budgets.toml`, and whether they keep to it.

Two kinds of figure, neither of them a time. Instructions that a kernel takes, counted by callgrind (`bench.kernels.counts`): exact,
but of one compiler and Python, so there is a table for each `fingerprint`. Ratios to a library in the same run
(`bench.kernels.ratios`): the kernel is at least so many times faster, on any machine.

A figure that breaks its budget is measured again, up to `TRIES` times; only if it does so each time, it is a breach. A breach names the
commit that last moved the budget. `update` moves only those that are off by more than noise, so that this commit stays the right one.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

FILE = Path(__file__).parent / "budgets.toml"
TRIES = 3

Figures = Mapping[str, float]
Measure = Callable[[Iterable[str] | None], Figures]
"""Of these names, or of all."""


@dataclass(frozen=True)
class Kind:
    """A kind of figure: how much worse than its budget it may be, how much it may be off before an update moves it."""

    section: str
    unit: str
    gate: float
    noise: float
    more_is_better: bool = False

    def breaks(self, figure: float, budget: float) -> bool:
        return figure < budget * (1 - self.gate) if self.more_is_better else figure > budget * (1 + self.gate)


RATIOS = Kind("ratios", "times as fast", gate=0.15, noise=0.08, more_is_better=True)


def instructions_of(fingerprint: str) -> Kind:
    return Kind(f'instructions."{fingerprint}"', "instructions", gate=0.03, noise=0.005)


def request_of(fingerprint: str) -> Kind:
    """Of a whole governed request without sockets."""
    return Kind(f'request."{fingerprint}"', "instructions", gate=0.03, noise=0.005)


def ledger_of(fingerprint: str) -> Kind:
    """Of its parts: small ones take turns in who pays for what is done once in a while, such as a new date."""
    return Kind(f'ledger."{fingerprint}"', "instructions", gate=0.06, noise=0.02)


@dataclass(frozen=True)
class Breach:
    kind: Kind
    name: str
    figure: float
    budget: float
    moved_by: str

    def __str__(self) -> str:
        off = f"{100 * abs(self.figure / self.budget - 1):.1f} % {'below' if self.kind.more_is_better else 'above'}"
        return (
            f"{self.name}: {self.figure:,} {self.kind.unit}, {off} the budget of {self.budget:,} "
            f"(gate {100 * self.kind.gate:g} %), which was last moved by {self.moved_by}"
        )


def section(text: str, kind: Kind) -> dict[str, float]:
    """The budgets of a kind; empty where the file holds none."""
    table = tomllib.loads(text)
    for key in re.findall(r'"([^"]+)"|(\w+)', kind.section):
        table = table.get(key[0] or key[1], {})
    return table


def check(kind: Kind, measure: Measure, text: str, file: Path = FILE) -> tuple[dict[str, float], list[Breach]]:
    """The figures, the best of each that was measured more than once, and what breaks its budget in every try.

    A figure without a budget breaks none: `missing` tells of it.
    """
    budgets = section(text, kind)
    figures = dict(measure(None))
    for _ in range(TRIES - 1):
        worse = [name for name, figure in figures.items() if name in budgets and kind.breaks(figure, budgets[name])]
        if not worse:
            break
        better = max if kind.more_is_better else min
        figures.update({name: better(figures[name], again) for name, again in measure(worse).items()})
    return figures, [
        Breach(kind, name, figure, budgets[name], moved_by(kind, name, text, file))
        for name, figure in figures.items()
        if name in budgets and kind.breaks(figure, budgets[name])
    ]


def settled(measure: Measure) -> dict[str, float]:
    """What an update writes: medians of so many tries, so that one lucky figure does not become a promise."""
    tries = [measure(None) for _ in range(TRIES)]
    return {name: median(figures[name] for figures in tries) for name in tries[0]}


def missing(kind: Kind, figures: Figures, text: str) -> list[str]:
    """What is measured and has no budget, and what has one and is not measured."""
    return sorted(figures.keys() ^ section(text, kind).keys())


def updated(text: str, kind: Kind, figures: Figures) -> str:
    """The file with the figures as budgets: those within the noise of theirs keep it, others of the section go."""
    budgets = section(text, kind)
    lines = [
        f'"{name}" = {figure if off(figure, budgets.get(name)) > kind.noise else budgets[name]}'
        for name, figure in figures.items()
    ]
    kept = text.splitlines()
    header = f"[{kind.section}]"
    if header not in kept:
        return "\n".join([*kept, "", header, *lines]) + "\n"
    first = kept.index(header) + 1
    last = next((at for at in range(first, len(kept)) if not kept[at].startswith('"')), len(kept))
    return "\n".join([*kept[:first], *lines, *kept[last:]]) + "\n"


def off(figure: float, budget: float | None) -> float:
    return float("inf") if not budget else abs(figure / budget - 1)


def line_of(kind: Kind, name: str, text: str) -> int:
    """Its number, from 1."""
    lines = text.splitlines()
    first = lines.index(f"[{kind.section}]")
    return next(at for at in range(first, len(lines)) if lines[at].startswith(f'"{name}"')) + 1


def moved_by(kind: Kind, name: str, text: str, file: Path) -> str:
    """The commit that wrote a budget's line, in words."""
    line = line_of(kind, name, text)
    done = subprocess.run(
        ["git", "blame", "--porcelain", "-L", f"{line},{line}", "--", file.name],
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"nobody knows whom ({done.stderr.strip() or 'git blame failed'})"
    commit = done.stdout.split(maxsplit=1)[0]
    if not commit.strip("0"):
        return "a change that is not committed"
    summary = re.search(r"^summary (.*)$", done.stdout, re.MULTILINE)
    return f"{commit[:12]} ({summary[1] if summary else 'no summary'})"
