"""The bytes that the provider gets. Its head is built anew from an allow-list: nothing of the caller's framing reaches it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from _fastpath.jsonscan import scan
from _fastpath.wheel import now_ns
from gateway.base.context import Context, ModelEntry, TargetEntry, field
from gateway.base.embedding import EmbedRequest
from gateway.base.errors import (
    ENDPOINT_NOT_SERVED,
    PROVIDER_CREDENTIAL_MISSING,
    RESPONSE_NOT_FOUND,
    UNSUPPORTED_PARAMETER,
    GatewayError,
)
from gateway.base.messages import Lost, Request, plain_path
from gateway.codec.dialects.openai_chat import native
from gateway.codec.faults import MAX_DEPTH
from gateway.codec.framing import SERVER_SENT
from gateway.codec.governing import Asked, read_asked
from gateway.codec.response_ids import ResponseIds, Tagging, TaggingFollows, owner_of
from gateway.codec.signatures import MARK
from gateway.codec.translation import Follows, FollowsEmbedding

JOIN_BYTES = 65_536
"""Up to here head and body leave as one piece; beyond, the body is not copied."""

_ACCEPT = "application/json, text/event-stream"
_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_LENGTH = b"content-length: "
MAX_DROPPED_BYTES = 1_024
"""Of the names in `x-throughway-dropped`; more are not told."""
COUNTING_ERROR = 8
"""A prompt is taken to be longer than counted by one in so many tokens."""
LEAST_BOUND = 1_024
"""Of an answer, however long the prompt."""
MAX_SHOWN_CHARS = 200
"""Of a name in an error."""


def request_head(
    path: str, host: str, credential: str | None, extra: Sequence[tuple[str, str]], accept: str = ""
) -> bytes:
    """A request's head up to the number of its content-length, which is its last field.

    Args:
        credential: the whole line that shows it.
        accept: what is understood; "" for the usual.
    """
    lines = [
        b"POST %s HTTP/1.1" % path.encode(),
        b"host: %s" % host.encode(),
        b"content-type: application/json",
        b"accept: %s" % (accept or _ACCEPT).encode(),
        b"accept-encoding: identity",
        b"user-agent: throughway",
    ]
    if credential is not None:
        lines.append(credential.encode())
    lines += [f"{name}: {value}".encode() for name, value in extra]
    return b"\r\n".join([*lines, _LENGTH])


def build(ctx: Context) -> bytes | list[bytes]:
    """The whole request for `ctx.target`, as bytes, or in pieces where it is large.

    Raises:
        GatewayError: the target's dialect cannot say what is asked.
    """
    target, reading, endpoint = ctx.target, ctx.reading, ctx.endpoint
    assert target is not None and reading is not None and endpoint is not None
    ctx.follows, ctx.dropped = None, b""
    head = target.heads.get(endpoint.name)
    if head is None:
        return _translated(ctx, target)
    body, rewritten = ctx.exchange.body, False
    if not endpoint.native:
        if endpoint.withheld:
            _check_withheld(endpoint.withheld, reading.request.lost)
        if endpoint.codec is None and target.kind.dialect is endpoint.dialect and MARK in body and endpoint.translates:
            return _translated(ctx, target)
        head = _with_carried(ctx, target, _head_of(target, endpoint.name, reading.stream))
        if endpoint.kept:
            return _kept(ctx, target, head)
        if endpoint.follow is not None:
            ctx.follows = endpoint.follow(reading.request)
        else:
            ctx.follows = _follows(ctx, target, endpoint.codec or endpoint.dialect, None, reading.request.request)
        if endpoint.rename is not None:
            body, rewritten = endpoint.rename(body, target.target.model), True
        if target.kind.fit is not None:
            body, rewritten = target.kind.fit(endpoint.name, body, target.target.model, _version(ctx)), True
    if target.credential is not None:
        head = b"%b%b%b" % (head[: -len(_LENGTH)], credential_line(target), _LENGTH)
    if ctx.trace_id:
        head = b"%btraceparent: %b\r\n%b" % (head[: -len(_LENGTH)], child_span(ctx), _LENGTH)
    if target.quirks is not None and endpoint.name == "chat":
        return _fitted(ctx, target, head)
    ctx.hide_usage = reading.stream and not reading.include_usage and endpoint.generates
    if ctx.hide_usage or (
        not rewritten
        and reading.model_start >= 0
        and body[reading.model_start : reading.model_end] != target.model_json
    ):
        pieces = native.splice(body, reading, target.model_json, ask_usage=ctx.hide_usage)
    elif len(body) <= JOIN_BYTES:
        return b"%b%d\r\n\r\n%b" % (head, len(body), body)
    else:
        pieces = [body]
    length = sum(map(len, pieces))
    pieces.insert(0, b"%b%d\r\n\r\n" % (head, length))
    return b"".join(pieces) if length <= JOIN_BYTES else pieces


def _fitted(ctx: Context, target: TargetEntry, head: bytes) -> bytes:
    """A chat as a provider takes it that does not do all as OpenAI does."""
    reading, lost = ctx.reading, Lost()
    assert reading is not None and target.quirks is not None
    ctx.hide_usage = reading.stream and not reading.include_usage and target.quirks.takes_stream_options
    body = target.quirks.fit(ctx.exchange.body, target.model_json, lost, ask_usage=ctx.hide_usage)
    ctx.dropped = _dropped(ctx, lost)
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def _head_of(target: TargetEntry, name: str, stream: bool) -> bytes:
    """The head of a request to an endpoint that the target answers itself."""
    kind = target.kind
    return target.heads[(stream and name == kind.conversation and kind.conversation_stream) or name]


def _version(ctx: Context) -> bytes:
    return ctx.exchange.header(b"anthropic-version") or b""


def credential_line(target: TargetEntry) -> bytes:
    """The header line that shows who asks, as it is now; raises GatewayError where there is none."""
    credential = target.credential
    if credential is None:
        return b""
    if now_ns() >= credential.until_ns:
        what = "has expired and could not be renewed yet" if credential.until_ns else "is still to come"
        message = f"The gateway's token for the provider {target.provider.name!r} {what}. Try again."
        raise GatewayError(PROVIDER_CREDENTIAL_MISSING, message)
    return credential.line


# -- what its provider keeps


def _kept(ctx: Context, target: TargetEntry, head: bytes) -> bytes:
    """A request that makes what is kept, and may go on from what was."""
    endpoint, reading, body, ids, key = ctx.endpoint, ctx.reading, ctx.exchange.body, ctx.compiled.response_ids, ctx.key
    assert endpoint is not None and reading is not None and key is not None
    assert isinstance(ids, ResponseIds)
    lost = reading.request.lost
    edits = [(reading.model_start, reading.model_end, target.model_json)]
    if _is_among("previous_response_id", lost):
        edits += _previous(ctx, target, ids)
    if _is_among("conversation", lost) and not {"*", target.provider.name} & set(key.key.passthrough):
        message = (
            "'conversation' is not passed on: whose it is cannot be told. Leave it out and use 'previous_response_id'."
        )
        raise GatewayError(UNSUPPORTED_PARAMETER, message, param="conversation")
    for start, end, value in sorted(edits, reverse=True):
        body = b"%b%b%b" % (body[:start], value, body[end:])
    tagging = Tagging(ids, owner_of(key), target.provider.name)
    ctx.hide_usage = False
    ctx.follows = TaggingFollows(endpoint.dialect, reading.request.request, tagging)
    return _whole(ctx, target, head, b"", body)


def _is_among(name: str, lost: Lost) -> bool:
    return lost.overflows or name in lost.fields or name in lost.more


def _previous(ctx: Context, target: TargetEntry, ids: ResponseIds) -> list[tuple[int, int, bytes]]:
    """The edit that gives an earlier response the name by which its provider knows it. Raises GatewayError."""
    assert ctx.key is not None
    start, end, _ = scan(ctx.exchange.body, (b"previous_response_id",), MAX_DEPTH)
    shown = msgspec.json.decode(ctx.exchange.body[start:end], type=str | None) if start >= 0 else None
    if shown is None:
        return []
    taken = ids.taken(shown, owner_of(ctx.key), ctx.compiled.keepers)
    if taken is None:
        message = f"No provider keeps a response {shown[:MAX_SHOWN_CHARS]!r} that this key or its team has made."
        raise GatewayError(RESPONSE_NOT_FOUND, message, param="previous_response_id", status=400)
    response_id, provider = taken
    if provider != target.provider.name:
        message = (
            f"The response {shown[:MAX_SHOWN_CHARS]!r} is kept by {provider!r}, which is no provider of this model."
        )
        raise GatewayError(ENDPOINT_NOT_SERVED, message, param="previous_response_id")
    return [(start, end, msgspec.json.encode(response_id))]


def _check_withheld(names: Sequence[str], lost: Lost) -> None:
    for name in names:
        if _is_among(name, lost):
            message = f"{name!r} is not passed on: what is answered then could not be accounted for. Leave it out."
            raise GatewayError(UNSUPPORTED_PARAMETER, message, param=name)


def _with_carried(ctx: Context, target: TargetEntry, head: bytes) -> bytes:
    """The head with what its dialect's callers tell by header lines."""
    assert ctx.endpoint is not None
    lines = []
    for name, default in ctx.endpoint.carried:
        value = b",".join(ctx.exchange.values(name)) or default
        if value and name not in target.kind.keeps:
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join([head[: -len(_LENGTH)], *lines, _LENGTH]) if lines else head


# -- another dialect


def _translated(ctx: Context, target: TargetEntry) -> bytes:
    """The request in the words of the target's dialect.

    That may be the caller's own: then what another provider has signed is left out, which this one would refuse.
    """
    endpoint, reading, model, kind = ctx.endpoint, ctx.reading, ctx.model, target.kind
    assert endpoint is not None and reading is not None and model is not None
    answering = kind.answering(endpoint.operation, reading.stream) if endpoint.translates else None
    if answering is None:
        raise GatewayError(
            ENDPOINT_NOT_SERVED,
            f"The model {model.model.name!r} is served by {target.provider.name!r}, of the kind {kind.name!r}, which has no such endpoint.",
            param="model",
        )
    name, codec = answering
    asked = _asked(ctx)
    request = _for_target(asked.request, target, _bound_within(target, model, ctx.prompt_tokens))
    lost = Lost()
    body = codec.write_request(request, lost)
    if target.quirks is not None and endpoint.operation == "conversation":
        body = target.quirks.fit(body, target.model_json, lost, ask_usage=False)
    ctx.dropped = _dropped(ctx, asked.lost, lost)
    ctx.hide_usage = False
    if kind.fit is not None:
        version = _version(ctx) if kind.dialect is endpoint.dialect else b""
        body = kind.fit(name, body, target.target.model, version)
    head, fields = target.heads[name], kind.fields
    if target.signings is not None:
        fields += target.signings[name].fields(body)
    if codec is endpoint.dialect:
        head, fields = _with_carried(ctx, target, _head_of(target, endpoint.name, reading.stream)), b""
        ctx.follows = _follows(ctx, target, codec, None, asked.request)
    else:
        ctx.follows = _follows(ctx, target, codec, endpoint.codec or endpoint.dialect, asked.request)
    return _whole(ctx, target, head, fields, body)


def _whole(ctx: Context, target: TargetEntry, head: bytes, fields: bytes, body: bytes) -> bytes:
    """A request with a body that was written here."""
    trace = b"traceparent: %b\r\n" % child_span(ctx) if ctx.trace_id else b""
    lines = b"%b%b%b" % (fields, credential_line(target), trace)
    return b"%b%b%b%d\r\n\r\n%b" % (head[: -len(_LENGTH)], lines, _LENGTH, len(body), body)


def _asked(ctx: Context) -> Asked:
    """The request in its canonical form, read once."""
    reading, endpoint = ctx.reading, ctx.endpoint
    assert reading is not None and endpoint is not None
    asked: Asked | None = reading.request
    if asked is None:
        codec = endpoint.codec or endpoint.dialect
        asked = reading.request = read_asked(codec.read_request, ctx.exchange.body)
    return asked


def _bound_within(target: TargetEntry, model: ModelEntry, prompt_tokens: int) -> int:
    """The bound of a caller who names none: it leaves room for the prompt, whose tokens may be more than were counted."""
    most, known = target.target.max_output_tokens or model.max_output_tokens, target.target.context_tokens
    if not known:
        return most
    return min(most, max(known - prompt_tokens - prompt_tokens // COUNTING_ERROR, LEAST_BOUND))


def _follows(ctx: Context, target: TargetEntry, provider: Any, caller: Any, request: Any) -> Follows | FollowsEmbedding:
    """What reads the answer: codecs of what the endpoint does, and what was asked in its canonical form."""
    assert ctx.endpoint is not None
    if ctx.endpoint.operation == "embedding":
        return FollowsEmbedding(provider, caller, request, ctx.prompt_tokens)
    return Follows(provider, caller, request, target.kind.framing or SERVER_SENT, ctx.id)


def _for_target(request: Request | EmbedRequest, target: TargetEntry, max_output_tokens: int) -> Request | EmbedRequest:
    """As the target is asked: by the name that its provider knows, and with a bound where the dialect must have one."""
    if not isinstance(request, Request):
        return msgspec.structs.replace(request, model=target.target.model)
    bound = request.max_output_tokens
    if bound is None and target.kind.must_be_bounded:
        bound = max_output_tokens
    return msgspec.structs.replace(request, model=target.target.model, max_output_tokens=bound)


def _dropped(ctx: Context, *losses: Lost) -> bytes:
    """The header line that tells what is left out; raises GatewayError where that is not admitted."""
    assert ctx.model is not None and ctx.target is not None
    fields = [name for lost in losses for name in lost.fields] + [name for lost in losses for name in lost.more]
    admitted = ctx.model.model.drop_params
    refused = [] if "*" in admitted else [name for name in fields if not _is_admitted(name, admitted)]
    if "*" not in admitted and any(lost.overflows for lost in losses):
        refused.append("more fields than can be told")
    if refused:
        shown = ", ".join(name[:MAX_SHOWN_CHARS] for name in refused[:10])
        raise GatewayError(
            UNSUPPORTED_PARAMETER,
            f"What is sent to a provider of the kind {ctx.target.kind.name!r}, which serves the model {ctx.model.model.name!r}, has no place for: "
            f"{shown}. Leave it out, or admit that it is dropped with `drop_params` of the model.",
            param=refused[0][:MAX_SHOWN_CHARS],
        )
    names = ", ".join(fields + [name for lost in losses for name in lost.hints])
    return field("x-throughway-dropped", names[:MAX_DROPPED_BYTES]) if names else b""


def _is_admitted(name: str, admitted: Sequence[str]) -> bool:
    """Whether a path, or what it is a part of, is among those that may be dropped: `tools[3].strict` by `tools.strict`, too."""
    plain = plain_path(name)
    return any(plain == each or plain.startswith(f"{each}.") or plain.endswith(f".{each}") for each in admitted)


def read_trace(ctx: Context) -> None:
    """Sets `ctx.trace_id` where the caller sent a valid `traceparent` (W3C Trace Context, section 3.2)."""
    value = ctx.exchange.traceparent
    if value is None:
        return
    found = _TRACEPARENT.fullmatch(value)
    if found is not None:
        ctx.trace_id = found[1].decode()


def child_span(ctx: Context) -> bytes:
    """The caller's trace, continued by a span of ours."""
    flags = (ctx.exchange.traceparent or b"00")[-2:]
    return b"00-%s-%s-%s" % (ctx.trace_id.encode(), os.urandom(8).hex().encode(), flags)
