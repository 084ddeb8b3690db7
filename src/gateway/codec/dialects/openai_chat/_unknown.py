"""What a body holds and its types do not know: a second, slow reading of requests that the strict one has refused."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
"""Numbers come through as they were written."""

_NAME = re.compile(r"[\w:/-]{1,64}", re.ASCII)
_UNNAMED = "?"
"""In place of a key that no name of a field looks like: paths are shown in headers and logs."""


def without_unknown(body: bytes, type_: inspect.Type) -> tuple[bytes, list[str]]:
    """The body without the fields that are unknown, and their paths as a caller would write them: `messages[2].content[0].foo`.

    Args:
        type_: as `msgspec.inspect.type_info` tells it.
    """
    value = _decoder.decode(body)
    paths: list[str] = []
    _prune(value, type_, "", paths)
    return _encoder.encode(value), paths


def _prune(value: Any, type_: inspect.Type, path: str, paths: list[str]) -> None:
    if isinstance(value, dict):
        struct = _one(type_, inspect.StructType)
        if struct is None:
            return
        fields = _fields(struct.cls)
        for key in list(value):
            if key in fields:
                _prune(value[key], fields[key], f"{path}.{key}" if path else key, paths)
            else:
                named = key if _NAME.fullmatch(key) else _UNNAMED
                paths.append(f"{path}.{named}" if path else named)
                del value[key]
    elif isinstance(value, list):
        items = _one(type_, inspect.ListType)
        if items is not None:
            for i, inner in enumerate(value):
                _prune(inner, items.item_type, f"{path}[{i}]", paths)


@cache
def _fields(struct: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    """By their names; of the few structs that there are."""
    found = inspect.type_info(struct)
    assert isinstance(found, inspect.StructType)
    return {field.encode_name: field.type for field in found.fields}


def _one(type_: inspect.Type, kind: type[Any]) -> Any:
    """The one of a union that is of the kind; None where none is."""
    if isinstance(type_, inspect.UnionType):
        return next((one for one in type_.types if isinstance(one, kind)), None)
    return type_ if isinstance(type_, kind) else None
