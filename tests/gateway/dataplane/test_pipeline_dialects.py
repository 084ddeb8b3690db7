"""Requests to models whose providers speak several dialects: who is asked, what it is charged, what the caller sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.base.snapshot import Key, Limits, Model, Price, ProviderKind, Target
from tests.support.rig import PRICE, FakeExchange, Rig, response_head

KINDS: dict[str, ProviderKind] = {"gpt": "openai", "claude": "anthropic", "gemini": "gemini"}
HELLO = [{"role": "user", "content": "Hello"}]
CHAT = {"id": "c", "model": "x", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "x",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}


def rig_of(directory: Path, *providers: str, limits: Limits | None = None, **model: Any) -> Rig:
    """One model `m` of a target at each of the providers."""
    targets = tuple(Target(name, f"upstream-{name}", price=PRICE) for name in providers)
    key = Key("k1", "app", "", limits=limits or Limits(concurrency=1))
    return Rig(directory, key, models=(Model("m", targets, **model),), kinds=KINDS)


def ask(rig: Rig, body: dict[str, Any], path: str = "/v1/chat/completions", **options: Any) -> FakeExchange:
    return rig.ask(json.dumps({"model": "m", **body}).encode(), path=path, **options)


def answer(rig: Rig, provider: str, value: Any, status: int = 200) -> None:
    rig.sink(provider).on_response(response_head(status), json.dumps(value).encode())


# -- who is asked


def test_what_the_first_target_has_no_place_for_goes_to_one_that_has(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "claude", "gemini", "gpt")
    got = ask(rig, {"messages": HELLO, "seed": 7, "logit_bias": {"1": 2}})
    assert json.loads(rig.connection("gpt").request.partition(b"\r\n\r\n")[2])["seed"] == 7
    answer(rig, "gpt", CHAT)
    assert got.status == 200 and json.loads(got.sent) == CHAT
    assert got.answer_headers["x-throughway-attempts"] == "1"
    assert rig.record.provider == "gpt" and rig.in_flight == 0


def test_what_no_target_has_a_place_for_is_refused_once(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "claude", "gemini")
    got = ask(rig, {"messages": HELLO, "logit_bias": {"1": 2}})
    assert got.status == 400 and json.loads(got.sent)["error"]["code"] == "unsupported_parameter"
    assert rig.record.code == "unsupported_parameter" and rig.in_flight == 0


def test_tokens_are_counted_by_the_target_that_can(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "gpt", "claude")
    for _ in range(2):  # whosever turn it is
        got = ask(rig, {"messages": HELLO}, "/v1/messages/count_tokens")
        answer(rig, "claude", {"input_tokens": 14})
        assert json.loads(got.sent) == {"input_tokens": 14}


@pytest.mark.parametrize("stream", [False, True])
def test_an_attempt_leaves_nothing_of_its_dialect_to_the_next(tmp_path: Path, stream: bool) -> None:
    rig = rig_of(tmp_path, "claude", "gpt", drop_params=("seed",))
    got = ask(rig, {"messages": HELLO, "seed": 7, "stream": stream})
    answer(rig, "claude", {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, 529)
    if stream:
        rig.sink("gpt").on_head(response_head(200, "text/event-stream"), True)
        rig.sink("gpt").on_data(b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1},"choices":[]}\n\n', False)
        rig.sink("gpt").on_data(b"data: [DONE]\n\n", True)
        assert got.sent == b"data: [DONE]\n\n", "the chunk of usage is ours"
    else:
        answer(rig, "gpt", CHAT)
        assert json.loads(got.sent) == CHAT
    assert "x-throughway-dropped" not in got.answer_headers
    assert got.answer_headers["x-throughway-provider"] == "gpt" and rig.in_flight == 0


# -- a count of tokens


def test_a_count_that_is_made_here_is_a_request_of_its_key(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "gpt", limits=Limits(requests_per_minute=2))
    got = [ask(rig, {"messages": HELLO}, "/v1/messages/count_tokens").status for _ in range(3)]
    assert got == [200, 200, 429]


@pytest.mark.parametrize("end", ["answered", "caller left", "deadline", "failed"])
def test_a_count_costs_nothing_however_it_ends(tmp_path: Path, end: str) -> None:
    price = Price(input=1_000_000, output=1_000_000, request_nano_usd=5_000_000)
    limits = Limits(concurrency=1)
    models = (Model("m", (Target("claude", "x", price=price),)),)
    rig = Rig(tmp_path, Key("k1", "app", "", limits=limits), models=models, kinds=KINDS)
    got = ask(rig, {"messages": HELLO}, "/v1/messages/count_tokens", headers={b"x-throughway-timeout-ms": b"1000"})
    if end == "answered":
        answer(rig, "claude", {"input_tokens": 3})
        assert got.answer_headers["x-throughway-cost-usd"] == "0"
    elif end == "caller left":
        assert got.on_disconnect is not None
        got.on_disconnect()
    elif end == "deadline":
        rig.sink("claude").on_error("total", "too late")
    else:
        answer(rig, "claude", {}, 500)
    assert (rig.record.cost_nano_usd, rig.record.input_tokens, rig.record.output_tokens) == (0, 0, 0)
    assert rig.in_flight == 0 and rig.accountant.tokens_in_flight == 0
