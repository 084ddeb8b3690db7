"""Reads turns and their blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

import msgspec

from gateway.base import messages as canonical
from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.base.messages import CacheMark, Lost
from gateway.codec import signatures
from gateway.codec.dialects.anthropic import _wire as wire
from gateway.codec.dialects.anthropic._parts import arguments_of, carrier, citation_of, encode
from gateway.codec.raw import ABSENT, given


class _Caller(msgspec.Struct):
    type: str = "direct"


class _Named(msgspec.Struct):
    name: str = ""


_caller = msgspec.json.Decoder(_Caller)
_named = msgspec.json.Decoder(_Named)


def invalid(text: str, prefix: str = "") -> GatewayError:
    """msgspec says "Expected `str`, got `int` - at `$.messages[0].role`"."""
    what, _, where = text.partition(" - at ")
    param = (prefix + where.strip("`").removeprefix("$")).removeprefix(".") or None
    return GatewayError(INVALID_VALUE, f"{what}{f' in {param!r}' if param else ''}.", param=param)


def refuse(param: str, message: str) -> NoReturn:
    raise GatewayError(INVALID_VALUE, message, param=param)


SYSTEM = -1
"""In place of the number of a turn."""


def mark_of(found: wire.CacheControl | None) -> CacheMark | None:
    return None if found is None else CacheMark(found.ttl or "")


class Reader:
    """Of blocks; tells `lost` of what it leaves out.

    Where a block stands is passed on as numbers (of its turn, in it, in a result in it): a path is made only for what is told.
    """

    __slots__ = ("_lost",)

    def __init__(self, lost: Lost) -> None:
        self._lost = lost

    def message(self, found: wire.Message, i: int) -> canonical.Message:
        if found.content is None:
            if found.role != "system":
                refuse(f"messages[{i}].content", f"'messages[{i}].content' is missing.")
            return canonical.Message("system", [])
        return canonical.Message(found.role, self.blocks(found.content, i))

    def blocks(self, content: str | Sequence[wire.Block], i: int) -> list[canonical.Block]:
        if isinstance(content, str):
            return [canonical.Text(content)]
        blocks: list[canonical.Block] = []
        signed: dict[str, canonical.Signature] | None = None
        for j, block in enumerate(content):
            if type(block) is wire.RedactedThinkingBlock:
                of_call = carrier(block.data)
                if of_call is not None:
                    signed = signed if signed is not None else {}
                    signed[of_call[0]] = of_call[1]
                    continue
            elif type(block) is wire.UnknownBlock and _is_of_tool_search(block):
                self._lost.hint(_path((i, j)))
                continue
            blocks.append(_READ[type(block)](self, block, (i, j)))
        if signed is not None:
            for call in blocks:
                if type(call) is canonical.ToolCall and call.id in signed:
                    call.signature = signed[call.id]
        return blocks

    def _text(self, block: wire.TextBlock, at: _Place) -> canonical.Text:
        mark = block.cache_control
        if mark is None and not block.citations:
            return canonical.Text(block.text)
        text = canonical.Text(block.text, mark_of(mark))
        if block.citations:
            try:
                text.citations = [citation_of(raw) for raw in block.citations]
            except msgspec.ValidationError as error:
                raise invalid(str(error), f"{_path(at)}.citations") from error
        return text

    def _tool_use(self, block: wire.ToolUseBlock, at: _Place) -> canonical.ToolCall:
        if block.toolset_name:
            self._lost.hint(f"{_path(at)}.toolset_name")
        if block.caller is not ABSENT and not _is_direct(block.caller):
            self._lost.hint(f"{_path(at)}.caller")
        call = canonical.ToolCall(block.id, block.name, arguments_of(block.input))
        if block.cache_control is not None:
            call.cache = mark_of(block.cache_control)
        return call

    def _tool_result(self, block: wire.ToolResultBlock, at: _Place) -> canonical.ToolResult:
        if block.toolset_name:
            self._lost.hint(f"{_path(at)}.toolset_name")
        found = block.content
        result = canonical.ToolResult(block.tool_use_id, [], block.is_error is True)
        if isinstance(found, str):
            result.content = [canonical.Text(found)]
        elif found is not None:
            result.content = [_READ[type(inner)](self, inner, (*at, k)) for k, inner in enumerate(found)]
        if block.cache_control is not None:
            result.cache = mark_of(block.cache_control)
        return result

    def _thinking(self, block: wire.ThinkingBlock, at: _Place) -> canonical.Thinking:
        return canonical.Thinking(
            block.thinking, signatures.taken(block.signature, "anthropic") if block.signature else None
        )

    def _redacted_thinking(self, block: wire.RedactedThinkingBlock, at: _Place) -> canonical.Thinking:
        return canonical.Thinking(signature=signatures.taken(block.data, "anthropic"), redacted=True)

    def _image(self, block: wire.ImageBlock, at: _Place) -> canonical.Image | canonical.Opaque:
        if isinstance(block.source, wire.UnknownSource):
            return _as_it_came(block, "image")
        if given(block.transformations):
            self._lost.hint(f"{_path(at)}.transformations")
        return canonical.Image(_source(block.source), cache=mark_of(block.cache_control))

    def _search_result(self, block: wire.SearchResultBlock, at: _Place) -> canonical.Document | canonical.Opaque:
        texts = _texts(block.content)
        if texts is None:
            return _as_it_came(block, "search_result")
        return canonical.Document(
            text=texts,
            title=block.title,
            context=block.source,
            citations=_may_cite(block.citations),
            cache=mark_of(block.cache_control),
        )

    def _tool_reference(self, block: wire.ToolReferenceBlock, at: _Place) -> canonical.Text:
        return canonical.Text(block.tool_name, mark_of(block.cache_control))

    def _opaque(self, block: wire.UnknownBlock, at: _Place) -> canonical.Opaque:
        return canonical.Opaque("anthropic", block.kind, block.value)

    def _document(self, block: wire.DocumentBlock, at: _Place) -> canonical.Document | canonical.Opaque:
        document = canonical.Document(
            title=block.title or "",
            context=block.context or "",
            citations=_may_cite(block.citations),
            cache=mark_of(block.cache_control),
        )
        match block.source:
            case wire.PlainText(data=text):
                document.text = text
            case wire.Content(content=content):
                document.text = content if isinstance(content, str) else _texts(content)
                if document.text is None:
                    return _as_it_came(block, "document")
            case wire.UnknownSource():
                return _as_it_came(block, "document")
            case source:
                document.source = _source(source)
                if isinstance(document.source, canonical.Address):
                    document.source.media_type = "application/pdf"
        return document


def _texts(blocks: Sequence[wire.InnerBlock]) -> str | None:
    """Of blocks that are all texts."""
    texts = [block.text for block in blocks if isinstance(block, wire.TextBlock)]
    return "\n".join(texts) if len(texts) == len(blocks) else None


def _as_it_came(block: wire.ImageBlock | wire.DocumentBlock | wire.SearchResultBlock, kind: str) -> canonical.Opaque:
    """A block of a known type that holds what is unknown, or what has no place in the canonical form."""
    fields = msgspec.structs.asdict(block)
    source = block.source
    if isinstance(source, wire.UnknownSource):
        fields["source"] = source.value
    elif isinstance(source, wire.Content):
        fields["source"] = {"type": "content", "content": _unwrapped(source.content)}
    elif isinstance(block, wire.SearchResultBlock):
        fields["content"] = _unwrapped(block.content)
    given = {name: value for name, value in fields.items() if value is not None and value is not ABSENT}
    return canonical.Opaque("anthropic", kind, msgspec.Raw(encode({"type": kind, **given})))


def _unwrapped(content: str | Sequence[wire.InnerBlock]) -> object:
    if isinstance(content, str):
        return content
    return [block.value if isinstance(block, wire.UnknownBlock) else block for block in content]


_Place: TypeAlias = tuple[int, ...]

_READ: dict[type, Callable[..., Any]] = {
    wire.TextBlock: Reader._text,
    wire.ToolUseBlock: Reader._tool_use,
    wire.ToolResultBlock: Reader._tool_result,
    wire.ThinkingBlock: Reader._thinking,
    wire.RedactedThinkingBlock: Reader._redacted_thinking,
    wire.ImageBlock: Reader._image,
    wire.DocumentBlock: Reader._document,
    wire.SearchResultBlock: Reader._search_result,
    wire.ToolReferenceBlock: Reader._tool_reference,
    wire.UnknownBlock: Reader._opaque,
}


def _path(at: _Place) -> str:
    i, *inner = at
    turn = "system" if i == SYSTEM else f"messages[{i}].content"
    return turn + ".content".join(f"[{j}]" for j in inner)


def _is_direct(raw: msgspec.Raw) -> bool:
    """Whether the model itself has made a call, and not a program of its own."""
    if not given(raw):
        return True
    try:
        return _caller.decode(raw).type == "direct"
    except msgspec.ValidationError:
        return False


TOOL_SEARCH = "tool_search_tool_"
"""What the names of the tools begin with that the provider finds deferred tools with, and what these find.

Whoever is asked in another dialect has all tools before it, and nothing to search for.
"""


def _is_of_tool_search(block: wire.UnknownBlock) -> bool:
    if block.kind != "server_tool_use":
        return block.kind.startswith(TOOL_SEARCH)
    try:
        return _named.decode(block.value).name.startswith(TOOL_SEARCH)
    except msgspec.ValidationError:
        return False


def _may_cite(found: wire.CitationsConfig | None) -> bool:
    return found is not None and found.enabled is True


def _source(source: wire.Base64 | wire.Url | wire.File) -> canonical.Source:
    match source:
        case wire.Base64():
            return canonical.Inline(source.media_type, source.data)
        case wire.Url():
            return canonical.Address(source.url)
        case wire.File():
            return canonical.StoredFile(source.file_id)
