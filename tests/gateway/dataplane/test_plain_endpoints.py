"""Rerank, moderations, images and speech: what governs them, what is refused, and what an answer is charged, whole and broken."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from _fastpath.chat import MEDIA_BYTES_A_TOKEN
from gateway.base.snapshot import Key, Limits, Model, Price, ProviderKind, Target
from tests.support.rig import PRICE, FakeExchange, Rig, response_head

RERANK, MODERATIONS, IMAGES, SPEECH = "/v2/rerank", "/v1/moderations", "/v1/images/generations", "/v1/audio/speech"
BODIES: dict[str, dict[str, Any]] = {
    RERANK: {"query": "one two", "documents": ["three", {"text": "four five"}]},
    MODERATIONS: {"input": ["one two", "three"]},
    IMAGES: {"prompt": "one two three"},
    SPEECH: {"input": "one two", "instructions": "three", "voice": "v"},
}
KINDS: dict[str, ProviderKind] = {"one": "openai", "claude": "anthropic"}


def rig_of(directory: Path, limits: Limits | None = None, price: Price | None = PRICE, provider: str = "one") -> Rig:
    key = Key("k1", "app", "", limits=limits or Limits(concurrency=1))
    return Rig(directory, key, models=(Model("m", (Target(provider, "upstream-m", price=price),)),), kinds=KINDS)


def ask(rig: Rig, path: str, **more: Any) -> FakeExchange:
    body = {"model": "m", **BODIES[path], **more}
    return rig.ask(json.dumps({k: v for k, v in body.items() if v is not None}).encode(), path=path)


def answer(rig: Rig, value: Any, kind: str = "application/json") -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    rig.sink().on_response(response_head(200, kind), body)


def message(got: FakeExchange) -> str:
    return str(json.loads(got.sent)["error"]["message"])


# -- what governs


@pytest.mark.parametrize("path", BODIES)
def test_a_body_passes_with_the_models_name_replaced(tmp_path: Path, path: str) -> None:
    rig = rig_of(tmp_path)
    body = json.dumps({"model": "m", **BODIES[path], "brand_new": {"a": [1.5]}}).replace("1.5]", "1.50]")
    rig.ask(body.encode(), path=path)
    head, _, sent = rig.connection().request.partition(b"\r\n\r\n")
    wanted = "/v1/rerank" if path == RERANK else path
    assert head.startswith(f"POST {wanted} HTTP/1.1\r\n".encode())
    assert json.loads(sent) == {"model": "upstream-m", **BODIES[path], "brand_new": {"a": [1.5]}}
    assert b"1.50" in sent, "what is not looked at stays as it was written"


@pytest.mark.parametrize(("path", "words"), [(RERANK, 5), (MODERATIONS, 3), (IMAGES, 3), (SPEECH, 3)])
def test_its_texts_are_counted(tmp_path: Path, path: str, words: int) -> None:
    rig = rig_of(tmp_path, Limits(tokens_per_minute=words - 1))
    got = ask(rig, path)
    assert got.status == 429 and "tokens" in message(got)
    (tmp_path / "more").mkdir()
    rig = rig_of(tmp_path / "more", Limits(tokens_per_minute=words))
    ask(rig, path)
    assert len(rig.pools["one"].made) == 1


def test_a_picture_in_a_document_is_no_text(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    picture = "data:image/png;base64," + "A" * 512_000
    ask(rig, RERANK, query="q", documents=[{"type": "image", "image": picture}])
    answer(rig, {"results": []})
    assert rig.record.input_tokens == len(picture) // MEDIA_BYTES_A_TOKEN + 1


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        (RERANK, {"query": None}, "query"),
        (RERANK, {"documents": []}, "documents"),
        (RERANK, {"documents": None}, "documents"),
        (RERANK, {"documents": ["a"] * 10_001}, "documents"),
        (RERANK, {"model": None}, "model"),
        (MODERATIONS, {"input": None}, "input"),
        (IMAGES, {"prompt": None}, "prompt"),
        (IMAGES, {"prompt": 5}, "prompt"),
        (IMAGES, {"n": 0}, "n"),
        (IMAGES, {"n": 1_000}, "n"),
        (IMAGES, {"output_format": "svg"}, "output_format"),
        (IMAGES, {"svg": {"model": "x"}}, "svg"),
        (IMAGES, {"model": None}, "model"),
        (SPEECH, {"input": ""}, "input"),
        (SPEECH, {"speed": "fast"}, "speed"),
        (SPEECH, {"model": None}, "model"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(tmp_path: Path, path: str, more: dict[str, Any], param: str) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, path, **more)
    assert got.status == 400 and json.loads(got.sent)["error"]["param"] == param
    assert not rig.pools["one"].made and rig.in_flight == 0
    if path == RERANK:
        assert json.loads(got.sent)["message"] == message(got), "where Cohere's clients look"


@pytest.mark.parametrize("path", BODIES)
def test_a_kind_that_has_no_such_endpoint_says_so(tmp_path: Path, path: str) -> None:
    rig = rig_of(tmp_path, provider="claude")
    got = ask(rig, path)
    assert got.status == 400 and rig.record.code == "endpoint_not_served"


@pytest.mark.parametrize("path", [RERANK, MODERATIONS])
@pytest.mark.parametrize("told", [b"not JSON", {"data": []}, {"results": None}])
def test_an_answer_that_is_none_is_the_providers_fault(tmp_path: Path, path: str, told: Any) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, path)
    answer(rig, told)
    assert got.status == 502 and "results" in message(got) and rig.in_flight == 0


# -- what is charged


@pytest.mark.parametrize(
    ("told", "tokens", "calls"),
    [
        ({}, 5, 1),
        ({"meta": {"billed_units": {"search_units": 3}}}, 5, 3),
        ({"meta": {"billed_units": {"search_units": 0}}}, 5, 1),
        ({"meta": {"billed_units": {"search_units": -7}}}, 5, 1),
        ({"meta": {"tokens": {"input_tokens": 77}, "billed_units": {"search_units": 1}}}, 77, 1),
        ({"usage": {"prompt_tokens": 8, "total_tokens": 9}}, 8, 1),
        ({"usage": {"total_tokens": 9}}, 9, 1),
        ({"usage": "odd"}, 5, 1),
    ],
)
def test_a_ranking_is_charged_as_it_is_told(tmp_path: Path, told: dict[str, Any], tokens: int, calls: int) -> None:
    rig = rig_of(tmp_path, price=Price(input=1_000_000, output=0, request_nano_usd=2_000))
    ask(rig, RERANK)
    answer(rig, {"results": [], **told})
    assert (rig.record.input_tokens, rig.record.cost_nano_usd) == (tokens, tokens + calls * 2_000)
    assert rig.record.estimated is (tokens == 5)


@pytest.mark.parametrize(("price", "cost"), [(None, 0), (Price(input=1_000_000, output=0), 3)])
def test_a_moderation_is_free_where_no_price_says_otherwise(tmp_path: Path, price: Price | None, cost: int) -> None:
    rig = rig_of(tmp_path, price=price)
    ask(rig, MODERATIONS)
    answer(rig, {"results": []})
    assert (rig.record.cost_nano_usd, rig.record.unpriced, rig.record.input_tokens) == (cost, False, 3)


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        ({"size": "1024x1024", "quality": "low"}, 272),
        ({"size": "1024x1024", "quality": "medium", "n": 2}, 2_112),
        ({"size": "1024x1024", "quality": "high"}, 4_160),
        ({"size": "512x512", "quality": "xhigh"}, 1_040),
        ({}, 6_240),
        ({"size": "99999x99999"}, 32_907),
    ],
)
def test_an_image_reserves_what_its_size_may_take(tmp_path: Path, asked: dict[str, Any], tokens: int) -> None:
    rig = rig_of(tmp_path)
    ask(rig, IMAGES, **asked)
    answer(rig, {"data": []})
    assert (rig.record.input_tokens, rig.record.output_tokens, rig.record.estimated) == (3, tokens, True)


def test_usage_of_a_long_answer_is_read_as_it_passes(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, IMAGES)
    usage = {"input_tokens": 7, "output_tokens": 9, "output_tokens_details": {"image_tokens": 9}}
    whole = json.dumps({"data": [{"b64_json": "A" * 200_000}], "usage": usage}).encode()
    sink = rig.sink()
    sink.on_head(response_head(200, "application/json", f"content-length: {len(whole)}"), True)
    assert got.names == ["start"], "it is not collected"
    got.takes_more = False
    sink.on_data(whole[:100_000], False)
    assert rig.connection().calls == ["pause"] and got.on_drain is not None
    got.on_drain()
    sink.on_data(whole[100_000:], True)
    assert got.sent == whole and rig.connection().calls == ["pause", "resume"]
    assert (rig.record.input_tokens, rig.record.output_tokens, rig.record.estimated) == (7, 9, False)


def test_sound_that_breaks_off_is_charged_as_far_as_it_came(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, price=Price(input=0, output=0, output_audio=1_000_000))
    got = ask(rig, SPEECH, response_format="pcm")
    rig.sink().on_head(response_head(200, "audio/pcm"), True)
    rig.sink().on_data(b"\0" * 4_801, False)
    rig.sink().on_error("truncated", "it ended")
    assert got.names == ["start", "write", "abort"]
    assert (rig.record.code, rig.record.output_tokens, rig.record.cost_nano_usd) == ("stream_truncated", 3, 3)
    assert rig.in_flight == 0


def test_a_caller_who_leaves_is_billed_for_the_sound_that_came(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, SPEECH)
    rig.sink().on_head(response_head(200, "audio/mpeg"), True)
    rig.sink().on_data(b"\xff" * 801, False)
    assert got.on_disconnect is not None
    got.on_disconnect()
    assert (rig.record.status, rig.record.output_tokens) == (499, 3)
    assert rig.connection().calls == ["close"]


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def test_a_stream_of_several_images_ends_with_the_last(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, IMAGES, stream=True, n=2)
    usage = {"input_tokens": 5, "output_tokens": 50}
    sink = rig.sink()
    sink.on_head(response_head(200, "text/event-stream"), True)
    sink.on_data(event(type="image_generation.partial_image", b64_json="AAAA") + event(type="brand.new"), False)
    sink.on_data(event(type="image_generation.completed", b64_json="BBBB", usage=usage), False)
    assert got.names[-1] == "write"
    sink.on_data(event(type="image_generation.completed", b64_json="CCCC", usage=usage), False)
    assert got.names[-1] == "end" and b"brand.new" in got.sent
    assert (rig.record.input_tokens, rig.record.output_tokens, rig.record.code) == (10, 100, "")


@pytest.mark.parametrize(
    "told", [event(type="error", message="It failed."), event(error={"message": "It failed."})], ids=["type", "field"]
)
def test_an_error_in_a_stream_is_noted(tmp_path: Path, told: bytes) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, IMAGES, stream=True)
    rig.sink().on_head(response_head(200, "text/event-stream"), True)
    rig.sink().on_data(told, True)
    assert got.sent == told and rig.record.code == "provider_error" and rig.in_flight == 0
    assert "It failed." in rig.keeper.lines[-1][1]


def test_speech_whose_events_break_off_is_charged_by_its_size(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, SPEECH, stream_format="sse", response_format="pcm")
    sound = base64.b64encode(b"\0" * 24_000).decode()
    rig.sink().on_head(response_head(200, "text/event-stream"), True)
    rig.sink().on_data(event(type="speech.audio.delta", audio=sound), False)
    rig.sink().on_data(event(type="speech.audio.delta", audio=sound), True)
    assert rig.record.code == "stream_truncated" and b"incomplete" in got.sent
    assert 20 <= rig.record.output_tokens <= 24, "48,000 bytes of 2,400 a token"


@pytest.mark.parametrize("path", [IMAGES, SPEECH, RERANK])
def test_a_stream_that_nobody_asked_for_is_the_providers_fault(tmp_path: Path, path: str) -> None:
    rig = rig_of(tmp_path)
    got = ask(rig, path)
    rig.sink().on_head(response_head(200, "text/event-stream"), True)
    assert got.status == 502 and "nobody asked for" in message(got) and rig.in_flight == 0
