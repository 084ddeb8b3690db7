"""One table of HTTP/1.1 messages: heads of requests and responses, and chunked bodies, the valid and the refused.

Read by the parser's tests (whole, cut, with trailing data) and by the end-to-end tests against a running server.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Case:
    """A head and what must become of it.

    Args:
        name: unique in its table.
        raw: the bytes of the head, with its blank line where it has one.
        status: of the refusal; 0 for a valid head.
        body: what completes a valid message on the wire.
        head: attributes that a valid head must have; `headers` among them where the fields matter.
    """

    name: str
    raw: bytes
    status: int = 0
    body: bytes = b""
    head: Mapping[str, object] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        return self.status == 0


@dataclass(frozen=True, slots=True)
class ChunkedCase:
    """A chunked body; `payload` is None where it must be refused."""

    name: str
    raw: bytes
    payload: bytes | None = None

    @property
    def valid(self) -> bool:
        return self.payload is not None


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: h\r\n") -> bytes:
    return line + b"\r\n" + host + b"".join(text + b"\r\n" for text in fields) + b"\r\n"


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return request(*fields, line=line, host=b"")


def valid(name: str, raw: bytes, body: bytes = b"", **head: object) -> Case:
    return Case(name, raw, body=body, head=head)


def hosted(value: bytes) -> bytes:
    return request(host=b"Host: " + value + b"\r\n")


def lined(line: bytes) -> bytes:
    return request(line=line)


TOKEN = b"!#$%&'*+-.^_`|~09azAZ"
CHUNKED_BODY = b"5\r\nhello\r\n0\r\n\r\n"

VALID_REQUESTS = [
    valid("get", request(), method="GET", path="/", query=b"", target=b"/", minor=1, keep_alive=True),
    valid("post with length", request(b"Content-Length: 5", line=b"POST /v1/x HTTP/1.1"), b"hello", content_length=5),
    valid("length zero", request(b"Content-Length: 0"), content_length=0, chunked=False),
    valid("length with leading zeros", request(b"Content-Length: 005"), b"hello", content_length=5),
    valid("no length", request(), content_length=-1, chunked=False),
    valid("chunked", request(b"Transfer-Encoding: chunked"), CHUNKED_BODY, chunked=True, content_length=-1),
    valid("chunked in another case", request(b"TRANSFER-ENCODING:CHUNKED"), CHUNKED_BODY, chunked=True),
    valid("query", lined(b"GET /a?b=c?d HTTP/1.1"), path="/a", query=b"b=c?d", target=b"/a?b=c?d"),
    valid("empty query", lined(b"GET /a? HTTP/1.1"), path="/a", query=b"", target=b"/a?"),
    valid("percent signs are not decoded", lined(b"GET /%2e%ZZ HTTP/1.1"), path="/%2e%ZZ"),
    valid("two slashes", lined(b"GET //a HTTP/1.1"), path="//a"),
    valid("all visible bytes in target", lined(b"GET /!\"$&'()*+,;<=>@[\\]^_`{|}~ HTTP/1.1"), method="GET"),
    valid("target of 8 KiB", lined(b"GET /" + b"a" * 8191 + b" HTTP/1.1"), path="/" + "a" * 8191),
    valid("absolute form", lined(b"GET http://h/a?b HTTP/1.1"), path="/a", query=b"b", target=b"http://h/a?b"),
    valid("absolute form without path", lined(b"GET HTTPS://H HTTP/1.1"), path="/", query=b""),
    valid("absolute form with query only", lined(b"GET http://h?x HTTP/1.1"), path="/", query=b"x"),
    valid("absolute form with port", request(line=b"GET http://h:1/ HTTP/1.1", host=b"Host: H:1\r\n"), path="/"),
    valid("absolute form on 1.0", request(line=b"GET http://h/ HTTP/1.0", host=b""), path="/", minor=0),
    valid("options for all", lined(b"OPTIONS * HTTP/1.1"), method="OPTIONS", path="*", target=b"*"),
    valid("unknown method", lined(b"BREW /pot HTTP/1.1"), method="BREW"),
    valid("method of every token byte", lined(TOKEN + b" / HTTP/1.1"), method=TOKEN.decode()),
    valid("method of 32 bytes", lined(b"M" * 32 + b" / HTTP/1.1"), method="M" * 32),
    valid("lower-case method is another method", lined(b"get / HTTP/1.1"), method="get"),
    valid("one empty line before", b"\r\n" + request(), method="GET"),
    valid("1.0", request(line=b"GET / HTTP/1.0"), minor=0, keep_alive=False),
    valid("1.0 without host", request(line=b"GET / HTTP/1.0", host=b""), minor=0),
    valid("1.0 without any field", b"GET / HTTP/1.0\r\n\r\n", headers=[]),
    valid("1.0 keep-alive", request(b"Connection: Keep-Alive", line=b"GET / HTTP/1.0"), keep_alive=True),
    valid("close", request(b"Connection: close"), keep_alive=False),
    valid("close in a list", request(b"Connection: upgrade-insecure ,\tCLOSE ,x"), keep_alive=False),
    valid("close in a second field", request(b"Connection: keep-alive", b"Connection: close"), keep_alive=False),
    valid("close wins", request(b"Connection: keep-alive, close", line=b"GET / HTTP/1.0"), keep_alive=False),
    valid("close is a whole option", request(b"Connection: closed, xclose, clos"), keep_alive=True),
    valid("empty connection list", request(b"Connection: ,, ,"), keep_alive=True),
    valid("expect", request(b"Expect: 100-Continue", b"Content-Length: 1"), b"x", expect_continue=True),
    valid("expect is ignored on 1.0", request(b"Expect: 100-continue", line=b"GET / HTTP/1.0"), expect_continue=False),
    valid("no white space behind colon", request(b"A:b"), headers=[(b"host", b"h"), (b"a", b"b")]),
    valid("white space around value", request(b"A: \t b \t "), headers=[(b"host", b"h"), (b"a", b"b")]),
    valid("white space in value", request(b"A: b \t c"), headers=[(b"host", b"h"), (b"a", b"b \t c")]),
    valid("empty value", request(b"A:"), headers=[(b"host", b"h"), (b"a", b"")]),
    valid("blank value", request(b"A: \t "), headers=[(b"host", b"h"), (b"a", b"")]),
    valid("colons in value", request(b"A: b:c:"), headers=[(b"host", b"h"), (b"a", b"b:c:")]),
    valid("obs-text in value", request(b"A: \x80\xff"), headers=[(b"host", b"h"), (b"a", b"\x80\xff")]),
    valid("name of every token byte", request(TOKEN + b": x"), headers=[(b"host", b"h"), (TOKEN.lower(), b"x")]),
    valid("repeated plain field", request(b"Accept: a", b"accept: b"), method="GET"),
    valid("100 fields", request(*[b"A%d: x" % i for i in range(99)]), method="GET"),
    valid("host with port", hosted(b"example.org:8080"), method="GET"),
    valid("host with empty port", hosted(b"example.org:"), method="GET"),
    valid("host with sub-delims and escapes", hosted(b"a_b~!$&'()*+,;=%2F"), method="GET"),
    valid("host IPv4", hosted(b"127.0.0.1:65535"), method="GET"),
    valid("host IPv6", hosted(b"[::1]"), method="GET"),
    valid("host IPv6 with port", hosted(b"[2001:DB8::ffff:1.2.3.4]:443"), method="GET"),
]

# What is wrong with the framing of requests and responses alike: fields that must be refused.
FRAMING_FAULTS: list[tuple[str, list[bytes]]] = [
    ("length then chunked", [b"Content-Length: 5", b"Transfer-Encoding: chunked"]),
    ("chunked then length", [b"Transfer-Encoding: chunked", b"Content-Length: 5"]),
    ("chunked then length zero", [b"Transfer-Encoding: chunked", b"Content-Length: 0"]),
    ("two lengths", [b"Content-Length: 5", b"Content-Length: 6"]),
    ("the same length twice", [b"Content-Length: 5", b"content-length: 5"]),
    ("length list", [b"Content-Length: 5, 5"]),
    ("length empty", [b"Content-Length:"]),
    ("length plus", [b"Content-Length: +5"]),
    ("length minus", [b"Content-Length: -5"]),
    ("length hexadecimal", [b"Content-Length: 0x5"]),
    ("length with a space inside", [b"Content-Length: 5 5"]),
    ("length with underscore", [b"Content-Length: 1_0"]),
    ("length with decimals", [b"Content-Length: 5.0"]),
    ("length in other digits", [b"Content-Length: \xd9\xa5"]),
    ("length beyond 64 bits", [b"Content-Length: 18446744073709551621"]),
    ("length of 19 digits", [b"Content-Length: 0000000000000000005"]),
    ("coding gzip", [b"Transfer-Encoding: gzip"]),
    ("coding identity", [b"Transfer-Encoding: identity"]),
    ("coding gzip and chunked", [b"Transfer-Encoding: gzip, chunked"]),
    ("coding chunked twice in a list", [b"Transfer-Encoding: chunked, chunked"]),
    ("coding chunked twice", [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"]),
    ("coding chunked, then identity", [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"]),
    ("coding empty", [b"Transfer-Encoding:"]),
    ("coding with parameter", [b"Transfer-Encoding: chunked;q=1"]),
    ("coding with comma", [b"Transfer-Encoding: chunked,"]),
    ("coding quoted", [b'Transfer-Encoding: "chunked"']),
    ("coding with vertical tab", [b"Transfer-Encoding: \x0bchunked"]),
    ("coding almost chunked", [b"Transfer-Encoding: xchunked"]),
]

# What is wrong with the syntax of fields.
FIELD_FAULTS: list[tuple[str, list[bytes]]] = [
    ("bare LF in a value", [b"A: b\nC: d"]),
    ("bare LF at the end of a value", [b"A: b\n"]),
    ("bare LF in a name", [b"A\nB: c"]),
    ("bare LF as a line", [b"\nB: c"]),
    ("bare CR in a value", [b"A: b\rc"]),
    ("CR CR LF", [b"A: b\r"]),
    ("bare CR as a line", [b"\rB: c"]),
    ("folded line", [b"A: b", b" c"]),
    ("folded line with tab", [b"A: b", b"\tc"]),
    ("line of white space", [b"A: b", b" "]),
    ("space before the colon", [b"A : b"]),
    ("tab before the colon", [b"A\t: b"]),
    ("length with space before the colon", [b"Content-Length : 5"]),
    ("empty name", [b": b"]),
    ("no colon", [b"A"]),
    ("space in a name", [b"A B: c"]),
    ("NUL in a value", [b"A: b\x00c"]),
    ("DEL in a value", [b"A: b\x7fc"]),
    ("escape in a value", [b"A: b\x1bc"]),
    ("vertical tab in a value", [b"A: b\x0bc"]),
    ("control byte far in a value", [b"A: " + b"b" * 100 + b"\x01" + b"c" * 100]),
    *[(f"byte 0x{byte:02x} in a name", [b"A%cB: c" % byte]) for byte in b'\x00"(/@[\x7f\xe9'],
]

REFUSED_REQUESTS = [
    *[Case(name, request(*fields), 400) for name, fields in FRAMING_FAULTS + FIELD_FAULTS],
    Case("chunked on 1.0", request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"), 400),
    Case("folded line first", request(host=b" Host: h\r\n"), 400),
    Case("no host", request(host=b""), 400),
    Case("host twice", request(b"Host: h"), 400),
    Case("host twice on 1.0", request(b"Host: h", line=b"GET / HTTP/1.0"), 400),
    Case("host empty", hosted(b""), 400),
    Case("host of a port only", hosted(b":80"), 400),
    Case("host with a path", hosted(b"h/a"), 400),
    Case("host with user", hosted(b"u@h"), 400),
    Case("host with space", hosted(b"a b"), 400),
    Case("host with half an escape", hosted(b"a%2"), 400),
    Case("host with a bad escape", hosted(b"a%g0"), 400),
    Case("host with two ports", hosted(b"a:1:2"), 400),
    Case("host with a word for a port", hosted(b"a:b"), 400),
    Case("host with a port too large", hosted(b"a:65536"), 400),
    Case("host with a long port", hosted(b"a:000080"), 400),
    Case("host with obs-text", hosted(b"\xe4"), 400),
    Case("host IPv6 without brackets", hosted(b"::1"), 400),
    Case("host IPv6 not closed", hosted(b"[::1"), 400),
    Case("host IPv6 with zone", hosted(b"[fe80::1%25eth0]"), 400),
    Case("host IPv6 empty", hosted(b"[]"), 400),
    Case("host IPv6 with a tail", hosted(b"[::1]a"), 400),
    Case("host IPv6 too long", hosted(b"[" + b"0:" * 30 + b"]"), 400),
    Case("empty lines before", b"\r\n\r\n" + request(), 400),
    Case("LF before", b"\n" + request(), 400),
    Case("CR before", b"\r" + request(), 400),
    Case("space before", b" " + request(), 400),
    Case("no method", lined(b" / HTTP/1.1"), 400),
    Case("method no token", lined(b"G(T / HTTP/1.1"), 400),
    Case("method of 33 bytes", lined(b"M" * 33 + b" / HTTP/1.1"), 501),
    Case("no target", lined(b"GET HTTP/1.1"), 400),
    Case("empty target", lined(b"GET  HTTP/1.1"), 400),
    Case("two spaces before target", lined(b"GET  / HTTP/1.1"), 400),
    Case("two spaces before version", lined(b"GET /  HTTP/1.1"), 400),
    Case("tabs for spaces", lined(b"GET\t/\tHTTP/1.1"), 400),
    Case("space behind version", lined(b"GET / HTTP/1.1 "), 400),
    Case("space in target", lined(b"GET /a b HTTP/1.1"), 400),
    Case("HTTP/0.9", b"GET /\r\n", 400),
    Case("method alone", b"GET\r\n\r\n", 400),
    Case("request line ends in LF", b"GET / HTTP/1.1\nHost: h\n\n", 400),
    Case("LF in method", b"GET\n/ HTTP/1.1\r\n\r\n", 400),
    Case("LF in target", lined(b"GET /\n HTTP/1.1"), 400),
    Case("CR in target", lined(b"GET /\r HTTP/1.1"), 400),
    Case("CR behind version", lined(b"GET / HTTP/1.1\r"), 400),
    Case("fragment", lined(b"GET /a#b HTTP/1.1"), 400),
    Case("NUL in target", lined(b"GET /\x00 HTTP/1.1"), 400),
    Case("DEL in target", lined(b"GET /\x7f HTTP/1.1"), 400),
    Case("UTF-8 in target", lined(b"GET /\xc3\xa4 HTTP/1.1"), 400),
    Case("relative target", lined(b"GET a HTTP/1.1"), 400),
    Case("target of a query", lined(b"GET ?a HTTP/1.1"), 400),
    Case("another scheme", lined(b"GET ftp://h/ HTTP/1.1"), 400),
    Case("scheme without authority", lined(b"GET http:///a HTTP/1.1"), 400),
    Case("scheme alone", lined(b"GET http:// HTTP/1.1"), 400),
    Case("authority with user", request(line=b"GET http://u@h/ HTTP/1.1"), 400),
    Case("authority unlike host", lined(b"GET http://other/ HTTP/1.1"), 400),
    Case("authority longer than host", lined(b"GET http://hh/ HTTP/1.1"), 400),
    Case("absolute form without host", request(line=b"GET http://h/ HTTP/1.1", host=b""), 400),
    Case("asterisk for get", lined(b"GET * HTTP/1.1"), 400),
    Case("connect", lined(b"CONNECT h:443 HTTP/1.1"), 501),
    Case("connect to a path", lined(b"CONNECT / HTTP/1.1"), 501),
    Case("target longer than 8 KiB", lined(b"GET /" + b"a" * 8192 + b" HTTP/1.1"), 414),
    Case("HTTP/1.2", lined(b"GET / HTTP/1.2"), 505),
    Case("HTTP/2.0", lined(b"GET / HTTP/2.0"), 505),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Case("HTTP/0.9 by name", lined(b"GET / HTTP/0.9"), 505),
    Case("version without minor", lined(b"GET / HTTP/2"), 400),
    Case("version of two digits", lined(b"GET / HTTP/1.10"), 400),
    Case("version in lower case", lined(b"GET / http/1.1"), 400),
    Case("version of another protocol", lined(b"GET / ICAP/1.0"), 400),
    Case("version with comma", lined(b"GET / HTTP/1,1"), 400),
    Case("expectation unknown", request(b"Expect: magic"), 417),
    Case("expectation list", request(b"Expect: 100-continue, magic"), 417),
    Case("expectation twice", request(b"Expect: 100-continue", b"Expect: 100-continue"), 400),
    *[
        Case(f"{name.decode()} twice", request(name + b": a", name.title() + b": a"), 400)
        for name in (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"content-type")
    ],
    Case("101 fields", request(*[b"A%d: x" % i for i in range(100)]), 431),
    Case("head longer than 64 KiB", request(b"A: " + b"b" * 65536), 431),
    Case("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
]

REQUESTS = VALID_REQUESTS + REFUSED_REQUESTS

VALID_RESPONSES = [
    valid("ok", response(b"Content-Length: 2"), b"{}", status=200, reason=b"OK", content_length=2, keep_alive=True),
    valid("chunked", response(b"Transfer-Encoding: Chunked"), CHUNKED_BODY, chunked=True, content_length=-1),
    valid("until close", response(), status=200, chunked=False, content_length=-1, headers=[]),
    valid("close", response(b"Connection: close"), keep_alive=False),
    valid("1.0", response(line=b"HTTP/1.0 200 OK"), minor=0, keep_alive=False),
    valid("1.0 keep-alive", response(b"Connection: keep-alive", line=b"HTTP/1.0 200 OK"), keep_alive=True),
    valid("empty reason", response(line=b"HTTP/1.1 200 "), status=200, reason=b""),
    valid("no reason", response(line=b"HTTP/1.1 404"), status=404, reason=b""),
    valid("long reason", response(line=b"HTTP/1.1 429 Too Many\tRequests"), status=429, reason=b"Too Many\tRequests"),
    valid("obs-text in reason", response(line=b"HTTP/1.1 500 \xe9\xff"), status=500, reason=b"\xe9\xff"),
    valid("status 100", response(line=b"HTTP/1.1 100 Continue"), status=100),
    valid("status 999", response(line=b"HTTP/1.1 999 x"), status=999),
    valid("not modified tells a length", response(b"Content-Length: 9", line=b"HTTP/1.1 304 x"), keep_alive=True),
    valid("no content with a length", response(b"Content-Length: 9", line=b"HTTP/1.1 204 x"), keep_alive=False),
    valid("no content of length zero", response(b"Content-Length: 0", line=b"HTTP/1.1 204 x"), keep_alive=True),
    valid("repeated plain field", response(b"A: a", b"A: b"), headers=[(b"a", b"a"), (b"a", b"b")]),
    valid("repeated content-type", response(b"Content-Type: a", b"Content-Type: b"), status=200),
    valid("any Host and Expect", response(b"Host: /", b"Expect: x"), status=200),
]

REFUSED_RESPONSES = [
    *[Case(name, response(*fields), 502) for name, fields in FRAMING_FAULTS + FIELD_FAULTS],
    Case("chunked on 1.0", response(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"), 502),
    Case("empty line before", b"\r\n" + response(), 502),
    Case("status of two digits", response(line=b"HTTP/1.1 20 OK"), 502),
    Case("status of four digits", response(line=b"HTTP/1.1 2000 OK"), 502),
    Case("status below 100", response(line=b"HTTP/1.1 099 OK"), 502),
    Case("status with sign", response(line=b"HTTP/1.1 +20 OK"), 502),
    Case("no status", response(line=b"HTTP/1.1"), 502),
    Case("two spaces before status", response(line=b"HTTP/1.1  200 OK"), 502),
    Case("tab before status", response(line=b"HTTP/1.1\t200 OK"), 502),
    Case("tab behind status", response(line=b"HTTP/1.1 200\tOK"), 502),
    Case("control byte in reason", response(line=b"HTTP/1.1 200 O\x00K"), 502),
    Case("bare CR in reason", response(line=b"HTTP/1.1 200 O\rK"), 502),
    Case("status line ends in LF", b"HTTP/1.1 200 OK\nA: b\n\n", 502),
    Case("HTTP/2.0", response(line=b"HTTP/2.0 200 OK"), 502),
    Case("HTTP/1.2", response(line=b"HTTP/1.2 200 OK"), 502),
    Case("ICY", response(line=b"ICY 200 OK"), 502),
    Case("a page without head", b"<html></html>\r\n", 502),
    Case("101 fields", response(*[b"A%d: x" % i for i in range(101)]), 502),
    Case("head longer than 64 KiB", response(b"A: " + b"b" * 65536), 502),
]

RESPONSES = VALID_RESPONSES + REFUSED_RESPONSES

CHUNKED = [
    ChunkedCase("empty", b"0\r\n\r\n", b""),
    ChunkedCase("one chunk", CHUNKED_BODY, b"hello"),
    ChunkedCase("two chunks", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    ChunkedCase("upper-case size", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ChunkedCase("lower-case size", b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ChunkedCase("15 digits", b"000000000000005\r\nhello\r\n000\r\n\r\n", b"hello"),
    ChunkedCase("CRLF in payload", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    ChunkedCase("extensions", b'5;a;b=c;d="e f\xe9"\r\nhello\r\n0;x\r\n\r\n', b"hello"),
    ChunkedCase("extension of 256 bytes", b"5;" + b"a" * 255 + b"\r\nhello\r\n0\r\n\r\n", b"hello"),
    ChunkedCase("trailers", b"0\r\nA: b\r\nX-Empty:\r\n\r\n", b""),
    ChunkedCase("trailers of 8 KiB", b"0\r\nA:" + b"b" * 8186 + b"\r\n\r\n", b""),
    ChunkedCase("no size", b"\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("size with prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("size with plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("size with minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("size with underscore", b"1_0\r\nhello"),
    ChunkedCase("size that is no number", b"g\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("space before size", b" 5\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("space behind size", b"5 \r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("tab behind size", b"5\t\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("space before extension", b"5 ;a\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("16 digits", b"0000000000000005\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("size beyond 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("extension without size", b";a\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("extension without name", b"5;\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("extension without a second name", b"5;a;\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("extension with a byte that no name has", b"5;a:b\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("extension with a space", b"5;a b\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("extension without value", b"5;a=\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("extension with two values", b"5;a=b=c\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("extension with text behind the quotes", b'5;a="b"c\r\nhello\r\n0\r\n\r\n'),
    ChunkedCase("extension whose quotes do not end", b'5;a="b\\"\r\nhello\r\n0\r\n\r\n'),
    ChunkedCase("extension with escapes in quotes", b'5;a="\\"\\\\;";b\r\nhello\r\n0\r\n\r\n', b"hello"),
    ChunkedCase("extension of 257 bytes", b"5;" + b"a" * 256 + b"\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("control byte in extension", b"5;a\x00\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("LF in extension", b"5;a\nhello\r\n0\r\n\r\n"),
    ChunkedCase("size line ends in LF", b"5\nhello\r\n0\r\n\r\n"),
    ChunkedCase("size line ends in CR", b"5\rhello\r\n0\r\n\r\n"),
    ChunkedCase("CR CR LF behind size", b"5\r\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("chunk longer than its size", b"4\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("chunk shorter than its size", b"6\r\nhello\r\n0\r\n\r\n"),
    ChunkedCase("chunk ends in LF", b"5\r\nhello\n0\r\n\r\n"),
    ChunkedCase("chunk ends in CR", b"5\r\nhello\r0\r\n\r\n"),
    ChunkedCase("body ends in LF", b"0\r\n\n"),
    ChunkedCase("body ends in CR", b"0\r\n\rX"),
    ChunkedCase("trailer without colon", b"0\r\nA\r\n\r\n"),
    ChunkedCase("trailer without name", b"0\r\n: b\r\n\r\n"),
    ChunkedCase("trailer with space before the colon", b"0\r\nA : b\r\n\r\n"),
    ChunkedCase("folded trailer", b"0\r\nA: b\r\n c\r\n\r\n"),
    ChunkedCase("control byte in trailer", b"0\r\nA: b\x00\r\n\r\n"),
    ChunkedCase("bare LF in trailer", b"0\r\nA: b\nC: d\r\n\r\n"),
    ChunkedCase("bare CR in trailer", b"0\r\nA: b\rC: d\r\n\r\n"),
    ChunkedCase("trailers longer than 8 KiB", b"0\r\nA:" + b"b" * 8187 + b"\r\n\r\n"),
]
