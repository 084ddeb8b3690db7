from __future__ import annotations

import signal
import threading

from gateway.supervisor import hold_restarts
from gateway.supervisor._signals import HANDLED, Inbox


def test_a_restart_that_is_asked_for_before_the_supervisor_runs_waits_for_it() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        hold_restarts()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)  # the tests have other threads
        with Inbox() as inbox:
            assert signal.SIGUSR2 in inbox.wait(5_000)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_what_came_while_the_program_was_replaced_is_taken_when_the_inbox_stands() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.pthread_kill(threading.get_ident(), number)
        with Inbox() as inbox:
            assert set(inbox.wait(5_000)) >= {signal.SIGTERM, signal.SIGHUP}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
