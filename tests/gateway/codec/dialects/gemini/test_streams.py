"""Streams of Gemini's dialect: the same events however they are cut, no end where there was none, and what a caller sees."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from _fastpath.usage import Usage
from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Audio,
    Began,
    Block,
    BlockBegan,
    BlockEnded,
    Citation,
    Cited,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Inline,
    Noted,
    Opaque,
    Refusal,
    Request,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.dialects.gemini import DIALECT, _stream_writer
from tests.gateway.codec.dialects.gemini.test_requests import raw
from tests.support.goldens import cases, events_of, plain

HERE = Path(__file__).parent
NOBODY = Request(model="", messages=[])


def read(stream: bytes, end: bool = True) -> list[Event]:
    reader = DIALECT.stream_reader()
    found = [event for name, data in events_of(stream) for event in reader.read(name, data)]
    return found + list(reader.end()) if end else found


def written(events: Iterable[Event]) -> bytes:
    writer = DIALECT.stream_writer(NOBODY)
    return b"".join(map(writer.write, events))


def told(stream: bytes) -> list[Any]:
    """Values of a stream's events, of which the client takes only those that begin with `data: `."""
    assert all(line.startswith(b"data: ") for line in stream.splitlines() if line)
    return [json.loads(data) for _, data in events_of(stream)]


def event(*parts: Any, **candidate: Any) -> bytes:
    body = {"candidates": [{"content": {"parts": list(parts)}, **candidate}], "responseId": "r", "modelVersion": "m"}
    return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"


def meaning(events: Sequence[Event]) -> list[Any]:
    """What is left when it is forgotten how the text was cut, and where others spoke between."""
    found: list[Any] = []
    for each in plain([e for e in events if not isinstance(e, Noted)]):
        last = found[-1] if found else {}
        if each["type"] == last.get("type") == "delta" and {**each, "text": ""} == {**last, "text": ""}:
            last["text"] += each["text"]
        else:
            found.append(each)
    return found


@pytest.mark.parametrize("path", cases(HERE / "streams", "*.sse"), ids=lambda path: path.stem)
def test_a_stream_means_and_is_written_as_the_golden_file_says(path: Path) -> None:
    golden = json.loads(path.with_suffix(".json").read_text())
    events = read(path.read_bytes())
    assert plain(events) == golden["events"]
    expected = golden["written"].encode() if "written" in golden else path.read_bytes()
    assert told(written(events)) == told(expected)


@pytest.mark.parametrize("path", cases(HERE / "streams", "*.sse"), ids=lambda path: path.stem)
def test_a_stream_that_is_cut_has_no_end(path: Path) -> None:
    """At each event: what came is the beginning of the whole, and no end is told where a candidate has not told its reason."""
    events = events_of(path.read_bytes())
    whole = read(path.read_bytes(), end=False)
    for cut in range(len(events) + 1):
        reader = DIALECT.stream_reader()
        found = [event for name, data in events[:cut] for event in reader.read(name, data)]
        assert found == whole[: len(found)]
        assert not any(isinstance(e, Ended | Finished) for e in found)
        if (
            b"finishReason" not in b"".join(data for _, data in events[:cut])
            and b"blockReason" not in path.read_bytes()
        ):
            assert not reader.end()
        assert b"finishReason" not in written(found)


def ends_again(path: Path) -> bool:
    return b'"code"' not in path.read_bytes() and any(isinstance(e, Ended) for e in read(path.read_bytes()))


@pytest.mark.parametrize(
    "path", [p for p in cases(HERE / "streams", "*.sse") if ends_again(p)], ids=lambda path: path.stem
)
def test_what_is_written_means_the_same(path: Path) -> None:
    events = read(path.read_bytes())
    again = read(written(events))
    by_choice = [
        [e for e in meaning(each) if e.get("choice", 0) == n and e["type"] != "began"]
        for each in (events, again)
        for n in (0, 1)
    ]
    refused = '"kind": "refusal"' in json.dumps(plain(events))  # which this dialect has no word for
    assert refused or by_choice[:2] == by_choice[2:]


# -- reading


def test_events_behind_an_error_are_nothing() -> None:
    stream = b'data: {"error": {"code": 503, "message": "Busy.", "status": "UNAVAILABLE"}}\n\n' + event(
        {"text": "a"}, finishReason="STOP"
    )
    assert read(stream) == [Failed("Busy.", "UNAVAILABLE")]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b'data: {"candidates": [{"index": -1}]}\n\n',
        b'data: {"candidates": [{"index": 1000}]}\n\n',
        event({"functionCall": {}}),
        event({"functionCall": {"partialArgs": [{"jsonPath": "$.a", "stringValue": "b"}]}}),
        event({"functionCall": {"id": "a", "name": "f"}}) * 2,
        event({"functionCall": {"name": "f", "partialArgs": [{"stringValue": "b"}]}}),
        event({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$", "stringValue": "b"}]}}),
        event({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$..a", "stringValue": "b"}]}}),
        event({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a[*]", "stringValue": "b"}]}}),
        event({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a[1]", "stringValue": "b"}]}}),
        event({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$[0]", "stringValue": "b"}]}}),
        event({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a", "stringValue": "b"}] * 2}}),
        event(
            {
                "functionCall": {
                    "name": "f",
                    "partialArgs": [{"jsonPath": path, "boolValue": True} for path in ("$.a.b", "$.c", "$.a.d")],
                }
            }
        ),
        event(
            {
                "functionCall": {
                    "name": "f",
                    "partialArgs": [
                        {"jsonPath": "$.a", "stringValue": "b", "willContinue": True},
                        {"jsonPath": "$.a", "numberValue": 1},
                    ],
                }
            }
        ),
        event({"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$" + ".a" * 101, "boolValue": True}]}}),
    ],
)
def test_what_makes_an_answer_ambiguous_is_refused(stream: bytes) -> None:
    with pytest.raises(AnswerError):
        read(stream)


PATHS: list[tuple[list[dict[str, Any]], Any]] = [
    ([], {}),
    ([{"jsonPath": "$.a", "stringValue": ""}], {"a": ""}),
    ([{"jsonPath": "$.a", "numberValue": 2.5}, {"jsonPath": "$.b", "numberValue": 1e30}], {"a": 2.5, "b": 1e30}),
    ([{"jsonPath": "$.a", "nullValue": "NULL_VALUE"}, {"jsonPath": "$.b", "nullValue": None}], {"a": None, "b": None}),
    ([{"jsonPath": "$.a", "willContinue": True}, {"jsonPath": "$.a", "stringValue": "x"}], {"a": "x"}),
    ([{"jsonPath": "$.a", "willContinue": True}, {"jsonPath": "$.b", "boolValue": False}], {"a": None, "b": False}),
    ([{"jsonPath": "$.a", "willContinue": True}], {"a": None}),
    (
        [
            {"jsonPath": "$.a", "stringValue": 'é"\n', "willContinue": True},
            {"jsonPath": "$.a", "stringValue": "y"},
            {"jsonPath": "$.b"},
        ],
        {"a": 'é"\ny', "b": None},
    ),
    ([{"jsonPath": "$.a", "stringValue": "x", "willContinue": True}, {"jsonPath": "$.a"}], {"a": "x"}),
    (
        [{"jsonPath": "$.a", "stringValue": "x", "willContinue": True}, {"jsonPath": "$.b", "boolValue": True}],
        {"a": "x", "b": True},
    ),
    (
        [
            {"jsonPath": "$.a[0][0]", "numberValue": 1},
            {"jsonPath": "$.a[0][1]", "numberValue": 2},
            {"jsonPath": "$.a[1]", "numberValue": 3},
        ],
        {"a": [[1, 2], 3]},
    ),
    ([{"jsonPath": """$['a.b']["c'"]['d\\'']""", "boolValue": True}], {"a.b": {"c'": {"d'": True}}}),
]


@pytest.mark.parametrize(("partials", "value"), PATHS)
@pytest.mark.parametrize("at_once", [True, False])
def test_arguments_by_paths_are_one_json_text(partials: list[dict[str, Any]], value: Any, at_once: bool) -> None:
    stream = event({"functionCall": {"name": "f", "willContinue": True}})
    for each in [partials] if at_once else [[partial] for partial in partials]:
        stream += event({"functionCall": {"partialArgs": each, "willContinue": True}})
    events = read(stream + event({"functionCall": {}}) + event({"functionCall": {}}, finishReason="STOP"))
    assert json.loads("".join(e.text for e in events if isinstance(e, Delta))) == value
    assert events[-2] == Finished("tool_calls")


def test_arguments_that_came_with_a_call_go_on_by_paths() -> None:
    stream = event({"functionCall": {"name": "f", "args": {"a": [1]}, "willContinue": True}})
    stream += event({"functionCall": {"partialArgs": [{"jsonPath": "$.b", "stringValue": "x"}]}})
    stream += event({"text": "Done."}, finishReason="STOP")
    events = read(stream)
    assert json.loads("".join(e.text for e in events if isinstance(e, Delta) and e.kind == "arguments")) == {
        "a": [1],
        "b": "x",
    }


def test_a_name_that_comes_ends_the_call_that_was_open() -> None:
    stream = event(
        {"functionCall": {"name": "f", "willContinue": True}},
        {"functionCall": {"name": "g", "args": {}}},
        finishReason="STOP",
    )
    events = read(stream)
    assert [(e.index, e.text) for e in events if isinstance(e, Delta)] == [(0, "{}"), (1, "{}")]


def test_a_text_behind_a_signature_is_another_one() -> None:
    stream = event({"text": "a", "thoughtSignature": "c2ln"}) + event({"text": "b"}, finishReason="STOP")
    told = [e for e in read(stream) if isinstance(e, Delta | Signed)]
    assert told == [Delta(0, "text", "a"), Signed(1, Signature("gemini", "c2ln")), Delta(2, "text", "b")]


def test_an_empty_stream_and_one_of_pings_have_no_end() -> None:
    assert read(b"") == []
    assert not any(
        isinstance(e, Ended | Finished) for e in read(event({"text": ""}) + b'data: {"usageMetadata": {}}\n\n')
    )


# -- writing


def test_a_call_leaves_whole_when_it_has_ended() -> None:
    writer = DIALECT.stream_writer(NOBODY)
    begun: list[Event] = [
        Began("r", "m"),
        BlockBegan(0, ToolCall("a", "f", "")),
        BlockBegan(1, ToolCall("b", "g", "")),
        Delta(0, "arguments", '{"x":\n'),
        Delta(1, "arguments", "{"),
        Delta(0, "arguments", " 1}"),
    ]
    assert not b"".join(map(writer.write, begun))
    (first,) = told(writer.write(BlockEnded(0)))
    assert first["candidates"][0]["content"]["parts"] == [{"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}}]
    (second,) = told(writer.write(Finished("tool_calls")))
    assert second["candidates"][0]["content"]["parts"] == [
        {"functionCall": {"id": "b", "name": "g", "args": {"_raw": "{"}}}
    ]
    (last,) = told(writer.write(Ended()))
    assert last["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("used_first", [True, False])
def test_the_last_event_tells_why_it_ended_and_what_was_used(used_first: bool) -> None:
    ending: list[Event] = [Used(Usage(3, 1)), Used(Usage(3, 2))]
    ending.insert(0 if not used_first else 2, Finished("length"))
    stream = written(
        [
            Began("r", "m", usage=Usage(3)),
            BlockBegan(0, Text("")),
            Delta(0, "text", "a"),
            *ending,
            Ended(),
            Noted(),
            Ended(),
        ]
    )
    first, last = told(stream)
    assert "finishReason" not in first["candidates"][0]
    assert last["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert last["usageMetadata"] == {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}


def test_a_failure_is_an_error_and_nothing_follows() -> None:
    stream = written([Began("r", "m"), Failed("Busy.", "overloaded"), Finished("stop"), Ended()])
    (error,) = told(stream)
    assert list(error) == ["error"]  # the client looks at the first key
    assert error["error"]["message"] == "Busy."


IMPOSSIBLE: list[list[Event]] = [
    [Delta(0, "text", "a")],
    [BlockBegan(0, Text("")), BlockEnded(0), Delta(0, "text", "a")],
    [BlockBegan(0, Text("")), BlockBegan(0, Text(""))],
    [BlockEnded(0)],
    [Signed(0, Signature("gemini", "a"))],
    [Cited(0, Citation("u"))],
    [Finished("stop"), Finished("stop")],
    [Finished("stop"), BlockBegan(0, Text(""))],
    [Ended()],
    [BlockBegan(0, Text("")), Ended()],
]


@pytest.mark.parametrize("events", IMPOSSIBLE)
def test_an_impossible_order_is_refused(events: list[Event]) -> None:
    with pytest.raises(AnswerError):
        written([Began("r", "m"), *events])


def test_arguments_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream_writer, "MAX_KEPT_BYTES", 10)
    call: list[Event] = [BlockBegan(0, ToolCall("a", "f", "")), Delta(0, "arguments", '{"a":"bc"}')]
    writer = DIALECT.stream_writer(NOBODY)
    assert b"".join(map(writer.write, [*call, BlockEnded(0)]))  # which frees what was kept
    writer.write(BlockBegan(1, ToolCall("b", "f", "")))
    writer.write(Delta(1, "arguments", '{"a":"bc"}'))
    with pytest.raises(AnswerError):
        writer.write(Delta(1, "arguments", " "))


@pytest.mark.parametrize("module", ["_stream_reader", "_stream_writer"])
def test_of_a_very_long_text_it_is_told_what_is_cited_and_not_where(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"gateway.codec.dialects.gemini.{module}.MAX_CITED_CHARS", 3)
    grounding = {
        "groundingChunks": [{"web": {"uri": "u"}}],
        "groundingSupports": [{"segment": {"endIndex": 2}, "groundingChunkIndices": [0]}],
    }
    events = read(event({"text": "abcd"}) + event({"text": "e"}, finishReason="STOP", groundingMetadata=grounding))
    if module == "_stream_reader":
        assert Cited(0, Citation("u")) in events
    else:
        last = told(written(events))[-1]["candidates"][0]
        assert last["groundingMetadata"] == {"groundingChunks": [{"web": {"uri": "u"}}]}


BLOCKS: list[tuple[Block, list[Event], list[Any]]] = [
    (Refusal(""), [Delta(0, "refusal", "No.")], [{"text": "No."}]),
    (
        Thinking("", redacted=True, signature=Signature("anthropic", "x")),
        [],
        [{"text": "", "thought": True, "thoughtSignature": "cmVkLnR3MS5hbnRocm9waWMueA=="}],
    ),
    (
        Thinking(),
        [Delta(0, "thinking", "Hm."), Signed(0, Signature("anthropic", "x"))],
        [{"text": "Hm.", "thought": True}, {"text": "", "thought": True, "thoughtSignature": "dHcxLmFudGhyb3BpYy54"}],
    ),
    (
        Audio(Inline("audio/pcm", "")),
        [Delta(0, "audio", "AAAA"), Delta(0, "transcript", "Hi.")],
        [{"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}}, {"audioTranscription": {"text": "Hi."}}],
    ),
    (
        Audio(Inline("", "")),
        [Delta(0, "audio", "AAAA")],
        [{"inlineData": {"mimeType": "audio/*", "data": "AAAA"}}],
    ),
    (Opaque("gemini", "executableCode", raw({"executableCode": {}})), [], [{"executableCode": {}}]),
    (Opaque("anthropic", "x", raw({})), [], []),
    (
        ToolCall("a", "f", '{"x":1}', signature=Signature("gemini", "c2ln")),
        [],
        [{"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"}],
    ),
    (
        ToolCall("a", "patch", "", custom=True),
        [Delta(0, "arguments", "***")],
        [{"functionCall": {"id": "a", "name": "patch", "args": {"input": "***"}}}],
    ),
]


@pytest.mark.parametrize(("block", "deltas", "parts"), BLOCKS)
def test_each_block_has_its_parts(block: Block, deltas: list[Event], parts: list[Any]) -> None:
    stream = written([Began("", ""), BlockBegan(0, block), *deltas, BlockEnded(0)])
    assert [part for each in told(stream) for part in each["candidates"][0]["content"]["parts"]] == parts


def test_a_long_stream_stays_linear() -> None:
    """A megabyte of arguments in small pieces, and many pieces of text, cost what their sum costs."""
    pieces: list[Event] = [Delta(0, "arguments", "x" * 10) for _ in range(100_000)]
    begun: list[Event] = [Began("r", "m"), BlockBegan(0, ToolCall("a", "f", '{"a":"'))]
    stream = written([*begun, *pieces, Delta(0, "arguments", '"}'), Finished("tool_calls"), Ended()])
    assert len(told(stream)[0]["candidates"][0]["content"]["parts"][0]["functionCall"]["args"]["a"]) == 1_000_000
    partial = {"jsonPath": "$.a", "stringValue": "x" * 10, "willContinue": True}
    part = event({"functionCall": {"partialArgs": [partial] * 100, "willContinue": True}})
    events = read(
        event({"functionCall": {"name": "f", "willContinue": True}})
        + part * 100
        + event({"text": ""}, finishReason="STOP")
    )
    assert sum(len(e.text) for e in events if isinstance(e, Delta)) == 100_000 + len('{"a":""}')
    assert plain(events[-1]) == {"type": "ended"}


def test_a_ping_is_an_event_that_says_nothing() -> None:
    writer = DIALECT.stream_writer(NOBODY)
    writer.write(Began("r", "m"))
    (ping,) = told(writer.ping())
    assert ping["candidates"][0]["content"]["parts"] == [{"text": ""}]
    assert all(isinstance(e, Began | Noted) for e in read(writer.ping()))
