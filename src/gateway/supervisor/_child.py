"""What a child is made of, and its first steps in its own process."""

from __future__ import annotations

import faulthandler
import re
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TextIO

from gateway.supervisor import _platform, _signals

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class Restart(StrEnum):
    """What follows when a child ends and nobody asked it to."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    """Again after a signal or an exit code other than 0."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class ChildEnv:
    """What a child's target is called with.

    A child with slots attaches `memory_file` and takes the one it was given itself, first of all
    (`NodeMemory.attach(...).occupy(env.slot, os.getpid())`): were the supervisor to do it after the start, it could
    wipe out the first beats of a quick child. The supervisor has vacated the slot before.
    """

    name: str
    slot: int | None
    generation: int
    """How many times this child has been started, this time included."""
    sockets: dict[str, socket.socket]
    """Non-blocking, by the names of the spec. The supervisor owns them: they outlive this process."""
    args: object
    memory_file: Path
    recent_file: Path
    """Where it keeps the last lines of its log, for a report should it be ended."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child to keep running.

    Args:
        name: also names its files, so `[a-z0-9-]`; unique in the node.
        target: a function of a module (picklable), which runs until the work is done or SIGTERM asks it to stop. It
            begins with default signal handlers, but SIGINT and SIGHUP ignored.
        slots: of the node's memory: it gets one that is free, whose state and heartbeat are watched; none for a child that
            is not watched. Children may name the same ones. Enough of them are free if there are two a child: in a restart
            its successor starts beside it.
        sockets: handed to it and to each successor.
        args: any picklable value.
        essential: the node is ready only when it serves (with a slot), and a crash loop of it stops the node.
        drain_order: groups are stopped in ascending order, each when the one before is gone.
        reloads: gets the supervisor's SIGHUP.
        retires: understands SIGUSR1: its successor serves, so it accepts no more, finishes what it has, however long that takes,
            and ends. The others get SIGTERM.
        term_grace_ms: from SIGTERM to SIGKILL; None for the policy's.
    """

    name: str
    target: Callable[[ChildEnv], None]
    slots: Sequence[int] = ()
    sockets: dict[str, socket.socket] = field(default_factory=dict)
    args: object = None
    essential: bool = True
    drain_order: int = 0
    restart: Restart = Restart.ALWAYS
    reloads: bool = False
    retires: bool = False
    term_grace_ms: int | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"child name {self.name!r}: letters, digits and dashes only")
        if self.essential and self.restart is not Restart.ALWAYS:
            raise ValueError(f"child {self.name}: an essential child is always restarted")


class Closable(Protocol):
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Boot:
    """What the process of a child begins with; picklable when `inherited` is empty."""

    target: Callable[[ChildEnv], None]
    env: ChildEnv
    supervisor_pid: int
    stack_file: Path
    """Where the interpreter writes its stacks when a fatal signal or SIGABRT ends it."""
    inherited: tuple[Closable, ...]
    """What fork copied and is not the child's: its siblings' sockets, the supervisor's lock and signals."""


def run_child(boot: Boot) -> None:
    """The first function of every child."""
    _platform.die_with_parent(boot.supervisor_pid)
    for resource in boot.inherited:
        resource.close()
    for listener in boot.env.sockets.values():
        listener.setblocking(False)
        listener.set_inheritable(False)
    report: TextIO
    try:
        report = boot.stack_file.open("w")
    except OSError:  # a full disk must not keep a worker from starting; its stacks go where its other messages go
        report = sys.stderr
    faulthandler.enable(report)  # `report` stays open in this frame, which lasts as long as the process
    _signals.become_child()
    boot.target(boot.env)
