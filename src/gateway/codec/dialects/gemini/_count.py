"""countTokens: what is counted, and how many there are.

Source: Gemini API reference, "Counting tokens": a body holds either `contents` or `generateContentRequest`, which names its model;
Vertex AI's has the fields of a request beside `contents` instead.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from gateway.base.dialect import AnswerError
from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.base.messages import Lost, Request
from gateway.codec.raw import ABSENT

from ._body import decode
from ._names import renamed, resource
from ._read_request import request_of
from ._wire import count_decoder
from ._write_request import body_of


class _Counted(msgspec.Struct, rename="camel"):
    total_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Proto3 leaves a 0 out."""


_counted_decoder = msgspec.json.Decoder(_Counted)


def read_count_request(body: bytes, lost: Lost) -> Request:
    """What is to be counted, as a request.

    Raises:
        GatewayError
    """
    asked = decode(count_decoder, body, lost)
    inner = asked.generate_content_request
    if inner is not None and asked.contents:
        message = "'contents' and 'generateContentRequest' exclude each other."
        raise GatewayError(INVALID_VALUE, message, param="contents")
    return request_of(asked if inner is None else inner, lost)


def write_count_request(request: Request, lost: Lost, *, wrapped: bool = True) -> bytes:
    """The body that asks for the count of a request; raises GatewayError.

    Args:
        wrapped: as the Gemini API wants it where there is more than contents; Vertex AI does not.
    """
    whole = body_of(request, lost)
    body: dict[str, Any] = {name: whole[name] for name in _COUNTED if name in whole}
    if wrapped and len(body) > 1:
        body = {"generateContentRequest": {"model": resource(request.model), **body}}
    return msgspec.json.encode(body)


def rename_counted(body: bytes, model: str) -> bytes:
    """A body that was read, with the model's name where one stands: Google wants the path's in a request within."""
    found = renamed(_object_decoder.decode(body), model)
    for name in _WITHIN:
        if found.get(name, ABSENT) != ABSENT:
            found[name] = renamed(_object_decoder.decode(found[name]), model)
    return msgspec.json.encode(found)


_WITHIN = ("generateContentRequest", "generate_content_request")
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_COUNTED = ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig")


def read_count(body: bytes) -> int:
    """How many tokens a provider has counted; raises AnswerError."""
    try:
        return _counted_decoder.decode(body).total_tokens
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise AnswerError("no CountTokensResponse") from error


def write_count(tokens: int) -> bytes:
    return msgspec.json.encode({"totalTokens": tokens})
