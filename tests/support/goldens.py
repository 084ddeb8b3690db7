"""Golden files of a dialect: what its bytes mean, written beside each other.

    DIALECT/requests/NAME.json   {"body": ..., "canonical": ..., "written": ..., "lost": [...], "hints": [...]}
    DIALECT/answers/NAME.json    {"body": ..., "canonical": ..., "written": ...}
    DIALECT/streams/NAME.sse     the bytes, and beside them NAME.json: {"events": [...], "written": "..."}
    DIALECT/errors/NAME.json     {"body": ..., "message": ..., "code": ..., "param": ...}

`canonical` and `events` are what the reader makes of it; `written` is what the writer makes of that again, and is left out where it is
the body itself (compared as values of JSON, or for a stream event by event). `lost` and `hints` are what the reader tells to `Lost`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from _fastpath.usage import Usage

_COUNTS = ("input", "output", "cache_read", "cache_write", "reasoning", "input_audio", "output_audio")


def _plain(value: object) -> object:
    if isinstance(value, Usage):
        return {name: count for name in _COUNTS if (count := getattr(value, name))}
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    raise TypeError(f"no canonical value holds a {type(value).__name__}")


def plain(value: object) -> Any:
    """A canonical value (or a list of them) as values of JSON: defaults left out, usage as its counts that are not 0."""
    return json.loads(msgspec.json.encode(_without_raw(msgspec.to_builtins(value, enc_hook=_plain))))


def _without_raw(value: Any) -> Any:
    match value:
        case dict():
            return {k: _without_raw(v) for k, v in value.items()}
        case list() | tuple():
            return [_without_raw(v) for v in value]
        case msgspec.Raw() | bytes():
            return json.loads(bytes(value))
        case _:
            return value


def cases(directory: Path, pattern: str = "*.json") -> list[Path]:
    """The files of one kind, in order; at least one, or a test that walks them would claim nothing."""
    found = sorted(directory.glob(pattern))
    assert found, f"no {pattern} in {directory}"
    return found


def events_of(stream: bytes) -> list[tuple[bytes, bytes]]:
    """(name, data) of each server-sent event: a slow reading of WHATWG HTML, section 9.2.6, of a whole stream."""
    text = stream.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events: list[tuple[bytes, bytes]] = []
    name, data = "", list[str]()
    for line in text.split("\n"):
        if not line:
            if data:
                events.append((name.encode(), "\n".join(data).encode()))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return events
