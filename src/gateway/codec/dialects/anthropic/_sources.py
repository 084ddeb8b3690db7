"""Images and documents, from whichever dialect, as Anthropic takes them.

Images are JPEG, PNG, GIF or WebP; documents are PDF or plain text. Bytes come with the request, from an http(s) address (PDF only, of
documents) or from Anthropic's Files API, whose ids begin with `file_`. Source: Anthropic's pages "Vision" and "PDF support".
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from gateway.base.messages import Address, Document, Image, Inline, Source, StoredFile

_BEGINNINGS = (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))
"""What the base64 of an image begins with; for those whose type nobody has told."""

_IMAGE_TYPES = frozenset(media_type for _, media_type in _BEGINNINGS)
_PDF = "application/pdf"
_TEXTS = frozenset(("application/json", "application/xml", "application/x-yaml", "application/javascript"))


def image_source(image: Image) -> dict[str, Any] | None:
    """None where Anthropic cannot take it."""
    match image.source:
        case Inline(media_type=told, data=data):
            media_type = told.lower() or _begun(data)
            if media_type == "image/jpg":
                media_type = "image/jpeg"
            return _inline(data, media_type) if media_type in _IMAGE_TYPES else None
        case source:
            return _elsewhere(source)


def _begun(data: str) -> str:
    return next((media_type for beginning, media_type in _BEGINNINGS if data.startswith(beginning)), "")


def _inline(data: str, media_type: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": data}


def _elsewhere(source: Source) -> dict[str, Any] | None:
    match source:
        case Address(url=url):
            return {"type": "url", "url": url} if url.startswith(("https://", "http://")) else None
        case StoredFile(id=file_id):
            return {"type": "file", "file_id": file_id} if file_id.startswith("file_") else None
        case _:
            return None


def document_source(document: Document) -> dict[str, Any] | None:
    """None where Anthropic cannot take it."""
    if document.text is not None:
        return _plain(document.text)
    match document.source:
        case Inline(media_type=told, data=data):
            media_type = told.lower().partition(";")[0].strip()
            if media_type == _PDF or (not media_type and data.startswith("JVBERi0")):
                return _inline(data, _PDF)
            if media_type.startswith("text/") or media_type in _TEXTS:
                return _decoded(data)
            return None
        case Address(media_type=media_type) if media_type not in ("", _PDF):
            return None
        case None:
            return None
        case source:
            return _elsewhere(source)


def _plain(text: str) -> dict[str, Any] | None:
    return {"type": "text", "media_type": "text/plain", "data": text} if text else None


def _decoded(data: str) -> dict[str, Any] | None:
    try:
        return _plain(base64.b64decode(data, validate=True).decode())
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
