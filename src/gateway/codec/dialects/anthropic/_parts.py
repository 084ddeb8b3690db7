"""What requests, answers and streams share: arguments of calls, citations, and signatures of calls.

Arguments. On the wire an input is an object of JSON; in the canonical form it is text, which a model may have spoilt, and for a tool
that takes free text it is no JSON at all. Such a text travels as `{"INVALID_JSON": text}`, as Anthropic's page on fine-grained tool
streaming advises, and that of a free-text tool as `{"input": text}`. An empty text is `{}`: models leave out the arguments of a tool
that has none.

Signatures of calls. Gemini signs its calls and wants the signatures back; a `tool_use` block has no place for one. It travels beside the
call as a block of redacted thinking, which clients send back untouched: `call.<id of the call>.tw1.<dialect>.<signature>`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.base.messages import Citation, Signature, ToolCall
from gateway.codec import signatures

INVALID = "INVALID_JSON"
FREE_TEXT = "input"

encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_EMPTY = msgspec.Raw(b"{}")
_NULL = b"null"


# -- arguments of calls


def input_of(call: ToolCall) -> msgspec.Raw:
    """The arguments as an object."""
    text = call.arguments
    if call.custom:
        return msgspec.Raw(encode({FREE_TEXT: text}))
    if not text or text.isspace():
        return _EMPTY
    raw = text.encode()
    if not is_object(raw):
        return msgspec.Raw(encode({INVALID: text}))
    return msgspec.Raw(raw)


def is_object(raw: bytes) -> bool:
    try:
        _object.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def arguments_of(raw: msgspec.Raw) -> str:
    """The text of an object, or the one that could not be read as an object."""
    value = bytes(raw)
    if value == _NULL:
        return "{}"
    if value.startswith(b"{") and INVALID.encode() in value[:32]:
        fields = _object.decode(value)
        if len(fields) == 1 and INVALID in fields:
            try:
                return _text.decode(fields[INVALID])
            except msgspec.ValidationError:
                pass
    return value.decode()


# -- signatures of calls

_OF_CALL = "call."
_MARK = ".tw1."


def carried(call_id: str, signature: Signature) -> str:
    """The data of a redacted thought that carries the signature of a call."""
    return f"{_OF_CALL}{call_id}.{signatures.shown(signature, 'anthropic')}"


def carrier(data: str) -> tuple[str, Signature] | None:
    """The id of the call and its signature; None where it is a thought."""
    if not data.startswith(_OF_CALL):
        return None
    call_id, mark, rest = data[len(_OF_CALL) :].partition(_MARK)
    return (call_id, signatures.taken(_MARK[1:] + rest, "anthropic")) if mark else None


# -- citations


class _Citation(msgspec.Struct):
    type: str = ""
    cited_text: str | None = None
    document_title: str | None = None
    document_index: int | None = None
    title: str | None = None
    url: str | None = None
    source: str | None = None


_citation = msgspec.json.Decoder(_Citation)


def citation_of(raw: msgspec.Raw) -> Citation:
    """Where in a document a quote stands is left in `raw`: it may be told in characters, pages or blocks.

    Raises:
        msgspec.ValidationError
    """
    found = _citation.decode(raw)
    return Citation(
        url=found.url or found.source or "",
        title=found.title or found.document_title or "",
        quote=found.cited_text or "",
        document=found.document_index,
        raw=msgspec.Raw(bytes(raw)),
        dialect="anthropic",
    )


def written_citation(citation: Citation) -> Any | None:
    """As it came; that of another dialect as a result of a search of the web; None where it names no address."""
    if citation.raw is not None and citation.dialect == "anthropic":
        return citation.raw
    if not citation.url:
        return None
    return {
        "type": "web_search_result_location",
        "cited_text": citation.quote,
        "encrypted_index": "",
        "title": citation.title or None,
        "url": citation.url,
    }
