"""Parts of a message, and what an assistant says in all, as canonical blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gateway.base.messages import (
    Audio,
    Block,
    CacheMark,
    Citation,
    Document,
    Image,
    Inline,
    Opaque,
    Refusal,
    Signature,
    StoredFile,
    Text,
    Thinking,
    ToolCall,
    Video,
)
from gateway.codec import signatures
from gateway.codec.dialects.openai_chat import _wire as wire
from gateway.codec.dialects.openai_chat._media import audio_type, is_data_url, source_of
from gateway.codec.dialects.openai_chat._thoughts import OWN, read_thoughts

RawPart = Callable[[int], msgspec.Raw]
"""The bytes of a part, by its place in `content`: of those that only this dialect knows."""

_annotation_decoder = msgspec.json.Decoder(wire.Annotation)


class PartError(ValueError):
    """A part lacks what its type promises; the message names the field, the path of which begins at the part."""


def read_mark(part: wire.Part | wire.Call | wire.ThinkingBlock) -> CacheMark | None:
    mark = part.cache_control
    if mark is None and isinstance(part, wire.Part):
        mark = part.prompt_cache_breakpoint
    return CacheMark(mark.ttl or "") if mark is not None else None


def read_parts(parts: Sequence[wire.Part], raw: RawPart) -> list[Block]:
    """Of a message's `content`; raises PartError, beginning with that field."""
    blocks: list[Block] = []
    for i, part in enumerate(parts):
        if part.type == "text" and part.text is not None:
            mark = part.cache_control or part.prompt_cache_breakpoint
            blocks.append(Text(part.text) if mark is None else Text(part.text, CacheMark(mark.ttl or "")))
            continue
        try:
            block = _read_part(part)
        except PartError as error:
            raise PartError(f"content[{i}].{error}") from None
        blocks.append(block if block is not None else Opaque(OWN, part.type, raw(i), read_mark(part)))
    return blocks


def _read_part(part: wire.Part) -> Block | None:
    """None for a part of a type that nobody else knows."""
    match part.type:
        case "text":
            raise PartError("text")
        case "image_url":
            url, detail, media_type = _address(part.image_url, "image_url")
            return Image(source_of(url, media_type), detail, read_mark(part))
        case "input_audio":
            if part.input_audio is None:
                raise PartError("input_audio")
            source = Inline(audio_type(part.input_audio.format), part.input_audio.data)
            return Audio(source, cache=read_mark(part))
        case "audio_url":
            url, _, media_type = _address(part.audio_url, "audio_url")
            return Audio(source_of(url, media_type), cache=read_mark(part))
        case "video_url":
            url, _, media_type = _address(part.video_url, "video_url")
            return Video(source_of(url, media_type), read_mark(part))
        case "file":
            return _file(part)
        case "refusal":
            if part.refusal is None:
                raise PartError("refusal")
            return Refusal(part.refusal)
        case "thinking":
            return _thinking(part)
        case "redacted_thinking":
            return Thinking(signature=signatures.taken(part.data or "", OWN), redacted=True)
    return None


def _address(found: wire.ImageURL | str | None, field: str) -> tuple[str, str, str]:
    """(URL, detail, media type)."""
    if found is None:
        raise PartError(field)
    url = found if isinstance(found, str) else found.url
    if not is_data_url(url):
        raise PartError(f"{field}.url")
    return (url, "", "") if isinstance(found, str) else (url, found.detail or "", found.format or "")


def _file(part: wire.Part) -> Document:
    file = part.file
    if file is None:
        raise PartError("file")
    title, mark = file.filename or "", read_mark(part)
    if file.file_id is not None:
        return Document(StoredFile(file.file_id, file.format or ""), title=title, cache=mark)
    data = file.file_data
    if data is None or not is_data_url(data):
        raise PartError("file.file_data")
    if data.startswith(("data:", "http://", "https://", "gs://")):
        return Document(source_of(data, file.format or ""), title=title, cache=mark)
    return Document(Inline(file.format or "", data), title=title, cache=mark)


def _thinking(part: wire.Part) -> Thinking:
    thought = part.thinking
    if thought is None:
        raise PartError("thinking")
    text = thought if isinstance(thought, str) else "".join([inner.text or "" for inner in thought])
    return Thinking(text, signatures.taken(part.signature, OWN) if part.signature else None)


# -- what an assistant says


def read_spoken(spoken: wire.Spoken, at: int, raw: RawPart) -> list[Block]:
    """Its blocks, in the order in which they came about.

    Args:
        at: of the message or the choice, for the ids of calls that have none.

    Raises:
        PartError: beginning with the field that is meant.
    """
    content = spoken.content
    blocks: list[Block] = []
    if spoken.reasoning_content or spoken.thinking_blocks or spoken.reasoning_details or spoken.reasoning:
        blocks += read_thoughts(spoken)
    if isinstance(content, str):
        if content:
            blocks.append(Text(content))
    elif content is not None:
        blocks += read_parts(content, raw)
    if spoken.refusal:
        blocks.append(Refusal(spoken.refusal))
    if spoken.annotations:
        _cite(blocks, spoken.annotations)
    if spoken.audio is not None:
        blocks += read_audio(spoken.audio)
    if spoken.images:
        blocks += read_images(spoken.images)
    if spoken.tool_calls:
        for i, call in enumerate(spoken.tool_calls):
            blocks.append(read_call(call, at, i))
    if spoken.function_call is not None:
        blocks.append(read_call(wire.Call(function=spoken.function_call), at, len(spoken.tool_calls or ())))
    return blocks


def read_images(parts: Sequence[wire.Part]) -> list[Image]:
    """Raises PartError, beginning with the field."""
    try:
        return [block for part in parts if isinstance(block := _read_part(part), Image)]
    except PartError as error:
        raise PartError(f"images[].{error}") from None


def read_audio(audio: wire.AudioOut) -> list[Block]:
    if audio.data:
        return [Audio(Inline("", audio.data), audio.transcript or "")]
    return [Audio(StoredFile(audio.id), audio.transcript or "")] if audio.id else []


def read_call(call: wire.Call, at: int, i: int) -> ToolCall:
    """Raises PartError, beginning with the field."""
    call_id = call.id or f"call_{at}_{i}"
    if call.custom is not None and call.custom.name:
        made = ToolCall(call_id, call.custom.name, call.custom.input or "", custom=True)
    elif call.function is not None and call.function.name:
        made = ToolCall(call_id, call.function.name, arguments_of(call.function) or "{}")
    else:
        raise PartError(f"tool_calls[{i}].{call.type or 'function'}.name")
    if call.extra_content is not None:
        made.signature = read_call_signature(call.extra_content)
    if call.cache_control is not None:
        made.cache = read_mark(call)
    return made


def read_call_signature(extra: wire.ExtraContent) -> Signature | None:
    value = extra.google.thought_signature if extra.google is not None else None
    return signatures.taken(value, OWN) if value else None


def arguments_of(function: wire.Function) -> str:
    """As text; "" where there are none."""
    arguments = function.arguments
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""


def _cite(blocks: list[Block], annotations: list[msgspec.Raw]) -> None:
    """Citations belong to the text; there is one, or they are of its first part."""
    text = next((block for block in blocks if isinstance(block, Text)), None)
    if text is not None:
        text.citations = [read_annotation(raw) for raw in annotations]


def read_annotation(raw: msgspec.Raw) -> Citation:
    """Sources: OpenAI's `url_citation`; other kinds are kept as they came."""
    try:
        found = _annotation_decoder.decode(raw).url_citation
    except msgspec.DecodeError:
        found = None
    if found is None:
        return Citation(raw=raw.copy(), dialect=OWN)
    return Citation(found.url, found.title or "", start=found.start_index, end=found.end_index)
