"""What a model cannot serve, as official clients learn it: their own exception, and no provider is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from _fastpath.bucket import Scope
from gateway.base.snapshot import NANO_USD
from gateway.phases.admit import key_scope
from tests.e2e.conftest import PRICE, environment, secret_of, settings
from tests.e2e.node import Gateway
from tests.support.scripted_upstream import ScriptedUpstream, completion, json_answer

BUDGET_USD = 5
LIMITS = {"requests_per_minute": 1_000, "tokens_per_minute": 100_000, "concurrency": 5}
KEYS: dict[str, dict[str, Any]] = {
    "main": {"limits": LIMITS, "budget": {"usd": BUDGET_USD, "per": "total"}},
    "narrow": {"models": ["plain", "blind"]},
}
TEXT_ALONE = {"context_tokens": 2_000, "input": ["text"], "tools": False, "structured_output": False}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one pixel
LONG = "The quick brown fox jumps over the lazy dog. " * 500
"""5,000 tokens and some."""
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
ONE_PIXEL = f"data:image/png;base64,{PNG}"
PDF = f"data:application/pdf;base64,{PNG}"
IMAGE, CONTEXT = "model_cannot_serve", "context_length_exceeded"


@pytest.fixture(scope="module")
def node(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def target(provider: str, **fields: Any) -> dict[str, Any]:
        return {"provider": provider, "model": f"{provider}-upstream", "price": PRICE, **fields}

    shared = settings(upstream, KEYS) | {
        "models": {
            "plain": {"targets": [target("a")], "capabilities": TEXT_ALONE, "encoding": "o200k_base"},
            "blind": {"targets": [target("a"), target("b")], "capabilities": TEXT_ALONE},
            "one-sees": {"targets": [target("a"), target("b", capabilities={"input": ["text", "image"]})]}
            | {"capabilities": {"input": ["text"]}},
            "falls-back": {"targets": [target("a")], "capabilities": TEXT_ALONE, "fallbacks": ["unknown"]},
            "unknown": {"targets": [target("b")]},
        },
    }
    with Gateway(tmp_path_factory.mktemp("capabilities"), shared, environment(KEYS)).running() as started:
        yield started


@pytest.fixture(autouse=True)
def providers(upstream: ScriptedUpstream) -> ScriptedUpstream:
    upstream.forget()
    upstream.script(json_answer(completion()), name="", a=json_answer(completion("a")), b=json_answer(completion("b")))
    return upstream


def chat_of(node: Gateway, key: str = "main") -> openai.OpenAI:
    return openai.OpenAI(base_url=node.base_url, api_key=secret_of(key), max_retries=0, timeout=10)


def messages_of(node: Gateway) -> anthropic.Anthropic:
    address = node.base_url.removesuffix("/v1")
    return anthropic.Anthropic(base_url=address, api_key=secret_of("main"), max_retries=0, timeout=10)


def google_of(node: Gateway) -> genai.Client:
    options = genai_types.HttpOptions(base_url=node.base_url.removesuffix("/v1"), timeout=10_000)
    return genai.Client(api_key=secret_of("main"), http_options=options)


class Left(NamedTuple):
    """Of the key's limits."""

    in_flight: int
    requests: int
    tokens: int
    nano_usd: int


def left(node: Gateway) -> Left:
    with node.limits() as table:
        name, per_minute = key_scope("cfg-main"), (LIMITS["requests_per_minute"], LIMITS["tokens_per_minute"])
        plan = table.plan([Scope(name, *per_minute, LIMITS["concurrency"], BUDGET_USD * NANO_USD, 1)])
        return Left(table.in_flight(name), plan.requests_left()[1], plan.tokens_left()[1], plan.budget_left())


def chat(node: Gateway, model: str, *parts: Any, said: str = "Hello", **fields: Any) -> str:
    content: Any = [{"type": "text", "text": said}, *parts]
    with chat_of(node) as client:
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": content}], max_tokens=5, **fields
        )
    return str(answer.choices[0].message.content)


def responses(node: Gateway, model: str, *parts: Any, said: str = "Hello", **fields: Any) -> str:
    content: Any = [{"type": "input_text", "text": said}, *parts]
    with chat_of(node) as client:
        answer = client.responses.create(model=model, input=[{"role": "user", "content": content}], **fields)
    return str(answer.output_text)


def messages(node: Gateway, model: str, *parts: Any, said: str = "Hello", **fields: Any) -> str:
    content: Any = [{"type": "text", "text": said}, *parts]
    with messages_of(node) as client:
        answer = client.messages.create(
            model=model, max_tokens=5, messages=[{"role": "user", "content": content}], **fields
        )
    return "".join(block.text for block in answer.content if block.type == "text")


def generate(node: Gateway, model: str, *parts: Any, said: str = "Hello", **fields: Any) -> str:
    config = genai_types.GenerateContentConfig(**fields)
    contents: Any = [genai_types.Part.from_text(text=said), *parts]
    client = google_of(node)  # which closes when nobody holds it any more
    return client.models.generate_content(model=model, contents=contents, config=config).text or ""


def base64(kind: str, media_type: str) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": PNG}}


def blob(media_type: str) -> genai_types.Part:
    return genai_types.Part.from_bytes(data=b"\x89PNG", mime_type=media_type)


FUNCTION = {"name": "f", "parameters": SCHEMA}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}}
GOOGLES_TOOL = genai_types.Tool(
    function_declarations=[genai_types.FunctionDeclaration(name="f", parameters_json_schema=SCHEMA)]
)
Ask = Callable[..., str]
CASES: dict[str, tuple[Ask, str, tuple[Any, ...], dict[str, Any]]] = {
    "chat-image": (chat, IMAGE, ({"type": "image_url", "image_url": {"url": ONE_PIXEL}},), {}),
    "chat-audio": (chat, IMAGE, ({"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},), {}),
    "chat-pdf": (chat, IMAGE, ({"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},), {}),
    "chat-tools": (chat, IMAGE, (), {"tools": [{"type": "function", "function": FUNCTION}]}),
    "chat-schema": (chat, IMAGE, (), {"response_format": JSON_SCHEMA}),
    "chat-length": (chat, CONTEXT, (), {"said": LONG}),
    "responses-image": (responses, IMAGE, ({"type": "input_image", "image_url": ONE_PIXEL, "detail": "auto"},), {}),
    "responses-pdf": (responses, IMAGE, ({"type": "input_file", "filename": "a.pdf", "file_data": PDF},), {}),
    "responses-tools": (responses, IMAGE, (), {"tools": [{"type": "function", "strict": True, **FUNCTION}]}),
    "responses-schema": (
        responses,
        IMAGE,
        (),
        {"text": {"format": {"type": "json_schema", "name": "s", "schema": SCHEMA}}},
    ),
    "messages-image": (messages, IMAGE, (base64("image", "image/png"),), {}),
    "messages-pdf": (messages, IMAGE, (base64("document", "application/pdf"),), {}),
    "messages-tools": (messages, IMAGE, (), {"tools": [{"name": "f", "input_schema": SCHEMA}]}),
    "messages-length": (messages, CONTEXT, (), {"said": LONG}),
    "generate-image": (generate, IMAGE, (blob("image/png"),), {}),
    "generate-audio": (generate, IMAGE, (blob("audio/wav"),), {}),
    "generate-video": (generate, IMAGE, (blob("video/mp4"),), {}),
    "generate-pdf": (generate, IMAGE, (blob("application/pdf"),), {}),
    "generate-tools": (generate, IMAGE, (), {"tools": [GOOGLES_TOOL]}),
    "generate-schema": (
        generate,
        IMAGE,
        (),
        {"response_mime_type": "application/json", "response_json_schema": SCHEMA},
    ),
    "generate-length": (generate, CONTEXT, (), {"said": LONG}),
}


@pytest.mark.parametrize("model", ["plain", "blind"])
@pytest.mark.parametrize("name", CASES)
def test_a_client_gets_its_own_exception_and_nobody_else_hears_of_it(
    node: Gateway, providers: ScriptedUpstream, name: str, model: str
) -> None:
    ask, code, parts, fields = CASES[name]
    before = left(node)
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError, genai_errors.ClientError)) as caught:
        ask(node, model, *parts, **fields)
    error: Any = caught.value
    if isinstance(error, genai_errors.ClientError):
        assert (error.code, error.status) == (400, "INVALID_ARGUMENT")
        assert code.upper() in str(error)
    elif isinstance(error, anthropic.BadRequestError):
        assert code in str(error.body)
    else:
        assert (error.code, error.type) == (code, "invalid_request_error")
    assert "'unknown'" in str(error), "which may serve it"
    after = left(node)
    assert (after.in_flight, after.nano_usd) == (0, before.nano_usd)
    assert after.requests >= before.requests and after.tokens >= before.tokens, "they refill meanwhile"
    assert providers.requests_of("") == []


def test_a_key_is_told_only_of_models_that_it_may_use(node: Gateway) -> None:
    content: Any = [{"type": "image_url", "image_url": {"url": ONE_PIXEL}}]
    with chat_of(node, "narrow") as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="plain", messages=[{"role": "user", "content": content}])
    assert caught.value.code == IMAGE and caught.value.param == "messages"
    assert "No model that this key may use" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in CASES if name != "generate-video"])  # OpenAI's chat has none
@pytest.mark.parametrize("model", ["falls-back", "unknown"])
def test_who_can_or_is_not_known_is_asked(node: Gateway, name: str, model: str) -> None:
    ask, _, parts, fields = CASES[name]
    assert ask(node, model, *parts, **fields) == "b"


@pytest.mark.parametrize("name", ["chat-image", "responses-image", "messages-image", "generate-image"])
def test_what_a_target_says_itself_wins(node: Gateway, name: str) -> None:
    ask, _, parts, fields = CASES[name]
    assert [ask(node, "one-sees", *parts, **fields) for _ in range(4)] == ["b"] * 4
    assert {ask(node, "one-sees") for _ in range(4)} == {"a", "b"}


def test_a_record_and_a_metric_tell_of_it(node: Gateway) -> None:
    answer = node.ask(
        {"model": "plain", "messages": [{"role": "user", "content": [{"image_url": ONE_PIXEL}]}]}, secret_of("main")
    )
    found = node.record(dict(answer.headers)["x-request-id"])
    assert (found["status"], found["code"], found["cost_nano_usd"], found["provider"]) == (400, IMAGE, 0, "")
    assert node.metric("throughway_requests_total", model="plain", code=IMAGE) >= 1
