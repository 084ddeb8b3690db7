"""Parts are blocks: how one is read, in a request as in an answer."""

from __future__ import annotations

import msgspec

from gateway.base.messages import Block, Opaque, Text, Thinking, ToolCall
from gateway.codec.raw import given

from ._media import read_media
from ._signature import taken, thinking
from ._wire import Part

_any_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SMALL = frozenset({"thought", "thoughtSignature", "partMetadata", "mediaResolution"})
"""Beside the data of a part, never the data itself."""


def text_of(raw: msgspec.Raw) -> str:
    """Arguments of a call; none where it has none."""
    return bytes(raw).decode() if given(raw) else "{}"


def read_part(part: Part, call_id: str) -> list[Block]:
    """The blocks that a part is, but for a result of a function. [] where it holds nothing that is known.

    A signature of a thought stands in its own block behind the text or the image that it came with, just as Gemini itself sends
    one in a part with an empty text at the end of a stream.

    Args:
        call_id: of a call that says none.
    """
    text, signature = part.text, part.thought_signature or ""
    call = part.function_call
    if call is not None:
        found = ToolCall(call.id or call_id, call.name or "", text_of(call.args))
        if signature:
            found.signature, _ = taken(signature)
        return [found]
    if text is not None:
        if part.thought:
            return [thinking(text, signature)]
        if not signature:
            return [Text(text)]
        return [Text(text), thinking("", signature)] if text else [thinking("", signature)]
    media = read_media(part) if not part.thought else None
    if media is not None:
        return [media, thinking("", signature)] if signature else [media]
    if (opaque := _read_opaque(part)) is not None:
        return [opaque]
    if part.audio_transcription is not None and part.audio_transcription.text:
        return [Text(part.audio_transcription.text)]
    return [thinking("", signature)] if signature else []


def _read_opaque(part: Part) -> Opaque | None:
    if given(part.other):
        return read_unknown(part.other)
    for kind, raw in (
        ("executableCode", part.executable_code),
        ("codeExecutionResult", part.code_execution_result),
        ("toolCall", part.tool_call),
        ("toolResponse", part.tool_response),
    ):
        if given(raw):
            return Opaque("gemini", kind, msgspec.Raw(msgspec.json.encode(part)))
    if part.thought and (part.inline_data is not None or part.file_data is not None):  # a sketch of an image model
        return Opaque("gemini", "thought", msgspec.Raw(msgspec.json.encode(part)))
    return None


def read_unknown(raw: msgspec.Raw) -> Opaque | None:
    """A whole part of a kind that nobody knows yet; None for one that holds nothing."""
    try:
        found = _any_decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    kind = next((key for key, value in found.items() if key not in _SMALL and given(value)), "")
    return Opaque("gemini", kind, raw) if kind else None


def join(blocks: list[Block], block: Block, seam: bool = False) -> None:
    """Appends a block; the pieces of one thought, which a signature closes, become one.

    Args:
        seam: the block begins another piece of a streamed turn, so that a text goes on.
    """
    last = blocks[-1] if blocks else None
    if isinstance(block, Thinking) and isinstance(last, Thinking) and last.signature is None:
        last.text += block.text
        last.signature, last.redacted, last.summary = block.signature, block.redacted, last.summary or block.summary
    elif seam and isinstance(block, Text) and isinstance(last, Text):
        last.text += block.text
    else:
        blocks.append(block)
