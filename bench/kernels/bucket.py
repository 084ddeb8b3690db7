"""A check of limits: the kernel, alone and against another process that hammers the same bucket, beside a bucket in Python behind a lock.

    python -m bench.kernels.bucket [ROUNDS]

The bars hold for a check of one scope with its clock, and are the issue's: 60 ns alone, 200 ns contended.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from _fastpath.bucket import Plan, Scope, Table
from _fastpath.shm import NodeMemory
from bench.kernels.frame import Case, called, rounds_asked_for, show
from bench.kernels.native import loops

SLOTS = 8
NS_ALONE, NS_CONTENDED = 60, 200
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
    free = [Scope(b"free/%d" % i, FREE, FREE) for i in range(count - refused)]
    return [*free, Scope(b"none", requests_per_minute=0)] if refused else free


def hammer(path: str, started: object, until: object) -> None:
    plan = Table(NodeMemory.attach(path), SLOTS - 1).plan(scopes(1))
    started.set()  # type: ignore[attr-defined]
    while not until.is_set():  # type: ignore[attr-defined]
        loops.admit(plan, 1, 20_000)


@contextmanager
def another_process(path: str) -> Iterator[None]:
    """Admits and settles in the first scope all the time."""
    started, until = SPAWN.Event(), SPAWN.Event()
    process = SPAWN.Process(target=hammer, args=(path, started, until))
    process.start()
    try:
        started.wait()
        yield
    finally:
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


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = f"{folder}/node"
        table = Table(NodeMemory.create(path, slots=SLOTS, limit_rows=64, metrics_bytes=1024), 0)
        plans = {count: table.plan(scopes(count)) for count in (1, 3)}
        show(cases(plans, table.plan(scopes(3, refused=True))), rounds)
        with another_process(path):
            check = Case(
                "a check of one scope, contended", {"kernel": partial(loops.admit_alone, plans[1], 1)}, bar=NS_CONTENDED
            )
            both = Case("a check and its settlement, contended", {"kernel": partial(loops.admit, plans[1], 1)})
            show([check, both], rounds)


if __name__ == "__main__":
    main(rounds_asked_for())
