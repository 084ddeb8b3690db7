"""Vectors of embeddings in the two forms that dialects have: a list of numbers, and base64 of 32-bit floats.

Source: OpenAI API reference, "Embeddings" (`encoding_format`), and its client, which reads the second with `array("f")`.
"""

from __future__ import annotations

import base64
import binascii
import sys
from array import array

import msgspec

from gateway.base.dialect import AnswerError
from gateway.base.embedding import Vector

_decoder = msgspec.json.Decoder(list[float])


def numbers_of(vector: Vector) -> msgspec.Raw:
    """A JSON list of numbers; raises AnswerError."""
    if isinstance(vector, msgspec.Raw):
        return vector
    try:
        floats = array("f", base64.b64decode(vector, validate=True))
    except (binascii.Error, ValueError) as error:
        raise AnswerError("an embedding is no base64 of 32-bit floats") from error
    _as_little_endian(floats)
    return msgspec.Raw(msgspec.json.encode(floats.tolist()))


def base64_of(vector: Vector) -> str:
    """Base64 of 32-bit floats; raises AnswerError."""
    if isinstance(vector, str):
        return vector
    try:
        floats = array("f", _decoder.decode(vector))
    except (msgspec.DecodeError, OverflowError) as error:
        raise AnswerError("an embedding is no list of numbers") from error
    _as_little_endian(floats)
    return base64.b64encode(floats.tobytes()).decode()


def is_list(vector: msgspec.Raw) -> bool:
    """Whether it can be a list of numbers: they are not looked at."""
    return bytes(memoryview(vector)[:1]) == b"["


def _as_little_endian(floats: array[float]) -> None:
    if sys.byteorder == "big":
        floats.byteswap()
