"""Over values at random: what is written is what Bedrock takes, and nothing ever raises but what is documented."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.base.dialect import AnswerError
from gateway.base.errors import GatewayError
from gateway.base.messages import Ended, Event, Lost, Request, ToolCall
from gateway.codec.dialects.bedrock import DIALECT
from gateway.codec.dialects.bedrock._families import Family, family_of
from gateway.codec.dialects.bedrock._write_blocks import MAX_CACHE_POINTS
from tests.gateway.codec.dialects.anthropic.strategies import ANY_REQUEST, JSON
from tests.support.amazon import request_faults
from tests.support.goldens import cases, plain

HERE = Path(__file__).parent
MODELS = [
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "anthropic.claude-3-haiku-20240307-v1:0",
    "global.anthropic.claude-opus-5-v1",
    "amazon.nova-pro-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "openai.gpt-oss-20b-1:0",
    "meta.llama3-3-70b-instruct-v1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2",
]
FRAMES = [frame for path in cases(HERE / "streams") for frame in json.loads(path.read_text())["frames"]]
ANSWERS = [json.loads(path.read_text())["body"] for path in cases(HERE / "answers")]

few = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])


def with_names(request: Request, model: str) -> Request:
    """The same with tools as Bedrock takes them: what is wrong with a name is for it to say."""
    for message in request.messages:
        for block in message.blocks:
            if isinstance(block, ToolCall):
                block.name = "tool_0"
    for i, tool in enumerate(request.tools):
        tool.name = f"tool_{i}"
    if request.tool_choice is not None:
        request.tool_choice.name = "tool_0"
        request.tool_choice.allowed = ["tool_0"] if request.tool_choice.allowed and request.tools else []
    return msgspec.structs.replace(request, model=model)


REQUESTS = st.builds(with_names, ANY_REQUEST, st.sampled_from(MODELS))


@few
@given(REQUESTS)
def test_any_request_is_written_as_bedrock_takes_it_or_refused(request: Request) -> None:
    before = plain(request)
    try:
        written = DIALECT.write_request(request, Lost())
    except GatewayError as error:
        assert (error.param or "").startswith(("max_tokens", "messages"))
        return
    finally:
        assert plain(request) == before
    assert request_faults(written) == ""
    body = json.loads(written)
    roles = [message["role"] for message in body["messages"]]
    assert all(role != after for role, after in itertools.pairwise(roles))
    assert written.count(b'{"cachePoint":') <= MAX_CACHE_POINTS
    if not any("cachePoint" in block for message in body["messages"] for block in message["content"]):
        kinds = [[next(iter(block)) for block in message["content"]] for message in body["messages"]]
        assert all(each == sorted(each, key=lambda kind: kind != "toolResult") for each in kinds), "results come first"


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The value with one of its parts replaced, left out or put where it does not belong."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: mutated(draw, value[name])}
    if isinstance(value, list) and value and draw(st.booleans()):
        i = draw(st.integers(0, len(value) - 1))
        return [*value[:i], mutated(draw, value[i]), *value[i + 1 :]]
    return draw(JSON | st.sampled_from([value, [value], {"p": value}]))


@st.composite
def mutations(draw: st.DrawFn, value: Any) -> bytes:
    return json.dumps(mutated(draw, value)).encode()


@few
@given(st.sampled_from(ANSWERS).flatmap(mutations) | st.binary(max_size=30))
def test_any_answer_is_read_or_breaks_the_dialect(body: bytes) -> None:
    try:
        answer = DIALECT.read_answer(body)
    except AnswerError as error:
        assert str(error)
    else:
        assert len(answer.choices) == 1 and answer.choices[0].finish


@few
@given(
    st.lists(
        st.sampled_from(FRAMES).flatmap(lambda frame: st.tuples(st.just(frame[0]), mutations(frame[1]))), max_size=12
    )
)
def test_events_in_any_order_are_read_or_break_the_dialect(frames: list[tuple[str, bytes]]) -> None:
    reader = DIALECT.stream_reader()
    events: list[Event] = []
    try:
        for name, data in frames:
            events += reader.read(name.encode(), data)
    except AnswerError as error:
        assert str(error)
    assert reader.end() == ()
    names = [name for name, _ in frames]
    if Ended() in events:
        assert events[-1] == Ended() and "messageStop" in names and "metadata" in names


@few
@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_error_is_read(body: bytes) -> None:
    told = DIALECT.read_error(body)
    assert isinstance(told.message, str) and told.code != ""


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", Family.CLAUDE),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", Family.CLAUDE),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-6-v1", Family.CLAUDE),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-lite-v1:0:256k", Family.NOVA_2),
        ("apac.amazon.nova-micro-v1:0", Family.NOVA),
        ("openai.gpt-oss-120b-1:0", Family.GPT_OSS),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc", Family.HIDDEN),
        ("deepseek.r1-v1:0", Family.OTHER),
        ("my-anthropic.claude-like", Family.OTHER),
    ],
)
def test_a_model_is_known_by_its_id_or_arn(model: str, family: Family) -> None:
    assert family_of(model) is family


BROKEN = [
    (["contentBlockDelta"], {"contentBlockIndex": 0, "delta": {"text": "a"}}, "before messageStart"),
    (["messageStart", "messageStart"], {}, "second messageStart"),
    (["messageStart", "contentBlockDelta"], {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "a"}}}, "no call"),
    (["messageStart", "contentBlockStop", "contentBlockStop"], {"contentBlockIndex": 0}, "which is not open"),
    (["messageStart", "contentBlockStart", "contentBlockStart"], {"contentBlockIndex": 0, "start": {}}, "begins after"),
    (["messageStart", "messageStop", "messageStop"], {"stopReason": "end_turn"}, "after messageStop"),
    (["metadata"], {}, "before messageStart"),
    (["messageStart", "contentBlockDelta"], {"contentBlockIndex": "0", "delta": {}}, "breaks the dialect"),
    (
        ["messageStart", "contentBlockDelta"],
        {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "!"}}},
        "base64",
    ),
]


@pytest.mark.parametrize(("names", "payload", "message"), BROKEN, ids=[each[2] + " " + each[0][-1] for each in BROKEN])
def test_a_stream_out_of_order_breaks_the_dialect(names: list[str], payload: dict[str, Any], message: str) -> None:
    reader = DIALECT.stream_reader()
    data = json.dumps(payload).encode()
    with pytest.raises(AnswerError, match=message):
        for name in names:
            reader.read(name.encode(), data)
