"""A child's process as its supervisor holds it: one that it started itself, or one that it took over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from typing import Literal, Protocol

from gateway.supervisor._child import Boot, run_child

StartMethod = Literal["fork", "spawn"]

EXIT_UNKNOWN = 255
"""Of a process that somebody else has reaped."""


class Process(Protocol):
    """What the loop needs of it; none of this waits."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None:
        """Its exit code once it has ended (and is reaped by that); negative: the signal that ended it."""

    def forget(self) -> None:
        """After its end: frees what was held for it."""


class Started:
    """A process that this supervisor starts. Raises OSError where none can be had."""

    def __init__(self, method: StartMethod, name: str, boot: Boot) -> None:
        if method == "fork":
            self._process = multiprocessing.get_context("fork").Process(target=run_child, args=(boot,), name=name)
        else:
            self._process = multiprocessing.get_context("spawn").Process(  # type: ignore[assignment]
                target=run_child, args=(boot,), name=name
            )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def forget(self) -> None:
        self._process.close()


class TakenOver:
    """A process that this supervisor's program started before it replaced itself: it is its child still."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self._code = EXIT_UNKNOWN
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def forget(self) -> None:
        pass


def end_now(process: Process) -> None:
    """Kills it and waits for that: only for a loop that has failed itself."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
        while process.poll() is None:
            time.sleep(0.01)
