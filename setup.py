"""Builds the native kernels of `src/_fastpath` and the vocabularies that one of them reads, and for a working tree those of `bench`; the
rest is declared in pyproject.toml.

Environment switches, each off unless set to 1:
    THROUGHWAY_DEBUG      -O0 -g3, assertions kept
    THROUGHWAY_ANNOTATE   writes Cython's annotated HTML beside each kernel
    THROUGHWAY_COVERAGE   line tracing for coverage measurements
    THROUGHWAY_KERNELS    comma-separated names: build only these kernels
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Command, Extension, setup
from setuptools.command.build import build

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))  # a build front end does not: see PEP 517

from vocabularies import build as vocabularies  # noqa: E402


def switched_on(name: str) -> bool:
    return os.environ.get(name, "0") == "1"


DEBUG = switched_on("THROUGHWAY_DEBUG")
COVERAGE = switched_on("THROUGHWAY_COVERAGE")

compile_args = ["-Wall", "-Wno-unused-function", "-Wno-unreachable-code"]
compile_args += ["-O0", "-g3"] if DEBUG else ["-O3", "-g0"]
if sys.platform == "linux":
    compile_args += ["-fno-plt"]


class BuildVocabularies(Command):
    """Compiles the vocabularies into the package; in the source tree for an editable installation and for `--inplace`."""

    description = "compile the vocabularies"
    user_options = [("inplace", "i", "put the file beside the sources of the kernels")]  # noqa: RUF012
    boolean_options = ["inplace"]  # noqa: RUF012
    editable_mode = False

    def initialize_options(self) -> None:
        self.inplace = False
        self.build_lib: str | None = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    @property
    def target(self) -> Path:
        into = ROOT / "src" if self.inplace or self.editable_mode else Path(str(self.build_lib))
        return into / "_fastpath" / vocabularies.FILE_NAME

    def run(self) -> None:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        vocabularies.build(self.target)

    def get_outputs(self) -> list[str]:
        return [str(self.target)]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def get_source_files(self) -> list[str]:
        return [str(path.relative_to(ROOT)) for path in (ROOT / "vocabularies").iterdir() if path.is_file()]


class Build(build):
    sub_commands = [*build.sub_commands, ("build_vocabularies", None)]  # noqa: RUF012


SRC = ROOT / "src"
BENCH = ROOT / "bench"
# The bench's own kernels are built in place, on Linux, and never installed: no wheel has them, not even an editable one.
WITH_BENCH = sys.platform == "linux" and "--inplace" in sys.argv
COMMON = {"language_level": 3, "linetrace": COVERAGE, "auto_pickle": False, "autotestdict": False}
KERNELS = {**COMMON, "boundscheck": DEBUG, "wraparound": False, "cdivision": True, "initializedcheck": False}
# Python that is compiled with the types of the .pxd beside it means what it means uncompiled.
TYPED_PYTHON = {**COMMON, "annotation_typing": False, "nonecheck": True, "always_allow_keywords": True}


def extensions(paths: Iterable[Path], directives: dict[str, object], root: Path = SRC) -> list[Extension]:
    """The modules under `root` that these sources become, but for those that THROUGHWAY_KERNELS leaves out."""
    wanted = set(filter(None, os.environ.get("THROUGHWAY_KERNELS", "").split(",")))
    modules = [
        Extension(
            ".".join(path.relative_to(root).with_suffix("").parts),
            [str(path.relative_to(ROOT))],
            extra_compile_args=compile_args,
            define_macros=[("CYTHON_TRACE", "1")] if COVERAGE else [],
        )
        for path in sorted(paths)
        if not wanted or path.stem in wanted
    ]
    return cythonize(
        modules,
        include_path=["src", "."],
        build_dir=os.environ.get("THROUGHWAY_CYTHON_DIR", "build/cython"),
        annotate=switched_on("THROUGHWAY_ANNOTATE"),
        compiler_directives=directives,
    )


setup(
    cmdclass={"build": Build, "build_vocabularies": BuildVocabularies},
    ext_modules=[
        *extensions(SRC.glob("_fastpath/*.pyx"), KERNELS),
        *extensions((path.with_suffix(".py") for path in SRC.glob("gateway/**/*.pxd")), TYPED_PYTHON),
        *(extensions(BENCH.glob("native/*.pyx"), KERNELS, ROOT) if WITH_BENCH else ()),
    ],
    package_dir={"": "src", **({"bench": "bench"} if WITH_BENCH else {})},
    options={"build_ext": {"parallel": os.cpu_count()}},
)
