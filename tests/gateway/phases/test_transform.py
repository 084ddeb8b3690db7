"""The bytes that the provider gets: built anew, from an allow-list."""

from __future__ import annotations

import json
from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.wheel import now_ns
from gateway.base.context import Credential
from gateway.base.snapshot import Auth, Model, Target
from gateway.phases.transform import JOIN_BYTES, request_head
from tests.support.rig import Rig

ALLOWED = {
    "host",
    "content-type",
    "accept",
    "accept-encoding",
    "user-agent",
    "authorization",
    "content-length",
    "traceparent",
}
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def parsed(data: bytes) -> tuple[h11.Request, bytes]:
    """By h11: one request, whole, with nothing behind it."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert connection.trailing_data == (b"", False)
    return request, body


@given(
    st.dictionaries(
        st.sampled_from([b"cookie", b"x-api-key", b"te", b"transfer-encoding", b"connection", b"expect", b"x-a"]),
        st.binary(max_size=20),
    )
)
def test_no_header_of_the_caller_reaches_the_provider(
    tmp_path_factory: pytest.TempPathFactory, headers: dict[bytes, bytes]
) -> None:
    rig = Rig(tmp_path_factory.mktemp("rig"))
    rig.ask(b'{"model":"m","messages":[]}', headers=headers)
    request, body = parsed(rig.connection().request)
    assert {name.decode() for name, _ in request.headers} <= ALLOWED
    assert json.loads(body)["model"] == "upstream-m"
    assert dict(request.headers)[b"authorization"] == b"Bearer sk-ours"
    assert request.target == b"/v1/chat/completions"


@pytest.mark.parametrize("size", [0, 1_000, JOIN_BYTES - 60, JOIN_BYTES, JOIN_BYTES * 3])
@pytest.mark.parametrize("model", ["m", "upstream-m"])
@pytest.mark.parametrize("stream", [False, True])
def test_length_and_body_agree_at_every_size(tmp_path: Path, size: int, model: str, stream: bool) -> None:
    rig = Rig(tmp_path)
    rig.compiled.models["upstream-m"] = rig.compiled.models["m"]
    rig.key.allowed["upstream-m"] = True
    sent = {"model": model, "messages": [], "stream": stream, "pad": "x" * size}
    rig.ask(json.dumps(sent).encode())
    _, body = parsed(rig.connection().request)
    asked = {"stream_options": {"include_usage": True}} if stream else {}
    assert json.loads(body) == {**sent, "model": "upstream-m", **asked}
    if size > JOIN_BYTES:
        assert isinstance(rig.connection().parts, list), "a large body is not copied"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
def test_only_what_generates_is_asked_for_usage(tmp_path: Path, path: str) -> None:
    rig = Rig(tmp_path)
    rig.ask(b'{"model":"m","stream":true}', path=path)
    request, body = parsed(rig.connection().request)
    assert request.target == path.encode()
    assert ("stream_options" in json.loads(body)) == (path == "/v1/completions")


def test_a_trace_is_continued_by_a_span_of_ours(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    spans = set()
    for _ in range(3):
        rig.ask(headers={b"traceparent": TRACE})
        sent = dict(parsed(rig.connection().request)[0].headers)[b"traceparent"]
        assert sent[:36] == TRACE[:36] and sent[-3:] == b"-01" and len(sent) == 55
        spans.add(sent[36:52])
    assert len(spans) == 3 and TRACE[36:52] not in spans


@pytest.mark.parametrize(
    "value",
    [b"", b"00-x", TRACE.upper(), TRACE[:3] + b"0" * 32 + TRACE[35:], TRACE[:36] + b"0" * 16 + b"-01", TRACE + b" "],
)
def test_a_malformed_trace_is_dropped(tmp_path: Path, value: bytes) -> None:
    rig = Rig(tmp_path)
    rig.ask(headers={b"traceparent": value})
    assert b"traceparent" not in rig.connection().request


def test_a_head_without_a_credential_and_with_headers_of_the_operator() -> None:
    head = request_head("/v1/x", "h:1", None, (("x-a", "b"),)) + b"0\r\n\r\n"
    request, _ = parsed(head)
    assert b"authorization" not in dict(request.headers)
    assert dict(request.headers)[b"x-a"] == b"b"


def test_a_credential_that_expires_is_shown_as_long_as_it_is_valid(tmp_path: Path) -> None:
    rig = Rig(tmp_path, kinds={"one": "azure"}, fields={"one": {"auth": Auth("entra_managed_identity")}})
    (target,) = rig.compiled.models["m"].targets
    credential = target.credential = Credential(lambda: None)
    exchange = rig.ask()
    assert exchange.status == 503 and exchange.answer_headers["retry-after"] == "1"
    assert rig.record.code == "provider_credential_missing"
    credential.line, credential.until_ns = b"authorization: Bearer first\r\n", now_ns() + 60_000_000_000
    for body, path in ((None, "/v1/chat/completions"), (MESSAGES, "/v1/messages")):  # as it is, and translated
        rig.ask(body, path=path)
        assert rig.connection().request.count(b"\r\nauthorization: Bearer first\r\n") == 1
    credential.line = b"authorization: Bearer second\r\n"
    rig.ask(headers={b"traceparent": b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"})
    request = rig.connection().request
    assert b"\r\nauthorization: Bearer second\r\n" in request and b"first" not in request
    credential.until_ns = now_ns()
    assert b"has expired and could not be renewed" in rig.ask().sent


def test_a_provider_whose_credential_is_missing_is_passed_over_for_another(tmp_path: Path) -> None:
    models = (Model("m", (Target("one", "a"), Target("two", "b"))),)
    rig = Rig(tmp_path, models=models)
    rig.compiled.models["m"].targets[0].credential = Credential(lambda: None)
    for _ in range(3):
        rig.ask()
    assert rig.pools["one"].made == [] and len(rig.pools["two"].made) == 3


MESSAGES = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hello"}]}'
