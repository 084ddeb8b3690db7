"""The column of HTTP/1.1 on the second listener (`http2`), where it differs from the native edge's: by why it does.

Its parser is hyper's. What the scope shows is refused by `gateway.net.asgi` as the native edge refuses it; what is left is
listed here, and each of it is one that RFC 9110 and 9112 leave to the recipient, or a connection that ends sooner than it must.
In no row does a byte of one message begin another: the table proves it by the follower and by what reaches the provider.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.probes.table import ANY, Probe, Verdict, closes, keeps


def _each(verdict: Verdict, *names: str) -> dict[str, Verdict]:
    return dict.fromkeys(names, verdict)


HTTP_1_0 = _each(
    closes(505),
    "1.0",
    "1.0 without host",
    "1.0 that stays",
    "1.0 with a body that stays",
    "1.0 head",
    "1.0 without length has no body",
    "1.0 and a stream",
    "1.0 that stays and a stream",
    "behind a 1.0",
    "continue on 1.0 is not told",
    "parser: 1.0 keep-alive",
)
"""HTTP/1.0 is not spoken."""

UNREAD_BODY = {
    **_each(
        closes(200),
        "get with a body",
        "get with a body that looks like a request",
        "head with a body",
        "get with a hidden request",
    ),
    "delete with a body": closes(405),
    **_each(closes(ANY), "parser: post with length", "parser: length with leading zeros", "parser: expect"),
}
"""A body that nobody reads ends the connection, where the native edge reads past it."""

TWO_FRAMINGS = {
    "a fault behind a post": closes(200, 200, reaches=2),
    "a good one behind a fault": closes(200, reaches=1),
    "CL zero and TE": closes(200, reaches=1),
    **_each(
        closes(404), "parser: length then chunked", "parser: chunked then length", "parser: chunked then length zero"
    ),
    "two equal lengths": keeps(200, reaches=1),
    "parser: the same length twice": closes(404),
}
"""Of a length and a chunked coding the length is taken away before it is seen here, and the connection ends behind the message
(RFC 9112 section 6.3, rule 3); a length that is repeated is one (section 6.3, rule 5)."""

LINE_FEEDS = {
    "length behind a bare LF": closes(200),
    **_each(keeps(200), "two empty lines", "LFs", "lines that end in LF"),
    **_each(
        keeps(404),
        "parser: bare LF in a value",
        "parser: bare LF at the end of a value",
        "parser: empty lines before",
        "parser: LF before",
        "parser: request line ends in LF",
    ),
}
"""A line may end in LF (RFC 9112 section 2.2), and any number of empty ones may come first."""

TARGETS = {
    **_each(keeps(200), "host unlike the target", "target with a fragment"),
    **_each(
        keeps(404),
        "parser: fragment",
        "parser: another scheme",
        "parser: authority with user",
        "parser: authority unlike host",
        "parser: authority longer than host",
        "parser: absolute form without host",
        "parser: method of 33 bytes",
    ),
    "parser: all visible bytes in target": closes(400),
}
"""The scope shows neither the authority nor the fragment of a target; nothing is chosen by them. Bytes that no URI has are refused."""

CHUNKS = {
    **_each(keeps(200, reaches=1), "chunk size with a space behind", "chunk extension beyond its bound"),
    **_each(
        keeps(400),
        "chunks: space behind size",
        "chunks: tab behind size",
        "chunks: space before extension",
        "chunks: 16 digits",
        "chunks: extension without name",
        "chunks: extension without a second name",
        "chunks: extension with a byte that no name has",
        "chunks: extension with a space",
        "chunks: extension without value",
        "chunks: extension with two values",
        "chunks: extension with text behind the quotes",
        "chunks: extension whose quotes do not end",
        "chunks: extension of 257 bytes",
        "chunks: control byte in extension",
        "chunks: trailers longer than 8 KiB",
    ),
}
"""White space behind a size, and extensions as they come but for line ends (16 KiB in all); the 400 is the application's."""

ANSWERS = {
    "an upgrade to WebSocket is not taken": keeps(400),
    **_each(keeps(100, 200, reaches=1), "the body did not wait", "some of the body did not wait"),
    "length that overflows 64 bits": closes(431),
    **_each(closes(431), "a line without end", "a method without end"),
    **_each(closes(400), "HTTP/2 by its name", "parser: HTTP/1.2", "parser: HTTP/2.0", "parser: HTTP/0.9 by name"),
}
"""Other words for the same refusal, and a `100` that nobody waits for any more."""

ENDS = {
    "continue, and then no body": closes(100, 400),
    **_each(closes(400), "half a body, then the end", "no last chunk, then the end", "half a last chunk, then the end"),
    "a get and the end at once": closes(unsure=True),
    **_each(closes(), "one byte", "an empty line alone", "half a head", "a head in crumbs"),
    "half a head behind a good one": closes(200),
}
"""A half-closed connection is one whose client may have left; a head that does not come in time ends without a word."""

NOT_PLAYED = {
    "HTTP/2 preface",
    "parser: HTTP/2 preface",
    "parser: bare LF as a line",
    "chunks: body ends in LF",
    "chunks of one byte beyond the bound",
}
"""HTTP/2 is spoken here. A line of LF alone is a head that ends early, so that what follows is answered as another fault. The
fourth is answered by the application before the parser sees the fault; then the connection ends. And the server hands over each
chunk by itself, so that 65,537 of them take longer than a probe waits; other rows prove the bound."""

DIFFERENT: Mapping[str, Verdict] = {
    **HTTP_1_0,
    **UNREAD_BODY,
    **TWO_FRAMINGS,
    **LINE_FEEDS,
    **TARGETS,
    **CHUNKS,
    **ANSWERS,
    **ENDS,
}


def expected(probe: Probe) -> Verdict:
    return DIFFERENT.get(probe.name, probe.native)
