"""What is counted of an answer: all that was produced, whoever invented the member, however it is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.answer import AnswerCounter
from tests.fastpath.answer_oracle import COSTS_NOTHING, IN_BASE64, counted


def counter_of(*parts: bytes) -> AnswerCounter:
    counter = AnswerCounter()
    for part in parts:
        counter.feed(part)
    return counter


def findings(counter: AnswerCounter) -> tuple[int, int, Any]:
    return counter.text_bytes, counter.media_bytes, None if counter.usage is None else json.loads(counter.usage)


def answer(*messages: Any, **more: Any) -> bytes:
    return json.dumps({"id": "x", "choices": [{"index": 0, "message": m} for m in messages], **more}).encode()


CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":"b"}'}}

TABLE: list[tuple[bytes, tuple[int, int, Any]]] = [
    # a body, and what is found in it: bytes of text, of media, the usage
    (b"", (0, 0, None)),
    (b"{}", (0, 0, None)),
    (answer({"role": "assistant", "content": "abc"}), (3, 0, None)),
    (answer({"content": "abc"}, {"content": "de"}), (5, 0, None)),
    (answer({"content": None, "refusal": "no"}), (2, 0, None)),
    (answer({"tool_calls": [CALL]}), (1 + len(json.dumps('{"a":"b"}')) - 2, 0, None)),
    (answer({"function_call": {"name": "f", "arguments": "{}"}}), (3, 0, None)),
    (answer({"reasoning_content": "abc", "content": "d"}), (4, 0, None)),
    (answer({"reasoning_details": [{"type": "reasoning.text", "text": "abc", "signature": "s" * 99}]}), (3, 0, None)),
    (answer({"thinking_blocks": [{"type": "thinking", "thinking": "abc"}]}), (3, 0, None)),
    (answer({"invented_by_somebody": {"deep": ["abc", {"deeper": "de"}]}}), (5, 0, None)),
    (answer({"audio": {"id": "a", "data": "UklGRg==", "transcript": "abc", "expires_at": 1}}), (3, 8, None)),
    (answer({"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}), (0, 26, None)),
    (answer({"content": [{"type": "text", "text": "abc"}, {"type": "image_url", "image_url": "AAAA"}]}), (3, 4, None)),
    (answer({"annotations": [{"url_citation": {"url": "u", "title": "t"}}], "content": "a"}), (1, 0, None)),
    (b'{"choices":[{"text":"abc","logprobs":{"tokens":["a","bc"]}}]}', (3, 0, None)),
    (b'{"choices":[{"message":{"content":"a"},"content_filter_results":{"hate":{"severity":"safe"}}}]}', (1, 0, None)),
    (b'{"model":"m","object":"o","data":[{"embedding":[1.5,-2e3],"content":"abc"}]}', (0, 0, None)),
    # escapes count as they stand, and one of a quote or a backslash ends nothing
    (b'{"choices":[{"text":"a\\"b\\\\"}]}', (6, 0, None)),
    (b'{"choices":[{"message":{"c\\u006fntent":"abc"}}]}', (3, 0, None)),
    # white space, and an order that nobody has
    (
        b' { "usage" : {"a": [1, {"b": "}"}]} , "choices" : [ { "message" : { "content" : "abc" } } ] } ',
        (3, 0, {"a": [1, {"b": "}"}]}),
    ),
    (answer({"content": '"usage":{"x":1}'}), (len('\\"usage\\":{\\"x\\":1}'), 0, None)),
    (answer({"content": "a", "usage": {"x": 1}}), (1, 0, None)),
    (answer({"content": "a"}, usage=None), (1, 0, None)),
    (b'{"usage":{"x":1},"usage":{"x":2}}', (0, 0, {"x": 2})),
    (b'{"usage":{"x":"%b"}}' % (b"y" * 8_192), (0, 0, None)),
    (b'{"usage":{"x":1},"usage":{"x":"%b"}}' % (b"y" * 9_000), (0, 0, {"x": 1})),
    # what is too deep to be told apart counts, keys and all
    (b'{"choices":[{"message":' + b"[" * 100 + b'{"k":"abc"}' + b"]" * 100 + b"}]}", (4, 0, None)),
    # what has not ended counts as far as it has come
    (b'{"choices":[{"message":{"content":"abc', (3, 0, None)),
    (b'{"choices":[{"message":{"content":"abc\\', (4, 0, None)),
]


@pytest.mark.parametrize(("body", "found"), TABLE)
def test_all_that_was_produced_is_counted_whole_and_byte_by_byte(body: bytes, found: tuple[int, int, Any]) -> None:
    assert findings(counter_of(body)) == found
    assert findings(counter_of(*(body[i : i + 1] for i in range(len(body))))) == found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 17, 4_096])
def test_a_long_answer_is_counted_however_it_is_cut(size: int) -> None:
    body = answer({"content": "word " * 5_000}, usage={"prompt_tokens": 4}, data=[0.25] * 500)
    assert findings(counter_of(*(body[i : i + size] for i in range(0, len(body), size)))) == counted(body)


KEYS = st.sampled_from(
    [
        *COSTS_NOTHING,
        *IN_BASE64,
        "content",
        "text",
        "transcript",
        "tool_calls",
        "choices",
        "usage",
        "message",
        "delta",
        "data",
        "x",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(
    choices=st.lists(st.dictionaries(KEYS, VALUES, max_size=3) | VALUES, max_size=3),
    more=st.dictionaries(KEYS.filter(lambda key: key not in ("choices", "usage")), VALUES, max_size=2),
    usage=st.none() | st.dictionaries(KEYS, VALUES, max_size=2),
    ascii_only=st.booleans(),
    cut=st.integers(0, 400),
)
def test_any_answer_is_counted_as_the_oracle_does(
    choices: list[Any], more: dict[str, Any], usage: Any, ascii_only: bool, cut: int
) -> None:
    choices = [choice for choice in choices if not isinstance(choice, list)]  # a list of choices in one is nobody's
    body = json.dumps({"choices": choices, **more, "usage": usage}, ensure_ascii=ascii_only).encode()
    assert findings(counter_of(body)) == counted(body)
    assert findings(counter_of(body[:cut], body[cut:])) == counted(body)


@settings(deadline=None)
@given(
    body=st.binary(max_size=300) | st.text('{}[]",:\\ausage1 choices', max_size=300).map(str.encode),
    cut=st.integers(0, 300),
)
def test_whatever_comes_is_bounded_by_what_came_and_by_nothing_else(body: bytes, cut: int) -> None:
    whole, parts = counter_of(body), counter_of(body[:cut], body[cut:])
    found = (whole.text_bytes, whole.media_bytes, whole.usage)
    assert found == (parts.text_bytes, parts.media_bytes, parts.usage)
    assert 0 <= whole.text_bytes + whole.media_bytes <= len(body)


def test_the_empty_part_and_no_bytes() -> None:
    counter = counter_of(b'{"choices":[{"text":"a', b"", b'b"}]}')
    assert counter.text_bytes == 2
    with pytest.raises(TypeError):
        counter.feed(None)  # type: ignore[arg-type]
