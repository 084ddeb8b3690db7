"""What governs a request of OpenAI's dialect, what must be spliced into it, and what a whole response used, without its canonical form.

Sources: OpenAI API reference, "Chat completions", "Completions", "Embeddings"; OpenAI cookbook, "How to count
tokens with tiktoken" (three tokens a message, one a name, three that prime the answer); "Images and vision" for image tokens.

A request is read once: `jsonscan` refuses what two readers could take differently and finds the spans to splice. What governs
the usual chat, and all prompts, however they are made up, is read natively (`_fastpath.chat`), without an object for each of their values;
msgspec decodes the rest of what is unusual, and says what is wrong. Unknown fields are left alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from _fastpath.chat import (
    MAX_CHOICES,
    MOST_TOKENS,
    TOKENS_OF_PRIMING,
    Reading,
    read_answer,
    read_declared,
    read_part_of,
    read_prompt,
    read_request,
)
from _fastpath.jsonscan import ScanError, scan
from _fastpath.usage import Usage
from gateway.base.errors import (
    INVALID_JSON,
    INVALID_VALUE,
    MISSING_MODEL,
    GatewayError,
)
from gateway.base.image_tokens import HEAD_CHARS, Image, size_of
from gateway.codec.dialects.openai_chat.usage import WireUsage, usage_from
from gateway.codec.faults import MAX_DEPTH, scan_fault
from gateway.codec.raw import decode_leniently

MAX_PROMPTS = 2_048
"""Of a completion, and inputs of an embedding: OpenAI's bound."""

_ABSENT = msgspec.Raw(b"null")
"""A union with Raw would admit nothing but null."""


class _Image(msgspec.Struct):
    detail: str = "auto"


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None
    image_url: _Image | str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: msgspec.Raw = _ABSENT


class _Messages(msgspec.Struct):
    """To say what is wrong with them."""

    messages: list[_Message]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Governed(msgspec.Struct):
    model: str | msgspec.UnsetType = msgspec.UNSET
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    best_of: int | None = None
    max_tokens: int | None = None


class _Chat(_Governed):
    max_completion_tokens: int | None = None
    n_predict: int | None = None
    tools: msgspec.Raw = _ABSENT
    functions: msgspec.Raw = _ABSENT
    response_format: msgspec.Raw = _ABSENT


class _Completion(_Governed):
    suffix: str | None = None


_chat_decoder = msgspec.json.Decoder(_Chat)
_messages_decoder = msgspec.json.Decoder(_Messages)
_completion_decoder = msgspec.json.Decoder(_Completion)
_embedding_decoder = msgspec.json.Decoder(_Governed)


# -- requests


def _scan(body: bytes, prompt: bytes) -> tuple[int, ...]:
    try:
        return scan(body, (b"model", b"stream_options", prompt), MAX_DEPTH)
    except ScanError as error:
        raise scan_fault(error) from error


def _decode(decoder: Any, body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _validation_fault(str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError(INVALID_JSON, f"The body is not valid JSON: {error}.") from error


def _validation_fault(text: str) -> GatewayError:
    """msgspec says "Expected `str`, got `int` - at `$.messages[0].role`"."""
    what, _, where = text.partition(" - at ")
    param = where.strip("`").removeprefix("$.").removeprefix("$") or None
    return GatewayError(INVALID_VALUE, f"{what}{f' in {param!r}' if param else ''}.", param=param)


def _bounded(value: int, param: str, most: int) -> int:
    if not 1 <= value <= most:
        raise GatewayError(INVALID_VALUE, f"{param!r} must be between 1 and {most}.", param=param)
    return value


def _reading(governed: _Governed, body: bytes, spans: tuple[int, ...]) -> Reading:
    """What is common to all requests."""
    model = governed.model
    if model is msgspec.UNSET or not model:
        raise GatewayError(MISSING_MODEL, "The body has no 'model'.", param="model")
    assert isinstance(model, str)
    model_start, model_end, options_start, options_end, _, _, close = spans
    reading = Reading(model, model_start, model_end, close, governed.stream is True)
    if options_start >= 0:
        _read_part(reading, body, "stream_options", options_start, options_end)
    for asked, param in ((governed.n, "n"), (governed.best_of, "best_of")):
        if asked is not None:
            reading.choices = max(reading.choices, _bounded(asked, param, MAX_CHOICES))
    _note_bound(reading, governed.max_tokens, "max_tokens")
    return reading


def _note_bound(reading: Reading, bound: int | None, param: str) -> None:
    """Of several bounds of the answer the largest counts: some providers honour the one, some the other."""
    if bound is not None:
        reading.max_output_tokens = max(reading.max_output_tokens, _bounded(bound, param, MOST_TOKENS))


def _read_part(reading: Reading, body: bytes, name: str, start: int, end: int) -> None:
    try:
        well = read_part_of(reading, body, name, start, end)
    except ScanError as error:
        raise scan_fault(error) from error
    if not well:
        if name == "messages":
            _decode(_messages_decoder, body)
        raise GatewayError(INVALID_VALUE, f"{name!r} holds what cannot be read.", param=name)


def read_chat(body: bytes) -> Reading:
    """What governs a chat completion request.

    Raises:
        GatewayError: not one JSON object, a duplicate key, a wrong type, no model.
    """
    try:
        reading = read_request(body, MAX_DEPTH)
    except ScanError as error:
        raise scan_fault(error) from error
    if reading is None:
        reading = _read_any_chat(body)
    if reading.image_spans is not None:
        _note_images(reading, body)
    return reading


def _note_images(reading: Reading, body: bytes) -> None:
    assert reading.image_spans is not None
    reading.images = [
        Image(size_of(body[start : min(end, start + HEAD_CHARS)]), low) for start, end, low in reading.image_spans
    ]


def _read_any_chat(body: bytes) -> Reading:
    """Numbers in unusual spellings, and whatever is wrong."""
    spans = _scan(body, b"messages")
    chat: _Chat = _decode(_chat_decoder, body)
    reading = _reading(chat, body, spans)
    reading.fixed_tokens = TOKENS_OF_PRIMING
    if spans[4] >= 0:
        _read_part(reading, body, "messages", spans[4], spans[5])
    for declared in (chat.tools, chat.functions, chat.response_format):
        if declared is not _ABSENT and declared != _ABSENT:  # by default, or said to be null
            read_declared(reading, bytes(declared))
    _note_bound(reading, chat.max_completion_tokens, "max_completion_tokens")
    if chat.n_predict is not None and chat.n_predict < 0:  # llama.cpp: without end
        reading.max_output_tokens = -1
    else:
        _note_bound(reading, chat.n_predict, "n_predict")
    return reading


def _read_prompt(reading: Reading, body: bytes, param: str, start: int, end: int) -> int:
    """Notes the texts of a prompt; returns how many prompts it is."""
    prompts = read_prompt(reading, body, start, end, MAX_PROMPTS) if start >= 0 else 1
    if prompts > MAX_PROMPTS:
        raise GatewayError(INVALID_VALUE, f"A request holds at most {MAX_PROMPTS:,} prompts.", param=param)
    if prompts < 0:
        message = f"{param!r} must be a text or the ids of its tokens, or a list of texts or of lists of ids."
        raise GatewayError(INVALID_VALUE, message, param=param)
    return prompts


def read_completion(body: bytes) -> Reading:
    """What governs a text completion request; raises GatewayError."""
    spans = _scan(body, b"prompt")
    completion: _Completion = _decode(_completion_decoder, body)
    reading = _reading(completion, body, spans)
    reading.choices *= _read_prompt(reading, body, "prompt", spans[4], spans[5])
    if completion.suffix:
        reading.texts.append(completion.suffix.encode())
    return reading


def read_embedding(body: bytes) -> Reading:
    """What governs an embedding request; raises GatewayError."""
    spans = _scan(body, b"input")
    embedding: _Governed = _decode(_embedding_decoder, body)
    reading = _reading(embedding, body, spans)
    reading.choices = 1
    _read_prompt(reading, body, "input", spans[4], spans[5])
    reading.max_output_tokens = 0
    return reading


def splice(body: bytes, reading: Reading, model_json: bytes, *, ask_usage: bool) -> list[bytes]:
    """The body in pieces, with `model` replaced and, if `ask_usage`, `stream_options.include_usage` set; all else as it was."""
    edits: list[tuple[int, int, bytes]] = []
    if body[reading.model_start : reading.model_end] != model_json:
        edits.append((reading.model_start, reading.model_end, model_json))
    if ask_usage:
        edits.append((reading.usage_start, reading.usage_end, reading.usage_text))
    if not edits:
        return [body]
    pieces: list[bytes] = []
    at = 0
    for start, end, value in sorted(edits):
        pieces += (body[at:start], value)
        at = end
    pieces.append(body[at:])
    return pieces


# -- responses


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Response(msgspec.Struct):
    usage: WireUsage | None = None
    choices: list[_Choice] | None = None


_response_decoder = msgspec.json.Decoder(_Response)
_any_decoder = msgspec.json.Decoder()


def response_usage(body: bytes) -> tuple[Usage | None, str] | None:
    """(usage, finish reason) of a whole response; None where the body is no JSON object."""
    found = read_answer(body)
    return found if found is not None else _response_usage(body)


def _response_usage(body: bytes) -> tuple[Usage | None, str] | None:
    try:
        response: _Response = decode_leniently(_response_decoder, body)
    except msgspec.ValidationError:  # what it says of itself is odd, but the answer may be good, and it was paid for
        return (None, "") if _is_object(body) else None
    except (msgspec.DecodeError, RecursionError):
        return None
    usage = usage_from(response.usage) if response.usage is not None else None
    reason = response.choices[-1].finish_reason if response.choices else None
    return usage, reason or ""


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(decode_leniently(_any_decoder, body), dict)
    except (msgspec.DecodeError, RecursionError):
        return False
