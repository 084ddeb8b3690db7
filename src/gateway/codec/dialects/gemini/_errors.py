"""Google's errors: `{"error": {"code", "message", "status", "details"}}`.

Sources: Google Cloud API design guide, "Errors" (google.rpc.Code, ErrorInfo, BadRequest, RetryInfo); Gemini API, "Troubleshooting" (statuses in use).
Google's clients make their exceptions of the HTTP status and read `error.status`; in a stream they know an error by `error` being
the first key of an event.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.base.dialect import ToldError
from gateway.base.errors import Fault

_STATUSES = {
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    505: "UNIMPLEMENTED",
}
_MESSAGE_LIMIT = 2_000
_any_decoder = msgspec.json.Decoder()


def status_of(http_status: int) -> str:
    """The name that belongs to an HTTP status."""
    found = _STATUSES.get(http_status)
    return found or ("INVALID_ARGUMENT" if 400 <= http_status < 500 else "INTERNAL")


def write_error(fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": code or fault.code.upper(),
        "domain": "throughway",
    }
    details: list[dict[str, Any]] = [info]
    if param:
        violation = {"field": param, "description": message}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    error = {"code": fault.status, "message": message, "status": status_of(fault.status), "details": details}
    return msgspec.json.encode({"error": error})


def write_error_event(fault: Fault, message: str, param: str | None = None) -> bytes:
    return b"data: " + write_error(fault, message, param) + b"\n\n"


def read_error(body: bytes) -> ToldError:
    """Never raises."""
    try:
        value = _any_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return ToldError(body[:_MESSAGE_LIMIT].decode("utf-8", "replace").strip())
    if isinstance(value, list) and value:  # a stream that was not asked for as server-sent events
        value = value[0]
    inner = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(inner, dict):
        return ToldError(str(inner)[:_MESSAGE_LIMIT])
    told = ToldError(str(inner.get("message") or inner.get("error_description") or "")[:_MESSAGE_LIMIT])
    status = inner.get("status") or inner.get("code")
    told.code = str(status) if status else None
    details = inner.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            _read_detail(told, detail)
    return told


def _read_detail(told: ToldError, detail: dict[str, Any]) -> None:
    match str(detail.get("@type", "")).rpartition(".")[2]:
        case "ErrorInfo" if isinstance(reason := detail.get("reason"), str) and reason:
            told.code = reason
        case "BadRequest":
            violations = detail.get("fieldViolations")
            first = violations[0] if isinstance(violations, list) and violations else None
            if isinstance(first, dict) and isinstance(field := first.get("field"), str):
                told.param = field or None
        case "RetryInfo":
            told.retry_after_ms = _milliseconds(detail.get("retryDelay"))


def _milliseconds(delay: object) -> int:
    """Of a google.protobuf.Duration, such as "34.07s"."""
    if not isinstance(delay, str) or not delay.endswith("s"):
        return 0
    try:
        seconds = float(delay[:-1])
    except ValueError:
        return 0
    return int(seconds * 1_000) if 0 < seconds < 1e6 else 0
