"""What a key and its team may: refused beyond it, and given back at every kind of end."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from _fastpath.bucket import Scope
from gateway.base.budget import period_at
from gateway.base.snapshot import NANO_USD
from tests.e2e.conftest import RawConnection, secret_of
from tests.e2e.node import Answer, Gateway, wait_for
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


def chat(script: str, **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": MESSAGES, "x_script": script, **fields}


@pytest.fixture
def fine(upstream: ScriptedUpstream) -> str:
    return upstream.script(json_answer(completion()))


def test_requests_a_minute_are_counted_down_and_then_refused(gateway: Gateway, fine: str) -> None:
    answers = [gateway.ask(chat(fine), secret_of("rpm")) for _ in range(3)]
    assert [a.status for a in answers] == [200, 200, 429]
    assert [a.headers["x-ratelimit-remaining-requests"] for a in answers] == ["1", "0", "0"]
    assert {a.headers["x-ratelimit-limit-requests"] for a in answers} == {"2"}
    refused = answers[2]
    assert refused.error["code"] == "rate_limit_exceeded"
    assert 25 <= int(refused.headers["retry-after"]) <= 30  # two a minute: the next one every 30 s
    assert (
        int(refused.headers["retry-after"]) - 1
        <= int(refused.headers["retry-after-ms"]) / 1_000
        <= int(refused.headers["retry-after"])
    )


def test_what_no_provider_was_given_is_not_counted(gateway: Gateway, upstream: ScriptedUpstream, fine: str) -> None:
    """Two a minute: our own refusals leave both, what a provider failed at does not."""
    key = secret_of("rpm-errors")
    failing = upstream.script(error(500, "boom"))
    for _ in range(4):
        assert gateway.ask(chat(fine, model="no-such"), key).status == 404
    assert [gateway.ask(chat(failing), key).status, gateway.ask(chat(fine), key).status] == [502, 200]
    assert gateway.ask(chat(fine), key).status == 429


def test_tokens_a_minute_are_those_used_not_those_reserved(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """1,000 a minute. A request may ask for far more than it uses; what it used is debited, even beyond the limit."""
    key = secret_of("tpm")

    def used(prompt: int, output: int) -> str:
        usage = {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
        return upstream.script(json_answer(completion(usage=usage)))

    first = gateway.ask(chat(used(100, 100), max_tokens=50), key)
    assert (first.status, first.headers["x-ratelimit-limit-tokens"]) == (200, "1000")
    second = gateway.ask(chat(used(100, 2_000), max_tokens=700), key)
    assert second.status == 200
    assert 750 <= int(second.headers["x-ratelimit-remaining-tokens"]) + 720 <= 850
    third = gateway.ask(chat(used(1, 1), max_tokens=1), key)
    assert (third.status, third.error["code"]) == (429, "rate_limit_exceeded")
    assert "tokens per minute of key 'tpm'" in third.error["message"]
    # 200 + 2,100 - 1,000 = 1,300 beyond, and about 12 asked for: 1,312 / 1,000 of a minute
    assert 70 <= int(third.headers["retry-after"]) <= 80
    assert third.headers["x-ratelimit-remaining-tokens"] == "0"


def test_a_team_shares_its_limit(gateway: Gateway, fine: str) -> None:
    first, second = secret_of("team-rpm-1"), secret_of("team-rpm-2")
    assert [gateway.ask(chat(fine), key).status for key in (first, second)] == [200, 200]
    refused = gateway.ask(chat(fine), first)
    assert refused.status == 429 and "team 'rpm'" in refused.error["message"]
    assert gateway.ask(chat(fine), second).status == 429


@pytest.mark.parametrize("keys", [("budget", "budget"), ("team-budget-1", "team-budget-2")], ids=["key", "team"])
def test_a_budget_is_spent_and_then_refuses(
    gateway: Gateway, upstream: ScriptedUpstream, keys: tuple[str, str]
) -> None:
    """A cent: 0.6 USD a million output tokens are 16,666 of them."""
    usage = {"prompt_tokens": 1, "completion_tokens": 16_000, "total_tokens": 16_001}
    costly = upstream.script(json_answer(completion(usage=usage)))
    first = gateway.ask(chat(costly, max_tokens=100), secret_of(keys[0]))
    assert (first.status, first.headers["x-throughway-cost-usd"]) == (200, "0.00960015")
    refused = gateway.ask(chat(costly, max_tokens=1_000), secret_of(keys[1]))
    assert (refused.status, refused.error["code"], refused.error["type"]) == (
        402,
        "budget_exceeded",
        "insufficient_quota",
    )
    assert "retry-after" not in refused.headers
    assert gateway.ask(chat(costly, max_tokens=100), secret_of(keys[1])).status == 200  # which the rest still covers
    assert gateway.ask(chat(costly, max_tokens=1), secret_of(keys[1])).status == 402


@contextmanager
def held(gateway: Gateway, upstream: ScriptedUpstream, key: str, script: str, **fields: Any) -> Iterator[RawConnection]:
    """A request under way, which has reached the provider."""
    body = json.dumps(chat(script, **fields)).encode()
    before = len(upstream.requests_of(script))
    with RawConnection(gateway) as connection:
        connection.send(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nx-api-key: {secret_of(key)}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        wait_for("the provider has it", lambda: len(upstream.requests_of(script)) > before)
        yield connection


ENDS: dict[str, Script] = {
    "success": json_answer(completion()),
    "error": error(500),
    "rejection": error(400),
    "refused-connection": [CLOSE],
    "reset": [RESET],
    "no-http": [b"hello\r\n\r\n"],
    "no-json": answer(b"<html>"),
    "stream": stream(chat_events()),
    "truncated-stream": stream([*chat_events()[:3], CLOSE]),
    "reset-stream": stream([*chat_events()[:3], 0.01, RESET]),
    "large-body": [head(200, "application/json", "content-length: 100000"), b"[" * 100_000],
    "broken-large-body": [head(200, "application/json", "content-length: 100000"), b"[" * 90_000, 0.01, RESET],
}


@pytest.mark.parametrize("name", ENDS)
def test_concurrency_is_given_back_at_every_end(
    name: str, gateway: Gateway, upstream: ScriptedUpstream, fine: str
) -> None:
    streamed = "stream" in name
    gate = threading.Event()

    def answer_when_asked(_: object) -> Script:
        def steps() -> Iterator[Any]:
            while not gate.is_set():
                yield 0.005
            yield from ENDS[name]

        return steps()  # type: ignore[return-value]

    with held(gateway, upstream, "concurrency", upstream.script(answer_when_asked), stream=streamed):
        refused = gateway.ask(chat(fine), secret_of("concurrency"))
        assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (
            429,
            "rate_limit_exceeded",
            "1",
        )
        assert "concurrent requests of key 'concurrency'" in refused.error["message"]
        gate.set()
        wait_for("given back", lambda: gateway.ask(chat(fine), secret_of("concurrency")).status == 200, 2.0)


@pytest.mark.parametrize("streamed", [False, True])
def test_concurrency_is_given_back_when_the_caller_leaves(
    gateway: Gateway, upstream: ScriptedUpstream, fine: str, streamed: bool
) -> None:
    begun = stream([*chat_events()[:2], STALL]) if streamed else [STALL]
    with held(gateway, upstream, "concurrency", upstream.script(begun), stream=streamed):
        assert gateway.ask(chat(fine), secret_of("concurrency")).status == 429
    wait_for("given back", lambda: gateway.ask(chat(fine), secret_of("concurrency")).status == 200, 1.0)


def test_tokens_in_flight_are_a_scaling_signal(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    with held(gateway, upstream, "main", upstream.script([STALL])):
        wait_for("requests show", lambda: gateway.metric("throughway_in_flight_requests") >= 1, 1.0)
        wait_for("their tokens do", lambda: gateway.metric("throughway_in_flight_tokens") > 0, 0.5)


def test_after_a_storm_nothing_is_in_flight_and_nothing_reserved(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """Every kind of end at once, with callers that leave in the middle of them."""
    chosen = random.Random(7)
    scripts = [(name, upstream.script(steps)) for name, steps in ENDS.items()]
    scripts.append(("stall", upstream.script([STALL])))
    before = len(gateway.log())
    asked = 240

    def one(number: int) -> None:
        name, script = scripts[number % len(scripts)]
        body = chat(script, stream="stream" in name, max_tokens=50)
        patience = 0.05 if name == "stall" or number % 5 == 0 else 10
        try:
            gateway.ask(body, secret_of("storm"), timeout_s=patience)
        except (TimeoutError, ConnectionError, OSError, ValueError, EOFError):
            pass  # it left, or the answer was broken off
        except Exception as fault:
            assert type(fault).__name__ == "IncompleteRead", fault

    order = list(range(asked))
    chosen.shuffle(order)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, order))
    gateway.wait_until_idle()
    assert json.loads(gateway.command("status", "--json").stdout)["workers"][0]["in_flight"] == 0
    lines = [line for line in gateway.log()[before:] if line["key_id"] == "cfg-storm"]
    wait_for(
        "all are accounted for", lambda: len(gateway.records("key_id = ?", "cfg-storm")) >= len(lines) >= 0.9 * asked
    )
    records = gateway.records("key_id = ?", "cfg-storm")
    period, _, _ = period_at("day", time.time())
    with gateway.limits() as table:
        assert table.in_flight(b"key/cfg-storm") == 0
        spent = table.spent(b"key/cfg-storm", period)
        assert spent == sum(record["cost_nano_usd"] for record in records)
        plan = table.plan([Scope(b"key/cfg-storm", budget_nano_usd=1_000 * NANO_USD, period=period)])
        assert plan.budget_left() == 1_000 * NANO_USD - spent, "something stays reserved"


def test_a_budget_is_not_overshot_by_callers_at_once(
    make_gateway: Callable[..., Gateway], upstream: ScriptedUpstream
) -> None:
    """20 at once, each reserving 0.6 of a budget of 3: no more than five pass together, whatever the timing; two workers."""
    node = make_gateway(workers=2, keys={"main": {"budget": {"usd": 0.003, "per": "total"}}})
    usage = {"prompt_tokens": 1, "completion_tokens": 1_000, "total_tokens": 1_001}
    slow = upstream.script([0.1, *json_answer(completion(usage=usage))])

    def ask(_: int) -> Answer:
        return node.ask(chat(slow, max_tokens=1_000), secret_of("main"))

    with ThreadPoolExecutor(20) as pool:
        statuses = sorted(a.status for a in pool.map(ask, range(20)))
    assert statuses == [200] * 4 + [402] * 16  # each is 0.0006 USD and the prompt's few tokens
    with node.limits() as table:
        assert table.spent(b"key/cfg-main", 1) == 4 * 600_150


def test_limits_survive_a_change_of_the_configuration(make_gateway: Callable[..., Gateway], fine: str) -> None:
    node = make_gateway(keys={"main": {"limits": {"requests_per_minute": 3, "concurrency": 2}}})
    assert node.ask(chat(fine), secret_of("main")).status == 200
    version = node.status()["config"]["version"]
    changed = {
        **node.settings,
        "keys": [{**node.settings["keys"][0], "limits": {"requests_per_minute": 3, "concurrency": 3}}],
    }
    node.configure(changed)
    wait_for("reloaded", lambda: node.status()["config"]["version"] != version)
    wait_for("swapped", lambda: node.status()["workers"][0]["generation"] == node.status()["config"]["generation"])
    assert [node.ask(chat(fine), secret_of("main")).status for _ in range(3)] == [200, 200, 429]


def test_spent_budget_survives_a_restart(make_gateway: Callable[..., Gateway], upstream: ScriptedUpstream) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 16_000, "total_tokens": 16_001}
    costly = upstream.script(json_answer(completion(usage=usage)))
    node = make_gateway(keys={"main": {"budget": {"usd": 0.01, "per": "total"}}})
    assert node.ask(chat(costly, max_tokens=10), secret_of("main")).status == 200
    node.stop()
    node.start()
    assert node.ask(chat(costly, max_tokens=1_000), secret_of("main")).status == 402
