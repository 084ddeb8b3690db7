"""The provider's answer, to the caller.

Theory. A relay is the sink of one attempt. What it does depends on the answer:

    respond   the whole body is at hand (or collected, up to COLLECT_BYTES): headers can tell what it cost
    pass      a longer body that is no stream, or one that is never collected: its bytes go on as they come, past a counter
    stream    server-sent events: whole events go on as they come, past a scanner
    fault     an error of the provider: its body is collected, bounded, and told in the catalogue's terms

Where `ctx.follows` is set, no kernel knows the provider's dialect, or the caller speaks another: then a whole body is collected however long
(up to MAX_READ_BYTES) and read, and a stream passes through the scanner that `follows` gives.

Rules.
- Before anything of the answer has left, a fault that may be retried goes to `on_fault`, which may begin another attempt.
- In a stream that has begun, a fault is an error event and then the end; in a body that has begun, a broken connection.
- A stream is complete when its terminal was seen, and only then. What the provider does afterwards is no concern of the caller.
- The provider is read no faster than the caller takes.
- However an answer ends, what is charged is what the provider told of it, as far as that can be true, else what was counted here of
  what had come.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Protocol

from _fastpath.answer import AnswerCounter
from _fastpath.http1 import ResponseHead
from _fastpath.sse import ChatScanner, EventScanner
from _fastpath.usage import Usage, charged
from _fastpath.wheel import now_ns
from _fastpath.writer import Writer
from gateway.base.context import Context, Meter
from gateway.base.dialect import AnswerError, type_named
from gateway.base.errors import (
    CLIENT_CLOSED,
    DEADLINE_EXCEEDED,
    PROVIDER_ERROR,
    PROVIDER_PROTOCOL_ERROR,
    PROVIDER_RATE_LIMITED,
    PROVIDER_REJECTED,
    PROVIDER_TIMEOUT,
    STREAM_TRUNCATED,
    Fault,
    GatewayError,
    Source,
)
from gateway.codec.dialects.openai_chat.errors import provider_message
from gateway.codec.dialects.openai_chat.native import response_usage
from gateway.codec.dialects.openai_chat.usage import usage_of

COLLECT_BYTES = 65_536
BYTES_A_TOKEN = 4
"""Of text, where it is counted here: what prose has in most languages."""
MEDIA_BYTES_A_TOKEN = 256
"""Of audio in base64: OpenAI's 20 tokens a second of the densest codec (Opus, 32 kbit/s); others have up to 3,200."""
STREAMED_MEDIA_BYTES_A_TOKEN = 3_200
"""The same in a stream, where audio is always pcm16 at 24 kHz (OpenAI, "Audio and speech")."""
FRAMING_BYTES = 4_096
"""Of a whole answer, beside its text."""
MOST_BYTES_A_TOKEN = 64
"""A whole answer that has more of them for each token that is told is looked at more closely."""
MAX_READ_BYTES = 33_554_432
"""Of a whole answer that is read in the gateway, or translated: it is collected first."""
MAX_RETRY_AFTER_MS = 3_600_000

_EVENT_STREAM = b"text/event-stream"
_JSON = b"application/json"
_STREAM_FIELDS = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
"""The second keeps nginx in front of us from buffering the stream."""


class Steps(Protocol):
    """What a relay asks of the pipeline."""

    def fault_of(self, kind: str) -> Fault: ...
    def retry(self, ctx: Context, error: GatewayError) -> bool:
        """Begins another attempt, if there is one to make."""

    def refuse(self, ctx: Context, error: GatewayError) -> None:
        """Answers with the error and accounts for the request."""

    def cancel(self, ctx: Context) -> None:
        """Drops the attempt under way."""

    def release(self, ctx: Context) -> None:
        """Gives the reservation back."""

    def settle(self, ctx: Context) -> None:
        """Prices `ctx.usage` and replaces the reservation by it; once."""

    def finish(self, ctx: Context) -> None:
        """Accounts for the request."""

    def crash(self, ctx: Context, error: Exception) -> None:
        """Ends the request after a fault of our own."""


_out = Writer()


def response_fields(ctx: Context, content_type: bytes) -> bytes:
    """The header lines that every answer of a provider carries."""
    return _write_fields(ctx, content_type).take()


def _write_fields(ctx: Context, content_type: bytes) -> Writer:
    assert ctx.target is not None
    out = _out.begin()
    out.raw(b"content-type: ").raw(content_type).raw(b"\r\nx-request-id: ").text(ctx.id).raw(b"\r\n")
    out.raw(ctx.target.fields).raw(b"x-throughway-attempts: ").number(ctx.attempts)
    out.raw(b"\r\nx-throughway-cache: bypass\r\n").raw(ctx.compiled.fields).raw(ctx.limit_fields)
    if ctx.dropped:
        out.raw(ctx.dropped)
    return out


class Relay:
    """The sink of one attempt."""

    __slots__ = ("_collected", "_counter", "_head", "_meter", "_mode", "_scanner", "_size", "_steps", "ctx")

    def __init__(self, ctx: Context, steps: Steps) -> None:
        self.ctx = ctx
        self._steps = steps
        self._mode = _EXPECTING
        self._collected: list[bytes] = []
        self._size = 0
        self._head: tuple[int, bytes, int, tuple[bytes | None, bytes | None] | None] | None = None
        self._counter: AnswerCounter | None = None
        self._meter: Meter | None = None
        self._scanner: EventScanner | None = None

    # -- what the connection reports

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        status = head.status
        self._note_provider_time()
        if not 200 <= status < 300:
            self._provider_fault(status, body, self._told_in(head))
            return
        content_type = head.header(b"content-type") or b"application/json"
        if self._is_stream(content_type):
            if self._begin_stream(content_type):
                self._stream(body, last=True)
        else:
            self._respond(status, content_type, body)

    def on_head(self, head: ResponseHead, more: bool) -> None:
        status = head.status
        content_type = head.header(b"content-type") or b"application/json"
        if 200 <= status < 300:
            if head.header(b"content-encoding") not in (None, b"identity"):
                self._fail(
                    PROVIDER_PROTOCOL_ERROR, "It compressed its answer, which it was asked not to do.", drop=True
                )
                return
            if self._is_stream(content_type):
                if self._begin_stream(content_type) and not more:
                    self.ctx.exchange.flush()
                return
        told = self._told_in(head) if not 200 <= status < 300 else None
        self._head = (status, content_type, head.content_length, told)
        self._mode = _COLLECTING
        if not 200 <= status < 300:
            return
        follows = self.ctx.follows
        if head.content_length > COLLECT_BYTES if follows is None else follows.passes:
            self._begin_passing()

    def on_data(self, data: bytes, last: bool) -> None:
        mode = self._mode
        if last:
            self._note_provider_time()
        if mode == _STREAMING:
            self._stream(data, last)
        elif mode == _COLLECTING:
            self._collect(data, last)
        elif mode == _PASSING:
            self._pass(data, last)

    def on_error(self, kind: str, message: str) -> None:
        if self._mode == _ENDED:
            return
        self._note_provider_time()
        if kind == "total" and self._caller_set_the_deadline():
            self._fail(DEADLINE_EXCEEDED, "The deadline that the request set has passed.")
        elif kind == "protocol":
            self._fail(PROVIDER_PROTOCOL_ERROR, f"Its answer breaks HTTP: {message}.")
        elif kind == "truncated":
            self._fail(STREAM_TRUNCATED, f"Its answer is incomplete: {message}.")
        else:
            self._fail(self._steps.fault_of(kind), f"It could not be reached: {message}.")

    def on_crash(self, error: Exception) -> None:
        self._mode = _ENDED
        self._steps.crash(self.ctx, error)

    # -- respond

    def _respond(self, status: int, content_type: bytes, body: bytes) -> None:
        ctx = self.ctx
        if ctx.follows is not None:
            if ctx.follows.passes:
                meter = ctx.follows.meter()
                meter.feed(body)
                self._answer(status, content_type, body, meter.usage(ctx.prompt_tokens, True))
            else:
                self._respond_read(status, body)
            return
        found = response_usage(body)
        if found is None:
            self._fail(PROVIDER_PROTOCOL_ERROR, "It answered with a success that is not JSON.")
            return
        usage, ctx.finish_reason = found
        if usage is None or usage.input == 0 or self._is_little(usage.output, len(body)):
            usage = self._usage_of([body], usage)
        self._answer(status, content_type, body, usage)

    def _respond_read(self, status: int, body: bytes) -> None:
        """The same where no kernel knows the dialect, or the caller speaks another."""
        ctx = self.ctx
        assert ctx.follows is not None and not ctx.follows.passes and ctx.endpoint is not None
        if ctx.endpoint.count is not None:
            self._answer(status, _JSON, body, Usage())
            return
        try:
            whole = ctx.follows.answer(body)
        except AnswerError as error:
            self._fail(PROVIDER_PROTOCOL_ERROR, f"Its answer breaks its dialect: {error}.")
            return
        ctx.finish_reason = whole.finish
        usage = charged(
            whole.usage,
            ctx.prompt_tokens,
            -(-whole.text_bytes // BYTES_A_TOKEN),
            -(-whole.media_bytes // MEDIA_BYTES_A_TOKEN),
            True,
        )
        self._answer(status, _JSON, whole.body, usage)

    def _answer(self, status: int, content_type: bytes, body: bytes, usage: Usage) -> None:
        ctx = self.ctx
        self._mode = _ENDED
        ctx.usage = usage
        self._steps.settle(ctx)
        ctx.status = status
        out = _write_fields(ctx, content_type)
        out.raw(b"x-throughway-cost-usd: ").usd(ctx.cost_nano_usd)
        out.raw(b"\r\nx-throughway-overhead-us: ").number(overhead_us(ctx, now_ns())).raw(b"\r\n")
        ctx.exchange.respond(status, out.take(), body)
        self._steps.finish(ctx)

    def _collect(self, data: bytes, last: bool) -> None:
        head = self._head
        assert head is not None
        status, content_type, _, told = head
        self._collected.append(data)
        self._size += len(data)
        if last:
            body = b"".join(self._collected)
            if 200 <= status < 300:
                self._respond(status, content_type, body)
            else:
                self._provider_fault(status, body, told)
        elif self._size > COLLECT_BYTES:
            if 200 <= status < 300:
                if self.ctx.follows is None:
                    self._begin_passing()
                elif self._size > MAX_READ_BYTES:
                    message = (
                        f"Its answer is longer than {MAX_READ_BYTES:,} bytes, and must be read to be accounted for."
                    )
                    self._fail(PROVIDER_PROTOCOL_ERROR, message, drop=True)
            else:
                self._steps.cancel(self.ctx)
                self._provider_fault(status, b"".join(self._collected)[:COLLECT_BYTES], told)

    # -- pass

    def _begin_passing(self) -> None:
        ctx = self.ctx
        assert self._head is not None
        status, content_type, length, _ = self._head
        self._mode = _PASSING
        if ctx.follows is None:
            self._counter = AnswerCounter()
        else:
            assert ctx.follows.passes
            self._meter = ctx.follows.meter()
        ctx.status = status
        ctx.exchange.start(status, response_fields(ctx, content_type), length)
        collected, self._collected = b"".join(self._collected), []
        if collected:
            self._pass(collected, last=False)

    def _pass(self, data: bytes, last: bool) -> None:
        ctx = self.ctx
        counter = self._counter
        if counter is not None:
            counter.feed(data)
        else:
            assert self._meter is not None
            self._meter.feed(data)
        if not last:
            if not ctx.exchange.write(data):
                self._hold()
            return
        self._count(complete=True)
        self._mode = _ENDED
        self._steps.settle(ctx)
        ctx.exchange.end(data)
        self._steps.finish(ctx)

    # -- stream

    def _is_stream(self, content_type: bytes) -> bool:
        follows = self.ctx.follows
        return content_type.startswith(_EVENT_STREAM if follows is None else follows.stream_type)

    def _begin_stream(self, content_type: bytes) -> bool:
        """False where no stream was asked for."""
        ctx = self.ctx
        if not content_type.startswith(_EVENT_STREAM):
            content_type = _EVENT_STREAM  # which is what every caller is told a stream in
        self._scanner = ChatScanner(ctx.hide_usage) if ctx.follows is None else ctx.follows.scanner()
        if self._scanner is None:
            self._fail(PROVIDER_PROTOCOL_ERROR, "It answered with a stream, which nobody asked for.", drop=True)
            return False
        self._mode = _STREAMING
        ctx.status = 200
        ctx.exchange.start(200, response_fields(ctx, content_type) + _STREAM_FIELDS)
        return True

    def _stream(self, data: bytes, last: bool) -> None:
        ctx, scanner = self.ctx, self._scanner
        assert scanner is not None
        before = scanner.content_events
        out = scanner.feed(data)
        if scanner.content_events != before:
            self._note_tokens(scanner.content_events - before)
        if last and not scanner.terminal:
            out += scanner.finish()
        if scanner.terminal:
            self._end_stream(out)
        elif scanner.fault is not None:
            if out:
                ctx.exchange.write(out)
            self._fail(PROVIDER_PROTOCOL_ERROR, f"Its stream breaks its dialect: {scanner.fault}.", drop=True)
        elif last:
            self._stream_ended_early(out)
        elif out and not ctx.exchange.write(out):
            self._hold()

    def _end_stream(self, out: bytes) -> None:
        ctx = self.ctx
        self._mode = _ENDED
        self._note_provider_time()
        self._count(complete=not self._note_told_error())
        self._steps.settle(ctx)
        ctx.exchange.end(out)
        self._steps.finish(ctx)

    def _stream_ended_early(self, out: bytes) -> None:
        """The provider's polite end came without the terminal."""
        scanner = self._scanner
        assert scanner is not None
        if out:
            self.ctx.exchange.write(out)
        if self._note_told_error():
            self._conclude(b"")
        else:
            self._fail(STREAM_TRUNCATED, "Its stream ended without its terminal event: the answer is incomplete.")

    def _note_told_error(self) -> bool:
        """Whether the provider has told an error in the stream, in the dialect: it has passed on, and no terminal undoes it."""
        told = self._scanner.error if self._scanner is not None else None
        if told is not None:
            # What another dialect's reader has found is the message itself.
            message = provider_message(told).message if self.ctx.follows is None else told.decode()
            self._note_fault(GatewayError(PROVIDER_ERROR, message))
        return told is not None

    def _note_tokens(self, n: int) -> None:
        ctx = self.ctx
        at = now_ns()
        if ctx.first_token_ns == 0:
            ctx.first_token_ns = at
        elif ctx.metrics is not None:
            # Tokens that came together share the time since the last ones.
            ctx.metrics.inter_token_us.observe_n((at - ctx.last_token_ns) // (1_000 * n), n)
        ctx.last_token_ns = at

    # -- what is charged

    def _count(self, complete: bool) -> None:
        """Sets `ctx.usage` by what has come of the answer, where something has or might have."""
        ctx, scanner, counter = self.ctx, self._scanner, self._counter
        if scanner is not None:
            ctx.finish_reason = scanner.finish_reason or ""
            ctx.usage = charged(
                self._told(scanner),
                ctx.prompt_tokens,
                max(scanner.content_events, -(-scanner.content_bytes // BYTES_A_TOKEN)),
                -(-scanner.media_bytes // STREAMED_MEDIA_BYTES_A_TOKEN),
                complete or scanner.usage_is_last,
            )
        elif counter is not None:
            ctx.usage = self._usage_counted(
                counter, usage_of(counter.usage) if counter.usage is not None else None, complete
            )
        elif self._meter is not None:
            ctx.usage = self._meter.usage(ctx.prompt_tokens, complete)

    def _told(self, scanner: EventScanner) -> Usage | None:
        if scanner.told is not None:
            return scanner.told
        return usage_of(scanner.usage) if scanner.usage is not None else None

    def _count_what_came(self) -> None:
        """The same where the answer is not complete; what was sent costs its prompt, whatever has come."""
        ctx = self.ctx
        self._count(complete=False)
        if ctx.usage is None and ctx.connection is not None:
            head = self._head
            parts = self._collected if head is not None and 200 <= head[0] < 300 else []
            ctx.usage = self._usage_of(parts, None, complete=False)

    def _is_little(self, output: int, size: int) -> bool:
        """Whether an answer of so many bytes may have taken more tokens than that."""
        assert self.ctx.endpoint is not None
        return output * MOST_BYTES_A_TOKEN < max(size - FRAMING_BYTES, 1) and self.ctx.endpoint.generates

    def _usage_of(self, parts: list[bytes], told: Usage | None, complete: bool = True) -> Usage:
        counter = AnswerCounter()
        for part in parts:
            counter.feed(part)
        return self._usage_counted(counter, told, complete)

    def _usage_counted(self, counter: AnswerCounter, told: Usage | None, complete: bool) -> Usage:
        return charged(
            told,
            self.ctx.prompt_tokens,
            -(-counter.text_bytes // BYTES_A_TOKEN),
            -(-counter.media_bytes // MEDIA_BYTES_A_TOKEN),
            complete,
        )

    # -- backpressure, and the caller's leaving

    def _hold(self) -> None:
        connection = self.ctx.connection
        if connection is not None:
            connection.pause_reading()
            self.ctx.exchange.on_drain = connection.resume_reading

    def client_left(self) -> None:
        """The caller has gone; what was produced is billed."""
        if self._mode == _ENDED:
            return
        ctx = self.ctx
        self._note_provider_time()
        self._count_what_came()
        self._mode = _ENDED
        ctx.status = CLIENT_CLOSED.status
        ctx.code = CLIENT_CLOSED.code
        if ctx.connection is None:  # nothing had been sent
            self._steps.release(ctx)
        self._steps.cancel(ctx)
        self._steps.settle(ctx)
        self._steps.finish(ctx)

    # -- faults

    def _told_in(self, head: ResponseHead) -> tuple[bytes | None, bytes | None]:
        """(when a retry can help, the error's type) of an error's head."""
        target = self.ctx.target
        assert target is not None
        name = target.kind.error_header
        return head.header(b"retry-after"), head.header(name) if name else None

    def _provider_fault(self, status: int, body: bytes, head: tuple[bytes | None, bytes | None] | None) -> None:
        target = self.ctx.target
        assert target is not None and head is not None
        retry_after, named = head
        told = provider_message(body) if self.ctx.follows is None else target.kind.dialect.read_error(body)
        if named is not None and told.code is None:
            told.code = type_named(named.decode("latin-1"))
        if status == 401 and target.credential is not None:
            target.credential.on_refused()
        fault, shown = _classify(status)
        message = told.message or f"HTTP status {status} without a message"
        self._fail(
            fault,
            message,
            status=shown,
            param=told.param,
            code=told.code,
            retry_after_ms=_retry_after_ms(retry_after) or min(told.retry_after_ms, MAX_RETRY_AFTER_MS),
        )

    def _fail(
        self,
        fault: Fault,
        message: str,
        *,
        status: int | None = None,
        param: str | None = None,
        code: str | None = None,
        retry_after_ms: int = 0,
        drop: bool = False,
    ) -> None:
        ctx = self.ctx
        assert ctx.target is not None
        if fault.source is Source.PROVIDER:
            message = f"The provider {ctx.target.provider.name!r} failed: {message}"
        error = GatewayError(
            fault, message, status=status, param=param, retry_after_ms=retry_after_ms, provider_code=code
        )
        began = ctx.exchange.started
        if began or fault is DEADLINE_EXCEEDED:  # then it was sent, and the provider will charge for it
            self._count_what_came()
        self._mode = _ENDED
        if drop:
            self._steps.cancel(ctx)
        ctx.connection = None
        if not began:
            if not (fault.retry and self._steps.retry(ctx, error)):
                self._steps.refuse(ctx, error)
            return
        self._note_fault(error)
        self._conclude(self._error_event(fault, message, param) if self._scanner is not None else None)

    def _error_event(self, fault: Fault, message: str, param: str | None) -> bytes:
        """What ends a stream that has begun, in the caller's dialect."""
        ctx = self.ctx
        assert ctx.endpoint is not None
        assert self._scanner is not None
        event = self._scanner.failed(fault.code, message)
        return event if event is not None else ctx.endpoint.dialect.write_error_event(fault, message, param)

    def _conclude(self, event: bytes | None) -> None:
        """Ends an answer that had begun and is not complete: with an event where it is a stream, else by breaking it off."""
        ctx = self.ctx
        if ctx.usage is None:
            self._count_what_came()
        self._mode = _ENDED
        self._steps.settle(ctx)
        if event is None:
            ctx.exchange.abort()
        else:
            ctx.exchange.end(event)
        self._steps.finish(ctx)

    def _note_fault(self, error: GatewayError) -> None:
        self.ctx.code = error.fault.code
        self.ctx.error = error.message

    def _note_provider_time(self) -> None:
        ctx = self.ctx
        if ctx.sent_ns:
            ctx.provider_ns += now_ns() - ctx.sent_ns
            ctx.sent_ns = 0

    def _caller_set_the_deadline(self) -> bool:
        ctx = self.ctx
        assert ctx.target is not None
        return ctx.deadline_ns < ctx.received_ns + ctx.target.provider.timeouts.total_ms * 1_000_000


_EXPECTING, _COLLECTING, _PASSING, _STREAMING, _ENDED = range(5)


def _classify(status: int) -> tuple[Fault, int]:
    """The fault and the status shown for a provider's error status.

    Faults of the request keep their status; our credentials' refusal (401, 403) is no fault of the caller's key.
    """
    if status == 429:
        return PROVIDER_RATE_LIMITED, 429
    if status in (400, 404, 409, 410, 413, 415, 422):
        return PROVIDER_REJECTED, status
    if status in (408, 504):
        return PROVIDER_TIMEOUT, 504
    return PROVIDER_ERROR, 503 if status in (503, 529) else 502


def _retry_after_ms(value: bytes | None) -> int:
    """`retry-after` in seconds or as a date (RFC 9110 section 10.2.3), bounded; 0 where it is neither."""
    if not value:
        return 0
    try:
        try:
            wait_s = float(value)
        except ValueError:
            wait_s = parsedate_to_datetime(value.decode("latin-1")).timestamp() - time.time()
        return min(max(0, int(wait_s * 1_000)), MAX_RETRY_AFTER_MS)
    except (ValueError, OverflowError):
        return 0


def overhead_us(ctx: Context, at_ns: int) -> int:
    """What the gateway itself has added so far."""
    waited = now_ns() - ctx.sent_ns if ctx.sent_ns else 0
    return max(0, at_ns - ctx.received_ns - ctx.provider_ns - waited) // 1_000
