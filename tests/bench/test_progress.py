"""The bar says what is done and how far it is."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from bench import progress


def console() -> Console:
    return Console(file=StringIO(), force_terminal=True, width=120)


def said(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_step_is_done_when_the_next_begins() -> None:
    out = console()
    with progress.steps(out, 2) as on_step:
        on_step("first")
        on_step("second")
    last = said(out).rindex("second")
    assert "1/2" in said(out)[last:]
    assert "2/2" not in said(out)


def test_a_share_belongs_to_what_is_done() -> None:
    out = console()
    with progress.shares(out) as on_progress:
        on_progress("connecting", 0.5)
        on_progress("measuring", 1.0)
    assert "measuring" in said(out)


def test_no_terminal_no_bar() -> None:
    out = Console(file=StringIO(), width=120)
    with progress.steps(out, 1) as on_step:
        on_step("first")
    assert said(out).strip() == ""
