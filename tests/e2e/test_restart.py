"""A restart in place: successors serve beside those before them, with the version that is installed then; nothing is lost."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import __version__
from tests.e2e.conftest import RawConnection, Tls, secret_of
from tests.e2e.load import Callers
from tests.e2e.node import SOURCE, Gateway, free_port, wait_for
from tests.e2e.test_lifecycle import streamed_request
from tests.support.http2_client import Http2Client
from tests.support.scripted_upstream import STALL, ScriptedUpstream, chat_events, completion, json_answer, stream

MakeGateway = Callable[..., Gateway]
NEXT = "9.9.9"


class Installed:
    """A folder of versions, and a link to the one that is installed, as a deployment might have it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.link = directory / "current"
        self.link.symlink_to(SOURCE)

    def upgrade(self, version: str, **edits: tuple[str, str]) -> None:
        """Installs a copy that calls itself `version`; `edits` replace text in files of the package, by their module's name."""
        copy = self._directory / version
        shutil.copytree(SOURCE / "gateway", copy / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "_fastpath").symlink_to(SOURCE / "_fastpath")
        for module, (old, new) in {"__init__": (__version__, version), **edits}.items():
            file = copy / "gateway" / f"{module.replace('__init__', '@').replace('_', '/').replace('@', '__init__')}.py"
            text = file.read_text()
            assert old in text
            file.write_text(text.replace(old, new, 1))
        new_link = self._directory / "new"
        new_link.symlink_to(copy)
        new_link.replace(self.link)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    directory = tmp_path / "installed"
    directory.mkdir()
    return Installed(directory)


@contextlib.contextmanager
def always_ready(node: Gateway) -> Iterator[None]:
    """Asks /readyz all the time, as a load balancer does, on connections of their own."""
    answers: list[object] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers.append(node.ops("/readyz").status)
            except OSError as error:
                answers.append(repr(error))
            time.sleep(0.005)

    asking = threading.Thread(target=ask)
    asking.start()
    yield
    ended.set()
    asking.join()
    assert set(answers) == {200}


def restart(node: Gateway, *words: str) -> subprocess.CompletedProcess[str]:
    done = node.command("restart", *words)
    assert done.returncode == 0, (done, node.log_file.read_text()[-4_000:])
    return done


def chat(script: str) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [], "x_script": script}


def slow_stream(upstream: ScriptedUpstream, pause_s: float = 0.3) -> str:
    events = chat_events()
    return upstream.script(stream([*events[:2], pause_s, *events[2:]]))


def test_an_upgrade_under_load_fails_no_request(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, installed: Installed
) -> None:
    node = make_gateway(workers=2, start=False)
    node.run_version(installed.link)
    node.start()
    before = node.worker_pids()
    script = upstream.script(json_answer(completion()))
    with Callers(node, script, 30) as plain, Callers(node, slow_stream(upstream), 20, stream=True) as streams:
        wait_for("all call", lambda: streams.answered > 20)
        installed.upgrade(NEXT)
        with always_ready(node):
            done = restart(node)
        served = plain.answered + streams.answered
        wait_for("calls go on", lambda: plain.answered + streams.answered > served + 50)
    assert (plain.failures, streams.failures) == ([], [])
    assert node.status()["version"] == NEXT
    assert f"version {NEXT} serves" in done.stdout
    assert not set(node.worker_pids()) & set(before)
    wait_for("those before have gone", lambda: node.restart_state() == "done")
    assert len(node.processes()) == 4, "the supervisor, in the process that it was, two workers and the agent"
    assert all(not Path(f"/proc/{pid}").exists() for pid in before)


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        pytest.param(
            {"dataplane_agent": ("annotations\n", "annotations\nimport no_such_module\n")},
            "no_such_module",
            id="cannot be imported",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            {"dataplane_worker": ("        memory.set_state(slot, slots.SERVING)", "        os._exit(3)")},
            "exit code 3",
            id="its workers end",
        ),
    ],
)
def test_a_broken_upgrade_leaves_the_old_version_serving(
    make_gateway: MakeGateway,
    upstream: ScriptedUpstream,
    installed: Installed,
    edits: dict[str, tuple[str, str]],
    says: str,
) -> None:
    node = make_gateway(start=False)
    node.run_version(installed.link)
    node.start()
    before = node.worker_pids()
    with Callers(node, upstream.script(json_answer(completion())), 10) as callers, always_ready(node):
        installed.upgrade(NEXT, **edits)
        done = node.command("restart")
    assert done.returncode == 70, done
    assert says in done.stderr
    assert f"version {__version__} serves on" in done.stderr
    assert callers.failures == []
    assert (node.worker_pids(), node.status()["version"]) == (before, __version__)
    wait_for("nothing is left of it", lambda: len(node.processes()) == 3)


def test_a_configuration_that_cannot_be_taken_over_is_refused(make_gateway: MakeGateway) -> None:
    node = make_gateway()
    before = node.worker_pids()
    node.configure({**node.settings, "models": "none"})
    done = node.command("restart")
    assert (done.returncode, "gateway.yaml:" in done.stderr) == (78, True), done
    with Gateway.taken_port() as port:
        node.configure({**node.settings, "ops": f"127.0.0.1:{port}"})
        done = node.command("restart")
    assert (done.returncode, "another process uses the address" in done.stderr) == (70, True), done
    node.configure(node.settings)
    assert node.worker_pids() == before


def test_what_is_under_way_outlives_a_restart_and_counts_against_the_limits(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    node = make_gateway(keys={"main": {}, "limited": {"limits": {"concurrency": 2}}}, drain_grace_ms=100)
    stalled = upstream.script(stream([*chat_events()[:2], STALL]))
    body = json.dumps(chat(upstream.script(json_answer(completion()))))
    ask = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nx-api-key: {secret_of('main')}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    ).encode()
    with contextlib.ExitStack() as stack:
        resting, streaming, before = (stack.enter_context(RawConnection(node)) for _ in range(3))
        resting.send(ask)
        assert b"connection: close" not in resting.read()
        before.send(streamed_request(stalled, "limited"))
        before.read()
        streaming.send(streamed_request(slow_stream(upstream, 2.5)))
        seen = streaming.read()
        restart(node)
        with RawConnection(node) as after:
            after.send(streamed_request(stalled, "limited"))
            assert after.read().startswith(b"HTTP/1.1 200 ")
            assert node.ask(json.loads(body), secret_of("limited")).status == 429, "old and new worker share the limit"
        resting.send(ask)
        answer = resting.read_to_end()
        assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer
        while b"[DONE]" not in seen:
            part = streaming.read()
            assert part, "the stream was cut"
            seen += part
    wait_for("those before have gone", lambda: node.restart_state() == "done")
    with node.limits() as table:
        assert table.in_flight(b"key/cfg-limited") == 0


def test_who_has_just_reached_the_agent_before_is_still_answered(make_gateway: MakeGateway) -> None:
    """As a load balancer's probe that is accepted in the moment in which the successor takes over."""
    node = make_gateway()
    with socket.create_connection(("127.0.0.1", node.ops_port), timeout=5) as probe:
        restart(node)
        probe.sendall(b"GET /readyz HTTP/1.1\r\nhost: h\r\n\r\n")
        answer = b""
        while part := probe.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer
    wait_for("those before have gone", lambda: node.restart_state() == "done")


@pytest.mark.parametrize("counts", [[2], pytest.param([3, 1, 2], marks=pytest.mark.nightly)])
def test_a_restart_takes_up_another_number_of_workers(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, counts: list[int]
) -> None:
    """More do not fit the node's memory, which is made anew; the sockets of fewer are shared out to those that are left."""
    node = make_gateway()
    with Callers(node, upstream.script(json_answer(completion())), 10) as callers, always_ready(node):
        for workers in counts:
            node.configure({**node.settings, "workers": workers})
            restart(node)
            assert node.ops("/readyz").body == f"{workers} of {workers} workers serving\n".encode()
            served = callers.answered
            wait_for("calls go on", lambda before=served: callers.answered > before + 20)  # type: ignore[misc]
    assert callers.failures == []


@pytest.mark.nightly
def test_a_restart_takes_up_another_address(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    node = make_gateway()
    old_port, node.port = node.port, free_port()
    node.configure({**node.settings, "listen": f"127.0.0.1:{node.port}"})
    restart(node, "--wait")
    assert node.ask(chat(upstream.script(json_answer(completion()))), secret_of("main")).status == 200
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", old_port)) != 0


def test_no_process_outlives_a_supervisor_that_is_killed_in_a_restart(make_gateway: MakeGateway) -> None:
    node = make_gateway(workers=2)
    node.signal(signal.SIGUSR2)
    wait_for("it is rehearsed", lambda: node.restart_state() == "rehearsing" and len(node.processes()) > 4)
    node.kill()
    wait_for("all are gone", lambda: not node.processes(), 1.0)


# -- the whole numbers


@pytest.mark.nightly
def test_a_restart_waits_for_the_place_of_a_worker_that_still_retires(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    node = make_gateway()
    with RawConnection(node) as streaming:
        streaming.send(streamed_request(upstream.script(stream([*chat_events()[:2], STALL]))))
        streaming.read()
        steps = [json.loads(line) for line in restart(node, "--json").stdout.splitlines()]
        assert ({step["restart"] for step in steps}, steps[-1]["state"]) == ({1}, "leaving")
        node.signal(signal.SIGUSR2)
        wait_for("it waits", lambda: "waits until" in (node.state_dir / "run" / "restart.json").read_text(), 20.0)
    wait_for("it is done", lambda: node.restart_state() == "done", 20.0)
    assert len(node.processes()) == 3


@pytest.mark.nightly
@pytest.mark.parametrize("command", ["serve", "control-plane"])
def test_the_control_plane_is_restarted_too(make_gateway: MakeGateway, command: str) -> None:
    node = make_gateway(start=False)
    node.begin(command)
    host, port = node.settings["admin"]["listen"].split(":")

    def answers() -> bool:
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    wait_for("it answers", answers)
    assert "control-plane: " in restart(node, "--wait").stdout
    assert answers()


@pytest.mark.nightly
@pytest.mark.timeout(1_800)  # two and a half minutes on a machine at rest
def test_a_hundred_restarts_under_load_fail_no_request(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    node = make_gateway(workers=2)
    script = upstream.script(json_answer(completion()))
    with Callers(node, script, 60) as plain, Callers(node, slow_stream(upstream), 40, stream=True) as streams:
        restart(node)
        held = len(os.listdir(f"/proc/{node.process.pid}/fd"))
        for _ in range(99):
            restart(node)
    assert len(os.listdir(f"/proc/{node.process.pid}/fd")) <= held, "the supervisor hands on what it needs, and no more"
    print(
        f"{plain.answered} answers, {streams.answered} streams, {plain.connections + streams.connections} connections"
    )
    assert (plain.failures, streams.failures) == ([], [])
    wait_for("those before have gone", lambda: node.restart_state() == "done", 30.0)
    assert len(node.processes()) == 4


class Http2Callers:
    """Call over HTTP/2, three streams at a time on each connection, and go elsewhere where they are told to."""

    def __init__(self, node: Gateway, tls: Tls, script: str, count: int) -> None:
        self.answered = self.connections = 0
        self.failures: list[str] = []
        self._node, self._context, self._script = node, tls.context("h2"), script
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]

    def __enter__(self) -> Http2Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        while not self._ending.is_set():
            try:
                client = Http2Client(self._node.http2_port, self._context)
            except OSError as error:
                self.failures.append(f"no connection: {error!r}")
                time.sleep(0.1)
                continue
            self.connections += 1
            with client:
                while not self._ending.is_set() and client.open and not client.goaway:
                    self._streams(client)
                    client.read(0.02)  # it rests, and may be told to go

    def _streams(self, client: Http2Client) -> None:
        body = {**chat(self._script), "stream": True}
        try:
            numbers = [client.chat(secret_of("main"), body) for _ in range(3)]
        except OSError as error:  # it was told to go, and has closed
            if not client.goaway and client.read(1.0) and not client.goaway:
                self.failures.append(f"a connection that nobody ended: {error!r}")
            client.open = False
            return
        for number in numbers:
            answer = client.answer(number)
            if answer.ended and answer.status == 200 and b"[DONE]" in answer.body:
                self.answered += 1
            elif answer.status or not client.goaway:  # what came behind GOAWAY was not taken, and is asked for again
                self.failures.append(f"{answer.status}, ended {answer.ended}, reset {answer.reset}: {answer.body!r}")


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_streams_over_http2_end_whole_through_restarts_and_newcomers_are_answered(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, tls: Tls
) -> None:
    node = make_gateway(workers=2, http2={"tls": tls.settings})
    with Http2Callers(node, tls, slow_stream(upstream), 8) as callers:
        wait_for("all call", lambda: callers.answered > 24)
        for _ in range(10):
            restart(node)
            served = callers.answered
            wait_for("calls go on", lambda served=served: callers.answered > served + 24)  # type: ignore[misc]
    print(f"{callers.answered} streams on {callers.connections} connections")
    assert callers.failures == []
    assert callers.connections > 8, "they were told to go"
    wait_for("those before have gone", lambda: node.restart_state() == "done", 30.0)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_restarts_lose_no_request_over_http1_on_the_listener_of_http2(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    """Callers whose connections mostly rest, and are asked on just when a worker retires."""
    node = make_gateway(workers=2, http2={})
    port, script = node.http2_port, upstream.script(json_answer(completion()))
    with (
        Callers(node, script, 60, pause_s=0.5, port=port) as plain,
        Callers(node, slow_stream(upstream), 20, pause_s=0.5, stream=True, port=port) as streams,
    ):
        wait_for("all call", lambda: streams.answered > 20)
        for _ in range(10):
            restart(node)
            served = streams.answered
            wait_for("calls go on", lambda served=served: streams.answered > served + 20)  # type: ignore[misc]
    print(
        f"{plain.answered} answers, {streams.answered} streams, {plain.connections + streams.connections} connections"
    )
    assert (plain.failures, streams.failures) == ([], [])
    assert plain.connections > 2 * 60, "they were told to go"
    wait_for("those before have gone", lambda: node.restart_state() == "done", 30.0)


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_node_may_be_killed_or_stopped_at_any_moment_of_a_restart(make_gateway: MakeGateway) -> None:
    chance = random.Random(7)
    for round_ in range(20):
        node = make_gateway(workers=2)
        node.signal(signal.SIGUSR2)
        time.sleep(chance.uniform(0, 1.5))
        if round_ % 2:
            node.stop()
            assert node.restart_state() in ("", "failed", "done")
        else:
            os.kill(node.process.pid, signal.SIGKILL)
            wait_for("all are gone", lambda node=node: not node.processes(), 1.0)  # type: ignore[misc]
            node.kill()
