"""Requests that cannot be read, and requests of other dialects as this one writes them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from gateway.base.errors import INVALID_JSON, INVALID_VALUE, GatewayError
from gateway.base.messages import (
    Address,
    Audio,
    Block,
    CacheMark,
    Citation,
    Document,
    HostedTool,
    Image,
    Inline,
    Lost,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
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
from gateway.codec.dialects.openai_chat import DIALECT
from gateway.codec.dialects.openai_chat._request_wire import Request as Wire

HELLO = {"role": "user", "content": "Hello"}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [HELLO]} | fields).encode()


def message(**fields: Any) -> bytes:
    return body(messages=[HELLO, fields])


def part(**fields: Any) -> bytes:
    return message(role="user", content=[{"type": "text", "text": "See"}, fields])


# -- what is refused


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (b'{"messages": []}', None),
        (body(messages=[]), "messages"),
        (body(messages="Hello"), "messages"),
        (body(model=7), "model"),
        (body(temperature="hot"), "temperature"),
        (body(max_tokens=0), "max_tokens"),
        (body(max_completion_tokens=-1), "max_completion_tokens"),
        (body(n=0), "n"),
        (body(n=129), "n"),
        (body(logprobs=True, top_logprobs=21), "top_logprobs"),
        (body(reasoning_effort="utmost"), "reasoning_effort"),
        (body(reasoning={"effort": "utmost"}), "reasoning.effort"),
        (body(metadata={"a": 1}), "metadata[...]"),
        (body(tool_choice="perhaps"), "tool_choice"),
        (body(tool_choice={"type": "function"}), "tool_choice"),
        (body(tools=[{"type": "function"}]), "tools[0].function"),
        (body(tools=[{"type": "custom"}]), "tools[0].custom"),
        (body(tools=[{"type": "function", "function": {}}]), "tools[0].function"),
        (body(response_format={"type": "json_schema"}), "response_format.json_schema"),
        (message(role="king", content="Hello"), "messages[1].role"),
        (message(content="Hello"), "messages[1]"),
        (message(role="user"), "messages[1].content"),
        (message(role="user", content=7), "messages[1].content"),
        (message(role="tool", content="18"), "messages[1].tool_call_id"),
        (message(role="function", content="18"), "messages[1].name"),
        (message(role="assistant", tool_calls=[{"id": "a"}]), "messages[1].tool_calls[0].function.name"),
        (message(role="assistant", content=[{"type": "refusal"}]), "messages[1].content[0].refusal"),
        (part(type="text"), "messages[1].content[1].text"),
        (part(type="image_url"), "messages[1].content[1].image_url"),
        (part(type="image_url", image_url={}), "messages[1].content[1].image_url"),
        (part(type="image_url", image_url="data:no-comma"), "messages[1].content[1].image_url.url"),
        (part(type="input_audio"), "messages[1].content[1].input_audio"),
        (part(type="thinking"), "messages[1].content[1].thinking"),
        (part(type="file"), "messages[1].content[1].file"),
        (part(type="file", file={"filename": "a"}), "messages[1].content[1].file.file_data"),
    ],
    ids=lambda value: value.decode()[:90] if isinstance(value, bytes) else None,
)
def test_what_is_wrong_is_named(request_: bytes, param: str | None) -> None:
    with pytest.raises(GatewayError) as refused:
        DIALECT.read_request(request_, Lost())
    assert (refused.value.fault, refused.value.param) == (INVALID_VALUE, param)


@pytest.mark.parametrize(
    "broken", [b"", b"{", b'{"model": "m"', b'\xff{"a": 1}', b'{"model": "\\ud800"}', b"[" * 9_000]
)
def test_what_is_no_json_is_refused(broken: bytes) -> None:
    with pytest.raises(GatewayError) as refused:
        DIALECT.read_request(broken, Lost())
    assert refused.value.fault is INVALID_JSON or broken.startswith(b"[")


def structs(type_: object) -> Iterator[type[msgspec.Struct]]:
    """All that a type is made of."""
    waiting, seen = [type_], set[object]()
    while waiting:
        match waiting.pop():
            case inspect.StructType(cls=cls, fields=fields) if cls not in seen:
                seen.add(cls)
                yield cls
                waiting += [field.type for field in fields]
            case inspect.UnionType(types=types):
                waiting += types
            case inspect.ListType(item_type=item):
                waiting.append(item)


@pytest.mark.parametrize("struct", [*structs(inspect.type_info(Wire))], ids=lambda struct: struct.__name__)
def test_no_part_of_a_request_passes_over_what_it_does_not_know(struct: type[msgspec.Struct]) -> None:
    assert struct.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("key", ["", "a b", "x\r\ny: z", "é", "k" * 65])
def test_a_key_that_looks_like_no_field_is_not_repeated(key: str) -> None:
    DIALECT.read_request(body(**{key: 1}), lost := Lost())
    assert lost.fields == ["?"]


def test_numbers_come_through_beside_a_field_that_nobody_knows() -> None:
    """Such a request is read a second time: what is kept unread must not change by it."""
    schema = b'{"multipleOf":0.10,"maximum":12345678901234567890,"minimum":1.5e-7}'
    tool = b'{"type":"function","function":{"name":"f","parameters":%b}}' % schema
    request = DIALECT.read_request(
        b'{"zap":1,"model":"m","messages":[{"role":"user","content":"x"}],"tools":[%b]}' % tool, lost := Lost()
    )
    assert lost.fields == ["zap"]
    assert request.tools[0].parameters is not None
    assert bytes(request.tools[0].parameters).replace(b"E-7", b"e-7") == schema


def test_an_unknown_entry_is_kept_whole_and_nothing_of_it_is_told_as_lost() -> None:
    tool = {"type": "web_search", "filters": {"a": [1]}}
    hologram = {"type": "hologram", "depth": 3}
    request = DIALECT.read_request(
        body(messages=[{"role": "user", "content": [hologram]}], tools=[tool]), lost := Lost()
    )
    assert lost.fields == []
    assert json.loads(bytes(request.hosted_tools[0].value)) == tool
    (block,) = request.messages[0].blocks
    assert isinstance(block, Opaque)
    assert json.loads(bytes(block.value)) == hologram


# -- requests of other dialects


def written(request: Request) -> tuple[dict[str, Any], list[str], list[str]]:
    lost = Lost()
    found = json.loads(DIALECT.write_request(request, lost))
    assert found.pop("model") == "m"
    return found, lost.fields, lost.hints


def of_user(*blocks: Block) -> Request:
    return Request(model="m", messages=[Message("user", list(blocks))])


def of_assistant(*blocks: Block) -> Request:
    return Request(model="m", messages=[Message("assistant", list(blocks))])


def call(**fields: Any) -> ToolCall:
    return ToolCall("call_a", "f", "{}", **fields)


PNG = Inline("image/png", "iVBORw0=")
RAW = msgspec.Raw(b'{"type":"web_search"}')
PATH = "messages[0].blocks[0]"


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (Image(Inline("", "/9j/4AA")), [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AA"}}]),
        (Document(text="Once", title="Tale", context="A tale"), "Tale\n\nA tale\n\nOnce"),
        (Document(text="Once"), "Once"),
        (
            Document(Inline("application/pdf", "JVBE")),
            [{"type": "file", "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBE"}}],
        ),
        (
            Audio(Inline("audio/x-wav", "UklG")),
            [{"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}],
        ),
        (
            Audio(Inline("audio/flac", "ZkxD")),
            [{"type": "input_audio", "input_audio": {"data": "ZkxD", "format": "flac"}}],
        ),
        (Video(Inline("", "AAAA")), [{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}]),
    ],
)
def test_blocks_of_a_user_have_their_place(block: Block, content: object) -> None:
    assert written(of_user(block)) == ({"messages": [{"role": "user", "content": content}]}, [], [])


@pytest.mark.parametrize(
    "block",
    [
        Image(StoredFile("file-1")),
        Document(Address("https://example.com/a.pdf")),
        Audio(StoredFile("file-1")),
        Video(StoredFile("file-1")),
        Opaque("anthropic", "container_upload", RAW),
        call(),
        Thinking("Hm"),
    ],
    ids=lambda block: type(block).__name__,
)
def test_blocks_of_a_user_without_a_place_are_told(block: Block) -> None:
    assert written(of_user(block)) == ({"messages": [{"role": "user", "content": ""}]}, [PATH], [])


def test_what_only_costs_more_is_a_hint() -> None:
    request = of_user(Text("a", CacheMark()), Image(PNG, cache=CacheMark("1h")), Text("b", citations=[Citation("u")]))
    request.tools = [Tool("f", cache=CacheMark())]
    assert written(request)[1:] == (
        [],
        [
            "messages[0].blocks[0].cache",
            "messages[0].blocks[1].cache",
            "messages[0].blocks[2].citations",
            "tools[0].cache",
        ],
    )


def test_a_document_that_is_to_be_cited_cannot_be() -> None:
    document = Document(Inline("application/pdf", "JVBE"), title="a.pdf", context="c", citations=True)
    assert written(of_user(document))[1:] == ([f"{PATH}.citations", f"{PATH}.context"], [])
    assert written(of_user(Document(text="Once", citations=True)))[1:] == ([f"{PATH}.citations"], [])


def test_results_come_first_and_their_images_behind_them_all() -> None:
    results: list[Block] = [
        Text("See"),
        ToolResult("call_a", [Image(PNG)], cache=CacheMark()),
        ToolResult(
            "call_b", [Text("18"), Document(text="sunny"), Opaque("anthropic", "search_result", RAW)], is_error=True
        ),
    ]
    calls = Message("assistant", [call(), ToolCall("call_b", "g", "")])
    found, fields, hints = written(Request(model="m", messages=[calls, Message("user", results)]))
    assert found["messages"][1:] == [
        {"role": "tool", "tool_call_id": "call_a", "content": "The result is in the next message of the user."},
        {
            "role": "tool",
            "tool_call_id": "call_b",
            "content": [{"type": "text", "text": "18"}, {"type": "text", "text": "sunny"}],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Result of the tool call call_a:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}},
                {"type": "text", "text": "See"},
            ],
        },
    ]
    assert found["messages"][0]["tool_calls"][1]["function"]["arguments"] == "{}"
    assert fields == ["messages[1].blocks[2].content[2]"]
    assert hints == [
        "messages[1].blocks[1].cache",
        "messages[1].blocks[1].content[0]",
        "messages[1].blocks[2].is_error",
    ]


@pytest.mark.parametrize(("content", "said"), [([], "The call has failed."), ([Text("No file")], "No file")])
def test_a_tool_that_has_failed_is_not_without_a_word(content: list[Any], said: str) -> None:
    failed = Message("user", [ToolResult("call_a", content, is_error=True)])
    found, _, hints = written(Request(model="m", messages=[Message("assistant", [call()]), failed]))
    assert found["messages"][1]["content"] == said
    assert hints == ["messages[1].blocks[0].is_error"]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ([Thinking("Hm"), Text("Hi")], {"content": "Hi", "reasoning_content": "Hm"}),
        ([Thinking("Hm", Signature("anthropic", "")), Text("Hi")], {"content": "Hi", "reasoning_content": "Hm"}),
        ([Text("A"), Text("B")], {"content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}),
        ([Audio(Inline("", ""), "Hi")], {"content": "Hi"}),
        ([], {"content": ""}),
    ],
)
def test_what_an_assistant_said_has_its_place(blocks: list[Block], said: dict[str, Any]) -> None:
    found, fields, _ = written(of_assistant(*blocks))
    assert found["messages"] == [{"role": "assistant", **said}]
    assert fields == []


@pytest.mark.parametrize(
    ("block", "fields", "hints"),
    [
        (Thinking("Hm", Signature("anthropic", "EqoB")), [], [PATH]),
        (Thinking(signature=Signature("openai_responses", "gAAA"), redacted=True), [], [PATH]),
        (call(signature=Signature("gemini", "Cg==")), [], [f"{PATH}.signature"]),
        (call(cache=CacheMark()), [], [f"{PATH}.cache"]),
        (Image(PNG), [PATH], []),
        (Opaque("anthropic", "server_tool_use", RAW), [PATH], []),
        (ToolResult("call_a"), [PATH], []),
    ],
)
def test_what_an_assistant_said_without_a_place_is_told(block: Block, fields: list[str], hints: list[str]) -> None:
    assert written(of_assistant(block, Text("Hi")))[1:] in (
        (fields, hints),
        (fields, [*hints, "messages[0].blocks[1]"]),
    )


def test_what_only_its_own_dialect_knows_goes_back_to_it() -> None:
    opaque = Opaque("openai_chat", "reference", RAW)
    found, *_ = written(
        Request(model="m", messages=[Message("assistant", [Text("Hi"), opaque]), Message("user", [opaque])])
    )
    assert found["messages"][0]["content"][1] == found["messages"][1]["content"][0] == json.loads(bytes(RAW))


def test_instructions_hold_texts_alone() -> None:
    blocks: list[Block] = [Text("Be brief."), Document(text="Rules"), Opaque("openai_chat", "x", RAW), Image(PNG)]
    found, fields, _ = written(Request(model="m", system=blocks, messages=[Message("user", [Text("Hi")])]))
    texts = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Rules"}]
    assert found["messages"][0] == {"role": "system", "content": [*texts, json.loads(bytes(RAW))]}
    assert fields == ["system[3]"]


@pytest.mark.parametrize("value", ["{", "{}", '{"type": "else"}', "[]"])
def test_a_signature_that_looks_like_a_detail_of_openrouter_is_none(value: str) -> None:
    found, *_ = written(of_assistant(Thinking("Hm", Signature("openai_chat", value))))
    assert found["messages"][0]["thinking_blocks"] == [{"type": "thinking", "thinking": "Hm", "signature": value}]


def test_a_text_behind_a_call_loses_its_place_alone() -> None:
    found, fields, hints = written(of_assistant(call(), Text("Done")))
    assert found["messages"][0]["content"] == "Done"
    assert (fields, hints) == ([], ["messages[0].blocks[1]"])


def test_an_id_that_is_too_long_is_the_same_in_the_call_and_in_its_result() -> None:
    name = "x" * 200
    calls = Message("assistant", [ToolCall(name, "f", "{}")])
    found, _, _ = written(Request(model="m", messages=[calls, Message("user", [ToolResult(name, [Text("1")])])]))
    made = found["messages"][0]["tool_calls"][0]["id"]
    assert made == found["messages"][1]["tool_call_id"]
    assert len(made) <= 40


@pytest.mark.parametrize(
    ("tokens", "effort"),
    [
        (1, "minimal"),
        (1_024, "minimal"),
        (1_025, "low"),
        (8_192, "medium"),
        (10_000, "high"),
        (32_768, "xhigh"),
        (32_769, "max"),
    ],
)
def test_a_budget_is_the_smallest_effort_that_has_as_much(tokens: int, effort: str) -> None:
    request = of_user(Text("Hi"))
    request.reasoning = Reasoning(budget_tokens=tokens)
    assert written(request)[0]["reasoning_effort"] == effort


def test_settings_without_a_place_are_told() -> None:
    request = of_user(Text("Hi"))
    request.top_k = 3
    request.reasoning = Reasoning("low", budget_tokens=5, shown=True)
    request.metadata = {"a": "b"}
    request.service_tier = "standard_only"
    request.hosted_tools = [HostedTool("anthropic", "web_search_20250305", RAW)]
    request.tool_choice = ToolChoice("required")
    assert written(request)[1:] == (
        ["top_k", "hosted_tools[0].web_search_20250305", "tool_choice"],
        ["reasoning.budget_tokens", "reasoning.shown", "metadata", "service_tier"],
    )


def test_a_choice_among_no_tools_is_left_out() -> None:
    """OpenAI refuses it, and it says nothing."""
    request = of_user(Text("Hi"))
    request.tool_choice, request.parallel_tool_calls = ToolChoice("auto"), True
    assert written(request) == ({"messages": [{"role": "user", "content": "Hi"}]}, [], [])


def test_a_schema_without_a_name_gets_one() -> None:
    request = of_user(Text("Hi"))
    request.output = OutputFormat("json_schema", schema=msgspec.Raw(b"{}"))
    assert written(request)[0]["response_format"]["json_schema"] == {"name": "answer", "schema": {}}


# -- cost


def _cpu_s(work: Callable[[], object]) -> float:
    def once() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return min(once() for _ in range(3))


def _unknown_parts(count: int) -> bytes:
    parts = [{"type": "hologram", "depth": i, "colour": "red"} for i in range(count)]
    return body(messages=[{"role": "user", "content": parts}])


def _unknown_fields(count: int) -> bytes:
    return body(messages=[{"role": "user", "content": "Hello", "mood": "good"} for _ in range(count)])


def _results_without_ids(count: int) -> bytes:
    calls = [{"function": {"name": "f", "arguments": "{}"}} for _ in range(count)]
    turns = [HELLO, {"role": "tool", "content": "1", "name": "f"}] * count
    return body(messages=[{"role": "assistant", "tool_calls": calls}, *turns])


@pytest.mark.parametrize("make", [_unknown_parts, _unknown_fields, _results_without_ids])
def test_an_odd_request_costs_no_more_than_its_length(make: Callable[[int], bytes]) -> None:
    few, many = make(100), make(1_000)
    one = _cpu_s(lambda: DIALECT.read_request(few, Lost()))
    assert _cpu_s(lambda: DIALECT.read_request(many, Lost())) < 30 * one


def test_a_request_costs_no_more_than_json_of_the_standard_library() -> None:
    turns: list[dict[str, Any]] = []
    for i in range(4):
        calls = [{"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": '{"path": "/a/b"}'}}]
        turns += [
            {"role": "user", "content": [{"type": "text", "text": "Look at this file and tell what it does. " * 3}]},
            {"role": "assistant", "content": "I will look.", "tool_calls": calls},
            {"role": "tool", "tool_call_id": f"c{i}", "content": "The file has twelve lines. " * 10},
        ]
    data = body(messages=turns, stream=True)

    def translated() -> None:
        for _ in range(100):
            DIALECT.write_request(DIALECT.read_request(data, Lost()), Lost())

    def reference() -> None:
        for _ in range(100):
            json.dumps(json.loads(data))

    assert _cpu_s(translated) < 4 * _cpu_s(reference)
