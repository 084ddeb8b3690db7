"""HTTP/1.1 heads and chunked bodies, sans-IO (RFC 9110, RFC 9112). Strict: what the RFC forbids, and what it leaves to
a recipient's leniency where two recipients may differ (request smuggling), is a `ProtocolError`."""

from typing import Literal, Self, final

from typing_extensions import disjoint_base

MAX_HEADERS: int

class ProtocolError(ValueError):
    """The peer broke HTTP/1.1.

    `status` is the response a server should send: 400, 414, 417, 431, 501 or 505 for a request, 502 for whatever a
    response breaks. `reason` says in a few words what was wrong and never repeats the peer's bytes.
    """

    status: int
    reason: str
    def __init__(self, status: int, reason: str) -> None: ...

@disjoint_base
class Head:
    @property
    def minor(self) -> int: ...
    @property
    def keep_alive(self) -> bool: ...
    @property
    def chunked(self) -> bool: ...
    @property
    def content_length(self) -> int: ...
    def header(self, name: bytes) -> bytes | None:
        """The first value of the header `name` (lower-case), or None."""
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All fields in order, names in lower case."""

@final
class RequestHead(Head):
    def parse(self, buf: bytes, start: int = 0, limit: int = 65536) -> int:
        """`parse_request` into this head, which forgets what it held: the bytes it takes, 0 where more are needed.

        Raises:
            ProtocolError: as `parse_request`.
        """
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> bytes: ...
    @property
    def target(self) -> bytes: ...
    @property
    def expect_continue(self) -> bool: ...

@final
class ResponseHead(Head):
    def parse(self, buf: bytes, start: int = 0, limit: int = 65536) -> int:
        """`parse_response` into this head, which forgets what it held: the bytes it takes, 0 where more are needed.

        Raises:
            ProtocolError: as `parse_response`.
        """
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> bytes: ...
    def body_kind(self, method: str) -> Literal["none", "length", "chunked", "close"]:
        """How the body of this response to a request of `method` ends (RFC 9112 section 6.3)."""

def parse_request(buf: bytes, start: int = 0, limit: int = 65536) -> tuple[RequestHead, int] | None:
    """The request head that begins at `start`, and the offset behind it; None where more bytes are needed.

    Raises:
        ProtocolError: what stands there is no acceptable HTTP/1.1 request head, or is longer than `limit` bytes.
    """

def parse_response(buf: bytes, start: int = 0, limit: int = 65536) -> tuple[ResponseHead, int] | None:
    """The response head that begins at `start`, and the offset behind it; None where more bytes are needed.

    Raises:
        ProtocolError: with status 502; what stands there is no acceptable response head, or longer than `limit` bytes.
    """

@final
class ChunkedDecoder:
    """Takes a chunked body apart (RFC 9112 section 7.1). Trailers are read, bounded and dropped.

    Args:
        status: of the `ProtocolError`s: 400 where a request's body is read, 502 where a response's is.
    """

    def __new__(cls, status: int = 400) -> Self: ...
    @property
    def done(self) -> bool: ...
    def feed(self, data: bytes, start: int = 0) -> tuple[list[bytes], int]:
        """The payload in `data` from `start`, and the offset up to which it was read.

        Raises:
            ProtocolError: a bad chunk size, a missing CRLF, an extension or trailer beyond its bound.
        """
