"""The shapes of the Responses API, and a reading of them that names what it does not know.

Source: OpenAI API reference, "Responses" (create a response, the response object, streaming events), as typed in `openai-python`
(`types/responses`); what Codex sends beside it is from openai/codex (`codex-api/src/common.rs`, `protocol/src/models.rs`).

Every struct refuses unknown fields, so that the usual request is read in one pass. Where that fails, `prune` takes the JSON apart along
the same structs, tells `Lost` of each unknown field by its path, wraps parts of an unknown type, and what is left is read again: what
fails then is wrong.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec import inspect

from gateway.base.messages import Lost
from gateway.codec.raw import ABSENT

OPAQUE = "throughway.opaque"


HINTS = frozenset(
    (
        "allowed_callers",
        "client_metadata",
        "defer_loading",
        "end_turn",
        "internal_chat_message_metadata_passthrough",
        "output_schema",
        "phase",
        "prompt_cache_options",
    )
)
"""Fields whose loss changes no answer's meaning."""

_T = TypeVar("_T")


class UnreadableError(ValueError):
    """What came is not of this dialect; `path` says where."""

    def __init__(self, what: str, path: str) -> None:
        super().__init__(f"{what} in {path!r}" if path else what)
        self.path = path


class Wire(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """One object of the API."""


# -- parts of a message, or of what a tool returned


class Breakpoint(Wire):
    mode: str | None = None
    ttl: str | None = None


class InputText(Wire, tag="input_text"):
    text: str
    prompt_cache_breakpoint: Breakpoint | None = None


class InputImage(Wire, tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class InputFile(Wire, tag="input_file"):
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class AudioData(Wire):
    data: str
    format: str


class InputAudio(Wire, tag="input_audio"):
    input_audio: AudioData | None = None
    audio_url: str | None = None
    """As Codex sends what a tool returned."""


class OutputText(Wire, tag="output_text"):
    text: str
    annotations: list[msgspec.Raw] | None = None
    logprobs: msgspec.Raw = ABSENT


class RefusalPart(Wire, tag="refusal"):
    refusal: str


class OpaquePart(Wire, tag=OPAQUE):
    """A part of a type that is not known: never on the wire."""

    kind: str
    value: msgspec.Raw


Part: TypeAlias = InputText | InputImage | InputFile | InputAudio | OutputText | RefusalPart | OpaquePart


# -- items


class Caller(Wire):
    type: str
    caller_id: str | None = None


class MessageItem(Wire, tag="message"):
    role: str
    content: str | list[Part] | None = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class SummaryText(Wire, tag="summary_text"):
    text: str


class ReasoningText(Wire, tag="reasoning_text"):
    text: str


class PlainText(Wire, tag="text"):
    text: str


class ReasoningItem(Wire, tag="reasoning"):
    summary: list[SummaryText | OpaquePart] | None = None
    content: list[ReasoningText | PlainText | OpaquePart] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: str | None = None


class FunctionCall(Wire, tag="function_call"):
    call_id: str
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None
    namespace: str | None = None
    caller: Caller | None = None


class CustomToolCall(Wire, tag="custom_tool_call"):
    call_id: str
    name: str
    input: str
    id: str | None = None
    status: str | None = None
    namespace: str | None = None
    caller: Caller | None = None


class FunctionCallOutput(Wire, tag="function_call_output"):
    call_id: str | None = None
    output: str | list[Part] | None = None
    id: str | None = None
    status: str | None = None
    name: str | None = None
    namespace: str | None = None
    caller: Caller | None = None


class CustomToolCallOutput(Wire, tag="custom_tool_call_output"):
    call_id: str | None = None
    output: str | list[Part] | None = None
    id: str | None = None
    status: str | None = None
    name: str | None = None
    namespace: str | None = None
    caller: Caller | None = None


class SearchCall(Wire, tag="tool_search_call"):
    arguments: msgspec.Raw
    call_id: str | None = None
    execution: str | None = None
    id: str | None = None
    status: str | None = None
    created_by: str | None = None


class SearchOutput(Wire, tag="tool_search_output"):
    tools: list[msgspec.Raw]
    call_id: str | None = None
    execution: str | None = None
    id: str | None = None
    status: str | None = None
    created_by: str | None = None


Item: TypeAlias = (
    MessageItem
    | ReasoningItem
    | FunctionCall
    | CustomToolCall
    | FunctionCallOutput
    | CustomToolCallOutput
    | SearchCall
    | SearchOutput
    | OpaquePart
)

_ITEMS: dict[str, msgspec.json.Decoder[Any]] = {
    "message": msgspec.json.Decoder(MessageItem),
    "reasoning": msgspec.json.Decoder(ReasoningItem),
    "function_call": msgspec.json.Decoder(FunctionCall),
    "custom_tool_call": msgspec.json.Decoder(CustomToolCall),
    "function_call_output": msgspec.json.Decoder(FunctionCallOutput),
    "custom_tool_call_output": msgspec.json.Decoder(CustomToolCallOutput),
    "tool_search_call": msgspec.json.Decoder(SearchCall),
    "tool_search_output": msgspec.json.Decoder(SearchOutput),
}


class _Kind(msgspec.Struct):
    type: str | None = None
    role: str | None = None


_kind = msgspec.json.Decoder(_Kind)
_kinds = msgspec.json.Decoder(list[_Kind])
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def read_item(raw: msgspec.Raw, path: str, lost: Lost) -> Item:
    """An item of the output; one of an unknown type as `OpaquePart`."""
    try:
        known = _kind.decode(raw)
    except msgspec.ValidationError as error:
        raise _unreadable(error, path) from error
    return _read_item(known, raw, path, lost)


def read_items(raw: msgspec.Raw, path: str, lost: Lost) -> Iterator[tuple[Item, msgspec.Raw, str]]:
    """All items of a list, each with the JSON that it came as and its path."""
    try:
        kinds = _kinds.decode(raw)
    except msgspec.ValidationError as error:
        raise _unreadable(error, path) from error
    for at, (known, each) in enumerate(zip(kinds, _elements.decode(raw), strict=True)):
        where = f"{path}[{at}]"
        yield _read_item(known, each, where, lost), each, where


def _read_item(known: _Kind, raw: msgspec.Raw, path: str, lost: Lost) -> Item:
    kind = known.type or ("message" if known.role is not None else "item_reference")  # the type of both may be left out
    decoder = _ITEMS.get(kind)
    if decoder is None:
        return OpaquePart(kind, raw)
    item: Item = decode(decoder, raw, path, lost)
    return item


# -- tools


class FunctionTool(Wire, tag="function"):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None


class Format(Wire):
    type: str
    syntax: str | None = None
    definition: str | None = None


class CustomTool(Wire, tag="custom"):
    name: str
    description: str | None = None
    format: Format | None = None


class NamespaceTool(Wire, tag="namespace"):
    name: str
    description: str | None = None
    tools: list[msgspec.Raw] | None = None


class SearchTool(Wire, tag="tool_search"):
    execution: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT


TOOLS: dict[str, msgspec.json.Decoder[Any]] = {
    "function": msgspec.json.Decoder(FunctionTool),
    "custom": msgspec.json.Decoder(CustomTool),
    "namespace": msgspec.json.Decoder(NamespaceTool),
    "tool_search": msgspec.json.Decoder(SearchTool),
}


def kind_of(raw: msgspec.Raw, path: str) -> str:
    """Its `type`."""
    try:
        return _kind.decode(raw).type or ""
    except msgspec.ValidationError as error:
        raise _unreadable(error, path) from error


# -- reading


def decode(decoder: msgspec.json.Decoder[_T], raw: bytes | msgspec.Raw, path: str, lost: Lost) -> _T:
    """What `raw` holds, which stands at `path`.

    Raises:
        UnreadableError: a field is missing or of a wrong type.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        pass
    try:
        return decoder.decode(_pruned(bytes(raw), _information(decoder), path, lost))
    except msgspec.ValidationError as error:
        raise _unreadable(error, path) from error


def _unreadable(error: msgspec.ValidationError, path: str) -> UnreadableError:
    """msgspec says "Expected `str`, got `int` - at `$.content[0].text`"."""
    what, _, where = str(error).partition(" - at ")
    inner = where.strip("`").removeprefix("$")
    return UnreadableError(what, (path + inner).removeprefix("."))


@functools.cache
def _information(decoder: msgspec.json.Decoder[Any]) -> inspect.Type:
    return inspect.type_info(decoder.type)


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _pruned(raw: bytes, kind: inspect.Type, path: str, lost: Lost) -> bytes:
    """The same JSON without what `kind` does not know."""
    kinds: Sequence[inspect.Type] = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    match raw.lstrip()[:1]:
        case b"{":
            structs = [each for each in kinds if isinstance(each, inspect.StructType)]
            return _pruned_object(raw, structs, path, lost) if structs else raw
        case b"[":
            for each in kinds:
                if isinstance(each, inspect.ListType):
                    parts = enumerate(_elements.decode(raw))
                    return msgspec.json.encode(
                        [msgspec.Raw(_pruned(bytes(part), each.item_type, f"{path}[{at}]", lost)) for at, part in parts]
                    )
    return raw


def _pruned_object(raw: bytes, structs: list[inspect.StructType], path: str, lost: Lost) -> bytes:
    fields = _fields.decode(raw)
    struct = structs[0] if len(structs) == 1 else _told(fields.get("type"), structs)
    if struct is None:
        tag = bytes(fields["type"]) if "type" in fields else b'""'
        if not any(each.cls is OpaquePart for each in structs) or not tag.startswith(b'"'):
            return raw
        return msgspec.json.encode({"type": OPAQUE, "kind": msgspec.Raw(tag), "value": msgspec.Raw(raw)})
    known = {field.encode_name: field.type for field in struct.fields}
    kept = {"type": fields["type"]} if "type" in fields and struct.tag is not None else {}
    for name, value in fields.items():
        if (kind := known.get(name)) is not None:
            kept[name] = msgspec.Raw(_pruned(bytes(value), kind, f"{path}.{name}", lost))
        elif name not in kept and bytes(value) != b"null":
            where = f"{path}.{name}".removeprefix(".")
            (lost.hint if name in HINTS else lost.field)(where)
    return msgspec.json.encode(kept)


def _told(tag: msgspec.Raw | None, structs: list[inspect.StructType]) -> inspect.StructType | None:
    if tag is None:
        return None
    for struct in structs:
        if struct.cls is not OpaquePart and bytes(tag) == msgspec.json.encode(struct.tag):
            return struct
    return None
