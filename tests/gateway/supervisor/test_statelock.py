from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.supervisor import StartError, StateDirInUseError, StateLock


def test_the_file_names_the_holder_while_it_holds(tmp_path: Path) -> None:
    pid_file = tmp_path / "state" / "run" / "supervisor.pid"
    with StateLock(tmp_path / "state"):
        assert pid_file.read_text() == f"{os.getpid()}\n"
    assert pid_file.read_text() == ""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with StateLock(tmp_path):
        with pytest.raises(StateDirInUseError, match=f"is in use by pid {os.getpid()}: stop that supervisor"):
            StateLock(tmp_path)
        assert (tmp_path / "run" / "supervisor.pid").read_text() == f"{os.getpid()}\n"
    StateLock(tmp_path).release()


def test_the_number_of_a_dead_supervisor_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "supervisor.pid").write_text("4194303999\n")
    with StateLock(tmp_path):
        assert (tmp_path / "run" / "supervisor.pid").read_text() == f"{os.getpid()}\n"


def test_a_directory_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be used: Not a directory; mend it or name another"):
        StateLock(tmp_path / "file")


def test_whoever_asks_learns_the_holder_and_keeps_nobody_out(tmp_path: Path) -> None:
    assert StateLock.holder(tmp_path) is None
    with StateLock(tmp_path):
        assert StateLock.holder(tmp_path) == os.getpid()
    assert StateLock.holder(tmp_path) is None
    StateLock(tmp_path).release()


def test_a_lock_is_held_by_whoever_has_its_descriptor(tmp_path: Path) -> None:
    first = StateLock(tmp_path)
    taken_over = StateLock(tmp_path, os.dup(first.fileno()))
    first.close()
    with pytest.raises(StateDirInUseError):
        StateLock(tmp_path)
    taken_over.release()
    assert (tmp_path / "run" / "supervisor.pid").read_text() == ""
    StateLock(tmp_path).release()
