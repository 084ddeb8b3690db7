"""Callers over each edge who can be told to leave, to wait, or to take nothing."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

from tests.e2e.conftest import Tls, secret_of
from tests.e2e.node import Gateway
from tests.support.http2_client import Http2Client

EDGES = ("native", "http2", "http1-tls")
"""`http1-tls` is HTTP/1.1 on the listener of `http2`."""

Fields = tuple[tuple[str, str], ...]


class Http1Caller:
    """One chat request by HTTP/1.1; `over_tls`: on the second listener."""

    def __init__(self, node: Gateway, tls: Tls | None, key: str, body: dict[str, Any], fields: Fields) -> None:
        port = node.port if tls is None else node.http2_port
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        if tls is not None:
            self._socket = tls.context("http/1.1").wrap_socket(self._socket, server_hostname="127.0.0.1")
        self.seen = b""
        self.over = False
        data = json.dumps(body).encode()
        sent = [
            ("host", "h"),
            ("x-api-key", secret_of(key)),
            ("content-type", "application/json"),
            ("content-length", str(len(data))),
            ("connection", "close"),
            *fields,
        ]
        lines = ["POST /v1/chat/completions HTTP/1.1", *(f"{name}: {value}" for name, value in sent), "", ""]
        self._socket.sendall("\r\n".join(lines).encode() + data)

    def read(self, timeout_s: float = 10.0) -> bool:
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(1_048_576)
        except TimeoutError:
            return False
        except OSError:  # reset, or TLS that ended without saying so
            data = b""
        self.over = self.over or not data
        self.seen += data
        return bool(data)

    @property
    def status(self) -> int:
        return int(self.seen[9:12])

    @property
    def complete(self) -> bool:
        """The answer came to the end that its framing announced."""
        head, _, body = self.seen.partition(b"\r\n\r\n")
        if b"content-length: " in head:
            return len(body) == int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return body.endswith(b"0\r\n\r\n")

    def leave(self) -> None:
        self._socket.close()

    close = leave


class Http2Caller:
    """One chat request by HTTP/2; it leaves by `reset`, or by closing the connection."""

    def __init__(self, client: Http2Client, key: str, body: dict[str, Any], fields: Fields, *, resets: bool) -> None:
        self._client = client
        self._resets = resets
        self._number = client.chat(secret_of(key), body, *fields)
        self._stream = client.streams[self._number]

    def read(self, timeout_s: float = 10.0) -> bool:
        return self._client.read(timeout_s)

    @property
    def seen(self) -> bytes:
        return self._stream.body

    @property
    def over(self) -> bool:
        return self._stream.over or not self._client.open

    @property
    def status(self) -> int:
        return self._stream.status

    @property
    def complete(self) -> bool:
        return self._stream.ended

    def leave(self) -> None:
        if self._resets:
            self._client.reset(self._number)
        else:
            self._client.close()

    def close(self) -> None:
        self._client.close()


Caller = Http1Caller | Http2Caller


class Callers:
    """Makes them, and closes their connections in the end. Use it as a context manager."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._made: list[Caller] = []

    def __enter__(self) -> Callers:
        return self

    def __exit__(self, *_: object) -> None:
        for caller in self._made:
            caller.close()

    def __call__(
        self, edge: str, node: Gateway, body: dict[str, Any], *fields: tuple[str, str], key: str = "main"
    ) -> Caller:
        """A chat request over an edge; `http2-close` is `http2` whose caller leaves by closing, not by resetting its stream."""
        (made,) = self.many(1, edge, node, body, *fields, key=key)
        return made

    def many(
        self, count: int, edge: str, node: Gateway, body: dict[str, Any], *fields: tuple[str, str], key: str = "main"
    ) -> list[Caller]:
        """The same `count` times: over HTTP/2 all on one connection."""
        made: list[Caller]
        if edge in ("native", "http1-tls"):
            tls = self._tls if edge == "http1-tls" else None
            made = [Http1Caller(node, tls, key, body, fields) for _ in range(count)]
        else:
            client = Http2Client(node.http2_port, self._tls.context("h2"))
            made = [Http2Caller(client, key, body, fields, resets=edge == "http2") for _ in range(count)]
        self._made += made
        return made


def read_until(caller: Caller, seen: bytes, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while seen not in caller.seen:
        assert not caller.over and time.monotonic() < deadline, caller.seen
        caller.read(deadline - time.monotonic())


def read_to_end(caller: Caller, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not caller.over:
        assert time.monotonic() < deadline, caller.seen
        caller.read(deadline - time.monotonic())
