"""The second, slow reading of a request: names in snake case, and fields that nobody knows.

The first one (`_wire.request_decoder`) takes only known names in camel case, which nearly all callers write. Where it fails, the body is
walked beside the shapes of `_wire`: names are rewritten, unknown fields are taken out and told by their path, and unknown kinds of
parts and tools, which are no mere fields, are kept whole. What is left is decoded again, and then says what is wrong with it.
"""

from __future__ import annotations

import functools
import re
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.base.errors import DUPLICATE_KEY, GatewayError
from gateway.base.messages import Lost

from . import _wire

Shape = dict[str, "Shape | None"]

_HUMP = re.compile(r"_([a-z0-9])")
_ALONGSIDE = frozenset({"thought", "thoughtSignature", "mediaResolution"})
"""Fields of a part that are not its data."""


def camel(name: str) -> str:
    return _HUMP.sub(lambda match: match[1].upper(), name) if "_" in name else name


def _struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, or a list of it."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _struct_in(part)) is not None), None)


@functools.cache
def _shape(struct: type[msgspec.Struct]) -> Shape:
    """Its fields as they stand on the wire, with the shapes below them."""
    below = {field.encode_name: _struct_in(field.type) for field in msgspec.structs.fields(struct)}
    return {name: None if inner is None else _shape(inner) for name, inner in below.items()}


_PART = _shape(_wire.AskedPart)
_TOOL = _shape(_wire.AskedTool)


def known(value: Any, struct: type[msgspec.Struct], lost: Lost) -> Any:
    """`value`, which should be a `struct`, with known names only, in camel case.

    Raises:
        GatewayError: a name stands in both spellings.
    """
    return _walk(value, _shape(struct), "", lost)


def _walk(value: Any, shape: Shape, path: str, lost: Lost) -> Any:
    if isinstance(value, list):
        return [_walk(item, shape, f"{path}[{i}]", lost) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if shape is _PART and _is_unknown_part(value):
        return {_wire.OTHER: value}
    found: dict[str, Any] = {}
    for name, (said, inner) in _renamed(value, path).items():
        at = f"{path}.{said}" if path else said
        if name in shape and name != _wire.OTHER:
            below = shape[name]
            found[name] = inner if below is None else _walk(inner, below, at, lost)
        elif inner is None:
            continue
        elif shape is _TOOL:
            found.setdefault(_wire.OTHER, {})[name] = inner
        else:
            lost.field(at)
    return found


def _renamed(value: dict[str, Any], path: str) -> dict[str, tuple[str, Any]]:
    """By the name in camel case: the name as it was said, and the value."""
    found: dict[str, tuple[str, Any]] = {}
    for said, inner in value.items():
        name = camel(said)
        if name in found:
            at = f"{path}.{said}" if path else said
            raise GatewayError(DUPLICATE_KEY, f"{at!r} stands twice, in two spellings.", param=at)
        found[name] = said, inner
    return found


def _data(value: dict[str, Any]) -> Iterator[str]:
    return (name for name, inner in ((camel(key), inner) for key, inner in value.items()) if inner is not None)


def _is_unknown_part(value: dict[str, Any]) -> bool:
    names = set(_data(value)) - _ALONGSIDE
    return bool(names) and not any(name in _PART and name != _wire.OTHER for name in names)
