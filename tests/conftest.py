"""What holds for all tests."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pytest_configure() -> None:
    """A compiled module hides its source: one that is older than that would be tested in its place."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for built in (*(ROOT / "src").rglob(f"*{suffix}"), *(ROOT / "bench/native").glob(f"*{suffix}")):
        base = built.with_name(built.name.removesuffix(suffix))
        sources = [base.with_suffix(kind) for kind in (".pyx", ".py", ".pxd")]
        if not base.with_suffix(".pxd").exists():
            raise pytest.UsageError(f"{built} has no source any more: run `make setup`")
        if any(source.exists() and source.stat().st_mtime > built.stat().st_mtime for source in sources):
            raise pytest.UsageError(f"{built} is older than its source: run `make setup`")
