"""A small node for tests: `python -m tests.gateway.supervisor.node STATE_DIR PLAN` supervises what PLAN (JSON) lists.

Events go to STATE_DIR/events.jsonl, a line each; children add their own (`note`). What a child does is one of the
functions named `be_*`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from _fastpath.shm import NodeMemory
from gateway.base.node import DRAINING, SERVING, Address
from gateway.supervisor import (
    Backoff,
    ChildEnv,
    ChildSpec,
    Policy,
    RecentLines,
    Restart,
    StartError,
    StateLock,
    Supervisor,
    bind_listeners,
)

BEAT_S = 0.02


def note(state_dir: Path, **fields: object) -> None:
    with (state_dir / "events.jsonl").open("a") as file:
        file.write(json.dumps(fields) + "\n")  # one write, appended: lines of several processes do not mix


class Told:
    """The signals that a child was sent."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self.numbers: list[int] = []
        for number in numbers:
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self.numbers.append(number)


def _state_dir(env: ChildEnv) -> Path:
    return env.memory_file.parent.parent


def _serve_slot(env: ChildEnv) -> NodeMemory:
    memory = NodeMemory.attach(str(env.memory_file))
    if env.slot is not None:
        memory.occupy(env.slot, os.getpid())
        memory.beat(env.slot)
        memory.set_state(env.slot, SERVING)
    return memory


def be_worker(env: ChildEnv) -> None:
    """Answers each connection with one byte; leaves on SIGTERM."""
    told = Told(signal.SIGTERM, signal.SIGHUP)
    memory = _serve_slot(env)
    listeners = list(env.sockets.values())
    hups = 0
    while signal.SIGTERM not in told.numbers:
        if env.slot is not None:
            memory.beat(env.slot)
        for listener in select.select(listeners, [], [], BEAT_S)[0]:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            connection.sendall(b"!")
            connection.close()
        if told.numbers.count(signal.SIGHUP) > hups:
            hups += 1
            note(_state_dir(env), event="told.hup", child=env.name)
    if env.slot is not None:
        memory.set_state(env.slot, DRAINING)
    time.sleep(0.1)  # an orderly end takes its time: the next group must wait for it
    note(_state_dir(env), event="drained", child=env.name)


def be_deaf(env: ChildEnv) -> None:
    """Does not leave on SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    memory = _serve_slot(env)
    while True:
        if env.slot is not None:
            memory.beat(env.slot)
        time.sleep(BEAT_S)


def be_crashing(env: ChildEnv) -> None:
    sys.exit(3)


def be_done(env: ChildEnv) -> None:
    """Has no more to do."""


def be_fleeting(env: ChildEnv) -> None:
    """Ends as soon as it has begun to serve."""
    _serve_slot(env)


def stuck_in_this_function() -> None:
    while True:
        time.sleep(60)


def be_stuck_once(env: ChildEnv) -> None:
    """The first stops beating, its successor works."""
    _serve_slot(env)
    RecentLines(env.recent_file).keep(b"the last line of its log\n")
    if env.generation == 1:
        stuck_in_this_function()
    be_worker(env)


def be_stuck_at_start_once(env: ChildEnv) -> None:
    """The first never begins to serve, its successor works."""
    if env.generation == 1:
        stuck_in_this_function()
    be_worker(env)


def be_inspector(env: ChildEnv) -> None:
    """Tells what it inherited, then works."""
    fds = os.listdir("/proc/self/fd")
    tell: dict[str, object] = {
        "sigint": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "sighup": signal.getsignal(signal.SIGHUP) == signal.SIG_IGN,
        "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "held_back": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "group": os.getpgrp() == os.getpgid(os.getppid()),
        "args": env.args,
        "slot_holder": NodeMemory.attach(str(env.memory_file)).pid(env.slot or 0),
        "listening_fds": sum(map(_is_listening, map(int, fds))),
        "holds_lock": any(os.path.realpath(f"/proc/self/fd/{fd}").endswith("supervisor.pid") for fd in fds),
    }
    note(_state_dir(env), event="inspected", child=env.name, **tell)
    be_worker(env)


def _is_listening(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as candidate:
            return candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    except OSError:
        return False  # no socket, or the descriptor of the listing itself


def _spec(target: str, restart: str = "always", slot: int | None = None, **fields: Any) -> ChildSpec:
    slots = () if slot is None else (slot,)
    return ChildSpec(target=globals()[f"be_{target}"], restart=Restart(restart), slots=slots, **fields)


def main(state_dir: Path, plan: dict[str, object]) -> int:
    children = plan["children"]
    assert isinstance(children, list)
    options = plan.get("policy", {})
    assert isinstance(options, dict)
    healthy_ms = plan.get("healthy_ms", 10_000)
    assert isinstance(healthy_ms, int)
    try:
        lock = StateLock(state_dir)
    except StartError as error:
        print(error, file=sys.stderr)
        return 2
    with lock:
        memory_file = lock.run_dir / "node.mem"
        memory = NodeMemory.create(str(memory_file), slots=8, limit_rows=8, metrics_bytes=4096)
        listening = [child for child in children if child.pop("listens", False)]
        listeners = bind_listeners(Address(), len(listening)) if listening else []
        for child, listener in zip(listening, listeners, strict=True):
            child["sockets"] = {"listen": listener}
        if listeners:
            note(state_dir, event="bound", port=listeners[0].getsockname()[1])
        supervisor = Supervisor(
            memory=memory,
            memory_file=memory_file,
            specs=[_spec(**child) for child in children],
            lock=lock,
            log=lambda level, event, **fields: note(state_dir, level=level, event=event, **fields),
            policy=Policy(backoff=Backoff(first_ms=20, max_ms=100, healthy_ms=healthy_ms), **options),
            start_method="spawn" if plan.get("start_method") == "spawn" else "fork",
            on_ready=lambda: note(state_dir, event="on_ready"),
        )
        code = supervisor.run()
        if supervisor.failure:
            print(supervisor.failure, file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
