"""Signals as bytes in a socket: the handlers do nothing, the interpreter writes the number, the loop reads it.

Rules:
- Only the supervisor reads the socket, and a child must never write to it. A child forked while a terminal's SIGINT is
  under way would tell the supervisor of a second one, which means "kill all". So the signals are masked while a child
  is started, and the child takes off the mask only when it has its own dispositions (`become_child`).
- They are masked too while the supervisor's program is replaced, which resets its handlers: what comes meanwhile waits, and
  the new program takes it when its inbox stands.
- SIGCHLD says that some child has ended, and the loop asks each. Children's sentinels (pipes) would stay silent as long
  as a grandchild holds them open.
"""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
RESTART_SIGNAL = signal.SIGUSR2
RETIRE_SIGNAL = signal.SIGUSR1
"""To a child whose successor serves."""
HANDLED = STOP_SIGNALS | {signal.SIGHUP, signal.SIGCHLD, RESTART_SIGNAL}
_IGNORED_BY_CHILDREN = (signal.SIGINT, signal.SIGHUP)
"""A terminal sends them to the whole group; the supervisor decides what they mean and tells whom they concern."""


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Having a handler is what makes the interpreter write to the wakeup socket."""


class Inbox:
    """The signals that the supervisor handles, from `__enter__` to `__exit__`."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)

    def __enter__(self) -> Self:
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _wake) for number in HANDLED}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self.close()

    def wait(self, timeout_ms: int) -> bytes:
        """Waits for signals, at most `timeout_ms`; their numbers, one byte each, in order of arrival."""
        return self._reader.recv(4096) if self._poll.poll(timeout_ms) else b""

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


def hold_restarts() -> None:
    """From when this process can be found as the node's supervisor: a restart that is asked for now waits for the inbox."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {RESTART_SIGNAL})


@contextmanager
def masked() -> Iterator[None]:
    """Holds the handled signals back; a child started meanwhile begins with them held back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def become_child() -> None:
    """Default dispositions, none of the supervisor's; what was held back is delivered now."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for number in _IGNORED_BY_CHILDREN:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
