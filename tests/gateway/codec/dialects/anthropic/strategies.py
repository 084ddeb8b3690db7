"""Canonical values at random: such as this dialect can say in full, and such as any dialect may hand over."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
from hypothesis import strategies as st

from _fastpath.usage import Usage
from gateway.base import messages as m
from gateway.base.messages import DialectName, Finish, Signature

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
TEXTS = WORDS.filter(lambda text: bool(text.strip()))
"""Empty ones are not sent."""
FINAL = TEXTS.map(str.strip)
IDS = st.text("abcXYZ019_-", min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=6), JSON, max_size=3)
RAW_OBJECTS = OBJECTS.map(lambda value: msgspec.Raw(json.dumps(value).encode()))
ARGUMENTS = OBJECTS.map(json.dumps)
MARKS = st.none() | st.builds(m.CacheMark, st.sampled_from(["", "5m", "1h"]))


def signatures(*dialects: DialectName) -> st.SearchStrategy[Signature]:
    return st.builds(Signature, st.sampled_from(dialects), st.text("abcXYZ+/=", min_size=1, max_size=12))


def opaque(*dialects: DialectName) -> st.SearchStrategy[m.Opaque]:
    def made(dialect: DialectName, kind: str, more: dict[str, Any]) -> m.Opaque:
        return m.Opaque(dialect, kind, msgspec.Raw(json.dumps({**more, "type": kind}).encode()))

    kinds = st.sampled_from(["web_search_tool_result", "server_tool_use", "hologram"])
    return st.builds(made, st.sampled_from(dialects), kinds, OBJECTS)


# -- what this dialect says in full

IMAGES = st.builds(
    m.Image,
    st.builds(m.Inline, st.sampled_from(["image/png", "image/webp"]), st.text("abcXYZ", max_size=8))
    | st.builds(m.Address, st.just("https://example.com/a.png"))
    | st.builds(m.StoredFile, IDS.map("file_".__add__)),
    cache=st.none(),
)
DOCUMENTS = st.builds(
    m.Document,
    st.builds(m.Inline, st.just("application/pdf"), st.text("abcXYZ", max_size=8))
    | st.builds(m.Address, st.just("https://example.com/a.pdf"), st.just("application/pdf")),
    st.none(),
    st.text(max_size=5),
    st.text(max_size=5),
    st.booleans(),
) | st.builds(m.Document, st.none(), TEXTS, st.text(max_size=5))
PLAIN_TEXTS = st.builds(m.Text, FINAL)
RESULTS = st.builds(
    m.ToolResult,
    IDS,
    st.lists(PLAIN_TEXTS | IMAGES | DOCUMENTS | opaque("anthropic"), min_size=1, max_size=3),
    st.booleans(),
)
CALLS = st.builds(m.ToolCall, IDS, IDS, ARGUMENTS)
THOUGHTS = st.builds(m.Thinking, WORDS, signatures("anthropic")) | st.builds(
    m.Thinking, st.just(""), signatures("anthropic"), st.just(True)
)


def _conversation(turns: list[tuple[list[Any], list[Any], list[Any]]], last: list[Any]) -> list[m.Message]:
    conversation: list[m.Message] = []
    for results, said, answered in turns:
        conversation += (m.Message("user", [*results, *said]), m.Message("assistant", answered))
    return [*conversation, m.Message("user", last)]


CONVERSATIONS = st.builds(
    _conversation,
    st.lists(
        st.tuples(
            st.lists(RESULTS, max_size=2),
            st.lists(PLAIN_TEXTS | IMAGES | DOCUMENTS, min_size=1, max_size=2),
            st.lists(PLAIN_TEXTS | CALLS | THOUGHTS | opaque("anthropic"), min_size=1, max_size=3),
        ),
        max_size=3,
    ),
    st.lists(PLAIN_TEXTS, min_size=1, max_size=2),
)

REASONING = st.sampled_from(
    [
        None,
        m.Reasoning("none"),
        m.Reasoning("low", adaptive=True),
        m.Reasoning("max", adaptive=True, shown=True),
        m.Reasoning(adaptive=True, shown=False),
    ]
)

SAYABLE = st.builds(
    m.Request,
    model=st.just("claude-opus-4-6"),
    messages=CONVERSATIONS,
    system=st.lists(PLAIN_TEXTS, max_size=2),
    stream=st.booleans(),
    max_output_tokens=st.integers(0, 100_000),
    temperature=st.none(),
    stop=st.lists(TEXTS, max_size=2),
    tools=st.lists(
        st.builds(
            m.Tool,
            IDS,
            st.text(max_size=5),
            OBJECTS.map(lambda more: msgspec.Raw(json.dumps({**more, "type": "object"}).encode())),
            st.sampled_from([None, True]),
            cache=MARKS,
        ),
        min_size=1,
        max_size=3,
    ),
    tool_choice=st.sampled_from([None, m.ToolChoice("auto"), m.ToolChoice("none")]),
    output=st.none() | st.builds(m.OutputFormat, st.just("json_schema"), schema=RAW_OBJECTS),
    reasoning=REASONING,
    user=st.none() | TEXTS,
    service_tier=st.sampled_from([None, "auto", "default"]),
)
"""Requests of which nothing is lost, nor said otherwise."""

# -- what any dialect hands over

SOURCES = (
    st.builds(m.Inline, st.sampled_from(["", "image/png", "application/pdf", "text/plain", "a/b"]), st.text(max_size=8))
    | st.builds(m.Address, st.text(max_size=8), st.sampled_from(["", "image/png"]))
    | st.builds(m.StoredFile, st.text(max_size=8))
)
ANY_SIGNATURE = st.none() | signatures(*get_args(DialectName))
ANY_OPAQUE = opaque(*get_args(DialectName))
CITATIONS = st.builds(m.Citation, st.text(max_size=5), st.text(max_size=5), document=st.none() | st.integers(0, 3))
ANY_TEXT = st.builds(m.Text, st.text(max_size=8), MARKS, st.lists(CITATIONS, max_size=2))
ANY_RESULT_BLOCK = (
    ANY_TEXT
    | st.builds(m.Image, SOURCES, st.sampled_from(["", "high"]), MARKS)
    | st.builds(m.Document, st.none() | SOURCES, st.none() | st.text(max_size=5))
    | ANY_OPAQUE
)
ANY_BLOCK = (
    ANY_RESULT_BLOCK
    | st.builds(m.Audio, SOURCES, st.text(max_size=5))
    | st.builds(m.Video, SOURCES)
    | st.builds(m.Thinking, st.text(max_size=5), ANY_SIGNATURE, st.booleans(), st.booleans())
    | st.builds(
        m.ToolCall, st.text(max_size=5), st.text(max_size=5), st.text(max_size=8), st.booleans(), ANY_SIGNATURE, MARKS
    )
    | st.builds(m.ToolResult, st.text(max_size=5), st.lists(ANY_RESULT_BLOCK, max_size=3), st.booleans(), cache=MARKS)
    | st.builds(m.Refusal, st.text(max_size=5))
)
ANY_BLOCKS = st.lists(ANY_BLOCK, max_size=4)
TEMPERATURES, SHARES = st.none() | st.floats(0, 2), st.none() | st.floats(0, 1)

ANY_REQUEST = st.builds(
    m.Request,
    model=st.sampled_from(
        ["qwen", "claude-3-5-haiku", "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-5", "claude-opus-5-5"]
    ),
    messages=st.lists(
        st.builds(m.Message, st.sampled_from(get_args(m.Role)), ANY_BLOCKS, st.text(max_size=3)), max_size=4
    ),
    system=ANY_BLOCKS,
    stream=st.booleans(),
    max_output_tokens=st.none() | st.integers(0, 10_000),
    temperature=TEMPERATURES,
    top_p=SHARES,
    top_k=st.none() | st.integers(0, 50),
    stop=st.lists(st.text(max_size=3), max_size=2),
    tools=st.lists(
        st.builds(
            m.Tool,
            st.text(max_size=5),
            st.text(max_size=5),
            st.none() | JSON.map(lambda value: msgspec.Raw(json.dumps(value).encode())),
            st.sampled_from([None, True, False]),
            st.booleans(),
            st.none() | RAW_OBJECTS,
            MARKS,
        ),
        max_size=3,
    ),
    hosted_tools=st.lists(
        st.builds(
            m.HostedTool,
            st.sampled_from(get_args(DialectName)),
            st.just("web_search_20250305"),
            OBJECTS.map(
                lambda more: msgspec.Raw(json.dumps({**more, "type": "web_search_20250305", "name": "web"}).encode())
            ),
        ),
        max_size=2,
    ),
    tool_choice=st.none()
    | st.builds(
        m.ToolChoice,
        st.sampled_from(["auto", "none", "required", "one"]),
        st.text(min_size=1, max_size=3),
        st.lists(st.text(max_size=3), max_size=2),
    ),
    parallel_tool_calls=st.sampled_from([None, True, False]),
    output=st.none()
    | st.builds(m.OutputFormat, st.sampled_from(["text", "json", "json_schema"]), schema=st.none() | RAW_OBJECTS),
    reasoning=st.none()
    | st.builds(
        m.Reasoning,
        st.sampled_from([None, *get_args(m.Effort)]),
        st.none() | st.integers(0, 100_000),
        st.booleans(),
        st.sampled_from([None, True, False]),
    ),
    choices=st.integers(1, 3),
    seed=st.none() | st.integers(),
    user=st.none() | st.text(max_size=300),
    metadata=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=1),
    service_tier=st.sampled_from([None, "auto", "default", "flex"]),
    store=st.sampled_from([None, True, False]),
)

USAGES = st.builds(
    lambda plain, read, written, made, thought: Usage(plain + read + written, made + thought, read, written, thought),
    *(st.integers(0, 10_000) for _ in range(5)),
)
FINISHES: tuple[Finish, ...] = tuple(
    each for each in get_args(Finish) if each not in ("content_filter", "stop_sequence")
)

ANSWER_BLOCKS = st.lists(PLAIN_TEXTS | CALLS | THOUGHTS | opaque("anthropic"), max_size=4)
SAYABLE_ANSWERS = st.builds(
    lambda blocks, finish, usage, tier: m.Answer(
        id="msg_1", model="m", choices=[m.Choice(blocks, finish)], usage=usage, service_tier=tier
    ),
    ANSWER_BLOCKS,
    st.none() | st.sampled_from(FINISHES),
    USAGES,
    st.sampled_from([None, "default", "priority", "batch"]),
)
ANY_ANSWER = st.builds(
    m.Answer,
    id=st.text(max_size=5),
    model=st.text(max_size=5),
    choices=st.lists(
        st.builds(m.Choice, ANY_BLOCKS, st.none() | st.sampled_from(get_args(Finish)), st.text(max_size=3)), max_size=2
    ),
    usage=st.none() | USAGES,
    service_tier=st.none() | st.text(max_size=5),
)


def _told(blocks: list[m.Block], finish: Finish, usage: Usage) -> list[m.Event]:
    """Their stream, a piece a character."""
    events: list[m.Event] = [m.Began("msg_1", "m", usage=Usage())]
    for i, block in enumerate(blocks):
        match block:
            case m.Text(text=text):
                events.append(m.BlockBegan(i, m.Text("")))
                events += [m.Delta(i, "text", each) for each in text]
            case m.ToolCall(arguments=text):
                events.append(m.BlockBegan(i, m.ToolCall(block.id, block.name, "")))
                events += [m.Delta(i, "arguments", each) for each in text]
            case m.Thinking(redacted=False, text=text, signature=signature) if signature is not None:
                events.append(m.BlockBegan(i, m.Thinking()))
                events += [m.Delta(i, "thinking", each) for each in text]
                events.append(m.Signed(i, signature))
            case _:
                events.append(m.BlockBegan(i, block))
        events.append(m.BlockEnded(i))
    return [*events, m.Finished(finish), m.Used(usage), m.Ended()]


SAYABLE_STREAMS = st.builds(_told, ANSWER_BLOCKS, st.sampled_from(FINISHES), USAGES)

INDICES = st.integers(0, 2)
ANY_EVENT = st.one_of(
    st.builds(m.Began, st.text(max_size=3), st.text(max_size=3)),
    st.builds(m.BlockBegan, INDICES, ANY_BLOCK, st.integers(0, 1)),
    st.builds(
        m.Delta,
        INDICES,
        st.sampled_from(["text", "thinking", "arguments", "refusal", "audio", "transcript"]),
        st.text(max_size=5),
    ),
    st.builds(m.Signed, INDICES, signatures(*get_args(DialectName))),
    st.builds(m.Cited, INDICES, CITATIONS),
    st.builds(m.BlockEnded, INDICES),
    st.builds(m.Finished, st.sampled_from(get_args(Finish)), st.text(max_size=3)),
    st.builds(m.Used, USAGES),
    st.builds(m.Ended),
    st.builds(m.Failed, st.text(max_size=5), st.text(max_size=5)),
    st.builds(m.Noted, st.text(max_size=5)),
)
