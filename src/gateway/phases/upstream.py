"""A connection to the target's provider, and the request's bytes on it."""

from __future__ import annotations

from _fastpath.upstream import UpstreamConnection
from _fastpath.wheel import now_ns
from gateway.base.context import Context, Sink
from gateway.base.errors import PROVIDER_BUSY, PROVIDER_TIMEOUT, PROVIDER_UNREACHABLE, Fault

NS_PER_MS = 1_000_000

FAULT_BY_KIND: dict[str, Fault] = {
    "connect": PROVIDER_TIMEOUT,
    "first_byte": PROVIDER_TIMEOUT,
    "gap": PROVIDER_TIMEOUT,
    "total": PROVIDER_TIMEOUT,
    "busy": PROVIDER_BUSY,
}
"""Of what connections and pools report; all else is PROVIDER_UNREACHABLE or told apart by the relay."""


class Waiter:
    """Sends the request when there is a connection."""

    __slots__ = ("_ctx", "_method", "_parts", "_sink", "cancelled", "deadline_ns")

    def __init__(self, ctx: Context, parts: bytes | list[bytes], sink: Sink, method: str) -> None:
        self.cancelled = False
        self.deadline_ns = ctx.deadline_ns
        self._ctx = ctx
        self._parts = parts
        self._sink = sink
        self._method = method

    def on_connection(self, connection: UpstreamConnection) -> None:
        self._ctx.waiter = None
        _send(self._ctx, connection, self._parts, self._sink, self._method)

    def on_unavailable(self, kind: str, message: str) -> None:
        self._ctx.waiter = None
        self._sink.on_error(kind, message)


def begin(ctx: Context, parts: bytes | list[bytes], sink: Sink, method: str = "POST") -> None:
    """Sends the request of `ctx` to its target, now or when there is a connection; the sink hears of every end.

    Raises:
        GatewayError: too many wait for this provider already.
    """
    assert ctx.target is not None
    ctx.attempts += 1
    ctx.sent_ns = now_ns()
    connection = ctx.target.pool.take()
    if connection is not None:
        _send(ctx, connection, parts, sink, method)
    else:
        ctx.waiter = Waiter(ctx, parts, sink, method)
        ctx.target.pool.wait(ctx.waiter)


def _send(ctx: Context, connection: UpstreamConnection, parts: bytes | list[bytes], sink: Sink, method: str) -> None:
    assert ctx.target is not None
    ctx.connection = connection
    ctx.counts = True
    timeouts = ctx.target.provider.timeouts
    connection.send(parts, sink, method, timeouts.first_byte_ms, timeouts.gap_ms, ctx.deadline_ns)


def cancel(ctx: Context) -> None:
    """Drops the attempt under way: its provider sees the connection close."""
    if ctx.waiter is not None:
        ctx.waiter.cancelled = True
        ctx.waiter = None
    if ctx.connection is not None:
        ctx.connection.close()
        ctx.connection = None


def fault_of(kind: str) -> Fault:
    """The catalogue's row for what a connection or a pool reported."""
    return FAULT_BY_KIND.get(kind, PROVIDER_UNREACHABLE)
