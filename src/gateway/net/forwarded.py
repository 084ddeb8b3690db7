"""For whom a trusted proxy speaks: `x-forwarded-for`, or `forwarded` (RFC 7239).

Rules.
- The header counts only where the connection comes from a trusted network.
- Each proxy appends the address that it saw. Read from the right, the first address that is not trusted is the caller's: what
  stands to its left, the caller may have written itself.
- What is no address (`unknown`, an obfuscated name, a mistake) ends the reading; the last address before it counts. Nothing to its left
  is believed, and nothing to its left can make a mistake of it: an open quote of the caller's is not closed by what proxies append.
- One of the two headers is read, not whichever is there: a proxy that appends to one passes on the other as the caller wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Protocol

from gateway.base.addresses import UNIX, Networks, packed, shown
from gateway.base.ports import Exchange

MAX_HOPS = 32
"""Addresses that are looked at, from the right."""
MAX_REMEMBERED = 4_096
"""Answers kept, each under a key of at most MAX_KEY_BYTES: callers repeat themselves."""
MAX_KEY_BYTES = 256

_PORT = re.compile(rb":[0-9]{1,5}\Z")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = rb'(%b)=(%b|"(?:[\t !#-\[\]-~]|\\[\t -~])*")' % (_TOKEN, _TOKEN)
_PAIRS = re.compile(_PAIR)
_ELEMENT = re.compile(rb"[ \t]*(?:%b[ \t]*)?(?:;[ \t]*(?:%b[ \t]*)?)*" % (_PAIR, _PAIR))


class Handler(Protocol):
    """What answers exchanges, whichever edge they came through."""

    def on_request(self, exchange: Exchange, /) -> None: ...
    def on_head(self, exchange: Exchange, /) -> bool: ...
    def on_refusal(self, status: int, reason: str, peer: str, /) -> tuple[bytes, bytes]: ...


class Forwarded:
    """Stands before an application and sets each exchange's `client`.

    Args:
        application: what answers.
        trusted: the networks of the proxies.
        header: b"x-forwarded-for" or b"forwarded".
    """

    def __init__(self, application: Handler, trusted: Networks, header: bytes) -> None:
        self._application = application
        self._header = header
        self._clients = Clients(trusted, split_forwarded if header == b"forwarded" else split_list)
        self.on_refusal = application.on_refusal

    def on_request(self, exchange: Exchange) -> None:
        exchange.client = self._client(exchange)
        self._application.on_request(exchange)

    def on_head(self, exchange: Exchange) -> bool:
        exchange.client = self._client(exchange)
        return self._application.on_head(exchange)

    def _client(self, exchange: Exchange) -> str:
        peer = exchange.client or exchange.peer
        host = peer if exchange.client is not None or peer == UNIX else peer.rpartition(":")[0]
        return self._clients.of(host, exchange.values(self._header))


class Clients:
    """Finds out whom a request comes from.

    Args:
        trusted: the networks of the proxies.
        split: takes one value of the header apart; what it yields last was appended last, and None is no address.
    """

    def __init__(self, trusted: Networks, split: Callable[[bytes], list[bytes | None]]) -> None:
        self._trusted = trusted
        self._split = split
        self._known = lru_cache(MAX_REMEMBERED)(self._look_up)
        self._remembered = lru_cache(MAX_REMEMBERED)(self._find)

    def of(self, host: str, values: list[bytes]) -> str:
        """The address of the caller.

        Args:
            host: of whoever opened the connection: an address or "unix".
            values: of the header, in order.
        """
        host, trusted = self._known(host)
        if not values or not trusted:
            return host
        value = values[-1]
        if len(values) == 1 and len(value) <= MAX_KEY_BYTES:
            return self._remembered(value) or host
        return self._first_untrusted(values) or host

    def _look_up(self, host: str) -> tuple[str, bool]:
        """Its canonical spelling, and whether it is a proxy of ours."""
        if host == UNIX:
            return host, self._trusted.unix
        address = packed(host)
        return shown(address), address in self._trusted

    def _find(self, value: bytes) -> str | None:
        return self._first_untrusted([value])

    def _first_untrusted(self, values: list[bytes]) -> str | None:
        found: bytes | None = None
        for _, node in zip(range(MAX_HOPS), self._from_the_right(values), strict=False):
            address = node_address(node) if node is not None else None
            if address is None:
                break
            found = address
            if address not in self._trusted:
                break
        return shown(found) if found is not None else None

    def _from_the_right(self, values: list[bytes]) -> Iterator[bytes | None]:
        for value in reversed(values):
            yield from reversed(self._split(value))


def split_list(value: bytes) -> list[bytes | None]:
    """The rightmost MAX_HOPS elements of a value of `x-forwarded-for`."""
    return [*value.rsplit(b",", MAX_HOPS)[-MAX_HOPS:]]


def split_forwarded(value: bytes) -> list[bytes | None]:
    """The `for` of the rightmost MAX_HOPS elements of a value of `forwarded`; None where one is missing or breaks the grammar.

    An element is the shortest well-formed end of what is left: no comma inside its quotes begins one, since what follows it then has an
    odd number of quotes. So a quote that a caller left open reaches no element that a proxy appended.
    """
    found: list[bytes | None] = []
    end = len(value)
    while end >= 0 and len(found) < MAX_HOPS:
        start = _element_start(value, end)
        if start < 0:
            found.append(None)
            break
        if value[start:end].strip(b" \t"):  # lists may have empty elements (RFC 9110)
            found.append(_node_of(value, start, end))
        end = start - 1
    return found[::-1]


def _element_start(value: bytes, end: int) -> int:
    """Of the element that ends there; -1 where there is none that is well-formed."""
    at = end
    for _ in range(MAX_HOPS):
        at = value.rfind(b",", 0, at)
        if _ELEMENT.fullmatch(value, at + 1, end):
            return at + 1
        if at < 0:
            break
    return -1


def _node_of(value: bytes, start: int, end: int) -> bytes | None:
    """The `for` of an element, None where it has not one of them (RFC 7239, section 4: a parameter stands once)."""
    nodes = [pair[2] for pair in _PAIRS.finditer(value, start, end) if pair[1].lower() == b"for"]
    return nodes[0] if len(nodes) == 1 else None


def node_address(node: bytes) -> bytes | None:
    """The packed address of a node: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`; None for all else."""
    text = node.strip(b" \t").strip(b'"')
    if text.startswith(b"["):
        host, bracket, port = text[1:].partition(b"]")
        if not bracket or b":" not in host or (port and not _PORT.match(port)):
            return None
        text = host
    elif text.count(b":") == 1:
        host, _, _ = text.partition(b":")
        if not _PORT.search(text):
            return None
        text = host
    try:
        return packed(text.decode("ascii")) if b"%" not in text else None
    except ValueError:
        return None
