"""Who may ask what. Every handler declares its access; what declares nothing needs the token.

There is one token, sent as `Authorization: Bearer TOKEN` (RFC 6750) and nowhere else: no cookie exists that a foreign
page could make a browser send. A wrong token is answered 401, and nothing is said of the right one; after ATTEMPTS of them
within WINDOW_S an address is refused with 429, with the right token too, until the window ends. Asking without a token is
refused but not counted: nobody guesses that way, and a misled monitor must not lock out the people behind the same proxy.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import os
import secrets
import stat
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler

from gateway.base.node import Node
from gateway.control._secret_file import make_secret_file
from gateway.control.admin._errors import AdminError
from gateway.control.admin._services import Log

TOKEN_BYTES = 32
TOKEN_PREFIX = "tw_admin_"  # noqa: S105 - what begins a token; logs mask what begins so
SHORTEST_TOKEN = 16
ATTEMPTS = 10
WINDOW_S = 60.0
MAX_PEERS = 10_000


class Access(StrEnum):
    PUBLIC = "public"
    TOKEN = "token"  # noqa: S105 - not one


PUBLIC: Final[dict[str, Any]] = {"opt": {"access": Access.PUBLIC}, "security": []}
TOKEN: Final[dict[str, Any]] = {"opt": {"access": Access.TOKEN}, "security": [{"token": []}]}
"""What a handler is declared with: `@get("/path", **TOKEN)`."""


class Lockout:
    """Counts the failures of each address, in windows that begin with the first.

    At most MAX_PEERS addresses are remembered; the one that failed first is forgotten for another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By address: how many, and when the window ends."""

    def wait_s(self, peer: str) -> int:
        """For how many seconds an address is refused; 0: it is not."""
        count, end = self._failures.get(peer, (0, 0.0))
        return max(0, math.ceil(end - self._clock())) if count >= ATTEMPTS else 0

    def failed(self, peer: str) -> bool:
        """Counts a failure. True: that was the last one that is let through."""
        now = self._clock()
        count, end = self._failures.get(peer, (0, 0.0))
        if end <= now:
            count, end = 0, now + WINDOW_S
            self._failures.pop(peer, None)
        self._failures[peer] = count + 1, end
        if len(self._failures) > MAX_PEERS:
            self._failures.popitem(last=False)
        return count + 1 == ATTEMPTS


class Gatekeeper:
    """A Litestar guard: lets through what is public, and who has the token."""

    def __init__(self, token: str, log: Log, lockout: Lockout | None = None) -> None:
        self._digest = _digest(token)
        self._log = log
        self._lockout = lockout or Lockout()
        self.failures = 0
        """Wrong tokens so far."""

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Raises AdminError (401 or 429)."""
        if handler.opt.get("access") is Access.PUBLIC:
            return
        peer = peer_of(connection.scope.get("client"))
        wait_s = self._lockout.wait_s(peer)
        if wait_s:
            raise AdminError(429, "too many wrong tokens came from this address", {"retry-after": str(wait_s)})
        token = _bearer(connection.headers.getall("authorization", []))
        if token is not None and hmac.compare_digest(_digest(token), self._digest):
            return
        if token is not None:
            self._count(peer)
        raise AdminError(401, _why_not(token), {"www-authenticate": "Bearer"})

    def _count(self, peer: str) -> None:
        self.failures += 1
        if self._lockout.failed(peer):
            self._log.event("warning", "admin.locked_out", peer=peer, seconds=WINDOW_S)


async def refuse_unknown_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A Litestar guard: a misspelt parameter is an error and not a different answer. Raises AdminError (400)."""
    known = handler.parsed_fn_signature.parameters
    for name in connection.query_params:
        if name not in known:
            raise AdminError(400, f'the endpoint has no parameter "{name[:64]}"')


def peer_of(client: tuple[str, int] | None) -> str:
    """What failures are counted by: an IPv4 address, an IPv6 network of 64 bits, "" for a Unix socket."""
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address)


def _bearer(values: list[str]) -> str | None:
    """The token of the one Authorization header; "" for one that holds none."""
    if not values:
        return None
    scheme, _, token = values[0].partition(" ")
    return token.strip() if len(values) == 1 and scheme.lower() == "bearer" else ""


def _why_not(token: str | None) -> str:
    if token is None:
        return "the admin token is needed; send it as `Authorization: Bearer TOKEN`"
    if not token:
        return "the Authorization header is not one `Bearer TOKEN`"
    return "the admin token is wrong; it is `admin.token` of the configuration, else in the file `admin-token` of the state directory"


def _digest(token: str) -> bytes:
    """Of one length whatever was sent, so that comparing tells nothing of the right one's."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


# -- the token


def admin_token(node: Node, log: Log) -> str:
    """The configured token; else that of the state directory, made there at the first start.

    Raises:
        OSError: the file cannot be made or read.
        ValueError: the file holds no token.
    """
    assert node.admin is not None
    if node.admin.token:
        return node.admin.token
    file = node.admin_token_file
    if make_secret_file(file, lambda: TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)):
        log.event("info", "admin.token_made", file=str(file))
    with file.open() as stream:
        if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
            raise ValueError(
                f"{file} can be read by others; `chmod 600 {file}`, and remove it if they may have read it"
            )
        token = stream.read(1_024).strip()
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(f"{file} holds no admin token; remove it, and the next start makes one")
    return token
