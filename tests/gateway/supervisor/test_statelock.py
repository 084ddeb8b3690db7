from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.supervisor import NoNodeError, StartError, StateDirInUseError, StateLock, progress


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


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the node, and ends by any signal."""
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    yield process
    process.kill()
    process.wait()


def test_nobody_but_the_holder_is_signalled_whatever_the_file_says(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    with StateLock(tmp_path):
        (tmp_path / "run" / "supervisor.pid").write_text(f"{stranger.pid}\n")
        assert StateLock.holder(tmp_path) == stranger.pid
        with pytest.raises(NoNodeError, match=f"names pid {stranger.pid}, which is not the process that holds"):
            next(progress.restart([tmp_path]))
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.2)


def test_a_lock_that_somebody_else_holds_makes_no_dead_supervisor_alive(
    tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    StateLock(tmp_path).release()
    pid_file = tmp_path / "run" / "supervisor.pid"
    pid_file.write_text(f"{stranger.pid}\n")  # left by one that was killed; its number has been given again
    take = f"import fcntl; f = open({str(pid_file)!r}); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", take], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taker:
        assert taker.stdout is not None
        taker.stdout.readline()
        with pytest.raises(NoNodeError, match="is not the process that holds"):
            next(progress.restart([tmp_path]))
        taker.kill()
    assert stranger.poll() is None


def test_the_holder_is_signalled(tmp_path: Path) -> None:
    told = threading.Event()
    before = signal.signal(signal.SIGUSR2, lambda *_: told.set())
    try:
        with StateLock(tmp_path) as lock:
            pid = StateLock.holder(tmp_path)
            assert pid == os.getpid()
            StateLock.signal_holder(tmp_path, pid, signal.SIGUSR2)
            assert told.wait(5)
            taken_over = StateLock(tmp_path, os.dup(lock.fileno()))  # as behind a restart
            told.clear()
            StateLock.signal_holder(tmp_path, pid, signal.SIGUSR2)
            assert told.wait(5)
            taken_over.close()
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.parametrize("number", ["-1", "0", "", "rubbish"])
def test_a_number_that_is_no_process_names_nobody(tmp_path: Path, number: str) -> None:
    with StateLock(tmp_path):
        (tmp_path / "run" / "supervisor.pid").write_text(f"{number}\n")
        assert StateLock.holder(tmp_path) is None


def test_a_process_that_has_ended_is_told_apart(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with StateLock(tmp_path), pytest.raises(NoNodeError, match="has just ended"):
        StateLock.signal_holder(tmp_path, ended.pid, signal.SIGUSR2)


def test_the_directory_of_a_run_is_its_owners_alone_and_made_so_where_it_was_not(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    StateLock(state_dir).release()
    assert [stat.S_IMODE(each.stat().st_mode) for each in (state_dir, state_dir / "run")] == [0o700] * 2
    for each in (state_dir, state_dir / "run"):
        each.chmod(0o755)
    StateLock(state_dir).release()
    assert stat.S_IMODE((state_dir / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o755, "it may be meant: the node warns"
