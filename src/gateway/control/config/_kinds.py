"""The kinds of values that a configuration is made of.

A kind reads a node of the file into its *normal form* and tells the reading what is wrong with it; it shows a normal
form as it would be written; and it describes itself, in words for docs/configuration.md and as JSON Schema. The schema
(`_schema`) is a table of kinds, and validation, documentation and `check --print` all walk it.

Normal forms are plain: int, str, Secret, Address, dict and list. Money is integer nano-USD. What cannot be read becomes
INVALID and is left out of the mapping or list that holds it, so that one mistake hides no other.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.base import redis_url
from gateway.base.addresses import UNIX
from gateway.base.credentials import read_service_account
from gateway.base.node import Address
from gateway.base.snapshot import NANO_USD
from gateway.control import _urls
from gateway.control.config._emit import Number
from gateway.control.config._reading import Path_, Reading, why
from gateway.control.config._yaml import Mapping, Node, Scalar, Sequence
from gateway.control.config.secrets import UnresolvedError, resolve


class _Invalid:
    """The only value of this type stands for one that could not be read."""


INVALID: Final = _Invalid()

MAX_INTEGER = 2**53
"""JSON readers elsewhere keep integers exactly up to here."""


class Secret(NamedTuple):
    """A secret and where it was found."""

    reference: str
    value: str
    """"" of one that is not here and need not be (`Reading.needed`)."""

    def __repr__(self) -> str:
        return f"Secret({self.reference!r}, ***)"


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of value. This base reads one scalar: subclasses say what its text means."""

    def read(self, node: Node, path: Path_, reading: Reading) -> Any:
        """The normal form, or INVALID once the reading knows what is wrong."""
        if not isinstance(node, Scalar):
            reading.error(
                path, f"expected {self.words()}, found a {'list' if isinstance(node, Sequence) else 'mapping'}"
            )
            return INVALID
        if node.empty or (node.quoted and not node.text.strip()):
            reading.error(path, f"is empty; write {self.words()}")
            return INVALID
        try:
            return self.scalar(node, path, reading)
        except ValueError as error:
            reading.error(path, str(error))
            return INVALID

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> Any:
        """The normal form of a scalar that is not empty. Raises ValueError: what is wrong and what would be right."""
        raise NotImplementedError

    def show(self, value: Any) -> Any:
        """The normal form as str, int, dict or list, the way it would be written."""
        return value

    def words(self) -> str:
        """What it is: "an integer from 1 to 9"."""
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string"}


# -- scalars


class Integer(Kind, frozen=True, kw_only=True):
    minimum: int = 1
    maximum: int = MAX_INTEGER

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> int:
        if node.quoted or not _INTEGER.match(node.text):
            raise ValueError(
                f'expected {self.words()}, found "{_short(node.text)}"{" in quotes" if node.quoted else ""}'
            )
        value = int(node.text) if len(node.text) < 20 else MAX_INTEGER + 1
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{_short(node.text)} is out of range; expected {self.words()}")
        return value

    def words(self) -> str:
        top = f"to {self.maximum:,}" if self.maximum < MAX_INTEGER else "up"
        return f"an integer from {self.minimum:,} {top}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


class Workers(Integer, frozen=True, kw_only=True):
    """`auto` is 0 in normal form."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> int:
        return 0 if node.text == "auto" else super().scalar(node, path, reading)

    def show(self, value: Any) -> Any:
        return value or "auto"

    def words(self) -> str:
        return f"`auto`, or {super().words()}"

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"const": "auto"}, super().json_schema()]}


class Flag(Kind, frozen=True, kw_only=True):
    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> bool:
        if node.quoted or node.text not in ("true", "false"):
            raise ValueError(f'expected {self.words()}, found "{_short(node.text)}"')
        return node.text == "true"

    def words(self) -> str:
        return "`true` or `false`"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Choice(Kind, frozen=True, kw_only=True):
    of: tuple[str, ...]

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        if node.text not in self.of:
            raise ValueError(f'"{_short(node.text)}" is not {self.words()}{reading.suggestion(node.text, self.of)}')
        return node.text

    def words(self) -> str:
        return f"one of {', '.join(f'`{value}`' for value in self.of)}" if len(self.of) > 1 else f"`{self.of[0]}`"

    def json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.of)}


class Name(Kind, frozen=True, kw_only=True):
    """A word of visible ASCII, so that it can stand in a header, a label and a log line."""

    what: str
    longest: int = 48
    """Scopes of limits are named `key/cfg-NAME` in 64 bytes."""
    pattern: bool = False

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        if message := self.fault(node.text):
            raise ValueError(message)
        return node.text

    def fault(self, name: str) -> str:
        """What is wrong with a name; "" where nothing is."""
        if not _WORD.match(name) or len(name) > self.longest:
            return f'"{_short(name)}" is not {self.words()}'
        if not self.pattern and "*" in name:
            return f'"{_short(name)}" holds `*`; only keys[].models take patterns'
        return ""

    def words(self) -> str:
        stars = ", `*` standing for any text" if self.pattern else ""
        return f"{self.what}: at most {self.longest} visible ASCII characters without spaces{stars}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[!-~]+$" if self.pattern else "^[!-)+-~]+$", "maxLength": self.longest}


class Reference(Name, frozen=True, kw_only=True):
    """The name of something that stands in another section."""

    section: str

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        name: str = super().scalar(node, path, reading)
        reading.references.append((path, self.section, name))
        return name

    def words(self) -> str:
        return f"the name of one of the {self.section}"


class PassedProvider(Reference, frozen=True, kw_only=True):
    """A provider's name, or `*`."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        return node.text if node.text == "*" else super().scalar(node, path, reading)

    def words(self) -> str:
        return f"{super().words()}, or `*`"


class SecretReference(Kind, frozen=True, kw_only=True):
    """`env:NAME` or `file:PATH`; the secret is read at once, so that a missing one is found before it is needed."""

    shortest: int = 1

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> Secret:
        reference = node.text
        if reference.startswith("file:"):
            file = reading.path(reference.removeprefix("file:"))
            reading.watch(file)
            reference = f"file:{file}"
        try:
            value = resolve(reference, reading.environ)
        except UnresolvedError as error:
            if reading.needs(path):
                raise
            reading.warn(path, f"gives no secret here, as it must on each node: {error}")
            return Secret(reference, "")
        if len(value) < self.shortest:
            raise ValueError(
                f"the secret of {reference} has {len(value)} characters; make it at least {self.shortest} long"
            )
        return Secret(reference, value)

    def show(self, value: Any) -> str:
        return str(value.reference)

    def words(self) -> str:
        length = f", the secret having at least {self.shortest} characters" if self.shortest > 1 else ""
        return f"`env:NAME` or `file:PATH`{length}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"}


_PASSWORD_IN_URL = (
    "holds a password, and a secret does not stand in the file; write env:NAME or file:PATH of the whole URL"  # noqa: S105 - a message
)


class ServerUrl(Kind, frozen=True, kw_only=True):
    """The URL of a server of ours, which may hold a password: shown only where it is a reference."""

    schemes: tuple[str, ...]

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        if node.text.startswith(("env:", "file:")):
            return str(SecretReference().scalar(node, path, reading).reference)
        if not node.text.startswith(tuple(f"{scheme}:" for scheme in self.schemes)):
            raise ValueError(f"expected {self.words()}")
        url = urlsplit(node.text)
        if url.password is not None or "password=" in url.query:
            raise ValueError(_PASSWORD_IN_URL)
        return node.text

    def show(self, value: Any) -> str:
        return value if value.startswith(("env:", "file:")) else "***"

    def words(self) -> str:
        return f"`env:NAME`, `file:PATH`, or a URL without a password ({', '.join(f'{scheme}:' for scheme in self.schemes)})"


class RedisServer(Kind, frozen=True, kw_only=True):
    """The URL of a Redis, itself or by reference; a Secret, whose reference is "" where the URL stands in the file."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> Secret:
        secret = Secret("", node.text)
        if node.text.startswith(("env:", "file:")):
            secret = SecretReference().scalar(node, path, reading)
            if not secret.value:
                return secret
        try:
            url = redis_url.parse(secret.value)
        except ValueError as error:
            whose = f"the URL of {secret.reference}: " if secret.reference else ""
            raise ValueError(f"{whose}{error}") from None
        if not secret.reference and (url.password or url.sentinel_password):
            raise ValueError(_PASSWORD_IN_URL)
        for file in (url.ssl_ca_certs, url.ssl_certfile, url.ssl_keyfile):
            if file is not None and not Path(file).is_file():
                raise ValueError(f"cannot read the file {file} that its options name; write an absolute path")
        return secret

    def show(self, value: Any) -> str:
        return value.reference or "***"

    def words(self) -> str:
        schemes = ", ".join(f"{scheme}:" for scheme in redis_url.SCHEMES)
        return f"`env:NAME`, `file:PATH`, or a URL without a password ({schemes})"


class BaseUrl(Kind, frozen=True, kw_only=True):
    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        return _urls.base_url(node.text)

    def words(self) -> str:
        return "an http:// or https:// URL with the version as the provider's documentation writes it, or http+unix://%2Fpath%2Fof.sock/v1"


class ProxyUrl(Kind, frozen=True, kw_only=True):
    """`direct` is "" in normal form."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        return "" if node.text == "direct" else _urls.proxy(node.text)

    def show(self, value: Any) -> Any:
        return value or "direct"

    def words(self) -> str:
        return "`direct`, or a URL such as http://proxy.example:3128"


class Listener(Kind, frozen=True, kw_only=True):
    """A TCP address or a Unix socket."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> Address:
        text = node.text
        if text.startswith("unix:"):
            if not text.removeprefix("unix:"):
                raise ValueError("unix: is followed by the path of a socket")
            return Address(host="", path=str(reading.path(text.removeprefix("unix:"))))
        host, colon, port = text.rpartition(":")
        if not _PORT.match(port) or int(port) > 65_535:
            raise ValueError(f'"{_short(text)}" is not {self.words()}')
        if colon and not host:
            raise ValueError(f"says no host; write 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface")
        return Address(host=_urls.listen_host(host), port=int(port)) if colon else Address(port=int(port))

    def show(self, value: Any) -> Any:
        return str(value)

    def words(self) -> str:
        return "an address: HOST:PORT, [IPv6]:PORT, a PORT alone (of 127.0.0.1), or unix:PATH"

    def json_schema(self) -> dict[str, Any]:
        return {"type": ["string", "integer"]}


class FilePath(Kind, frozen=True, kw_only=True):
    """A path, relative to the configuration's directory; absolute in normal form."""

    must_exist: bool = True

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        file = reading.path(node.text)
        if self.must_exist:
            self._readable(file, reading)
        return str(file)

    def _readable(self, file: Path, reading: Reading) -> None:
        reading.watch(file)
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            raise ValueError(f"cannot read the file {file}: {why(error)}") from None

    def words(self) -> str:
        return "the path of a file that can be read" if self.must_exist else "a path"


class ServiceAccountFile(FilePath, frozen=True, kw_only=True):
    """The path of a Google service account's key. It is read at once, so that a wrong one is found before it is needed."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        file = reading.path(node.text)
        reading.watch(file)
        try:
            read_service_account(file).signer()
        except ValueError as error:
            if reading.needs(path) or file.exists():
                raise
            reading.warn(path, f"is not here, as it must be on each node: {error}")
        return str(file)

    def words(self) -> str:
        return "the path of the JSON file that holds the key of a Google service account"


class Usd(Kind, frozen=True, kw_only=True):
    """US dollars, exact; integer nano-USD in normal form."""

    positive: bool = False
    most: int = 1_000_000_000
    """In US dollars."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> int:
        if node.quoted or not _DECIMAL.match(node.text):
            raise ValueError(f'expected {self.words()}, found "{_short(node.text)}"')
        nano = Decimal(node.text) * NANO_USD
        if nano != int(nano):
            raise ValueError(f"{_short(node.text)} is finer than a nano-dollar; at most nine decimals")
        if nano > self.most * NANO_USD or (self.positive and not nano):
            raise ValueError(f"{_short(node.text)} is out of range; expected {self.words()}")
        return int(nano)

    def show(self, value: Any) -> Any:
        return Number(usd(value))

    def words(self) -> str:
        return f"US dollars, such as 0.15, {'above 0' if self.positive else '0 or more'} and at most {self.most:,}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "number", "exclusiveMinimum" if self.positive else "minimum": 0, "maximum": self.most}


class Date(Kind, frozen=True, kw_only=True):
    """A day of which the last second counts, or an instant; Unix time in seconds in normal form."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> int:
        found = instant(node.text)
        if found is None:
            raise ValueError(f'"{_short(node.text)}" is not {self.words()}')
        return int(found.timestamp())

    def show(self, value: Any) -> str:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def words(self) -> str:
        return (
            "a date such as 2027-01-31 (valid to the end of that day, UTC), or an instant such as 2027-01-31T12:00:00Z"
        )


class HeaderValue(Kind, frozen=True, kw_only=True):
    """Text as it is sent, or a Secret: a snapshot is published, so what looks like a credential stands by reference."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str | Secret:
        if node.text.startswith(("env:", "file:")):
            return SecretReference().scalar(node, path, reading)
        if not _HEADER_VALUE.match(node.text):
            raise ValueError("a header's value is visible ASCII with single lines and no space at its ends (RFC 9110)")
        if _CREDENTIAL_VALUE.search(node.text):
            raise ValueError(f"the value {_PUBLISHED}")
        return node.text

    def show(self, value: Any) -> str:
        return value.reference if isinstance(value, Secret) else str(value)

    def words(self) -> str:
        return "text, `env:NAME` or `file:PATH`"


def credential_fault(name: str, value: str | Secret) -> str:
    """Why a header of that name must not have that value: "" where it may."""
    return f"`{name}` {_PUBLISHED}" if isinstance(value, str) and _CREDENTIAL_NAME.search(name.lower()) else ""


class Network(Kind, frozen=True, kw_only=True):
    """A network in its canonical spelling; an address alone is the network of one."""

    unix: bool = False
    """Whether `unix` may stand for those who connect to a Unix socket."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        text = node.text
        if self.unix and text == UNIX:
            return text
        try:
            if "%" in text:
                raise ValueError("an address with a zone")
            return str(ip_network(text))
        except ValueError as error:
            if "host bits" in str(error):
                raise ValueError(
                    f'"{_short(text)}" has bits behind its prefix; the network is {ip_network(text, strict=False)}'
                ) from None
            raise ValueError(f'"{_short(text)}" is not {self.words()}') from None

    def words(self) -> str:
        return f"an IP address or a network such as 10.0.0.0/8{', or `unix`' if self.unix else ''}"


class Origin(Kind, frozen=True, kw_only=True):
    """An origin as browsers send it (RFC 6454): scheme, host and a port that is not the scheme's own."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        return node.text if node.text == "*" else _urls.origin(node.text)

    def words(self) -> str:
        return "an origin such as https://app.example, or `*`"


class HeaderToken(Name, frozen=True, kw_only=True):
    """A header's name (RFC 9110 token)."""

    what: str = "a header"

    def fault(self, name: str) -> str:
        return "" if _TOKEN.match(name) else f'"{_short(name)}" is not the name of a header (RFC 9110 token)'

    def words(self) -> str:
        return "the name of a header"


# -- what holds others


class Field(msgspec.Struct, frozen=True):
    """One key of a record."""

    kind: Kind
    doc: str
    """For docs/configuration.md."""
    default: Any = None
    """In normal form; None: absent."""
    required: bool = False

    def initial(self) -> Any:
        """Its value where it is absent: the default, a record's own defaults unless something in it is required, or None."""
        if self.default is None and isinstance(self.kind, Record):
            return None if self.kind.has_required else self.kind.defaults() or None
        return self.default


class Record(Kind, frozen=True, kw_only=True):
    """A mapping of known keys. Its normal form has every key that has a value or a default."""

    fields: dict[str, Field]

    def read(self, node: Node, path: Path_, reading: Reading) -> Any:
        if not isinstance(node, Mapping):
            reading.error(path, f"expected {self.words()}, found {_found(node)}")
            return INVALID
        for key in node.pairs:
            reading.marks[(*path, key)] = node.marks[key]
            if key not in self.fields:
                reading.error((*path, key), f"unknown key `{_short(key)}`{reading.suggestion(key, self.fields)}")
        values = {}
        for name, field in self.fields.items():
            value = self._value(name, field, node, path, reading)
            if value is not INVALID and value is not None:
                values[name] = value
        return values

    def _value(self, name: str, field: Field, node: Mapping, path: Path_, reading: Reading) -> Any:
        child = node.pairs.get(name)
        here = (*path, name)
        if child is not None:
            reading.marks[here] = _place(child, reading.marks[here])
            return field.kind.read(child, here, reading)
        if field.required:
            reading.error(here, f"is missing; write {field.kind.words()}")
        return field.initial()

    @property
    def has_required(self) -> bool:
        return any(field.required for field in self.fields.values())

    def defaults(self) -> dict[str, Any]:
        """The normal form of an empty mapping."""
        initial = {name: field.initial() for name, field in self.fields.items()}
        return {name: value for name, value in initial.items() if value is not None}

    def show(self, value: Any) -> Any:
        return {name: field.kind.show(value[name]) for name, field in self.fields.items() if name in value}

    def words(self) -> str:
        return f"a mapping with {', '.join(f'`{name}`' for name in self.fields)}"

    def json_schema(self) -> dict[str, Any]:
        properties = {
            name: field.kind.json_schema() | {"description": field.doc} for name, field in self.fields.items()
        }
        required = [name for name, field in self.fields.items() if field.required]
        schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
        return schema | ({"required": required} if required else {})


class PresetRecord(Record, frozen=True, kw_only=True):
    """A record of which some fields are told by the value of one of them; what is written wins."""

    preset: str
    """The field."""
    presets: dict[str, dict[str, Any]]
    """Normal forms by its value; each tells the field itself anew."""
    needed: tuple[str, ...]
    """Fields that must stand where no preset tells them."""

    def read(self, node: Node, path: Path_, reading: Reading) -> Any:
        values = super().read(node, path, reading)
        if values is INVALID:
            return INVALID
        chosen = self.presets.get(values.get(self.preset, ""), {})
        assert isinstance(node, Mapping)
        misspelt = self.preset in node.pairs and self.preset not in values
        for name in () if misspelt else self.needed:
            if name not in chosen and name not in node.pairs:
                reading.error((*path, name), f"is missing; write {self.fields[name].kind.words()}")
        told = {name: value for name, value in chosen.items() if name == self.preset or name not in node.pairs}
        return values | told

    def json_schema(self) -> dict[str, Any]:
        telling = sorted(name for name, values in self.presets.items() if set(self.needed) <= set(values))
        told = {"properties": {self.preset: {"enum": telling}}}
        return super().json_schema() | {"anyOf": [told, {"required": list(self.needed)}]}


class Named(Kind, frozen=True, kw_only=True):
    """A mapping of names that the user chooses to values of one kind."""

    name: Name
    of: Kind

    def read(self, node: Node, path: Path_, reading: Reading) -> Any:
        if not isinstance(node, Mapping):
            reading.error(path, f"expected {self.words()}, found {_found(node)}")
            return INVALID
        values = {}
        for name, child in node.pairs.items():
            here = (*path, name)
            if fault := self.name.fault(name):
                reading.error(here, fault, node.marks[name])
            reading.marks[here] = _place(child, node.marks[name])
            if (value := self.of.read(child, here, reading)) is not INVALID:
                values[name] = value
        return values

    def show(self, value: Any) -> Any:
        return {name: self.of.show(child) for name, child in value.items()}

    def words(self) -> str:
        return f"a mapping from {self.name.what} to its settings"

    def json_schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": self.name.json_schema(),
            "additionalProperties": self.of.json_schema(),
        }


class HeaderName(Name, frozen=True, kw_only=True):
    """A header's name (RFC 9110 token) that does not frame the request."""

    def fault(self, name: str) -> str:
        lower = name.lower()
        if not _TOKEN.match(name):
            return f'"{_short(name)}" is not the name of a header (RFC 9110 token)'
        if lower in _FRAMING:
            return f"`{name}` frames the request and is not yours to set"
        return ""


class Many(Kind, frozen=True, kw_only=True):
    """A list of values of one kind."""

    of: Kind
    shortest: int = 0

    def read(self, node: Node, path: Path_, reading: Reading) -> Any:
        if not isinstance(node, Sequence):
            reading.error(path, f"expected {self.words()}, found {_found(node)}")
            return INVALID
        if len(node.items) < self.shortest:
            reading.error(path, f"is empty; write {self.words()}")
        values = []
        for index, child in enumerate(node.items):
            here = (*path, index)
            reading.marks[here] = child.mark
            values.append(self.of.read(child, here, reading))
        return values

    def show(self, value: Any) -> Any:
        return [self.of.show(child) for child in value]

    def words(self) -> str:
        least = f" of at least {self.shortest}" if self.shortest else ""
        return f"a list{least}, each {self.of.words()}"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.of.json_schema()} | (
            {"minItems": self.shortest} if self.shortest else {}
        )


class TrueOr(Kind, frozen=True, kw_only=True):
    """`true`, `false`, or a value of another kind; in normal form as it is written."""

    of: Kind

    def read(self, node: Node, path: Path_, reading: Reading) -> Any:
        if isinstance(node, Scalar) and not node.quoted and node.text in ("true", "false"):
            return node.text == "true"
        return super().read(node, path, reading) if isinstance(node, Scalar) else self.of.read(node, path, reading)

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> Any:
        raise ValueError(f'expected {self.words()}, found "{_short(node.text)}"')

    def show(self, value: Any) -> Any:
        return Number(str(value).lower()) if isinstance(value, bool) else self.of.show(value)

    def words(self) -> str:
        return f"`true`, `false`, or {self.of.words()}"

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, self.of.json_schema()]}


class PassedPath(Kind, frozen=True, kw_only=True):
    """A path behind a provider's base URL, in the one spelling that is passed on, or a pattern."""

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        if not _PASSED_PATH.match(node.text) or len(node.text) > 1_024:
            raise ValueError(f'"{_short(node.text)}" is not {self.words()}')
        return node.text

    def words(self) -> str:
        return "a path behind the base URL that begins with `/`, such as /files*, `*` standing for any text"


class PassedHeader(HeaderName, frozen=True, kw_only=True):
    """A header's name, in lower case, that neither frames a message nor tells who asks."""

    what: str = "a header"

    def scalar(self, node: Scalar, path: Path_, reading: Reading) -> str:
        name: str = super().scalar(node, path, reading)
        return name.lower()

    def fault(self, name: str) -> str:
        if fault := super().fault(name):
            return fault
        if _CREDENTIAL_NAME.search(name.lower()) or name.lower() in _NOT_PASSED:
            return f"`{name}` is never passed on: it tells who asks, or where, or belongs to one connection"
        return ""

    def words(self) -> str:
        return "the name of a header"


# -- text

_PASSED_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:%/-]*\Z")
_NOT_PASSED = frozenset(
    [
        "accept-encoding",
        "forwarded",
        "location",
        "proxy-authenticate",
        "proxy-connection",
        "traceparent",
        "tracestate",
        "via",
        "x-forwarded-for",
        "x-real-ip",
        "x-request-id",
    ]
)
_INTEGER = re.compile(r"(0|-?[1-9][0-9]*)\Z")
_DECIMAL = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?\Z")
_PORT = re.compile(r"(0|[1-9][0-9]{0,4})\Z")
_WORD = re.compile(r"[!-~]+\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}\Z")
_HEADER_VALUE = re.compile(r"[!-~]([ -~]{0,4094}[!-~])?\Z")
_FRAMING = frozenset(
    [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_CREDENTIAL_NAME = re.compile(
    r"authorization|cookie|(api|access|auth|goog|private)[-_]?key|token|secret|password|credential|signature"
)
_CREDENTIAL_VALUE = re.compile(
    r"""(?ix) \A(?:bearer|basic)[ ]                                   # RFC 6750, RFC 7617
    | (?<![a-z0-9])(?:sk-|pk-|tw_|xox[a-z]-|gh[a-z]_|hf_)[a-z0-9_.+/=-]{6}
    | (?<![a-z0-9])(?:AIza|AKIA|ASIA)[a-z0-9_-]{12}                   # Google, AWS
    | (?<![a-z0-9])eyJ[a-z0-9_-]{6,}\.                                # RFC 7519
    | (?:key|token|secret|password)\s*[=:]
    | (?<![a-z0-9])(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{28}         # as random as keys are
    """
)
_PUBLISHED = "looks like a credential, which the snapshot would publish; write `env:NAME` or `file:PATH`"


def _found(node: Node) -> str:
    if isinstance(node, Scalar):
        return "nothing" if node.empty else "text"  # not which: it may be a secret in the wrong place
    return "a list" if isinstance(node, Sequence) else "a mapping"


def _place(child: Node, key: Any) -> Any:
    """Where a value stands; an empty one has no place of its own worth showing, so its key's."""
    return key if isinstance(child, Scalar) and child.empty else child.mark


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def instant(text: str) -> datetime | None:
    """The instant at which a day or an instant of ISO 8601 is over; without an offset it is UTC."""
    try:
        if len(text) == 10:
            found = datetime.combine(date.fromisoformat(text), time(), UTC) + timedelta(days=1)
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        return None
    if not 2000 <= found.year < 3000:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def usd(nano: int) -> str:
    """nano-USD as dollars, without needless zeros."""
    whole, rest = divmod(nano, NANO_USD)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")
