"""Reads a provider's stream.

    message_start (content_block_start content_block_delta* content_block_stop)* message_delta message_stop

with `ping` anywhere, `error` in place of the rest, and events and deltas of types to come. An index names a block for the whole of a
stream. What a block that only this dialect knows is streamed in (the input of a search that the provider runs, the text of a compaction)
is gathered: it is told when it is whole.

Source: Anthropic's page "Streaming messages", and `anthropic/lib/streaming` of its official Python client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Began,
    BlockBegan,
    BlockEnded,
    Cited,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Noted,
    Opaque,
    Refusal,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec import signatures
from gateway.codec.dialects.anthropic import _answer as wire
from gateway.codec.dialects.anthropic import _errors
from gateway.codec.dialects.anthropic._finish import finish_of
from gateway.codec.dialects.anthropic._parts import INVALID, arguments_of, citation_of, encode, is_object
from gateway.codec.dialects.anthropic._usage import Told, told_of, updated, usage_of
from gateway.codec.raw import ABSENT

MAX_KEPT_BYTES = 33_554_432
"""Of blocks that are gathered until they are whole."""

MAX_OPEN_BLOCKS = 1_024
"""At a time."""


class _TextDelta(msgspec.Struct, tag="text_delta"):
    text: str


class _InputDelta(msgspec.Struct, tag="input_json_delta"):
    partial_json: str


class _ThinkingDelta(msgspec.Struct, tag="thinking_delta"):
    thinking: str


class _SignatureDelta(msgspec.Struct, tag="signature_delta"):
    signature: str


class _CitationsDelta(msgspec.Struct, tag="citations_delta"):
    citation: msgspec.Raw


class _CompactionDelta(msgspec.Struct, tag="compaction_delta"):
    content: str | None = None
    encrypted_content: str | None = None


_AnyDelta: TypeAlias = _TextDelta | _InputDelta | _ThinkingDelta | _SignatureDelta | _CitationsDelta | _CompactionDelta


class _BlockDelta(msgspec.Struct, tag="content_block_delta"):
    index: int
    delta: _AnyDelta


class _BlockStart(msgspec.Struct, tag="content_block_start"):
    index: int
    content_block: msgspec.Raw


class _BlockStop(msgspec.Struct, tag="content_block_stop"):
    index: int


class _Head(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: msgspec.Raw = ABSENT


class _MessageStart(msgspec.Struct, tag="message_start"):
    message: _Head


class _Last(msgspec.Struct):
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: wire.StopDetails | None = None


class _MessageDelta(msgspec.Struct, tag="message_delta"):
    delta: _Last
    usage: msgspec.Raw = ABSENT


class _MessageStop(msgspec.Struct, tag="message_stop"):
    pass


class _Ping(msgspec.Struct, tag="ping"):
    pass


class _Error(msgspec.Struct, tag="error"):
    error: msgspec.Raw = ABSENT


_decode = msgspec.json.Decoder(
    _BlockDelta | _BlockStart | _BlockStop | _MessageStart | _MessageDelta | _MessageStop | _Ping | _Error
).decode


class _KnownDelta(msgspec.Struct):
    delta: wire.Kind


_known_delta = msgspec.json.Decoder(_KnownDelta)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

_EVENTS = frozenset(
    (
        "content_block_delta",
        "content_block_start",
        "content_block_stop",
        "message_start",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    )
)
_DELTAS = frozenset(
    (
        "text_delta",
        "input_json_delta",
        "thinking_delta",
        "signature_delta",
        "citations_delta",
        "compaction_delta",
    )
)


class _Open:
    """A block that has begun: what may come to it."""

    __slots__ = ("index", "kind", "parts", "raw", "streamed")

    def __init__(self, index: int, kind: str, raw: msgspec.Raw) -> None:
        self.index = index
        self.kind = kind
        self.raw = raw
        """As it began."""
        self.parts: bytearray | None = None
        """Of an opaque block's input."""
        self.streamed = False


class Reader:
    """One stream; see `gateway.codec.dialect.StreamReader`."""

    __slots__ = ("_began", "_done", "_finished", "_kept_bytes", "_last_index", "_made", "_open", "_told")

    def __init__(self) -> None:
        self._began = False
        self._finished = False
        self._done = False
        self._open: dict[int, _Open] = {}
        self._last_index = -1
        """The provider's own; blocks begin in its order."""
        self._made = 0
        """Blocks so far: ours are counted without gaps."""
        self._told: Told | None = None
        self._kept_bytes = 0

    def read(self, name: bytes, data: bytes) -> Sequence[Event]:
        if self._done:
            return ()
        try:
            event = _decode(data)
            if type(event) is _BlockDelta:
                return self._delta(event)
            return _READ[type(event)](self, event)
        except msgspec.ValidationError as error:
            return (Noted(_unknown(data, error)),)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AnswerError(f"An event of the stream is not JSON: {error}") from error

    def end(self) -> Sequence[Event]:
        """The dialect has a terminal of its own: a transport that ends before it has cut the stream."""
        return ()

    # -- the message

    def _start(self, event: _MessageStart) -> Sequence[Event]:
        if self._began:
            raise AnswerError("A second message_start in one stream")
        self._began = True
        head = event.message
        began = Began(head.id or "", head.model or "")
        if head.usage is not ABSENT:
            self._told = told_of(head.usage)
            if self._told is not None:
                began.usage = usage_of(self._told)
        return (began,)

    def _message_delta(self, event: _MessageDelta) -> Sequence[Event]:
        self._must_have_begun("message_delta")
        events: list[Event] = []
        last = event.delta
        if last.stop_reason is not None and not self._finished:
            for block in list(self._open.values()):
                events += self._ended(block)
            self._open.clear()
            if last.stop_details is not None and last.stop_details.explanation:
                index = self._made
                self._made += 1
                events += (
                    BlockBegan(index, Refusal("")),
                    Delta(index, "refusal", last.stop_details.explanation),
                    BlockEnded(index),
                )
            self._finished = True
            finish = finish_of(last.stop_reason)
            events.append(Finished(finish, last.stop_sequence or "" if finish == "stop_sequence" else ""))
        told = told_of(event.usage) if event.usage is not ABSENT else None
        if told is not None:
            self._told = updated(self._told, told)
            events.append(Used(usage_of(self._told)))
        return events or (Noted("message_delta"),)

    def _message_stop(self, event: _MessageStop) -> Sequence[Event]:
        self._must_have_begun("message_stop")
        if not self._finished:
            raise AnswerError("A message_stop without a stop_reason before it")
        self._done = True
        return (Ended(),)

    def _must_have_begun(self, what: str) -> None:
        if not self._began:
            raise AnswerError(f"A {what} before message_start")

    # -- blocks

    def _block_start(self, event: _BlockStart) -> Sequence[Event]:
        self._must_have_begun("content_block_start")
        if self._finished:
            raise AnswerError("A block begins after the message's stop_reason")
        if event.index <= self._last_index:
            raise AnswerError(f"Block {event.index} begins after block {self._last_index}")
        if len(self._open) >= MAX_OPEN_BLOCKS:
            raise AnswerError(f"More than {MAX_OPEN_BLOCKS} blocks are open at once")
        self._last_index = event.index
        index = self._made
        self._made += 1
        raw = event.content_block
        kind = wire.kind_decoder.decode(raw).type
        block = self._open[event.index] = _Open(index, kind, raw)
        match kind:
            case "text":
                return self._text(index, wire.text_decoder.decode(raw))
            case "tool_use":
                call = wire.tool_use_decoder.decode(raw)
                block.raw = call.input
                return (BlockBegan(index, ToolCall(call.id, call.name, "")),)
            case "thinking":
                return self._thinking(index, wire.thinking_decoder.decode(raw))
            case "redacted_thinking":
                signature = signatures.taken(wire.redacted_decoder.decode(raw).data, "anthropic")
                return (BlockBegan(index, Thinking(signature=signature, redacted=True)),)
            case _:
                self._keep(len(memoryview(raw)))
                block.parts = bytearray()
                return (Noted(kind),)

    def _text(self, index: int, text: wire.TextBlock) -> Sequence[Event]:
        events: list[Event] = [BlockBegan(index, Text(""))]
        if text.text:
            events.append(Delta(index, "text", text.text))
        events += [Cited(index, citation_of(raw)) for raw in text.citations or ()]
        return events

    def _thinking(self, index: int, thought: wire.ThinkingBlock) -> Sequence[Event]:
        events: list[Event] = [BlockBegan(index, Thinking())]
        if thought.thinking:
            events.append(Delta(index, "thinking", thought.thinking))
        signature = wire.signed(thought.signature)
        if signature is not None:
            events.append(Signed(index, signature))
        return events

    def _delta(self, event: _BlockDelta) -> Sequence[Event]:
        block = self._open.get(event.index)
        if block is None:
            raise AnswerError(f"A delta for block {event.index}, which is not open")
        delta = event.delta
        kind = block.kind
        if type(delta) is _TextDelta:
            if kind == "text":
                return (Delta(block.index, "text", delta.text),)
        elif type(delta) is _InputDelta:
            if kind == "tool_use":
                if not delta.partial_json:
                    return ()
                block.streamed = True
                return (Delta(block.index, "arguments", delta.partial_json),)
            if block.parts is not None:
                partial = delta.partial_json.encode()
                self._keep(len(partial))
                block.parts += partial
                return ()
        elif type(delta) is _ThinkingDelta:
            if kind == "thinking":
                return (Delta(block.index, "thinking", delta.thinking),)
        elif type(delta) is _SignatureDelta:
            if kind == "thinking":
                signature = wire.signed(delta.signature)
                return (Signed(block.index, signature),) if signature is not None else ()
        elif type(delta) is _CitationsDelta:
            if kind == "text":
                return (Cited(block.index, citation_of(delta.citation)),)
        elif isinstance(delta, _CompactionDelta) and block.parts is not None:
            self._compact(block, delta)
            return ()
        raise AnswerError(f"A {type(delta).__struct_config__.tag} for a block of type {kind}")

    def _block_stop(self, event: _BlockStop) -> Sequence[Event]:
        block = self._open.pop(event.index, None)
        if block is None:
            raise AnswerError(f"The end of block {event.index}, which is not open")
        return self._ended(block)

    def _ended(self, block: _Open) -> Sequence[Event]:
        if block.parts is not None:
            opaque = Opaque("anthropic", block.kind, _whole(block))
            return (BlockBegan(block.index, opaque), BlockEnded(block.index))
        if block.kind == "tool_use" and not block.streamed:
            return (Delta(block.index, "arguments", arguments_of(block.raw)), BlockEnded(block.index))
        return (BlockEnded(block.index),)

    # -- blocks that are gathered

    def _keep(self, size_bytes: int) -> None:
        self._kept_bytes += size_bytes
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise AnswerError(f"Blocks that are no text, thought or call are longer than {MAX_KEPT_BYTES:,} bytes")

    def _compact(self, block: _Open, delta: _CompactionDelta) -> None:
        """The delta of a compaction holds all of its text."""
        fields = _fields.decode(block.raw)
        for name in ("content", "encrypted_content"):
            text: str | None = getattr(delta, name)
            if text is not None:
                self._keep(len(text))
                fields[name] = msgspec.Raw(encode(text))
        block.raw = msgspec.Raw(encode(fields))

    # -- the rest

    def _ping(self, event: _Ping) -> Sequence[Event]:
        return (Noted("ping"),)

    def _error(self, event: _Error) -> Sequence[Event]:
        self._done = True
        told = _errors.read(bytes(event.error))
        return (Failed(told.message, told.code or ""),)


_READ: dict[type, Callable[..., Sequence[Event]]] = {
    _MessageStart: Reader._start,
    _MessageDelta: Reader._message_delta,
    _MessageStop: Reader._message_stop,
    _BlockStart: Reader._block_start,
    _BlockStop: Reader._block_stop,
    _Ping: Reader._ping,
    _Error: Reader._error,
}


def _whole(block: _Open) -> msgspec.Raw:
    """A gathered block, its input put in."""
    if not block.parts:
        return block.raw
    raw = bytes(block.parts)
    fields = _fields.decode(block.raw)
    fields["input"] = msgspec.Raw(raw if is_object(raw) else encode({INVALID: raw.decode()}))
    return msgspec.Raw(encode(fields))


def _unknown(data: bytes, error: msgspec.ValidationError) -> str:
    """The type of an event or a delta that is none of ours; one of ours with a wrong value breaks the dialect."""
    try:
        kind = wire.kind_decoder.decode(data).type
        if kind not in _EVENTS:
            return kind
        if kind == "content_block_delta":
            kind = _known_delta.decode(data).delta.type
            if kind not in _DELTAS:
                return kind
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # what is behind the fault was not read before
        pass
    raise AnswerError(f"An event of the stream breaks the dialect: {error}") from error
