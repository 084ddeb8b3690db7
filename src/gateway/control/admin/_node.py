"""The node's ops listener, asked over HTTP in bounded time."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpx
import msgspec

from gateway.base.node import Address

TIMEOUT_S = 2.0
"""Of a whole question."""
MAX_ANSWER_BYTES = 16_777_216
_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is not bound here
"""Where to call a listener that takes all of the machine's addresses."""


class NodeDownError(Exception):
    """Nothing useful came from the node. The message says why in a few words."""


class NodeClient:
    """See the module."""

    def __init__(self, ops: Address) -> None:
        host = _ANYWHERE.get(ops.host, ops.host)
        self._http = httpx.AsyncClient(
            base_url="http://node" if ops.path is not None else f"http://{Address(host, ops.port)}",
            # An empty context: the ops listener speaks plain HTTP, and reading the system's authorities takes a while.
            transport=httpx.AsyncHTTPTransport(uds=ops.path, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    async def status(self) -> dict[str, Any]:
        """/status. Raises NodeDownError."""
        try:
            return msgspec.json.decode(await self._get("/status"), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise NodeDownError("the ops listener answered something else than its status") from error

    async def metrics(self) -> bytes:
        """/metrics, in Prometheus's text format. Raises NodeDownError."""
        return await self._get("/metrics")

    async def _get(self, path: str) -> bytes:
        try:
            async with asyncio.timeout(TIMEOUT_S), self._http.stream("GET", path) as response:
                if response.status_code != 200:
                    raise NodeDownError(f"the ops listener answered {response.status_code}")
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise NodeDownError(f"the ops listener answered more than {MAX_ANSWER_BYTES:,} bytes")
                return bytes(body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NodeDownError(f"the ops listener did not answer within {TIMEOUT_S:g} s") from error
        except httpx.ConnectError as error:
            raise NodeDownError("nothing listens on the ops address: the data plane is down") from error
        except httpx.HTTPError as error:
            raise NodeDownError(f"the ops listener broke off ({type(error).__name__})") from error

    async def close(self) -> None:
        await self._http.aclose()
