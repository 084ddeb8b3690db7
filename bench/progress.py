"""A bar for what takes a while. On a console that is no terminal nothing is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def steps(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A bar of so many steps.

    Yields:
        To be called in a few words as each step begins.
    """
    with _bar(console, MofNCompleteColumn()) as progress:
        task = progress.add_task("", total=total)
        begun = 0

        def on_step(what: str) -> None:
            nonlocal begun
            progress.update(task, completed=begun, description=what)
            begun += 1

        yield on_step


@contextmanager
def shares(console: Console) -> Iterator[Callable[[str, float], None]]:
    """A bar that starts anew with each thing that is done.

    Yields:
        To be called with what is done, and which share of it has been.
    """
    with _bar(console) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda what, share: progress.update(task, description=what, completed=share)


def _bar(console: Console, *count: MofNCompleteColumn) -> Progress:
    columns = (TextColumn("{task.description:<44}"), BarColumn(), *count, TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)
