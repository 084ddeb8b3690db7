"""What the dialect's bytes mean, by files: see tests/support/goldens.py. A text for `body` of an error stands for itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.base.messages import Event, Lost, Request
from gateway.codec.dialects.openai_chat import DIALECT
from tests.support.goldens import cases, events_of, plain

HERE = Path(__file__).parent


def stem(path: Path) -> str:
    return path.stem


def load(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("path", cases(HERE / "requests"), ids=stem)
def test_a_request_means_what_it_says(path: Path) -> None:
    case = load(path)
    lost = Lost()
    request = DIALECT.read_request(json.dumps(case["body"]).encode(), lost)
    assert plain(request) == case["canonical"]
    assert (lost.fields, lost.hints) == (case.get("lost", []), case.get("hints", []))


@pytest.mark.parametrize("path", cases(HERE / "requests"), ids=stem)
def test_a_request_is_written_as_it_was_meant(path: Path) -> None:
    case = load(path)
    request = DIALECT.read_request(json.dumps(case["body"]).encode(), Lost())
    before = plain(request)
    assert json.loads(DIALECT.write_request(request, Lost())) == case.get("written", case["body"])
    assert plain(request) == before, "the writer has changed it"


@pytest.mark.parametrize("path", cases(HERE / "requests"), ids=stem)
def test_a_request_that_was_written_means_the_same_to_the_next_reader(path: Path) -> None:
    """Once more through reader and writer changes nothing: what could be lost was lost the first time."""
    written = load(path).get("written")
    if written is not None:
        request = DIALECT.read_request(json.dumps(written).encode(), Lost())
        assert json.loads(DIALECT.write_request(request, Lost())) == written


@pytest.mark.parametrize("path", cases(HERE / "answers"), ids=stem)
def test_an_answer_means_what_it_says_and_is_written_so(path: Path) -> None:
    case = load(path)
    answer = DIALECT.read_answer(json.dumps(case["body"]).encode())
    assert plain(answer) == case["canonical"]
    assert json.loads(DIALECT.write_answer(answer)) == case.get("written", case["body"])


def read(stream: bytes) -> list[Event]:
    reader = DIALECT.stream_reader()
    events = [event for name, data in events_of(stream) for event in reader.read(name, data)]
    return events + list(reader.end())


def values_of(stream: bytes) -> list[object]:
    return [data if data == b"[DONE]" else json.loads(data) for _, data in events_of(stream)]


@pytest.mark.parametrize("path", cases(HERE / "streams"), ids=stem)
def test_a_stream_means_what_it_says_and_is_written_so(path: Path) -> None:
    case = load(path)
    events = read(path.with_suffix(".sse").read_bytes())
    assert plain(events) == case["events"]
    writer = DIALECT.stream_writer(Request(model="m", messages=[], include_usage=case.get("include_usage", True)))
    written = b"".join(map(writer.write, events))
    assert values_of(written) == values_of(case["written"].encode())


@pytest.mark.parametrize("path", cases(HERE / "streams"), ids=stem)
def test_a_stream_that_was_cut_between_any_two_events_never_ends_well(path: Path) -> None:
    events = events_of(path.with_suffix(".sse").read_bytes())
    for end in range(len(events)):
        reader = DIALECT.stream_reader()
        found = [event for name, data in events[:end] for event in reader.read(name, data)] + list(reader.end())
        assert all(type(event).__name__ != "Ended" for event in found)


@pytest.mark.parametrize("path", cases(HERE / "errors"), ids=stem)
def test_an_error_says_what_it_says(path: Path) -> None:
    case = load(path)
    body = case["body"].encode() if isinstance(case["body"], str) else json.dumps(case["body"]).encode()
    told = DIALECT.read_error(body)
    assert (told.message, told.code, told.param) == (case["message"], case["code"], case["param"])
