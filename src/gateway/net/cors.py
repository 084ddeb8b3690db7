"""Cross-origin requests of browsers (the Fetch standard, section 3.2), by configuration.

Stands before an application: answers preflights, which come without credentials, and adds to every answer what the browser
wants to see. An origin that is not named gets its answer without those fields, and its browser keeps it from the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.base.node import Cors
from gateway.base.ports import Exchange
from gateway.net.forwarded import Handler

EXPOSED = (
    "x-request-id",
    *(f"x-throughway-{name}" for name in ("provider", "model", "attempts", "cache", "config-version")),
    *(f"x-throughway-{name}" for name in ("cost-usd", "overhead-us")),
    *(f"x-ratelimit-{part}-{of}" for part in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
    "retry-after",
    "retry-after-ms",
)
"""Header fields of answers that a page may read."""
MAX_ASKED_BYTES = 4_096
"""Of the header names that a preflight may ask for."""

_ASKED = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_TEXT = b"content-type: text/plain; charset=utf-8\r\n"
_VARY = b"vary: origin\r\n"
_VARY_PREFLIGHT = b"vary: origin, access-control-request-method, access-control-request-headers\r\n"


class CrossOrigin:
    """See the module.

    Args:
        application: what answers all else.
        cors: who may ask, and for what.
    """

    def __init__(self, application: Handler, cors: Cors) -> None:
        self._application = application
        self._any = "*" in cors.origins
        self._vary = b"" if self._any else _VARY
        self._origins = frozenset(origin.encode() for origin in cors.origins)
        self._headers = ", ".join(cors.headers).encode() if cors.headers is not None else None
        self._preflight = f"access-control-allow-methods: {', '.join(cors.methods)}\r\naccess-control-max-age: {cors.max_age_s}\r\n".encode()
        self._exposed = f"access-control-expose-headers: {', '.join(EXPOSED)}\r\n".encode()
        self.on_refusal = application.on_refusal

    def on_request(self, exchange: Exchange) -> None:
        seen = self._seen(exchange)
        if seen is not None:
            self._application.on_request(seen)

    def on_head(self, exchange: Exchange) -> bool:
        seen = self._seen(exchange)
        return seen is not None and self._application.on_head(seen)

    def fields(self, origin: bytes | None) -> bytes:
        """What is added to an answer to a request of `origin`; None is no browser's, or its own page's."""
        if origin is None or not self._allows(origin):
            return self._vary
        return b"access-control-allow-origin: %b\r\n%b%b" % (self._named(origin), self._vary, self._exposed)

    def _allows(self, origin: bytes) -> bool:
        return self._any or origin in self._origins

    def _named(self, origin: bytes) -> bytes:
        return b"*" if self._any else origin

    def _seen(self, exchange: Exchange) -> Exchange | None:
        """What the application gets to see; None where the request was a preflight, which is answered."""
        origin = exchange.header(b"origin")
        if origin is None:  # only what may be kept by a cache has to say that it would differ for a browser
            return Adding(exchange, self._vary) if exchange.method in ("GET", "HEAD") else exchange
        if exchange.method == "OPTIONS" and exchange.header(b"access-control-request-method") is not None:
            self._answer_preflight(exchange, origin)
            return None
        return Adding(exchange, self.fields(origin))

    def _answer_preflight(self, exchange: Exchange, origin: bytes) -> None:
        if not self._allows(origin):
            exchange.respond(403, _TEXT + _VARY, b"cors.origins does not name this origin\n")
            return
        fields = b"access-control-allow-origin: %b\r\n%b%b" % (self._named(origin), _VARY_PREFLIGHT, self._preflight)
        asked = b", ".join(exchange.values(b"access-control-request-headers"))
        allowed = self._headers
        if allowed is None and len(asked) <= MAX_ASKED_BYTES and _ASKED.fullmatch(asked):
            allowed = asked
        if allowed:
            fields += b"access-control-allow-headers: %b\r\n" % allowed
        exchange.respond(204, fields, b"")


_T = TypeVar("_T")


class _Same(Generic[_T]):
    """An attribute or a method of the exchange beneath, as it is there."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, adding: Adding, owner: type) -> _T:
        found: _T = getattr(adding.exchange, self._name)
        return found

    def __set__(self, adding: Adding, value: _T) -> None:
        setattr(adding.exchange, self._name, value)


class Adding:
    """An exchange whose answer has further fields, whichever it is: a `gateway.base.ports.Exchange`."""

    __slots__ = ("_fields", "exchange")

    def __init__(self, exchange: Exchange, fields: bytes) -> None:
        self.exchange = exchange
        self._fields = fields

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        self.exchange.respond(status, headers + self._fields, body)

    def start(self, status: int, headers: bytes, length: int = -1) -> None:
        self.exchange.start(status, headers + self._fields, length)

    on_disconnect, on_drain = _Same["Callable[[], object] | None"](), _Same["Callable[[], object] | None"]()
    client = _Same["str | None"]()
    method, path, peer = _Same[str](), _Same[str](), _Same[str]()
    query, body = _Same[bytes](), _Same[bytes]()
    received_ns = _Same[int]()
    started, plain = _Same[bool](), _Same[bool]()
    content_type, traceparent = _Same["bytes | None"](), _Same["bytes | None"]()
    credential = _Same[Callable[[], "bytes | None"]]()
    header = _Same[Callable[[bytes], "bytes | None"]]()
    values = _Same[Callable[[bytes], list[bytes]]]()
    flush, abort = _Same[Callable[[], None]](), _Same[Callable[[], None]]()
    write = _Same[Callable[[bytes], bool]]()
    end = _Same[Callable[..., None]]()
