"""Events of a stream, as they are written; deltas, of which there are many, are put together by `_stream_out`."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from gateway.codec.dialects.openai_responses._output import ResponseOut


class Lifecycle(msgspec.Struct):
    type: str
    sequence_number: int
    response: ResponseOut


class ItemEvent(msgspec.Struct):
    type: str
    sequence_number: int
    output_index: int
    item: object


class PartEvent(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    part: object


class SummaryEvent(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    summary_index: int
    part: object


class TextDone(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    text: str
    logprobs: list[object]


class RefusalDone(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    refusal: str


class ThoughtDone(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    text: str


class SummaryDone(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    summary_index: int
    text: str


class ArgumentsDone(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    arguments: str


class InputDone(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    input: str


class Annotated(msgspec.Struct):
    type: str
    sequence_number: int
    item_id: str
    output_index: int
    content_index: int
    annotation_index: int
    annotation: object


Written: TypeAlias = (
    Lifecycle
    | ItemEvent
    | PartEvent
    | SummaryEvent
    | TextDone
    | RefusalDone
    | ThoughtDone
    | SummaryDone
    | ArgumentsDone
    | InputDone
    | Annotated
)
