"""Several processes that ask together, where one is not enough for the target.

They share connections and rate, connect, and wait for each other; then all are told the same moment to begin at. The requests of an open
loop take turns: with a constant rate the k-th comes when it would from one process, and Poisson processes add up to one.

A process that fails fails the run; one whose parent is gone ends by itself.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final, NamedTuple

from bench.client import session
from bench.client.payloads import Entry
from bench.client.result import Part
from bench.client.session import SETTLE_NS, Settings
from bench.errors import BenchError
from bench.native.agenda import now_ns

MAX_PROCESSES: Final = 64
"""Each has 1.4 MB of histograms, which the parent adds up as they come."""

_SEED_STEP: Final = 1_000_003
_NS_PER_S: Final = 1_000_000_000
_END_S: Final = 5.0

_READY: Final = "ready"
_Message = Part | BenchError | tuple[str, float] | str
"""From a process to its parent: its part, why there is none, its progress, or that it is connected."""


class Share(NamedTuple):
    """What one of the processes does."""

    settings: Settings
    offset_ns: int
    """From the common beginning to its first request, of an open loop."""


def shares(settings: Settings) -> list[Share]:
    """The settings of each process.

    Raises:
        BenchError: there are more processes than connections.
    """
    count = settings.processes
    if count > settings.connections:
        raise BenchError(f"{count} processes share {settings.connections} connections: each needs one at least")
    whole, more = divmod(settings.connections, count)
    rate = settings.rate
    return [
        Share(
            replace(
                settings,
                connections=whole + (number < more),
                rate=None if rate is None else rate / count,
                seed=settings.seed + number * _SEED_STEP,
            ),
            0 if rate is None else round(number / rate * _NS_PER_S),
        )
        for number in range(count)
    ]


def play(
    settings: Settings, entries: Sequence[Entry], key: str | None, on_progress: Callable[[str, float], object]
) -> Part:
    """What `session.play` does, by several processes.

    Raises:
        BenchError: one of them could not do its share.
    """
    with _started(shares(settings), entries, key) as pipes:
        return _gathered(pipes, on_progress)


def _gathered(pipes: dict[Connection, BaseProcess], on_progress: Callable[[str, float], object]) -> Part:
    total: Part | None = None
    at_work, ready = set(pipes), 0
    while at_work:
        for pipe in wait(list(at_work)):
            assert isinstance(pipe, Connection)
            match _received(pipe, pipes[pipe]):
                case Part() as part:
                    at_work.discard(pipe)
                    if total is None:
                        total = part
                    else:
                        total.add(part)
                case BenchError() as error:
                    raise error
                case (what, share):
                    on_progress(what, share)
                case _:
                    ready += 1
                    if ready == len(pipes):
                        begin_ns = now_ns() + SETTLE_NS
                        for each in pipes:
                            each.send(begin_ns)
    assert total is not None
    return total


def _received(pipe: Connection, process: BaseProcess) -> _Message:
    try:
        message: _Message = pipe.recv()
    except (EOFError, OSError):
        process.join(_END_S)
        raise BenchError(f"{process.name} ended with {process.exitcode}") from None
    return message


@contextmanager
def _started(
    all_shares: Sequence[Share], entries: Sequence[Entry], key: str | None
) -> Iterator[dict[Connection, BaseProcess]]:
    """The processes, by the pipe to each; ended at the end of the block."""
    context = get_context("spawn")  # a fork would have our loop's descriptors, and the key goes by no command line
    pipes: dict[Connection, BaseProcess] = {}
    try:
        for number, share in enumerate(all_shares, 1):
            ours, theirs = context.Pipe()
            arguments = (theirs, share, entries, key, number == 1)
            process: BaseProcess = context.Process(
                target=_work, args=arguments, name=f"load process {number}", daemon=True
            )
            pipes[ours] = process
            with theirs:
                process.start()
        yield pipes
    finally:
        for pipe, process in pipes.items():
            pipe.close()
            if process.pid is not None:
                process.terminate()
        for process in pipes.values():
            if process.pid is not None:
                process.join(_END_S)
                process.kill()
                process.join()
                process.close()


# -- in a process of its own


def _work(pipe: Connection, share: Share, entries: Sequence[Entry], key: str | None, tells: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends us

    async def gate() -> int:
        pipe.send(_READY)
        return await _begin(pipe)

    def on_progress(*progress: object) -> None:
        if tells:
            pipe.send(progress)

    with suppress(asyncio.CancelledError, BrokenPipeError):  # the parent is gone: nobody is left to hear of it
        try:
            answer: Part | BenchError = session.play(share.settings, entries, key, on_progress, gate, share.offset_ns)
        except BenchError as error:
            answer = error
        pipe.send(answer)


async def _begin(pipe: Connection) -> int:
    """When to begin. From now on whoever asks ends when nobody is left to hear of it."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[int] = loop.create_future()
    asking = asyncio.current_task()
    assert asking is not None

    def on_readable() -> None:
        try:
            told.set_result(pipe.recv())
        except (EOFError, OSError):
            loop.remove_reader(pipe.fileno())
            asking.cancel()

    loop.add_reader(pipe.fileno(), on_readable)
    return await told
