"""The order of what is asked of a provider as it stands, at `/{provider}/...`.

    accept -> authenticate -> authorise -> admit -> upstream -> pass on -> account

No model governs it: the provider says which methods and paths it admits, the key which providers it may ask so. What is reserved is a
request; tokens and money are settled when the answer has told them. Of GET, HEAD and DELETE, which produce nothing, an answer costs
nothing; what else nobody can price is counted as unpriced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from _fastpath.usage import Usage
from gateway.base.context import NO_MODEL, Context, ProviderEntry
from gateway.base.errors import METHOD_NOT_ALLOWED, NOT_FOUND, PASSTHROUGH_NOT_ALLOWED, Fault, GatewayError
from gateway.base.snapshot import PASSED_METHODS
from gateway.codec import passthrough
from gateway.codec.passthrough import Told
from gateway.phases import transform, upstream
from gateway.phases.account import Accountant
from gateway.phases.admit import Admission
from gateway.phases.authenticate import Authenticator
from gateway.phases.passing import Passing

if TYPE_CHECKING:
    from gateway.dataplane.pipeline import Pipeline

FREE_METHODS = ("GET", "HEAD", "DELETE")
"""They produce nothing that is charged for."""
REPEATABLE = ("GET", "HEAD", "PUT", "DELETE")
"""Idempotent (RFC 9110 section 9.2.2): sent once more where a connection closed before any byte of an answer."""
MAX_ATTEMPTS = 2
SHOWN_CHARS = 200
"""Of a path in an error."""


class Passthrough:
    """`gateway.dataplane.pipeline.Beside` of `/{provider}/...`. Satisfies `phases.passing.Steps`."""

    def __init__(self, authenticate: Authenticator, accountant: Accountant, pipeline: Pipeline) -> None:
        self._authenticate = authenticate
        self._accountant = accountant
        self._pipeline = pipeline

    def wants(self, ctx: Context) -> bool:
        found = passthrough.split(ctx.exchange.path)
        if found is None:
            return False
        self._authenticate.authenticate(ctx)  # before anything is told of which providers there are
        self._authorised(ctx, *found)
        return True

    def _authorised(self, ctx: Context, name: str, rest: str) -> tuple[ProviderEntry, str]:
        """The provider and the path behind its base URL. Raises GatewayError."""
        assert ctx.key is not None
        method, key = ctx.exchange.method, ctx.key.key
        entry = ctx.compiled.providers.get(name)
        if entry is None:
            raise GatewayError(
                NOT_FOUND, f"There is no endpoint {ctx.exchange.path[:SHOWN_CHARS]!r}, and no provider {name[:48]!r}."
            )
        ctx.endpoint = entry.endpoint
        if not ("*" in key.passthrough or name in key.passthrough):
            message = f"This key may not ask the provider {name!r} for what no model stands for."
            raise GatewayError(PASSTHROUGH_NOT_ALLOWED, message)
        if not entry.passages:
            raise GatewayError(PASSTHROUGH_NOT_ALLOWED, f"Nothing is passed through to the provider {name!r}.")
        if method not in PASSED_METHODS:
            allowed = ", ".join(PASSED_METHODS)
            message = f"Nothing is passed through with {method[:32]}; what is: {allowed}."
            raise GatewayError(METHOD_NOT_ALLOWED, message, fields=b"allow: %b\r\n" % allowed.encode())
        path = passthrough.checked_path(rest, entry.base_path)
        passthrough.check_query(ctx.exchange.query, entry.kind)
        if not entry.admits(method, path):
            message = f"The provider {name!r} does not admit {method} {path[:SHOWN_CHARS]!r}."
            raise GatewayError(PASSTHROUGH_NOT_ALLOWED, message)
        return entry, path

    def begin(self, ctx: Context, admission: Admission) -> None:
        exchange = ctx.exchange
        found = passthrough.split(exchange.path)
        assert found is not None
        entry, path = self._authorised(ctx, *found)
        transform.read_trace(ctx)
        self._pipeline.read_settings(ctx)
        admission.pass_on(ctx, costs=exchange.method not in FREE_METHODS)
        total_ns = ctx.received_ns + entry.provider.timeouts.total_ms * 1_000_000
        ctx.deadline_ns = min(ctx.deadline_ns, total_ns) if ctx.deadline_ns else total_ns
        ctx.model = NO_MODEL
        ctx.target = entry.free if exchange.method in FREE_METHODS else entry.unpriced
        ctx.metrics = self._accountant.route_metrics(ctx, ctx.target)
        self._send(ctx, entry, path)

    def _send(self, ctx: Context, entry: ProviderEntry, path: str) -> None:
        exchange = ctx.exchange
        target = f"{entry.base_path}{path}".encode()
        if exchange.query:
            target = b"%b?%b" % (target, exchange.query)
        parts = passthrough.request(exchange.method, target, _fields(ctx, entry), exchange.body)
        sink = Passing(ctx, self, entry, path)
        exchange.on_disconnect = sink.client_left
        upstream.begin(ctx, parts, sink, exchange.method)

    # -- phases.passing.Steps

    def fault_of(self, kind: str) -> Fault:
        return upstream.fault_of(kind)

    def again(self, ctx: Context, kind: str) -> bool:
        if kind != "closed" or ctx.attempts >= MAX_ATTEMPTS or ctx.exchange.method not in REPEATABLE:
            return False
        found = passthrough.split(ctx.exchange.path)
        assert found is not None
        ctx.connection = None
        try:
            self._send(ctx, *self._authorised(ctx, *found))
        except GatewayError:  # too many wait for a connection: what went wrong before is told
            return False
        return True

    def refuse(self, ctx: Context, error: GatewayError) -> None:
        self._pipeline.refuse(ctx, error)

    def cancel(self, ctx: Context) -> None:
        upstream.cancel(ctx)

    def crash(self, ctx: Context, error: Exception) -> None:
        self._pipeline.crash(ctx, error)

    def settle(self, ctx: Context, told: Told) -> None:
        assert ctx.target is not None
        entry = ctx.compiled.providers[ctx.target.provider.name]
        if told.usage is not None:
            self._price(ctx, entry, told)
        elif not ctx.counts or 400 <= ctx.status < 499:  # nothing was sent, or it was refused
            ctx.target = entry.free
        ctx.usage = told.usage if told.usage is not None else Usage()
        if ctx.counts:
            self._accountant.settle(ctx)
        else:
            self._accountant.release(ctx)

    def finish(self, ctx: Context) -> None:
        self._accountant.finish(ctx)

    def _price(self, ctx: Context, entry: ProviderEntry, told: Told) -> None:
        """Accounts for it as one of the provider's models, where it is known which: as it says itself, else as was asked."""
        found = entry.targets.get(told.model)
        if found is None:
            asked = passthrough.split(ctx.exchange.path)
            assert asked is not None
            found = entry.targets.get(passthrough.model_in(ctx.exchange.body, asked[1]))
        if found is not None:
            ctx.model, ctx.target = found
            ctx.metrics = self._accountant.route_metrics(ctx, ctx.target)


def _fields(ctx: Context, entry: ProviderEntry) -> bytes:
    """The header lines of the request."""
    added = [name.encode() for name in entry.provider.passthrough_request_headers]
    names = [name for name in (*passthrough.REQUEST_HEADERS, *added) if name not in entry.names]
    fields = passthrough.carried(ctx.exchange, names)
    own = entry.kind.fields
    if own and own.partition(b":")[0] + b":" not in fields:
        fields += own
    trace = b"traceparent: %b\r\n" % transform.child_span(ctx) if ctx.trace_id else b""
    return b"%b%b%b%b" % (entry.head, transform.credential_line(entry.free), fields, trace)
