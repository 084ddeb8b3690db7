"""How far a restart is: a file that the supervisor replaces with each step, and that `throughway restart` reads.

A file and not a connection, since the supervisor that ends a restart is another program than the one that began it. It
also answers the question of the next morning: what did the last restart do?
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from gateway.base.files import replace_private
from gateway.supervisor._errors import NoNodeError
from gateway.supervisor._signals import RESTART_SIGNAL
from gateway.supervisor._statelock import StateLock

FILE = "restart.json"
MAX_STEPS = 4_096
"""More are counted, not kept: a node has at most 1,024 slots, and a child takes three steps."""

REHEARSING, RAISING, LEAVING, DONE, FAILED = "rehearsing", "raising", "leaving", "done", "failed"
SETTLED = frozenset({LEAVING, DONE, FAILED})
"""The answer is known: the new ones serve (LEAVING: the old ones still finish what they have), or the old ones go on."""


class Step(msgspec.Struct, frozen=True):
    """Something that has happened."""

    state: str
    """Of the restart, when it happened."""
    message: str
    child: str = ""
    pid: int | None = None


class Progress(msgspec.Struct):
    """Of one restart."""

    number: int
    """Of the node's restarts, from 1."""
    version_before: str
    version: str = ""
    """The one that takes over, once it is known."""
    state: str = REHEARSING
    began_at_s: float = 0.0
    ended_at_s: float | None = None
    steps: list[Step] = []
    errors: list[str] = []
    """Why it has failed, a line each."""

    @property
    def settled(self) -> bool:
        return self.state in SETTLED

    def note(self, message: str, child: str = "", pid: int | None = None) -> None:
        if len(self.steps) < MAX_STEPS:
            self.steps.append(Step(self.state, message, child, pid))

    def end(self, state: str) -> None:
        self.state, self.ended_at_s = state, time.time()


def read(run_dir: Path) -> Progress | None:
    """The last restart; None where there was none, or where its file is of a version that wrote another form."""
    try:
        return msgspec.json.decode((run_dir / FILE).read_bytes(), type=Progress)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(run_dir: Path, progress: Progress) -> None:
    """A reader sees the old file or the new one, whole. Raises OSError."""
    replace_private(run_dir / FILE, msgspec.json.format(msgspec.json.encode(progress), indent=1), durable=False)


# -- of the command that asks for it


_REACTS_S = 10.0
"""How long a supervisor may take to begin; it looks at its signals at once."""
_LOOK_S = 0.05


def restart(state_dirs: Sequence[Path], wait: bool = False) -> Iterator[Progress]:
    """Asks the supervisor of the first of these directories that has one for a restart, and follows it.

    Where one is under way already it is that one which is followed.

    Args:
        wait: follow until those before have finished, too; else until the answer is known.

    Yields:
        how far it is, whenever that has changed.

    Raises:
        NoNodeError: no node runs there, or it has ended meanwhile.
    """
    state_dir, pid = _holder(state_dirs)
    run_dir = state_dir / "run"
    before = read(run_dir)
    StateLock.signal_holder(state_dir, pid, RESTART_SIGNAL)
    begun_s = time.monotonic()
    shown: Progress | None = None
    while True:
        now = read(run_dir)
        asked = now is not None and (before is None or now.number != before.number or not before.settled)
        if now is not None and asked and now != shown:
            shown = now
            yield now
            if now.settled and (now.state != LEAVING or not wait):
                return
        if not asked and time.monotonic() - begun_s > _REACTS_S:
            raise NoNodeError(
                f"the node of {state_dir} (pid {pid}) did not begin within {_REACTS_S:g} s; its log says why"
            )
        if StateLock.holder(state_dir) != pid:
            raise NoNodeError(f"the node of {state_dir} (pid {pid}) has ended; its log says why")
        time.sleep(_LOOK_S)


def _holder(state_dirs: Sequence[Path]) -> tuple[Path, int]:
    for state_dir in state_dirs:
        try:
            pid = StateLock.holder(state_dir)
        except OSError as error:
            raise NoNodeError(f"{error.filename}: {error.strerror}") from error
        if pid is not None:
            return state_dir, pid
    raise NoNodeError(f"no node runs on {state_dirs[0]}; `throughway serve` starts one")
