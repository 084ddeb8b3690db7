"""One reading of a path that is passed on, and what is found in the answers."""

from __future__ import annotations

import json
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.usage import Usage
from gateway.base.errors import GatewayError
from gateway.codec import passthrough
from gateway.codec.kinds import KINDS


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/openai/files", ("openai", "/files")),
        ("/openai/", ("openai", "/")),
        ("/openai", None),
        ("/v1/files", None),
        ("/v1beta/files", None),
        ("//files", None),
        ("*", None),
        ("/", None),
    ],
)
def test_the_first_segment_names_the_provider(path: str, found: tuple[str, str] | None) -> None:
    assert passthrough.split(path) == found


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/files", "/files"),
        ("/v1/files", "/files"),
        ("/v1", "/v1"),
        ("/v11/files", "/v11/files"),
        ("/files/file-1/content", "/files/file-1/content"),
        ("/models/gemini-3:generateContent", "/models/gemini-3:generateContent"),
        ("/files/", "/files/"),
        ("/files/a%20b%40c", "/files/a%20b%40c"),
        ("/files/..a", "/files/..a"),
        ("/", "/"),
    ],
)
def test_a_path_goes_on_as_it_came_behind_the_base_url(path: str, sent: str) -> None:
    assert passthrough.checked_path(path, "/v1") == sent


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/../admin",
        "/files/../../admin",
        "/files/./x",
        "/files/..;/x",
        "/files//x",
        "//evil.example/x",
        "/http://evil.example/",
        "/user@evil.example/",
        "/%2e%2e/admin",
        "/%2E%2E/admin",
        "/files%2Fx",
        "/files%5Cx",
        "/files\\x",
        "/files/%252e",
        "/files/%00",
        "/files/%0D%0A",
        "/files/%7F",
        "/%66iles",
        "/files/%2f",
        "/files/%",
        "/files/%A",
        "/files/%aa",
        "/files\x00",
        "/files\r\nx",
        "/files x",
        "/files\x7f",
        "/files\xe9",
        "/files#x",
        "/files?x",
        '/files"x',
        "files",
        "",
    ],
)
def test_a_path_that_has_two_readings_is_refused(path: str) -> None:
    with pytest.raises(GatewayError) as refused:
        passthrough.checked_path(path, "/v1")
    assert refused.value.status == 400 and refused.value.param == "path"


@given(st.text(st.sampled_from("ab./%25eEfF2A@;\\:\r\n\x00é~"), max_size=20))
def test_what_passes_stays_below_the_base_url_however_often_it_is_decoded(text: str) -> None:
    try:
        path = passthrough.checked_path(f"/{text}", "")
    except GatewayError:
        return
    assert path == f"/{text}"
    decoded = path.encode()
    for _ in range(3):
        decoded = unquote_to_bytes(decoded)
        assert b"//" not in decoded and b"\\" not in decoded and not any(byte < 0x20 for byte in decoded)
        assert not {b".", b".."} & set(decoded.split(b"/"))
        assert decoded.count(b"/") == path.count("/")


@pytest.mark.parametrize(
    ("query", "kind", "param"),
    [
        (b"limit=2&after=file-1", "openai", None),
        (b"key=a-name", "openai", None),
        (b"purpose=%C3%A9", "openai", None),
        (b"key=AIza", "gemini", "key"),
        (b"a=1&%6Bey=AIza", "gemini", "key"),
        (b"a=1;KEY=AIza", "gemini", "key"),
        (b"access_token=x", "openai", "access_token"),
        (b"API-KEY=x", "azure", "api-key"),
        (b"a b", "openai", "query"),
        (b"a=\r\nx", "openai", "query"),
        (b"a#b", "openai", "query"),
        (b"a=\xe9", "openai", "query"),
    ],
)
def test_a_query_with_a_credential_is_refused(query: bytes, kind: str, param: str | None) -> None:
    if param is None:
        passthrough.check_query(query, KINDS[kind])  # type: ignore[index]
        return
    with pytest.raises(GatewayError) as refused:
        passthrough.check_query(query, KINDS[kind])  # type: ignore[index]
    assert (refused.value.status, refused.value.param) == (400, param)


@pytest.mark.parametrize(
    ("kind", "body", "usage", "model"),
    [
        ("openai", {"model": "g", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Usage(3, 4), "g"),
        ("openai", {"model": "e", "usage": {"prompt_tokens": 3, "total_tokens": 3}}, Usage(3, 0), "e"),
        (
            "openai",
            {"object": "response", "model": "g", "usage": {"input_tokens": 5, "output_tokens": 6}},
            Usage(5, 6),
            "g",
        ),
        ("openai", {"created": 1, "usage": {"input_tokens": 5, "output_tokens": 6}}, Usage(5, 6), ""),
        ("openai", {"id": "file-1", "object": "file"}, None, ""),
        ("openai", {"model": "g", "usage": {"prompt_tokens": -3}}, None, "g"),
        ("openai", {"model": "g", "usage": "much"}, None, "g"),
        ("openai", [], None, ""),
        (
            "anthropic",
            {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "c",
                "content": [],
                "usage": {"input_tokens": 2, "output_tokens": 1},
            },
            Usage(2, 1),
            "c",
        ),
        ("anthropic", {"data": []}, None, ""),
        (
            "gemini",
            {
                "candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2},
                "modelVersion": "x",
            },
            Usage(7, 2),
            "x",
        ),
    ],
)
def test_what_an_answer_used_is_found_where_its_dialect_tells_it(
    kind: str, body: object, usage: Usage | None, model: str
) -> None:
    reader = passthrough.reader_of(KINDS[kind], "/x", b"Application/JSON; charset=utf-8")  # type: ignore[index]
    assert reader is not None
    data = json.dumps(body).encode()
    for at in range(0, len(data), 7):
        reader.feed(data[at : at + 7])
    told = reader.told(complete=True)
    assert (told.usage, told.model) == (usage, model)
    assert reader.told(complete=False).usage is None, "a part of an answer is no answer"


def test_of_a_long_answer_nothing_is_kept() -> None:
    reader = passthrough.WholeReader(KINDS["openai"].dialect)
    for _ in range(300):
        reader.feed(b" " * 1_024)
    reader.feed(b'{"usage":{"prompt_tokens":1}}')
    assert sum(map(len, reader._parts)) <= passthrough.MAX_USAGE_BYTES
    assert reader.told(complete=True).usage is None


@pytest.mark.parametrize(
    ("body", "path", "model"),
    [
        (b'{"model":"g"}', "/responses", "g"),
        (b'{"model":"g","model":"h"}', "/responses", ""),
        (b'{"model":7}', "/responses", ""),
        (b"{", "/responses", ""),
        (b'{"a":"\xff"}', "/responses", ""),
        (b"--x\r\n", "/files", ""),
        (b"{}", "/models/gemini-3:generateContent", "gemini-3"),
        (b"{}", "/publishers/google/models/gemini-3:predict", "gemini-3"),
    ],
)
def test_the_model_that_is_asked_for_is_read_in_one_way_only(body: bytes, path: str, model: str) -> None:
    assert passthrough.model_in(body, path) == model
