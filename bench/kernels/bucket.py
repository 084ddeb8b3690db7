"""A check of limits: the kernel, alone and against another process that hammers the same bucket, beside a bucket in Python behind a lock.

    python -m bench.kernels.bucket [ROUNDS]

The bars hold for a check of one scope with its clock, and are the issue's: 60 ns alone, 200 ns contended.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from _fastpath.bucket import ADMITTED, Plan, Scope, Table
from _fastpath.shm import NodeMemory
from bench.errors import BenchError
from bench.kernels.contended import measured
from bench.kernels.frame import Case, called, rounds_asked_for, show
from bench.kernels.native import loops

SLOTS = 8
NS_ALONE, NS_CONTENDED = 60, 200
START_S = 30
BATCH = 200
"""Operations of the rival between two that are written down: some 10 us."""
WINDOWS = 20
"""In a round."""
FREE_ID = b"free/%d"
FREE = 10**12  # a minute: never refused, whatever is measured
SPAWN = multiprocessing.get_context("spawn")


class Locked:
    """The same for one scope, as it is written in Python: exact within one process."""

    def __init__(self, per_minute: int) -> None:
        self.lock = threading.Lock()
        self.each_ns = 60e9 / per_minute
        self.tat_ns = 0.0

    def admit(self) -> bool:
        now_ns = time.monotonic_ns()
        with self.lock:
            after = max(self.tat_ns, now_ns) + self.each_ns
            if after - now_ns > 60e9:
                return False
            self.tat_ns = after
            return True


def scopes(count: int, refused: bool = False) -> list[Scope]:
    free = [Scope(FREE_ID % i, FREE, FREE) for i in range(count - refused)]
    return [*free, Scope(b"none", requests_per_minute=0)] if refused else free


def hammer(path: str, core: int, parent: int, started: object, until: object) -> None:
    """Admits and settles in the first scope all the time. What it has done stands as money in the row itself."""
    os.sched_setaffinity(0, {core})
    plan = Table(NodeMemory.attach(path), SLOTS - 1).plan(scopes(1))
    started.set()  # type: ignore[attr-defined]
    while not until.is_set() and os.getppid() == parent:  # type: ignore[attr-defined]
        done = loops.admit(plan, 1, BATCH)
        done += plan.admit(1, 0) == ADMITTED
        plan.settle(1, 1, 0, done)


@contextmanager
def rival(path: str, table: Table) -> Iterator[Callable[[], int]]:
    """Another process on the first scope, each of us on a core of its own: how many operations it has done.

    Raises:
        BenchError: there is one core only, or the two work on different rows.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("a contended check needs two cores")
    rows = table.rows_used
    started, until = SPAWN.Event(), SPAWN.Event()
    process = SPAWN.Process(target=hammer, args=(path, cores[1], os.getpid(), started, until), daemon=True)
    process.start()
    os.sched_setaffinity(0, {cores[0]})
    try:
        if not started.wait(START_S):
            raise BenchError(f"the rival did not start within {START_S} s")
        if table.rows_used != rows:
            raise BenchError("the rival works on another row")
        yield lambda: table.spent(FREE_ID % 0, 0)
    finally:
        os.sched_setaffinity(0, cores)
        until.set()
        process.join()


def cases(plans: dict[int, Plan], refused: Plan) -> list[Case]:
    locked = called(Locked(FREE).admit)
    return [
        Case("the clock alone", {"kernel": loops.clock}),
        Case("a check of one scope", {"kernel": partial(loops.admit_alone, plans[1], 1), "lock": locked}, bar=NS_ALONE),
        Case("a check and its settlement", {"kernel": partial(loops.admit, plans[1], 1)}),
        Case("the same, three scopes", {"kernel": partial(loops.admit, plans[3], 1)}),
        Case("a refusal by the third of three", {"kernel": partial(loops.admit_alone, refused, 1)}),
    ]


def contended_cases(plan: Plan) -> list[Case]:
    return [
        Case("a check of one scope, contended", {"kernel": partial(loops.admit_alone, plan, 1)}, bar=NS_CONTENDED),
        Case("a check and its settlement, contended", {"kernel": partial(loops.admit, plan, 1)}),
    ]


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = f"{folder}/node"
        table = Table(NodeMemory.create(path, slots=SLOTS, limit_rows=64, metrics_bytes=1024), 0)
        plans = {count: table.plan(scopes(count)) for count in (1, 3)}
        show(cases(plans, table.plan(scopes(3, refused=True))), rounds)
        with rival(path, table) as rivals:
            shown = RichTable("case", "kernel", "bar", "operations meanwhile")
            for case in contended_cases(plans[1]):
                seen = measured(case.runs["kernel"], rivals, rounds * WINDOWS)
                shown.add_row(*case.held(seen.seconds), str(seen))
    Console(highlight=False).print(shown)


if __name__ == "__main__":
    try:
        main(rounds_asked_for())
    except BenchError as error:
        sys.exit(f"bench: {error}")
