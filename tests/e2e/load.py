"""Many callers at once, who keep their connections alive, retry nothing and note each request that got no whole answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from types import TracebackType
from typing import NamedTuple

from tests.e2e.conftest import secret_of
from tests.e2e.node import Gateway

ANSWER_S = 30.0
"""Past it a request has failed."""


class Failure(NamedTuple):
    """A request that got no whole answer, or another than 200."""

    what: str
    port: int
    """The caller's end of the connection; 0 where there was none."""
    opened_s: float
    failed_s: float


class Callers:
    """Calls a node from a thread of its own, from `__enter__` to `__exit__`.

    Args:
        script: what the provider answers.
        count: callers; each has one connection.
        pause_s: the longest pause of a caller between two requests; its connection rests meanwhile.
        stream: whether they ask for a stream.
        keep: whether they keep their connections; else each request has its own.
        port: where they call, if that is not the node itself.
    """

    def __init__(
        self,
        node: Gateway,
        script: str,
        count: int,
        *,
        pause_s: float = 0.05,
        stream: bool = False,
        keep: bool = True,
        port: int | None = None,
    ) -> None:
        self.failures: list[Failure] = []
        self.answered = 0
        self.connections = 0
        self._port = port or node.port
        self._count = count
        self._pause_s = pause_s
        body = json.dumps({"model": "gpt-4o-mini", "messages": [], "stream": stream, "x_script": script}).encode()
        self._request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {secret_of('main')}\r\n"
            f"connection: {'keep-alive' if keep else 'close'}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="callers")

    def __enter__(self) -> Callers:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()

    async def _main(self) -> None:
        await asyncio.gather(*(self._call(random.Random(number)) for number in range(self._count)))

    async def _call(self, chance: random.Random) -> None:
        while not self._ending.is_set():
            port, opened_s = 0, time.monotonic()
            writer = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                self.connections += 1
                port = writer.get_extra_info("sockname")[1]
                while not self._ending.is_set():
                    async with asyncio.timeout(ANSWER_S):
                        kept = await self._ask(reader, writer)
                    self.answered += 1
                    if not kept:
                        break
                    await asyncio.sleep(chance.uniform(0, self._pause_s))
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                self.failures.append(Failure(f"{type(error).__name__}: {error}", port, opened_s, time.monotonic()))
            finally:
                if writer is not None:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection may be used again. Raises ValueError for another answer than 200."""
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.lower().splitlines()
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        if "content-length" in fields:
            body = await reader.readexactly(int(fields["content-length"]))
        else:
            body = b""
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
            if not body.endswith(b"data: [DONE]\n\n"):
                raise ValueError("the stream ended without its terminal")
        if " 200 " not in lines[0]:
            raise ValueError(f"{lines[0]}: {body[:200]!r}")
        return fields.get("connection") != "close"


def callers_of(pid: int) -> set[int]:
    """The callers' ports of the connections that a process holds."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    remote = {row[9]: int(row[2].split(":")[1], 16) for row in rows}
    ports = set()
    for fd in _descriptors(pid):
        if fd.startswith("socket:[") and (port := remote.get(fd[8:-1])):
            ports.add(port)
    return ports


def _descriptors(pid: int) -> list[str]:
    import os

    found = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
    return found


__all__ = ["Callers", "Failure", "callers_of"]
