"""The commands as people start them, with real servers."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any, cast

import pytest

from bench import __main__ as command
from bench.compare.figures import FIGURES
from tests.bench.compare.runs import STORED
from tests.bench.test_run import left_behind, needs_servers, start

needs_two_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="a comparison needs two cores"
)


def compared(temporary: Path, *options: str, names: tuple[str, ...]) -> dict[str, Any]:
    temporary.mkdir()
    chosen = [word for name in names for word in ("--target", name)]
    process = start(
        temporary, "compare", "--rounds", "1", "--seconds", "1", "--warm-up", "0", "--json", *options, *chosen
    )
    try:
        out, err = process.communicate(timeout=110)
    finally:
        process.terminate()  # of one that has ended: nothing
        process.wait(30)
    assert process.returncode == 0, err
    assert left_behind(temporary) == []
    return cast("dict[str, Any]", json.loads(out))


@pytest.mark.nightly
@pytest.mark.timeout(120)
@needs_servers
@needs_two_cores
def test_a_short_comparison_measures_all_writes_its_page_skips_with_a_word_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no cache"))
    page = tmp_path / "report.html"
    options = ("--scenario", "chat", "--connections", "1", "--streams", "0", "--html", str(page))
    run = compared(tmp_path / "tmp", *options, names=("nginx", "throughway", "envoy"))
    assert [one["name"] for one in run["targets"]] == ["direct", "nginx", "throughway"]
    assert [one["name"] for one in run["skipped"]] == ["envoy"]
    assert "is not installed: python -m bench compare --install --target envoy" in run["skipped"][0]["reason"]
    direct, nginx, ours = run["targets"]
    for target in (nginx, ours):
        assert target["turns"][0]["faults"] == {}
        assert target["figures"]["cpu_us"]["value"] > 0
        assert target["figures"]["idle_mib"]["value"] > 1
        assert target["figures"]["start_ms"]["value"] > 1
    assert nginx["figures"]["cpu_us"]["ratio"] == 1.0
    assert direct["figures"].keys() == {"requests_per_s"}
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.nightly
@pytest.mark.timeout(150)
@needs_servers
@needs_two_cores
def test_every_figure_is_there_for_a_gateway_and_a_proxy(tmp_path: Path) -> None:
    run = compared(tmp_path / "tmp", "--connections", "2", "--streams", "100", names=("haproxy", "throughway"))
    for target in run["targets"][1:]:
        assert target["turns"][0]["faults"] == {}
        assert target["figures"].keys() >= FIGURES.keys() - {
            "added_p999_us",
            "first_p99_us",
            "slope_mib",
        }  # those need more than a second


@pytest.mark.nightly
@needs_servers
@needs_two_cores
def test_a_comparison_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, "compare", "--target", "nginx", "--seconds", "1", "--rounds", "9", "--streams", "0")
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*/1-nginx/nginx.pid")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == command.EXIT_INTERRUPTED, err
    assert left_behind(tmp_path) == []


def test_a_stored_run_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "again.html"
    assert command.main(["report", str(STORED), "--html", str(page)]) == 0
    assert "throughway" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["report", "/nowhere/run.json"], command.EXIT_FAILED),
        (["report", str(STORED), "--html", "/nowhere/page.html"], command.EXIT_FAILED),
        (["compare", "--target", "tea"], command.EXIT_USAGE),
        (["compare", "--connections", "0"], command.EXIT_USAGE),
    ],
    ids=["no run", "no folder", "no such target", "too few"],
)
def test_what_cannot_be_done_is_said(arguments: list[str], code: int) -> None:
    assert command.main(arguments) == code
