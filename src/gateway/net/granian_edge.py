"""The Granian edge: HTTP/2, and HTTP/1.1 beside it, plain or TLS, by Granian embedded in the worker's loop.

Granian's embedded server calls itself experimental, binds a socket of its own, and tells nothing of its connections. So the version
is pinned, `tests/gateway/net/test_granian_edge.py` holds what is relied on, and:

- it is handed a duplicate of the supervisor's socket, as a `SocketHolder`, in which Granian passes sockets to its own workers;
- its drain waits for every connection, even one that says nothing: ours waits for the requests, and LINGER_NS for their last bytes;
- it closes no idle connection: `gateway.net.accepted` does.

Its one timer for HTTP/1.1 runs from the end of an answer to the end of the next head: there `head_ms` bounds idleness too.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.embed import Server

from _fastpath.wheel import now_ns
from gateway.base.node import Bounds, ServerTimeouts, Tls
from gateway.net.accepted import Accepted
from gateway.net.asgi import Application, AsgiEdge
from gateway.net.edge import BACKLOG, RefusalFields

STREAMS_PER_CONNECTION = 200
STREAM_WINDOW_BYTES = 262_144
"""Of a request's body that may lie unread in the server, a stream."""
CONNECTION_WINDOW_BYTES = 1_048_576
"""The same, a connection."""
SEND_BUFFER_BYTES = 65_536
"""Of an answer that the server takes ahead of the client, a stream."""
MIN_HTTP1_BUFFER_BYTES = 8_192
LINGER_NS = 500_000_000

Report = Callable[..., None]
"""Called as report(level, event, **fields)."""


class GranianEdge:
    """The edge of one listener, from its construction in a running loop on. Satisfies `gateway.net.edge.RunningEdge`.

    Args:
        application: answers exchanges.
        listener: listening, TCP or Unix; stays the caller's.
        report: takes what Granian logs.
        on_failure: called with the reason if the server ends although nobody asked it to.
        refusal_fields: what is added to refusals below the application.

    Raises:
        OSError, ssl.SSLError: a bad certificate or key.
    """

    def __init__(
        self,
        application: Application,
        listener: socket.socket,
        *,
        tls: Tls | None,
        bounds: Bounds,
        timeouts: ServerTimeouts,
        report: Report,
        on_failure: Callable[[str], None],
        refusal_fields: RefusalFields | None = None,
    ) -> None:
        self._asgi = AsgiEdge(application, bounds, timeouts, refusal_fields)
        self._server = _Server(self._asgi, listener, tls=tls, bounds=bounds, timeouts=timeouts, report=report)
        self._on_failure = on_failure
        self._drained_ns = 0
        """When the last request of a draining edge had been answered."""
        self._draining = False
        loop = asyncio.get_running_loop()
        self._serving = loop.create_task(self._server.serve())
        self._serving.add_done_callback(self._ended)
        self._accepted: Accepted | None = None
        """None for a Unix socket."""
        if listener.family != socket.AF_UNIX:
            self._accepted = Accepted(listener, self._asgi.peers, timeouts.idle_ms)
            self._watching = loop.create_task(self._accepted.watch())
            self._watching.add_done_callback(self._ended)

    @property
    def in_flight(self) -> int:
        return self._asgi.in_flight

    @property
    def connections(self) -> int:
        """As of the last look at them; those of a draining edge that may have last bytes under way count as one."""
        if not self._draining:
            return self._accepted.open if self._accepted is not None else 0
        if self._serving.done():
            return 0
        if self._asgi.in_flight or not self._drained_ns:
            self._drained_ns = now_ns()
        return int(now_ns() < self._drained_ns + LINGER_NS)

    @property
    def body_bytes(self) -> int:
        return self._asgi.body_bytes

    waiting = 0

    def announce(self) -> None:
        """HTTP/2 says so when it drains; before that it has no word for it."""

    def retire(self) -> None:
        self.drain()

    async def take_the_last(self) -> None:
        """Granian accepts by itself."""

    def drain(self) -> None:
        self._draining = True
        self._server.stop()  # type: ignore[no-untyped-call]

    def abort_all(self) -> None:
        self._asgi.abort_all()
        self._serving.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._draining:
            self._on_failure(f"the Granian edge ended by itself: {task.exception() or 'its log says why'}")


class _Server(Server):
    """Granian's embedded server on a socket that is there already."""

    def __init__(
        self,
        app: AsgiEdge,
        listener: socket.socket,
        *,
        tls: Tls | None,
        bounds: Bounds,
        timeouts: ServerTimeouts,
        report: Report,
    ) -> None:
        self._listener = listener
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto,
            http1_settings=HTTP1Settings(
                header_read_timeout=timeouts.head_ms, max_buffer_size=max(bounds.head_bytes, MIN_HTTP1_BUFFER_BYTES)
            ),
            http2_settings=HTTP2Settings(
                initial_connection_window_size=CONNECTION_WINDOW_BYTES,
                initial_stream_window_size=STREAM_WINDOW_BYTES,
                max_concurrent_streams=STREAMS_PER_CONNECTION,
                max_headers_size=bounds.head_bytes,
                max_send_buffer_size=SEND_BUFFER_BYTES,
            ),
            backlog=BACKLOG,
            backpressure=bounds.connections,
            ssl_cert=Path(tls.cert_file) if tls else None,
            ssl_key=Path(tls.key_file) if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
            log_level=LogLevels.error,
            log_dictconfig={
                "handlers": {"ours": {"()": lambda: _LogHandler(report)}},
                "loggers": {"_granian": {"handlers": ["ours"], "propagate": False}},
            },
        )

    def _init_shared_socket(self) -> None:
        # Granian closes what it is given: it gets a descriptor of its own.
        is_unix = self._listener.family == socket.AF_UNIX
        # (The stub of SocketHolder leaves out its constructor, and Granian's own code its attributes' types.)
        self._shd: Any = SocketHolder(self._listener.dup().detach(), is_unix, self.backlog)  # type: ignore[call-arg]


class _LogHandler(logging.Handler):
    """What Granian has to say, into our log. Tracebacks stay out: their messages may quote what was sent."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        self._report("error", "edge.server", message=record.getMessage().partition("\n")[0], error=kind)
