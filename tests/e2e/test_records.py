"""What is told of a request: headers of its answer, its record in the ledger, its line in the log, the node's metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PROVIDER_SECRET, secret_of
from tests.e2e.node import Answer, Gateway
from tests.support.scripted_upstream import (
    Ending,
    ScriptedUpstream,
    answer,
    chat_events,
    completion,
    error,
    json_answer,
    stream,
    usage_event,
)

MESSAGES = [{"role": "user", "content": "Say hello."}]


def ask(
    gateway: Gateway, script: str, headers: dict[str, str] | None = None, key: str = "main", **fields: Any
) -> Answer:
    body = {"model": "gpt-4o-mini", "messages": MESSAGES, "x_script": script, **fields}
    return gateway.ask(body, secret_of(key), headers=headers)


# -- money, by hand: 150, 75 (cached) and 600 nano-USD a token

PRICED: dict[str, tuple[dict[str, Any] | None, int]] = {
    "one": ({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, 750),
    "input": ({"prompt_tokens": 1_000, "completion_tokens": 1}, 150_600),
    "output": ({"prompt_tokens": 1, "completion_tokens": 1_000}, 600_150),
    "both": ({"prompt_tokens": 1_234, "completion_tokens": 567}, 185_100 + 340_200),
    # 1,024 of 1,117 come from the cache: 93 * 150 + 1,024 * 75 + 46 * 600
    "cached": (None, 13_950 + 76_800 + 27_600),
    # reasoning is a part of the output and costs as such
    "reasoning": (
        {"prompt_tokens": 10, "completion_tokens": 100, "completion_tokens_details": {"reasoning_tokens": 90}},
        1_500 + 60_000,
    ),
    "million": ({"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}, 750_000_000),
    "null-details": ({"prompt_tokens": 2, "completion_tokens": 2, "prompt_tokens_details": None}, 1_500),
}


def test_each_record_reaches_the_ledger_once_and_is_priced_to_the_nano_dollar(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    asked = {}
    for name, (usage, _) in PRICED.items():
        for streamed in (False, True):
            whole = stream([*chat_events(usage=False)[:-1], usage_event(usage), chat_events()[-1]])
            script = upstream.script(whole if streamed else json_answer(completion(usage=usage)))
            got = ask(gateway, script, stream=streamed)
            assert got.status == 200
            asked[got.headers["x-request-id"]] = (name, streamed)
            if not streamed:
                shown = got.headers["x-throughway-cost-usd"]
                assert round(float(shown) * 1e9) == PRICED[name][1], name
                assert "e" not in shown
    for request_id, (name, streamed) in asked.items():
        record = gateway.record(request_id)
        assert record["cost_nano_usd"] == PRICED[name][1], name
        assert record["stream"] == streamed
        assert (record["status"], record["code"], record["estimated"], record["unpriced"]) == (200, "", 0, 0)
    line = next(r for r in gateway.records() if asked.get(r["id"]) == ("cached", False))
    assert (line["input_tokens"], line["cache_read_tokens"], line["output_tokens"]) == (1_117, 1_024, 46)
    line = next(r for r in gateway.records() if asked.get(r["id"]) == ("reasoning", True))
    assert (line["output_tokens"], line["reasoning_tokens"]) == (100, 90)


def test_the_record_says_who_what_and_where(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    got = ask(
        gateway,
        upstream.script(json_answer(completion())),
        {"x-throughway-tags": "team=x,run=7"},
        key="in-team",
        max_tokens=1,
    )
    record = gateway.logged(got.headers["x-request-id"])
    expected = {
        "key_id": "cfg-in-team",
        "team": "plain",
        "endpoint": "chat",
        "model": "gpt-4o-mini",
        "provider": "a",
        "target_model": "upstream-mini",
        "status": 200,
        "code": "",
        "stream": False,
        "attempts": 1,
        "finish_reason": "stop",
        "tags": "team=x,run=7",
        "config_version": got.headers["x-throughway-config-version"],
    }
    assert {name: record[name] for name in expected} == expected
    assert 0 < record["overhead_us"] <= record["duration_us"] < 5_000_000


def test_refused_requests_of_a_known_key_are_recorded_too(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    got = ask(gateway, upstream.script(error(400)))
    refused = gateway.ask({"model": "no-such", "messages": []}, secret_of("main"))
    unknown = gateway.ask({"model": "gpt-4o-mini", "messages": []}, "sk-of-nobody")
    assert gateway.logged(got.headers["x-request-id"])["code"] == "provider_rejected"
    record = gateway.record(refused.headers["x-request-id"])
    assert (record["status"], record["code"], record["cost_nano_usd"], record["attempts"]) == (
        404,
        "model_not_found",
        0,
        0,
    )
    assert gateway.logged(unknown.headers["x-request-id"])["code"] == "invalid_api_key"
    assert not gateway.records("id = ?", unknown.headers["x-request-id"])


BROKEN_USAGE: dict[str, Any] = {
    "negative": {"prompt_tokens": -5, "completion_tokens": -7},
    "enormous": {"prompt_tokens": 10**25, "completion_tokens": 1},
    "beyond-64-bit-cost": {"prompt_tokens": 2**62, "completion_tokens": 2**62},
    "words": {"prompt_tokens": "many", "completion_tokens": 1},
    "fraction": {"prompt_tokens": 1.5, "completion_tokens": 1},
    "list": [],
}


def test_cached_tokens_beyond_the_prompts_earn_nothing(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1_000}}
    got = ask(gateway, upstream.script(json_answer(completion(usage=usage))))
    assert (got.status, got.headers["x-throughway-cost-usd"]) == (200, "0.00000135")
    assert gateway.logged(got.headers["x-request-id"])["cost_nano_usd"] == 1_350


def test_a_whole_answer_without_usage_is_estimated_not_zero(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    body = completion("a rather long answer " * 20)
    del body["usage"]
    got = ask(gateway, upstream.script(json_answer(body)))
    line = gateway.logged(got.headers["x-request-id"])
    assert line["estimated"] is True and line["input_tokens"] > 0
    assert line["output_tokens"] > 20


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", BROKEN_USAGE)
def test_absurd_usage_of_a_provider_harms_neither_answer_nor_record(
    name: str, streamed: bool, gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    usage = BROKEN_USAGE[name]
    events = [*chat_events(usage=False)[:-1], usage_event(usage), chat_events()[-1]]
    body = {**completion(), "usage": usage}
    got = ask(gateway, upstream.script(stream(events) if streamed else json_answer(body)), stream=streamed)
    assert got.status == 200, got
    assert b"[DONE]" in got.body if streamed else got.json == body
    record = gateway.logged(got.headers["x-request-id"])
    assert record["code"] == ""
    assert 0 <= record["input_tokens"] < 10**9 and 0 <= record["output_tokens"] < 10**9
    assert 0 <= record["cost_nano_usd"] < 10**15
    assert record["estimated"] is True


# -- headers


def test_headers_of_an_answer(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    got = ask(
        gateway,
        upstream.script(json_answer(completion(), "x-secret-of-provider: s", "set-cookie: a=b", "server: theirs")),
    )
    headers = got.headers
    assert re.fullmatch(r"req_[0-9a-f]{12}[0-9a-f]{8,}", headers["x-request-id"])
    expected = {
        "content-type": "application/json",
        "x-throughway-provider": "a",
        "x-throughway-model": "upstream-mini",
        "x-throughway-attempts": "1",
        "x-throughway-cache": "bypass",
        "x-throughway-cost-usd": "0.00011835",
        "x-throughway-config-version": gateway.status()["config"]["version"],
    }
    assert {name: headers.get(name) for name in expected} == expected
    assert 0 < int(headers["x-throughway-overhead-us"]) < 1_000_000
    assert not {"x-secret-of-provider", "set-cookie", "server"} & set(headers)
    assert "x-ratelimit-limit-requests" not in headers


def test_a_stream_tells_no_cost_in_its_head(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    got = ask(gateway, upstream.script(stream(chat_events())), stream=True)
    assert got.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert got.headers["cache-control"] == "no-cache"
    assert {"x-request-id", "x-throughway-provider", "x-throughway-attempts", "x-throughway-config-version"} <= set(
        got.headers
    )
    assert not {"x-throughway-cost-usd", "x-throughway-overhead-us", "content-length"} & set(got.headers)


def test_ids_never_repeat(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    ids = [ask(gateway, script, {"x-request-id": "mine"}).headers["x-request-id"] for _ in range(20)]
    assert len(set(ids)) == 20 and "mine" not in ids


# -- what the provider gets


def test_no_header_of_the_caller_reaches_the_provider(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    leaking = {
        "cookie": "session=canary-1",
        "x-forwarded-for": "10.1.2.3",
        "x-custom": "canary-2",
        "openai-organization": "canary-3",
        "accept-encoding": "gzip",
        "user-agent": "canary-4",
        "x-throughway-tags": "canary-5",
        "host": "evil.example",
        "te": "trailers",
        "x-api-key": secret_of("main"),
        "referer": "canary-6",
        "baggage": "canary-7",
    }
    assert ask(gateway, script, leaking).status == 200
    (request,) = upstream.requests_of(script)
    names = [name for name, _ in request.headers]
    assert names == [
        "host",
        "content-type",
        "accept",
        "accept-encoding",
        "user-agent",
        "authorization",
        "x-team-header",
        "content-length",
    ]
    assert b"canary" not in request.head and b"sk-tw-test" not in request.head and b"10.1.2.3" not in request.head
    assert request.header("host") == f"127.0.0.1:{upstream.port}"
    assert request.header("accept-encoding") == "identity"
    assert request.header("authorization") == f"Bearer {PROVIDER_SECRET}"
    assert request.header("x-team-header") == "of the operator"
    assert request.head.split(b"\r\n")[0] == b"POST /a/v1/chat/completions HTTP/1.1"


def test_the_body_passes_byte_for_byte_but_for_the_model(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    body = (
        '{ "messages":[{"role":"user","content":"\\u00e9 é \\ud83c\\udf0d","x":1.50}],\n\t"unknown":{"a":[1e2,-0.0,18446744073709551616]} ,'
        f' "mod\\u0065l" : "gpt-4o-mini" , "x_script":"{script}","seed":7 }}\n'
    ).encode()
    assert gateway.ask(body, secret_of("main")).status == 200
    assert upstream.requests_of(script)[0].body == body.replace(b'"gpt-4o-mini"', b'"upstream-mini"')


def test_large_bodies_pass_both_ways(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    content = "é" * 300_000
    whole = completion(content, usage={"prompt_tokens": 150_000, "completion_tokens": 150_000})
    script = upstream.script(answer(json.dumps(whole).encode(), framing="chunked"))
    got = ask(gateway, script, messages=[{"role": "user", "content": content}])
    assert got.json == whole
    assert upstream.requests_of(script)[0].json["messages"][0]["content"] == content
    line = gateway.logged(got.headers["x-request-id"])
    assert (line["input_tokens"], line["output_tokens"], line.get("estimated", False)) == (150_000, 150_000, False)


# -- traces

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_trace_is_continued_and_recorded(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    got = ask(gateway, script, {"traceparent": PARENT})
    sent = upstream.requests_of(script)[0].header("traceparent") or ""
    version, trace, span, flags = sent.split("-")
    assert (version, trace, flags) == ("00", "4bf92f3577b34da6a3ce929d0e0e4736", "01")
    assert re.fullmatch("[0-9a-f]{16}", span) and span != "00f067aa0ba902b7"
    assert gateway.logged(got.headers["x-request-id"])["trace_id"] == trace


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        PARENT.upper(),
        PARENT + "-x",
        PARENT[:-1],
        "ff" + PARENT[2:],
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    ],
)
def test_a_malformed_trace_is_dropped(value: str, gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    got = ask(gateway, script, {"traceparent": value})
    assert got.status == 200
    assert upstream.requests_of(script)[0].header("traceparent") is None


# -- the ledger and the log say the same


def test_every_line_of_a_key_stands_in_the_ledger_once_and_says_the_same(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    got = ask(gateway, upstream.script(json_answer(completion())), {"traceparent": PARENT, "x-throughway-tags": "a=b"})
    gateway.record(got.headers["x-request-id"])
    last = gateway.logged(got.headers["x-request-id"])
    lines = [line for line in gateway.log() if line["key_id"] and line["at_ms"] <= last["at_ms"] - 2_000]
    lines.append(last)
    records = {record["id"]: record for record in gateway.records()}
    assert len(records) == len(gateway.records())
    for line in lines:
        record = records[line["id"]]
        told = {name: value for name, value in line.items() if name not in ("ts", "level", "event", "error")}
        assert {name: record[name] for name in told} == told
        assert not any(value for name, value in record.items() if name not in told and name != "seq")


# -- nothing that should not be kept


def test_no_prompt_no_answer_and_no_secret_stands_in_any_file(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    prompt, told = "canary-prompt-7e1f", "canary-answer-93ab"
    messages = [{"role": "user", "name": prompt, "content": prompt}]
    answers = [
        json_answer(completion(told)),
        error(500, f"{told} said {secret_of('canary')}"),
        stream(chat_events((told,))),
    ]
    ids = []
    for number, steps in enumerate(answers):
        got = ask(gateway, upstream.script(steps), key="canary", messages=messages, stream=number == 2, user=prompt)
        ids.append(got.headers["x-request-id"])
    ask(gateway, upstream.script(answers[0]), key="canary", messages=messages, n=prompt)
    gateway.ask(b'{"model": "' + prompt.encode() + b'", ' + prompt.encode(), secret_of("canary"))
    gateway.record(ids[-1])
    files = [gateway.log_file, *(p for p in gateway.state_dir.rglob("*") if p.is_file())]
    assert len(files) > 3
    secrets = [PROVIDER_SECRET, *(secret_of(key) for key in ("canary", "main"))]
    for file in files:
        content = file.read_bytes()
        for kept in (prompt, *secrets):
            assert kept.encode() not in content, (file, kept)
    for file in files[1:]:
        if file.suffix != ".recent":  # the end of the log, which quotes what a provider says of its failure
            assert told.encode() not in file.read_bytes(), file


def test_files_that_hold_anything_are_the_owners_alone(gateway: Gateway) -> None:
    """But for process ids and stacks, in `run`."""
    run = gateway.state_dir / "run"
    loose = [
        str(p) for p in gateway.state_dir.rglob("*") if p.is_file() and p.parent != run and p.stat().st_mode & 0o077
    ]
    assert not loose


# -- the ops listener


def test_health_readiness_and_status(gateway: Gateway) -> None:
    assert gateway.ops("/healthz").status == 200
    assert gateway.ops("/readyz").body == b"1 of 1 workers serving\n"
    assert gateway.ops("/nothing").status == 404
    assert gateway.ops("/readyz", "POST").status == 405
    status = gateway.status()
    assert status["ready"] is True and status["config"]["problems"] == []
    (worker,) = status["workers"]
    assert worker["state"] == "serving" and worker["pid"] in gateway.processes() and worker["heartbeat_age_ms"] < 3_000
    shown = gateway.command("status")
    assert shown.returncode == 0 and "serving" in shown.stdout and status["config"]["version"] in shown.stdout
    assert json.loads(gateway.command("status", "--json").stdout)["config"] == status["config"]


def test_metrics_count_what_happened(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    labels = {"endpoint": "chat", "model": "gpt-4o-mini", "provider": "a"}
    names = {
        "throughway_requests_total": {"code": "ok"},
        "throughway_input_tokens_total": {},
        "throughway_output_tokens_total": {},
        "throughway_cost_usd_total": {},
        "throughway_added_latency_seconds_count": {},
        "throughway_provider_latency_seconds_count": {},
        "throughway_time_to_first_token_seconds_count": {},
        "throughway_inter_token_seconds_count": {},
    }

    def read() -> list[float]:
        return [gateway.metric(name, **labels, **more) for name, more in names.items()]

    before, failed = read(), gateway.metric("throughway_requests_total", code="provider_error")
    ask(gateway, upstream.script(json_answer(completion())))
    apart: list[bytes | float | Ending] = []
    for one in chat_events(("a", "b", "c")):
        apart += (one, 0.02)
    ask(gateway, upstream.script(stream(apart)), stream=True)
    ask(gateway, upstream.script(error(500)))
    gained = [round(after - then, 12) for after, then in zip(read(), before, strict=True)]
    assert gained[:4] == [2, 2 * 1_117, 2 * 46, round(2 * 0.00011835, 12)]
    assert gained[4:] == [3, 3, 1, 2]
    assert gateway.metric("throughway_requests_total", code="provider_error") == failed + 1


def test_metrics_are_well_formed_and_their_labels_bounded(gateway: Gateway) -> None:
    for number in range(20):
        gateway.ask({"model": f"made-up-{number}"}, secret_of("main"), path=f"/v1/made-up-{number}")
        gateway.ask({"model": f"made-up-{number}", "messages": []}, secret_of("main"))
    got = gateway.ops("/metrics")
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = got.body.decode()
    assert "made-up" not in text
    from prometheus_client.parser import text_string_to_metric_families

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {
        "throughway_requests",
        "throughway_loop_lag_seconds",
        "throughway_in_flight_requests",
        "throughway_workers_serving",
    } <= set(families)
    assert all(family.documentation != family.name for family in families.values())
    buckets = [s.value for s in families["throughway_added_latency_seconds"].samples if s.name.endswith("_bucket")]
    assert buckets


def test_log_lines_are_json_and_one_a_request(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    got = ask(gateway, upstream.script(json_answer(completion())))
    request_id = got.headers["x-request-id"]
    gateway.logged(request_id)
    assert sum(line["id"] == request_id for line in gateway.log()) == 1
    for line in Path(gateway.log_file).read_text().splitlines():
        if line.startswith("{"):
            assert {"ts", "level", "event"} <= set(json.loads(line))
