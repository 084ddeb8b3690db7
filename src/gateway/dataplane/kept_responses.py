"""The order of what is asked of a response that a provider keeps: it is read, deleted, cancelled, or its input listed.

    accept -> authenticate -> authorise -> admit -> upstream -> relay -> account

The id says whose it is and who has it (`codec.response_ids`): no model is named, and none governs. It counts as a request and costs nothing.

Source: OpenAI API reference, "Responses": retrieve, delete, cancel, list input items.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.base.context import NO_MODEL, Context, Endpoint, ProviderEntry
from gateway.base.errors import METHOD_NOT_ALLOWED, RESPONSE_NOT_FOUND, GatewayError
from gateway.codec import passthrough
from gateway.codec.dialects import openai_responses
from gateway.codec.response_ids import KeptFollows, ResponseIds, Tagging, owner_of
from gateway.phases import transform, upstream
from gateway.phases.account import Accountant
from gateway.phases.admit import Admission
from gateway.phases.authenticate import Authenticator
from gateway.phases.relay import Relay

if TYPE_CHECKING:
    from gateway.dataplane.pipeline import Pipeline

_PATH = re.compile(r"/v1/responses/([^/]+)(|/cancel|/input_items)")
_METHODS = {"": ("GET", "DELETE"), "/cancel": ("POST",), "/input_items": ("GET",)}
_FIELDS = b"content-type: application/json\r\naccept: application/json, text/event-stream\r\n"  # as `transform.request_head` has them
ENDPOINT = Endpoint("kept_responses", "/v1/responses/{id}", passthrough.unread, openai_responses.DIALECT)


class KeptResponses:
    """`gateway.dataplane.pipeline.Beside` of `/v1/responses/{id}...`."""

    def __init__(
        self, authenticate: Authenticator, accountant: Accountant, pipeline: Pipeline, ids: ResponseIds
    ) -> None:
        self._authenticate = authenticate
        self._accountant = accountant
        self._pipeline = pipeline
        self._ids = ids

    def wants(self, ctx: Context) -> bool:
        found = _PATH.fullmatch(ctx.exchange.path)
        if found is None:
            return False
        ctx.endpoint = ENDPOINT
        self._authenticate.authenticate(ctx)
        self._authorised(ctx)
        return True

    def _authorised(self, ctx: Context) -> tuple[ProviderEntry, str, str]:
        """The provider, its own id of the response, and what of it is asked for. Raises GatewayError."""
        found = _PATH.fullmatch(ctx.exchange.path)
        assert found is not None and ctx.key is not None
        shown, part = found[1], found[2]
        if ctx.exchange.method not in _METHODS[part]:
            allowed = ", ".join(_METHODS[part])
            message = f"This endpoint does not answer {ctx.exchange.method[:32]}; it answers {allowed}."
            raise GatewayError(METHOD_NOT_ALLOWED, message, fields=b"allow: %b\r\n" % allowed.encode())
        taken = self._ids.taken(shown, owner_of(ctx.key), ctx.compiled.keepers)
        if taken is None:
            message = f"No provider keeps a response {shown[:200]!r} that this key or its team has made."
            raise GatewayError(RESPONSE_NOT_FOUND, message, param="response_id")
        response_id, provider = taken
        entry = ctx.compiled.providers[provider]
        passthrough.check_query(ctx.exchange.query, entry.kind)
        return entry, response_id, part

    def begin(self, ctx: Context, admission: Admission) -> None:
        exchange = ctx.exchange
        entry, response_id, part = self._authorised(ctx)
        assert ctx.key is not None
        transform.read_trace(ctx)
        self._pipeline.read_settings(ctx)
        admission.pass_on(ctx, costs=False)
        total_ns = ctx.received_ns + entry.provider.timeouts.total_ms * 1_000_000
        ctx.deadline_ns = min(ctx.deadline_ns, total_ns) if ctx.deadline_ns else total_ns
        ctx.model, ctx.target = NO_MODEL, entry.free
        ctx.metrics = self._accountant.route_metrics(ctx, ctx.target)
        tagging = Tagging(self._ids, owner_of(ctx.key), entry.provider.name)
        ctx.follows = KeptFollows(openai_responses.DIALECT, tagging, response_id)
        target = f"{entry.base_path}/responses/{response_id}{part}".encode()
        if exchange.query:
            target = b"%b?%b" % (target, exchange.query)
        trace = b"traceparent: %b\r\n" % transform.child_span(ctx) if ctx.trace_id else b""
        fields = b"%b%b%b%b" % (entry.head, transform.credential_line(entry.free), _FIELDS, trace)
        parts = passthrough.request(exchange.method, target, fields, b"")
        relay = Relay(ctx, self._pipeline)
        exchange.on_disconnect = relay.client_left
        upstream.begin(ctx, parts, relay, exchange.method)
