"""Builds the native kernels of `src/_fastpath`; everything else is declared in pyproject.toml.

Environment switches, each off unless set to 1:
    THROUGHWAY_DEBUG      -O0 -g3, assertions kept
    THROUGHWAY_SANITIZE   AddressSanitizer and UndefinedBehaviorSanitizer
    THROUGHWAY_ANNOTATE   writes Cython's annotated HTML beside each kernel
    THROUGHWAY_COVERAGE   line tracing for coverage measurements
    THROUGHWAY_KERNELS    comma-separated names: build only these kernels
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent


def switched_on(name: str) -> bool:
    return os.environ.get(name, "0") == "1"


DEBUG = switched_on("THROUGHWAY_DEBUG")
SANITIZE = switched_on("THROUGHWAY_SANITIZE")
COVERAGE = switched_on("THROUGHWAY_COVERAGE")

compile_args = ["-Wall", "-Wno-unused-function", "-Wno-unreachable-code"]
compile_args += ["-O0", "-g3"] if DEBUG else ["-O3"]
link_args: list[str] = []
if sys.platform == "linux":
    compile_args += ["-fno-plt"]
if SANITIZE:
    compile_args += ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    link_args += ["-fsanitize=address,undefined"]

wanted = set(filter(None, os.environ.get("THROUGHWAY_KERNELS", "").split(",")))
kernels = sorted(p for p in (ROOT / "src/_fastpath").glob("*.pyx") if not wanted or p.stem in wanted)

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"_fastpath.{path.stem}",
                [str(path.relative_to(ROOT))],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
                define_macros=[("CYTHON_TRACE", "1")] if COVERAGE else [],
            )
            for path in kernels
        ],
        include_path=["src"],
        build_dir=os.environ.get("THROUGHWAY_CYTHON_DIR", "build/cython"),
        annotate=switched_on("THROUGHWAY_ANNOTATE"),
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "linetrace": COVERAGE,
            "auto_pickle": False,
            "autotestdict": False,
        },
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
