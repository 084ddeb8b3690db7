"""Why an answer has ended: Google's reasons and ours.

Source: Gemini API reference, "FinishReason" and "BlockReason"; those of Vertex AI are the same and MODEL_ARMOR.

| `finishReason` | here |
|---|---|
| STOP | stop, or tool_calls where the answer holds one |
| MAX_TOKENS, CONTINUATION (the answer goes on only with a token that nobody else could send) | length |
| TOO_MANY_TOOL_CALLS: the loop of Google's own tools stopped before an answer | pause |
| SAFETY, RECITATION, BLOCKLIST, PROHIBITED_CONTENT, SPII, LANGUAGE, MODEL_ARMOR, ESCALATION, IMAGE_... | content_filter |
| MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, MALFORMED_RESPONSE, MISSING_THOUGHT_SIGNATURE, OTHER, and any unknown | content_filter |
| none, but `promptFeedback.blockReason` | content_filter |

What is no success has one word here that no client takes for one; it says that something was kept back.
"""

from __future__ import annotations

from gateway.base.messages import Finish

_READ: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "TOO_MANY_TOOL_CALLS": "pause",
}

_WRITTEN: dict[Finish, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "context_length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "TOO_MANY_TOOL_CALLS",
}


def read_finish(reason: str, calls: bool) -> Finish:
    """What `reason` means, in an answer that holds calls of tools or none."""
    finish = _READ.get(reason, "content_filter")
    return "tool_calls" if calls and finish == "stop" else finish


def write_finish(finish: Finish) -> str:
    return _WRITTEN[finish]
