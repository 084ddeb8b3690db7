"""Anthropic's Messages API: requests, answers, streams, errors, and the count of a request's tokens.

    _request, _read_blocks, _wire, _unknown                        a caller's request
    _write_request, _write_blocks, _sources, _thinking, _models    one for a provider
    _answer, _finish, _usage                                       whole answers
    _stream_reader, _stream_writer                                 the same as they are made
    _errors, _parts                                                errors; what several share
    _vertex                                                        what Vertex AI wants otherwise

Source of the format: Anthropic's API reference (platform.claude.com/docs/en/api), in its versions 2023-06-01 and 2026-10-21, and the types
of its official Python client, release 2.13.
"""

from __future__ import annotations

import msgspec

from gateway.base.dialect import AnswerError, ToldError
from gateway.base.errors import Fault
from gateway.base.messages import Answer, DialectName, Lost, Request
from gateway.codec.dialects.anthropic import _answer, _errors, _request, _usage, _write_request
from gateway.codec.dialects.anthropic._models import Traits, traits_of
from gateway.codec.dialects.anthropic._request import VERSIONS
from gateway.codec.dialects.anthropic._stream_reader import Reader
from gateway.codec.dialects.anthropic._stream_writer import Writer
from gateway.codec.dialects.anthropic._thinking import write_sampling, write_thinking
from gateway.codec.dialects.anthropic._vertex import for_vertex

__all__ = [
    "DIALECT",
    "VERSIONS",
    "WRITTEN_VERSION",
    "Anthropic",
    "Traits",
    "for_vertex",
    "traits_of",
    "write_sampling",
    "write_thinking",
]

WRITTEN_VERSION = _write_request.VERSION


class _Count(msgspec.Struct):
    input_tokens: _usage.Count


_count = msgspec.json.Decoder(_Count)


class Anthropic:
    """See `gateway.base.dialect.Dialect`."""

    name: DialectName = "anthropic"

    def read_request(self, body: bytes, lost: Lost, *, version: str = "") -> Request:
        """`version`: the caller's `anthropic-version`; what 2026-10-21 has removed is refused there alone."""
        return _request.read(body, lost, version=version)

    def write_request(self, request: Request, lost: Lost) -> bytes:
        """To be sent with `anthropic-version: WRITTEN_VERSION`."""
        return _write_request.write(request, lost)

    def read_answer(self, body: bytes) -> Answer:
        return _answer.read(body)

    def write_answer(self, answer: Answer, request: Request | None = None) -> bytes:
        return _answer.write(answer)

    def stream_reader(self) -> Reader:
        return Reader()

    def stream_writer(self, request: Request) -> Writer:
        return Writer()

    def write_error(self, fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
        """The dialect has no `param`: messages name what they mean."""
        return _errors.write(fault, message, param, code)

    def write_error_event(self, fault: Fault, message: str, param: str | None = None) -> bytes:
        return _errors.event(fault, message, param)

    def read_error(self, body: bytes) -> ToldError:
        return _errors.read(body)

    # -- POST /v1/messages/count_tokens

    def read_count_request(self, body: bytes, lost: Lost, *, version: str = "") -> Request:
        """A request as `read_request` takes it, in which `max_tokens` may be missing: `max_output_tokens` is None then."""
        return _request.read(body, lost, counting=True, version=version)

    def write_count_request(self, request: Request, lost: Lost) -> bytes:
        return _write_request.write(request, lost, counting=True)

    def read_count(self, body: bytes) -> int:
        """Raises AnswerError."""
        try:
            counted = _count.decode(body).input_tokens
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AnswerError(f"The answer is no count of tokens: {error}") from error
        if counted is None:
            raise AnswerError("The answer is no count of tokens: input_tokens is null")
        return counted

    def write_count(self, input_tokens: int) -> bytes:
        """`{"input_tokens": N}`"""
        return b'{"input_tokens":%d}' % input_tokens


DIALECT = Anthropic()
