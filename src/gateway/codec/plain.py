"""Requests that only providers of the same dialect answer: what governs them is their model and the texts that they hold."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from _fastpath.chat import MEDIA_BYTES_A_TOKEN, TOKENS_OF_MEDIA, Reading
from gateway.base.errors import INVALID_JSON, MISSING_MODEL, GatewayError
from gateway.codec.faults import validation_fault
from gateway.codec.governing import checked


class Plain(msgspec.Struct):
    """What is read of such a request; the rest passes unread."""

    model: str | None = None


_T = TypeVar("_T", bound=Plain)


def read_plain(decoder: msgspec.json.Decoder[_T], body: bytes, model: str = "") -> tuple[Reading, _T]:
    """(what governs it so far, what was read).

    Args:
        model: where the body names none; "" where it must.

    Raises:
        GatewayError: not one JSON object, a duplicate key, a wrong type, no model.
    """
    start, end, close = checked(body)
    try:
        told = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise validation_fault(error) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise GatewayError(INVALID_JSON, "The body is not valid JSON.") from error
    name = told.model or model
    if not name:
        raise GatewayError(MISSING_MODEL, "The body has no 'model'.", param="model")
    reading = Reading(name, start, end, close)
    reading.include_usage = True
    reading.request = told
    reading.max_output_tokens = 0
    return reading, told


def note_texts(reading: Reading, value: Any) -> None:
    """Counts what a decoded value holds as a part of the prompt: its strings as texts, and data URLs by their size."""
    match value:
        case str():
            if value.startswith("data:"):
                reading.fixed_tokens += max(TOKENS_OF_MEDIA, len(value) // MEDIA_BYTES_A_TOKEN)
            elif value:
                reading.texts.append(value.encode("utf-8", "replace"))
        case list():
            for each in value:
                note_texts(reading, each)
        case dict():
            for name, each in value.items():
                if name != "type":
                    note_texts(reading, each)
