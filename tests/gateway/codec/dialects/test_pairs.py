"""What is said in one dialect means the same in each other: requests, answers and streams, the golden ones of all dialects."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from _fastpath.usage import Usage
from gateway.base.dialect import Dialect
from gateway.base.errors import GatewayError
from gateway.base.messages import (
    Answer,
    Audio,
    Block,
    BlockBegan,
    Choice,
    Delta,
    Document,
    Ended,
    Event,
    Failed,
    Finished,
    Image,
    Inline,
    Lost,
    Message,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Used,
    Video,
)
from gateway.codec.dialects import anthropic, gemini, openai_chat, openai_responses
from gateway.codec.translation import Follows
from tests.support.goldens import cases, events_of

HERE = Path(__file__).parent
DIALECTS: dict[str, Dialect] = {
    "anthropic": anthropic.DIALECT,
    "gemini": gemini.DIALECT,
    "openai_chat": openai_chat.DIALECT,
    "openai_responses": openai_responses.DIALECT,
}


def pairs(kind: str, pattern: str = "*.json") -> list[Any]:
    """Each golden file of a kind, with each dialect but its own."""
    return [
        pytest.param(name, other, file, id=f"{name}-{other}-{file.stem}")
        for name in DIALECTS
        for file in cases(HERE / name / kind, pattern)
        for other in DIALECTS
        if other != name
    ]


def read(name: str, body: bytes, lost: Lost) -> Request:
    request = DIALECTS[name].read_request(body, lost)
    if name == "gemini":
        request.model = "m"
    return request


# -- meanings: what is the same, however it is said


WRAPPED = ("_raw", "input")


def said(text: str) -> list[Any]:
    """A text that is empty says nothing."""
    return [["text", text]] if text else []


def source(value: Any) -> list[Any]:
    return [value.data if isinstance(value, Inline) else getattr(value, "url", None) or getattr(value, "id", None)]


def arguments(call: ToolCall) -> Any:
    """Text in place of an object, of a tool that takes it or of a model that wrote nonsense, is carried as a member of one."""
    try:
        found = json.loads(call.arguments) if call.arguments else {}
    except ValueError:
        return call.arguments
    return (
        found[key] if isinstance(found, dict) and len(found) == 1 and (key := next(iter(found))) in WRAPPED else found
    )


def meaning(block: Block) -> list[Any]:
    match block:
        case Text() | Refusal():
            return said(block.text)
        case ToolCall():
            return [["call", block.name, arguments(block)]]
        case ToolResult():
            inner = [each for part in block.content for each in meaning(part)]
            return [["result", "".join(str(each[1]) for each in inner if each[0] == "text").replace("\n", "")]]
        case Image() | Audio() | Video():
            return [[type(block).__name__, *source(block.source)]]
        case Document():
            return [["document", block.text if block.source is None else source(block.source)]]
        case _:  # thinking and what one dialect alone knows: told apart by their own tests
            return []


def joined(parts: list[Any]) -> list[Any]:
    """Texts beside each other are one."""
    out: list[Any] = []
    for part in parts:
        if part[0] == "text" and out and out[-1][0] == "text":
            out[-1] = ["text", out[-1][1] + part[1]]
        else:
            out.append(part)
    return out


def _order(part: list[Any]) -> int:
    return {"result": 0, "call": 2}.get(part[0], 1)


def turns(messages: list[Message]) -> list[Any]:
    """Turns of one role after each other are one; results come first and calls last, as some dialects must have them."""
    merged: list[tuple[str, list[Any]]] = []
    for message in messages:
        parts = [each for block in message.blocks for each in meaning(block)]
        if merged and merged[-1][0] == message.role:
            merged[-1][1].extend(parts)
        else:
            merged.append((message.role, parts))
    return [(role, joined(sorted(parts, key=_order))) for role, parts in merged if parts]


def settings(request: Request) -> dict[str, Any]:
    choice, output = request.tool_choice, request.output
    return {
        "stop": request.stop,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "max": max(request.max_output_tokens or 0, 16),  # the least that some dialects take
        "tools": [
            (tool.name, tool.description, json.loads(bytes(tool.parameters)) if tool.parameters is not None else None)
            for tool in request.tools
            if not tool.custom
        ],
        "choice": (choice.mode, choice.name) if choice is not None and choice.mode != "auto" else None,
        "output": output.kind if output is not None and output.kind != "text" else None,
        "seed": request.seed,
    }


# -- requests


def with_bound(request: Request) -> Request:
    return msgspec.structs.replace(request, max_output_tokens=request.max_output_tokens or 4_096)


def is_told_otherwise(request: Request) -> bool:
    """What some dialects have no word for is said in another way: documents of text and what else than text is in the results of tools become
    texts, a tool of free text takes an object, tools that are not allowed are left out, and a tool that failed without a word gets one."""
    blocks = [block for message in request.messages for block in message.blocks]
    results = [part for block in blocks if isinstance(block, ToolResult) for part in block.content]
    if any(tool.custom for tool in request.tools) or (request.tool_choice is not None and request.tool_choice.allowed):
        return True
    if any(isinstance(block, ToolResult) and block.is_error and not block.content for block in blocks):
        return True
    return any(isinstance(block, Document) and block.source is None for block in blocks) or not all(
        isinstance(part, Text) for part in results
    )


def without_empty_schemas(found: dict[str, Any]) -> dict[str, Any]:
    """A tool without arguments: some dialects must say that it takes an empty object."""
    empty: tuple[dict[str, Any], ...] = ({"type": "object"}, {"type": "object", "properties": {}}, {})
    return {**found, "tools": [(n, d, None if p in empty else p) for n, d, p in found["tools"]]}


@pytest.mark.parametrize(("name", "other", "file"), pairs("requests"))
def test_a_request_that_loses_nothing_means_the_same(name: str, other: str, file: Path) -> None:
    case = json.loads(file.read_bytes())
    lost = Lost()
    request = with_bound(read(name, json.dumps(case["body"]).encode(), lost))
    try:
        written = DIALECTS[other].write_request(request, lost)
    except GatewayError as refused:
        assert refused.param, "what cannot be said is named"
        return
    again = Lost()
    if lost.fields:
        return
    back = with_bound(read(other, written, again))
    assert not again.fields, f"{other} does not know what it wrote itself"
    if any("role" in hint for hint in lost.hints) or is_told_otherwise(request):
        return
    assert turns(back.messages) == turns(request.messages)
    assert joined([m for b in back.system for m in meaning(b)]) == joined(
        [m for b in request.system for m in meaning(b)]
    )
    assert without_empty_schemas(settings(back)) == without_empty_schemas(settings(request))


def test_most_golden_requests_lose_nothing_between_any_two_dialects() -> None:
    """Or the test above would claim little."""
    carried, whole = 0, 0
    for param in pairs("requests"):
        name, other, file = param.values
        lost = Lost()
        request = with_bound(read(name, json.dumps(json.loads(file.read_bytes())["body"]).encode(), lost))
        whole += 1
        try:
            DIALECTS[other].write_request(request, lost)
        except GatewayError:
            continue
        carried += not lost.fields
    print(f"{carried} of {whole} requests lose nothing")
    assert carried > whole / 2


# -- answers


def answer_meaning(choices: list[Choice], usage: Usage | None) -> Any:
    counts = (usage.input, usage.output, usage.cache_read) if usage is not None else (0, 0, 0)
    return [
        (joined([each for block in choice.blocks for each in meaning(block)]), choice.finish) for choice in choices
    ], counts


def is_carried(choices: list[Choice]) -> bool:
    """Whether all dialects can say it: one choice, of texts, thoughts and calls."""
    plain = (Text, Thinking, ToolCall)
    return (
        len(choices) == 1
        and all(isinstance(block, plain) for block in choices[0].blocks)
        and all(not (isinstance(block, ToolCall) and isinstance(arguments(block), str)) for block in choices[0].blocks)
    )


SAME_FINISH = {"stop_sequence": "stop", "context_length": "length", "refusal": "content_filter"}
"""What not all dialects tell apart."""


def with_plain_finish(found: Any) -> Any:
    choices, counts = found
    return [(parts, SAME_FINISH.get(finish, finish)) for parts, finish in choices], counts


@pytest.mark.parametrize(("name", "other", "file"), pairs("answers"))
def test_an_answer_means_the_same(name: str, other: str, file: Path) -> None:
    body = json.dumps(json.loads(file.read_bytes())["body"]).encode()
    answer = DIALECTS[name].read_answer(body)
    back = DIALECTS[other].read_answer(DIALECTS[other].write_answer(answer))
    if is_carried(answer.choices) and answer.choices[0].finish not in ("pause", None):
        assert with_plain_finish(answer_meaning(back.choices, back.usage)) == with_plain_finish(
            answer_meaning(answer.choices, answer.usage)
        )


# -- streams


def whole(events: Sequence[Event]) -> tuple[Answer, bool, bool]:
    """The answer that a stream makes up, whether it ended, and whether it failed."""
    blocks: dict[tuple[int, int], Block] = {}
    finishes: dict[int, Any] = {}
    usage, ended, failed = None, False, False
    for event in events:
        match event:
            case BlockBegan():
                assert (event.choice, event.index) not in blocks, "an index is used once"
                blocks[event.choice, event.index] = event.block
            case Delta():
                block = blocks[event.choice, event.index]
                field = "arguments" if isinstance(block, ToolCall) else "text"
                if not isinstance(block, Text | Refusal | Thinking | ToolCall):
                    continue
                blocks[event.choice, event.index] = msgspec.structs.replace(
                    block, **{field: getattr(block, field) + event.text}
                )
            case Finished():
                finishes[event.choice] = event.finish
            case Used():
                usage = event.usage
            case Ended():
                ended = True
            case Failed():
                failed = True
    numbers = sorted({choice for choice, _ in blocks} | set(finishes)) or [0]
    choices = [
        Choice([block for (choice, _), block in sorted(blocks.items()) if choice == number], finishes.get(number))
        for number in numbers
    ]
    return Answer(id="", model="", choices=choices, usage=usage), ended, failed


def events_in(dialect: Dialect, stream: bytes) -> list[Event]:
    reader = dialect.stream_reader()
    events = [event for name, data in events_of(stream) for event in reader.read(name, data)]
    return [*events, *reader.end()]


@pytest.mark.parametrize(("name", "other", "file"), pairs("streams", "*.sse"))
def test_a_stream_means_the_same_however_it_is_cut(name: str, other: str, file: Path) -> None:
    stream = file.read_bytes()
    asked = Request(model="m", messages=[Message("user", [Text("Hi")])], stream=True)
    random_ = random.Random(f"{name} {other} {file.stem}")
    written = set()
    for cuts in ([], sorted(random_.sample(range(len(stream)), min(12, len(stream)))), list(range(1, len(stream), 7))):
        scanner = Follows(DIALECTS[name], DIALECTS[other], asked).scanner()
        bounds = [0, *cuts, len(stream)]
        out = b"".join(scanner.feed(stream[a:b]) for a, b in itertools.pairwise(bounds))
        out += b"" if scanner.terminal or scanner.fault else scanner.finish()
        written.add((out, scanner.terminal, scanner.fault, scanner.error))
    assert len(written) == 1, "cuts change what is written"
    ((out, terminal, fault, told),) = written
    back, ended, failed = whole(events_in(DIALECTS[other], out))
    if told is not None or fault is not None or not terminal:
        assert not ended or other == "gemini", "a stream that failed is not reported as a whole one"
        if told is not None:
            assert failed, "the caller is told"
        return
    answer, _, _ = whole(events_in(DIALECTS[name], stream))
    assert ended and not failed
    if is_carried(answer.choices) and answer.choices[0].finish not in ("pause", None):
        assert with_plain_finish(answer_meaning(back.choices, back.usage)) == with_plain_finish(
            answer_meaning(answer.choices, answer.usage)
        )
