"""The one shape of an error: `{"error": {"code": ..., "message": ...}}`, whatever went wrong and wherever."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from gateway.control.admin._models import Error, ErrorAnswer
from gateway.control.admin._services import Log

CODES: Mapping[int, str] = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "too_many_attempts",
    500: "internal_error",
    503: "unavailable",
}
"""The code of each status that the API answers with."""

_MESSAGES = {
    404: "no endpoint has this path; GET /admin/v1/openapi.json lists them",
    405: "the endpoint does not answer this method; `allow` lists those it does",
    413: "the body is larger than the admin API takes",
}
"""Of Litestar's own refusals."""

Handler = Callable[[Request[Any, Any, Any], Any], Response[ErrorAnswer]]


class AdminError(Exception):
    """A request cannot be done.

    Args:
        status: one of CODES.
        message: one sentence: what is wrong and what would be right. Never holds a secret.
        headers: added to the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response[ErrorAnswer]:
    """An error as it is sent."""
    return Response(ErrorAnswer(Error(CODES[status], message)), status_code=status, headers=dict(headers or {}))


def handlers(log: Log) -> dict[int | type[Exception], Handler]:
    """For Litestar: an answer to every exception."""

    def crashed(_request: Request[Any, Any, Any], error: Exception) -> Response[ErrorAnswer]:
        # The message may quote what was sent, so only the kind and the place are logged.
        place = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        log.event("error", "admin.crashed", error=type(error).__name__, place=place[-8:])
        return answer(500, "the control plane failed; its log says where")

    def refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorAnswer]:
        if error.status_code not in CODES or error.status_code >= 500:
            return crashed(request, error)
        if isinstance(error, ValidationException):
            return answer(400, _validation_message(error))
        return answer(error.status_code, _MESSAGES.get(error.status_code, error.detail), error.headers)

    return {
        AdminError: lambda _, error: answer(error.status, error.message, error.headers),
        HTTPException: refused,
        Exception: crashed,
    }


def _validation_message(error: ValidationException) -> str:
    """What Litestar found wrong with parameters, in one line."""
    found = [fault for fault in error.extra or [] if isinstance(fault, dict)]
    return "; ".join(f"{fault.get('key', 'request')}: {fault['message']}" for fault in found) or error.detail
