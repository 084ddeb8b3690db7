"""What of an answer was produced, read slowly: what `_fastpath.answer` and `_fastpath.sse` are compared with."""

import json
from json import decoder, scanner
from typing import Any

MUTE, TEXT, MEDIA = "mute", "text", "media"

COSTS_NOTHING = [
    *("id", "role", "type", "index", "object", "format", "status", "created", "mime_type", "signature", "logprobs"),
    *("expires_at", "annotations", "tool_call_id", "file_id", "detail"),
]
IN_BASE64 = ["audio", "image", "images", "image_url", "video", "video_url", "b64_json", "inline_data", "input_audio"]


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


def kind_of(around: str, key: str) -> str:
    """What a member is, by what its object is."""
    if around == MUTE or key in COSTS_NOTHING:
        return MUTE
    if key in IN_BASE64:
        return MEDIA
    return TEXT if key in ("text", "transcript") else around


def produced(value: Any, kind: str = TEXT) -> tuple[int, int]:
    """Bytes of text, and of media."""
    if isinstance(value, Text):
        return (value.raw_bytes if kind == TEXT else 0, value.raw_bytes if kind == MEDIA else 0)
    if isinstance(value, dict):
        parts = [produced(v, kind_of(kind, k)) for k, v in value.items()]
    else:
        parts = [produced(v, kind) for v in value] if isinstance(value, list) else []
    return sum(text for text, _ in parts), sum(media for _, media in parts)


def counted(body: bytes) -> tuple[int, int, Any]:
    """Text, media and usage of a whole answer, which is one JSON object."""
    answer = TextDecoder().decode(body.decode("utf-8", "surrogateescape"))
    text = media = 0
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        for key in ("message", "delta", "text"):
            found = produced(choice.get(key)) if isinstance(choice, dict) else (0, 0)
            text, media = text + found[0], media + found[1]
    return text, media, answer.get("usage")
