"""An application keeps the client it has, and may be answered by a provider of any dialect."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import botocore.session
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from tests.e2e.conftest import PRICE, environment, secret_of, settings
from tests.e2e.node import Gateway
from tests.support.amazon import (
    ACCESS_KEY,
    REGION,
    SECRET_KEY,
    STREAM_TYPE,
    Frame,
    request_faults,
    signature_fault,
    stream_of,
)
from tests.support.scripted_upstream import (
    DONE,
    RESET,
    Received,
    Script,
    ScriptedUpstream,
    error,
    event,
    json_answer,
    stream,
)

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
KEYS: dict[str, dict[str, Any]] = {"main": {}}
MODELS = ("claude", "gemini", "gpt", "mistral", "nova")
AWS_TOKEN = "token/of+a=session"
AWS = {
    "region": REGION,
    "access_key_id": "env:AWS_ID",
    "secret_access_key": "env:AWS_SECRET",
    "session_token": "env:AWS_TOKEN",
}
ANSWER = 'Grüße, "World" 🌍'
TURNS = 5
"""Of a conversation with a tool: in each but the last it is called twice."""


def calls_in(turn: int) -> list[tuple[str, dict[str, str]]]:
    return [("weather", {"city": f"Oslo {turn}"}), ("weather", {"city": f"São Paulo {turn}"})]


# -- providers, each in its own dialect: where a tool is offered two calls of it in each turn, and in the last one a text


def turns_so_far(request: dict[str, Any]) -> int:
    """How often the tool was called before, told by its results."""
    text = json.dumps(request)
    results = sum(map(text.count, ('"tool_result"', '"role": "tool"', '"functionResponse"', '"toolResult"')))
    turns, rest = divmod(results, len(calls_in(0)))
    assert not rest, "each call has its result"
    return turns


def turn_of(request: dict[str, Any]) -> int:
    """Whose calls are due; -1: none."""
    turns = turns_so_far(request)
    offered = request.get("tools") or request.get("toolConfig")
    return turns if offered and turns < TURNS - 1 else -1


def all_are_answered(request: dict[str, Any], prefix: str) -> bool:
    """Each call so far by its own id."""
    text = json.dumps(request)
    ids = [f'"{prefix}_{turn}_{i}"' for turn in range(turns_so_far(request)) for i in range(len(calls_in(0)))]
    return all(text.count(each) == 2 for each in ids)


def named(name: str, value: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\n" + event({"type": name, **value})


def claude(received: Received) -> Script:
    request = received.json
    turn = turn_of(request)
    calls = turn >= 0
    if not all_are_answered(request, "toolu"):
        return error(400, "a call has another id than its result")
    usage = {"input_tokens": 100, "cache_read_input_tokens": 11, "cache_creation_input_tokens": 0, "output_tokens": 7}
    content: list[dict[str, Any]] = [{"type": "text", "text": ANSWER}]
    if calls:
        content = [
            {"type": "tool_use", "id": f"toolu_{turn}_{i}", "name": name, "input": arguments}
            for i, (name, arguments) in enumerate(calls_in(turn))
        ]
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-upstream",
        "content": content,
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    if not request.get("stream"):
        return json_answer(message)
    begin = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events = [named("message_start", {"message": begin}), named("ping", {})]
    for i, block in enumerate(content):
        if block["type"] == "text":
            empty: dict[str, Any] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": part} for part in (ANSWER[:5], ANSWER[5:])]
        else:
            empty = {**block, "input": {}}
            whole = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", whole[:4], whole[4:])]
        events.append(named("content_block_start", {"index": i, "content_block": empty}))
        events += [named("content_block_delta", {"index": i, "delta": each}) for each in deltas]
        events.append(named("content_block_stop", {"index": i}))
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    events.append(named("message_delta", {"delta": stop, "usage": {"output_tokens": 7}}))
    return stream([*events, named("message_stop", {})])


def gemini(received: Received) -> Script:
    parts: list[dict[str, Any]] = [{"text": ANSWER[:5]}, {"text": ANSWER[5:]}]
    turn = turn_of(received.json)
    if turn >= 0:
        parts = [{"functionCall": {"name": name, "args": arguments}} for name, arguments in calls_in(turn)]
    usage = {"promptTokenCount": 111, "cachedContentTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 118}

    def response(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **more}
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": "gemini-upstream",
            "responseId": "r1",
        }

    if ":streamGenerateContent" not in received.path:
        return json_answer(response(parts, finishReason="STOP"))
    return stream([event(response([parts[0]])), event(response(parts[1:], finishReason="STOP"))])


def gpt(received: Received) -> Script:
    if not all_are_answered(received.json, "call"):
        return error(400, "a call has another id than its result")
    return completion(received.json, "call_{}_{}")


def completion(request: dict[str, Any], ids: str) -> Script:
    """In OpenAI's words. What a stream has used stands in a chunk of its own where it is asked for, else in the last."""
    turn = turn_of(request)
    calls = turn >= 0
    usage = {
        "prompt_tokens": 111,
        "completion_tokens": 7,
        "total_tokens": 118,
        "prompt_tokens_details": {"cached_tokens": 11},
    }
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER}
    if calls:
        tool_calls = [
            {
                "id": ids.format(turn, i),
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for i, (name, arguments) in enumerate(calls_in(turn))
        ]
        message = {"role": "assistant", "content": None, "tool_calls": tool_calls}
    reason = "tool_calls" if calls else "stop"
    shared = {"id": "chatcmpl-1", "created": 1_795_000_000, "model": "gpt-upstream"}
    if not request.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return json_answer({**shared, "object": "chat.completion", "choices": [choice], "usage": usage})

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return event({**shared, "object": "chat.completion.chunk", "choices": [choice], **more})

    events = [chunk({"role": "assistant", "content": ""})]
    if calls:
        for i, call in enumerate(message["tool_calls"]):
            whole = call["function"]["arguments"]
            begin = {**call, "index": i, "function": {"name": call["function"]["name"], "arguments": ""}}
            events.append(chunk({"tool_calls": [begin]}))
            arguments = [{"index": i, "function": {"arguments": part}} for part in (whole[:4], whole[4:])]
            events += [chunk({"tool_calls": [each]}) for each in arguments]
    else:
        events += [chunk({"content": part}) for part in (ANSWER[:5], ANSWER[5:])]
    if "stream_options" not in request:
        return stream([*events, chunk({}, reason, usage=usage), DONE])
    last = event({**shared, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    return stream([*events, chunk({}, reason), last, DONE])


MISTRALS = (
    "model messages temperature top_p max_tokens stream stop random_seed metadata response_format tools tool_choice presence_penalty "
    "frequency_penalty min_tokens repetition_penalty top_k logprobs top_logprobs n prediction parallel_tool_calls reasoning_effort "
    "prompt_mode guardrails prompt_cache_key service_tier safe_prompt"
)
"""The fields of a request, by the types of its official client; it refuses all others."""
MISTRALS_MESSAGES = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


def mistral(received: Received) -> Script:
    request = received.json
    odd = [name for name in request if name not in MISTRALS.split()]
    for message in request["messages"]:
        known = MISTRALS_MESSAGES.get(message["role"])
        odd += [message["role"]] if known is None else [name for name in message if name not in known]
    if odd:
        return error(422, f"extra_forbidden: {odd}")
    called = [call["id"] for message in request["messages"] for call in message.get("tool_calls") or ()]
    answered = [message["tool_call_id"] for message in request["messages"] if message["role"] == "tool"]
    if sorted(called) != sorted(answered) or not all(re.fullmatch("[0-9A-Za-z]{9}", each) for each in called):
        return error(400, f"Tool call id was {called} but must be a-z, A-Z, 0-9, with a length of 9")
    return completion(request, "call{:03}{:02}")


def nova(received: Received) -> Script:
    """Amazon's Converse, which checks who asks, and what is asked."""
    fault = signature_fault(received.head, received.body, token=AWS_TOKEN) or request_faults(received.body)
    request = received.json
    if fault or not all_are_answered(request, "tooluse"):
        line = "x-amzn-errortype: ValidationException:http://internal.amazon.com/coral/com.amazon.coral.service/"
        return json_answer({"message": fault or "a call has another id than its result"}, line, status=400)
    turn = turn_of(request)
    usage = {"inputTokens": 100, "outputTokens": 7, "totalTokens": 118, "cacheReadInputTokens": 11}
    content: list[dict[str, Any]] = [{"text": ANSWER}]
    if turn >= 0:
        content = [
            {"toolUse": {"toolUseId": f"tooluse_{turn}_{i}", "name": name, "input": arguments}}
            for i, (name, arguments) in enumerate(calls_in(turn))
        ]
    reason = "tool_use" if turn >= 0 else "end_turn"
    if not received.path.endswith("-stream"):
        output = {"message": {"role": "assistant", "content": content}}
        return json_answer({"output": output, "stopReason": reason, "usage": usage, "metrics": {"latencyMs": 1}})
    frames: list[Frame] = [("messageStart", {"role": "assistant"})]
    for i, block in enumerate(content):
        place = {"contentBlockIndex": i, "p": "abcdefg"}
        if "text" in block:
            deltas: list[dict[str, Any]] = [{"text": ANSWER[:5]}, {"text": ANSWER[5:]}]
        else:
            call = dict(block["toolUse"])
            whole = json.dumps(call.pop("input"))
            frames.append(("contentBlockStart", {**place, "start": {"toolUse": call}}))
            deltas = [{"toolUse": {"input": part}} for part in ("", whole[:4], whole[4:])]
        frames += [("contentBlockDelta", {**place, "delta": each}) for each in deltas]
        frames.append(("contentBlockStop", place))
    frames += [("messageStop", {"stopReason": reason}), ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})]
    return stream([stream_of([each]) for each in frames], kind=STREAM_TYPE)


@pytest.fixture(scope="module")
def node(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Models named for who answers them."""
    kinds = {"claude": "anthropic", "gemini": "gemini", "gpt": "openai", "mistral": "mistral"}
    models = {
        name: {"targets": [{"provider": name, "model": f"{name}-upstream", "price": PRICE}]}
        for name in (*kinds, "nova")
    }
    shared = settings(upstream, KEYS) | {
        "providers": {
            name: {"kind": kind, "base_url": upstream.base_url(name), "api_key": "env:PROVIDER_KEY"}
            for name, kind in kinds.items()
        }
        | {
            "nova": {"kind": "bedrock", "base_url": upstream.base_url("nova"), "aws": AWS},
            "own": {
                "kind": "openai",
                "base_url": upstream.base_url("own"),
                "api_key": "env:PROVIDER_KEY",
                "responses": "native",
            },
        },
        "models": models
        | {
            "lenient": {**models["claude"], "drop_params": ["seed", "web_search"]},
            "own": {"targets": [{"provider": "own", "model": "own-upstream", "price": PRICE}]},
            "mixed": {"targets": [{"provider": "claude", "model": "x"}], "fallbacks": ["gpt"]},
        },
    }
    secrets = {"AWS_ID": ACCESS_KEY, "AWS_SECRET": SECRET_KEY, "AWS_TOKEN": AWS_TOKEN}
    environ = environment(KEYS) | secrets
    with Gateway(tmp_path_factory.mktemp("dialects"), shared, environ).running() as started:
        yield started


@pytest.fixture(autouse=True)
def providers(upstream: ScriptedUpstream) -> ScriptedUpstream:
    upstream.script(error(500), name="", claude=claude, gemini=gemini, gpt=gpt, mistral=mistral, nova=nova)
    return upstream


@pytest.fixture
def chat(node: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=node.base_url, api_key=secret_of("main"), max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def messages(node: Gateway) -> Iterator[anthropic.Anthropic]:
    address = node.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=address, api_key=secret_of("main"), max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def generate(node: Gateway) -> genai.Client:
    options = genai_types.HttpOptions(base_url=node.base_url.removesuffix("/v1"), timeout=10_000)
    return genai.Client(api_key=secret_of("main"), http_options=options)


# -- texts


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_openais_chat_client_is_answered_by(chat: openai.OpenAI, model: str, streaming: bool) -> None:
    asked: Any = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
    if not streaming:
        answer = chat.chat.completions.create(**asked)
        text, finish, usage = answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage
    else:
        chunks = list(chat.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        finish = next(c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason)
        usage = chunks[-1].usage
    assert (text, finish) == (ANSWER, "stop")
    assert usage is not None and usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens) == (111, 7, 11)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_openais_responses_client_is_answered_by(chat: openai.OpenAI, model: str, streaming: bool) -> None:
    if not streaming:
        answer = chat.responses.create(model=model, input="Hello", instructions="Be brief.")
    else:
        events = list(chat.responses.create(model=model, input="Hello", instructions="Be brief.", stream=True))
        assert events[0].type == "response.created"
        assert [each.sequence_number for each in events] == list(range(len(events)))
        last = events[-1]
        assert last.type == "response.completed"
        answer = last.response
        assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == ANSWER
    assert answer.output_text == ANSWER and answer.status == "completed"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (111, 7)
    assert answer.usage.input_tokens_details.cached_tokens == 11


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_anthropics_client_is_answered_by(messages: anthropic.Anthropic, model: str, streaming: bool) -> None:
    asked: Any = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}
    if not streaming:
        answer = messages.messages.create(**asked)
    else:
        with messages.messages.stream(**asked) as streamed:
            assert "".join(streamed.text_stream) == ANSWER
            answer = streamed.get_final_message()
    assert "".join(block.text for block in answer.content if block.type == "text") == ANSWER
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens == 7
    if not streaming:  # a stream tells of its prompt before other dialects know
        assert (answer.usage.input_tokens, answer.usage.cache_read_input_tokens) == (100, 11)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_googles_client_is_answered_by(generate: genai.Client, model: str, streaming: bool) -> None:
    if not streaming:
        answers = [generate.models.generate_content(model=model, contents="Hello")]
    else:
        answers = list(generate.models.generate_content_stream(model=model, contents="Hello"))
    assert "".join(answer.text or "" for answer in answers) == ANSWER
    last = answers[-1]
    assert last.candidates and last.candidates[0].finish_reason == genai_types.FinishReason.STOP
    assert last.usage_metadata is not None
    assert (last.usage_metadata.prompt_token_count, last.usage_metadata.candidates_token_count) == (111, 7)


def test_amazons_own_client_is_answered_by_the_tests_bedrock(upstream: ScriptedUpstream) -> None:
    """Whose signatures and frames are then Amazon's."""
    client = botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name=REGION,
        endpoint_url=upstream.base_url("nova"),
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        aws_session_token=AWS_TOKEN,
    )
    asked: Any = {"modelId": "a:0", "messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    whole = client.converse(**asked)
    assert whole["output"]["message"]["content"] == [{"text": ANSWER}] and whole["stopReason"] == "end_turn"
    events = list(client.converse_stream(**asked)["stream"])
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event]
    assert "".join(deltas) == ANSWER and events[-1]["metadata"]["usage"]["cacheReadInputTokens"] == 11
    client.close()


# -- tools: two calls at once, their results, and the text that follows


def weather(city: str) -> str:
    return json.dumps({"city": city, "celsius": len(city)})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_a_tool_loop_of_openais_chat_client(chat: openai.OpenAI, model: str, streaming: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
    history: list[Any] = [{"role": "user", "content": "How warm is it in Oslo and São Paulo?"}]
    for turn in range(TURNS - 1):
        if streaming:
            with chat.chat.completions.stream(model=model, messages=history, tools=tools) as streamed:
                message: Any = streamed.get_final_completion().choices[0].message
        else:
            message = chat.chat.completions.create(model=model, messages=history, tools=tools).choices[0].message
        assert [(c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls] == calls_in(turn)
        assert len({call.id for call in message.tool_calls}) == 2
        history.append(message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
        history += [
            {"role": "tool", "tool_call_id": call.id, "content": weather(json.loads(call.function.arguments)["city"])}
            for call in message.tool_calls
        ]
    answer = chat.chat.completions.create(model=model, messages=history, tools=tools)
    assert answer.choices[0].message.content == ANSWER


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_a_tool_loop_of_openais_responses_client(chat: openai.OpenAI, model: str, streaming: bool) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": CITY, "strict": False}]
    history: list[Any] = [{"role": "user", "content": "How warm is it in Oslo and São Paulo?"}]
    for turn in range(TURNS - 1):
        if streaming:
            with chat.responses.stream(model=model, input=history, tools=tools) as streamed:
                answer: Any = streamed.get_final_response()
        else:
            answer = chat.responses.create(model=model, input=history, tools=tools)
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [(call.name, json.loads(call.arguments)) for call in calls] == calls_in(turn)
        history += [item.model_dump(exclude_none=True) for item in answer.output]
        history += [
            {"type": "function_call_output", "call_id": c.call_id, "output": weather(json.loads(c.arguments)["city"])}
            for c in calls
        ]
        for item in history:
            item.pop("parsed_arguments", None)
    assert chat.responses.create(model=model, input=history, tools=tools).output_text == ANSWER


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_a_tool_loop_of_anthropics_client(messages: anthropic.Anthropic, model: str, streaming: bool) -> None:
    tools: Any = [{"name": "weather", "input_schema": CITY}]
    history: list[Any] = [{"role": "user", "content": "How warm is it in Oslo and São Paulo?"}]
    asked: Any = {"model": model, "max_tokens": 100, "tools": tools, "messages": history}
    for turn in range(TURNS - 1):
        if streaming:
            with messages.messages.stream(**asked) as streamed:
                answer = streamed.get_final_message()
        else:
            answer = messages.messages.create(**asked)
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert [(call.name, call.input) for call in calls] == calls_in(turn)
        assert answer.stop_reason == "tool_use"
        said = [block.model_dump(exclude_none=True) for block in answer.content]
        results = [
            {"type": "tool_result", "tool_use_id": c.id, "content": weather(str(c.input["city"]))} for c in calls
        ]
        history += [{"role": "assistant", "content": said}, {"role": "user", "content": results}]
    final = messages.messages.create(**asked)
    assert "".join(block.text for block in final.content if block.type == "text") == ANSWER


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_loop_of_googles_client(generate: genai.Client, model: str) -> None:
    asked = []

    def weather_of(city: str) -> dict[str, Any]:
        """How warm it is."""
        asked.append(city)
        return {"celsius": len(city)}

    weather_of.__name__ = "weather"
    config = genai_types.GenerateContentConfig(tools=[weather_of])
    answer = generate.models.generate_content(model=model, contents="How warm is it?", config=config)
    assert answer.text == ANSWER
    assert asked == [arguments["city"] for turn in range(TURNS - 1) for _, arguments in calls_in(turn)]


# -- what is told, refused and lost


def test_what_was_used_is_accounted_as_the_provider_told_it(node: Gateway, messages: anthropic.Anthropic) -> None:
    for model in MODELS:
        raw = messages.messages.with_raw_response.create(
            model=model, max_tokens=9, messages=[{"role": "user", "content": "Hello"}]
        )
        found = node.record(raw.headers["x-request-id"])
        assert (found["endpoint"], found["model"], found["provider"]) == ("messages", model, model)
        assert (found["input_tokens"], found["output_tokens"], found["cache_read_tokens"]) == (111, 7, 11)
        assert found["cost_nano_usd"] == 100 * 150 + 11 * 75 + 7 * 600


def test_a_field_without_a_place_is_refused_unless_the_model_admits_that_it_is_dropped(chat: openai.OpenAI) -> None:
    asked: Any = {"messages": [{"role": "user", "content": "Hello"}], "seed": 7}
    with pytest.raises(openai.BadRequestError) as refused:
        chat.chat.completions.create(model="claude", **asked)
    assert refused.value.code == "unsupported_parameter" and refused.value.param == "seed"
    raw = chat.chat.completions.with_raw_response.create(model="lenient", **asked)
    assert raw.headers["x-throughway-dropped"] == "seed"
    search: Any = [{"type": "web_search"}]
    with pytest.raises(openai.BadRequestError, match=r"hosted_tools\[0\].web_search"):
        chat.responses.create(model="claude", input="Hello", tools=search)
    assert chat.responses.create(model="lenient", input="Hello", tools=search).output_text == ANSWER


def test_a_conversation_with_another_provider_goes_on_with_mistral(chat: openai.OpenAI) -> None:
    """It refuses much of what OpenAI takes: what is a hint is left out, what is not is called by its name there, or refused by us."""
    said: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "What is the weather in Oslo and in Bergen?", "name": "u"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Two calls.",
            "tool_calls": [
                {"id": f"toolu_01{city}", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
                for city in ("Oslo", "Bergen")
            ],
        },
        *({"role": "tool", "tool_call_id": f"toolu_01{city}", "content": "rain"} for city in ("Oslo", "Bergen")),
    ]
    hints: dict[str, Any] = {"store": True, "user": "u", "frequency_penalty": 0, "logit_bias": {}}
    with pytest.raises(openai.BadRequestError, match=r"messages\[1\]\.name") as refused:
        chat.chat.completions.create(model="mistral", messages=said, **hints)
    assert refused.value.code == "unsupported_parameter"
    del said[1]["name"]
    asked: dict[str, Any] = {"model": "mistral", "messages": said, "seed": 3, "max_completion_tokens": 9, **hints}
    whole = chat.chat.completions.with_raw_response.create(**asked)
    assert whole.headers["x-throughway-dropped"] == "messages[2].reasoning_content, store, user"
    assert whole.parse().choices[0].message.content == ANSWER
    chunks = list(chat.chat.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER


def test_what_one_provider_cannot_be_asked_is_answered_by_another(chat: openai.OpenAI) -> None:
    raw = chat.chat.completions.with_raw_response.create(
        model="mixed", messages=[{"role": "user", "content": "Hello"}], seed=7
    )
    assert raw.headers["x-throughway-provider"] == "gpt" and "x-throughway-dropped" not in raw.headers
    assert raw.parse().choices[0].message.content == ANSWER


def test_responses_pass_byte_for_byte_to_a_provider_that_answers_them_itself_but_for_their_ids(
    providers: ScriptedUpstream, node: Gateway
) -> None:
    usage = {
        "input_tokens": 111,
        "input_tokens_details": {"cached_tokens": 11},
        "output_tokens": 7,
        "total_tokens": 118,
    }
    text = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": ANSWER}], "role": "assistant"}
    done = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": "own",
        "output": [text],
        "usage": usage,
    }
    events = [
        named("response.created", {"sequence_number": 0, "response": {**done, "status": "in_progress", "output": []}}),
        named("response.something_new", {"sequence_number": 1, "x": 1}),
        named("response.completed", {"sequence_number": 2, "response": done}),
    ]
    providers.script(error(500), name="", own=stream(events))
    asked: dict[str, Any] = {"model": "own", "input": "Hi", "stream": True, "something_new": [1]}
    answer = node.ask(asked, secret_of("main"), path="/v1/responses")
    (shown,) = set(re.findall(rb'"id": ?"(resp_1_tw[A-Za-z0-9_-]{22})"', answer.body))
    assert answer.body.replace(shown, b"resp_1") == b"".join(events)
    asked["previous_response_id"] = shown.decode()
    node.ask(asked, secret_of("main"), path="/v1/responses")
    sent = providers.requests_of("")[-1]
    assert (sent.path, sent.json) == (
        "/own/v1/responses",
        {**asked, "model": "own-upstream", "previous_response_id": "resp_1"},
    )
    found = node.record(dict(answer.headers)["x-request-id"])
    assert (found["input_tokens"], found["output_tokens"], found["cache_read_tokens"]) == (111, 7, 11)


def test_each_clients_own_exception_tells_of_a_missing_model(
    chat: openai.OpenAI, messages: anthropic.Anthropic, generate: genai.Client
) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'nobody'"):
        chat.responses.create(model="nobody", input="Hello")
    with pytest.raises(anthropic.NotFoundError, match="no model 'nobody'"):
        messages.messages.create(model="nobody", max_tokens=9, messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(genai_errors.ClientError, match="no model 'nobody'") as refused:
        generate.models.generate_content(model="nobody", contents="Hello")
    assert refused.value.code == 404


def cut(script: Callable[[Received], Script]) -> Callable[[Received], Script]:
    """The same, broken off before its end."""
    return lambda received: [*script(received)[:-3], RESET]


def test_a_stream_that_breaks_off_is_an_exception_of_each_client(
    providers: ScriptedUpstream, chat: openai.OpenAI, messages: anthropic.Anthropic, generate: genai.Client
) -> None:
    providers.script(
        error(500), name="", claude=cut(claude), gemini=cut(gemini), gpt=cut(gpt), mistral=cut(mistral), nova=cut(nova)
    )
    for model in MODELS:
        with pytest.raises(openai.APIError):
            list(chat.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}], stream=True))
        with (
            pytest.raises(anthropic.APIError),
            messages.messages.stream(
                model=model, max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
            ) as streamed,
        ):
            streamed.until_done()
        with pytest.raises(openai.APIError):
            list(chat.responses.create(model=model, input="Hi", stream=True))
        with pytest.raises(genai_errors.APIError):
            list(generate.models.generate_content_stream(model=model, contents="Hi"))


def test_tokens_are_counted_by_the_provider_or_here(
    providers: ScriptedUpstream, messages: anthropic.Anthropic, node: Gateway
) -> None:
    providers.script(error(500), name="", claude=json_answer({"input_tokens": 14}))
    asked: Any = {"messages": [{"role": "user", "content": "Hello there"}]}
    assert messages.messages.count_tokens(model="claude", **asked).input_tokens == 14
    raw = messages.messages.with_raw_response.count_tokens(model="gpt", **asked)
    assert 5 < raw.parse().input_tokens < 20
    assert node.record(raw.headers["x-request-id"])["cost_nano_usd"] == 0


def test_headers_of_anthropics_clients_reach_anthropic(
    providers: ScriptedUpstream, messages: anthropic.Anthropic
) -> None:
    before = len(providers.requests_of(""))
    messages.messages.create(
        model="claude",
        max_tokens=9,
        messages=[{"role": "user", "content": "Hello"}],
        extra_headers={"anthropic-beta": "one-2026-01-01,two-2026-01-01"},
    )
    (request,) = providers.requests_of("")[before:]
    assert request.header("anthropic-beta") == "one-2026-01-01,two-2026-01-01"
    assert request.header("anthropic-version") == messages.default_headers["anthropic-version"]
    assert request.header("x-api-key") == environment()["PROVIDER_KEY"]
    assert request.header("authorization") is None


def test_each_client_lists_the_models_that_its_key_may_use(
    chat: openai.OpenAI, messages: anthropic.Anthropic, generate: genai.Client
) -> None:
    names = sorted([*MODELS, "lenient", "mixed", "own"])
    assert sorted(model.id for model in chat.models.list()) == names
    assert sorted(model.id for model in messages.models.list()) == names
    assert sorted(str(model.name) for model in generate.models.list()) == [f"models/{name}" for name in names]
    assert messages.models.retrieve("claude").display_name == "claude"
    assert generate.models.get(model="claude").name == "models/claude"


def test_a_text_completion_is_refused_where_the_provider_has_none(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat.completions.create(model="claude", prompt="Hello")
    assert refused.value.code == "endpoint_not_served"


def test_two_readings_of_a_nested_object_are_refused(node: Gateway) -> None:
    body = b'{"model":"claude","max_tokens":9,"messages":[{"role":"user","content":"Hi","content":"Something long"}]}'
    answer = node.ask(body, secret_of("main"), path="/v1/messages")
    assert answer.status == 400
    assert answer.json["type"] == "error" and answer.json["error"]["type"] == "invalid_request_error"


def test_the_path_of_the_test_providers_is_that_of_their_kind(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    assert {each.path.partition("?")[0] for each in upstream.requests_of("") if each.provider == "gemini"} <= {
        "/gemini/v1/models/gemini-upstream:generateContent",
        "/gemini/v1/models/gemini-upstream:streamGenerateContent",
    }
