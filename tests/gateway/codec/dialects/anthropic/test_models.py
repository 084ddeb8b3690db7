"""What is told of a model by its name."""

from __future__ import annotations

import pytest

from gateway.codec.dialects.anthropic._models import UNKNOWN, traits_of


@pytest.mark.parametrize(
    ("model", "thinking", "off", "sampling", "forced", "structured"),
    [
        ("claude-3-haiku-20240307", "none", True, True, True, False),
        ("claude-3-5-sonnet-latest", "none", True, True, True, False),
        ("claude-3-7-sonnet-20250219", "budget", True, True, True, False),
        ("claude-opus-4-20250514", "budget", True, True, True, False),
        ("claude-opus-4-1-20250805", "budget", True, True, True, True),
        ("claude-sonnet-4-5", "budget", True, True, True, True),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "budget", True, True, True, True),
        ("anthropic/claude-opus-4.6", "adaptive", True, True, True, True),
        ("claude-sonnet-4-6@20260217", "adaptive", True, True, True, True),
        ("claude-opus-4-7", "adaptive", True, False, True, True),
        ("claude-sonnet-5", "adaptive", True, False, True, True),
        ("claude-opus-5", "adaptive", True, False, True, True),
        ("claude-opus-5-5", "adaptive", False, False, False, True),
        ("claude-sonnet-5-5", "adaptive", True, False, False, True),
        ("claude-haiku-5-5", "adaptive", True, False, True, True),
        ("claude-fable-5", "adaptive", False, False, True, True),
        ("claude-fable-5-1", "adaptive", False, False, False, True),
        ("claude-mythos-5-2", "adaptive", False, False, False, True),
    ],
)
def test_traits(model: str, thinking: str, off: bool, sampling: bool, forced: bool, structured: bool) -> None:
    traits = traits_of(model)
    assert (traits.thinking, traits.can_be_off, traits.sampling) == (thinking, off, sampling)
    assert (traits.forced_tools, traits.structured) == (forced, structured)


@pytest.mark.parametrize(
    ("model", "efforts"),
    [
        ("claude-sonnet-4-5", ()),
        ("claude-opus-4-5-20251101", ("low", "medium", "high")),
        ("claude-opus-4-6", ("low", "medium", "high", "max")),
        ("claude-opus-4-7", ("low", "medium", "high", "xhigh", "max")),
    ],
)
def test_efforts(model: str, efforts: tuple[str, ...]) -> None:
    assert traits_of(model).efforts == efforts


@pytest.mark.parametrize(
    "model", ["", "qwen3-coder", "claude", "claude-mythos-preview", "claude-instant", "gpt-6", "deepseek-v4"]
)
def test_names_that_tell_nothing(model: str) -> None:
    assert traits_of(model) == UNKNOWN
