"""What is left of a child that was stuck or crashed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.supervisor import RecentLines, _reports
from gateway.supervisor._reports import RECENT_BYTES, read_recent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "worker-0-1.recent"


def test_what_was_kept_is_read_in_order(file: Path) -> None:
    recent = RecentLines(file)
    assert read_recent(file) == b""
    recent.keep(b"one\n")
    recent.keep(b"two\nthree\n")
    assert read_recent(file) == b"one\ntwo\nthree\n"


@given(st.lists(st.integers(1, 2 * RECENT_BYTES), max_size=12))
def test_the_newest_whole_lines_are_kept_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    file = tmp_path_factory.getbasetemp() / "ring.recent"
    recent, logged = RecentLines(file), b""
    for number, size in enumerate(sizes):
        lines = b"".join(b"%d: line %d\n" % (number, at) for at in range(size // 12 + 1))
        recent.keep(lines)
        logged += lines
    found = read_recent(file)
    assert logged.endswith(found)
    assert len(found) > min(len(logged), RECENT_BYTES) - 30, "no more than one line is lost at the front"
    assert not found or len(logged) == len(found) or logged[-len(found) - 1 :].startswith(b"\n")


def test_a_killed_process_has_left_its_lines(file: Path) -> None:
    pid = os.fork()
    if pid == 0:
        RecentLines(file).keep(b"the last one\n")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert read_recent(file) == b"the last one\n"


def test_a_file_that_was_not_finished_holds_nothing(file: Path) -> None:
    file.write_bytes(b"\0" * 100)
    assert read_recent(file) == b""
    assert read_recent(file.with_name("none")) == b""


def collect(run_dir: Path, generation: int = 1, *, asked: bool = False) -> Path | None:
    return _reports.collect(run_dir, "worker-0", generation, {"pid": 7}, asked=asked)


def test_a_report_has_facts_stacks_and_lines_and_the_live_files_go(tmp_path: Path) -> None:
    _reports.stack_file(tmp_path, "worker-0", 1).write_text("Fatal Python error: Aborted\n")
    RecentLines(_reports.recent_file(tmp_path, "worker-0", 1)).keep(b'{"event":"last"}\n')
    report = collect(tmp_path)
    assert report is not None
    text = report.read_text()
    assert [part in text for part in ("pid: 7", "Fatal Python error", '{"event":"last"}')] == [True] * 3
    assert report.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [report]


def test_an_orderly_end_leaves_nothing(tmp_path: Path) -> None:
    _reports.stack_file(tmp_path, "worker-0", 1).touch()
    RecentLines(_reports.recent_file(tmp_path, "worker-0", 1))
    assert collect(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_who_was_asked_for_its_stacks_and_left_none_gets_a_report_all_the_same(tmp_path: Path) -> None:
    report = collect(tmp_path, asked=True)
    assert report is not None
    assert "did not answer SIGABRT" in report.read_text()


def test_only_the_newest_reports_are_kept(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"report-20200101T0000{number:02}000Z-worker-0.txt").touch()
    report = collect(tmp_path, asked=True)
    kept = sorted(tmp_path.glob("report-*"))
    assert (len(kept), kept[-1], kept[0].name) == (_reports.KEPT, report, "report-20200101T000011000Z-worker-0.txt")


def test_what_a_killed_supervisor_left_is_cleared(tmp_path: Path) -> None:
    for name in ("worker-0-1.stack", "worker-0-1.recent", "report-20200101T000000000Z-worker-0.txt"):
        (tmp_path / name).touch()
    _reports.clear(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report-20200101T000000000Z-worker-0.txt"]
