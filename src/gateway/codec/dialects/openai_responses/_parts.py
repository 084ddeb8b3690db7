"""Parts of messages and of tools' results, and the names of tools, in both directions.

A tool of a namespace (`{"type": "namespace", "name": "mcp__github", "tools": [...]}`, as Codex declares those of MCP servers) is called by
two names here and by one elsewhere: `ns--mcp__github--create_issue`.

A search of tools that the client runs (`{"type": "tool_search", "execution": "client"}`, by which Codex has a model find those of MCP
servers) is a tool, a call and a result of their own kinds here; elsewhere it is a function, whose name no client can mean otherwise.
"""

from __future__ import annotations

import msgspec

from gateway.base.messages import (
    Address,
    Audio,
    Block,
    CacheMark,
    Citation,
    Document,
    Image,
    Inline,
    Lost,
    Opaque,
    Refusal,
    Source,
    StoredFile,
    Text,
)
from gateway.codec.dialects.openai_responses._signed import OWN
from gateway.codec.dialects.openai_responses._wire import (
    AudioData,
    Breakpoint,
    InputAudio,
    InputFile,
    InputImage,
    InputText,
    OpaquePart,
    OutputText,
    Part,
    RefusalPart,
    UnreadableError,
)

# -- names of tools

SEARCH = "tw--tool_search"

_NAMESPACED = "ns--"


def joined_name(namespace: str | None, name: str) -> str:
    """One name of both."""
    return f"{_NAMESPACED}{namespace}--{name}" if namespace else name


def split_name(name: str) -> tuple[str | None, str]:
    """Both, of what `joined_name` made."""
    if name.startswith(_NAMESPACED):
        namespace, mark, own = name[len(_NAMESPACED) :].partition("--")
        if namespace and mark and own:
            return namespace, own
    return None, name


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def object_of(arguments: str) -> msgspec.Raw:
    """Arguments of a search, which are an object here; what is none is what is looked for."""
    try:
        _object.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return encoded({"query": arguments})
    return msgspec.Raw(arguments.encode())


# -- cache marks

_DEFAULT_TTL = "30m"
_TTLS = ("30m", "12h")


def _mark(breakpoint_: Breakpoint | None) -> CacheMark | None:
    return CacheMark(breakpoint_.ttl or _DEFAULT_TTL) if breakpoint_ is not None else None


def _breakpoint(cache: CacheMark | None, path: str, lost: Lost) -> Breakpoint | None:
    """Only of marks that were made for this provider: older models refuse them, and all of them cache unasked."""
    if cache is None:
        return None
    if cache.ttl in _TTLS:
        return Breakpoint("explicit", cache.ttl)
    lost.hint(f"{path}.cache")
    return None


# -- sources

_DATA = "data:"
_BASE64 = ";base64,"


def _source(url: str) -> Source:
    """A data URL holds its bytes; parameters between its type and `;base64` are part of the type."""
    if url.startswith(_DATA):
        media_type, mark, data = url[len(_DATA) :].partition(_BASE64)
        if mark:
            return Inline(media_type, data)
    return Address(url)


def _data_url(inline: Inline) -> str:
    return f"{_DATA}{inline.media_type}{_BASE64}{inline.data}"


_FORMATS = {"mp3": "audio/mpeg", "wav": "audio/wav"}
_FORMAT_OF = {media_type: name for name, media_type in _FORMATS.items()} | {"audio/x-wav": "wav", "audio/mp3": "mp3"}


# -- citations


class _Annotation(msgspec.Struct):
    type: str = ""
    url: str | None = None
    title: str | None = None
    filename: str | None = None
    start_index: int | None = None
    end_index: int | None = None


_annotation = msgspec.json.Decoder(_Annotation)


def citation_of(raw: msgspec.Raw, path: str) -> Citation:
    """What an annotation of any type says."""
    try:
        told = _annotation.decode(raw)
    except msgspec.ValidationError as error:
        raise UnreadableError(str(error).partition(" - at ")[0], path) from error
    return Citation(
        url=told.url or "",
        title=told.title or told.filename or "",
        start=told.start_index,
        end=told.end_index,
        raw=raw,
        dialect=OWN,
    )


class _UrlCitation(msgspec.Struct, tag="url_citation"):
    url: str
    title: str
    start_index: int
    end_index: int


class _FileCitation(msgspec.Struct, tag="file_citation"):
    file_id: str
    filename: str
    index: int


def annotation_of(citation: Citation, length: int) -> object:
    """Of a text of so many characters. A document of the request that has no id is told by its place."""
    if citation.raw is not None and citation.dialect == OWN:
        return citation.raw
    start = citation.start if citation.start is not None else 0
    end = citation.end if citation.end is not None else length
    if citation.url:
        return _UrlCitation(citation.url, citation.title, start, end)
    return _FileCitation(f"document_{citation.document or 0}", citation.title, end)


# -- parts


def block_of(part: Part, path: str, lost: Lost) -> Block:
    """What a part of a message is; of an unknown one the part alone."""
    match part:
        case InputText():
            return Text(part.text, _mark(part.prompt_cache_breakpoint))
        case OutputText():
            if not part.annotations:
                return Text(part.text)
            return Text(part.text, citations=[citation_of(raw, f"{path}.annotations") for raw in part.annotations])
        case RefusalPart():
            return Refusal(part.refusal)
        case InputImage():
            return _image(part, path)
        case InputFile():
            return _document(part, path, lost)
        case InputAudio():
            return _audio(part, path)
        case OpaquePart():
            return Opaque(OWN, part.kind, part.value)


def _image(part: InputImage, path: str) -> Image:
    if part.image_url is not None:
        source = _source(part.image_url)
    elif part.file_id is not None:
        source = StoredFile(part.file_id)
    else:
        raise UnreadableError("An image needs 'image_url' or 'file_id'", path)
    return Image(source, part.detail or "", _mark(part.prompt_cache_breakpoint))


def _audio(part: InputAudio, path: str) -> Audio:
    if part.input_audio is not None:
        told = part.input_audio
        return Audio(Inline(_FORMATS.get(told.format, f"audio/{told.format}"), told.data))
    if part.audio_url is not None:
        return Audio(_source(part.audio_url))
    raise UnreadableError("Audio needs 'input_audio'", path)


def _document(part: InputFile, path: str, lost: Lost) -> Document:
    source: Source
    if part.file_data is not None:
        source = _source(part.file_data)
        if isinstance(source, Address):  # base64 alone
            source = Inline("", part.file_data)
    elif part.file_url is not None:
        source = Address(part.file_url)
    elif part.file_id is not None:
        source = StoredFile(part.file_id)
    else:
        raise UnreadableError("A file needs 'file_data', 'file_url' or 'file_id'", path)
    if part.detail is not None:
        lost.hint(f"{path}.detail")
    return Document(source, title=part.filename or "", cache=_mark(part.prompt_cache_breakpoint))


def part_of(block: Block, path: str, lost: Lost) -> object | None:
    """A part of what a user says or a tool returned; None where the dialect has none, which is told."""
    match block:
        case Text():
            return InputText(block.text, _breakpoint(block.cache, path, lost))
        case Image():
            return _image_part(block, path, lost)
        case Document():
            return _document_part(block, path, lost)
        case Audio(Inline() as inline) if inline.media_type.startswith("audio/"):
            if block.cache is not None:
                lost.hint(f"{path}.cache")
            name = _FORMAT_OF.get(inline.media_type) or inline.media_type.removeprefix("audio/")
            return InputAudio(AudioData(inline.data, name))
        case _:
            lost.field(path)
            return None


def _image_part(image: Image, path: str, lost: Lost) -> InputImage:
    mark = _breakpoint(image.cache, path, lost)
    match image.source:
        case Inline() as inline:
            return InputImage(_data_url(inline), None, image.detail or None, mark)
        case Address(url):
            return InputImage(url, None, image.detail or None, mark)
        case StoredFile(id_):
            return InputImage(None, id_, image.detail or None, mark)


def _document_part(document: Document, path: str, lost: Lost) -> object | None:
    mark = _breakpoint(document.cache, path, lost)
    if document.citations:
        lost.field(f"{path}.citations")
    if document.source is None:
        said = (document.title, document.context, document.text or "")
        return InputText("\n\n".join(filter(None, said)), mark)
    if document.context:
        lost.field(f"{path}.context")
    title = document.title or None
    match document.source:
        case Inline("", data):
            return InputFile(file_data=data, filename=title, prompt_cache_breakpoint=mark)
        case Inline() as inline:
            return InputFile(file_data=_data_url(inline), filename=title, prompt_cache_breakpoint=mark)
        case Address(url):
            return InputFile(file_url=url, filename=title, prompt_cache_breakpoint=mark)
        case StoredFile(id_):
            return InputFile(file_id=id_, filename=title, prompt_cache_breakpoint=mark)


class _SaidText(msgspec.Struct, tag="output_text"):
    text: str
    annotations: list[object]


def said_parts_of(blocks: list[Text | Refusal]) -> str | list[object]:
    """What the model has said, as a caller sends it back: one plain text as such, which even those servers take that ask a list for
    more than OpenAI does."""
    match blocks:
        case [Text(text, citations=[])]:
            return text
    return [_said_part(block) for block in blocks]


def _said_part(block: Text | Refusal) -> object:
    if isinstance(block, Refusal):
        return RefusalPart(block.text)
    return _SaidText(block.text, [annotation_of(each, len(block.text)) for each in block.citations])


def encoded(value: object) -> msgspec.Raw:
    return value if isinstance(value, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(value))
