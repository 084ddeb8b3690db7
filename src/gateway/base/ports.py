"""The ports: what the data plane needs of the world and does not implement itself. `app` plugs the adapters in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from gateway.base.snapshot import Snapshot
from gateway.base.usage import UsageRecord


class Exchange(Protocol):
    """One request of a caller and the answer to it, whichever edge it came through.

    The edge calls the application with an exchange; the application answers with `respond`, or with `start`, `write` ... and
    `end`. Header fields of an answer are whole lines, each with its CRLF, since most of them never change and are made once. All
    calls are synchronous and none raises because the client has left: then they do nothing.
    """

    on_disconnect: Callable[[], object] | None
    """Called once if the client leaves before the answer has ended."""
    on_drain: Callable[[], object] | None
    """Called when the client has taken what `write` said was too much."""
    client: str | None
    """The caller's address, where proxies are trusted to tell it; None where none are, and `peer` is all that is known."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> bytes: ...
    @property
    def body(self) -> bytes:
        """The whole body, once the application is called with it."""

    @property
    def peer(self) -> str: ...
    @property
    def received_ns(self) -> int:
        """CLOCK_MONOTONIC when the head's first byte was read."""

    @property
    def started(self) -> bool:
        """Something of the answer has been given."""

    @property
    def plain(self) -> bool:
        """Content-type is `application/json` to the letter, and no field that would change how the request is handled is there."""

    @property
    def content_type(self) -> bytes | None: ...
    @property
    def traceparent(self) -> bytes | None: ...
    def credential(self) -> bytes | None:
        """The caller's secret, from whichever header; None where there is none, b"" where what is there is no single one."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, named in lower case."""

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header, in order."""

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer at once. The edge adds content-length, date and connection."""

    def start(self, status: int, headers: bytes, length: int = -1) -> None:
        """Begins an answer, of `length` bytes where that is known. Its head leaves with the first part of the body."""

    def flush(self) -> None:
        """Sends the head that `start` made without waiting for the body."""

    def write(self, data: bytes) -> bool:
        """Sends a part of the body. False: more is buffered than should be; stop until `on_drain`."""

    def end(self, data: bytes = b"") -> None:
        """The answer is complete with this last part."""

    def abort(self) -> None:
        """The answer cannot be completed: the client sees the connection break, never a polite end."""


class TokenRequest(msgspec.Struct, frozen=True):
    """How a token is asked for. It holds a secret."""

    method: Literal["GET", "POST"]
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def __repr__(self) -> str:
        return f"TokenRequest({self.method}, {self.url!r}, ***)"


class Token(msgspec.Struct, frozen=True):
    """A token that a provider is shown."""

    value: str
    """Visible ASCII."""
    life_s: float
    """From when it was asked for."""

    def __repr__(self) -> str:
        return f"Token(***, {self.life_s:g} s)"


class TokenError(Exception):
    """There is no token. The message says why and holds no secret."""


class TokenSource(Protocol):
    """Who issues the tokens of a provider. Without sockets: it says what to ask, and reads what is answered."""

    metadata: tuple[str, ...]
    """Addresses of a cloud's metadata that may be connected to for this."""

    def request(self) -> TokenRequest:
        """What is to be asked now. Reads files and signs: not for the loop's thread. Raises TokenError."""

    def token(self, status: int, body: bytes) -> Token:
        """What was answered. Raises TokenError."""


SourceKind = Literal["file", "redis", "last-known-good"]
"""Where a snapshot was taken from; the last: from the disk, because Redis cannot be had or holds nothing better."""

SOURCE_KINDS: tuple[SourceKind, ...] = ("file", "redis", "last-known-good")


class SourceStatus(msgspec.Struct, frozen=True):
    """How it stands with the source of snapshots."""

    kind: SourceKind
    where: str = ""
    """What is asked, without passwords."""
    sequence: int | None = None
    """Of the release that serves; later ones are higher. None for a file."""
    loaded_at_s: float | None = None
    """Unix time at which what serves was taken from there."""
    fault: str = ""
    """Why what is newer does not serve, or nothing can be learnt of it; "" while all is well."""
    reason: str = ""
    """The kind of fault, out of a closed set: a label of metrics."""


class SnapshotSource(Protocol):
    """Where the node's snapshot comes from."""

    def watch(self, wake: Callable[[], object]) -> None:
        """Called once, before all else. `wake`, which may be called on any thread, says that `changed` or `status` tell something new."""

    def close(self) -> None:
        """Ends what `watch` began."""

    @property
    def status(self) -> SourceStatus:
        """Cheap: called several times a second."""

    def load(self) -> Snapshot:
        """Reads, validates and compiles the newest.

        Raises:
            gateway.base.errors.ConfigurationError: with every fault that was found.
        """

    def last_good(self) -> Snapshot | None:
        """After `load` has failed: the last good one, its keys as they are now. None where there is none, or its keys cannot be known."""

    @property
    def log_level(self) -> str | None:
        """As the newest good configuration has it; None before the first `load`."""

    @property
    def warnings(self) -> Sequence[str]:
        """What an operator should know of the newest good configuration."""

    def changed(self) -> bool:
        """Whether something that `load` would read has changed since it last ran. Cheap: called several times a second."""


class TokenCounter(Protocol):
    def count(self, texts: list[bytes], encoding: str) -> int:
        """Tokens of all texts of a prompt together, in UTF-8, each counted by itself."""

    def exactly(self, texts: list[bytes], encoding: str) -> int | None:
        """The same; None where `count` would estimate them."""


class UsageSink(Protocol):
    """Where usage records go in the end."""

    def write(self, records: Sequence[UsageRecord]) -> None:
        """Stores records; those whose id it has already are passed over. Raises OSError or the store's own error on failure."""

    def close(self) -> None: ...


Grouping = Literal["key", "team", "model", "provider", "target_model", "endpoint", "code", "day", "hour"]
"""What usage may be summed by."""


class UsageReader(Protocol):
    """The ledger, for those who only read it. Used by one thread at a time."""

    def totals(self, since_ms: int, until_ms: int, by: Grouping) -> Sequence[msgspec.Struct]:
        """Sums over `since_ms <= at_ms < until_ms` (Unix time), a struct a group, in the order of names.

        Each has `name`, and integers `requests`, `errors`, `input_tokens`, `output_tokens`, `cache_read_tokens`,
        `cache_write_tokens`, `reasoning_tokens`, `cost_nano_usd`, `estimated`, `unpriced`. Raises the store's errors.
        """

    def recent(self, limit: int) -> Sequence[UsageRecord]:
        """The records of the latest requests, newest first. Raises the store's errors."""

    def close(self) -> None: ...


class RecordSpool(Protocol):
    """Takes usage records on the request path. Never blocks and never raises: what cannot be kept is counted."""

    def append(self, record: bytes) -> None:
        """Takes a `UsageRecord` as one JSON object on one line."""
