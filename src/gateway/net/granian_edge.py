"""The Granian edge: HTTP/2, and HTTP/1.1 beside it, by Granian embedded in the worker's loop.

Granian's embedded server calls itself experimental, and tells nothing of its connections; its TLS reads a certificate once, takes
handshakes without a bound, and it knows no PROXY header. So the version is pinned, `tests/gateway/net/test_granian_edge.py` holds what
is relied on, and:

- the listener is ours, behind a gate as the native edge's; what has entered is carried to Granian (`gateway.net.relay`), in clear;
- it is handed a duplicate of the relay's socket, as a `SocketHolder`, in which Granian passes sockets to its own workers;
- who has just been accepted when it is told to end never hears of it: it is told when all have settled, and the relay closes who is idle.

Its one timer for HTTP/1.1 runs from the end of an answer to the end of the next head: there `head_ms` bounds idleness too.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.server.embed import Server

from _fastpath.wheel import Wheel
from gateway.base.addresses import Networks
from gateway.base.node import Bounds, Http2, ServerTimeouts
from gateway.net.asgi import Application, AsgiEdge
from gateway.net.edge import BACKLOG, RefusalFields
from gateway.net.gate import Gate
from gateway.net.relay import Relay
from gateway.net.tls import TlsFiles, server_files

STREAMS_PER_CONNECTION = 200
STREAM_WINDOW_BYTES = 262_144
"""Of a request's body that may lie unread in the server, a stream."""
CONNECTION_WINDOW_BYTES = 1_048_576
"""The same, a connection."""
SEND_BUFFER_BYTES = 65_536
"""Of an answer that the server takes ahead of the client, a stream."""
MIN_HTTP1_BUFFER_BYTES = 8_192
_SETTLE_S = 0.05
"""From the last connection that reached Granian to its being taken up there."""

Report = Callable[..., None]
"""Called as report(level, event, **fields)."""


def http2_files(http2: Http2 | None) -> TlsFiles | None:
    """The listener's certificate. Raises as `gateway.net.tls.server_files`."""
    return server_files(http2.tls if http2 is not None else None, "the http2 listener", ("h2", "http/1.1"))


class GranianEdge:
    """The edge of one listener, from its construction in a running loop on. Satisfies `gateway.net.edge.RunningEdge`.

    Args:
        application: answers exchanges.
        listener: listening, TCP or Unix; stays the caller's.
        http2: says what the listener speaks, and who is trusted.
        report: takes what Granian logs, and what the gate reports.
        on_failure: called with the reason if the server ends although nobody asked it to.
        refusal_fields: what is added to refusals below the application.

    Raises:
        OSError, ValueError: the certificate, its key or the callers' authorities cannot be used.
    """

    def __init__(
        self,
        application: Application,
        listener: socket.socket,
        *,
        wheel: Wheel,
        http2: Http2,
        bounds: Bounds,
        timeouts: ServerTimeouts,
        report: Report,
        on_failure: Callable[[str], None],
        refusal_fields: RefusalFields | None = None,
    ) -> None:
        self.tls = http2_files(http2)
        """Renewed by its owner; each connection gets the newest."""
        loop = asyncio.get_running_loop()
        trusted = Networks(http2.proxy_protocol) if http2.proxy_protocol else None
        self._relay = Relay(wheel, bounds, timeouts, report)
        self._gate = Gate(
            loop, self._relay, listener, report, trusted=trusted, arrival_s=timeouts.head_ms / 1_000, tls=self.tls
        )
        self._asgi = AsgiEdge(application, bounds, timeouts, refusal_fields, self._relay.of)
        self._server = _Server(self._asgi, self._relay.way_in.listener, bounds=bounds, timeouts=timeouts, report=report)
        self._on_failure = on_failure
        self._ending = False
        self._retiring: asyncio.Task[None] | None = None
        self._serving = loop.create_task(self._server.serve())
        self._serving.add_done_callback(self._ended)
        self._gate.open()

    @property
    def in_flight(self) -> int:
        return self._asgi.in_flight

    @property
    def connections(self) -> int:
        return self._relay.connections

    @property
    def body_bytes(self) -> int:
        return self._asgi.body_bytes

    def announce(self) -> None:
        """HTTP/2 says so when the server ends; before that it has no word for it."""
        self._asgi.retire()

    def retire(self) -> None:
        self.announce()
        self._gate.stop()
        self._retiring = asyncio.get_running_loop().create_task(self._retire())

    async def _retire(self) -> None:
        """Ends the server once all speak HTTP/2, in which it tells them; the others have left by then, each after an answer that
        said so or at the end of its time."""
        await self.take_the_last(0)
        while self._relay.may_ask and not self._ending:  # noqa: ASYNC110 - of many
            await asyncio.sleep(_SETTLE_S)
        if not self._ending:
            self._stop()

    async def take_the_last(self, most: int = BACKLOG) -> None:
        await self._gate.take_the_last(most)
        while not self._relay.settled:  # noqa: ASYNC110 - of many, and within a turn of the loop
            await asyncio.sleep(_SETTLE_S)
        await asyncio.sleep(_SETTLE_S)

    def drain(self) -> None:
        self._gate.close()
        self._stop()

    def _stop(self) -> None:
        self._ending = True
        self._server.stop()  # type: ignore[no-untyped-call]
        self._relay.hurry()

    def abort_all(self) -> None:
        self._gate.close()
        self._asgi.abort_all()
        self._relay.abort_all()
        self._relay.close()
        self._serving.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._ending:
            self._on_failure(f"the Granian edge ended by itself: {task.exception() or 'its log says why'}")


class _Server(Server):
    """Granian's embedded server on a socket that is there already."""

    def __init__(
        self,
        app: AsgiEdge,
        listener: socket.socket,
        *,
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
            backpressure=bounds.connections
            + BACKLOG,  # the relay keeps the bound; what it has closed may still be open here
            log_level=LogLevels.error,
            log_dictconfig={
                "handlers": {"ours": {"()": lambda: _LogHandler(report)}},
                "loggers": {"_granian": {"handlers": ["ours"], "propagate": False}},
            },
        )

    def _init_shared_socket(self) -> None:
        # Granian closes what it is given: it gets a descriptor of its own.
        # (The stub of SocketHolder leaves out its constructor, and Granian's own code its attributes' types.)
        self._shd: Any = SocketHolder(self._listener.dup().detach(), True, self.backlog)  # type: ignore[call-arg]


class _LogHandler(logging.Handler):
    """What Granian has to say, into our log. Tracebacks stay out: their messages may quote what was sent."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        self._report("error", "edge.server", message=record.getMessage().partition("\n")[0], error=kind)
