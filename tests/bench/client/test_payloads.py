"""What may be asked, and what is said of a mix that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.client import payloads
from bench.client.payloads import Entry, Target
from bench.errors import BenchError


def written(folder: Path, text: str, suffix: str) -> Path:
    path = folder / f"mix{suffix}"
    path.write_text(text)
    return path


def test_json_lines_and_yaml_say_the_same(tmp_path: Path) -> None:
    lines = written(
        tmp_path,
        '{"path": "/v1/chat/completions", "weight": 3, "body": {"model": "m", "stream": true}}\n\n'
        '{"path": "/v1/embeddings", "headers": {"x-team": "search"}, "body": "{ }"}\n',
        ".jsonl",
    )
    yaml = written(
        tmp_path,
        """\
- path: /v1/chat/completions
  weight: 3
  body: {model: m, stream: true}
- path: /v1/embeddings
  headers: {x-team: search}
  body: '{ }'
""",
        ".yaml",
    )
    assert payloads.load(lines) == payloads.load(yaml)
    assert payloads.load(lines)[1] == Entry(path="/v1/embeddings", body="{ }", headers={"x-team": "search"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "/a"}', "1: Object missing required field `body`"),
        ('\n{"path": "/a", "body": {}, "wait": 1}', "2: Object contains unknown field `wait`"),
        ('{"path": "a", "body": {}}', "1: path: Expected `str` matching regex"),
        ('{"path": "/a b", "body": {}}', "1: path: Expected `str` matching regex"),
        ('{"path": "/a", "body": {}, "weight": 0}', "1: weight: Expected `float` > 0"),
        ('{"path": "/a", "body": {}, "headers": {"a b": "c"}}', "1: headers"),
        ('{"path": "/a", "body": {}, "headers": {"a": "b\\r\\nc: d"}}', "1: headers"),
        ('{"path": "/a", "body": {}, "headers": {"Host": "b"}}', "1: headers: Host is for the bench to write"),
        ('{"path": "/a", "body": {}', "1: Input data was truncated"),
        ("", " it has no entry"),
    ],
)
def test_bad_lines_are_refused_with_file_line_and_key(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text, ".jsonl")
    with pytest.raises(BenchError) as caught:
        payloads.load(path)
    assert str(caught.value).startswith(f"{path}:{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", " a mix is a list"),
        ("- {path: /a, body: {}}\n- {path: /a, body: {}, weight: x}", " [1]: weight: Expected `float`"),
        ("[", " while parsing"),
    ],
)
def test_a_bad_list_is_refused_with_file_number_and_key(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text, ".yaml")
    with pytest.raises(BenchError) as caught:
        payloads.load(path)
    assert str(caught.value).startswith(f"{path}:{message}")


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"mix\.csv: a mix is a \.jsonl or a \.yaml file$"):
        payloads.load(written(tmp_path, "", ".csv"))
    with pytest.raises(BenchError, match=r"none\.jsonl: No such file or directory$"):
        payloads.load(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("http://127.0.0.1:8080", Target("http", "127.0.0.1", 8080, ""), "127.0.0.1:8080"),
        ("https://gateway.test/llm/", Target("https", "gateway.test", 443, "/llm"), "gateway.test"),
        ("http://[::1]:9000", Target("http", "::1", 9000, ""), "[::1]:9000"),
    ],
)
def test_an_address_is_read(url: str, target: Target, authority: str) -> None:
    assert payloads.target(url) == target
    assert target.authority == authority


@pytest.mark.parametrize(
    "url", ["gateway:8080", "ftp://a", "http://", "http://u:p@a", "http://a?b=c", "http://a:x", "http://a:99999"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BenchError, match=f"^{url.replace('?', '.')}: "):
        payloads.target(url)
