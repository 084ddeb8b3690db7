"""What is asked of a provider as it stands: who may, what goes on, what comes back, what it is accounted as."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from _fastpath.wheel import now_ns
from gateway.base.context import Credential
from gateway.base.errors import PROVIDER_BUSY, GatewayError
from gateway.base.snapshot import Budget, Key, Limits, Model, Passage, ProviderKind, Target
from tests.support.rig import PRICE, SECRET, FakeExchange, Rig, response_head

KINDS: dict[str, ProviderKind] = {"claude": "anthropic", "google": "gemini"}
ALL = (Passage(),)
FIELDS: dict[str, dict[str, Any]] = {
    "openai": {
        "passthrough": ALL,
        "passthrough_request_headers": ("x-own",),
        "passthrough_answer_headers": ("x-theirs",),
    },
    "files": {"passthrough": (Passage("/files*", ("GET", "POST")), Passage("/batches", ("POST",)))},
    "claude": {"passthrough": ALL},
    "google": {"passthrough": ALL},
    "closed": {},
    "headed": {"passthrough": ALL, "headers": (("OpenAI-Beta", "ours"),)},
}
KEY = Key("k1", "app", "", passthrough=("*",), limits=Limits(concurrency=2))


def rig_of(directory: Path, key: Key = KEY) -> Rig:
    models = (
        Model("mini", (Target("openai", "gpt-mini", price=PRICE),)),
        Model("c", (Target("claude", "c-1", price=PRICE),)),
    )
    return Rig(directory, key, models=models, kinds=KINDS, fields=FIELDS)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return rig_of(tmp_path)


def request_of(rig: Rig, provider: str = "openai") -> tuple[str, dict[str, str], bytes]:
    head, _, body = rig.connection(provider).request.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    return line, dict(field.split(": ", 1) for field in fields), body


def answer(
    rig: Rig, body: bytes, *lines: str, provider: str = "openai", status: int = 200, kind: str = "application/json"
) -> None:
    rig.sink(provider).on_response(response_head(status, kind, f"content-length: {len(body)}", *lines), body)


def code_of(got: FakeExchange) -> str:
    value = json.loads(got.sent)
    return str(value["error"].get("code") or value["error"].get("type"))


# -- what goes on


def test_method_path_query_and_body_go_on_as_they_are(rig: Rig) -> None:
    body = b"--b\r\ncontent-disposition: form-data; name=file\r\n\r\n\x00\xff\r\n--b--\r\n"
    headers = {
        b"content-type": b"multipart/form-data; boundary=b",
        b"accept": b"*/*",
        b"openai-beta": b"assistants=v2",
        b"idempotency-key": b"k",
        b"x-own": b"own",
        b"cookie": b"canary",
        b"x-other": b"canary",
        b"openai-organization": b"canary",
        b"accept-encoding": b"gzip",
        b"connection": b"canary",
    }
    got = rig.ask(body, path="/openai/files", query=b"a=1&b=%2F", headers=headers)
    line, fields, sent = request_of(rig)
    assert line == "POST /v1/files?a=1&b=%2F HTTP/1.1" and sent == body
    assert fields == {
        "host": "openai.example",
        "accept-encoding": "identity",
        "user-agent": "throughway",
        "authorization": "Bearer sk-ours",
        "content-type": "multipart/form-data; boundary=b",
        "accept": "*/*",
        "openai-beta": "assistants=v2",
        "idempotency-key": "k",
        "x-own": "own",
        "content-length": str(len(body)),
    }
    assert SECRET not in rig.connection("openai").request
    answer(rig, b'{"id":"file-1"}', "x-theirs: yes", "set-cookie: canary", "x-ratelimit-limit-requests: 1")
    assert got.status == 200 and got.sent == b'{"id":"file-1"}'
    assert got.answer_headers["x-theirs"] == "yes" and got.answer_headers["content-type"] == "application/json"
    assert got.answer_headers["x-throughway-provider"] == "openai" and "x-request-id" in got.answer_headers
    assert "canary" not in str(got.answer_headers)
    assert rig.record.endpoint == "passthrough" and rig.record.provider == "openai" and rig.record.unpriced
    assert rig.record.code == "" and rig.in_flight == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "PATCH"])
def test_every_method_goes_on(rig: Rig, method: str) -> None:
    got = rig.ask(b"", path="/openai/v1/files/file-1", method=method)
    assert request_of(rig)[0] == f"{method} /v1/files/file-1 HTTP/1.1"
    assert rig.connection("openai").method == method
    assert ("content-length" in request_of(rig)[1]) == (method in ("PUT", "PATCH"))
    answer(rig, b"" if method == "HEAD" else b"{}")
    assert got.status == 200
    assert rig.record.unpriced == (method in ("PUT", "PATCH")), "nothing is produced by the others"
    assert rig.record.cost_nano_usd == 0 and not rig.record.estimated


def test_the_dialects_version_is_the_callers_or_the_one_that_is_written(rig: Rig) -> None:
    rig.ask(b"", path="/claude/v1/models", method="GET")
    assert request_of(rig, "claude")[1]["anthropic-version"] == "2023-06-01"
    rig.ask(b"", path="/claude/models", method="GET", headers={b"anthropic-version": b"2026-10-21"})
    line, fields, _ = request_of(rig, "claude")
    assert (line, fields["anthropic-version"]) == ("GET /v1/models HTTP/1.1", "2026-10-21")
    assert fields["x-api-key"] == "sk-ours" and "authorization" not in fields


def test_a_header_that_is_the_providers_own_is_not_the_callers_to_set(rig: Rig) -> None:
    rig.ask(b"", path="/headed/files", method="GET", headers={b"openai-beta": b"theirs"})
    assert rig.connection("headed").request.lower().count(b"openai-beta") == 1
    assert request_of(rig, "headed")[1]["OpenAI-Beta"] == "ours"


def test_a_token_that_expires_is_shown_while_it_lasts(rig: Rig) -> None:
    entry = rig.compiled.providers["google"]
    credential = entry.free.credential = entry.unpriced.credential = Credential(lambda: None)
    got = rig.ask(b"", path="/google/files", method="GET")
    assert (got.status, rig.record.code) == (503, "provider_credential_missing")
    credential.line, credential.until_ns = b"authorization: Bearer token\r\n", now_ns() + 1_000_000_000
    rig.ask(b"", path="/google/files", method="GET")
    assert request_of(rig, "google")[1]["authorization"] == "Bearer token"


# -- who may


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/nobody/files", "GET", 404, "not_found"),
        ("/closed/files", "GET", 403, "passthrough_not_allowed"),
        ("/files/files/a", "DELETE", 403, "passthrough_not_allowed"),
        ("/files/assistants", "GET", 403, "passthrough_not_allowed"),
        ("/files/batches/x", "POST", 403, "passthrough_not_allowed"),
        ("/files/files/../assistants", "GET", 400, "invalid_value"),
        ("/files/files/%2e%2e/assistants", "GET", 400, "invalid_value"),
        ("/openai/files", "OPTIONS", 405, "method_not_allowed"),
        ("/openai/files", "TRACE", 405, "method_not_allowed"),
        ("/openai", "GET", 404, "not_found"),
    ],
)
def test_what_is_not_admitted_is_refused(rig: Rig, path: str, method: str, status: int, code: str) -> None:
    got = rig.ask(b"", path=path, method=method)
    assert (got.status, code_of(got)) == (status, code)
    assert not any(pool.made for pool in rig.pools.values()) and rig.in_flight == 0


@pytest.mark.parametrize("allowed", [(), ("files",)])
def test_a_key_may_ask_only_whom_it_names(tmp_path: Path, allowed: tuple[str, ...]) -> None:
    rig = rig_of(tmp_path, Key("k1", "app", "", passthrough=allowed))
    got = rig.ask(b"", path="/openai/files", method="GET")
    assert (got.status, code_of(got)) == (403, "passthrough_not_allowed")
    assert rig.record.endpoint == "passthrough" and rig.record.code == "passthrough_not_allowed"


def test_an_error_is_told_in_the_words_of_the_providers_clients(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, Key("k1", "app", ""))
    got = rig.ask(b"", path="/claude/v1/files", method="GET")
    assert (got.status, json.loads(got.sent)["type"]) == (403, "error")


@pytest.mark.parametrize("path", ["/openai/files", "/closed/files", "/nobody/files"])
def test_nobody_without_a_key_learns_which_providers_there_are(rig: Rig, path: str) -> None:
    got = rig.ask(b"", path=path, method="GET", headers={b"authorization": b"Bearer wrong"})
    assert (got.status, code_of(got)) == (401, "invalid_api_key")


def test_a_body_is_received_only_of_who_may_send_it(rig: Rig) -> None:
    wanted = FakeExchange(path="/openai/files", headers={b"content-type": b"multipart/form-data; boundary=b"})
    assert rig.pipeline.on_head(wanted) and wanted.calls == []
    unwanted = FakeExchange(path="/closed/files")
    assert not rig.pipeline.on_head(unwanted) and unwanted.status == 403


def test_limits_hold(tmp_path: Path) -> None:
    rig = rig_of(
        tmp_path, Key("k1", "app", "", passthrough=("openai",), limits=Limits(requests_per_minute=1, concurrency=1))
    )
    rig.ask(b"", path="/openai/files", method="GET")
    got = rig.ask(b"", path="/openai/files", method="GET")
    assert (got.status, code_of(got)) == (429, "rate_limit_exceeded") and "retry-after" in got.answer_headers


def test_a_spent_budget_refuses_what_may_cost(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, Key("k1", "app", "", passthrough=("openai",), budget=Budget(3_000, "day")))
    body = b'{"model":"gpt-mini","messages":[]}'
    rig.ask(body, path="/openai/chat/completions")
    answer(rig, b'{"model":"gpt-mini","usage":{"prompt_tokens":20,"completion_tokens":0},"choices":[]}')
    assert rig.record.cost_nano_usd == 3_000
    assert code_of(rig.ask(body, path="/openai/chat/completions")) == "budget_exceeded"
    assert len(rig.pools["openai"].made) == 1
    rig.ask(b"", path="/openai/files", method="GET")
    assert len(rig.pools["openai"].made) == 2, "what costs nothing passes"


# -- what it is accounted as


def test_usage_that_is_told_is_priced_as_the_providers_model(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, Key("k1", "app", "", passthrough=("openai",), limits=Limits(tokens_per_minute=1_000)))
    rig.ask(b'{"model":"gpt-mini"}', path="/openai/responses")
    answer(rig, b'{"object":"response","model":"gpt-mini-2026","usage":{"input_tokens":100,"output_tokens":10}}')
    record = rig.record
    assert (record.model, record.target_model, record.input_tokens, record.output_tokens) == (
        "mini",
        "gpt-mini",
        100,
        10,
    )
    assert record.cost_nano_usd == 100 * 150 + 10 * 600 and not record.unpriced
    got = rig.ask(b"", path="/openai/files", method="GET")
    answer(rig, b"{}")
    assert int(got.answer_headers["x-ratelimit-remaining-tokens"]) < 900


def test_usage_of_a_model_that_nobody_knows_is_counted_and_unpriced(rig: Rig) -> None:
    rig.ask(b'{"model":"gpt-other"}', path="/openai/responses")
    answer(rig, b'{"model":"gpt-other","usage":{"input_tokens":100,"output_tokens":10}}')
    record = rig.record
    assert (record.model, record.input_tokens, record.output_tokens, record.unpriced) == ("", 100, 10, True)
    assert rig.accountant.unpriced.value == 1


def test_what_a_request_reads_again_is_not_charged_again(rig: Rig) -> None:
    rig.ask(b"", path="/openai/responses/resp_1", method="GET")
    answer(rig, b'{"object":"response","model":"gpt-mini","usage":{"input_tokens":100,"output_tokens":10}}')
    assert (rig.record.input_tokens, rig.record.cost_nano_usd, rig.record.unpriced) == (0, 0, False)


CHUNKS = (
    b'data: {"model":"gpt-mini","choices":[{"index":0,"delta":{"content":"Hello there"}}]}\n\n',
    b'data: {"model":"gpt-mini","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
)


def test_a_streams_usage_is_read_as_it_passes(rig: Rig) -> None:
    got = rig.ask(b'{"model":"gpt-mini","stream":true}', path="/openai/chat/completions")
    sink = rig.sink("openai")
    sink.on_head(response_head(200, "text/event-stream", "transfer-encoding: chunked"), False)
    assert got.names == ["start", "flush"]
    data = b"".join(CHUNKS)
    for at in range(0, len(data), 11):
        sink.on_data(data[at : at + 11], False)
        assert got.sent == data[: at + 11], "nothing is held back"
    sink.on_data(b"", True)
    assert (rig.record.input_tokens, rig.record.output_tokens, rig.record.model) == (9, 2, "mini")
    assert rig.record.first_token_us > 0


def test_a_stream_of_anthropics_is_read_by_its_own_follower(rig: Rig) -> None:
    rig.ask(b'{"model":"c-1","stream":true}', path="/claude/v1/messages")
    sink = rig.sink("claude")
    sink.on_head(response_head(200, "text/event-stream", "transfer-encoding: chunked"), True)
    begin = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "c-1",
        "content": [],
        "usage": {"input_tokens": 8, "output_tokens": 1},
    }
    for name, value in (
        ("message_start", {"type": "message_start", "message": begin}),
        (
            "message_delta",
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        ),
        ("message_stop", {"type": "message_stop"}),
    ):
        sink.on_data(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode(), name == "message_stop")
    assert (rig.record.input_tokens, rig.record.output_tokens, rig.record.model) == (8, 5, "c")
    assert rig.record.cost_nano_usd == 8 * 150 + 5 * 600


# -- what breaks


def test_who_leaves_pays_for_what_was_told(rig: Rig) -> None:
    got = rig.ask(b'{"model":"gpt-mini","stream":true}', path="/openai/chat/completions")
    rig.sink("openai").on_head(response_head(200, "text/event-stream", "transfer-encoding: chunked"), True)
    rig.sink("openai").on_data(CHUNKS[0] * 40, False)
    assert got.on_disconnect is not None
    got.on_disconnect()
    assert rig.connection("openai").calls == ["close"]
    assert (rig.record.status, rig.record.code) == (499, "client_closed_request")
    assert rig.record.output_tokens >= 40 and rig.in_flight == 0


def test_who_leaves_before_there_is_a_connection_used_nothing(rig: Rig) -> None:
    rig.pools["openai"].empty = True
    got = rig.ask(b"{}", path="/openai/files")
    assert got.on_disconnect is not None
    got.on_disconnect()
    assert rig.pools["openai"].waiting[0].cancelled and not rig.record.unpriced and rig.in_flight == 0


def test_an_answer_that_breaks_off_is_broken_off(rig: Rig) -> None:
    got = rig.ask(b"", path="/openai/files/f/content", method="GET")
    rig.sink("openai").on_head(response_head(200, "application/octet-stream", "content-length: 100"), True)
    rig.sink("openai").on_data(b"half", False)
    rig.sink("openai").on_error("truncated", "the connection closed")
    assert got.names == ["start", "write", "abort"] and rig.record.code == "stream_truncated"
    assert rig.in_flight == 0


def test_a_provider_is_read_no_faster_than_the_caller_takes(rig: Rig) -> None:
    got = rig.ask(b"", path="/openai/files/f/content", method="GET")
    rig.sink("openai").on_head(response_head(200, "application/octet-stream", "content-length: 8"), True)
    got.takes_more = False
    rig.sink("openai").on_data(b"half", False)
    assert rig.connection("openai").calls == ["pause"] and got.on_drain is not None
    got.on_drain()
    assert rig.connection("openai").calls == ["pause", "resume"]


@pytest.mark.parametrize("status", [400, 404, 409, 429, 500, 503])
def test_a_providers_error_comes_back_as_it_is_and_is_recorded_as_one(rig: Rig, status: int) -> None:
    got = rig.ask(b"{}", path="/openai/batches")
    answer(rig, b'{"error":{"message":"No"}}', status=status)
    assert (got.status, got.sent) == (status, b'{"error":{"message":"No"}}')
    codes = {429: "provider_rate_limited", 500: "provider_error", 503: "provider_error"}
    assert rig.record.code == codes.get(status, "provider_rejected") and rig.record.status == status


@pytest.mark.parametrize("status", [401, 403, 407])
@pytest.mark.parametrize("whole", [True, False])
def test_a_refusal_of_our_credential_is_no_fault_of_the_callers(rig: Rig, status: int, whole: bool) -> None:
    got = rig.ask(b"{}", path="/openai/batches")
    body = b'{"error":{"message":"Incorrect key"}}'
    if whole:
        answer(rig, body, status=status)
    else:
        rig.sink("openai").on_head(response_head(status, "application/json", "transfer-encoding: chunked"), True)
        rig.sink("openai").on_data(body, False)
        rig.sink("openai").on_data(b"", True)
    assert (got.status, rig.record.code) == (502, "provider_error") and rig.in_flight == 0


@pytest.mark.parametrize(("method", "attempts"), [("GET", 2), ("DELETE", 2), ("PUT", 2), ("POST", 1), ("PATCH", 1)])
def test_only_what_is_idempotent_is_sent_again(rig: Rig, method: str, attempts: int) -> None:
    got = rig.ask(b"", path="/openai/files/f", method=method)
    for _ in range(attempts):
        assert not got.started
        rig.sink("openai").on_error("closed", "the connection closed before an answer")
    assert (got.status, code_of(got)) == (502, "provider_unreachable")
    assert len(rig.pools["openai"].made) == attempts and got.answer_headers["x-throughway-attempts"] == str(attempts)


@pytest.mark.parametrize(
    ("kind", "status", "code"), [("first_byte", 504, "provider_timeout"), ("protocol", 502, "provider_protocol_error")]
)
def test_a_provider_that_stalls_or_errs_is_told(rig: Rig, kind: str, status: int, code: str) -> None:
    got = rig.ask(b"", path="/openai/files", method="GET")
    rig.sink("openai").on_error(kind, "why")
    assert (got.status, code_of(got)) == (status, code) and rig.in_flight == 0


def test_a_full_pool_is_told_as_such(rig: Rig) -> None:
    pool = rig.pools["openai"]
    pool.empty, pool.full = True, GatewayError(PROVIDER_BUSY, "Too many wait.", retry_after_ms=1_000)
    got = rig.ask(b"", path="/openai/files", method="GET")
    assert (got.status, code_of(got)) == (503, "provider_pool_exhausted") and rig.in_flight == 0


def test_the_callers_deadline_is_kept(rig: Rig) -> None:
    headers = {b"x-throughway-timeout-ms": b"50", b"traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"}
    got = rig.ask(b"", path="/openai/files", method="GET", headers=headers)
    assert rig.connection("openai").deadline_ns == got.received_ns + 50_000_000
    assert (
        request_of(rig)[1]["traceparent"].startswith("00-" + "a" * 32)
        and "b" * 16 not in request_of(rig)[1]["traceparent"]
    )
    rig.sink("openai").on_error("total", "the answer was not complete in time")
    assert (got.status, code_of(got)) == (504, "deadline_exceeded")
    assert rig.record.trace_id == "a" * 32


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_none(rig: Rig, status: int) -> None:
    got = rig.ask(b"", path="/openai/files/f", method="GET")
    rig.sink("openai").on_response(response_head(status, "application/json", 'etag: "x"'), b"")
    assert got.calls[0][:2] == ("start", status) and got.calls[0][3] == -1 and got.sent == b""
    assert got.answer_headers["etag"] == '"x"'
