"""Budgets of kernels: what breaks one, what an update moves, and that those of this tree are kept."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from bench import budgets
from bench.budgets import RATIOS, Breach, Figures, Kind
from bench.kernels import counts, kept, ratios
from bench.kernels.counted import KERNELS
from bench.ledger import parts

COUNTS = budgets.instructions_of("a machine, CPython 3.11")
TEXT = """\
# what it is

[instructions."a machine, CPython 3.11"]
"a" = 1000
"b" = 2000

[instructions."another"]
"a" = 7

[ratios]
"a, library" = 4.0
"""


class Measured:
    """Figures that come out of a list, try by try."""

    def __init__(self, *tries: Figures) -> None:
        self.tries = list(tries)
        self.asked: list[list[str] | None] = []

    def __call__(self, names: Iterable[str] | None = None) -> Figures:
        self.asked.append(None if names is None else list(names))
        return self.tries.pop(0)


def breaches(kind: Kind, measure: Measured, file: Path = Path("/nowhere/budgets.toml")) -> tuple[Figures, list[str]]:
    file = file if file.exists() else Path(__file__)
    figures, found = budgets.check(kind, measure, TEXT, file)
    return figures, [breach.name for breach in found]


def test_a_figure_within_the_gate_breaks_nothing() -> None:
    measure = Measured({"a": 1029, "b": 1000})
    assert breaches(COUNTS, measure) == ({"a": 1029, "b": 1000}, [])
    assert measure.asked == [None]
    assert breaches(RATIOS, Measured({"a, library": 3.41})) == ({"a, library": 3.41}, [])


def test_what_breaks_its_budget_is_measured_again_and_the_best_counts() -> None:
    measure = Measured({"a": 1100, "b": 2000}, {"a": 1031}, {"a": 1040})
    assert breaches(COUNTS, measure) == ({"a": 1031, "b": 2000}, ["a"])
    assert measure.asked == [None, ["a"], ["a"]]
    assert breaches(COUNTS, Measured({"a": 1100, "b": 2000}, {"a": 1001})) == ({"a": 1001, "b": 2000}, [])
    assert breaches(RATIOS, Measured({"a, library": 3.0}, {"a, library": 3.3}, {"a, library": 3.2}))[1] == [
        "a, library"
    ]
    assert breaches(RATIOS, Measured({"a, library": 3.0}, {"a, library": 3.3}, {"a, library": 3.5}))[1] == []


def test_a_figure_without_a_budget_is_told_and_so_is_a_budget_without_a_figure() -> None:
    assert budgets.missing(COUNTS, {"a": 1, "c": 1}, TEXT) == ["b", "c"]
    assert budgets.section(TEXT, budgets.instructions_of("unknown")) == {}


def test_an_update_moves_what_is_off_by_more_than_noise_and_leaves_all_else() -> None:
    moved = budgets.updated(TEXT, COUNTS, {"a": 1004, "b": 2100, "c": 3_000_000})
    assert moved == TEXT.replace('"b" = 2000', '"b" = 2100\n"c" = 3000000')
    assert budgets.updated(TEXT, COUNTS, {"b": 2000}) == TEXT.replace('"a" = 1000\n', "")
    assert budgets.updated(TEXT, RATIOS, {"a, library": 4.2}) == TEXT
    assert budgets.updated(TEXT, RATIOS, {"a, library": 5.25}) == TEXT.replace("4.0", "5.25")
    new = budgets.updated(TEXT, budgets.instructions_of("new"), {"a": 1})
    assert new == TEXT + '\n[instructions."new"]\n"a" = 1\n'


def test_one_lucky_figure_does_not_become_a_budget() -> None:
    assert budgets.settled(Measured({"a": 9.0}, {"a": 4.0}, {"a": 4.1})) == {"a": 4.1}


def git(folder: Path, *arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_breach_names_the_figure_the_budget_and_the_commit_that_moved_it(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    git(tmp_path, "init", "-q")
    for text, why in ((TEXT.replace("2000", "1900"), "The first budgets"), (TEXT, "B does more now")):
        file.write_text(text)
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", why)
    _, found = budgets.check(COUNTS, Measured(*[{"a": 1050, "b": 2200}] * 3), TEXT, file)
    said = [str(breach) for breach in found]
    assert said[0].startswith(
        "a: 1,050 instructions, 5.0 % above the budget of 1,000 (gate 3 %), which was last moved by "
    )
    assert [line.endswith(f"({why})") for line, why in zip(said, ("The first budgets", "B does more now"), strict=True)]
    file.write_text(TEXT.replace("1000", "999"))
    _, found = budgets.check(COUNTS, Measured(*[{"a": 1050}] * 3), file.read_text(), file)
    assert [breach.moved_by for breach in found] == ["a change that is not committed"]
    assert "nobody knows whom" in budgets.moved_by(COUNTS, "a", TEXT, Path("/budgets.toml"))
    assert "15.0 % below" in str(Breach(RATIOS, "r", 3.4, 4.0, "x"))


def test_every_kernel_and_every_ratio_has_a_budget() -> None:
    held = tomllib.loads(budgets.FILE.read_text())
    assert held["instructions"]
    for table in held["instructions"].values():
        assert table.keys() == KERNELS.keys()
    assert held["ratios"].keys() == ratios.pairs().keys()


def test_the_command_fails_over_a_breach_and_over_what_is_not_budgeted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "budgets.toml"
    monkeypatch.setattr(counts, "fingerprint", lambda: "a machine, CPython 3.11")
    console = Console(width=200)

    def run(counted: Figures, update: bool = False) -> tuple[int, str]:
        monkeypatch.setattr(counts, "instructions", Measured(*[counted] * 3))
        monkeypatch.setattr(ratios, "ratios", Measured(*[{"a, library": 4.0}] * 3))
        monkeypatch.setattr(parts, "whole", Measured(*[{"a request": 30}] * 3))
        monkeypatch.setattr(parts, "parts", Measured(*[{"admit": 10, "route": 20}] * 3))
        return kept.main(update=update, console=console, errors=console, file=file), capsys.readouterr().out

    file.write_text(TEXT)
    assert run({"a": 1000, "b": 2000})[0] == 0
    code, said = run({"a": 1000, "b": 2100})
    assert code == 1 and "over budget: b: 2,100 instructions, 5.0 % above" in said
    code, said = run({"a": 1000, "b": 2000, "c": 1})
    assert code == 1 and "c: measured or budgeted, not both" in said
    assert run({"a": 1000, "b": 2100, "c": 1}, update=True)[0] == 0
    assert run({"a": 1000, "b": 2100, "c": 1})[0] == 0
    monkeypatch.setattr(counts, "fingerprint", lambda: "unknown")
    code, said = run({"a": 1})
    assert code == 0 and 'no budgets for [instructions."unknown"]' in said


needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


@pytest.mark.nightly
@pytest.mark.timeout(600)
@needs_valgrind
def test_kernels_keep_to_their_budgets() -> None:
    console = Console(width=150)
    assert kept.main(update=False, console=console, errors=console) == 0


@pytest.mark.nightly
@pytest.mark.timeout(600)
@needs_valgrind
def test_five_percent_more_instructions_are_seen_in_each_kernel() -> None:
    now = counts.instructions()
    kind = budgets.instructions_of("now")
    text = budgets.updated("", kind, now)
    slowed = counts.instructions(waste={name: count // 20 for name, count in now.items()})
    _, found = budgets.check(kind, lambda names: slowed, text)
    assert [breach.name for breach in found] == [*KERNELS]
