"""What an answer relies on: `groundingMetadata` and `citationMetadata`.

Source: Gemini API reference, "GroundingMetadata" (chunks are sources; supports tie them to segments of the answer, by bytes of a
part) and "CitationMetadata" (bytes of the answer). Ours count characters. What else stands there (queries, the widget of a search)
is about how the answer was made and has no place in another dialect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from gateway.base.messages import Citation
from gateway.codec.raw import given

MAX_CITED_CHARS = 1 << 20
"""Of a text in a stream that citations may point into; beyond, they say what is cited and not where."""

MAX_CITATIONS = 1_000
"""Of one text in a stream; more are not told."""


class _Wire(msgspec.Struct, rename="camel"):
    pass


class _Origin(_Wire):
    uri: str | None = None
    title: str | None = None
    text: str | None = None


class _Chunk(_Wire):
    web: _Origin | None = None
    retrieved_context: _Origin | None = None
    maps: _Origin | None = None


class _Segment(_Wire):
    part_index: int | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Support(_Wire):
    segment: _Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class _Grounding(_Wire):
    grounding_chunks: list[_Chunk] | None = None
    grounding_supports: list[_Support] | None = None


class _Source(_Wire):
    uri: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Citations(_Wire):
    citations: list[_Source] | None = None
    citation_sources: list[_Source] | None = None
    """As the Gemini API names them."""


class Cite(msgspec.Struct):
    """A citation whose `start` and `end` are still bytes of the part."""

    part: int
    citation: Citation


_grounding_decoder = msgspec.json.Decoder(_Grounding)
_citations_decoder = msgspec.json.Decoder(_Citations)
_NOWHERE = _Segment()


def read_citations(grounding: msgspec.Raw, citations: msgspec.Raw) -> list[Cite]:
    """What cannot be read is left out: the answer stands without it."""
    found: list[Cite] = []
    try:
        if given(grounding):
            found += _grounded(_grounding_decoder.decode(grounding))
        if given(citations):
            told = _citations_decoder.decode(citations)
            sources = (told.citations or []) + (told.citation_sources or [])
            found += [Cite(0, Citation(s.uri or "", s.title or "", "", None, *_span(s))) for s in sources]
    except (msgspec.DecodeError, UnicodeError):
        return found
    return found


def _span(told: _Segment | _Source) -> tuple[int | None, int | None]:
    """Proto3 leaves a 0 out."""
    end = told.end_index
    if end is None or end < 0:
        return None, None
    return min(max(told.start_index or 0, 0), end), end


def _grounded(told: _Grounding) -> Iterator[Cite]:
    chunks = told.grounding_chunks or []
    used: set[int] = set()
    for support in told.grounding_supports or ():
        segment = support.segment or _NOWHERE
        for index in support.grounding_chunk_indices or ():
            if 0 <= index < len(chunks):
                used.add(index)
                yield Cite(max(segment.part_index or 0, 0), _citation(chunks[index], *_span(segment)))
    for index, chunk in enumerate(chunks):
        if index not in used:
            yield Cite(0, _citation(chunk, None, None))


def _citation(chunk: _Chunk, start: int | None, end: int | None) -> Citation:
    origin = chunk.web or chunk.retrieved_context or chunk.maps or _Origin()
    return Citation(origin.uri or "", origin.title or "", origin.text or "", None, start, end)


def _ends(found: Iterable[Citation]) -> list[int]:
    return sorted({at for each in found if each.end is not None for at in (each.start or 0, each.end)})


def count_chars(found: Sequence[Citation], text: str, before: int = 0) -> None:
    """Makes characters of `text` of the bytes of citations, which are counted from `before` the text. One pass, whatever their number."""
    data = text.encode()
    chars: dict[int, int] = {}
    at = count = 0
    for told in _ends(found):
        end = min(max(told - before, 0), len(data))
        while end > at and end < len(data) and data[end] & 0xC0 == 0x80:  # amid a character
            end -= 1
        count += len(data[at:end].decode())
        at = end
        chars[told] = count
    for each in found:
        if each.end is not None:
            each.start, each.end = chars[each.start or 0], chars[each.end]


class Cited(msgspec.Struct):
    """A citation as it is to be written: where its text stands."""

    part: int
    citation: Citation
    start_bytes: int | None = None
    end_bytes: int | None = None


def cited(part: int, found: Sequence[Citation], text: str, before: int = 0) -> list[Cited]:
    """Citations of `text`, which stands `before` bytes into its part. One pass."""
    sizes: dict[int, int] = {}
    at, size = 0, before
    for told in _ends(found):
        size += len(text[at:told].encode())
        at = told
        sizes[told] = size
    return [
        Cited(part, each) if each.end is None else Cited(part, each, sizes[each.start or 0], sizes[each.end])
        for each in found
    ]


def write_grounding(found: Sequence[Cited]) -> dict[str, Any]:
    """`groundingMetadata`: each source once, in the order in which they were named."""
    sources: dict[tuple[str, str, str], int] = {}
    chunks: list[dict[str, Any]] = []
    supports: list[dict[str, Any]] = []
    for each in found:
        citation = each.citation
        key = citation.url, citation.title, citation.quote
        index = sources.get(key)
        if index is None:
            index = sources[key] = len(chunks)
            chunks.append(_chunk(citation))
        if each.end_bytes is not None:
            segment = {"partIndex": each.part, "startIndex": each.start_bytes, "endIndex": each.end_bytes}
            supports.append({"segment": segment, "groundingChunkIndices": [index]})
    return {"groundingChunks": chunks, "groundingSupports": supports} if supports else {"groundingChunks": chunks}


def _chunk(citation: Citation) -> dict[str, Any]:
    origin = {"uri": citation.url, "title": citation.title}
    if citation.quote or not citation.url:
        origin["text"] = citation.quote
        return {"retrievedContext": {name: text for name, text in origin.items() if text}}
    return {"web": {name: text for name, text in origin.items() if text}}
