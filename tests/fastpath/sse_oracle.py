"""A slow, independent reading of chat streams, and streams to read: what `_fastpath.sse` is compared with."""

import json
import re
from dataclasses import dataclass, field
from json import decoder, scanner
from typing import Any

from _fastpath.sse import ChatScanner

CONTENT_KEYS = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")
COUNTED_KEYS = ("name", "arguments", "input", "text")


class Text(str):
    """A JSON string that remembers how many bytes stood between its quotes."""

    __slots__ = ("raw_bytes",)
    raw_bytes: int


class TextDecoder(json.JSONDecoder):
    """The standard library's decoder in Python, with string values as `Text`."""

    def __init__(self) -> None:
        super().__init__(strict=False)
        self.parse_string = self.scan_text
        self.scan_once = scanner.py_make_scanner(self)  # type: ignore[attr-defined]

    @staticmethod
    def scan_text(source: str, start: int, strict: bool) -> tuple[Text, int]:
        value, stop = decoder.py_scanstring(source, start, strict)  # type: ignore[attr-defined]
        text = Text(value)
        text.raw_bytes = len(source[start : stop - 1].encode("utf-8", "surrogateescape"))
        return text, stop


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
    model: str | None = None
    oversized: int = 0
    rest: bytes = field(default=b"", compare=False)


def structured_bytes(value: Any) -> int:
    if isinstance(value, dict):
        counted = sum(v.raw_bytes for k, v in value.items() if k in COUNTED_KEYS and isinstance(v, Text))
        return counted + sum(map(structured_bytes, value.values()))
    return sum(map(structured_bytes, value)) if isinstance(value, list) else 0


def content_of(choice: dict[str, Any]) -> list[Any]:
    delta = choice.get("delta")
    values = [delta.get(key) for key in CONTENT_KEYS] if isinstance(delta, dict) else []
    return [value for value in [*values, choice.get("text")] if isinstance(value, (Text, list, dict)) and value]


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
    reading.content_bytes += sum(v.raw_bytes if isinstance(v, Text) else structured_bytes(v) for v in contents)
    for choice in objects:
        if isinstance(choice.get("finish_reason"), str):
            reading.finish_reason = choice["finish_reason"] or reading.finish_reason
    if chunk.get("error") is not None and reading.error is None:
        reading.error = payload
    if isinstance(chunk.get("model"), str) and reading.model is None:
        reading.model = str(chunk["model"]) or None
    if isinstance(chunk.get("usage"), dict):
        reading.usage = chunk["usage"]
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
        elif data and b"\n".join(data).strip(b" \t") == b"[DONE]":
            reading.terminal = True
        elif data:
            hidden = judge(reading, b"\n".join(data)) and hide_usage
        reading.output += b"" if hidden else event + match[0]
        event, data = b"", []
    reading.rest = event + stream[at:]
    if len(reading.rest) > max_held_bytes:
        reading.oversized += 1
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
