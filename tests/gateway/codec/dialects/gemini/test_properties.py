"""What is written and read again is the same, and whatever comes is answered or refused in the words of the contract."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.base.dialect import AnswerError
from gateway.base.errors import GatewayError
from gateway.base.messages import (
    Answer,
    Block,
    BlockBegan,
    BlockEnded,
    Delta,
    Ended,
    Event,
    Finish,
    Finished,
    Lost,
    Message,
    Opaque,
    Request,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
)
from gateway.codec.dialects.gemini import DIALECT, read_count, read_count_request
from tests.gateway.codec.dialects.gemini import _strategies as some
from tests.support.goldens import cases, events_of, plain

HERE = Path(__file__).parent
NO_SHRINK = (Phase.explicit, Phase.generate)
BODIES = [json.loads(path.read_text())["body"] for path in cases(HERE / "requests")]
ANSWERS = [json.loads(path.read_text())["body"] for path in cases(HERE / "answers")]
STREAMS = [
    [json.loads(data) for _, data in events_of(path.read_bytes()) if data != b"[DONE]"]
    for path in cases(HERE / "streams", "*.sse")
]
bounded = partial(
    settings,
    deadline=None,
    derandomize=True,
    phases=NO_SHRINK,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@bounded(max_examples=30)
@given(some.requests())
def test_a_request_that_loses_nothing_comes_back(request: Request) -> None:
    lost = Lost()
    body = DIALECT.write_request(request, lost)
    assert not lost.fields and not lost.hints
    again = DIALECT.read_request(body, lost)
    assert not lost.fields and not lost.hints
    assert plain(again) == plain(request)


@bounded(max_examples=30)
@given(some.answers())
def test_an_answer_comes_back(answer: Answer) -> None:
    assert plain(DIALECT.read_answer(DIALECT.write_answer(answer))) == plain(answer)


def whole(events: list[Event]) -> list[Block]:
    """The blocks that a stream has told."""
    blocks: dict[int, Any] = {}
    for event in events:
        match event:
            case BlockBegan(index=index, block=block):
                assert index not in blocks
                blocks[index] = block
            case Delta(index=index, kind="arguments", text=text):
                blocks[index].arguments += text
            case Delta(index=index, text=text):
                blocks[index].text += text
            case Signed(index=index, signature=signature):
                blocks[index].signature = signature
            case BlockEnded(index=index):
                assert index in blocks
    return [blocks[index] for index in sorted(blocks)]


def comparable(blocks: list[Block]) -> Any:
    for block in blocks:
        if isinstance(block, Thinking):
            block.summary = False
    return plain(blocks)


@bounded(max_examples=30)
@given(some.streams())
def test_a_stream_comes_back(told: tuple[list[Block], Finish, list[Event]]) -> None:
    blocks, finish, events = told
    writer, reader = DIALECT.stream_writer(Request(model="", messages=[])), DIALECT.stream_reader()
    stream = b"".join(map(writer.write, events))
    again = [event for name, data in events_of(stream) for event in reader.read(name, data)]
    assert not any(isinstance(event, Finished | Ended) for event in again)
    again += reader.end()
    assert comparable(whole(again)) == comparable(blocks)
    assert [event.finish for event in again if isinstance(event, Finished)] == [finish]
    assert again[-1] == Ended()


@bounded(max_examples=60)
@given(st.sampled_from(BODIES).flatmap(some.mutated) | some.json_values)
def test_any_request_is_read_or_refused(body: Any) -> None:
    data = json.dumps(body).encode()
    try:
        request = DIALECT.read_request(data, Lost())
        DIALECT.write_request(request, Lost())
    except GatewayError as error:
        assert error.status == 400 and error.message
    try:
        read_count_request(data, Lost())
    except GatewayError as error:
        assert error.status == 400


@bounded(max_examples=60)
@given(st.sampled_from(ANSWERS).flatmap(some.mutated) | some.json_values)
def test_any_answer_is_read_or_refused(body: Any) -> None:
    data = json.dumps(body).encode()
    DIALECT.read_error(data)
    with contextlib.suppress(AnswerError):
        json.loads(DIALECT.write_answer(DIALECT.read_answer(data)))
    with contextlib.suppress(AnswerError):
        read_count(data)


@bounded(max_examples=60)
@given(st.sampled_from(STREAMS).flatmap(some.mutated) | st.lists(some.json_values, max_size=3))
def test_any_stream_is_read_or_refused(events: Any) -> None:
    reader, writer = DIALECT.stream_reader(), DIALECT.stream_writer(Request(model="", messages=[]))
    try:
        found = [
            event
            for each in (events if isinstance(events, list) else [events])
            for event in reader.read(b"", json.dumps(each).encode())
        ]
        found += reader.end()
    except AnswerError:
        return
    stream = b"".join(map(writer.write, found))
    assert all(json.loads(data) for _, data in events_of(stream))


@bounded(max_examples=30)
@given(some.foreign, st.sampled_from(["", "gemini-2.5-pro", "gemini-3-pro", "gemma-3"]))
def test_what_another_provider_signed_or_made_is_told_and_harms_nothing(signature: Signature, model: str) -> None:
    signature.value = f"signed:{signature.value}"
    opaque = Opaque("anthropic", "x", some.raw_of({}))
    blocks: list[Block] = [Text("."), Thinking("Hm.", signature), opaque, ToolCall("z", "f", "{", signature=signature)]
    request = Request(model=model, messages=[Message("user", [Text("Hi")]), Message("assistant", blocks)])
    lost = Lost()
    body = json.loads(DIALECT.write_request(request, lost))
    assert lost.fields == ["messages[1].blocks[2]"]
    assert lost.hints == ["messages[1].blocks[1]", "messages[1].blocks[3].signature"]
    assert "signed:" not in json.dumps(body)
