"""What is asked of a target: one built-in request, or a mix out of a file, so that a team can replay its own shape.

A file has an entry a line (JSON lines: .jsonl) or is a list (.yaml): `path` and `body`, and where wanted `weight` and `headers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
import yaml

from bench.errors import BenchError, keyed
from bench.native.caller import Payload

Dialect = Literal["none", "openai", "anthropic", "gemini"]

_PROMPT: Final = (
    "Which books on the history of tea would you lend to somebody who has an evening, likes maps, and reads no Latin? "
)
_TOKEN: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"  # RFC 9110 section 5.6.2
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect"})


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of request. A body that is a text is sent as it stands, any other as JSON."""

    path: Annotated[str, msgspec.Meta(pattern=r"^/[!-~]*$")]
    body: str | dict[str, Any] | list[Any]
    weight: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    headers: dict[Annotated[str, msgspec.Meta(pattern=_TOKEN)], Annotated[str, msgspec.Meta(pattern=r"^[ -~]*$")]] = {}


class Target(NamedTuple):
    """Where to."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"


def target(url: str) -> Target:
    """Reads an address.

    Raises:
        BenchError: it is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BenchError(f"{url}: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise BenchError(f"{url}: an address is http://HOST:PORT or https://HOST:PORT, and may have a path")
    scheme: Literal["http", "https"] = "http" if parts.scheme == "http" else "https"
    return Target(scheme, parts.hostname, port or {"http": 80, "https": 443}[scheme], parts.path.rstrip("/"))


def load(path: Path) -> list[Entry]:
    """Reads a mix.

    Raises:
        BenchError: it cannot be read, or is none; the message names the file, the line or number, and the key.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: {error}") from error
    if path.suffix == ".jsonl":
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        entries = [_entry(f"{path}:{number}", line) for number, line in lines]
    elif path.suffix in {".yaml", ".yml"}:
        entries = [_converted(f"{path}: [{number}]", each) for number, each in enumerate(_list(path, text))]
    else:
        raise BenchError(f"{path}: a mix is a .jsonl or a .yaml file")
    if not entries:
        raise BenchError(f"{path}: it has no entry")
    return entries


def _list(path: Path, text: str) -> list[Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BenchError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, list):
        raise BenchError(f"{path}: a mix is a list")
    return content


def _entry(where: str, line: str) -> Entry:
    try:
        content = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise BenchError(f"{where}: {error}") from None
    return _converted(where, content)


def _converted(where: str, content: Any) -> Entry:
    try:
        entry = msgspec.convert(content, Entry)
    except msgspec.ValidationError as error:
        raise BenchError(f"{where}: {keyed(error)}") from None
    for name in entry.headers:
        if name.lower() in _FRAMING:
            raise BenchError(f"{where}: headers: {name} is for the bench to write")
    return entry


def built_in(dialect: Dialect, model: str, stream: bool, prompt_bytes: int) -> Entry:
    """A question of that many bytes."""
    text = (_PROMPT * (prompt_bytes // len(_PROMPT) + 1))[:prompt_bytes]
    if dialect == "gemini":
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        contents = [{"role": "user", "parts": [{"text": text}]}]
        return Entry(
            path=f"/v1beta/models/{model}:{verb}",
            body={"contents": contents, "generationConfig": {"maxOutputTokens": 200}},
        )
    path = "/v1/messages" if dialect == "anthropic" else "/v1/chat/completions"
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 200}
    return Entry(path=path, body={**body, "stream": True} if stream else body)


def dialect_of(path: str) -> Dialect:
    """Whose path this is."""
    path = path.partition("?")[0]
    if path.endswith("/chat/completions"):
        return "openai"
    if path.endswith("/messages"):
        return "anthropic"
    return "gemini" if path.endswith((":generateContent", ":streamGenerateContent")) else "none"


def payloads(entries: Sequence[Entry], where: Target, key: str | None) -> list[Payload]:
    """The requests, ready to be sent."""
    return [_payload(entry, where, key) for entry in entries]


def _payload(entry: Entry, where: Target, key: str | None) -> Payload:
    dialect = dialect_of(entry.path)
    body = entry.body.encode() if isinstance(entry.body, str) else msgspec.json.encode(entry.body)
    streams = ":streamGenerateContent" in entry.path or (
        isinstance(entry.body, Mapping) and entry.body.get("stream") is True
    )
    fields = {"host": where.authority, "content-type": "application/json", **_credential(dialect, key)}
    fields |= {name.lower(): value for name, value in entry.headers.items()}
    fields["content-length"] = str(len(body))
    lines = [f"POST {where.prefix}{entry.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return Payload("\r\n".join([*lines, "", ""]).encode() + body, entry.weight, dialect, streams)


def _credential(dialect: Dialect, key: str | None) -> dict[str, str]:
    if dialect == "anthropic":
        return {"anthropic-version": "2023-06-01", **({} if key is None else {"x-api-key": key})}
    if key is None:
        return {}
    return {"x-goog-api-key": key} if dialect == "gemini" else {"authorization": f"Bearer {key}"}
