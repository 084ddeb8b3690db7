"""How many tokens an image of a prompt is, by the formulas that providers document; and how large an image is, by its first bytes.

Sources: OpenAI, "Images and vision", "Calculating costs" (tiles and patches, with the figures of each model); Anthropic, "Vision",
"Calculate image costs"; Google, "Understand and count tokens". PNG: W3C, "Portable Network Graphics", 11.2.1. GIF: "GIF89a", 18. JPEG:
ITU-T T.81, B.2.2. WebP: RFC 9649, 2.5 to 2.7.

An image that stands in the request as data tells its size; nothing is decoded but the bytes that say it. Of one that stands
elsewhere nobody here knows the size, and nothing is fetched: it is taken for the largest that the formula knows.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from typing import NamedTuple

HEAD_CHARS = 131_072
"""Of an image's data that are looked at: in a JPEG a camera's notes stand before the size."""
MAX_SEGMENTS = 64
"""Of a JPEG before its size."""

Size = tuple[int, int]
"""Width and height in pixels."""


class Image(NamedTuple):
    """An image of a prompt."""

    size: Size | None
    """None where it is not known."""
    low: bool = False
    """The caller asks for low detail."""


Cost = Callable[[Image], int]
"""Tokens of an image."""


# -- formulas


def _ceil(number: float) -> int:
    """At least 1; what is above a whole number by rounding is that number."""
    return max(1, math.ceil(number - 1e-6))


def tiles(base: int, tile: int) -> Cost:
    """OpenAI: fitted into 2048 x 2048, then its shorter side to 768; `tile` for each 512 x 512, and `base`. Low detail: `base`."""

    def cost(image: Image) -> int:
        if image.low:
            return base
        if image.size is None:
            return base + 8 * tile  # 768 x 2048
        width, height = image.size
        scale = min(1.0, 2048 / max(width, height), 768 / min(width, height))
        return base + tile * _ceil(width * scale / 512) * _ceil(height * scale / 512)

    return cost


def patches(multiplier: float, most: int = 1_536) -> Cost:
    """OpenAI: patches of 32 x 32, scaled down to be no more than `most`, times the model's multiplier."""

    def cost(image: Image) -> int:
        return math.ceil(multiplier * (most if image.size is None else _patches(*image.size, most)))

    return cost


def _patches(width: int, height: int, most: int) -> int:
    across, down = width / 32, height / 32
    if math.ceil(across) * math.ceil(down) > most:
        scale = math.sqrt(most / (across * down))
        across, down = across * scale, down * scale
        fit = min(math.floor(across) / across, math.floor(down) / down)
        across, down = across * fit, down * fit
    return min(_ceil(across) * _ceil(down), most)


def area(pixels_a_token: int, most: int) -> Cost:
    """Anthropic: by the area, scaled down to `most` tokens."""

    def cost(image: Image) -> int:
        return most if image.size is None else min(most, math.ceil(image.size[0] * image.size[1] / pixels_a_token))

    return cost


def squares(tokens: int) -> Cost:
    """Google: `tokens` for up to 384 x 384, else for each 768 x 768 of what is fitted into 3072 x 3072."""

    def cost(image: Image) -> int:
        if image.size is None:
            return 16 * tokens
        width, height = image.size
        if max(width, height) <= 384:
            return tokens
        scale = min(1.0, 3072 / max(width, height))
        return tokens * _ceil(width * scale / 768) * _ceil(height * scale / 768)

    return cost


_COST_OF: tuple[tuple[str, Cost], ...] = (
    ("gpt-4.1-mini", patches(1.62)),
    ("gpt-4.1-nano", patches(2.46)),
    ("gpt-5-mini", patches(1.62)),
    ("gpt-5-nano", patches(2.46)),
    ("o4-mini", patches(1.72)),
    ("gpt-4o-mini", tiles(2_833, 5_667)),
    ("gpt-5", tiles(70, 140)),
    ("o1", tiles(75, 150)),
    ("o3", tiles(75, 150)),
    ("computer-use-preview", tiles(65, 129)),
    ("claude", area(750, 1_600)),
    ("gemini", squares(258)),
)
"""By prefixes of models' names, the first that fits."""
_USUAL = tiles(85, 170)
"""Of gpt-4o, gpt-4.1 and gpt-4.5; and of models of which nothing is known."""


def cost_of_model(model: str) -> Cost:
    """The formula of a model by its name, with or without `organisation/` before it, or Bedrock's `us.anthropic.`."""
    name = model.rpartition("/")[2].rpartition("anthropic.")[2]
    return next((cost for prefix, cost in _COST_OF if name.startswith(prefix)), _USUAL)


def tokens_of(images: list[Image], more: int, costs: list[Cost]) -> int:
    """Tokens of the images of a prompt, and of so many more that are not known, by the dearest of the formulas."""
    return max(sum(map(cost, images)) + more * cost(Image(None)) for cost in costs)


# -- sizes


def size_of(url: bytes) -> Size | None:
    """The size of an image that stands in a `data:` URL; None of any other, and where it cannot be told.

    Args:
        url: as it stands in JSON, between its quotes.
    """
    if not url.startswith(b"data:image"):
        return None
    head = url[:HEAD_CHARS].replace(b"\\/", b"/")  # as some write it in JSON
    at = head.find(b";base64,")
    if at < 0:
        return None
    data = _Base64(head, at + 8)
    try:
        size = _size(data)
    except (binascii.Error, IndexError):  # no base64, or it ends too soon
        return None
    return size if size is not None and min(size) > 0 else None


class _Base64:
    """Bytes that stand as base64 in a text, of which only those are decoded that are asked for."""

    def __init__(self, text: bytes, begin: int) -> None:
        self._text = text
        self._begin = begin

    def take(self, at: int, count: int) -> bytes:
        """So many bytes from there on. Raises IndexError where the text ends before, binascii.Error where it is no base64."""
        first, last = at // 3, (at + count + 2) // 3
        found = binascii.a2b_base64(self._text[self._begin + 4 * first : self._begin + 4 * last], strict_mode=True)
        found = found[at - 3 * first :][:count]
        if len(found) < count:
            raise IndexError(at)
        return found


def _size(data: _Base64) -> Size | None:
    start = data.take(0, 12)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return _pair(data.take(16, 8), 4, "big")
    if start.startswith((b"GIF87a", b"GIF89a")):
        return _pair(data.take(6, 4), 2, "little")
    if start.startswith(b"\xff\xd8"):
        return _jpeg_size(data)
    if start.startswith(b"RIFF") and start[8:] == b"WEBP":
        return _webp_size(data.take(12, 18))
    return None


def _pair(data: bytes, width: int, order: str) -> Size:
    """Two numbers of so many bytes."""
    big = order == "big"
    of = [int.from_bytes(data[at : at + width], "big" if big else "little") for at in (0, width)]
    return of[0], of[1]


def _webp_size(chunk: bytes) -> Size | None:
    """The first chunk: its name, its size, its beginning."""
    kind, body = chunk[:4], chunk[8:]
    if kind == b"VP8X":
        width, height = _pair(body[4:10], 3, "little")
        return width + 1, height + 1
    if kind == b"VP8 ":
        width, height = _pair(body[6:10], 2, "little")
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _jpeg_size(data: _Base64) -> Size | None:
    """Goes from segment to segment until one begins a frame."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        marker = data.take(at, 4)
        if marker[0] != 0xFF:
            return None
        if marker[1] == 0xFF:  # a byte of filling
            at += 1
        elif 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            height, width = _pair(data.take(at + 5, 4), 2, "big")
            return width, height
        else:
            at += 2 + int.from_bytes(marker[2:], "big")
    return None
