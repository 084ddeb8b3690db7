"""Arguments and results of tools: text here, objects on Gemini's wire.

| text | object |
|---|---|
| arguments that are a JSON object | that object, as it is written |
| arguments that are empty | `{}`: OpenAI's models write so for a function without parameters |
| the input of a custom tool | `{"input": text}`, as the declaration that stands for such a tool says |
| any other text, such as JSON that a model left unfinished | `{"_raw": text}` |
| a result that is a JSON object | that object: Google takes "whole response as function output" |
| any other result, or one with a key `output` or `error` of its own | `{"output": text}` |
| a failure | `{"error": text}` |
"""

from __future__ import annotations

import msgspec

Object = dict[str, msgspec.Raw]


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """As most results are."""

    output: str


_said_decoder = msgspec.json.Decoder(_Said)
_object_decoder = msgspec.json.Decoder(Object)
_text_decoder = msgspec.json.Decoder(str)


def one_line(raw: msgspec.Raw) -> msgspec.Raw:
    """The same JSON without line breaks, which would end a line of a server-sent event."""
    data = bytes(raw)
    return msgspec.Raw(msgspec.json.format(data, indent=-1)) if b"\n" in data or b"\r" in data else raw


def object_in(text: str) -> Object | None:
    """Of a text that is a JSON object, its values."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return _object_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def write_arguments(text: str, custom: bool = False) -> msgspec.Raw | dict[str, str]:
    if custom:
        return {"input": text}
    if object_in(text) is not None:
        return one_line(msgspec.Raw(text.encode()))
    return {"_raw": text} if text.strip() else {}


def write_result(text: str, is_error: bool) -> msgspec.Raw | dict[str, str]:
    if is_error:
        return {"error": text}
    found = object_in(text)
    if found is None or "output" in found or "error" in found:
        return {"output": text}
    return msgspec.Raw(text.encode())


def read_result(response: msgspec.Raw) -> tuple[str, bool]:
    """(text, whether it tells a failure) of a function's response."""
    try:
        return _said_decoder.decode(response).output, False
    except msgspec.ValidationError:
        found = object_in(bytes(response).decode())
    if found is None:
        return "", False
    if len(found) == 1:
        if "output" in found:
            return _plain(found["output"]), False
        if "error" in found:
            return _plain(found["error"]), True
    return bytes(response).decode(), "error" in found and "output" not in found


def _plain(value: msgspec.Raw) -> str:
    """A text as it is, anything else as JSON."""
    try:
        return _text_decoder.decode(value)
    except msgspec.DecodeError:
        return bytes(value).decode()
