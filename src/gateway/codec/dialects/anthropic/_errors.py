"""Errors: `{"type": "error", "error": {"type": ..., "message": ...}}`, alone or as an event `error` of a stream.

The official clients choose their exception by the status and show the type; they read a finer code from `error.details.error_code`.
Source: Anthropic's API reference, "Errors"; `anthropic/types/shared/error_type.py` of its official Python client.
"""

from __future__ import annotations

import msgspec

from gateway.base.dialect import ToldError
from gateway.base.errors import Fault

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""By status; others are `invalid_request_error` below 500, `api_error` from there."""

KNOWN = frozenset(TYPES.values()) | {"api_error"}

MAX_MESSAGE_CHARS = 2_000
"""Of a provider's error."""


_any = msgspec.json.Decoder()


def type_of(status: int) -> str:
    return TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def body(kind: str, message: str, code: str | None = None) -> bytes:
    error: dict[str, object] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return msgspec.json.encode({"type": "error", "error": error})


def write(fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
    """`code` is the provider's own: a type of this dialect is given as such, any other in the details."""
    kind = code if code in KNOWN else type_of(fault.status)
    return body(kind, message, fault.code if code is None or code in KNOWN else code)


def event(fault: Fault, message: str, param: str | None = None) -> bytes:
    return b"event: error\ndata: " + write(fault, message, param) + b"\n\n"


def read(raw: bytes) -> ToldError:
    """Never raises."""
    try:
        value = _any.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ToldError(raw[:MAX_MESSAGE_CHARS].decode("utf-8", "replace").strip())
    return told_of(value)


def told_of(value: object) -> ToldError:
    """Of the JSON of an error, or of the event of one."""
    if not isinstance(value, dict):
        return ToldError("" if value is None else str(value)[:MAX_MESSAGE_CHARS])
    inner = value.get("error", value)
    if not isinstance(inner, dict):
        return ToldError(str(inner)[:MAX_MESSAGE_CHARS])
    message = inner.get("message") or inner.get("detail") or inner.get("error") or ""
    code, param = inner.get("type") or inner.get("code"), inner.get("param")
    return ToldError(
        str(message)[:MAX_MESSAGE_CHARS],
        code if isinstance(code, str) else None,
        param if isinstance(param, str) else None,
    )
