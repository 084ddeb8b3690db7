"""Reads a provider's stream.

An item of the output holds blocks: a message one for each of its parts, a reasoning item one for its summary (whose parts are joined by an
empty line) and one for its thought, a call itself. A block begins with its part, or with the first delta of it, where a provider leaves
out the event that announces it; what a provider tells only at the end of a block or an item, without deltas, is told then as one.

    response.created, .in_progress, .queued           Began, once
    response.output_item.added                        BlockBegan of a call
    response.content_part.added                       BlockBegan
    response.reasoning_summary_part.added             BlockBegan, or an empty line
    response.*.delta                                  Delta
    response.output_text.annotation.added             Cited
    response.content_part.done, .output_item.done     BlockEnded, Signed; BlockBegan and BlockEnded of what the provider's tools did
    response.completed, .incomplete                   Finished, Used, Ended
    response.failed, .cancelled, error                Failed
    anything else                                     Noted

Log probabilities of deltas are not read: the canonical stream has no place for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

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
    Lost,
    Noted,
    Refusal,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.dialects.openai_responses import _finish, _signed
from gateway.codec.dialects.openai_responses._answer import Told, blocks_of_item
from gateway.codec.dialects.openai_responses._blocks import block_of_call, blocks_of_reasoning
from gateway.codec.dialects.openai_responses._parts import citation_of
from gateway.codec.dialects.openai_responses._usage import read_usage
from gateway.codec.dialects.openai_responses._wire import (
    CustomToolCall,
    FunctionCall,
    Item,
    MessageItem,
    OpaquePart,
    ReasoningItem,
    SearchCall,
    UnreadableError,
    read_item,
)
from gateway.codec.raw import ABSENT

_Kind = Literal["text", "thinking", "arguments", "refusal"]


class _Part(msgspec.Struct):
    type: str = ""


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int = -1
    item_id: str = ""
    content_index: int = 0
    summary_index: int = 0
    delta: str = ""
    text: str | None = None
    arguments: str | None = None
    input: str | None = None
    refusal: str | None = None
    part: _Part | None = None
    item: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    annotation: msgspec.Raw = ABSENT


class _Told(msgspec.Struct):
    """Of an error."""

    message: str | None = None
    code: str | None = None
    type: str | None = None


class _ErrorEvent(_Told):
    error: _Told | None = None


_event_decoder = msgspec.json.Decoder(_Event)
_error_decoder = msgspec.json.Decoder(_ErrorEvent)
_told_decoder = msgspec.json.Decoder(Told)
_ignored = Lost()


class _Open:
    """A block that is being told."""

    __slots__ = ("ended", "index", "told")

    def __init__(self, index: int) -> None:
        self.index = index
        self.told = False
        """Something of its text."""
        self.ended = False


_SUMMARY, _CALL = -1, -2
"""Places in an item beside its parts of content."""


class _Item:
    __slots__ = ("blocks", "done", "kind")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.blocks: dict[int, _Open] = {}
        """By the index of the part."""
        self.done = False


class StreamReader:
    """Of one stream."""

    def __init__(self) -> None:
        self._began = False
        self._over = False
        self._items: dict[int | str, _Item] = {}
        """By their place in the output, or by their ids, where a provider (llama.cpp) tells no place."""
        self._blocks = 0
        self._calls: dict[str, int] = {}
        """The blocks of calls, by their ids."""
        self._signatures: dict[str, Signature] = {}
        """Of calls that have not begun."""
        self._refused = False
        self._out: list[Event] = []

    def read(self, name: bytes, data: bytes) -> Sequence[Event]:
        """The events that a server-sent event means; raises AnswerError."""
        if self._over:
            return ()
        if data == b"[DONE]":
            return (Noted("[DONE]"),)
        try:
            event = _event_decoder.decode(data)
            kind = event.type or name.decode("utf-8", "replace")
            handle = _HANDLERS.get(kind)
            if handle is None:
                return (Noted(kind),)
            self._out = []
            handle(self, event, data)
        except (msgspec.DecodeError, UnicodeDecodeError, UnreadableError, RecursionError) as error:
            raise AnswerError(f"an event of the stream cannot be read: {error}") from error
        return self._out

    def end(self) -> Sequence[Event]:
        """A stream without its terminal is not whole."""
        return ()

    # -- the response

    def _begin(self, event: _Event, data: bytes) -> None:
        if self._began:
            if event.type == "response.created":
                raise AnswerError("the response was created twice")
            self._out.append(Noted(event.type))
            return
        told = _told_decoder.decode(event.response)
        self._start(told)

    def _start(self, told: Told) -> None:
        self._began = True
        self._out.append(Began(told.id, told.model, int(told.created_at)))

    def _finish(self, event: _Event, data: bytes) -> None:
        told = _told_decoder.decode(event.response)
        if not self._began:
            self._start(told)
        if not self._items:
            self._tell_output(told.output or [])
        for item in self._items.values():
            self._end_item(item)
        if event.type == "response.incomplete" or told.status == "incomplete":
            finish = _finish.incomplete(told.reason)
        elif self._calls:
            finish = "tool_calls"
        else:
            finish = "refusal" if self._refused else "stop"
        self._out.append(Finished(finish))
        usage = read_usage(told.usage)
        if usage is not None:
            self._out.append(Used(usage))
        self._out.append(Ended())
        self._over = True

    def _tell_output(self, output: list[msgspec.Raw]) -> None:
        """Of a provider that streams nothing but the whole."""
        for at, raw in enumerate(output):
            item = read_item(raw, f"output[{at}]", _ignored)
            for block in blocks_of_item(item, raw, f"output[{at}]"):
                self._tell_whole(block)

    def _fail(self, event: _Event, data: bytes) -> None:
        if event.type == "error":
            found = _error_decoder.decode(data)
            error = found.error or found
            code = error.code or (error.type if error is not found else None)
            self._out.append(Failed(error.message or "", code or ""))
        else:
            told = _told_decoder.decode(event.response)
            message = told.error.message if told.error is not None else None
            code = told.error.code if told.error is not None else None
            self._out.append(Failed(message or f"{event.type}.", code or ""))
        self._over = True

    # -- items

    def _item_of(self, event: _Event) -> _Item:
        key = event.output_index if event.output_index >= 0 else event.item_id
        item = self._items.get(key)
        if item is None or item.done:
            state = "after its end" if item is not None else "before it was added"
            raise AnswerError(f"{event.type} of item {key!r} {state}")
        return item

    def _add_item(self, event: _Event, data: bytes) -> None:
        self._must_have_begun(event)
        found = read_item(event.item, "item", _ignored)
        key = _key_of(event, found)
        known = self._items.get(key)
        if known is not None and not (key == "" and known.done):  # of such as have no id one may follow the other
            raise AnswerError(f"item {key!r} was added twice")
        item = self._items[key] = _Item(_kind_of(found))
        if isinstance(found, FunctionCall | CustomToolCall):
            self._begin_call(item, found)

    def _must_have_begun(self, event: _Event) -> None:
        if not self._began:
            raise AnswerError(f"{event.type} before response.created")

    def _begin_call(self, item: _Item, found: FunctionCall | CustomToolCall) -> None:
        call = block_of_call(found, "item", _ignored)
        call.arguments = ""
        call.signature = self._signatures.pop(call.id, None)
        self._calls[call.id] = self._begin_block(item, _CALL, call).index

    def _end_item_event(self, event: _Event, data: bytes) -> None:
        self._must_have_begun(event)
        found = read_item(event.item, "item", _ignored)
        key = _key_of(event, found)
        item = self._items.get(key)
        if item is None or (key == "" and item.done):
            item = self._items[key] = _Item(_kind_of(found))
        elif item.done:
            raise AnswerError(f"item {key!r} ended twice")
        elif item.kind != _kind_of(found):
            raise AnswerError(f"item {key!r} began as {item.kind} and ended as {_kind_of(found)}")
        self._complete(item, found, event.item)
        self._end_item(item)

    def _complete(self, item: _Item, found: Item, raw: msgspec.Raw) -> None:
        """What the deltas have not told."""
        match found:
            case FunctionCall() | CustomToolCall():
                if _CALL not in item.blocks:
                    self._begin_call(item, found)
                whole = found.arguments if isinstance(found, FunctionCall) else found.input
                self._tell_rest(item.blocks[_CALL], "arguments", whole)
            case MessageItem():
                for at, block in enumerate(blocks_of_item(found, raw, "item")):
                    if (open_ := item.blocks.get(at)) is None:
                        self._tell_whole(block)
                    elif isinstance(block, Text | Refusal):
                        self._tell_rest(open_, "text" if isinstance(block, Text) else "refusal", block.text)
            case ReasoningItem():
                self._complete_reasoning(item, found)
            case _:
                for block in blocks_of_item(found, raw, "item"):
                    self._tell_whole(block)

    def _complete_reasoning(self, item: _Item, found: ReasoningItem) -> None:
        if (signed := _signed.call_of(found.encrypted_content or "")) is not None:
            self._sign_call(*signed)
            return
        blocks = [block for block in blocks_of_reasoning(found) if isinstance(block, Thinking)]
        if not item.blocks:
            for block in blocks:
                self._tell_whole(block)
            return
        for at, open_ in item.blocks.items():
            for block in blocks:
                if block.summary == (at == _SUMMARY):
                    self._tell_rest(open_, "thinking", block.text)
        signature = next((block.signature for block in blocks if block.signature is not None), None)
        if signature is not None:
            thoughts = [open_ for at, open_ in item.blocks.items() if at != _SUMMARY]
            self._out.append(Signed((thoughts or list(item.blocks.values()))[-1].index, signature))

    def _sign_call(self, call_id: str, signature: Signature) -> None:
        """It stands before its call, or beside it while it is told."""
        index = self._calls.get(call_id)
        if index is None:
            self._signatures[call_id] = signature
        else:
            self._out.append(Signed(index, signature))

    def _end_item(self, item: _Item) -> None:
        for open_ in item.blocks.values():
            self._end_block(open_)
        item.done = True

    # -- blocks

    def _begin_block(self, item: _Item, place: int, block: Block) -> _Open:
        open_ = item.blocks[place] = _Open(self._blocks)
        self._blocks += 1
        if isinstance(block, Refusal):
            self._refused = True
        self._out.append(BlockBegan(open_.index, block))
        return open_

    def _end_block(self, open_: _Open) -> None:
        if not open_.ended:
            open_.ended = True
            self._out.append(BlockEnded(open_.index))

    def _tell_rest(self, open_: _Open, kind: _Kind, whole: str | None) -> None:
        """All of it, where nothing was told before."""
        if whole and not open_.told and not open_.ended:
            open_.told = True
            self._out.append(Delta(open_.index, kind, whole))

    def _tell_whole(self, block: Block) -> None:
        index = self._blocks
        self._blocks += 1
        rest: list[Event] = []
        match block:
            case Text():
                rest = [Delta(index, "text", block.text), *(Cited(index, each) for each in block.citations)]
                block = Text("")
            case Refusal():
                self._refused = True
                rest, block = [Delta(index, "refusal", block.text)], Refusal("")
            case Thinking(text) if text and not block.redacted:
                rest = [Delta(index, "thinking", text)]
                if block.signature is not None:
                    rest.append(Signed(index, block.signature))
                block = Thinking(summary=block.summary)
            case ToolCall():
                self._calls[block.id] = index
                rest = [Delta(index, "arguments", block.arguments)]
                block = ToolCall(block.id, block.name, "", block.custom, self._signatures.pop(block.id, None))
        self._out += [BlockBegan(index, block), *rest, BlockEnded(index)]

    def _part_added(self, event: _Event, data: bytes) -> None:
        item = self._item_of(event)
        place = event.content_index
        if place in item.blocks:
            raise AnswerError(f"part {place} of a {item.kind} was added twice")
        match event.part.type if event.part is not None else "":
            case "output_text" | "text":
                self._begin_block(item, place, Text(""))
            case "refusal":
                self._begin_block(item, place, Refusal(""))
            case "reasoning_text":
                self._begin_block(item, place, Thinking())
            case _:  # it is told at the end of the item
                self._out.append(Noted(event.type))

    def _part_done(self, event: _Event, data: bytes) -> None:
        """Ends a part of a message. A thought is signed at the end of its item, and what was told nothing of may be told there."""
        item = self._item_of(event)
        open_ = item.blocks.get(event.content_index)
        if open_ is not None and open_.told and item.kind == "message":
            self._end_block(open_)

    def _summary_added(self, event: _Event, data: bytes) -> None:
        item = self._item_of(event)
        open_ = item.blocks.get(_SUMMARY)
        if open_ is None:
            self._begin_block(item, _SUMMARY, Thinking(summary=True))
        elif open_.told:
            self._out.append(Delta(open_.index, "thinking", "\n\n"))

    def _delta(self, event: _Event, place: int, kind: _Kind, block: Callable[[], Block] | None) -> None:
        item = self._item_of(event)
        open_ = item.blocks.get(place)
        if open_ is None:
            if block is None:
                raise AnswerError(f"{event.type} of a {item.kind}")
            open_ = self._begin_block(item, place, block())
        elif open_.ended:
            raise AnswerError(f"{event.type} after the end of its part")
        open_.told = True
        self._out.append(Delta(open_.index, kind, event.delta))

    def _text_delta(self, event: _Event, data: bytes) -> None:
        self._delta(event, event.content_index, "text", lambda: Text(""))

    def _refusal_delta(self, event: _Event, data: bytes) -> None:
        self._delta(event, event.content_index, "refusal", lambda: Refusal(""))

    def _thought_delta(self, event: _Event, data: bytes) -> None:
        self._delta(event, event.content_index, "thinking", Thinking)

    def _summary_delta(self, event: _Event, data: bytes) -> None:
        self._delta(event, _SUMMARY, "thinking", lambda: Thinking(summary=True))

    def _arguments_delta(self, event: _Event, data: bytes) -> None:
        self._delta(event, _CALL, "arguments", None)

    def _done(self, event: _Event, data: bytes) -> None:
        """The whole of what was told in deltas, or in none."""
        item = self._item_of(event)
        place, whole = event.content_index, event.text
        kind: _Kind = "text"
        match event.type:
            case "response.function_call_arguments.done":
                place, kind, whole = _CALL, "arguments", event.arguments
            case "response.custom_tool_call_input.done":
                place, kind, whole = _CALL, "arguments", event.input
            case "response.refusal.done":
                kind, whole = "refusal", event.refusal
            case "response.reasoning_text.done":
                kind = "thinking"
        open_ = item.blocks.get(place)
        if open_ is not None:
            self._tell_rest(open_, kind, whole)

    def _annotated(self, event: _Event, data: bytes) -> None:
        open_ = self._item_of(event).blocks.get(event.content_index)
        if open_ is None or open_.ended:
            raise AnswerError(f"{event.type} of a part that is not open")
        if event.annotation != ABSENT:
            self._out.append(Cited(open_.index, citation_of(event.annotation, "annotation")))


class _Named(msgspec.Struct):
    id: str | None = None
    call_id: str | None = None


_named_decoder = msgspec.json.Decoder(_Named)


def _key_of(event: _Event, item: Item) -> int | str:
    """Where an item stands, or what it is called; llama.cpp calls a call by the id of the call."""
    if event.output_index >= 0:
        return event.output_index
    named = _named_decoder.decode(item.value if isinstance(item, OpaquePart) else event.item)
    return named.id or named.call_id or event.item_id


def _kind_of(item: Item) -> str:
    match item:
        case MessageItem():
            return "message"
        case ReasoningItem():
            return "reasoning"
        case FunctionCall():
            return "function_call"
        case CustomToolCall():
            return "custom_tool_call"
        case SearchCall():
            return "tool_search_call"
        case OpaquePart():
            return item.kind
    return "output"


_HANDLERS: dict[str, Callable[[StreamReader, _Event, bytes], None]] = {
    "response.created": StreamReader._begin,
    "response.in_progress": StreamReader._begin,
    "response.queued": StreamReader._begin,
    "response.output_item.added": StreamReader._add_item,
    "response.output_item.done": StreamReader._end_item_event,
    "response.content_part.added": StreamReader._part_added,
    "response.content_part.done": StreamReader._part_done,
    "response.output_text.delta": StreamReader._text_delta,
    "response.output_text.done": StreamReader._done,
    "response.output_text.annotation.added": StreamReader._annotated,
    "response.refusal.delta": StreamReader._refusal_delta,
    "response.refusal.done": StreamReader._done,
    "response.reasoning_text.delta": StreamReader._thought_delta,
    "response.reasoning_text.done": StreamReader._done,
    "response.reasoning_summary_part.added": StreamReader._summary_added,
    "response.reasoning_summary_text.delta": StreamReader._summary_delta,
    "response.function_call_arguments.delta": StreamReader._arguments_delta,
    "response.function_call_arguments.done": StreamReader._done,
    "response.custom_tool_call_input.delta": StreamReader._arguments_delta,
    "response.custom_tool_call_input.done": StreamReader._done,
    "response.completed": StreamReader._finish,
    "response.incomplete": StreamReader._finish,
    "response.failed": StreamReader._fail,
    "response.cancelled": StreamReader._fail,
    "error": StreamReader._fail,
}
