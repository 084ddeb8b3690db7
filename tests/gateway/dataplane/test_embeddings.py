"""Embeddings between dialects: what is refused, what breaks, and what is charged."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from gateway.base.snapshot import Key, Limits, Model, ProviderKind, Target
from tests.support.rig import PRICE, FakeExchange, Rig, response_head

KINDS: dict[str, ProviderKind] = {"gpt": "openai", "gemini": "gemini", "claude": "anthropic"}
BATCH = "/v1beta/models/m:batchEmbedContents"
SINGLE = "/v1beta/models/m:embedContent"


def rig_of(directory: Path, provider: str, limits: Limits | None = None, **model: Any) -> Rig:
    key = Key("k1", "app", "", limits=limits or Limits(concurrency=1))
    targets = (Target(provider, f"upstream-{provider}", price=PRICE),)
    return Rig(directory, key, models=(Model("m", targets, **model),), kinds=KINDS)


def ask(rig: Rig, body: dict[str, Any], path: str = "/v1/embeddings") -> FakeExchange:
    return rig.ask(json.dumps({"model": "m", **body} if path == "/v1/embeddings" else body).encode(), path=path)


def sent(rig: Rig, provider: str) -> Any:
    return json.loads(rig.connection(provider).request.partition(b"\r\n\r\n")[2])


def answer(rig: Rig, provider: str, value: Any) -> None:
    rig.sink(provider).on_response(response_head(), value if isinstance(value, bytes) else json.dumps(value).encode())


def content(*texts: str, **more: Any) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text} for text in texts]}, **more}


# -- what a provider is asked


def test_gemini_is_asked_for_a_batch(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "gemini")
    ask(rig, {"input": ["one", "two"], "dimensions": 8, "encoding_format": "base64"})
    request = rig.connection("gemini").request
    assert request.startswith(b"POST /v1/models/upstream-gemini:batchEmbedContents HTTP/1.1\r\n")
    name = {"model": "models/upstream-gemini", "outputDimensionality": 8}
    assert sent(rig, "gemini") == {"requests": [content("one") | name, content("two") | name]}


def test_an_openai_compatible_provider_is_asked_for_a_list(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "gpt")
    asked = [
        content("one", "two", output_dimensionality=8),
        content("three", embedContentConfig={"outputDimensionality": 8}),
    ]
    ask(rig, {"requests": asked}, BATCH)
    assert sent(rig, "gpt") == {"model": "upstream-gpt", "input": ["one\ntwo", "three"], "dimensions": 8}


def test_the_same_dialect_keeps_what_the_gateway_has_never_heard_of(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "gemini")
    asked = [content("one", model="models/m", taskType="X", brand_new={"a": 1}), content("two")]
    ask(rig, {"requests": asked, "new": 1.50}, BATCH)
    assert sent(rig, "gemini") == {"requests": [asked[0] | {"model": "models/upstream-gemini"}, asked[1]], "new": 1.5}
    told = {"embeddings": [{"values": [1]}, {"values": [2], "brandNew": 1}], "usageMetadata": {"promptTokenCount": 4}}
    answer(rig, "gemini", told)
    assert rig.record.input_tokens == 4 and not rig.record.estimated


# -- what is refused


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        ("/v1/embeddings", {"input": []}, "input", "not empty"),
        ("/v1/embeddings", {"input": ["a", 1]}, "input", "a list of texts or of lists of ids"),
        ("/v1/embeddings", {"input": [[1], [2]]}, "input", "no ids of tokens"),
        ("/v1/embeddings", {}, "input", "missing required field"),
        ("/v1/embeddings", {"input": "a", "dimensions": 0}, "dimensions", "dimensions"),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format", "int8"),
        ("/v1/embeddings", {"input": "a", "truncate": True}, "truncate", "truncate"),
        (BATCH, {}, "requests", "at least one"),
        (BATCH, {"requests": [{}]}, "requests[0].content", "at least one part"),
        (SINGLE, {}, "content", "at least one part"),
        (SINGLE, {"content": {"parts": []}}, "content", "at least one part"),
        (SINGLE, content("a", outputDimensionality="x"), "outputDimensionality", "Expected `int"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    tmp_path: Path, path: str, body: dict[str, Any], param: str, says: str
) -> None:
    rig = rig_of(tmp_path, "gemini")
    got = ask(rig, body, path)
    told = json.loads(got.sent)["error"]
    if path == "/v1/embeddings":
        assert told["param"] == param or param in told["message"]
    else:
        assert told["details"][1]["fieldViolations"][0]["field"] == param
    assert got.status == 400 and says in told["message"] and rig.in_flight == 0
    assert not rig.pools["gemini"].made


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([content("a", outputDimensionality=2), content("b")], "as many dimensions"),
        ([{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}}], "Only texts"),
        ([content("a", autoTruncate=True)], "autoTruncate"),
    ],
)
def test_what_an_openai_compatible_provider_has_no_place_for_is_refused(tmp_path: Path, body: Any, says: str) -> None:
    rig = rig_of(tmp_path, "gpt")
    got = ask(rig, {"requests": body}, BATCH)
    assert got.status == 400 and says in json.loads(got.sent)["error"]["message"]


def test_what_may_be_dropped_is_told(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "gemini", drop_params=("truncate",))
    got = ask(rig, {"input": "a", "truncate": True, "user": "u"})
    answer(rig, "gemini", {"embeddings": [{"values": [0.5]}]})
    assert got.status == 200 and got.answer_headers["x-throughway-dropped"] == "truncate, user"


# -- what comes back


def test_base64_is_made_of_numbers_and_numbers_of_base64(tmp_path: Path) -> None:
    coded = base64.b64encode(struct.pack("<3f", 0.5, -0.25, 1e10)).decode()
    (tmp_path / "a").mkdir()
    rig = rig_of(tmp_path / "a", "gemini")
    got = ask(rig, {"input": "a", "encoding_format": "base64"})
    answer(rig, "gemini", {"embeddings": [{"values": [0.5, -0.25, 1e10]}]})
    assert json.loads(got.sent)["data"][0]["embedding"] == coded
    (tmp_path / "b").mkdir()
    rig = rig_of(tmp_path / "b", "gpt")
    got = ask(rig, content("a"), SINGLE)
    answer(rig, "gpt", {"data": [{"index": 0, "embedding": coded}], "usage": {"prompt_tokens": 1, "total_tokens": 1}})
    assert json.loads(got.sent) == {
        "embedding": {"values": [0.5, -0.25, 1e10]},
        "usageMetadata": {"promptTokenCount": 1},
    }


def test_what_nobody_tells_is_counted_here(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "gemini")
    got = ask(rig, {"input": ["one two", "three"]})
    answer(rig, "gemini", {"embeddings": [{"values": [1]}, {"values": [2]}]})
    assert json.loads(got.sent)["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert (rig.record.input_tokens, rig.record.output_tokens, rig.record.estimated) == (3, 0, True)
    assert rig.record.cost_nano_usd == 450, "3 tokens of 150 nano-USD"


@pytest.mark.parametrize(
    ("provider", "told", "says"),
    [
        ("gemini", b"[]", "no embeddings"),
        ("gemini", {"embeddings": [{"values": [1]}]}, "2 inputs have 1 embeddings"),
        ("gemini", {"embeddings": [{"values": "x"}, {"values": [1]}]}, "no list"),
        ("gemini", {"embeddings": [{"values": ["x"]}, {"values": [1]}]}, "no list of numbers"),
    ],
)
def test_a_broken_answer_is_the_providers_fault(tmp_path: Path, provider: str, told: Any, says: str) -> None:
    rig = rig_of(tmp_path, provider)
    got = ask(rig, {"input": ["a", "b"], "encoding_format": "base64"})
    answer(rig, provider, told)
    assert got.status == 502 and says in json.loads(got.sent)["error"]["message"]
    assert rig.record.code == "provider_protocol_error" and rig.in_flight == 0


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"data": [{"index": 1, "embedding": [1]}]}, "indices"),
        ({"data": [{"index": 0, "embedding": "!"}]}, "no base64"),
        ({"data": [{"index": 0, "embedding": "AAAAAAA="}]}, "no base64"),
        ({"data": [{"index": 0, "embedding": None}]}, "neither"),
        ({"data": None}, "no list"),
    ],
)
def test_so_is_one_of_an_openai_compatible_provider(tmp_path: Path, told: Any, says: str) -> None:
    rig = rig_of(tmp_path, "gpt")
    got = ask(rig, content("a"), SINGLE)
    answer(rig, "gpt", told)
    assert got.status == 502 and says in json.loads(got.sent)["error"]["message"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_answers_no_embeddings(tmp_path: Path, whole: bool) -> None:
    rig = rig_of(tmp_path, "gemini")
    got = ask(rig, {"input": "a"})
    if whole:
        rig.sink("gemini").on_response(response_head(200, "text/event-stream"), b"data: {}\n\n")
    else:
        rig.sink("gemini").on_head(response_head(200, "text/event-stream"), True)
    assert got.status == 502 and "nobody asked for" in json.loads(got.sent)["error"]["message"]
    assert rig.in_flight == 0


def test_limits_count_the_inputs(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, "gemini", Limits(tokens_per_minute=3))
    got = ask(rig, {"requests": [content("one two"), content("three four")]}, BATCH)
    assert got.status == 429
    assert "4 tokens" in json.loads(got.sent)["error"]["message"]
