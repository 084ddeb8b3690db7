"""Writing requests for Anthropic: what other dialects say and this one says otherwise, and what is told as lost."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from gateway.base.errors import INVALID_VALUE, GatewayError
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
    Refusal,
    Request,
    Role,
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
from gateway.codec.dialects.anthropic import DIALECT

SONNET_45 = "claude-sonnet-4-5-20250929"
OPUS_46 = "claude-opus-4-6"
OPUS_48 = "claude-opus-4-8"
OPUS_5 = "claude-opus-5"
OPUS_55 = "claude-opus-5-5"
SONNET_55 = "claude-sonnet-5-5"
OTHER = "qwen3-coder"

TOOL = Tool("f", parameters=msgspec.Raw(b'{"type":"object"}'))
SCHEMA = msgspec.Raw(b'{"type":"object"}')
FORCED = {"tools": [TOOL], "tool_choice": ToolChoice("one", "f")}


def turn(role: Role, *blocks: Block, name: str = "") -> Message:
    return Message(role, list(blocks), name)


def request(*messages: Message, model: str = SONNET_45, **fields: Any) -> Request:
    fields.setdefault("max_output_tokens", 100_000)
    return Request(model=model, messages=list(messages) or [turn("user", Text("Hi"))], **fields)


def written(asked: Request) -> tuple[dict[str, Any], list[str], list[str]]:
    lost = Lost()
    body: dict[str, Any] = json.loads(DIALECT.write_request(asked, lost))
    return body, lost.fields, lost.hints


def content(*blocks: Block, role: Role = "user") -> tuple[Any, list[str], list[str]]:
    """Of one turn, after one of the user that keeps it company."""
    body, fields, hints = written(request(turn("user", Text("Hi")), turn("assistant", Text("Ho")), turn(role, *blocks)))
    return body["messages"][-1]["content"], fields, hints


# -- turns


def test_a_request_needs_a_bound_and_a_word() -> None:
    for asked, param in (
        (request(max_output_tokens=None), "max_tokens"),
        (Request(model=SONNET_45, messages=[], max_output_tokens=5), "messages"),
        (request(turn("user", Text(" "), Thinking("x"))), "messages"),
        (request(turn("user", Text(" "), Audio(Inline("audio/wav", "x")))), "messages[0].blocks[1]"),
    ):
        with pytest.raises(GatewayError) as caught:
            DIALECT.write_request(asked, Lost())
        assert (caught.value.fault, caught.value.param) == (INVALID_VALUE, param)


def test_turns_of_one_role_are_one_and_empty_ones_none() -> None:
    body, fields, hints = written(
        request(
            turn("user", Text("a")),
            turn("assistant", Text("")),
            turn("user", Text("b"), name="bob"),
            turn("system", Text("c")),
            turn("assistant", Text("d"), Refusal("e")),
            turn("assistant", Text("f \n")),
        )
    )
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": each} for each in "abc"]},
        {"role": "assistant", "content": [{"type": "text", "text": each} for each in "def"]},
    ]
    assert (fields, hints) == ([], ["messages[2].name", "messages[3].role"])


def test_results_come_first_in_their_turn_whatever_stands_between() -> None:
    body, fields, _ = written(
        request(
            turn("user", Text("a")),
            turn("assistant", ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}")),
            turn("user", ToolResult("1", [Text("x")])),
            turn("system", Text("b")),
            turn("user", Text("c"), ToolResult("2", [Text("y")])),
        )
    )
    kinds = [block.get("tool_use_id", block.get("text")) for block in body["messages"][2]["content"]]
    assert kinds == ["1", "2", "b", "c"]
    assert fields == []


def test_instructions_hold_texts_alone() -> None:
    body, fields, hints = written(
        request(system=[Text("a", CacheMark()), Text(" ", CacheMark("1h")), Image(Address("https://x.example"))])
    )
    assert body["system"] == [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]
    assert (fields, hints) == (["system[2]"], ["system[1].cache"])


# -- calls


@pytest.mark.parametrize(
    ("told", "safe"),
    [("toolu_1-X", "toolu_1-X"), ("functions.get:0", "functions_get_0_c0f4f93a"), ("é", "__0e048d3e")],
)
def test_ids_that_are_refused_are_made_good_and_results_follow(told: str, safe: str) -> None:
    body, fields, _ = written(
        request(turn("assistant", ToolCall(told, "f", "{}")), turn("user", ToolResult(told, [Text("x")])))
    )
    call, result = (message["content"][0] for message in body["messages"])
    assert call["id"] == result["tool_use_id"] == safe
    assert fields == []


def test_ids_that_look_alike_stay_apart() -> None:
    body, _, _ = written(
        request(turn("assistant", *(ToolCall(each, "f", "{}") for each in ("a.b", "a:b", "a b", "a_b"))))
    )
    assert len({call["id"] for call in body["messages"][0]["content"]}) == 4


def test_calls_without_ids_and_their_results_are_told_by_their_order() -> None:
    body, _, _ = written(
        request(
            turn("assistant", Text("x"), ToolCall("", "f", "{}"), ToolCall("", "g", "{}")),
            turn("user", ToolResult("", [Text("1")]), ToolResult("", [Text("2")]), ToolResult("", [Text("3")])),
        )
    )
    calls, results = (message["content"] for message in body["messages"])
    assert [call.get("id") for call in calls] == [None, "call_0_1", "call_0_2"]
    assert [result["tool_use_id"] for result in results] == ["call_0_1", "call_0_2", "call_unknown"]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ("", {}),
        (" ", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": ', {"INVALID_JSON": '{"a": '}),
        ("[1]", {"INVALID_JSON": "[1]"}),
        ("null", {"INVALID_JSON": "null"}),
    ],
)
def test_arguments_are_an_object_whatever_a_model_wrote(arguments: str, sent: dict[str, Any]) -> None:
    blocks, fields, hints = content(ToolCall("1", "f", arguments), role="assistant")
    del fields, hints
    assert blocks[-1]["input"] == sent


def test_the_text_of_arguments_is_kept() -> None:
    raw = DIALECT.write_request(request(turn("assistant", ToolCall("1", "f", '{ "a":1.0 ,"b":1e2}'))), Lost())
    assert b'"input":{ "a":1.0 ,"b":1e2}' in raw


def test_a_tool_of_free_text_has_one_parameter() -> None:
    grammar = msgspec.Raw(b'{"syntax":"lark"}')
    body, fields, _ = written(
        request(
            turn("assistant", ToolCall("1", "patch", "*** Begin", custom=True)),
            tools=[Tool("patch", "Applies it", custom=True, grammar=grammar)],
        )
    )
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert body["messages"][0]["content"][0]["input"] == {"input": "*** Begin"}
    assert fields == ["tools[0].grammar"]


def test_results_hold_what_they_can() -> None:
    blocks, fields, hints = content(
        ToolResult("1", []),
        ToolResult("2", [Text(" ")], is_error=True),
        ToolResult("3", [Text("a"), Text(""), Opaque("gemini", "x", msgspec.Raw(b"{}")), Document(text="d")]),
        ToolResult("4", [Text("a", CacheMark())], cache=CacheMark("5m")),
    )
    assert blocks == [
        {"type": "tool_result", "tool_use_id": "1"},
        {"type": "tool_result", "tool_use_id": "2", "is_error": True, "content": "(no output)"},
        {
            "type": "tool_result",
            "tool_use_id": "3",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}},
            ],
        },
        {
            "type": "tool_result",
            "tool_use_id": "4",
            "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            "cache_control": {"type": "ephemeral", "ttl": "5m"},
        },
    ]
    assert (fields, hints) == (["messages[2].blocks[2].content[2]"], [])


# -- thoughts, citations, marks


def test_only_its_own_signed_thoughts_go_back() -> None:
    own, other = Signature("anthropic", "Eq"), Signature("gemini", "Co")
    body, fields, hints = written(
        request(
            turn("user", Text("a")),
            turn(
                "assistant",
                Thinking("kept", own),
                Thinking(signature=own, redacted=True),
                Thinking("other", other),
                Thinking("unsigned"),
                ToolCall("1", "f", "{}", signature=other),
            ),
        )
    )
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "kept", "signature": "Eq"},
        {"type": "redacted_thinking", "data": "Eq"},
        {"type": "tool_use", "id": "1", "name": "f", "input": {}},
    ]
    assert fields == []
    assert hints == ["messages[1].blocks[2]", "messages[1].blocks[3]", "messages[1].blocks[4].signature"]


def test_only_its_own_citations_go_back_and_only_the_assistants() -> None:
    own = Citation(raw=msgspec.Raw(b'{"type":"char_location"}'), dialect="anthropic")
    text = Text("x", citations=[own, Citation(url="https://example.com")])
    body, _, hints = written(request(turn("user", text), turn("assistant", text)))
    assert body["messages"][0]["content"] == "x"
    assert body["messages"][1]["content"] == [{"type": "text", "text": "x", "citations": [{"type": "char_location"}]}]
    assert hints == ["messages[0].blocks[0].citations", "messages[1].blocks[0].citations"]


def test_of_too_many_marks_the_last_stay() -> None:
    marked = [Text(str(i), CacheMark()) for i in range(4)]
    body, fields, hints = written(
        request(turn("user", *marked), system=[Text("s", CacheMark())], tools=[Tool("f", cache=CacheMark())])
    )
    assert all("cache_control" in block for block in body["messages"][0]["content"])
    assert "cache_control" not in body["system"][0] and "cache_control" not in body["tools"][0]
    assert (fields, hints) == ([], ["tools[0].cache", "system[0].cache"])


# -- images, documents and the rest

TEXT_64 = base64.b64encode("Grüezi".encode()).decode()


@pytest.mark.parametrize(
    ("block", "source"),
    [
        (Image(Inline("image/png", "iVBOR")), {"type": "base64", "media_type": "image/png", "data": "iVBOR"}),
        (Image(Inline("image/jpg", "x")), {"type": "base64", "media_type": "image/jpeg", "data": "x"}),
        (Image(Inline("", "/9j/4AAQ")), {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}),
        (Image(Inline("", "UklGRh")), {"type": "base64", "media_type": "image/webp", "data": "UklGRh"}),
        (Image(Address("https://example.com/a.png")), {"type": "url", "url": "https://example.com/a.png"}),
        (Image(StoredFile("file_01")), {"type": "file", "file_id": "file_01"}),
        (Image(Inline("image/svg+xml", "PHN2Zz4=")), None),
        (Image(Inline("", "????")), None),
        (Image(Address("gs://bucket/a.png")), None),
        (Image(StoredFile("file-of-openai")), None),
        (
            Document(Inline("application/pdf", "JVBERi0x")),
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"},
        ),
        (Document(Inline("", "JVBERi0x")), {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}),
        (
            Document(Inline("text/markdown; charset=utf-8", TEXT_64)),
            {"type": "text", "media_type": "text/plain", "data": "Grüezi"},
        ),
        (Document(Inline("application/json", TEXT_64)), {"type": "text", "media_type": "text/plain", "data": "Grüezi"}),
        (Document(text="x"), {"type": "text", "media_type": "text/plain", "data": "x"}),
        (Document(Address("https://example.com/a.pdf")), {"type": "url", "url": "https://example.com/a.pdf"}),
        (Document(StoredFile("file_01")), {"type": "file", "file_id": "file_01"}),
        (Document(Inline("application/msword", "x")), None),
        (Document(Inline("text/plain", "?")), None),
        (Document(Inline("text/plain", base64.b64encode(b"\xff").decode())), None),
        (Document(Address("https://example.com/a.docx", "application/msword")), None),
        (Document(), None),
        (Audio(Inline("audio/wav", "x")), None),
        (Video(Address("https://example.com/a.mp4")), None),
        (Opaque("openai_responses", "web_search_call", msgspec.Raw(b"{}")), None),
    ],
)
def test_media_go_as_anthropic_takes_them_or_are_told(block: Block, source: dict[str, Any] | None) -> None:
    body, fields, _ = written(request(turn("user", Text("?"), block)))
    if source is None:
        assert body["messages"][0]["content"] == "?"
        assert fields == ["messages[0].blocks[1]"]
    else:
        assert body["messages"][0]["content"][1]["source"] == source
        assert fields == []


def test_media_stand_in_turns_of_the_user_alone_and_details_are_hints() -> None:
    image = Image(Address("https://example.com/a.png"), "high")
    body, fields, hints = written(request(turn("user", image), turn("assistant", Text("x"), image, Document(text="x"))))
    assert body["messages"][1]["content"] == "x"
    assert fields == ["messages[1].blocks[1]", "messages[1].blocks[2]"]
    assert hints == ["messages[0].blocks[0].detail"]


def test_calls_and_results_stand_in_their_own_turns() -> None:
    _, fields, _ = written(
        request(turn("user", Text("x"), ToolCall("1", "f", "{}")), turn("assistant", Text("x"), ToolResult("1")))
    )
    assert fields == ["messages[0].blocks[1]", "messages[1].blocks[1]"]


# -- tools and settings


@pytest.mark.parametrize(
    ("parameters", "sent"),
    [
        (None, {"type": "object", "properties": {}}),
        (b"null", {"type": "object", "properties": {}}),
        (b"{}", {"type": "object"}),
        (b'{"properties":{"a":{}}}', {"properties": {"a": {}}, "type": "object"}),
        (b'{"type":null}', {"type": "object"}),
        (b'{"type":"object","x":1}', {"type": "object", "x": 1}),
    ],
)
def test_a_schema_is_of_an_object(parameters: bytes | None, sent: dict[str, Any]) -> None:
    schema = msgspec.Raw(parameters) if parameters is not None else None
    body, _, _ = written(request(tools=[Tool("f", parameters=schema)]))
    assert body["tools"][0]["input_schema"] == sent


def test_hosted_tools_of_others_are_lost() -> None:
    own = HostedTool("anthropic", "bash_20250124", msgspec.Raw(b'{"type":"bash_20250124","name":"bash"}'))
    other = HostedTool("openai_responses", "file_search", msgspec.Raw(b"{}"))
    body, fields, _ = written(request(hosted_tools=[other, own]))
    assert body["tools"] == [{"type": "bash_20250124", "name": "bash"}]
    assert fields == ["hosted_tools[0].file_search"]


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("required"), None, {"type": "any"}),
        (ToolChoice("one", "f"), False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (None, True, {"type": "auto", "disable_parallel_tool_use": False}),
        (None, None, None),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice | None, parallel: bool | None, sent: dict[str, Any] | None) -> None:
    body, fields, hints = written(request(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel))
    assert body.get("tool_choice") == sent
    assert (fields, hints) == ([], [])


def test_allowed_tools_are_the_only_ones() -> None:
    body, fields, hints = written(
        request(tools=[TOOL, Tool("g"), Tool("h")], tool_choice=ToolChoice("required", allowed=["f", "h"]))
    )
    assert [tool["name"] for tool in body["tools"]] == ["f", "h"]
    assert (fields, hints) == ([], ["tool_choice.allowed"])


def test_a_choice_without_tools_is_left_out() -> None:
    assert written(request(tool_choice=ToolChoice("auto"), parallel_tool_calls=False))[0].keys() == {
        *("model", "max_tokens", "messages"),
    }
    assert written(request(tool_choice=ToolChoice("required")))[1] == ["tool_choice"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("choices", 2),
        ("seed", 0),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1.0),
        ("logit_bias", msgspec.Raw(b'{"1":2}')),
        ("logprobs", 0),
        ("verbosity", "low"),
        ("output", OutputFormat("json")),
    ],
)
def test_what_changes_an_answer_and_has_no_place_is_lost(field: str, value: Any) -> None:
    body, fields, hints = written(request(**{field: value}))
    assert body.keys() == {"model", "max_tokens", "messages"}
    assert (fields, hints) == ([field], [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("metadata", {"a": "b"}), ("store", True), ("service_tier", "flex"), ("user", "u" * 257)],
)
def test_what_does_not_change_an_answer_is_a_hint(field: str, value: Any) -> None:
    body, fields, hints = written(request(**{field: value}))
    assert body.keys() == {"model", "max_tokens", "messages"}
    assert (fields, hints) == ([], [field])


@pytest.mark.parametrize(
    ("field", "value"), [("store", False), ("frequency_penalty", 0.0), ("output", OutputFormat("text")), ("stop", [])]
)
def test_what_says_nothing_is_not_told(field: str, value: Any) -> None:
    assert written(request(**{field: value}))[1:] == ([], [])


def test_stops_tiers_users_and_schemas() -> None:
    body, fields, _ = written(
        request(
            stop=["a", " ", "b"],
            service_tier="default",
            user="u",
            stream=True,
            output=OutputFormat("json_schema", "n", "d", SCHEMA, strict=True),
        )
    )
    assert body["stop_sequences"] == ["a", "b"]
    assert body["service_tier"] == "standard_only"
    assert body["metadata"] == {"user_id": "u"}
    assert body["stream"] is True
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert fields == ["stop[1]"]


def test_schemas_and_strict_tools_are_of_models_that_have_them() -> None:
    old = "claude-sonnet-4-20250514"
    asked = {
        "output": OutputFormat("json_schema", schema=SCHEMA),
        "tools": [Tool("f", strict=True), Tool("g", strict=False)],
    }
    body, fields, _ = written(request(model=SONNET_45, **asked))
    assert "strict" in body["tools"][0] and "strict" not in body["tools"][1] and fields == []
    body, fields, _ = written(request(model=old, **asked))
    assert "strict" not in body["tools"][0] and "output_config" not in body
    assert fields == ["tools[0].strict", "output"]


# -- sampling


@pytest.mark.parametrize(
    ("model", "asked", "sent", "lost"),
    [
        (OTHER, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, []),
        (SONNET_45, {"temperature": 0.5, "top_k": 5}, {"temperature": 0.5, "top_k": 5}, []),
        (SONNET_45, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["top_p"]),
        (SONNET_45, {"temperature": 0.5, "top_p": 1.0}, {"temperature": 0.5}, []),
        (SONNET_45, {"top_p": 0.9}, {"top_p": 0.9}, []),
        (SONNET_45, {"temperature": 1.7}, {"temperature": 1.0}, ["temperature"]),
        (OPUS_48, {"temperature": 0.5, "top_p": 0.99, "top_k": 5}, {}, ["temperature", "top_k", "top_p"]),
        (OPUS_48, {"temperature": 1.0, "top_p": 1.0}, {}, []),
    ],
)
def test_sampling_is_of_models_that_take_it(
    model: str, asked: dict[str, Any], sent: dict[str, Any], lost: list[str]
) -> None:
    body, fields, _ = written(request(model=model, **asked))
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sent
    assert fields == lost


def test_sampling_beside_thinking() -> None:
    asked: dict[str, Any] = {"reasoning": Reasoning("low"), "temperature": 0.5, "top_k": 5}
    body, fields, _ = written(request(top_p=0.96, **asked))
    assert body["top_p"] == 0.96 and "temperature" not in body and fields == ["temperature", "top_k"]
    body, fields, _ = written(request(top_p=0.9, **asked))
    assert "top_p" not in body and fields == ["temperature", "top_k", "top_p"]


# -- thinking

ADAPTIVE = {"type": "adaptive"}
DISABLED = {"type": "disabled"}


def budget(tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": tokens}


@pytest.mark.parametrize(
    ("model", "asked", "thinking", "effort", "hints"),
    [
        (SONNET_45, Reasoning("minimal"), budget(1_024), None, []),
        (SONNET_45, Reasoning("low"), budget(2_048), None, []),
        (OTHER, Reasoning("medium"), budget(8_192), None, []),
        (SONNET_45, Reasoning("high"), budget(16_384), None, []),
        (SONNET_45, Reasoning("xhigh"), budget(32_768), None, []),
        (SONNET_45, Reasoning("max"), budget(65_536), None, []),
        (SONNET_45, Reasoning(adaptive=True), budget(16_384), None, []),
        (SONNET_45, Reasoning(budget_tokens=5_000), budget(5_000), None, []),
        (SONNET_45, Reasoning(budget_tokens=10, shown=True), budget(1_024), None, []),
        (SONNET_45, Reasoning("low", shown=False), {**budget(2_048), "display": "omitted"}, None, []),
        (SONNET_45, Reasoning("none"), DISABLED, None, []),
        (SONNET_45, Reasoning(shown=False), None, None, []),
        ("claude-opus-4-5", Reasoning("high"), budget(16_384), "high", []),
        ("claude-opus-4-5", Reasoning("max"), budget(65_536), None, []),
        ("claude-3-5-haiku-20241022", Reasoning("high"), None, None, ["reasoning"]),
        ("claude-3-5-haiku-20241022", Reasoning("none"), None, None, []),
        (OPUS_46, Reasoning("minimal"), ADAPTIVE, "low", []),
        (OPUS_46, Reasoning("xhigh"), ADAPTIVE, "high", ["reasoning.effort"]),
        (OPUS_46, Reasoning("max"), ADAPTIVE, "max", []),
        (OPUS_48, Reasoning("xhigh", shown=True), {**ADAPTIVE, "display": "summarized"}, "xhigh", []),
        (OPUS_48, Reasoning(adaptive=True, shown=False), {**ADAPTIVE, "display": "omitted"}, None, []),
        (OPUS_48, Reasoning(shown=True), {**ADAPTIVE, "display": "summarized"}, None, []),
        (OPUS_48, Reasoning(budget_tokens=2_048), ADAPTIVE, "low", []),
        (OPUS_48, Reasoning(budget_tokens=2_049), ADAPTIVE, "medium", []),
        (OPUS_48, Reasoning(budget_tokens=99_999), ADAPTIVE, "max", []),
        (OPUS_48, Reasoning("none"), DISABLED, None, []),
        (OPUS_55, Reasoning("none"), None, "low", ["reasoning"]),
        (SONNET_55, Reasoning("none"), DISABLED, None, []),
        ("claude-fable-5-2", Reasoning("high"), ADAPTIVE, "high", []),
    ],
)
def test_thinking_is_asked_for_in_the_models_words(
    model: str, asked: Reasoning, thinking: dict[str, Any] | None, effort: str | None, hints: list[str]
) -> None:
    body, fields, told = written(request(model=model, reasoning=asked))
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert (fields, told) == ([], hints)


@pytest.mark.parametrize(
    ("most", "asked", "sent"),
    [(8_193, 8_192, 8_192), (8_192, 8_192, 6_553), (1_280, 8_192, 1_024), (1_279, 8_192, None), (100, 1_024, None)],
)
def test_a_budget_leaves_room_for_the_answer(most: int, asked: int, sent: int | None) -> None:
    body, fields, hints = written(request(max_output_tokens=most, reasoning=Reasoning(budget_tokens=asked)))
    assert body.get("thinking") == (budget(sent) if sent is not None else None)
    assert (fields, hints) == ([], [] if sent is not None else ["reasoning"])


@pytest.mark.parametrize(
    ("model", "thinking", "choice", "fields", "hints"),
    [
        (SONNET_45, None, "tool", [], ["reasoning"]),
        (OPUS_46, DISABLED, "tool", [], ["reasoning"]),
        (OPUS_5, DISABLED, "tool", [], ["reasoning"]),
        (OPUS_55, ADAPTIVE, "auto", ["tool_choice"], []),
        (SONNET_55, ADAPTIVE, "auto", ["tool_choice"], []),
    ],
)
def test_a_forced_tool_and_thinking_exclude_each_other(
    model: str, thinking: dict[str, Any] | None, choice: str, fields: list[str], hints: list[str]
) -> None:
    body, lost, told = written(request(model=model, reasoning=Reasoning("max"), **FORCED))
    assert body.get("thinking") == thinking
    assert body["tool_choice"]["type"] == choice
    assert (lost, told) == (fields, hints)
    if model == OPUS_5:
        assert body["output_config"] == {"effort": "high"}  # more goes with thinking alone


def test_a_turn_that_another_provider_has_begun_goes_on_without_a_budget() -> None:
    signed = Thinking("x", Signature("anthropic", "Eq"))
    call, result = ToolCall("1", "f", "{}"), turn("user", ToolResult("1", [Text("x")]))
    for blocks, thinks in (([call], False), ([signed, call], True), ([Text("x"), call], False)):
        asked = request(turn("user", Text("Hi")), turn("assistant", *blocks), result, reasoning=Reasoning("low"))
        body, fields, hints = written(asked)
        assert ("thinking" in body) is thinks
        assert (fields, hints) == ([], [] if thinks else ["reasoning"])
        asked.messages.append(turn("assistant", Text("Done")))
        asked.messages.append(turn("user", Text("Go on")))
        assert "thinking" in written(asked)[0]
        asked.model = OPUS_46
        del asked.messages[-2:]
        assert written(asked)[0]["thinking"] == ADAPTIVE  # such a model does not mind
