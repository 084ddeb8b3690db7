"""What is known of models: how long their prompts may be, what they take and give, until when they are served.

`models.json` holds it, made from public sources by `python -m gateway.control.registry.refresh`, which says how. Nothing here reaches
for the network. What no source says is not known, and what is not known is not held against a model.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from gateway.base.capabilities import BY_NAME, PARTS
from gateway.control import _urls
from gateway.control.registry._providers import PROVIDERS, provider_at

__all__ = [
    "ESTIMATED",
    "FEATURES",
    "INPUTS",
    "LETTERS",
    "PROVIDERS",
    "Facts",
    "Origin",
    "Registry",
    "encoding_of",
    "registry",
    "told",
]

ESTIMATED = "estimated"
"""In place of a vocabulary: it is not published."""

INPUTS = ("text", "image", "audio", "video", "pdf")
FEATURES = ("tools", "parallel_tools", "structured_output", "reasoning", "prompt_caching")
LETTERS = dict(zip("tiavpfmsrc", INPUTS + FEATURES, strict=True))
"""As which each stands in the file."""

_ENCODING_OF = (
    ("gpt-oss", "o200k_harmony"),
    ("gpt-4o", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-4.5", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-5", "o200k_base"),
    ("chatgpt-4o", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4-mini", "o200k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("text-embedding-", "cl100k_base"),
    ("davinci-002", "cl100k_base"),
    ("babbage-002", "cl100k_base"),
)
"""Prefixes of models whose vocabulary is published, the first that fits. Others are estimated; docs/operations.md says how near that is."""


def encoding_of(model: str) -> str:
    """The vocabulary of a model by its name, or ESTIMATED, with or without `organisation/` before it."""
    name = model.rpartition("/")[2]
    return next((encoding for prefix, encoding in _ENCODING_OF if name.startswith(prefix)), ESTIMATED)


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """Of a model at a provider."""

    kind: str
    """One of "chat", "embedding", "rerank"."""
    context_tokens: int
    """Of prompt and answer, the greatest that a source tells; 0 where none does."""
    max_output_tokens: int
    """The same of the answer."""
    can: str
    """LETTERS of what it takes and does."""
    cannot: str
    """LETTERS of what it does not: a source says so, and none says otherwise."""
    gives: str
    """LETTERS of what answers hold; "" where nobody says."""
    encoding: str
    """The vocabulary with which its prompts are counted, or ESTIMATED."""
    retires: str
    """The day, as YYYY-MM-DD, from which the provider serves it no more, or calls it deprecated; "" where it has told none."""

    def says(self, name: str) -> bool | None:
        """Of one of INPUTS or FEATURES; None where it is not known."""
        letter = next(letter for letter, known in LETTERS.items() if known == name)
        return True if letter in self.can else False if letter in self.cannot else None

    @property
    def lacks(self) -> int:
        """The same as `gateway.base.capabilities` has it."""
        return sum(bit for name, bit in BY_NAME.items() if self.says(name) is False)


class Origin(msgspec.Struct, frozen=True):
    """What a part of the file was taken from."""

    package: str
    version: str
    license: str
    what: str


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    made: str
    """The day, as YYYY-MM-DD."""
    how: str
    sources: list[Origin]
    letters: dict[str, str]
    models: dict[str, dict[str, Facts]]
    """By provider and the name that it knows."""

    def of(self, base_url: str, model: str) -> Facts | None:
        """What is known of a model; None for a provider on another host than those of PROVIDERS, and for another name."""
        provider = provider_at(_urls.host_of(base_url))
        return self.models.get(provider, {}).get(model) if provider is not None else None

    @property
    def edition(self) -> str:
        """Where a fact is from, as people read it."""
        return f"registry {self.made}"


@cache
def registry() -> Registry:
    """As it was packaged: read once, in a few milliseconds."""
    return msgspec.json.decode(files(__name__).joinpath("models.json").read_bytes(), type=Registry)


def told(facts: Facts) -> dict[str, Any]:
    """Facts as `capabilities` of a configuration say them; what is not known is not held against the model."""
    said: dict[str, Any] = {}
    if facts.context_tokens:
        said["context_tokens"] = facts.context_tokens
    if facts.max_output_tokens:
        said["max_output_tokens"] = facts.max_output_tokens
    if any(facts.says(name) is not None for name in PARTS):
        said["input"] = [name for name in INPUTS if facts.says(name) is not False]
    for name in BY_NAME:
        if name not in PARTS and facts.says(name) is not None:
            said[name] = facts.says(name)
    return said
