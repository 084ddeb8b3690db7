"""A cost is contended only where a rival worked beside us, and both are counted."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from _fastpath.bucket import Table
from _fastpath.shm import NodeMemory
from bench.errors import BenchError
from bench.kernels import bucket, contended
from bench.kernels.contended import Window, chosen
from bench.kernels.native import loops

GOOD = Window(ours=700, rivals=300, cpu_s=0.00095, wall_s=0.001)
TURNS = Window(ours=500, rivals=500, cpu_s=0.0005, wall_s=0.001)  # as on one core
ALONE = Window(ours=1_000, rivals=0, cpu_s=0.001, wall_s=0.001)
LAZY = Window(ours=760, rivals=240, cpu_s=0.001, wall_s=0.001)

needs_two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="two work at the same time"
)


def test_only_windows_in_which_both_worked_at_the_same_time_count() -> None:
    assert [window.counts for window in (GOOD, TURNS, ALONE, LAZY)] == [True, False, False, False]
    seen = chosen([ALONE, GOOD, TURNS, LAZY, GOOD, GOOD], 2)
    assert (seen.windows, seen.tried) == ([GOOD, GOOD], 5)
    assert seen.seconds == pytest.approx(0.00095 / 700)
    assert str(seen) == "1,400 of ours and 600 of the rival's (30%) on one row, in 2 windows of 5"


@pytest.mark.parametrize("window", [TURNS, ALONE, LAZY])
def test_without_a_rival_there_is_no_figure(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BenchError, match="not contended: of 6 windows 1 count, and 2 must; the rival's share was at most"
    ):
        chosen([GOOD, *[window] * 5], 2)


@needs_two_cores
def test_a_rival_is_counted_by_the_row_that_both_work_on() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "node")
        memory = NodeMemory.create(path, slots=bucket.SLOTS, limit_rows=64, metrics_bytes=1024)
        table = Table(memory, 0)
        plan = table.plan(bucket.scopes(1))
        cores = os.sched_getaffinity(0)
        with bucket.rival(path, table) as rivals:
            assert len(os.sched_getaffinity(0)) == 1
            run = bucket.contended_cases(plan)[0].runs["kernel"]
            seen = contended.measured(run, rivals, wanted=3)
        assert os.sched_getaffinity(0) == cores
        assert table.rows_used == 1
        ended = rivals()
        assert ended >= seen.rivals > 0
        assert loops.admit(plan, 1, 10) == 10  # ours are no money: they do not count as the rival's
        assert rivals() == ended


@needs_two_cores
def test_a_rival_on_another_row_is_no_rival() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "node")
        table = Table(NodeMemory.create(path, slots=bucket.SLOTS, limit_rows=64, metrics_bytes=1024), 0)
        with pytest.raises(BenchError, match="the rival works on another row"), bucket.rival(path, table):
            pytest.fail("it takes the first row of the table, and we have none")


@needs_two_cores
@pytest.mark.nightly
def test_a_contended_check_costs_at_most_200_ns() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = str(Path(folder) / "node")
        table = Table(NodeMemory.create(path, slots=bucket.SLOTS, limit_rows=64, metrics_bytes=1024), 0)
        check = bucket.contended_cases(table.plan(bucket.scopes(1)))[0]
        with bucket.rival(path, table) as rivals:
            seen = contended.measured(check.runs["kernel"], rivals, wanted=100)
        print(f"{seen.seconds * 1e9:.1f} ns: {seen}")
        assert check.reaches(check.figure(seen.seconds))
