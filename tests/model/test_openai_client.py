"""The official `openai` client, sync and async, against a real model behind the gateway.

What a small model answers is not foretold here: tests claim what must hold for any answer, and compare answers of
greedy decoding with one another. `cache_prompt: false`, a field of llama.cpp's own that passes through the gateway,
makes those answers the same to the last bit.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import math
import secrets
import struct
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessageParam

from gateway.demo import MODEL_NAME, SLOTS
from tests.model.conftest import ANSWER_S, Demo

pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: dict[str, Any] = {
    "model": MODEL_NAME,
    "messages": MESSAGES,
    "temperature": 0,
    "max_tokens": 24,
    "extra_body": {"cache_prompt": False},
}
ENDLESS: dict[str, Any] = {**GREEDY, "max_tokens": 3_000, "extra_body": {"ignore_eos": True}}

ENDLESS_S = 25.0
"""What `ENDLESS` takes at the least: about 30 s alone on two idle cores, several of them at once much longer."""


def text_of(chunks: Iterable[ChatCompletionChunk], index: int = 0) -> str:
    choices = (choice for chunk in chunks for choice in chunk.choices)
    return "".join(choice.delta.content or "" for choice in choices if choice.index == index)


def content(answer: ChatCompletion, index: int = 0) -> str:
    text = answer.choices[index].message.content
    assert text is not None
    return text


@pytest.fixture
def greedy(client: openai.OpenAI) -> str:
    """What the model says to `GREEDY` when it is not streamed."""
    return content(client.chat.completions.create(**GREEDY))


# -- chat


def test_completion_is_answered_metered_and_recorded(demo: Demo, client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**GREEDY)
    answer = raw.parse()
    assert len(content(answer)) > 10
    assert answer.model == MODEL_NAME
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= 24
    assert raw.headers["x-throughway-provider"] == "local"
    record = demo.record(raw.headers["x-request-id"])
    assert (record["status"], record["model"], bool(record["estimated"])) == (200, MODEL_NAME, False)
    assert (record["input_tokens"], record["output_tokens"]) == (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )


def test_streamed_content_joins_to_the_whole_answer(client: openai.OpenAI, greedy: str) -> None:
    chunks = list(client.chat.completions.create(**GREEDY, stream=True))
    assert text_of(chunks) == greedy
    assert len(chunks) > 10, "it came in one piece"
    assert [choice.finish_reason for choice in chunks[-1].choices] in (["stop"], ["length"])
    assert all(chunk.usage is None for chunk in chunks), "nobody asked for usage"


@pytest.mark.nightly
def test_stream_without_include_usage_is_recorded_with_the_models_own_count(demo: Demo, client: openai.OpenAI) -> None:
    told = list(client.chat.completions.create(**GREEDY, stream=True, stream_options={"include_usage": True}))[-1]
    assert told.choices == [] and told.usage is not None
    with client.chat.completions.with_streaming_response.create(**GREEDY, stream=True) as response:
        assert not any("usage" in line for line in response.iter_lines())
        record = demo.record(response.headers["x-request-id"])
    assert (record["input_tokens"], record["output_tokens"]) == (told.usage.prompt_tokens, told.usage.completion_tokens)
    assert not record["estimated"]


def test_async_client_streams_several_answers_at_once(demo: Demo, greedy: str) -> None:
    async def ask(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(**GREEDY, stream=True)
        return text_of([chunk async for chunk in stream])

    async def ask_all() -> list[str]:
        async with openai.AsyncOpenAI(
            base_url=demo.base_url, api_key=demo.key, max_retries=0, timeout=ANSWER_S
        ) as client:
            alone = await ask(client)
            return [alone, *await asyncio.gather(*(ask(client) for _ in range(SLOTS)))]

    alone, *together = asyncio.run(ask_all())
    assert alone == greedy
    assert all(len(text) > 10 for text in together)  # computed in one batch they may differ in their last bits


@pytest.mark.nightly
def test_async_client_gets_whole_answers(demo: Demo, greedy: str) -> None:
    async def ask() -> ChatCompletion:
        async with openai.AsyncOpenAI(
            base_url=demo.base_url, api_key=demo.key, max_retries=0, timeout=ANSWER_S
        ) as client:
            answer: ChatCompletion = await client.chat.completions.create(**GREEDY)
            return answer

    assert content(asyncio.run(ask())) == greedy


CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "capital": {"type": "boolean"}},
    "required": ["city", "capital"],
    "additionalProperties": False,
}


def test_answer_keeps_to_a_json_schema(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    answer = client.chat.completions.create(**{**GREEDY, "max_tokens": 200}, response_format=form)
    assert answer.choices[0].finish_reason == "stop"
    told = json.loads(content(answer))
    assert told.keys() == {"city", "capital"}
    assert isinstance(told["city"], str) and isinstance(told["capital"], bool)


@pytest.mark.nightly
def test_json_mode_answers_an_object(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": 'Answer with the JSON object {"answer": "Paris"} and no more.'}]
    answer = client.chat.completions.create(
        **{**GREEDY, "messages": messages, "max_tokens": 1_000}, response_format={"type": "json_object"}
    )
    assert content(answer).lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(content(answer)), dict)


TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.mark.nightly
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_tools_may_be_offered(client: openai.OpenAI, streamed: bool) -> None:
    asked: dict[str, Any] = {
        **GREEDY,
        "messages": [{"role": "user", "content": "How is the weather in Paris?"}],
        "tools": [TOOL],
    }
    if streamed:
        with client.chat.completions.stream(**asked) as stream:
            for _ in stream:
                message = stream.current_completion_snapshot.choices[0].message
                if stream.current_completion_snapshot.choices[0].finish_reason:
                    break  # before the client refuses to parse an answer that reached its bound
    else:
        message = client.chat.completions.create(**asked).choices[0].message
    assert message.content or message.tool_calls
    for call in message.tool_calls or []:
        assert call.type == "function" and call.function.name == "get_weather"
        assert isinstance(json.loads(call.function.arguments), dict)


@pytest.mark.nightly
def test_history_with_a_tools_result_is_taken(client: openai.OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    history = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
    ]
    assert content(client.chat.completions.create(**{**GREEDY, "messages": history, "tools": [TOOL]}))


@pytest.mark.nightly
def test_n_choices_come_each_under_its_index(client: openai.OpenAI) -> None:
    asked = {**GREEDY, "max_tokens": 8, "n": 2}
    whole = client.chat.completions.create(**asked)
    assert [choice.index for choice in whole.choices] == [0, 1]
    chunks = list(client.chat.completions.create(**asked, stream=True))
    for index in (0, 1):
        assert text_of(chunks, index) == content(whole, index)
        ends = [c.finish_reason for chunk in chunks for c in chunk.choices if c.index == index and c.finish_reason]
        assert len(ends) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_logprobs_stand_for_each_token(client: openai.OpenAI, streamed: bool) -> None:
    asked: dict[str, Any] = {**GREEDY, "max_tokens": 3, "logprobs": True, "top_logprobs": 2}
    if streamed:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        found = [c.logprobs for chunk in chunks for c in chunk.choices if c.logprobs is not None]
        text, tokens = text_of(chunks), [token for logprobs in found for token in logprobs.content or []]
    else:
        answer = client.chat.completions.create(**asked)
        assert answer.choices[0].logprobs is not None
        text, tokens = content(answer), answer.choices[0].logprobs.content or []
    assert "".join(token.token for token in tokens) == text
    assert len(tokens) == 3
    assert all(-math.inf < token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)


@pytest.mark.nightly
def test_stop_ends_the_answer_before_its_word(client: openai.OpenAI, greedy: str) -> None:
    word = greedy.split()[2]
    answer = client.chat.completions.create(**GREEDY, stop=[word])
    assert answer.choices[0].finish_reason == "stop"
    assert content(answer) == greedy[: greedy.index(word)]


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_tokens_are_bounded_by_either_name(client: openai.OpenAI, greedy: str, name: str) -> None:
    asked = {key: value for key, value in GREEDY.items() if key != "max_tokens"}
    answer = client.chat.completions.create(**{**asked, name: 2})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 2
    assert greedy.startswith(content(answer))


# -- the other endpoints


@pytest.mark.nightly
def test_completions_api_streams_what_it_says_whole(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {**GREEDY, "prompt": "The capital of France is", "max_tokens": 8}
    del asked["messages"]
    whole = client.completions.create(**asked)
    assert whole.choices[0].text.strip()
    assert whole.usage is not None and whole.usage.completion_tokens == 8
    streamed = client.completions.create(**asked, stream=True)
    assert "".join(choice.text for chunk in streamed for choice in chunk.choices) == whole.choices[0].text


@pytest.mark.parametrize("encoding", ["float", pytest.param("base64", marks=pytest.mark.nightly)])
def test_embeddings_of_like_texts_are_alike(demo: Demo, client: openai.OpenAI, encoding: Any) -> None:
    texts = ["a cat", "a kitten", "tax law"]
    raw = client.embeddings.with_raw_response.create(model=MODEL_NAME, input=texts, encoding_format=encoding)
    answer = raw.parse()
    assert [row.index for row in answer.data] == [0, 1, 2]
    cat, kitten, law = (_floats(row.embedding) for row in answer.data)
    assert sum(map(float.__mul__, cat, kitten)) > sum(map(float.__mul__, cat, law))
    record = demo.record(raw.headers["x-request-id"])
    assert (record["endpoint"], record["input_tokens"], record["output_tokens"]) == (
        "embeddings",
        answer.usage.prompt_tokens,
        0,
    )


def _floats(embedding: Any) -> list[float]:
    """The vector: the client leaves base64 undecoded where the caller asked for it."""
    if not isinstance(embedding, str):
        return [float(value) for value in embedding]
    data = base64.b64decode(embedding)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL_NAME]
    assert client.models.retrieve(MODEL_NAME).object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


# -- errors


def test_unknown_model_is_the_clients_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no-such-model") as caught:
        client.chat.completions.create(**{**GREEDY, "model": "no-such-model"})
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


def test_wrong_key_is_the_clients_authentication_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sk-wrong").chat.completions.create(**GREEDY)
    assert caught.value.code == "invalid_api_key"


@pytest.mark.nightly
def test_error_of_the_model_keeps_its_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size"):
        client.chat.completions.create(**{**GREEDY, "messages": [{"role": "user", "content": "word " * 5_000}]})


# -- callers that leave


def _take_all_slots(client: openai.OpenAI) -> list[str]:
    """The ids of as many endless streams as the model answers at once; each spoke while the others were open, then left."""
    streams = [client.chat.completions.create(**ENDLESS, stream=True) for _ in range(SLOTS)]
    for stream in streams:
        assert text_of(itertools.islice(stream, 5))
    for stream in streams:
        stream.close()
    return [stream.response.headers["x-request-id"] for stream in streams]


def _assert_slots_are_free(client: openai.OpenAI) -> None:
    began = time.monotonic()
    _take_all_slots(client)
    assert time.monotonic() - began < ENDLESS_S / 2, "the model went on with answers that nobody waits for"


def test_streams_that_are_left_free_the_model_and_are_recorded(demo: Demo, client: openai.OpenAI) -> None:
    left = _take_all_slots(client)
    _assert_slots_are_free(client)
    for record in map(demo.record, left):
        assert (record["status"], record["code"]) == (499, "client_closed_request")
        assert record["input_tokens"] > 0
        assert 0 < record["output_tokens"] < ENDLESS["max_tokens"] // 2
        assert record["estimated"], "the model had told no usage yet"
        assert record["finish_reason"] == ""


@pytest.mark.nightly
def test_clients_that_time_out_free_the_model_and_are_recorded(demo: Demo, client: openai.OpenAI) -> None:
    def ask(trace_id: str) -> None:
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=1).chat.completions.create(**ENDLESS, extra_headers=headers)

    trace_ids = [secrets.token_hex(16) for _ in range(SLOTS)]
    with ThreadPoolExecutor(SLOTS) as threads:
        list(threads.map(ask, trace_ids))
    _assert_slots_are_free(client)
    for trace_id in trace_ids:
        record = demo.record_of_trace(trace_id)
        assert (record["status"], record["code"], record["stream"]) == (499, "client_closed_request", 0)


@pytest.mark.nightly
def test_async_task_that_is_cancelled_frees_the_model(demo: Demo, client: openai.OpenAI) -> None:
    async def leave() -> None:
        async with openai.AsyncOpenAI(
            base_url=demo.base_url, api_key=demo.key, max_retries=0, timeout=ANSWER_S
        ) as asking:
            tasks = [asyncio.create_task(asking.chat.completions.create(**ENDLESS)) for _ in range(SLOTS)]
            await asyncio.sleep(0.5)
            for task in tasks:
                task.cancel()
            assert all(
                isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True)
            )

    asyncio.run(leave())
    _assert_slots_are_free(client)
