"""What a browser does with `fetch` across origins (the Fetch standard), on an HTTP client that knows nothing of it."""

from __future__ import annotations

import http.client
from typing import NamedTuple

SAFELISTED_METHODS = ("GET", "HEAD", "POST")
SAFELISTED_REQUEST_HEADERS = ("accept", "accept-language", "content-language")
SIMPLE_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
SAFELISTED_RESPONSE_HEADERS = (
    "cache-control content-language content-length content-type expires last-modified pragma".split()  # noqa: SIM905
)


class FailedToFetchError(Exception):
    """`TypeError: Failed to fetch`: all that a page learns."""


class Response(NamedTuple):
    """What the page may see."""

    status: int
    headers: dict[str, str]
    body: bytes


class Page:
    """A page of an origin, which asks a server elsewhere."""

    def __init__(self, origin: str, port: int) -> None:
        self.origin = origin
        self._port = port
        self.sent: list[str] = []
        """Methods of the requests that left, preflights among them."""

    def fetch(
        self, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Raises FailedToFetchError."""
        headers = headers or {}
        unsafe = sorted(name.lower() for name, value in headers.items() if not self._is_safelisted(name.lower(), value))
        if unsafe or method not in SAFELISTED_METHODS:
            self._preflight(path, method, unsafe)
        status, told, answer = self._send(path, method, {**headers, "origin": self.origin}, body)
        self._check_origin(told)
        exposed = {name.strip() for name in told.get("access-control-expose-headers", "").split(",")}
        visible = {n: v for n, v in told.items() if n in SAFELISTED_RESPONSE_HEADERS or n in exposed}
        return Response(status, visible, answer)

    @staticmethod
    def _is_safelisted(name: str, value: str) -> bool:
        return name in SAFELISTED_REQUEST_HEADERS or (name == "content-type" and value in SIMPLE_TYPES)

    def _preflight(self, path: str, method: str, unsafe: list[str]) -> None:
        asked = {"origin": self.origin, "access-control-request-method": method, "accept": "*/*"}
        if unsafe:
            asked["access-control-request-headers"] = ",".join(unsafe)
        status, told, _ = self._send(path, "OPTIONS", asked, None)
        self._check_origin(told)
        if not 200 <= status < 300:
            raise FailedToFetchError(f"the preflight was answered {status}")
        methods = _listed(told, "access-control-allow-methods")
        if method not in methods and method not in SAFELISTED_METHODS:
            raise FailedToFetchError(f"the method {method} is not allowed")
        names = _listed(told, "access-control-allow-headers")
        for name in unsafe:
            if name not in names and ("*" not in names or name == "authorization"):
                raise FailedToFetchError(f"the header {name} is not allowed")

    def _check_origin(self, told: dict[str, str]) -> None:
        if told.get("access-control-allow-origin") not in ("*", self.origin):
            raise FailedToFetchError("the origin is not allowed")

    def _send(
        self, path: str, method: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[int, dict[str, str], bytes]:
        self.sent.append(method)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            names = [name.lower() for name, _ in response.getheaders()]
            for name in ("access-control-allow-origin", "vary"):
                assert names.count(name) <= 1, f"{name} twice, which browsers refuse"
            return response.status, {n.lower(): v for n, v in response.getheaders()}, response.read()
        finally:
            connection.close()


def _listed(told: dict[str, str], name: str) -> set[str]:
    return {value.strip().lower() if "headers" in name else value.strip() for value in told.get(name, "").split(",")}
