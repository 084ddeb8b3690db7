"""Requests that a model is known not to serve: passed over to one that can, or refused before they cost anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.base.capabilities import BY_NAME, words
from gateway.base.snapshot import Budget, Key, Limits, Model, ProviderKind, Target
from gateway.phases.admit import MAX_NAMED
from tests.support.rig import PRICE, FakeExchange, Rig, response_head

KINDS: dict[str, ProviderKind] = {"gpt": "openai", "claude": "anthropic", "gemini": "gemini"}
ALL = sum(BY_NAME.values())
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ANSWER = {"id": "c", "model": "x", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GENERATE = "/v1beta/models/m:generateContent"


def chat(*parts: dict[str, Any], **fields: Any) -> tuple[str, dict[str, Any]]:
    return CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, *parts]}], **fields}


def responses(*parts: dict[str, Any], **fields: Any) -> tuple[str, dict[str, Any]]:
    return RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}, *parts]}], **fields}


def messages(*parts: dict[str, Any], **fields: Any) -> tuple[str, dict[str, Any]]:
    turn = {"role": "user", "content": [{"type": "text", "text": "a"}, *parts]}
    return MESSAGES, {"max_tokens": 9, "messages": [turn], **fields}


def generate(*parts: dict[str, Any], **fields: Any) -> tuple[str, dict[str, Any]]:
    return GENERATE, {"contents": [{"role": "user", "parts": [{"text": "a"}, *parts]}], **fields}


def inline(media_type: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": PNG}}


def base64_source(media_type: str) -> dict[str, Any]:
    return {"source": {"type": "base64", "media_type": media_type, "data": PNG}}


PDF_FILE = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}
CASES: dict[str, tuple[str, tuple[str, dict[str, Any]]]] = {
    # what is needed, and who asks for it how
    "chat image": ("image", chat({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}})),
    "chat audio": ("audio", chat({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}})),
    "chat video": ("video", chat({"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}})),
    "chat PDF": ("pdf", chat({"type": "file", "file": PDF_FILE})),
    "chat tools": ("tools", chat(tools=[{"type": "function", "function": {"name": "f"}}])),
    "chat functions": ("tools", chat(functions=[{"name": "f"}])),
    "chat schema": (
        "structured_output",
        chat(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}),
    ),
    "chat tools, read anew": ("tools", chat(tools=[{"type": "function", "function": {"name": "f"}}], n_predict=-1)),
    "responses image": (
        "image",
        responses({"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}),
    ),
    "responses PDF": ("pdf", responses({"type": "input_file", **PDF_FILE})),
    "responses tools": (
        "tools",
        responses(tools=[{"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}]),
    ),
    "responses schema": (
        "structured_output",
        responses(text={"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}}),
    ),
    "messages image": ("image", messages({"type": "image", **base64_source("image/png")})),
    "messages PDF": ("pdf", messages({"type": "document", **base64_source("application/pdf")})),
    "messages image of a tool": (
        "image",
        messages(
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "image", **base64_source("image/png")}],
            }
        ),
    ),
    "messages tools": ("tools", messages(tools=[{"name": "f", "input_schema": SCHEMA}])),
    "messages schema": (
        "structured_output",
        messages(output_config={"format": {"type": "json_schema", "schema": SCHEMA}}),
    ),
    "generate image": ("image", generate(inline("image/png"))),
    "generate audio": ("audio", generate(inline("audio/wav"))),
    "generate video": ("video", generate(inline("video/mp4"))),
    "generate PDF": ("pdf", generate(inline("application/pdf"))),
    "generate tools": (
        "tools",
        generate(tools=[{"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}]),
    ),
    "generate schema": (
        "structured_output",
        generate(generationConfig={"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}),
    ),
}
NEEDS_NOTHING: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": chat(),
    "chat with what is null": chat({"type": "text", "text": "b", "image_url": None, "file": None}, tools=None),
    "chat without tools": chat(tools=[], response_format={"type": "json_object"}),
    "chat with a file of another kind": chat({"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}),
    "chat with a stored file": chat({"type": "file", "file": {"file_id": "file-1"}}),
    "chat of text": chat(response_format={"type": "text", "json_schema": None}),
    "responses": responses(text={"format": {"type": "json_object"}}),
    "messages": messages({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
    "generate": generate(generationConfig={"responseMimeType": "application/json"}),
}


def rig_of(directory: Path, *targets: Target, others: tuple[Model, ...] = (), **model: Any) -> Rig:
    """A model `m` of these targets, and others beside it; a key with a limit of each kind."""
    limits = Limits(requests_per_minute=10, tokens_per_minute=100_000, concurrency=2)
    key = Key("k1", "app", "", limits=limits, budget=Budget(10**9, "day"))
    return Rig(directory, key, models=(Model("m", targets, **model), *others), kinds=KINDS)


def target(provider: str = "gpt", lacks: int = 0, context_tokens: int = 0) -> Target:
    return Target(provider, f"upstream-{provider}", price=PRICE, context_tokens=context_tokens, lacks=lacks)


def ask(rig: Rig, asked: tuple[str, dict[str, Any]], **options: Any) -> FakeExchange:
    path, fields = asked
    return rig.ask(json.dumps({"model": "m", **fields}).encode(), path=path, **options)


def left(rig: Rig) -> tuple[Any, ...]:
    """What is left of the key's limits."""
    plan = rig.key.plan
    assert plan is not None
    return plan.requests_left()[1], plan.tokens_left()[1], plan.budget_left(), rig.in_flight


def asked_providers(rig: Rig) -> list[str]:
    return [name for name, pool in rig.pools.items() if pool.made]


def error_of(got: FakeExchange) -> tuple[str, str]:
    """Code and message, whatever the dialect."""
    error = json.loads(got.sent)["error"]
    details = error.get("details")
    if isinstance(details, list):
        return next(d["reason"] for d in details if "reason" in d).lower(), error["message"]
    return (details["error_code"] if details else error["code"]), error["message"]


# -- what is not taken


@pytest.mark.parametrize("name", CASES)
def test_what_no_target_takes_is_refused_and_costs_nothing(tmp_path: Path, name: str) -> None:
    need, asked = CASES[name]
    rig = rig_of(tmp_path, target("gpt", BY_NAME[need]), target("claude", ALL))
    before = left(rig)
    got = ask(rig, asked)
    code, message = error_of(got)
    assert (got.status, code) == (400, "model_cannot_serve")
    assert "'m'" in message and words(BY_NAME[need]) in message
    assert left(rig) == before and asked_providers(rig) == []
    assert rig.record.code == "model_cannot_serve" and rig.record.cost_nano_usd == 0


@pytest.mark.parametrize("name", CASES)
def test_it_goes_to_a_target_that_takes_it(tmp_path: Path, name: str) -> None:
    need, asked = CASES[name]
    rig = rig_of(tmp_path, target("claude", BY_NAME[need]), target("gpt", ALL & ~BY_NAME[need]), drop_params=("*",))
    for _ in range(3):  # whosever turn it is
        ask(rig, asked)
        assert asked_providers(rig) == ["gpt"], name
        rig.sink("gpt").on_response(response_head(), json.dumps(ANSWER).encode())


@pytest.mark.parametrize("name", CASES)
def test_what_nobody_knows_is_not_refused(tmp_path: Path, name: str) -> None:
    need, asked = CASES[name]
    for at, lacks in enumerate((0, ALL & ~BY_NAME[need])):
        (folder := tmp_path / str(at)).mkdir()
        rig = rig_of(folder, target("gpt", lacks), drop_params=("*",))
        got = ask(rig, asked)
        assert not got.started and asked_providers(rig) == ["gpt"]


@pytest.mark.parametrize("name", NEEDS_NOTHING)
def test_who_needs_nothing_may_ask_who_takes_nothing_but_text(tmp_path: Path, name: str) -> None:
    rig = rig_of(tmp_path, target("gpt", ALL, context_tokens=8_192), drop_params=("*",))
    got = ask(rig, NEEDS_NOTHING[name])
    assert not got.started and asked_providers(rig) == ["gpt"]


def test_a_fallback_is_taken_and_one_that_cannot_is_not(tmp_path: Path) -> None:
    image = CASES["chat image"][1]
    others = (
        Model("blind", (target("gpt", ALL),)),
        Model("seeing", (target("gemini"),)),
    )
    rig = rig_of(tmp_path, target("claude", ALL), others=others, fallbacks=("blind", "seeing"))
    got = ask(rig, image)
    assert asked_providers(rig) == ["gemini"] and not got.started


def test_after_a_failure_only_who_can_is_asked(tmp_path: Path) -> None:
    others = (Model("blind", (target("claude", ALL),)),)
    rig = rig_of(tmp_path, target("gpt"), others=others, fallbacks=("blind",))
    got = ask(rig, CASES["chat image"][1])
    rig.sink("gpt").on_response(response_head(503), b"{}")
    assert asked_providers(rig) == ["gpt"] and got.status == 503


def test_a_refusal_names_models_of_the_key_alone_and_few_of_them(tmp_path: Path) -> None:
    seeing = tuple(Model(f"s{n}", (target("gpt", BY_NAME["audio"]),)) for n in range(MAX_NAMED + 2))
    others = (Model("unknown", (target(),)), Model("blind", (target("gpt", ALL),)), *seeing)
    rig = rig_of(tmp_path, target("gpt", ALL), others=others)
    rig.key.allowed["s0"] = False
    message = error_of(ask(rig, CASES["chat image"][1]))[1]
    assert message.endswith("these may serve it: 's1', 's2', 's3', 's4', 's5'.")
    rig.key.allowed.update(dict.fromkeys(rig.key.allowed, False) | {"m": True, "unknown": True})
    assert error_of(ask(rig, CASES["chat image"][1]))[1].endswith("these may serve it: 'unknown'.")
    rig.key.allowed["unknown"] = False
    assert error_of(ask(rig, CASES["chat image"][1]))[1].endswith(
        "No model that this key may use is known to serve it."
    )


def test_all_that_is_lacking_is_named(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, target("gpt", ALL))
    path, fields = CASES["chat image"][1]
    message = error_of(ask(rig, (path, fields | {"tools": [{"type": "function", "function": {"name": "f"}}]})))[1]
    assert "images, tools." in message


# -- the length of the prompt


def long(words_: int, asked: tuple[str, dict[str, Any]] | None = None, **fields: Any) -> tuple[str, dict[str, Any]]:
    """A prompt of so many words, each of which is a token here."""
    path, body = asked or chat()
    text = json.dumps(body | fields).replace('"a"', json.dumps("w " * words_))
    return path, json.loads(text)


DIALECTS = {"chat": chat(), "responses": responses(), "messages": messages(), "generate": generate()}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_prompt_beyond_the_context_is_refused_and_costs_nothing(tmp_path: Path, name: str) -> None:
    rig = rig_of(tmp_path, target("gpt", context_tokens=1_000), target("claude", context_tokens=900))
    before = left(rig)
    got = ask(rig, long(2_100, DIALECTS[name]))
    code, message = error_of(got)
    assert (got.status, code) == (400, "context_length_exceeded")
    assert "1,000" in message and "No model that this key may use" in message
    assert left(rig) == before and asked_providers(rig) == []


@pytest.mark.parametrize("name", DIALECTS)
def test_a_long_prompt_goes_where_there_is_room(tmp_path: Path, name: str) -> None:
    others = (Model("roomy", (target("gpt", context_tokens=128_000),)),)
    rig = rig_of(tmp_path, target("gemini", context_tokens=1_000), others=others, fallbacks=("roomy",))
    assert not ask(rig, long(2_100, DIALECTS[name])).started
    assert asked_providers(rig) == ["gpt"]


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        (chat(), 1_070),  # counted in the model's own words
        (chat(tools=[{"type": "function", "function": {"name": "f"}}]), 2_000),  # which are not put to it as they stand
        (responses(), 2_000),
        (messages(), 2_000),
    ],
)
def test_a_count_has_a_margin(tmp_path: Path, asked: tuple[str, dict[str, Any]], most: int) -> None:
    for at, (count, refused) in enumerate([(1_000, False), (most - 10, False), (most + 10, True)]):
        (folder := tmp_path / str(at)).mkdir()
        rig = rig_of(folder, target("gpt", context_tokens=1_000))
        assert ask(rig, long(count, asked)).started is refused, count


@pytest.mark.parametrize(
    ("second", "refused"),
    [
        (Target("claude", "upstream-gpt", context_tokens=1_000), True),  # the same model elsewhere
        (Target("claude", "another", context_tokens=1_000), False),  # whose vocabulary nobody knows
        (Target("claude", "another", context_tokens=500), True),
    ],
)
def test_a_count_is_exact_for_the_model_alone_whose_vocabulary_it_was(
    tmp_path: Path, second: Target, refused: bool
) -> None:
    rig = rig_of(tmp_path, target("gpt", context_tokens=1_000), second)
    assert ask(rig, long(1_500)).started is refused


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_of_a_fallback_with_another_vocabulary_a_count_is_not_exact(tmp_path: Path, encoding: str) -> None:
    others = (Model("other", (target("claude", context_tokens=1_000),), encoding=encoding),)
    rig = rig_of(tmp_path, target("gpt", context_tokens=1_000), others=others, fallbacks=("other",))
    assert ask(rig, long(1_500)).started is (encoding == "o200k_base")


def test_the_bound_of_the_answer_is_left_to_the_provider(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, target("gpt", context_tokens=1_000))
    assert not ask(rig, long(900, max_tokens=5_000)).started


@pytest.mark.parametrize(
    ("asked", "headers"),
    [
        (responses(truncation="auto"), {}),
        (messages(context_management={"edits": []}), {}),
        (messages(), {b"anthropic-beta": b"a-1,context-1m-2025-08-07"}),
        (chat(transforms=["middle-out"]), {}),
    ],
)
def test_who_asks_for_a_shorter_prompt_or_a_longer_context_is_not_refused(
    tmp_path: Path, asked: tuple[str, dict[str, Any]], headers: dict[bytes, bytes]
) -> None:
    provider = "claude" if asked[0] == MESSAGES else "gpt"
    rig = rig_of(tmp_path, target(provider, context_tokens=1_000), drop_params=("*",))
    assert not ask(rig, long(5_000, asked), headers=headers).started


def test_earlier_thoughts_are_not_held_against_a_prompt(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, target("claude", context_tokens=1_000))
    path, body = long(5_000, messages())
    thought = {"type": "thinking", "thinking": "t", "signature": "s"}
    body["messages"][:0] = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [thought]}]
    assert not ask(rig, (path, body)).started


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1beta/models/m:countTokens"])
def test_who_counts_is_told_the_count(tmp_path: Path, path: str) -> None:
    body = messages()[1] if "messages" in path else generate()[1]
    body.pop("max_tokens", None)
    rig = rig_of(tmp_path, target("gpt", ALL, context_tokens=1_000))
    assert ask(rig, long(5_000, (path, body))).status == 200


def test_inputs_to_embed_are_each_as_long_as_they_may_be(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, target("gpt", ALL, context_tokens=1_000))
    assert not ask(rig, ("/v1/embeddings", {"input": ["w " * 900] * 10})).started
