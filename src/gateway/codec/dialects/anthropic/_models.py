"""What a model of Anthropic's takes, told by its name.

Sources: Anthropic's pages "Thinking", "Effort", "Structured outputs", "Tool choice" and the migration guides of its models, as of
November 2026. What another maker serves under this dialect (vLLM, llama.cpp, DeepSeek, ...) has a name that tells nothing: it is given
what version 2023-06-01 of the API has held from its beginning.

| | thinking | off? | effort | sampling | forced tools |
|---|---|---|---|---|---|
| before 3.7 | none | | | yes | yes |
| 3.7 to 4.5 | a budget | yes | Opus 4.5: to high | yes | without thinking |
| 4.6 | adaptive | yes | low, medium, high, max | yes | without thinking |
| 4.7, 4.8 | adaptive | yes | all | no | without thinking |
| 5 | adaptive, unless said otherwise | to effort high | all | no | without thinking |
| 5.5, Fable, Mythos | adaptive | Sonnet, Haiku 5.5 only | all | no | no; Haiku 5.5: without thinking |
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec

MODELS_KEPT = 1_024
"""Names whose traits are kept; others are worked out anew."""

_NAME = re.compile(r"claude-(?:(?P<family>[a-z]+)-)?(?P<major>\d)(?:[-.](?P<minor>\d))?(?!\d)(?:-(?P<late>[a-z]+))?")
"""`claude-opus-4-5-20251101`, `claude-3-7-sonnet-latest`, `us.anthropic.claude-sonnet-4-20250514-v1:0`, `claude-haiku-5.5`."""

EFFORTS = ("low", "medium", "high", "xhigh", "max")


class Traits(msgspec.Struct, frozen=True):
    thinking: Literal["none", "budget", "adaptive"] = "budget"
    thinks_unasked: bool = False
    can_be_off: bool = True
    most_effort_off: str = "max"
    """The largest effort that goes with thinking turned off."""
    efforts: tuple[str, ...] = ()
    sampling: bool = True
    one_of_temperature_and_top_p: bool = False
    forced_tools: bool = True
    structured: bool = True
    """Answers by a schema, and strict tools."""


UNKNOWN = Traits()


@lru_cache(maxsize=MODELS_KEPT)
def traits_of(model: str) -> Traits:
    found = _NAME.search(model)
    if found is None:
        return UNKNOWN
    family = found["family"] or found["late"] or ""
    version = (int(found["major"]), int(found["minor"] or 0))
    if family in ("fable", "mythos"):
        return _newest(version, always=True, forced=version < (5, 1))
    if version >= (5, 5):
        return _newest(version, always=family == "opus", forced=family == "haiku")
    if version >= (4, 7):
        fifth = version >= (5, 0)
        return Traits(
            "adaptive",
            thinks_unasked=fifth,
            most_effort_off="high" if fifth else "max",
            efforts=EFFORTS,
            sampling=False,
        )
    if version == (4, 6):
        return Traits("adaptive", efforts=("low", "medium", "high", "max"), one_of_temperature_and_top_p=True)
    return Traits(
        "budget" if version >= (3, 7) else "none",
        efforts=EFFORTS[:3] if family == "opus" and version == (4, 5) else (),
        one_of_temperature_and_top_p=version >= (4, 1),
        structured=version >= (4, 5) or (family == "opus" and version == (4, 1)),
    )


def _newest(version: tuple[int, int], *, always: bool, forced: bool) -> Traits:
    return Traits(
        "adaptive",
        thinks_unasked=True,
        can_be_off=not always,
        most_effort_off="high",
        efforts=EFFORTS,
        sampling=False,
        forced_tools=forced,
    )
