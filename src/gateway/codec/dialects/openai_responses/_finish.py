"""Why an answer has ended: `status` and `incomplete_details.reason` here.

read                                canonical
completed, with a call              tool_calls
completed, refused and no call      refusal
completed otherwise                 stop
incomplete: max_output_tokens       length
incomplete: content_filter          content_filter
incomplete: max_messages, steered   pause
incomplete: anything else           length
failed, cancelled, unknown          an error

written
stop, stop_sequence, tool_calls     completed
refusal                             completed where a refusal is said, else incomplete: content_filter
length, context_length              incomplete: max_output_tokens
content_filter                      incomplete: content_filter
pause                               incomplete: max_messages
not told                            incomplete, for no reason
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from gateway.base.messages import Block, Finish, Refusal, ToolCall

Status = Literal["completed", "incomplete"]

_INCOMPLETE: dict[str | None, Finish] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "max_messages": "pause",
    "steered": "pause",
}
_REASONS: dict[Finish, str] = {
    "length": "max_output_tokens",
    "context_length": "max_output_tokens",
    "content_filter": "content_filter",
    "pause": "max_messages",
}


def completed(blocks: Iterable[Block]) -> Finish:
    """Of an answer that its provider calls complete."""
    finish: Finish = "stop"
    for block in blocks:
        if isinstance(block, ToolCall):
            return "tool_calls"
        if isinstance(block, Refusal):
            finish = "refusal"
    return finish


def incomplete(reason: str | None) -> Finish:
    return _INCOMPLETE.get(reason, "length")


def told(finish: Finish | None, *, refused: bool) -> tuple[Status, str | None]:
    """The status, and the reason of an incomplete one."""
    if finish is None:
        return "incomplete", None
    if finish == "refusal" and not refused:
        return "incomplete", "content_filter"
    reason = _REASONS.get(finish)
    return ("completed", None) if reason is None else ("incomplete", reason)
