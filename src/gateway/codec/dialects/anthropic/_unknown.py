"""Requests that hold what `_wire` does not know: new fields, new types of blocks.

They are made into what it does know: a field is taken out and its path told, a block of another type is wrapped whole into an
`UnknownBlock`. All else stays byte for byte as it came, so that a wrong value is named by its path as ever. Only a request that the
strict reading has refused comes here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from gateway.base.messages import Lost

_NULL = b"null"
_TAG = "type"


class _Kind(msgspec.Struct):
    type: str = ""


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_kind = msgspec.json.Decoder(_Kind)
_encode = msgspec.json.Encoder().encode


class _Object:
    """What a struct knows: the shape of each field, None where nothing is to be looked into."""

    __slots__ = ("fields",)

    def __init__(self, fields: dict[str, _Shape | None]) -> None:
        self.fields = fields


class _Union:
    """Structs told apart by their tag, a list of such, or both."""

    __slots__ = ("by_tag", "items", "wraps")

    def __init__(self, by_tag: dict[str, _Object], items: _Shape | None, wraps: str) -> None:
        self.by_tag = by_tag
        self.items = items
        self.wraps = wraps
        """The tag that a struct of another tag is wrapped with; "" where it is left for the strict reading to refuse."""


_Shape = _Object | _Union


@cache
def shape_of(struct: type[msgspec.Struct]) -> _Object:
    found = inspect.type_info(struct)
    assert isinstance(found, inspect.StructType)
    return _object(found)


def _object(struct: inspect.StructType) -> _Object:
    fields: dict[str, _Shape | None] = {field.encode_name: _shape(field.type) for field in struct.fields}
    if struct.tag is not None:
        fields[_TAG] = None
    return _Object(fields)


def _shape(kind: inspect.Type) -> _Shape | None:
    match kind:
        case inspect.StructType(tag=None):
            return _object(kind)
        case inspect.StructType() | inspect.ListType():
            return _union([kind])
        case inspect.UnionType(types=types):
            structs = [each for each in types if isinstance(each, inspect.StructType)]
            if len(structs) == 1 and structs[0].tag is None:
                return _object(structs[0])
            return _union(list(types))
        case _:
            return None


def _union(kinds: list[inspect.Type]) -> _Union | None:
    by_tag: dict[str, _Object] = {}
    items: _Shape | None = None
    wraps = ""
    for kind in kinds:
        if isinstance(kind, inspect.ListType):
            items = _shape(kind.item_type)
        elif isinstance(kind, inspect.StructType):
            assert isinstance(kind.tag, str)
            if kind.tag.startswith("\x00"):
                wraps = kind.tag
            else:
                by_tag[kind.tag] = _object(kind)
    return _Union(by_tag, items, wraps) if by_tag or items is not None else None


def without_unknown(body: bytes, struct: type[msgspec.Struct], lost: Lost, path: str = "") -> bytes:
    """`body` as `struct` can read it, if nothing else is wrong with it.

    Raises:
        msgspec.DecodeError: it is not JSON.
    """
    return _known(body, shape_of(struct), path, lost)


def _known(raw: bytes, shape: _Shape, path: str, lost: Lost) -> bytes:
    first = raw.lstrip()[:1]
    if first == b"{":
        return _known_object(raw, shape, path, lost)
    if first == b"[" and isinstance(shape, _Union) and shape.items is not None:
        items = _items.decode(raw)
        return _encode(
            [msgspec.Raw(_known(bytes(item), shape.items, f"{path}[{i}]", lost)) for i, item in enumerate(items)]
        )
    return raw


def _known_object(raw: bytes, shape: _Shape, path: str, lost: Lost) -> bytes:
    if isinstance(shape, _Union):
        kind = _kind_of(raw)
        of_kind = shape.by_tag.get(kind)
        if of_kind is None:
            if not shape.wraps or not kind:
                return raw
            return _encode({_TAG: shape.wraps, "kind": kind, "value": msgspec.Raw(raw)})
        shape = of_kind
    known: dict[str, Any] = {}
    for name, value in _fields.decode(raw).items():
        if name not in shape.fields:
            if bytes(value) != _NULL:
                lost.field(f"{path}.{name}" if path else name)
            continue
        inner = shape.fields[name]
        known[name] = (
            value
            if inner is None
            else msgspec.Raw(_known(bytes(value), inner, f"{path}.{name}" if path else name, lost))
        )
    return _encode(known)


def _kind_of(raw: bytes) -> str:
    try:
        return _kind.decode(raw).type
    except msgspec.ValidationError:
        return ""
