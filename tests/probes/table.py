"""The table of probes: what is sent on a connection, byte for byte, and what each edge must make of it.

A probe's own bytes are followed, in the same write, by a request that is beyond doubt (`FOLLOWER`). Its answer tells where
the edge believes that the probe's message ended: it comes once, with 200, where the connection goes on, and never where
it does not. `reaches` tells how many requests went on to the provider, whose bodies must be the probe's own.

The column here is the native edge's; `granian` has the other one's, where it differs.
The messages of `tests/fastpath/http1_cases.py` are probes too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tests.e2e.conftest import secret_of
from tests.fastpath.http1_cases import CHUNKED, REFUSED_REQUESTS, VALID_REQUESTS, Case, ChunkedCase
from tests.probes.wire import HALF_CLOSE, Await, Step

SCRIPT = "probe"
"""Of the scripted provider: the answer that every probe's completion gets."""
STREAM = "probe-stream"
SLOW = "probe-slow"
"""An answer that takes a while."""

HEAD_MS = BODY_GAP_MS = 800
IDLE_MS = 1_200
BODY_BYTES = 65_536
"""Bounds of the node that is probed."""

ANY = None
"""A status that is the application's own and not the probe's subject."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What must come of a probe.

    Args:
        statuses: of the answers to the probe itself, interim ones included.
        closes: whether the connection ends with the last of them.
        reaches: requests that the provider gets.
        unsure: whether some of it depends on who is first: the provider's answer, or the client's end.
    """

    statuses: tuple[int | None, ...]
    closes: bool = False
    reaches: int = 0
    unsure: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """A row.

    Args:
        name: unique.
        steps: see `wire.Step`.
        native: the native edge's column.
        pipelined: whether the follower comes with the probe's last bytes; else when all answers have come.
        bodiless: which answers are to HEAD.
        slow: it ends by a time-out.
    """

    name: str
    steps: tuple[Step, ...]
    native: Verdict
    pipelined: bool = True
    bodiless: tuple[int, ...] = ()
    slow: bool = False


def keeps(*statuses: int | None, reaches: int = 0) -> Verdict:
    return Verdict(statuses, reaches=reaches)


def closes(*statuses: int | None, reaches: int = 0, unsure: bool = False) -> Verdict:
    return Verdict(statuses, True, reaches, unsure)


# -- messages

KEY = b"X-Api-Key: " + secret_of("main").encode()
JSON = b"Content-Type: application/json"
HOST = b"Host: gateway.example"
MODELS = b"/v1/models"
CHAT = b"/v1/chat/completions"


def message(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line, *fields, b"", b"")) + body


def get(*fields: bytes, method: bytes = b"GET", target: bytes = MODELS, version: bytes = b"1.1") -> bytes:
    return message(b"%b %b HTTP/%b" % (method, target, version), HOST, KEY, *fields)


def chat(script: str = SCRIPT, **more: object) -> bytes:
    """A body that is governed and reaches the provider."""
    return json.dumps({"model": "gpt-4o-mini", "messages": [], "x_script": script, **more}).encode()


BODY = chat()
LENGTH = b"Content-Length: %d" % len(BODY)
TE = b"Transfer-Encoding: chunked"


def head(*fields: bytes, target: bytes = CHAT, version: bytes = b"1.1") -> bytes:
    """Of a POST whose framing stands in `fields`."""
    return message(b"POST %b HTTP/%b" % (target, version), HOST, KEY, JSON, *fields)


def keyless(*fields: bytes) -> bytes:
    return message(b"POST %b HTTP/1.1" % CHAT, HOST, *fields)


def post(body: bytes = BODY, *fields: bytes, version: bytes = b"1.1") -> bytes:
    return head(b"Content-Length: %d" % len(body), *fields, version=version) + body


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


CONTINUE = b"Expect: 100-continue"
LAST = b"0\r\n\r\n"
CHUNKS = chunk(BODY) + LAST
FOLLOWER = get(b"X-Probe: follower")
SMUGGLED = get(b"X-Probe: smuggled")
"""What an attacker hides where he hopes that another reader's message ends."""


def in_pieces(data: bytes, size: int, pause_s: float = 0.001) -> tuple[Step, ...]:
    steps: list[Step] = []
    for at in range(0, len(data), size):
        steps += [data[at : at + size], pause_s]
    return tuple(steps)


def sized(size: int) -> bytes:
    """A completion's body of so many bytes."""
    empty = len(chat(x_pad=""))
    return chat(x_pad="p" * (size - empty))


def row(name: str, steps: bytes | Sequence[Step], native: Verdict, **more: object) -> Probe:
    return Probe(name, (steps,) if isinstance(steps, bytes) else tuple(steps), native, **more)  # type: ignore[arg-type]


OK = keeps(200)
SERVED = keeps(200, reaches=1)
REFUSED = closes(400)

VALID = [
    row("get", get(), OK),
    row("head", get(method=b"HEAD"), OK, bodiless=(0,)),
    row("post with length", post(), SERVED),
    row("post in one chunk", head(TE) + CHUNKS, SERVED),
    row("post in chunks of one byte", head(TE) + b"".join(chunk(bytes([b])) for b in BODY) + LAST, SERVED),
    row("chunk extensions", head(TE) + chunk(BODY, b';a=b;c="d e"') + b"0;x\r\n\r\n", SERVED),
    row("trailers", head(TE) + chunk(BODY) + b"0\r\nX-Sum: 1\r\nX-More:\r\n\r\n", SERVED),
    row("trailers that would frame", head(TE) + chunk(BODY) + b"0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\r\n", SERVED),
    row("trailers that would authorise", head(TE) + chunk(BODY) + b"0\r\nX-Api-Key: other\r\n\r\n", SERVED),
    row("chunked in capitals", head(b"TRANSFER-ENCODING: CHUNKED") + CHUNKS, SERVED),
    row("no white space behind colons", get(b"A:b"), OK),
    row("white space around values", get(b"A: \t b \t"), OK),
    row("empty value", get(b"A:"), OK),
    row("bytes beyond ASCII in a value", get(b"A: \xc3\xa4\xff"), OK),
    row("query", get(target=MODELS + b"?a=b&c"), OK),
    row("absolute form", get(target=b"http://gateway.example/v1/models"), OK),
    row("absolute form of https", get(target=b"HTTPS://GATEWAY.EXAMPLE/v1/models"), OK),
    row("asterisk form", get(method=b"OPTIONS", target=b"*"), keeps(404)),
    row("options", get(method=b"OPTIONS"), keeps(405)),
    row("trace", get(method=b"TRACE"), keeps(405)),
    row("delete with a body", get(b"Content-Length: 5", method=b"DELETE") + b"hello", keeps(405)),
    row("unknown method", get(method=b"BREW"), keeps(405)),
    row("lower-case method", get(method=b"get"), keeps(405)),
    row("get with length zero", get(b"Content-Length: 0"), OK),
    row("get with a body", get(b"Content-Length: 5") + b"hello", OK),
    row("get with a body that looks like a request", get(b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED, OK),
    row("head with a body", get(b"Content-Length: 5", method=b"HEAD") + b"hello", OK, bodiless=(0,)),
    row("get with a chunked body", get(TE) + b"5\r\nhello\r\n0\r\n\r\n", closes(200)),
    row("post without framing has no body", head(), keeps(400)),
    row("post of length zero", head(b"Content-Length: 0"), keeps(400)),
    row("post of no chunk", head(TE) + LAST, keeps(400)),
    row("leading zeros in a length", head(b"Content-Length: 000%d" % len(BODY)) + BODY, SERVED),
    row("leading zeros in a chunk size", head(TE) + b"000%x\r\n" % len(BODY) + BODY + b"\r\n00\r\n\r\n", SERVED),
    row("one empty line before", b"\r\n" + get(), OK),
    row("one empty line between", [get() + b"\r\n" + get()], keeps(200, 200)),
    row("an empty line behind a body", [post() + b"\r\n" + get()], keeps(200, 200, reaches=1)),
    row("body of the bound", post(sized(BODY_BYTES)), SERVED),
    row("chunked body of the bound", head(TE) + chunk(sized(BODY_BYTES)) + LAST, SERVED),
    row("a hundred fields", get(*[b"A%d: x" % i for i in range(98)]), OK),
    row("head near its bound", get(b"A: " + b"a" * 65_000), OK),
    row("target near its bound", get(target=MODELS + b"?" + b"a" * 8_170), OK),
    row("an upgrade to h2c is not taken", get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA"), OK),
    row("an upgrade to WebSocket is not taken", get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"), OK),
    row("TE is no framing", head(b"TE: chunked, trailers", LENGTH) + BODY, SERVED),
    row("trailer announced", head(TE, b"Trailer: X-Sum") + chunk(BODY) + b"0\r\nX-Sum: 1\r\n\r\n", SERVED),
    row("a stream", post(chat(STREAM, stream=True)), SERVED),
]  # fmt: skip

CONNECTIONS = [
    row("close", get(b"Connection: close"), closes(200)),
    row("close among others", get(b"Connection: x, Close"), closes(200)),
    row("close in a second field", get(b"Connection: keep-alive", b"Connection: close"), closes(200)),
    row("close behind a body", post(BODY, b"Connection: close"), closes(200, reaches=1)),
    row("close and a stream", post(chat(STREAM, stream=True), b"Connection: close"), closes(200, reaches=1)),
    row("1.0", get(version=b"1.0"), closes(200)),
    row("1.0 without host", message(b"GET /v1/models HTTP/1.0", KEY), closes(200)),
    row("1.0 that stays", get(b"Connection: keep-alive", version=b"1.0"), OK),
    row("1.0 with a body that stays", post(BODY, b"Connection: Keep-Alive", version=b"1.0"), SERVED),
    row("1.0 head", get(method=b"HEAD", version=b"1.0"), closes(200), bodiless=(0,)),
    row("1.0 without length has no body", head(version=b"1.0") + BODY, closes(400)),
    row("1.0 and a stream", post(chat(STREAM, stream=True), version=b"1.0"), closes(200, reaches=1)),
    row("1.0 that stays and a stream", post(chat(STREAM, stream=True), b"Connection: keep-alive", version=b"1.0"), closes(200, reaches=1)),
    row("hop by hop: the length", head(b"Connection: content-length", LENGTH) + BODY, SERVED),
    row("hop by hop: the coding", head(b"Connection: transfer-encoding", TE) + CHUNKS, SERVED),
    row("hop by hop: the credential", post(BODY, b"Connection: x-api-key"), SERVED),
    row("hop by hop: the host", get(b"Connection: host"), OK),
    row("proxy-connection is no connection", get(b"Proxy-Connection: close"), OK),
    row("keep-alive with bounds", get(b"Connection: keep-alive", b"Keep-Alive: timeout=1, max=1"), OK),
]  # fmt: skip

PIPELINES = [
    row("three gets", get() * 3, keeps(200, 200, 200)),
    row("get, post, get", get() + post() + get(), keeps(200, 200, 200, reaches=1)),
    row("five posts", post() * 5, keeps(*[200] * 5, reaches=5)),
    row("posts in chunks", (head(TE) + CHUNKS) * 3, keeps(200, 200, 200, reaches=3)),
    row("behind a slow one", post(chat(SLOW)) + get() + post(), keeps(200, 200, 200, reaches=2)),
    row("behind a stream", post(chat(STREAM, stream=True)) + get(), keeps(200, 200, reaches=1)),
    row("a thousand gets", get() * 1_000, keeps(*[200] * 1_000)),
    row("behind a head", get(method=b"HEAD") + get(), keeps(200, 200), bodiless=(0,)),
    row("behind an error of the application", get(target=b"/nothing") + get(), keeps(404, 200)),
    row("behind a body that is no JSON", post(b"no JSON") + get(), keeps(400, 200)),
    row("behind a close", get(b"Connection: close") + get(), closes(200)),
    row("behind a 1.0", get(version=b"1.0") + get(), closes(200)),
    row("a fault behind a good one", get() + b"nonsense\r\n\r\n", closes(200, 400)),
    row("a fault behind a post", post() + head(LENGTH, TE) + CHUNKS, closes(200, 400, reaches=1)),
    row("a good one behind a fault", head(LENGTH, TE) + CHUNKS + get(), REFUSED),
    row("one after the other", [get(), Await(1), post(), Await(2), get()], keeps(200, 200, 200, reaches=1)),
    row("a request that is cut between", [get() + get()[:30], Await(1), get()[30:]], keeps(200, 200)),
]  # fmt: skip

PIECES = [
    row("get byte by byte", in_pieces(get(), 1, 0.0), OK, pipelined=False),
    row("post byte by byte", [*in_pieces(post(chat(a=1))[:-1], 1, 0.0), b"}"], SERVED),
    row("chunks byte by byte", in_pieces(head(TE) + CHUNKS, 1, 0.0), SERVED, pipelined=False),
    row("head, then body", [head(LENGTH), 0.03, BODY], SERVED),
    row("head, then chunks", [head(TE), 0.03, CHUNKS], SERVED),
    row("body in two", [post()[:-9], 0.03, BODY[-9:]], SERVED),
    row("cut in CRLF CRLF", [get()[:-2], 0.03, b"\r\n"], OK),
    row("cut in CRLF", [get()[:-1], 0.03, b"\n"], OK),
    row("chunk cut in its size", [head(TE) + b"%x" % len(BODY), 0.03, b"\r\n" + BODY + b"\r\n" + LAST], SERVED),
    row("chunk cut behind its size", [head(TE) + b"%x\r" % len(BODY), 0.03, b"\n" + BODY + b"\r\n" + LAST], SERVED),
    row("last chunk cut", [head(TE) + chunk(BODY) + b"0\r\n", 0.03, b"\r\n"], SERVED),
    row("body of the bound in pieces", in_pieces(post(sized(BODY_BYTES)), 4_096), SERVED, pipelined=False),
    row("a fault in a second piece", [get()[:-2], 0.03, b"A\x00: b\r\n\r\n"], REFUSED),
]  # fmt: skip

EXPECTATIONS = [
    row("continue, then the body", [head(LENGTH, CONTINUE), Await(1), BODY], keeps(100, 200, reaches=1)),
    row("continue in capitals", [head(LENGTH, b"Expect: 100-CONTINUE"), Await(1), BODY], keeps(100, 200, reaches=1)),
    row("continue, then chunks", [head(TE, CONTINUE), Await(1), CHUNKS], keeps(100, 200, reaches=1)),
    row("the body did not wait", head(LENGTH, CONTINUE) + BODY, SERVED),
    row("some of the body did not wait", [head(LENGTH, CONTINUE) + BODY[:5], 0.03, BODY[5:]], SERVED),
    row("nothing to expect", get(CONTINUE), OK),
    row("length zero to expect", head(b"Content-Length: 0", CONTINUE), keeps(400)),
    row("continue on 1.0 is not told", [head(LENGTH, CONTINUE, b"Connection: keep-alive", version=b"1.0"), 0.05, BODY], SERVED),
    row("unknown expectation", head(LENGTH, b"Expect: a-cookie") + BODY, closes(417)),
    row("empty expectation", head(LENGTH, b"Expect:") + BODY, closes(417)),
    row("two expectations", head(LENGTH, CONTINUE, CONTINUE), REFUSED),
    row("a body too long to continue", [head(b"Content-Length: %d" % (BODY_BYTES + 1), CONTINUE)], closes(413)),
    row("no key, no continue", keyless(JSON, LENGTH, CONTINUE), closes(401), pipelined=False),
    row("no such path, no continue", head(LENGTH, CONTINUE, target=b"/nothing"), closes(404), pipelined=False),
    row("no JSON, no continue", keyless(KEY, b"Content-Type: text/plain", LENGTH, CONTINUE), closes(415), pipelined=False),
    row("continue, and then no body", [head(LENGTH, CONTINUE), Await(1), HALF_CLOSE], closes(100)),
    row("two in turn", [head(LENGTH, CONTINUE), Await(1), BODY + head(LENGTH, CONTINUE), Await(3), BODY], keeps(100, 200, 100, 200, reaches=2)),
]  # fmt: skip

BODIES = [
    row("longer than its length", post() + b"GARBAGE\r\n\r\n", closes(200, 400, reaches=1)),
    row("length one too short", head(b"Content-Length: %d" % (len(BODY) - 1)) + BODY, closes(400, 400)),
    row("length beyond the bound", post(sized(BODY_BYTES + 1)), closes(413)),
    row("length far beyond the bound", [head(b"Content-Length: 999999999999999999"), b"x" * 300_000], closes(413)),
    row("chunks beyond the bound", head(TE) + chunk(b"x" * 40_000) * 9, closes(413)),
    row("one chunk beyond the bound", [head(TE) + b"fffffff\r\n", b"x" * 300_000], closes(413)),
    row("chunks of one byte beyond the bound", head(TE) + b"1\r\nx\r\n" * (2 * BODY_BYTES), closes(413)),
    row("a refusal while the body comes", [head(LENGTH, TE), b"x" * 300_000], REFUSED),
    row("no key, and a long body", [keyless(JSON, b"Content-Length: 60000"), 0.02, b"x" * 60_000], closes(401)),
    row("get with a body that comes later", [get(b"Content-Length: 9"), 0.05, b"123456789"], closes(200)),
    row("JSON cut by chunks' end", head(TE) + chunk(BODY[:-1]) + LAST, keeps(400)),
    row("chunked twice over", head(TE) + chunk(CHUNKS) + LAST, keeps(400)),
]  # fmt: skip

HALF_CLOSED = [
    row("nothing, then the end", [HALF_CLOSE], closes()),
    row("half a request line, then the end", [b"GET /v1", HALF_CLOSE], closes()),
    row("half a head, then the end", [get()[:-2], HALF_CLOSE], closes()),
    row("half a body, then the end", [post()[:-5], HALF_CLOSE], closes()),
    row("no last chunk, then the end", [head(TE) + chunk(BODY), HALF_CLOSE], closes()),
    row("half a last chunk, then the end", [head(TE) + chunk(BODY) + b"0\r\n", HALF_CLOSE], closes()),
    row("a get, then the end", [get(), Await(1), HALF_CLOSE], closes(200)),
    row("a get and the end at once", [get(), HALF_CLOSE], closes(200)),
    row("a post, then the end", [post(), Await(1), HALF_CLOSE], closes(200, reaches=1)),
    row("a post and the end at once", [post(chat(SLOW)), HALF_CLOSE], closes(unsure=True)),
    row("a fault and the end at once", [b"nonsense\r\n\r\n", HALF_CLOSE], REFUSED),
    row("a get, half another, then the end", [get() + get()[:9], Await(1), HALF_CLOSE], closes(200)),
]  # fmt: skip

_NEXT_LENGTH = b"Content-Length: %d" % len(SMUGGLED)

SMUGGLING = [
    row("CL.TE", head(b"Content-Length: %d" % len(LAST + SMUGGLED), TE) + LAST + SMUGGLED, REFUSED),
    row("TE.CL", head(TE, b"Content-Length: 4") + chunk(SMUGGLED) + LAST, REFUSED),
    row("CL.TE in one name", head(b"Content-Length: 5\r\nTransfer-Encoding: chunked") + LAST + SMUGGLED, REFUSED),
    row("CL zero and TE", head(b"Content-Length: 0", TE) + CHUNKS, REFUSED),
    row("TE.TE: another coding", head(TE, b"Transfer-Encoding: x") + LAST + SMUGGLED, REFUSED),
    row("TE.TE: identity", head(b"Transfer-Encoding: identity", TE) + LAST + SMUGGLED, REFUSED),
    row("TE.TE: twice the same", head(TE, TE) + CHUNKS, REFUSED),
    row("TE list", head(b"Transfer-Encoding: gzip, chunked") + CHUNKS, REFUSED),
    row("TE list that ends otherwise", head(b"Transfer-Encoding: chunked, gzip") + CHUNKS, REFUSED),
    row("TE of identity and CL", head(b"Transfer-Encoding: identity", LENGTH) + BODY, REFUSED),
    row("TE empty and CL", head(b"Transfer-Encoding:", LENGTH) + BODY, REFUSED),
    row("TE with a vertical tab", head(b"Transfer-Encoding: \x0bchunked", LENGTH) + BODY, REFUSED),
    row("TE with a form feed", head(b"Transfer-Encoding: chunked\x0c", LENGTH) + BODY, REFUSED),
    row("TE quoted", head(b'Transfer-Encoding: "chunked"') + CHUNKS, REFUSED),
    row("TE in quotes of one kind", head(b"Transfer-Encoding: 'chunked'") + CHUNKS, REFUSED),
    row("TE with a parameter", head(b"Transfer-Encoding: chunked; q=0.5") + CHUNKS, REFUSED),
    row("TE behind a bare LF", head(b"X: y\nTransfer-Encoding: chunked", LENGTH) + BODY, REFUSED),
    row("TE behind a bare CR", head(b"X: y\rTransfer-Encoding: chunked", LENGTH) + BODY, REFUSED),
    row("TE in a folded line", head(b"X: y\r\n Transfer-Encoding: chunked", LENGTH) + BODY, REFUSED),
    row("TE folded", head(b"Transfer-Encoding:\r\n chunked") + CHUNKS, REFUSED),
    row("TE with space before the colon", head(b"Transfer-Encoding : chunked") + CHUNKS, REFUSED),
    row("TE with tab before the colon", head(b"Transfer-Encoding\t: chunked") + CHUNKS, REFUSED),
    row("TE with a space before the name", message(b"POST / HTTP/1.1", b" " + TE, HOST, KEY, JSON) + CHUNKS, REFUSED),
    row("TE with NUL in its name", head(b"Transfer-Encoding\x00: chunked") + CHUNKS, REFUSED),
    row("TE with NUL in its value", head(b"Transfer-Encoding: chunked\x00") + CHUNKS, REFUSED),
    row("TE with a letter that folds to s", head("Tran\u017ffer-Encoding: chunked".encode(), LENGTH) + BODY, REFUSED),
    row("TE with an underscore is another field", head(b"Transfer_Encoding: chunked", LENGTH) + BODY, SERVED),
    row("TE with a prefix is another field", head(b"X-Transfer-Encoding: chunked", LENGTH) + BODY, SERVED),
    row("TE as a value is none", head(b"X: Transfer-Encoding: chunked", LENGTH) + BODY, SERVED),
    row("TE on 1.0", head(TE, version=b"1.0") + CHUNKS, REFUSED),
    row("TE and CL on 1.0", head(TE, LENGTH, version=b"1.0") + BODY, REFUSED),
    row("two lengths", head(LENGTH, b"Content-Length: 5") + BODY, REFUSED),
    row("two equal lengths", head(LENGTH, LENGTH) + BODY, REFUSED),
    row("length list", head(LENGTH + b", %d" % len(BODY)) + BODY, REFUSED),
    row("length with plus", head(b"Content-Length: +%d" % len(BODY)) + BODY, REFUSED),
    row("length negative", head(b"Content-Length: -1") + BODY, REFUSED),
    row("length hexadecimal", head(b"Content-Length: 0x%x" % len(BODY)) + BODY, REFUSED),
    row("length with spaces inside", head(b"Content-Length: 1 0") + BODY, REFUSED),
    row("length with NUL", head(LENGTH + b"\x00") + BODY, REFUSED),
    row("length of another alphabet", head("Content-Length: \u0661\u0660".encode()) + BODY, REFUSED),
    row("length that overflows 64 bits", head(b"Content-Length: 18446744073709551615") + BODY, REFUSED),
    row("length that overflows 32 bits", head(b"Content-Length: %d" % ((1 << 32) + len(BODY))) + BODY, closes(413)),
    row("length with space before the colon", head(b"Content-Length : %d" % len(BODY)) + BODY, REFUSED),
    row("length with an underscore is another field", head(b"Content_Length: 5", LENGTH) + BODY, SERVED),
    row("length folded", head(b"Content-Length:\r\n %d" % len(BODY)) + BODY, REFUSED),
    row("length behind a bare LF", get(b"X: y\n" + _NEXT_LENGTH) + SMUGGLED, REFUSED),
    row("get with a hidden request", get(_NEXT_LENGTH) + SMUGGLED, OK),
    row("a head without end before a request", message(b"GET /v1/models HTTP/1.1", HOST, KEY)[:-2] + b"X: " + SMUGGLED, REFUSED),
    row("chunk size with prefix", head(TE) + b"0x%x\r\n" % len(BODY) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk size with plus", head(TE) + b"+%x\r\n" % len(BODY) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk size negative", head(TE) + b"-1\r\n" + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk size with a space behind", head(TE) + b"%x \r\n" % len(BODY) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk size with a bare LF", head(TE) + b"%x\n" % len(BODY) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk size with a bare CR", head(TE) + b"%x\rX" % len(BODY) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk size that overflows", head(TE) + b"1%016x\r\n" % len(BODY) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk size empty", head(TE) + b"\r\n" + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk with two bytes too many", head(TE) + b"%x\r\n" % (len(BODY) - 2) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk that ends in LF", head(TE) + b"%x\r\n" % len(BODY) + BODY + b"\n" + LAST, REFUSED),
    row("chunk extension with a bare LF", head(TE) + b"%x;a\n" % len(BODY) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk extension with a bare CR", head(TE) + b"%x;a\rb\r\n" % len(BODY) + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk extension with a request", head(TE) + b"%x;" % len(BODY) + SMUGGLED + BODY + b"\r\n" + LAST, REFUSED),
    row("chunk extension beyond its bound", head(TE) + b"%x;%b\r\n" % (len(BODY), b"a" * 300) + BODY + b"\r\n" + LAST, REFUSED),
    row("last chunk that ends in LF", head(TE) + chunk(BODY) + b"0\n\n", REFUSED),
    row("last chunk without CRLF before a request", head(TE) + chunk(BODY) + b"0\r\n" + SMUGGLED, REFUSED),
    row("trailer with a bare LF", head(TE) + chunk(BODY) + b"0\r\nA: b\nC: d\r\n\r\n", REFUSED),
    row("trailer with a bare CR", head(TE) + chunk(BODY) + b"0\r\nA: b\rC: d\r\n\r\n", REFUSED),
    row("trailer folded", head(TE) + chunk(BODY) + b"0\r\nA: b\r\n c\r\n\r\n", REFUSED),
    row("trailers beyond their bound", head(TE) + chunk(BODY) + b"0\r\n" + b"A: b\r\n" * 2_000 + b"\r\n", REFUSED),
]  # fmt: skip

HOSTS = [
    row("host absent", message(b"GET /v1/models HTTP/1.1", KEY), REFUSED),
    row("host twice", get(HOST), REFUSED),
    row("two hosts", get(b"Host: other.example"), REFUSED),
    row("host with a space before the colon", message(b"GET /v1/models HTTP/1.1", b"Host : h", KEY), REFUSED),
    row("host and a folded one", message(b"GET /v1/models HTTP/1.1", HOST, b" other.example", KEY), REFUSED),
    row("host empty", message(b"GET /v1/models HTTP/1.1", b"Host:", KEY), REFUSED),
    row("host with a path", message(b"GET /v1/models HTTP/1.1", b"Host: h/evil", KEY), REFUSED),
    row("host with user information", message(b"GET /v1/models HTTP/1.1", b"Host: u@h", KEY), REFUSED),
    row("host with a comma is one name", message(b"GET /v1/models HTTP/1.1", b"Host: a,b", KEY), OK),
    row("host list with a space", message(b"GET /v1/models HTTP/1.1", b"Host: a, b", KEY), REFUSED),
    row("host unlike the target", get(target=b"http://other.example/v1/models"), REFUSED),
    row("host with a port beyond all ports", message(b"GET /v1/models HTTP/1.1", b"Host: h:70000", KEY), REFUSED),
    row("host of IPv6", message(b"GET /v1/models HTTP/1.1", b"Host: [::1]:8080", KEY), OK),
    row("authority form", get(target=b"gateway.example:80"), REFUSED),
    row("connect", get(method=b"CONNECT", target=b"gateway.example:443"), closes(501)),
    row("asterisk for get", get(target=b"*"), REFUSED),
    row("target of another scheme", get(target=b"file:///etc/passwd"), REFUSED),
    row("target with a fragment", get(target=b"/v1/models#x"), REFUSED),
    row("target with two slashes", get(target=b"//evil.example/v1/models"), keeps(404)),
    row("target with dots", get(target=b"/v1/x/../models"), keeps(404)),
    row("target with a coded slash", get(target=b"/v1%2fmodels"), keeps(404)),
    row("target with a backslash", get(target=b"\\v1\\models"), REFUSED),
]  # fmt: skip

OTHER_PROTOCOLS = [
    row("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", closes(505)),
    row("HTTP/2 by its name", get(version=b"2.0"), closes(505)),
    row("HTTP/3 by its name", get(version=b"3"), REFUSED),
    row("HTTP/0.9", b"GET /v1/models\r\n", REFUSED),
    row("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50, REFUSED),
    row("SSH", b"SSH-2.0-OpenSSH_9.9\r\n", REFUSED),
    row("PROXY protocol, version 1", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get(), REFUSED),
    row("PROXY protocol, version 2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + b"\x7f\x00\x00\x01" * 3 + get(), REFUSED),
    row("SMTP", b"EHLO example.com\r\n", REFUSED),
    row("Redis", b"*1\r\n$4\r\nPING\r\n", REFUSED),
    row("an HTTP answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", REFUSED),
    row("NULs", b"\x00" * 64, REFUSED),
    row("two empty lines", b"\r\n\r\n" + get(), REFUSED),
    row("LFs", b"\n\n" + get(), REFUSED),
    row("lines that end in LF", get().replace(b"\r\n", b"\n"), REFUSED),
    row("lines that end in CR", get().replace(b"\r\n", b"\r"), REFUSED),
    row("RTSP", b"OPTIONS rtsp://gateway.example/ RTSP/1.0\r\nCSeq: 1\r\n\r\n", REFUSED),
    row("SIP", b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm\r\n\r\n", REFUSED),
]  # fmt: skip

OVERSIZED = [
    row("a line without end", b"GET /" + b"a" * 100_000, closes(414)),
    row("a method without end", b"A" * 100_000, closes(501)),
    row("a field without end", get()[:-2] + b"A: " + b"a" * 100_000, closes(431)),
    row("a name without end", get()[:-2] + b"A" * 100_000, closes(431)),
    row("fields without end", get()[:-2] + b"A: b\r\n" * 20_000, closes(431)),
    row("a head of more than its bound", get(b"A: " + b"a" * 65_536), closes(431)),
    row("megabytes behind a fault", [b"nonsense\r\n\r\n", b"x" * 4_000_000], REFUSED),
]  # fmt: skip

_TIMED_OUT = closes(408)

SLOW_PROBES = [
    row("no byte", [], closes(), slow=True, pipelined=False),
    row("one byte", b"G", _TIMED_OUT, slow=True, pipelined=False),
    row("an empty line alone", b"\r\n", _TIMED_OUT, slow=True, pipelined=False),
    row("half a head", get()[:-2], _TIMED_OUT, slow=True, pipelined=False),
    row("a head in crumbs", in_pieces(get(b"A: " + b"a" * 200), 4, 0.03), _TIMED_OUT, slow=True, pipelined=False),
    row("no body", head(LENGTH), _TIMED_OUT, slow=True, pipelined=False),
    row("half a body", post()[:-5], _TIMED_OUT, slow=True, pipelined=False),
    row("half a chunk", head(TE) + CHUNKS[:20], _TIMED_OUT, slow=True, pipelined=False),
    row("no last chunk", head(TE) + chunk(BODY), _TIMED_OUT, slow=True, pipelined=False),
    row("no end of trailers", head(TE) + chunk(BODY) + b"0\r\nA: b\r\n", _TIMED_OUT, slow=True, pipelined=False),
    row("continue, and no body", head(LENGTH, b"Expect: 100-continue"), closes(100, 408), slow=True, pipelined=False),
    row("half a head behind a good one", get() + get()[:-2], closes(200, 408), slow=True, pipelined=False),
    row("a body in crumbs", (head(LENGTH), *in_pieces(BODY, 4, 0.05)), SERVED, slow=True, pipelined=False),
    row("idle behind a good one", [get(), Await(1), IDLE_MS / 1_000 + 0.4], closes(200), slow=True, pipelined=False),
    row("idle, but not too long", [get(), Await(1), IDLE_MS / 1_000 - 0.6, get()], keeps(200, 200), slow=True),
]  # fmt: skip


# -- the parser's table


def _of_parser(case: Case) -> Probe:
    if not case.valid:
        return row(f"parser: {case.name}", case.raw, closes(case.status))
    raw = case.raw + case.body
    method = case.raw.lstrip().split(b" ")[0]
    kept = case.head.get("keep_alive", b" HTTP/1.0\r\n" not in case.raw)
    chunked = b"chunked" in case.raw.lower()  # its body is not waited for: nobody answers it at this path
    return row(
        f"parser: {case.name}",
        raw,
        keeps(ANY) if kept and not chunked else closes(ANY),
        bodiless=(0,) if method == b"HEAD" else (),
    )


def _of_decoder(case: ChunkedCase) -> Probe:
    """A body that is no JSON: the decoder takes it, and the application answers 400 and goes on."""
    return row(f"chunks: {case.name}", head(TE) + case.raw, keeps(400) if case.valid else REFUSED)


PROBES: list[Probe] = [
    *VALID,
    *CONNECTIONS,
    *PIPELINES,
    *PIECES,
    *EXPECTATIONS,
    *BODIES,
    *HALF_CLOSED,
    *SMUGGLING,
    *HOSTS,
    *OTHER_PROTOCOLS,
    *OVERSIZED,
    *SLOW_PROBES,
    *map(_of_parser, VALID_REQUESTS + REFUSED_REQUESTS),
    *map(_of_decoder, CHUNKED),
]
