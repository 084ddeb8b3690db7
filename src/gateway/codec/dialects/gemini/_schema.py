"""Google's `Schema`, a subset of OpenAPI 3.0, told as JSON Schema.

Source: Gemini API reference, "Schema" (type in capitals, `nullable`, `anyOf`, `propertyOrdering`, bounds that may be numbers in strings).
The way back is not needed: `parametersJsonSchema` and `responseJsonSchema` take JSON Schema as it is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.base.errors import INVALID_VALUE, GatewayError

from ._names import camel

_TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"}
_COUNTS = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}


def json_schema(schema: msgspec.Raw) -> msgspec.Raw:
    """A `Schema` as JSON Schema. Raises GatewayError."""
    try:
        found = msgspec.json.decode(schema)
    except msgspec.DecodeError as error:  # such as a number that no float holds
        raise GatewayError(INVALID_VALUE, f"A schema cannot be read: {error}.") from error
    return msgspec.Raw(msgspec.json.encode(_told(found)))


def _told(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    nullable = False
    for said, value in schema.items():
        name = camel(said)
        if value is None and name != "default":
            continue
        match name:
            case "type":
                found["type"] = value.lower() if isinstance(value, str) and value.upper() in _TYPES else value
            case "nullable":
                nullable = value is True
            case "items" | "additionalProperties":
                found[name] = _told(value)
            case "anyOf":
                found[name] = [_told(inner) for inner in value] if isinstance(value, list) else value
            case "properties" | "defs":
                found["$defs" if name == "defs" else name] = _told_each(value)
            case "ref":
                found["$ref"] = value
            case "example":
                found["examples"] = [value]
            case _ if name in _COUNTS and isinstance(value, str) and value.isdecimal():
                found[name] = int(value)
            case _:
                found[name] = value
    return _with_null(found) if nullable else found


def _told_each(schemas: Any) -> Any:
    return {name: _told(inner) for name, inner in schemas.items()} if isinstance(schemas, dict) else schemas


def _with_null(found: dict[str, Any]) -> dict[str, Any]:
    kind = found.get("type")
    if isinstance(kind, str) and kind != "null":
        found["type"] = [kind, "null"]
        if isinstance(found.get("enum"), list) and None not in found["enum"]:
            found["enum"] = [*found["enum"], None]
    elif isinstance(found.get("anyOf"), list):
        found["anyOf"] = [*found["anyOf"], {"type": "null"}]
    return found
