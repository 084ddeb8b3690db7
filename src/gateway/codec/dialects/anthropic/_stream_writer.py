"""Writes a stream to a client of this dialect.

Its official clients keep blocks in a list: blocks begin in the order of their indices, which have no gaps, and a delta or an end names the
block by its index, so that several may be open at once. `message_delta` tells why the answer has ended and what it used, and may be told
once; so it waits for the end of the stream, as usage may come last.

What an answer of this dialect cannot hold is treated as in `_answer`. Of several choices only the first is told.
"""

from __future__ import annotations

from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Audio,
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
from gateway.codec.dialects.anthropic import _errors
from gateway.codec.dialects.anthropic._answer import words_of, written_redacted
from gateway.codec.dialects.anthropic._finish import ending
from gateway.codec.dialects.anthropic._parts import FREE_TEXT, carried, encode, written_citation
from gateway.codec.dialects.anthropic._usage import written_usage

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b}}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_TEXT_BLOCK = b'{"type":"text","text":""}'

_TEXT = b'{"type":"text_delta","text":%b'
_THINKING = b'{"type":"thinking_delta","thinking":%b'
_INPUT = b'{"type":"input_json_delta","partial_json":%b'

_DELTAS: dict[tuple[str, str], bytes] = {
    ("text", "text"): _TEXT,
    ("text", "refusal"): _TEXT,
    ("text", "transcript"): _TEXT,
    ("thinking", "thinking"): _THINKING,
    ("call", "arguments"): _INPUT,
}
"""(what a block is here, kind of the delta)"""

_LEFT_OUT = frozenset((("audio", "audio"), ("text", "audio"), ("hidden", "thinking")))
"""Deltas that no client of this dialect can read."""


class _Open:
    __slots__ = ("carrier", "index", "kind", "signature")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        """"text", "thinking", "call", "free" (text for a tool); "audio" and "hidden" are not begun on the wire; "none" never is."""
        self.index = index
        """On the wire; -1 where it is not begun."""
        self.signature = ""
        """Of a thought, told before its end."""
        self.carrier = ""
        """What carries the signature of a call, told after it."""


class Writer:
    """One stream; see `gateway.codec.dialect.StreamWriter`."""

    __slots__ = ("_began", "_calls", "_done", "_finished", "_made", "_open", "_refused", "_used")

    def __init__(self) -> None:
        self._began: Began | None = None
        self._finished: Finished | None = None
        self._used: Used | None = None
        self._open: dict[int, _Open] = {}
        self._calls: dict[int, str] = {}
        """The id of each open call."""
        self._made = 0
        self._refused = False
        self._done = False

    def write(self, event: Event) -> bytes:
        if self._done:
            return b""
        if type(event) is Delta:
            return self._delta(event)
        match event:
            case Began():
                return self._message_start(event)
            case BlockBegan() if event.choice == 0:
                return self._block_began(event)
            case Signed() if event.choice == 0:
                return self._signed(event)
            case Cited() if event.choice == 0:
                return self._cited(event)
            case BlockEnded() if event.choice == 0:
                return self._block_ended(event)
            case Finished() if event.choice == 0:
                return self._finish(event)
            case Used():
                self._used = event
            case Ended():
                return self._end()
            case Failed():
                self._done = True
                kind = event.code if event.code in _errors.KNOWN else "api_error"
                return b"event: error\ndata: " + _errors.body(kind, event.message, event.code or None) + b"\n\n"
            case Noted():
                return PING if self._began is not None else b""
            case _:
                pass  # another choice than the first
        return b""

    def ping(self) -> bytes:
        return PING

    # -- the message

    def _message_start(self, event: Began) -> bytes:
        if self._began is not None:
            raise AnswerError("A stream begins twice")
        self._began = event
        message: dict[str, object] = {
            "id": event.id,
            "type": "message",
            "role": "assistant",
            "model": event.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": written_usage(event.usage),
        }
        return b'event: message_start\ndata: {"type":"message_start","message":' + encode(message) + b"}\n\n"

    def _finish(self, event: Finished) -> bytes:
        if self._began is None or self._finished is not None:
            raise AnswerError("A stream finishes before it has begun, or twice")
        self._finished = event
        written = b"".join(self._closed(key, block) for key, block in list(self._open.items()))
        self._open.clear()
        return written

    def _end(self) -> bytes:
        if self._finished is None:
            raise AnswerError("A stream ends that has not finished")
        self._done = True
        usage = self._used.usage if self._used is not None else self._began.usage if self._began is not None else None
        last = {
            "type": "message_delta",
            "delta": ending(self._finished.finish, self._finished.stop_sequence, refused=self._refused),
            "usage": written_usage(usage),
        }
        return b"event: message_delta\ndata: " + encode(last) + b"\n\n" + _MESSAGE_STOP

    # -- blocks

    def _block_began(self, event: BlockBegan) -> bytes:
        if self._began is None or self._finished is not None:
            raise AnswerError("A block begins outside of the message")
        if event.index in self._open:
            raise AnswerError(f"Two blocks are open with the index {event.index}")
        block = event.block
        match block:
            case Text():
                written = self._begin(event.index, "text", _TEXT_BLOCK)
                for citation in block.citations:
                    written += self._cited(Cited(event.index, citation))
                return written + (self._delta(Delta(event.index, "text", block.text)) if block.text else b"")
            case Refusal():
                self._refused = True
                written = self._begin(event.index, "text", _TEXT_BLOCK)
                return written + (self._delta(Delta(event.index, "refusal", block.text)) if block.text else b"")
            case Thinking():
                return self._thinking_began(event.index, block)
            case ToolCall():
                return self._call_began(event.index, block)
            case Opaque(dialect="anthropic"):
                written = self._begin(event.index, "none", bytes(block.value))
                return written + self._stop(self._open[event.index])
            case Audio(transcript=""):
                self._open[event.index] = _Open("audio", -1)
                return b""
            case _:
                return self._said(event.index, block)

    def _begin(self, key: int, kind: str, block: bytes) -> bytes:
        index = self._made
        self._made += 1
        self._open[key] = _Open(kind, index)
        return b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n' % (
            index,
            block,
        )

    def _stop(self, block: _Open) -> bytes:
        """The end on the wire of a block of which nothing more is told."""
        index, block.index = block.index, -1
        return _STOP % index

    def _said(self, key: int, block: Block) -> bytes:
        words = words_of(block)
        if not words:
            self._open[key] = _Open("none", -1)
            return b""
        written = self._begin(key, "none", _TEXT_BLOCK)
        opened = self._open[key]
        return written + _DELTA % (opened.index, _TEXT % encode(words)) + self._stop(opened)

    def _thinking_began(self, key: int, block: Thinking) -> bytes:
        if block.redacted:
            if block.signature is None:
                self._open[key] = _Open("hidden", -1)
                return b""
            return self._redacted(key, signatures.shown(block.signature, "anthropic"))
        written = self._begin(key, "thinking", b'{"type":"thinking","thinking":"","signature":""}')
        if block.signature is not None:
            self._open[key].signature = signatures.shown(block.signature, "anthropic")
        return written + (self._delta(Delta(key, "thinking", block.text)) if block.text else b"")

    def _redacted(self, key: int, data: str) -> bytes:
        written = self._begin(key, "none", encode(written_redacted(data)))
        return written + self._stop(self._open[key])

    def _call_began(self, key: int, call: ToolCall) -> bytes:
        written = b""
        if call.signature is not None:
            written = self._redacted(key, carried(call.id, call.signature))
        head = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        written += self._begin(key, "free" if call.custom else "call", encode(head))
        self._calls[key] = call.id
        if call.custom:
            written += self._input(self._open[key], f'{{"{FREE_TEXT}": "')
        return written + (self._delta(Delta(key, "arguments", call.arguments)) if call.arguments else b"")

    def _input(self, block: _Open, partial: str) -> bytes:
        return _DELTA % (block.index, _INPUT % encode(partial))

    def _delta(self, event: Delta) -> bytes:
        if event.choice:
            return b""
        block = self._open.get(event.index)
        if block is None:
            raise AnswerError(f"A delta for block {event.index}, which is not open")
        kind = block.kind
        form = _DELTAS.get((kind, event.kind))
        if form is not None:
            return _DELTA % (block.index, form % encode(event.text)) if event.text else b""
        if kind == "free" and event.kind == "arguments":
            return self._input(block, encode(event.text)[1:-1].decode())
        if kind == "audio" and event.kind == "transcript":
            written = self._begin(event.index, "text", _TEXT_BLOCK)
            return written + self._delta(event)
        if kind == "none" or (kind, event.kind) in _LEFT_OUT:
            return b""
        raise AnswerError(f"A delta of {event.kind} for block {event.index}, which is none of it")

    def _signed(self, event: Signed) -> bytes:
        block = self._open.get(event.index)
        if block is None:
            raise AnswerError(f"A signature for block {event.index}, which is not open")
        match block.kind:
            case "thinking":
                block.signature = signatures.shown(event.signature, "anthropic")
            case "hidden":
                return self._redacted(event.index, signatures.shown(event.signature, "anthropic"))
            case "call" | "free":
                block.carrier = carried(self._calls[event.index], event.signature)
            case _:
                pass  # a text's has no place in this dialect
        return b""

    def _cited(self, event: Cited) -> bytes:
        block = self._open.get(event.index)
        if block is None:
            raise AnswerError(f"A citation for block {event.index}, which is not open")
        citation = written_citation(event.citation)
        if block.kind != "text" or citation is None:
            return b""
        return _DELTA % (block.index, b'{"type":"citations_delta","citation":' + encode(citation))

    def _block_ended(self, event: BlockEnded) -> bytes:
        block = self._open.pop(event.index, None)
        if block is None:
            raise AnswerError(f"The end of block {event.index}, which is not open")
        return self._closed(event.index, block)

    def _closed(self, key: int, block: _Open) -> bytes:
        if block.index < 0:
            return b""
        written = b""
        if block.signature:
            written = _DELTA % (
                block.index,
                b'{"type":"signature_delta","signature":' + encode(block.signature),
            )
        if block.kind == "free":
            written += self._input(block, '"}')
        written += _STOP % block.index
        self._calls.pop(key, None)
        if block.carrier:
            written += self._redacted(key, block.carrier)
            del self._open[key]
        return written
