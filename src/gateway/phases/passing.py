"""An answer that goes on as it comes: no dialect, any status, any type of body.

Rules.
- Nothing is held back: what is read of the provider is written to the caller, and the provider is read no faster than the caller takes.
  What reads along keeps a bounded part.
- Its status and those of its headers that are on the list are the caller's. But a refusal of the gateway's own credential (401, 403, 407)
  is no fault of the caller's, whatever it says.
- What breaks before its head has left is an error of the catalogue, after it a broken connection.
"""

from __future__ import annotations

from typing import Protocol

from _fastpath.http1 import ResponseHead
from _fastpath.wheel import now_ns
from gateway.base.context import Context, ProviderEntry, field
from gateway.base.errors import (
    CLIENT_CLOSED,
    DEADLINE_EXCEEDED,
    PROVIDER_ERROR,
    PROVIDER_PROTOCOL_ERROR,
    PROVIDER_RATE_LIMITED,
    PROVIDER_REJECTED,
    STREAM_TRUNCATED,
    Fault,
    GatewayError,
    Source,
)
from gateway.codec.passthrough import ANSWER_HEADERS, Reader, Told, reader_of

OUR_REFUSALS = (401, 403, 407)
MAX_REFUSAL_BYTES = 65_536
"""Of such a refusal that is read, to tell what it says."""


class Steps(Protocol):
    """What is asked of whoever sent the request on."""

    def fault_of(self, kind: str) -> Fault: ...
    def again(self, ctx: Context, kind: str) -> bool:
        """Begins another attempt after one that failed so, if there is one to make."""

    def refuse(self, ctx: Context, error: GatewayError) -> None:
        """Answers with the error and accounts for the request."""

    def cancel(self, ctx: Context) -> None:
        """Drops the attempt under way."""

    def settle(self, ctx: Context, told: Told) -> None:
        """Prices what was used and replaces the reservation by it."""

    def finish(self, ctx: Context) -> None:
        """Accounts for the request."""

    def crash(self, ctx: Context, error: Exception) -> None:
        """Ends the request after a fault of our own."""


class Passing:
    """The sink of one attempt."""

    __slots__ = ("_collected", "_ended", "_entry", "_path", "_reader", "_refusal", "_steps", "ctx")

    def __init__(self, ctx: Context, steps: Steps, entry: ProviderEntry, path: str) -> None:
        self.ctx = ctx
        self._steps = steps
        self._entry = entry
        self._path = path
        self._reader: Reader | None = None
        self._refusal = 0
        """The status of a refusal that is being collected."""
        self._collected = b""
        self._ended = False

    # -- what the connection reports

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        self._note_provider_time()
        if head.status in OUR_REFUSALS:
            self._refused(head.status, body)
            return
        self._begin(head)
        self._go_on(body, last=True)

    def on_head(self, head: ResponseHead, more: bool) -> None:
        if head.status in OUR_REFUSALS:
            self._refusal = head.status
            return
        self._begin(head)
        if not more:
            self.ctx.exchange.flush()

    def on_data(self, data: bytes, last: bool) -> None:
        if last:
            self._note_provider_time()
        if self._ended:
            return
        if self._refusal:
            self._collected += data
            if last or len(self._collected) > MAX_REFUSAL_BYTES:
                if not last:
                    self._steps.cancel(self.ctx)
                self._refused(self._refusal, self._collected[:MAX_REFUSAL_BYTES])
            return
        self._go_on(data, last)

    def on_error(self, kind: str, message: str) -> None:
        if self._ended:
            return
        self._note_provider_time()
        ctx = self.ctx
        if not ctx.exchange.started and not self._refusal and self._steps.again(ctx, kind):
            self._ended = True
            return
        if kind == "total" and self._caller_set_the_deadline():
            self._fail(DEADLINE_EXCEEDED, "The deadline that the request set has passed.")
        elif kind == "protocol":
            self._fail(PROVIDER_PROTOCOL_ERROR, f"Its answer breaks HTTP: {message}.")
        elif kind == "truncated":
            self._fail(STREAM_TRUNCATED, f"Its answer is incomplete: {message}.")
        else:
            self._fail(self._steps.fault_of(kind), f"It could not be reached: {message}.")

    def on_crash(self, error: Exception) -> None:
        self._ended = True
        self._steps.crash(self.ctx, error)

    # -- the answer

    def _begin(self, head: ResponseHead) -> None:
        ctx = self.ctx
        ctx.status = head.status
        if head.status >= 400:
            ctx.code, ctx.error = _fault_of(head.status).code, f"HTTP status {head.status}"
        if 200 <= head.status < 300 and ctx.exchange.method == "POST" and head.header(b"content-encoding") is None:
            self._reader = reader_of(self._entry.kind, self._path, head.header(b"content-type") or b"")
        bodiless = head.status in (204, 304)
        ctx.exchange.start(head.status, self._fields(head), -1 if bodiless else head.content_length)

    def _fields(self, head: ResponseHead) -> bytes:
        """The header lines that the caller gets."""
        ctx, entry = self.ctx, self._entry
        added = [name.encode() for name in entry.provider.passthrough_answer_headers]
        wanted = {*ANSWER_HEADERS, *added}
        lines = [b"%b: %b\r\n" % (name, value) for name, value in head.headers() if name in wanted]
        own = b"x-request-id: %b\r\n%bx-throughway-attempts: %d\r\nx-throughway-cache: bypass\r\n" % (
            ctx.id.encode(),
            field("x-throughway-provider", entry.provider.name),
            ctx.attempts,
        )
        return b"".join([*lines, own, ctx.compiled.fields, ctx.limit_fields])

    def _go_on(self, data: bytes, last: bool) -> None:
        ctx = self.ctx
        if data and self._reader is not None:
            self._reader.feed(data)
            if not ctx.first_token_ns:
                ctx.first_token_ns = now_ns()
        if last:
            self._ended = True
            self._steps.settle(ctx, self._told(complete=True))
            ctx.exchange.end(data)
            self._steps.finish(ctx)
        elif not ctx.exchange.write(data):
            self._hold()

    def _told(self, *, complete: bool) -> Told:
        return self._reader.told(complete) if self._reader is not None else Told()

    # -- faults

    def _refused(self, status: int, body: bytes) -> None:
        told = self._entry.kind.dialect.read_error(body)
        message = told.message or f"HTTP status {status} without a message"
        self._fail(PROVIDER_ERROR, message, code=told.code)

    def _fail(self, fault: Fault, message: str, *, code: str | None = None) -> None:
        ctx = self.ctx
        self._ended = True
        if fault.source is Source.PROVIDER:
            message = f"The provider {self._entry.provider.name!r} failed: {message}"
        if not ctx.exchange.started:
            ctx.connection = None
            self._steps.refuse(ctx, GatewayError(fault, message, provider_code=code))
            return
        ctx.code, ctx.error = fault.code, message
        self._steps.settle(ctx, self._told(complete=False))
        ctx.exchange.abort()
        self._steps.finish(ctx)

    # -- backpressure, and the caller's leaving

    def _hold(self) -> None:
        connection = self.ctx.connection
        if connection is not None:
            connection.pause_reading()
            self.ctx.exchange.on_drain = connection.resume_reading

    def client_left(self) -> None:
        """The caller has gone; what was produced is billed."""
        if self._ended:
            return
        self._ended = True
        ctx = self.ctx
        self._note_provider_time()
        ctx.status, ctx.code = CLIENT_CLOSED.status, CLIENT_CLOSED.code
        self._steps.cancel(ctx)
        self._steps.settle(ctx, self._told(complete=False))
        self._steps.finish(ctx)

    def _note_provider_time(self) -> None:
        ctx = self.ctx
        if ctx.sent_ns:
            ctx.provider_ns += now_ns() - ctx.sent_ns
            ctx.sent_ns = 0

    def _caller_set_the_deadline(self) -> bool:
        ctx = self.ctx
        return ctx.deadline_ns < ctx.received_ns + self._entry.provider.timeouts.total_ms * 1_000_000


def _fault_of(status: int) -> Fault:
    """As what a provider's error, which the caller gets as it is, is recorded."""
    if status == 429:
        return PROVIDER_RATE_LIMITED
    return PROVIDER_REJECTED if status < 500 else PROVIDER_ERROR
