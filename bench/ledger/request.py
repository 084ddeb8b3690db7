"""A governed chat completion without sockets: bytes into the edge, bytes out of the upstream's connection, and back.

    python -m bench.ledger.request COUNT

All that the gateway does for a request is done; what the event loop and the kernel do to move bytes is not. The records
and the lines of the log go to their threads, which write them to a folder and to /dev/null.
"""

from __future__ import annotations

import asyncio
import gc
import hmac
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from _fastpath.bucket import Table
from _fastpath.metrics import Registry
from _fastpath.shm import NodeMemory
from _fastpath.upstream import UpstreamConnection
from _fastpath.wheel import Wheel
from bench.scenarios import SCENARIOS
from gateway.adapters.logs import LogWriter
from gateway.adapters.spool import Spool
from gateway.adapters.tokens import KernelCounter
from gateway.base.node import Bounds, ServerTimeouts
from gateway.base.snapshot import Budget, Key, Limits, Model, Price, Provider, Snapshot, Target, Team
from gateway.dataplane.compile import compile_snapshot
from gateway.dataplane.pipeline import Pipeline
from gateway.net.edge import native_edge
from gateway.net.pool import UpstreamPool
from gateway.phases.account import Accountant
from gateway.phases.admit import Admission
from gateway.phases.authenticate import Authenticator

_PEPPER: Final = bytes(32)
_KEY: Final = b"tw-bench-0123456789abcdef0123456789abcdef"
_WARM_UP: Final = 200


class Wire:
    """A transport that keeps what was written last."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent = data

    def writelines(self, parts: list[bytes]) -> None:
        self.sent = b"".join(parts)

    def get_extra_info(self, _: str) -> tuple[str, int]:
        return "127.0.0.1", 1

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def ignore(self, *_: object, **__: object) -> None:
        """What no request needs."""

    set_write_buffer_limits = pause_reading = resume_reading = abort = close = ignore


def snapshot() -> Snapshot:
    """One key of one team, with every kind of limit, and one model with a price."""
    limits = Limits(requests_per_minute=10**9, tokens_per_minute=10**9, concurrency=10**7)
    budget = Budget(nano_usd=10**15, per="day")
    price = Price(input=150_000_000, output=600_000_000)
    return Snapshot(
        version="0123456789abcdef",
        providers=(Provider("instant", "openai", "http://127.0.0.1:1/v1"),),
        models=(Model("gpt-4o-mini", (Target("instant", "gpt-4o-mini", price=price),)),),
        teams=(Team("load", limits=limits, budget=budget),),
        keys=(
            Key(
                "k1",
                "bench",
                hmac.digest(_PEPPER, _KEY, "sha256").hex(),
                team="load",
                models=("gpt-*",),
                limits=limits,
                budget=budget,
            ),
        ),
    )


class _Pools:
    """The pool of the one provider, without anything to dial."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wheel: Wheel) -> None:
        def dial(_: object) -> Any:
            raise RuntimeError("there is a connection already")

        self.only = UpstreamPool("instant", loop, wheel, dial, max_connections=10, warm_connections=0, connect_ms=1_000)

    def of(self, _: Provider) -> UpstreamPool:
        return self.only


def exchange(folder: Path, loop: asyncio.AbstractEventLoop) -> tuple[Callable[[], bytes], Callable[[], None]]:
    """A function that has one request answered and returns the answer, and one that writes all that waits."""
    memory = NodeMemory.create(str(folder / "node"), 2, 64, 1 << 18)
    wheel = Wheel(loop)
    wheel.start()
    log = LogWriter(os.open(os.devnull, os.O_WRONLY))
    spool = Spool(folder / "spool", "w0", 1 << 30, lambda lost: sys.exit(f"{lost} records were lost"))
    pipeline = Pipeline(Authenticator(_PEPPER), Accountant(Registry(memory, 0), spool, log), log.event)
    snap = snapshot()
    admission = Admission(Table(memory, 0), KernelCounter(), {team.name: team for team in snap.teams})
    pools: Any = _Pools(loop, wheel)
    steps = compile_snapshot(snap, pools, lambda secret: secret, admission)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            pipeline.swap(end.value, admission)
            break
    caller, provider = Wire(), Wire()
    upstream: Any = UpstreamConnection(wheel, pools.only)
    upstream.connection_made(provider)
    pools.only._opened(upstream)
    edge: Any = native_edge(loop, wheel, pipeline, Bounds(), ServerTimeouts())()
    edge.connection_made(caller)
    asked, answer = _messages()

    def once() -> bytes:
        edge.data_received(asked)
        upstream.data_received(answer)
        return caller.sent

    def close() -> None:
        spool.close(5)
        log.close(5)

    return once, close


def _messages() -> tuple[bytes, bytes]:
    """As curl asks and nginx answers."""
    scenario = SCENARIOS["chat"]
    body, answer = scenario.body.encode(), scenario.answer.encode()
    asked = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (_KEY, len(body), body)
    )
    head = (
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 01 Mar 2026 12:00:00 GMT\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n" % len(answer)
    )
    return asked, head + answer


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        once, close = exchange(Path(folder), asyncio.get_running_loop())
        for _ in range(_WARM_UP):
            answered = once()
        if not answered.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the request was refused: {answered!r}")
        gc.collect()
        gc.freeze()
        gc.disable()
        for _ in range(count):
            once()
        close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
