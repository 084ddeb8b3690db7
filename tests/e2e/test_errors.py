"""Every error of the catalogue, as a caller meets it: status, shape, headers. A code without a case here fails a test."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gateway.base.errors import CATALOGUE, Fault
from tests.e2e.conftest import BODY_BYTES, RawConnection, secret_of
from tests.e2e.node import Answer, Gateway, wait_for
from tests.support.scripted_upstream import (
    CLOSE,
    RESET,
    STALL,
    ScriptedUpstream,
    answer,
    chunk,
    completion,
    error,
    head,
    json_answer,
)

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Say hello."}]

ELSEWHERE = {
    "unsupported_parameter": "test_dialects.py: it takes a provider of another dialect",
    "endpoint_not_served": "test_dialects.py: the same",
    "model_cannot_serve": "test_capabilities.py: it takes models of which something is known",
    "context_length_exceeded": "test_capabilities.py: the same",
    "internal_error": "tests/gateway/dataplane/test_pipeline.py: no request of a caller brings it about",
    "client_closed_request": "test_openai_client.py and test_records.py: nobody is there to read it",
    "response_not_found": "test_kept_responses.py: it takes a provider that keeps some",
    "passthrough_not_allowed": "test_passthrough.py: it takes a provider that admits something",
    "provider_credential_missing": "test_credentials.py: it takes a provider whose tokens expire",
    "provider_pool_exhausted": "tests/gateway/dataplane/test_pipeline.py: it takes 4,096 waiting requests",
}
"""Codes that no exchange of this file can show, and where they are shown."""


class Case:
    """A request that brings one error about.

    Args:
        status: where it is not the catalogue's.
        headers: that the answer must have; None for the value where any will do.
        message: a pattern that the message must contain.
        shown: the code in the answer where a provider's own replaces the catalogue's.
    """

    def __init__(
        self,
        code: str,
        body: dict[str, Any] | bytes | None = None,
        *,
        key: str | None = "main",
        path: str = CHAT,
        method: str = "POST",
        send: dict[str, str] | None = None,
        script: Any = None,
        raw: bytes | None = None,
        status: int | None = None,
        param: str | None = None,
        headers: dict[str, str | None] | None = None,
        message: str = "",
        shown: str | None = None,
    ) -> None:
        self.code, self.body, self.key, self.path, self.method, self.send = code, body, key, path, method, send or {}
        self.script, self.raw = script, raw
        self.status = status or CATALOGUE[code].status
        self.param, self.headers, self.message, self.shown = param, headers or {}, message, shown or code

    @property
    def fault(self) -> Fault:
        return CATALOGUE[self.code]


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": MESSAGES, **fields}


def raw(line: str, *fields: str, host: bool = True) -> bytes:
    return "\r\n".join([line, *(["host: h"] if host else []), *fields, "", ""]).encode("latin-1")


OUR_HEADERS: dict[str, str | None] = {"x-request-id": None, "x-throughway-config-version": None}
SENT: dict[str, str | None] = {
    **OUR_HEADERS,
    "x-throughway-provider": "a",
    "x-throughway-model": "upstream-mini",
    "x-throughway-attempts": "1",
}
RETRY: dict[str, str | None] = {"retry-after": "1"}

CASES = {
    # What is no request at all
    "no-http": Case("bad_request", raw=b"hello\r\n\r\n"),
    "no-host": Case("bad_request", raw=raw(f"GET {CHAT} HTTP/1.1", host=False)),
    "length-and-chunked": Case(
        "bad_request", raw=raw(f"POST {CHAT} HTTP/1.1", "content-length: 1", "transfer-encoding: chunked")
    ),
    "bad-chunk": Case(
        "bad_request",
        raw=raw(
            f"POST {CHAT} HTTP/1.1",
            "content-type: application/json",
            "transfer-encoding: chunked",
            f"x-api-key: {secret_of('main')}",
        )
        + b"zz\r\n",
    ),
    "long-target": Case("uri_too_long", raw=raw(f"GET /{'a' * 9_000} HTTP/1.1")),
    "large-head": Case(
        "headers_too_large", raw=raw(f"GET {CHAT} HTTP/1.1", *(f"x-{n}: {'a' * 1_000}" for n in range(70)))
    ),
    "many-fields": Case("headers_too_large", raw=raw(f"GET {CHAT} HTTP/1.1", *(f"x-{n}: a" for n in range(150)))),
    "expectation": Case(
        "expectation_failed", raw=raw(f"POST {CHAT} HTTP/1.1", "content-length: 1", "expect: miracles")
    ),
    "tunnel": Case("not_implemented", raw=raw("CONNECT example.com:443 HTTP/1.1")),
    "coding": Case("bad_request", raw=raw(f"POST {CHAT} HTTP/1.1", "transfer-encoding: gzip, chunked")),
    "http-2": Case("http_version_not_supported", raw=raw(f"GET {CHAT} HTTP/2.0")),
    "slow-head": Case("request_timeout", raw=f"POST {CHAT} HTTP/1.1\r\nhost: h\r\n".encode(), headers=RETRY),
    "slow-body": Case(
        "request_timeout",
        raw=raw(
            f"POST {CHAT} HTTP/1.1",
            "content-type: application/json",
            "content-length: 9",
            f"x-api-key: {secret_of('main')}",
        )
        + b"{",
        headers=RETRY,
    ),
    "large-body": Case("body_too_large", raw=raw(f"POST {CHAT} HTTP/1.1", f"content-length: {BODY_BYTES + 1}")),
    # Where it goes
    "path": Case("not_found", chat(), path="/v1/nothing", headers=OUR_HEADERS, message="/v1/chat/completions"),
    "root": Case("not_found", None, path="/", method="GET", headers=OUR_HEADERS),
    "method-of-chat": Case("method_not_allowed", None, method="GET", headers={**OUR_HEADERS, "allow": "POST"}),
    "method-of-models": Case(
        "method_not_allowed", chat(), path="/v1/models", headers={**OUR_HEADERS, "allow": "GET, HEAD"}
    ),
    "media-type": Case(
        "unsupported_media_type", b"a=b", send={"content-type": "text/plain"}, headers=OUR_HEADERS, message="text/plain"
    ),
    "content-coding": Case("unsupported_media_type", chat(), send={"content-encoding": "gzip"}, headers=OUR_HEADERS),
    # Whose it is
    "no-key": Case("invalid_api_key", chat(), key=None, headers=OUR_HEADERS, message="No API key"),
    "unknown-key": Case("invalid_api_key", chat(), key="unknown", headers=OUR_HEADERS),
    "expired-key": Case("api_key_expired", chat(), key="expired", headers=OUR_HEADERS, message="expired"),
    "basic-credentials": Case(
        "invalid_api_key", chat(), key=None, send={"authorization": "Basic YTpi"}, headers=OUR_HEADERS
    ),
    "two-keys": Case("invalid_api_key", chat(), send={"x-api-key": "another-key"}, headers=OUR_HEADERS),
    "long-key": Case("invalid_api_key", chat(), key=None, send={"x-api-key": "k" * 600}, headers=OUR_HEADERS),
    "key-before-models": Case("invalid_api_key", None, key=None, path="/v1/models", method="GET", headers=OUR_HEADERS),
    # What it says
    "no-json": Case("invalid_json", b'{"model": "gpt-4o-mini", ', headers=OUR_HEADERS, message="at byte 25"),
    "empty-body": Case("invalid_json", b"", headers=OUR_HEADERS),
    "array": Case("invalid_json", b"[]", headers=OUR_HEADERS, message="one JSON object"),
    "bad-utf8": Case("invalid_json", b'{"model": "\xff"}', headers=OUR_HEADERS, message="UTF-8.*byte 11"),
    "bad-nested-json": Case("invalid_json", b'{"model": "gpt-4o-mini", "messages": [}', headers=OUR_HEADERS),
    "trailing": Case("invalid_json", b"{} {}", headers=OUR_HEADERS),
    "depth": Case(
        "json_too_deep", b'{"model": "gpt-4o-mini", "x": ' + b"[" * 200 + b"]" * 200 + b"}", headers=OUR_HEADERS
    ),
    "duplicate": Case(
        "duplicate_key", b'{"model": "gpt-4o-mini", "model": "pair"}', param="model", headers=OUR_HEADERS
    ),
    "duplicate-escaped": Case(
        "duplicate_key", b'{"model": "gpt-4o-mini", "mod\\u0065l": "pair"}', param="model", headers=OUR_HEADERS
    ),
    "no-model": Case("missing_model", {"messages": MESSAGES}, param="model", headers=OUR_HEADERS),
    "empty-model": Case("missing_model", {"model": "", "messages": MESSAGES}, param="model", headers=OUR_HEADERS),
    "model-type": Case("invalid_value", {"model": 1, "messages": MESSAGES}, param="model", headers=OUR_HEADERS),
    "messages-type": Case(
        "invalid_value", {"model": "gpt-4o-mini", "messages": {}}, param="messages", headers=OUR_HEADERS
    ),
    "role-type": Case("invalid_value", chat(messages=[{"role": 1}]), param="messages[0].role", headers=OUR_HEADERS),
    "n-range": Case("invalid_value", chat(n=129), param="n", headers=OUR_HEADERS),
    "n-type": Case("invalid_value", chat(n="2"), param="n", headers=OUR_HEADERS),
    "max-tokens": Case(
        "invalid_value", chat(max_completion_tokens=-1), param="max_completion_tokens", headers=OUR_HEADERS
    ),
    "stream-type": Case("invalid_value", chat(stream="yes"), param="stream", headers=OUR_HEADERS),
    "best-of": Case(
        "invalid_value",
        {"model": "gpt-4o-mini", "prompt": "a", "best_of": 0},
        path="/v1/completions",
        param="best_of",
        headers=OUR_HEADERS,
    ),
    "deadline-word": Case(
        "invalid_value",
        chat(),
        send={"x-throughway-timeout-ms": "soon"},
        param="x-throughway-timeout-ms",
        headers=OUR_HEADERS,
    ),
    "deadline-zero": Case(
        "invalid_value",
        chat(),
        send={"x-throughway-timeout-ms": "0"},
        param="x-throughway-timeout-ms",
        headers=OUR_HEADERS,
    ),
    "deadline-huge": Case(
        "invalid_value",
        chat(),
        send={"x-throughway-timeout-ms": "1" + "0" * 30},
        param="x-throughway-timeout-ms",
        headers=OUR_HEADERS,
    ),
    "deadline-padded": Case(
        "invalid_value",
        chat(),
        send={"x-throughway-timeout-ms": "000000000001" + "9" * 5_000},
        param="x-throughway-timeout-ms",
        headers=OUR_HEADERS,
    ),
    "long-tags": Case(
        "invalid_value", chat(), send={"x-throughway-tags": "t" * 1_025}, param="x-throughway-tags", headers=OUR_HEADERS
    ),
    "unknown-model": Case(
        "model_not_found", chat(model="no-such"), param="model", headers=OUR_HEADERS, message="'no-such'"
    ),
    "unknown-model-get": Case(
        "model_not_found", None, path="/v1/models/no-such", method="GET", param="model", headers=OUR_HEADERS
    ),
    "model-not-allowed": Case(
        "model_not_allowed", chat(model="pair"), key="some", param="model", headers=OUR_HEADERS, message="'pair'"
    ),
    # What it may cost
    "spent-budget": Case(
        "budget_exceeded", chat(), key="budget-table", headers=OUR_HEADERS, message="key 'budget-table'"
    ),
    "large-request": Case(
        "request_exceeds_limit",
        chat(messages=[{"role": "user", "content": "word " * 100}]),
        key="tpm-table",
        headers=OUR_HEADERS,
    ),
    # What became of it
    "refused-connection": Case(
        "provider_unreachable",
        chat(model="dead"),
        headers={**OUR_HEADERS, "x-throughway-provider": "dead"},
        message="'dead'",
    ),
    "closed-before-answer": Case("provider_unreachable", chat(), script=[CLOSE], headers=SENT),
    "reset-before-answer": Case("provider_unreachable", chat(), script=[RESET], headers=SENT),
    "no-http-of-provider": Case("provider_protocol_error", chat(), script=[b"hello\r\n\r\n", CLOSE], headers=SENT),
    "no-json-of-provider": Case("provider_protocol_error", chat(), script=answer(b"<html>"), headers=SENT),
    "empty-success": Case("provider_protocol_error", chat(), script=answer(b""), headers=SENT),
    "compressed": Case(
        "provider_protocol_error",
        chat(),
        script=[
            head(200, "application/json", "content-encoding: gzip", "content-length: 4"),
            0.02,
            b"\x1f\x8b\x08\x00",
        ],
        headers=SENT,
    ),
    "bad-chunk-of-provider": Case(
        "provider_protocol_error",
        chat(),
        script=[head(200, "application/json", "transfer-encoding: chunked"), 0.02, b"zz\r\n"],
        headers=SENT,
    ),
    "provider-500": Case(
        "provider_error",
        chat(),
        script=error(500, "boom", "their_code"),
        headers=SENT,
        message="boom",
        shown="their_code",
    ),
    "provider-500-text": Case(
        "provider_error", chat(), script=answer(b"plain words", status=500), headers=SENT, message="plain words"
    ),
    "provider-500-empty": Case(
        "provider_error", chat(), script=answer(b"", status=500), headers=SENT, message="HTTP status 500"
    ),
    "provider-503": Case(
        "provider_error",
        chat(),
        script=error(503, "later", None, "retry-after: 7"),
        status=503,
        headers={**SENT, "retry-after": "7", "retry-after-ms": "7000"},
    ),
    "provider-529": Case("provider_error", chat(), script=error(529, "later"), status=503, headers={**SENT, **RETRY}),
    "provider-401": Case(
        "provider_error",
        chat(),
        script=error(401, "bad key", "invalid_api_key_of_theirs"),
        headers=SENT,
        shown="invalid_api_key_of_theirs",
    ),
    "provider-redirect": Case(
        "provider_error", chat(), script=answer(b"", "location: http://169.254.169.254/", status=302), headers=SENT
    ),
    "large-error": Case(
        "provider_error",
        chat(),
        script=[head(500, "text/plain", "content-length: 200000"), b"x" * 200_000],
        headers=SENT,
    ),
    **{
        f"provider-{status}": Case(
            "provider_rejected",
            chat(),
            script=error(status, "as such", "theirs"),
            status=status,
            headers=SENT,
            message="as such",
            shown="theirs",
        )
        for status in (400, 404, 409, 410, 413, 415, 422)
    },
    "provider-429": Case(
        "provider_rate_limited",
        chat(),
        script=error(429, "slow down", None, "retry-after: 2.5"),
        headers={**SENT, "retry-after": "3", "retry-after-ms": "2500"},
    ),
    "provider-408": Case("provider_timeout", chat(), script=error(408, "too slow"), headers=SENT),
    "truncated-length": Case(
        "stream_truncated",
        chat(),
        script=[head(200, "application/json", "content-length: 500"), b'{"id"', CLOSE],
        headers=SENT,
    ),
    "truncated-chunked": Case(
        "stream_truncated",
        chat(),
        script=[head(200, "application/json", "transfer-encoding: chunked"), chunk(b'{"id"'), RESET],
        headers=SENT,
    ),
    "truncated-head": Case("stream_truncated", chat(), script=[b"HTTP/1.1 200 OK\r\ncont", CLOSE], headers=SENT),
    "no-first-byte": Case(
        "provider_timeout",
        chat(model="brief"),
        script=[STALL],
        headers={**OUR_HEADERS, "x-throughway-provider": "brief"},
    ),
    "gap": Case(
        "provider_timeout",
        chat(model="brief"),
        script=[head(200, "application/json", "content-length: 50"), 0.02, b"{", STALL],
        headers={**OUR_HEADERS, "x-throughway-provider": "brief"},
    ),
    "deadline": Case(
        "deadline_exceeded", chat(), script=[STALL], send={"x-throughway-timeout-ms": "120"}, headers=SENT
    ),
}


def ask(case: Case, node: Gateway, upstream: ScriptedUpstream, connect: Callable[[], RawConnection]) -> Answer:
    if case.raw is not None:
        connection = connect()
        connection.send(case.raw)
        return parse(connection.read_to_end())
    body = case.body
    if case.script is not None:
        assert isinstance(body, dict)
        body = {**body, "x_script": upstream.script(case.script)}
    key = secret_of(case.key) if case.key is not None else None
    return node.ask(body, key, path=case.path, method=case.method, headers=case.send)


def parse(data: bytes) -> Answer:
    head_bytes, _, body = data.partition(b"\r\n\r\n")
    lines = head_bytes.decode().split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    return Answer(int(lines[0].split()[1]), fields, body)


def check(case: Case, got: Answer) -> None:
    assert got.status == case.status, got
    assert got.headers["content-type"] == "application/json"
    assert int(got.headers["content-length"]) == len(got.body)
    assert set(got.json) == {"error"} and set(got.error) == {"message", "type", "param", "code"}, got
    assert got.error["code"] == case.shown, got
    assert got.error["type"] == case.fault.type
    assert got.error["param"] == case.param, got
    assert re.search(case.message, got.error["message"]), got
    assert got.error["message"][-1:] in ".!'" or case.script is not None, got
    for name, value in case.headers.items():
        assert name in got.headers, (name, got)
        assert value is None or got.headers[name] == value, (name, got)
    if case.raw is not None:
        assert got.headers["connection"] == "close"


@pytest.mark.parametrize("name", CASES)
def test_error_has_its_status_shape_and_headers(
    name: str, gateway: Gateway, upstream: ScriptedUpstream, connect: Callable[[], RawConnection]
) -> None:
    case = CASES[name]
    got = ask(case, gateway, upstream, connect)
    check(case, got)
    if "x-request-id" in got.headers and case.path == CHAT:
        line = gateway.logged(got.headers["x-request-id"])
        assert (line["status"], line["code"]) == (got.status, case.code)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.raw is None])
def test_error_is_the_same_over_http2(name: str, http2: httpx.Client, upstream: ScriptedUpstream) -> None:
    case = CASES[name]
    headers = {"content-type": "application/json"} if case.body is not None else {}
    if case.key is not None:
        headers["authorization"] = f"Bearer {secret_of(case.key)}"
    body = case.body
    if isinstance(body, dict):
        script = {} if case.script is None else {"x_script": upstream.script(case.script)}
        body = json.dumps({**body, **script}).encode()
    response = http2.request(case.method, case.path, content=body, headers={**headers, **case.send})
    assert response.http_version == "HTTP/2"
    check(case, Answer(response.status_code, response.headers.items(), response.content))


def test_every_code_of_the_catalogue_has_a_test() -> None:
    here = {case.code for case in CASES.values()} | {"rate_limit_exceeded", "overloaded"}
    assert here | set(ELSEWHERE) == set(CATALOGUE)
    assert not here & set(ELSEWHERE)


def test_rate_limit_exceeded(
    gateway: Gateway, upstream: ScriptedUpstream, connect: Callable[[], RawConnection]
) -> None:
    body = chat(x_script=upstream.script(json_answer(completion())))
    assert gateway.ask(body, secret_of("rpm-table")).status == 200
    headers: dict[str, str | None] = {
        **OUR_HEADERS,
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": None,
        "retry-after": "60",
        "retry-after-ms": None,
    }
    case = Case(
        "rate_limit_exceeded", body, key="rpm-table", headers=headers, message="requests per minute of key 'rpm-table'"
    )
    check(case, ask(case, gateway, upstream, connect))


def test_overloaded_by_bodies(gateway: Gateway, connect: Callable[[], RawConnection]) -> None:
    size = BODY_BYTES * 2 // 3
    request = raw(
        f"POST {CHAT} HTTP/1.1",
        "content-type: application/json",
        f"content-length: {size}",
        f"x-api-key: {secret_of('main')}",
    )
    first, second = connect(), connect()
    first.send(request + b" " * (size - 1))
    wait_for("the first body", lambda: gateway.metric("throughway_body_bytes") >= size - 1 or None)
    second.send(request)
    with contextlib.suppress(ConnectionError):  # it may be refused before all is sent
        second.send(b" " * (size - 1))
    got = parse(second.read_to_end())
    check(Case("overloaded", raw=b"", headers=RETRY), got)
    first.send(b" ")  # the one that was there first is not harmed
    assert b"invalid_json" in first.read()


@pytest.fixture
def busy_provider(gateway: Gateway, upstream: ScriptedUpstream) -> Iterator[None]:
    """The provider `single` has its one connection in use."""
    held = upstream.script([STALL])
    body = json.dumps(chat(model="single", x_script=held)).encode()
    fields = ("content-type: application/json", f"content-length: {len(body)}", f"x-api-key: {secret_of('main')}")
    with RawConnection(gateway) as blocker:
        blocker.send(raw(f"POST {CHAT} HTTP/1.1", *fields) + body)
        wait_for("it is busy", lambda: upstream.requests_of(held))
        yield
    upstream.wait_until_left(held)


@pytest.mark.usefixtures("busy_provider")
def test_a_full_pool_is_the_gateways_fault(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    got = gateway.ask(chat(model="single", x_script=upstream.script(json_answer(completion()))), secret_of("main"))
    assert (got.status, got.error["code"]) == (503, "provider_pool_exhausted"), got


@pytest.mark.usefixtures("busy_provider")
def test_the_deadline_covers_the_wait_for_a_connection(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    body = chat(model="single", x_script=upstream.script(json_answer(completion())))
    begun = time.monotonic()
    got = gateway.ask(body, secret_of("main"), headers={"x-throughway-timeout-ms": "100"})
    assert (got.status, got.error["code"]) == (504, "deadline_exceeded"), got
    assert time.monotonic() - begun < 0.3


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_quotes_nothing_of_our_credential(gateway: Gateway, upstream: ScriptedUpstream, status: int) -> None:
    """Providers like to repeat what they were sent; ours is masked in the log, and the caller's prompt is its own."""
    script = upstream.script(error(status, "Incorrect API key provided: sk-provider-credential-of-the-tests."))
    got = gateway.ask(chat(x_script=script), secret_of("main"))
    line = gateway.logged(got.headers["x-request-id"])
    assert "credential-of-the-tests" not in json.dumps(line)
