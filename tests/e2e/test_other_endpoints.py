"""Rerank, moderations, images and speech, by the official clients."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import cohere
import httpx
import httpx2
import openai
import pytest
from cohere.core.api_error import ApiError

from tests.e2e.conftest import environment, secret_of, settings
from tests.e2e.node import Gateway
from tests.support.scripted_upstream import (
    RESET,
    Script,
    ScriptedUpstream,
    answer,
    chunk,
    error,
    event,
    head,
    json_answer,
    stream,
)

KEYS: dict[str, dict[str, Any]] = {"main": {}, "few": {"limits": {"requests_per_minute": 1}}}
PRICES: dict[str, dict[str, Any]] = {
    "rerank": {"request_usd": 0.002, "input_usd_per_million": 0, "output_usd_per_million": 0},
    "images": {"input_usd_per_million": 5, "output_usd_per_million": 40},
    "speech": {"input_usd_per_million": 0.6, "output_usd_per_million": 12},
}
DOCUMENTS = ["The capital of France is Paris", "Reranking is fun!", "Grüße"]


@pytest.fixture(scope="module")
def node(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    kinds = {"a": "openai", "claude": "anthropic"}
    shared = settings(upstream, KEYS) | {
        "providers": {
            name: {"kind": kind, "base_url": upstream.base_url(name), "api_key": "env:PROVIDER_KEY"}
            for name, kind in kinds.items()
        },
        "models": {
            **{
                name: {"targets": [{"provider": "a", "model": f"upstream-{name}", "price": price}]}
                for name, price in PRICES.items()
            },
            "omni-moderation-latest": {"targets": [{"provider": "a", "model": "upstream-moderation"}]},
            "claude": {"targets": [{"provider": "claude", "model": "x"}]},
        },
    }
    with Gateway(tmp_path_factory.mktemp("others"), shared, environment(KEYS)).running() as started:
        yield started


@pytest.fixture
def client(node: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=node.base_url, api_key=secret_of("main"), max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def ranker(node: Gateway) -> Iterator[Callable[..., Any]]:
    """Cohere's clients, of the API's first and second version; they leave connections open that are not their own to close."""
    address = node.base_url.removesuffix("/v1")
    with httpx.Client(timeout=10) as connections:

        def make(version: int = 2, secret: str = "") -> Any:
            kind = cohere.Client if version == 1 else cohere.ClientV2
            return kind(secret or secret_of("main"), base_url=address, httpx_client=connections)

        yield make


def answers(upstream: ScriptedUpstream, script: Script) -> None:
    upstream.script(script, name="", a=script, claude=script)  # others may have left answers of these providers


def asked(upstream: ScriptedUpstream) -> Any:
    return upstream.requests_of("")[-1]


# -- rerank

RESULTS = [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
COHERES = {
    "id": "r",
    "results": RESULTS,
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 2}},
}
JINAS = {"model": "x", "results": RESULTS, "usage": {"total_tokens": 57}}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("told", "tokens", "nano_usd"), [(COHERES, None, 4_000_000), (JINAS, 57, 2_000_000)])
def test_coheres_client_ranks_documents(
    node: Gateway,
    upstream: ScriptedUpstream,
    ranker: Callable[..., Any],
    version: int,
    told: Any,
    tokens: int | None,
    nano_usd: int,
) -> None:
    answers(upstream, json_answer(told))
    raw = ranker(version).with_raw_response.rerank(
        model="rerank", query="Where is Paris?", documents=DOCUMENTS, top_n=2
    )
    assert [(each.index, each.relevance_score) for each in raw.data.results] == [(2, 0.9), (0, 0.1)]
    sent = asked(upstream)
    assert sent.path.endswith("/v1/rerank") and sent.header("authorization") is not None
    assert sent.json["model"] == "upstream-rerank" and sent.json["documents"] == DOCUMENTS
    line = node.logged(raw.headers["x-request-id"])
    assert (line["endpoint"], line["status"], line["output_tokens"]) == ("rerank", 200, 0)
    assert line["cost_nano_usd"] == nano_usd, "a search unit is a call"
    assert line["input_tokens"] == tokens if tokens else line["input_tokens"] > 10
    assert line.get("estimated", False) is (tokens is None)


def test_coheres_client_is_told_its_errors(upstream: ScriptedUpstream, ranker: Callable[..., Any]) -> None:
    answers(upstream, json_answer({"message": "model 'x' is not for ranking"}, status=400))
    made = ranker()
    with pytest.raises(cohere.BadRequestError) as refused:
        made.rerank(model="rerank", query="q", documents=["a"])
    assert "model 'x' is not for ranking" in refused.value.body["message"]
    with pytest.raises(ApiError) as refused_here:
        made.rerank(model="claude", query="q", documents=["a"])
    assert refused_here.value.status_code == 400 and "no such endpoint" in refused_here.value.body["message"]
    with pytest.raises(cohere.UnauthorizedError):
        ranker(secret="wrong").rerank(model="rerank", query="q", documents=["a"])


# -- moderations


@pytest.mark.parametrize("model", ["omni-moderation-latest", None])
def test_moderations_cost_nothing_and_count_as_requests(
    node: Gateway, client: openai.OpenAI, upstream: ScriptedUpstream, model: Any
) -> None:
    result = {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.9}}
    answers(upstream, json_answer({"id": "modr-1", "model": "upstream-moderation", "results": [result]}))
    parts: Any = [
        {"type": "text", "text": "one two"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
    ]
    options = {"model": model} if model else {}
    raw = client.moderations.with_raw_response.create(input=parts, **options)
    assert raw.parse().results[0].flagged and raw.parse().results[0].categories.violence
    assert asked(upstream).json == {"input": parts, "model": "upstream-moderation"}
    line = node.logged(raw.headers["x-request-id"])
    assert (line["endpoint"], line["model"], line["cost_nano_usd"]) == ("moderations", "omni-moderation-latest", 0)
    assert line["input_tokens"] > 2 and not line.get("unpriced", False)


def test_moderations_are_limited(node: Gateway, upstream: ScriptedUpstream) -> None:
    answers(upstream, json_answer({"id": "modr-1", "model": "x", "results": []}))
    with openai.OpenAI(base_url=node.base_url, api_key=secret_of("few"), max_retries=0) as made:
        made.moderations.create(input="a")
        with pytest.raises(openai.RateLimitError):
            made.moderations.create(input="a")


# -- images

USED = {
    "input_tokens": 10,
    "output_tokens": 1_056,
    "total_tokens": 1_066,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
}
COST = 10 * 5_000 + 1_056 * 40_000


@pytest.mark.parametrize("size", [1, 40_000, 3_000_000], ids=["small", "in-parts", "large"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_images_pass_and_are_accounted(
    node: Gateway, client: openai.OpenAI, upstream: ScriptedUpstream, size: int, framing: Any
) -> None:
    picture = base64.b64encode(bytes(range(256)) * (size // 256 + 1)).decode()
    answers(upstream, json_answer({"created": 1, "data": [{"b64_json": picture}], "usage": USED}, framing=framing))
    raw = client.images.with_raw_response.generate(model="images", prompt="A fox", quality="medium", size="1024x1024")
    answer = raw.parse()
    assert answer.data is not None and answer.data[0].b64_json == picture
    assert answer.usage is not None and answer.usage.output_tokens == 1_056
    assert asked(upstream).json["model"] == "upstream-images"
    line = node.logged(raw.headers["x-request-id"])
    assert (line["endpoint"], line["input_tokens"], line["output_tokens"]) == ("images", 10, 1_056)
    assert line["cost_nano_usd"] == COST and not line.get("estimated", False)


def test_images_that_tell_no_usage_are_charged_as_they_were_asked_for(
    node: Gateway, client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    answers(upstream, json_answer({"created": 1, "data": [{"url": "http://x.example/1"}] * 2}))
    raw = client.images.with_raw_response.generate(model="images", prompt="A fox", n=2, quality="low", size="1024x1024")
    assert len(raw.parse().data or ()) == 2
    line = node.logged(raw.headers["x-request-id"])
    assert line["output_tokens"] == 2 * 272 and line["estimated"]


def test_images_are_streamed(node: Gateway, client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    shared = {"created_at": 1, "background": "auto", "output_format": "png", "quality": "low", "size": "1024x1024"}
    events = [
        event({"type": "image_generation.partial_image", "b64_json": "AAAA", "partial_image_index": 0, **shared}),
        event({"type": "image_generation.completed", "b64_json": "BBBB", "usage": USED, **shared}),
    ]
    answers(upstream, stream(events))
    with client.images.with_streaming_response.generate(
        model="images", prompt="A fox", stream=True, partial_images=1
    ) as raw:
        name = raw.headers["x-request-id"]
        seen: list[Any] = list(raw.parse())
    assert [(each.type.rpartition(".")[2], each.b64_json) for each in seen] == [
        ("partial_image", "AAAA"),
        ("completed", "BBBB"),
    ]
    line = node.logged(name)
    assert (line["stream"], line["output_tokens"], line["cost_nano_usd"]) == (True, 1_056, COST)


def test_a_stream_of_images_that_breaks_is_told(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    partial = event({"type": "image_generation.partial_image", "b64_json": "AAAA", "partial_image_index": 0})
    answers(upstream, stream([partial]))
    with pytest.raises(openai.APIError, match="incomplete"):
        list(client.images.generate(model="images", prompt="A fox", stream=True))


# -- speech


@pytest.mark.parametrize("form", ["pcm", "mp3"])
def test_speech_passes_as_it_comes(node: Gateway, client: openai.OpenAI, upstream: ScriptedUpstream, form: Any) -> None:
    """The second half is not sent before the first has been received."""
    first, second = bytes(range(256)) * 20, b'\x00\xff\r\n{"' * 1_000
    answers(
        upstream,
        [head(200, "audio/mpeg", "transfer-encoding: chunked"), chunk(first), 0.5, chunk(second), b"0\r\n\r\n"],
    )
    with client.audio.speech.with_streaming_response.create(
        model="speech", voice="alloy", input="Hello there", response_format=form
    ) as spoken:
        assert spoken.headers["content-type"] == "audio/mpeg"
        parts = list(spoken.iter_bytes())
        name = spoken.headers["x-request-id"]
    assert b"".join(parts) == first + second and len(parts) > 1 and first.startswith(parts[0])
    assert asked(upstream).json["model"] == "upstream-speech"
    line = node.logged(name)
    tokens = -(-len(first + second) // {"pcm": 2_400, "mp3": 400}[form])
    assert (line["endpoint"], line["output_tokens"], line["estimated"]) == ("speech", tokens, True)
    assert line["cost_nano_usd"] == line["input_tokens"] * 600 + tokens * 12_000


def test_speech_that_comes_at_once(node: Gateway, client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    answers(upstream, answer(b"\xff\xf3" * 400, content_type="audio/mpeg"))
    raw = client.audio.speech.with_raw_response.create(model="speech", voice="alloy", input="Hi")
    assert raw.content == b"\xff\xf3" * 400 and raw.headers["content-type"] == "audio/mpeg"
    assert node.logged(raw.headers["x-request-id"])["output_tokens"] == 2


def test_speech_that_breaks_off_ends_without_its_end(
    node: Gateway, client: openai.OpenAI, upstream: ScriptedUpstream
) -> None:
    answers(upstream, [head(200, "audio/mpeg", "transfer-encoding: chunked"), chunk(b"\xff" * 800), 0.2, RESET])
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        client.audio.speech.with_streaming_response.create(model="speech", voice="alloy", input="Hi") as spoken,
    ):
        name = spoken.headers["x-request-id"]
        list(spoken.iter_bytes())
    line = node.logged(name)
    assert line["code"] and line["output_tokens"] == 2


def test_speech_as_events(node: Gateway, client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    used = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    sound = event({"type": "speech.audio.delta", "audio": "AAAA"})
    answers(upstream, stream([sound, event({"type": "speech.audio.done", "usage": used})]))
    with client.audio.speech.with_streaming_response.create(
        model="speech", voice="alloy", input="Hi", stream_format="sse"
    ) as spoken:
        text = b"".join(spoken.iter_bytes())
        name = spoken.headers["x-request-id"]
    assert text.startswith(sound) and b"speech.audio.done" in text
    line = node.logged(name)
    assert (line["input_tokens"], line["output_tokens"]) == (14, 101) and not line.get("estimated", False)


def test_an_error_of_the_provider_is_told(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    answers(upstream, error(400, "The voice is unknown.", "invalid_voice"))
    with pytest.raises(openai.BadRequestError, match="The voice is unknown") as refused:
        client.audio.speech.create(model="speech", voice="nobody", input="Hi")
    assert refused.value.code == "invalid_voice"
    with pytest.raises(openai.BadRequestError, match="no such endpoint"):
        client.images.generate(model="claude", prompt="A fox")
