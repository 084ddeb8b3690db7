"""The ledger of a governed request: what each of its parts costs, in instructions without sockets.

    python -m bench.ledger [--json]

The parts (`bench.ledger.parts`) and what is left of the program's threads add up to the whole. `python -m bench budgets` holds them
against their budgets.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.errors import BenchError
from bench.ledger.parts import PARTS, REST, measured


def _rows(parts: dict[str, float]) -> Iterator[tuple[str, str, str, str]]:
    whats = {part.name: part.what for part in PARTS} | {REST: "the threads that write records and log, and the rest"}
    total = sum(parts.values())
    for name, cost in parts.items():
        yield name, f"{cost:,.0f}", f"{cost / total:.1%}", whats[name]


def render(parts: dict[str, float]) -> Table:
    table = Table(
        title="A governed chat completion, without sockets",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_footer=True,
    )
    total = sum(parts.values())
    table.add_column("part", footer="all")
    table.add_column("instructions", justify="right", footer=f"{total:,.0f}")
    table.add_column("share", justify="right")
    table.add_column("")
    for row in _rows(parts):
        table.add_row(*row)
    return table


def main(argv: list[str]) -> int:
    parts = measured()
    if "--json" in argv:
        print(json.dumps({name: round(cost) for name, cost in parts.items()}))
    else:
        Console(highlight=False).print(render(parts))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"bench: {error}")
