"""A model's targets fail over to each other, and then to its fallbacks: before the first byte, and never after it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.e2e.conftest import RawConnection, secret_of
from tests.e2e.node import Answer, Gateway
from tests.support.scripted_upstream import (
    CLOSE,
    RESET,
    STALL,
    Script,
    ScriptedUpstream,
    answer,
    chat_events,
    completion,
    error,
    head,
    json_answer,
    stream,
)

MESSAGES = [{"role": "user", "content": "Say hello."}]
FINE = json_answer(completion("from b"))


def ask(gateway: Gateway, script: str, model: str, headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return gateway.ask(
        {"model": model, "messages": MESSAGES, "x_script": script, **fields}, secret_of("main"), headers=headers
    )


FAILURES: dict[str, Script] = {
    "429": error(429, "slow down"),
    "500": error(500, "boom"),
    "503": error(503, "later"),
    "401": error(401, "our key"),
    "closed": [CLOSE],
    "reset": [RESET],
    "no-http": [b"hello\r\n\r\n", CLOSE],
    "no-json": answer(b"<html>"),
    "truncated": [head(200, "application/json", "content-length: 100"), b'{"id"', CLOSE],
    "compressed": [head(200, "application/json", "content-encoding: gzip", "content-length: 3"), 0.02, b"abc"],
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_fallback_answers_for_a_target_that_failed(name: str, gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(FAILURES[name], b=FINE)
    got = ask(gateway, script, "with-fallback")
    assert got.status == 200 and got.json["choices"][0]["message"]["content"] == "from b"
    assert (got.headers["x-throughway-attempts"], got.headers["x-throughway-provider"]) == ("2", "b")
    assert [r.provider for r in upstream.requests_of(script)] == ["a", "b"]
    assert upstream.requests_of(script)[1].json["model"] == "upstream-mini"
    line = gateway.logged(got.headers["x-request-id"])
    assert (line["attempts"], line["provider"], line["model"], line["code"]) == (2, "b", "with-fallback", "")
    (failed,) = [e for e in gateway.log("attempt_failed") if e["id"] == line["id"]]
    assert failed["provider"] == "a"


def test_a_target_that_refuses_connections_is_passed_over(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    got = ask(gateway, upstream.script(json_answer(completion())), "dead-first")
    assert (got.status, got.headers["x-throughway-attempts"], got.headers["x-throughway-provider"]) == (200, "2", "a")


def test_a_stalled_target_is_passed_over(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    got = ask(gateway, upstream.script([STALL], b=FINE), "brief-pair")
    assert (got.status, got.headers["x-throughway-attempts"]) == (200, "2")


def test_targets_take_turns_and_fail_over_to_each_other(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    providers = [ask(gateway, script, "pair").headers["x-throughway-provider"] for _ in range(6)]
    assert providers in (["a", "b"] * 3, ["b", "a"] * 3)
    models = {r.provider: r.json["model"] for r in upstream.requests_of(script)}
    assert models == {"a": "upstream-mini", "b": "other-mini"}
    half = upstream.script(error(500), b=FINE)
    answers = [ask(gateway, half, "pair") for _ in range(4)]
    assert [a.status for a in answers] == [200] * 4
    assert sorted(a.headers["x-throughway-attempts"] for a in answers) == ["1", "1", "2", "2"] or {
        a.headers["x-throughway-provider"] for a in answers
    } == {"b"}


def test_a_target_of_weight_0_serves_when_the_others_fail(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    fine = upstream.script(json_answer(completion()), b=FINE)
    assert {ask(gateway, fine, "spare").headers["x-throughway-provider"] for _ in range(3)} == {"a"}
    got = ask(gateway, upstream.script(error(500), b=FINE), "spare")
    assert (got.status, got.headers.get("x-throughway-provider")) == (200, "b"), got


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_the_requests_own_fault_is_not_tried_elsewhere(
    status: int, gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    script = upstream.script(error(status), b=FINE)
    got = ask(gateway, script, "with-fallback")
    assert (got.status, got.headers["x-throughway-attempts"]) == (status, "1")
    assert len(upstream.requests_of(script)) == 1


def test_when_all_fail_the_last_error_is_told(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(error(500, "first"), b=error(503, "second"))
    got = ask(gateway, script, "with-fallback")
    assert (got.status, got.headers["x-throughway-attempts"], got.headers["x-throughway-provider"]) == (503, "2", "b")
    assert "second" in got.error["message"]


def test_a_stream_fails_over_before_its_first_byte(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(error(500), b=stream(chat_events()))
    got = ask(gateway, script, "with-fallback", stream=True)
    assert (got.status, got.headers["x-throughway-attempts"]) == (200, "2")
    assert got.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_a_stream_never_fails_over_after_its_first_byte(end: Any, gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(stream([*chat_events()[:2], 0.02, end]), b=stream(chat_events()))
    got = ask(gateway, script, "with-fallback", stream=True)
    assert got.headers["x-throughway-attempts"] == "1"
    assert b"stream_truncated" in got.body and b"[DONE]" not in got.body
    assert len(upstream.requests_of(script)) == 1


def test_no_attempt_is_made_after_the_callers_deadline(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """It could only cost money: nobody waits for its answer."""
    script = upstream.script([STALL], b=[STALL])
    got = ask(gateway, script, "with-fallback", {"x-throughway-timeout-ms": "150"})
    assert (got.status, got.error["code"]) == (504, "deadline_exceeded")
    assert [r.provider for r in upstream.requests_of(script)] == ["a"]
    assert got.headers["x-throughway-attempts"] == "1"


def test_the_deadline_covers_all_attempts(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script([0.2, *error(500)], b=[STALL])
    begun = time.monotonic()
    got = ask(gateway, script, "with-fallback", {"x-throughway-timeout-ms": "400"})
    assert (got.status, got.error["code"]) == (504, "deadline_exceeded")
    assert 0.35 < time.monotonic() - begun < 0.8


def test_the_reservation_is_taken_once_for_all_attempts(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(error(500), b=FINE)
    body = {"model": "with-fallback", "messages": MESSAGES, "x_script": script}
    assert gateway.ask(body, secret_of("concurrency")).status == 200
    assert gateway.ask(body, secret_of("concurrency")).status == 200


def test_a_caller_that_leaves_during_an_attempt_ends_the_failing_over(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    script = upstream.script([0.3, *error(500)], b=FINE)
    body = json.dumps({"model": "with-fallback", "messages": MESSAGES, "x_script": script}).encode()
    with RawConnection(gateway) as connection:
        connection.send(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nx-api-key: {secret_of('main')}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        time.sleep(0.1)
    upstream.wait_until_left(script)
    time.sleep(0.3)
    assert [r.provider for r in upstream.requests_of(script)] == ["a"]


def test_a_stale_connection_is_replaced_without_the_caller_noticing(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    """The provider closes a connection that rests in the pool; the next request takes another one."""
    for _ in range(5):
        closing = upstream.script([*json_answer(completion()), 0.01, CLOSE])
        assert ask(gateway, closing, "gpt-4o-mini").status == 200
        time.sleep(0.05)
        assert ask(gateway, upstream.script(json_answer(completion())), "gpt-4o-mini").status == 200
