"""Embeddings: an application keeps the client it has, whichever dialect the provider speaks."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from tests.e2e.conftest import environment, secret_of, settings
from tests.e2e.node import Gateway
from tests.support.scripted_upstream import Received, Script, ScriptedUpstream, error, json_answer

KEYS: dict[str, dict[str, Any]] = {"main": {}}
PRICE = {"input_usd_per_million": 0.02, "output_usd_per_million": 0}
MODELS = ("google", "gpt")
"""Of a model whose name holds `gemini` Google's client makes one content of several texts."""
TEXTS = ["Grüße", "a", 'a "quoted" one']


def vector_of(text: str, dimensions: int) -> list[float]:
    """Exact in 32 bits."""
    return [len(text) + i / 4 for i in range(dimensions)]


def gemini(received: Received) -> Script:
    asked = received.json
    if ":batchEmbedContents" not in received.path:
        assert asked.get("model", "models/google-upstream") == "models/google-upstream"
        requests = [asked]
    else:
        requests = asked["requests"]
        assert {each["model"] for each in requests} == {"models/google-upstream"}, "Google wants the path's in each"
    vectors = [
        {"values": vector_of(each["content"]["parts"][0]["text"], each.get("outputDimensionality", 4))}
        for each in requests
    ]
    if ":batchEmbedContents" in received.path:
        return json_answer({"embeddings": vectors, "usageMetadata": {"promptTokenCount": 5}})
    return json_answer({"embedding": vectors[0]})


def gpt(received: Received) -> Script:
    asked = received.json
    inputs = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
    data: list[dict[str, Any]] = []
    for i, each in enumerate(inputs):
        vector: Any = vector_of(each, asked.get("dimensions", 4))
        if asked.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        data.insert(0, {"object": "embedding", "index": i, "embedding": vector})  # their order is told by the index
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return json_answer({"object": "list", "model": "gpt-upstream", "data": data, "usage": usage})


@pytest.fixture(scope="module")
def node(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Models named for who answers them."""
    kinds = {"google": "gemini", "gpt": "openai", "claude": "anthropic"}
    models = {name: {"targets": [{"provider": name, "model": f"{name}-upstream", "price": PRICE}]} for name in kinds}
    shared = settings(upstream, KEYS) | {
        "providers": {
            name: {"kind": kind, "base_url": upstream.base_url(name), "api_key": "env:PROVIDER_KEY"}
            for name, kind in kinds.items()
        },
        "models": {
            **models,
            "lenient": {**models["gpt"], "drop_params": ["taskType", "title"]},
            "mixed": {"targets": [*models["gpt"]["targets"], *models["google"]["targets"]]},
        },
    }
    with Gateway(tmp_path_factory.mktemp("embeddings"), shared, environment(KEYS)).running() as started:
        yield started


@pytest.fixture(autouse=True)
def providers(upstream: ScriptedUpstream) -> ScriptedUpstream:
    upstream.script(error(500), name="", google=gemini, gpt=gpt)
    return upstream


@pytest.fixture
def client(node: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=node.base_url, api_key=secret_of("main"), max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def google(node: Gateway) -> genai.Client:
    options = genai_types.HttpOptions(base_url=node.base_url.removesuffix("/v1"), timeout=10_000)
    return genai.Client(api_key=secret_of("main"), http_options=options)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("encoding", ["float", "base64", None])
@pytest.mark.parametrize("asked", [TEXTS[0], TEXTS], ids=["one", "several"])
def test_openais_client_is_answered_by(
    node: Gateway, client: openai.OpenAI, model: str, encoding: Any, asked: Any
) -> None:
    options = {} if encoding is None else {"encoding_format": encoding}
    raw = client.embeddings.with_raw_response.create(model=model, input=asked, dimensions=3, user="u", **options)
    answer = raw.parse()
    wanted: list[Any] = [vector_of(text, 3) for text in ([asked] if isinstance(asked, str) else asked)]
    if encoding == "base64":  # who asks for it by name is given it as it is
        wanted = [base64.b64encode(struct.pack("<3f", *each)).decode() for each in wanted]
    assert [each.embedding for each in sorted(answer.data, key=lambda each: each.index)] == wanted
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (5, 5)
    line = node.logged(raw.headers["x-request-id"])
    assert (line["endpoint"], line["input_tokens"], line["output_tokens"]) == ("embeddings", 5, 0)
    assert line["cost_nano_usd"] == 100 and raw.headers["x-throughway-cost-usd"] == "0.0000001"
    assert raw.headers.get("x-throughway-dropped") == ("user" if model == "google" else None)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("asked", [TEXTS[0], TEXTS], ids=["one", "several"])
def test_googles_client_is_answered_by(node: Gateway, google: genai.Client, model: str, asked: Any) -> None:
    config = genai_types.EmbedContentConfig(output_dimensionality=3)
    answer = google.models.embed_content(model=model, contents=asked, config=config)
    assert answer.embeddings is not None and answer.usage_metadata is not None
    texts = [asked] if isinstance(asked, str) else asked
    assert [each.values for each in answer.embeddings] == [vector_of(text, 3) for text in texts]
    assert answer.usage_metadata.prompt_token_count == 5
    assert answer.sdk_http_response is not None and answer.sdk_http_response.headers is not None
    line = node.logged(answer.sdk_http_response.headers["x-request-id"])
    assert (line["endpoint"], line["input_tokens"], line["cost_nano_usd"]) == ("batch_embed_contents", 5, 100)


@pytest.mark.parametrize("model", MODELS)
def test_one_content_is_embedded_without_a_batch(node: Gateway, model: str) -> None:
    body = {"model": f"models/{model}", "content": {"parts": [{"text": "one two"}]}, "outputDimensionality": 2}
    answer = node.ask(body, secret_of("main"), path=f"/v1beta/models/{model}:embedContent")
    assert answer.status == 200 and answer.json["embedding"] == {"values": vector_of("one two", 2)}
    line = node.logged(answer.headers["x-request-id"])
    told = model == "gpt"  # Google's answer tells nothing here
    assert line["endpoint"] == "embed_content" and line.get("estimated", False) is not told
    assert line["input_tokens"] == (5 if told else 2) and line["cost_nano_usd"] == 20 * line["input_tokens"]


def test_what_a_vector_is_for_is_refused_elsewhere_or_dropped(google: genai.Client) -> None:
    config = genai_types.EmbedContentConfig(task_type="RETRIEVAL_DOCUMENT", title="T")
    with pytest.raises(genai_errors.ClientError) as refused:
        google.models.embed_content(model="gpt", contents=TEXTS, config=config)
    assert refused.value.code == 400 and "requests[0].taskType" in str(refused.value)
    answer = google.models.embed_content(model="lenient", contents=TEXTS, config=config)
    assert answer.embeddings is not None and len(answer.embeddings) == len(TEXTS)
    assert answer.sdk_http_response is not None and answer.sdk_http_response.headers is not None
    dropped = answer.sdk_http_response.headers["x-throughway-dropped"].split(", ")
    assert dropped[:2] == ["requests[0].taskType", "requests[0].title"] and len(dropped) == 6


def test_ids_of_tokens_are_no_words_of_gemini(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no ids of tokens") as refused:
        client.embeddings.create(model="google", input=[1, 2, 3])
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "input")


def test_ids_of_tokens_go_to_a_target_that_knows_them(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    script = upstream.script(
        json_answer(
            {
                "object": "list",
                "model": "x",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            }
        )
    )
    for _ in range(2):  # whosever turn it is
        answer = client.embeddings.create(
            model="mixed", input=[1, 2, 3], encoding_format="float", extra_body={"x_script": script}
        )
        assert answer.data[0].embedding == [0.5]


def test_a_provider_without_embeddings_says_so(client: openai.OpenAI, google: genai.Client) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.embeddings.create(model="claude", input="a")
    assert refused.value.code == "endpoint_not_served"
    with pytest.raises(genai_errors.APIError, match="no such endpoint"):
        google.models.embed_content(model="claude", contents="a")
