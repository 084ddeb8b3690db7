"""The mock provider as people start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import servers

ROOT = Path(__file__).parents[3]
_WITH_US = (servers.find("setpriv"), "--pdeathsig", "TERM", "--")  # a run of tests that is killed leaves nobody


@dataclass
class Mock:
    """A mock that plays; `summary` is what it said at its end."""

    url: str
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.rpartition("//")[2].rpartition(":")
        return host, int(port)

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.summary["counts"]
        return counts


@contextmanager
def playing(*arguments: str, stop_by: signal.Signals = signal.SIGTERM) -> Iterator[Mock]:
    process = subprocess.Popen(
        [*_WITH_US, sys.executable, "-m", "bench", "upstream", "--listen", "127.0.0.1:0", "--json", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        assert url, process.stderr.read()
        mock = Mock(url)
        yield mock
        process.send_signal(stop_by)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        mock.summary = json.loads(out)
    finally:
        process.kill()
        process.communicate(timeout=20)
