"""A slow, independent reading of chat streams, and streams to read: what `_fastpath.sse` is compared with."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from _fastpath.sse import ChatScanner
from tests.fastpath.answer_oracle import MUTE, Text, TextDecoder, kind_of, produced


@dataclass
class Reading:
    """What a stream says, and what of it may leave."""

    output: bytes = b""
    terminal: bool = False
    error: bytes | None = None
    usage: Any = None
    finish_reason: str | None = None
    events: int = 0
    content_events: int = 0
    content_bytes: int = 0
    media_bytes: int = 0
    usage_is_last: bool = False
    model: str | None = None
    oversized: int = 0
    rest: bytes = field(default=b"", compare=False)


def content_of(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    """What a choice has that was produced, each with its kind."""
    found = [("text", choice.get("text"))]
    for delta in (choice.get("delta"), choice.get("message")):
        if isinstance(delta, dict):
            found += [(kind_of("text", key), value) for key, value in delta.items()]
    return [(kind, value) for kind, value in found if kind != MUTE and isinstance(value, (Text, list, dict)) and value]


def judge(reading: Reading, payload: bytes) -> bool:
    """Whether the event is a chunk of usage alone."""
    reading.events += 1
    try:
        chunk = TextDecoder().decode(payload.decode("utf-8", "surrogateescape"))
    except ValueError:
        return False
    if not isinstance(chunk, dict):
        return False
    choices = chunk.get("choices") if isinstance(chunk.get("choices"), list) else None
    objects = [choice for choice in choices or [] if isinstance(choice, dict)]
    contents = [value for choice in objects for value in content_of(choice)]
    reading.content_events += bool(contents)
    for kind, value in contents:
        text, media = produced(value, kind)
        reading.content_bytes += text
        reading.media_bytes += media
    for choice in objects:
        if isinstance(choice.get("finish_reason"), str):
            reading.finish_reason = choice["finish_reason"] or reading.finish_reason
    if chunk.get("error") is not None and reading.error is None:
        reading.error = payload
    if isinstance(chunk.get("model"), str) and reading.model is None:
        reading.model = str(chunk["model"]) or None
    if isinstance(chunk.get("usage"), dict):
        reading.usage = chunk["usage"]
        reading.usage_is_last = True
    elif contents:
        reading.usage_is_last = False
    return isinstance(chunk.get("usage"), dict) and choices == []


def read_stream(stream: bytes, hide_usage: bool, max_held_bytes: int = 1 << 20) -> Reading:
    """Reads a whole stream, or all that has come of it."""
    reading = Reading()
    event, data = b"", list[bytes]()
    at = 0
    for match in re.finditer(rb"([^\r\n]*)(\r\n|\r|\n)", stream):
        at = match.end()
        line = match[1]
        if match.start() == 0:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
            event += match[0]
            continue
        hidden = False
        if len(event + match[1]) > max_held_bytes:
            reading.oversized += 1
            reading.media_bytes += len(event + match[1])
            reading.usage_is_last = False
        elif data and b"\n".join(data).strip(b" \t") == b"[DONE]":
            reading.terminal = True
        elif data:
            hidden = judge(reading, b"\n".join(data)) and hide_usage
        reading.output += b"" if hidden else event + match[0]
        event, data = b"", []
    reading.rest = event + stream[at:]
    if len(reading.rest) > max_held_bytes:
        reading.oversized += 1
        reading.media_bytes += len(reading.rest)
        reading.usage_is_last = False
        reading.output += reading.rest
    return reading


def reading_of(chat: ChatScanner, output: bytes) -> Reading:
    """The scanner's findings in the same shape."""
    return Reading(
        output=output,
        terminal=chat.terminal,
        error=chat.error,
        usage=None if chat.usage is None else json.loads(chat.usage.decode("utf-8", "surrogateescape")),
        finish_reason=chat.finish_reason,
        events=chat.events,
        content_events=chat.content_events,
        content_bytes=chat.content_bytes,
        media_bytes=chat.media_bytes,
        usage_is_last=chat.usage_is_last,
        model=chat.model,
        oversized=chat.oversized,
    )


# --- streams ------------------------------------------------------------------------------------------------------


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A chunk as OpenAI sends it."""
    return {
        "id": "chatcmpl-AbCdEf0123456789",
        "object": "chat.completion.chunk",
        "created": 1729000000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_0aa8d3e20b",
        "choices": list(choices),
        **more,
    }


def choice(delta: dict[str, Any], finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def tool_call(function: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, **more, "function": function}]}


USAGE = {
    "prompt_tokens": 21,
    "completion_tokens": 9,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "note": '}]"{'},
}

CHUNKS: list[dict[str, Any]] = [
    chunk(choice({"role": "assistant", "content": "", "refusal": None}), usage=None),
    chunk(choice({"content": "Grüße, 世界 "}), usage=None),
    chunk(choice({"content": '😀 "quoted" \\ {"usage":{"x":1},"choices":[]} '}), usage=None),
    chunk(choice({"content": "data: [DONE]\n\n\r\n[DONE]"}), choice({"content": "b"}, index=1), usage=None),
    chunk(choice(tool_call({"name": "get_weather", "arguments": ""}, id="call_1", type="function")), usage=None),
    chunk(choice(tool_call({"arguments": '{"city":"Par'})), usage=None),
    chunk(choice(tool_call({"arguments": 'is"}'})), usage=None),
    chunk(choice({"audio": {"id": "audio_1", "data": "UklGRg==", "transcript": "a"}}), usage=None),
    chunk(choice({"reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "x"}]}), usage=None),
    chunk(choice({}, "tool_calls"), choice({}, None, 1), usage=None),
    chunk(usage=USAGE),
]


def event_of(payload: Any, eol: bytes = b"\n", ascii_only: bool = True) -> bytes:
    """One event of one data line; `payload` is bytes, or a value to encode."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, ensure_ascii=ascii_only, separators=(",", ":")).encode()
    return b"data: " + bytes(payload) + eol + eol


def recorded_stream(eol: bytes) -> bytes:
    """A whole chat stream with comments, other fields and several data lines between its chunks."""
    chunks = [event_of(value, eol, number % 2 == 0) for number, value in enumerate(CHUNKS)]
    comment = b": ping" + eol + eol
    fields = b"event: message" + eol + b"id: 7" + eol + b"retry: 10" + eol + chunks[1]
    spread = b'data:{"choices":' + eol + b"data" + eol + b": amid" + eol + b'data: [{"text":"t"}]}' + eol + eol
    return b"".join(
        [b"\xef\xbb\xbf", comment, chunks[0], fields, *chunks[2:4], eol, spread, *chunks[4:], event_of(b"[DONE]", eol)]
    )
