"""What a request is refused for, what it loses, and what is made of what another dialect says otherwise."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.base.errors import INVALID_JSON, INVALID_VALUE, JSON_TOO_DEEP, MISSING_MODEL, Fault, GatewayError
from gateway.base.messages import (
    Address,
    Audio,
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
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Video,
)
from gateway.codec.dialects.openai_responses import DIALECT
from gateway.codec.dialects.openai_responses._request_out import LEAST_OUTPUT, NAME_CHARS
from gateway.codec.efforts import BUDGETS
from tests.gateway.codec.dialects.openai_responses.strategies import raw

USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
ASKED = [Message("user", [Text("Hi")])]


def wrong(**fields: object) -> bytes:
    return json.dumps({"model": "m", "input": "Hi", **fields}).encode()


@pytest.mark.parametrize(
    ("body", "fault", "param"),
    [
        (b"", INVALID_JSON, None),
        (b"{", INVALID_JSON, None),
        (b'{"model":"m","input":"\xff"}', INVALID_JSON, None),
        (b'{"model":"m","input":[' + b"[" * 100_000, JSON_TOO_DEEP, None),
        (b"[]", INVALID_VALUE, None),
        (b'{"input":"Hi"}', MISSING_MODEL, "model"),
        (b'{"model":"","input":"Hi"}', MISSING_MODEL, "model"),
        (b'{"model":7,"input":"Hi"}', INVALID_VALUE, "model"),
        (b'{"model":"m"}', INVALID_VALUE, "input"),
        (wrong(input=7), INVALID_VALUE, "input"),
        (wrong(input={"role": "user"}), INVALID_VALUE, "input"),
        (wrong(input=[USER, "Hi"]), INVALID_VALUE, "input[1]"),
        (wrong(input=[USER, {"type": "message"}]), INVALID_VALUE, "input[1]"),
        (wrong(input=[{**USER, "role": "tool"}]), INVALID_VALUE, "input[0].role"),
        (wrong(input=[{**USER, "content": 5}]), INVALID_VALUE, "input[0].content"),
        (wrong(input=[USER, {**USER, "content": [{"type": "input_text"}]}]), INVALID_VALUE, "input[1].content[0]"),
        (
            wrong(input=[{**USER, "content": [{"type": "input_text", "text": 5, "odd": 1}]}]),
            INVALID_VALUE,
            "input[0].content[0].text",
        ),
        (wrong(input=[{**USER, "content": [{"type": "input_image"}]}]), INVALID_VALUE, "input[0].content[0]"),
        (
            wrong(input=[{**USER, "content": [{"type": "input_file", "filename": "a"}]}]),
            INVALID_VALUE,
            "input[0].content[0]",
        ),
        (wrong(input=[{**USER, "content": [{"type": "input_audio"}]}]), INVALID_VALUE, "input[0].content[0]"),
        (wrong(input=[{"type": "function_call", "name": "f", "arguments": "{}"}]), INVALID_VALUE, "input[0]"),
        (
            wrong(input=[{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]),
            INVALID_VALUE,
            "input[0].arguments",
        ),
        (
            wrong(input=[{"type": "function_call_output", "call_id": "c", "output": {}}]),
            INVALID_VALUE,
            "input[0].output",
        ),
        (wrong(input=[{"type": "additional_tools", "tools": 5}]), INVALID_VALUE, "input[0].tools"),
        (wrong(instructions=["x"]), INVALID_VALUE, "instructions"),
        (wrong(tools={}), INVALID_VALUE, "tools"),
        (wrong(tools=[{"type": "function"}]), INVALID_VALUE, "tools[0]"),
        (wrong(tools=[{"type": "function", "name": ""}]), INVALID_VALUE, "tools[0].name"),
        (wrong(tools=[{"type": "function", "function": {"name": "f"}}]), INVALID_VALUE, "tools[0]"),
        (
            wrong(tools=[{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]),
            INVALID_VALUE,
            "tools[0].tools[0]",
        ),
        (wrong(tools=["x"]), INVALID_VALUE, "tools[0]"),
        (wrong(tool_choice="any"), INVALID_VALUE, "tool_choice"),
        (wrong(tool_choice={"name": "f"}), INVALID_VALUE, "tool_choice"),
        (wrong(temperature=2.5), INVALID_VALUE, "temperature"),
        (wrong(temperature="warm"), INVALID_VALUE, "temperature"),
        (wrong(top_p=-1), INVALID_VALUE, "top_p"),
        (wrong(top_logprobs=21), INVALID_VALUE, "top_logprobs"),
        (wrong(max_output_tokens=0), INVALID_VALUE, "max_output_tokens"),
        (wrong(stream="yes"), INVALID_VALUE, "stream"),
        (wrong(metadata={"a": 1}), INVALID_VALUE, "metadata[...]"),
        (wrong(text={"format": {"type": "json_schema", "name": "x"}}), INVALID_VALUE, "text.format.schema"),
        (wrong(reasoning={"effort": 5}), INVALID_VALUE, "reasoning.effort"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, fault: Fault, param: str | None) -> None:
    with pytest.raises(GatewayError) as raised:
        DIALECT.read_request(body, Lost())
    assert (raised.value.fault, raised.value.param) == (fault, param)
    assert raised.value.message.endswith(".")


# -- what is lost


def lost_of(request: Request) -> tuple[list[str], list[str]]:
    lost = Lost()
    DIALECT.write_request(request, lost)
    return lost.fields, lost.hints


def request_of(*blocks: Any, role: Any = "user", **fields: Any) -> Request:
    return Request(model="m", messages=[*ASKED, Message(role, list(blocks))], **fields)


AT = "messages[1].blocks[0]"
FOREIGN = Signature("anthropic", "x")


@pytest.mark.parametrize(
    ("request_", "fields", "hints"),
    [
        (request_of(top_k=5), ["top_k"], []),
        (request_of(seed=5), ["seed"], []),
        (request_of(stop=["x"]), ["stop"], []),
        (request_of(choices=2), ["choices"], []),
        (request_of(frequency_penalty=1.0, presence_penalty=1.0), ["frequency_penalty", "presence_penalty"], []),
        (request_of(logit_bias=raw({})), ["logit_bias"], []),
        (request_of(hosted_tools=[HostedTool("anthropic", "bash", raw({}))]), ["hosted_tools[0].bash"], []),
        (request_of(tools=[Tool("f", cache=CacheMark())]), [], ["tools[0].cache"]),
        (request_of(tools=[Tool("f", custom=True, grammar=raw({"odd": 1}))]), ["tools[0].grammar"], []),
        (request_of(service_tier="standard_only"), [], ["service_tier"]),
        (request_of(verbosity="max"), [], ["verbosity"]),
        (request_of(max_output_tokens=1), [], ["max_output_tokens"]),
        (request_of(reasoning=Reasoning(budget_tokens=5_000)), [], ["reasoning.budget_tokens"]),
        (request_of(reasoning=Reasoning(budget_tokens=8_192)), [], []),
        (request_of(Video(Address("gs://b/v.mp4"))), [AT], []),
        (request_of(Audio(Address("https://example.com/a.wav"))), [AT], []),
        (request_of(Opaque("gemini", "executable_code", raw({}))), [AT], []),
        (request_of(Text("x", CacheMark("5m"))), [], [f"{AT}.cache"]),
        (request_of(Text("x", CacheMark("30m"))), [], []),
        (request_of(Document(text="x", citations=True)), [f"{AT}.citations"], []),
        (request_of(Document(Address("https://example.com/a.pdf"), context="x")), [f"{AT}.context"], []),
        (request_of(ToolResult("c", is_error=True)), [], [f"{AT}.is_error"]),
        (request_of(ToolResult("c", cache=CacheMark())), [], [f"{AT}.cache"]),
        (request_of(ToolResult("c", [Opaque("gemini", "x", raw({}))])), [f"{AT}.content[0]"], []),
        (request_of(Thinking("x"), role="assistant"), [], [AT]),
        (request_of(Thinking("x", FOREIGN), role="assistant"), [], [AT]),
        (request_of(ToolCall("c", "f", "{}", signature=FOREIGN), role="assistant"), [], [f"{AT}.signature"]),
        (request_of(ToolCall("c", "f", "{}", cache=CacheMark()), role="assistant"), [], [f"{AT}.cache"]),
        (request_of(Text("x", CacheMark()), role="assistant"), [], [f"{AT}.cache"]),
        (request_of(Image(Inline("image/png", "AA")), role="assistant"), [AT], []),
        (Request(model="m", messages=[Message("user", [Text("x")], "Ann")]), [], ["messages[0].name"]),
        (Request(model="m", messages=[], system=[Text("x", CacheMark("1h"))]), [], ["system[0].cache"]),
        (Request(model="m", messages=[], system=[Text("x"), Video(Address("gs://b/v"))]), ["system[1]"], []),
    ],
)
def test_what_has_no_place_is_told(request_: Request, fields: list[str], hints: list[str]) -> None:
    assert lost_of(request_) == (fields, hints)


# -- what is said otherwise


def body_of(request: Request) -> Any:
    return json.loads(DIALECT.write_request(request, Lost()))


@pytest.mark.parametrize(
    ("budget", "effort"),
    [(0, "minimal"), (1_024, "minimal"), (1_025, "low"), (10_000, "high"), (65_536, "max"), (1_000_000, "max")]
    + [(tokens, effort) for effort, tokens in BUDGETS.items()],
)
def test_a_budget_of_thought_is_the_smallest_effort_that_thinks_as_much(budget: int, effort: str) -> None:
    assert body_of(request_of(reasoning=Reasoning(budget_tokens=budget)))["reasoning"] == {"effort": effort}


def test_thoughts_are_asked_for_only_where_there_are_any() -> None:
    """Models that do not reason refuse the question."""
    assert "include" not in body_of(request_of())
    assert "include" not in body_of(request_of(reasoning=Reasoning("none")))
    assert body_of(request_of(reasoning=Reasoning(adaptive=True)))["include"] == ["reasoning.encrypted_content"]


def test_nothing_is_stored_unless_that_is_asked_for() -> None:
    assert [body_of(request_of(store=store))["store"] for store in (None, False, True)] == [False, False, True]


def test_a_function_of_another_dialect_is_not_strict() -> None:
    tools = [Tool("a"), Tool("b", strict=False), Tool("c", strict=True)]
    assert [tool["strict"] for tool in body_of(request_of(tools=tools))["tools"]] == [False, False, True]


def test_names_that_are_too_long_are_the_same_short_ones_wherever_they_stand() -> None:
    long = "toolu_" + "x" * 99
    request = Request(
        model="m",
        user="u" * 200,
        messages=[
            Message("assistant", [ToolCall(long, "f", "{}"), ToolCall("call_1", "f", "{}")]),
            Message("user", [ToolResult(long), ToolResult("call_1")]),
        ],
    )
    body = body_of(request)
    ids = [item["call_id"] for item in body["input"]]
    assert ids[0] == ids[2] != ids[1] == ids[3] == "call_1"
    assert len(ids[0]) == len(body["safety_identifier"]) == NAME_CHARS


def test_a_bound_that_openai_refuses_is_the_least_that_it_takes() -> None:
    assert body_of(request_of(max_output_tokens=1))["max_output_tokens"] == LEAST_OUTPUT


def test_results_of_custom_tools_are_told_as_such() -> None:
    request = Request(
        model="m",
        messages=[
            Message("assistant", [ToolCall("a", "f", "{}"), ToolCall("b", "g", "x", custom=True)]),
            Message("user", [ToolResult("b", [Text("1")]), ToolResult("a", [Text("2")])]),
        ],
    )
    assert [item["type"] for item in body_of(request)["input"][2:]] == [
        "custom_tool_call_output",
        "function_call_output",
    ]


def test_one_plain_text_of_the_model_is_sent_back_as_such() -> None:
    """Some servers ask the parts of a message of the model for an id and a status, which only who made it has."""
    cited = Text("See.", citations=[Citation(url="https://example.com", title="X")])
    assert body_of(request_of(Text("Hello"), role="assistant"))["input"][1]["content"] == "Hello"
    assert body_of(request_of(Text("a"), cited, role="assistant"))["input"][1]["content"] == [
        {"type": "output_text", "text": "a", "annotations": []},
        {
            "type": "output_text",
            "text": "See.",
            "annotations": [
                {"type": "url_citation", "url": "https://example.com", "title": "X", "start_index": 0, "end_index": 4}
            ],
        },
    ]


def test_a_plain_document_is_a_text() -> None:
    document = Document(text="It rains.", title="Weather", context="Of today.")
    content = body_of(request_of(document))["input"][1]["content"]
    assert content == [{"type": "input_text", "text": "Weather\n\nOf today.\n\nIt rains."}]


def test_a_schema_without_a_name_gets_one() -> None:
    form = body_of(request_of(output=OutputFormat("json_schema", schema=raw({"type": "object"}))))["text"]["format"]
    assert form == {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}


def test_a_choice_among_tools_names_each_as_what_it_is() -> None:
    tools = [Tool("a"), Tool("b", custom=True), Tool("ns--docs--c")]
    choice = ToolChoice("required", allowed=["a", "b", "ns--docs--c"])
    assert body_of(request_of(tools=tools, tool_choice=choice))["tool_choice"]["tools"] == [
        {"type": "function", "name": "a"},
        {"type": "custom", "name": "b"},
        {"type": "function", "name": "c", "namespace": "docs"},
    ]


def test_a_request_costs_little_more_than_its_json() -> None:
    """Reading and writing, compared with what the standard library takes to decode and encode the same."""
    schema = {"type": "object", "properties": {"city": {"type": "string", "description": "x" * 300}}}
    tools = [{"type": "function", "name": f"f{at}", "parameters": schema, "strict": True} for at in range(4)]
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"city": "Paris"}'}
    result = {"type": "function_call_output", "call_id": "c", "output": "x" * 300}
    body = wrong(
        input=[USER, call, call, result, result, {**USER, "role": "assistant", "content": "x" * 300}, USER], tools=tools
    )
    request = DIALECT.read_request(body, Lost())

    def cost(act: Callable[[], object]) -> float:
        best = 1e9
        for _ in range(9):
            began = time.process_time()
            for _ in range(50):
                act()
            best = min(best, time.process_time() - began)
        return best

    own = cost(lambda: (DIALECT.read_request(body, Lost()), DIALECT.write_request(request, Lost())))
    assert own < 2.5 * cost(lambda: json.dumps(json.loads(body)))
