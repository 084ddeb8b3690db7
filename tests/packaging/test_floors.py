"""The direction of imports where import-linter cannot see it: in kernels, and into single kernels."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
IMPORT = re.compile(
    r"^\s*(?:from\s+(?P<source>[.\w]+)\s+c?import\b|c?import\s+(?P<names>[\w.]+(?:\s*,\s*[\w.]+)*))", re.MULTILINE
)
KERNELS = sorted(path for path in (SRC / "_fastpath").iterdir() if path.suffix in {".pyx", ".pxd", ".pyi", ".py"})
FROM_CYTHON = {"libc", "cpython", "cython", "posix"}


def tops(source: str) -> set[str]:
    """The first names of all modules that Cython or Python source imports."""
    found: set[str] = set()
    for match in IMPORT.finditer(source):
        names = match["source"] or match["names"]
        found |= {name.strip().split(".")[0] for name in names.split(",")}
    return found


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_a_kernel_imports_the_standard_library_alone(path: Path) -> None:
    allowed = FROM_CYTHON | sys.stdlib_module_names | {"_fastpath", ""}
    if path.suffix == ".pyi":
        allowed |= {"typing_extensions"}  # only type checkers read it, and they bring it
    assert tops(path.read_text()) <= allowed


def test_every_kernel_has_a_face() -> None:
    assert {path.stem for path in KERNELS if path.suffix == ".pyx"} <= {
        path.stem for path in KERNELS if path.suffix == ".pyi"
    }


def kernels_of(folder: str) -> set[str]:
    """The kernels that the modules of a package import."""
    found: set[str] = set()
    for path in (SRC / "gateway" / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "_fastpath":
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("_fastpath."):
                found.add((node.module or "").split(".")[1])
            elif isinstance(node, ast.Import):
                found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("_fastpath.")}
    return found


def test_the_supervisor_uses_the_shared_memory_alone() -> None:
    assert kernels_of("supervisor") <= {"shm"}


TYPED = sorted((SRC / "gateway").rglob("*.pxd"))


def cimported(path: Path) -> set[str]:
    """The modules that a .pxd takes types from, as dotted names."""
    found: set[str] = set()
    for match in re.finditer(r"^from\s+([.\w]+)\s+cimport\s+(.+)$", path.read_text(), re.MULTILINE):
        names = [name.strip() for name in match[2].split(",")]
        found |= {f"{match[1]}.{name}" for name in names} | {match[1]}
    return found


@pytest.mark.parametrize("path", TYPED, ids=lambda path: path.stem)
def test_types_of_compiled_python_come_from_what_it_may_import(path: Path) -> None:
    """The floors are kept by import-linter, which reads the .py: the .pxd beside it takes from nowhere else."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.with_suffix(".py").read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in cimported(path) if name.startswith("gateway.")}
    assert {name for name in ours if name.count(".") > 1 and name.split(".")[-1].islower()} <= imported
