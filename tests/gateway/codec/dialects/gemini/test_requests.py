"""Requests of Gemini's dialect: what they mean, how that is written, and what is told of what is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.base.errors import GatewayError
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
    Signature,
    StoredFile,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from gateway.codec.dialects.gemini import DIALECT
from tests.support.goldens import cases, plain

HERE = Path(__file__).parent
PNG = Inline("image/png", "iVBORw0KGgo=")


def read(body: Any) -> tuple[Request, Lost]:
    lost = Lost()
    return DIALECT.read_request(json.dumps(body).encode(), lost), lost


def written(request: Request) -> tuple[dict[str, Any], Lost]:
    lost = Lost()
    return json.loads(DIALECT.write_request(request, lost)), lost


def asked(*messages: Message, model: str = "gemini-2.5-flash", **fields: Any) -> Request:
    return Request(model=model, messages=list(messages) or [Message("user", [Text("Hi")])], **fields)


def user(*blocks: Block) -> Message:
    return Message("user", list(blocks))


def answered(*blocks: Block) -> Message:
    return Message("assistant", list(blocks))


@pytest.mark.parametrize("path", cases(HERE / "requests"), ids=lambda path: path.stem)
def test_a_request_means_and_is_written_as_the_golden_file_says(path: Path) -> None:
    golden = json.loads(path.read_text())
    request, lost = read(golden["body"])
    assert plain(request) == golden["canonical"]
    assert (lost.fields, lost.hints) == (golden.get("lost", []), golden.get("hints", []))
    assert written(request)[0] == golden.get("written", golden["body"])


# -- what is wrong


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": "Hi"}, "contents"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "Hi"}]}]}, "contents[0].role"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"thought": True}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": "a", "inlineData": {"mimeType": "a/b"}}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"functionCall": {"args": {}}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [{"parts": [{"functionResponse": {}}]}]}, "contents[0].parts[0].functionResponse.name"),
        ({"contents": [{"parts": [{"inline_data": {"mime_type": 1}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"tools": [{"functionDeclarations": [{"description": "?"}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "toolConfig.functionCallingConfig.mode"),
        ({"generationConfig": {"temperature": 3}}, "generationConfig.temperature"),
        ({"generationConfig": {"topP": -1}}, "generationConfig.topP"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"candidateCount": 0}}, "generationConfig.candidateCount"),
        ({"generationConfig": {"stopSequences": "END"}}, "generationConfig.stopSequences"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "VAST"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": -2}}},
            "generationConfig.thinkingConfig.thinkingBudget",
        ),
        ({"systemInstruction": {"parts": [{"functionCall": {"name": "f"}}]}}, "systemInstruction.parts[0]"),
        ({"labels": {"a": 1}}, "labels[...]"),
        ({"generationConfig": {"topK": 1}, "generation_config": {"topK": 2}}, "generation_config"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str) -> None:
    if param != "contents":
        body = {"contents": [{"parts": [{"text": "Hi"}]}]} | body
    with pytest.raises(GatewayError) as caught:
        read(body)
    assert caught.value.param == param
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'{"contents": [', "invalid_json"),
        (b'{"contents": tru}', "invalid_json"),
        (b'{"contents": "\xff"}', "invalid_json"),
        (b'{"contents": [], "contents": []}', "duplicate_key"),
        (b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}", "json_too_deep"),
    ],
)
def test_what_is_no_json_is_told(body: bytes, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        DIALECT.read_request(body, Lost())
    assert caught.value.fault.code == code


def test_a_field_that_stands_twice_in_two_spellings_is_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        read({"contents": [{"parts": [{"inlineData": {"data": "a"}, "inline_data": {"data": "b"}}]}]})
    assert caught.value.fault.code == "duplicate_key"


# -- calls and results


def test_a_result_without_an_id_answers_the_first_open_call_of_its_function() -> None:
    call = {"functionCall": {"name": "f"}}
    result = {"functionResponse": {"name": "f", "response": {"output": "x"}}}
    turns = [("user", {"text": "?"}), ("model", call), ("user", result), ("model", call), ("user", result)]
    request, _ = read({"contents": [{"role": role, "parts": [part]} for role, part in turns]})
    ids = [block.call_id for message in request.messages for block in message.blocks if isinstance(block, ToolResult)]
    assert ids == ["call_1_0", "call_3_0"]


def test_a_result_of_no_known_call_gets_an_id_from_its_place() -> None:
    request, _ = read({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]})
    assert request.messages[0].blocks == [ToolResult("call_0_0", [Text("{}")], name="f")]


def test_results_in_several_turns_stand_in_one_content_behind_their_calls() -> None:
    body, lost = written(
        asked(
            user(Text("?")),
            answered(ToolCall("a", "f", '{"x": 1}'), ToolCall("b", "g", "")),
            user(ToolResult("a", [Text("one")])),
            user(ToolResult("b", [Text('{"two": 2}')])),
            user(Text("Well?")),
        )
    )
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][1]["parts"] == [
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}},
        {"functionCall": {"id": "b", "name": "g", "args": {}}},
    ]
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"id": "a", "name": "f", "response": {"output": "one"}}},
        {"functionResponse": {"id": "b", "name": "g", "response": {"two": 2}}},
        {"text": "Well?"},
    ]
    assert not lost.fields and not lost.hints


def test_a_result_that_no_call_came_before_is_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        written(asked(user(ToolResult("nobody", [Text("x")]))))
    assert caught.value.param == "messages[0].blocks[0].call_id"


@pytest.mark.parametrize(
    ("arguments", "custom", "args"),
    [
        ('{"a": 1.0, "b": [1e5]}', False, {"a": 1.0, "b": [1e5]}),
        ("", False, {}),
        (" ", False, {}),
        ('{"a": ', False, {"_raw": '{"a": '}),
        ("[1]", False, {"_raw": "[1]"}),
        ('{"a": 1} and', False, {"_raw": '{"a": 1} and'}),
        ("*** Begin Patch", True, {"input": "*** Begin Patch"}),
    ],
)
def test_arguments_that_are_no_object_are_carried_and_never_dropped(arguments: str, custom: bool, args: Any) -> None:
    body, _ = written(asked(answered(ToolCall("a", "f", arguments, custom))))
    assert body["contents"][0]["parts"][0]["functionCall"]["args"] == args


def test_arguments_are_carried_as_they_are_written() -> None:
    text = '{"id": 12345678901234567890123, "n": 1.10}'
    assert text.encode() in DIALECT.write_request(asked(answered(ToolCall("a", "f", text))), Lost())


@pytest.mark.parametrize(("model", "nested"), [("gemini-3-pro", True), ("gemini-2.5-pro", False)])
def test_pictures_of_a_result_stand_where_the_model_takes_them(model: str, nested: bool) -> None:
    results = ToolResult("a", [Text("map"), Image(PNG)]), ToolResult("b", [Text("none")], is_error=True)
    calls = answered(ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))
    body, _ = written(asked(calls, user(*results, Text("?")), model=model))
    first, second, *rest = body["contents"][1]["parts"]
    picture = {"inlineData": {"mimeType": "image/png", "data": PNG.data}}
    assert first["functionResponse"]["response"] == {"output": "map"}
    assert second["functionResponse"]["response"] == {"error": "none"}
    assert first["functionResponse"].get("parts") == ([picture] if nested else None)
    assert rest == ([{"text": "?"}] if nested else [picture, {"text": "?"}])


# -- thoughts


def test_the_first_call_that_google_did_not_sign_gets_its_word_for_that_from_gemini_3_on() -> None:
    turn = answered(ToolCall("a", "f", "{}", signature=Signature("anthropic", "x")), ToolCall("b", "f", "{}"))
    for model, marks in (
        ("gemini-3-pro-preview", ["skip_thought_signature_validator", None]),
        ("gemini-2.5-pro", [None, None]),
    ):
        body, lost = written(asked(turn, model=model))
        assert [part.get("thoughtSignature") for part in body["contents"][0]["parts"]] == marks
        assert lost.hints == ["messages[0].blocks[0].signature"]


def test_a_call_that_google_signed_keeps_its_signature() -> None:
    body, lost = written(
        asked(answered(ToolCall("a", "f", "{}", signature=Signature("gemini", "c2ln"))), model="gemini-3-pro")
    )
    assert body["contents"][0]["parts"][0]["thoughtSignature"] == "c2ln"
    assert not lost.hints


def test_thoughts_of_another_provider_are_left_out_and_told() -> None:
    foreign = Signature("anthropic", "EqQB")
    thoughts = Thinking("Hm.", foreign), Thinking(signature=foreign, redacted=True), Thinking("Own.")
    body, lost = written(asked(answered(*thoughts, Text("42"))))
    assert body["contents"][0]["parts"] == [{"text": "Own.", "thought": True}, {"text": "42"}]
    assert lost.hints == ["messages[0].blocks[0]", "messages[0].blocks[1]"]


@pytest.mark.parametrize(
    ("model", "reasoning", "config", "hints"),
    [
        ("gemini-2.5-flash", Reasoning("none"), {"thinkingBudget": 0}, []),
        ("gemini-2.5-flash", Reasoning("minimal"), {"thinkingBudget": 1_024}, []),
        ("gemini-2.5-flash", Reasoning("low"), {"thinkingBudget": 2_048}, []),
        ("gemini-2.5-flash", Reasoning("medium"), {"thinkingBudget": 8_192}, []),
        ("gemini-2.5-flash", Reasoning("high", shown=True), {"thinkingBudget": 16_384, "includeThoughts": True}, []),
        ("gemini-2.5-flash", Reasoning("max"), {"thinkingBudget": 24_576}, ["reasoning.effort"]),
        ("gemini-2.5-pro", Reasoning("xhigh"), {"thinkingBudget": 32_768}, []),
        ("gemini-2.5-pro", Reasoning(budget_tokens=63_999), {"thinkingBudget": 32_768}, ["reasoning.budget_tokens"]),
        ("gemini-2.5-pro", Reasoning("high", adaptive=True), {"thinkingBudget": -1}, []),
        ("gemini-3-flash", Reasoning("none"), {"thinkingLevel": "MINIMAL"}, ["reasoning.effort"]),
        ("gemini-3-flash", Reasoning("low"), {"thinkingLevel": "LOW"}, []),
        ("gemini-3-flash", Reasoning("high", adaptive=True), {"thinkingLevel": "HIGH"}, []),
        ("gemini-3-flash", Reasoning("max"), {"thinkingLevel": "XHIGH"}, []),
        ("gemini-3-flash", Reasoning(budget_tokens=63_999), {"thinkingBudget": 63_999}, []),
        ("gemini-flash-latest", Reasoning("medium"), {"thinkingLevel": "MEDIUM"}, []),
        ("gemini-3-flash", Reasoning(adaptive=True, shown=False), {"thinkingBudget": -1, "includeThoughts": False}, []),
    ],
)
def test_effort_is_a_budget_for_gemini_2_and_a_level_from_gemini_3_on(
    model: str, reasoning: Reasoning, config: dict[str, Any], hints: list[str]
) -> None:
    body, lost = written(asked(model=model, reasoning=reasoning))
    assert body["generationConfig"]["thinkingConfig"] == config
    assert lost.hints == hints


# -- what Gemini has no place for


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


MARK = CacheMark()
LOST: list[tuple[Request, list[str], list[str]]] = [
    (asked(parallel_tool_calls=False), ["parallel_tool_calls"], []),
    (asked(parallel_tool_calls=True), [], []),
    (asked(logit_bias=raw({"1": 2})), ["logit_bias"], []),
    (asked(verbosity="low"), ["verbosity"], []),
    (asked(user="u-1"), [], ["user"]),
    (asked(store=False), [], ["store"]),
    (asked(metadata={"User_ID": "A b"}), [], ["metadata"]),
    (asked(metadata={"team": "blue"}), [], []),
    (asked(service_tier="scale"), [], ["service_tier"]),
    (asked(service_tier="auto"), [], []),
    (asked(hosted_tools=[HostedTool("anthropic", "web_search", raw({}))]), ["hosted_tools[0].web_search"], []),
    (asked(tools=[Tool("f", cache=MARK), Tool("p", custom=True)]), [], ["tools[0].cache"]),
    (asked(tools=[Tool("p", custom=True, grammar=raw({}))]), ["tools[0].grammar"], []),
    (asked(tool_choice=ToolChoice("required")), ["tool_choice"], []),
    (asked(output=OutputFormat("json_schema", "n", "d", raw({}))), ["output.description"], ["output.name"]),
    (asked(system=[Text("s", MARK), Refusal("no")]), ["system[1]"], ["system[0].cache"]),
    (asked(Message("system", [Text("s")])), [], ["messages[0].role"]),
    (asked(Message("user", [Text("s")], "ann")), ["messages[0].name"], []),
    (
        asked(user(Text("a", MARK, [Citation("u")]))),
        [],
        ["messages[0].blocks[0].citations", "messages[0].blocks[0].cache"],
    ),
    (asked(user(Image(PNG, "high", MARK))), [], ["messages[0].blocks[0].detail", "messages[0].blocks[0].cache"]),
    (asked(user(Image(PNG, "auto"))), [], []),
    (asked(user(Text("a"), Image(StoredFile("file-1")))), ["messages[0].blocks[1]"], []),
    (asked(user(Text("a"), Audio(StoredFile("audio_1"), "Hello."))), [], ["messages[0].blocks[1]"]),
    (asked(user(Audio(Inline("audio/wav", "UklG"), "Hi."))), [], ["messages[0].blocks[0].transcript"]),
    (
        asked(user(Document(text="t", context="c", citations=True))),
        ["messages[0].blocks[0].context", "messages[0].blocks[0].citations"],
        [],
    ),
    (asked(user(Text("a")), answered(Refusal("No."))), [], ["messages[1].blocks[0]"]),
    (asked(user(Text("a"), Opaque("anthropic", "x", raw({})))), ["messages[0].blocks[1]"], []),
    (
        asked(answered(ToolCall("a", "f", "{}")), user(ToolResult("a", [Opaque("anthropic", "x", raw({}))]))),
        ["messages[1].blocks[0].content[0]"],
        [],
    ),
]


@pytest.mark.parametrize(("request_", "fields", "hints"), LOST)
def test_what_has_no_place_is_told(request_: Request, fields: list[str], hints: list[str]) -> None:
    before = msgspec.to_builtins(request_, enc_hook=lambda _: None)
    _, lost = written(request_)
    assert (lost.fields, lost.hints) == (fields, hints)
    assert msgspec.to_builtins(request_, enc_hook=lambda _: None) == before


def test_a_conversation_of_nothing_is_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        written(Request(model="m", messages=[], system=[Text("Be brief.")]))
    assert caught.value.param == "messages"


def test_a_turn_of_the_system_stands_at_its_place() -> None:
    turns = user(Text("a")), answered(Text("b")), Message("system", [Text("Be brief.")]), user(Text("c"))
    body, _ = written(asked(*turns))
    assert body["contents"][2] == {"role": "user", "parts": [{"text": "Be brief."}, {"text": "c"}]}


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (Inline("", "UklGRiQAAABXRUJQ"), {"inlineData": {"mimeType": "image/webp", "data": "UklGRiQAAABXRUJQ"}}),
        (Inline("", "/9j/4AAQ"), {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/4AAQ"}}),
        (
            Address("https://e.example/a.png"),
            {"fileData": {"mimeType": "image/png", "fileUri": "https://e.example/a.png"}},
        ),
        (Address("https://e.example/a"), {"fileData": {"fileUri": "https://e.example/a"}}),
        (Address("http://[bad/a.png"), {"fileData": {"fileUri": "http://[bad/a.png"}}),
        (StoredFile("gs://b/a", "image/png"), {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a"}}),
    ],
)
def test_a_picture_says_what_it_is_as_far_as_it_is_known(source: Any, part: dict[str, Any]) -> None:
    body, _ = written(asked(user(Image(source))))
    assert body["contents"][0]["parts"] == [part]


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        ("UklGRiQAAABXQVZFZm10", "audio/wav"),
        ("UklGRiQAAABYWFhYZm10", "audio/*"),
        ("AAAA", "audio/*"),
        ("UklGR", "audio/*"),
    ],
)
def test_sound_says_what_it_is_as_far_as_it_is_known(data: str, media_type: str) -> None:
    body, _ = written(asked(user(Audio(Inline("", data)))))
    assert body["contents"][0]["parts"] == [{"inlineData": {"mimeType": media_type, "data": data}}]


def test_a_plain_text_is_a_document_of_its_name() -> None:
    body, _ = written(asked(user(Document(text="Grüße", title="note"))))
    request, _ = read(body)
    assert request.messages[0].blocks == [Document(text="Grüße", title="note")]


@pytest.mark.parametrize(
    ("tools", "choice", "config"),
    [
        ([Tool("f", strict=True), Tool("g")], None, {"mode": "VALIDATED"}),
        ([Tool("f", strict=True)], ToolChoice("auto"), {"mode": "VALIDATED"}),
        ([Tool("f", strict=False)], ToolChoice("auto"), {"mode": "AUTO"}),
        ([Tool("f")], ToolChoice("auto", allowed=["f"]), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
        ([Tool("f")], ToolChoice("required", allowed=["f", "g"]), {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        ([Tool("f", strict=True)], ToolChoice("one", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        ([Tool("f")], ToolChoice("none"), {"mode": "NONE"}),
    ],
)
def test_strict_tools_and_choices_have_their_modes(tools: list[Tool], choice: ToolChoice | None, config: Any) -> None:
    body, lost = written(asked(tools=tools, tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": config}
    assert not lost.fields


def test_a_custom_tool_takes_its_text_as_an_argument() -> None:
    body, _ = written(asked(tools=[Tool("patch", custom=True)]))
    (declared,) = body["tools"][0]["functionDeclarations"]
    assert declared["parametersJsonSchema"]["required"] == ["input"]


def test_model_and_delivery_stand_in_the_path_and_not_in_the_body() -> None:
    body, lost = written(asked(stream=True))
    assert body.keys() == {"contents"}
    request, lost = read({"model": "models/gemini-2.5-pro", "contents": [{"parts": [{"text": "Hi"}]}]})
    assert (request.model, request.stream) == ("", False)
    assert not lost.fields
