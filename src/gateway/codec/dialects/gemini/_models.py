"""What models of Google differ in, as far as a request must know it.

Sources: Gemini API, "Thinking" (budgets of 2.5, levels of 3, ranges by model) and "Thought signatures" (Gemini 3 refuses a
call without one). A level that a model does not have is answered by Google with a 400 that says so.
"""

from __future__ import annotations

import re

from gateway.base.messages import Effort

_GENERATION = re.compile(r"gemini-(\d+)")

LEVELS: dict[Effort, str] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}


def generation(model: str) -> int:
    """2 for "gemini-2.5-pro"; the current one for a name such as "gemini-flash-latest"; 0 for what is no Gemini."""
    found = _GENERATION.search(model)
    if found is not None:
        return int(found[1])
    return 3 if "gemini" in model else 0


def most_budget(model: str) -> int | None:
    """Tokens that a model may think at most; None where it is not known."""
    if "gemini-2.5" not in model:
        return None
    return 32_768 if "pro" in model else 24_576
