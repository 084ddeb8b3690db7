"""Vertex AI is asked as Google's and Anthropic's official clients for it ask: theirs are compared with what the gateway sends."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as genai_types
from google.oauth2.credentials import Credentials

from tests.e2e.conftest import PRICE, environment, secret_of, settings
from tests.e2e.node import Gateway
from tests.e2e.test_dialects import ANSWER, claude, gemini
from tests.support.scripted_upstream import Received, ScriptedUpstream, error, json_answer
from tests.support.token_server import TokenServer

KEYS: dict[str, dict[str, Any]] = {"main": {}}
PROJECT = "projects/project/locations/europe-west4"
CLAUDE = "claude-sonnet-4-6@20260217"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def node(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with TokenServer() as issuer:
        auth = {"kind": "google_metadata", "endpoint": issuer.url}
        base_url = f"http://127.0.0.1:{upstream.port}/vertex/v1/{PROJECT}"
        own = settings(upstream, KEYS) | {
            "providers": {
                "google": {"kind": "vertex", "base_url": base_url, "auth": auth},
                "claude": {"kind": "vertex_anthropic", "base_url": base_url, "auth": auth},
            },
            "models": {
                "gemini": {"targets": [{"provider": "google", "model": "gemini-3-flash", "price": PRICE}]},
                "claude": {"targets": [{"provider": "claude", "model": CLAUDE, "price": PRICE}]},
            },
        }
        with Gateway(tmp_path_factory.mktemp("vertex"), own, environment(KEYS)).running() as started:
            yield started
        assert not issuer.faults


@pytest.fixture(autouse=True)
def provider(upstream: ScriptedUpstream) -> ScriptedUpstream:
    def answer(received: Received) -> Any:
        if "count" in received.path:
            return json_answer({"input_tokens": 14} if "anthropic" in received.path else {"totalTokens": 14})
        return claude(received) if "anthropic" in received.path else gemini(received)

    upstream.script(error(500), name="", vertex=answer)
    return upstream


@contextlib.contextmanager
def claudes_client(node: Gateway) -> Iterator[anthropic.Anthropic]:
    address = node.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=address, api_key=secret_of("main"), max_retries=0, timeout=10) as made:
        yield made


@contextlib.contextmanager
def clients_of_claude(node: Gateway, upstream: ScriptedUpstream) -> Iterator[list[tuple[Any, str]]]:
    """Anthropic's client in front of the gateway, and its client of Vertex AI in front of the provider; each with the model's name."""
    base_url = f"http://127.0.0.1:{upstream.port}/vertex/v1"
    direct = anthropic.AnthropicVertex(
        base_url=base_url, region="europe-west4", project_id="project", access_token="x", max_retries=0
    )
    with claudes_client(node) as ours, direct:
        yield [(ours, "claude"), (direct, CLAUDE)]


def sent_by_both(upstream: ScriptedUpstream, before: int) -> Received:
    """The gateway's request, which asks what the official client asks."""
    ours, theirs = upstream.requests_of("")[before:]
    assert ours.path == theirs.path
    assert ours.json == theirs.json
    for name in ("anthropic-version", "anthropic-beta"):
        assert ours.header(name) == theirs.header(name)
    assert str(ours.header("authorization")).startswith("Bearer ya29.")
    return ours


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_claude_at_vertex_is_asked_as_its_own_client_asks(
    node: Gateway, provider: ScriptedUpstream, streaming: bool
) -> None:
    before = len(provider.requests_of(""))
    headers = {"anthropic-beta": "one-2026-01-01"}
    with clients_of_claude(node, provider) as clients:
        for client, model in clients:
            asked: Any = {"model": model, "max_tokens": 100, "messages": HELLO, "extra_headers": headers}
            if streaming:
                asked["stream"] = True
                events = list(client.messages.create(**asked))
                assert events[-1].type == "message_stop"
                assert "".join(e.delta.text for e in events if e.type == "content_block_delta") == ANSWER
            else:
                assert client.messages.create(**asked).content[0].text == ANSWER
    sent = sent_by_both(provider, before)
    method = "streamRawPredict" if streaming else "rawPredict"
    assert sent.path == f"/vertex/v1/{PROJECT}/publishers/anthropic/models/{CLAUDE}:{method}"
    assert sent.json["anthropic_version"] and "model" not in sent.json


def test_claude_at_vertex_counts_tokens_as_its_own_client_asks(node: Gateway, provider: ScriptedUpstream) -> None:
    before = len(provider.requests_of(""))
    with clients_of_claude(node, provider) as clients:
        for client, model in clients:
            assert client.messages.count_tokens(model=model, messages=HELLO).input_tokens == 14
    assert sent_by_both(provider, before).json["model"] == CLAUDE


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_claude_at_vertex_answers_clients_of_other_dialects(
    node: Gateway, provider: ScriptedUpstream, streaming: bool
) -> None:
    before = len(provider.requests_of(""))
    with openai.OpenAI(base_url=node.base_url, api_key=secret_of("main"), max_retries=0, timeout=10) as chat:
        if streaming:
            chunks = chat.chat.completions.create(model="claude", messages=HELLO, stream=True)
            assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
        else:
            answer = chat.chat.completions.create(model="claude", messages=HELLO)
            assert answer.choices[0].message.content == ANSWER
    (sent,) = provider.requests_of("")[before:]
    assert sent.path.endswith(f"/{CLAUDE}:{'streamRawPredict' if streaming else 'rawPredict'}")
    assert (sent.json["anthropic_version"], sent.json["max_tokens"]) == ("vertex-2023-10-16", 4_096)
    assert "model" not in sent.json and sent.json.get("stream", False) is streaming


def test_what_google_says_in_front_of_claude_is_told_in_anthropics_words(
    node: Gateway, provider: ScriptedUpstream
) -> None:
    refused = {"error": {"code": 429, "message": "Quota exceeded for tokens.", "status": "RESOURCE_EXHAUSTED"}}
    provider.script(error(500), name="", vertex=json_answer(refused, status=429))
    with claudes_client(node) as client, pytest.raises(anthropic.RateLimitError, match="Quota exceeded for tokens"):
        client.messages.create(model="claude", max_tokens=9, messages=HELLO)


@contextlib.contextmanager
def clients_of_gemini(node: Gateway, upstream: ScriptedUpstream) -> Iterator[list[tuple[genai.Client, str]]]:
    """Google's client in front of the gateway, and in its Vertex mode in front of the provider; each with the model's name."""
    options = genai_types.HttpOptions(base_url=node.base_url.removesuffix("/v1"), timeout=10_000)
    ours = genai.Client(api_key=secret_of("main"), http_options=options)
    direct = genai.Client(
        vertexai=True,
        project="project",
        location="europe-west4",
        credentials=Credentials(token="x"),  # type: ignore[no-untyped-call]
        http_options=genai_types.HttpOptions(
            base_url=f"http://127.0.0.1:{upstream.port}/vertex", api_version="v1", timeout=10_000
        ),
    )
    yield [(ours, "gemini"), (direct, "gemini-3-flash")]
    ours.close()
    direct.close()


def test_gemini_at_vertex_is_asked_as_googles_client_asks_it(node: Gateway, provider: ScriptedUpstream) -> None:
    tool = genai_types.Tool(function_declarations=[genai_types.FunctionDeclaration(name="weather")])
    config = genai_types.GenerateContentConfig(temperature=0.5, system_instruction="Be brief.", labels={"team": "a"})
    config.tools = [tool]
    history: list[Any] = [
        "Hello",
        genai_types.Content(role="model", parts=[genai_types.Part(text="Yes?")]),
        genai_types.Content(role="user", parts=[genai_types.Part(text="How warm is it?")]),
    ]
    with clients_of_gemini(node, provider) as clients:
        for method in ("generate_content", "generate_content_stream", "count_tokens"):
            before = len(provider.requests_of(""))
            for client, model in clients:
                if method == "count_tokens":
                    assert client.models.count_tokens(model=model, contents=history).total_tokens == 14
                elif method == "generate_content":
                    client.models.generate_content(model=model, contents=history, config=config)
                else:
                    list(client.models.generate_content_stream(model=model, contents=history, config=config))
            sent_by_both(provider, before)


def test_a_caller_who_says_no_role_is_answered_at_vertex(node: Gateway, provider: ScriptedUpstream) -> None:
    before = len(provider.requests_of(""))
    content = {"parts": [{"text": "Hello"}]}
    inner = {"generateContentRequest": {"model": "models/gemini", "contents": [content], "systemInstruction": content}}
    for method, body in (
        ("generateContent", {"contents": [content], "somethingNew": 1}),
        ("streamGenerateContent?alt=sse", {"contents": [content]}),
        ("countTokens", inner),
    ):
        answer = node.ask(body, secret_of("main"), path=f"/v1beta/models/gemini:{method}")
        assert answer.status == 200, answer
    whole, streamed, counted = (received.json for received in provider.requests_of("")[before:])
    with_role = {"role": "user", **content}
    assert whole == {"contents": [with_role], "somethingNew": 1}
    assert streamed == {"contents": [with_role]}
    assert counted == {"contents": [with_role], "systemInstruction": content}


def test_the_price_of_a_model_at_vertex_is_charged(node: Gateway, tmp_path: Path) -> None:
    answer = node.ask({"model": "claude", "max_tokens": 9, "messages": HELLO}, secret_of("main"), path="/v1/messages")
    found = node.record(answer.headers["x-request-id"])
    assert (found["provider"], found["input_tokens"], found["output_tokens"]) == ("claude", 111, 7)
    assert found["cost_nano_usd"] == 100 * 150 + 11 * 75 + 7 * 600
    assert json.loads(answer.body)["content"][0]["text"] == ANSWER
