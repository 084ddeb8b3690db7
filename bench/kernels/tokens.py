"""Counting tokens: the kernel beside tiktoken and, where it is installed, quicktok, in the same run.

    python -m bench.kernels.tokens [ROUNDS]

The counters take turns; a figure is the median of the rounds, CPU time of the thread. Each text is counted by all of them, and must
come out alike, or its line says so.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from _fastpath import tokens
from tests.support import texts
from tests.support.tiktokens import oracles

ROUNDS = 15
BYTES_A_TURN = 100_000
ENCODINGS = ("cl100k_base", "o200k_base")
TEXTS = {
    "chat, 240 bytes": texts.CHAT,
    "prose": texts.PROSE,
    "code": texts.CODE,
    "CJK": texts.CJK,
    "other scripts": texts.OTHER_SCRIPTS,
}

Count = Callable[[str], int]


def quicktok_counts() -> dict[str, Count]:
    """Nothing where quicktok is not installed; it is no dependency of ours."""
    try:
        quicktok = importlib.import_module("quicktok")
    except ImportError:
        return {}
    return {name: quicktok.get_encoding(name).count for name in ENCODINGS}


def seconds(count: Count, text: str, times: int) -> float:
    """CPU time of one count."""
    begun = time.thread_time()
    for _ in range(times):
        count(text)
    return (time.thread_time() - begun) / times


def measure(counters: dict[str, Count], text: str, rounds: int) -> dict[str, float]:
    """The median of each, in seconds."""
    times = max(1, BYTES_A_TURN // len(text.encode()))
    taken: dict[str, list[float]] = {name: [] for name in counters}
    for _ in range(rounds):
        for name, count in counters.items():
            taken[name].append(seconds(count, text, times))
    return {name: median(samples) for name, samples in taken.items()}


def row(encoding: str, kind: str, counters: dict[str, Count], rounds: int) -> list[str]:
    text = TEXTS[kind]
    size = len(text.encode())
    counted = {name: count(text) for name, count in counters.items()}
    medians = measure(counters, text, rounds)
    ours = medians.pop("kernel")
    beside = [f"{theirs / ours:.1f} x" for theirs in medians.values()]
    differing = [name for name in counted if counted[name] != counted["tiktoken"]]
    return [
        encoding,
        kind,
        f"{ours * 1e6:.2f} us" if size < 1_000 else f"{size / ours / 1e6:.0f} MB/s",
        *beside,
        f"differ: {', '.join(differing)}" if differing else str(counted["tiktoken"]),
    ]


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as cache:
        of_tiktoken = oracles(Path(cache), ENCODINGS)
    of_quicktok = quicktok_counts()
    table = Table(
        "encoding", "text", "kernel", "of tiktoken's speed", *(["of quicktok's"] if of_quicktok else []), "tokens"
    )
    for encoding in ENCODINGS:
        counters = {"kernel": tokens.get(encoding).count, "tiktoken": of_tiktoken[encoding]}
        if of_quicktok:
            counters["quicktok"] = of_quicktok[encoding]
        for kind in TEXTS:
            table.add_row(*row(encoding, kind, counters, rounds))
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
