"""Bytes in parts of a message: data URLs (RFC 2397), and what formats are called on either side."""

from __future__ import annotations

import base64
from urllib.parse import unquote_to_bytes

from gateway.base.messages import Address, Inline, Source

_DATA = "data:"
MAX_HEAD_CHARS = 200
"""A media type with its parameters is shorter."""

_IMAGES = (("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))
"""First characters of base64, for bytes of which nobody said what they are."""

_AUDIO_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm16": "audio/pcm"}
_AUDIO_FORMATS = {
    "audio/mpeg": "mp3",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/pcm": "pcm16",
}


def source_of(url: str, media_type: str = "") -> Source:
    """What an address stands for: `data:` holds the bytes themselves."""
    if url[:5].lower() != _DATA:
        return Address(url, media_type)
    comma = url.find(",", 0, MAX_HEAD_CHARS)
    head, data = url[len(_DATA) : comma], url[comma + 1 :]
    kind, _, parameters = head.partition(";")
    if not parameters.endswith("base64"):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return Inline(kind or media_type, data)


def is_data_url(url: str) -> bool:
    """Whether a URL that begins with `data:` has the comma that must follow."""
    return url[:5].lower() != _DATA or "," in url[:MAX_HEAD_CHARS]


def data_url(source: Inline, otherwise: str) -> str:
    """`otherwise`: the media type where nobody said one."""
    return f"data:{source.media_type or otherwise};base64,{source.data}"


def image_url(source: Inline | Address) -> str:
    if isinstance(source, Address):
        return source.url
    kind = next((kind for head, kind in _IMAGES if source.data.startswith(head)), "image/png")
    return data_url(source, kind)


def audio_type(form: str | None) -> str:
    """The media type of `input_audio.format`."""
    return _AUDIO_TYPES.get(form, f"audio/{form}") if form else ""


def audio_format(media_type: str) -> str:
    """`input_audio.format` of a media type; "wav" where nobody said one, as most recorders write it."""
    return _AUDIO_FORMATS.get(media_type) or media_type.removeprefix("audio/").removeprefix("x-") or "wav"
