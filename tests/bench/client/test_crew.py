"""Several load processes are as one, but for what they can do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench import proc, servers
from bench.client import crew, payloads, run
from bench.client.session import Settings
from bench.errors import BenchError
from tests.bench.upstream.mock import ROOT, Mock, playing

SCRIPT = """\
text_bytes: 40
routes: [{prefix: /some, faults: [{kind: error, share: 0.2, status: 503}]}]
"""
KEY = "sk-of-the-crew"


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    path = tmp_path_factory.mktemp("crew") / "script.yaml"
    path.write_text(SCRIPT)
    with playing("--script", str(path)) as mock:
        yield mock


def settings(url: str = "http://127.0.0.1:1", *, rate: float | None = None, seconds: float = 0.3) -> Settings:
    return Settings(
        target=payloads.target(url),
        rate=rate,
        arrivals="constant",
        processes=3,
        connections=7,
        seconds=seconds,
        warm_up_s=0.1,
        timeout_s=10.0,
        seed=1,
        max_lag_ms=1.0,
        trust=None,
        check_certificate=True,
    )


ENTRIES = [payloads.built_in("openai", "m", True, 100)]


def test_connections_and_rate_are_shared_and_the_turns_of_all_are_those_of_one() -> None:
    shares = crew.shares(settings(rate=1_000))
    assert [share.settings.connections for share in shares] == [3, 2, 2]
    assert len({share.settings.seed for share in shares}) == 3
    turns = [
        share.offset_ns + number * 1e9 / rate
        for share in shares
        if (rate := share.settings.rate)
        for number in range(100)
    ]
    assert sorted(turns) == pytest.approx([number * 1e6 for number in range(300)], abs=1)


def test_shares_of_a_closed_loop_begin_together() -> None:
    assert [(share.offset_ns, share.settings.rate) for share in crew.shares(settings())] == [(0, None)] * 3


def test_an_open_loop_of_several_asks_as_often_as_one(mock: Mock) -> None:
    told: list[str] = []
    asked = settings(f"{mock.url}/some", rate=1_000)
    result = run.run(asked, ENTRIES, KEY, lambda what, _: told.append(what))
    assert result.requests == pytest.approx(300, abs=3)
    assert result.answered + result.failed == result.requests
    assert result.statuses == {503: result.failures["status"]}
    assert result.failed == pytest.approx(60, abs=28)
    assert sum(count for _, count in result.latency_buckets_us) == result.latency.count == result.answered
    assert result.generator.lag.count == result.requests
    assert (result.connections, result.generator.processes) == (7, 3)
    assert result.streams is not None
    assert result.streams.first_token.count == result.answered
    assert {"connecting", "warm-up", "measuring"} <= set(told)
    assert active_children() == []


def test_the_command_prints_one_table_of_a_closed_loop(mock: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--processes", "2", "--connections", "4", "--seconds", "0.2", "--warm-up", "0", "--json")
    bench.main(["load", mock.url, *asked])  # the code says how busy the machine is
    result = json.loads(capsys.readouterr().out)
    assert (result["loop"], result["generator"]["processes"], result["failed"]) == ("closed", 2, 0)
    assert result["answered"] == result["latency"]["count"] > 50


def test_a_process_that_is_lost_fails_the_run(mock: Mock) -> None:
    def on_progress(what: str, _: float) -> None:
        if what == "measuring":
            for process in active_children():
                if process.name == "load process 2":
                    process.kill()

    with pytest.raises(BenchError, match=r"^load process 2 ended with -9$"):
        run.run(settings(mock.url, seconds=20), ENTRIES, None, on_progress)
    assert active_children() == []


def test_a_target_that_nobody_answers_is_said_once() -> None:
    with pytest.raises(BenchError, match=r"^127\.0\.0\.1:1 cannot be reached with connection 1: "):
        run.run(settings(), ENTRIES, None, lambda *_: None)
    assert active_children() == []


def test_more_processes_than_connections_are_refused() -> None:
    with pytest.raises(BenchError, match="3 processes share 2 connections: each needs one at least"):
        crew.shares(replace(settings(), connections=2))


def test_processes_end_with_the_one_that_began_them_and_do_not_show_the_key(mock: Mock) -> None:
    command = [sys.executable, "-m", "bench", "load", mock.url, "--processes", "2", "--rate", "50", "--seconds", "60"]
    parent = subprocess.Popen(
        [servers.find("setpriv"), "--pdeathsig", "TERM", "--", *command, "--key", "env:CREW_KEY"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "CREW_KEY": KEY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 20
    try:
        while len(connected := [pid for pid in children(parent.pid) if sockets(pid) > 20]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not any(KEY in Path(f"/proc/{pid}/cmdline").read_text() for pid in connected)
    finally:
        parent.send_signal(signal.SIGKILL)
        _, said = parent.communicate(timeout=20)
    while any(Path(f"/proc/{pid}").exists() for pid in connected):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert b"Traceback" not in said


def children(parent: int) -> list[int]:
    return proc.family(parent, proc.all_stats())[1:]


def sockets(pid: int) -> int:
    """How many a process holds; 32 of those that ask are connections."""
    with suppress(FileNotFoundError):  # it ended, or a descriptor was closed: look again
        return sum(os.readlink(each).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())
    return 0
