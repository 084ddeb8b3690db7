"""Requests to models that stand behind Amazon Bedrock: how they are asked, and what becomes of its answers, frames and errors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from gateway.base.snapshot import Aws, Key, Limits, Model, Target
from tests.support.amazon import (
    REGION,
    SECRET_KEY,
    STREAM_TYPE,
    Frame,
    event_frame,
    request_faults,
    signature_fault,
    stream_of,
)
from tests.support.rig import PRICE, FakeExchange, Rig, response_head

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HELLO = [{"role": "user", "content": "Hello"}]
USAGE = {"inputTokens": 10, "outputTokens": 3, "totalTokens": 15, "cacheReadInputTokens": 2}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 1},
}
STREAM: list[Frame] = [
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}, "p": "abc"}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
]
THROTTLED: Frame = ("exception:throttlingException", {"message": "Too many tokens."})
AWS = Aws(REGION, "env:ID", "env:SECRET")


def rig_of(directory: Path, *models: Model, model: str = MODEL, **fields: Any) -> Rig:
    """One model `m` of a target at Bedrock, and others."""
    mine = Model("m", (Target("amazon", model, price=PRICE),), fallbacks=tuple(each.name for each in models))
    key = Key("k1", "app", "", limits=Limits(concurrency=1))
    return Rig(directory, key, models=(mine, *models), kinds={"amazon": "bedrock"}, fields={"amazon": fields})


def ask(rig: Rig, path: str = "/v1/chat/completions", **body: Any) -> FakeExchange:
    return rig.ask(json.dumps({"model": "m", "messages": HELLO, **body}).encode(), path=path)


def sent(rig: Rig) -> tuple[bytes, bytes]:
    head, _, body = rig.connection("amazon").request.partition(b"\r\n\r\n")
    return head, body


def streamed(rig: Rig, stream: bytes, step: int = 0, last: bool = True) -> None:
    sink = rig.sink("amazon")
    sink.on_head(response_head(200, STREAM_TYPE, "transfer-encoding: chunked"), True)
    for begin in range(0, len(stream), step or len(stream)):
        sink.on_data(stream[begin : begin + (step or len(stream))], False)
    if last:
        sink.on_data(b"", True)


# -- how it is asked


@pytest.mark.parametrize("stream", [False, True])
def test_the_model_and_whether_it_streams_stand_in_the_path(tmp_path: Path, stream: bool) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-6-v1"
    rig = rig_of(tmp_path, model=arn)
    ask(rig, stream=stream)
    head, body = sent(rig)
    line = head.split(b"\r\n")[0].decode()
    quoted = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-opus-4-6-v1"
    assert line == f"POST /v1/model/{quoted}/converse{'-stream' if stream else ''} HTTP/1.1"
    assert request_faults(body, arn) == ""
    assert json.loads(body) == {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}


def test_an_api_key_is_shown_as_a_bearer_and_nothing_is_signed(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    ask(rig)
    head, _ = sent(rig)
    assert b"\r\nauthorization: Bearer sk-ours\r\n" in head and b"x-amz-date" not in head


@pytest.mark.parametrize("token", [None, "env:TOKEN"])
def test_each_request_is_signed_with_what_it_says(
    tmp_path: Path, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.amazon.ACCESS_KEY", "sk-ours")
    rig = rig_of(tmp_path, api_key=None, aws=Aws(REGION, "env:ID", "env:SECRET", token))
    signatures = set()
    for text in ("Hello", "Grüße", "x" * 100_000):
        got = ask(rig, messages=[{"role": "user", "content": text}])
        head, body = sent(rig)
        assert signature_fault(head, body, secret="sk-ours", token="sk-ours" if token else "") == ""
        assert signature_fault(head, body, secret=SECRET_KEY, token="sk-ours" if token else "")
        signatures.add(head.partition(b"Signature=")[2].partition(b"\r\n")[0])
        rig.sink("amazon").on_response(response_head(), json.dumps(ANSWER).encode())
        assert got.status == 200
    assert len(signatures) == 3


def test_what_continues_a_trace_is_not_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.amazon.ACCESS_KEY", "sk-ours")
    rig = rig_of(tmp_path, api_key=None, aws=AWS)
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    rig.ask(body, headers={b"traceparent": trace})
    head, sent_body = sent(rig)
    assert b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-" in head
    assert signature_fault(head, sent_body, secret="sk-ours") == ""


# -- whole answers


def test_an_answer_without_an_id_and_a_model_gets_those_of_the_request(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig)
    rig.sink("amazon").on_response(response_head(), json.dumps(ANSWER).encode())
    answer = json.loads(got.sent)
    assert (answer["id"], answer["model"]) == (got.answer_headers["x-request-id"], "m")
    assert answer["choices"][0]["message"]["content"] == "Hi"
    assert (rig.record.input_tokens, rig.record.output_tokens, rig.record.cache_read_tokens) == (12, 3, 2)


@pytest.mark.parametrize(
    ("status", "kind", "shown", "code"),
    [
        (400, "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/", 400, "ValidationException"),
        (429, "com.amazon.bedrock#ThrottlingException", 429, "ThrottlingException"),
        (403, "AccessDeniedException", 502, "AccessDeniedException"),
        (424, "ModelErrorException", 502, "ModelErrorException"),
        (408, "ModelTimeoutException", 504, "ModelTimeoutException"),
        (503, "ServiceUnavailableException", 503, "ServiceUnavailableException"),
        (500, "", 502, "provider_error"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_an_error_is_told_by_the_type_in_its_head(
    tmp_path: Path, status: int, kind: str, shown: int, code: str, whole: bool
) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig)
    head = response_head(status, "application/json", *([f"x-amzn-ErrorType: {kind}"] if kind else []))
    body = b'{"message":"It was refused."}'
    if whole:
        rig.sink("amazon").on_response(head, body)
    else:
        rig.sink("amazon").on_head(head, True)
        rig.sink("amazon").on_data(body, True)
    assert got.status == shown
    error = json.loads(got.sent)["error"]
    assert error["code"] == code and "It was refused." in error["message"]


def test_what_bedrock_throttles_another_provider_answers(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, Model("other", (Target("gpt", "x", price=PRICE),)), api_key=None, aws=AWS)
    got = ask(rig)
    rig.sink("amazon").on_response(response_head(429), b'{"message":"Slow down."}')
    head = rig.connection("gpt").request
    assert b"x-amz-date" not in head and b"authorization: Bearer sk-ours" in head
    chat = {"id": "c", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    rig.sink("gpt").on_response(response_head(), json.dumps(chat).encode())
    assert got.status == 200 and got.answer_headers["x-throughway-provider"] == "gpt"


# -- streams


@pytest.mark.parametrize("step", [0, 1, 5, 100])
def test_frames_become_server_sent_events(tmp_path: Path, step: int) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, "/v1/messages", max_tokens=9, stream=True)
    streamed(rig, stream_of(STREAM), step)
    assert got.answer_headers["content-type"] == "text/event-stream"
    assert got.names[-1] == "end" and b"event: message_stop" in got.sent
    assert (rig.record.input_tokens, rig.record.output_tokens, rig.record.cache_read_tokens) == (12, 3, 2)
    assert rig.record.code == "" and rig.in_flight == 0


def test_a_stream_that_came_at_once_is_a_stream(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, stream=True)
    rig.sink("amazon").on_response(response_head(200, STREAM_TYPE), stream_of(STREAM))
    assert got.sent.endswith(b"data: [DONE]\n\n") and rig.record.finish_reason == "stop"


BAD_CRC = bytearray(stream_of(STREAM))
BAD_CRC[-1] ^= 1


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (stream_of(STREAM[:-1]), "stream_truncated"),
        (stream_of([*STREAM[:-2], STREAM[-1]]), "stream_truncated"),
        (stream_of(STREAM)[:-1], "stream_truncated"),
        (b"", "stream_truncated"),
        (bytes(BAD_CRC), "provider_protocol_error"),
        (b"data: {}\n\ndata: [DONE]\n\n", "provider_protocol_error"),
        (stream_of([*STREAM[:2], THROTTLED]), "provider_error"),
        (stream_of([STREAM[0], ("error:InternalError", "It broke.")]), "provider_error"),
        (stream_of([STREAM[1]]), "provider_protocol_error"),
    ],
    ids=["no metadata", "no messageStop", "cut", "nothing", "bad checksum", "no frames", "exception", "error", "order"],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_broken_stream_ends_with_an_error_and_never_as_a_whole_one(
    tmp_path: Path, path: str, stream: bytes, code: str
) -> None:
    rig = rig_of(tmp_path)
    asked = {"input": "Hello"} if path == "/v1/responses" else {"messages": HELLO, "max_tokens": 9}
    got = rig.ask(json.dumps({"model": "m", "stream": True, **asked}).encode(), path=path)
    streamed(rig, stream or event_frame("initial-response", {}))
    text = got.sent.decode()
    assert '"error"' in text or "response.failed" in text
    assert "[DONE]" not in text and "message_stop" not in text and "response.completed" not in text
    assert rig.record.code == code and rig.in_flight == 0


def test_an_exception_in_the_stream_is_told_in_its_own_words(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, "/v1/messages", max_tokens=9, stream=True)
    streamed(rig, stream_of([*STREAM[:2], THROTTLED]))
    error = json.loads(got.sent.decode().rpartition("event: error\ndata: ")[2])["error"]
    assert "Too many tokens." in error["message"]
    assert rig.record.output_tokens >= 1, "what has come is charged"


def test_a_frame_that_would_fill_the_memory_is_refused_at_once(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, stream=True)
    huge = bytearray(event_frame("contentBlockDelta", {}))
    huge[:4] = struct.pack(">I", 2**31)
    huge[8:12] = struct.pack(">I", crc32(bytes(huge[:8])))
    streamed(rig, stream_of(STREAM[:2]) + bytes(huge), last=False)
    assert "a frame is longer than 16,777,216 bytes" in got.sent.decode()
    assert rig.connection("amazon").calls[-1] == "close"
