"""The command as people start it, with real servers: one short round."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from bench import __main__ as command
from bench import servers
from bench.errors import BenchError, MissingError

ROOT = Path(__file__).parents[2]
NEEDED = ("nginx", "wrk", "setpriv")
MISSING = [name for name in NEEDED if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None]
needs_servers = pytest.mark.skipif(
    bool(MISSING) or sys.platform != "linux", reason=f"needs Linux, and not here: {', '.join(MISSING)}"
)


def start(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_behind(temporary: Path) -> list[str]:
    """Files of a run, and command lines of processes that name its folder and do not end within some seconds."""
    deadline = time.monotonic() + 5
    while (found := found_now(temporary)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def found_now(temporary: Path) -> list[str]:
    found = [str(path) for path in temporary.iterdir()]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(temporary) in line:
                found.append(line)
    return found


@needs_servers
def test_a_short_run_measures_both_writes_its_page_holds_the_budget_and_leaves_nothing(tmp_path: Path) -> None:
    temporary, html = tmp_path / "tmp", tmp_path / "report.html"
    temporary.mkdir()
    process = start(
        temporary, "--rounds", "1", "--seconds", "1", "--warm-up", "0", "--json", "--html", str(html), "--budget", "0.1"
    )
    out, err = process.communicate(timeout=50)
    assert process.returncode == command.EXIT_OVER_BUDGET, err
    assert "over budget: chat: throughway costs" in err
    nginx, ours = json.loads(out)["comparisons"][0]["series"]
    assert (nginx["target"], ours["target"]) == ("nginx", "throughway")
    for series in (nginx, ours):
        assert series["median"]["requests_per_s"] > 100
        assert 0 < series["median"]["worker_cpu_us"] <= series["median"]["tree_cpu_us"]
    assert html.read_text().startswith("<!doctype html>")
    assert left_behind(temporary) == []


@pytest.mark.nightly
@needs_servers
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, command.EXIT_INTERRUPTED), (signal.SIGTERM, command.EXIT_TERMINATED)]
)
def test_a_run_that_is_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    process = start(tmp_path, "--seconds", "30")
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("*/chat.lua")):  # written when all servers stand
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert left_behind(tmp_path) == []


@needs_servers
def test_a_server_that_does_not_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"^it ended with 3 while it started: no luck$"),
        servers.running("it", [sys.executable, "-c", "print('no luck'); exit(3)"], tmp_path / "log") as process,
    ):
        servers.Server("it", process, servers.free_port(), tmp_path / "log").wait_until(f"{servers.free_port()}/")


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    for name in NEEDED:
        with pytest.raises(MissingError, match=f"^{name} is not installed; on Debian: apt install [a-z-]+$"):
            servers.find(name)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--rounds", "0"], command.EXIT_USAGE, "Must be >= 1"),
        (["--scenario", "tea"], command.EXIT_USAGE, "tea"),
        (["--html", "/nowhere/report.html"], command.EXIT_FAILED, "its folder does not exist"),
    ],
    ids=["rounds", "scenario", "html"],
)
def test_what_cannot_be_done_is_said_before_anything_is_started(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    process = start(tmp_path, *arguments)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code, err
    assert message in err


def test_elsewhere_than_on_linux_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = StringIO()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(command, "_err", Console(file=said, width=200))
    assert command.main(["--json"]) == command.EXIT_MISSING
    assert said.getvalue() == "bench: the bench runs on Linux only: it reads CPU times from /proc\n"
