"""What governs a request of a dialect that has no native reader: found in its canonical form."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from _fastpath.cachekey import CacheKeys
from _fastpath.chat import (
    MAX_CHOICES,
    MAX_IMAGES,
    MEDIA_BYTES_A_TOKEN,
    MOST_TOKENS,
    NEEDS_AUDIO,
    NEEDS_IMAGE,
    NEEDS_JSON_SCHEMA,
    NEEDS_PDF,
    NEEDS_TOOLS,
    NEEDS_VIDEO,
    TOKENS_A_MESSAGE,
    TOKENS_A_NAME,
    TOKENS_OF_MEDIA,
    TOKENS_OF_PRIMING,
    Reading,
)
from _fastpath.jsonscan import ScanError, scan
from gateway.base.embedding import EmbedRequest
from gateway.base.errors import INVALID_VALUE, MISSING_MODEL, GatewayError
from gateway.base.image_tokens import HEAD_CHARS, size_of
from gateway.base.image_tokens import Image as ImageSize
from gateway.base.messages import (
    Audio,
    Block,
    Document,
    Image,
    Inline,
    Lost,
    Opaque,
    Refusal,
    Request,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from gateway.codec.faults import MAX_DEPTH, scan_fault

MAX_CONTAINERS = 20_000
"""Objects and lists in a body that is read into its canonical form: each is an object here, and costs the loop 2 to 12 us."""

_PDF = "application/pdf"

_keys = CacheKeys(os.urandom(32), b"one reading")
"""What has no key is read differently by some decoders: two equal keys in one object, at any depth."""


class Asked:
    """A request as its own dialect has read it."""

    __slots__ = ("lost", "request")

    def __init__(self, request: Any, lost: Lost) -> None:
        self.request = request
        """In the canonical form of what is asked for."""
        self.lost = lost
        """What the reader did not know."""


def read_governed(
    read: Callable[[bytes, Lost], Request], body: bytes, *, model: str | None = None, stream: bool | None = None
) -> Reading:
    """What governs the request in `body`; the reading's `request` is an `Asked`.

    Args:
        read: the dialect's reader.
        model: where it stands in the path and not in the body.
        stream: the same.

    Raises:
        GatewayError: not one JSON object, a duplicate key, a wrong type, no model.
    """
    start, end, close = checked(body)
    lost = Lost()
    request = read(body, lost)
    if model is not None:
        request.model = model  # what stands in the body beside it is replaced as if it were the model's name
    if stream is not None:
        request.stream = stream
    if not request.model:
        raise GatewayError(MISSING_MODEL, "The body has no 'model'.", param="model")
    reading = Reading(request.model, start, end, close, request.stream)
    reading.include_usage = True
    reading.request = Asked(request, lost)
    _note_bounds(reading, request)
    _Prompt(reading).take(request)
    return reading


def read_governed_embedding(read: Callable[[bytes, Lost], EmbedRequest], body: bytes, *, model: str) -> Reading:
    """The same of a request for embeddings, whose model stands in the path. Raises GatewayError."""
    start, end, close = checked(body)
    lost = Lost()
    request = read(body, lost)
    request.model = model
    reading = Reading(model, start, end, close)
    reading.include_usage = True
    reading.request = Asked(request, lost)
    reading.max_output_tokens = 0
    _Prompt(reading).embed(request)
    return reading


def read_asked(read: Callable[[bytes, Lost], Any], body: bytes) -> Asked:
    """A request that was governed natively, in its canonical form. Raises GatewayError."""
    checked(body)
    lost = Lost()
    return Asked(read(body, lost), lost)


def checked(body: bytes) -> tuple[int, ...]:
    """Where the value of `model` stands (-1, -1 where there is none), and the closing brace. Raises GatewayError."""
    try:
        spans = scan(body, (b"model",), MAX_DEPTH, MAX_CONTAINERS)
        _keys.key(body, b"")
    except ScanError as error:
        raise scan_fault(error) from error
    return spans


def _note_bounds(reading: Reading, request: Request) -> None:
    for value, param, least, most in (
        (request.choices, "n", 1, MAX_CHOICES),
        (request.max_output_tokens, "max_output_tokens", 0, MOST_TOKENS),  # none at all: Anthropic fills its cache then
    ):
        if value is not None and not least <= value <= most:
            raise GatewayError(INVALID_VALUE, f"{param!r} must be between {least} and {most}.", param=param)
    reading.choices = request.choices
    if request.max_output_tokens is not None:
        reading.max_output_tokens = request.max_output_tokens


class _Prompt:
    """Notes what a prompt costs and needs: its texts, its images, and what else has a size."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._images: list[ImageSize] = []

    def take(self, request: Request) -> None:
        reading = self._reading
        reading.fixed_tokens = TOKENS_OF_PRIMING
        self._blocks(request.system)
        for message in request.messages:
            reading.fixed_tokens += TOKENS_A_MESSAGE + (TOKENS_A_NAME if message.name else 0)
            self._text(message.name)
            self._blocks(message.blocks)
        if request.tools:
            reading.needs |= NEEDS_TOOLS
        for tool in request.tools:
            self._text(tool.name)
            self._text(tool.description)
            for told in (tool.parameters, tool.grammar):
                if told is not None:
                    reading.texts.append(bytes(told))
        reading.texts += [bytes(tool.value) for tool in request.hosted_tools]
        if request.output is not None and request.output.schema is not None:
            reading.texts.append(bytes(request.output.schema))
        if request.output is not None and request.output.kind == "json_schema":
            reading.needs |= NEEDS_JSON_SCHEMA
        self._note_images()

    def embed(self, request: EmbedRequest) -> None:
        for each in request.inputs:
            self._text(each.title)
            self._blocks(each.blocks)
        self._note_images()

    def _note_images(self) -> None:
        if self._images:
            self._reading.needs |= NEEDS_IMAGE
            self._reading.images = self._images[:MAX_IMAGES]
            self._reading.more_images = len(self._images) - len(self._reading.images)

    def _text(self, text: str) -> None:
        if text:
            self._reading.texts.append(text.encode("utf-8", "replace"))

    def _blocks(self, blocks: list[Block] | list[Text | Image | Document | Opaque]) -> None:
        for block in blocks:
            self._block(block)

    def _block(self, block: Block) -> None:
        match block:
            case Text(text=text) | Refusal(text=text):
                self._text(text)
            case Thinking():
                self._text(block.text)
                if block.signature is not None and block.redacted:
                    self._media(len(block.signature.value))
            case Image():
                self._images.append(_size(block))
            case ToolCall():
                self._text(block.name)
                self._text(block.arguments)
            case ToolResult():
                self._blocks(block.content)
            case Document():
                self._text(block.title)
                self._text(block.context)
                self._text(block.text or "")
                if block.source is not None:
                    self._source(block.source)
                    if block.source.media_type == _PDF:
                        self._reading.needs |= NEEDS_PDF
            case Audio() | Video():
                self._reading.needs |= NEEDS_AUDIO if isinstance(block, Audio) else NEEDS_VIDEO
                self._source(block.source)
            case Opaque():
                self._reading.texts.append(bytes(block.value))

    def _source(self, source: Source) -> None:
        self._media(len(source.data) if isinstance(source, Inline) else 0)

    def _media(self, size: int) -> None:
        self._reading.fixed_tokens += max(TOKENS_OF_MEDIA, size // MEDIA_BYTES_A_TOKEN)


def _size(image: Image) -> ImageSize:
    source = image.source
    url = f"data:{source.media_type};base64,{source.data[:HEAD_CHARS]}" if isinstance(source, Inline) else ""
    return ImageSize(size_of(url.encode("utf-8", "replace")), image.detail == "low")
