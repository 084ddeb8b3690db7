"""The second, slow reading of a request: names in snake case, and fields that nobody knows.

The first one (`_wire.request_decoder`) takes only known names in camel case, which nearly all callers write. Where it fails, the body is
walked beside the shapes of `_wire`: names are rewritten, unknown fields are taken out and told by their path, and unknown kinds of
parts and tools, which are no mere fields, are kept whole. What is left is decoded again, and then says what is wrong with it.
"""

from __future__ import annotations

import functools
import re
import typing
from typing import Any

import msgspec

from gateway.base.errors import DUPLICATE_KEY, GatewayError
from gateway.base.messages import Lost
from gateway.codec.raw import ABSENT

from . import _wire

Shape = dict[str, "Shape | None"]

_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])

_HUMP = re.compile(r"_([a-z0-9])")
_ALONGSIDE = frozenset({"thought", "thoughtSignature", "mediaResolution"})
"""Fields of a part that are not its data."""


def resource(model: str) -> str:
    """What Google calls a model where it names one."""
    return f"models/{model.removeprefix('models/')}"


def renamed(fields: dict[str, Any], model: str) -> dict[str, Any]:
    """The fields of an object with the model's name, where one stands among them."""
    return fields | {"model": resource(model)} if "model" in fields else fields


def camel(name: str) -> str:
    return _HUMP.sub(lambda match: match[1].upper(), name) if "_" in name else name


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, or a list of it."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _struct_in(part)) is not None), None)


@functools.cache
def _shape(struct: type[msgspec.Struct]) -> Shape:
    """Its fields as they stand on the wire, in camel case, with the shapes below them."""
    fields = [
        field
        for field in msgspec.structs.fields(struct)
        if camel(field.encode_name) == field.encode_name != _wire.OTHER
    ]
    below = {field.encode_name: _struct_in(field.type) for field in fields}
    return {name: None if inner is None else _shape(inner) for name, inner in below.items()}


_PART = _shape(_wire.AskedPart)
_TOOL = _shape(_wire.AskedTool)


def known(body: bytes, struct: type[msgspec.Struct], lost: Lost) -> bytes:
    """`body`, which should be a `struct`, with known names only, in camel case. What we do not look into stays as it is written.

    Raises:
        GatewayError: a name stands in both spellings.
        msgspec.DecodeError: it is no JSON.
    """
    return msgspec.json.encode(_object(body, _shape(struct), "", lost))


def _walk(raw: msgspec.Raw, shape: Shape, path: str, lost: Lost) -> Any:
    match memoryview(raw)[0]:
        case 0x7B:  # {
            return _object(raw, shape, path, lost)
        case 0x5B:  # [
            return [_walk(item, shape, f"{path}[{i}]", lost) for i, item in enumerate(_list_decoder.decode(raw))]
        case _:
            return raw


def _object(raw: bytes | msgspec.Raw, shape: Shape, path: str, lost: Lost) -> Any:
    value = _object_decoder.decode(raw)
    if shape.keys() >= value.keys():  # as most are
        return {
            name: inner if (below := shape[name]) is None else _walk(inner, below, _at(path, name), lost)
            for name, inner in value.items()
        }
    value = {name: inner for name, inner in value.items() if inner != ABSENT}
    if shape is _PART and _is_unknown_part(value):
        return {_wire.OTHER: raw}
    found: dict[str, Any] = {}
    for name, (said, inner) in _renamed(value, path).items():
        if name in shape:
            below = shape[name]
            found[name] = inner if below is None else _walk(inner, below, _at(path, said), lost)
        elif shape is _TOOL:
            found.setdefault(_wire.OTHER, {})[name] = inner
        else:
            lost.field(_at(path, said))
    return found


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _renamed(value: dict[str, msgspec.Raw], path: str) -> dict[str, tuple[str, msgspec.Raw]]:
    """By the name in camel case: the name as it was said, and the value."""
    found: dict[str, tuple[str, msgspec.Raw]] = {}
    for said, inner in value.items():
        name = camel(said)
        if name in found:
            at = _at(path, said)
            raise GatewayError(DUPLICATE_KEY, f"{at!r} stands twice, in two spellings.", param=at)
        found[name] = said, inner
    return found


def _is_unknown_part(value: dict[str, msgspec.Raw]) -> bool:
    names = {camel(name) for name in value} - _ALONGSIDE
    return bool(names) and not any(name in _PART for name in names)
