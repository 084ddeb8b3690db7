"""Requests that hold what `_wire` does not know: new fields, new types of blocks.

They are made into what it does know: a field is taken out and its path told, a block of another type is wrapped whole into an
`UnknownBlock`. All else stays byte for byte as it came, so that a wrong value is named by its path as ever. Only a request that the
strict reading has refused comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, reduce
from operator import is_, or_
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from gateway.base.messages import Lost

_NULL = msgspec.Raw(b"null")
_TAG = "type"
_OPEN_OBJECT, _OPEN_LIST = b"{["

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode


class _Object:
    """What a struct knows: the shape of each field, None where nothing is to be looked into."""

    __slots__ = ("decode", "fields", "hints", "looked_into")

    def __init__(self, struct: type[msgspec.Struct], fields: dict[str, _Shape | None], hints: bool) -> None:
        self.decode: _Decode | None = msgspec.json.Decoder(struct).decode
        self.fields = fields
        self.hints = hints
        """Other fields are told as hints."""
        self.looked_into = frozenset(name for name, shape in fields.items() if shape is not None)


class _Union:
    """Structs told apart by their tag, a list of such, or both."""

    __slots__ = ("by_tag", "decode", "items", "wraps")

    def __init__(
        self, structs: list[type[msgspec.Struct]], by_tag: dict[str, _Object], items: _Shape | None, wraps: str
    ) -> None:
        self.decode: _Decode | None = msgspec.json.Decoder(reduce(or_, structs)).decode if structs else None
        self.by_tag = by_tag
        self.items = items
        self.wraps = wraps
        """The tag that a struct of another tag is wrapped with; "" where it is left for the strict reading to refuse."""


_Shape = _Object | _Union
_Decode: TypeAlias = Callable[[msgspec.Raw], object]


@cache
def shape_of(struct: type[msgspec.Struct]) -> _Object:
    found = inspect.type_info(struct)
    assert isinstance(found, inspect.StructType)
    return _object(found)


def _object(struct: inspect.StructType) -> _Object:
    fields: dict[str, _Shape | None] = {field.encode_name: _shape(field.type) for field in struct.fields}
    if struct.tag is not None:
        fields[_TAG] = None
    return _Object(struct.cls, fields, getattr(struct.cls, "told_as_hints", False))


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
    structs = [kind.cls for kind in kinds if isinstance(kind, inspect.StructType)]
    return _Union(structs, by_tag, items, wraps) if by_tag or items is not None else None


_Trail: TypeAlias = tuple[Any, str]
"""The way to a value: that to what it stands in, and its name or number there. Written out only for what is told."""


def without_unknown(body: bytes | msgspec.Raw, struct: type[msgspec.Struct], lost: Lost, path: str = "") -> msgspec.Raw:
    """`body` as `struct` can read it, if nothing else is wrong with it.

    Raises:
        msgspec.DecodeError: it is not JSON.
    """
    return _known(msgspec.Raw(body), shape_of(struct), (None, path), lost)


def _path(trail: _Trail, name: str) -> str:
    names = [f".{name}"]
    around: _Trail | None = trail
    while around is not None:
        around, step = around
        names.append(step)
    return "".join(reversed(names)).removeprefix(".")


def _known(raw: msgspec.Raw, shape: _Shape, trail: _Trail, lost: Lost) -> msgspec.Raw:
    """`raw` itself where nothing in it is unknown."""
    if shape.decode is not None:
        try:
            shape.decode(raw)
        except msgspec.ValidationError:
            pass  # looked into below
        else:
            return raw
    view = memoryview(raw)
    first = view[0] if view else 0
    if first == _OPEN_OBJECT:
        return _known_object(raw, shape, trail, lost)
    if first == _OPEN_LIST and type(shape) is _Union and shape.items is not None:
        return _known_list(raw, shape.items, trail, lost)
    return raw


def _known_list(raw: msgspec.Raw, shape: _Shape, trail: _Trail, lost: Lost) -> msgspec.Raw:
    items = _items.decode(raw)
    known = [_known(item, shape, (trail, f"[{i}]"), lost) for i, item in enumerate(items)]
    if all(map(is_, known, items)):
        return raw
    return msgspec.Raw(_encode(known))


def _known_object(raw: msgspec.Raw, shape: _Shape, trail: _Trail, lost: Lost) -> msgspec.Raw:
    fields = _fields.decode(raw)
    if type(shape) is _Union:
        kind = _kind_of(fields)
        of_kind = shape.by_tag.get(kind)
        if of_kind is None:
            return (
                msgspec.Raw(_encode({_TAG: shape.wraps, "kind": kind, "value": raw})) if shape.wraps and kind else raw
            )
        shape = of_kind
    assert type(shape) is _Object
    unknown = [name for name in fields if name not in shape.fields]
    for name in unknown:
        if fields.pop(name) != _NULL:
            (lost.hint if shape.hints else lost.field)(_path(trail, name))
    changed = bool(unknown)
    for name in [name for name in fields if name in shape.looked_into]:
        inner = shape.fields[name]
        assert inner is not None
        value = fields[name]
        known = _known(value, inner, (trail, f".{name}"), lost)
        if known is not value:
            fields[name] = known
            changed = True
    return msgspec.Raw(_encode(fields)) if changed else raw


def _kind_of(fields: dict[str, msgspec.Raw]) -> str:
    try:
        return _text.decode(fields.get(_TAG, _NULL))
    except msgspec.ValidationError:
        return ""
