"""A node's life: its start, the deaths of its workers, its drain."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.conftest import RawConnection, secret_of
from tests.e2e.node import Gateway, wait_for
from tests.support.scripted_upstream import STALL, ScriptedUpstream, chat_events, completion, json_answer, stream

MakeGateway = Callable[..., Gateway]


def streamed_request(script: str) -> bytes:
    body = json.dumps({"model": "gpt-4o-mini", "messages": [], "stream": True, "x_script": script}).encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nx-api-key: {secret_of('main')}\r\n"
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
        assert resting.read() == b"", "a connection without a request is closed at once"
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
            node.wait_until_replaced(worker["slot"], worker["pid"])
    wait_for("all serve", lambda: node.ops("/readyz").body == b"2 of 2 workers serving\n", 5.0)
    script = upstream.script(json_answer(completion()))
    for _ in range(10):
        assert node.ask({"model": "gpt-4o-mini", "messages": [], "x_script": script}, secret_of("main")).status == 200
    with node.limits() as table:
        assert table.in_flight(b"key/cfg-main") == 0, "a dead worker's share of the limit is given back"
    assert node.metric("throughway_workers_serving") == 2


@pytest.mark.nightly
def test_requests_reach_the_other_worker_while_one_is_dead(
    make_gateway: MakeGateway, upstream: ScriptedUpstream
) -> None:
    """Sockets belong to the supervisor: whoever connects while a worker is dead waits for its successor, and is served."""
    node = make_gateway(workers=2)
    script = upstream.script(json_answer(completion()))
    statuses: list[int] = []
    lost: list[str] = []
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            try:
                statuses.append(
                    node.ask({"model": "gpt-4o-mini", "messages": [], "x_script": script}, secret_of("main")).status
                )
            except OSError as error:
                lost.append(type(error).__name__)

    callers = [threading.Thread(target=call) for _ in range(6)]
    for caller in callers:
        caller.start()
    time.sleep(0.2)
    victim = node.status()["workers"][0]["pid"]
    os.kill(victim, signal.SIGKILL)
    node.wait_until_replaced(0, victim)
    time.sleep(0.3)
    ended.set()
    for caller in callers:
        caller.join()
    assert set(statuses) == {200}
    assert len(lost) <= len(callers), "only what the dead worker had accepted can be lost"


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


def test_a_second_node_on_the_same_state_is_refused(make_gateway: MakeGateway) -> None:
    node = make_gateway()
    second = node.command("data-plane")
    assert second.returncode == 73
    assert second.stderr.strip().splitlines()[-1].startswith("throughway: ")
    assert node.ops("/readyz").status == 200


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
