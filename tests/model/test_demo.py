"""The demo's life: how it ends, and what it does not do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest

from gateway import __version__
from gateway.demo import MODEL_NAME
from tests.model.conftest import ANSWER_S, Demo

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]

CHAT = {"model": MODEL_NAME, "stream": True, "messages": [{"role": "user", "content": "Count to one hundred."}]}


def test_ctrl_c_lets_a_stream_that_is_under_way_end(own_demo: tuple[Demo, subprocess.Popen[bytes]]) -> None:
    demo, process = own_demo
    body = {**CHAT, "max_tokens": 40, "temperature": 0}
    headers = {"authorization": f"Bearer {demo.key}"}
    with httpx.stream(
        "POST", f"{demo.base_url}/chat/completions", json=body, headers=headers, timeout=ANSWER_S
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the demo
        said = [line for line in lines if line]
    assert said[-1] == "data: [DONE]"
    assert not [line for line in said if '"error"' in line]
    assert process.wait(60) == 0


def test_a_demo_is_not_restarted_and_the_version_that_serves_on_is_named(demo: Demo) -> None:
    command = [sys.executable, "-m", "gateway.cli", "restart", "--config", str(demo.state_dir / "gateway.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 70
    assert "cannot be restarted in place" in done.stderr
    assert done.stderr.endswith(f"the restart failed; version {__version__} serves on\n")
