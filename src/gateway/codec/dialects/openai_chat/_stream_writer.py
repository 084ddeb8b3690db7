"""A stream for a caller: chunks, each with all that names the answer, and `data: [DONE]`.

Source: OpenAI API reference, "Chat completion chunk object". What does not change from chunk to chunk is encoded once. The role stands in
a choice's first delta, beside its first word: nothing is said before there is something to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from _fastpath.usage import Usage
from gateway.base.dialect import AnswerError
from gateway.base.errors import PROVIDER_ERROR
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
    Image,
    Inline,
    Noted,
    Refusal,
    Request,
    Signed,
    StoredFile,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec import signatures
from gateway.codec.dialects.openai_chat._answer import annotation_of, other_citation, written_call, written_image
from gateway.codec.dialects.openai_chat._finish import written_finish
from gateway.codec.dialects.openai_chat._thoughts import OWN, is_signed, write_block
from gateway.codec.dialects.openai_chat.errors import render_error
from gateway.codec.dialects.openai_chat.usage import usage_object

MAX_OPEN_BLOCKS = 1_024
"""Of a choice, at a time."""
MAX_HELD_CITATIONS = 1_024
"""Of a block, until it ends."""

_encode = msgspec.json.encode
_DONE = b"data: [DONE]\n\n"
_ROLE = b'"role":"assistant",'


class _Open:
    """An open block."""

    __slots__ = ("block", "cited", "place", "said", "start")

    def __init__(self, block: Block, place: int, start: int) -> None:
        self.block = block
        self.place = place
        """Among those that stand in a list of their own: calls, thoughts, images."""
        self.start = start
        """Of a text: its first character's place in `content`."""
        self.said = False
        """Of a call: it has arguments."""
        self.cited: list[Citation] = []
        """Of a text: what all of it relies on, which is told where its end is known. Some providers cite before they say the text."""


class _Choice:
    """What has been said of one."""

    __slots__ = (
        "annotations",
        "calls",
        "finished",
        "head",
        "images",
        "open",
        "refused",
        "role",
        "text_chars",
        "thoughts",
    )

    def __init__(self, head: bytes) -> None:
        self.head = head
        """Of a chunk, up to the fields of `delta`."""
        self.role = _ROLE
        """b"" once it was said."""
        self.open: dict[int, _Open] = {}
        self.calls = self.thoughts = self.images = self.annotations = 0
        """So many of each. Entries of lists have an index in deltas, by which the official client puts their pieces together."""
        self.text_chars = 0
        self.refused = False
        self.finished = False


class ChatStreamWriter:
    """gateway.codec.dialect.StreamWriter."""

    __slots__ = ("_choices", "_ended", "_head", "_id", "_include_usage", "_one", "_tail", "_usage")

    def __init__(self, request: Request) -> None:
        self._include_usage = request.include_usage
        self._choices: dict[int, _Choice] = {}
        self._one: _Choice | None = None
        """The first, which is all there is, mostly."""
        self._head = b""
        """Of a chunk, up to its choices; b"" before the answer has begun."""
        self._tail = b'},"logprobs":null,"finish_reason":null}]%s}\n\n' % self._usage_null()
        self._id = ""
        self._usage: Usage | None = None
        self._ended = False

    def _usage_null(self) -> bytes:
        """OpenAI sends it in each chunk but the last, where usage was asked for."""
        return b',"usage":null' if self._include_usage else b""

    def ping(self) -> bytes:
        return b": ping\n\n"

    def write(self, event: Event) -> bytes:
        """Raises AnswerError."""
        if self._ended:
            return b""
        return _WRITERS[type(event)](self, event)

    # -- events

    def _began(self, event: Began) -> bytes:
        if self._head:
            raise AnswerError("the answer begins twice")
        self._id = event.id
        self._usage = event.usage
        fields = (_encode(event.id), event.created_s, _encode(event.model))
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,"choices":[' % fields
        return b""

    def _block_began(self, event: BlockBegan) -> bytes:
        choice = self._choice(event.choice)
        if choice.finished:
            raise AnswerError("a block begins after the end of its choice")
        if event.index in choice.open:
            raise AnswerError(f"two blocks are open at once with the index {event.index}")
        if len(choice.open) >= MAX_OPEN_BLOCKS:
            raise AnswerError(f"more than {MAX_OPEN_BLOCKS} blocks are open at once")
        block = event.block
        opened = choice.open[event.index] = _Open(block, 0, choice.text_chars)
        match block:
            case Text(text=text) if text:
                return self._text(choice, text)
            case Thinking():
                opened.place = choice.thoughts
                choice.thoughts += 1
                if block.text or is_signed(block):
                    return self._chunk(choice, _thought(block, opened.place))
            case ToolCall():
                return self._call(choice, event.choice, opened, block)
            case Refusal(text=text) if text:
                choice.refused = True
                return self._chunk(choice, b'"refusal":%b' % _encode(text))
            case Image() if not isinstance(block.source, StoredFile):
                written = {"index": choice.images, **written_image(block)}
                choice.images += 1
                return self._chunk(choice, b'"images":[%b]' % _encode(written))
            case Audio():
                return self._audio(choice, block)
        return b""

    def _delta(self, event: Delta) -> bytes:
        choice = self._one if event.choice == 0 else self._choices.get(event.choice)
        opened = choice.open.get(event.index) if choice is not None else None
        if choice is None or opened is None:
            raise AnswerError("a delta is of a block that is not open")
        text = event.text
        match event.kind:
            case "text":
                return self._text(choice, text)
            case "arguments":
                return self._arguments(choice, opened, text)
            case "thinking":
                return self._chunk(choice, _thought(Thinking(text), opened.place))
            case "refusal":
                choice.refused = True
                return self._chunk(choice, b'"refusal":%b' % _encode(text))
            case "audio":
                return self._chunk(choice, b'"audio":{"data":%b}' % _encode(text))
            case "transcript":
                return self._chunk(choice, b'"audio":{"transcript":%b}' % _encode(text))

    def _signed(self, event: Signed) -> bytes:
        choice, opened = self._opened(event)
        block = opened.block
        if isinstance(block, Thinking):
            signed = Thinking("", event.signature, redacted=block.redacted)
            return self._chunk(choice, _thought(signed, opened.place))
        if isinstance(block, ToolCall):
            nothing: dict[str, object] = {"custom": {"input": ""}} if block.custom else {"function": {"arguments": ""}}
            extra = {"google": {"thought_signature": signatures.shown(event.signature, OWN)}}
            written = {"index": opened.place, **nothing, "extra_content": extra}
            return self._chunk(choice, b'"tool_calls":[%b]' % _encode(written))
        return b""

    def _cited(self, event: Cited) -> bytes:
        choice, opened = self._opened(event)
        if event.citation.end is None and len(opened.cited) < MAX_HELD_CITATIONS:
            opened.cited.append(event.citation)
            return b""
        return self._citation(choice, opened, event.citation)

    def _block_ended(self, event: BlockEnded) -> bytes:
        choice, opened = self._opened(event)
        del choice.open[event.index]
        return self._close(choice, opened)

    def _finished(self, event: Finished) -> bytes:
        choice = self._choice(event.choice)
        if choice.finished:
            raise AnswerError("a choice ends twice")
        closing = b"".join([self._close(choice, opened) for opened in choice.open.values()])
        choice.open.clear()
        choice.finished = True
        reason = written_finish(event.finish, refused=choice.refused)
        delta = b'"role":"assistant","content":""' if choice.role else b""
        choice.role = b""
        ending = (choice.head, delta, reason.encode(), self._usage_null())
        return closing + b'%b%b},"logprobs":null,"finish_reason":"%b"}]%b}\n\n' % ending

    def _used(self, event: Used) -> bytes:
        self._usage = event.usage
        return b""

    def _ended_well(self, event: Ended) -> bytes:
        if not self._choices or not all(choice.finished for choice in self._choices.values()):
            raise AnswerError("the stream ends before its answer does")
        self._ended = True
        if not self._include_usage or self._usage is None:
            return _DONE
        return b'%b],"usage":%b}\n\n%b' % (self._head, _encode(usage_object(self._usage)), _DONE)

    def _failed(self, event: Failed) -> bytes:
        self._ended = True
        return b"data: %b\n\n" % render_error(PROVIDER_ERROR, event.message, None, event.code or None)

    def _noted(self, event: Noted) -> bytes:
        return b""

    # -- chunks

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            if not self._head:
                raise AnswerError("the answer has not begun")
            choice = self._choices[index] = _Choice(b'%b{"index":%d,"delta":{' % (self._head, index))
            if index == 0:
                self._one = choice
        return choice

    def _opened(self, event: Signed | Cited | BlockEnded) -> tuple[_Choice, _Open]:
        choice = self._choices.get(event.choice)
        opened = choice.open.get(event.index) if choice is not None else None
        if choice is None or opened is None:
            raise AnswerError(f"a {type(event).__name__} is of a block that is not open")
        return choice, opened

    def _chunk(self, choice: _Choice, fields: bytes) -> bytes:
        role = choice.role
        if role:
            choice.role = b""
        return b"%b%b%b%b" % (choice.head, role, fields, self._tail)

    def _text(self, choice: _Choice, text: str) -> bytes:
        choice.text_chars += len(text)
        return self._chunk(choice, b'"content":%b' % _encode(text))

    def _call(self, choice: _Choice, at: int, opened: _Open, call: ToolCall) -> bytes:
        opened.place = choice.calls
        choice.calls += 1
        written = {"index": opened.place, **written_call(call, at, opened.place)}
        if not call.custom:
            written["function"] = {"name": call.name, "arguments": call.arguments}
        opened.said = bool(call.arguments) or call.custom
        return self._chunk(choice, b'"tool_calls":[%b]' % _encode(written))

    def _arguments(self, choice: _Choice, opened: _Open, text: str) -> bytes:
        block = opened.block
        if not isinstance(block, ToolCall):
            raise AnswerError("arguments are of a block that is no call")
        if text:
            opened.said = True
        form = b'"tool_calls":[{"index":%d,"custom":{"input":%b}}]' if block.custom else _ARGUMENTS
        return self._chunk(choice, form % (opened.place, _encode(text)))

    def _citation(self, choice: _Choice, opened: _Open, citation: Citation) -> bytes:
        annotation = annotation_of(citation, opened.start, choice.text_chars)
        if annotation is None:
            fields = {"citation": other_citation(citation)}
            return self._chunk(choice, b'"provider_specific_fields":%b' % _encode(fields))
        if isinstance(annotation, dict):
            annotation["index"] = choice.annotations
            choice.annotations += 1
        return self._chunk(choice, b'"annotations":[%b]' % _encode(annotation))

    def _close(self, choice: _Choice, opened: _Open) -> bytes:
        """Clients read a call's arguments as JSON, which a call without any has to be too."""
        if opened.cited:
            return b"".join([self._citation(choice, opened, citation) for citation in opened.cited])
        if isinstance(opened.block, ToolCall) and not opened.said:
            return self._chunk(choice, _ARGUMENTS % (opened.place, b'"{}"'))
        return b""

    def _audio(self, choice: _Choice, block: Audio) -> bytes:
        audio = {"id": block.source.id if isinstance(block.source, StoredFile) else f"audio_{self._id}"}
        if isinstance(block.source, Inline) and block.source.data:
            audio["data"] = block.source.data
        if block.transcript:
            audio["transcript"] = block.transcript
        return self._chunk(choice, b'"audio":%b' % _encode(audio))


_ARGUMENTS = b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]'


def _thought(thought: Thinking, place: int) -> bytes:
    """The text for all, and the block for those that send it back, as LiteLLM streams them."""
    block = _encode({"index": place, **write_block(thought)})
    if thought.redacted:
        return b'"thinking_blocks":[%b]' % block
    return b'"reasoning_content":%b,"thinking_blocks":[%b]' % (_encode(thought.text), block)


_WRITERS: dict[type, Callable[[ChatStreamWriter, Any], bytes]] = {
    Began: ChatStreamWriter._began,
    BlockBegan: ChatStreamWriter._block_began,
    Delta: ChatStreamWriter._delta,
    Signed: ChatStreamWriter._signed,
    Cited: ChatStreamWriter._cited,
    BlockEnded: ChatStreamWriter._block_ended,
    Finished: ChatStreamWriter._finished,
    Used: ChatStreamWriter._used,
    Ended: ChatStreamWriter._ended_well,
    Failed: ChatStreamWriter._failed,
    Noted: ChatStreamWriter._noted,
}
