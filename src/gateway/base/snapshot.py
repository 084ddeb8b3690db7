"""The snapshot: one immutable value of all that a request needs to be decided.

Every source of configuration (a file, Redis, the control plane's store) compiles to this one form. It is content-addressed:
`version` is the digest of everything else. It holds no secret in clear: callers' keys stand as HMACs, the credentials of
providers as references (`env:NAME`, `file:PATH`) that each node resolves for itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import Literal

import msgspec

NANO_USD = 1_000_000_000
"""nano-USD in a US dollar; money is an integer of nano-USD everywhere."""

FORMAT = 2
"""Of the encoded snapshot; a node refuses a format that it does not know."""

PIECE = 50
"""Models or keys in a line of the encoded snapshot: so many are decoded without a rest, in about 0.1 ms."""

Period = Literal["day", "week", "month", "total"]
ProviderKind = Literal["openai", "azure", "anthropic", "gemini", "vertex", "vertex_anthropic", "bedrock"]


PASSED_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
"""With which a provider may be asked for what no dialect has."""


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


def is_reference(value: str) -> bool:
    """Whether a value stands for a secret that each node looks up itself."""
    return value.startswith(("env:", "file:"))


AuthKind = Literal[
    "google_service_account",
    "google_metadata",
    "entra_client_secret",
    "entra_managed_identity",
    "entra_workload_identity",
]


class Auth(_Value, frozen=True):
    """Where a provider's tokens come from, which each worker fetches and renews; see `base.credentials`."""

    kind: AuthKind
    endpoint: str = ""
    """Base URL of who issues them; "": as documented."""
    scope: str = ""
    """"": as documented."""
    key_file: str = ""
    """Of a Google service account, in JSON."""
    tenant_id: str = ""
    client_id: str = ""
    client_secret: str | None = None
    """A reference."""
    token_file: str = ""
    """What a workload identity shows of itself; renewed by whoever runs the pod."""


class Aws(_Value, frozen=True):
    """Who asks Amazon, by a signature of each request. All but the region are references."""

    region: str
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def references(self) -> list[str]:
        values = (self.access_key_id, self.secret_access_key, self.session_token)
        return [value for value in values if value is not None]


class Passage(_Value, frozen=True):
    """What may be asked of a provider as it stands, at `/{provider}/...`."""

    path: str = "/*"
    """Behind the base URL; `*` stands for any text."""
    methods: tuple[str, ...] = PASSED_METHODS


class Provider(_Value, frozen=True):
    """One upstream service."""

    name: str
    kind: ProviderKind
    base_url: str
    """With the version, as the provider's documentation writes it; no trailing slash. `http+unix://%2Fpath.sock/v1` for a Unix socket."""
    api_key: str | None = None
    """A reference (`env:NAME`, `file:PATH`)."""
    aws: Aws | None = None
    """In place of `api_key`."""
    auth: Auth | None = None
    """In place of `api_key`: it is shown a token that expires."""
    api_version: str | None = None
    """Azure's: with it, models are deployments, by their name in the path."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """How it calls the bound of a chat's answer; None: as the caller does, or as OpenAI."""
    unsupported_params: tuple[str, ...] = ()
    """Fields of a chat request that it refuses: `store`, `messages.name`."""
    renamed_params: tuple[tuple[str, str], ...] = ()
    """(as OpenAI calls it, as this one does), at the top of a chat request."""
    developer_role: Literal["system"] | None = None
    """The role in place of `developer`; None: it knows that."""
    tool_call_ids: Literal["alphanumeric_9"] | None = None
    """The only shape in which it takes ids of tool calls; None: any."""
    responses: bool = False
    """It answers OpenAI's Responses itself; else they are translated."""
    headers: tuple[tuple[str, str], ...] = ()
    """Added to each request; values may be references."""
    passthrough: tuple[Passage, ...] = ()
    """What may be asked of it at `/{provider}/...`; nothing by default."""
    passthrough_request_headers: tuple[str, ...] = ()
    """Of a caller's, in lower case, that go on to it then, beside those of `codec.passthrough`."""
    passthrough_answer_headers: tuple[str, ...] = ()
    """Of its answers, in lower case, that come back then, beside those."""
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

    def references(self) -> list[str]:
        """To what is secret, for the nodes that use it."""
        values = [self.api_key, *(value for _, value in self.headers)]
        if self.auth is not None:
            values.append(self.auth.client_secret)
        found = [value for value in values if value is not None and is_reference(value)]
        return [*found, *self.aws.references()] if self.aws is not None else found


class Target(_Value, frozen=True):
    """Where a model's requests may go."""

    provider: str
    model: str
    """The name that the provider knows."""
    weight: int = 1
    price: Price | None = None
    """None: unknown; such calls are recorded with cost 0 and counted as unpriced."""
    context_tokens: int = 0
    """The longest that a prompt and its answer may be; 0: unknown."""
    max_output_tokens: int = 0
    """The longest answer, which is asked for where a bound must be named and the caller names none; 0: as the model has it."""
    lacks: int = 0
    """Bits of `gateway.base.capabilities`: what it is known not to take or do."""


class Model(_Value, frozen=True):
    """A name that applications use."""

    name: str
    targets: tuple[Target, ...]
    fallbacks: tuple[str, ...] = ()
    encoding: str = "o200k_base"
    """The vocabulary with which prompt tokens are counted."""
    estimated: bool = False
    """It is not the model's own: what it counts is corrected by what providers tell."""
    max_output_tokens: int = 4_096
    """What a request is taken to ask for when it names no bound of its own."""
    drop_params: tuple[str, ...] = ()
    """Fields of a request that are left out where a target's dialect has no place for them; "*" for all. Others are refused then."""


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
    passthrough: tuple[str, ...] = ()
    """Names of the providers that it may ask for what no dialect has; "*": of all that admit it."""


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


class SnapshotError(ValueError):
    """The bytes are no snapshot that this node can serve."""


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of an encoded snapshot."""

    version: str
    format: int
    digest: str
    """Hex SHA-256 of all that follows the line."""


class _Piece(_Value, frozen=True):
    """A further line: a part of the snapshot's values, in their order."""

    providers: tuple[Provider, ...] = ()
    models: tuple[Model, ...] = ()
    teams: tuple[Team, ...] = ()
    keys: tuple[Key, ...] = ()


_frames = msgspec.json.Decoder(_Frame)
_pieces = msgspec.json.Decoder(_Piece)


def encode(snapshot: Snapshot) -> bytes:
    """A snapshot as lines of JSON: what it is, then its values in pieces, so that who must not be kept long can decode it piecemeal."""
    pieces = [_Piece(providers=snapshot.providers), _Piece(teams=snapshot.teams)]
    pieces += [_Piece(models=snapshot.models[i : i + PIECE]) for i in range(0, len(snapshot.models), PIECE)]
    pieces += [_Piece(keys=snapshot.keys[i : i + PIECE]) for i in range(0, len(snapshot.keys), PIECE)]
    body = b"\n".join(map(msgspec.json.encode, pieces))
    frame = _Frame(snapshot.version, snapshot.format, hashlib.sha256(body).hexdigest())
    return msgspec.json.encode(frame) + b"\n" + body


def decode(data: bytes) -> Snapshot:
    """The snapshot that `encode` wrote.

    Raises:
        SnapshotError: not a snapshot, of another format, or its content does not fit its version.
    """
    steps = Encoded(data).decode()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            snapshot: Snapshot = end.value
            break
    if snapshot.sealed().version != snapshot.version:
        raise SnapshotError(f"snapshot {snapshot.version} does not have the content it was made from")
    return snapshot


class Encoded:
    """The bytes of a snapshot, found whole but not decoded yet.

    Raises:
        SnapshotError: not a snapshot, of another format, or damaged.
    """

    def __init__(self, data: bytes) -> None:
        line, _, body = data.partition(b"\n")
        try:
            frame = _frames.decode(line)
        except msgspec.DecodeError as error:
            raise SnapshotError(f"not a snapshot: {error}") from error
        if frame.format != FORMAT:
            raise SnapshotError(f"snapshot format {frame.format}, this node reads {FORMAT}")
        if hashlib.sha256(body).hexdigest() != frame.digest:
            raise SnapshotError(f"snapshot {frame.version} is damaged: its digest does not fit")
        self.version = frame.version
        self._lines = body.split(b"\n")

    def decode(self) -> Generator[None, None, Snapshot]:
        """Decodes a piece at each step. That the content fits the version was for the writer to check. Raises SnapshotError."""
        providers: list[Provider] = []
        models: list[Model] = []
        teams: list[Team] = []
        keys: list[Key] = []
        for line in self._lines:
            try:
                piece = _pieces.decode(line)
            except msgspec.DecodeError as error:
                raise SnapshotError(f"not a snapshot: {error}") from error
            providers += piece.providers
            models += piece.models
            teams += piece.teams
            keys += piece.keys
            yield
        return Snapshot(self.version, tuple(providers), tuple(models), tuple(teams), tuple(keys))
