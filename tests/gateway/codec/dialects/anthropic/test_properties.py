"""Over values at random: what was written means the same when it is read, and nothing ever raises but what is documented."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.base.dialect import AnswerError
from gateway.base.errors import GatewayError
from gateway.base.messages import Answer, Ended, Event, Failed, Lost, Noted, Request
from gateway.codec.dialects.anthropic import DIALECT
from tests.gateway.codec.dialects.anthropic import strategies
from tests.support.goldens import cases, events_of, plain

HERE = Path(__file__).parent
BODIES = {
    kind: [json.loads(path.read_text())["body"] for path in cases(HERE / kind)]
    for kind in ("requests", "answers", "errors")
}
STREAMS = [
    [(name, json.loads(data)) for name, data in events_of(path.read_bytes())]
    for path in cases(HERE / "streams", "*.sse")
]

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])


def read_events(stream: bytes) -> list[Event]:
    reader = DIALECT.stream_reader()
    return [event for name, data in events_of(stream) for event in reader.read(name, data)]


def write_events(events: list[Event]) -> bytes:
    writer = DIALECT.stream_writer(Request(model="m", messages=[]))
    return b"".join(writer.write(event) for event in events)


# -- there and back


@few
@given(strategies.SAYABLE)
def test_a_request_means_the_same_after_the_way(request: Request) -> None:
    lost = Lost()
    again = DIALECT.read_request(DIALECT.write_request(request, lost), lost)
    assert (lost.fields, lost.hints) == ([], [])
    assert plain(again) == plain(request)


@few
@given(strategies.SAYABLE_ANSWERS)
def test_an_answer_means_the_same_after_the_way(answer: Answer) -> None:
    assert plain(DIALECT.read_answer(DIALECT.write_answer(answer))) == plain(answer)


@few
@given(strategies.SAYABLE_STREAMS)
def test_a_stream_means_the_same_after_the_way(events: list[Event]) -> None:
    again = [event for event in read_events(write_events(events)) if not isinstance(event, Noted)]
    assert plain(again) == plain(events)


# -- anything that another dialect hands over


@few
@given(strategies.ANY_REQUEST)
def test_any_request_is_written_so_that_it_can_be_read_or_refused(request: Request) -> None:
    before = plain(request)
    try:
        written = DIALECT.write_request(request, Lost())
    except GatewayError as error:
        assert (error.param or "").startswith(("max_tokens", "messages"))
    else:
        body = json.loads(written)
        thinking = body.get("thinking", {})
        if thinking.get("type") == "enabled":
            assert 1_024 <= thinking["budget_tokens"] < body["max_tokens"]
        if thinking.get("type") in ("enabled", "adaptive"):
            assert body.get("tool_choice", {}).get("type") not in ("any", "tool")
            assert "temperature" not in body and "top_k" not in body and body.get("top_p", 1) >= 0.95
        roles = [message["role"] for message in body["messages"]]
        assert all(role != after for role, after in pairwise(roles))
        if request.model:
            DIALECT.read_request(written, Lost())
    assert plain(request) == before


@few
@given(strategies.ANY_ANSWER)
def test_any_answer_is_written_so_that_it_can_be_read(answer: Answer) -> None:
    DIALECT.read_answer(DIALECT.write_answer(answer))


@few
@given(st.lists(strategies.ANY_EVENT, max_size=12))
def test_events_in_any_order_are_written_or_refused_and_never_end_what_has_not_finished(events: list[Event]) -> None:
    writer = DIALECT.stream_writer(Request(model="m", messages=[]))
    written = b""
    try:
        for event in events:
            written += writer.write(event)
    except AnswerError:
        assert b"event: message_stop" not in written
        return
    if b"event: message_stop" in written:
        kinds = [type(event) for event in events]
        assert Ended in kinds[: kinds.index(Failed)] if Failed in kinds else Ended in kinds
        read_events(written)


# -- anything that is sent


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """`value` with something in it, at whatever depth, put in the place of something."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: mutated(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], mutated(draw, value[at]), *value[at + 1 :]]
    return draw(strategies.JSON)


@st.composite
def bodies(draw: st.DrawFn, kind: str) -> bytes:
    return json.dumps(mutated(draw, draw(st.sampled_from(BODIES[kind])))).encode()


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    events = list(draw(st.sampled_from(STREAMS)))
    at = draw(st.integers(0, len(events) - 1))
    name, data = events[at]
    match draw(st.integers(0, 3)):
        case 0:
            events[at] = (name, mutated(draw, data))
        case 1:
            del events[at]
        case 2:
            events.insert(at, events[at])
        case _:
            events.insert(draw(st.integers(0, len(events))), events.pop(at))
    return [(name, json.dumps(data).encode()) for name, data in events]


@few
@given(bodies("requests"))
def test_a_request_is_read_or_refused(body: bytes) -> None:
    try:
        request = DIALECT.read_request(body, Lost())
        DIALECT.write_request(request, Lost())
    except GatewayError as error:
        assert error.message


@few
@given(bodies("answers"))
def test_an_answer_is_read_or_refused(body: bytes) -> None:
    try:
        answer = DIALECT.read_answer(body)
    except AnswerError:
        return
    DIALECT.write_answer(answer)


@few
@given(bodies("errors") | st.binary(max_size=20))
def test_an_error_is_always_read(body: bytes) -> None:
    DIALECT.read_error(body)


@few
@given(streams())
def test_a_stream_is_read_or_refused_and_what_was_read_can_be_written(events: list[tuple[bytes, bytes]]) -> None:
    reader = DIALECT.stream_reader()
    writer = DIALECT.stream_writer(Request(model="m", messages=[]))
    try:
        for name, data in events:
            for event in reader.read(name, data):
                writer.write(event)
    except AnswerError as error:
        assert str(error)
