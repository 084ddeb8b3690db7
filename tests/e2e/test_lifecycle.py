"""A node's life: its start, the deaths of its workers, its drain."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import RawConnection, secret_of
from tests.e2e.load import Callers, callers_of
from tests.e2e.node import Gateway, wait_for
from tests.support.scripted_upstream import STALL, ScriptedUpstream, chat_events, completion, json_answer, stream

MakeGateway = Callable[..., Gateway]


def streamed_request(script: str, key: str = "main") -> bytes:
    body = json.dumps({"model": "gpt-4o-mini", "messages": [], "stream": True, "x_script": script}).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nx-api-key: {secret_of(key)}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body


def time_of_first_answer_s(node: Gateway, script: str) -> float:
    """From the start of the command to the first whole answer."""

    def answered() -> bool:
        try:
            return (
                node.ask({"model": "gpt-4o-mini", "messages": [], "x_script": script}, secret_of("main")).status == 200
            )
        except OSError:
            return False

    begun = time.monotonic()
    node.begin()
    wait_for("answered", answered, every_s=0.005)
    took_s = time.monotonic() - begun
    node.stop()
    return took_s


@pytest.mark.nightly  # a bare time: it wants a machine at rest
@pytest.mark.parametrize("public_prices", [False, True])
def test_the_first_request_is_answered_within_a_second_of_the_start(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, public_prices: bool
) -> None:
    """The median of three, and of another three where the machine was busy with something else."""
    script = upstream.script(json_answer(completion()))
    node = make_gateway(start=False)
    if public_prices:
        node.settings["providers"]["openai"] = {"kind": "openai", "base_url": "https://api.openai.com/v1"}
        node.settings["models"]["gpt-4o"] = {"targets": [{"provider": "openai"}]}
        node.configure(node.settings)
    rounds = []
    for _ in range(4):
        rounds.append(statistics.median(time_of_first_answer_s(node, script) for _ in range(3)))
        if rounds[-1] < 1.0:
            return
    raise AssertionError(f"medians in seconds: {rounds}")


def test_a_drain_finishes_streams_refuses_newcomers_and_exits_0(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    node = make_gateway(drain_grace_ms=5_000)
    events = chat_events()
    script = upstream.script(stream([*events[:2], 1.0, *events[2:]]))
    with RawConnection(node) as streaming, RawConnection(node) as resting:
        streaming.send(streamed_request(script))
        seen = streaming.read()
        begun = time.monotonic()
        node.signal(signal.SIGTERM)
        assert resting.read() == b"", "a connection without a request is closed soon"
        wait_for("newcomers are refused", lambda: _refused(node.port), 2.0)
        seen += streaming.read_to_end()
    assert seen.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert node.process.wait(5) == 0
    assert 0.9 < time.monotonic() - begun < 3
    assert not node.processes()
    found = re.search(rb"x-request-id: (\S+)", seen)
    assert found is not None
    assert node.record(found[1].decode())["output_tokens"] == 46, "accounted for, and shipped, before the end"


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_readiness_fails_first_while_the_node_still_serves(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    node = make_gateway(lame_duck_ms=600)
    node.signal(signal.SIGTERM)
    wait_for("not ready", lambda: node.ops("/readyz").status == 503, 2.0)
    assert b"draining" in node.ops("/readyz").body
    script = upstream.script(json_answer(completion()))
    assert node.ask({"model": "gpt-4o-mini", "messages": [], "x_script": script}, secret_of("main")).status == 200
    assert node.process.wait(5) == 0


def test_what_outlasts_the_grace_is_cut_and_recorded(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    node = make_gateway(drain_grace_ms=300)
    script = upstream.script(stream([*chat_events()[:3], STALL]))
    with RawConnection(node) as connection:
        connection.send(streamed_request(script))
        seen = connection.read()
        while b"Gr" not in seen:
            seen += connection.read()
        node.signal(signal.SIGTERM)
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            seen += connection.read_to_end()
    assert time.monotonic() - begun < 2
    assert not seen.endswith(b"0\r\n\r\n") and b"[DONE]" not in seen
    node.process.wait(5)
    assert not node.processes()
    found = re.search(rb"x-request-id: (\S+)", seen)
    assert found is not None
    record = node.record(found[1].decode())
    assert record["estimated"] == 1 and record["code"] == "client_closed_request"
    upstream.wait_until_left(script)


def test_a_killed_worker_is_replaced_and_service_goes_on(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    node = make_gateway(workers=2, keys={"main": {"limits": {"concurrency": 4}}})
    stalled = upstream.script([STALL])
    with RawConnection(node) as first, RawConnection(node) as second:
        for connection in (first, second):  # some of the limit is held by whoever is killed
            connection.send(streamed_request(stalled))
        wait_for("both are under way", lambda: len(upstream.requests_of(stalled)) == 2)
        for worker in node.status()["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
            node.wait_until_replaced(worker["worker"], worker["pid"])
    wait_for("all serve", lambda: node.ops("/readyz").body == b"2 of 2 workers serving\n", 5.0)
    script = upstream.script(json_answer(completion()))
    for _ in range(10):
        assert node.ask({"model": "gpt-4o-mini", "messages": [], "x_script": script}, secret_of("main")).status == 200
    with node.limits() as table:
        assert table.in_flight(b"key/cfg-main") == 0, "a dead worker's share of the limit is given back"
    assert node.metric("throughway_workers_serving") == 2


@pytest.mark.parametrize(
    ("callers", "kills", "every_s"),
    [(30, 3, 0.5), pytest.param(200, 40, 1.5, marks=[pytest.mark.nightly, pytest.mark.timeout(180)])],
)
def test_a_killed_worker_fails_only_the_requests_that_it_had(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, callers: int, kills: int, every_s: float
) -> None:
    """Sockets belong to the supervisor: whoever connects while a worker is dead waits for its successor, and is served."""
    node = make_gateway(workers=2)
    script = upstream.script(json_answer(completion()))
    chance = random.Random(1)
    dead: list[tuple[float, set[int]]] = []
    back_s = []
    with Callers(node, script, callers, pause_s=0.2) as calling:
        for _ in range(kills):
            time.sleep(chance.uniform(0.5, 1.5) * every_s)
            victim = chance.choice([worker for worker in node.status()["workers"] if worker["state"] == "serving"])
            os.kill(victim["pid"], signal.SIGSTOP)  # so that what it has is known when it dies
            dead.append((time.monotonic(), callers_of(victim["pid"])))
            os.kill(victim["pid"], signal.SIGKILL)
            killed_s = time.monotonic()
            wait_for("a successor serves", lambda pid=victim["pid"]: _two_serve(node, pid), 5.0)  # type: ignore[misc]
            back_s.append(time.monotonic() - killed_s)
    print(
        f"{calling.answered} answered, {len(calling.failures)} failed in {kills} kills; successors after {sorted(back_s)} s"
    )
    for failure in calling.failures:
        assert any(failure.opened_s < at < failure.failed_s and failure.port in own for at, own in dead), failure
    assert statistics.median(back_s) < 1.0
    assert calling.answered > 10 * kills


def _two_serve(node: Gateway, without: int) -> bool:
    pids = node.worker_pids()
    return len(pids) == 2 and without not in pids


@pytest.mark.parametrize(
    ("streams", "last_s"), [(50, 1.5), pytest.param(500, 5.0, marks=[pytest.mark.nightly, pytest.mark.timeout(120)])]
)
def test_no_stream_is_cut_by_a_drain_within_its_grace(
    make_gateway: MakeGateway, upstream: ScriptedUpstream, streams: int, last_s: float
) -> None:
    node = make_gateway(workers=2)
    events = chat_events()
    pieces = [piece for event in events for piece in (event, last_s / len(events))]
    script = upstream.script(stream(pieces))
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(RawConnection(node)) for _ in range(streams)]
        for connection in connections:
            connection.send(streamed_request(script))
        seen = [connection.read() for connection in connections]
        node.signal(signal.SIGTERM)
        assert not any(b"[DONE]" in part for part in seen), "they end before they can be cut"
        ends = [part + connection.read_to_end() for part, connection in zip(seen, connections, strict=True)]
    assert [end for end in ends if not end.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")] == []
    assert node.process.wait(20) == 0
    assert not node.processes()


@pytest.mark.nightly
def test_the_agents_death_costs_no_request_and_no_record(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    node = make_gateway()
    script = upstream.script(json_answer(completion()))
    body = {"model": "gpt-4o-mini", "messages": [], "x_script": script}
    (agent,) = {e["pid"] for e in node.log("child.started") if e["child"] == "agent"}
    ids = [node.ask(body, secret_of("main")).headers["x-request-id"] for _ in range(5)]
    os.kill(agent, signal.SIGKILL)
    ids += [node.ask(body, secret_of("main")).headers["x-request-id"] for _ in range(5)]
    node.wait_until_ready()
    for request_id in ids:
        node.record(request_id)


def test_a_worker_that_crashes_leaves_its_stacks_and_the_last_lines_of_its_log(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    node = make_gateway()
    answer = node.ask(
        {"model": "gpt-4o-mini", "messages": [], "x_script": upstream.script(json_answer(completion()))},
        secret_of("main"),
    )
    node.logged(answer.headers["x-request-id"])
    (worker,) = node.status()["workers"]
    os.kill(worker["pid"], signal.SIGABRT)
    node.wait_until_replaced(0, worker["pid"])
    (exited,) = node.log("child.exited")
    report = Path(exited["report"]).read_text()
    stacks, _, lines = report.partition("last lines of its log:")
    assert "Fatal Python error: Aborted" in stacks
    assert "in run_worker" in stacks
    assert answer.headers["x-request-id"] in lines


@pytest.mark.nightly
def test_a_worker_that_hangs_is_replaced(make_gateway: MakeGateway, upstream: ScriptedUpstream) -> None:
    node = make_gateway(workers=2)
    wait_for("both are in the log", lambda: len(node.log("worker.serving")) == 2)
    victim = node.worker_pids()[0]
    os.kill(victim, signal.SIGSTOP)
    wait_for("it is replaced", lambda: _two_serve(node, victim), 20.0, 0.1)
    (exited,) = node.log("child.exited")
    report = Path(exited["report"]).read_text()
    assert "stuck: yes" in report
    assert "worker.serving" in report


def test_a_second_node_on_the_same_state_is_refused(make_gateway: MakeGateway) -> None:
    node = make_gateway()
    second = node.command("data-plane")
    assert second.returncode == 73
    assert second.stderr.strip().splitlines()[-1].startswith("throughway: ")
    assert node.ops("/readyz").status == 200


def test_what_a_node_keeps_is_its_owners_alone_and_it_warns_where_that_is_not_so(make_gateway: MakeGateway) -> None:
    node = make_gateway()
    kept = [node.state_dir, *node.state_dir.rglob("*")]
    assert len(kept) > 8
    assert [path for path in kept if path.is_dir() and path.stat().st_mode & 0o077] == []
    assert "chmod 700" not in node.log_file.read_text()
    node.stop()
    node.state_dir.chmod(0o755)
    node.start()
    assert f"warning: {node.state_dir} is open to others" in node.log_file.read_text()


def test_a_mistaken_configuration_starts_nothing(make_gateway: MakeGateway) -> None:
    node = make_gateway(start=False)
    node.configure({**node.settings, "listen": "nowhere", "teams": {"t": {"limits": {"requests_per_minute": 0}}}})
    done = node.command("data-plane")
    assert done.returncode == 78
    *problems, last = done.stderr.strip().splitlines()
    assert len(problems) == 2 and all("gateway.yaml:" in line for line in problems), done.stderr
    assert last == "throughway: the configuration has mistakes; nothing was started"
    assert not node.state_dir.joinpath("run").exists()
    node.configure(node.settings)
    node.start()


@pytest.mark.nightly
def test_many_starts_and_stops_leave_nothing(make_gateway: MakeGateway) -> None:
    node = make_gateway(start=False)
    for _ in range(15):
        node.start()
        node.stop()
