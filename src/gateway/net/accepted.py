"""The connections of a server that tells nothing of them, seen through the process's own descriptors.

Granian takes a permit for each connection it accepts, accepts no more when none is left, and closes none that is idle over HTTP/2 or
that never says a word: those would block the listener for good. So they are found from outside, from time to time: a descriptor
whose socket is bound to the listener's port and has a peer is one of them, the kernel knows when its last byte came and went
(TCP_INFO), and one that is idle is shut down; the server then closes it.

Linux alone tells; elsewhere nothing is found, and nothing is closed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Callable, Container
from contextlib import suppress

SLICE = 32
"""Descriptors that are looked at before the loop gets its turn: some 0.25 ms."""
SHORTEST_S, LONGEST_S = 0.25, 5.0
"""Between two looks: a quarter of the idle time, within these."""
_SINCE_MS = struct.Struct("=44xI4xI")
"""Of `struct tcp_info` (linux/tcp.h): how long ago data was last sent, and received."""
_DESCRIPTORS = "/proc/self/fd"


class Accepted:
    """The connections that were accepted from one TCP listener.

    Args:
        listener: in this process.
        busy: tells the peers (`ADDRESS:PORT`) that have a request under way; theirs are left alone.
        idle_ms: without a byte either way, after which a connection is shut down.
    """

    def __init__(self, listener: socket.socket, busy: Callable[[], Container[str]], idle_ms: int) -> None:
        self._local_port: int = listener.getsockname()[1]
        self._busy = busy
        self._idle_ms = idle_ms
        self.open = 0
        """That were there when it was last looked."""

    async def watch(self) -> None:
        """Looks from time to time, until it is cancelled."""
        every_s = min(max(self._idle_ms / 4_000, SHORTEST_S), LONGEST_S)
        while True:
            await asyncio.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Counts them, and closes those that are idle."""
        busy, seen = self._busy(), 0
        for number, name in enumerate(_descriptors(), 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            seen += self._look_at(int(name), busy)
        self.open = seen

    def _look_at(self, descriptor: int, busy: Container[str]) -> bool:
        """Whether it is one of them."""
        try:
            copy = os.dup(descriptor)  # the server's threads may close the original, and its number be used again
        except OSError:
            return False
        try:
            connection = socket.socket(fileno=copy)
        except OSError:  # no socket
            os.close(copy)
            return False
        with connection:
            peer = self._peer(connection)
            if peer is not None and peer not in busy and self._is_idle(connection):
                with suppress(OSError):  # closed meanwhile
                    connection.shutdown(socket.SHUT_RDWR)
        return peer is not None

    def _peer(self, connection: socket.socket) -> str | None:
        """Of a connection to our port; None for any other socket."""
        if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.type != socket.SOCK_STREAM:
            return None
        try:
            if connection.getsockname()[1] != self._local_port:
                return None
            host, port = connection.getpeername()[:2]
        except OSError:  # listening, or not connected any more
            return None
        return f"{host.partition('%')[0]}:{port}"

    def _is_idle(self, connection: socket.socket) -> bool:
        since_ms = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SINCE_MS.size)
        return bool(min(_SINCE_MS.unpack(since_ms)) >= self._idle_ms)


def _descriptors() -> list[str]:
    return os.listdir(_DESCRIPTORS) if sys.platform == "linux" else []  # noqa: PTH208 - names, maybe thousands
