"""Canonical values, generated: such as this dialect can say in full, and any."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from _fastpath.usage import Usage
from gateway.base.messages import (
    Address,
    Answer,
    Audio,
    Block,
    CacheMark,
    Choice,
    Citation,
    Document,
    Effort,
    HostedTool,
    Image,
    Inline,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Refusal,
    Request,
    Signature,
    StoredFile,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from gateway.codec.dialects.openai_responses._signed import OWN
from gateway.codec.efforts import BUDGETS

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
names = st.text("abcdefgh_-", min_size=1, max_size=10)
ids = st.text("abcdef0123456789_", min_size=1, max_size=20)
base64 = st.sampled_from(["AAAA", "iVBORw0KGgo=", "JVBERi0x"])
urls = st.builds("https://example.com/{}".format, names)
json_values: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("abc", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.text("abc", max_size=3), json_values, max_size=3)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


raws = objects.map(raw)
own_marks = st.none() | st.builds(CacheMark, st.sampled_from(["30m", "12h"]))
marks = st.none() | st.builds(CacheMark, st.sampled_from(["", "5m", "1h", "30m", "12h"]))
own_signatures = st.builds(Signature, st.just(OWN), ids)
signatures = st.builds(Signature, st.sampled_from(["openai_chat", OWN, "anthropic", "gemini"]), ids)


def sources(media_types: SearchStrategy[str]) -> SearchStrategy[Any]:
    return st.builds(Inline, media_types, base64) | st.builds(Address, urls) | st.builds(StoredFile, ids)


def images(marks: SearchStrategy[Any]) -> SearchStrategy[Image]:
    details = st.sampled_from(["", "low", "high", "auto", "original"])
    return st.builds(Image, sources(st.sampled_from(["image/png", "image/jpeg"])), details, marks)


def documents(marks: SearchStrategy[Any]) -> SearchStrategy[Document]:
    kinds = st.sampled_from(["application/pdf", "text/plain", ""])
    return st.builds(Document, source=sources(kinds), title=st.just("") | names, cache=marks)


citations = st.builds(
    lambda url, title, start, end: Citation(
        url,
        title,
        start=start,
        end=end,
        raw=raw({"type": "url_citation", "url": url, "title": title, "start_index": start, "end_index": end}),
        dialect=OWN,
    ),
    urls,
    texts,
    st.integers(0, 5),
    st.integers(5, 9),
)


def opaque(kinds: list[str]) -> SearchStrategy[Opaque]:
    return st.builds(
        lambda kind, value: Opaque(OWN, kind, raw({**value, "type": kind})), st.sampled_from(kinds), objects
    )


hosted_calls = opaque(["web_search_call", "computer_call", "compaction", "telepathy_call"])
hosted_outputs = opaque(["computer_call_output", "local_shell_call_output", "mcp_approval_response"])
calls = st.builds(ToolCall, ids, names, texts, st.booleans())
results = st.builds(
    ToolResult,
    ids,
    st.lists(st.builds(Text, texts, own_marks) | images(own_marks) | documents(own_marks), max_size=3),
)
own_thoughts = st.builds(
    lambda text, signature, summary: Thinking(text, signature, redacted=not text, summary=bool(text) and summary),
    st.just("") | texts,
    own_signatures,
    st.booleans(),
)
said = st.builds(Text, texts, st.none(), st.lists(citations, max_size=2)) | st.builds(Refusal, texts)

asked: SearchStrategy[list[Block]] = st.lists(
    st.builds(Text, texts, own_marks)
    | images(own_marks)
    | documents(own_marks)
    | st.builds(Audio, st.builds(Inline, st.sampled_from(["audio/wav", "audio/mpeg"]), base64))
    | results
    | hosted_outputs,
    max_size=4,
)
told: SearchStrategy[list[Block]] = st.lists(said | calls | own_thoughts | hosted_calls, max_size=5)
instructed: SearchStrategy[list[Block]] = st.lists(st.builds(Text, texts, own_marks), max_size=2)

messages = (
    st.builds(Message, st.just("user"), asked)
    | st.builds(Message, st.just("assistant"), told)
    | st.builds(Message, st.just("system"), instructed)
)
tools = st.builds(Tool, names, st.just("") | texts, st.none() | raws, st.booleans()) | st.builds(
    Tool,
    names,
    st.just("") | texts,
    custom=st.just(True),
    grammar=st.none() | texts.map(lambda text: raw({"syntax": "lark", "definition": text})),
)
hosted_tools = st.builds(lambda value: HostedTool(OWN, "web_search", raw({**value, "type": "web_search"})), objects)
formats = (
    st.just(OutputFormat("text"))
    | st.just(OutputFormat("json"))
    | st.builds(OutputFormat, st.just("json_schema"), names, st.just("") | texts, raws, st.none() | st.booleans())
)
efforts: SearchStrategy[Effort] = st.sampled_from(["none", *BUDGETS])


@st.composite
def sayable_requests(draw: st.DrawFn) -> Request:
    """Requests that lose nothing here."""
    declared = draw(st.lists(tools, max_size=3, unique_by=lambda tool: tool.name))
    choices: list[SearchStrategy[Any]] = [
        st.none(),
        st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"])),
    ]
    if declared:
        known = st.sampled_from([tool.name for tool in declared])
        choices.append(st.builds(ToolChoice, st.just("one"), known))
        choices.append(
            st.builds(
                ToolChoice, st.sampled_from(["auto", "required"]), allowed=st.lists(known, min_size=1, max_size=2)
            )
        )
    optional = st.none() | st.booleans()
    return Request(
        model=draw(names),
        messages=draw(st.lists(messages, max_size=5)),
        system=draw(instructed),
        stream=draw(st.booleans()),
        max_output_tokens=draw(st.none() | st.integers(16, 9_999)),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        tools=declared,
        hosted_tools=draw(st.lists(hosted_tools, max_size=2)),
        tool_choice=draw(st.one_of(choices)),
        parallel_tool_calls=draw(optional),
        output=draw(st.none() | formats),
        reasoning=draw(st.none() | st.builds(Reasoning, st.none() | efforts, shown=st.sampled_from([None, True]))),
        verbosity=draw(st.sampled_from([None, "low", "medium", "high"])),
        logprobs=draw(st.none() | st.integers(0, 20)),
        user=draw(st.none() | ids),
        metadata=draw(st.dictionaries(ids, texts, max_size=2)),
        service_tier=draw(st.sampled_from([None, "auto", "flex", "priority"])),
        store=draw(st.booleans()),
    )


# -- any


any_block: SearchStrategy[Any] = st.one_of(
    st.builds(
        Text,
        st.just("") | texts,
        marks,
        st.lists(citations | st.builds(Citation, title=texts, document=st.just(1)), max_size=2),
    ),
    images(marks),
    documents(marks),
    st.builds(Document, text=texts, title=st.just("") | texts, context=st.just("") | texts, citations=st.booleans()),
    st.builds(Audio, sources(st.sampled_from(["audio/wav", "audio/flac", "x/y"])), st.just("") | texts, marks),
    st.builds(Video, sources(st.just("video/mp4")), marks),
    st.builds(Thinking, st.just("") | texts, st.none() | signatures, st.booleans(), st.booleans()),
    st.builds(ToolCall, st.text(max_size=99), names, st.text(max_size=9), st.booleans(), st.none() | signatures, marks),
    st.builds(ToolResult, ids, st.lists(st.builds(Text, texts, marks), max_size=2), st.booleans(), names, marks),
    st.builds(Refusal, st.just("") | texts),
    hosted_calls,
    st.builds(Opaque, st.sampled_from(["anthropic", "gemini"]), names, raws, marks),
)
any_tool = st.builds(
    Tool,
    names | names.map(lambda name: f"ns--docs--{name}"),
    st.just("") | texts,
    st.none() | raws,
    st.none() | st.booleans(),
    st.booleans(),
    st.none() | raws,
    marks,
)
any_requests = st.builds(
    Request,
    model=names,
    messages=st.lists(
        st.builds(
            Message,
            st.sampled_from(["user", "assistant", "system"]),
            st.lists(any_block, max_size=4),
            st.just("") | names,
        ),
        max_size=4,
    ),
    system=st.lists(any_block, max_size=2),
    max_output_tokens=st.none() | st.integers(1, 99),
    top_k=st.none() | st.integers(1, 9),
    stop=st.lists(texts, max_size=2),
    tools=st.lists(any_tool, max_size=3),
    hosted_tools=st.lists(
        st.builds(HostedTool, st.sampled_from(["anthropic", "gemini"]), names, raws) | hosted_tools, max_size=2
    ),
    tool_choice=st.none()
    | st.builds(ToolChoice, st.sampled_from(["auto", "one", "none"]), names, st.lists(names, max_size=2)),
    reasoning=st.none()
    | st.builds(
        Reasoning, st.none() | efforts, st.none() | st.integers(0, 99_999), st.booleans(), st.none() | st.booleans()
    ),
    verbosity=st.sampled_from([None, "low", "max"]),
    choices=st.integers(1, 3),
    seed=st.none() | st.integers(0, 9),
    logit_bias=st.none() | raws,
    user=st.none() | st.text(max_size=99),
    service_tier=st.sampled_from([None, "auto", "standard_only"]),
    store=st.none() | st.booleans(),
)

usages = st.builds(
    lambda read, write, rest, reasoning, made: Usage(read + write + rest, reasoning + made, read, write, reasoning),
    *[st.integers(0, 999)] * 5,
)


def _finish(blocks: list[Block]) -> SearchStrategy[Any]:
    if any(isinstance(block, ToolCall) for block in blocks):
        return st.sampled_from(["tool_calls", "length"])
    if any(isinstance(block, Refusal) for block in blocks):
        return st.sampled_from(["refusal", "content_filter"])
    return st.sampled_from(["stop", "length", "content_filter", "pause"])


foreign_signatures = st.builds(Signature, st.sampled_from(["openai_chat", "anthropic", "gemini"]), ids)
thoughts = (
    own_thoughts
    | st.builds(Thinking, texts, st.none() | foreign_signatures, st.just(False), st.booleans())
    | st.builds(Thinking, st.just(""), foreign_signatures, st.booleans())
)
signed_calls = st.builds(ToolCall, ids, names, texts, st.booleans(), st.none() | foreign_signatures)
answered: SearchStrategy[list[Block]] = st.lists(
    said | signed_calls | thoughts | hosted_calls,
    max_size=6,
    unique_by=lambda block: block.id if isinstance(block, ToolCall) else id(block),
)
"""What a response can hold in full, signatures of whatever dialect among it."""


@st.composite
def sayable_answers(draw: st.DrawFn) -> Answer:
    blocks = draw(answered)
    return Answer(
        id=draw(ids),
        model=draw(names),
        choices=[Choice(blocks, draw(_finish(blocks)))],
        created_s=draw(st.integers(0, 2_000_000_000)),
        usage=draw(st.none() | usages),
        service_tier=draw(st.sampled_from([None, "default"])),
    )
