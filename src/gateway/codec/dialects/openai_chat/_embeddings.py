"""Embeddings: `/v1/embeddings`, as OpenAI has it and whoever is compatible.

Source: OpenAI API reference, "Embeddings", and the types of the official client (`types/embedding_create_params`,
`types/create_embedding_response`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import inspect

from gateway.base.dialect import AnswerError
from gateway.base.embedding import EmbedAnswer, EmbedInput, EmbedRequest, Vector
from gateway.base.errors import INVALID_JSON, INVALID_VALUE, UNSUPPORTED_PARAMETER, GatewayError
from gateway.base.messages import Block, Lost, Text
from gateway.codec.dialects.openai_chat._unknown import without_unknown
from gateway.codec.dialects.openai_chat.usage import usage_of
from gateway.codec.faults import validation_fault
from gateway.codec.raw import ABSENT, given
from gateway.codec.vectors import base64_of, is_list, numbers_of

_SEAM = "\n"
"""Between the texts of one input."""


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class _Told(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Told]
    model: str = ""
    usage: msgspec.Raw = ABSENT


_asked_decoder = msgspec.json.Decoder(_Asked)
_ASKED = inspect.type_info(_Asked)
_answer_decoder = msgspec.json.Decoder(_Answer)
_text_decoder = msgspec.json.Decoder(str)
_UNKNOWN = "Object contains unknown field"


class Embeddings:
    """A `gateway.base.dialect.Codec` of embeddings."""

    def read_request(self, body: bytes, lost: Lost) -> EmbedRequest:
        """Raises GatewayError."""
        told = _decode(body, lost)
        inputs = [EmbedInput(*each, dimensions=told.dimensions) for each in _inputs(told.input)]
        return EmbedRequest(
            model=told.model, inputs=inputs, encoding=told.encoding_format or "float", user=told.user or ""
        )

    def write_request(self, request: EmbedRequest, lost: Lost) -> bytes:
        """Raises GatewayError."""
        inputs = request.inputs
        body: dict[str, object] = {
            "model": request.model,
            "input": [_written(inputs[i], i) for i in range(len(inputs))],
        }
        dimensions = {each.dimensions for each in inputs}
        if len(dimensions) > 1:
            message = "All vectors of a request have as many dimensions here; ask for those of other sizes apart."
            raise GatewayError(UNSUPPORTED_PARAMETER, message, param="outputDimensionality")
        if inputs[0].dimensions is not None:
            body["dimensions"] = inputs[0].dimensions
        for i, each in enumerate(inputs):
            if each.task:
                lost.field(f"requests[{i}].taskType")
            if each.title:
                lost.field(f"requests[{i}].title")
        if request.user:
            body["user"] = request.user
        return msgspec.json.encode(body)

    def read_answer(self, body: bytes) -> EmbedAnswer:
        """Raises AnswerError."""
        try:
            answer = _answer_decoder.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise AnswerError("no list of embeddings") from error
        at = [i if each.index is None else each.index for i, each in enumerate(answer.data)]
        if sorted(at) != list(range(len(at))):
            raise AnswerError("the indices of its embeddings are not those of its inputs")
        vectors: list[Vector] = [""] * len(at)
        for i, each in zip(at, answer.data, strict=True):
            vectors[i] = _vector(each.embedding)
        return EmbedAnswer(answer.model, vectors, usage_of(answer.usage) if given(answer.usage) else None)

    def write_answer(self, answer: EmbedAnswer, request: EmbedRequest) -> bytes:
        """Raises AnswerError."""
        form = base64_of if request.encoding == "base64" else numbers_of
        used = answer.usage.input if answer.usage is not None else 0
        data = [{"object": "embedding", "index": i, "embedding": form(each)} for i, each in enumerate(answer.vectors)]
        return msgspec.json.encode(
            {
                "object": "list",
                "data": data,
                "model": answer.model or request.model,
                "usage": {"prompt_tokens": used, "total_tokens": used},
            }
        )


EMBEDDINGS = Embeddings()


def _decode(body: bytes, lost: Lost) -> _Asked:
    try:
        try:
            return _asked_decoder.decode(body)
        except msgspec.ValidationError as error:
            if not str(error).startswith(_UNKNOWN):
                raise
            known, unknown = without_unknown(body, _ASKED)
            for path in unknown:
                lost.field(path)
            return _asked_decoder.decode(known)
    except msgspec.ValidationError as error:
        raise validation_fault(error) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise GatewayError(INVALID_JSON, "The body is not valid JSON.") from error


def _inputs(told: str | list[str | int | list[int]]) -> list[tuple[list[Block], list[int]]]:
    """(blocks, tokens) of each."""
    if isinstance(told, str):
        return [([Text(told)], [])]
    texts = [each for each in told if isinstance(each, str)]
    lists = [each for each in told if isinstance(each, list)]
    ids = [each for each in told if isinstance(each, int)]
    if not told or len(told) not in (len(texts), len(lists), len(ids)):
        message = "'input' must be a text or the ids of its tokens, or a list of texts or of lists of ids, not empty."
        raise GatewayError(INVALID_VALUE, message, param="input")
    if ids:
        return [([], ids)]
    return [([], each) for each in lists] if lists else [([Text(each)], []) for each in texts]


def _written(asked: EmbedInput, number: int) -> str | list[int]:
    if asked.tokens:
        return asked.tokens
    texts = [block.text for block in asked.blocks if isinstance(block, Text)]
    if len(texts) < len(asked.blocks):
        kind = next(type(block).__name__.lower() for block in asked.blocks if not isinstance(block, Text))
        message = f"Only texts are embedded by a provider of this kind; input {number} holds something else ({kind})."
        raise GatewayError(UNSUPPORTED_PARAMETER, message, param=f"requests[{number}].content")
    return _SEAM.join(texts)


def _vector(raw: msgspec.Raw) -> Vector:
    if is_list(raw):
        return raw
    try:
        return _text_decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise AnswerError("an embedding is neither a list of numbers nor base64") from error
