"""What a supervisor hands to the program that replaces it, and how the two speak.

Theory. A restart replaces the supervisor's program by `execve` and keeps its process: its pid, its children, the
listening sockets, the lock on the state directory. Before that, the new program is rehearsed in a process of its own, a child of
the supervisor: it does everything of a start that can fail, and hands back the descriptors that hold the result. What takes
over is what was rehearsed: it reads the result, and neither the configuration nor anything else again.

    old supervisor --fork, exec, memo--> rehearsal: reads the configuration, binds what is new, builds a worker
                   <--descriptors------- prepared (opaque to the old one), new sockets; exit code 0
                   --exec, memo--------> new supervisor, in the same process: adopts the children, raises successors

Old and new are different versions: `Memo` and `Answer` are a contract. A field may be added with a default; anything else
is another `FORMAT`, which the rehearsal refuses before anything has happened.

The memo comes through an anonymous file whose descriptor the environment names; nothing of it is on disk.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence

import msgspec

from gateway.supervisor import _platform
from gateway.supervisor._errors import StartError
from gateway.supervisor.progress import Progress

ENVIRONMENT = "THROUGHWAY_HAND_OVER"
FORMAT = 1
MAX_SOCKETS = 200
"""New ones in one restart: the kernel passes at most 253 descriptors in a message."""
_MAX_ANSWER_BYTES = 65_536


class ChildNote(msgspec.Struct, frozen=True):
    """A child that runs."""

    name: str
    pid: int
    slot: int | None
    generation: int
    leaving: bool
    """It was asked to retire, and finishes what it has."""
    retires: bool
    drain_order: int


class Listening(msgspec.Struct, frozen=True):
    """The sockets of one address."""

    address: str
    """As the configuration writes it."""
    fds: list[int]


class Memo(msgspec.Struct):
    """See the module. Descriptors are numbers in the process that reads it; 0 stands for none."""

    version: str
    supervisor_pid: int
    state_dir: str
    progress: Progress
    listeners: dict[str, Listening]
    """By role."""
    children: list[ChildNote] = []
    lock_fd: int = 0
    prepared_fd: int = 0
    bound: dict[str, list[int]] = {}
    """What the rehearsal has bound, by role."""
    format: int = FORMAT


class Answer(msgspec.Struct):
    """What a rehearsal says when all is well. The descriptors beside it: what it prepared, then `bound`, role by role."""

    version: str
    bound: dict[str, int]
    format: int = FORMAT


class Rehearsal:
    """This process is to prepare everything, and to take over nothing."""

    def __init__(self, memo: Memo, channel: socket.socket) -> None:
        self.memo = memo
        self._channel = channel

    def done(self, version: str, prepared: bytes, bound: Mapping[str, Sequence[socket.socket]]) -> None:
        """Everything is ready.

        Raises:
            StartError: more sockets are new than can be handed over at once.
            OSError: the supervisor does not listen.
        """
        count = sum(map(len, bound.values()))
        if count > MAX_SOCKETS:
            raise StartError(f"{count} new sockets are too many for a restart ({MAX_SOCKETS}): stop and start the node")
        answer = Answer(version, {role: len(sockets) for role, sockets in bound.items()})
        fds = [write_anonymous("prepared", prepared), *(s.fileno() for sockets in bound.values() for s in sockets)]
        socket.send_fds(self._channel, [msgspec.json.encode(answer)], fds)


class TakeOver:
    """This process was the supervisor of an older program, and is one again."""

    def __init__(self, memo: Memo) -> None:
        self.memo = memo
        self.prepared = read_anonymous(memo.prepared_fd)
        self.listening = {
            role: (old.address, [_socket(fd) for fd in dict.fromkeys(old.fds)]) for role, old in memo.listeners.items()
        }
        self.bound = {role: [_socket(fd) for fd in fds] for role, fds in memo.bound.items()}
        os.set_inheritable(memo.lock_fd, False)


def arrive() -> Rehearsal | TakeOver | None:
    """What this process was started for; None for an ordinary start.

    Raises:
        StartError: the node's running version hands over in another way.
    """
    kind, _, fds = os.environ.pop(ENVIRONMENT, "").partition(":")
    if not kind:
        return None
    memo_fd, _, channel_fd = fds.partition(":")
    try:
        memo = msgspec.json.decode(read_anonymous(int(memo_fd)), type=Memo)
    except (ValueError, OSError) as error:  # of which a DecodeError is one
        raise StartError(
            f"the running version hands over in another form ({error}): stop and start the node"
        ) from error
    if memo.format != FORMAT:
        raise StartError(
            f"version {memo.version} hands over in form {memo.format}, this one reads {FORMAT}: stop and start the node"
        )
    if kind == "take-over":
        return TakeOver(memo)
    _platform.die_with_parent(memo.supervisor_pid)
    channel = _socket(int(channel_fd))
    return Rehearsal(memo, channel)


def _socket(fd: int) -> socket.socket:
    made = socket.socket(fileno=fd)
    made.setblocking(False)
    made.set_inheritable(False)
    return made


# -- the old side


def receive_answer(channel: socket.socket) -> tuple[Answer, int, dict[str, list[int]]]:
    """What the rehearsal, which has ended well, left: its answer, the descriptor of what it prepared, new sockets by role.

    Raises:
        ValueError: it left nothing of use.
    """
    try:
        data, fds, _, _ = socket.recv_fds(channel, _MAX_ANSWER_BYTES, MAX_SOCKETS + 1)
        answer = msgspec.json.decode(data, type=Answer)
    except (BlockingIOError, msgspec.DecodeError) as error:
        raise ValueError("it ended without an answer") from error
    if answer.format != FORMAT or len(fds) != 1 + sum(answer.bound.values()):
        raise ValueError("it answered in another form")
    for fd in fds:
        os.set_inheritable(fd, False)
    prepared, *rest = fds
    bound: dict[str, list[int]] = {}
    for role, count in answer.bound.items():
        bound[role], rest = rest[:count], rest[count:]
    return answer, prepared, bound


def become(command: Sequence[str], value: str, fds: Sequence[int], environ: Mapping[str, str]) -> None:
    """Replaces this process's program; returns only by raising OSError, with everything as it was."""
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        os.execve(command[0], list(command), {**environ, ENVIRONMENT: value})  # noqa: S606 - that is what it is for
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)


def write_anonymous(name: str, data: bytes) -> int:
    """A descriptor of a file without a name that holds `data`. Raises OSError."""
    fd = _platform.anonymous_file(name)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def read_anonymous(fd: int) -> bytes:
    """All that is in it; closes it."""
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb") as file:
        return file.read()
