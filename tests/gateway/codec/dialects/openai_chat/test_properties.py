"""What is written is read again as it was, and whatever else comes is read or refused, but nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.base.dialect import AnswerError
from gateway.base.errors import GatewayError
from gateway.base.messages import Answer, BlockEnded, Ended, Event, Lost, Noted, Request
from gateway.codec.dialects.openai_chat import DIALECT
from tests.gateway.codec.dialects.openai_chat import strategies as make
from tests.support.goldens import cases, events_of, plain

quick = settings(max_examples=40, deadline=None)
slow = settings(max_examples=20, deadline=None)
"""Of what takes long to generate."""


@slow
@given(make.requests())
def test_a_request_comes_back_as_it_was(request: Request) -> None:
    lost = Lost()
    body = DIALECT.write_request(request, lost)
    assert (lost.fields, lost.hints) == ([], [])
    assert plain(DIALECT.read_request(body, lost)) == plain(request)
    assert (lost.fields, lost.hints) == ([], [])


@slow
@given(make.answers)
def test_an_answer_comes_back_as_it_was(answer: Answer) -> None:
    assert plain(DIALECT.read_answer(DIALECT.write_answer(answer))) == plain(answer)


@quick
@given(make.streams())
def test_a_stream_comes_back_as_it_was(events: list[Event]) -> None:
    writer, reader = DIALECT.stream_writer(Request(model="m", messages=[])), DIALECT.stream_reader()
    written = b"".join(map(writer.write, events))
    found = [event for name, data in events_of(written) for event in reader.read(name, data)]
    # The dialect does not say where a free text for a tool ends.
    assert plain(without_ends(found)) == plain(without_ends(events))
    assert sorted(ends(found)) == sorted(ends(events))


def without_ends(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, BlockEnded)]


def ends(events: list[Event]) -> list[int]:
    return [event.index for event in events if isinstance(event, BlockEnded)]


# -- whatever else comes

REQUESTS, ANSWERS = make.bodies("requests"), make.bodies("answers")
CHUNKS = [
    [json.loads(data) for _, data in events_of(path.read_bytes()) if data != b"[DONE]"]
    for path in cases(make.HERE / "streams", "*.sse")
]


@quick
@given(make.mutated(REQUESTS) | make.values)
def test_any_body_of_a_request_is_read_or_refused(body: Any) -> None:
    with contextlib.suppress(GatewayError):
        request = DIALECT.read_request(json.dumps(body).encode(), Lost())
        json.loads(DIALECT.write_request(request, Lost()))


@quick
@given(make.mutated(ANSWERS) | make.values)
def test_any_body_of_an_answer_is_read_or_refused(body: Any) -> None:
    with contextlib.suppress(AnswerError):
        json.loads(DIALECT.write_answer(DIALECT.read_answer(json.dumps(body).encode())))


@quick
@given(st.sampled_from(CHUNKS).flatmap(lambda chunks: make.mutated([chunks])))
def test_any_stream_is_read_or_refused_and_ends_well_only_where_it_says_so(chunks: Any) -> None:
    reader, writer = DIALECT.stream_reader(), DIALECT.stream_writer(Request(model="m", messages=[]))
    with contextlib.suppress(AnswerError):
        for chunk in chunks if isinstance(chunks, list) else [chunks]:
            for event in reader.read(b"", json.dumps(chunk).encode()):
                assert not isinstance(event, Ended)
                assert b"[DONE]" not in writer.write(event)


@quick
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(GatewayError):
        DIALECT.read_request(data, Lost())
    with contextlib.suppress(AnswerError):
        DIALECT.read_answer(data)
    with contextlib.suppress(AnswerError):
        assert list(DIALECT.stream_reader().read(b"", data)) in ([], [Noted()])
    assert isinstance(DIALECT.read_error(data).message, str)


@quick
@given(make.streams(), st.randoms(use_true_random=False))
def test_a_writer_takes_any_order_or_refuses_it(events: list[Event], random: Any) -> None:
    random.shuffle(events)
    writer = DIALECT.stream_writer(Request(model="m", messages=[]))
    with contextlib.suppress(AnswerError):
        for event in events:
            writer.write(event)
