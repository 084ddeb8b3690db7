"""The native readers of chat completions, against the dialect's own: what they answer is what it would."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.chat import (
    NEEDS_AUDIO,
    NEEDS_IMAGE,
    NEEDS_JSON_SCHEMA,
    NEEDS_PDF,
    NEEDS_TOOLS,
    NEEDS_VIDEO,
    Reading,
    read_answer,
    read_declared,
    read_part_of,
    read_prompt,
    read_request,
)
from _fastpath.jsonscan import ScanError
from gateway.base.errors import GatewayError
from gateway.codec.dialects.openai_chat import native
from gateway.codec.faults import MAX_DEPTH

FIELDS = (
    "model",
    "model_start",
    "model_end",
    "close",
    "stream",
    "include_usage",
    "usage_start",
    "usage_end",
    "usage_text",
    "texts",
    "fixed_tokens",
    "max_output_tokens",
    "choices",
    "needs",
)


def facts(reading: Reading) -> tuple[Any, ...]:
    return tuple(getattr(reading, name) for name in FIELDS)


def agrees(body: bytes) -> bool:
    """Whether the native reader read the body; it must then agree with the other."""
    try:
        ours = read_request(body, MAX_DEPTH)
    except ScanError:
        with pytest.raises(GatewayError):
            native._read_any_chat(body)
        return False
    if ours is None:
        return False
    assert facts(ours) == facts(native._read_any_chat(body))
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
    "parts": chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, {"image_url": {"url": "u"}}]}]),
    "no parts": chat(messages=[{"role": "user", "content": []}, {"role": "user", "content": [{}]}]),
    "a name": chat(messages=[{"role": "user", "content": "x", "name": "n"}]),
    "no name": chat(messages=[{"role": "user", "content": "x", "name": None}]),
    "a call": chat(messages=[{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}]),
    "options": chat(stream_options={"include_usage": True}),
    "other options": chat(stream_options={"x": [1, {"include_usage": 1}], "include_usage": False, "y": None}),
    "no options": chat(stream_options={}),
    "several bounds": chat(max_tokens=9, max_completion_tokens=1, n_predict=5, n=2, best_of=4),
    "an escaped model": b'{"model":"\\u006d\\ud83d\\ude00"}',
    "an escaped key": b'{"model":"m","messages":[{"r\\u006fle":"user","c\\u006fntent":[{"t\\u0065xt":"a","image\\u005furl":"u"}]}]}',
    "a long key with escapes": b'{"model":"m","messages":[{"role":"user","\\u0078%b":"c"}]}' % (b"x" * 200),
    "white space": b' {\r\n\t"model" : "m" , "messages" : [ { "role" : "user" , "content" : "x" } , {"role":"a"} ] } \n',
}
NOT_READ = {
    "no model": b'{"messages":[]}',
    "an empty model": b'{"model":""}',
    "parts that are none": chat(messages=[{"role": "user", "content": ["x"]}]),
    "a part's text that is none": chat(messages=[{"role": "user", "content": [{"text": 1}]}]),
    "a part's type that is none": chat(messages=[{"role": "user", "content": [{"type": 1}]}]),
    "an image that is none": chat(messages=[{"role": "user", "content": [{"image_url": 1}]}]),
    "a detail that is none": chat(messages=[{"role": "user", "content": [{"image_url": {"detail": None}}]}]),
    "a name that is none": chat(messages=[{"role": "user", "name": 1}]),
    "options that are none": chat(stream_options=[]),
    "an option that is none": chat(stream_options={"include_usage": 1}),
    "no role": chat(messages=[{"content": "x"}]),
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
    "a key with escapes": b'{"model":"m","\\u0078":1,"n\\u005fpredict":7}',
    "no bound": chat(n_predict=-1),
    "no colon": b'{"model":"m","x":{"a" 1}}',
    "no exponent": b'{"model":"m","x":1e}',
    "no fraction": b'{"model":"m","x":1.}',
    "a lone minus": b'{"model":"m","x":-}',
}


TWICE = {
    # where the second member of that name stands, in which some readers take the first one and some the last
    "role": b'{"model":"m","messages":[{"role":"a","role":"b"}]}',
    "content": b'{"model":"m","messages":[{"role":"a","content":"long","content":"x"}]}',
    "name": b'{"model":"m","messages":[{"role":"a","name":null,"name":"x"}]}',
    "tool_calls": b'{"model":"m","messages":[{"role":"a","tool_calls":[],"x":1,"tool_calls":null}]}',
    "function_call": b'{"model":"m","messages":[{"role":"a","function_call":{},"function_call":{}}]}',
    "text": b'{"model":"m","messages":[{"role":"a","content":[{"text":"long","type":"text","text":""}]}]}',
    "type": b'{"model":"m","messages":[{"role":"a","content":[{"type":"text"},{"type":"text","type":"image_url"}]}]}',
    "image_url": b'{"model":"m","messages":[{"role":"a","content":[{"image_url":"u","image_url":null}]}]}',
    "detail": b'{"model":"m","messages":[{"role":"a","content":[{"image_url":{"detail":"high","detail":"low"}}]}]}',
    "url": b'{"model":"m","messages":[{"role":"a","content":[{"image_url":{"url":"u","url":"v"}}]}]}',
    "include_usage": b'{"model":"m","stream_options":{"include_usage":false,"include_usage":true}}',
}


@pytest.mark.parametrize("name", TWICE)
def test_a_member_that_governs_stands_once_however_it_is_spelt(name: str) -> None:
    for body in (
        TWICE[name],
        TWICE[name].replace(b'"%b":' % name.encode(), b'"\\u%04x%b":' % (ord(name[0]), name[1:].encode())),
    ):
        with pytest.raises(ScanError) as caught:
            read_request(body, MAX_DEPTH)
        assert (caught.value.kind, caught.value.key) == ("duplicate", name)
        key = body.index(b'"', caught.value.offset) + 1
        assert key == caught.value.offset + 1
        with pytest.raises(GatewayError, match="stands twice") as refused:
            native._read_any_chat(body)
        assert refused.value.param == name


def test_members_that_do_not_govern_may_stand_twice() -> None:
    assert agrees(
        b'{"model":"m","messages":[{"role":"a","x":1,"x":2,"content":[{"cache_control":1,"cache_control":2}]}]}'
    )
    assert agrees(b'{"model":"m","messages":[{"role":"a"},{"role":"b"}],"tools":[{"a":1,"a":2}]}')


@pytest.mark.parametrize("span", [(-1, 3), (0, 0), (3, 2), (0, 99)])
def test_a_span_that_is_none_is_a_mistake_of_the_program(span: tuple[int, int]) -> None:
    reading = Reading("m", 0, 1, 2)
    with pytest.raises(ValueError):
        read_part_of(reading, b"[]", "messages", *span)
    with pytest.raises(ValueError):
        read_prompt(reading, b"[]", *span, 9)
    with pytest.raises(ValueError):
        read_part_of(reading, b"[]", "prompt", 0, 2)


PROMPTS: list[tuple[Any, int, list[bytes], int]] = [
    # a prompt, how many it is, its texts, its tokens
    ("a", 1, [b"a"], 0),
    ("", 1, [], 0),
    (None, 1, [], 0),
    ([], 1, [], 0),
    (["a", "", "b\n\u00e9"], 3, [b"a", "b\n\u00e9".encode()], 0),
    ([1, 20, 300], 1, [], 3),
    ([0], 1, [], 1),
    ([[1, 2], [3], []], 3, [], 3),
    (["a", [1, 2], 3], 2, [b"a"], 3),
]


@pytest.mark.parametrize(("prompt", "count", "texts", "tokens"), PROMPTS)
def test_a_prompt_is_counted_without_an_object_for_each_of_its_tokens(
    prompt: Any, count: int, texts: list[bytes], tokens: int
) -> None:
    for text in (json.dumps(prompt), json.dumps(prompt, indent=1), json.dumps(prompt, ensure_ascii=False)):
        body = text.encode()
        reading = Reading("m", 0, 1, 2)
        assert read_prompt(reading, body, 0, len(body), 9) == count
        assert (reading.texts, reading.fixed_tokens) == (texts, tokens)


@pytest.mark.parametrize(
    "prompt",
    [
        b"1",
        b"{}",
        b"true",
        b"[1.5]",
        b"[-1]",
        b"[1e3]",
        b"[01]",
        b"[null]",
        b"[[[1]]]",
        b'[["a"]]',
        b"[1,]",
        b"[,1]",
        b"[1",
        b'"a',
        b'["a"',
        b"[[1,]]",
        b'"\\ud800"',
        b"[1]x",
        b'["a"]x',
        b"[]x",
        b"nul",
        b"[[1}]",
    ],
)
def test_what_is_no_prompt_is_not_read(prompt: bytes) -> None:
    assert read_prompt(Reading("m", 0, 1, 2), prompt, 0, len(prompt), 9) == -1


def test_of_too_many_prompts_no_more_are_read() -> None:
    body = b"[" + b'"a",' * 1_000 + b"!]"
    reading = Reading("m", 0, 1, 2)
    assert read_prompt(reading, body, 0, len(body), 9) == 10
    assert len(reading.texts) == 9


@pytest.mark.parametrize("name", READ)
def test_a_usual_request_is_read_natively_and_alike(name: str) -> None:
    assert agrees(READ[name])


@pytest.mark.parametrize("name", NOT_READ)
def test_an_unusual_request_is_left_to_the_dialect(name: str) -> None:
    assert read_request(NOT_READ[name], MAX_DEPTH) is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1,"a":2}', b'{"a":"\xff"}', b'{"a":' + b"[" * 200, b"{"])
def test_what_two_readers_could_take_differently_is_refused(body: bytes) -> None:
    with pytest.raises(ScanError):
        read_request(body, MAX_DEPTH)


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


_finite = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
)
MEMBERS = {
    "image_url": NEEDS_IMAGE,
    "input_audio": NEEDS_AUDIO,
    "audio_url": NEEDS_AUDIO,
    "video_url": NEEDS_VIDEO,
    "file": NEEDS_PDF,
}
_part = st.fixed_dictionaries(
    {},
    optional={
        "text": _text | st.none(),
        "image_url": _text | st.none() | st.fixed_dictionaries({"url": _text}, optional={"detail": _text}),
        **{name: _finite for name in MEMBERS if name != "image_url"},
        "x": _finite,
    },
)
_needing = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "messages": st.lists(
            st.fixed_dictionaries({"role": _text, "content": st.lists(_part, max_size=3)}), max_size=3
        ),
        "tools": st.none() | st.lists(_finite, max_size=2) | _finite,
        "functions": st.none() | st.lists(_finite, max_size=2),
        "response_format": st.none()
        | st.fixed_dictionaries(
            {}, optional={"a": _finite, "type": st.sampled_from(["json_schema", "json_object"]) | _finite, "z": _finite}
        ),
        "n": st.integers(1, 3),
        "n_predict": st.sampled_from([1, -1]),  # the second is read by the dialect
    },
)


def needed(body: dict[str, Any]) -> int:
    """As it is documented."""
    parts = [part for message in body.get("messages", ()) for part in message["content"]]
    bits = {bit for part in parts for name, bit in MEMBERS.items() if part.get(name) is not None}
    declared = [body.get("tools"), body.get("functions")]
    if any(isinstance(each, list) and each for each in declared):
        bits.add(NEEDS_TOOLS)
    if (body.get("response_format") or {}).get("type") == "json_schema":
        bits.add(NEEDS_JSON_SCHEMA)
    return sum(bits)


@given(_needing, st.booleans(), st.sampled_from([None, 1]))
def test_what_a_request_needs_is_read_from_any_that_is_well_formed(
    body: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    reading = native.read_chat(json.dumps(body, ensure_ascii=ascii_only, indent=indent).encode())
    assert reading.needs == needed(body)


def test_what_is_declared_is_json() -> None:
    for value in (b"", None):
        with pytest.raises((ValueError, TypeError)):
            read_declared(Reading("m", 0, 1, 2), value)  # type: ignore[arg-type]
    for value, needs in ((b"[ ]", 0), (b"[1", NEEDS_TOOLS), (b"{", 0), (b'{"type"', 0), (b'"x"', 0), (b"[", 0)):
        reading = Reading("m", 0, 1, 2)
        read_declared(reading, value)
        assert reading.needs == needs


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
        {"usage": {"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 5, "cached_tokens": 1}}},
        {"usage": {}},
        {},
    ],
)
def test_a_usual_answer_is_read_natively_and_alike(answer: Any) -> None:
    for text in (json.dumps(answer), json.dumps(answer, indent=2), f" {json.dumps(answer)}\n"):
        assert read_answer(text.encode()) == native._response_usage(text.encode()) is not None


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
    assert read_answer(body) == native._response_usage(body) is not None


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
    assert ours is None or ours == native._response_usage(body)
