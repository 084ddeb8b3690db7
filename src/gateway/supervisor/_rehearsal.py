"""The old program's side of a restart: has the new one rehearsed, then becomes it. See `_memo`."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.supervisor import _platform
from gateway.supervisor import progress as _progress
from gateway.supervisor._child import ChildEnv, ChildSpec, Restart
from gateway.supervisor._crew import Crew, Member, describe_exit
from gateway.supervisor._memo import Listening, Memo, TakeOver, become, receive_answer, write_anonymous
from gateway.supervisor._policy import MS
from gateway.supervisor._signals import HANDLED
from gateway.supervisor.progress import Progress

_MAX_OUTPUT_BYTES = 16_384
"""Of what the rehearsal had to say; the end of it is what counts."""


@dataclass(frozen=True, slots=True)
class Succession:
    """How a node's program is replaced by its next version.

    Args:
        command: what starts that; the program's path first, absolute. Empty: this node cannot be restarted in place.
        version: of this program.
        state_dir: the node's.
        listeners: address and sockets of each role.
        taken_over: how this program itself came to run, if it has replaced another one.
    """

    command: Sequence[str]
    version: str
    state_dir: Path
    listeners: Mapping[str, tuple[str, Sequence[socket.socket]]]
    taken_over: TakeOver | None = None


class RehearsalFailedError(Exception):
    """The new program does not take over. Its arguments are lines that say why."""


@dataclass(frozen=True, slots=True)
class _Script:
    command: Sequence[str]
    memo_fd: int
    output_fd: int


def _run(env: ChildEnv) -> None:
    """The target of the process that rehearses."""
    script = env.args
    assert isinstance(script, _Script)
    os.dup2(script.output_fd, 1)
    os.dup2(script.output_fd, 2)
    channel_fd = env.sockets["channel"].fileno()
    fds = [script.memo_fd, *{listener.fileno() for listener in env.sockets.values()}]
    try:
        become(script.command, f"rehearse:{script.memo_fd}:{channel_fd}", fds, os.environ)
    except OSError as error:
        os.write(2, f"{script.command[0]}: {error.strerror}\n".encode())
        os._exit(1)


class Trial:
    """A rehearsal that is under way. Raises OSError where it cannot be started."""

    def __init__(self, crew: Crew, succession: Succession, progress: Progress, now: int) -> None:
        self._crew = crew
        self._succession = succession
        self.progress = progress
        self._channel, theirs = socket.socketpair()
        self._channel.setblocking(False)
        self._output_fd = _platform.anonymous_file("rehearsal")
        memo_fd = write_anonymous("memo", msgspec.json.encode(self._memo()))
        sockets = {f"{role}-{i}": s for role, (_, all_) in succession.listeners.items() for i, s in enumerate(all_)}
        spec = ChildSpec(
            "rehearsal",
            _run,
            sockets={**sockets, "channel": theirs},
            args=_Script(succession.command, memo_fd, self._output_fd),
            essential=False,
            restart=Restart.NEVER,
        )
        try:
            self.member = crew.start_apart(spec, now)
        except OSError:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(memo_fd)
        self.member.kill_at_ns = now + crew.policy.rehearsal_ms * MS

    def _memo(self) -> Memo:
        succession = self._succession
        listeners = {
            role: Listening(address, [s.fileno() for s in sockets])
            for role, (address, sockets) in succession.listeners.items()
        }
        return Memo(succession.version, os.getpid(), str(succession.state_dir), self.progress, listeners)

    def close(self) -> None:
        self._channel.close()
        os.close(self._output_fd)

    def become_next(self, member: Member, code: int) -> None:
        """Called when the rehearsal has ended: returns only by raising.

        Raises:
            RehearsalFailedError: the new program is not ready, or cannot be started; nothing has changed.
        """
        if member.killed:
            limit_s = self._crew.policy.rehearsal_ms / 1_000
            raise RehearsalFailedError(*self._said(), f"it was not ready to take over within {limit_s:g} s")
        if code != 0:
            raise RehearsalFailedError(*(self._said() or [f"it ended with {describe_exit(code)}"]))
        try:
            answer, prepared_fd, bound = receive_answer(self._channel)
        except ValueError as error:
            raise RehearsalFailedError(*self._said(), str(error)) from error
        received = [prepared_fd, *(fd for fds in bound.values() for fd in fds)]
        try:
            self.progress.version, self.progress.state = answer.version, _progress.RAISING
            self.progress.note(f"version {answer.version} is ready to take over")
            memo = self._memo()
            memo.children = self._crew.notes()
            memo.lock_fd, memo.prepared_fd, memo.bound = self._crew.lock.fileno(), prepared_fd, bound
            received.append(write_anonymous("memo", msgspec.json.encode(memo)))
            self._exec(
                received[-1], [*received, memo.lock_fd, *(fd for old in memo.listeners.values() for fd in old.fds)]
            )
        except OSError as error:
            self.progress.state = _progress.REHEARSING
            raise RehearsalFailedError(f"{self._succession.command[0]}: {error.strerror or error}") from error
        finally:
            for fd in received:
                os.close(fd)

    def _exec(self, memo_fd: int, fds: Sequence[int]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            become(self._succession.command, f"take-over:{memo_fd}", fds, os.environ)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _said(self) -> list[str]:
        size = os.lseek(self._output_fd, 0, os.SEEK_END)
        text = os.pread(self._output_fd, _MAX_OUTPUT_BYTES, max(0, size - _MAX_OUTPUT_BYTES)).decode(errors="replace")
        return [line.removeprefix("throughway: ") for line in text.splitlines() if line.strip()]
