"""What differs between two snapshots, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from gateway.base.snapshot import Snapshot

Action = Literal["added", "removed", "changed"]

SECTIONS = ("providers", "models", "teams", "keys")
_MARKS: dict[Action, str] = {"added": "+", "removed": "-", "changed": "~"}
_ABSENT = None


class FieldChange(msgspec.Struct, frozen=True):
    """One setting, by its dotted path. None: absent."""

    field: str
    before: Any
    after: Any


class Change(msgspec.Struct, frozen=True):
    """What became of one provider, model, team or key."""

    section: str
    name: str
    action: Action
    fields: tuple[FieldChange, ...] = ()
    """Where it was changed."""


def changes(before: Snapshot | None, after: Snapshot) -> list[Change]:
    """What leads from one snapshot to the other, section by section, names in order. HMACs of keys are cut to eight digits."""
    found = []
    for section in SECTIONS:
        old, new = _by_name(before, section), _by_name(after, section)
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                found.append(Change(section, name, "removed"))
            elif name not in old:
                found.append(Change(section, name, "added"))
            elif old[name] != new[name]:
                found.append(Change(section, name, "changed", tuple(_fields(shown(old[name]), shown(new[name])))))
    return found


def lines(found: list[Change]) -> list[str]:
    """Changes as a person reads them: `~ models gpt-4o: max_output_tokens 4096 -> 8192`."""
    return [
        f"{_MARKS[change.action]} {change.section} {change.name}"
        + (": " + ", ".join(map(_line, change.fields)) if change.fields else "")
        for change in found
    ]


def shown(value: Any) -> dict[str, Any]:
    """A value of a snapshot as plain data that is fit to be shown."""
    plain: dict[str, Any] = msgspec.to_builtins(value)
    if "hmac" in plain:
        plain["hmac"] = f"{plain['hmac'][:8]}..."
    return plain


def document(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as plain data that is fit to be shown."""
    parts = {section: [shown(value) for value in getattr(snapshot, section)] for section in SECTIONS}
    return {"version": snapshot.version, **parts}


def _by_name(snapshot: Snapshot | None, section: str) -> dict[str, Any]:
    return {} if snapshot is None else {value.name: value for value in getattr(snapshot, section)}


def _fields(before: Any, after: Any, path: str = "") -> Iterator[FieldChange]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _fields(before.get(name), after.get(name), f"{path}.{name}" if path else name)
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _fields(old, new, f"{path}[{index}]")
    else:
        yield FieldChange(path, before, after)


def _line(change: FieldChange) -> str:
    return f"{change.field} {_text(change.before)} -> {_text(change.after)}"


def _text(value: Any) -> str:
    if value is _ABSENT:
        return "none"
    return value if isinstance(value, str) and value else msgspec.json.encode(value).decode()
