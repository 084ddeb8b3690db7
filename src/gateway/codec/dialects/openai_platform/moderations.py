"""Moderations: what governs a request, and that its answer is one. OpenAI takes nothing for them.

Source: OpenAI API reference, "Moderations", and the types of the official client (`types/moderation_create_params`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from _fastpath.chat import Reading
from gateway.base.context import Follows
from gateway.base.dialect import AnswerError
from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.codec.metered import ReadWhole
from gateway.codec.plain import Plain, note_texts, read_plain
from gateway.codec.raw import decode_leniently

DEFAULT_MODEL = "omni-moderation-latest"
"""OpenAI's own where a request names none."""


class _Asked(Plain):
    input: Any = None
    """A text, a list of texts, or a list of parts, each a text or an image."""


class _Answer(msgspec.Struct):
    results: list[msgspec.Raw]


_asked_decoder = msgspec.json.Decoder(_Asked)
_answer_decoder = msgspec.json.Decoder(_Answer)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_moderation(body: bytes) -> Reading:
    """What governs a request for a moderation; raises GatewayError."""
    reading, told = read_plain(_asked_decoder, body, DEFAULT_MODEL)
    if not told.input:
        raise GatewayError(INVALID_VALUE, "The body has no 'input'.", param="input")
    note_texts(reading, told.input)
    return reading


def rename(body: bytes, model: str) -> bytes:
    """A body that was read, with the model's name, whether it had one or not."""
    return msgspec.json.encode(_object_decoder.decode(body) | {"model": model})


def follow_moderation(told: Any) -> Follows:
    """Reads the answer to such a request."""
    return ReadWhole(_check)


def _check(body: bytes) -> None:
    """It tells no usage. Raises AnswerError."""
    try:
        decode_leniently(_answer_decoder, body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AnswerError("it has no list 'results'") from error
