"""Google's own client as the judge: what it sends is understood, and what it gets it takes, without a field that it does not know.

Its types forbid unknown fields, and they decode what should be base64. No socket: its transport is a function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from _fastpath.usage import Usage
from gateway.base.errors import OVERLOADED, PROVIDER_TIMEOUT
from gateway.base.messages import (
    Answer,
    Began,
    BlockBegan,
    BlockEnded,
    Choice,
    Citation,
    Cited,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Image,
    Inline,
    Lost,
    Request,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Used,
)
from gateway.codec.dialects.gemini import DIALECT, read_count_request, write_count
from tests.gateway.codec.dialects.gemini.test_requests import raw
from tests.support.goldens import cases

HERE = Path(__file__).parent

NOT_USED = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(500)))
"""Given to each client, which would make one with a TLS context otherwise."""

Reply = Callable[[httpx.Request], httpx.Response]


def client_of(reply: Reply) -> genai.Client:
    transport = httpx.MockTransport(reply)
    options = types.HttpOptions(httpx_client=httpx.Client(transport=transport), httpx_async_client=NOT_USED)
    return genai.Client(api_key="key", http_options=options)


class Pieces(httpx.SyncByteStream):
    """A stream in pieces of seven bytes, so that nothing depends on where it was cut."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._data), 7):
            yield self._data[at : at + 7]


def streamed(events: list[Event], *, pings: bool = False) -> list[types.GenerateContentResponse]:
    """What the client's user gets of a stream."""
    writer = DIALECT.stream_writer(Request(model="", messages=[]))
    data = b"".join(writer.write(event) + (writer.ping() if pings else b"") for event in events)
    headers = {"content-type": "text/event-stream"}
    client = client_of(lambda _: httpx.Response(200, headers=headers, stream=Pieces(data)))
    return list(client.models.generate_content_stream(model="m", contents="Hi"))


def strictly(body: bytes) -> types.GenerateContentResponse:
    """The client's own types of a whole answer; its converters would leave out what it does not know."""
    return types.GenerateContentResponse.model_validate_json(body)


# -- what it sends


def sent(call: Callable[[genai.Client], Any], answer: dict[str, Any] | None = None) -> bytes:
    bodies: list[bytes] = []

    def reply(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(200, json=answer or {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]})

    call(client_of(reply))
    return bodies[-1]


def test_what_it_sends_is_understood_in_full() -> None:
    declared = types.FunctionDeclaration(name="f", description="F.", parameters_json_schema={"type": "object"})
    spelt = types.FunctionDeclaration(
        name="g",
        parameters=types.Schema(
            type=types.Type.OBJECT, properties={"n": types.Schema(type=types.Type.INTEGER, nullable=True)}
        ),
    )
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        top_k=40,
        max_output_tokens=100,
        stop_sequences=["END"],
        thinking_config=types.ThinkingConfig(thinking_budget=1_024, include_thoughts=True),
        tools=[types.Tool(function_declarations=[declared, spelt])],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["f"]
            )
        ),
        response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
        labels={"team": "blue"},
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    contents = [
        types.Content(
            role="user",
            parts=[
                types.Part.from_text(text="Hi"),
                types.Part.from_bytes(data=b"\x89PNG\r\n\x1a\n", mime_type="image/png"),
                types.Part.from_uri(file_uri="gs://b/a.pdf", mime_type="application/pdf"),
            ],
        ),
        types.Content(
            role="model",
            parts=[
                types.Part(text="Hm.", thought=True),
                types.Part(
                    function_call=types.FunctionCall(id="a", name="f", args={"x": 1}), thought_signature=b"sig\xff\xfe"
                ),
            ],
        ),
        types.Content(
            role="user",
            parts=[types.Part(function_response=types.FunctionResponse(id="a", name="f", response={"output": "one"}))],
        ),
    ]
    body = sent(lambda client: client.models.generate_content(model="gemini-2.5-pro", contents=contents, config=config))
    lost = Lost()
    request = DIALECT.read_request(body, lost)
    assert not lost.fields and not lost.hints
    assert request.system == [Text("Be brief.")]
    first, second, third = (message.blocks for message in request.messages)
    assert first[:2] == [Text("Hi"), Image(Inline("image/png", "iVBORw0KGgo="))]
    assert second == [
        Thinking("Hm.", summary=True),
        ToolCall("a", "f", '{"x": 1}', signature=Signature("gemini", "c2ln__4=")),
    ]
    assert third == [ToolResult("a", [Text("one")], name="f")]
    assert [tool.parameters is not None for tool in request.tools] == [True, True]
    assert json.loads(bytes(request.tools[1].parameters or b"")) == {
        "type": "object",
        "properties": {"n": {"type": ["integer", "null"]}},
    }
    assert request.output is not None and request.output.kind == "json_schema"
    assert request.reasoning is not None and request.reasoning.budget_tokens == 1_024


def test_the_history_that_its_chat_makes_of_a_stream_is_one_turn() -> None:
    bodies: list[bytes] = []
    events: list[Event] = [
        Began("r", "m"),
        BlockBegan(0, Thinking()),
        Delta(0, "thinking", "I "),
        Delta(0, "thinking", "think."),
        Signed(0, Signature("anthropic", "EqQB+/=")),
        BlockEnded(0),
        BlockBegan(1, Text("")),
        Delta(1, "text", "4"),
        Delta(1, "text", "2."),
        Finished("stop"),
        Ended(),
    ]
    writer = DIALECT.stream_writer(Request(model="", messages=[]))
    data = b"".join(map(writer.write, events))

    def reply(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces(data))

    chat = client_of(reply).chats.create(model="m")
    for question in ("Six times seven?", "Why?"):
        assert "".join(chunk.text or "" for chunk in chat.send_message_stream(question)) == "42."
    request = DIALECT.read_request(bodies[-1], Lost())
    assert request.messages[1].blocks == [
        Thinking("I think.", Signature("anthropic", "EqQB+/="), summary=True),
        Text("42."),
    ]


def test_a_loop_of_tools_comes_back_whole() -> None:
    """The client calls the function itself and sends the history with what another provider signed."""
    bodies: list[bytes] = []
    answers = [
        Answer(
            id="r1",
            model="m",
            choices=[
                Choice(
                    [ToolCall("toolu_1", "add", '{"a": 1, "b": 2}', signature=Signature("openai_responses", "s"))],
                    "tool_calls",
                )
            ],
        ),
        Answer(id="r2", model="m", choices=[Choice([Text("3.")], "stop")]),
    ]

    def reply(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        body = DIALECT.write_answer(answers[len(bodies) - 1])
        return httpx.Response(200, headers={"content-type": "application/json"}, content=body)

    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    response = client_of(reply).models.generate_content(
        model="m", contents="1 + 2?", config=types.GenerateContentConfig(tools=[add])
    )
    assert response.text == "3."
    lost = Lost()
    request = DIALECT.read_request(bodies[1], lost)
    assert not lost.fields
    (call,) = request.messages[1].blocks
    assert isinstance(call, ToolCall)
    assert call.id == "toolu_1" and call.signature == Signature("openai_responses", "s")
    assert json.loads(call.arguments) == {"a": 1, "b": 2}
    (result,) = request.messages[2].blocks
    assert isinstance(result, ToolResult)
    assert (result.call_id, result.content) == ("toolu_1", [Text('{"result": 3}')])
    assert lost.hints == ["tools[0].functionDeclarations[0].responseJsonSchema"]


def test_what_it_wants_counted_is_understood() -> None:
    body = sent(lambda client: client.models.count_tokens(model="m", contents="Hi"), {"totalTokens": 2})
    assert read_count_request(body, Lost()).messages[0].blocks == [Text("Hi")]
    reply = httpx.Response(200, headers={"content-type": "application/json"}, content=write_count(31))
    assert client_of(lambda _: reply).models.count_tokens(model="m", contents="Hi").total_tokens == 31


@pytest.mark.parametrize("path", cases(HERE / "requests"), ids=lambda path: path.stem)
def test_its_types_take_each_request_that_is_written(path: Path) -> None:
    request = DIALECT.read_request(json.dumps(json.loads(path.read_text())["body"]).encode(), Lost())
    body = json.loads(DIALECT.write_request(request, Lost()))
    if "hologram" in path.read_text() or "timeTravel" in path.read_text():  # what nobody knows yet
        return
    for content in [*body.pop("contents"), body.pop("systemInstruction", {})]:
        types.Content.model_validate(content)
    for tool in body.pop("tools", []):
        types.Tool.model_validate(tool)
    types.ToolConfig.model_validate(body.pop("toolConfig", {}))
    types.GenerationConfig.model_validate(body.pop("generationConfig", {}))
    types.GenerateContentConfig.model_validate(body)  # which has the rest as its own


# -- what it gets


@pytest.mark.parametrize("path", cases(HERE / "answers"), ids=lambda path: path.stem)
def test_its_types_take_each_answer(path: Path) -> None:
    answer = DIALECT.read_answer(json.dumps(json.loads(path.read_text())["body"]).encode())
    body = DIALECT.write_answer(answer)
    if "hologram" in path.read_text():  # no such kind of part is known yet
        return
    response = strictly(body)
    assert response.candidates is not None
    assert len(response.candidates) == len(answer.choices)


def test_an_answer_is_all_there() -> None:
    blocks = [
        Thinking("Hm.", Signature("anthropic", "EqQB+/=")),
        Text("Grüße.", citations=[Citation("https://a.example", "A", start=0, end=5)]),
        ToolCall("toolu_1", "f", '{"x":1}'),
        Image(Inline("image/png", "iVBORw0KGgo=")),
    ]
    logprobs = raw({"content": [{"token": "G", "logprob": -0.5, "bytes": [71], "top_logprobs": []}]})
    answer = Answer(
        id="msg_1",
        model="claude",
        choices=[Choice(list(blocks), "tool_calls", logprobs=logprobs)],  # type: ignore[arg-type]
        created_s=1_767_323_045,
        usage=Usage(100, 30, 40, 5, 10, 7, 6),
    )
    response = strictly(DIALECT.write_answer(answer))
    assert (response.response_id, response.model_version) == ("msg_1", "claude")
    assert response.candidates is not None
    candidate = response.candidates[0]
    assert candidate.finish_reason == types.FinishReason.STOP
    assert candidate.content is not None and candidate.content.parts is not None
    thought, text, call, image = candidate.content.parts
    assert thought.thought and thought.thought_signature == b"tw1.anthropic.EqQB+/="
    assert text.text == "Grüße."
    assert call.function_call is not None and call.function_call.args == {"x": 1}
    assert image.inline_data is not None and image.inline_data.data == b"\x89PNG\r\n\x1a\n"
    assert candidate.grounding_metadata is not None and candidate.grounding_metadata.grounding_chunks is not None
    assert response.usage_metadata is not None and response.usage_metadata.thoughts_token_count == 10
    assert candidate.logprobs_result is not None


@pytest.mark.parametrize("pings", [False, True])
def test_a_stream_is_all_there(pings: bool) -> None:
    events: list[Event] = [
        Began("r", "m", usage=Usage(3)),
        BlockBegan(0, Text("")),
        Delta(0, "text", "Hel\u2028"),
        Delta(0, "text", "lo."),
        Cited(0, Citation("https://a.example", "A", start=0, end=3)),
        BlockEnded(0),
        BlockBegan(1, ToolCall("a", "f", "")),
        BlockBegan(2, ToolCall("b", "f", "")),
        Delta(1, "arguments", '{"x":'),
        Delta(2, "arguments", '{"x":2}'),
        Delta(1, "arguments", "1}"),
        Finished("tool_calls"),
        Used(Usage(3, 9)),
        Ended(),
    ]
    chunks = streamed(events, pings=pings)
    texts = [part.text for chunk in chunks for part in _parts(chunk) if part.text]
    assert "".join(texts) == "Hel\u2028lo."
    calls = [call for chunk in chunks for call in chunk.function_calls or ()]
    assert [(call.id, call.args) for call in calls] == [("a", {"x": 1}), ("b", {"x": 2})]
    reasons = [
        candidate.finish_reason for chunk in chunks for candidate in chunk.candidates or () if candidate.finish_reason
    ]
    assert reasons == [types.FinishReason.STOP]
    usage = chunks[-2 if pings else -1].usage_metadata
    assert usage is not None and usage.total_token_count == 12


def _parts(chunk: types.GenerateContentResponse) -> list[types.Part]:
    assert chunk.candidates
    content = chunk.candidates[0].content
    return content.parts or [] if content is not None else []


def test_a_stream_that_was_cut_is_never_finished() -> None:
    events: list[Event] = [
        Began("r", "m"),
        BlockBegan(0, Text("")),
        Delta(0, "text", "Hel"),
        BlockEnded(0),
        Finished("stop"),
    ]
    assert not any(candidate.finish_reason for chunk in streamed(events) for candidate in chunk.candidates or ())


def test_a_failure_in_a_stream_raises_its_own_exception() -> None:
    with pytest.raises(errors.ServerError) as caught:
        streamed(
            [Began("r", "m"), BlockBegan(0, Text("")), Delta(0, "text", "Hel"), Failed("Busy.", "overloaded_error")]
        )
    assert (caught.value.status, caught.value.message) == ("UNAVAILABLE", "Busy.")


def test_an_error_where_no_writer_has_a_word_raises_it_too() -> None:
    data = DIALECT.write_error_event(PROVIDER_TIMEOUT, "Late.")
    client = client_of(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces(data))
    )
    with pytest.raises(errors.ServerError) as caught:
        list(client.models.generate_content_stream(model="m", contents="Hi"))
    assert caught.value.status == "DEADLINE_EXCEEDED"


def test_an_error_in_place_of_an_answer_raises_it() -> None:
    body = DIALECT.write_error(OVERLOADED, "Full.")
    client = client_of(lambda _: httpx.Response(503, headers={"content-type": "application/json"}, content=body))
    with pytest.raises(errors.ServerError) as caught:
        client.models.generate_content(model="m", contents="Hi")
    assert (caught.value.code, caught.value.message) == (503, "Full.")
