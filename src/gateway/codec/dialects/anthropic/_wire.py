"""Requests as they stand on the wire.

Source: Anthropic's API reference, "Create a Message" and "Count tokens in a Message", and the parameters' types of its official Python
client (2.13, `anthropic/types/*_param.py` and `types/beta`). Fields that a request may have and that mean nothing to another dialect are
listed all the same: known is not lost unseen, and whoever reads says what became of them.

Every struct forbids what it does not list: a request of known fields alone is read in one pass. For the others see `_unknown`.
A field that is null counts as absent. A request that stays within the dialect is read here as well, for what governs it: so a word that is
new (an effort, a kind of thinking, of source, of choice) is told as lost and refused only where the request has to be translated.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from gateway.codec.raw import ABSENT


class _Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    pass


class CacheControl(_Strict):
    told_as_hints: ClassVar[bool] = True
    """Whatever else stands in it changes the cost alone."""
    type: str = "ephemeral"
    ttl: str | None = None
    scope: msgspec.Raw = ABSENT
    """Who shares what is kept; of a beta that Claude Code uses."""


# -- sources of images and documents


class Base64(_Strict, tag="base64"):
    data: str
    media_type: str


class Url(_Strict, tag="url"):
    url: str


class File(_Strict, tag="file"):
    file_id: str


class PlainText(_Strict, tag="text"):
    data: str
    media_type: str = "text/plain"


class UnknownSource(_Strict, tag="\x00source"):
    """Put by `_unknown` in the place of a source of another type."""

    kind: str
    value: msgspec.Raw


class Content(_Strict, tag="content"):
    """A document made up of blocks."""

    content: str | list[InnerBlock]


# -- blocks


class CitationsConfig(_Strict):
    enabled: bool | None = None


class TextBlock(_Strict, tag="text"):
    text: str
    cache_control: CacheControl | None = None
    citations: list[msgspec.Raw] | None = None


class ImageBlock(_Strict, tag="image"):
    source: Base64 | Url | File | UnknownSource
    cache_control: CacheControl | None = None
    transformations: msgspec.Raw = ABSENT


class DocumentBlock(_Strict, tag="document"):
    source: Base64 | Url | File | PlainText | Content | UnknownSource
    title: str | None = None
    context: str | None = None
    citations: CitationsConfig | None = None
    cache_control: CacheControl | None = None


class SearchResultBlock(_Strict, tag="search_result"):
    source: str
    title: str
    content: list[TextBlock | UnknownBlock]
    citations: CitationsConfig | None = None
    cache_control: CacheControl | None = None


class ThinkingBlock(_Strict, tag="thinking"):
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(_Strict, tag="redacted_thinking"):
    data: str


class ToolUseBlock(_Strict, tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw = ABSENT
    cache_control: CacheControl | None = None
    caller: msgspec.Raw = ABSENT
    toolset_name: str | None = None


class ToolReferenceBlock(_Strict, tag="tool_reference"):
    tool_name: str
    cache_control: CacheControl | None = None


class UnknownBlock(_Strict, tag="\x00unknown"):
    """Put by `_unknown` in the place of a block of another type, which `value` holds as it came.

    A caller who writes its tag says no more than a block of its own could say.
    """

    kind: str
    value: msgspec.Raw


InnerBlock: TypeAlias = TextBlock | ImageBlock | UnknownBlock
ResultBlock: TypeAlias = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock | UnknownBlock


class ToolResultBlock(_Strict, tag="tool_result"):
    tool_use_id: str
    content: str | list[ResultBlock] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: str | None = None


Block: TypeAlias = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ToolReferenceBlock
    | UnknownBlock
)


class Message(_Strict):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block] | None = None
    """Absent only in a system turn that changes settings, which is of a beta."""


# -- the rest


class Tool(_Strict):
    """One that the caller runs. Those of Anthropic's own making are told by their `type`, and kept as they came."""

    name: str
    type: Literal["custom"] | None = None
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT
    cache_control: CacheControl | None = None
    strict: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    eager_input_streaming: bool | None = None
    input_examples: msgspec.Raw = ABSENT


class ToolChoice(_Strict):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(_Strict):
    type: str
    budget_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    display: str | None = None
    block_binding: msgspec.Raw = ABSENT


class Format(_Strict):
    type: str
    schema: msgspec.Raw = ABSENT


class OutputConfig(_Strict):
    effort: str | None = None
    format: Format | None = None
    task_budget: msgspec.Raw = ABSENT


class Metadata(_Strict):
    told_as_hints: ClassVar[bool] = True
    user_id: str | None = None


_Count = Annotated[int, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Request(_Strict):
    model: str | None = None
    messages: list[Message] | None = None
    max_tokens: _Count | None = None
    system: str | list[TextBlock | UnknownBlock] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: _Share | None = None
    top_p: _Share | None = None
    top_k: _Count | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    """Of the beta that `output_config.format` has come from."""
    metadata: Metadata | None = None
    service_tier: str | None = None
    cache_control: CacheControl | None = None
    """Of the last block that can be cached."""
    context_management: msgspec.Raw = ABSENT
    diagnostics: msgspec.Raw = ABSENT
    speed: msgspec.Raw = ABSENT
    fallbacks: msgspec.Raw = ABSENT
    fallback_credit_token: msgspec.Raw = ABSENT
    billing_policy: msgspec.Raw = ABSENT
    betas: msgspec.Raw = ABSENT
    anthropic_beta: msgspec.Raw = ABSENT
    anthropic_version: msgspec.Raw = ABSENT


HINTS = (
    "context_management",
    "diagnostics",
    "speed",
    "fallbacks",
    "fallback_credit_token",
    "billing_policy",
    "betas",
    "anthropic_beta",
    "anthropic_version",
)
"""Fields of a request that change what it costs, how fast it is or what becomes of it elsewhere, and not what the answer says.

`context_management` is among them since it only takes out what the provider would else be sent again; a conversation that is too long
for the other provider is refused there. Whatever stands in no field of `Request` (`container`, `mcp_servers`, `thread`,
`inference_geo`, ...) is told as a field that was lost.
"""
