"""A provider's stream, read.

Each event is a GenerateContentResponse with the next parts of its candidates. Nothing says where a block begins or ends: a run of texts
is one, and so is a run of thoughts; a call comes whole, or by paths (`_partial_args`). A signature on a text is held back until
the text ends, so that the text can still be cited: Google tells its sources with the last part.

A finish reason is no end yet: some models send one with every event, others tell what was used behind it. The answer is whole when the
transport has ended and each candidate has told its reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.base.dialect import AnswerError
from gateway.base.messages import (
    Began,
    BlockBegan,
    BlockEnded,
    Citation,
    Cited,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Noted,
    Refusal,
    Signature,
    Signed,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.raw import ABSENT, given

from ._answer import blocked, decode, id_stem, seconds_of
from ._arguments import object_in, one_line
from ._citations import MAX_CITATIONS, MAX_CITED_CHARS, count_chars, read_citations
from ._errors import read_error
from ._finish import read_finish
from ._partial_args import PartialArguments
from ._parts import read_part, read_unknown
from ._signature import taken
from ._usage import read_usage
from ._wire import Candidate, FunctionCall, Part, PromptFeedback, Response, raw_part

_BLANK = frozenset({b"", b"[DONE]"})
"""What some relays send and Google does not."""


class StreamReader:
    """Reads one stream."""

    def __init__(self) -> None:
        self._candidates: dict[int, _Candidate] = {}
        self._stem = ""
        self._began = False
        self._over = False
        self._feedback: PromptFeedback | None = None
        self._usage: msgspec.Raw = ABSENT

    def read(self, name: bytes, data: bytes) -> Sequence[Event]:
        """Raises AnswerError."""
        if self._over:
            return ()
        if data in _BLANK:
            return (Noted(data.decode()),)
        response = decode(data)
        if given(response.error):
            self._over = True
            told = read_error(data)
            return (Failed(told.message, told.code or ""),)
        events: list[Event] = []
        if not self._began:
            events.append(self._begin(response))
        elif given(response.usage_metadata):
            self._usage = response.usage_metadata
        if response.candidates is not None:
            for i, candidate in enumerate(response.candidates):
                self._read_candidate(candidate, i, data, events)
        if response.prompt_feedback is not None and response.prompt_feedback.block_reason:
            self._feedback = response.prompt_feedback
        return events or (Noted(),)

    def end(self) -> Sequence[Event]:
        """Ends the answer, if each of its candidates has told why it ended."""
        if self._over:
            return ()
        self._over = True
        events: list[Event] = []
        if not self._candidates:
            if self._feedback is None:
                return ()
            events += _refused(self._feedback)
        for candidate in self._candidates.values():
            if not candidate.reason:
                return ()
            candidate.finish(events)
        usage, _ = read_usage(self._usage) if given(self._usage) else (None, None)
        if usage is not None:
            events.append(Used(usage))
        events.append(Ended())
        return events

    def _begin(self, response: Response) -> Began:
        self._began = True
        self._stem = id_stem(response.response_id or "")
        usage = None
        if given(response.usage_metadata):
            self._usage = response.usage_metadata
            usage, _ = read_usage(self._usage)
        return Began(response.response_id or "", response.model_version or "", seconds_of(response.create_time), usage)

    def _read_candidate(self, told: Candidate, i: int, data: bytes, events: list[Event]) -> None:
        index = told.index or 0
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate(index, f"{self._stem}_{index}_")
        if told.content is not None and told.content.parts is not None:
            for j, part in enumerate(told.content.parts):
                text = part.text
                if text is not None and part.thought_signature is None and not part.thought:
                    if text:
                        candidate.add_text(text, events)
                elif not candidate.add(part, events):
                    candidate.add_unknown(raw_part(data, i, j), events)
        if told.grounding_metadata is not ABSENT or told.citation_metadata is not ABSENT:
            candidate.cite(told)
        if told.finish_reason:
            candidate.reason = told.finish_reason


def _refused(feedback: PromptFeedback) -> list[Event]:
    choice = blocked(feedback)
    events: list[Event] = []
    for i, block in enumerate(choice.blocks):
        if isinstance(block, Refusal):
            events += (BlockBegan(i, Refusal("")), Delta(i, "refusal", block.text), BlockEnded(i))
    events.append(Finished("content_filter"))
    return events


class _Candidate:
    """One candidate: which of its blocks is open."""

    __slots__ = (
        "_call",
        "_cited",
        "_id_stem",
        "_ids",
        "_index",
        "_kind",
        "_next",
        "_parts",
        "_pieces",
        "_size",
        "_text_bytes",
        "_unsigned",
        "choice",
        "reason",
    )

    def __init__(self, choice: int, id_stem: str) -> None:
        self.choice = choice
        self.reason = ""
        self._id_stem = id_stem
        self._ids: set[str] = set()
        self._kind = ""
        """Of the open block: "text", "thinking" or "call"; "" where none is."""
        self._index = -1
        """Of the open block."""
        self._next = 0
        """Index of the next block."""
        self._parts = 0
        self._call: PartialArguments | None = None
        self._unsigned: Signature | None = None
        """Of the open text, which ends unsigned itself: it is told as a block behind it."""
        self._pieces: list[str] = []
        """Of the open text, as long as they may be cited."""
        self._size = 0
        self._text_bytes = 0
        """Of the texts before the open one."""
        self._cited: dict[tuple[str, int | None, int | None], Citation] = {}
        """What the open text relies on, by source and place: Google may tell it again with more."""

    def add_text(self, text: str, events: list[Event]) -> None:
        if self._kind != "text" or self._unsigned is not None:
            self._open("text", Text(""), events)
        if self._size <= MAX_CITED_CHARS:
            self._pieces.append(text)
        self._size += len(text)
        self._parts += 1
        events.append(Delta(self._index, "text", text, self.choice))

    def add(self, part: Part, events: list[Event]) -> bool:
        """Any other part; False where it holds nothing that is known."""
        self._parts += 1
        call = part.function_call
        if call is not None:
            self._add_call(call, part.thought_signature or "", events)
            return True
        text, signature = part.text, part.thought_signature
        if part.thought and text is not None:
            self._add_thought(text, signature or "", events)
            return True
        if text is not None:
            if text:
                self.add_text(text, events)
            if signature:
                self._sign(taken(signature)[0], events)
            return True
        blocks = read_part(part, "")
        for block in blocks:
            if isinstance(block, Thinking) and block.signature is not None:
                self._sign(block.signature, events)
            elif isinstance(block, Text):
                self.add_text(block.text, events)
            else:
                self._open("", block, events)
                events.append(BlockEnded(self._index, self.choice))
        return bool(blocks)

    def add_unknown(self, raw: msgspec.Raw, events: list[Event]) -> None:
        """A part of a kind that nobody knows, if it is one."""
        block = read_unknown(raw)
        if block is not None:
            self._open("", block, events)
            events.append(BlockEnded(self._index, self.choice))

    def cite(self, told: Candidate) -> None:
        """Notes what the text that is open relies on."""
        if self._kind != "text":
            return
        for cite in read_citations(told.grounding_metadata, told.citation_metadata):
            citation = cite.citation
            if len(self._cited) < MAX_CITATIONS:
                self._cited[citation.url, citation.start, citation.end] = citation

    def _tell_citations(self, events: list[Event]) -> None:
        """Of a stream, Google counts the bytes of all text so far."""
        found = list(self._cited.values())
        self._cited.clear()
        if self._size > MAX_CITED_CHARS:
            for each in found:
                each.start = each.end = None
        count_chars(found, "".join(self._pieces), self._text_bytes)
        events += [Cited(self._index, each, self.choice) for each in found]

    def finish(self, events: list[Event]) -> None:
        self._close(events)
        events.append(Finished(read_finish(self.reason, bool(self._ids)), choice=self.choice))

    def _open(self, kind: str, block: object, events: list[Event]) -> None:
        self._close(events)
        self._kind = kind
        self._index = self._next
        self._next += 1
        events.append(BlockBegan(self._index, block, self.choice))  # type: ignore[arg-type]

    def _close(self, events: list[Event]) -> None:
        kind, self._kind = self._kind, ""
        if not kind:
            return
        if self._call is not None:
            events.append(Delta(self._index, "arguments", self._call.close(), self.choice))
            self._call = None
        if self._cited:
            self._tell_citations(events)
        events.append(BlockEnded(self._index, self.choice))
        if kind == "text":
            self._text_bytes += sum(len(piece.encode()) for piece in self._pieces)
            self._pieces, self._size = [], 0
            signature, self._unsigned = self._unsigned, None
            if signature is not None:
                self._sign(signature, events)

    def _sign(self, signature: Signature, events: list[Event]) -> None:
        """Tells a signature that stands on no thought and no call."""
        if self._kind == "text" and self._unsigned is None:
            self._unsigned = signature
            return
        if self._kind != "thinking":
            self._open("thinking", Thinking(), events)
        events.append(Signed(self._index, signature, self.choice))
        self._close(events)

    def _add_thought(self, text: str, signature: str, events: list[Event]) -> None:
        whose, redacted = taken(signature) if signature else (None, False)
        if self._kind != "thinking":
            self._open("thinking", Thinking(redacted=redacted, summary=not redacted), events)
        if text:
            events.append(Delta(self._index, "thinking", text, self.choice))
        if whose is not None:
            events.append(Signed(self._index, whose, self.choice))
            self._close(events)

    def _add_call(self, call: FunctionCall, signature: str, events: list[Event]) -> None:
        if call.name:
            self._begin_call(call, signature, events)
        elif self._call is None:
            if self._ids and not call.partial_args and not call.id:  # the end of a call that has ended
                return
            raise AnswerError("a call without a name")
        if self._call is None:  # it came whole
            arguments = bytes(one_line(call.args)).decode() if given(call.args) else "{}"
            events.append(Delta(self._index, "arguments", arguments, self.choice))
            self._close(events)
            return
        if signature and not call.name:
            events.append(Signed(self._index, taken(signature)[0], self.choice))
        if given(call.args) and (values := object_in(bytes(call.args).decode())):
            self._tell(self._call.whole(values), events)
        for partial in call.partial_args or ():
            self._tell(self._call.feed(partial), events)
        if not call.will_continue and not call.name and not call.partial_args:
            self._close(events)

    def _begin_call(self, call: FunctionCall, signature: str, events: list[Event]) -> None:
        call_id = call.id or f"{self._id_stem}{self._parts - 1}"
        if call_id in self._ids:
            raise AnswerError("two calls with one id")
        self._open("call", ToolCall(call_id, call.name or "", ""), events)
        self._ids.add(call_id)
        if signature:
            events.append(Signed(self._index, taken(signature)[0], self.choice))
        if call.will_continue or call.partial_args:
            self._call = PartialArguments()

    def _tell(self, arguments: str, events: list[Event]) -> None:
        if arguments:
            events.append(Delta(self._index, "arguments", arguments, self.choice))
