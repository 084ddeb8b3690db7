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

from gateway.base.snapshot import Provider
from gateway.net.pool import DialError

MAX_HANDSHAKES = 4
"""TLS handshakes in flight a worker: each takes 0.8 ms of its loop."""
RESOLVE_EVERY_S = 30.0
MAX_PROXY_HEAD_BYTES = 8_192

_Address = tuple[socket.AddressFamily, tuple[str, int]]
_ports = {"http": 80, "https": 443}


class Resolver:
    """Addresses of names, kept for RESOLVE_EVERY_S and refreshed behind the back of callers; the last good ones outlive a failure.

    Bounded by the hosts of the configuration.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._known: dict[tuple[str, int], tuple[float, list[_Address]]] = {}
        self._refreshing: dict[tuple[str, int], asyncio.Task[list[_Address]]] = {}

    async def resolve(self, host: str, port: int) -> list[_Address]:
        """Addresses in the resolver's order of preference. Raises OSError."""
        known = self._known.get((host, port))
        if known is not None:
            if time.monotonic() - known[0] > RESOLVE_EVERY_S and (host, port) not in self._refreshing:
                self._refresh(host, port).add_done_callback(_retrieve)
            return known[1]
        return await asyncio.shield(self._refreshing.get((host, port)) or self._refresh(host, port))

    def _refresh(self, host: str, port: int) -> asyncio.Task[list[_Address]]:
        task = self._loop.create_task(self._look_up(host, port))
        self._refreshing[host, port] = task
        task.add_done_callback(lambda _: self._refreshing.pop((host, port), None))
        return task

    async def _look_up(self, host: str, port: int) -> list[_Address]:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses: list[_Address] = [(family, (str(at[0]), int(at[1]))) for family, _, _, _, at in found]
        self._known[host, port] = (time.monotonic(), list(dict.fromkeys(addresses)))
        return self._known[host, port][1]


def _retrieve(task: asyncio.Task[list[_Address]]) -> None:
    """A refresh that failed leaves the last good addresses; its exception is expected."""
    if not task.cancelled():
        task.exception()


def tls_context(provider: Provider) -> ssl.SSLContext:
    """Verifying, with the provider's own CA bundle where it has one. Raises OSError or ssl.SSLError for a bad bundle."""
    context = ssl.create_default_context(cafile=provider.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def proxy_of(provider: Provider, url: SplitResult) -> SplitResult | None:
    """The proxy to reach `url` through: the provider's own, else HTTPS_PROXY unless NO_PROXY names the host."""
    if provider.proxy == "":
        return None
    if provider.proxy is not None:
        return urlsplit(provider.proxy)
    named = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if url.scheme != "https" or not named or urllib.request.proxy_bypass(url.hostname or ""):
        return None
    return urlsplit(named if "//" in named else f"http://{named}")


class Dialer:
    """Opens connections to one provider."""

    def __init__(
        self, provider: Provider, loop: asyncio.AbstractEventLoop, resolver: Resolver, handshakes: asyncio.Semaphore
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._handshakes = handshakes
        self._connect_s = provider.timeouts.connect_ms / 1_000
        self._url = url = urlsplit(provider.base_url)
        self._unix_path = unquote(url.netloc) if url.scheme == "http+unix" else None
        self._host = url.hostname or ""
        self._port = url.port or _ports.get(url.scheme, 80)
        self._tls = tls_context(provider) if url.scheme == "https" else None
        self._proxy = proxy_of(provider, url) if self._unix_path is None else None
        self._turn = 0

    async def __call__(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """Opens one connection within `connect_ms`. Raises DialError."""
        try:
            async with asyncio.timeout(self._connect_s):
                if self._tls is None:
                    await self._connect(protocol)
                else:
                    async with self._handshakes:
                        await self._connect(protocol)
        except TimeoutError as error:
            raise DialError("connect", f"no connection within {self._connect_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise DialError("tls", f"its certificate was not accepted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise DialError("tls", f"the TLS handshake failed: {error.reason or error}") from error
        except socket.gaierror as error:
            raise DialError("resolve", f"its name {self._host!r} does not resolve: {error.strerror}") from error
        except OSError as error:
            raise DialError("refused", error.strerror or str(error)) from error

    async def _connect(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        if self._unix_path is not None:
            await self._loop.create_unix_connection(protocol, self._unix_path)
            return
        if self._proxy is not None:
            connected = await self._through_proxy(self._proxy)
        else:
            connected = await self._reach(self._host, self._port)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.create_connection(
                protocol, sock=connected, ssl=self._tls, server_hostname=self._host if self._tls else None
            )
        except BaseException:
            connected.close()
            raise

    async def _reach(self, host: str, port: int) -> socket.socket:
        """A connected socket to one of the addresses of `host`, beginning with another one each time. Raises the last OSError."""
        addresses = await self._resolver.resolve(host, port)
        self._turn += 1
        first = self._turn % len(addresses)
        share_s = self._connect_s / len(addresses)
        failure: OSError = OSError(f"{host!r} has no address")
        for family, address in addresses[first:] + addresses[:first]:
            attempt = socket.socket(family, socket.SOCK_STREAM)
            attempt.setblocking(False)
            try:
                async with asyncio.timeout(share_s):
                    await self._loop.sock_connect(attempt, address)
            except (OSError, TimeoutError) as error:
                attempt.close()
                failure = error
                continue
            except BaseException:
                attempt.close()
                raise
            return attempt
        raise failure

    async def _through_proxy(self, proxy: SplitResult) -> socket.socket:
        """A socket that the proxy has connected to the provider (RFC 9110 section 9.3.6)."""
        connected = await self._reach(proxy.hostname or "", proxy.port or 80)
        authority = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            lines.append(f"proxy-authorization: Basic {base64.b64encode(pair).decode()}")
        try:
            await self._loop.sock_sendall(connected, "\r\n".join([*lines, "", ""]).encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                # A byte at a time: what follows the head belongs to the tunnel.
                byte = await self._loop.sock_recv(connected, 1)
                if not byte or len(head) >= MAX_PROXY_HEAD_BYTES:
                    raise OSError("the proxy broke off its answer")
                head += byte
            status = head.split(b" ", 2)[1:2]
            if status != [b"200"]:
                raise OSError(f"the proxy answered {(status or [b'?'])[0].decode('ascii', 'replace')} to CONNECT")
        except BaseException:
            connected.close()
            raise
        return connected
