"""Reads a provider's stream.

    messageStart (contentBlockStart? contentBlockDelta* contentBlockStop)* messageStop metadata

A block of text or thought begins with its first delta: `contentBlockStart` tells of calls, results and images alone. Each event may hold a
field `p` of any length, which hides how long it is. `metadata` tells what was used: with it and `messageStop` the stream is whole. It has
no terminal of its own, but nothing else is ever its end; who takes the one for the whole loses the other (botocore's clients leave it to
their callers).

An exception or an error of the transport comes in place of the rest. What Bedrock's own tools do is noted: no caller speaks this dialect.

Source: AWS's API reference, "ConverseStream", `ConverseStreamOutput`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence

import msgspec

from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Began,
    Block,
    BlockBegan,
    BlockEnded,
    Cited,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Image,
    Inline,
    Noted,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.dialects.bedrock._answer import ImageBlock, citation_of, signed, stop_sequence_of
from gateway.codec.dialects.bedrock._errors import read_failure
from gateway.codec.dialects.bedrock._finish import finish_of
from gateway.codec.dialects.bedrock._media import media_type_of
from gateway.codec.dialects.bedrock._usage import usage_of
from gateway.codec.raw import ABSENT

MAX_KEPT_BYTES = 33_554_432
"""Of blocks that are gathered until they are whole: images, and thoughts that are hidden."""
MAX_OPEN_BLOCKS = 1_024
"""At a time."""


class _ToolUseStart(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str
    type: str | None = None


class _ImageStart(msgspec.Struct):
    format: str


class _Start(msgspec.Struct, rename="camel"):
    tool_use: _ToolUseStart | None = None
    image: _ImageStart | None = None


class _BlockStart(msgspec.Struct, rename="camel"):
    content_block_index: int
    start: _Start


class _Input(msgspec.Struct):
    input: str


class _Reasoning(msgspec.Struct, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _Input | None = None
    reasoning_content: _Reasoning | None = None
    citation: msgspec.Raw = ABSENT
    image: ImageBlock | None = None


class _BlockDelta(msgspec.Struct, rename="camel"):
    content_block_index: int
    delta: _Delta


class _BlockStop(msgspec.Struct, rename="camel"):
    content_block_index: int


class _MessageStop(msgspec.Struct, rename="camel"):
    stop_reason: str
    additional_model_response_fields: msgspec.Raw = ABSENT


class _Metadata(msgspec.Struct):
    usage: msgspec.Raw = ABSENT
    trace: msgspec.Raw = ABSENT


class _Open:
    """A block that has begun."""

    __slots__ = ("data", "index", "kind", "media_type", "streamed")

    def __init__(self, index: int, kind: str, media_type: str = "") -> None:
        self.index = index
        self.kind = kind
        self.media_type = media_type
        self.data = bytearray()
        """Of a block that is gathered."""
        self.streamed = False
        """Arguments of the call have come."""


_NOTED = "noted"


class Reader:
    """One stream; see `gateway.base.dialect.StreamReader`."""

    __slots__ = ("_began", "_finished", "_kept_bytes", "_last_index", "_made", "_open", "_over", "_used")

    def __init__(self) -> None:
        self._began = self._finished = self._used = self._over = False
        self._open: dict[int, _Open] = {}
        self._last_index = -1
        """The provider's own; blocks begin in its order."""
        self._made = 0
        """Blocks so far: ours are counted without gaps."""
        self._kept_bytes = 0

    def read(self, name: bytes, data: bytes) -> Sequence[Event]:
        if self._over:
            return ()
        known = _EVENTS.get(name)
        try:
            if known is not None:
                decode, take = known
                return take(self, decode(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AnswerError(f"A {name.decode()} of the stream breaks the dialect: {error}") from error
        kind, colon, named = name.partition(b":")
        if not colon:
            return (Noted(name.decode("utf-8", "replace")),)
        self._over = True
        return (Failed(*read_failure(kind, named, data)),)

    def end(self) -> Sequence[Event]:
        """A transport that ends before both `messageStop` and `metadata` has cut the stream."""
        return ()

    # -- the message

    def _start(self, event: msgspec.Raw) -> Sequence[Event]:
        if self._began:
            raise AnswerError("A second messageStart in one stream")
        self._began = True
        return (Began("", ""),)

    def _stop(self, event: _MessageStop) -> Sequence[Event]:
        self._must_go_on("messageStop")
        events = [each for block in self._open.values() for each in self._ended(block)]
        self._open.clear()
        self._finished = True
        finish = finish_of(event.stop_reason)
        met = stop_sequence_of(event.additional_model_response_fields) if finish == "stop_sequence" else ""
        return [*events, Finished(finish, met), *self._ending()]

    def _metadata(self, event: _Metadata) -> Sequence[Event]:
        if not self._began:
            raise AnswerError("A metadata before messageStart")
        self._used = True
        events: list[Event] = [Noted("trace")] if event.trace is not ABSENT else []
        usage = usage_of(event.usage) if event.usage is not ABSENT else None
        if usage is not None:
            events.append(Used(usage))
        return [*events, *self._ending()]

    def _ending(self) -> Sequence[Event]:
        self._over = self._finished and self._used
        return (Ended(),) if self._over else ()

    def _must_go_on(self, what: str) -> None:
        if not self._began:
            raise AnswerError(f"A {what} before messageStart")
        if self._finished:
            raise AnswerError(f"A {what} after messageStop")

    # -- blocks

    def _block_start(self, event: _BlockStart) -> Sequence[Event]:
        start = event.start
        if start.tool_use is not None and start.tool_use.type is None:
            call = ToolCall(start.tool_use.tool_use_id, start.tool_use.name, "")
            return (self._begin(event.content_block_index, "toolUse", call),)
        if start.image is not None:
            self._gather(event.content_block_index, "image", media_type_of(start.image.format))
            return ()
        self._gather(event.content_block_index, _NOTED)
        return (Noted("contentBlockStart"),)

    def _begin(self, theirs: int, kind: str, block: Block) -> BlockBegan:
        opened = self._admit(theirs, kind)
        opened.index = self._made
        self._made += 1
        return BlockBegan(opened.index, block)

    def _gather(self, theirs: int, kind: str, media_type: str = "") -> _Open:
        """Begins a block that is told when it is whole."""
        opened = self._admit(theirs, kind)
        opened.media_type = media_type
        return opened

    def _admit(self, theirs: int, kind: str) -> _Open:
        self._must_go_on("block")
        if theirs <= self._last_index:
            raise AnswerError(f"Block {theirs} begins after block {self._last_index}")
        if len(self._open) >= MAX_OPEN_BLOCKS:
            raise AnswerError(f"More than {MAX_OPEN_BLOCKS} blocks are open at once")
        self._last_index = theirs
        opened = self._open[theirs] = _Open(-1, kind)
        return opened

    def _delta(self, event: _BlockDelta) -> Sequence[Event]:
        delta, theirs = event.delta, event.content_block_index
        opened = self._open.get(theirs)
        if opened is not None and opened.kind == _NOTED:
            return ()
        if delta.text is not None:
            index, events = self._spoken(opened, theirs, "text", Text(""))
            return (*events, Delta(index, "text", delta.text))
        if delta.tool_use is not None:
            if opened is None or opened.kind != "toolUse":
                raise AnswerError(f"Arguments for block {theirs}, which is no call")
            if not delta.tool_use.input:
                return ()
            opened.streamed = True
            return (Delta(opened.index, "arguments", delta.tool_use.input),)
        if delta.reasoning_content is not None:
            return self._thought(opened, theirs, delta.reasoning_content)
        if delta.citation is not ABSENT:
            index, events = self._spoken(opened, theirs, "text", Text(""))
            return (*events, Cited(index, citation_of(delta.citation)))
        if delta.image is not None:
            opened = opened or self._gather(theirs, "image", media_type_of(delta.image.format))
            self._keep(opened, "image", delta.image.source.bytes or "")
            return ()
        self._must_go_on("delta")
        return (Noted("contentBlockDelta"),)

    def _spoken(self, opened: _Open | None, theirs: int, kind: str, block: Block) -> tuple[int, Sequence[Event]]:
        """Our index of a block of a kind that begins with its first delta, and that it has begun if it has."""
        if opened is None:
            began = self._begin(theirs, kind, block)
            return began.index, (began,)
        if opened.kind != kind:
            raise AnswerError(f"A delta of a {kind} for block {theirs}, which is a {opened.kind}")
        return opened.index, ()

    def _thought(self, opened: _Open | None, theirs: int, told: _Reasoning) -> Sequence[Event]:
        if told.redacted_content is not None:
            self._keep(opened or self._gather(theirs, "redacted"), "redacted", told.redacted_content)
            return ()
        index, events = self._spoken(opened, theirs, "thought", Thinking())
        out = list(events)
        if told.text:
            out.append(Delta(index, "thinking", told.text))
        signature = signed(told.signature)
        if signature is not None:
            out.append(Signed(index, signature))
        return out

    def _block_stop(self, event: _BlockStop) -> Sequence[Event]:
        self._must_go_on("contentBlockStop")
        opened = self._open.pop(event.content_block_index, None)
        if opened is not None:
            return self._ended(opened)
        if event.content_block_index <= self._last_index:
            raise AnswerError(f"The end of block {event.content_block_index}, which is not open")
        self._last_index = event.content_block_index
        return ()  # a text without a delta

    def _ended(self, opened: _Open) -> Sequence[Event]:
        if opened.index >= 0:
            ended = BlockEnded(opened.index)
            if opened.kind == "toolUse" and not opened.streamed:
                return (Delta(opened.index, "arguments", "{}"), ended)
            return (ended,)
        if opened.kind == _NOTED or not opened.data:
            return ()
        data = base64.b64encode(opened.data).decode()
        index = self._made
        self._made += 1
        block: Block = Thinking(signature=signed(data), redacted=True)
        if opened.kind == "image":
            block = Image(Inline(opened.media_type, data))
        return (BlockBegan(index, block), BlockEnded(index))

    def _keep(self, opened: _Open, kind: str, encoded: str) -> None:
        if opened.kind != kind:
            raise AnswerError(f"A delta of a {kind} for a block that is a {opened.kind}")
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise AnswerError(f"A {kind} that is not in base64") from error
        self._kept_bytes += len(data)
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise AnswerError(f"Images and hidden thoughts are longer than {MAX_KEPT_BYTES:,} bytes")
        opened.data += data


_EVENTS: dict[bytes, tuple[Callable[[bytes], object], Callable[..., Sequence[Event]]]] = {
    b"messageStart": (msgspec.json.Decoder(msgspec.Raw).decode, Reader._start),
    b"contentBlockStart": (msgspec.json.Decoder(_BlockStart).decode, Reader._block_start),
    b"contentBlockDelta": (msgspec.json.Decoder(_BlockDelta).decode, Reader._delta),
    b"contentBlockStop": (msgspec.json.Decoder(_BlockStop).decode, Reader._block_stop),
    b"messageStop": (msgspec.json.Decoder(_MessageStop).decode, Reader._stop),
    b"metadata": (msgspec.json.Decoder(_Metadata).decode, Reader._metadata),
}
"""By name: what decodes an event, and what takes it."""
