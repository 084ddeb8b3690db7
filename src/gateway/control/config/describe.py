"""docs/configuration.md and docs/gateway.schema.json, from the schema.

python -m gateway.control.config.describe > docs/configuration.md
python -m gateway.control.config.describe --json > docs/gateway.schema.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from gateway.control.config._emit import to_yaml
from gateway.control.config._kinds import Field, Kind, Many, Named, Record
from gateway.control.config._schema import SCHEMA

_INTRODUCTION = """\
# Configuration

<!-- Generated: `python -m gateway.control.config.describe > docs/configuration.md` -->

`throughway serve --config gateway.yaml` reads one YAML file; `throughway check gateway.yaml` names file, line, column
and key of every mistake in it, and `throughway check gateway.yaml --print` shows what takes effect.
`docs/gateway.schema.json` is its JSON Schema, for editors.

- Secrets stand in the file by reference only: `env:NAME` reads an environment variable, `file:PATH` a file.
- Paths are relative to the file's directory.
- Values are what they look like: `on`, `010` and `12:30` are text. Numbers stand without quotes.
- Anchors, aliases and merge keys may be used, up to 200,000 values when expanded and 16 MiB of text.
- A file that changes while it is served is read again, and so are the secret files it names. A mistake in it is
  reported, and the last good one goes on serving. `providers`, `models`, `teams` and `keys` take effect at once, all
  else at the next restart (`throughway restart`).
"""


def markdown() -> str:
    """docs/configuration.md."""
    return "\n".join([_INTRODUCTION, *_sections("The file", SCHEMA, ())])


def json_schema() -> str:
    """docs/gateway.schema.json (draft 2020-12)."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Throughway's gateway.yaml"}
    return json.dumps(head | SCHEMA.json_schema(), indent=1) + "\n"


def options(record: Record = SCHEMA, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every option by its dotted path, such as `providers.NAME.timeouts.gap_ms`."""
    for name, field in record.fields.items():
        here = (*path, name)
        yield ".".join(here)
        inner, steps = _record_in(field.kind)
        if inner is not None:
            yield from options(inner, (*here[:-1], here[-1] + steps))


def _sections(title: str, record: Record, path: tuple[str, ...]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| key | meaning | value | default |\n|---|---|---|---|"
    yield from (_row(name, field) for name, field in record.fields.items())
    yield ""
    for name, field in record.fields.items():
        inner, steps = _record_in(field.kind)
        if inner is not None:
            here = (*path, name + steps)
            yield from _sections(f"`{'.'.join(here)}`", inner, here)


def _row(name: str, field: Field) -> str:
    inner, _ = _record_in(field.kind)
    value = field.kind.words() if inner is None else "see below"
    return f"| `{name}` | {_cell(field.doc)} | {_cell(value)} | {_default(field)} |"


def _default(field: Field) -> str:
    if field.required:
        return "required"
    if field.default is None:
        return ""
    shown = to_yaml({"x": field.kind.show(field.default)}).removeprefix("x: ").strip()
    return f"`{shown}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _record_in(kind: Kind) -> tuple[Record | None, str]:
    """The record that a kind holds, and the steps that lead to it."""
    steps = ""
    held: Any = kind
    while isinstance(held, Named | Many):
        steps += "[]" if isinstance(held, Many) else ".NAME"
        held = held.of
    return (held, steps) if isinstance(held, Record) else (None, "")


if __name__ == "__main__":
    print(json_schema() if "--json" in sys.argv[1:] else markdown(), end="")
