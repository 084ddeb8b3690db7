"""The snapshot: one immutable value of all that a request needs to be decided.

Every source of configuration (a file, Redis, the control plane's store) compiles to this one form. It is content-addressed:
`version` is the digest of everything else. It holds no secret in clear: callers' keys stand as HMACs, the credentials of
providers as references (`env:NAME`, `file:PATH`) that each node resolves for itself.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

NANO_USD = 1_000_000_000
"""nano-USD in a US dollar; money is an integer of nano-USD everywhere."""

FORMAT = 1
"""Of the encoded snapshot; a node refuses a format that it does not know."""

Period = Literal["day", "week", "month", "total"]
ProviderKind = Literal["openai"]


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Immutable, comparable, strict."""


class Price(_Value, frozen=True):
    """nano-USD for a million tokens of each kind, and for a request. A kind without a price of its own costs as `input` or `output`."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    request_nano_usd: int = 0
    source: str = "config"
    """Where it was taken from: "config", or "genai-prices/<provider>/<model>"."""


class Timeouts(_Value, frozen=True):
    """Of one call to a provider, in milliseconds."""

    connect_ms: int = 5_000
    first_byte_ms: int = 120_000
    gap_ms: int = 60_000
    total_ms: int = 600_000


class Provider(_Value, frozen=True):
    """One upstream service."""

    name: str
    kind: ProviderKind
    base_url: str
    """With the version, as the provider's documentation writes it; no trailing slash. `http+unix://%2Fpath.sock/v1` for a Unix socket."""
    api_key: str | None = None
    """A reference (`env:NAME`, `file:PATH`)."""
    headers: tuple[tuple[str, str], ...] = ()
    """Added to each request."""
    timeouts: Timeouts = Timeouts()
    max_connections: int = 1024
    """Of each worker."""
    warm_connections: int = 0
    """Kept open ahead of need by each worker."""
    ca_file: str | None = None
    """A bundle of the authorities to trust in place of the system's."""
    cert_file: str | None = None
    """With `key_file`: what this node shows to a provider that asks for a certificate."""
    key_file: str | None = None
    proxy: str | None = None
    """An HTTP proxy's URL for CONNECT; None takes HTTPS_PROXY / NO_PROXY of the node; "" connects directly."""
    allow_addresses: tuple[str, ...] = ()
    """Networks that are connected to although `net.guard` would refuse them."""


class Target(_Value, frozen=True):
    """Where a model's requests may go."""

    provider: str
    model: str
    """The name that the provider knows."""
    weight: int = 1
    price: Price | None = None
    """None: unknown; such calls are recorded with cost 0 and counted as unpriced."""


class Model(_Value, frozen=True):
    """A name that applications use."""

    name: str
    targets: tuple[Target, ...]
    fallbacks: tuple[str, ...] = ()
    encoding: str = "o200k_base"
    """The vocabulary with which prompt tokens are counted."""
    max_output_tokens: int = 4_096
    """What a request is taken to ask for when it names no bound of its own."""


class Limits(_Value, frozen=True):
    """None: unlimited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class Budget(_Value, frozen=True):
    nano_usd: int
    per: Period


class Team(_Value, frozen=True):
    name: str
    limits: Limits = Limits()
    budget: Budget | None = None


class Key(_Value, frozen=True):
    """A caller's key."""

    id: str
    """For ever its name in records, limits and logs."""
    name: str
    hmac: str
    """Hex HMAC-SHA256 of the whole secret under the node's pepper."""
    team: str | None = None
    models: tuple[str, ...] = ("*",)
    """Names and patterns with `*`."""
    limits: Limits = Limits()
    budget: Budget | None = None
    expires_at_s: int | None = None
    """Unix time."""


class Snapshot(_Value, frozen=True):
    """All that a request needs, but for the secrets of providers."""

    version: str
    providers: tuple[Provider, ...] = ()
    models: tuple[Model, ...] = ()
    teams: tuple[Team, ...] = ()
    keys: tuple[Key, ...] = ()
    format: int = FORMAT

    def sealed(self) -> Snapshot:
        """The same with its `version` made from its content: 16 hex digits."""
        content = msgspec.json.encode(msgspec.structs.replace(self, version=""), order="deterministic")
        return msgspec.structs.replace(self, version=hashlib.sha256(content).hexdigest()[:16])


_decoder = msgspec.json.Decoder(Snapshot)


class SnapshotError(ValueError):
    """The bytes are no snapshot that this node can serve."""


def encode(snapshot: Snapshot) -> bytes:
    """A snapshot as JSON."""
    return msgspec.json.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """The snapshot that `encode` wrote.

    Raises:
        SnapshotError: not a snapshot, of another format, or its content does not fit its version.
    """
    try:
        snapshot = _decoder.decode(data)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    if snapshot.format != FORMAT:
        raise SnapshotError(f"snapshot format {snapshot.format}, this node reads {FORMAT}")
    if snapshot.sealed().version != snapshot.version:
        raise SnapshotError(f"snapshot {snapshot.version} does not have the content it was made from")
    return snapshot
