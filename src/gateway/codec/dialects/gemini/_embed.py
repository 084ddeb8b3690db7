"""embedContent and batchEmbedContents.

Sources: Gemini API reference, "Embeddings" (EmbedContentRequest, its `embedContentConfig`, ContentEmbedding, EmbeddingUsageMetadata), and
the types of Google's client `google-genai` 3.6, which asks for batches alone.

What stands in `embedContentConfig` is what the fields beside it were before; where both say something, it counts.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from _fastpath.usage import Usage
from gateway.base.dialect import AnswerError
from gateway.base.embedding import EmbedAnswer, EmbedInput, EmbedRequest, Vector
from gateway.base.errors import INVALID_VALUE, UNSUPPORTED_PARAMETER, GatewayError
from gateway.base.messages import Audio, Block, Document, Image, Lost, Text, Video
from gateway.codec.raw import ABSENT, given
from gateway.codec.vectors import is_list, numbers_of

from ._body import decode
from ._media import write_media
from ._names import renamed, resource
from ._parts import read_part
from ._usage import read_usage
from ._wire import AskedContent

MAX_REQUESTS = 2_048
"""Of a batch; Google takes at most 100."""

_Size = Annotated[int, msgspec.Meta(ge=1)] | None


class _Config(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: _Size = None


class _Asked(_Config, forbid_unknown_fields=True):
    content: AskedContent | None = None
    embed_content_config: _Config | None = None
    model: str | None = None
    """`models/NAME`, that of the path."""


class _Batch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    requests: list[_Asked] | None = None
    model: str | None = None


class _Embedding(msgspec.Struct):
    values: msgspec.Raw


class _Answer(msgspec.Struct, rename="camel"):
    embedding: _Embedding | None = None
    embeddings: list[_Embedding] | None = None
    usage_metadata: msgspec.Raw = ABSENT


_asked_decoder = msgspec.json.Decoder(_Asked)
_batch_decoder = msgspec.json.Decoder(_Batch)
_answer_decoder = msgspec.json.Decoder(_Answer)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_objects_decoder = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class _Embed:
    """What both methods have in common."""

    def write_request(self, request: EmbedRequest, lost: Lost) -> bytes:
        """A batch, of one input too. Raises GatewayError."""
        name = resource(request.model)
        requests = [_written(each, i, name) for i, each in enumerate(request.inputs)]
        if request.user:
            lost.hint("user")
        return msgspec.json.encode({"requests": requests})

    def read_answer(self, body: bytes) -> EmbedAnswer:
        """Raises AnswerError."""
        try:
            answer = _answer_decoder.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise AnswerError("no embeddings") from error
        found = answer.embeddings if answer.embedding is None else [answer.embedding]
        vectors: list[Vector] = [each.values for each in found or ()]
        if not all(isinstance(each, msgspec.Raw) and is_list(each) for each in vectors):
            raise AnswerError("the values of an embedding are no list")
        return EmbedAnswer("", vectors, _used(answer.usage_metadata))


class EmbedContent(_Embed):
    """A `gateway.base.dialect.Codec` of one embedding."""

    def rename(self, body: bytes, model: str) -> bytes:
        """A body that was read, with the model's name where one stands."""
        found = _object_decoder.decode(body)
        return msgspec.json.encode(renamed(found, model)) if "model" in found else body

    def read_request(self, body: bytes, lost: Lost) -> EmbedRequest:
        """Raises GatewayError."""
        return EmbedRequest(model="", inputs=[_input(decode(_asked_decoder, body, lost), "")])

    def write_answer(self, answer: EmbedAnswer, request: EmbedRequest) -> bytes:
        """Raises AnswerError."""
        return _with_usage({"embedding": {"values": numbers_of(answer.vectors[0])}}, answer.usage)


class BatchEmbedContents(_Embed):
    """The same of several at once."""

    def rename(self, body: bytes, model: str) -> bytes:
        """A body that was read, with the model's name where one stands: Google wants the path's in each request."""
        found = _object_decoder.decode(body)
        requests = [renamed(each, model) for each in _objects_decoder.decode(found["requests"])]
        return msgspec.json.encode(renamed(found, model) | {"requests": requests})

    def read_request(self, body: bytes, lost: Lost) -> EmbedRequest:
        """Raises GatewayError."""
        asked = decode(_batch_decoder, body, lost).requests
        if not asked:
            raise GatewayError(INVALID_VALUE, "'requests' must hold at least one request.", param="requests")
        if len(asked) > MAX_REQUESTS:
            message = f"'requests' holds at most {MAX_REQUESTS:,} requests."
            raise GatewayError(INVALID_VALUE, message, param="requests")
        return EmbedRequest(model="", inputs=[_input(each, f"requests[{i}].") for i, each in enumerate(asked)])

    def write_answer(self, answer: EmbedAnswer, request: EmbedRequest) -> bytes:
        """Raises AnswerError."""
        return _with_usage({"embeddings": [{"values": numbers_of(each)} for each in answer.vectors]}, answer.usage)


EMBED_CONTENT, BATCH_EMBED_CONTENTS = EmbedContent(), BatchEmbedContents()


def _input(asked: _Asked, path: str) -> EmbedInput:
    parts = asked.content.parts if asked.content is not None else None
    if not parts:
        raise GatewayError(INVALID_VALUE, f"'{path}content' must hold at least one part.", param=f"{path}content")
    blocks: list[Block] = []
    for part in parts:
        blocks += read_part(part, "")
    config = asked.embed_content_config or _Config()
    return EmbedInput(
        blocks,
        dimensions=config.output_dimensionality or asked.output_dimensionality,
        task=config.task_type or asked.task_type or "",
        title=config.title or asked.title or "",
    )


def _written(asked: EmbedInput, number: int, name: str) -> dict[str, Any]:
    if asked.tokens:
        message = "Gemini embeds texts, no ids of tokens: their vocabulary is another model's."
        raise GatewayError(UNSUPPORTED_PARAMETER, message, param="input")
    written: dict[str, Any] = {"model": name, "content": {"parts": [_part(each, number) for each in asked.blocks]}}
    if asked.task:
        written["taskType"] = asked.task
    if asked.title:
        written["title"] = asked.title
    if asked.dimensions is not None:
        written["outputDimensionality"] = asked.dimensions
    return written


def _part(block: Block, number: int) -> dict[str, Any]:
    part: dict[str, Any] | None = None
    match block:
        case Text():
            part = {"text": block.text}
        case Image() | Audio() | Video() | Document():
            part = write_media(block)
    if part is None:
        message = f"Gemini cannot embed what input {number} holds ({type(block).__name__.lower()})."
        raise GatewayError(UNSUPPORTED_PARAMETER, message, param="input")
    return part


def _used(raw: msgspec.Raw) -> Usage | None:
    usage = read_usage(raw)[0] if given(raw) else None
    return usage if usage is not None and usage.input else None


def _with_usage(body: dict[str, Any], usage: Usage | None) -> bytes:
    if usage is not None:
        body["usageMetadata"] = {"promptTokenCount": usage.input}
    return msgspec.json.encode(body)
