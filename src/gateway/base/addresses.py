"""IP addresses: networks that are trusted or allowed, and how far an address reaches.

Addresses are compared in their packed form (4 or 16 bytes), in which an IPv4 address that is mapped into IPv6
(`::ffff:10.0.0.1`) is the IPv4 address: a socket that takes both families shows its callers so.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from enum import IntEnum

UNIX = "unix"
"""In a list of networks: whoever connects to a Unix socket."""

_MAPPED = bytes(10) + b"\xff\xff"


def packed(text: str) -> bytes:
    """The bytes of an address, without its zone.

    Raises:
        ValueError: not an address. `127.1`, `010.0.0.1` and the like are none: readers differ on them.
    """
    text = text.partition("%")[0]
    try:
        found = socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):  # ValueError: a NUL, or characters that are not ASCII
        raise ValueError("not an IP address") from None
    return found[12:] if found.startswith(_MAPPED) else found


def shown(address: bytes) -> str:
    """An address in its canonical spelling."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


class Networks:
    """A set of networks.

    Args:
        texts: addresses, networks such as 10.0.0.0/8, and `unix`.

    Raises:
        ValueError: one of them is neither.
    """

    __slots__ = ("_masked", "unix")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        listed = tuple(texts)
        self.unix = UNIX in listed
        self._masked = [_network(text) for text in listed if text != UNIX]

    def __contains__(self, address: bytes) -> bool:
        size, number = len(address), int.from_bytes(address, "big")
        return any(size == of and number >> host == prefix for of, host, prefix in self._masked)


def _network(text: str) -> tuple[int, int, int]:
    """(bytes of an address, bits of the host's part, the network's part)."""
    address, slash, length = text.partition("/")
    found = packed(address)
    bits = 8 * len(found)
    if slash and ":" in address and len(found) == 4:
        length = str(int(length) - 96)
    prefix = int(length) if slash else bits
    if not 0 <= prefix <= bits:
        raise ValueError(f"{text!r} is not a network")
    return len(found), bits - prefix, int.from_bytes(found, "big") >> (bits - prefix)


class Reach(IntEnum):
    """From where an address can be reached; the greater, the more it takes to connect to it."""

    PUBLIC = 0
    PRIVATE = 1
    """A network of one's own."""
    LOOPBACK = 2
    """This machine."""
    NEVER = 3
    """No service of anybody's: what would answer there, if anything does, gives away or harms the machine."""


_METADATA = "where a cloud serves its machines' credentials"

_RANGES: tuple[tuple[str, Reach, str], ...] = (
    # The first that fits counts.
    ("0.0.0.0/8", Reach.NEVER, "unspecified"),
    ("169.254.0.0/16", Reach.NEVER, f"link-local, {_METADATA}"),
    ("100.100.100.200/32", Reach.NEVER, _METADATA),  # Alibaba Cloud
    ("168.63.129.16/32", Reach.NEVER, _METADATA),  # Azure's platform
    ("192.0.0.192/32", Reach.NEVER, _METADATA),  # Oracle Cloud
    ("224.0.0.0/4", Reach.NEVER, "multicast"),
    ("255.255.255.255/32", Reach.NEVER, "broadcast"),
    ("240.0.0.0/4", Reach.NEVER, "reserved"),
    ("127.0.0.0/8", Reach.LOOPBACK, "this machine"),
    ("10.0.0.0/8", Reach.PRIVATE, "private"),
    ("172.16.0.0/12", Reach.PRIVATE, "private"),
    ("192.168.0.0/16", Reach.PRIVATE, "private"),
    ("100.64.0.0/10", Reach.PRIVATE, "private (RFC 6598)"),
    ("192.0.0.0/24", Reach.PRIVATE, "of special use"),
    ("192.0.2.0/24", Reach.PRIVATE, "for documentation"),
    ("198.51.100.0/24", Reach.PRIVATE, "for documentation"),
    ("203.0.113.0/24", Reach.PRIVATE, "for documentation"),
    ("198.18.0.0/15", Reach.PRIVATE, "for benchmarks"),
    ("::/128", Reach.NEVER, "unspecified"),
    ("::1/128", Reach.LOOPBACK, "this machine"),
    ("fe80::/10", Reach.NEVER, f"link-local, {_METADATA}"),
    ("fec0::/10", Reach.NEVER, "site-local (RFC 3879)"),
    ("ff00::/8", Reach.NEVER, "multicast"),
    ("fd00:ec2::/32", Reach.NEVER, _METADATA),  # Amazon
    ("fd20:ce::254/128", Reach.NEVER, _METADATA),  # Google
    ("fd00:c1::a9fe:a9fe/128", Reach.NEVER, _METADATA),  # Oracle
    ("fd00:42::42/128", Reach.NEVER, _METADATA),  # Scaleway
    ("fc00::/7", Reach.PRIVATE, "private"),
    ("2001::/23", Reach.PRIVATE, "of special use"),
    ("2001:db8::/32", Reach.PRIVATE, "for documentation"),
    ("3fff::/20", Reach.PRIVATE, "for documentation"),
    ("100::/64", Reach.PRIVATE, "discarded (RFC 6666)"),
    ("5f00::/16", Reach.PRIVATE, "of special use"),
    ("64:ff9b:1::/48", Reach.PRIVATE, "a NAT64 of the network's own"),
)
_TABLE = [(Networks([network]), reach, what) for network, reach, what in _RANGES]

_EMBEDDINGS: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...] = (
    # Where in the 16 bytes an IPv4 address stands. NAT64 of one's own has no fixed length: RFC 6052 section 2.2 puts it
    # behind /48 (around byte 8, which stays free) or behind /96.
    ("::/96", ((12, 13, 14, 15),)),  # IPv4-compatible, RFC 4291
    ("::ffff:0:0:0/96", ((12, 13, 14, 15),)),  # IPv4-translated, RFC 2765
    ("64:ff9b::/96", ((12, 13, 14, 15),)),  # NAT64, RFC 6052
    ("64:ff9b:1::/48", ((12, 13, 14, 15), (6, 7, 9, 10))),  # RFC 8215
    ("2002::/16", ((2, 3, 4, 5),)),  # 6to4, RFC 3056
)
_EMBEDDED = [(Networks([network]), places) for network, places in _EMBEDDINGS]
_TEREDO = Networks(["2001::/32"])
_ISATAP = (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")


def reach(address: bytes) -> tuple[Reach, str]:
    """How far a packed address reaches, and what it is in words.

    One that leads on to an IPv4 address (NAT64, 6to4, Teredo, ISATAP) reaches no further than that one.
    """
    found = _listed(address)
    if len(address) == 16 and found[0] < Reach.LOOPBACK:
        for inner in _embedded(address):
            reached, what = _listed(inner)
            if reached > found[0]:
                found = reached, f"{shown(inner)} within an IPv6 address: {what}"
    return found


def _listed(address: bytes) -> tuple[Reach, str]:
    return next(((reached, what) for network, reached, what in _TABLE if address in network), (Reach.PUBLIC, "public"))


def _embedded(address: bytes) -> Iterable[bytes]:
    """The IPv4 addresses within an IPv6 one."""
    for network, places in _EMBEDDED:
        if address in network:
            yield from (bytes(address[at] for at in place) for place in places)
    if address in _TEREDO:  # RFC 4380: the server, and the client with every bit turned over
        yield address[4:8]
        yield bytes(byte ^ 0xFF for byte in address[12:])
    if address[8:12] in _ISATAP:  # RFC 5214
        yield address[12:]
