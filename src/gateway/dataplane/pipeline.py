"""The order of a request's phases. This is the one place that knows it.

    accept -> authenticate -> read -> admit -> route -> transform -> upstream -> relay -> account

All of it up to the bytes that go upstream runs inside the edge's `data_received`; the rest inside the upstream connection's.
There is no task and no future for a request, but for one that must wait for a new connection, which waits in the pool.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Protocol
from urllib.parse import unquote

from _fastpath.wheel import now_ns
from _fastpath.writer import Ids
from gateway.base.context import Compiled, Context, Endpoint
from gateway.base.errors import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    ENDPOINT_NOT_SERVED,
    EXPECTATION_FAILED,
    HEADERS_TOO_LARGE,
    INTERNAL_ERROR,
    INVALID_VALUE,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    OVERLOADED,
    PROVIDER_UNREACHABLE,
    REQUEST_TIMEOUT,
    UNSUPPORTED_MEDIA_TYPE,
    UNSUPPORTED_PARAMETER,
    URI_TOO_LONG,
    VERSION_NOT_SUPPORTED,
    Fault,
    GatewayError,
)
from gateway.base.ports import Exchange
from gateway.codec import listings
from gateway.codec.dialects.openai_chat.errors import render_error
from gateway.codec.endpoints import ENDPOINTS, errors_of, find_endpoint
from gateway.codec.response_ids import ResponseIds
from gateway.dataplane.kept_responses import KeptResponses
from gateway.dataplane.passthrough import Passthrough
from gateway.phases import route, transform, upstream
from gateway.phases.account import Accountant
from gateway.phases.admit import Admission, find_model
from gateway.phases.authenticate import Authenticator
from gateway.phases.relay import Relay

LONG_BODY_BYTES = 65_536
"""A longer body is read only if its key may send a request at all, and counts as one whatever stands in it."""
MAX_TAGS_BYTES = 1_024
MAX_TIMEOUT_MS = 86_400_000

_JSON = b"content-type: application/json\r\n"
_FAULT_BY_STATUS = {
    f.status: f
    for f in (
        BAD_REQUEST,
        REQUEST_TIMEOUT,
        BODY_TOO_LARGE,
        URI_TOO_LONG,
        EXPECTATION_FAILED,
        HEADERS_TOO_LARGE,
        INTERNAL_ERROR,
        NOT_IMPLEMENTED,
        OVERLOADED,
        VERSION_NOT_SUPPORTED,
    )
}
"""Of what the edge refuses below the pipeline."""

Report = Callable[..., None]
"""Called as report(level, event, **fields)."""


class Beside(Protocol):
    """What answers paths that name no model, outside of ENDPOINTS."""

    def wants(self, ctx: Context) -> bool:
        """Whether the path is one of its own; authenticates. Raises GatewayError where this caller may not ask for it."""

    def begin(self, ctx: Context, admission: Admission) -> None:
        """Sends on what it wants. Raises GatewayError."""


class Pipeline:
    """The application behind the edges of a worker. Satisfies `phases.relay.Steps`."""

    def __init__(self, authenticate: Authenticator, accountant: Accountant, report: Report) -> None:
        self._authenticate = authenticate
        self._accountant = accountant
        self._report = report
        self._compiled = Compiled("none")
        self._admit: Admission | None = None
        self._response_ids = ResponseIds(authenticate.derived(b"throughway response ids"))
        self._beside: tuple[Beside, ...] = (
            KeptResponses(authenticate, accountant, self, self._response_ids),
            Passthrough(authenticate, accountant, self),
        )
        # A worker's ids are told apart by 48 random bits, drawn when it starts.
        self._ids = Ids(b"req_" + os.urandom(6).hex().encode())

    def swap(self, compiled: Compiled, admission: Admission) -> None:
        """Requests that begin from now on see this snapshot; those under way keep theirs."""
        compiled.response_ids = self._response_ids
        self._compiled = compiled
        self._admit = admission

    @property
    def version(self) -> str:
        return self._compiled.version

    @property
    def tokens_in_flight(self) -> int:
        """Prompt tokens of the requests that are with a provider."""
        return self._accountant.tokens_in_flight

    # -- what edges call

    def on_request(self, exchange: Exchange) -> None:
        """A whole request."""
        endpoint = ENDPOINTS.get(exchange.path)
        ctx = Context(exchange, self._compiled, self._ids.next(), exchange.received_ns, endpoint)
        try:
            if endpoint is None:
                endpoint = ctx.endpoint = find_endpoint(exchange.path, exchange.query)
            if endpoint is None or exchange.method != "POST":
                self._answer_itself(ctx)
            else:
                self._govern(ctx, endpoint)
        except GatewayError as error:
            self.refuse(ctx, error)
        except Exception as error:  # a programmer's error ends this request, loudly, and no other
            self.crash(ctx, error)

    def on_head(self, exchange: Exchange) -> bool:
        """Whether a request whose body is still to come deserves it."""
        ctx = Context(exchange, self._compiled, self._ids.next(), exchange.received_ns)
        try:
            endpoint = ctx.endpoint = ENDPOINTS.get(exchange.path) or find_endpoint(exchange.path, exchange.query)
            if endpoint is None or exchange.method != "POST":
                if endpoint is None and self._beside_of(ctx) is not None:
                    return True
                self._answer_itself(ctx)
                return False
            _check_media_type(exchange)
            self._authenticate.authenticate(ctx)
        except GatewayError as error:
            self.refuse(ctx, error)
            return False
        except Exception as error:
            self.crash(ctx, error)
            return False
        return True

    def on_refusal(self, status: int, reason: str, peer: str) -> tuple[bytes, bytes]:
        """The answer to what never became a request."""
        fault = _FAULT_BY_STATUS.get(status, BAD_REQUEST)
        self._accountant.count("", "", "", fault.code)
        self._report("info", "request_refused", status=status, code=fault.code, reason=reason, peer=peer)
        message = reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else ".")
        fields = _JSON + b"retry-after: 1\r\n" if fault.retry else _JSON
        return fields, render_error(fault, message)

    # -- the order

    def _govern(self, ctx: Context, endpoint: Endpoint) -> None:
        exchange = ctx.exchange
        if exchange.plain:
            self._authenticate.authenticate(ctx)
        else:
            _check_media_type(exchange)
            self._authenticate.authenticate(ctx)
            transform.read_trace(ctx)
            ctx.tags = _tags(exchange)
            ctx.deadline_ns = _deadline_ns(exchange)
        assert self._admit is not None
        body = exchange.body
        if len(body) > LONG_BODY_BYTES:
            self._admit.enter(ctx)
        ctx.reading = endpoint.read(body)
        self._admit.admit(ctx)
        if endpoint.count is not None:
            if self._count_here(ctx, endpoint):
                return
            ctx.prompt_tokens = 0  # whoever counts produces nothing, however that ends
        try:
            began = self._attempt(ctx)
        except (
            GatewayError
        ) as error:  # too many wait for this target's provider, or its dialect cannot say it: another may
            if not _may_help(error) or ctx.target is None or not self.retry(ctx, error):
                raise
            return
        if not began:
            assert ctx.model is not None
            raise GatewayError(PROVIDER_UNREACHABLE, f"The model {ctx.model.model.name!r} has no target in use.")

    def _count_here(self, ctx: Context, endpoint: Endpoint) -> bool:
        """Answers a count of tokens where no target of the model counts in the caller's dialect."""
        assert ctx.model is not None and endpoint.count is not None
        if any(endpoint.name in target.heads for target in ctx.model.targets):
            return False
        ctx.counts = True
        self._accountant.release(ctx)
        ctx.status = 200
        body = endpoint.count(ctx.prompt_tokens)
        fields = b"%bx-request-id: %b\r\n%b%b" % (_JSON, ctx.id.encode(), ctx.compiled.fields, ctx.limit_fields)
        ctx.exchange.respond(200, fields, body)
        self.finish(ctx)
        return True

    def _attempt(self, ctx: Context) -> bool:
        """Begins the next attempt; False where there is no target left to try."""
        target = route.choose(ctx)
        if target is None:
            return False
        ctx.target = target
        if ctx.metrics is None:
            self._accountant.tokens_in_flight += ctx.prompt_tokens
        ctx.metrics = self._accountant.route_metrics(ctx, target)
        if ctx.attempts == 0:
            total_ns = ctx.received_ns + target.provider.timeouts.total_ms * 1_000_000
            ctx.deadline_ns = min(ctx.deadline_ns, total_ns) if ctx.deadline_ns else total_ns
        parts = transform.build(ctx)
        relay = Relay(ctx, self)
        ctx.exchange.on_disconnect = relay.client_left
        upstream.begin(ctx, parts, relay)
        return True

    def read_settings(self, ctx: Context) -> None:
        """What a caller tells by headers, of a request that is not governed here."""
        ctx.tags = _tags(ctx.exchange)
        ctx.deadline_ns = _deadline_ns(ctx.exchange)

    # -- what relays ask for

    def settle(self, ctx: Context) -> None:
        self._accountant.settle(ctx)

    def release(self, ctx: Context) -> None:
        self._accountant.release(ctx)

    def finish(self, ctx: Context) -> None:
        self._accountant.finish(ctx)

    def cancel(self, ctx: Context) -> None:
        upstream.cancel(ctx)

    def fault_of(self, kind: str) -> Fault:
        return upstream.fault_of(kind)

    def retry(self, ctx: Context, error: GatewayError) -> bool:
        """Begins another attempt after one that failed, if there is one to make."""
        assert ctx.target is not None
        if ctx.deadline_ns and now_ns() >= ctx.deadline_ns:  # nobody waits for another answer, it would only cost
            return False
        ctx.excluded = ctx.excluded | {ctx.target}
        failed = ctx.target
        try:
            if not self._attempt(ctx):
                ctx.target = failed
                return False
        except GatewayError as again:
            return self.retry(ctx, again)
        self._report(
            "info",
            "attempt_failed",
            id=ctx.id,
            provider=failed.provider.name,
            code=error.fault.code,
            error=error.message,
        )
        return True

    def refuse(self, ctx: Context, error: GatewayError) -> None:
        """Answers with an error, and accounts."""
        self._accountant.settle(ctx) if ctx.usage is not None else self._accountant.release(ctx)
        ctx.status, ctx.code, ctx.error = error.status, error.fault.code, error.message
        ctx.exchange.respond(error.status, _error_fields(ctx, error), _error_body(ctx, error))
        self.finish(ctx)

    def crash(self, ctx: Context, error: Exception) -> None:
        """Ends a request after a fault of our own."""
        self._report("error", "request_crashed", id=ctx.id, error="".join(traceback.format_exception(error))[-8_000:])
        upstream.cancel(ctx)
        self._accountant.settle(ctx) if ctx.exchange.started else self._accountant.release(ctx)
        ctx.status, ctx.code, ctx.error = INTERNAL_ERROR.status, INTERNAL_ERROR.code, type(error).__name__
        if ctx.exchange.started:
            ctx.exchange.abort()
        else:
            message = f"The gateway failed to handle this request. Its id is {ctx.id}."
            failure = GatewayError(INTERNAL_ERROR, message)
            ctx.exchange.respond(INTERNAL_ERROR.status, _error_fields(ctx, failure), _error_body(ctx, failure))
        self.finish(ctx)

    # -- what needs no provider

    def _answer_itself(self, ctx: Context) -> None:
        exchange, path = ctx.exchange, ctx.exchange.path
        if ctx.endpoint is not None:
            raise _wrong_method(exchange.method, b"POST")
        listing = next((p for p in listings.PATHS if path == p or path.startswith(f"{p}/")), None)
        if listing is None:
            beside = self._beside_of(ctx)
            if beside is not None:
                assert self._admit is not None
                beside.begin(ctx, self._admit)
                return
            known = ", ".join(
                [*ENDPOINTS, *listings.PATHS, "/v1beta/models/{model}:generateContent", "/{provider}/... (passthrough)"]
            )
            raise GatewayError(NOT_FOUND, f"There is no endpoint {path[:200]!r}. There are: {known}.")
        if exchange.method not in ("GET", "HEAD"):
            raise _wrong_method(exchange.method, b"GET, HEAD")
        self._authenticate.authenticate(ctx)
        assert ctx.key is not None
        shown = (dialect for header, dialect in listings.SHOWN_BY if exchange.header(header) is not None)
        dialect = next(shown, listings.PATHS[listing])
        name = unquote(path[len(listing) + 1 :])
        if name:
            body = listings.write_model(find_model(ctx.compiled, ctx.key, name).model.name, dialect)
        else:
            body = listings.write_models([m for m in ctx.compiled.models if ctx.key.allowed.get(m)], dialect)
        ctx.status = 200
        exchange.respond(200, b"%bx-request-id: %b\r\n%b" % (_JSON, ctx.id.encode(), ctx.compiled.fields), body)
        self._accountant.count("models", "", "", "ok")

    def _beside_of(self, ctx: Context) -> Beside | None:
        """Who answers a path that is none of ENDPOINTS'. Raises GatewayError where this caller may not ask for it."""
        return next((each for each in self._beside if each.wants(ctx)), None)


def _may_help(error: GatewayError) -> bool:
    """Whether another target may answer what this one cannot be asked."""
    return error.fault.retry or error.fault is UNSUPPORTED_PARAMETER or error.fault is ENDPOINT_NOT_SERVED


def _wrong_method(method: str, allowed: bytes) -> GatewayError:
    message = f"This endpoint does not answer {method[:32]}; it answers {allowed.decode()}."
    return GatewayError(METHOD_NOT_ALLOWED, message, fields=b"allow: %b\r\n" % allowed)


def _check_media_type(exchange: Exchange) -> None:
    media_type = exchange.content_type
    if media_type != b"application/json":
        name = (media_type or b"").split(b";")[0].strip().lower()
        if name != b"application/json":
            shown = repr(name.decode("ascii", "replace")[:100]) if name else "none"
            raise GatewayError(UNSUPPORTED_MEDIA_TYPE, f"content-type must be application/json; it is {shown}.")
    if exchange.header(b"content-encoding") not in (None, b"identity"):
        raise GatewayError(UNSUPPORTED_MEDIA_TYPE, "The body must come without content-encoding.")


def _tags(exchange: Exchange) -> str:
    tags = exchange.header(b"x-throughway-tags") or b""
    if len(tags) > MAX_TAGS_BYTES:
        message = f"x-throughway-tags is longer than {MAX_TAGS_BYTES} bytes."
        raise GatewayError(INVALID_VALUE, message, param="x-throughway-tags")
    return tags.decode("utf-8", "replace")


def _deadline_ns(exchange: Exchange) -> int:
    """The deadline that the caller set; 0 where it set none."""
    value = exchange.header(b"x-throughway-timeout-ms")
    if value is None:
        return 0
    if not (value.isdigit() and len(value) <= 12 and 0 < int(value) <= MAX_TIMEOUT_MS):
        message = f"x-throughway-timeout-ms must be a whole number of milliseconds from 1 to {MAX_TIMEOUT_MS}."
        raise GatewayError(INVALID_VALUE, message, param="x-throughway-timeout-ms")
    return exchange.received_ns + int(value) * 1_000_000


def _error_fields(ctx: Context, error: GatewayError) -> bytes:
    fields = b"%bx-request-id: %b\r\n%b%b" % (_JSON, ctx.id.encode(), ctx.compiled.fields, error.fields)
    if ctx.target is not None:
        fields += b"%bx-throughway-attempts: %d\r\n" % (ctx.target.fields, ctx.attempts)
    if error.retry_after_ms:
        seconds = -(-error.retry_after_ms // 1_000)
        fields += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (seconds, error.retry_after_ms)
    elif error.fault.retry and error.status == OVERLOADED.status:
        fields += b"retry-after: 1\r\n"
    return fields


def _error_body(ctx: Context, error: GatewayError) -> bytes:
    endpoint = ctx.endpoint
    errors = (endpoint.errors or endpoint.dialect) if endpoint is not None else errors_of(ctx.exchange.path)
    return errors.write_error(error.fault, error.message, error.param, error.provider_code)
