"""Turns of a conversation as messages of a request; what has no place in them is told by its place in the canonical form."""

from __future__ import annotations

import hashlib
from typing import Any

from gateway.base.messages import (
    Audio,
    Block,
    Document,
    Image,
    Inline,
    Lost,
    Message,
    Opaque,
    Refusal,
    Request,
    StoredFile,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from gateway.codec.dialects.openai_chat._media import audio_format, data_url, image_url
from gateway.codec.dialects.openai_chat._thoughts import OWN, is_signed, write_block, write_detail

MAX_CALL_ID_CHARS = 40
"""OpenAI refuses a longer `tool_calls[].id`."""

_FOLLOWS = "The result is in the next message of the user."
"""Of a tool whose result holds no text."""
_FAILED = "The call has failed."
"""Of a tool that has failed without a word: this dialect has no other sign of it."""


def write_messages(request: Request, lost: Lost) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    if request.system:
        messages.append({"role": "system", "content": _texts(request.system, "system", lost)})
    for i, message in enumerate(request.messages):
        path = f"messages[{i}].blocks"
        if message.role == "user":
            _write_user(messages, message, path, lost)
        elif message.role == "assistant":
            _write_assistant(messages, message, path, lost)
        else:
            messages.append(_named({"role": "system", "content": _texts(message.blocks, path, lost)}, message))
    return messages


def call_id_of(call_id: str) -> str:
    """An id that OpenAI takes: one that is too long becomes its digest, in the call and in its result."""
    if len(call_id) <= MAX_CALL_ID_CHARS:
        return call_id
    return "call_" + hashlib.blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _named(written: dict[str, Any], message: Message) -> dict[str, Any]:
    if message.name:
        written["name"] = message.name
    return written


def _note_mark(block: Any, path: str, lost: Lost) -> None:
    if block.cache is not None:
        lost.hint(f"{path}.cache")


def _content(parts: list[Any]) -> str | list[Any]:
    """A text by itself is written as one."""
    if len(parts) == 1 and isinstance(parts[0], dict) and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


def _text(block: Text, path: str, lost: Lost) -> dict[str, Any]:
    if block.cache is not None:
        lost.hint(f"{path}.cache")
    if block.citations:
        lost.hint(f"{path}.citations")
    return {"type": "text", "text": block.text}


def _texts(blocks: list[Block], path: str, lost: Lost) -> str | list[Any]:
    """Of instructions, which hold nothing else."""
    parts: list[Any] = []
    for j, block in enumerate(blocks):
        here = f"{path}[{j}]"
        if isinstance(block, Text):
            parts.append(_text(block, here, lost))
        elif isinstance(block, Document) and block.text is not None:
            parts.append(_plain_document(block, block.text, here, lost))
        elif isinstance(block, Opaque) and block.dialect == OWN:
            parts.append(block.value)
        else:
            lost.field(here)
    return _content(parts)


# -- of the user


def _write_user(messages: list[dict[str, Any]], message: Message, path: str, lost: Lost) -> None:
    """Results of tools must follow their calls at once: they come first, and what they cannot hold after all of them."""
    parts: list[Any] = []
    followers: list[Any] = []
    results = False
    for j, block in enumerate(message.blocks):
        here = f"{path}[{j}]"
        if isinstance(block, ToolResult):
            results = True
            messages.append(_result(block, here, followers, lost))
        elif (part := _part(block, here, lost)) is not None:
            parts.append(part)
    parts = followers + parts
    if parts or not results:
        messages.append(_named({"role": "user", "content": _content(parts) if parts else ""}, message))


def _part(block: Block, path: str, lost: Lost) -> Any:
    """A part of a user's message; None where it is lost, which is told."""
    if isinstance(block, Text):
        return _text(block, path, lost)
    part: Any = None
    if isinstance(block, Image):
        _note_mark(block, path, lost)
        part = _image(block)
    elif isinstance(block, Document):
        _note_mark(block, path, lost)
        part = _document(block, path, lost)
    elif isinstance(block, Audio):
        _note_mark(block, path, lost)
        part = _audio(block)
    elif isinstance(block, Video):
        _note_mark(block, path, lost)
        part = _video(block)
    elif isinstance(block, Opaque) and block.dialect == OWN:
        part = block.value
    if part is None:
        lost.field(path)
    return part


def _image(block: Image) -> Any:
    if isinstance(block.source, StoredFile):
        return None
    image = {"url": image_url(block.source)}
    if block.detail:
        image["detail"] = block.detail
    return {"type": "image_url", "image_url": image}


def _audio(block: Audio) -> Any:
    source = block.source
    if isinstance(source, Inline):
        return {"type": "input_audio", "input_audio": {"data": source.data, "format": audio_format(source.media_type)}}
    return None if isinstance(source, StoredFile) else {"type": "audio_url", "audio_url": {"url": source.url}}


def _video(block: Video) -> Any:
    """OpenAI has none; vLLM and others of this shape have it so."""
    source = block.source
    if isinstance(source, StoredFile):
        return None
    url = data_url(source, "video/mp4") if isinstance(source, Inline) else source.url
    return {"type": "video_url", "video_url": {"url": url}}


def _document(block: Document, path: str, lost: Lost) -> Any:
    if block.text is not None:
        return _plain_document(block, block.text, path, lost)
    if block.citations:
        lost.field(f"{path}.citations")
    if block.context:
        lost.field(f"{path}.context")
    source = block.source
    if isinstance(source, StoredFile):
        file = {"file_id": source.id}
    elif isinstance(source, Inline):
        file = {"file_data": data_url(source, "application/pdf")}
    else:
        return None
    title = block.title or ("document.pdf" if "file_data" in file else "")
    if title:
        file["filename"] = title
    return {"type": "file", "file": file}


def _plain_document(block: Document, text: str, path: str, lost: Lost) -> dict[str, Any]:
    """A text, under its title and what was said of it."""
    if block.citations:
        lost.field(f"{path}.citations")
    return {"type": "text", "text": "\n\n".join([said for said in (block.title, block.context, text) if said])}


def _result(result: ToolResult, path: str, followers: list[Any], lost: Lost) -> dict[str, Any]:
    _note_mark(result, path, lost)
    if result.is_error:
        lost.hint(f"{path}.is_error")
    texts: list[Any] = []
    others: list[Any] = []
    for k, block in enumerate(result.content):
        here = f"{path}.content[{k}]"
        part = _part(block, here, lost)
        if isinstance(part, dict) and part["type"] != "text":
            lost.hint(here)
            others.append(part)
        elif part is not None:
            texts.append(part)
    call_id = call_id_of(result.call_id)
    if others:
        followers.append({"type": "text", "text": f"Result of the tool call {call_id}:"})
        followers += others
        texts = texts or [{"type": "text", "text": _FOLLOWS}]
    nothing = _FAILED if result.is_error else ""
    message = {"role": "tool", "tool_call_id": call_id, "content": _content(texts) if texts else nothing}
    if result.name:
        message["name"] = result.name
    return message


# -- of the assistant


def _write_assistant(messages: list[dict[str, Any]], message: Message, path: str, lost: Lost) -> None:
    written: dict[str, Any] = {"role": "assistant", "content": None}
    parts: list[Any] = []
    thoughts: list[Thinking] = []
    calls: list[Any] = []
    for j, block in enumerate(message.blocks):
        here = f"{path}[{j}]"
        if isinstance(block, Text):
            if calls:
                lost.hint(here)  # its place
            parts.append(_text(block, here, lost))
        elif isinstance(block, ToolCall):
            calls.append(_call(block, here, lost))
        elif isinstance(block, Thinking):
            if _is_sendable(block):
                thoughts.append(block)
            else:
                lost.hint(here)
        elif isinstance(block, Refusal):
            parts.append({"type": "refusal", "refusal": block.text})
        elif isinstance(block, Audio) and isinstance(block.source, StoredFile):
            written["audio"] = {"id": block.source.id}
        elif isinstance(block, Audio) and block.transcript:
            lost.hint(here)
            parts.append({"type": "text", "text": block.transcript})
        elif isinstance(block, Opaque) and block.dialect == OWN:
            parts.append(block.value)
        else:
            lost.field(here)
    if thoughts:
        _write_thoughts(written, thoughts)
    if len(parts) == 1 and isinstance(parts[0], dict) and parts[0]["type"] == "refusal":
        written["refusal"] = parts[0]["refusal"]
    elif parts:
        written["content"] = _content(parts)
    elif not calls and "audio" not in written:
        written["content"] = ""
    if calls:
        written["tool_calls"] = calls
    messages.append(_named(written, message))


def _is_sendable(thought: Thinking) -> bool:
    """What another dialect's provider has signed is only for it; a text that nobody has signed is for anyone."""
    if thought.signature is None or not thought.signature.value:
        return not thought.redacted and bool(thought.text)
    return thought.signature.dialect == OWN


def _write_thoughts(written: dict[str, Any], thoughts: list[Thinking]) -> None:
    """In the way in which the provider told them, and as a text for those who know no more."""
    details = [write_detail(thought) for thought in thoughts]
    signed = any(map(is_signed, thoughts))
    if signed and all(detail is not None for detail in details):
        written["reasoning_details"] = details
        return
    text = "".join([thought.text for thought in thoughts])
    if text:
        written["reasoning_content"] = text
    if signed:
        written["thinking_blocks"] = [write_block(thought) for thought in thoughts]


def _call(call: ToolCall, path: str, lost: Lost) -> dict[str, Any]:
    _note_mark(call, path, lost)
    call_id = call_id_of(call.id)
    written: dict[str, Any]
    if call.custom:
        written = {"id": call_id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    else:
        function = {"name": call.name, "arguments": call.arguments or "{}"}
        written = {"id": call_id, "type": "function", "function": function}
    if call.signature is not None:
        if call.signature.dialect == OWN:
            written["extra_content"] = {"google": {"thought_signature": call.signature.value}}
        else:
            lost.hint(f"{path}.signature")
    return written
