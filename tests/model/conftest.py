"""One demo for all tests here: `throughway demo` as a person starts it, found by what it prints."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.demo import DemoError, find_model
from tests.e2e.node import SOURCE, free_port, wait_for

START_S = 120.0
"""Until the model answers; about 3 s on an idle machine."""

ANSWER_S = 60.0
"""Of the clients: the machine may be busy."""


class Demo:
    """A running demo: the address and the key that it printed, and what it keeps."""

    def __init__(self, printed: str, state_dir: Path) -> None:
        self.base_url = _found(r"on (http://\S+)", printed)
        self.key = _found(r"^  key +(\S+)$", printed)
        self.state_dir = state_dir
        self._ledger = state_dir / "state" / "ledger.sqlite3"

    def record(self, request_id: str) -> dict[str, Any]:
        """The ledger's row of a request, once it has been shipped."""
        return self._shipped("id", request_id)

    def record_of_trace(self, trace_id: str) -> dict[str, Any]:
        """The same, for a request whose answer its caller did not see."""
        return self._shipped("trace_id", trace_id)

    def _shipped(self, column: str, value: str) -> dict[str, Any]:
        (row,) = wait_for(f"record whose {column} is {value}", lambda: self._records(column, value), 20.0, 0.05)
        return row

    def _records(self, column: str, value: str) -> list[dict[str, Any]]:
        if not self._ledger.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self._ledger}?mode=ro", uri=True)) as ledger:
            ledger.row_factory = sqlite3.Row
            if not ledger.execute("SELECT 1 FROM sqlite_master WHERE name = 'usage_records'").fetchall():
                return []
            return [dict(row) for row in ledger.execute(f"SELECT * FROM usage_records WHERE {column} = ?", (value,))]


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, f"{pattern!r} is not in what the demo printed: {text!r}"
    return found[1]


@contextlib.contextmanager
def running(state_dir: Path) -> Iterator[tuple[Demo, subprocess.Popen[bytes]]]:
    """A demo that is ready, and its supervisor's process. Skips where the extra `local` is not installed."""
    try:
        find_model()
    except DemoError as error:
        pytest.skip(f"the extra `local` is missing: {error}")
    environment = {
        name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_PROXY", "_proxy"))
    }
    with (state_dir / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "demo", "--state-dir", str(state_dir), "--port", str(free_port())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**environment, "PYTHONPATH": str(SOURCE)},
            start_new_session=True,
        )
    try:
        yield Demo(_printed(process, state_dir / "stderr"), state_dir), process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (state_dir / "stderr").read_text()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The one for all tests."""
    with running(tmp_path_factory.mktemp("demo")) as (demo, _):
        yield demo


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[tuple[Demo, subprocess.Popen[bytes]]]:
    """One that a test may end, and its supervisor's process."""
    with running(tmp_path) as made:
        yield made


def _printed(process: subprocess.Popen[bytes], errors: Path) -> str:
    """What the demo prints until it is ready."""
    assert process.stdout is not None
    giving_up = threading.Timer(START_S, process.kill)
    giving_up.start()
    try:
        lines = []
        for line in process.stdout:
            lines.append(line.decode())
            if "Ctrl-C stops it" in lines[-1]:
                return "".join(lines)
    finally:
        giving_up.cancel()
    raise AssertionError(f"the demo ended or was not ready after {START_S:g} s: {lines} {errors.read_text()}")


@pytest.fixture
def client(demo: Demo) -> Iterator[openai.OpenAI]:
    """The official client, with the demo's address and key."""
    with openai.OpenAI(base_url=demo.base_url, api_key=demo.key, max_retries=0, timeout=ANSWER_S) as made:
        yield made
