"""A stream for a caller of Google's dialect, written.

- Texts and thoughts leave piece by piece; a call leaves whole when it has ended, as Google's clients expect unless they ask for more.
- The finish reason is held back until the answer is whole, and leaves with what was used, in the last event: the dialect has no other
  terminal, so a stream that was cut shows none.
- Google's clients take any line that is not data for JSON, comments among them, so that a ping is an event with an empty text. They know
  an error by `error` being the first key.
"""

from __future__ import annotations

from typing import Any

import msgspec

from _fastpath.usage import Usage
from gateway.base import errors
from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Audio,
    Began,
    Block,
    BlockBegan,
    BlockEnded,
    Citation,
    Cited,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Inline,
    Refusal,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)

from ._answer import time_of
from ._citations import MAX_CITATIONS, MAX_CITED_CHARS, cited, write_grounding
from ._citations import Cited as CitedBytes
from ._errors import write_error
from ._finish import write_finish
from ._media import AUDIO
from ._usage import write_usage
from ._write_parts import write_block, write_call, write_thinking

MAX_KEPT_BYTES = 32 << 20
"""Of the arguments of open calls: characters, which are bytes but for what is not ASCII."""

_encode = msgspec.json.Encoder().encode


class _Open:
    """A block that is open."""

    __slots__ = ("before", "block", "cited", "pieces", "signature", "size")

    def __init__(self, block: Block, before: int) -> None:
        self.block = block
        self.signature: Signature | None = None
        self.pieces: list[str] = []
        """Of arguments, or of a text that may be cited."""
        self.before = before
        """Bytes of the texts before it."""
        self.size = 0
        """Characters of `pieces` and of what was not kept of a text."""
        self.cited: list[Citation] = []


class _Choice:
    __slots__ = ("begun", "cited", "finish", "head", "open", "text_bytes")

    def __init__(self, index: int) -> None:
        self.open: dict[int, _Open] = {}
        self.begun: set[int] = set()
        self.finish: Finished | None = None
        self.cited: list[CitedBytes] = []
        self.text_bytes = 0
        self.head = b'],"role":"model"},"index":%d}]' % index
        """What follows the parts of an event."""


class StreamWriter:
    """Writes one stream."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._tail = b"}\n\n"
        """What follows the candidates of an event."""
        self._usage: Usage | None = None
        self._kept = 0
        self._over = False

    def write(self, event: Event) -> bytes:
        """Raises AnswerError."""
        if self._over:
            return b""
        kind = type(event)
        if kind is Delta:
            return self._delta(event)  # type: ignore[arg-type]
        match event:
            case Began():
                self._begin(event)
            case BlockBegan():
                return self._begin_block(event)
            case Signed():
                self._sign(event)
            case Cited():
                self._cite(event)
            case BlockEnded():
                choice = self._choice(event.choice)
                if event.index not in choice.begun:
                    raise AnswerError("the end of a block that never began")
                return self._end_block(choice, event.index)
            case Finished():
                return self._finish(event)
            case Used():
                self._usage = event.usage
            case Ended():
                return self._end()
            case Failed():
                self._over = True
                return b"data: " + write_error(errors.PROVIDER_ERROR, event.message, code=event.code or None) + b"\n\n"
        return b""

    def ping(self) -> bytes:
        return self._event(_Choice(0), b'{"text":""}')

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index)
        return choice

    def _block(self, choice: _Choice, index: int) -> _Open:
        found = choice.open.get(index)
        if found is None:
            raise AnswerError("more of a block that is not open")
        return found

    def _event(self, choice: _Choice, parts: bytes) -> bytes:
        return b'data: {"candidates":[{"content":{"parts":[' + parts + choice.head + self._tail

    def _begin(self, event: Began) -> None:
        self._usage = event.usage
        known: dict[str, Any] = {}
        if event.model:
            known["modelVersion"] = event.model
        if event.created_s and (time := time_of(event.created_s)):
            known["createTime"] = time
        if event.id:
            known["responseId"] = event.id
        if known:
            self._tail = b"," + _encode(known)[1:] + b"\n\n"

    def _begin_block(self, event: BlockBegan) -> bytes:
        choice = self._choice(event.choice)
        if choice.finish is not None:
            raise AnswerError("a block behind the end of its choice")
        if event.index in choice.begun:
            raise AnswerError("two blocks with one index")
        choice.begun.add(event.index)
        block = event.block
        found = choice.open[event.index] = _Open(block, choice.text_bytes)
        match block:
            case ToolCall():
                found.signature = block.signature
                if block.arguments:
                    self._keep(found, block.arguments)
                return b""
            case Thinking():
                found.signature = block.signature
                return self._event(choice, _encode({"text": block.text, "thought": True})) if block.text else b""
            case Text() | Refusal():
                return self._text(choice, found, block.text) if block.text else b""
            case Audio(source=Inline(data="")) if not block.transcript:
                return b""
        part = write_block(block)
        return self._event(choice, _encode(part)) if part is not None else b""

    def _delta(self, event: Delta) -> bytes:
        choice = self._choices.get(event.choice)
        found = choice.open.get(event.index) if choice is not None else None
        if choice is None or found is None:
            raise AnswerError("more of a block that is not open")
        match event.kind:
            case "text" | "refusal":
                return self._text(choice, found, event.text)
            case "arguments":
                self._keep(found, event.text)
                return b""
            case "thinking":
                return self._event(choice, b'{"text":' + _encode(event.text) + b',"thought":true}')
            case "audio":
                source = found.block.source if isinstance(found.block, Audio) else None
                media_type = (source.media_type if source is not None else "") or AUDIO
                return self._event(choice, _encode({"inlineData": {"mimeType": media_type, "data": event.text}}))
            case _:
                return self._event(choice, _encode({"audioTranscription": {"text": event.text}}))

    def _text(self, choice: _Choice, found: _Open, text: str) -> bytes:
        encoded = _encode(text)
        if found.size <= MAX_CITED_CHARS:
            found.pieces.append(text)
        found.size += len(text)
        choice.text_bytes += len(text) if text.isascii() else len(text.encode())
        return self._event(choice, b'{"text":' + encoded + b"}")

    def _keep(self, found: _Open, text: str) -> None:
        self._kept += len(text)
        if self._kept > MAX_KEPT_BYTES:
            raise AnswerError("more in open blocks than may be kept")
        found.pieces.append(text)
        found.size += len(text)

    def _sign(self, event: Signed) -> None:
        found = self._block(self._choice(event.choice), event.index)
        found.signature = event.signature

    def _cite(self, event: Cited) -> None:
        found = self._block(self._choice(event.choice), event.index)
        if len(found.cited) < MAX_CITATIONS:
            found.cited.append(event.citation)

    def _end_block(self, choice: _Choice, index: int) -> bytes:
        found = choice.open.pop(index, None)
        if found is None:
            return b""
        block = found.block
        if isinstance(block, ToolCall):
            self._kept -= found.size
            return self._event(choice, _encode(write_call(block, "".join(found.pieces), found.signature)))
        if found.cited:
            choice.cited += _cited(found)
        if found.signature is not None:
            redacted = isinstance(block, Thinking) and block.redacted
            return self._event(choice, _encode(write_thinking("", found.signature, redacted)))
        return b""

    def _finish(self, event: Finished) -> bytes:
        choice = self._choice(event.choice)
        if choice.finish is not None:
            raise AnswerError("a choice that ends twice")
        written = b"".join([self._end_block(choice, index) for index in sorted(choice.open)])
        choice.finish = event
        return written

    def _end(self) -> bytes:
        if not self._choices or any(choice.finish is None for choice in self._choices.values()):
            raise AnswerError("an end without a finish reason")
        self._over = True
        body: dict[str, Any] = {"candidates": [_last(index, choice) for index, choice in sorted(self._choices.items())]}
        if usage := write_usage(self._usage):
            body["usageMetadata"] = usage
        return b"data: " + _encode(body)[:-1] + self._tail


def _cited(found: _Open) -> list[CitedBytes]:
    if found.size > MAX_CITED_CHARS:
        return [CitedBytes(0, citation) for citation in found.cited]
    return cited(0, found.cited, "".join(found.pieces), found.before)


def _last(index: int, choice: _Choice) -> dict[str, Any]:
    assert choice.finish is not None
    candidate: dict[str, Any] = {
        "content": {"parts": [{"text": ""}], "role": "model"},
        "finishReason": write_finish(choice.finish.finish),
        "index": index,
    }
    if choice.cited:
        candidate["groundingMetadata"] = write_grounding(choice.cited)
    return candidate
