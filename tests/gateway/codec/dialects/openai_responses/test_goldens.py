"""Each golden file means what stands beside it, and is written as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.base.dialect import Dialect
from gateway.base.messages import Event, Lost, Request
from gateway.codec.dialects.openai_responses import DIALECT
from tests.gateway.codec.dialects.openai_responses.events import joined
from tests.support.goldens import cases, events_of, plain

HERE = Path(__file__).parent
ASKED = Request(model="gpt-5.2", messages=[])


def names(directory: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in cases(HERE / directory)]


def read_stream(stream: bytes) -> list[Event]:
    reader = DIALECT.stream_reader()
    events = [event for name, data in events_of(stream) for event in reader.read(name, data)]
    return [*events, *reader.end()]


def test_it_is_a_dialect() -> None:
    dialect: Dialect = DIALECT
    assert dialect.name == "openai_responses"


def test_there_are_cases_enough() -> None:
    assert sum(len(cases(HERE / each)) for each in ("requests", "answers", "streams", "errors")) >= 100


@pytest.mark.parametrize("path", names("requests"))
def test_a_request_means(path: Path) -> None:
    case, lost = json.loads(path.read_text()), Lost()
    request = DIALECT.read_request(json.dumps(case["body"]).encode(), lost)
    assert plain(request) == case["canonical"]
    assert (lost.fields, lost.hints) == (case.get("lost", []), case.get("hints", []))


@pytest.mark.parametrize("path", names("requests"))
def test_a_request_is_written(path: Path) -> None:
    case = json.loads(path.read_text())
    request = DIALECT.read_request(json.dumps(case["body"]).encode(), Lost())
    before = plain(request)
    assert json.loads(DIALECT.write_request(request, Lost())) == case.get("written", case["body"])
    assert plain(request) == before, "writing changes nothing"


@pytest.mark.parametrize("path", names("answers"))
def test_an_answer_means(path: Path) -> None:
    case = json.loads(path.read_text())
    assert plain(DIALECT.read_answer(json.dumps(case["body"]).encode())) == case["canonical"]


@pytest.mark.parametrize("path", names("answers"))
def test_an_answer_is_written_and_means_the_same(path: Path) -> None:
    case = json.loads(path.read_text())
    written = DIALECT.write_answer(DIALECT.read_answer(json.dumps(case["body"]).encode()))
    assert json.loads(written) == case["written"]
    assert plain(DIALECT.read_answer(written)) == case["canonical"]


@pytest.mark.parametrize("path", names("streams"))
def test_a_stream_means(path: Path) -> None:
    assert plain(read_stream(path.with_suffix(".sse").read_bytes())) == json.loads(path.read_text())["events"]


@pytest.mark.parametrize("path", names("streams"))
def test_a_stream_that_is_written_means_the_same(path: Path) -> None:
    events = read_stream(path.with_suffix(".sse").read_bytes())
    writer = DIALECT.stream_writer(ASKED)
    written = b"".join(writer.write(event) for event in events)
    assert joined(read_stream(written)) == joined(events)


@pytest.mark.parametrize("path", names("streams"))
def test_a_stream_that_is_cut_at_any_event_is_not_whole(path: Path) -> None:
    stream = path.with_suffix(".sse").read_bytes()
    whole = json.loads(path.read_text())["events"]
    parts = events_of(stream)
    for cut in range(len(parts)):
        reader = DIALECT.stream_reader()
        events = [event for name, data in parts[:cut] for event in reader.read(name, data)]
        told = plain([*events, *reader.end()])
        assert told == whole[: len(told)]
        ended = any(event["type"] == "ended" for event in told)
        assert ended == any(
            b'"response.completed"' in data or b'"response.incomplete"' in data for _, data in parts[:cut]
        )


@pytest.mark.parametrize("path", names("errors"))
def test_an_error_says(path: Path) -> None:
    case = json.loads(path.read_text())
    body = case["body"].encode() if isinstance(case["body"], str) else json.dumps(case["body"]).encode()
    told = DIALECT.read_error(body)
    assert (told.message, told.code, told.param) == (case["message"], case["code"], case["param"])
