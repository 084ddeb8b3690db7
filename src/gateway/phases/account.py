"""What a request used, cost and took: settled against its limits, counted, logged, and appended to the spool. Always runs."""

from __future__ import annotations

from typing import Protocol

from _fastpath.metrics import Cell, Registry
from _fastpath.usage import Usage
from _fastpath.wheel import now_ns, unix_ms
from _fastpath.writer import Writer
from gateway.base.calibration import PAUSE_MS, Calibration, script_of
from gateway.base.context import Context, RouteMetrics, TargetEntry, record_part
from gateway.base.ports import RecordSpool

_MS = 1_000
_S = 1_000_000
ADDED_US_BOUNDS = (
    25,
    50,
    75,
    100,
    150,
    200,
    300,
    500,
    1 * _MS,
    2 * _MS,
    5 * _MS,
    10 * _MS,
    50 * _MS,
    250 * _MS,
    1 * _S,
)
PROVIDER_US_BOUNDS = tuple(10 * _MS << k for k in range(14))
"""10 ms to 81.92 s, doubling: OpenTelemetry's advice for GenAI durations."""
MAX_ERROR_CHARS = 300
INTER_TOKEN_US_BOUNDS = (
    1 * _MS,
    2 * _MS,
    5 * _MS,
    10 * _MS,
    20 * _MS,
    40 * _MS,
    80 * _MS,
    160 * _MS,
    320 * _MS,
    1 * _S,
    5 * _S,
)


class RequestLog(Protocol):
    """Where the line of each request goes. Never blocks and never raises."""

    def request(self, record: bytes, error: str = "") -> None:
        """Takes a `UsageRecord` as a JSON line, and what went wrong, which no ledger keeps."""


class Accountant:
    """Accounts for requests."""

    def __init__(self, registry: Registry, spool: RecordSpool, log: RequestLog) -> None:
        self._registry = registry
        self._spool = spool
        self._log = log
        self._out = Writer()
        self._requests: dict[tuple[str, str, str, str], Cell] = {}
        self.tokens_in_flight = 0
        """Prompt tokens of requests that have been sent on and are not finished: a signal to scale by."""
        self.unpriced = registry.counter("throughway_unpriced_requests_total")
        self.estimated = registry.counter("throughway_estimated_usage_total")

    def route_metrics(self, ctx: Context, target: TargetEntry) -> RouteMetrics:
        """The cells of the request's route, made at its first request."""
        assert ctx.endpoint is not None and ctx.model is not None
        key = (ctx.endpoint.name, ctx.model.model.name)
        found = target.metrics.get(key)
        if found is None:
            found = target.metrics[key] = self._make(key[0], key[1], target.provider.name)
            found.record = _route_part(ctx)
        return found

    def _make(self, endpoint: str, model: str, provider: str) -> RouteMetrics:
        labels = {"endpoint": endpoint, "model": model, "provider": provider}
        registry, metrics = self._registry, RouteMetrics()
        metrics.requests = registry.counter("throughway_requests_total", {**labels, "code": "ok"})
        metrics.input_tokens = registry.counter("throughway_input_tokens_total", labels)
        metrics.output_tokens = registry.counter("throughway_output_tokens_total", labels)
        metrics.cost_nano_usd = registry.counter("throughway_cost_nano_usd_total", labels)
        metrics.added_us = registry.histogram("throughway_added_latency_us", ADDED_US_BOUNDS, labels)
        metrics.provider_us = registry.histogram("throughway_provider_latency_us", PROVIDER_US_BOUNDS, labels)
        metrics.first_token_us = registry.histogram("throughway_time_to_first_token_us", PROVIDER_US_BOUNDS, labels)
        metrics.inter_token_us = registry.histogram("throughway_inter_token_us", INTER_TOKEN_US_BOUNDS, labels)
        return metrics

    def settle(self, ctx: Context) -> None:
        """Prices what was used and replaces the reservation by it. Does nothing the second time."""
        usage = ctx.usage
        if usage is None:
            usage = ctx.usage = Usage(ctx.prompt_tokens if ctx.connection is not None else 0, 0, estimated=True)
        target = ctx.target
        if target is not None:
            if target.rates is not None:
                ctx.cost_nano_usd = target.rates.cost(usage)
                if target.rates.request_nano_usd and _counts_tokens(ctx):
                    ctx.cost_nano_usd = 0
            else:
                ctx.unpriced = ctx.endpoint is None or not ctx.endpoint.free
            if target.calibration is not None and ctx.counted_tokens:
                self._learn(ctx, target.calibration, usage)
        plan, ctx.plan = ctx.plan, None
        if plan is not None:
            plan.settle(ctx.reserved_tokens, usage.input + usage.output, ctx.reserved_nano_usd, ctx.cost_nano_usd)

    def _learn(self, ctx: Context, calibration: Calibration, usage: Usage) -> None:
        """What the provider said of the prompt, for the next ones that it is sent."""
        key, reading, at_ms = ctx.key, ctx.reading, unix_ms()
        assert key is not None and reading is not None
        if usage.estimated or at_ms < key.learns_at_ms:
            return
        if calibration.of(script_of(reading.texts)).learn(ctx.counted_tokens, reading.fixed_tokens, usage.input):
            key.learns_at_ms = at_ms + PAUSE_MS

    def release(self, ctx: Context) -> None:
        """Gives the reservation back: nothing of the request was served.

        What was long, or was sent to a provider, stays counted as a request: who sends only what is refused after all that work is
        bounded like everybody else.
        """
        plan, ctx.plan = ctx.plan, None
        if plan is None:
            return
        if ctx.counts:
            plan.settle(ctx.reserved_tokens, 0, ctx.reserved_nano_usd, 0)
        else:
            plan.cancel(ctx.reserved_tokens, ctx.reserved_nano_usd)

    def finish(self, ctx: Context) -> None:
        """Counts, logs and records the request, once."""
        if ctx.accounted:
            return
        ctx.accounted = True
        assert ctx.plan is None, "settle or release comes first"
        duration_us = (now_ns() - ctx.received_ns) // 1_000
        provider_us = ctx.provider_ns // 1_000
        usage, metrics = ctx.usage, ctx.metrics
        first_token_us = (ctx.first_token_ns - ctx.received_ns) // 1_000 if ctx.first_token_ns else 0
        if metrics is not None:
            self.tokens_in_flight -= ctx.prompt_tokens
            if ctx.code:
                self._count_refusal(ctx)
            else:
                metrics.requests.add(1)
            metrics.added_us.observe(max(0, duration_us - provider_us))
            metrics.provider_us.observe(provider_us)
            if first_token_us:
                metrics.first_token_us.observe(first_token_us)
            if usage is not None:
                metrics.input_tokens.add(usage.input)
                metrics.output_tokens.add(usage.output)
                metrics.cost_nano_usd.add(ctx.cost_nano_usd)
                if usage.estimated:
                    self.estimated.add(1)
            if ctx.unpriced:
                self.unpriced.add(1)
        else:
            self._count_refusal(ctx)
        if usage is None:
            usage = _NOTHING
        record = self._record(ctx, usage, duration_us, max(0, duration_us - provider_us), first_token_us)
        if ctx.key is not None:
            self._spool.append(record)
        client = ctx.exchange.client
        if client is not None:  # for the log alone: usage records hold nobody's address
            record = b'%b,"client":"%b"}' % (record[:-1], client.encode())
        self._log.request(record, ctx.error[:MAX_ERROR_CHARS])

    def _record(self, ctx: Context, usage: Usage, duration_us: int, overhead_us: int, first_token_us: int) -> bytes:
        """The `UsageRecord` of the request as a JSON line; what is as by default is left out."""
        out = self._out.begin()
        out.raw(b'{"id":"').text(ctx.id).raw(b'","at_ms":').number(unix_ms() - duration_us // 1_000)
        out.raw(ctx.key.record if ctx.key is not None else _NO_KEY).raw(ctx.compiled.record)
        out.raw(ctx.metrics.record if ctx.metrics is not None else _route_part(ctx))
        out.raw(b',"status":').number(ctx.status).raw(b',"code":"').text(ctx.code)
        out.raw(b'","stream":true' if ctx.reading is not None and ctx.reading.stream else b'","stream":false')
        out.raw(b',"input_tokens":').number(usage.input).raw(b',"output_tokens":').number(usage.output)
        out.raw(b',"cost_nano_usd":').number(ctx.cost_nano_usd).raw(b',"duration_us":').number(duration_us)
        out.raw(b',"overhead_us":').number(overhead_us)
        if usage.cache_read:
            out.raw(b',"cache_read_tokens":').number(usage.cache_read)
        if usage.cache_write:
            out.raw(b',"cache_write_tokens":').number(usage.cache_write)
        if usage.reasoning:
            out.raw(b',"reasoning_tokens":').number(usage.reasoning)
        if usage.estimated:
            out.raw(b',"estimated":true')
        if ctx.unpriced:
            out.raw(b',"unpriced":true')
        if first_token_us:
            out.raw(b',"first_token_us":').number(first_token_us)
        if ctx.attempts:
            out.raw(b',"attempts":').number(ctx.attempts)
        if ctx.finish_reason:
            out.raw(b',"finish_reason":').json(ctx.finish_reason)
        if ctx.trace_id:
            out.raw(b',"trace_id":"').text(ctx.trace_id).raw(b'"')
        if ctx.tags:
            out.raw(b',"tags":').json(ctx.tags)
        return out.raw(b"}").take()

    def _count_refusal(self, ctx: Context) -> None:
        self.count(
            ctx.endpoint.name if ctx.endpoint is not None else "",
            ctx.model.model.name if ctx.model is not None else "",
            ctx.target.provider.name if ctx.target is not None else "",
            ctx.code or "ok",
        )

    def count(self, endpoint: str, model: str, provider: str, code: str) -> None:
        """Counts an answer. All labels come from the configuration and the catalogue, so their number is bounded."""
        key = (endpoint, model, provider, code)
        cell = self._requests.get(key)
        if cell is None:
            labels = {"endpoint": endpoint, "model": model, "provider": provider, "code": code}
            cell = self._requests[key] = self._registry.counter("throughway_requests_total", labels)
        cell.add(1)


_NOTHING = Usage()
_NO_KEY = record_part(key_id="", team="")


def _counts_tokens(ctx: Context) -> bool:
    """Which costs nothing, whatever a request costs otherwise."""
    return ctx.endpoint is not None and ctx.endpoint.count is not None


def _route_part(ctx: Context) -> bytes:
    """Of a request that was refused before it had a route."""
    return record_part(
        endpoint=ctx.endpoint.name if ctx.endpoint is not None else "",
        model=ctx.model.model.name if ctx.model is not None else "",
        provider=ctx.target.provider.name if ctx.target is not None else "",
        target_model=ctx.target.target.model if ctx.target is not None else "",
    )
