"""What every edge promises: a caller that leaves, waits too long, reads nothing or asks for too much, over each of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.callers import EDGES, Caller, Callers, read_to_end, read_until
from tests.e2e.conftest import BODY_BYTES, RawConnection, Tls, environment, secret_of, settings
from tests.e2e.node import Gateway, wait_for
from tests.support.http2_client import Http2Client
from tests.support.scripted_upstream import (
    DONE,
    LAST_CHUNK,
    STALL,
    Received,
    Script,
    ScriptedUpstream,
    chat_events,
    chunk,
    completion,
    delta,
    event,
    head,
    json_answer,
    stream,
)

MakeGateway = Callable[..., Gateway]
LEAVERS = (*EDGES, "http2-close")
MIB = 1_048_576
WAVE = 50


def chat(script: str, **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello."}], "x_script": script, **fields}


@pytest.fixture
def call(tls: Tls) -> Iterator[Callers]:
    with Callers(tls) as callers:
        yield callers


def logged(node: Gateway, tag: str) -> dict[str, Any]:
    """The log's line of the request with that tag."""
    return wait_for(f"log line of {tag}", lambda: next((r for r in node.log() if r.get("tags") == tag), None), 5.0)


# -- a call ends upstream in whatever phase it is

PHASES: dict[str, Script] = {
    "connected": [STALL],
    "streaming": stream([*chat_events()[:3], STALL]),
    "passing": [head(200, "application/json", "content-length: 200000"), b"[" * 100_000, STALL],
}
"""What the provider does; `waiting` for a connection is a phase too."""
SEEN = {"streaming": b"Gr", "passing": b"[" * 100}
"""What the caller sees in a phase, where it sees anything."""


@contextlib.contextmanager
def under_way(
    phase: str, edge: str, node: Gateway, call: Callers, upstream: ScriptedUpstream, *fields: tuple[str, str]
) -> Iterator[tuple[Caller, str]]:
    """A call in that phase, and the script that it waits for."""
    script = upstream.script(PHASES.get(phase, [STALL]))
    tag = ("x-throughway-tags", script)
    if phase == "waiting":
        held = upstream.script([STALL])
        blocker = call("native", node, chat(held, model="single"))
        wait_for("the provider's one connection is in use", lambda: upstream.requests_of(held))
        caller = call(edge, node, chat(script, model="single"), tag, *fields)
        wait_for("both are in flight", lambda: node.status()["workers"][0]["in_flight"] == 2)
        yield caller, script
        assert upstream.requests_of(script) == []
        blocker.leave()
        upstream.wait_until_left(held)
    else:
        caller = call(edge, node, chat(script, stream=phase == "streaming"), tag, *fields)
        wait_for("the provider has it", lambda: upstream.requests_of(script))
        read_until(caller, SEEN.get(phase, b""))
        yield caller, script
    node.wait_until_idle()


@pytest.mark.parametrize("edge", LEAVERS)
@pytest.mark.parametrize("phase", ["waiting", *PHASES])
def test_a_caller_that_leaves_ends_the_call_in_every_phase(
    phase: str, edge: str, gateway: Gateway, call: Callers, upstream: ScriptedUpstream
) -> None:
    with under_way(phase, edge, gateway, call, upstream) as (caller, script):
        left_at = time.monotonic()
        caller.leave()
        line = logged(gateway, script)
        assert (line["status"], line["code"]) == (499, "client_closed_request")
        if phase != "waiting":
            seen_at = upstream.wait_until_left(script).left_at
            assert seen_at is not None and seen_at - left_at < 1
        assert (line["output_tokens"] > 0) == (phase == "streaming"), "what was produced is billed"
        assert time.monotonic() - left_at < 2


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("phase", ["waiting", *PHASES])
def test_the_callers_deadline_ends_the_call_in_every_phase(
    phase: str, edge: str, gateway: Gateway, call: Callers, upstream: ScriptedUpstream
) -> None:
    begun = time.monotonic()
    with under_way(phase, edge, gateway, call, upstream, ("x-throughway-timeout-ms", "200")) as (caller, script):
        read_to_end(caller)
        assert 0.2 <= time.monotonic() - begun < 1.2
        line = logged(gateway, script)
        assert line["code"] == "deadline_exceeded"
        if phase == "passing":
            assert not caller.complete, "a body that is not whole does not end as if it were"
        else:
            assert caller.complete and b'"deadline_exceeded"' in caller.seen
            assert caller.status == (200 if phase == "streaming" else 504)
        if phase != "waiting":
            upstream.wait_until_left(script)


def requests_of(upstream: ScriptedUpstream, script: str, count: int) -> list[Received] | None:
    """The script's requests, once there are so many."""
    requests = upstream.requests_of(script)
    return requests if len(requests) == count else None


def all_left(requests: list[Received]) -> bool:
    return all(r.left_at is not None for r in requests)


def many_leave(node: Gateway, call: Callers, upstream: ScriptedUpstream, edge: str, phase: str, count: int) -> None:
    """`count` callers, in waves; all leave, and nothing of theirs is left."""
    tag = f"{count} over {edge}, {phase}"
    before = node.metric("throughway_requests_total", code="client_closed_request")
    for _ in range(0, count, WAVE):
        script = upstream.script(PHASES[phase])
        body = chat(script, stream=phase == "streaming")
        callers = call.many(WAVE, edge, node, body, ("x-throughway-tags", tag), key="leavers")
        requests = wait_for("the provider has them", partial(requests_of, upstream, script, WAVE))
        for caller in callers:
            read_until(caller, SEEN.get(phase, b""))
        for caller in callers:
            caller.leave()
        gone_at = time.monotonic()
        wait_for("all are ended upstream", partial(all_left, requests))
        assert max(r.left_at or 0.0 for r in requests) - gone_at < 1, "within a second"
    node.wait_until_idle()
    with node.limits() as table:
        assert table.in_flight(b"key/cfg-leavers") == 0
    closed = node.metric("throughway_requests_total", code="client_closed_request") - before
    assert closed == count

    def logged_all() -> list[dict[str, Any]] | None:
        lines = [r for r in node.log() if r.get("tags") == tag]
        return lines if len(lines) == count else None

    lines = wait_for("all are logged", logged_all)
    assert {(r["status"], r["code"]) for r in lines} == {(499, "client_closed_request")}
    assert all((r["output_tokens"] > 0) == (phase == "streaming") for r in lines), "partial usage is recorded"


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("phase", ["connected", "streaming"])
def test_many_that_leave_leave_nothing(
    phase: str, edge: str, gateway: Gateway, call: Callers, upstream: ScriptedUpstream
) -> None:
    many_leave(gateway, call, upstream, edge, phase, WAVE)


@pytest.mark.nightly
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("phase", ["connected", "streaming"])
def test_a_thousand_that_leave_leave_nothing(
    phase: str, edge: str, gateway: Gateway, call: Callers, upstream: ScriptedUpstream
) -> None:
    many_leave(gateway, call, upstream, edge, phase, 1_000)


# -- a caller that takes nothing


def resident_bytes(node: Gateway) -> int:
    pid = node.status()["workers"][0]["pid"]
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4_096


def offering(upstream: ScriptedUpstream, size: int) -> tuple[str, list[int]]:
    """A stream of `size` bytes, and how many the provider could get rid of so far."""
    one = event({"id": "c", "choices": [{"index": 0, "delta": {"content": "x" * 65_000}}]})
    taken = [0]

    def answer(_: object) -> Script:
        def steps() -> Iterator[bytes]:
            yield head(200, "text/event-stream", "transfer-encoding: chunked")
            while taken[0] < size:
                yield chunk(one)
                taken[0] += len(one)
            yield chunk(DONE) + LAST_CHUNK

        return steps()  # type: ignore[return-value]

    return upstream.script(answer), taken


@contextlib.contextmanager
def running(directory: Path, upstream: ScriptedUpstream, tls: Tls, **more: Any) -> Iterator[Gateway]:
    keys: dict[str, dict[str, Any]] = {"main": {}}
    node = Gateway(directory, settings(upstream, keys, http2={"tls": tls.settings}, **more), environment(keys))
    try:
        node.start()
        yield node
        node.stop()
    finally:
        node.kill()


@pytest.fixture(scope="module")
def quiet(upstream: ScriptedUpstream, tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A node of nobody else's, whose memory can be looked at."""
    with running(tmp_path_factory.mktemp("quiet"), upstream, tls) as node:
        yield node


@pytest.fixture(scope="module")
def impatient(upstream: ScriptedUpstream, tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    timeouts = {"write_ms": 250, "idle_ms": 300, "head_ms": 400}
    with running(tmp_path_factory.mktemp("impatient"), upstream, tls, timeouts=timeouts) as node:
        yield node


def nothing_is_read(node: Gateway, upstream: ScriptedUpstream, call: Callers, edge: str, count: int) -> int:
    """`count` callers read nothing of 100 MiB each; answers how many bytes the worker grew by until all providers stood still."""
    warm = call(edge, node, chat(offering(upstream, MIB)[0], stream=True))
    read_until(warm, b"[DONE]")
    before = resident_bytes(node)
    offers = [offering(upstream, 100 * MIB) for _ in range(count)]
    callers = [call(edge, node, chat(script, stream=True)) for script, _ in offers]
    seen = [-1]

    def paused() -> bool:
        now = sum(taken[0] for _, taken in offers)
        still = all(taken[0] for _, taken in offers) and now == seen[0]
        seen[0] = now
        return still

    wait_for("the providers are paused", paused, timeout_s=40, every_s=0.25)
    assert max(taken[0] for _, taken in offers) < 24 * MIB, "sockets' buffers on both ways, and the worker's"
    grown = resident_bytes(node) - before
    for caller in callers:
        caller.leave()
    for script, _ in offers:
        upstream.wait_until_left(script)
    node.wait_until_idle()
    return grown


@pytest.mark.parametrize("edge", EDGES)
def test_a_caller_that_reads_nothing_pauses_the_provider(
    edge: str, quiet: Gateway, call: Callers, upstream: ScriptedUpstream
) -> None:
    """What the worker holds of 100 MiB is bounded, and what it does not hold stays with the provider."""
    assert nothing_is_read(quiet, upstream, call, edge, 1) < 4 * MIB


@pytest.mark.nightly
@pytest.mark.timeout(120)
@pytest.mark.parametrize("edge", EDGES)
def test_two_hundred_callers_that_read_nothing_cost_a_mebibyte_each(
    edge: str, quiet: Gateway, call: Callers, upstream: ScriptedUpstream
) -> None:
    grown = nothing_is_read(quiet, upstream, call, edge, 200)
    print(f"{edge}: {grown / 200 / 1_024:.0f} KiB each")
    assert grown < 200 * MIB


def test_a_caller_that_takes_nothing_is_dropped_in_time(
    impatient: Gateway, tls: Tls, upstream: ScriptedUpstream
) -> None:
    """After `write_ms` its call has ended; its connection goes with the next idle ones."""
    node = impatient
    script, _ = offering(upstream, 100 * MIB)
    with Http2Client(node.http2_port, tls.context("h2"), takes=False) as client:
        number = client.chat(secret_of("main"), chat(script, stream=True), ("x-throughway-tags", script))
        while client.open:
            client.read()
        assert not client.streams[number].ended
    upstream.wait_until_left(script)
    line = logged(node, script)
    assert (line["code"], line["output_tokens"] > 0) == ("client_closed_request", True)


def test_idle_connections_are_closed_and_busy_ones_are_not(
    impatient: Gateway, tls: Tls, upstream: ScriptedUpstream
) -> None:
    """Those that answered, and those that never said a word, which a server that waits for them would wait for for ever."""
    node = impatient
    slow = upstream.script([1.0, *json_answer(completion())])
    with (
        Http2Client(node.http2_port, tls.context("h2")) as busy,
        Http2Client(node.http2_port, tls.context("h2")) as resting,
        socket.create_connection(("127.0.0.1", node.http2_port), timeout=5) as silent,
    ):
        number = busy.chat(secret_of("main"), chat(slow))
        wait_for("all are counted", lambda: node.status()["workers"][0]["connections"] == 3, 2.0)
        begun = time.monotonic()
        assert silent.recv(1) == b""
        while resting.open:
            resting.read()
        assert time.monotonic() - begun < 0.95
        assert busy.answer(number).status == 200
        wait_for("none is counted", lambda: node.status()["workers"][0]["connections"] == 0, 3.0)


def test_a_slow_http2_caller_gets_all_of_it(gateway: Gateway, tls: Tls, upstream: ScriptedUpstream) -> None:
    script, _ = offering(upstream, 3 * MIB)
    with Http2Client(gateway.http2_port, tls.context("h2")) as client:
        number = client.chat(secret_of("main"), chat(script, stream=True))
        stream = client.streams[number]
        while not stream.over:
            assert client.read()
            time.sleep(0.001)
        assert stream.ended and stream.body.count(b"data: {") >= 3 * MIB // 66_000
        assert stream.body.endswith(DONE)


# -- what asks for too much

JSON_POST = [("content-type", "application/json"), ("authorization", f"Bearer {secret_of('main')}")]


def refusal(client: Http2Client, number: int) -> tuple[int, str]:
    stream = client.answer(number)
    return stream.status, json.loads(stream.body)["error"]["code"] if stream.body else ""


def test_bodies_over_http2_are_bounded_one_by_one_and_together(gateway: Gateway, tls: Tls) -> None:
    path = "/v1/chat/completions"
    with Http2Client(gateway.http2_port, tls.context("h2")) as client:
        announced = client.request(path, None, [*JSON_POST, ("content-length", str(BODY_BYTES + 1))], end=False)
        assert refusal(client, announced) == (413, "body_too_large")
        slow = client.request(path, b"{", JSON_POST, end=False)
        assert refusal(client, slow) == (408, "request_timeout")
        nobody = client.request(path, b"{", [JSON_POST[0]], end=False)
        assert refusal(client, nobody) == (401, "invalid_api_key"), "no body is waited for without a key"
        fine = client.request("/v1/models", method="GET", fields=JSON_POST[1:])
        assert client.answer(fine).status == 200


def test_requests_in_flight_are_bounded_over_http2_without_tls(
    make_gateway: MakeGateway, tls: Tls, call: Callers, upstream: ScriptedUpstream
) -> None:
    node = make_gateway(http2={}, bounds={"in_flight": 2})
    held = upstream.script([STALL])
    with Http2Client(node.http2_port) as client:
        first, second = (client.chat(secret_of("main"), chat(held)) for _ in range(2))
        wait_for("both are under way", lambda: len(upstream.requests_of(held)) == 2)
        third = client.chat(secret_of("main"), chat(held))
        assert refusal(client, third) == (503, "overloaded")
        assert client.streams[third].headers["retry-after"] == "1"
        client.reset(first)
        wait_for("one has left", lambda: node.status()["workers"][0]["in_flight"] == 1)
        fine = client.chat(secret_of("main"), chat(upstream.script(json_answer(completion()))))
        assert client.answer(fine).status == 200
        assert not client.streams[second].over


HTTP1: dict[str, tuple[bytes, int, str]] = {
    "no-host": (b"GET /v1/models HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "two-hosts": (b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "bad_request"),
    "two-keys": (b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx-api-key: b\r\nx-api-key: c\r\n\r\n", 400, "bad_request"),
    "http-1.0": (b"GET /v1/models HTTP/1.0\r\nhost: a\r\n\r\n", 505, "http_version_not_supported"),
    "tunnel": (b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", 501, "not_implemented"),
    "coding": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
        "bad_request",
    ),
    "bad-chunk": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n"
        b"x-api-key: " + secret_of("main").encode() + b"\r\n\r\nzz\r\n",
        400,
        "bad_request",
    ),
    "expectation": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\nexpect: miracles\r\n\r\n",
        417,
        "expectation_failed",
    ),
    "target": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nhost: h\r\n\r\n", 414, "uri_too_long"),
    "upgrade": (
        b"GET /v1/realtime HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        501,
        "not_implemented",
    ),
    # These the server refuses by itself, without a body.
    "no-http": (b"hello\r\n\r\n", 400, ""),
    "lengths": (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400, ""),
    "fields": (
        b"GET / HTTP/1.1\r\nhost: h\r\n" + b"".join(b"x-%d: a\r\n" % n for n in range(150)) + b"\r\n",
        431,
        "",
    ),
    "head": (b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", 431, ""),
}


@pytest.mark.parametrize("name", HTTP1)
def test_http1_on_the_second_listener_is_as_strict(name: str, gateway: Gateway, tls: Tls) -> None:
    data, status, code = HTTP1[name]
    raw = socket.create_connection(("127.0.0.1", gateway.http2_port), timeout=5)
    with tls.context("http/1.1").wrap_socket(raw, server_hostname="127.0.0.1") as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer or (code and not answer.endswith(b"}}")):
            part = connection.recv(65_536)
            assert part, answer
            answer += part
    assert answer.startswith(b"HTTP/1.%d %d " % (name != "http-1.0", status)), answer
    assert (b'"code":"%b"' % code.encode() in answer) == bool(code)


def test_the_protocol_is_chosen_by_alpn(gateway: Gateway, tls: Tls) -> None:
    for offered, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)):
        raw = socket.create_connection(("127.0.0.1", gateway.http2_port), timeout=5)
        with tls.context(*offered).wrap_socket(raw, server_hostname="127.0.0.1") as connection:
            assert connection.selected_alpn_protocol() == chosen


# -- many on one connection, and the end of it


def test_many_streams_share_a_connection(gateway: Gateway, tls: Tls, upstream: ScriptedUpstream) -> None:
    """The official client, 150 calls at once over HTTP/2: none mistakes another's answer for its own."""
    scripts = [
        upstream.script(stream([delta({"content": f"{n} "}), 0.05, delta({"content": "!"}), DONE])) for n in range(150)
    ]

    async def one(client: openai.AsyncOpenAI, n: int) -> str:
        chunks = await client.chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": str(n)}],
            stream=True,
            extra_body={"x_script": scripts[n]},
        )
        return "".join([c.choices[0].delta.content or "" async for c in chunks])

    async def main() -> list[str]:
        transport = openai.DefaultAsyncHttpxClient(http2=True, verify=tls.context())
        address = f"https://127.0.0.1:{gateway.http2_port}/v1"
        async with openai.AsyncOpenAI(base_url=address, api_key=secret_of("main"), http_client=transport) as client:
            return await asyncio.gather(*(one(client, n) for n in range(150)))

    assert asyncio.run(main()) == [f"{n} !" for n in range(150)]


def test_a_drain_finishes_streams_of_both_edges_and_refuses_newcomers(
    make_gateway: MakeGateway, tls: Tls, call: Callers, upstream: ScriptedUpstream
) -> None:
    node = make_gateway(http2={"tls": tls.settings}, drain_grace_ms=15_000)
    script = upstream.script(stream([*chat_events()[:3], 1.0, *chat_events()[3:]]))
    callers = [call(edge, node, chat(script, stream=True)) for edge in EDGES]
    silent = socket.create_connection(("127.0.0.1", node.http2_port))  # nobody waits for one that never says a word
    with Http2Client(node.http2_port, tls.context("h2")) as resting, RawConnection(node), silent:
        for caller in callers:
            read_until(caller, SEEN["streaming"])
        begun = time.monotonic()
        node.signal(signal.SIGTERM)
        while resting.open:
            resting.read()
        assert time.monotonic() - begun < 0.9, "a connection without a request is closed at once"
        for port in (node.port, node.http2_port):
            wait_for("newcomers are refused", partial(_refused, port), 2.0)
        for caller in callers:
            read_to_end(caller)
            assert caller.complete and b"[DONE]" in caller.seen
    assert node.process.wait(5) == 0
    assert time.monotonic() - begun < 3
    assert not node.processes()


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_what_outlasts_the_grace_is_cut_on_both_edges(
    make_gateway: MakeGateway, tls: Tls, call: Callers, upstream: ScriptedUpstream
) -> None:
    node = make_gateway(http2={"tls": tls.settings}, drain_grace_ms=300)
    script = upstream.script(stream([*chat_events()[:3], STALL]))
    callers = [call(edge, node, chat(script, stream=True), ("x-throughway-tags", edge)) for edge in EDGES]
    for caller in callers:
        read_until(caller, SEEN["streaming"])
    begun = time.monotonic()
    node.signal(signal.SIGTERM)
    for caller in callers:
        read_to_end(caller)
        assert not caller.complete and b"[DONE]" not in caller.seen
    node.process.wait(8)
    assert time.monotonic() - begun < 3
    assert not node.processes()
    for edge in EDGES:
        line = logged(node, edge)
        assert (line["code"], line["estimated"]) == ("client_closed_request", True)
