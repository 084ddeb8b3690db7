"""An answer on its way from a provider to a caller: followed where both speak one dialect, translated where they do not.

The relay asks either in the same way. `answer` takes a whole body, `scanner` a stream: what is fed in comes out as what may leave,
whole events only, and what must be accounted for is told in the scanner's own fields (`_fastpath.sse.EventScanner`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from _fastpath.sse import EventScanner
from _fastpath.usage import Usage
from gateway.base.dialect import (
    AnswerError,
    CallerDialect,
    Codec,
    Framing,
    ProviderCodec,
    ProviderDialect,
    StreamEvents,
    StreamReader,
    StreamWriter,
)
from gateway.base.embedding import EmbedAnswer, EmbedRequest
from gateway.base.messages import (
    Answer,
    Audio,
    Began,
    Block,
    BlockBegan,
    Delta,
    Ended,
    Event,
    Failed,
    Finished,
    Image,
    Inline,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
    Used,
)
from gateway.codec.framing import SERVER_SENT


class Whole(NamedTuple):
    """A whole answer."""

    body: bytes
    """As the caller gets it."""
    usage: Usage | None
    finish: str
    text_bytes: int
    """Of what was produced as text, in UTF-8."""
    media_bytes: int
    """Of what was produced as images and sound, in base64."""


class AnswerScanner(EventScanner):
    """Reads a stream as it passes.

    Args:
        events: finds its events; how they are framed is known there alone.
        writer: says them in the caller's dialect; None where that is the provider's.
        began: what the stream is taken to begin with, where the provider does not tell it.
    """

    def __init__(self, events: StreamEvents, reader: StreamReader, writer: StreamWriter | None, began: Began) -> None:
        super().__init__()
        self._events = events
        self._reader = reader
        self._writer = writer
        self._began = began
        self._finish = ""

    @property
    def finish_reason(self) -> str:
        return self._finish

    def feed(self, data: bytes) -> bytes:
        """What may be sent on. `fault` is set where the stream cannot be read any further."""
        out: list[bytes] = []
        try:
            for name, payload in self._events.follow(data):
                if not self.terminal:
                    self._take(self._reader.read(name, payload), out)
        except AnswerError as error:
            self.fault = str(error)
        if self._writer is not None:
            return b"".join(out)
        return self._events.passed if self.fault is None else b""  # what broke may have been followed by a terminal

    def finish(self) -> bytes:
        """The same at the transport's end."""
        out: list[bytes] = []
        if self.fault is not None:
            return b""
        try:
            self._take(self._reader.end(), out)
        except AnswerError as error:
            self.fault = str(error)
        return self._events.finish() if self._writer is None else b"".join(out)

    def failed(self, code: str, message: str) -> bytes | None:
        """The event that tells of an error; None where the stream is passed on as it is."""
        return self._writer.write(Failed(message, code)) if self._writer is not None else None

    def _take(self, events: Sequence[Event], out: list[bytes]) -> None:
        for event in events:
            if self.terminal:
                return
            self._note(event)
            if self._writer is not None:
                out.append(self._writer.write(event))

    def _note(self, event: Event) -> None:
        match event:
            case Delta():
                self._produced(_bytes_of(event.text), media=event.kind == "audio")
            case BlockBegan():
                text, media = size_of(event.block)
                if text:
                    self._produced(text, media=False)
                if media:
                    self._produced(media, media=True)
            case Used() | Began():
                if isinstance(event, Began):
                    event.id, event.model = event.id or self._began.id, event.model or self._began.model
                if event.usage is not None:
                    self.told = event.usage
                    self.usage_is_last = isinstance(event, Used)
            case Finished():
                self._finish = event.finish
            case Ended():
                self.terminal = True
            case Failed():
                self.error = event.message.encode("utf-8", "replace")
                self.terminal = self._writer is not None  # which has said so, and says no more

    def _produced(self, size: int, media: bool) -> None:
        self.content_events += 1
        self.usage_is_last = False
        if media:
            self.media_bytes += size
        else:
            self.content_bytes += size


class Follows:
    """The answer to one request.

    Args:
        provider: the dialect that it comes in.
        caller: the dialect that it must leave in; None where it is the same.
        request: as the caller asked.
        framing: of a stream.
        name: the id of an answer to which its provider gives none.
    """

    __slots__ = ("_caller", "_framing", "_name", "_provider", "_request")
    passes: Literal[False] = False

    def __init__(
        self,
        provider: ProviderDialect,
        caller: CallerDialect | None,
        request: Request,
        framing: Framing = SERVER_SENT,
        name: str = "",
    ) -> None:
        self._provider = provider
        self._caller = caller
        self._request = request
        self._framing = framing
        self._name = name

    @property
    def stream_type(self) -> bytes:
        """What the content type of a stream begins with."""
        return self._framing.content_type

    def answer(self, body: bytes) -> Whole:
        """Reads a whole answer; raises AnswerError."""
        return self._whole(self._provider.read_answer(body), body)

    def _whole(self, answer: Answer, body: bytes) -> Whole:
        answer.id, answer.model = answer.id or self._name, answer.model or self._request.model
        text, media = _produced(answer)
        finish = next((choice.finish for choice in reversed(answer.choices) if choice.finish), "")
        written = body if self._caller is None else self._caller.write_answer(answer, self._request)
        return Whole(written, answer.usage, finish, text, media)

    def scanner(self) -> AnswerScanner:
        """Reads a stream."""
        request = self._request
        writer = self._caller.stream_writer(request) if self._caller is not None else None
        began = Began(self._name, request.model)
        return AnswerScanner(self._framing.begin(), self._provider.stream_reader(), writer, began)


class FollowsEmbedding:
    """The answer to a request for embeddings.

    Args:
        provider: how it comes.
        caller: how it must leave; None where that is the same.
        request: as the caller asked.
        counted: tokens of its inputs, for a caller who is to be told of them where the provider tells none.
    """

    __slots__ = ("_caller", "_counted", "_provider", "_request")
    passes: Literal[False] = False
    stream_type = SERVER_SENT.content_type

    def __init__(self, provider: ProviderCodec, caller: Codec | None, request: EmbedRequest, counted: int) -> None:
        self._provider = provider
        self._caller = caller
        self._request = request
        self._counted = counted

    def answer(self, body: bytes) -> Whole:
        """Reads a whole answer; raises AnswerError."""
        answer: EmbedAnswer = self._provider.read_answer(body)
        told, asked = answer.usage, len(self._request.inputs)
        if len(answer.vectors) != asked:
            raise AnswerError(f"{asked} inputs have {len(answer.vectors)} embeddings")
        if self._caller is None:
            return Whole(body, told, "", 0, 0)
        if told is None:
            answer.usage = Usage(self._counted, estimated=True)
        return Whole(self._caller.write_answer(answer, self._request), told, "", 0, 0)

    def scanner(self) -> None:
        """No stream answers it."""


def _produced(answer: Answer) -> tuple[int, int]:
    text = media = 0
    for choice in answer.choices:
        for block in choice.blocks:
            more_text, more_media = size_of(block)
            text += more_text
            media += more_media
    return text, media


def _bytes_of(text: str) -> int:
    """In UTF-8: a character of Chinese is three, and about a token."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def size_of(block: Block) -> tuple[int, int]:
    """(bytes of text, bytes of media) that a block of an answer holds."""
    match block:
        case Text() | Thinking() | Refusal():
            return _bytes_of(block.text), 0
        case ToolCall():
            return _bytes_of(block.name) + _bytes_of(block.arguments), 0
        case Image(source=Inline(data=data)) | Audio(source=Inline(data=data)):
            return 0, len(data)
        case _:
            return 0, 0
