"""Reading through one buffer of the process, where the event loop would make an object of the largest size for every read.

The buffer is filled and emptied within one turn of the loop; whoever is told of bytes gets an object of his own, of just their size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

READ_BYTES = 65_536
"""The most that is handed on at once."""

_buffer = memoryview(bytearray(READ_BYTES))


class Reader(asyncio.BufferedProtocol):
    """A protocol's reading half.

    Args:
        hand_on: is told of what was read.
        most_bytes: at once; at most READ_BYTES.
    """

    __slots__ = ("_hand_on", "_room")

    def __init__(self, hand_on: Callable[[bytes], None], most_bytes: int = READ_BYTES) -> None:
        self._hand_on = hand_on
        self._room = _buffer[:most_bytes]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._hand_on(_buffer[:nbytes].tobytes())


class Decrypted(Reader):
    """Stands between a TLS transport and a protocol that is told of bytes as they come.

    Without it each read of a TLS transport makes an object of 256 KiB, gives most of it back, and ends with an exception.
    """

    __slots__ = ("connection_lost", "connection_made", "eof_received", "pause_writing", "resume_writing")

    def __init__(self, told: asyncio.BaseProtocol) -> None:
        protocol = cast(asyncio.Protocol, told)  # by its methods, not by its base
        super().__init__(protocol.data_received)
        self.connection_made = protocol.connection_made  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]
