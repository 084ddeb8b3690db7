"""The HTTP/1.1 kernel beside two other readers: h11, and llhttp through httptools.

The claim is one of agreement: what the kernel accepts, both others read in the same way (method or status, target,
fields, where the body ends). Being stricter than they are is allowed, but not with the clean messages that every client
sends.

Harmless differences, each allowed for where it shows: llhttp knows a closed list of methods; h11 takes no empty line
before a request, and gives the transfer coding in lower case.
"""

from dataclasses import dataclass, field

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.http1 import ChunkedDecoder, ProtocolError, RequestHead, ResponseHead, parse_request, parse_response
from tests.fastpath.http1_cases import REQUESTS, RESPONSES, Case

Fields = list[tuple[bytes, bytes]]


@dataclass
class Reading:
    """What one reader found in a message."""

    start: tuple[object, ...] = ()  # method and target, or status; and the minor version
    fields: Fields = field(default_factory=list)
    payload: bytes = b""
    complete: bool = False
    keep_alive: bool = False


class RefusedError(Exception):
    """One of the other readers refused the message."""


# --- the three readers --------------------------------------------------------------------------------------------


def body_of(head: RequestHead | ResponseHead, kind: str) -> tuple[bytes, bytes, bool]:
    """A body such as the kernel expects: the bytes on the wire, the payload in them, and whether that is all of it."""
    if kind == "chunked":
        return b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n", b"helloabc", True
    if kind == "length":
        body = b"x" * min(head.content_length, 1000)
        return body, body, len(body) == head.content_length
    return b"", b"", kind != "close"


def comparable(fields: Fields) -> Fields:
    """h11 gives the coding in lower case."""
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields]


def read_by_h11(raw: bytes, method: str | None) -> Reading:
    """Reads a request, or the response to a request of `method`."""
    found = Reading()
    connection = h11.Connection(h11.SERVER if method is None else h11.CLIENT)
    if method is not None:
        connection.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                found.start = (event.method, event.target, event.http_version)
                found.fields = list(event.headers)
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                found.start = (event.status_code, event.http_version)
                found.fields = list(event.headers)
                found.complete = isinstance(event, h11.InformationalResponse)
            elif isinstance(event, h11.Data):
                found.payload += event.data
            else:
                found.complete |= isinstance(event, h11.EndOfMessage)
                return found
            if found.complete:
                return found
    except h11.RemoteProtocolError as error:
        raise RefusedError(str(error)) from error


class Listener:
    """llhttp's callbacks."""

    parser: httptools.HttpRequestParser | httptools.HttpResponseParser

    def __init__(self) -> None:
        self.found = Reading()
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.found.payload += body

    def on_message_complete(self) -> None:
        self.found.complete = True
        self.found.keep_alive = self.parser.should_keep_alive()  # it forgets what was asked once the message is over


def read_by_llhttp(raw: bytes, method: str | None) -> Reading:
    listener = Listener()
    parser = httptools.HttpRequestParser(listener) if method is None else httptools.HttpResponseParser(listener)
    listener.parser = parser
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        assert listener.found.complete  # only CONNECT and Upgrade come here, behind a whole message
    except httptools.HttpParserInvalidMethodError:
        raise
    except httptools.HttpParserError as error:
        raise RefusedError(str(error)) from error
    if isinstance(parser, httptools.HttpRequestParser):
        listener.found.start = (parser.get_method(), listener.url, parser.get_http_version().encode())
    else:
        listener.found.start = (parser.get_status_code(), parser.get_http_version().encode())
    return listener.found


# --- the claims ---------------------------------------------------------------------------------------------------


def assert_agreed(ours: Reading, theirs: Reading) -> None:
    assert theirs.start == ours.start
    assert comparable(theirs.fields) == ours.fields
    assert (theirs.payload, theirs.complete) == (ours.payload, ours.complete)


def assert_request_is_agreed_on(raw: bytes) -> bool:
    """Whether the kernel accepts `raw`; if so, the others must read the same."""
    try:
        parsed = parse_request(raw)
    except ProtocolError:
        return False
    if parsed is None:
        return False
    head, end = parsed
    raw = raw[:end].removeprefix(b"\r\n")  # h11 takes no empty line there
    kind = "chunked" if head.chunked else "length" if head.content_length >= 0 else "none"
    body, payload, complete = body_of(head, kind)
    version = b"1.%d" % head.minor
    ours = Reading((head.method.encode(), head.target, version), comparable(head.headers()), payload, complete)
    assert_agreed(ours, read_by_h11(raw + body, None))
    if body:
        assert not read_by_h11(raw + body[:-1], None).complete
    try:
        theirs = read_by_llhttp(raw + body, None)
    except httptools.HttpParserInvalidMethodError:
        return True  # a closed list of methods
    assert_agreed(ours, theirs)
    assert theirs.keep_alive or not head.keep_alive or not complete
    if body:
        assert not read_by_llhttp(raw + body[:-1], None).complete
    return True


def assert_response_is_agreed_on(raw: bytes, method: str) -> bool:
    try:
        parsed = parse_response(raw)
    except ProtocolError:
        return False
    if parsed is None:
        return False
    head, end = parsed
    kind = head.body_kind(method)
    body, payload, complete = body_of(head, kind)
    ours = Reading((head.status, b"1.%d" % head.minor), comparable(head.headers()), payload, complete)
    assert_agreed(ours, read_by_h11(raw[:end] + body, method))
    if method != "HEAD":  # httptools offers no way to tell llhttp that the request was HEAD
        assert_agreed(ours, read_by_llhttp(raw[:end] + body, method))
    return True


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_the_cases_of_requests_are_agreed_on(case: Case) -> None:
    assert assert_request_is_agreed_on(case.raw) == case.valid


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case.name)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_cases_of_responses_are_agreed_on(case: Case, method: str) -> None:
    assert assert_response_is_agreed_on(case.raw, method) == case.valid


# --- generated messages -------------------------------------------------------------------------------------------

TCHARS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
FRAMING = ["", "Content-Length: 0\r\n", "Content-Length: 17\r\n", "Transfer-Encoding: chunked\r\n"]
GOVERNED = {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "content-type"}
GOVERNED |= {"authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-connection"}


@st.composite
def clean_fields(draw: st.DrawFn) -> str:
    """Fields such as every client sends: plain ones among those that frame the message."""
    names = st.text(TCHARS, min_size=1, max_size=20).filter(lambda name: name.lower() not in GOVERNED)
    values = st.text(VISIBLE + "\x80\xe9\xff", max_size=30) | st.just("a b\tc")
    plain = [f"{name}: {value}\r\n" for name, value in draw(st.lists(st.tuples(names, values), max_size=6))]
    connection = draw(st.sampled_from(["", "Connection: close\r\n", "Connection: keep-alive\r\n"]))
    return "".join(draw(st.permutations([*plain, draw(st.sampled_from(FRAMING)), connection])))


@st.composite
def clean_requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]))
    path = draw(st.text(VISIBLE.replace("#", ""), max_size=40))
    host = draw(st.sampled_from(["h", "example.org:8080", "127.0.0.1", "[::1]:80"]))
    return f"{method} /{path} HTTP/1.1\r\nHost: {host}\r\n{draw(clean_fields())}\r\n".encode("latin-1")


@st.composite
def clean_responses(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([200, 201, 400, 404, 429, 500, 503]))
    reason = draw(st.sampled_from(["OK", "Too Many Requests", ""]))
    return f"HTTP/1.1 {status} {reason}\r\n{draw(clean_fields())}\r\n".encode("latin-1")


TRICKS = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b",", b";", b"0", b"\x00", b"\x0b", b"\x7f", b"\xff"]
TRICKS += [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"]
TRICKS += [b"Connection: close\r\n", b"HTTP/1.0", b"http://h/", b"chunked, "]


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message with a few bytes changed, taken out or put in."""
    raw = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from(TRICKS) | st.binary(max_size=2))
    return bytes(raw)


request_table = st.sampled_from([case.raw for case in REQUESTS if len(case.raw) < 300])
response_table = st.sampled_from([case.raw for case in RESPONSES if len(case.raw) < 300])


@given(clean_requests())
def test_every_clean_request_is_accepted_and_agreed_on(raw: bytes) -> None:
    assert assert_request_is_agreed_on(raw)


@given(clean_responses(), st.sampled_from(["GET", "POST", "HEAD"]))
def test_every_clean_response_is_accepted_and_agreed_on(raw: bytes, method: str) -> None:
    assert assert_response_is_agreed_on(raw, method)


@given(mutated(clean_requests() | request_table))
def test_a_broken_request_is_refused_or_agreed_on(raw: bytes) -> None:
    assert_request_is_agreed_on(raw)


@given(mutated(clean_responses() | response_table))
def test_a_broken_response_is_refused_or_agreed_on(raw: bytes) -> None:
    assert_response_is_agreed_on(raw, "GET")


@pytest.mark.nightly
@settings(max_examples=50_000)
@given(mutated(clean_requests() | request_table), mutated(clean_responses() | response_table))
@pytest.mark.timeout(1800)
def test_many_broken_messages_are_refused_or_agreed_on(request_raw: bytes, response_raw: bytes) -> None:
    assert_request_is_agreed_on(request_raw)
    assert_response_is_agreed_on(response_raw, "GET")


@given(st.text('0123456789abcdefAF;="x:\r\n \t\x00', max_size=40), st.booleans())
def test_a_chunked_body_that_is_accepted_is_agreed_on(text: str, led: bool) -> None:
    body = (b"3\r\nabc\r\n0" if led else b"") + text.encode() + b"\r\n\r\n"
    decoder = ChunkedDecoder()
    try:
        pieces, end = decoder.feed(body)
    except ProtocolError:
        return
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    for read in (read_by_h11, read_by_llhttp):
        theirs = read(head + body[:end], None)
        assert (theirs.payload, theirs.complete) == (b"".join(pieces), decoder.done)
