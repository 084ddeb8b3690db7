"""docs/limits.md against the code: each figure is that of its name, and no bound of the code is without a row."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.control.config._kinds import Many, Named, Record
from gateway.control.config._schema import SCHEMA
from gateway.dataplane.exposition import _GAUGES, _HELP, _exposed

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PAGE = ROOT / "docs" / "limits.md"

NO_BOUNDS = re.compile(
    r"""(?x) .*\.( EXIT_\w+ | G_\w+ | ROLE_\w+ | STARTING | SERVING | DRAINING | RETIRING      # codes and places
    | FORMAT | LAYOUT | LAYOUT_VERSION | _CRC32C | _LOCAL | _PROXY | _FIXED_BYTES | _UNUSED | _PR_SET_PDEATHSIG
    | NS_PER_MS | MS | _MS | _S | _MILLION | NANO_USD | _?NEVER_S | FAR_S | ONE              # units
    | TOKENS_(A|OF)_\w+ | PIXELS_OF_\w+ | STREAMED_BYTES_A_TOKEN | MARGIN | COUNTING_ERROR | ENDLESS_TOKENS | CHARS_A_TOKEN   # estimates
    | EXPECTED_OUTPUT
    | PEPPER_BYTES | TOKEN_BYTES | _NAME_BYTES | _\w+_DIGITS                          # sizes of what is made
    | MAX_KNOWN_BYTES | MAX_GOVERNED_BYTES | OWN_PREFIX_BYTES | LIMIT_LINES_BYTES | ESCAPED_BYTES | NUMBER_BYTES | DEAD_BYTES | PAGE_BYTES
    | SINGLE_BYTES | MAX_TOKEN                          # lengths of known texts
    )"""
)
"""Numbers that bound nothing."""

KERNEL_BOUND = re.compile(
    r"^ +((?:MAX|MIN)_\w+|\w+_(?:BYTES|NS|LIMIT|CAPACITY|SLOTS)|GAUGES|SLOTS|WINDOW|TRIES) *= *([0-9][0-9_x< ]*)",
    re.MULTILINE,
)


class Row(NamedTuple):
    what: str
    figure: str
    name: str
    at_the_bound: str
    metric: str


def rows() -> list[Row]:
    lines = [
        line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| what |")
    ]
    cells = [[cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")] for line in lines]
    return [Row(what, figure, name.strip("`"), end, metric.strip("`")) for what, figure, name, end, metric in cells]


NAMED = [row for row in rows() if row.name]


def value_of(name: str) -> Any:
    """What a name of the page stands for in the code."""
    if name.startswith("_fastpath."):
        return _of_kernel(*name.removeprefix("_fastpath.").split("."))
    return _of_module(name) if name.startswith("gateway.") else _of_setting(name)


def _of_kernel(kernel: str, name: str) -> int:
    text = "".join((SRC / "_fastpath" / f"{kernel}{suffix}").read_text() for suffix in (".pxd", ".pyx"))
    found = re.search(rf"\b{name} *= *([0-9][0-9_x< ]*)", text)
    assert found is not None, f"_fastpath.{kernel} has no {name}"
    return int(eval(found[1]))


def _of_module(name: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found() if isinstance(found, type) else found, part)
        return found
    raise AssertionError(f"no module of {name}")


def _of_setting(name: str) -> Any:
    kind: Any = SCHEMA
    field = None
    for part in name.split("."):
        if part == "*":
            assert isinstance(kind, Named | Many)
            kind = kind.of
        else:
            assert isinstance(kind, Record), name
            field = kind.fields[part]
            kind = field.kind
    assert field is not None
    return field.default


@pytest.mark.parametrize("row", NAMED, ids=lambda row: row.name)
def test_a_figure_is_that_of_its_name(row: Row) -> None:
    assert float(row.figure.replace(",", "")) == value_of(row.name)


def test_every_row_says_what_is_bounded_and_each_name_stands_once() -> None:
    assert all(row.what and (row.figure or row.at_the_bound) for row in rows())
    assert len({row.name for row in NAMED}) == len(NAMED) > 100


def test_every_metric_exists() -> None:
    exposed = {_exposed(name)[0] for name in _HELP} | {name for name, *_ in _GAUGES}
    kernels = "".join(path.read_text() for path in (SRC / "_fastpath").glob("*.pyx"))
    for row in rows():
        assert not row.metric or row.metric in exposed or f'"{row.metric}"' in kernels, row


def _numeric(node: ast.expr | None) -> bool:
    if isinstance(node, ast.BinOp):
        return _numeric(node.left) and _numeric(node.right)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _constants(path: Path) -> Iterator[str]:
    """Names of a module in capitals that stand for a number."""
    for statement in ast.parse(path.read_text()).body:
        pairs: list[tuple[ast.expr, ast.expr | None]] = []
        if isinstance(statement, ast.AnnAssign):
            pairs = [(statement.target, statement.value)]
        elif isinstance(statement, ast.Assign):
            (target,) = statement.targets
            pairs = [(target, statement.value)]
            if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                pairs = list(zip(target.elts, statement.value.elts, strict=True))
        yield from (
            name.id for name, value in pairs if isinstance(name, ast.Name) and name.id.isupper() and _numeric(value)
        )


def _bounds_in_code() -> set[str]:
    found = set()
    for path in (SRC / "gateway").rglob("*.py"):
        module = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        found |= {f"{module}.{name}" for name in _constants(path)}
    for path in (SRC / "_fastpath").iterdir():
        if path.suffix in (".pyx", ".pxd"):
            found |= {f"_fastpath.{path.stem}.{name}" for name, _ in KERNEL_BOUND.findall(path.read_text())}
    return {name for name in found if not NO_BOUNDS.fullmatch(name)}


def test_no_bound_of_the_code_is_without_a_row() -> None:
    assert _bounds_in_code() - {row.name for row in NAMED} == set(), "give each a row in docs/limits.md"


def test_every_setting_that_bounds_has_a_row() -> None:
    settings = {f"bounds.{name}" for name in _record("bounds").fields} | {
        f"timeouts.{name}" for name in _record("timeouts").fields
    }
    assert settings <= {row.name for row in NAMED}


def _record(name: str) -> Record:
    kind = SCHEMA.fields[name].kind
    assert isinstance(kind, Record)
    return kind
