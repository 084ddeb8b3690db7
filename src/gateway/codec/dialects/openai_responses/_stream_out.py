"""Writes a stream to a caller.

Each item of the output is announced, filled and ended, and stands whole in `response.output_item.done` (which is what Codex takes) and in
the response that the last event repeats. So all that is said is kept until the end, up to a bound.

Adjacent texts and refusals are parts of one message. A message whose part is still open when something else begins is ended with that
part; thoughts, calls and what the provider's tools did are an item each.
"""

from __future__ import annotations

from typing import Literal

import msgspec

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
    Finish,
    Finished,
    Image,
    Noted,
    Opaque,
    Refusal,
    Request,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.dialects.openai_responses import _finish, _signed
from gateway.codec.dialects.openai_responses._errors import error_event
from gateway.codec.dialects.openai_responses._events import (
    Annotated,
    ArgumentsDone,
    InputDone,
    ItemEvent,
    Lifecycle,
    PartEvent,
    RefusalDone,
    SummaryDone,
    SummaryEvent,
    TextDone,
    ThoughtDone,
    Written,
)
from gateway.codec.dialects.openai_responses._output import (
    ErrorOut,
    MessageOut,
    ResponseOut,
    TextPart,
    call_item,
    custom_names,
    image_item,
    item_id,
    reasoning_item,
    response,
    signature_item,
)
from gateway.codec.dialects.openai_responses._parts import SEARCH, annotation_of
from gateway.codec.dialects.openai_responses._unwrapping import Unwrapping
from gateway.codec.dialects.openai_responses._usage import write_usage
from gateway.codec.dialects.openai_responses._wire import ReasoningText, RefusalPart, SummaryText

MAX_KEPT_BYTES = 33_554_432
"""Of what a stream has said, as JSON: 32 MiB."""

PING = b": ping\n\n"

_encode = msgspec.json.Encoder().encode

_CODES = {
    "": "server_error",
    "api_error": "server_error",
    "overloaded_error": "server_is_overloaded",
    "rate_limit_error": "rate_limit_exceeded",
    "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
    "UNAVAILABLE": "server_is_overloaded",
}
"""What Codex and the official clients know, for what other dialects say."""


class _Message:
    """An item that may get further parts."""

    __slots__ = ("content", "id", "open", "place", "sealed")

    def __init__(self, id_: str, place: int) -> None:
        self.id = id_
        self.place = place
        self.content: list[TextPart | RefusalPart] = []
        self.open = 0
        """Parts that are being said."""
        self.sealed = False
        """Something else has begun: no further part is admitted."""


class _Said:
    """A block that is being said."""

    __slots__ = (
        "block",
        "chars",
        "citations",
        "head",
        "id",
        "kept",
        "kind",
        "message",
        "part",
        "place",
        "tail",
        "unwrapping",
        "waits",
    )

    def __init__(self, block: Block, kind: str, place: int) -> None:
        self.block = block
        self.kind = kind
        """Of the deltas that it takes."""
        self.place = place
        """Of its item."""
        self.id = ""
        """Of its item."""
        self.part = 0
        self.waits = False
        """Its part has not been announced."""
        self.kept: list[str] = []
        self.chars = 0
        self.citations: list[Citation] = []
        """That wait for the end of the text."""
        self.message: _Message | None = None
        self.unwrapping: Unwrapping | None = None
        """Where a function of another dialect stands for a custom tool."""
        self.head = b""
        """What stands before the text of a delta, and what after."""
        self.tail = b""

    def text(self) -> str:
        return "".join(self.kept)


_DELTAS = {
    "text": "response.output_text.delta",
    "refusal": "response.refusal.delta",
    "thought": "response.reasoning_text.delta",
    "summary": "response.reasoning_summary_text.delta",
    "arguments": "response.function_call_arguments.delta",
    "input": "response.custom_tool_call_input.delta",
}
_KIND_OF_DELTA: dict[str, Literal["text", "thinking", "arguments", "refusal", "transcript"]] = {
    "text": "text",
    "refusal": "refusal",
    "thought": "thinking",
    "summary": "thinking",
    "arguments": "arguments",
    "input": "arguments",
    "search": "arguments",
}


class StreamWriter:
    """Of one stream, for who sent `request`."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._custom = custom_names(request)
        self._sequence = 0
        self._response: ResponseOut | None = None
        self._said: dict[int, _Said] = {}
        """By the canonical index."""
        self._message: _Message | None = None
        """The one that the next text belongs to."""
        self._items: list[object] = []
        """By their place; None where one is not complete."""
        self._finish: Finish | None = None
        self._refused = False
        self._kept_bytes = 0
        self._over = False

    def write(self, event: Event) -> bytes:
        """The events that say it; raises AnswerError."""
        if self._over:
            return b""
        match event:
            case Delta(choice=0):
                return self._delta(event)
            case Began():
                return self._begin(event)
            case BlockBegan(choice=0):
                return self._begin_block(event)
            case BlockEnded(choice=0):
                return self._end_block(event.index)
            case Signed(choice=0):
                return self._sign(event.index, event.signature)
            case Cited(choice=0):
                return self._cite(event)
            case Finished(choice=0):
                self._finish = event.finish
            case Used():
                self._answer().usage = write_usage(event.usage)
            case Ended():
                return self._end()
            case Failed():
                return self._fail(event)
            case Noted():
                pass
        return b""  # or of another choice, for which there is no place

    def ping(self) -> bytes:
        return PING

    # -- events

    def _event(self, event: Written) -> bytes:
        self._sequence += 1
        told = _encode(event)
        if b"\n" in told or b"\r" in told:  # of JSON that is carried as it came; a line end would end the event's data
            told = msgspec.json.format(told, indent=-1)
        return b"event: %b\ndata: %b\n\n" % (event.type.encode(), told)

    def _answer(self) -> ResponseOut:
        if self._response is None:
            raise AnswerError("the stream did not begin")
        return self._response

    def _begin(self, event: Began) -> bytes:
        if self._response is not None:
            raise AnswerError("the stream began twice")
        made = self._response = response(event.id, event.model or self._request.model, event.created_s, self._request)
        return self._event(Lifecycle("response.created", self._sequence, made)) + self._event(
            Lifecycle("response.in_progress", self._sequence, made)
        )

    def _add_item(self, item: object) -> bytes:
        """Announces an item, which stands at the next place."""
        place = len(self._items)
        self._items.append(None)
        return self._event(ItemEvent("response.output_item.added", self._sequence, place, item))

    def _end_item(self, place: int, item: object) -> bytes:
        self._items[place] = item
        return self._event(ItemEvent("response.output_item.done", self._sequence, place, item))

    def _whole_item(self, item: object) -> bytes:
        place = len(self._items)
        return self._add_item(item) + self._end_item(place, item)

    # -- blocks

    def _begin_block(self, event: BlockBegan) -> bytes:
        answer = self._answer()
        if event.index in self._said:
            raise AnswerError(f"block {event.index} began twice")
        block = event.block
        match block:
            case Text() | Refusal():
                return self._begin_part(event.index, block)
            case Audio():
                return self._begin_part(event.index, Text(block.transcript))
        sealed = self._seal()
        place = len(self._items)
        match block:
            case Thinking() if block.redacted:
                self._said[event.index] = _Said(block, "", place)
                return sealed + self._whole_item(reasoning_item(block, item_id("rs", answer.id, place)))
            case Thinking():
                return sealed + self._begin_thinking(event.index, block)
            case ToolCall():
                return sealed + self._begin_call(event.index, block)
            case Opaque(_signed.OWN):
                self._said[event.index] = _Said(block, "", place)
                return sealed + self._whole_item(block.value)
            case Image():
                self._said[event.index] = _Said(block, "", place)
                image = image_item(block, item_id("ig", answer.id, place))
                return sealed + self._whole_item(image) if image is not None else sealed
            case _:
                self._said[event.index] = _Said(block, "", place)
                return sealed

    def _begin_part(self, index: int, block: Text | Refusal) -> bytes:
        out = b""
        message = self._message
        if message is None:
            place = len(self._items)
            message = self._message = _Message(item_id("msg", self._answer().id, place), place)
            out = self._add_item(MessageOut(message.id, "in_progress", []))
        kind = "text" if isinstance(block, Text) else "refusal"
        said = self._said[index] = _Said(Text("") if isinstance(block, Text) else Refusal(""), kind, message.place)
        said.message = message
        said.part = len(message.content)
        message.open += 1
        part: TextPart | RefusalPart = TextPart("") if isinstance(block, Text) else RefusalPart("")
        message.content.append(part)
        if isinstance(block, Refusal):
            self._refused = True
        said.id = message.id
        self._prepare(said, "content_index", b',"logprobs":[]' if kind == "text" else b"")
        out += self._event(
            PartEvent("response.content_part.added", self._sequence, message.id, message.place, said.part, part)
        )
        return out + self._say(said, block.text) if block.text else out

    def _begin_thinking(self, index: int, block: Thinking) -> bytes:
        """Its part is announced with its first text: a thought that is hidden has none."""
        place = len(self._items)
        id_ = item_id("rs", self._answer().id, place)
        thinking = Thinking("", block.signature, summary=block.summary)
        said = self._said[index] = _Said(thinking, "summary" if block.summary else "thought", place)
        said.id = id_
        said.waits = True
        self._prepare(said, "summary_index" if block.summary else "content_index")
        item = reasoning_item(Thinking(), id_)
        item.status = "in_progress"
        out = self._add_item(item)
        return out + self._say(said, block.text) if block.text else out

    def _announce_thought(self, said: _Said) -> bytes:
        said.waits = False
        if said.kind == "summary":
            kind = "response.reasoning_summary_part.added"
            return self._event(SummaryEvent(kind, self._sequence, said.id, said.place, 0, SummaryText("")))
        kind = "response.content_part.added"
        return self._event(PartEvent(kind, self._sequence, said.id, said.place, 0, ReasoningText("")))

    def _begin_call(self, index: int, block: ToolCall) -> bytes:
        answer = self._answer()
        out = b""
        if block.signature is not None:
            out = self._whole_item(signature_item(block, item_id("rs", answer.id, len(self._items))))
        place = len(self._items)
        wrapped = not block.custom and block.name in self._custom
        call = ToolCall(block.id, block.name, "", block.custom or wrapped)
        kind = "search" if call.name == SEARCH else "input" if call.custom else "arguments"
        said = self._said[index] = _Said(call, kind, place)
        said.unwrapping = Unwrapping() if wrapped else None
        item = call_item(call, answer.id, place, "in_progress")
        said.id = item.id
        self._prepare(said, "")
        out += self._add_item(item)
        return out + self._tell(said, block.arguments) if block.arguments else out

    def _prepare(self, said: _Said, index: str, rest: bytes = b"") -> None:
        """What all deltas of a block have in common."""
        kind = _DELTAS.get(said.kind, "")
        where = f',"{index}":{said.part}' if index else ""
        head = f'event: {kind}\ndata: {{"type":"{kind}","item_id":{_encode(said.id).decode()},"output_index":{said.place}{where},"delta":'
        said.head = head.encode()
        said.tail = rest + b',"sequence_number":'

    def _tell(self, said: _Said, text: str) -> bytes:
        if said.unwrapping is not None:
            text = said.unwrapping.feed(text)
        return self._say(said, text) if text else b""

    def _say(self, said: _Said, text: str) -> bytes:
        told = _encode(text)
        self._kept_bytes += len(told)
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise AnswerError(
                f"the answer is longer than {MAX_KEPT_BYTES:,} bytes, which a response must repeat at its end"
            )
        said.kept.append(text)
        if said.kind == "search":  # which is told as one
            return b""
        said.chars += len(text)
        first = self._announce_thought(said) if said.waits else b""
        sequence = self._sequence
        self._sequence = sequence + 1
        return b"%b%b%b%b%d}\n\n" % (first, said.head, told, said.tail, sequence)

    def _delta(self, event: Delta) -> bytes:
        said = self._said.get(event.index)
        if said is None:
            raise AnswerError(f"a delta of block {event.index}, which is not open")
        kind = _KIND_OF_DELTA.get(said.kind)
        if event.kind == kind or (event.kind == "transcript" and kind == "text"):
            return self._tell(said, event.text) if event.text else b""
        if event.kind == "audio" or not kind:  # which has no place here
            return b""
        raise AnswerError(f"a delta of {event.kind} in a block of {kind}")

    def _sign(self, index: int, signature: Signature) -> bytes:
        said = self._said.get(index)
        if said is None:
            raise AnswerError(f"a signature of block {index}, which is not open")
        match said.block:
            case Thinking() if said.kind:
                said.block.signature = signature
            case ToolCall() as call:
                call.signature = signature
                return self._whole_item(signature_item(call, item_id("rs", self._answer().id, len(self._items))))
        return b""

    def _cite(self, event: Cited) -> bytes:
        said = self._said.get(event.index)
        if said is None:
            raise AnswerError(f"a citation of block {event.index}, which is not open")
        if event.citation.end is not None or event.citation.dialect == _signed.OWN:
            return self._annotate(said, event.citation)
        said.citations.append(event.citation)  # of all the text, whose length is not known yet
        return b""

    def _annotate(self, said: _Said, citation: Citation) -> bytes:
        message = said.message
        if message is None:
            return b""
        held = message.content[said.part]
        if not isinstance(held, TextPart):
            return b""
        annotation = annotation_of(citation, said.chars)
        held.annotations.append(annotation)
        at = len(held.annotations) - 1
        kind = "response.output_text.annotation.added"
        return self._event(Annotated(kind, self._sequence, message.id, message.place, said.part, at, annotation))

    def _end_block(self, index: int) -> bytes:
        said = self._said.pop(index, None)
        if said is None:
            raise AnswerError(f"block {index} ended, which is not open")
        match said.kind:
            case "text" | "refusal":
                return self._end_part(said)
            case "thought" | "summary":
                return self._end_thinking(said)
            case "arguments" | "input" | "search":
                return self._end_call(said)
        return b""

    def _end_part(self, said: _Said) -> bytes:
        message, text = said.message, said.text()
        assert message is not None
        part = message.content[said.part]
        out = b"".join([self._annotate(said, citation) for citation in said.citations])
        done: Written
        if isinstance(part, TextPart):
            part.text = text
            kind = "response.output_text.done"
            done = TextDone(kind, self._sequence, message.id, message.place, said.part, text, [])
        else:
            part.refusal = text
            kind = "response.refusal.done"
            done = RefusalDone(kind, self._sequence, message.id, message.place, said.part, text)
        out += self._event(done)
        kind = "response.content_part.done"
        out += self._event(PartEvent(kind, self._sequence, message.id, message.place, said.part, part))
        message.open -= 1
        return out + self._end_message(message) if message.sealed and not message.open else out

    def _end_message(self, message: _Message) -> bytes:
        return self._end_item(message.place, MessageOut(message.id, self._status(), message.content))

    def _seal(self) -> bytes:
        """The message that is being said gets no further part."""
        message, self._message = self._message, None
        if message is None:
            return b""
        message.sealed = True
        return b"" if message.open else self._end_message(message)

    def _status(self) -> str:
        return _finish.told(self._finish, refused=self._refused)[0] if self._finish is not None else "completed"

    def _end_thinking(self, said: _Said) -> bytes:
        thinking = said.block
        assert isinstance(thinking, Thinking)
        thinking.text = text = said.text()
        out = b""
        if not said.waits:
            if said.kind == "summary":
                kind = "response.reasoning_summary_text.done"
                out = self._event(SummaryDone(kind, self._sequence, said.id, said.place, 0, text))
                kind = "response.reasoning_summary_part.done"
                out += self._event(SummaryEvent(kind, self._sequence, said.id, said.place, 0, SummaryText(text)))
            else:
                kind = "response.reasoning_text.done"
                out = self._event(ThoughtDone(kind, self._sequence, said.id, said.place, 0, text))
                kind = "response.content_part.done"
                out += self._event(PartEvent(kind, self._sequence, said.id, said.place, 0, ReasoningText(text)))
        return out + self._end_item(said.place, reasoning_item(thinking, said.id))

    def _end_call(self, said: _Said) -> bytes:
        call = said.block
        assert isinstance(call, ToolCall)
        out = b""
        if said.unwrapping is not None and (rest := said.unwrapping.end()):
            out = self._say(said, rest)
        call.arguments = text = said.text()
        done: Written | None = None
        if said.kind == "search":
            pass
        elif call.custom:
            kind = "response.custom_tool_call_input.done"
            done = InputDone(kind, self._sequence, said.id, said.place, text)
        else:
            kind = "response.function_call_arguments.done"
            done = ArgumentsDone(kind, self._sequence, said.id, said.place, text)
        if done is not None:
            out += self._event(done)
        return out + self._end_item(said.place, call_item(call, self._answer().id, said.place, self._status()))

    # -- the end

    def _end(self) -> bytes:
        answer = self._answer()
        if self._finish is None:
            raise AnswerError("the stream ended without saying why")
        out = b"".join([self._end_block(index) for index in list(self._said)]) + self._seal()
        status, reason = _finish.told(self._finish, refused=self._refused)
        answer.output = self._items
        answer.end(status, reason)
        self._over = True
        return out + self._event(Lifecycle(f"response.{status}", self._sequence, answer))

    def _fail(self, event: Failed) -> bytes:
        """What clients raise an exception for, and the terminal of a response that has begun."""
        self._over = True
        code = _CODES.get(event.code, event.code)
        out = error_event(self._sequence, "provider_error", code, event.message)
        self._sequence += 1
        if self._response is None:
            return out
        self._response.status = "failed"
        self._response.error = ErrorOut(code, event.message)
        self._response.output = [item for item in self._items if item is not None]
        return out + self._event(Lifecycle("response.failed", self._sequence, self._response))
