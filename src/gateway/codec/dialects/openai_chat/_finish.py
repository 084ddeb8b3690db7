"""Why an answer has ended, on either side. Nothing here turns an answer that was cut off into one that is whole."""

from __future__ import annotations

from gateway.base.messages import Finish

_READ: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    # of others
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "model_length": "context_length",
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
    "refusal": "refusal",
}
"""Another one than these is "length": the nearest that does not claim success."""

_FAILED = frozenset({"error", "abort", "cancelled", "network_error", "insufficient_system_resource"})

_WRITTEN: dict[Finish, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context_length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "length",
}


def is_failure(reason: str) -> bool:
    """The provider broke off: no reason to end, but an error."""
    return reason.lower() in _FAILED


def read_finish(reason: str, stop: object, *, called: bool, refused: bool) -> tuple[Finish, str]:
    """(why, the stop sequence that was met).

    Args:
        reason: `finish_reason`.
        stop: `stop_reason` of vLLM: the sequence, or the number of a token.
        called: there are calls of tools. "stop" beside them is what OpenAI says where the tool was forced, and others always.
        refused: there is a refusal, beside which OpenAI says "stop".
    """
    finish = _READ.get(reason.lower(), "length")
    if finish == "stop":
        if called:
            return "tool_calls", ""
        if refused:
            return "refusal", ""
        if isinstance(stop, str) and stop:
            return "stop_sequence", stop
    return finish, ""


def written_finish(finish: Finish, *, refused: bool) -> str:
    """`finish_reason`. `refused`: the refusal's words are in the answer, as OpenAI has it; without them it is a filter's doing."""
    return "stop" if finish == "refusal" and refused else _WRITTEN[finish]
