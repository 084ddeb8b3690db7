"""Compiled Python means what it means uncompiled: the same tests pass over the sources alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITES = (
    "tests/gateway/phases",
    "tests/gateway/dataplane/test_pipeline.py",
    "tests/gateway/codec",
    "tests/gateway/net",
)


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_the_phases_pass_their_tests_uncompiled(tmp_path: Path) -> None:
    built = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "src/gateway", tmp_path / "src/gateway", ignore=built)
    shutil.copytree(ROOT / "src/_fastpath", tmp_path / "src/_fastpath")
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=built)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    where = "import gateway.phases.account as m; print(m.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    shown = python("-c", where)
    assert shown.stdout.strip() == str(tmp_path / "src/gateway/phases/account.py"), shown.stderr
    done = python("-m", "pytest", "-q", "-m", "not nightly", *SUITES)
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
