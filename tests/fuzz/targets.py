"""What is fuzzed. Each target takes any bytes and a place to cut them, and checks a narrow claim:

what was read is accepted, or refused with the module's own error, never anything else; nothing is said of bytes that
are not there; and the verdict does not depend on how the bytes were cut.

Readers that another one stands behind (`chat`, `answer`) must say what that one would, where they say anything.

A target returns whether it accepted.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from _fastpath.answer import AnswerCounter
from _fastpath.cachekey import CacheKeys
from _fastpath.chat import Reading, read_answer, read_request
from _fastpath.http1 import ChunkedDecoder, Head, ProtocolError, parse_request, parse_response
from _fastpath.jsonscan import ScanError, scan
from _fastpath.sse import ChatScanner, EventFollower
from gateway.base.addresses import packed
from gateway.base.errors import GatewayError
from gateway.codec import proxy_protocol
from gateway.codec.dialects.openai_chat import native
from gateway.codec.dialects.openai_chat.errors import provider_message
from gateway.codec.faults import MAX_DEPTH
from tests.fastpath import cachekey_oracle

Target = Callable[[bytes, int], bool]
Parse = Callable[[bytes], tuple[Head, int] | None]

KEYS = (b"model", b"stream", b"messages", b"stream_options", "ключ".encode())
SCAN_FAULTS = {"syntax", "utf8", "depth", "duplicate", "not_object", "too_many", "disguised"}


def _head(parse: Parse, data: bytes) -> tuple[object, ...]:
    """The verdict on a head: ("refused", status, reason), ("more",) or ("accepted", end, fields)."""
    try:
        found = parse(data)
    except ProtocolError as error:
        return "refused", error.status, error.reason
    if found is None:
        return ("more",)
    head, end = found
    assert 0 < end <= len(data)
    fields = head.headers()
    read = data[:end]
    folded = read.lower()
    for name, value in fields:
        assert name in folded and value in read
        assert head.header(name) is not None
    return "accepted", end, fields


def _judge_head(parse: Parse, data: bytes, cut: int, statuses: range) -> bool:
    whole = _head(parse, data)
    part = _head(parse, data[:cut])
    assert part == ("more",) or part == whole, (part, whole)
    if whole[0] == "refused":
        assert whole[1] in statuses and whole[2]
    return whole[0] == "accepted"


def request(data: bytes, cut: int) -> bool:
    return _judge_head(parse_request, data, cut, range(400, 506))


def response(data: bytes, cut: int) -> bool:
    return _judge_head(parse_response, data, cut, range(502, 503))


def _decoded(*parts: bytes) -> tuple[bytes, int, bool] | None:
    decoder = ChunkedDecoder()
    payload, taken = b"", 0
    for part in parts:
        try:
            pieces, at = decoder.feed(part)
        except ProtocolError as error:
            assert error.status == 400
            return None
        assert 0 <= at <= len(part) and (decoder.done or at == len(part))
        payload += b"".join(pieces)
        taken += at
    return payload, taken, decoder.done


def chunked(data: bytes, cut: int) -> bool:
    whole = _decoded(data)
    assert _decoded(data[:cut], data[cut:]) == whole
    if whole is None:
        return False
    assert len(whole[0]) <= len(data)
    return whole[2]


def _scanned(hide: bool, *parts: bytes) -> tuple[object, ...]:
    scanner = ChatScanner(hide, 4_096)
    sent = b"".join([scanner.feed(part) for part in parts])
    if not hide:
        assert b"".join(parts).startswith(sent), "what passes is what came"
    last = scanner.finish()
    assert last in (b"", b"data: [DONE]\n\n")
    told = (scanner.terminal, scanner.error, scanner.usage, scanner.finish_reason, scanner.model)
    return sent, last, *told, scanner.events, scanner.content_events, scanner.content_bytes, scanner.oversized


def _followed(*parts: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    follower = EventFollower()
    return [event for part in parts for event in follower.follow(part)], follower.oversized


def sse(data: bytes, cut: int) -> bool:
    if len(data) > 4_096:  # past its bound what is held depends on the cut; tests/fastpath says how
        data = data[:4_096]
    hide = bool(cut & 1)
    whole = _scanned(hide, data)
    assert _scanned(hide, data[:cut], data[cut:]) == whole
    assert _followed(data[:cut], data[cut:]) == _followed(data)
    return bool(whole[2])


def json(data: bytes, cut: int) -> bool:
    try:
        found = scan(data, KEYS, 1 + cut % 100)
    except ScanError as error:
        assert error.kind in SCAN_FAULTS and 0 <= error.offset <= len(data)
        return False
    *spans, closing = found
    assert data[closing] == 0x7D
    for start, end in zip(spans[::2], spans[1::2], strict=True):
        assert (start, end) == (-1, -1) or 0 < start < end <= closing
    return True


CACHE_KEYS = CacheKeys(bytes(32), b"tenant", (b"metadata",))


def cachekey(data: bytes, cut: int) -> bool:
    """Whatever the standard library reads has a key, however it is spelt; nothing else has."""
    try:
        value = cachekey_oracle.read(data)
    except cachekey_oracle.RefusedError:
        value = None
    try:
        key = CACHE_KEYS.key(data, b"")
    except ScanError as error:
        assert value is None, (error.kind, value)
        assert error.kind in SCAN_FAULTS and 0 <= error.offset <= len(data)
        return False
    assert value is not None
    assert CACHE_KEYS.key(cachekey_oracle.spell(value, random.Random(cut)).encode(), b"") == key
    return True


def _facts(reading: Reading) -> tuple[object, ...]:
    spans = reading.model_start, reading.model_end, reading.close, reading.usage_start, reading.usage_end
    asked = reading.stream, reading.include_usage, reading.max_output_tokens, reading.choices, reading.fixed_tokens
    return reading.model, spans, asked, reading.texts, reading.usage_text


def chat(data: bytes, _: int) -> bool:
    """What is authorised is what is sent: both readers of a request find the same."""
    try:
        quick = read_request(data, MAX_DEPTH)
    except ScanError:
        try:
            native._read_any_chat(data)
        except GatewayError:
            return False
        raise AssertionError("a fault that the thorough reader does not see") from None
    if quick is None:
        return False
    assert _facts(quick) == _facts(native._read_any_chat(data))
    return True


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _counted(*parts: bytes) -> tuple[int, int, bytes | None]:
    counter = AnswerCounter()
    for part in parts:
        counter.feed(part)
    return counter.text_bytes, counter.media_bytes, counter.usage


def answer(data: bytes, cut: int) -> bool:
    """What an answer used is what is paid for: both readers of it find the same, and what is counted depends on no cut."""
    quick, thorough = read_answer(data), native._response_usage(data)
    counted = _counted(data)
    assert counted == _counted(data[:cut], data[cut:])
    assert 0 <= counted[0] + counted[1] <= len(data) and (counted[2] is None or counted[2] in data)
    provider_message(data)
    if quick is None:
        return False
    if _is_utf8(data):  # what is not is passed on, and read as well as it can be
        assert quick == thorough, (quick, thorough)
    return quick[0] is not None


def _proxied(data: bytes) -> tuple[int, str | None] | str | None:
    try:
        return proxy_protocol.read(data)
    except proxy_protocol.ProxyProtocolError as error:
        return str(error)


def proxy(data: bytes, cut: int) -> bool:
    """More bytes never change a verdict, and one that needs more bytes is given before the longest header has come."""
    whole, part = _proxied(data), _proxied(data[:cut])
    assert part is None or part == whole or (isinstance(whole, str) and isinstance(part, str)), (part, whole)
    if whole is None:
        assert len(data) < proxy_protocol.MAX_V2_BYTES
    if whole is None or isinstance(whole, str):
        return False
    size, client = whole
    assert 0 < size <= min(len(data), proxy_protocol.MAX_V2_BYTES)
    assert _proxied(data[:size]) == whole and _proxied(data[: size - 1]) is None
    assert client is None or packed(client)
    return True


TARGETS: dict[str, Target] = {
    "request": request,
    "response": response,
    "chunked": chunked,
    "sse": sse,
    "json": json,
    "cachekey": cachekey,
    "chat": chat,
    "answer": answer,
    "proxy": proxy,
}
