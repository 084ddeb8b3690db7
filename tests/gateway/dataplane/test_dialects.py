"""A request between dialects, through the pipeline: what is sent, what comes back, what is accounted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.base.snapshot import Model, Price, Target
from tests.support.rig import FakeExchange, Rig, response_head

MESSAGES = "/v1/messages"
PRICE = Price(150_000_000, 600_000_000)


def rig_of(directory: Path, **model: Any) -> Rig:
    return Rig(
        directory,
        models=(Model("m", (Target("one", "upstream-m", price=PRICE),), **model),),
        kinds={"one": "anthropic"},
    )


def ask(rig: Rig, path: str = MESSAGES, **more: Any) -> FakeExchange:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}], **more}
    return rig.ask(json.dumps(body).encode(), path=path)


def sent(rig: Rig) -> tuple[str, dict[str, Any]]:
    head, _, body = rig.connection().request.partition(b"\r\n\r\n")
    return head.decode(), json.loads(body)


def message(**more: Any) -> bytes:
    found = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "upstream-m",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
        **more,
    }
    return json.dumps(found).encode()


def test_what_stays_in_a_dialect_keeps_what_nobody_here_knows(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    exchange = ask(rig, something_new={"x": 1})
    assert sent(rig)[1]["something_new"] == {"x": 1}
    body = message(something_new=[1])
    rig.sink().on_response(response_head(), body)
    assert exchange.sent == body and "x-throughway-dropped" not in exchange.answer_headers
    assert (rig.record.endpoint, rig.record.input_tokens, rig.record.output_tokens) == ("messages", 10, 5)
    assert rig.record.cost_nano_usd == 10 * 150 + 5 * 600


def test_what_another_provider_has_signed_does_not_reach_this_one(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    thought = {"type": "thinking", "thinking": "Hm", "signature": "tw1.openai_responses.abc"}
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Hi"}]},
        {"role": "user", "content": "And?"},
    ]
    exchange = ask(rig, messages=turns)
    assert b"tw1." not in rig.connection().request
    head, body = sent(rig)
    assert body["model"] == "upstream-m" and "anthropic-version: " in head
    assert body["messages"][1]["content"] in ("Hi", [{"type": "text", "text": "Hi"}])
    rig.sink().on_response(response_head(), message())
    assert exchange.status == 200 and exchange.answer_headers["x-throughway-dropped"]


def test_an_answer_without_usage_is_counted_here(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    ask(rig, path="/v1/chat/completions")
    text = "word " * 40
    rig.sink().on_response(response_head(), message(content=[{"type": "text", "text": text}], usage=None))
    assert rig.record.output_tokens == len(text) // 4
    assert rig.record.input_tokens > 0


def test_an_answer_that_is_none_is_the_providers_fault(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    exchange = ask(rig, path="/v1/chat/completions")
    rig.sink().on_response(response_head(), b'{"type":"message","content":7}')
    assert exchange.status == 502
    assert json.loads(exchange.sent)["error"]["code"] == "provider_protocol_error"


def test_a_providers_error_is_told_in_the_callers_dialect(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    exchange = ask(rig, path="/v1/chat/completions")
    refused = b'{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too large"}}'
    rig.sink().on_response(response_head(400), refused)
    assert exchange.status == 400
    assert json.loads(exchange.sent)["error"]["message"] == "max_tokens: too large"


def test_a_bound_is_sent_where_the_dialect_must_have_one(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, max_output_tokens=123)
    rig.ask(b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}')
    assert sent(rig)[1]["max_tokens"] == 123


@pytest.mark.parametrize(
    ("known", "context", "text", "bound"),
    [
        (64_000, 0, "Hello", 64_000),
        (64_000, 200_000, "Hello", 64_000),
        (64_000, 60_000, "Hello", range(59_000, 60_000)),  # what the context has room for
        (64_000, 3_000, "one two three four " * 700, 1_024),  # the least, however long the prompt
    ],
)
def test_a_bound_that_nobody_named_is_the_longest_answer_that_has_room(
    tmp_path: Path, known: int, context: int, text: str, bound: int | range
) -> None:
    target = Target("one", "upstream-m", price=PRICE, max_output_tokens=known, context_tokens=context)
    rig = Rig(tmp_path, models=(Model("m", (target,), max_output_tokens=123),), kinds={"one": "anthropic"})
    rig.ask(json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode())
    got = sent(rig)[1]["max_tokens"]
    assert got in bound if isinstance(bound, range) else got == bound
