"""An application that uses the official `openai` client changes its address and key, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import struct
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam

from tests.e2e.conftest import secret_of
from tests.e2e.node import Gateway, wait_for
from tests.support.scripted_upstream import (
    DONE,
    STALL,
    ScriptedUpstream,
    chat_events,
    completion,
    delta,
    error,
    event,
    json_answer,
    stream,
    usage_event,
)

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello."}]
WORDS = ("Grüße", ", ", 'Welt \\"quoted\\"', " 🌍")
TEXT = "".join(WORDS)


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


# -- answers


def test_chat_completion_arrives_as_the_provider_gave_it(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion("Hello there!")))
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, extra_body={"x_script": script})
    assert answer.choices[0].message.content == "Hello there!"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.prompt_tokens == 1_117
    assert answer.usage.prompt_tokens_details is not None and answer.usage.prompt_tokens_details.cached_tokens == 1_024
    assert answer.system_fingerprint == "fp_560af6e559"
    (request,) = upstream.requests_of(script)
    assert request.path == "/a/v1/chat/completions"
    assert request.json == {"model": "upstream-mini", "messages": MESSAGES, "x_script": script}


def test_the_body_is_the_providers_byte_for_byte(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    steps = json_answer(completion())
    script = upstream.script(steps)
    answer = gateway.ask({"model": "gpt-4o-mini", "messages": MESSAGES, "x_script": script}, secret_of("main"))
    assert isinstance(steps[0], bytes)
    assert steps[0].endswith(b"\r\n\r\n" + answer.body)


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
@pytest.mark.parametrize("asked", [False, True], ids=["usage-not-asked", "usage-asked"])
def test_stream_shows_the_usage_chunk_only_to_who_asked(
    client: openai.OpenAI, upstream: ScriptedUpstream, gateway: Gateway, framing: Any, asked: bool
) -> None:
    script = upstream.script(stream(chat_events(WORDS), framing))
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_body={"x_script": script}, **options
    ) as response:
        request_id = response.headers["x-request-id"]
        chunks = list(response.parse())
    assert text_of(chunks) == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    told = [c.usage for c in chunks if c.usage is not None]
    assert [u.completion_tokens for u in told] == ([46] if asked else [])
    (request,) = upstream.requests_of(script)
    assert request.json["stream_options"] == {"include_usage": True}
    line = gateway.logged(request_id)
    assert (line["input_tokens"], line["output_tokens"], line["status"], line["finish_reason"]) == (
        1_117,
        46,
        200,
        "stop",
    )
    assert not line.get("estimated")


def test_stream_options_of_the_caller_are_kept_beside_ours(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    script = upstream.script(stream(chat_events(WORDS)))
    options: dict[str, Any] = {"include_usage": False, "include_obfuscation": False}
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=MESSAGES,
            stream=True,
            extra_body={"x_script": script, "stream_options": options},
        )
    )
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert upstream.requests_of(script)[0].json["stream_options"] == {**options, "include_usage": True}


TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Zürich"}'}}


def test_tools_go_out_and_tool_calls_come_back(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    script = upstream.script(json_answer(completion(message=message, finish_reason="tool_calls")))
    history: list[Any] = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "21 °C"}]},
    ]
    answer = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=history,
        tools=[TOOL],
        tool_choice="auto",
        extra_body={"x_script": script},
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"Zürich"}')
    sent = upstream.requests_of(script)[0].json
    assert sent["tools"] == [TOOL] and sent["messages"] == history


def test_tool_calls_stream_in_pieces(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    pieces = ['{"ci', 'ty":', '"Zürich"}']
    first = {"tool_calls": [{"index": 0, **CALL, "function": {"name": "get_weather", "arguments": ""}}]}
    rest = [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
    script = upstream.script(stream([delta(first), *map(delta, rest), delta({}, "tool_calls"), usage_event(), DONE]))
    chunks = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=MESSAGES,
        tools=[TOOL],
        stream=True,
        extra_body={"x_script": script},
    )
    arguments = ""
    for chunk in chunks:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function is not None
            arguments += call.function.arguments or ""
    assert arguments == '{"city":"Zürich"}'
    assert chunk.choices[0].finish_reason == "tool_calls"


def test_json_mode_n_and_logprobs_pass_both_ways(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    logprobs = {"content": [{"token": "{", "logprob": -0.25, "bytes": [123], "top_logprobs": []}], "refusal": None}
    one = completion('{"a": 1}', logprobs=logprobs)
    one["choices"].append({**one["choices"][0], "index": 1})
    script = upstream.script(json_answer(one, framing="chunked"))
    answer = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=MESSAGES,
        n=2,
        logprobs=True,
        top_logprobs=1,
        seed=7,
        response_format={"type": "json_object"},
        extra_body={"x_script": script},
    )
    assert [c.index for c in answer.choices] == [0, 1]
    assert answer.choices[1].logprobs is not None and answer.choices[1].logprobs.content is not None
    assert answer.choices[1].logprobs.content[0].logprob == -0.25
    sent = upstream.requests_of(script)[0].json
    assert (sent["n"], sent["logprobs"], sent["seed"], sent["response_format"]) == (2, True, 7, {"type": "json_object"})


@pytest.mark.parametrize("count", [1, 40], ids=["small", "beyond-64-KiB"])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_in_both_encodings(
    client: openai.OpenAI, upstream: ScriptedUpstream, gateway: Gateway, encoding: Any, count: int
) -> None:
    vector = [0.5, -0.25, 1.0] * 512
    shown: Any = vector if encoding == "float" else base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": shown} for i in range(count)],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    script = upstream.script(json_answer(body))
    raw = client.embeddings.with_raw_response.create(
        model="embed-small", input=["a"] * count, encoding_format=encoding, extra_body={"x_script": script}
    )
    answer = raw.parse()
    assert len(answer.data) == count
    assert answer.data[-1].embedding == (vector if encoding == "float" else shown)
    assert answer.usage.prompt_tokens == 5
    assert upstream.requests_of(script)[0].json["model"] == "upstream-embed"
    line = gateway.logged(raw.headers["x-request-id"])
    assert (line["endpoint"], line["input_tokens"], line["output_tokens"]) == ("embeddings", 5, 0)
    assert line["cost_nano_usd"] == 100  # 5 tokens of 20 nano-USD


def test_the_clients_own_base64_default_is_decoded(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    coded = base64.b64encode(struct.pack("<2f", 0.5, -0.25)).decode()
    script = upstream.script(
        json_answer(
            {
                "object": "list",
                "model": "m",
                "data": [{"object": "embedding", "index": 0, "embedding": coded}],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        )
    )
    answer = client.embeddings.create(model="embed-small", input="a", extra_body={"x_script": script})
    assert answer.data[0].embedding == [0.5, -0.25]
    assert upstream.requests_of(script)[0].json["encoding_format"] == "base64"


@pytest.mark.parametrize("streamed", [False, True])
def test_text_completions(client: openai.OpenAI, upstream: ScriptedUpstream, streamed: bool) -> None:
    def made(text: str, reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}

    usage = {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}
    if streamed:
        script = upstream.script(
            stream(
                [
                    event(made("one", None)),
                    event(made(" two", "stop")),
                    event({**made("", None), "choices": [], "usage": usage}),
                    DONE,
                ]
            )
        )
        parts = client.completions.create(
            model="gpt-4o-mini", prompt="Count:", stream=True, extra_body={"x_script": script}
        )
        assert "".join(part.choices[0].text for part in parts) == "one two"
        return
    script = upstream.script(json_answer({**made("one two", "stop"), "usage": usage}))
    answer = client.completions.create(
        model="gpt-4o-mini", prompt=["Count:"], best_of=1, extra_body={"x_script": script}
    )
    assert answer.choices[0].text == "one two"
    assert upstream.requests_of(script)[0].path == "/a/v1/completions"


def test_models_are_those_that_the_key_may_use(client: openai.OpenAI, client_of: Callable[..., openai.OpenAI]) -> None:
    assert "pair" in {m.id for m in client.models.list()}
    some = client_of("some")
    assert sorted(m.id for m in some.models.list()) == ["embed-small", "gpt-4o-mini"]
    assert some.models.retrieve("embed-small").id == "embed-small"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(openai.PermissionDeniedError):
        some.models.retrieve("pair")


def test_a_model_of_any_allowed_name_can_be_retrieved(client: openai.OpenAI) -> None:
    assert client.models.retrieve("vendor/model:tag@1").id == "vendor/model:tag@1"


# -- errors


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        # Our credential's refusal is no fault of the caller's key.
        (401, openai.InternalServerError),
        (403, openai.InternalServerError),
    ],
)
def test_an_error_of_the_provider_is_the_clients_class_with_its_message(
    client: openai.OpenAI, upstream: ScriptedUpstream, status: int, expected: type[openai.APIStatusError]
) -> None:
    script = upstream.script(error(status, "It said so itself.", "their_code"))
    with pytest.raises(expected) as caught:
        client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, extra_body={"x_script": script})
    assert "It said so itself." in caught.value.message
    assert caught.value.code == "their_code"


def test_errors_of_ours_are_the_clients_classes(client: openai.OpenAI, client_of: Callable[..., openai.OpenAI]) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, n=0)
    assert (bad.value.code, bad.value.param) == ("invalid_value", "n")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    with pytest.raises(openai.PermissionDeniedError):
        client_of("some").chat.completions.create(model="pair", messages=MESSAGES)
    with pytest.raises(openai.AuthenticationError):
        client_of("unknown").chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)


def test_the_client_honours_retry_after(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    answers = [error(429, "Slow down.", None, "retry-after: 1"), json_answer(completion())]
    script = upstream.script(lambda _: answers.pop(0))
    retrying = client.with_options(max_retries=1)
    begun = time.monotonic()
    answer = retrying.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, extra_body={"x_script": script})
    assert answer.choices
    assert time.monotonic() - begun >= 0.9
    assert len(upstream.requests_of(script)) == 2


def test_a_time_out_of_the_client_ends_the_call_upstream(
    native_client: openai.OpenAI, upstream: ScriptedUpstream, gateway: Gateway
) -> None:
    script = upstream.script([STALL])
    with pytest.raises(openai.APITimeoutError):
        native_client.with_options(timeout=0.2).chat.completions.create(
            model="gpt-4o-mini",
            messages=MESSAGES,
            extra_body={"x_script": script},
            extra_headers={"x-throughway-tags": script},
        )
    gone = time.monotonic()
    assert upstream.wait_until_left(script).left_at is not None
    assert time.monotonic() - gone < 1


def test_the_deadline_header_ends_the_call(client: openai.OpenAI, upstream: ScriptedUpstream) -> None:
    script = upstream.script([STALL])
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(
            model="gpt-4o-mini",
            messages=MESSAGES,
            extra_body={"x_script": script},
            extra_headers={"x-throughway-timeout-ms": "150"},
        )
    assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")
    upstream.wait_until_left(script)


# -- leaving


def test_a_cancelled_stream_closes_the_call_upstream_and_is_billed(
    native_client: openai.OpenAI, upstream: ScriptedUpstream, gateway: Gateway
) -> None:
    events = chat_events(("one ", "two ", "three "))
    script = upstream.script(stream([*events[:4], STALL]))
    stream_of = native_client.chat.completions.with_streaming_response.create(
        model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_body={"x_script": script}
    )
    with stream_of as response:
        request_id = response.headers["x-request-id"]
        chunks = response.parse()
        seen = ""
        for chunk in chunks:
            seen += chunk.choices[0].delta.content or ""
            if seen.endswith("three "):
                break
        left = time.monotonic()
    upstream.wait_until_left(script)
    assert time.monotonic() - left < 1
    record = gateway.record(request_id)
    assert (record["status"], record["code"], record["estimated"]) == (499, "client_closed_request", 1)
    assert record["output_tokens"] == 4
    assert 0 < record["input_tokens"] < 20
    assert record["cost_nano_usd"] == 150 * record["input_tokens"] + 600 * 4
    assert record["finish_reason"] == ""


# -- the asynchronous client


def test_async_client_chats_and_streams_many_at_a_time(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(
        lambda r: stream(chat_events(WORDS)) if r.json.get("stream") else json_answer(completion("plain"))
    )

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=secret_of("main"), max_retries=0) as client:

            async def streamed() -> str:
                chunks = await client.chat.completions.create(
                    model="gpt-4o-mini", messages=MESSAGES, stream=True, extra_body={"x_script": script}
                )
                return text_of([chunk async for chunk in chunks])

            async def plain() -> str:
                answer = await client.chat.completions.create(
                    model="gpt-4o-mini", messages=MESSAGES, extra_body={"x_script": script}
                )
                return answer.choices[0].message.content or ""

            answers = await asyncio.gather(*(streamed() if n % 2 else plain() for n in range(40)))
            assert answers == ["plain", TEXT] * 20
            assert "gpt-4o-mini" in {m.id async for m in client.models.list()}

    asyncio.run(main())


def test_async_errors_and_cancelled_tasks(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    stalled, refused = upstream.script([STALL]), upstream.script(error(400, "No."))

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key=secret_of("main"), max_retries=0) as client:
            create = client.chat.completions.create
            with pytest.raises(openai.BadRequestError):
                await create(model="gpt-4o-mini", messages=MESSAGES, extra_body={"x_script": refused})
            task = asyncio.ensure_future(
                create(model="gpt-4o-mini", messages=MESSAGES, extra_body={"x_script": stalled})
            )
            await asyncio.to_thread(wait_for, "the provider has it", lambda: upstream.requests_of(stalled))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    left = time.monotonic()
    upstream.wait_until_left(stalled)
    assert time.monotonic() - left < 1
