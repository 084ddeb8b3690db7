"""Plain values to YAML that any reader, of YAML 1.1 too, reads back as the same text."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_PLAIN = re.compile(r"[A-Za-z./_][A-Za-z0-9./_:@+-]*[A-Za-z0-9/_]\Z|[A-Za-z_/]\Z|[0-9]+(\.[0-9]+){3}:[0-9]+\Z")
_NOT_TEXT = re.compile(r"(y|n|yes|no|on|off|true|false|null)\Z", re.IGNORECASE)


class Number(str):
    """Digits that stand without quotes."""

    __slots__ = ()


def to_yaml(value: dict[str, Any]) -> str:
    """A document in block style, its leaves' mappings and lists on one line each."""
    return "".join(f"{line}\n" for line in _mapping(value, ""))


def _mapping(value: dict[str, Any], indent: str) -> list[str]:
    lines = []
    for key, child in value.items():
        head = f"{indent}{_scalar(key)}:"
        if not _deep(child):
            lines.append(f"{head} {_flow(child)}")
        elif isinstance(child, dict):
            lines += [head, *_mapping(child, indent + "  ")]
        else:
            lines += [head, *_list(child, indent + "  ")]
    return lines


def _list(value: list[Any], indent: str) -> list[str]:
    lines = []
    for child in value:
        if isinstance(child, dict) and _deep(child):
            first, *rest = _mapping(child, indent + "  ")
            lines += [f"{indent}- {first.lstrip()}", *rest]
        else:
            lines.append(f"{indent}- {_flow(child)}")
    return lines


def _deep(value: Any) -> bool:
    """Whether it holds mappings or lists that hold others, and so wants lines of its own."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(isinstance(child, dict | list) for child in children) or (isinstance(value, dict) and len(value) > 4)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(child)}" for key, child in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Number):
        return str(value)
    plain = _PLAIN.match(value) and not _NOT_TEXT.match(value)
    return value if plain else msgspec.json.encode(value).decode()
