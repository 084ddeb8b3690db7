"""Golden files: what the bytes of the dialect mean, and what is written again; see tests/support/goldens.py.

The bodies follow Anthropic's API reference (Messages, Count tokens, Streaming messages, Errors) and what Claude Code sends.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.base.messages import Event, Lost, Request
from gateway.codec.dialects.anthropic import DIALECT
from tests.support.goldens import cases, events_of, plain

HERE = Path(__file__).parent


def files(kind: str, pattern: str = "*.json") -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in cases(HERE / kind, pattern)]


def as_json(events: list[tuple[bytes, bytes]]) -> list[tuple[bytes, Any]]:
    return [(name, json.loads(data)) for name, data in events]


def written(events: list[Event]) -> bytes:
    writer = DIALECT.stream_writer(Request(model="m", messages=[]))
    return b"".join(writer.write(event) for event in events)


def test_there_are_enough_of_them() -> None:
    assert sum(len(files(kind)) for kind in ("requests", "answers", "streams", "errors")) >= 80


@pytest.mark.parametrize("path", files("requests"))
def test_a_request_means_what_is_written_beside_it(path: Path) -> None:
    golden = json.loads(path.read_text())
    lost = Lost()
    request = DIALECT.read_request(json.dumps(golden["body"]).encode(), lost)
    assert plain(request) == golden["canonical"]
    assert lost.fields == golden.get("lost", [])
    assert lost.hints == golden.get("hints", [])
    assert json.loads(DIALECT.write_request(request, Lost())) == golden.get("written", golden["body"])


@pytest.mark.parametrize("path", files("requests"))
def test_what_was_written_means_the_same_and_is_written_alike(path: Path) -> None:
    body = json.dumps(json.loads(path.read_text())["body"]).encode()
    once = DIALECT.write_request(DIALECT.read_request(body, Lost()), Lost())
    lost = Lost()
    assert DIALECT.write_request(DIALECT.read_request(once, lost), lost) == once
    assert lost.fields == []


@pytest.mark.parametrize("path", files("requests"))
def test_writing_leaves_a_request_as_it_was(path: Path) -> None:
    body = json.dumps(json.loads(path.read_text())["body"]).encode()
    request = DIALECT.read_request(body, Lost())
    before = plain(request)
    DIALECT.write_request(request, Lost())
    assert plain(request) == before


@pytest.mark.parametrize("path", files("answers"))
def test_an_answer_means_what_is_written_beside_it(path: Path) -> None:
    golden = json.loads(path.read_text())
    answer = DIALECT.read_answer(json.dumps(golden["body"]).encode())
    assert plain(answer) == golden["canonical"]
    assert json.loads(DIALECT.write_answer(answer)) == golden.get("written", golden["body"])


@pytest.mark.parametrize("path", files("streams", "*.sse"))
def test_a_stream_means_what_is_written_beside_it(path: Path) -> None:
    golden = json.loads(path.with_suffix(".json").read_text())
    reader = DIALECT.stream_reader()
    stream = events_of(path.read_bytes())
    events = [event for name, data in stream for event in reader.read(name, data)]
    events += reader.end()
    assert plain(events) == golden["events"]
    again = golden["written"].encode() if "written" in golden else path.read_bytes()
    assert as_json(events_of(written(events))) == as_json(events_of(again))


@pytest.mark.parametrize("path", files("streams", "*.sse"))
def test_a_stream_that_is_cut_at_any_event_never_ends(path: Path) -> None:
    stream = events_of(path.read_bytes())
    whole: list[Any] = []
    reader = DIALECT.stream_reader()
    for name, data in stream:
        whole += plain(list(reader.read(name, data)))
    for cut in range(len(stream)):
        reader = DIALECT.stream_reader()
        seen = plain([event for name, data in stream[:cut] for event in reader.read(name, data)])
        seen += plain(list(reader.end()))
        assert seen == whole[: len(seen)]
        assert {"type": "ended"} not in seen


@pytest.mark.parametrize("path", files("errors"))
def test_an_error_says_what_is_written_beside_it(path: Path) -> None:
    golden = json.loads(path.read_text())
    told = DIALECT.read_error(json.dumps(golden["body"]).encode())
    assert (told.message, told.code, told.param) == (golden["message"], golden["code"], golden["param"])
