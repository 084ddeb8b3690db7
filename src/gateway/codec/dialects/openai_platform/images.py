"""Images: what governs a request for some, and what its answer used.

Sources: OpenAI API reference, "Create image", its stream's events, and the types of the official client (`types/image_generate_params`,
`types/images_response`); "Image generation", which tells tokens of an image by quality and size, and of each partial image.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import msgspec

from _fastpath.answer import AnswerCounter
from _fastpath.chat import MAX_CHOICES, MOST_TOKENS, Reading
from _fastpath.usage import Usage, charged
from gateway.base.context import Follows
from gateway.base.errors import INVALID_VALUE, UNSUPPORTED_PARAMETER, GatewayError
from gateway.codec.metered import Metered, MeteredEvents
from gateway.codec.plain import Plain, note_texts, read_plain

_TOKENS = {"low": 272, "medium": 1_056}
"""Of an image of PIXELS_OF_SQUARE by quality."""
TOKENS_OF_HIGH = 4_160
"""The same of a quality that is higher, or left to the provider."""
PIXELS_OF_SQUARE = 1_024 * 1_024
PIXELS_OF_LARGEST = 3_840 * 2_160
"""Pixels; a size beyond it is the provider's to refuse."""
PIXELS_OF_USUAL = 1_536 * 1_024
"""The largest of the sizes that a provider chooses where it is left to it."""
TOKENS_A_PARTIAL = 100
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


class _Asked(Plain):
    prompt: str | None = None
    n: int | None = None
    quality: str | None = None
    size: str | None = None
    output_format: str | None = None
    partial_images: int | None = None
    stream: bool | None = None
    svg: Any = None


class _Used(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _Event(msgspec.Struct):
    type: str = ""
    b64_json: str = ""
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


_asked_decoder = msgspec.json.Decoder(_Asked)
_used_decoder = msgspec.json.Decoder(_Used)
_event_decoder = msgspec.json.Decoder(_Event)


def read_generation(body: bytes) -> Reading:
    """What governs a request for images; raises GatewayError."""
    reading, told = read_plain(_asked_decoder, body)
    if not told.prompt:
        raise GatewayError(INVALID_VALUE, "The body has no 'prompt'.", param="prompt")
    if told.n is not None and not 1 <= told.n <= MAX_CHOICES:
        raise GatewayError(INVALID_VALUE, f"'n' must be between 1 and {MAX_CHOICES}.", param="n")
    if told.output_format == "svg" or told.svg is not None:
        param = "svg" if told.svg is not None else "output_format"
        message = "An SVG is not asked for: what its author uses is told apart, and could not be accounted for."
        raise GatewayError(UNSUPPORTED_PARAMETER, message, param=param)
    note_texts(reading, told.prompt)
    reading.stream = told.stream is True
    reading.choices = told.n or 1
    reading.max_output_tokens = _tokens_of(told)
    return reading


def follow_generation(told: _Asked) -> Follows:
    """Reads the answer to such a request."""
    images = told.n or 1
    scanner = partial(_Events, images) if told.stream else None
    return Metered(partial(_Meter, images * _tokens_of(told)), scanner)


def _tokens_of(told: _Asked) -> int:
    """What one image may take, as far as that can be known."""
    found = _SIZE.fullmatch(told.size or "")
    pixels = min(int(found[1]) * int(found[2]), PIXELS_OF_LARGEST) if found is not None else PIXELS_OF_USUAL
    of_square = _TOKENS.get(told.quality or "", TOKENS_OF_HIGH)
    return -(-of_square * pixels // PIXELS_OF_SQUARE) + TOKENS_A_PARTIAL * min(max(told.partial_images or 0, 0), 10)


def _usage_of(raw: bytes | None) -> Usage | None:
    """None where nothing is told, or nothing that can be."""
    try:
        told = _used_decoder.decode(raw or b"null")
    except msgspec.DecodeError:
        return None
    if not (0 <= told.input_tokens <= MOST_TOKENS and 0 <= told.output_tokens <= MOST_TOKENS):
        return None
    return Usage(told.input_tokens, told.output_tokens) if told.output_tokens else None


class _Meter:
    """Counts a whole answer: its `usage`, and where it tells none what was asked for."""

    def __init__(self, asked: int) -> None:
        self._counter = AnswerCounter()
        self._asked = asked

    def feed(self, data: bytes) -> None:
        self._counter.feed(data)

    def usage(self, prompt: int, complete: bool) -> Usage:
        told = _usage_of(self._counter.usage)
        return charged(told, prompt, self._asked if told is None else 0, 0, complete)


class _Events(MeteredEvents):
    """A stream: partial images, and each image when it is complete."""

    def __init__(self, images: int) -> None:
        super().__init__(_event_decoder)
        self._due = images

    def note(self, event: _Event, data: bytes) -> None:
        if event.b64_json:
            self.content_events += 1
            self.media_bytes += len(event.b64_json)
            self.usage_is_last = False
        if event.type == "error" or bytes(event.error) != b"null":
            self.error = bytes(event.error)[:2_000] if bytes(event.error) != b"null" else data[:2_000]
        elif event.type.endswith(".completed"):
            self._complete(_usage_of(bytes(event.usage)))

    def _complete(self, usage: Usage | None) -> None:
        if usage is not None:
            if self.told is not None:
                usage = Usage(self.told.input + usage.input, self.told.output + usage.output)
            self.told, self.usage_is_last = usage, True
        self._due -= 1
        self.terminal = self._due == 0
