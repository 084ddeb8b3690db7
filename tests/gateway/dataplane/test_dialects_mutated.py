"""Whatever callers and providers say in whatever dialect, it is answered or refused: no request ends as a fault of ours.

The golden files of all dialects, damaged at one place each, go through the whole pipeline: requests to each kind of provider, answers and
streams to each kind of caller.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.base.snapshot import Model, ProviderKind, Target
from tests.support.amazon import STREAM_TYPE, raw_frame
from tests.support.goldens import cases
from tests.support.rig import PRICE, FakeExchange, Rig, response_head

GOLDENS = Path(__file__).parents[1] / "codec/dialects"
KINDS: dict[str, ProviderKind] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "bedrock": "bedrock",
}
PROVIDERS = {"openai_chat": "openai", "anthropic": "anthropic", "gemini": "gemini", "bedrock": "bedrock"}
PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{model}:{method}",
}
HELLO: dict[str, dict[str, Any]] = {
    "openai_chat": {"messages": [{"role": "user", "content": "Hello"}]},
    "openai_responses": {"input": "Hello"},
    "anthropic": {"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]},
    "gemini": {"contents": [{"parts": [{"text": "Hello"}]}]},
}
RAW = {
    "<huge>": "1e999",
    "<long>": "9" * 400,
    "<deep>": "[" * 90 + "]" * 90,
    "<deeper>": '{"a":' * 3_000 + "1" + "}" * 3_000,
}
ODD: tuple[Any, ...] = (
    *RAW,
    *(None, True, 0, -1, 1.5, 2**63, 10**30, "", "x", [], {}, [None], {"": None}, {"type": "novel"}),
    *("\ud800", "a\udc00b", {"\ud800": 1}, {"a": ["<huge>"]}, "\x00", "é🌍"),
    *("data:image/png;base64,??", "tw1.gemini.", '{"a":1e999}', '{"\\ud800":1}', '{"a":' * 3_000, "[" * 5_000),
)
DATA = re.compile(rb"(?<=data: )\{.*")
ENDS = ("respond", "end", "abort")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def damaged(rng: random.Random, value: Any) -> bytes:
    copy = json.loads(json.dumps(value))
    if found := list(places(copy)):
        *path, last = rng.choice(found)
        parent = copy
        for key in path:
            parent = parent[key]
        if rng.random() < 0.1:
            del parent[last]
        else:
            parent[last] = rng.choice(ODD)
    text = json.dumps(copy)
    for mark, raw in RAW.items():
        text = text.replace(f'"{mark}"', raw)
    return text.encode()


def damaged_text(rng: random.Random, found: re.Match[bytes]) -> bytes:
    """The same of JSON as it stands in a stream; what is none is cut."""
    try:
        return damaged(rng, json.loads(found[0]))
    except ValueError:
        return found[0][: len(found[0]) // 2]


class Field:
    """The rig, and what is asked of it."""

    def __init__(self, directory: Path) -> None:
        models = tuple(Model(name, (Target(name, "x", price=PRICE),), drop_params=("*",)) for name in KINDS)
        self.rig = Rig(directory, models=models, kinds=KINDS)

    def ask(self, dialect: str, model: str, body: bytes, stream: bool = False) -> FakeExchange:
        method = "streamGenerateContent" if stream else "generateContent"
        exchange = FakeExchange(body, PATHS[dialect].format(model=model, method=method))
        exchange.query = b"alt=sse"
        self.rig.pipeline.on_request(exchange)
        return exchange

    def hello(self, dialect: str, model: str, stream: bool) -> FakeExchange:
        named = {} if dialect == "gemini" else {"model": model, "stream": stream}
        exchange = self.ask(dialect, model, json.dumps(HELLO[dialect] | named).encode(), stream)
        assert not exchange.calls
        return exchange

    def check(self, what: object) -> None:
        crashes, records = self.rig.keeper.events, self.rig.keeper.records
        self.rig.keeper.events, self.rig.keeper.records = [], []
        assert not crashes, (what, crashes)
        assert len(records) == 1 and self.rig.in_flight == 0
        self.rig.keeper.lines.clear()
        for pool in self.rig.pools.values():
            pool.made.clear()


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return Field(tmp_path_factory.mktemp("rig"))


def rounds(dialect: str, kind: str, n: int) -> Iterator[tuple[random.Random, Path]]:
    pattern = "*.sse" if kind == "streams" and dialect != "bedrock" else "*.json"
    rng, files = random.Random(f"{dialect} {kind}"), cases(GOLDENS / dialect / kind, pattern)
    for _ in range(n):
        yield rng, rng.choice(files)


def requests(field: Field, dialect: str, n: int) -> None:
    for rng, path in rounds(dialect, "requests", n):
        body, model = json.loads(path.read_text())["body"], rng.choice(list(KINDS))
        if isinstance(body, dict) and dialect != "gemini":
            body["model"] = model
        raw = damaged(rng, body)
        exchange = field.ask(dialect, model, raw, rng.random() < 0.5)
        if not exchange.calls:
            assert exchange.on_disconnect is not None
            exchange.on_disconnect()
        field.check((path.name, model, raw[:2_000]))


def answers(field: Field, dialect: str, n: int) -> None:
    for rng, path in rounds(dialect, "answers", n):
        caller, raw = rng.choice(list(PATHS)), damaged(rng, json.loads(path.read_text())["body"])
        exchange = field.hello(caller, PROVIDERS[dialect], stream=False)
        field.rig.sink(PROVIDERS[dialect]).on_response(response_head(), raw)
        assert json.loads(exchange.sent) is not None
        field.check((path.name, caller, raw[:2_000]))


def events_of(rng: random.Random, dialect: str, path: Path) -> tuple[list[bytes], int]:
    """The events of a golden stream as they are sent, and which of them is damaged."""
    if dialect == "bedrock":
        told = json.loads(path.read_text())["frames"]
        at = rng.randrange(len(told))
        frames = [(name, json.dumps(payload).encode()) for name, payload in told]
        frames[at] = (told[at][0], damaged(rng, told[at][1]))
        return [raw_frame(*each) for each in frames], at
    events = [each for each in re.split(rb"(?<=\n\n)", path.read_bytes()) if each.strip()]
    at = rng.randrange(len(events)) if events else 0
    if events:
        events[at] = DATA.sub(partial(damaged_text, rng), events[at])
    return events, at


def streams(field: Field, dialect: str, n: int) -> None:
    """The sink is told what is raised, as a connection does it."""
    for rng, path in rounds(dialect, "streams", n):
        events, at = events_of(rng, dialect, path)
        if events and rng.random() < 0.3:
            moved = events.pop(at)
            events.insert(rng.randint(0, len(events)), moved)
        caller, provider = rng.choice(list(PATHS)), PROVIDERS[dialect]
        exchange = field.hello(caller, provider, stream=True)
        sink = field.rig.sink(provider)
        try:
            sink.on_head(response_head(200, STREAM_TYPE if dialect == "bedrock" else "text/event-stream"), True)
            for event in [*events, b""]:
                if exchange.names[-1] not in ENDS:
                    sink.on_data(event, event == b"")
        except Exception as error:
            sink.on_crash(error)
        assert exchange.names[-1] in ENDS
        field.check((path.name, caller, b"".join(events)[-2_000:]))


@pytest.mark.parametrize("dialect", PATHS)
def test_damaged_requests_are_answered_or_refused(field: Field, dialect: str) -> None:
    requests(field, dialect, 600)


@pytest.mark.parametrize("dialect", PROVIDERS)
def test_damaged_answers_are_passed_on_or_told_as_such(field: Field, dialect: str) -> None:
    answers(field, dialect, 400)


@pytest.mark.parametrize("dialect", PROVIDERS)
def test_damaged_streams_come_to_an_end(field: Field, dialect: str) -> None:
    streams(field, dialect, 400)


@pytest.mark.nightly
@pytest.mark.parametrize("dialect", PATHS | PROVIDERS)
def test_many_damaged_bodies(field: Field, dialect: str) -> None:
    if dialect in PATHS:
        requests(field, dialect, 5_000)
    if dialect in PROVIDERS:
        answers(field, dialect, 5_000)
        streams(field, dialect, 5_000)


DELTA = b'event: x\ndata: {"type":"content_block_delta","index":"0","delta":{"type":"text_delta","text":"\\ud800"}}\n\n'
CALL = b'data: {"choices":[{"delta":{"tool_calls":[{"index":%d,"id":"%d","function":{"name":"f","arguments":"%b"}}]}}]}\n\n'


@pytest.mark.parametrize(
    ("caller", "provider", "stream"),
    [
        ("gemini", "anthropic", DELTA),  # a lone surrogate behind a wrong type
        ("gemini", "openai", CALL % (0, 0, b'{\\"a\\":' * 3_000) + CALL % (1, 1, b"")),  # deeper than a reader goes
        ("openai_chat", "openai", b'data: {"choices":[],"usage":{"a":%b%b}}\n\n' % (b"[" * 3_000, b"]" * 3_000)),
    ],
)
def test_a_stream_that_a_second_reading_finds_broken(field: Field, caller: str, provider: str, stream: bytes) -> None:
    exchange = field.hello(caller, provider, stream=True)
    sink = field.rig.sink(provider)
    sink.on_head(response_head(200, "text/event-stream"), True)
    sink.on_data(stream, True)
    assert b'"error":' in exchange.sent
    field.check(stream)


@pytest.mark.parametrize(
    ("dialect", "more"),
    [
        ("gemini", '"tools":[{"functionDeclarations":[{"name":"f","parameters":{"minimum":1e999}}]}]'),
        (
            "gemini",
            '"contents":[{"parts":[{"fileData":{"fileUri":"gs://a","mimeType":"image/png"},"mediaResolution":{"level":1e999}}]}]',
        ),
        ("openai_chat", '"tools":[{"type":"custom","custom":{"name":"f","format":{"type":"grammar","a":"\\ud800"}}}]'),
    ],
)
def test_a_request_that_a_second_reading_finds_broken(field: Field, dialect: str, more: str) -> None:
    body = {**HELLO[dialect], **json.loads(f"{{{more}}}".replace("1e999", '"<huge>"'))}
    text = json.dumps(body | ({} if dialect == "gemini" else {"model": "anthropic"})).replace('"<huge>"', "1e999")
    exchange = field.ask(dialect, "anthropic", text.encode())
    assert exchange.status == 400
    field.check(more)
