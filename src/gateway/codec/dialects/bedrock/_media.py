"""Images, documents, sound and video, from whichever dialect, as Converse takes them: bytes, or an object of S3.

Source: AWS's API reference, `ImageBlock`, `DocumentBlock`, `VideoBlock`, `AudioBlock`.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from gateway.base.messages import Address, Audio, Document, Image, Inline, Source, Video

MAX_NAME_CHARS = 200
"""Of a document."""

_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_VIDEOS = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mov": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/mpg": "mpg",
    "video/x-ms-wmv": "wmv",
    "video/wmv": "wmv",
    "video/3gpp": "three_gp",
}
_AUDIO = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/mp4": "mp4",
    "audio/ogg": "ogg",
    "audio/webm": "webm",
    "audio/pcm": "pcm",
}
_BEGINNINGS = (("iVBORw0KGgo", "png"), ("/9j/", "jpeg"), ("R0lGOD", "gif"), ("UklGR", "webp"), ("JVBERi0", "pdf"))
"""What bytes whose type nobody has told begin with, in base64."""
_NO_NAME_CHARS = re.compile(r"[^A-Za-z0-9()\[\]-]+")

Media = dict[str, Any]


def image_block(image: Image) -> Media | None:
    """None where Converse cannot take it."""
    return _block(image.source, _IMAGES)


def video_block(video: Video) -> Media | None:
    return _block(video.source, _VIDEOS)


def audio_block(audio: Audio) -> Media | None:
    return _block(audio.source, _AUDIO)


def document_block(document: Document) -> Media | None:
    """Without its name."""
    if document.text is not None:
        data = base64.b64encode(document.text.encode()).decode()
        return {"format": "txt", "source": {"bytes": data}} if data else None
    return _block(document.source, _DOCUMENTS) if document.source is not None else None


def document_name(title: str) -> str:
    """Letters, digits, single blanks, hyphens and brackets: others become blanks."""
    return _NO_NAME_CHARS.sub(" ", title).strip()[:MAX_NAME_CHARS] or "document"


def _block(source: Source, formats: dict[str, str]) -> Media | None:
    written = _source(source)
    told = formats.get(source.media_type.lower().partition(";")[0].strip())
    if told is None and not source.media_type and isinstance(source, Inline):
        begun = next((name for beginning, name in _BEGINNINGS if source.data.startswith(beginning)), None)
        told = begun if begun in formats.values() else None
    if told is None and isinstance(source, Address):
        suffix = source.url.rpartition(".")[2].lower()
        told = formats.get(f"image/{suffix}", suffix if suffix in formats.values() else None)
    return {"format": told, "source": written} if written is not None and told is not None else None


def _source(source: Source) -> Media | None:
    match source:
        case Inline(data=data) if data:
            return {"bytes": data}
        case Address(url=url) if url.startswith("s3://"):
            return {"s3Location": {"uri": url}}
        case _:
            return None


def media_type_of(image_format: str) -> str:
    """Of an image in an answer."""
    return f"image/{image_format}"
