"""Which block a blob or a file is, by its media type, and back."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import urlsplit

from gateway.base.messages import Address, Audio, Document, Image, Inline, Source, StoredFile, Video

from ._wire import Blob, FileData, Part

_OWN_FILES = ("https://generativelanguage.googleapis.com/", "files/")
"""Files that were uploaded to Google: nobody else can fetch them."""

_BY_SUFFIX = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "mp4": "video/mp4",
    "mov": "video/mov",
    "webm": "video/webm",
    "mpeg": "video/mpeg",
}
_BY_HEAD = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("JVBERi", "application/pdf"),
)
"""What bytes begin with, in base64."""
_RIFF = "UklGR"
_BY_FORM = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
"""What a RIFF file says that it holds, in its bytes 8 to 12."""
AUDIO = "audio/*"
"""Of sound whose kind nobody said: OpenAI's answers leave it to the request."""
_VIDEO_HOSTS = ("youtube.com", "www.youtube.com", "youtu.be")

Media = Image | Audio | Video | Document


def media_type_of(uri: str) -> str:
    """By the end of its path; "" where that says nothing."""
    try:
        parts = urlsplit(uri)
        if parts.hostname in _VIDEO_HOSTS:
            return "video/*"
    except ValueError:  # no host can be read from it
        return ""
    return _BY_SUFFIX.get(parts.path.rpartition(".")[2].lower(), "")


def sniffed(data: str) -> str:
    """By its first bytes, of base64; "" where they say nothing."""
    if data.startswith(_RIFF):
        return _BY_FORM.get(_bytes(data[:16])[8:12], "")
    return next((media_type for head, media_type in _BY_HEAD if data.startswith(head)), "")


def read_blob(blob: Blob) -> Media:
    """Bytes in a part."""
    media_type, data = blob.mime_type or "", blob.data or ""
    if media_type == "text/plain" and (text := _text(data)) is not None:
        return Document(text=text, title=blob.display_name or "")
    return _media(Inline(media_type, data), media_type or sniffed(data), blob.display_name or "")


def read_file(file: FileData) -> Media:
    """Bytes elsewhere."""
    uri, media_type = file.file_uri or "", file.mime_type or ""
    source = StoredFile(uri, media_type) if uri.startswith(_OWN_FILES) else Address(uri, media_type)
    return _media(source, media_type or media_type_of(uri), file.display_name or "")


def _media(source: Source, media_type: str, title: str) -> Media:
    match media_type.partition("/")[0]:
        case "image":
            return Image(source)
        case "audio":
            return Audio(source)
        case "video":
            return Video(source)
        case _:
            return Document(source, title=title)


def read_media(part: Part) -> Media | None:
    """The media that a part holds, if it does."""
    if part.inline_data is not None:
        media = read_blob(part.inline_data)
        if isinstance(media, Audio) and part.audio_transcription is not None:
            media.transcript = part.audio_transcription.text or ""
        return media
    return read_file(part.file_data) if part.file_data is not None else None


def _text(data: str) -> str | None:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _bytes(data: str) -> bytes:
    try:
        return base64.b64decode(data)
    except (binascii.Error, ValueError):
        return b""


def write_source(source: Source, title: str = "") -> dict[str, Any] | None:
    """The part for it; None for a file that another provider keeps."""
    match source:
        case Inline():
            blob = {"mimeType": source.media_type or sniffed(source.data), "data": source.data}
            if title:
                blob["displayName"] = title
            return {"inlineData": blob}
        case Address():
            uri, media_type = source.url, source.media_type or media_type_of(source.url)
        case _:
            uri, media_type = source.id, source.media_type
            if not uri.startswith((*_OWN_FILES, "gs://")):
                return None
    file = {"mimeType": media_type, "fileUri": uri} if media_type else {"fileUri": uri}
    if title:
        file["displayName"] = title
    return {"fileData": file}


def write_media(block: Media) -> dict[str, Any] | None:
    """The part for a block; None where Gemini cannot have it."""
    if isinstance(block, Document):
        if block.text is not None:
            return write_source(Inline("text/plain", base64.b64encode(block.text.encode()).decode()), block.title)
        return write_source(block.source, block.title) if block.source is not None else None
    part = write_source(block.source)
    if isinstance(block, Audio) and part is not None and part.get("inlineData", {}).get("mimeType") == "":
        part["inlineData"]["mimeType"] = AUDIO
    return part
