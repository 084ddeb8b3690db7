"""Processes that use the limits and are killed at any instruction: `python -m tests.fastpath.bucket_killer PATH SECONDS SEED`.

Two are at work at a time; one after the other is killed at random, and its slot vacated as the supervisor does it. Each writes
what it got into memory of its own, after it got it and until before it gives it back: so none of it is more than was admitted.
Ends with an assertion where something is left behind, or more was admitted than may be; prints how many were killed, how many requests
were admitted, and how often each was refused.
"""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
import random
import signal
import sys
import time
import traceback
from typing import NoReturn

from _fastpath.bucket import ADMITTED, BUDGET, CONCURRENCY, REQUESTS, Plan, Scope, Table
from _fastpath.shm import NodeMemory

MINUTE_NS = 60 * 10**9
HOUR_NS = 60 * MINUTE_NS
WORKERS, OBSERVER, SLOTS = 2, 2, 3
PER_MINUTE = 30_000
BUDGET_NANO = 1_000_000
MOST_NANO = 500
PERIOD = 7
RATE = Scope(b"rate", requests_per_minute=PER_MINUTE)
ONE = Scope(b"one", concurrency=2)
MONEY = Scope(b"money", budget_nano_usd=BUDGET_NANO, period=PERIOD)
STUCK_NS = 2 * 10**9
BEGAN_NS = time.monotonic_ns()


class Noted(ctypes.Structure):
    """What a worker has seen; only it writes here, and whoever buries it."""

    _fields_ = (
        ("admitted", ctypes.c_int64),
        ("first_ns", ctypes.c_int64),
        ("last_ns", ctypes.c_int64),
        ("holds", ctypes.c_int64),
        ("spent", ctypes.c_int64),
        ("turns", ctypes.c_int64),
        ("both_hold", ctypes.c_int64),
        ("refused", ctypes.c_int64 * 8),
    )


def work(table: Table, mine: Noted, other: Noted, chance: random.Random) -> NoReturn:
    """Until it is killed: a request of the rate, one that holds the place that is left, one that spends, and rows that change hands."""
    rate, one, money = table.plan([RATE]), table.plan([ONE, RATE]), table.plan([MONEY])
    while True:
        mine.turns += 1
        outcome = rate.admit(0, 0)
        mine.refused[outcome] += 1
        if outcome == ADMITTED:
            note(mine, rate)
            rate.settle(0, 0, 0, 0)
        outcome = one.admit(0, 0)
        mine.refused[outcome] += 1
        if outcome == ADMITTED:
            note(mine, one)
            mine.holds = 1
            mine.both_hold += other.holds
            mine.holds = 0
            one.settle(0, 0, 0, 0)
        reserved = chance.randrange(MOST_NANO)
        outcome = money.admit(0, reserved)
        mine.refused[outcome] += 1
        if outcome == ADMITTED:
            spent = chance.randrange(reserved + 1)
            mine.spent += spent
            money.settle(0, 0, reserved, spent)
        if chance.random() < 0.5:
            churn(table, chance)


def note(mine: Noted, plan: Plan) -> None:
    mine.admitted += 1
    mine.first_ns = mine.first_ns or plan.clock_ns
    mine.last_ns = plan.clock_ns


def fast_clock_ns() -> int:
    return 10 * HOUR_NS + (time.monotonic_ns() - BEGAN_NS) * 10**6


def churn(table: Table, chance: random.Random) -> None:
    """Rows are taken and left, by a clock on which a millisecond is a quarter of an hour."""
    now_ns = fast_clock_ns()
    try:
        plan = table.plan_at(now_ns, [Scope(b"%d" % chance.randrange(30), concurrency=1)])
    except RuntimeError:  # others hold them all
        return
    if plan.admit_at(now_ns, 0, 0) == ADMITTED:
        plan.settle(0, 0, 0, 0)


def start(table: Table, noted: ctypes.Array[Noted], slot: int, seed: int) -> int:
    process = os.fork()
    if process == 0:
        try:
            work(table, noted[slot], noted[1 - slot], random.Random(seed))
        except BaseException:  # told by whoever waits for it
            traceback.print_exc()
        finally:
            os._exit(1)
    return process


def main(path: str, seconds: float, seed: int) -> None:
    chance = random.Random(seed)
    memory = NodeMemory.attach(path)
    tables = [Table(memory, slot) for slot in range(SLOTS)]
    noted = (Noted * WORKERS).from_buffer(mmap.mmap(-1, ctypes.sizeof(Noted) * WORKERS))
    keep = tables[OBSERVER].plan([RATE, ONE, MONEY])  # in flight all the time: the rows stay, and one place is left
    assert keep.admit(0, 0) == ADMITTED
    until = time.monotonic() + seconds
    kills = 0
    processes = {slot: start(tables[slot], noted, slot, chance.getrandbits(32)) for slot in range(WORKERS)}
    atexit.register(kill_all, processes)
    while time.monotonic() < until:
        slot = chance.randrange(WORKERS)
        time.sleep(chance.random() ** 2 * 0.01)
        bury(memory, processes.pop(slot), noted, slot)
        kills += 1
        assert_nothing_is_left(tables[OBSERVER], noted, 1 - slot)
        processes[slot] = start(tables[slot], noted, slot, chance.getrandbits(32))
    for slot in range(WORKERS):
        bury(memory, processes.pop(slot), noted, slot)
    table = tables[OBSERVER]
    assert (table.in_flight(b"rate"), table.in_flight(b"one")) == (1, 1)
    assert not any(table.in_flight(b"%d" % i) for i in range(30))
    spent, noted_spent = table.spent(b"money", PERIOD), sum(one.spent for one in noted)
    assert noted_spent - MOST_NANO * (kills + WORKERS) <= spent <= min(noted_spent, BUDGET_NANO)
    assert table.plan([MONEY]).budget_left() == BUDGET_NANO - spent
    assert not any(one.both_hold for one in noted), "two held the place that was left"
    admitted = 1 + sum(one.admitted for one in noted)
    elapsed_ns = max(one.last_ns for one in noted) - min(
        keep.clock_ns, *(one.first_ns for one in noted if one.first_ns)
    )
    assert MINUTE_NS * (admitted - PER_MINUTE - 1) <= PER_MINUTE * elapsed_ns, (admitted, elapsed_ns)
    refused = [sum(one.refused[why] for one in noted) for why in (REQUESTS, CONCURRENCY, BUDGET)]
    print(kills, admitted, *refused)


def kill_all(processes: dict[int, int]) -> None:
    """Those that are not buried, where an assertion fails: one that lives on would hold the pipe that the test reads from."""
    for process in processes.values():
        os.kill(process, signal.SIGKILL)


def bury(memory: NodeMemory, process: int, noted: ctypes.Array[Noted], slot: int) -> None:
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status), f"a worker ended by itself: {status}"
    noted[slot].holds = 0  # its place is taken until it is vacated
    memory.vacate(slot)


def assert_nothing_is_left(table: Table, noted: ctypes.Array[Noted], living: int) -> None:
    """The others go on, locks are free, and the place is not held by the dead."""
    turns, began_ns = noted[living].turns, time.monotonic_ns()
    assert table.in_flight(b"rate") <= 3
    assert table.in_flight(b"one") <= 3  # one of them to be taken back
    while noted[living].turns < turns + 2:
        assert time.monotonic_ns() < began_ns + STUCK_NS, "the other one hangs"
        time.sleep(0.0002)
    while True:
        try:
            table.plan_at(fast_clock_ns(), [Scope(b"fresh/%d" % turns)])
        except RuntimeError:
            assert time.monotonic_ns() < began_ns + STUCK_NS, "no row can be taken"
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
