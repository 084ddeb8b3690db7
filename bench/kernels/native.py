"""Loops around kernels in C: what a kernel costs the kernels that call it, without a call from Python.

`_loops.pyx` is compiled when it is first needed, and again when it or a `.pxd` changed. It is no part of the package.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src"
SOURCE = HERE / "_loops.pyx"
BUILT = HERE / f"_loops{sysconfig.get_config_var('EXT_SUFFIX')}"
CYTHON = ["-m", "cython", "-3", "-X", "boundscheck=False,wraparound=False,cdivision=True", "-I", str(SRC)]


def is_stale() -> bool:
    if not BUILT.exists():
        return True
    built = BUILT.stat().st_mtime
    return any(source.stat().st_mtime > built for source in (SOURCE, *SRC.glob("_fastpath/*.pxd")))


def build() -> None:
    """Whole or not at all: others may be loading it."""
    compiler = shlex.split(sysconfig.get_config_var("LDSHARED"))
    with tempfile.TemporaryDirectory(dir=HERE, prefix="building-") as folder:
        code, module = Path(folder) / "_loops.c", Path(folder) / BUILT.name
        subprocess.run([sys.executable, *CYTHON, SOURCE, "-o", code], check=True)
        include = f"-I{sysconfig.get_path('include')}"
        subprocess.run([*compiler, "-O3", "-fPIC", include, code, "-o", module], check=True)
        module.replace(BUILT)


if is_stale():
    build()

from bench.kernels import _loops as loops  # noqa: E402

__all__ = ["loops"]
