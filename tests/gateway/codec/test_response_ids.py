"""Ids of kept responses: whose they are, and where they are put into what passes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.messages import Message, Request, Text
from gateway.codec.dialects.openai_responses import DIALECT
from gateway.codec.response_ids import KeptFollows, ResponseIds, Tagging, TaggingFollows

IDS = ResponseIds(b"s" * 32)
MINE, THEIRS = "team/search", "key/k2"
PROVIDERS = ("one", "two")
TAGGING = Tagging(IDS, MINE, "one")
RAW, BEFORE = "resp_0a1B-2.c", "resp_before"
SHOWN, SHOWN_BEFORE = (IDS.shown(each, MINE, "one") for each in (RAW, BEFORE))
REQUEST = Request(model="m", messages=[Message("user", [Text("Hello")])])


@given(st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True))
def test_an_id_is_read_by_its_owner_alone(name: str) -> None:
    shown = IDS.shown(name, MINE, "two")
    assert IDS.taken(shown, MINE, PROVIDERS) == (name, "two")
    assert IDS.taken(shown, THEIRS, PROVIDERS) is None
    assert IDS.taken(shown, MINE, ("one",)) is None, "its provider is gone"
    assert ResponseIds(b"t" * 32).taken(shown, MINE, PROVIDERS) is None
    assert IDS.taken(name, MINE, PROVIDERS) is None


@given(st.text(max_size=60), st.integers(0, 60), st.characters())
def test_what_was_changed_is_nobodys(text: str, at: int, other: str) -> None:
    assert IDS.taken(text, MINE, PROVIDERS) is None
    changed = SHOWN[: at % len(SHOWN)] + other + SHOWN[at % len(SHOWN) + 1 :]
    assert changed == SHOWN or IDS.taken(changed, MINE, PROVIDERS) is None


@pytest.mark.parametrize("name", ["a/b", "a b", 'a"b', "a\\b", "é", "", "a" * 257])
def test_an_id_that_is_not_plain_is_never_asked_for(name: str) -> None:
    assert IDS.taken(IDS.shown(name, MINE, "one"), MINE, PROVIDERS) is None


def response(status: str = "completed") -> dict[str, Any]:
    text = f'Say "{RAW}", "id": "{RAW}" and "previous_response_id": "{BEFORE}".'
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    item = {"type": "message", "id": f"msg_{RAW}", "role": "assistant", "status": "completed", "content": content}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    made = {
        "id": RAW,
        "object": "response",
        "created_at": 1,
        "model": "x",
        "status": status,
        "output": [item],
        "usage": usage,
    }
    return {**made, "previous_response_id": BEFORE, "x_unknown": {"response_id": RAW}}


def expected() -> dict[str, Any]:
    return {**response(), "id": SHOWN, "previous_response_id": SHOWN_BEFORE, "x_unknown": {"response_id": SHOWN}}


@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_is_told_with_the_owners_ids_and_nothing_else_is_changed(indent: int | None) -> None:
    body = json.dumps(response(), indent=indent).encode()
    whole = TaggingFollows(DIALECT, REQUEST, TAGGING).answer(body)
    assert json.loads(whole.body) == expected()
    assert whole.usage is not None and (whole.usage.input, whole.usage.output) == (3, 2)
    kept = KeptFollows(DIALECT, TAGGING, RAW).answer(body)
    assert json.loads(kept.body) == expected()
    assert kept.usage is not None and (kept.usage.input, kept.usage.output) == (0, 0)


def test_what_earlier_response_there_is_none_of_stays_null() -> None:
    body = json.dumps({**response(), "previous_response_id": None}).encode()
    assert json.loads(TAGGING.tagged(body, TAGGING.edit(RAW)))["previous_response_id"] is None


EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {**response("in_progress"), "output": []}},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []},
    },
    {
        "type": "response.output_text.delta",
        "output_index": 0,
        "item_id": "msg_1",
        "content_index": 0,
        "delta": f'"{RAW}"',
    },
    {"type": "response.completed", "response": response()},
]
STREAM = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in EVENTS).encode()


@given(st.sets(st.integers(1, len(STREAM) - 1), max_size=40))
def test_a_stream_is_told_so_however_it_is_cut(cuts: set[int]) -> None:
    for follows, tokens in (
        (TaggingFollows(DIALECT, REQUEST, TAGGING), 2),
        (KeptFollows(DIALECT, TAGGING, RAW), None),
    ):
        scanner = follows.scanner()
        places = [0, *sorted(cuts), len(STREAM)]
        out = b"".join(scanner.feed(STREAM[a:b]) for a, b in pairwise(places))
        told = [json.loads(line[6:]) for line in out.decode().splitlines() if line.startswith("data: ")]
        assert told[0]["response"]["id"] == SHOWN and told[2]["delta"] == f'"{RAW}"', "a text is the model's own"
        assert told[3]["response"] == expected()
        assert scanner.terminal and (scanner.told.output if scanner.told is not None else None) == tokens
