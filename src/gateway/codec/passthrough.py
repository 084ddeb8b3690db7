"""What is asked of a provider as it stands, at `/{provider}/{path}?{query}`: its target, its head, and what its answer used.

One reading: a path has one spelling here, that spelling is authorised, and it is what is sent. So dot segments, empty segments and what
is percent-encoded without need are refused, and what some servers read differently (`;`, `@`, `\\`, encoded slashes) with them
(RFC 3986 sections 3.3, 5.2.4 and 6.2.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol
from urllib.parse import unquote_to_bytes

import msgspec

from _fastpath.chat import Reading
from _fastpath.jsonscan import ScanError, scan
from _fastpath.sse import ChatScanner, EventScanner
from _fastpath.usage import Usage, charged
from gateway.base.context import Endpoint, Kind
from gateway.base.dialect import AnswerError, Dialect, ProviderDialect
from gateway.base.errors import INVALID_VALUE, GatewayError
from gateway.base.messages import Request
from gateway.base.ports import Exchange
from gateway.codec.dialects import anthropic, gemini, openai_chat, openai_responses
from gateway.codec.dialects.openai_chat.usage import usage_of
from gateway.codec.faults import MAX_DEPTH
from gateway.codec.framing import SERVER_SENT
from gateway.codec.raw import ABSENT, given
from gateway.codec.translation import Follows

NAME = "passthrough"
"""Of the endpoint, in records and metrics."""

RESERVED = frozenset(["v1", "v1beta"])
"""First segments of the gateway's own paths."""

MAX_USAGE_BYTES = 262_144
"""Of an answer in JSON that is kept while it passes, to find what it used; of a longer one nothing is known."""
BYTES_A_TOKEN = 4
MAX_MODEL_CHARS = 256

REQUEST_HEADERS = (
    b"content-type",
    b"content-encoding",
    b"content-language",
    b"accept",
    b"accept-language",
    b"range",
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-range",
    b"anthropic-version",
    b"anthropic-beta",
    b"openai-beta",
    b"idempotency-key",
)
"""Of a caller's, that go on."""
ANSWER_HEADERS = (
    b"content-type",
    b"content-encoding",
    b"content-language",
    b"content-disposition",
    b"content-range",
    b"accept-ranges",
    b"etag",
    b"last-modified",
    b"cache-control",
    b"retry-after",
    b"retry-after-ms",
    b"x-should-retry",
    b"request-id",
)
"""Of a provider's, that come back. Cookies, places of redirections and what tells of the account never do."""

_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,=:-]|%[0-9A-F]{2})*)+")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""What need not be encoded (RFC 3986 section 2.3)."""
_QUERY = re.compile(rb"[!$-;=?-~]*")
"""Visible ASCII but for quotes, `#` and angle brackets."""
_CREDENTIALS = frozenset([b"access_token", b"api_key", b"api-key", b"subscription-key"])
"""Parameters of a query as which some providers take a credential."""


def split(path: str) -> tuple[str, str] | None:
    """(name of the provider, path behind it); None where it is a path of the gateway itself, or none that could be a provider's."""
    name, slash, _ = path[1:].partition("/")
    if not path.startswith("/") or not slash or not name or name in RESERVED:
        return None
    return name, path[1 + len(name) :]


def checked_path(path: str, base_path: str) -> str:
    """What is asked for behind the base URL. That of the base URL itself may stand before it once more, as some clients write it.

    Raises:
        GatewayError: it has another spelling, or one that is read differently by some.
    """
    for part, what in (("//", "an empty segment"), ("@", "an @; write %40"), (";", "a `;`"), ("\\", "a backslash")):
        if part in path:
            raise _unsafe(f"it holds {what}")
    if not _PATH.fullmatch(path):
        raise _unsafe("it holds what no path holds, or a `%` without two digits 0-9 A-F behind it")
    for encoded in re.findall("%(..)", path):
        byte = int(encoded, 16)
        if byte in _PLAIN:
            raise _unsafe(f"%{encoded} need not be encoded; write {chr(byte)}")
        if byte in b"/\\%" or byte < 0x20 or byte == 0x7F:
            raise _unsafe(f"it holds %{encoded}, which some read as a part of its structure")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise _unsafe("it holds a dot segment")
    if base_path and path.startswith(f"{base_path}/"):
        return path[len(base_path) :]
    return path


def _unsafe(what: str) -> GatewayError:
    return GatewayError(INVALID_VALUE, f"The path is not passed on: {what}.", param="path")


def check_query(query: bytes, kind: Kind) -> None:
    """Raises GatewayError where it holds what no query holds, or a credential."""
    if not _QUERY.fullmatch(query):
        raise GatewayError(INVALID_VALUE, "The query is not passed on: it holds what no query holds.", param="query")
    for parameter in re.split(b"[&;]", query):
        name = unquote_to_bytes(parameter.partition(b"=")[0].replace(b"+", b" ")).lower()
        if name in _CREDENTIALS or (name == b"key" and kind.name in ("gemini", "vertex")):
            shown = name.decode()
            message = f"The query holds {shown!r}: the provider's credential is put in by the gateway. Leave it out."
            raise GatewayError(INVALID_VALUE, message, param=shown)


# -- heads


_SPOKEN: dict[str, Dialect] = {each.name: each for each in (anthropic.DIALECT, gemini.DIALECT)}


def endpoint_of(kind: Kind) -> Endpoint:
    """As what a request to a provider of that kind is governed: its clients' dialect, where callers may speak it."""
    return Endpoint(NAME, "/{provider}/", unread, _SPOKEN.get(kind.dialect.name, openai_chat.DIALECT))


def unread(body: bytes) -> Reading:
    raise AssertionError("what is passed on is not read")


def fixed_fields(host: str, credential: str | None, own: Sequence[tuple[str, str]]) -> bytes:
    """The header lines that each request to a provider has."""
    lines = [f"host: {host}", "accept-encoding: identity", "user-agent: throughway"]
    if credential is not None:
        lines.append(credential)
    lines += [f"{name}: {value}" for name, value in own]
    return "".join(f"{line}\r\n" for line in lines).encode()


def carried(exchange: Exchange, names: Iterable[bytes]) -> bytes:
    """The header lines of the caller's that go on."""
    lines = []
    for name in names:
        values = exchange.values(name)
        if values:
            lines.append(b"%b: %b\r\n" % (name, b", ".join(values)))
    return b"".join(lines)


def request(method: str, target: bytes, fields: bytes, body: bytes) -> bytes | list[bytes]:
    """A whole request, in pieces where its body is large."""
    length = b"content-length: %d\r\n" % len(body) if body or method in ("POST", "PUT", "PATCH") else b""
    head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method.encode(), target, fields, length)
    return head + body if len(body) <= 65_536 else [head, body]


# -- what an answer used


class Told(msgspec.Struct):
    """What an answer tells of itself."""

    usage: Usage | None = None
    """None where nothing can be known."""
    model: str = ""
    """By the provider's name; "" where it does not say."""


class Reader(Protocol):
    """Reads an answer as it passes."""

    def feed(self, data: bytes) -> None: ...
    def told(self, complete: bool) -> Told: ...


class _Named(msgspec.Struct):
    model: str | None = None
    modelVersion: str | None = None  # noqa: N815 - Google's name


class _Answer(_Named):
    usage: msgspec.Raw = ABSENT


_named_decoder = msgspec.json.Decoder(_Named)
_answer_decoder = msgspec.json.Decoder(_Answer)


def model_in(body: bytes, path: str) -> str:
    """The model that a request asks for; "" where none can be read, or not in one way only."""
    found = re.fullmatch(r"/(?:.*/)?models/([^/:]+):[A-Za-z]+", path)
    if found is not None:
        return found[1][:MAX_MODEL_CHARS]
    if not body.startswith(b"{") or len(body) > MAX_USAGE_BYTES:
        return ""
    try:
        scan(body, (), MAX_DEPTH)
        return (_named_decoder.decode(body).model or "")[:MAX_MODEL_CHARS]
    except (ScanError, msgspec.DecodeError, RecursionError, UnicodeError):
        return ""


def reader_of(kind: Kind, path: str, content_type: bytes) -> Reader | None:
    """Who reads an answer of that type to a request for `path`; None where it tells nothing that could be read."""
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type == b"application/json":
        return WholeReader(kind.dialect)
    framing = kind.framing or SERVER_SENT
    if media_type != framing.content_type:
        return None
    if kind.dialect.name != "openai_chat":
        return StreamFollower(Follows(kind.dialect, None, _UNREAD, framing).scanner())
    if re.search(r"/responses(/|\Z)", path):
        return StreamFollower(Follows(openai_responses.DIALECT, None, _UNREAD).scanner())
    return StreamFollower(ChatScanner(False))


_UNREAD = Request(model="", messages=[])
"""What the reader of an answer may ask for of its request, which is not read here."""


class WholeReader:
    """Of a whole answer in JSON, kept up to MAX_USAGE_BYTES."""

    def __init__(self, dialect: ProviderDialect) -> None:
        self._dialect = dialect
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_USAGE_BYTES:
            self._parts.append(data)
        else:
            self._parts.clear()

    def told(self, complete: bool) -> Told:
        if not complete or not self._parts:
            return Told()
        body = b"".join(self._parts)
        if self._dialect.name == "openai_chat":
            return _told_by_openai(body)
        try:
            answer = self._dialect.read_answer(body)
        except AnswerError:
            return Told()
        return Told(answer.usage, answer.model)


def _told_by_openai(body: bytes) -> Told:
    """Chats, completions and embeddings count `prompt_tokens`, all that came later `input_tokens`."""
    try:
        answer = _answer_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return Told()
    usage = None
    if given(answer.usage):
        usage = usage_of(bytes(answer.usage))
        if usage is None or not (usage.input or usage.output):
            usage = openai_responses.read_usage(answer.usage)
    if usage is not None and not (usage.input or usage.output):
        usage = None
    return Told(usage, answer.model or "")


class StreamFollower:
    """Of a stream: what its own reader finds in the events."""

    def __init__(self, scanner: EventScanner) -> None:
        self._scanner = scanner

    def feed(self, data: bytes) -> None:
        if self._scanner.fault is None:
            self._scanner.feed(data)

    def told(self, complete: bool) -> Told:
        scanner = self._scanner
        if complete and scanner.fault is None:
            scanner.finish()
        usage = scanner.told
        if usage is None and scanner.usage is not None:
            usage = usage_of(scanner.usage)
        made = max(scanner.content_events, -(-scanner.content_bytes // BYTES_A_TOKEN))
        if usage is None and not made:
            return Told()
        told = charged(usage, 0, made, 0, complete or scanner.usage_is_last)
        model = scanner.model if isinstance(scanner, ChatScanner) else None
        return Told(told, model or "")
