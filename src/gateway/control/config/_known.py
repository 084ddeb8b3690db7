"""What is known of the models of a configuration, and from where, for `throughway models`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from gateway.control.config._source import validated
from gateway.control.registry import FEATURES, Facts, registry


class KnownTarget(msgspec.Struct, frozen=True):
    """A target of a model."""

    model: str
    """The name that applications use."""
    provider: str
    target: str
    """The name that the provider knows."""
    encoding: str
    """With which the model's prompts are counted, or "estimated"."""
    context_tokens: int | None
    max_output_tokens: int | None
    """The longest answer, as the registry knows it."""
    input: list[str] | None
    """What a prompt may hold; None: nobody knows, so anything."""
    features: dict[str, bool]
    """Those of which it is known whether the model has them."""
    retires: str | None
    """YYYY-MM-DD."""
    sources: dict[str, str]
    """Of `context_tokens`, `input` and features: "config", or which registry."""


def known_targets(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> list[KnownTarget]:
    """What is known of each target of a configuration, in its order.

    Raises:
        ConfigurationError: as `load`.
    """
    return list(_targets(validated(path, environ)))


def _targets(values: dict[str, Any]) -> Iterator[KnownTarget]:
    for name, model in values.get("models", {}).items():
        for target in model["targets"]:
            facts = registry().of(values["providers"][target["provider"]]["base_url"], target["model"])
            said = target.get("capabilities", {})
            features, sources = _features(said, target.get("capabilities_from", {}), facts)
            yield KnownTarget(
                name,
                target["provider"],
                target["model"],
                model["encoding"],
                said.get("context_tokens"),
                (facts.max_output_tokens or None) if facts is not None else None,
                said.get("input"),
                features,
                (facts.retires or None) if facts is not None else None,
                sources,
            )


def _features(
    said: dict[str, Any], sources: dict[str, str], facts: Facts | None
) -> tuple[dict[str, bool], dict[str, str]]:
    features, sources = {}, dict(sources)
    for name in FEATURES:
        value = said.get(name, facts.says(name) if facts is not None else None)
        if value is not None:
            features[name] = value
            sources.setdefault(name, registry().edition)
    return features, sources
