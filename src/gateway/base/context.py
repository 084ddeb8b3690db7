"""One slotted context a request, and what it finds compiled in the snapshot that it pins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from _fastpath.bucket import Plan
from _fastpath.chat import Reading
from _fastpath.http1 import ResponseHead
from _fastpath.metrics import Cell, Histogram
from _fastpath.sse import EventScanner
from _fastpath.upstream import UpstreamConnection
from _fastpath.usage import Rates, Usage
from gateway.base.calibration import Calibration
from gateway.base.dialect import Codec, Dialect, Errors, Framing, Operation, ProviderCodec, ProviderDialect
from gateway.base.image_tokens import cost_of_model
from gateway.base.messages import Lost
from gateway.base.ports import Exchange
from gateway.base.snapshot import Key, Model, Price, Provider, ProviderKind, Target
from gateway.base.usage import rates_of

NEVER_S = 1 << 62
"""A Unix second that does not come."""
ENDLESS_TOKENS = 1 << 62
"""Of a context that nobody knows."""
_UNSAFE = re.compile(r"[^\t\x20-\x7e]")


class Endpoint(msgspec.Struct, frozen=True):
    """A governed endpoint of a dialect."""

    name: str
    """In records and metrics: "chat", "completions", "embeddings", "messages", ..."""
    path: str
    """As callers ask for it."""
    read: Callable[[bytes], Reading]
    """Raises GatewayError."""
    dialect: Dialect
    """Of its requests, answers and errors."""
    generates: bool = True
    """Answers with tokens of its own (embeddings do not)."""
    native: bool = False
    """Its answers are read by kernels of their own, as they pass."""
    translates: bool = False
    """Providers of other dialects can answer it, too."""
    operation: Operation = "conversation"
    codec: Codec | None = None
    """How its dialect speaks of the operation; None: that is the dialect itself."""
    errors: Errors | None = None
    """How its errors are told; None: as the dialect tells them."""
    follow: Callable[[Any], Follows] | None = None
    """Makes what reads its answers, of the reading's `request`, where none of them is translated and no kernel knows them."""
    free: bool = False
    """It costs nothing where no price says otherwise."""
    rename: Callable[[bytes, str], bytes] | None = None
    """Writes the model's name into a body of which the reading does not tell all places where one stands."""
    count: Callable[[int], bytes] | None = None
    """It counts tokens, which costs nothing: this writes the answer where it is counted here."""
    withheld: tuple[str, ...] = ()
    """Fields that not even a provider of the same dialect is asked for: what they do could not be accounted for."""
    kept: bool = False
    """A provider of the same dialect keeps what it answers, and is asked for it by its id."""
    carried: tuple[tuple[bytes, bytes], ...] = ()
    """Headers of the caller that go on to a provider of the same dialect, in lower case, and what is sent where the caller sent none; b"" for
    nothing."""


class Operated(msgspec.Struct, frozen=True):
    """How a kind of provider answers what is no conversation."""

    operation: Operation
    endpoint: str
    """That answers what is translated."""
    codec: ProviderCodec


class Kind(msgspec.Struct, frozen=True):
    """A kind of provider: how it is spoken to."""

    name: ProviderKind
    dialect: ProviderDialect
    paths: tuple[tuple[str, str], ...]
    """(name of the endpoint, path behind the base URL): what it answers in its own dialect. `{model}` is replaced by the model's name."""
    versioned_paths: tuple[tuple[str, str], ...] = ()
    """The same where the provider has an `api_version`; `{api_version}` is replaced by it."""
    conversation: str = ""
    """The endpoint that answers what is translated."""
    conversation_stream: str = ""
    """The same where a stream is asked for, if that is another one."""
    must_be_bounded: bool = False
    """It takes no request without a bound of its answer."""
    credential: str = "authorization: Bearer {}"
    """The header line with which it is shown who asks."""
    fields: bytes = b""
    """Header lines of what is translated, each with its CRLF."""
    accept: str = ""
    """The header that says what is understood; "" for the usual."""
    framing: Framing | None = None
    """Of its streams, where they are not server-sent events."""
    error_header: bytes = b""
    """Where it names the type of an error, in lower case; b"" where the body does."""
    fit: Callable[[str, bytes, str, bytes], bytes] | None = None
    """Makes of a request of its dialect what it takes: fit(name of the endpoint, body, model, the caller's `anthropic-version` or b"")."""
    keeps: frozenset[bytes] = frozenset()
    """Headers of the caller that do not go on to it although their dialect is its own."""
    operations: tuple[Operated, ...] = ()
    """What else it answers in translation."""

    def answering(self, operation: Operation, stream: bool) -> tuple[str, ProviderCodec] | None:
        """(the endpoint that answers it, how that is spoken to); None where it has none."""
        if operation == "conversation":
            name = (stream and self.conversation_stream) or self.conversation
            return (name, self.dialect) if name else None
        return next(((each.endpoint, each.codec) for each in self.operations if each.operation == operation), None)


class Quirks(Protocol):
    """What a provider does otherwise than the others of its dialect: `gateway.codec.dialects.openai_chat.quirks.Quirks`."""

    takes_stream_options: bool

    def fit(self, body: bytes, model_json: bytes, lost: Lost, *, ask_usage: bool) -> bytes:
        """A request as this provider takes it."""


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


class WholeAnswer(Protocol):
    """What has been read of a whole answer: `gateway.codec.translation.Whole`."""

    @property
    def body(self) -> bytes: ...
    @property
    def usage(self) -> Usage | None: ...
    @property
    def finish(self) -> str: ...
    @property
    def text_bytes(self) -> int: ...
    @property
    def media_bytes(self) -> int: ...


class ResponseIds(Protocol):
    """Ids of stored responses, as callers see them: `gateway.codec.response_ids.ResponseIds`."""

    def shown(self, response_id: str, owner: str, provider: str) -> str: ...
    def taken(self, shown: str, owner: str, providers: Iterable[str]) -> tuple[str, str] | None:
        """(the provider's own id, the provider); None where the owner has no such response."""


class Meter(Protocol):
    """Counts an answer that goes on as it comes: `gateway.codec.metered`."""

    def feed(self, data: bytes) -> None: ...
    def usage(self, prompt: int, complete: bool) -> Usage:
        """What is charged for what has come.

        Args:
            prompt: tokens that were counted of the prompt.
        """


class ReadFollows(Protocol):
    """Reads the answer to a request, which is collected where it is no stream: `gateway.codec.translation.Follows`."""

    @property
    def stream_type(self) -> bytes:
        """What the content type of a stream begins with."""

    @property
    def passes(self) -> Literal[False]: ...
    def answer(self, body: bytes) -> WholeAnswer:
        """Raises AnswerError."""

    def scanner(self) -> EventScanner | None:
        """None where no stream answers the request."""


class MeteredFollows(Protocol):
    """Counts the answer to a request, which goes on as it comes: `gateway.codec.metered.Metered`."""

    @property
    def stream_type(self) -> bytes: ...
    @property
    def passes(self) -> Literal[True]: ...
    def meter(self) -> Meter: ...
    def scanner(self) -> EventScanner | None:
        """As above."""


Follows: TypeAlias = ReadFollows | MeteredFollows


class Signing(Protocol):
    """Signs the requests for one path of a provider: `gateway.codec.sigv4.PathSigning`."""

    def fields(self, body: bytes) -> bytes:
        """Header lines that show who asks for just that, each with its CRLF."""


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


def record_part(**fields: str) -> bytes:
    """Fields of a usage record that many requests share, as the part of a JSON object that begins with a comma."""
    return b"," + msgspec.json.encode(fields)[1:-1]


class Credential:
    """What a provider is shown, where that changes while a snapshot serves. Whoever renews it replaces both fields at once."""

    __slots__ = ("line", "on_refused", "until_ns")

    def __init__(self, on_refused: Callable[[], object]) -> None:
        self.on_refused = on_refused
        """Called when the provider has refused it: it may have been revoked, or be older than this machine's clock knows."""
        self.line = b""
        """The header line with its CRLF."""
        self.until_ns = 0
        """CLOCK_MONOTONIC; it is not shown from then on. 0: there has been none yet."""


class TargetEntry:
    """A target, ready to be called."""

    __slots__ = (
        "calibration",
        "credential",
        "fields",
        "heads",
        "kind",
        "metrics",
        "model_json",
        "pool",
        "provider",
        "quirks",
        "rates",
        "signings",
        "target",
    )

    def __init__(
        self,
        target: Target,
        provider: Provider,
        pool: ProviderPool,
        heads: dict[str, bytes],
        kind: Kind,
        *,
        quirks: Quirks | None = None,
        signings: dict[str, Signing] | None = None,
    ) -> None:
        self.target = target
        self.kind = kind
        self.provider = provider
        self.fields = field("x-throughway-provider", provider.name) + field("x-throughway-model", target.model)
        """Header lines of each answer of this target."""
        self.pool = pool
        self.heads = heads
        """By the name of each endpoint that its provider answers itself: the request's head up to what changes with each request."""
        self.signings = signings
        """The same by what signs it; None where a key in the head says all."""
        self.credential: Credential | None = None
        """What `heads` lack; None where they hold all."""
        self.model_json = msgspec.json.encode(target.model)
        self.rates = rates_of(target.price) if target.price is not None else None
        """None where nobody knows what it costs."""
        self.calibration: Calibration | None = None
        """None where prompts are counted with the model's own vocabulary."""
        self.quirks = quirks
        """None where its provider does all as its dialect has it."""
        self.metrics: dict[tuple[str, str], RouteMetrics] = {}
        """By endpoint and public model: at most a few."""


class ModelEntry:
    """A model by its public name."""

    __slots__ = (
        "calibrations",
        "encoding",
        "fallbacks",
        "image_costs",
        "lacks",
        "least_context_tokens",
        "max_output_tokens",
        "model",
        "rates",
        "schedule",
        "targets",
        "turn",
    )

    def __init__(self, model: Model, targets: list[TargetEntry]) -> None:
        self.model = model
        self.encoding = model.encoding
        calibrations = [t.calibration for t in targets if t.calibration is not None]
        self.calibrations: list[Calibration] | None = calibrations or None
        """Of its targets, where prompts are not counted with their own vocabulary."""
        self.image_costs = [cost_of_model(t.target.model) for t in targets]
        self.max_output_tokens = model.max_output_tokens
        self.targets = targets
        self.fallbacks: list[ModelEntry] = []
        self.lacks = 0
        """What some target of it, or of a fallback, does not take: a request that needs none of it may go to any of them."""
        self.least_context_tokens = ENDLESS_TOKENS
        """The shortest context among them."""
        self._note_capabilities(targets)
        self.schedule: list[TargetEntry] = []
        """Targets in the order of smooth weighted round robin, one whole turn."""
        self.turn = 0
        self.rates = _dearest([t.rates for t in targets if t.rates is not None])
        """What a reservation is priced with: of each kind the dearest of the targets."""

    def fall_back_to(self, models: list[ModelEntry]) -> None:
        """Sets `fallbacks`, once."""
        self.fallbacks = models
        for model in models:
            self._note_capabilities(model.targets)

    def _note_capabilities(self, targets: list[TargetEntry]) -> None:
        for target in targets:
            self.lacks |= target.target.lacks
            known = target.target.context_tokens
            if known:
                self.least_context_tokens = min(self.least_context_tokens, known)


def _dearest(rates: list[Rates]) -> Rates | None:
    if not rates:
        return None
    return Rates(
        max(r.input for r in rates),
        max(r.output for r in rates),
        request_nano_usd=max(r.request_nano_usd for r in rates),
    )


class KeyEntry:
    """A caller's key, with its limits compiled."""

    __slots__ = (
        "allowed",
        "budget_ends_s",
        "expires_at_s",
        "key",
        "learns_at_ms",
        "plan",
        "record",
        "scope_names",
        "team",
        "tokens_per_minute",
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.team = key.team or ""
        self.expires_at_s = key.expires_at_s if key.expires_at_s is not None else NEVER_S
        self.record = record_part(key_id=key.id, team=self.team)
        self.allowed: dict[str, bool] = {}
        """Of each model's name; made with the snapshot, so bounded by its models."""
        self.plan: Plan | None = None
        """None where neither the key nor its team has a limit."""
        self.scope_names: list[str] = []
        self.tokens_per_minute = -1
        """The tightest of the scopes'; -1 where there is none."""
        self.learns_at_ms = 0
        """Unix time from which on what it is answered is an observation for a calibration again."""
        self.budget_ends_s = 0
        """Unix second at which the plan's shortest budget period ends and the plan must be made anew."""


class ProviderEntry:
    """A provider, ready to be asked for what no model stands for.

    Args:
        head: what of the head of each request to it is always the same: `host` and its own fields, the credential among them.
    """

    __slots__ = (
        "base_path",
        "endpoint",
        "free",
        "head",
        "kind",
        "names",
        "passages",
        "pool",
        "provider",
        "targets",
        "unpriced",
    )

    def __init__(
        self, provider: Provider, pool: ProviderPool, kind: Kind, *, endpoint: Endpoint, base_path: str, head: bytes
    ) -> None:
        self.provider = provider
        self.pool = pool
        self.kind = kind
        self.endpoint = endpoint
        self.base_path = base_path
        self.head = head
        self.names = frozenset(name.lower().encode() for name, _ in provider.headers)
        """Of the fields that are its own."""
        self.passages = [(passage.methods, _pattern(passage.path)) for passage in provider.passthrough]
        self.free = self._target(Price(0, 0))
        """What costs nothing, whatever it is."""
        self.unpriced = self._target(None)
        """What nobody knows the price of."""
        self.targets: dict[str, tuple[ModelEntry, TargetEntry]] = {}
        """By the names that it knows: the models it serves."""

    def _target(self, price: Price | None) -> TargetEntry:
        target = TargetEntry(Target(self.provider.name, "", price=price), self.provider, self.pool, {}, self.kind)
        target.fields = field("x-throughway-provider", self.provider.name)
        return target

    def add(self, model: ModelEntry, target: TargetEntry) -> None:
        """One of the models that it serves; of several targets of one name the first that has a price counts."""
        known = self.targets.get(target.target.model)
        if known is None or known[1].rates is None:
            self.targets[target.target.model] = (model, target)

    def admits(self, method: str, path: str) -> bool:
        """Whether it may be asked for a path behind its base URL."""
        return any(method in methods and pattern.fullmatch(path) for methods, pattern in self.passages)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.sub(r"\*+", "*", path).split("*"))))


NO_MODEL = ModelEntry(Model("", ()), [])
"""Of requests that ask for none."""


class Compiled:
    """A snapshot as the data plane uses it. Immutable but for the marks of round robin."""

    __slots__ = (
        "fields",
        "keepers",
        "key_by_hmac",
        "keys_seen",
        "models",
        "providers",
        "record",
        "response_ids",
        "version",
    )

    def __init__(self, version: str) -> None:
        self.version = version
        self.fields = field("x-throughway-config-version", version)
        """Header lines of each answer under this snapshot."""
        self.record = record_part(config_version=version)
        self.models: dict[str, ModelEntry] = {}
        self.providers: dict[str, ProviderEntry] = {}
        self.keepers: list[str] = []
        """Names of the providers that keep responses."""
        self.response_ids: ResponseIds | None = None
        """Set where the snapshot is taken into use."""
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
        "record",
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
    record: bytes
    """What the usage records of this route share."""


_NO_TARGETS: frozenset[TargetEntry] = frozenset()


class Context:
    """Everything that is known of one request while it lives."""

    __slots__ = (
        "accounted",
        "attempts",
        "code",
        "compiled",
        "connection",
        "cost_nano_usd",
        "counted_tokens",
        "counts",
        "deadline_ns",
        "dropped",
        "endpoint",
        "error",
        "exchange",
        "excluded",
        "finish_reason",
        "first_token_ns",
        "follows",
        "hide_usage",
        "id",
        "key",
        "last_token_ns",
        "limit_fields",
        "metrics",
        "model",
        "plan",
        "prompt_tokens",
        "provider_ns",
        "reading",
        "received_ns",
        "reserved_nano_usd",
        "reserved_tokens",
        "sent_ns",
        "status",
        "tags",
        "target",
        "trace_id",
        "unpriced",
        "usage",
        "waiter",
    )

    def __init__(
        self, exchange: Exchange, compiled: Compiled, name: str, received_ns: int, endpoint: Endpoint | None = None
    ) -> None:
        self.exchange = exchange
        self.compiled = compiled
        """The snapshot that this request pins."""
        self.id = name
        self.received_ns = received_ns
        self.endpoint = endpoint
        self.key: KeyEntry | None = None
        self.reading: Reading | None = None
        self.model: ModelEntry | None = None
        """The model asked for."""
        self.target: TargetEntry | None = None
        """Of the attempt under way."""
        self.excluded = _NO_TARGETS
        """Targets that have failed this request."""
        self.attempts = 0
        self.deadline_ns = 0

        self.plan: Plan | None = None
        """The limits that were debited; None where nothing is to be settled."""
        self.counts = False
        """It stays counted as a request, whatever becomes of it: it was long, or a provider has been given it."""
        self.reserved_tokens = 0
        self.reserved_nano_usd = 0
        self.prompt_tokens = self.counted_tokens = 0
        # the second: of the prompt's text before they were corrected; 0 where nothing is to be corrected
        self.limit_fields = self.dropped = b""
        # header lines: what is left of the limits, and what of the request its provider's dialect has no place for

        self.hide_usage = False
        """The usage chunk was asked for by us."""
        self.follows: Follows | None = None  # of the attempt under way; None where kernels read its answer
        self.waiter: PoolWaiter | None = None
        """While a connection is awaited."""
        self.connection: UpstreamConnection | None = None
        """While an attempt is under way."""
        self.sent_ns = 0
        """When the attempt under way was begun; 0 once its provider is done."""
        self.provider_ns = 0
        """Time spent with providers, all attempts."""
        self.first_token_ns = 0
        self.last_token_ns = 0
        self.metrics: RouteMetrics | None = None
        """Of the target."""

        self.usage: Usage | None = None
        self.cost_nano_usd = 0
        self.unpriced = False
        self.finish_reason = ""
        self.status = 0
        self.code = ""
        """Of the error catalogue; "" while all is well."""
        self.error = ""
        self.trace_id = ""
        self.tags = ""
        self.accounted = False
