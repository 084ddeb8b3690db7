"""One supervisor a state directory: a pid file with a lock that is held for life.

The lock is the truth, the number in the file only names the holder: a supervisor that was killed leaves the number and
no lock. Whoever can open the file can hold the lock in its place, so before the number is signalled the kernel is asked whether that
process is the one that holds it. The file is never removed, since a lock on a removed file keeps nobody out.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.base.files import PRIVATE, is_loose, make_private
from gateway.supervisor import _platform
from gateway.supervisor._errors import NoNodeError, StartError, StateDirInUseError


class StateLock:
    """Holds `state_dir` until `release`, or the end of the process. Take it before anything else there is touched.

    Raises:
        StateDirInUseError: another supervisor holds it.
        StartError: the directory cannot be written.
    """

    def __init__(self, state_dir: Path, inherited_fd: int | None = None) -> None:
        """With `inherited_fd` the lock is held already: by the program that this one has replaced."""
        self.run_dir = state_dir / "run"
        if inherited_fd is not None:
            self._file = os.fdopen(inherited_fd, "a+")
            return
        try:
            make_private(self.run_dir)
            if is_loose(self.run_dir) and self.run_dir.stat().st_uid == os.geteuid():
                self.run_dir.chmod(PRIVATE)  # all in it is ours: made by a version that let others look in
            self._file = _pid_file(state_dir).open("a+")  # "w" would empty the holder's
        except OSError as error:
            reason = error.strerror or str(error)
            raise StartError(f"state_dir {state_dir} cannot be used: {reason}; mend it or name another") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = self._read() or "unknown"
            self._file.close()
            raise StateDirInUseError(
                f"state_dir {state_dir} is in use by pid {holder}: stop that supervisor or name another state_dir"
            ) from error
        self._write(f"{os.getpid()}\n")

    @staticmethod
    def holder(state_dir: Path) -> int | None:
        """The pid of the supervisor that holds the directory; None where none does.

        Raises:
            OSError: the pid file cannot be read.
        """
        try:
            with _pid_file(state_dir).open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pid = int(file.read())
                    return pid if pid > 0 else None
        except (FileNotFoundError, ValueError):  # never started, or just starting
            pass
        return None

    @staticmethod
    def signal_holder(state_dir: Path, pid: int, number: int) -> None:
        """Signals the supervisor that holds the directory, and nobody else.

        Args:
            pid: what `holder` has answered.

        Raises:
            NoNodeError: it has ended, it is another user's, or another process than the one that holds the directory.
        """
        node = f"the node of {state_dir} (pid {pid})"
        try:
            if not _platform.signal_lock_holder(pid, number, _pid_file(state_dir)):
                raise NoNodeError(
                    f"{_pid_file(state_dir)} names pid {pid}, which is not the process that holds the directory: nothing was "
                    "signalled; find out who holds it (`fuser` names them)"
                )
        except PermissionError as error:
            raise NoNodeError(f"{node} runs as another user: use its account, or root") from error
        except ProcessLookupError as error:
            raise NoNodeError(f"{node} has just ended") from error

    def _read(self) -> str:
        self._file.seek(0)
        return self._file.read().strip()

    def _write(self, text: str) -> None:
        self._file.truncate(0)
        self._file.write(text)
        self._file.flush()

    def fileno(self) -> int:
        return self._file.fileno()

    def release(self) -> None:
        """The supervisor ends: the file names nobody, and the directory is free."""
        self._write("")
        self.close()

    def close(self) -> None:
        """Closes this process's descriptor only: in a forked child the supervisor's lock stays as it is."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _pid_file(state_dir: Path) -> Path:
    return state_dir / "run" / "supervisor.pid"
