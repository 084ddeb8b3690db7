"""Gemini's dialect: generateContent, streamGenerateContent (`alt=sse`), countTokens and embeddings, of the Gemini API and of Vertex AI.

    _wire            the shapes of the wire, and their sources
    _names           names in snake case, unknown fields            _body    a body, checked and decoded
    _read_request    _write_request    _models                      _count   countTokens    _embed   embedContent, batchEmbedContents
    _answer          _stream_reader, _partial_args                  _stream_writer
    _parts           parts to blocks   _write_parts                 blocks to parts
    _media, _arguments, _signature, _schema, _citations, _logprobs, _usage, _finish     what those are made of
    _errors          _vertex: what Vertex AI wants otherwise

Model and delivery stand in the path, so a request is read with neither, and its body is written with neither.
"""

from __future__ import annotations

from typing import Literal

from gateway.base.dialect import ToldError
from gateway.base.errors import Fault
from gateway.base.messages import Answer, Lost, Request

from . import _answer, _errors, _read_request, _write_request
from ._count import read_count, read_count_request, rename_counted, write_count, write_count_request
from ._embed import BATCH_EMBED_CONTENTS, EMBED_CONTENT, BatchEmbedContents, EmbedContent
from ._stream_reader import StreamReader
from ._stream_writer import StreamWriter
from ._vertex import for_vertex

__all__ = [
    "BATCH_EMBED_CONTENTS",
    "DIALECT",
    "EMBED_CONTENT",
    "BatchEmbedContents",
    "EmbedContent",
    "for_vertex",
    "read_count",
    "read_count_request",
    "rename_counted",
    "write_count",
    "write_count_request",
]


class _Gemini:
    name: Literal["gemini"] = "gemini"

    def read_request(self, body: bytes, lost: Lost) -> Request:
        return _read_request.read_request(body, lost)

    def write_request(self, request: Request, lost: Lost) -> bytes:
        return _write_request.write_request(request, lost)

    def read_answer(self, body: bytes) -> Answer:
        return _answer.read_answer(body)

    def write_answer(self, answer: Answer, request: Request | None = None) -> bytes:
        return _answer.write_answer(answer)

    def stream_reader(self) -> StreamReader:
        return StreamReader()

    def stream_writer(self, request: Request) -> StreamWriter:
        return StreamWriter()

    def write_error(self, fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
        return _errors.write_error(fault, message, param, code)

    def write_error_event(self, fault: Fault, message: str, param: str | None = None) -> bytes:
        return _errors.write_error_event(fault, message, param)

    def read_error(self, body: bytes) -> ToldError:
        return _errors.read_error(body)


DIALECT = _Gemini()
