"""Instructions that a kernel takes, counted by callgrind.

Each kernel is run a few times and then more often; the difference of the two counts, divided by how many more, is what one time
takes, without what surrounds it. It is the same from run to run on one machine, to a few in a thousand, whatever else runs there. It
is not the same for another compiler, Cython, CPython or kind of processor: `fingerprint` names them.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from bench import callgrind
from bench.errors import BenchError
from bench.kernels.counted import KERNELS
from bench.kernels.native import loops

MARK = "tw_bench_mark"
PARTS_A_KERNEL = 3  # few times, more times, what is between two kernels


def fingerprint() -> str:
    """Of what a count depends on."""
    python, cython = (".".join(whole.split(".")[:2]) for whole in (platform.python_version(), version("cython")))
    compiler = re.sub(r"[^\w. ].*", "", loops.COMPILER).strip()
    return f"{platform.machine()}, {compiler}, CPython {python}, Cython {cython}"


def instructions(kernels: Iterable[str] | None = None, waste: Mapping[str, int] | None = None) -> dict[str, int]:
    """Of one time of each, or of all kernels; what is in `waste` added.

    Raises:
        MissingError: valgrind is not installed.
        BenchError: the program failed.
    """
    names = list(KERNELS if kernels is None else kernels)
    arguments = [f"{name}={(waste or {}).get(name, 0)}" for name in names]
    parts = callgrind.between_marks("bench.kernels.counted", arguments, MARK)
    if len(parts) != PARTS_A_KERNEL * len(names) - 1:
        raise BenchError(
            f"callgrind saw {len(parts)} parts of {len(names)} kernels: {MARK} is not called as it should be"
        )
    spans = zip(names, parts[::PARTS_A_KERNEL], parts[1::PARTS_A_KERNEL], strict=True)
    return {name: round((more - few) / KERNELS[name][0]) for name, few, more in spans}
