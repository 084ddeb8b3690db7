"""Instructions counted by Valgrind's callgrind, and by whom they were spent.

Instructions are the same on a busy machine and on a quiet one. A program is run with two numbers of repetitions; the
difference of the two runs, divided by that of the numbers, is what one repetition costs, without the program's start.

Source of the format: Valgrind's manual, "Callgrind Format Specification".
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from bench.errors import BenchError, MissingError

_K = TypeVar("_K")

_ROOT = Path(__file__).parents[1]
_NAME = re.compile(r"\((\d+)\)(?: (.*))?")
_CYCLE = re.compile(r"'\d+$")
"""Behind a function's name where it calls itself, by how deep."""
_TOTAL = re.compile(r"^totals: (\d+)", re.MULTILINE)


@dataclass(slots=True)
class Costs:
    """Instructions of a run, or of one repetition."""

    total: float = 0.0
    own: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By function, without what it calls."""
    calls: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    """Of calls, by caller and called, with all that is beneath."""

    def inclusive(self, name: str) -> float:
        """Of a function with all that it calls. Of one that calls itself, each call but those."""
        return self.own.get(name, 0.0) + sum(
            cost for (caller, called), cost in self.calls.items() if caller == name != called
        )

    def less(self, other: Costs, repetitions: int) -> Costs:
        """What is beyond `other`, for each of so many repetitions."""

        return Costs(
            (self.total - other.total) / repetitions,
            _each(self.own, other.own, repetitions),
            _each(self.calls, other.calls, repetitions),
        )


def _each(mine: dict[_K, float], theirs: dict[_K, float], repetitions: int) -> dict[_K, float]:
    return {key: (cost - theirs.get(key, 0.0)) / repetitions for key, cost in mine.items()}


def read(text: str) -> Costs:
    """What callgrind wrote, with one event (Ir).

    Raises:
        BenchError: it is something else.
    """
    if "events: Ir\n" not in text:
        raise BenchError("callgrind wrote no count of instructions")
    costs = Costs()
    names: dict[str, str] = {}
    function, called, is_call = "", "", False
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key in ("fn", "cfn"):
            found = _NAME.match(value)
            if found is None:
                raise BenchError(f"a function without a number in what callgrind wrote: {line!r}")
            if found[2] is not None:
                names[found[1]] = _CYCLE.sub("", found[2])
            if key == "fn":
                function = names[found[1]]
            else:
                called = names[found[1]]
        elif equals and key == "calls":
            is_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            cost = int(line.split()[-1])
            if is_call:
                costs.calls[function, called] += cost
            else:
                costs.own[function] += cost
                costs.total += cost
            is_call = False
    return costs


def measure(module: str, arguments: Sequence[str] = (), few: int = 300, many: int = 5_300) -> Costs:
    """What a repetition costs in `python -m MODULE [ARGUMENT ...] REPETITIONS`.

    Raises:
        MissingError: valgrind is not on this machine.
        BenchError: the module failed.
    """
    _require_valgrind()
    first = subprocess.run([sys.executable, "-m", module, *arguments, "1"], capture_output=True, text=True, check=False)
    if first.returncode != 0:  # it also leaves compiled Python for the runs that count
        raise BenchError(f"{module} failed: {first.stderr.strip()[-500:]}")
    with TemporaryDirectory(prefix="throughway-bench-") as folder, ThreadPoolExecutor() as both:
        runs = [
            both.submit(_run, [module, *arguments, str(repetitions)], Path(folder) / str(repetitions))
            for repetitions in (few, many)
        ]
        less, more = (run.result() for run in runs)
    return more.less(less, many - few)


def between_marks(module: str, arguments: Sequence[str], mark: str) -> list[int]:
    """Instructions of `python -m MODULE [ARGUMENT ...]` from each call of the C function `mark` to the next.

    The interpreter starts without `site`, which would take most of the time.

    Raises:
        MissingError: valgrind is not on this machine.
        BenchError: the module failed.
    """
    _require_valgrind()
    with TemporaryDirectory(prefix="throughway-bench-") as folder:
        _valgrind(["-S", "-m", module, *arguments], Path(folder) / "part", f"--dump-before={mark}")
        files = sorted(Path(folder).glob("part.*"), key=lambda file: int(file.suffix[1:]))
        totals = [_TOTAL.search(file.read_text(errors="replace")) for file in files]
    return [int(total[1]) for total in totals if total is not None][1:]


def _require_valgrind() -> None:
    if shutil.which("valgrind") is None:
        raise MissingError("instructions are counted by valgrind, which is missing: apt install valgrind")


def _run(command: Sequence[str], file: Path) -> Costs:
    _valgrind(["-m", *command], file)
    return read(file.read_text(errors="replace"))


def _valgrind(arguments: Sequence[str], file: Path, *options: str) -> None:
    ran = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}", *options, sys.executable, *arguments],
        env={**_environment(), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise BenchError(f"{' '.join(arguments)} failed under valgrind: {ran.stderr.strip()[-500:]}")


def _environment() -> dict[str, str]:
    """The same for everybody: the length of an environment moves the stack, and with it some figures."""
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{_ROOT}:{_ROOT / 'src'}"}
