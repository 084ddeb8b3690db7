"""Canonical values that Gemini's dialect can carry in full, and JSON that it cannot."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

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
    Ended,
    Event,
    Finish,
    Finished,
    Image,
    Inline,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Request,
    ResultBlock,
    Signature,
    Signed,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Used,
    Video,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=8)
base64s = st.sampled_from(["AAAA", "iVBORw0KGgo=", "R3LDvMOfZQ=="])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)


def raw_of(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


raws = json_objects.map(raw_of)
signatures = st.builds(Signature, st.just("gemini"), st.sampled_from(["c2ln", "AAAA", "EqQB"]))
foreign = st.builds(Signature, st.sampled_from(["anthropic", "openai_chat", "openai_responses"]), texts)


def sources(media_type: str) -> st.SearchStrategy[Source]:
    return st.builds(Inline, st.just(media_type), base64s) | st.builds(
        Address, st.sampled_from(["https://e.example/a", "gs://b/c"]), st.just(media_type)
    )


images = st.builds(Image, sources("image/png"))
documents = st.builds(Document, sources("application/pdf"), title=texts) | st.builds(Document, text=texts, title=texts)
media: st.SearchStrategy[Block] = st.one_of(
    images, documents, st.builds(Audio, sources("audio/wav")), st.builds(Video, sources("video/mp4"))
)
opaques = st.builds(
    Opaque, st.just("gemini"), st.just("hologram"), st.builds(lambda value: raw_of({"hologram": value}), json_objects)
)
user_blocks: st.SearchStrategy[Block] = st.one_of(st.builds(Text, texts), media, opaques)


def thinking_of(signature: st.SearchStrategy[Signature]) -> st.SearchStrategy[Thinking]:
    signed = st.builds(lambda text, mark: Thinking(text, mark, summary=bool(text)), texts, signature)
    return signed | st.builds(lambda text: Thinking(f"{text}.", summary=True), texts)


def spread(blocks: Sequence[Block]) -> list[Block]:
    """Without what would be one block when it is read again: runs of texts, pieces of a thought that nobody signed yet."""
    found: list[Block] = []
    for block in blocks:
        last = found[-1] if found else None
        if isinstance(block, Text) and (isinstance(last, Text) or not block.text):
            continue
        if isinstance(block, Thinking) and isinstance(last, Thinking) and last.signature is None:
            continue
        found.append(block)
    return found


@st.composite
def calls(draw: st.DrawFn, number: int) -> ToolCall:
    arguments = json.dumps(draw(json_objects), separators=(",", ":"))
    return ToolCall(f"call{number}", draw(words), arguments, signature=draw(st.none() | signatures))


@st.composite
def results(draw: st.DrawFn, call: ToolCall) -> ToolResult:
    content: list[ResultBlock] = [Text(draw(texts | json_objects.map(json.dumps)))]
    content += draw(st.lists(st.builds(Image, st.builds(Inline, st.just("image/png"), base64s)), max_size=2))
    if isinstance(content[0], Text) and not content[0].text and len(content) > 1:
        del content[0]
    return ToolResult(call.id, content, draw(st.booleans()), call.name)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = [Message("user", draw(st.lists(user_blocks, min_size=1, max_size=3)))]
    number = 0
    for _ in range(draw(st.integers(0, 3))):
        said: list[Block] = list(
            draw(st.lists(st.builds(Text, texts) | thinking_of(signatures) | opaques, min_size=1, max_size=3))
        )
        made = [draw(calls(number + i)) for i in range(draw(st.integers(0, 2)))]
        number += len(made)
        messages.append(Message("assistant", spread([Text("."), *said]) + list(made)))
        answers: list[Block] = [draw(results(call)) for call in made]
        messages.append(Message("user", answers + draw(st.lists(user_blocks, min_size=0 if made else 1, max_size=2))))
    return messages


tools = st.builds(Tool, words, texts, st.none() | raws)
choices = st.one_of(
    st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"])),
    st.builds(ToolChoice, st.just("one"), words),
    st.builds(ToolChoice, st.just("required"), allowed=st.lists(words, min_size=2, max_size=3)),
)
reasonings = st.one_of(
    st.builds(
        Reasoning,
        st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
        shown=st.none() | st.booleans(),
    ),
    st.builds(Reasoning, budget_tokens=st.integers(1, 100_000), shown=st.none() | st.booleans()),
    st.builds(Reasoning, adaptive=st.just(True)),
)
outputs = st.one_of(
    st.builds(OutputFormat, st.sampled_from(["text", "json"])),
    st.builds(OutputFormat, st.just("json_schema"), schema=raws),
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    request = Request(model="", messages=draw(conversations()))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "system": st.lists(st.builds(Text, texts), min_size=1, max_size=2),
        "max_output_tokens": st.integers(1, 100_000),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 1_000),
        "stop": st.lists(texts, max_size=3),
        "choices": st.integers(1, 8),
        "seed": st.integers(-(2**31), 2**31),
        "frequency_penalty": st.floats(-2, 2),
        "presence_penalty": st.floats(-2, 2),
        "logprobs": st.integers(0, 20),
        "reasoning": reasonings,
        "output": outputs,
        "metadata": st.dictionaries(words.filter(lambda word: word[0] != "_"), words, max_size=2),
        "service_tier": st.sampled_from(["default", "flex", "priority"]),
    }
    for name in draw(st.sets(st.sampled_from(sorted(optional)))):
        setattr(request, name, draw(optional[name]))
    if draw(st.booleans()):
        request.tools = draw(st.lists(tools, min_size=1, max_size=2))
        request.tool_choice = draw(st.none() | choices)
    return request


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    whole, made = draw(st.integers(0, 10_000)), draw(st.integers(0, 10_000))
    cached, thought = draw(st.integers(0, whole)), draw(st.integers(0, made))
    heard, spoken = draw(st.integers(0, whole - cached)), draw(st.integers(0, made - thought))
    return Usage(whole, made, cached, 0, thought, heard, spoken)


@st.composite
def answer_choices(draw: st.DrawFn, *, any_signature: bool = False) -> Choice:
    marks = signatures | foreign if any_signature else signatures
    said: list[Block] = list(draw(st.lists(st.builds(Text, texts) | thinking_of(marks) | images | opaques, max_size=4)))
    made = [draw(calls(i)) for i in range(draw(st.integers(0, 2)))]
    finish: Finish = draw(st.sampled_from(["length", "content_filter", "pause", "tool_calls" if made else "stop"]))
    return Choice(spread(said) + list(made), finish)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    found = draw(st.lists(answer_choices(any_signature=True), min_size=1, max_size=2))
    for choice in found:
        for block in choice.blocks:
            if isinstance(block, Text) and draw(st.booleans()):
                block.citations = [draw(citations(len(block.text))) for _ in range(draw(st.integers(0, 3)))]
    return Answer(
        id=draw(words),
        model=draw(words),
        choices=found,
        created_s=draw(st.integers(0, 4_000_000_000)),
        usage=draw(usages()),
        service_tier=draw(st.none() | st.sampled_from(["default", "flex", "priority"])),
    )


@st.composite
def citations(draw: st.DrawFn, size: int) -> Citation:
    start = draw(st.integers(0, size))
    return Citation(draw(words), draw(texts), draw(texts), None, start, draw(st.integers(start, size)))


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Block], Finish, list[Event]]:
    """(blocks, finish, events that tell them in pieces)."""
    choice = draw(answer_choices())
    events: list[Event] = [Began("r", "m")]
    for index, block in enumerate(choice.blocks):
        events += draw(_told(index, block))
    assert choice.finish is not None
    ending: list[Event] = [Finished(choice.finish), Used(draw(usages()))]
    return choice.blocks, choice.finish, [*events, *draw(st.permutations(ending)), Ended()]


@st.composite
def _told(draw: st.DrawFn, index: int, block: Block) -> list[Event]:
    match block:
        case Text(text=text):
            return [BlockBegan(index, Text("")), *draw(_pieces(index, "text", text)), BlockEnded(index)]
        case Thinking(text=text, signature=signature):
            events: list[Event] = [BlockBegan(index, Thinking()), *draw(_pieces(index, "thinking", text))]
            if signature is not None:
                events.append(Signed(index, signature))
            return [*events, BlockEnded(index)]
        case ToolCall(arguments=arguments, signature=signature):
            empty = ToolCall(block.id, block.name, "")
            events = [BlockBegan(index, empty), *draw(_pieces(index, "arguments", arguments))]
            if signature is not None:
                events.insert(1, Signed(index, signature))
            return events  # which the end of the choice ends
        case _:
            return [BlockBegan(index, block), BlockEnded(index)]


@st.composite
def _pieces(draw: st.DrawFn, index: int, kind: Any, text: str) -> list[Event]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    bounds = [0, *cuts, len(text)]
    return [Delta(index, kind, text[a:b]) for a, b in itertools.pairwise(bounds) if a < b]


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """JSON like `value`, but for one place in it."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 5)):
            return {other: inner for other, inner in value.items() if other != name}
        return {**value, name: draw(mutated(value[name]))}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(mutated(value[at])), *value[at + 1 :]]
    return draw(json_values)
