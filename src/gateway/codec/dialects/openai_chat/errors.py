"""The shape of OpenAI's errors, which other endpoints of theirs share (API reference, "Error codes"), and what those of others tell."""

from __future__ import annotations

import msgspec

from gateway.base.dialect import ToldError
from gateway.base.errors import Fault
from gateway.codec.raw import decode_leniently

_any_decoder = msgspec.json.Decoder()


class _ErrorBody(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _ErrorEnvelope(msgspec.Struct):
    error: _ErrorBody


def render_error(fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
    """`{"error": {...}}`; `code` replaces the catalogue's where a provider gave one."""
    return msgspec.json.encode(_ErrorEnvelope(_ErrorBody(message, fault.type, param, code or fault.code)))


def render_error_event(fault: Fault, message: str, param: str | None = None) -> bytes:
    """The same as an event of a stream that has begun."""
    return b"data: " + render_error(fault, message, param) + b"\n\n"


_MESSAGE_LIMIT = 2_000


def provider_message(body: bytes) -> ToldError:
    """What a provider's error says, whichever of the usual shapes it has. Never raises."""
    try:
        value = decode_leniently(_any_decoder, body)
    except (msgspec.DecodeError, RecursionError):
        return ToldError(body[:_MESSAGE_LIMIT].decode("utf-8", "replace").strip())
    if isinstance(value, dict):
        inner = value.get("error", value)
        if isinstance(inner, str):
            return ToldError(inner[:_MESSAGE_LIMIT])
        if isinstance(inner, dict):
            message = inner.get("message") or inner.get("detail") or inner.get("error") or ""
            code, param = inner.get("code"), inner.get("param")
            return ToldError(
                str(message)[:_MESSAGE_LIMIT],
                str(code) if code is not None else None,
                param if isinstance(param, str) else None,
            )
    return ToldError(str(value)[:_MESSAGE_LIMIT])
