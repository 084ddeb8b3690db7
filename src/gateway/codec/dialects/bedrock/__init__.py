"""Amazon Bedrock's Converse and ConverseStream, as providers speak them: callers have no endpoint of this dialect.

    _write_request, _settings, _families    a request: what it asks for besides its turns, by families of models
    _write_blocks, _media                   its tools, instructions and turns
    _answer, _finish, _usage                whole answers
    _stream_reader                          the same as they are made
    _errors                                 errors, alone and in a stream

The model stands in the path, and so does whether a stream is asked for. How the events of a stream are framed is told in
`gateway.codec.eventstream`.

Source of the format: the service model of Bedrock Runtime, 2023-09-30, as botocore 1.44 carries it; AWS's user guide of Amazon Bedrock,
"Carry out a conversation with the Converse API operations", "Prompt caching", "Inference request parameters".
"""

from __future__ import annotations

from gateway.base.dialect import ToldError
from gateway.base.messages import Answer, DialectName, Lost, Request
from gateway.codec.dialects.bedrock import _answer, _errors, _write_request
from gateway.codec.dialects.bedrock._stream_reader import Reader

__all__ = ["DIALECT", "Bedrock"]


class Bedrock:
    """See `gateway.base.dialect.ProviderDialect`."""

    name: DialectName = "bedrock"

    def write_request(self, request: Request, lost: Lost) -> bytes:
        return _write_request.write(request, lost)

    def read_answer(self, body: bytes) -> Answer:
        return _answer.read(body)

    def stream_reader(self) -> Reader:
        return Reader()

    def read_error(self, body: bytes) -> ToldError:
        return _errors.read(body)


DIALECT = Bedrock()
