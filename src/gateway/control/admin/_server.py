"""Granian on the supervisor's socket, from start to SIGTERM.

Granian's embedded server binds a socket of its own; here it is handed a duplicate of the one that the supervisor holds,
in the form (`SocketHolder`) in which Granian passes sockets to its own workers. That form is not documented, so the
version is pinned and the tests start a process on an inherited socket.

Its shutdown closes idle connections and waits for the others, a half-sent head among them (30 s, measured on 2.8.7). So
the wait is ours: until the requests that were taken are answered, at most DRAIN_S, and LINGER_S for their last bytes.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from contextlib import suppress
from typing import Any

import uvloop
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from gateway.control.admin._access import Gatekeeper, admin_token
from gateway.control.admin._app import build_app
from gateway.control.admin._control import Control
from gateway.control.admin._metrics import Metrics
from gateway.control.admin._observer import Observer
from gateway.control.admin._services import Log, Services

DRAIN_S = 10.0
LINGER_S = 0.3
HEAD_MS = 10_000
"""For a request's head to arrive."""
CONNECTIONS = 512
"""Accepted at a time; others wait in the kernel's queue."""
LOG_CLOSE_S = 5.0


def serve_admin(listener: socket.socket, services: Services) -> None:
    """Serves the control plane until SIGTERM, on the main thread of a process that does nothing else.

    Args:
        listener: listening, TCP or Unix; stays the caller's.
        services: what the composition root provides.

    Raises:
        OSError, ValueError: the admin token cannot be had.
        RuntimeError: the server ended although nobody asked it to.
    """
    try:
        uvloop.run(_serve(listener, services))
    finally:
        services.log.close(LOG_CLOSE_S)


async def _serve(listener: socket.socket, services: Services) -> None:
    log = services.log
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    metrics = Metrics()
    gatekeeper = Gatekeeper(admin_token(services.node, log), log)
    control = Control(services)
    try:
        observer = Observer(build_app(control, gatekeeper, metrics, log), metrics, log)
        server = _Server(observer, listener, log)
        serving = asyncio.create_task(server.serve())
        asked = asyncio.create_task(stopping.wait())
        log.event("info", "admin.started", listen=str(services.node.admin.listen if services.node.admin else ""))
        await asyncio.wait([serving, asked], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.is_set():
            asked.cancel()
            serving.result()
            raise RuntimeError("the admin server ended by itself; the log says why")
        server.stop()  # type: ignore[no-untyped-call]
        await _drain(serving, observer)
    finally:
        await control.close()
    log.event("info", "admin.stopped", requests_cut=observer.active)


async def _drain(serving: asyncio.Task[None], observer: Observer) -> None:
    """Returns when all requests are answered, or their time is up."""
    with suppress(TimeoutError):  # then they are cut, and the log says how many
        await asyncio.wait_for(observer.idle.wait(), DRAIN_S)
    await asyncio.wait([serving], timeout=LINGER_S)
    if serving.done():
        serving.result()
    else:
        serving.cancel()


class _Server(Server):
    """Granian's embedded server on a socket that is there already."""

    def __init__(self, app: Any, listener: socket.socket, log: Log) -> None:
        self._listener = listener
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=HEAD_MS),
            websockets=False,
            backpressure=CONNECTIONS,
            log_level=LogLevels.error,
            log_dictconfig={
                "handlers": {"ours": {"()": lambda: _LogHandler(log)}},
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

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        self._log.event("error", "admin.server", message=record.getMessage().partition("\n")[0], error=kind)
