"""A body of a caller: checked, then decoded, with what is wrong told in Google's names."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from _fastpath.jsonscan import ScanError, scan
from gateway.base.errors import DUPLICATE_KEY, INVALID_JSON, INVALID_VALUE, JSON_TOO_DEEP, Fault, GatewayError
from gateway.base.messages import Lost

from ._names import known

MAX_DEPTH = 100

_T = TypeVar("_T", bound=msgspec.Struct)

_SCAN_FAULTS: dict[str, tuple[Fault, str]] = {
    "duplicate": (DUPLICATE_KEY, "The key {key!r} stands twice in one object of the body"),
    "depth": (JSON_TOO_DEEP, f"The body nests deeper than {MAX_DEPTH} levels"),
    "too_many": (INVALID_VALUE, "The body holds too many keys, objects or lists"),
    "utf8": (INVALID_JSON, "The body is not valid UTF-8"),
    "not_object": (INVALID_JSON, "The body must be one JSON object"),
}
_NO_JSON = INVALID_JSON, "The body is not valid JSON"


def decode(decoder: msgspec.json.Decoder[_T], body: bytes, lost: Lost) -> _T:
    """Raises GatewayError."""
    try:
        scan(body, (), MAX_DEPTH)
    except ScanError as error:
        fault, text = _SCAN_FAULTS.get(error.kind, _NO_JSON)
        raise GatewayError(fault, f"{text.format(key=error.key)} (at byte {error.offset}).", param=error.key) from error
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        return _decode_slowly(decoder, body, lost)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise GatewayError(INVALID_JSON, f"The body is not valid JSON: {error}.") from error


def _decode_slowly(decoder: msgspec.json.Decoder[_T], body: bytes, lost: Lost) -> _T:
    try:
        return decoder.decode(known(body, decoder.type, lost))
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        param = where.strip("`").removeprefix("$.").removeprefix("$") or None
        raise GatewayError(INVALID_VALUE, f"{what}{f' in {param!r}' if param else ''}.", param=param) from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise GatewayError(INVALID_JSON, f"The body is not valid JSON: {error}.") from error
