"""Requests to models whose providers speak several dialects: who is asked, what it is charged, what the caller sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.base.snapshot import Key, Limits, Model, Price, ProviderKind, Target
from gateway.dataplane.compile import Heads
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


def rig_of(
    directory: Path,
    *providers: str,
    limits: Limits | None = None,
    fields: dict[str, dict[str, Any]] | None = None,
    **model: Any,
) -> Rig:
    """One model `m` of a target at each of the providers; `fields` of some."""
    targets = tuple(Target(name, f"upstream-{name}", price=PRICE) for name in providers)
    key = Key("k1", "app", "", limits=limits or Limits(concurrency=1))
    return Rig(directory, key, models=(Model("m", targets, **model),), kinds=KINDS, fields=fields)


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


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
def test_google_counts_for_the_model_that_it_knows_by_this_name(tmp_path: Path, name: str) -> None:
    rig = rig_of(tmp_path, "gemini")
    within = {"model": "models/m", "contents": [{"parts": [{"text": "Hi"}]}], "brand_new": 1}
    rig.ask(json.dumps({name: within}).encode(), path="/v1beta/models/m:countTokens")
    sent = json.loads(rig.connection("gemini").request.partition(b"\r\n\r\n")[2])
    assert sent == {name: within | {"model": "models/upstream-gemini"}}


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


# -- when to try again


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO}),
        ("/v1beta/models/m:generateContent", {"contents": [{"parts": [{"text": "Hello"}]}]}),
    ],
)
def test_google_tells_in_the_body_when_to_try_again(tmp_path: Path, path: str, body: dict[str, Any]) -> None:
    rig = rig_of(tmp_path, "gemini")
    got = ask(rig, body, path)
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.2s"}
    answer(
        rig, "gemini", {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "M", "details": [info]}}, 429
    )
    assert got.status == 429
    assert (got.answer_headers["retry-after"], got.answer_headers["retry-after-ms"]) == ("35", "34200")


# -- the bound of an answer, as the provider calls it


def named(directory: Path, name: str, sent: bytes, path: str = "/v1/chat/completions") -> bytes:
    """The body that a provider gets who calls the bound so."""
    directory.mkdir(exist_ok=True)
    rig = rig_of(directory, "gpt", fields={"gpt": {"max_tokens_field": name}})
    rig.ask(sent, path=path)
    return rig.connection("gpt").request.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "said", "spelled"),
    [
        ("max_tokens", "max_completion_tokens", "max_completion_tokens"),
        ("max_tokens", "max_completion_tokens", "max\\u005fcompletion_tokens"),
        ("max_completion_tokens", "max_tokens", "max_tokens"),
    ],
)
def test_a_bound_is_called_as_the_provider_calls_it(
    tmp_path: Path, name: str, said: str, spelled: str, stream: bool
) -> None:
    messages = [{"role": "user", "content": f'"{said}": 1'}]
    sent = {"model": "m", "messages": messages, said: 7, "stream": stream, "metadata": {said: "2"}}
    raw = json.dumps(sent).replace(f'"{said}": 7', f'"{spelled}" : 7').encode()
    asked = {"stream_options": {"include_usage": True}} if stream else {}
    got = json.loads(named(tmp_path, name, raw))
    del sent[said]
    assert got == {**sent, "model": "upstream-gpt", name: 7, **asked}


@pytest.mark.parametrize("bound", [{}, {"max_tokens": 7}, {"max_tokens": 7, "max_completion_tokens": 8}])
def test_what_is_called_so_already_stays(tmp_path: Path, bound: dict[str, int]) -> None:
    sent = {"model": "upstream-gpt", "messages": HELLO, **bound}
    assert json.loads(named(tmp_path, "max_tokens", json.dumps({**sent, "model": "m"}).encode())) == sent


def test_a_translated_bound_is_called_so_too(tmp_path: Path) -> None:
    message = json.dumps({"model": "m", "messages": HELLO, "max_tokens": 7}).encode()
    assert json.loads(named(tmp_path / "a", "max_tokens", message, "/v1/messages"))["max_tokens"] == 7
    got = json.loads(named(tmp_path / "b", "max_completion_tokens", message, "/v1/messages"))
    assert got["max_completion_tokens"] == 7 and "max_tokens" not in got


def test_other_endpoints_keep_their_own_word(tmp_path: Path) -> None:
    body = named(tmp_path, "max_completion_tokens", b'{"model":"m","prompt":"Hi","max_tokens":7}', "/v1/completions")
    assert json.loads(body)["max_tokens"] == 7


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


# -- streams that fail


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def claude(*events: dict[str, Any]) -> list[bytes]:
    return [b"event: " + each["type"].encode() + b"\n" + data(each) for each in events]


TOLD = "x" * 400
TEXTS = {
    "claude": claude(
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TOLD}},
    ),
    "gpt": [data({"id": "c", "model": "x", "choices": [{"index": 0, "delta": {"content": TOLD}}]})],
    "gemini": [data({"candidates": [{"content": {"parts": [{"text": TOLD}]}}]})],
}
ERRORS = {
    "claude": claude({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}),
    "gpt": [data({"error": {"message": "Busy", "type": "server_error"}})],
    "gemini": [data({"error": {"code": 503, "message": "Busy", "status": "UNAVAILABLE"}})],
}
REST = {
    "claude": claude(
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ),
    "gpt": [data({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}), b"data: [DONE]\n\n"],
    "gemini": [data({"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]})],
}
CALLERS = {
    "/v1/chat/completions": (b'data: {"error":', b"[DONE]"),
    "/v1/responses": (b"event: response.failed", b"response.completed"),
    "/v1/messages": (b"event: error", b"message_stop"),
    "/v1beta/models/m:streamGenerateContent": (b'data: {"error":', b"STOP"),
}
NATIVE = {
    ("gpt", "/v1/chat/completions"),
    ("claude", "/v1/messages"),
    ("gemini", "/v1beta/models/m:streamGenerateContent"),
}
TRANSLATED = [(p, path) for p in KINDS for path in CALLERS if (p, path) not in NATIVE]


def begin_stream(rig: Rig, provider: str, path: str) -> FakeExchange:
    question: dict[str, Any] = {"model": "m", "stream": True, "messages": HELLO, "max_tokens": 500}
    if path == "/v1/responses":
        question = {"model": "m", "stream": True, "input": "Hello"}
    elif path.startswith("/v1beta"):
        question = {"contents": [{"parts": [{"text": "Hello"}]}]}
    got = FakeExchange(json.dumps(question).encode(), path)
    got.query = b"alt=sse"
    rig.pipeline.on_request(got)
    rig.sink(provider).on_head(response_head(200, "text/event-stream"), True)
    return got


@pytest.mark.parametrize("at_once", [False, True], ids=["apart", "at once"])
@pytest.mark.parametrize(("provider", "path"), TRANSLATED)
def test_nothing_follows_an_error_in_a_translated_stream(
    tmp_path: Path, provider: str, path: str, at_once: bool
) -> None:
    rig = rig_of(tmp_path, provider)
    got = begin_stream(rig, provider, path)
    events = [*TEXTS[provider], *ERRORS[provider], *TEXTS[provider][-1:], *REST[provider]]
    for event in [b"".join(events)] if at_once else events:
        rig.sink(provider).on_data(event, False)
    error, finish = CALLERS[path]
    assert got.names[-1] == "end", "whatever the provider goes on to say"
    assert got.sent.count(error) == 1 and b"Busy" in got.sent and finish not in got.sent
    assert got.sent.rstrip().rpartition(b"\n\n")[2].startswith(error)
    assert rig.record.code == "provider_error" and rig.in_flight == 0
    assert rig.record.output_tokens == 100, "what had come, and not the one that was told at its beginning"


@pytest.mark.parametrize(("provider", "path"), sorted(NATIVE - {("gpt", "/v1/chat/completions")}))
def test_no_terminal_passes_behind_what_breaks_the_dialect(tmp_path: Path, provider: str, path: str) -> None:
    rig = rig_of(tmp_path, provider)
    got = begin_stream(rig, provider, path)
    broken = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"candidates":7}\n\n'
    rig.sink(provider).on_data(b"".join([*TEXTS[provider], broken, *REST[provider]]), True)
    error, finish = CALLERS[path]
    assert error in got.sent and finish not in got.sent
    assert rig.record.code == "provider_protocol_error" and rig.record.output_tokens == 100


@pytest.mark.parametrize(("provider", "path"), TRANSLATED)
def test_a_caller_that_leaves_a_translated_stream_is_billed_for_what_came(
    tmp_path: Path, provider: str, path: str
) -> None:
    rig = rig_of(tmp_path, provider)
    got = begin_stream(rig, provider, path)
    got.takes_more = False
    for event in TEXTS[provider]:
        rig.sink(provider).on_data(event.replace(TOLD.encode(), ("日" * 100).encode()), False)
    assert "pause" in rig.connection(provider).calls
    assert got.on_disconnect is not None and got.on_drain is not None
    got.on_drain()
    got.on_disconnect()
    assert {"resume", "close"} <= set(rig.connection(provider).calls)
    assert (rig.record.status, rig.record.output_tokens) == (499, 75), "300 bytes of Chinese"


# -- what is passed on is what was governed


def native_responses(directory: Path) -> Rig:
    rig = rig_of(directory, "gpt")
    (target,) = rig.compiled.models["m"].targets
    provider = msgspec.structs.replace(target.provider, responses=True)
    target.heads = Heads(provider, lambda _: "sk-ours").of(target.target.model)
    return rig


@pytest.mark.parametrize("fields", [{}, {f"x{i}": 1 for i in range(150)}, {f"x{i}": 1 for i in range(300)}])
def test_an_answer_in_the_background_is_not_asked_for(tmp_path: Path, fields: dict[str, int]) -> None:
    """It would be made after the request has ended, and cost the provider's whole price and the caller nothing."""
    rig = native_responses(tmp_path)
    got = ask(rig, {"input": "Hello", **fields, "background": True}, "/v1/responses")
    assert (got.status, json.loads(got.sent)["error"]["param"]) == (400, "background")
    assert not rig.pools["gpt"].made
    ask(rig, {"input": "Hello", "background": False}, "/v1/responses")
    assert len(rig.pools["gpt"].made) == 1


@pytest.mark.parametrize("told", ["other", "models/other", None])
def test_a_model_in_a_body_whose_path_has_one_is_replaced(tmp_path: Path, told: Any) -> None:
    rig = rig_of(tmp_path, "gemini")
    body = {"model": told, "contents": [{"parts": [{"text": "Hello"}]}]}
    rig.ask(json.dumps(body).encode(), path="/v1beta/models/m:generateContent")
    head, _, sent = rig.connection("gemini").request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/models/upstream-gemini:generateContent ")
    assert json.loads(sent)["model"] == "upstream-gemini"


def test_a_grammar_is_part_of_the_prompt(tmp_path: Path) -> None:
    rig = native_responses(tmp_path)
    form = {"type": "grammar", "syntax": "lark", "definition": "a b " * 500}
    got = ask(rig, {"input": "Hello", "tools": [{"type": "custom", "name": "f", "format": form}]}, "/v1/responses")
    assert got.on_disconnect is not None
    got.on_disconnect()
    assert rig.record.input_tokens > 1_000
