"""Kinds of providers that are data: OpenAI's dialect, and what each does otherwise."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

COMPATIBLE: dict[str, dict[str, Any]] = {
    name: {"kind": "openai", **row}
    for name, row in tomllib.loads((Path(__file__).parent / "compatible.toml").read_text("utf-8")).items()
}
"""The fields of `providers.NAME`, in normal form, that a provider of each kind has by default."""
