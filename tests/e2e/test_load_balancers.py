"""The recipes of docs/operations.md, word for word: a node behind each balancer ends, and no caller notices."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.load import Callers
from tests.e2e.node import Gateway, free_port, wait_for
from tests.support.scripted_upstream import ScriptedUpstream, chat_events, completion, json_answer, stream

MakeGateway = Callable[..., Gateway]
PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/sbin:/bin"

pytestmark = pytest.mark.nightly


def recipe(balancer: str) -> tuple[str, int]:
    """The block behind the line that begins with the balancer's name, and the `lame_duck_ms` that goes with it."""
    pattern = rf"^{balancer}, with `lame_duck_ms: (\d+)`(?:.+\n)+\n((?: {{4}}.*\n)+)"
    found = re.search(pattern, PAGE, re.MULTILINE)
    assert found is not None
    return found[2], int(found[1])


def haproxy(directory: Path, nodes: list[Gateway], port: int) -> list[str]:
    backend, _ = recipe("HAProxy")
    for number, node in enumerate(nodes, 1):
        backend = backend.replace(f"10.0.0.{number}:8080", f"127.0.0.1:{node.port} port {node.ops_port}")
    file = directory / "haproxy.cfg"
    file.write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 600s\n"
        f"frontend in\n  bind 127.0.0.1:{port}\n  default_backend throughway\n{backend}"
    )
    return ["haproxy", "-db", "-f", str(file)]


def nginx(directory: Path, nodes: list[Gateway], port: int) -> list[str]:
    servers, _ = recipe("nginx")
    for number, node in enumerate(nodes, 1):
        servers = servers.replace(f"10.0.0.{number}:8080", f"127.0.0.1:{node.port}")
    file = directory / "nginx.conf"
    file.write_text(
        f"daemon off; pid {directory}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n"
        f"fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;\n"
        f"{servers.replace('listen 80;', f'listen 127.0.0.1:{port};')} }}"
    )
    return ["nginx", "-c", str(file), "-p", str(directory), "-e", "stderr"]


def take_out(directory: Path, node: Gateway) -> None:
    """As the page says: `down`, and a reload."""
    file = directory / "nginx.conf"
    file.write_text(file.read_text().replace(f"{node.port} max_fails", f"{node.port} down max_fails"))
    os.kill(int((directory / "nginx.pid").read_text()), signal.SIGHUP)

    def left() -> bool:
        before = node.metric("throughway_requests_total")
        time.sleep(0.5)
        return node.metric("throughway_requests_total") == before

    wait_for("nginx asks it no more", left)


@contextmanager
def running(command: list[str], port: int, log_file: Path) -> Iterator[None]:
    program = shutil.which(command[0], path=PATH)
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    with log_file.open("w") as log:
        process = subprocess.Popen([program, *command[1:]], stdout=log, stderr=log)
    try:
        wait_for("it listens", lambda: _answers(port))
        yield
        assert process.poll() is None, log_file.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("name", "command"), [("HAProxy", haproxy), ("nginx", nginx)], ids=["haproxy", "nginx"])
def test_no_caller_behind_a_balancer_notices_that_a_node_ends(
    make_gateway: MakeGateway,
    upstream: ScriptedUpstream,
    tmp_path: Path,
    name: str,
    command: Callable[[Path, list[Gateway], int], list[str]],
) -> None:
    _, lame_duck_ms = recipe(name)
    keep = name != "nginx"  # whose reload closes the connections of its own callers under them
    nodes = [make_gateway(lame_duck_ms=lame_duck_ms) for _ in range(2)]
    port = free_port()
    plain = upstream.script(json_answer(completion()))
    events = chat_events()
    slow = upstream.script(stream([*events[:2], 0.3, *events[2:]]))
    with running(command(tmp_path, nodes, port), port, tmp_path / "balancer.log"):
        time.sleep(1.5)  # the first look at /readyz
        with (
            Callers(nodes[0], plain, 40, keep=keep, port=port) as callers,
            Callers(nodes[0], slow, 20, stream=True, keep=keep, port=port) as streams,
        ):
            wait_for("both nodes serve", lambda: all(node.metric("throughway_requests_total") > 50 for node in nodes))
            if name == "nginx":
                take_out(tmp_path, nodes[0])
            nodes[0].signal(signal.SIGTERM)
            assert nodes[0].process.wait(30) == 0
            served = callers.answered
            wait_for("calls go on", lambda: callers.answered > served + 100)
    assert (callers.failures, streams.failures) == ([], [])
