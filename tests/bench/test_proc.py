from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from bench.errors import BenchError
from bench.proc import Stat, all_stats, cpu_s, family, parse_stat

TAIL = "S 4214 4214 4214 0 -1 4194560 26540 0 7 0 274 31 11 5 20 0 3 0 758231 214515712 16890 18446744073709551615"


@pytest.mark.parametrize(
    "command", ["python", "nginx: worker", "a) b (c", ") S 1 1 1"], ids=["plain", "spaces", "parentheses", "a forgery"]
)
def test_a_stat_line_is_read_whatever_the_command_is_called(command: str) -> None:
    assert parse_stat(f"4215 ({command}) {TAIL}\n") == Stat(pid=4215, parent=4214, cpu_ticks=274 + 31)


def test_a_family_is_the_process_and_all_below_it_parents_first() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 10, 13: 12, 20: 1, 21: 20}
    assert family(10, [Stat(pid, parent, 0) for pid, parent in parents.items()]) == [10, 11, 12, 13]


def test_a_process_without_children_is_a_family() -> None:
    assert family(7, []) == [7]


def test_a_child_is_found_and_its_work_is_counted() -> None:
    code = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert child.pid in family(os.getpid(), all_stats())
        assert cpu_s([child.pid]) >= 0.19  # of a resolution of 10 ms
        child.communicate(b"\n")


def test_our_own_cpu_time_is_that_of_the_clock() -> None:
    before_s, clock_s = cpu_s([os.getpid()]), time.process_time()
    while time.process_time() < clock_s + 0.1:
        pass
    assert cpu_s([os.getpid()]) - before_s == pytest.approx(0.1, abs=0.05)


def test_a_process_that_has_ended_is_an_error() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    with pytest.raises(BenchError, match=f"process {ended.pid} ended while it was measured"):
        cpu_s([ended.pid])
