"""The mock provider against the providers' own clients.

A client takes much as it comes: it skips fields that it does not know, and misses none. So whatever comes is also held against the
client's types, where a field that it lacks or does not know is a fault of the mock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from google import genai
from google.genai import errors as genai_errors
from google.genai.types import GenerateContentResponse
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, TypeAdapter, ValidationError

from tests.bench.upstream.mock import Mock, playing
from tests.bench.upstream.test_play import events

SCRIPT = """\
text_bytes: 40
model: mock-7
prompt_tokens: 11
routes:
  - {prefix: /refused, faults: [{kind: error, share: 1, status: 429, retry_after_s: 3}]}
  - {prefix: /failing, faults: [{kind: error_event, share: 1}]}
"""
TEXT = "the harbour office keeps a ledger of eve"
TOKENS = [TEXT[at : at + 4] for at in range(0, 40, 4)]
ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mock]:
    path = tmp_path_factory.mktemp("clients") / "script.yaml"
    path.write_text(SCRIPT)
    with playing("--script", str(path)) as mock:
        yield mock


def of_openai(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)


def of_anthropic(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)


def of_gemini(url: str) -> genai.Client:
    return genai.Client(api_key="k", http_options={"base_url": url})


def unknown(value: Any, where: str = "") -> list[str]:
    """The places of what the client's types do not know."""
    if isinstance(value, list):
        return [found for each in value for found in unknown(each, f"{where}[]")]
    if not isinstance(value, BaseModel):
        return []
    extra = [f"{where}.{name}" for name in value.model_extra or {}]
    return extra + [found for name, each in value for found in unknown(each, f"{where}.{name}")]


# -- what is on the wire, by the clients' types


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/chat/completions", ASKED, ChatCompletion),
        ("/v1/messages", ASKED, Message),
        ("/v1beta/models/m:generateContent", GEMINI, GenerateContentResponse),
    ],
)
def test_an_answer_has_every_field_of_its_dialect_and_no_other(path: str, body: Any, kind: Any, mock: Mock) -> None:
    answer = httpx.post(f"{mock.url}{path}", json=body).json()
    assert unknown(kind.model_validate(answer)) == []


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/chat/completions", {**ASKED, "stream": True}, ChatCompletionChunk),
        (
            "/v1/chat/completions",
            {**ASKED, "stream": True, "stream_options": {"include_usage": True}},
            ChatCompletionChunk,
        ),
        ("/v1/messages", {**ASKED, "stream": True}, RawMessageStreamEvent),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", GEMINI, GenerateContentResponse),
    ],
)
def test_an_event_has_every_field_of_its_dialect_and_no_other(path: str, body: Any, kind: Any, mock: Mock) -> None:
    seen = events(httpx.post(f"{mock.url}{path}", json=body).text)
    told = [data for name, data in seen if data != "[DONE]" and name != "ping"]  # neither has a type
    assert len(told) >= len(TOKENS)
    assert [unknown(TypeAdapter(kind).validate_python(data)) for data in told] == [[]] * len(told)


def test_what_lacks_a_field_or_has_another_is_seen(mock: Mock) -> None:
    answer = httpx.post(f"{mock.url}/v1/messages", json=ASKED).json()
    answer["usage"]["tokens_out"] = 1
    assert unknown(Message.model_validate(answer)) == [".usage.tokens_out"]
    del answer["usage"]["output_tokens"]
    with pytest.raises(ValidationError, match="output_tokens"):
        Message.model_validate(answer)
    with pytest.raises(ValidationError, match="tokens_out"):
        GenerateContentResponse.model_validate({"tokens_out": 1})


# -- what the clients make of it


def test_the_openai_client_reads_answers(mock: Mock) -> None:
    with of_openai(mock.url) as client:
        answer = client.chat.completions.create(**ASKED)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "mock-7"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 10, 21)


@pytest.mark.parametrize("asks_for_usage", [False, True])
def test_the_openai_client_reads_streams(mock: Mock, asks_for_usage: bool) -> None:
    more: Any = {"stream_options": {"include_usage": True}} if asks_for_usage else {}
    with of_openai(mock.url) as client:
        chunks = list(client.chat.completions.create(**ASKED, stream=True, **more))
    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices]
    assert texts == ["", *TOKENS, None]
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert reasons == [None] * 11 + ["stop"]
    usages = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert usages == ([10] if asks_for_usage else [])


def test_the_openai_client_lists_the_model(mock: Mock) -> None:
    with of_openai(mock.url) as client:
        models = list(client.models.list())
    assert [model.id for model in models] == ["mock-7"]
    assert [unknown(Model.model_validate(model.model_dump())) for model in models] == [[]]


def test_the_anthropic_client_reads_answers(mock: Mock) -> None:
    with of_anthropic(mock.url) as client:
        answer = client.messages.create(**ASKED)
    assert [block.text for block in answer.content] == [TEXT]
    assert (answer.model, answer.stop_reason) == ("mock-7", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 10)


def test_the_anthropic_client_reads_streams(mock: Mock) -> None:
    with of_anthropic(mock.url) as client, client.messages.stream(**ASKED) as stream:
        assert list(stream.text_stream) == TOKENS
        answer = stream.get_final_message()
    assert "".join(block.text for block in answer.content if block.type == "text") == TEXT
    assert (answer.model, answer.stop_reason) == ("mock-7", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 10)


def test_the_gemini_client_reads_answers(mock: Mock) -> None:
    with of_gemini(mock.url) as client:
        answer = client.models.generate_content(model="m", contents="Hi")
    assert answer.text == TEXT
    assert answer.model_version == "mock-7"
    assert answer.candidates is not None and answer.usage_metadata is not None
    assert answer.candidates[0].finish_reason == "STOP"
    assert (answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count) == (11, 10)


def test_the_gemini_client_reads_streams(mock: Mock) -> None:
    with of_gemini(mock.url) as client:
        chunks = list(client.models.generate_content_stream(model="m", contents="Hi"))
    assert [chunk.text for chunk in chunks] == TOKENS
    reasons = [candidate.finish_reason for chunk in chunks for candidate in chunk.candidates or ()]
    assert reasons == [None] * 9 + ["STOP"]
    usage = chunks[-1].usage_metadata
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count) == (11, 10)


# -- refused, and broken off


def test_the_openai_client_reads_refusals(mock: Mock) -> None:
    with of_openai(f"{mock.url}/refused") as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**ASKED)
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "3"


def test_the_anthropic_client_reads_refusals(mock: Mock) -> None:
    with of_anthropic(f"{mock.url}/refused") as client, pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**ASKED)
    assert caught.value.type == "rate_limit_error"
    assert caught.value.response.headers["retry-after"] == "3"


def test_the_gemini_client_reads_refusals(mock: Mock) -> None:
    with of_gemini(f"{mock.url}/refused") as client, pytest.raises(genai_errors.ClientError) as caught:
        client.models.generate_content(model="m", contents="Hi")
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")


def test_the_openai_client_sees_a_stream_that_breaks_off(mock: Mock) -> None:
    with of_openai(f"{mock.url}/failing") as client:
        chunks = client.chat.completions.create(**ASKED, stream=True)
        with pytest.raises(openai.APIError, match="The script says so") as caught:
            list(chunks)
    assert not isinstance(caught.value, openai.APIStatusError)


def test_the_anthropic_client_sees_a_stream_that_breaks_off(mock: Mock) -> None:
    with (
        of_anthropic(f"{mock.url}/failing") as client,
        client.messages.stream(**ASKED) as stream,
        pytest.raises(anthropic.APIStatusError, match="The script says so") as caught,
    ):
        stream.get_final_message()
    assert caught.value.type == "overloaded_error"


def test_the_gemini_client_sees_a_stream_that_breaks_off(mock: Mock) -> None:
    with of_gemini(f"{mock.url}/failing") as client, pytest.raises(genai_errors.ServerError) as caught:
        list(client.models.generate_content_stream(model="m", contents="Hi"))
    assert caught.value.status == "UNAVAILABLE"
