"""Generated conversations, answers and streams that this dialect can carry whole, and bodies in which something is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
from hypothesis import strategies as st

from _fastpath.usage import Usage
from gateway.base.messages import (
    Address,
    Answer,
    Audio,
    Began,
    Block,
    BlockBegan,
    BlockEnded,
    Choice,
    Citation,
    Delta,
    Document,
    Effort,
    Ended,
    Event,
    Finish,
    Finished,
    Image,
    Inline,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Request,
    Signature,
    Signed,
    StoredFile,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Used,
    Video,
)
from tests.support.goldens import cases

HERE = Path(__file__).parent
T = TypeVar("T")

words = st.text('aé€😀"\\\n\x00 ', min_size=1, max_size=6)
"""Not empty, and with all that JSON writes in another way."""
names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
base64 = st.binary(max_size=6).map(lambda data: msgspec.json.encode(data).decode().strip('"'))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
raws = st.dictionaries(names, values, max_size=3).map(lambda value: msgspec.Raw(msgspec.json.encode(value)))
urls = names.map(lambda name: f"https://example.com/{name}")


def maybe(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | strategy


def inline(*media_types: str) -> st.SearchStrategy[Inline]:
    return st.builds(Inline, st.sampled_from(media_types), base64)


def seen(urls: st.SearchStrategy[str], *media_types: str) -> st.SearchStrategy[Inline | Address]:
    return inline(*media_types) | st.builds(Address, urls)


# -- requests

texts = st.builds(Text, words)
signatures = st.builds(Signature, st.just("openai_chat"), names)
user_blocks = st.one_of(
    texts,
    st.builds(Image, seen(urls, "image/png", "image/webp"), st.sampled_from(["", "low", "high"])),
    st.builds(Audio, seen(urls, "audio/wav", "audio/mpeg", "audio/flac")),
    st.builds(Video, seen(urls, "video/mp4")),
    st.builds(Document, inline("application/pdf"), title=words),
    st.builds(Document, st.builds(StoredFile, names)),
)
thoughts: st.SearchStrategy[list[Thinking]] = st.one_of(
    st.just([]),
    st.lists(st.builds(Thinking, words), min_size=1, max_size=1),
    st.lists(
        st.builds(Thinking, words, signatures) | st.builds(Thinking, signature=signatures, redacted=st.just(True)),
        min_size=1,
        max_size=2,
    ),
)
calls = st.lists(
    st.builds(ToolCall, names, names, words, st.booleans(), maybe(signatures)),
    max_size=3,
    unique_by=lambda call: call.id,
)
results = st.builds(ToolResult, names, st.lists(texts, max_size=2), name=st.just("") | names)
turns_of_user = st.lists(user_blocks, min_size=1, max_size=3)
turns_of_assistant = st.builds(
    lambda thoughts, said, calls: [*thoughts, *said, *calls],
    thoughts,
    st.lists(texts, max_size=2) | st.lists(st.builds(Refusal, words), min_size=1, max_size=1),
    calls,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """It begins with the user, and results of tools that stand together are one turn."""
    messages = [Message("user", list[Block](draw(turns_of_user)))]
    speakers = st.just("") | names
    for role in draw(st.lists(st.sampled_from(["user", "assistant", "system", "results"]), max_size=5)):
        match role:
            case "user":
                messages.append(Message("user", list[Block](draw(turns_of_user)), draw(speakers)))
            case "assistant":
                messages.append(Message("assistant", draw(turns_of_assistant), draw(speakers)))
            case "system":
                messages.append(
                    Message("system", list[Block](draw(st.lists(texts, min_size=1, max_size=2))), draw(speakers))
                )
            case _ if not any(isinstance(block, ToolResult) for block in messages[-1].blocks):
                messages.append(Message("user", list[Block](draw(st.lists(results, min_size=1, max_size=2)))))
    return messages


functions = st.builds(Tool, names, st.just("") | words, maybe(raws), maybe(st.booleans()))
customs = st.builds(
    Tool,
    names,
    st.just("") | words,
    custom=st.just(True),
    grammar=maybe(st.just(msgspec.Raw(b'{"definition":"d","syntax":"lark"}'))),
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    floats = maybe(st.floats(-2, 2))
    request = Request(
        model=draw(names),
        messages=draw(conversations()),
        system=list[Block](draw(st.lists(texts, max_size=2))),
        stream=draw(st.booleans()),
        max_output_tokens=draw(maybe(st.integers(1, 100_000))),
        temperature=draw(floats),
        top_p=draw(floats),
        stop=draw(st.lists(words, max_size=3)),
        tools=draw(st.lists(functions | customs, max_size=3, unique_by=lambda tool: tool.name)),
        verbosity=draw(maybe(st.sampled_from(["low", "medium", "high"]))),
        choices=draw(st.integers(1, 4)),
        seed=draw(maybe(st.integers(-(2**53), 2**53))),
        frequency_penalty=draw(floats),
        presence_penalty=draw(floats),
        logit_bias=draw(maybe(raws)),
        logprobs=draw(maybe(st.integers(0, 20))),
        user=draw(maybe(words)),
        service_tier=draw(maybe(st.sampled_from(["auto", "flex"]))),
        store=draw(maybe(st.booleans())),
        reasoning=draw(maybe(st.builds(Reasoning, st.sampled_from(get_args(Effort))))),
        output=draw(
            maybe(
                st.sampled_from([OutputFormat("text"), OutputFormat("json")])
                | st.builds(
                    OutputFormat, st.just("json_schema"), names, st.just("") | words, raws, maybe(st.booleans())
                )
            )
        ),
    )
    request.include_usage = request.stream
    if request.store:
        request.metadata = draw(st.dictionaries(names, words, max_size=2))
    if request.tools:
        known = st.sampled_from([tool.name for tool in request.tools])
        request.parallel_tool_calls = draw(maybe(st.booleans()))
        request.tool_choice = draw(
            maybe(
                st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"]))
                | st.builds(ToolChoice, st.just("one"), known)
                | st.builds(
                    ToolChoice, st.sampled_from(["auto", "required"]), allowed=st.lists(known, min_size=1, max_size=2)
                )
            )
        )
    return request


# -- answers


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    whole, made = draw(st.integers(0, 1_000)), draw(st.integers(0, 1_000))
    read = draw(st.integers(0, whole))
    written = draw(st.integers(0, whole - read))
    audio = draw(st.integers(0, whole - read - written))
    return Usage(whole, made, read, written, draw(st.integers(0, made)), audio, draw(st.integers(0, made)))


@st.composite
def cited(draw: st.DrawFn) -> Text:
    text = draw(words)
    places = st.integers(0, len(text))
    citation = st.builds(Citation, urls, words, start=places, end=places)
    return Text(text, citations=draw(st.lists(citation, max_size=2)))


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    told: list[Block] = [*draw(thoughts)]
    told += draw(st.lists(cited(), max_size=1))
    refusals = draw(st.lists(st.builds(Refusal, words), max_size=1))
    told += refusals
    told += draw(st.lists(st.builds(Audio, st.just(Inline("", "UklG")), words), max_size=1))
    told += draw(st.lists(st.builds(Image, seen(urls, "image/png")), max_size=2))
    made = draw(calls)
    told += made
    ends: st.SearchStrategy[Finish] = st.sampled_from(["stop", "length", "content_filter"])
    finish: Finish = "tool_calls" if made else "refusal" if refusals else draw(ends)
    return Choice(told, finish, logprobs=draw(maybe(raws)))


answers = st.builds(
    Answer,
    id=names,
    model=names,
    choices=st.lists(choices(), min_size=1, max_size=2),
    created_s=st.integers(0, 2_000_000_000),
    usage=maybe(usages()),
    service_tier=st.none() | st.just("flex"),
)


# -- streams


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """Of one choice, in the canonical order."""
    events: list[Event] = [Began(draw(names), draw(names), draw(st.integers(0, 2_000_000_000)))]
    called = refused = False
    kinds = st.sampled_from(["text", "thinking", "refusal", "arguments", "redacted"])
    before = ""
    for index, kind in enumerate(draw(st.lists(kinds, min_size=1, max_size=5))):
        pieces = draw(st.lists(words, min_size=1, max_size=3))
        signed = kind == "thinking" and draw(st.booleans())
        if kind == before and kind in {"text", "refusal"}:
            break  # this dialect has no border between them
        before = kind
        block: Block
        match kind:
            case "text":
                block = Text("")
            case "thinking":
                block = Thinking()
            case "refusal":
                block, refused = Refusal(""), True
            case "redacted":
                block, pieces = Thinking(signature=draw(signatures), redacted=True), []
            case _:
                custom = draw(st.booleans())
                block, called = ToolCall(f"call_{index}", draw(names), "", custom, draw(maybe(signatures))), True
        events.append(BlockBegan(index, block))
        events += [Delta(index, kind, piece) for piece in pieces]  # type: ignore[arg-type]
        if signed:
            events.append(Signed(index, draw(signatures)))
        events.append(BlockEnded(index))
    finish: Finish = "tool_calls" if called else "refusal" if refused else draw(st.sampled_from(["stop", "length"]))
    events.append(Finished(finish))
    events += [Used(usage) for usage in draw(st.lists(usages(), max_size=1))]
    return [*events, Ended()]


# -- what is wrong


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of each value within."""
    found: list[tuple[Any, Any]] = []
    for key, inner in (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    ):
        found.append((value, key))
        found += _places(inner)
    return found


@st.composite
def mutated(draw: st.DrawFn, bodies: list[Any]) -> Any:
    """One of them with one or two of its values replaced, taken out or put in twice."""
    body = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 2))):
        places = _places(body)
        if places:
            container, key = draw(st.sampled_from(places))
            match draw(st.sampled_from(["replace", "remove", "double"])):
                case "remove":
                    del container[key]
                case "double" if isinstance(container, list):
                    container.append(copy.deepcopy(container[key]))
                case _:
                    container[key] = draw(values)
    return body


def bodies(kind: str) -> list[Any]:
    return [json.loads(path.read_text())["body"] for path in cases(HERE / kind)]
