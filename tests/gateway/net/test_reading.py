"""One buffer for all that is read: nobody sees another's bytes, and nothing of a long answer is lost."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import uvloop

from gateway.base.node import Tls
from gateway.net.reading import READ_BYTES, Decrypted, Reader
from gateway.net.tls import server_context
from tests.support.certificates import Authority


def test_what_was_handed_on_stays_as_it_was_when_another_reads() -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    one, other = Reader(first.append), Reader(second.append, 4)
    one.get_buffer(-1)[:3] = b"abc"
    one.buffer_updated(3)
    other.get_buffer(-1)[:] = b"wxyz"
    other.buffer_updated(4)
    assert (first, second) == ([b"abc"], [b"wxyz"])
    assert len(one.get_buffer(-1)) == READ_BYTES


class _Taker(asyncio.Protocol):
    """Keeps what it is told; answers that the other side has ended when it has."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.events: list[str] = []
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append("lost")
        self.done.set_result(None)


def test_over_tls_each_connection_gets_its_own_bytes_whole(tmp_path: Path) -> None:
    authority = Authority("reading")
    cert_file, key_file = authority.issue("127.0.0.1").write(tmp_path)
    bodies = [bytes([number]) * (5 * READ_BYTES + 7 * number) for number in range(1, 9)]

    async def play() -> list[_Taker]:
        loop = asyncio.get_running_loop()
        takers: list[_Taker] = []

        def take() -> Decrypted:
            takers.append(_Taker())
            return Decrypted(takers[-1])

        context = server_context(Tls(cert_file=cert_file, key_file=key_file))
        server = await loop.create_server(take, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        client = ssl.create_default_context(cadata=authority.pem.decode())

        async def send(body: bytes) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            for at in range(0, len(body), 50_000):
                writer.write(body[at : at + 50_000])
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async with asyncio.timeout(20):
            await asyncio.gather(*(send(body) for body in bodies))
            await asyncio.gather(*(taker.done for taker in takers))
        server.close()
        return takers

    takers = uvloop.run(play())
    assert sorted(b"".join(taker.told) for taker in takers) == bodies
    assert all(len(data) <= READ_BYTES for taker in takers for data in taker.told)
    assert all(taker.events == ["made", "eof", "lost"] for taker in takers)
