"""Golden files: what is written for Bedrock, and what its bytes mean.

    requests/NAME.json   {"canonical": ..., "body": ..., "lost": [...], "hints": [...]}: what is asked, what is written of it, what is lost
    answers/NAME.json    {"body": ..., "canonical": ...}
    streams/NAME.json    {"frames": [[name, payload], ...], "events": [...]}
    errors/NAME.json     {"body": ..., "message": ..., "code": ..., "param": ...}

They follow AWS's API reference (Converse, ConverseStream) and its user guide of Amazon Bedrock; botocore's model of the service checks each.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.eventstream import EventStreamBuffer

from gateway.base.messages import Event, Lost, Request
from gateway.codec.dialects import anthropic, gemini, openai_chat, openai_responses
from gateway.codec.dialects.bedrock import DIALECT
from gateway.codec.framing import EVENT_STREAM
from gateway.codec.translation import Follows
from tests.support.amazon import answer_faults, event_frame, request_faults, stream_of
from tests.support.goldens import cases, plain

HERE = Path(__file__).parent
CALLERS = [openai_chat.DIALECT, openai_responses.DIALECT, anthropic.DIALECT, gemini.DIALECT]
OF_TOMORROW = ("events_of_tomorrow", "exception_of_tomorrow", "reason_of_tomorrow", "what_bedrock_alone_knows")
"""What the model of today does not have."""


def files(kind: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in cases(HERE / kind)]


def asked_in(golden: dict[str, Any]) -> Request:
    """What is asked; msgspec decodes no text that is kept as it stands where nothing may stand in its place."""
    told = json.loads(json.dumps(golden["canonical"]))
    bias = told.pop("logit_bias", None)
    schema = told.get("output", {}).pop("schema", None)
    parameters = [tool.pop("parameters", None) for tool in told.get("tools", [])]
    request = msgspec.json.decode(json.dumps(told), type=Request)
    request.logit_bias = raw(bias)
    if request.output is not None:
        request.output.schema = raw(schema)
    for tool, each in zip(request.tools, parameters, strict=True):
        tool.parameters = raw(each)
    return request


def raw(value: Any) -> msgspec.Raw | None:
    return None if value is None else msgspec.Raw(json.dumps(value).encode())


def frames_in(path: Path) -> list[tuple[str, Any]]:
    return [(name, payload) for name, payload in json.loads(path.read_text())["frames"]]


def test_there_are_enough_of_them() -> None:
    assert sum(len(files(kind)) for kind in ("requests", "answers", "streams", "errors")) >= 80


@pytest.mark.parametrize("path", files("requests"))
def test_a_request_is_written_as_stands_beside_it(path: Path) -> None:
    golden = json.loads(path.read_text())
    request = asked_in(golden)
    assert plain(request) == golden["canonical"], "the file says what is asked"
    lost = Lost()
    body = DIALECT.write_request(request, lost)
    assert json.loads(body) == golden["body"]
    assert (lost.fields, lost.hints) == (golden.get("lost", []), golden.get("hints", []))
    assert plain(request) == golden["canonical"], "writing leaves a request as it was"
    assert request_faults(body) == ""


@pytest.mark.parametrize("path", files("answers"))
def test_an_answer_means_what_is_written_beside_it(path: Path) -> None:
    golden = json.loads(path.read_text())
    body = json.dumps(golden["body"]).encode()
    assert plain(DIALECT.read_answer(body)) == golden["canonical"]
    if path.stem not in OF_TOMORROW and golden["body"]["usage"]["inputTokens"] >= 0:
        assert answer_faults(golden["body"]) == ""


@pytest.mark.parametrize("path", files("streams"))
def test_a_stream_means_what_is_written_beside_it(path: Path) -> None:
    events = EVENT_STREAM.begin()
    reader = DIALECT.stream_reader()
    read: list[Event] = []
    for name, data in events.follow(stream_of(frames_in(path))):
        read += reader.read(name, data)
    assert plain([*read, *reader.end()]) == json.loads(path.read_text())["events"]


@pytest.mark.parametrize("path", files("streams"))
def test_botocore_reads_the_same_frames(path: Path) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(stream_of(frames_in(path)))
    told = []
    for message in buffer:
        match message.headers[":message-type"]:
            case "event":
                told.append((message.headers[":event-type"], json.loads(message.payload)))
            case "exception":
                told.append((f"exception:{message.headers[':exception-type']}", json.loads(message.payload)))
            case _:
                told.append((f"error:{message.headers[':error-code']}", message.headers[":error-message"]))
    assert told == frames_in(path)


@pytest.mark.parametrize("path", files("streams"))
@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_no_caller_sees_the_end_of_a_stream_that_is_cut_anywhere(path: Path, caller: Any) -> None:
    whole = [event_frame(*each) for each in frames_in(path)]
    ended = {"type": "ended"} in json.loads(path.read_text())["events"]
    needed = next((i for i in range(len(whole)) if is_whole(whole[: i + 1])), len(whole))
    asked = Request(model="m", messages=[], stream=True)
    for count in range(len(whole) + 1):
        begun = b"".join(whole[:count])
        for stream in (begun, begun + b"".join(whole[count : count + 1])[:-1]):
            scanner = Follows(DIALECT, caller, asked, EVENT_STREAM, "r1").scanner()
            scanner.feed(stream)
            if scanner.error is None and not scanner.terminal:
                scanner.finish()
            assert (scanner.terminal and scanner.error is None) == (ended and count > needed)


def is_whole(frames: list[bytes]) -> bool:
    reader = DIALECT.stream_reader()
    read = [event for name, data in EVENT_STREAM.begin().follow(b"".join(frames)) for event in reader.read(name, data)]
    return {"type": "ended"} in plain(read)


@pytest.mark.parametrize("path", files("streams"))
@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
def test_what_a_caller_gets_does_not_depend_on_the_cuts(path: Path, caller: Any) -> None:
    stream = stream_of(frames_in(path))
    asked = Request(model="m", messages=[], stream=True)
    written = set()
    for step in (len(stream), 1, 7, 64):
        scanner = Follows(DIALECT, caller, asked, EVENT_STREAM, "r1").scanner()
        bounds = [*range(0, len(stream), step), len(stream)]
        out = b"".join(scanner.feed(stream[begin:end]) for begin, end in itertools.pairwise(bounds))
        written.add((out, scanner.terminal, scanner.error, scanner.fault, scanner.content_bytes))
    assert len(written) == 1


@pytest.mark.parametrize("path", files("errors"))
def test_an_error_says_what_is_written_beside_it(path: Path) -> None:
    golden = json.loads(path.read_text())
    told = DIALECT.read_error(json.dumps(golden["body"]).encode())
    assert (told.message, told.code, told.param) == (golden["message"], golden["code"], golden["param"])
