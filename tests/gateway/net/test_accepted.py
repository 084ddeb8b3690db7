"""Connections seen from outside the server that accepted them."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from gateway.net import accepted
from gateway.net.accepted import Accepted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells when a connection was last used")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_idle_connections_are_shut_down_busy_and_others_are_not(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted, "SLICE", 2)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server((host, 0), family=family))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        other = stack.enter_context(socket.create_server((host, 0), family=family))
        busy: set[str] = set()
        watched = Accepted(listener, lambda: busy, 150)

        def connect(to: socket.socket) -> tuple[socket.socket, socket.socket]:
            client = stack.enter_context(socket.create_connection(to.getsockname()[:2], timeout=2))
            server: Any = to.accept()[0]
            return client, stack.enter_context(server)

        async def main() -> None:
            await watched.look()
            assert watched.open == 0
            idle, working, talking, elsewhere = (connect(to)[0] for to in (listener, listener, listener, other))
            busy.add("{}:{}".format(*working.getsockname()[:2]))
            await watched.look()
            assert watched.open == 3
            await asyncio.sleep(0.2)
            talking.send(b"x")
            await asyncio.sleep(0.02)
            await watched.look()
            assert idle.recv(1) == b""
            for client in (working, talking, elsewhere):
                client.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.recv(1)

        asyncio.run(main())
