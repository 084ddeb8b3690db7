"""How much thought an effort stands for, where one dialect tells it in tokens and another in words."""

from __future__ import annotations

from gateway.base.messages import Effort

BUDGETS: dict[Effort, int] = {
    "minimal": 1_024,
    "low": 2_048,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 32_768,
    "max": 65_536,
}
"""Tokens, in order; "none" has none."""


def effort_of(budget_tokens: int) -> Effort:
    """The smallest that has at least as many; "max" for any more."""
    return next((effort for effort, tokens in BUDGETS.items() if tokens >= budget_tokens), "max")
