"""The bytes that the provider gets. Its head is built anew from an allow-list: nothing of the caller's framing reaches it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from gateway.base.context import Context
from gateway.codec.dialects import openai

JOIN_BYTES = 65_536
"""Up to here head and body leave as one piece; beyond, the body is not copied."""

_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_LENGTH = b"content-length: "


def request_head(path: str, host: str, credential: bytes | None, extra: Sequence[tuple[str, str]]) -> bytes:
    """A request's head up to the number of its content-length, which is its last field."""
    lines = [
        b"POST %s HTTP/1.1" % path.encode(),
        b"host: %s" % host.encode(),
        b"content-type: application/json",
        b"accept: application/json, text/event-stream",
        b"accept-encoding: identity",
        b"user-agent: throughway",
    ]
    if credential is not None:
        lines.append(b"authorization: Bearer %s" % credential)
    lines += [f"{name}: {value}".encode() for name, value in extra]
    return b"\r\n".join([*lines, _LENGTH])


def build(ctx: Context) -> bytes | list[bytes]:
    """The whole request for `ctx.target`, as bytes, or in pieces where it is large."""
    target, reading, endpoint = ctx.target, ctx.reading, ctx.endpoint
    assert target is not None and reading is not None and endpoint is not None
    body = ctx.exchange.body
    head = target.heads[endpoint.name]
    if ctx.trace_id:
        head = b"%btraceparent: %b\r\n%b" % (head[: -len(_LENGTH)], _child_span(ctx), _LENGTH)
    ctx.hide_usage = reading.stream and not reading.include_usage and endpoint.generates
    if ctx.hide_usage or body[reading.model_start : reading.model_end] != target.model_json:
        pieces = openai.splice(body, reading, target.model_json, ask_usage=ctx.hide_usage)
    elif len(body) <= JOIN_BYTES:
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)
    else:
        pieces = [body]
    length = sum(map(len, pieces))
    pieces.insert(0, b"%b%d\r\n\r\n" % (head, length))
    return b"".join(pieces) if length <= JOIN_BYTES else pieces


def read_trace(ctx: Context) -> None:
    """Sets `ctx.trace_id` where the caller sent a valid `traceparent` (W3C Trace Context, section 3.2)."""
    value = ctx.exchange.traceparent
    if value is None:
        return
    found = _TRACEPARENT.fullmatch(value)
    if found is not None:
        ctx.trace_id = found[1].decode()


def _child_span(ctx: Context) -> bytes:
    """The caller's trace, continued by a span of ours."""
    flags = (ctx.exchange.traceparent or b"00")[-2:]
    return b"00-%s-%s-%s" % (ctx.trace_id.encode(), os.urandom(8).hex().encode(), flags)
