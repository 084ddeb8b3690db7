"""OpenAI's dialect: what governs is read once, what is spliced changes its own span alone, and usage is believed within bounds."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.chat import MAX_IMAGES
from _fastpath.usage import Usage
from gateway.base.errors import CATALOGUE, INVALID_VALUE, GatewayError
from gateway.base.image_tokens import Image
from gateway.codec.dialects.openai_chat.errors import provider_message, render_error, render_error_event
from gateway.codec.dialects.openai_chat.native import (
    read_chat,
    read_completion,
    read_embedding,
    response_usage,
    splice,
)
from gateway.codec.dialects.openai_chat.usage import usage_of

# -- reading


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [], **fields}).encode()


PICTURE = "data:image/gif;base64," + base64.b64encode(b"GIF89a\x80\x02\xe0\x01\xf7\0\0").decode()
"""Of 640 x 480, as much of it as says so."""
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CHATS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "least": (
        b'{"model":"m"}',
        {
            "model": "m",
            "stream": False,
            "include_usage": False,
            "choices": 1,
            "max_output_tokens": -1,
            "texts": [],
            "fixed_tokens": 3,
        },
    ),
    "text": (chat(messages=[{"role": "user", "content": "a b"}]), {"texts": [b"a b"], "fixed_tokens": 3 + 4}),
    "parts": (
        chat(
            messages=[
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio", "input_audio": {}}]}
            ]
        ),
        {"texts": [b"a"], "fixed_tokens": 7 + 765},
    ),
    "images": (
        chat(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "u"}},
                        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
                        {"type": "image_url", "image_url": {"detail": "high", "url": PICTURE}},
                        {"type": "image_url", "image_url": PICTURE},
                        {"type": "image_url", "image_url": {}},
                        {"type": "image_url", "image_url": None},
                    ],
                }
            ]
        ),
        {
            "fixed_tokens": 7,
            "images": [
                Image(None),
                Image((640, 480), low=True),
                Image((640, 480)),
                Image((640, 480)),
                Image(None),
            ],
        },
    ),
    "an image, and a key in an unusual spelling": (
        b'{"model":"m","mess\\u0061ges":[{"role":"a","content":[{"image_url":"%b"}]}]}' % PICTURE.encode(),
        {"images": [Image((640, 480))]},
    ),
    "more images than are looked at": (
        chat(messages=[{"role": "user", "content": [{"image_url": {"url": "u"}}] * (MAX_IMAGES + 3)}]),
        {"images": [Image(None)] * MAX_IMAGES, "more_images": 3},
    ),
    "name": (chat(messages=[{"role": "user", "content": None, "name": "ann"}]), {"texts": [b"ann"], "fixed_tokens": 8}),
    "calls": (chat(messages=[{"role": "assistant", "tool_calls": [{"id": "1"}]}]), {"texts": [b'[{"id": "1"}]']}),
    "no-calls": (chat(messages=[{"role": "assistant", "tool_calls": None}]), {"texts": []}),
    "tools": (chat(tools=[TOOL]), {"texts": [json.dumps([TOOL]).encode()]}),
    "functions": (chat(functions=[{"name": "f"}]), {"texts": [b'[{"name": "f"}]']}),
    "format": (chat(response_format={"type": "json_object"}), {"texts": [b'{"type": "json_object"}']}),
    "nulls": (
        chat(
            tools=None, functions=None, response_format=None, stream=None, n=None, max_tokens=None, stream_options=None
        ),
        {"texts": [], "choices": 1, "stream": False},
    ),
    "several things in one part": (
        chat(
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "", "image_url": {"url": "u"}},
                        {"type": "text", "text": "a", "image_url": "u", "file": {"file_data": "x" * 5_000}},
                        {"type": "input_audio", "text": "", "input_audio": {"data": "x" * 51_200}},
                        {"type": "input_audio", "input_audio": {"data": "x" * 512_000}},
                        {"type": "text", "text": ""},
                    ],
                }
            ]
        ),
        {"texts": [b"a"], "fixed_tokens": 7 + 9 + 100 + 1_000, "images": [Image(None), Image(None)]},
    ),
    "n": (chat(n=3), {"choices": 3}),
    "best-of": (chat(n=3, best_of=7), {"choices": 7}),
    "the larger bound": (chat(max_completion_tokens=1, max_tokens=90_000), {"max_output_tokens": 90_000}),
    "the larger bound, escaped": (
        b'{"model":"m","best\\u005fof":5,"max_completion_tokens":1,"max\\u005ftokens":90000,"messages":[{"role":"a","content":"x"}]}',
        {"max_output_tokens": 90_000, "choices": 5, "fixed_tokens": 7, "texts": [b"x"]},
    ),
    "llama.cpp's bound": (chat(max_tokens=1, n_predict=90_000), {"max_output_tokens": 90_000}),
    "llama.cpp's lack of one": (chat(max_tokens=1, n_predict=-1), {"max_output_tokens": -1}),
    "max-tokens": (chat(max_tokens=5), {"max_output_tokens": 5}),
    "max-completion-tokens": (chat(max_completion_tokens=7, max_tokens=5), {"max_output_tokens": 7}),
    "stream": (chat(stream=True), {"stream": True, "include_usage": False}),
    "stream-usage": (
        chat(stream=True, stream_options={"include_usage": True}),
        {"stream": True, "include_usage": True},
    ),
    "escaped": (b'{"mod\\u0065l":"\\u006d","str\\u0065am":true}', {"model": "m", "stream": True}),
    "unknown": (chat(unknown={"model": "other"}, service_tier="flex"), {"model": "m"}),
}


@pytest.mark.parametrize("name", CHATS)
def test_reads_what_governs_a_chat(name: str) -> None:
    body, expected = CHATS[name]
    reading = read_chat(body)
    assert {field: getattr(reading, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": "a"}, {"texts": [b"a"], "choices": 1, "fixed_tokens": 0}),
        ({"prompt": ["a", "b"], "n": 2}, {"texts": [b"a", b"b"], "choices": 4}),
        ({"prompt": "a", "n": 2, "best_of": 5}, {"choices": 5}),
        ({"prompt": [1, 2, 3]}, {"texts": [], "fixed_tokens": 3, "choices": 1}),
        ({"prompt": [[1, 2], [3]]}, {"fixed_tokens": 3, "choices": 2}),
        ({"prompt": None}, {"texts": [], "choices": 1}),
        ({"prompt": "a", "suffix": "z", "max_tokens": 9}, {"texts": [b"a", b"z"], "max_output_tokens": 9}),
    ],
)
def test_reads_what_governs_a_completion(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    reading = read_completion(json.dumps({"model": "m", **fields}).encode())
    assert {field: getattr(reading, field) for field in expected} == expected


@pytest.mark.parametrize(
    ("given_", "texts", "tokens"),
    [("a", [b"a"], 0), (["a", "b"], [b"a", b"b"], 0), ([1, 2], [], 2), ([[1], [2, 3]], [], 3)],
)
def test_reads_what_governs_an_embedding(given_: Any, texts: list[bytes], tokens: int) -> None:
    reading = read_embedding(json.dumps({"model": "m", "input": given_}).encode())
    assert (reading.texts, reading.fixed_tokens, reading.max_output_tokens) == (texts, tokens, 0)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"null", "invalid_json", None),
        (b'{"model":"m"', "invalid_json", None),
        (b'{"model":"m","x":[1,]}', "invalid_json", None),
        (b'{"model":"m","x":"\xff"}', "invalid_json", None),
        (b'\xef\xbb\xbf{"model":"m"}', "invalid_json", None),
        (b'{"model":"m","model":"m"}', "duplicate_key", "model"),
        (b'{"model":"m","x":1,"\\u0078":2}', "duplicate_key", "x"),
        (b'{"model":"m","x":' + b"[" * 100 + b"]" * 100 + b"}", "json_too_deep", None),
        (b"{}", "missing_model", "model"),
        (b'{"model":""}', "missing_model", "model"),
        (b'{"model":null}', "invalid_value", "model"),
        (b'{"model":["m"]}', "invalid_value", "model"),
        (chat(messages="x"), "invalid_value", "messages"),
        (chat(messages=[{"content": "x"}]), "invalid_value", "messages[0]"),
        (chat(messages=[{"role": "user", "content": {"a": 1}}]), "invalid_value", "messages[0].content"),
        (chat(n=0), "invalid_value", "n"),
        (chat(best_of=129), "invalid_value", "best_of"),
        (b'{"model":"m","x":[' + b"1," * 2_100_000 + b"1]}", "invalid_value", None),
        (chat(max_tokens=1.0), "invalid_value", "max_tokens"),
        (chat(n=1.5), "invalid_value", "n"),
        (chat(max_tokens=10**9), "invalid_value", "max_tokens"),
        (chat(stream=1), "invalid_value", "stream"),
        (chat(stream_options=[]), "invalid_value", "stream_options"),
        (chat(stream_options={"include_usage": "yes"}), "invalid_value", "stream_options.include_usage"),
    ],
)
def test_refuses_what_two_readers_could_take_differently(body: bytes, code: str, param: str | None) -> None:
    with pytest.raises(GatewayError) as caught:
        read_chat(body)
    assert (caught.value.fault.code, caught.value.param) == (code, param)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
governed = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "tools",
    "functions",
    "response_format",
    "best_of",
    "n_predict",
    "service_tier",
    "prompt",
    "input",
    "suffix",
    "dimensions",
}
layouts = st.sampled_from([(",", ":"), (" , ", " :\t"), (",\n  ", ": ")])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A request with unknown fields of any content, in any order, laid out and escaped in any way."""
    fields = draw(
        st.dictionaries(st.text(max_size=8).filter(lambda k: k.casefold() not in governed), json_values, max_size=5)
    )
    fields["model"] = draw(st.text(min_size=1, max_size=12))
    fields["messages"] = [{"role": "user", "content": draw(st.text(max_size=20)), "x": draw(json_values)}]
    if draw(st.booleans()):
        fields["stream"] = draw(st.booleans())
    if draw(st.booleans()):
        fields["stream_options"] = draw(st.none() | st.dictionaries(st.sampled_from(["a", "b"]), json_values))
    order = draw(st.permutations(list(fields)))
    ascii_only = draw(st.booleans())
    try:
        text = json.dumps({k: fields[k] for k in order}, separators=draw(layouts), ensure_ascii=ascii_only)
        return draw(st.sampled_from(["", " ", "\n\t"])).encode() + text.encode() + draw(
            st.sampled_from([b"", b"\r\n"])
        ), fields
    except UnicodeEncodeError:  # lone surrogates cannot be sent as they are
        return json.dumps({k: fields[k] for k in order}).encode(), fields


@given(bodies(), st.text(min_size=1, max_size=12), st.booleans())
def test_splicing_changes_its_spans_alone(made: tuple[bytes, dict[str, Any]], model: str, ask_usage: bool) -> None:
    body, fields = made
    try:
        reading = read_chat(body)
    except GatewayError as error:  # surrogates that are escaped are not text
        assert error.fault.code in ("invalid_json", "invalid_value")
        assert (
            any(0xD800 <= ord(c) < 0xE000 for c in json.loads(body.decode("utf-8", "surrogatepass")).__repr__())
            or b"\\ud" in body
        )
        return
    model_json = json.dumps(model).encode()
    out = b"".join(splice(body, reading, model_json, ask_usage=ask_usage))
    expected = {**fields, "model": model}
    if ask_usage:
        expected["stream_options"] = {**(fields.get("stream_options") or {}), "include_usage": True}
    assert json.loads(out) == expected
    # Byte for byte: but for its spans, the body is what it was.
    edits = [(reading.model_start, reading.model_end, model_json)]
    if ask_usage:
        edits.append((reading.usage_start, reading.usage_end, reading.usage_text))
    for start, end, value in sorted(edits, reverse=True):
        body = body[:start] + value + body[end:]
    assert out == body


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (None, '{"include_usage":true}'),
        ("null", '{"include_usage":true}'),
        ("{}", '{"include_usage":true}'),
        ("{ }", '{ "include_usage":true}'),
        ('{"a":1}', '{"a":1,"include_usage":true}'),
        ('{"include_usage":false}', '{"include_usage":true}'),
        (
            '{"include_usage" : null , "a":[{"include_usage":false}]}',
            '{"include_usage" : true , "a":[{"include_usage":false}]}',
        ),
        ('{"a":1,"include_us\\u0061ge":false}', '{"a":1,"include_us\\u0061ge":true}'),
    ],
)
def test_usage_is_asked_for_in_place_of_what_was_said_of_it(options: str | None, asked: str) -> None:
    said = f',"stream_options":{options}' if options is not None else ""
    for read, path in ((read_chat, "messages"), (read_completion, "prompt")):
        body = f'{{"model":"m"{said},"{path}":[]}}'.encode()
        out = b"".join(splice(body, read(body), b'"m"', ask_usage=True))
        if options is None:
            assert out == f'{{"model":"m","{path}":[],"stream_options":{asked}}}'.encode()
        else:
            assert out == f'{{"model":"m","stream_options":{asked},"{path}":[]}}'.encode()


@pytest.mark.parametrize("read", [read_chat, read_completion, read_embedding])
def test_what_governs_how_usage_is_told_stands_once_on_every_endpoint(read: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        read(b'{"model":"m","stream_options":{"include_usage":false,"include_usage":true}}')
    assert (caught.value.fault.code, caught.value.param) == ("duplicate_key", "include_usage")


@pytest.mark.parametrize(("read", "param"), [(read_completion, "prompt"), (read_embedding, "input")])
@pytest.mark.parametrize("given_", [{}, 1, [None], [1.5], [["a"]], ["a"] * 2_049, [[1]] * 2_049])
def test_prompts_that_are_none_or_too_many_are_refused(read: Any, param: str, given_: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        read(json.dumps({"model": "m", param: given_}).encode())
    assert (caught.value.fault.code, caught.value.param) == ("invalid_value", param)


MEGABYTE = 1_000_000
COSTLY: dict[str, tuple[Any, bytes]] = {
    # bodies of a megabyte that once took objects for each of their values
    "tiny prompts": (read_completion, b'{"model":"m","prompt":[' + b'"a",' * (MEGABYTE // 4) + b'"a"]}'),
    "token ids": (read_embedding, b'{"model":"m","input":[' + b"12345," * (MEGABYTE // 6) + b"1]}"),
    "parts": (
        read_chat,
        b'{"model":"m","messages":[{"role":"user","content":['
        + b'{"type":"text","text":"a"},' * (MEGABYTE // 27)
        + b'{"type":"text"}]}]}',
    ),
    "options": (
        read_chat,
        b'{"model":"m","stream":true,"stream_options":{"a":[' + b"1," * (MEGABYTE // 5) + b"1]}}",
    ),
    "a text beyond the basic plane": (
        read_chat,
        '{"model":"m","messages":[{"role":"user","content":"😀'.encode() + b"word " * (MEGABYTE // 5) + b'"}]}',
    ),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_body_takes_no_more_than_a_few_times_its_own_memory(name: str) -> None:
    read, body = COSTLY[name]
    tracemalloc.start()
    try:
        reading = read(body)
        if reading.stream:
            splice(body, reading, b'"up"', ask_usage=True)
    except GatewayError as error:
        assert name == "tiny prompts" and error.param == "prompt"
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 3 * len(body)


def test_a_body_without_a_change_is_the_very_object() -> None:
    body = chat()
    (piece,) = splice(body, read_chat(body), b'"m"', ask_usage=False)
    assert piece is body


# -- responses

BOUND = 100_000_000


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, Usage(3, 2)),
        ({"prompt_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": 3, "completion_tokens": None, "prompt_tokens_details": None}, Usage(3, 0)),
        (
            {
                "prompt_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2, "cache_creation_tokens": 3},
            },
            Usage(9, 0, 4, 3, 0, 2),
        ),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 5}}, Usage(9, 0, 0, 5)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 7, "prompt_cache_miss_tokens": 2}, Usage(9, 0, 7)),
        ({"prompt_tokens": 9, "cached_tokens": 6, "prompt_tokens_details": {"cached_tokens": 5}}, Usage(9, 0, 6)),
        ({"prompt_tokens": 9, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3}, Usage(9, 0, 4, 3)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": None, "cache_read_input_tokens": 10}, Usage(9, 0, 9)),
        (
            {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 2}},
            Usage(0, 9, 0, 0, 4, 0, 2),
        ),
        ({"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(3, 0, 3)),
        ({"prompt_tokens": BOUND}, Usage(BOUND, 0)),
        ({"prompt_tokens": BOUND + 1}, None),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": "3"}, None),
        ({"completion_tokens": 10**30}, None),
        ([], None),
    ],
)
def test_usage_is_believed_within_bounds(fragment: Any, expected: Usage | None) -> None:
    text = json.dumps(fragment).encode()
    assert usage_of(text) == expected
    whole = response_usage(b'{"usage":' + text + b',"choices":[{"finish_reason":"stop"}]}')
    assert whole is not None
    assert whole[0] == expected


def test_usage_cut_in_the_middle_is_none() -> None:
    text = b'{"prompt_tokens":3,"completion_tokens":2}'
    assert [usage_of(text[:size]) for size in range(len(text))] == [None] * len(text)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"choices":[{"finish_reason":"length"}]}', (None, "length")),
        (b'{"choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}', (None, "length")),
        (b'{"choices":[]}', (None, "")),
        (b"{}", (None, "")),
        (b'{"choices":"odd"}', (None, "")),
        (b"[]", None),
        (b"", None),
        (b"<html>", None),
        (b'{"choices":"odd"', None),
        (b"[" * 5_000, None),
        (b'{"choices":[{"finish_reason":"st\xffop"}],"id":[1,"\xff"]}', (None, "st\ufffdop")),
        (b'{"choices":"\xff"}', (None, "")),
    ],
)
def test_a_whole_response_is_a_json_object_or_none(body: bytes, expected: tuple[Usage | None, str] | None) -> None:
    assert response_usage(body) == expected


# -- errors


@pytest.mark.parametrize(
    ("body", "message", "code", "param"),
    [
        (b'{"error":{"message":"m","code":"c","param":"p"}}', "m", "c", "p"),
        (b'{"error":{"message":"m","code":404,"param":[1]}}', "m", "404", None),
        (b'{"error":{"message":"na\xefve"}}', "na\ufffdve", None, None),
        (b'{"error":"m"}', "m", None, None),
        (b'{"message":"m"}', "m", None, None),
        (b'{"detail":"m"}', "m", None, None),
        (b'{"detail":[{"loc":["body"],"msg":"m"}]}', "[{'loc': ['body'], 'msg': 'm'}]", None, None),
        (b'{"error":{}}', "", None, None),
        (b"[1]", "[1]", None, None),
        (b" plain \n", "plain", None, None),
        (b"", "", None, None),
        (b"\xff", "\ufffd", None, None),
        (b"[" * 100_000, "[" * 2_000, None, None),
    ],
)
def test_a_providers_error_is_told_whatever_its_shape(
    body: bytes, message: str, code: str | None, param: str | None
) -> None:
    told = provider_message(body)
    assert (told.message, told.code, told.param) == (message, code, param)


@given(st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_a_providers_error_never_raises_and_is_bounded(body: bytes) -> None:
    assert len(provider_message(body).message) <= 2_000


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_fault_has_the_one_shape(code: str) -> None:
    fault = CATALOGUE[code]
    error = {"message": 'said "so"', "type": fault.type, "param": None, "code": code}
    assert json.loads(render_error(fault, 'said "so"')) == {"error": error}
    event = render_error_event(fault, 'said\n"so"', "p")
    assert event.startswith(b"data: {") and event.endswith(b"}\n\n") and event.count(b"\n") == 2


def test_a_providers_code_replaces_ours() -> None:
    assert json.loads(render_error(INVALID_VALUE, "m", "p", "theirs"))["error"]["code"] == "theirs"
