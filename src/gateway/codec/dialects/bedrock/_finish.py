"""Why an answer has ended."""

from __future__ import annotations

from gateway.base.messages import Finish

_READ: dict[str, Finish] = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "model_context_window_exceeded": "context_length",
    "malformed_model_output": "content_filter",
    "malformed_tool_use": "content_filter",
}

_UNKNOWN: Finish = "length"
"""A reason that nobody knows yet: that the answer is whole is not claimed."""


def finish_of(reason: str) -> Finish:
    return _READ.get(reason, _UNKNOWN)
