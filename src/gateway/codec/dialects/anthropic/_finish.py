"""Why an answer has ended, in this dialect's words and in the canonical ones."""

from __future__ import annotations

from typing import Any

from gateway.base.messages import Finish

READ: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_context_window_exceeded": "context_length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "pause",
    "compaction": "pause",
}

UNKNOWN: Finish = "length"
"""A reason that nobody knows yet: that the answer is whole is not claimed."""

WRITTEN: dict[Finish, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "context_length": "model_context_window_exceeded",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}


def finish_of(reason: str) -> Finish:
    return READ.get(reason, UNKNOWN)


def ending(finish: Finish | None, stop_sequence: str, *, refused: bool) -> dict[str, Any]:
    """The fields that tell the end.

    Args:
        finish: None where nobody said; nothing is invented then.
        refused: the model has declined in words of its own, which other dialects call an ordinary end.
    """
    if refused and finish == "stop":
        finish = "refusal"
    ended: dict[str, Any] = {
        "stop_reason": None if finish is None else WRITTEN[finish],
        "stop_sequence": stop_sequence if finish == "stop_sequence" and stop_sequence else None,
    }
    if finish in ("refusal", "content_filter"):
        ended["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return ended
