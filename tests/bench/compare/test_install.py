from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.compare import install
from bench.compare.install import Packages
from bench.errors import BenchError, MissingError

PIP = Packages("pip", ("some-gateway==1.2",))
APT = Packages("apt", ("no-such-package",), command="nginx")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "throughway-bench"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_what_needs_nothing_is_never_missing() -> None:
    assert install.missing("throughway", None) is None


def test_what_was_not_installed_says_how() -> None:
    reason = install.missing("some", PIP)
    assert reason == "some-gateway==1.2 is not installed: python -m bench compare --install --target some"


def test_it_is_installed_into_its_own_environment_once(cache: Path, asked: list[list[str]]) -> None:
    install.install("some", PIP)
    venv, pip = asked
    assert venv == [sys.executable, "-m", "venv", str(cache / "some")]
    assert (pip[0], pip[-2:]) == (str(cache / "some" / "bin" / "python"), ["install", "some-gateway==1.2"])
    assert install.missing("some", PIP) is None
    install.install("some", PIP)
    assert len(asked) == 2


def test_another_pin_is_another_installation(cache: Path, asked: list[list[str]]) -> None:
    install.install("some", PIP)
    assert install.missing("some", Packages("pip", ("some-gateway==1.3",))) is not None


def test_an_interrupted_installation_counts_for_nothing(cache: Path) -> None:
    (cache / "some" / "bin").mkdir(parents=True)
    assert install.missing("some", PIP) is not None


def test_a_failed_installation_says_what_the_package_manager_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "no such version")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(BenchError, match="no such version"):
        install.install("some", PIP)
    assert install.missing("some", PIP) is not None


def test_packages_of_the_system_are_left_to_whoever_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingError, match="nginx is not installed; on Debian: apt install nginx"):
        install.install("nginx", APT)
