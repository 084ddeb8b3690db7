"""A provider's stream of chunks.

The dialect has no blocks: they begin and end here where the kind of what is said changes. A call of a tool is told by its `index`; where
servers leave that out or always send 0, by its `id`, and where there is none either, by its name, which stands in the first of a call's
deltas. A call ends where something else is said and its arguments are whole, or else with its choice: so those that are told one after the
other, as OpenAI does, are passed on one after the other, and those that are told by turns, as other gateways may, are not torn.

Not guessed, but refused: arguments of a call that has ended or has no name, an id that two calls have, words after a choice's end, and a
`[DONE]` before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from _fastpath.chat import MAX_CHOICES
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
    Inline,
    Noted,
    Refusal,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.dialects.openai_chat import _wire as wire
from gateway.codec.dialects.openai_chat._answer import created_of, decode_leniently
from gateway.codec.dialects.openai_chat._blocks_reader import (
    PartError,
    arguments_of,
    read_annotation,
    read_call_signature,
    read_images,
    read_parts,
)
from gateway.codec.dialects.openai_chat._finish import is_failure, read_finish
from gateway.codec.dialects.openai_chat._thoughts import detail_of, is_hidden, read_block, sealed
from gateway.codec.dialects.openai_chat.errors import provider_message
from gateway.codec.dialects.openai_chat.usage import usage_of
from gateway.codec.raw import ABSENT

MAX_CALLS = 1_024
"""Of tools, in a choice."""
MAX_KNOWN_CHARS = 1 << 20
"""Of a call's arguments, that are kept to know where they end: a call with longer ones ends with its choice."""
MAX_TRIES = 8
"""To find a call's arguments whole, where those of several are told by turns."""


class _ChunkChoice(msgspec.Struct):
    delta: wire.Spoken | None = None
    index: int | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    error: msgspec.Raw = ABSENT


class _Chunk(msgspec.Struct):
    choices: list[_ChunkChoice] | None = None
    id: str | None = None
    model: str | None = None
    created: float | None = None
    object: str | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


_decoder = msgspec.json.Decoder(_Chunk)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOTED = (Noted(),)


class _Call:
    """A call of a tool, as far as it was told."""

    __slots__ = ("block", "chars", "custom", "id", "name", "open", "pieces", "tries")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.block = -1
        """Its index; -1 before its name is known."""
        self.custom = False
        self.open = True
        self.pieces: list[str] = []
        """Of its arguments, to know whether they are whole; no more than MAX_KNOWN_CHARS."""
        self.chars = 0
        self.tries = MAX_TRIES

    def add(self, arguments: str) -> None:
        self.chars += len(arguments)
        if self.chars <= MAX_KNOWN_CHARS:
            self.pieces.append(arguments)
        elif self.pieces:
            self.pieces.clear()

    def is_whole(self) -> bool:
        """Whether nothing can follow its arguments: they are an object of JSON. A free text may always go on."""
        if self.custom or not self.pieces or not self.tries:
            return False
        self.tries -= 1
        try:
            _object_decoder.decode("".join(self.pieces))
        except (msgspec.DecodeError, RecursionError):
            return False
        return True


class _Choice:
    """What has been said of one."""

    __slots__ = (
        "blocks",
        "by_id",
        "by_index",
        "calls",
        "detail",
        "entry",
        "finished",
        "kind",
        "latest",
        "place",
        "refused",
        "signed",
        "speaking",
    )

    def __init__(self, place: int) -> None:
        self.place = place
        self.blocks = 0
        self.kind = ""
        """Of the open block that is no call, which is the latest; "" where none is open."""
        self.signed = False
        """The open thought has its signature: another one begins a block of its own."""
        self.entry: int | None = None
        """Which of `thinking_blocks` the open thought is."""
        self.detail: dict[str, Any] | None = None
        """The open thought is this entry of `reasoning_details`, without its text, as far as it was told."""
        self.calls: list[_Call] = []
        self.speaking: _Call | None = None
        """The one whose arguments came last, where nothing else came since."""
        self.by_index: dict[int, _Call] = {}
        self.by_id: dict[str, _Call] = {}
        self.latest: _Call | None = None
        self.refused = False
        self.finished = False

    # -- blocks that are no calls

    def open(self, kind: str, block: Block, events: list[Event]) -> int:
        """The index of the open block of the kind, which begins with `block` where none is open."""
        if self.kind != kind:
            self.close(events)
            self.pause(events)
            events.append(BlockBegan(self.blocks, block, self.place))
            self.blocks += 1
            self.kind = kind
            self.signed = False
        return self.blocks - 1

    def close(self, events: list[Event]) -> None:
        if self.kind:
            if self.detail is not None:
                seal = sealed("", self.detail).signature
                assert seal is not None
                events.append(Signed(self.blocks - 1, seal, self.place))
                self.detail = None
            events.append(BlockEnded(self.blocks - 1, self.place))
            self.kind = ""

    def whole(self, block: Block, events: list[Event]) -> None:
        """A block that comes at once."""
        self.close(events)
        self.pause(events)
        events += (BlockBegan(self.blocks, block, self.place), BlockEnded(self.blocks, self.place))
        self.blocks += 1

    def think(self, thought: Thinking, events: list[Event], index: int | None = None) -> None:
        """A piece of a thought; `index`: of its entry of `thinking_blocks`."""
        if thought.redacted:
            self.whole(thought, events)
            return
        if self.kind == "thinking" and (self.signed or index != self.entry):
            self.close(events)
        self.entry = index
        block = self.open("thinking", Thinking(summary=thought.summary), events)
        if thought.text:
            events.append(Delta(block, "thinking", thought.text, self.place))
        if thought.signature is not None:
            events.append(Signed(block, thought.signature, self.place))
            self.signed = True

    def think_detail(self, text: str, entry: dict[str, Any], events: list[Event]) -> None:
        """A piece of an entry of `reasoning_details`: pieces of one have its type and index, and the last one its signature."""
        if is_hidden(entry):
            self.whole(sealed("", entry), events)
            return
        before = self.detail
        if before is not None and any(before.get(key) != entry.get(key) for key in ("type", "index")):
            self.close(events)
        index = self.open("thinking", Thinking(summary=entry.get("type") == "reasoning.summary"), events)
        if self.detail is None:
            self.detail = entry
        else:
            self.detail.update((key, value) for key, value in entry.items() if value is not None)
        if text:
            events.append(Delta(index, "thinking", text, self.place))

    # -- calls

    def call(self, told: wire.Call, events: list[Event]) -> None:
        call = self._call_of(told)
        if call is None:
            call = self._new_call(told)
        function, custom = told.function, told.custom
        name = (function.name if function is not None else custom.name if custom is not None else None) or ""
        arguments = arguments_of(function) if function is not None else custom.input or "" if custom is not None else ""
        extra = told.extra_content
        signature = read_call_signature(extra) if extra is not None else None
        if call.block < 0 and name:
            self._begin(call, name, custom is not None, signature, events)
        elif signature is not None and call.open and call.block >= 0:
            events.append(Signed(call.block, signature, self.place))
        if arguments:
            if call.block < 0:
                raise AnswerError("arguments are of a call that has no name")
            if not call.open:
                raise AnswerError("arguments are of a call that has ended")
            if self.speaking is not call:
                self.pause(events)
                self.speaking = call
            call.add(arguments)
            events.append(Delta(call.block, "arguments", arguments, self.place))

    def _call_of(self, told: wire.Call) -> _Call | None:
        """The call that a delta goes on with; None where it begins another one."""
        named = (told.function is not None and told.function.name) or (told.custom is not None and told.custom.name)
        if told.index is not None:
            call = self.by_index.get(told.index)
            if call is None or not named or not call.name:
                return call
            if told.id and call.id != told.id:
                return None  # a server that always sends the same index
            if told.id:
                return call
            return call if named == call.name and not call.is_whole() else None
        if told.id and told.id in self.by_id:
            return self.by_id[told.id]
        return None if told.id or named else self.latest

    def _new_call(self, told: wire.Call) -> _Call:
        if len(self.calls) >= MAX_CALLS:
            raise AnswerError(f"the answer has more than {MAX_CALLS} calls of tools")
        if told.id and told.id in self.by_id:
            raise AnswerError("two calls of tools have the same id")
        call = _Call(told.id or f"call_{self.place}_{len(self.calls)}")
        self.calls.append(call)
        self.by_id[call.id] = call
        self.by_index[len(self.calls) - 1 if told.index is None else told.index] = call
        self.latest = call
        return call

    def _begin(self, call: _Call, name: str, custom: bool, signature: Signature | None, events: list[Event]) -> None:
        self.close(events)
        self.pause(events)
        call.name, call.block, call.custom = name, self.blocks, custom
        self.blocks += 1
        events.append(BlockBegan(call.block, ToolCall(call.id, name, "", custom, signature), self.place))

    def pause(self, events: list[Event]) -> None:
        """Something else is said than the arguments of the call that spoke last: it has ended if they are whole."""
        call, self.speaking = self.speaking, None
        if call is not None and call.is_whole():
            self._end(call, events)

    def close_calls(self, events: list[Event]) -> None:
        for call in self.calls:
            if call.block < 0:
                raise AnswerError("a call of a tool has no name")
            if call.open:
                self._end(call, events)

    def _end(self, call: _Call, events: list[Event]) -> None:
        call.open = False
        call.pieces.clear()
        events.append(BlockEnded(call.block, self.place))


class ChatStreamReader:
    """gateway.codec.dialect.StreamReader."""

    __slots__ = ("_began", "_choices", "_ended")

    def __init__(self) -> None:
        self._began = False
        self._ended = False
        self._choices: dict[int, _Choice] = {}

    def read(self, name: bytes, data: bytes) -> Sequence[Event]:
        """Raises AnswerError."""
        if self._ended:
            return ()
        if data.startswith(b"[DONE]"):
            return self._done()
        if name == b"error":
            return self._failed(data)
        chunk: _Chunk = decode_leniently(_decoder, data)
        if (chunk.error is not ABSENT and chunk.error != ABSENT) or chunk.object == "error":
            return self._failed(data)
        usage = usage_of(chunk.usage) if chunk.usage is not ABSENT and chunk.usage != ABSENT else None
        choices = chunk.choices
        if not choices and usage is None:
            return _NOTED
        events: list[Event] = []
        if not self._began:
            self._began = True
            events.append(Began(chunk.id or "", chunk.model or "", created_of(chunk.created)))
        for told in choices or ():
            failed = self._read_choice(told, data, events)
            if failed is not None:
                return failed
        if usage is not None:
            events.append(Used(usage))
        return events

    def end(self) -> Sequence[Event]:
        """Nothing: without its `[DONE]` a stream was cut."""
        return ()

    def _done(self) -> Sequence[Event]:
        if not self._choices or not all(choice.finished for choice in self._choices.values()):
            raise AnswerError("the stream says that it is done before its answer is")
        self._ended = True
        return (Ended(),)

    def _failed(self, data: bytes) -> Sequence[Event]:
        self._ended = True
        told = provider_message(data)
        return (Failed(told.message, told.code or ""),)

    def _read_choice(self, told: _ChunkChoice, data: bytes, events: list[Event]) -> Sequence[Event] | None:
        """Events that take the place of all others where the provider tells an error."""
        place = told.index or 0
        choice = self._choices.get(place)
        if choice is None:
            if not 0 <= place < MAX_CHOICES:
                raise AnswerError("the index of a choice is out of bounds")
            choice = self._choices[place] = _Choice(place)
        if told.error is not ABSENT and told.error != ABSENT:
            return self._failed(bytes(told.error))
        if told.delta is not None:
            try:
                _read_delta(choice, told.delta, data, events)
            except PartError as error:
                raise AnswerError(f"delta.{error} is missing, or cannot be read") from error
        reason = told.finish_reason
        if reason:
            if is_failure(reason):
                self._ended = True
                return (Failed("The provider broke its answer off.", reason),)
            if not choice.finished:
                _finish(choice, reason, told.stop_reason, events)
        return None


def _finish(choice: _Choice, reason: str, stop: str | int | None, events: list[Event]) -> None:
    choice.close(events)
    choice.close_calls(events)
    choice.finished = True
    finish, sequence = read_finish(reason, stop, called=bool(choice.calls), refused=choice.refused)
    events.append(Finished(finish, sequence, choice.place))


# -- deltas


def _read_delta(choice: _Choice, delta: wire.Spoken, data: bytes, events: list[Event]) -> None:
    before = len(events)
    content = delta.content
    if delta.reasoning_content or delta.reasoning or delta.thinking_blocks or delta.reasoning_details:
        _read_thoughts(choice, delta, events)
    if content:
        if isinstance(content, str):
            index = choice.open("text", Text(""), events)
            events.append(Delta(index, "text", content, choice.place))
        else:
            _read_parts(choice, content, data, events)
    if delta.tool_calls:
        for call in delta.tool_calls:
            choice.call(call, events)
    if delta.function_call is not None:
        _read_function_call(choice, delta.function_call, events)
    if delta.refusal or delta.annotations or delta.audio is not None or delta.images:
        _read_rare(choice, delta, events)
    if choice.finished and len(events) > before:
        raise AnswerError("a choice goes on after its end")


def _read_thoughts(choice: _Choice, delta: wire.Spoken, events: list[Event]) -> None:
    """Of several ways in which the same thought is told, the one that keeps its signature."""
    if delta.thinking_blocks:
        for block in delta.thinking_blocks:
            choice.think(read_block(block), events, block.index)
    elif delta.reasoning_details:
        for raw in delta.reasoning_details:
            if (detail := detail_of(raw)) is not None:
                choice.think_detail(*detail, events)
    else:
        text = delta.reasoning_content or delta.reasoning
        if text:
            choice.think(Thinking(text), events)


def _read_parts(choice: _Choice, parts: Sequence[wire.Part], data: bytes, events: list[Event]) -> None:
    """Mistral's: a text, a thought, a reference."""
    for block in read_parts(parts, _RawParts(data, choice.place)):
        if isinstance(block, Text):
            if block.text:
                index = choice.open("text", Text(""), events)
                events.append(Delta(index, "text", block.text, choice.place))
        elif isinstance(block, Thinking):
            choice.think(block, events)
        elif isinstance(block, Refusal):
            _refuse(choice, block.text, events)
        else:
            choice.whole(block, events)


class _RawDelta(msgspec.Struct):
    content: str | list[msgspec.Raw] | None = None


class _RawChoice(msgspec.Struct):
    delta: _RawDelta | None = None
    index: int | None = None


class _RawChunk(msgspec.Struct):
    choices: list[_RawChoice]


_raw_decoder = msgspec.json.Decoder(_RawChunk)


class _RawParts:
    """The bytes of parts of a type that nobody knows; the chunk is decoded for them once, if ever."""

    __slots__ = ("_data", "_found", "_place")

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place
        self._found: list[msgspec.Raw] | None = None

    def __call__(self, part: int) -> msgspec.Raw:
        if self._found is None:
            chunk: _RawChunk = decode_leniently(_raw_decoder, self._data)
            of_choice = [choice.delta for choice in chunk.choices if (choice.index or 0) == self._place]
            contents = [delta.content for delta in of_choice if delta is not None and isinstance(delta.content, list)]
            if len(contents) != 1:
                raise AnswerError("a chunk holds a choice twice")
            self._found = contents[0]
        return self._found[part]


def _read_function_call(choice: _Choice, function: wire.Function, events: list[Event]) -> None:
    """The legacy way: there is but one, without index or id."""
    choice.call(wire.Call(index=0, function=function), events)


def _read_rare(choice: _Choice, delta: wire.Spoken, events: list[Event]) -> None:
    if delta.refusal:
        _refuse(choice, delta.refusal, events)
    for raw in delta.annotations or ():
        index = choice.open("text", Text(""), events)
        events.append(Cited(index, read_annotation(raw), choice.place))
    if delta.audio is not None and (delta.audio.data or delta.audio.transcript):
        index = choice.open("audio", Audio(Inline("", "")), events)
        if delta.audio.data:
            events.append(Delta(index, "audio", delta.audio.data, choice.place))
        if delta.audio.transcript:
            events.append(Delta(index, "transcript", delta.audio.transcript, choice.place))
    if delta.images:
        for image in read_images(delta.images):
            choice.whole(image, events)


def _refuse(choice: _Choice, text: str, events: list[Event]) -> None:
    if text:
        choice.refused = True
        index = choice.open("refusal", Refusal(""), events)
        events.append(Delta(index, "refusal", text, choice.place))
