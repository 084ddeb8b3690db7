"""The models that a key may use, as each dialect's client asks for them.

Sources: OpenAI API reference, "Models"; Anthropic API reference, "Models"; Gemini API reference, "models".
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.base.messages import DialectName

PATHS: dict[str, DialectName] = {"/v1/models": "openai_chat", "/v1beta/models": "gemini"}
SHOWN_BY: tuple[tuple[bytes, DialectName], ...] = ((b"anthropic-version", "anthropic"), (b"x-goog-api-key", "gemini"))
"""Headers by which clients show their dialect where they ask at a path that is another's, too."""

_METHODS = ["generateContent", "streamGenerateContent", "countTokens"]
_NEVER = "1970-01-01T00:00:00Z"


def write_models(names: list[str], dialect: DialectName) -> bytes:
    """The whole list, on one page."""
    cards = [_card(name, dialect) for name in names]
    if dialect == "gemini":
        return msgspec.json.encode({"models": cards})
    if dialect == "anthropic":
        ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
        return msgspec.json.encode({"data": cards, "has_more": False, **ends})
    return msgspec.json.encode({"data": cards, "object": "list"})


def write_model(name: str, dialect: DialectName) -> bytes:
    """One of them."""
    return msgspec.json.encode(_card(name, dialect))


def _card(name: str, dialect: DialectName) -> dict[str, Any]:
    if dialect == "gemini":
        return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": _METHODS}
    if dialect == "anthropic":
        return {"type": "model", "id": name, "display_name": name, "created_at": _NEVER}
    return {"id": name, "created": 0, "owned_by": "throughway", "object": "model"}
