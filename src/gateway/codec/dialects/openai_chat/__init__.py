"""OpenAI's chat completions: `/v1/chat/completions`, and whatever speaks like it.

Sources: OpenAI API reference, "Chat completions", and the types of the official client (openai-python, `types/chat`); what servers of the
same shape add to it, by their own references: DeepSeek and vLLM (`reasoning_content`, `reasoning`, `stop_reason`), LiteLLM
(`thinking_blocks`, `cache_control`), OpenRouter (`reasoning_details`, `images`), Mistral (`content` as a list, thinking in it), Google's
endpoint of this shape (`extra_content.google.thought_signature`), llama.cpp, Ollama and text-generation-inference (finish reasons).

A caller's signatures and thoughts stand where LiteLLM's users know them: `reasoning_content` is the text alone, `thinking_blocks` what is
to be sent back. As a provider, the dialect is read with all of these; it is written as OpenAI has it, with thoughts beside the text
where there are any.

A request that stays in this dialect is not read into the canonical form: see `native`. `errors` and `usage` are shared with it.
"""

from __future__ import annotations

from gateway.base.dialect import ToldError
from gateway.base.errors import Fault
from gateway.base.messages import Answer, DialectName, Lost, Request
from gateway.codec.dialects.openai_chat._answer import read_answer, write_answer
from gateway.codec.dialects.openai_chat._embeddings import EMBEDDINGS
from gateway.codec.dialects.openai_chat._request_reader import read_request
from gateway.codec.dialects.openai_chat._request_writer import write_request
from gateway.codec.dialects.openai_chat._stream_reader import ChatStreamReader
from gateway.codec.dialects.openai_chat._stream_writer import ChatStreamWriter
from gateway.codec.dialects.openai_chat.errors import provider_message, render_error, render_error_event


class Chat:
    """gateway.codec.dialect.Dialect."""

    name: DialectName = "openai_chat"

    def read_request(self, body: bytes, lost: Lost) -> Request:
        return read_request(body, lost)

    def write_request(self, request: Request, lost: Lost) -> bytes:
        return write_request(request, lost)

    def read_answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def write_answer(self, answer: Answer, request: Request | None = None) -> bytes:
        return write_answer(answer)

    def stream_reader(self) -> ChatStreamReader:
        return ChatStreamReader()

    def stream_writer(self, request: Request) -> ChatStreamWriter:
        return ChatStreamWriter(request)

    def write_error(self, fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
        return render_error(fault, message, param, code)

    def write_error_event(self, fault: Fault, message: str, param: str | None = None) -> bytes:
        return render_error_event(fault, message, param)

    def read_error(self, body: bytes) -> ToldError:
        return provider_message(body)


DIALECT = Chat()

__all__ = ["DIALECT", "EMBEDDINGS"]
