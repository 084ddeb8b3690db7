"""What surrounds every request: the deadline of its body, the headers of its answer, its log line and figures.

Granian 2.8 has no time-out for a body, and a body that is no valid chunked coding surfaces as an exception of
`receive`: both become errors of the request here.
"""

from __future__ import annotations

import asyncio
import time

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.types.asgi_types import ReceiveMessage

from gateway.control.admin._access import peer_of
from gateway.control.admin._errors import AdminError
from gateway.control.admin._metrics import Metrics
from gateway.control.admin._services import Log

BODY_S = 10.0
"""For a request's body to arrive."""
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at level debug."""


class Observer:
    """An ASGI application around another. HTTP alone reaches it: Granian is told to take nothing else."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log: Log) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log
        self.active = 0
        """Requests taken and not yet answered."""
        self.idle = asyncio.Event()
        """There are none."""
        self.idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        self.active += 1
        self.idle.clear()
        try:
            await self._app(scope, _bounded(receive, began + BODY_S), observed)
        finally:
            self.active -= 1
            if not self.active:
                self.idle.set()
            self._metrics.answered[status] += 1
            self._report(scope, status, time.monotonic() - began)

    def _report(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's path, never that which was sent: somebody may have put a secret into it.
        route = str(scope.get("path_template", ""))
        self._log.event(
            "debug" if route in _PROBES else "info",
            "admin.request",
            method=scope.get("method", ""),
            route=route,
            status=status,
            duration_ms=round(seconds * 1_000, 1),
            peer=peer_of(scope.get("client")),
        )


def _bounded(receive: Receive, deadline: float) -> Receive:
    async def bounded() -> ReceiveMessage:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await receive()
        except TimeoutError as error:
            raise AdminError(408, f"the body did not arrive within {BODY_S:g} s") from error
        except Exception as error:  # Granian's own, of which it exports no type
            raise AdminError(400, "the body breaks HTTP's framing (RFC 9112)") from error
        if message["type"] == "http.disconnect":
            raise AdminError(400, "the body ended early")
        return message

    return bounded
