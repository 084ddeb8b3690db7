"""Errors: `{"error": {"message", "type", "param", "code"}}` as in chat; in a stream the event `error`.

The reference has `code`, `message` and `param` of the event on its top level; what OpenAI sends has them in `error`, and there its clients
look for them before they raise an exception. Both are written.
"""

from __future__ import annotations

import msgspec

from gateway.base.errors import Fault


class _Body(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _Envelope(msgspec.Struct):
    error: _Body


class _Event(msgspec.Struct, tag="error"):
    sequence_number: int
    code: str | None
    message: str
    param: str | None
    error: _Body


def write_error(fault: Fault, message: str, param: str | None = None, code: str | None = None) -> bytes:
    return msgspec.json.encode(_Envelope(_Body(message, fault.type, param, code or fault.code)))


def error_event(sequence_number: int, type_: str, code: str, message: str, param: str | None = None) -> bytes:
    """One event of a stream."""
    event = _Event(sequence_number, code, message, param, _Body(message, type_, param, code))
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


def write_error_event(fault: Fault, message: str, param: str | None = None) -> bytes:
    """Before any other event: its number is 0."""
    return error_event(0, fault.type, fault.code, message, param)
