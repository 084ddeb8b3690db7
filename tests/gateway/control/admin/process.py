"""The control plane as a real process, with a node's ops listener that the test plays."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import msgspec

from gateway.adapters.ledger_sqlite import SqliteLedger
from gateway.adapters.logs import LogWriter
from gateway.base.node import Address, Admin, Node
from gateway.base.ports import UsageReader
from gateway.supervisor import bind_listeners

PEPPER = b"pepper-canary-0123456789abcdef0123456789"
TOKEN = "token-canary-0123456789abcdef"
NOBODY, ANY_PORT = Address(port=1), Address(port=0)
_spawn = multiprocessing.get_context("spawn")


def run(listener: socket.socket, node: Node, output: Path) -> None:
    """The process: all that it says, in whatever way, goes to `output`."""
    descriptor = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    from gateway.control import admin

    def open_usage() -> UsageReader:
        return SqliteLedger(node.ledger_file)

    listener.setblocking(False)
    admin.serve_admin(listener, admin.Services(node, PEPPER, open_usage, LogWriter(1, "debug")))


class ControlPlane:
    """A running control plane, as its callers and its supervisor see it."""

    def __init__(self, listener: socket.socket, node: Node, output: Path) -> None:
        self.node = node
        self.listener = listener
        self._output = output
        self.process = _spawn.Process(target=run, args=(listener, node, output))
        self.process.start()
        path = node.admin.listen.path if node.admin else None
        base = "http://control" if path else "http://{}:{}".format(*listener.getsockname()[:2])
        self.http = httpx.Client(base_url=base, transport=httpx.HTTPTransport(uds=path), timeout=10, trust_env=False)
        self.authorized = {"authorization": f"Bearer {TOKEN}"}

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path, headers=self.authorized)

    def post(self, path: str, body: object) -> httpx.Response:
        return self.http.post(path, json=body, headers=self.authorized)

    def delete(self, path: str) -> httpx.Response:
        return self.http.delete(path, headers=self.authorized)

    def output(self) -> str:
        return self._output.read_text()

    def events(self, event: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in self.output().splitlines()]
        return [line for line in lines if line["event"] == event]

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Sends a signal; the seconds until the process was gone."""
        pid = self.process.pid
        assert pid is not None
        began = time.monotonic()
        os.kill(pid, number)
        self.process.join(20)
        return time.monotonic() - began

    def close(self) -> None:
        self.http.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.listener.close()


@contextmanager
def control_plane(
    state: Path, *, ops: Address = NOBODY, token: str = TOKEN, listen: Address = ANY_PORT
) -> Iterator[ControlPlane]:
    """Starts one on a free port; the kernel keeps callers waiting until it accepts."""
    node = Node(ops=ops, admin=Admin(listen, token), state_dir=state)
    (listener,) = bind_listeners(listen, 1)
    control = ControlPlane(listener, node, state / "output")
    try:
        yield control
    finally:
        control.close()


class Silent:
    """A log that nobody reads."""

    def event(self, level: str, event: str, **fields: object) -> None: ...
    def close(self, timeout: float) -> bool:
        return True


class Ops:
    """A node's ops listener that says what it is told to say."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.delay_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                time.sleep(outer.delay_s)
                status, body = outer.answers.get(self.path, (404, b""))
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = Address(port=self._server.server_address[1])

    def say(self, path: str, body: object) -> None:
        self.answers[path] = 200, body if isinstance(body, bytes) else msgspec.json.encode(body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
