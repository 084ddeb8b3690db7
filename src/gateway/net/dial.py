"""Opens connections to a provider: name resolution off the loop, several addresses, TLS, Unix sockets, an HTTP proxy."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from urllib.parse import SplitResult, unquote, urlsplit

from _fastpath.http1 import ProtocolError, parse_response
from gateway.base.addresses import Networks
from gateway.base.snapshot import Provider
from gateway.net.guard import AddressGuard, is_address
from gateway.net.pool import DialError
from gateway.net.tls import provider_files

MAX_HANDSHAKES = 4
"""TLS handshakes in flight a worker: each takes 0.8 ms of its loop."""
HANDSHAKE_TURN_S = 0.25
"""So long a handshake keeps others waiting at most: a provider that accepts and then says nothing must not stop the others."""
AVOID_S = 30.0
"""An address that failed is tried after the others for so long."""
RESOLVE_EVERY_S = 30.0
MAX_PROXY_HEAD_BYTES = 8_192

_Address = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]
_ports = {"http": 80, "https": 443}


class Resolver:
    """Addresses of names, kept for RESOLVE_EVERY_S and refreshed behind the back of callers; the last good ones outlive a failure.

    Bounded by the hosts of the configuration.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._known: dict[tuple[str, int], tuple[float, list[_Address]]] = {}
        self._refreshing: dict[tuple[str, int], asyncio.Task[list[_Address]]] = {}
        self.public_names: set[str] = set()
        """Names that were seen at a public address; see `net.guard`."""

    async def resolve(self, host: str, port: int) -> list[_Address]:
        """Addresses in the resolver's order of preference. Raises OSError."""
        known = self._known.get((host, port))
        if known is not None:
            if time.monotonic() - known[0] > RESOLVE_EVERY_S and (host, port) not in self._refreshing:
                self._refresh(host, port)
            return known[1]
        return await asyncio.shield(self._refreshing.get((host, port)) or self._refresh(host, port))

    def _refresh(self, host: str, port: int) -> asyncio.Task[list[_Address]]:
        task = self._loop.create_task(self._look_up(host, port))
        self._refreshing[host, port] = task
        task.add_done_callback(lambda _: self._refreshing.pop((host, port), None))
        task.add_done_callback(_retrieve)
        return task

    async def _look_up(self, host: str, port: int) -> list[_Address]:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses: list[_Address] = [(family, at) for family, _, _, _, at in found]
        self._known[host, port] = (time.monotonic(), list(dict.fromkeys(addresses)))
        return self._known[host, port][1]


def _retrieve(task: asyncio.Task[list[_Address]]) -> None:
    """A look-up that failed leaves the last good addresses; who awaits it hears of it, if anybody still does."""
    if not task.cancelled():
        task.exception()


def proxy_of(provider: Provider, url: SplitResult) -> SplitResult | None:
    """The proxy to reach `url` through: the provider's own, else HTTPS_PROXY unless NO_PROXY names the host."""
    if provider.proxy == "":
        return None
    if provider.proxy is not None:
        return _http_proxy(provider.proxy)
    named = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if url.scheme != "https" or not named or urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return _http_proxy(named if "//" in named else f"http://{named}")


def _http_proxy(text: str) -> SplitResult:
    proxy = urlsplit(text)
    if proxy.scheme != "http" or not proxy.hostname:
        raise ValueError(f"the proxy must be an http:// URL with a host, not {proxy.scheme}://{proxy.hostname or ''}")
    return proxy


class _Turn:
    """A place among the TLS handshakes in flight, given up at the end or after HANDSHAKE_TURN_S."""

    def __init__(self, loop: asyncio.AbstractEventLoop, handshakes: asyncio.Semaphore) -> None:
        self._loop = loop
        self._handshakes = handshakes
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._handshakes.acquire()
        self._timer = self._loop.call_later(HANDSHAKE_TURN_S, self._give_up)

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._give_up()

    def _give_up(self) -> None:
        self._timer = None
        self._handshakes.release()


class Dialer:
    """Opens connections to one provider.

    Raises:
        ValueError: the proxy to use is none that is spoken to.
        OSError, ssl.SSLError: the provider's CA bundle or our certificate for it cannot be used.
    """

    def __init__(
        self, provider: Provider, loop: asyncio.AbstractEventLoop, resolver: Resolver, handshakes: asyncio.Semaphore
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._handshakes = handshakes
        self._connect_s = provider.timeouts.connect_ms / 1_000
        self._url = url = urlsplit(provider.base_url)
        self._unix_path = unquote(url.netloc) if url.scheme == "http+unix" else None
        self._host = self.host = url.hostname or ""
        self._port = url.port or _ports.get(url.scheme, 80)
        self.tls = provider_files(provider) if url.scheme == "https" else None
        """Renewed by its owner; each connection takes the context that it has by then."""
        self._proxy = proxy_of(provider, url) if self._unix_path is None else None
        allowed, public = Networks(provider.allow_addresses), resolver.public_names
        self._guard = AddressGuard(provider.name, self._host, allowed, public)
        proxy_host = (self._proxy.hostname if self._proxy is not None else None) or ""
        self._proxy_guard = AddressGuard(provider.name, proxy_host, allowed, public, chosen=True)
        self._turn = 0
        self._failed: dict[_Address, float] = {}

    async def __call__(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Opens one connection within `connect_ms`. Raises DialError."""
        try:
            async with asyncio.timeout(self._connect_s):
                await self._connect(protocol)
        except DialError:
            raise
        except TimeoutError as error:
            raise DialError("connect", f"no connection within {self._connect_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise DialError("tls", f"its certificate was not accepted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise DialError("tls", f"the TLS handshake failed: {error.reason or error}") from error
        except socket.gaierror as error:
            raise DialError("resolve", f"its name {self._host!r} does not resolve: {error.strerror}") from error
        except UnicodeError as error:
            raise DialError("resolve", f"its name {self._host!r} is no domain name: {error}") from error
        except OSError as error:
            raise DialError("refused", error.strerror or str(error)) from error

    async def _connect(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        if self._unix_path is not None:
            await self._loop.create_unix_connection(protocol, self._unix_path)
            return
        if self._proxy is not None:
            connected = await self._through_proxy(self._proxy)
        else:
            connected = await self._reach(self._host, self._port, self._guard)
        try:
            if self.tls is None:
                await self._loop.create_connection(protocol, sock=connected)
                return
            async with _Turn(self._loop, self._handshakes):
                await self._loop.create_connection(
                    protocol, sock=connected, ssl=self.tls.context, server_hostname=self._host
                )
        except BaseException:
            connected.close()
            raise

    async def _reach(self, host: str, port: int, guard: AddressGuard) -> socket.socket:
        """A connected socket to one of the addresses of `host`, beginning with another one each time.

        Raises:
            OSError: the last failure.
            DialError: none of the addresses may be connected to.
        """
        addresses = self._permitted(await self._resolver.resolve(host, port), guard)
        share_s = self._connect_s / max(1, len(addresses))
        failure: OSError = OSError(f"{host!r} has no address")
        for at in self._in_order(addresses):
            try:
                async with asyncio.timeout(share_s):
                    connected = await self._connect_to(at)
            except OSError as error:  # TimeoutError is one
                self._failed[at] = time.monotonic() + AVOID_S
                failure = error
            else:
                self._failed.pop(at, None)
                return connected
        raise failure

    def _permitted(self, addresses: list[_Address], guard: AddressGuard) -> list[_Address]:
        """Those that may be connected to. Raises DialError where there are addresses and none of them may."""
        guard.look_at(str(at[0]) for _, at in addresses)
        refusals = [guard.refusal(str(at[0])) for _, at in addresses]
        permitted = [at for at, refusal in zip(addresses, refusals, strict=True) if refusal is None]
        if not permitted and refusals and refusals[0] is not None:
            raise DialError("address", refusals[0])
        return permitted

    def _in_order(self, addresses: list[_Address]) -> list[_Address]:
        """In turn, those that failed lately behind the others."""
        now = time.monotonic()
        self._failed = {at: until for at, until in self._failed.items() if until > now}
        self._turn += 1
        first = self._turn % max(1, len(addresses))
        return sorted(addresses[first:] + addresses[:first], key=self._failed.__contains__)

    async def _connect_to(self, at: _Address) -> socket.socket:
        family, address = at
        connected = socket.socket(family, socket.SOCK_STREAM)
        try:
            connected.setblocking(False)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(connected, address)
        except BaseException:
            connected.close()
            raise
        return connected

    async def _through_proxy(self, proxy: SplitResult) -> socket.socket:
        """A socket that the proxy has connected to the provider (RFC 9110 section 9.3.6)."""
        if is_address(self._host) and (refusal := self._guard.refusal(self._host)) is not None:
            raise DialError("address", refusal)  # names are the proxy's to resolve, and to judge
        connected = await self._reach(proxy.hostname or "", proxy.port or 80, self._proxy_guard)
        authority = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            lines.append(f"proxy-authorization: Basic {base64.b64encode(pair).decode()}")
        try:
            await self._loop.sock_sendall(connected, "\r\n".join([*lines, "", ""]).encode())
            status = await self._proxy_status(connected)
            if not 200 <= status < 300:
                raise OSError(f"the proxy answered {status} to CONNECT")
        except BaseException:
            connected.close()
            raise
        return connected

    async def _proxy_status(self, connected: socket.socket) -> int:
        """Reads the head of the proxy's answer, a byte at a time: what follows it belongs to the tunnel."""
        head = b""
        try:
            while True:
                byte = await self._loop.sock_recv(connected, 1)
                if not byte:
                    raise OSError("the proxy broke off its answer to CONNECT")
                head += byte
                parsed = parse_response(head, limit=MAX_PROXY_HEAD_BYTES) if byte == b"\n" else None
                if parsed is not None:
                    return parsed[0].status
                if len(head) > MAX_PROXY_HEAD_BYTES:
                    raise OSError("the proxy's answer to CONNECT is too long")
        except ProtocolError as error:
            raise OSError(f"the proxy's answer to CONNECT breaks HTTP: {error}") from error
