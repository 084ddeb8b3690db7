"""The native readers of chat completions, against the dialect's own: what they answer is what it would."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.chat import Reading, read_answer, read_request
from _fastpath.jsonscan import ScanError
from gateway.base.errors import GatewayError
from gateway.codec.dialects import openai

FIELDS = (
    "model",
    "model_start",
    "model_end",
    "close",
    "stream",
    "include_usage",
    "options_start",
    "options_end",
    "texts",
    "fixed_tokens",
    "max_output_tokens",
    "choices",
)


def facts(reading: Reading) -> tuple[Any, ...]:
    return tuple(getattr(reading, name) for name in FIELDS)


def agrees(body: bytes) -> bool:
    """Whether the native reader read the body; it must then agree with the other."""
    try:
        ours = read_request(body, openai.MAX_DEPTH)
    except ScanError:
        with pytest.raises(GatewayError):
            openai._read_any_chat(body)
        return False
    if ours is None:
        return False
    assert facts(ours) == facts(openai._read_any_chat(body))
    return True


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


READ = {
    "usual": chat(),
    "nothing but the model": b'{"model":"m"}',
    "no messages": chat(messages=[]),
    "stream": chat(stream=True),
    "no stream": chat(stream=False),
    "null everywhere": chat(
        stream=None, n=None, max_tokens=None, max_completion_tokens=None, tools=None, stream_options=None
    ),
    "bounds": chat(max_tokens=5, max_completion_tokens=7, n=3),
    "escapes in a text": chat(messages=[{"role": "user", "content": 'a"b\\c\n\t\u00e9\U0001f600'}]),
    "escaped as ASCII": b'{"model":"m","messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00\\/"}]}',
    "UTF-8": '{"model":"mö","messages":[{"role":"user","content":"日本語"}]}'.encode(),
    "null content": chat(messages=[{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]),
    "tools": chat(tools=[{"type": "function"}], response_format={"type": "json_object"}, functions=[]),
    "unknown fields": chat(temperature=-1.5e-3, logit_bias={"1": [None, True]}, messages=[{"role": "u", "x": {}}]),
    "white space": b' {\r\n\t"model" : "m" , "messages" : [ { "role" : "user" , "content" : "x" } , {"role":"a"} ] } \n',
}
NOT_READ = {
    "parts": chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}]),
    "a name": chat(messages=[{"role": "user", "content": "x", "name": "n"}]),
    "options": chat(stream_options={"include_usage": True}),
    "an escaped model": b'{"model":"\\u006d"}',
    "an escaped key": b'{"model":"m","messages":[{"r\\u006fle":"user"}]}',
    "no model": b'{"messages":[]}',
    "an empty model": b'{"model":""}',
    "no role": chat(messages=[{"content": "x"}]),
    "a role twice": b'{"model":"m","messages":[{"role":"a","role":"b"}]}',
    "a content twice": b'{"model":"m","messages":[{"role":"a","content":"x","content":"y"}]}',
    "a lone surrogate": b'{"model":"m","messages":[{"role":"a","content":"\\ud800"}]}',
    "a number as text": chat(max_tokens="5"),
    "a fraction": chat(max_tokens=5.5),
    "too few": chat(n=0),
    "too many": chat(n=129),
    "messages that are none": chat(messages={}),
    "a message that is none": chat(messages=[1]),
    "stream that is none": chat(stream=1),
    "a leading zero": b'{"model":"m","max_tokens":05}',
    "a bare word": b'{"model":"m","x":nope}',
    "a trailing comma": b'{"model":"m","x":[1,]}',
    "a comma in an object": b'{"model":"m","x":{"a":1,}}',
    "a bad escape": b'{"model":"m","x":"\\q"}',
    "a short escape": b'{"model":"m","x":"\\u12"}',
    "half a pair that nobody reads": b'{"model":"m","x":"\\ud800"}',
    "the other half": b'{"model":"m","x":["\\uDE00"]}',
    "two first halves": b'{"model":"m","x":"\\ud83d\\ud83d"}',
    "half a pair and a letter": b'{"model":"m","messages":[{"role":"\\ud83d\\u0041"}]}',
    "half a pair and nothing": b'{"model":"m","x":"\\ud83d\\u"}',
    "half a pair in a key": b'{"model":"m","m\\ud800s":{}}',
    "a key with escapes": b'{"model":"m","\\u0078":1}',
    "no colon": b'{"model":"m","x":{"a" 1}}',
    "no exponent": b'{"model":"m","x":1e}',
    "no fraction": b'{"model":"m","x":1.}',
    "a lone minus": b'{"model":"m","x":-}',
}


@pytest.mark.parametrize("name", READ)
def test_a_usual_request_is_read_natively_and_alike(name: str) -> None:
    assert agrees(READ[name])


@pytest.mark.parametrize("name", NOT_READ)
def test_an_unusual_request_is_left_to_the_dialect(name: str) -> None:
    assert read_request(NOT_READ[name], openai.MAX_DEPTH) is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1,"a":2}', b'{"a":"\xff"}', b'{"a":' + b"[" * 200, b"{"])
def test_what_two_readers_could_take_differently_is_refused(body: bytes) -> None:
    with pytest.raises(ScanError):
        read_request(body, openai.MAX_DEPTH)


_leaf = st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats(allow_nan=False) | st.text(max_size=8)
_value = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
_text = st.text(st.characters(codec="utf-8"), max_size=40)
_message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system"]) | _text},
    optional={
        "content": _text | st.none() | _value,
        "name": _text,
        "tool_calls": st.none() | st.lists(_value, max_size=2),
        "other": _value,
    },
)
_request = st.fixed_dictionaries(
    {"model": _text},
    optional={
        "messages": st.lists(_message, max_size=4) | _value,
        "stream": st.booleans() | st.none() | _value,
        "n": st.integers(0, 200) | st.none(),
        "max_tokens": st.integers(-1, 10**9) | st.none() | _value,
        "max_completion_tokens": st.integers(-1, 10**9) | st.none(),
        "tools": st.lists(_value, max_size=2) | st.none(),
        "stream_options": st.none() | _value,
        "temperature": _value,
    },
)


@given(_request, st.booleans(), st.sampled_from([None, 1]))
def test_any_request_that_is_read_natively_is_read_alike(body: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(body, ensure_ascii=ascii_only, indent=indent)
    agrees(text.encode("utf-8", "surrogatepass"))


@given(st.sampled_from(sorted(READ)), st.data())
def test_a_damaged_request_is_never_read_where_the_dialect_refuses_it(name: str, data: st.DataObject) -> None:
    body = bytearray(READ[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        if not body:
            break
    agrees(bytes(body))


# -- answers


ANSWER = {
    "id": "x",
    "choices": [
        {"index": 0, "message": {"content": "x"}, "finish_reason": "length"},
        {"index": 1, "message": {"content": "}{]["}, "logprobs": {"content": [{"top": [{}]}]}, "finish_reason": "stop"},
    ],
    "usage": {
        "prompt_tokens": 9,
        "completion_tokens": 7,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1, "cache_creation_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": None, "x": []},
    },
}


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        {**ANSWER, "usage": None},
        {**ANSWER, "choices": None},
        {**ANSWER, "choices": []},
        {"usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 90}}},
        {"usage": {}},
        {},
    ],
)
def test_a_usual_answer_is_read_natively_and_alike(answer: Any) -> None:
    for text in (json.dumps(answer), json.dumps(answer, indent=2), f" {json.dumps(answer)}\n"):
        assert read_answer(text.encode()) == openai._response_usage(text.encode()) is not None


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":[{"finish_reason":"stop","finish_reason":null}]}',
        b'{"choices":[{"finish_reason":null,"finish_reason":"stop"}]}',
        b'{"usage":{"prompt_tokens":5,"prompt_tokens":null}}',
        b'{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4},"prompt_tokens_details":{}}}',
        b'{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4},"prompt_tokens_details":null}}',
    ],
)
def test_of_a_key_that_stands_twice_in_an_answer_the_last_one_counts(body: bytes) -> None:
    assert read_answer(body) == openai._response_usage(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{} x",
        b"{",
        b'{"usage":[]}',
        b'{"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":1.5}}',
        b'{"usage":{"prompt_tokens":100000001}}',
        b'{"usage":{},"usage":{"prompt_tokens":1}}',
        b'{"choices":[{"finish_reason":1}]}',
        b'{"choices":[1]}',
        b'{"choices":[],"x":"\\ud800"}',
        b'{"choices":[{"finish_reason":"\xff"}]}',
        b'{"choices":[{"finish_reason":"st\\u006fp"}]}',
        b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_an_unusual_answer_is_left_to_the_dialect(body: bytes) -> None:
    assert read_answer(body) is None


_count = st.integers(-1, 10) | st.none() | st.just(10**9) | _leaf
_usage = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": _count,
        "completion_tokens": _count,
        "prompt_tokens_details": st.none()
        | st.fixed_dictionaries({}, optional={"cached_tokens": _count, "audio_tokens": _count, "x": _value}),
        "completion_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"reasoning_tokens": _count}),
        "total_tokens": _value,
    },
)
_choice = st.fixed_dictionaries({}, optional={"finish_reason": st.none() | _text | _leaf, "message": _value})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "usage": st.none() | _usage | _value,
            "choices": st.none() | st.lists(_choice, max_size=3) | _value,
            "x": _value,
        },
    ),
    st.booleans(),
)
def test_any_answer_that_is_read_natively_is_read_alike(answer: Any, ascii_only: bool) -> None:
    body = json.dumps(answer, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    ours = read_answer(body)
    assert ours is None or ours == openai._response_usage(body)
