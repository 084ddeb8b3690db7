"""OpenAI's Responses API: POST /v1/responses, its response object and its stream.

Source: OpenAI API reference, "Responses" and "Streaming events", as typed in `openai-python`; openai/codex for what the main client sends
and waits for; the Open Responses specification for the fields of a response that others require.

    _wire            the shapes of items and tools, and a reading that names unknown fields
    _signed          signatures in `encrypted_content`
    _parts           parts of messages, citations, names of tools
    _blocks          items of the model's own turn
    _settings        tools, reasoning, the form of the answer
    _request_in      a caller's request
    _request_out     a request for a provider
    _answer          whole answers
    _output          the response object as it is written
    _unwrapping      inputs of custom tools, out of arguments of functions
    _finish          why an answer has ended
    _usage           what it used
    _stream_in       a provider's stream
    _stream_out      a stream for a caller
    _events          its events
    _errors          errors

Bodies come in that `_fastpath.jsonscan` has admitted: JSON that is carried on unread (schemas, hosted tools) is checked there.
"""

from __future__ import annotations

from gateway.base.dialect import ToldError
from gateway.base.errors import Fault
from gateway.base.messages import Answer, DialectName, Lost, Request
from gateway.codec.dialects.openai_chat.errors import provider_message
from gateway.codec.dialects.openai_responses._answer import read_answer, write_answer
from gateway.codec.dialects.openai_responses._errors import write_error, write_error_event
from gateway.codec.dialects.openai_responses._request_in import read_request
from gateway.codec.dialects.openai_responses._request_out import write_request
from gateway.codec.dialects.openai_responses._signed import OWN
from gateway.codec.dialects.openai_responses._stream_in import StreamReader
from gateway.codec.dialects.openai_responses._stream_out import StreamWriter
from gateway.codec.dialects.openai_responses._usage import read_usage as read_usage


class _Responses:
    """`gateway.base.dialect.Dialect`."""

    @property
    def name(self) -> DialectName:
        return OWN

    def read_request(self, body: bytes, lost: Lost) -> Request:
        return read_request(body, lost)

    def write_request(self, request: Request, lost: Lost) -> bytes:
        return write_request(request, lost)

    def read_answer(self, body: bytes) -> Answer:
        return read_answer(body)

    def write_answer(self, answer: Answer, request: Request | None = None) -> bytes:
        """With the settings of `request` in it, where that is given."""
        return write_answer(answer, request)

    def stream_reader(self) -> StreamReader:
        return StreamReader()

    def stream_writer(self, request: Request) -> StreamWriter:
        return StreamWriter(request)

    def write_error(self, fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
        return write_error(fault, message, param, code)

    def write_error_event(self, fault: Fault, message: str, param: str | None = None) -> bytes:
        return write_error_event(fault, message, param)

    def read_error(self, body: bytes) -> ToldError:
        return provider_message(body)


DIALECT = _Responses()
