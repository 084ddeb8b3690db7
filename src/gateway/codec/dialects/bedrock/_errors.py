"""Errors: `{"message": ...}`, whose type stands in the header `x-amzn-errortype`, or in the body as `__type` or `code`.

In a stream an error is a frame of its own: an exception of the same shape, by its `:exception-type`, or an error of the transport.
Source: Smithy 2.0, "AWS restJson1 protocol", "Operation error serialization".
"""

from __future__ import annotations

import msgspec

from gateway.base.dialect import ToldError, type_named

MAX_MESSAGE_CHARS = 2_000

_any = msgspec.json.Decoder()


def read(body: bytes) -> ToldError:
    """Never raises."""
    try:
        value = _any.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ToldError(body[:MAX_MESSAGE_CHARS].decode("utf-8", "replace").strip())
    if not isinstance(value, dict):
        return ToldError("" if value is None else str(value)[:MAX_MESSAGE_CHARS])
    message = value.get("message") or value.get("Message") or value.get("originalMessage") or value.get("errorMessage")
    told = ToldError(str(message or "")[:MAX_MESSAGE_CHARS])
    named = value.get("__type") or value.get("code")
    if isinstance(named, str):
        told.code = type_named(named)
    return told


def read_failure(kind: bytes, named: bytes, data: bytes) -> tuple[str, str]:
    """(message, code) of a frame that tells an error in a stream.

    Args:
        kind: b"exception", or b"error" of the transport, whose data are its message.
    """
    code = type_named(named.decode("utf-8", "replace")) or kind.decode()
    message = data[:MAX_MESSAGE_CHARS].decode("utf-8", "replace") if kind == b"error" else read(data).message
    return message or f"It broke its stream off with {code}", code
