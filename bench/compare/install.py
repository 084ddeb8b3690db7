"""Environments for peers: each in a directory of its own under a cache, so that none can touch another or ours.

Nothing is installed unless asked for. A directory counts as whole once its last file, the list of what was asked, is
written: an interrupted installation is done anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bench import servers
from bench.errors import BenchError, MissingError

_INSTALL_S: Final = 900.0
_SAID_BYTES: Final = 1_500


@dataclass(frozen=True, slots=True)
class Packages:
    """What a peer is made of.

    Args:
        manager: `pip` and `npm` install into the peer's own directory; `apt` is left to whoever runs the machine.
        names: pinned, but for `apt`: there the package that holds `command`.
        command: the program, for `apt` alone.
    """

    manager: Literal["apt", "pip", "npm"]
    names: tuple[str, ...]
    command: str = ""


def home(name: str) -> Path:
    """A peer's own directory."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "throughway-bench" / name


def missing(name: str, packages: Packages | None) -> str | None:
    """Why the peer cannot be started, in a sentence; None if it can."""
    if packages is None:
        return None
    if packages.manager == "apt":
        try:
            servers.find(packages.command)
        except MissingError as error:
            return str(error)
        return None
    if _mark(name).is_file() and _mark(name).read_text() == _content(packages):
        return None
    return f"{' '.join(packages.names)} is not installed: python -m bench compare --install --target {name}"


def install(name: str, packages: Packages | None) -> None:
    """Installs what is missing.

    Raises:
        BenchError: the package manager failed; the end of what it said is in the message.
        MissingError: it must be installed by hand.
    """
    reason = missing(name, packages)
    if packages is None or reason is None:
        return
    if packages.manager == "apt":
        raise MissingError(reason)
    where = home(name)
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    if packages.manager == "pip":
        _run([sys.executable, "-m", "venv", str(where)], where)
        pip = [str(where / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _run([*pip, "install", *packages.names], where)
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise MissingError("npm is not installed; on Debian: apt install npm")
        _run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(where), *packages.names], where)
    _mark(name).write_text(_content(packages))


def _mark(name: str) -> Path:
    return home(name) / "installed.txt"


def _content(packages: Packages) -> str:
    return "".join(f"{name}\n" for name in packages.names)


def _run(command: list[str], where: Path) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False, cwd=where)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(command)}: it did not end within {_INSTALL_S:.0f} s") from error
    if ran.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {(ran.stderr or ran.stdout).strip()[-_SAID_BYTES:]}")
