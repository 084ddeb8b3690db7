"""One slotted context a request, and what it finds compiled in the snapshot that it pins."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from _fastpath.bucket import Plan
from _fastpath.http1 import ResponseHead
from _fastpath.metrics import Cell, Histogram
from _fastpath.upstream import UpstreamConnection
from gateway.base.ports import Exchange
from gateway.base.snapshot import Key, Model, Price, Provider, Target
from gateway.base.usage import Usage

_UNSAFE = re.compile(r"[^\t\x20-\x7e]")


class Reading(msgspec.Struct):
    """What governs a request, read once from its body by its dialect. Offsets are of the body's bytes."""

    model: str
    model_start: int
    """Of the value of `model`, with its quotes."""
    model_end: int
    close: int
    """Of the body's closing brace."""
    stream: bool = False
    include_usage: bool = False
    """The caller asked for a usage chunk itself."""
    options_start: int = -1
    """Of the value of `stream_options`; -1 where it is absent."""
    options_end: int = -1
    texts: list[str] = []
    """What is counted as the prompt."""
    fixed_tokens: int = 0
    """Prompt tokens that are not text: framing, images."""
    max_output_tokens: int | None = None
    choices: int = 1
    """Answers that will be paid for: `n`, or `best_of` where it is larger."""


class Endpoint(msgspec.Struct, frozen=True):
    """A governed endpoint of a dialect."""

    name: str
    """In records and metrics: "chat", "completions", "embeddings"."""
    path: str
    """As callers ask for it."""
    upstream_path: str
    """Behind the provider's base URL."""
    read: Callable[[bytes], Reading]
    """Raises GatewayError."""
    generates: bool = True
    """Answers with tokens of its own (embeddings do not)."""


class ProviderPool(Protocol):
    """Connections to one provider: `gateway.net.pool.UpstreamPool`."""

    def take(self) -> UpstreamConnection | None: ...
    def wait(self, waiter: PoolWaiter) -> None:
        """Raises GatewayError where too many wait."""


class PoolWaiter(Protocol):
    """Who waits for a connection to a provider."""

    cancelled: bool
    deadline_ns: int
    """CLOCK_MONOTONIC; it waits no longer."""

    def on_connection(self, connection: UpstreamConnection) -> None: ...
    def on_unavailable(self, kind: str, message: str) -> None: ...


class Sink(Protocol):
    """Takes a provider's response as it arrives; see `_fastpath.upstream`."""

    def on_response(self, head: ResponseHead, body: bytes) -> None: ...
    def on_head(self, head: ResponseHead, more: bool) -> None: ...
    def on_data(self, data: bytes, last: bool) -> None: ...
    def on_error(self, kind: str, message: str) -> None: ...
    def on_crash(self, error: Exception) -> None: ...


def field(name: str, value: str) -> bytes:
    """A header line with its CRLF. What HTTP does not allow in a value is replaced by `?`, so that no name can break a head."""
    return f"{name}: {_UNSAFE.sub('?', value)}\r\n".encode()


class TargetEntry:
    """A target, ready to be called."""

    __slots__ = ("fields", "heads", "metrics", "model_json", "pool", "price", "provider", "target")

    def __init__(self, target: Target, provider: Provider, pool: ProviderPool, heads: dict[str, bytes]) -> None:
        self.target = target
        self.provider = provider
        self.fields = field("x-throughway-provider", provider.name) + field("x-throughway-model", target.model)
        """Header lines of each answer of this target."""
        self.pool = pool
        self.heads = heads
        """By the endpoint's name: the request's head up to what changes with each request."""
        self.model_json = msgspec.json.encode(target.model)
        self.price = target.price
        self.metrics: dict[tuple[str, str], RouteMetrics] = {}
        """By endpoint and public model: at most a few."""


class ModelEntry:
    """A model by its public name."""

    __slots__ = ("fallbacks", "model", "price", "schedule", "targets", "turn")

    def __init__(self, model: Model, targets: list[TargetEntry]) -> None:
        self.model = model
        self.targets = targets
        self.fallbacks: list[ModelEntry] = []
        self.schedule: list[TargetEntry] = []
        """Targets in the order of smooth weighted round robin, one whole turn."""
        self.turn = 0
        self.price = _dearest([t.price for t in targets if t.price is not None])
        """What a reservation is priced with: of each kind the dearest of the targets."""


def _dearest(prices: list[Price]) -> Price | None:
    if not prices:
        return None
    return Price(
        input=max(p.input for p in prices),
        output=max(p.output for p in prices),
        request_nano_usd=max(p.request_nano_usd for p in prices),
    )


class KeyEntry:
    """A caller's key, with its limits compiled."""

    __slots__ = ("allowed", "budget_ends_s", "key", "plan", "scope_names", "team", "tokens_per_minute")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.team = key.team or ""
        self.allowed: dict[str, bool] = {}
        """Of each model's name; made with the snapshot, so bounded by its models."""
        self.plan: Plan | None = None
        """None where neither the key nor its team has a limit."""
        self.scope_names: list[str] = []
        self.tokens_per_minute = -1
        """The tightest of the scopes'; -1 where there is none."""
        self.budget_ends_s = 0
        """Unix second at which the plan's shortest budget period ends and the plan must be made anew."""


class Compiled:
    """A snapshot as the data plane uses it. Immutable but for the marks of round robin."""

    __slots__ = ("fields", "key_by_hmac", "keys_seen", "models", "version")

    def __init__(self, version: str) -> None:
        self.version = version
        self.fields = field("x-throughway-config-version", version)
        """Header lines of each answer under this snapshot."""
        self.models: dict[str, ModelEntry] = {}
        self.key_by_hmac: dict[str, KeyEntry] = {}
        self.keys_seen: dict[bytes, KeyEntry] = {}
        """By a keyed digest of the secret: spares the HMAC. At most one entry a key."""


class RouteMetrics:
    """The cells of one (endpoint, model, provider)."""

    __slots__ = (
        "added_us",
        "cost_nano_usd",
        "first_token_us",
        "input_tokens",
        "inter_token_us",
        "output_tokens",
        "provider_us",
        "requests",
    )

    requests: Cell
    input_tokens: Cell
    output_tokens: Cell
    cost_nano_usd: Cell
    added_us: Histogram
    provider_us: Histogram
    first_token_us: Histogram
    inter_token_us: Histogram


_NO_TARGETS: frozenset[TargetEntry] = frozenset()


@dataclass(slots=True, eq=False)
class Context:
    """Everything that is known of one request while it lives. No Struct: its fields are set more often than it is made."""

    exchange: Exchange
    compiled: Compiled
    """The snapshot that this request pins."""
    id: str
    received_ns: int
    endpoint: Endpoint | None = None
    key: KeyEntry | None = None
    reading: Reading | None = None
    model: ModelEntry | None = None
    """The model asked for."""
    target: TargetEntry | None = None
    """Of the attempt under way."""
    excluded: frozenset[TargetEntry] = _NO_TARGETS
    """Targets that have failed this request."""
    attempts: int = 0
    deadline_ns: int = 0

    plan: Plan | None = None
    """The limits that were debited; None where nothing is to be settled."""
    reserved_tokens: int = 0
    reserved_nano_usd: int = 0
    prompt_tokens: int = 0
    limit_fields: bytes = b""
    """Header lines that tell what is left of the limits."""

    hide_usage: bool = False
    """The usage chunk was asked for by us."""
    waiter: PoolWaiter | None = None
    """While a connection is awaited."""
    connection: UpstreamConnection | None = None
    """While an attempt is under way."""
    sent_ns: int = 0
    """When the attempt under way was begun; 0 once its provider is done."""
    provider_ns: int = 0
    """Time spent with providers, all attempts."""
    first_token_ns: int = 0
    last_token_ns: int = 0
    metrics: RouteMetrics | None = None
    """Of the target."""

    usage: Usage | None = None
    cost_nano_usd: int = 0
    unpriced: bool = False
    finish_reason: str = ""
    status: int = 0
    code: str = ""
    """Of the error catalogue; "" while all is well."""
    error: str = ""
    trace_id: str = ""
    tags: str = ""
    accounted: bool = False
