"""What is wrong with a body that is no acceptable JSON object, as an error that says so."""

from __future__ import annotations

import msgspec

from _fastpath.jsonscan import ScanError
from gateway.base.errors import DUPLICATE_KEY, INVALID_JSON, INVALID_VALUE, JSON_TOO_DEEP, GatewayError

MAX_DEPTH = 100
"""Of objects and lists in a request's body."""


def scan_fault(error: ScanError) -> GatewayError:
    at = f"at byte {error.offset}"
    if error.kind == "duplicate":
        return GatewayError(
            DUPLICATE_KEY, f"The key {error.key!r} stands twice in one object of the body ({at}).", param=error.key
        )
    if error.kind == "depth":
        return GatewayError(JSON_TOO_DEEP, f"The body nests deeper than {MAX_DEPTH} levels ({at}).")
    if error.kind == "disguised":
        message = f"The key {error.key!r} is another spelling of {(error.key or '').lower()!r} ({at}); some readers take one for the other."
        return GatewayError(INVALID_VALUE, message, param=error.key)
    if error.kind == "too_many":
        return GatewayError(INVALID_VALUE, f"The body holds too many keys, objects or lists ({at}).")
    if error.kind == "utf8":
        return GatewayError(INVALID_JSON, f"The body is not valid UTF-8 ({at}).")
    if error.kind == "not_object":
        return GatewayError(INVALID_JSON, f"The body must be one JSON object ({at}).")
    return GatewayError(INVALID_JSON, f"The body is not valid JSON ({at}).")


def validation_fault(error: msgspec.ValidationError) -> GatewayError:
    """msgspec says "Expected `str`, got `int` - at `$.messages[0].role`"."""
    what, _, where = str(error).partition(" - at ")
    param = where.strip("`").removeprefix("$.").removeprefix("$") or None
    return GatewayError(INVALID_VALUE, f"{what}{f' in {param!r}' if param else ''}.", param=param)
