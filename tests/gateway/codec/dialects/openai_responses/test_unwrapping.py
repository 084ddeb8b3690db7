"""A custom tool's input comes out of the arguments of the function that stands for it, however they are cut."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.base.messages import (
    Answer,
    Began,
    BlockBegan,
    BlockEnded,
    Choice,
    Delta,
    Ended,
    Event,
    Finished,
    Message,
    Request,
    Text,
    Tool,
    ToolCall,
)
from gateway.codec.dialects.openai_responses import DIALECT
from gateway.codec.dialects.openai_responses._unwrapping import Unwrapping, unwrapped
from tests.support.goldens import events_of

PATCH = "*** Begin Patch\n+ print(\"\\u00e9\", '\U0001f600')\n*** End Patch"
ASKED = Request(
    model="m",
    messages=[Message("user", [Text("Go.")])],
    tools=[Tool("apply_patch", custom=True), Tool("shell")],
)


def in_pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(places)]


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(codec="utf-8")) | st.just(PATCH),
    st.booleans(),
    st.sampled_from([None, 2]),
    st.lists(st.integers(0, 200), max_size=9),
)
def test_any_text_comes_out_of_any_pieces(text: str, ascii_: bool, indent: int | None, cuts: list[int]) -> None:
    unwrapping = Unwrapping()
    pieces = in_pieces(json.dumps({"input": text}, ensure_ascii=ascii_, indent=indent), cuts)
    assert "".join(map(unwrapping.feed, pieces)) + unwrapping.end() == text


def test_a_text_comes_out_a_character_at_a_time() -> None:
    """As soon as it can be: all but the last few characters before the arguments end."""
    unwrapping = Unwrapping()
    arguments = json.dumps({"input": PATCH})
    told = ""
    for at, character in enumerate(arguments):
        told += unwrapping.feed(character)
        assert PATCH.startswith(told)
        assert len(arguments) - at > 3 or told == PATCH


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", ""),
        ("{}", ""),
        ("*** Begin Patch", "*** Begin Patch"),
        ("x" * 300, "x" * 300),
        ('["x"]', '["x"]'),
        ('{"input": 5}', '{"input": 5}'),
        ('{"patch": "x"}', "x"),
        ('{"input": "a\nb"}', "a\nb"),
        ('{"input": "cut of', "cut of"),
        ('{"input": "cut of \\u12', "cut of "),
        ('{"input": "a\\qb"}', "a\\qb"),
        ('{"input": "\\ud83d"}', "\N{REPLACEMENT CHARACTER}"),
        ('{"input": "\\\\ud83d"}', "\\ud83d"),
    ],
)
def test_what_a_model_may_write(arguments: str, text: str) -> None:
    assert unwrapped(arguments) == text
    unwrapping = Unwrapping()
    assert "".join(map(unwrapping.feed, arguments)) + unwrapping.end() == text


def test_a_call_by_a_function_is_told_as_one_of_the_custom_tool() -> None:
    arguments = json.dumps({"input": PATCH})
    events: list[Event] = [
        *(Began("r", "m"), BlockBegan(0, ToolCall("c", "apply_patch", "")), BlockBegan(1, ToolCall("d", "shell", ""))),
        *[Delta(0, "arguments", arguments[at : at + 7]) for at in range(0, len(arguments), 7)],
        *(Delta(1, "arguments", '{"input": "x"}'), BlockEnded(0), Finished("tool_calls"), Ended()),
    ]
    writer = DIALECT.stream_writer(ASKED)
    told = [json.loads(data) for _, data in events_of(b"".join(map(writer.write, events)))]
    deltas = [event["delta"] for event in told if event["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == PATCH
    assert len(deltas) > 5
    custom, function = told[-1]["response"]["output"]
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "apply_patch", PATCH)
    assert (function["type"], function["arguments"]) == ("function_call", '{"input": "x"}')


def test_so_is_one_of_a_whole_answer() -> None:
    call = ToolCall("c", "apply_patch", json.dumps({"input": PATCH}))
    answer = Answer(id="r", model="m", choices=[Choice([call], "tool_calls")])
    (item,) = json.loads(DIALECT.write_answer(answer, ASKED))["output"]
    assert (item["type"], item["input"]) == ("custom_tool_call", PATCH)
    (item,) = json.loads(DIALECT.write_answer(answer))["output"]
    assert item["type"] == "function_call"


def test_a_long_input_costs_as_much_a_piece_as_a_short_one() -> None:
    def seconds(lines: int) -> float:
        unwrapping = Unwrapping()
        began = time.process_time()
        unwrapping.feed('{"input": "')
        for _ in range(lines):
            unwrapping.feed("+ a line of a patch\\n")
        unwrapping.feed('"}')
        return time.process_time() - began

    short = min(seconds(2_000) for _ in range(3))
    assert seconds(20_000) < 10 * short * 2.5
