"""Cohere's dialect, as far as others speak it: rerank, `/v1/rerank` and `/v2/rerank`.

Sources: Cohere API reference, "Rerank" (v1, v2) and "Errors", and the types of the official client (`cohere` 7.3: `V2RerankResponse`,
`ApiMeta`); Jina AI, "Reranker API" and vLLM, "Re-rank API", whose answers have the same `results` and tell `usage` in place of `meta`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from _fastpath.chat import MOST_TOKENS, Reading
from _fastpath.usage import Usage
from gateway.base.context import Follows
from gateway.base.dialect import AnswerError, ToldError
from gateway.base.errors import INVALID_VALUE, Fault, GatewayError
from gateway.codec.dialects.openai_chat.errors import provider_message, render_error_event
from gateway.codec.metered import ReadWhole
from gateway.codec.plain import Plain, note_texts, read_plain
from gateway.codec.raw import decode_leniently

MAX_DOCUMENTS = 10_000
"""Cohere's bound of the documents of a request."""


class _Asked(Plain):
    query: Any = None
    """A text; Jina's may be an object with an image."""
    documents: list[Any] | None = None
    """Texts, or objects that hold some."""


_Count = Annotated[float, msgspec.Meta(ge=0, le=MOST_TOKENS)] | None
"""What is out of bounds is no usage."""


class _Units(msgspec.Struct):
    search_units: _Count = None
    input_tokens: _Count = None


class _Tokens(msgspec.Struct):
    input_tokens: _Count = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None
    tokens: _Tokens | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count = None
    total_tokens: _Count = None


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw]


class _Told(msgspec.Struct):
    meta: _Meta | None = None
    usage: _Usage | None = None


_asked_decoder = msgspec.json.Decoder(_Asked)
_answer_decoder = msgspec.json.Decoder(_Answer)
_told_decoder = msgspec.json.Decoder(_Told)


def read_rerank(body: bytes) -> Reading:
    """What governs a request to rank documents; raises GatewayError."""
    reading, told = read_plain(_asked_decoder, body)
    if not told.query:
        raise GatewayError(INVALID_VALUE, "The body has no 'query'.", param="query")
    if not told.documents:
        raise GatewayError(INVALID_VALUE, "'documents' must hold at least one document.", param="documents")
    if len(told.documents) > MAX_DOCUMENTS:
        message = f"'documents' holds at most {MAX_DOCUMENTS:,} documents."
        raise GatewayError(INVALID_VALUE, message, param="documents")
    note_texts(reading, told.query)
    note_texts(reading, told.documents)
    return reading


def follow_rerank(told: Any) -> Follows:
    """Reads the answer to such a request."""
    return ReadWhole(read_usage)


def read_usage(body: bytes) -> Usage | None:
    """What an answer tells: `meta.billed_units`, of which a search unit is a call, or `usage`. Raises AnswerError where it is none."""
    try:
        decode_leniently(_answer_decoder, body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AnswerError("it has no list 'results'") from error
    try:
        told = decode_leniently(_told_decoder, body)
    except msgspec.DecodeError:  # what it says of itself is odd, but the answer may be good
        return None
    meta, usage = told.meta or _Meta(), told.usage or _Usage()
    units, tokens = meta.billed_units or _Units(), meta.tokens or _Tokens()
    read = tokens.input_tokens or units.input_tokens or usage.prompt_tokens or usage.total_tokens
    if read is None and units.search_units is None:
        return None
    return Usage(math.ceil(read or 0), calls=max(1, math.ceil(units.search_units or 0)))


class Errors:
    """`gateway.base.dialect.Errors`: Cohere's own `message`, and for clients of the others an object as OpenAI has it."""

    def write_error(self, fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
        error = {"message": message, "type": fault.type, "param": param, "code": code or fault.code}
        return msgspec.json.encode({"message": message, "error": error})

    def write_error_event(self, fault: Fault, message: str, param: str | None = None) -> bytes:
        return render_error_event(fault, message, param)

    def read_error(self, body: bytes) -> ToldError:
        return provider_message(body)


ERRORS = Errors()
