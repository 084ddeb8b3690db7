"""Clients that are slow on purpose, many at once: each is ended within its time, others are served meanwhile, nothing is left."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import environment, secret_of, settings
from tests.e2e.node import Gateway, wait_for
from tests.probes.conftest import KEYS
from tests.probes.table import BODY, CONTINUE, LENGTH, SCRIPT, TE, chat, chunk, get, head, in_pieces, post
from tests.probes.wire import HALF_CLOSE, Await, Step, Wire
from tests.support.scripted_upstream import Script, ScriptedUpstream, completion, delta, json_answer, stream
from tests.support.scripted_upstream import head as answer_head

HEAD_MS = BODY_GAP_MS = WRITE_MS = 500
BODY_MS, BODY_BYTES_PER_S = 1_500, 1_000
IDLE_MS = 700
LINGER_MS = 2_000
"""The edge's own: so long what a refused client still sends is dropped."""
SLACK_MS = 700
"""For a busy machine, and the grain of timers."""
OF_EACH = 8

LARGE = "x" * 12_000_000
"""More than the sockets between the node and its client take."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A row.

    Args:
        name: unique.
        steps: what it does; then it waits for the end.
        status: of the last answer that it gets; None where it gets none.
        within_ms: from its last step to the end of its connection.
        reads: False: it takes nothing of an answer, and so cannot see its end; the node's own figures tell.
    """

    name: str
    steps: Sequence[Step]
    status: int | None
    within_ms: int
    reads: bool = True


def _drip(data: bytes, every_s: float) -> tuple[Step, ...]:
    return in_pieces(data, 1, every_s)


LARGE_NAME, ENDLESS_NAME = "slow-large", "slow-endless"

SLOW: list[Slow] = [
    Slow("says nothing", [], None, HEAD_MS),
    Slow("one byte, and no more", [b"G"], 408, HEAD_MS),
    Slow("fields without end", [get()[:-2], *_drip(b"A: b\r\n" * 10, 0.02)], 408, 0),
    Slow("a head byte by byte", _drip(get()[:60], 0.02), 408, 0),
    Slow("a body that stops", [post()[:-1]], 408, BODY_GAP_MS),
    Slow("a body in crumbs that stops", [head(LENGTH), *_drip(BODY[:20], 0.05)], 408, BODY_GAP_MS),
    Slow("a body in crumbs without a stop", [head(LENGTH), *_drip(BODY, 0.05)], 408, 0),
    Slow("chunks in crumbs that stop", [head(TE), *_drip(chunk(b"{")[:4] * 5, 0.03)], 400, BODY_GAP_MS),
    Slow("trailers in crumbs that stop", [head(TE) + chunk(BODY) + b"0\r\n", *_drip(b"A: b", 0.05)], 408, BODY_GAP_MS),
    Slow("goes on, and then does not", [head(LENGTH, CONTINUE), Await(1)], 408, BODY_GAP_MS),
    Slow("a second request that stops", [get(), Await(1), get()[:-2]], 408, HEAD_MS),
    Slow("rests", [get(), Await(1)], 200, IDLE_MS),
    Slow("is refused and does not go", [b"nonsense\r\n\r\n", *_drip(b"x" * 25, 0.1)], 400, 0),
    Slow("takes nothing of a large answer", [post(chat(LARGE_NAME))], None, WRITE_MS, reads=False),
    Slow("takes nothing of a stream", [post(chat(ENDLESS_NAME, stream=True))], None, WRITE_MS, reads=False),
    Slow("takes nothing, and ends", [post(chat(LARGE_NAME)), 0.3, HALF_CLOSE], None, WRITE_MS, reads=False),
    Slow("asks and asks, and takes nothing", [get() * 5_000], None, WRITE_MS, reads=False),
]  # fmt: skip


def endless(_: object) -> Script:
    """A stream of large events that never ends by itself."""
    event = chunk(delta({"content": "y" * 60_000}))

    def steps() -> Iterator[Any]:
        yield from stream([0.0])[:1]
        while True:
            yield event

    return steps()  # type: ignore[return-value]


@pytest.fixture(scope="module")
def node(provider: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    provider.script(json_answer(completion(LARGE)), name=LARGE_NAME)
    provider.script(endless, name=ENDLESS_NAME)
    timeouts = {
        "head_ms": HEAD_MS,
        "body_gap_ms": BODY_GAP_MS,
        "body_ms": BODY_MS,
        "body_bytes_per_s": BODY_BYTES_PER_S,
        "idle_ms": IDLE_MS,
        "write_ms": WRITE_MS,
    }
    made = Gateway(
        tmp_path_factory.mktemp("slow"),
        settings(provider, KEYS, timeouts=timeouts, log_level="warning"),
        environment(KEYS),
    )
    with made.running():
        yield made


class Worker:
    """What the node's one worker holds."""

    def __init__(self, node: Gateway) -> None:
        self._node = node
        self.pid = node.status()["workers"][0]["pid"]

    def gauges(self) -> dict[str, int]:
        worker: dict[str, int] = self._node.status()["workers"][0]
        return worker

    def at_rest(self) -> bool:
        return all(self.gauges()[what] == 0 for what in ("in_flight", "connections", "body_bytes", "upstream_busy"))

    def descriptors(self) -> int:
        """Open ones, but for connections to providers that rest."""
        return len(os.listdir(f"/proc/{self.pid}/fd")) - self.gauges()["upstream_idle"]

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def play(port: int, slow: Slow, over: threading.Event) -> list[str]:
    """What is wrong with how a slow client fared."""
    with Wire(("127.0.0.1", port), reads=slow.reads) as wire:
        wire.play(slow.steps)
        begun = time.monotonic()
        if not slow.reads:
            over.wait(30)
            return []
        try:
            wire.wait_for_end(10)
        except AssertionError as error:
            return [f"{slow.name}: {error}"]
        took_ms = (time.monotonic() - begun) * 1_000
    statuses = wire.outcome.statuses
    faults = []
    if (statuses[-1] if statuses else None) != slow.status:
        faults.append(f"{slow.name}: answers {statuses}, not {slow.status}")
    if took_ms > slow.within_ms + SLACK_MS:
        faults.append(f"{slow.name}: {took_ms:.0f} ms, more than {slow.within_ms}")
    return faults


def test_slow_clients_are_ended_in_time_others_served_and_nothing_is_left(node: Gateway) -> None:
    worker = Worker(node)
    assert node.ask({"model": "gpt-4o-mini", "messages": [], "x_script": SCRIPT}, secret_of("main")).status == 200
    wait_for("one connection to the provider rests", lambda: worker.at_rest() and worker.gauges()["upstream_idle"] == 1)
    before = worker.descriptors()
    clients = SLOW * OF_EACH
    over = threading.Event()
    with ThreadPoolExecutor(len(clients)) as pool:
        playing = [pool.submit(play, node.port, slow, over) for slow in clients]
        waits_s = []
        for _ in range(20):
            begun = time.monotonic()
            body = {"model": "gpt-4o-mini", "messages": [], "x_script": SCRIPT}
            assert node.ask(body, secret_of("main")).status == 200
            waits_s.append(time.monotonic() - begun)
            time.sleep(0.05)
        ended_ms = (WRITE_MS + LINGER_MS + 3 * SLACK_MS) / 1_000
        try:  # those that take nothing are still there, and hold their sockets open
            wait_for("the worker is at rest", worker.at_rest, ended_ms + 3)
            wait_for("no descriptor is left", lambda: worker.descriptors() == before, 2.0)
        finally:
            over.set()
        faults = [fault for each in playing for fault in each.result()]
    assert not faults
    assert sorted(waits_s)[10] < 0.5, waits_s


# -- memory


UNREAD, OFFERED_BYTES = 200, 104_857_600
PER_CLIENT_BYTES = 1_048_576


class Offer:
    """An answer of OFFERED_BYTES to each who asks, and how much of it was taken off the provider's hands."""

    def __init__(self, *, streamed: bool) -> None:
        self.taken_bytes = 0
        self._streamed = streamed

    def __call__(self, _: object) -> Script:
        def steps() -> Iterator[Any]:
            if self._streamed:
                part = chunk(delta({"content": "z" * 65_536}))
                yield stream([0.0])[0]
            else:
                part = b"z" * 65_536
                yield answer_head(200, "application/json", f"content-length: {OFFERED_BYTES}")
            for _ in range(OFFERED_BYTES // 65_536):
                yield part
                self.taken_bytes += len(part)

        return steps()  # type: ignore[return-value]


@pytest.mark.nightly
@pytest.mark.timeout(180)
@pytest.mark.parametrize("streamed", [True, False])
def test_clients_that_never_read_cost_a_mebibyte_each_at_most_and_hold_the_provider_back(
    make_gateway: Callable[..., Gateway], provider: ScriptedUpstream, streamed: bool
) -> None:
    offer = Offer(streamed=streamed)
    body = chat(provider.script(offer), stream=streamed)
    node = make_gateway()
    worker = Worker(node)
    for _ in range(20):
        assert node.ask({"model": "gpt-4o-mini", "messages": [], "x_script": SCRIPT}, secret_of("main")).status == 200
    before = worker.rss_bytes()
    with ExitStack() as clients:
        for _ in range(UNREAD):
            wire = clients.enter_context(Wire(("127.0.0.1", node.port), reads=False))
            wire.play([post(body)])
        wait_for("all are under way", lambda: worker.gauges()["upstream_busy"] == UNREAD, 30.0)
        seen = -1
        while seen != offer.taken_bytes:  # until the provider is held back
            seen = offer.taken_bytes
            time.sleep(2.0)
        grown = worker.rss_bytes() - before
        print(
            f"\n{streamed=}: RSS grew by {grown / UNREAD / 1024:.0f} KiB a client; taken off {seen / UNREAD / 1024:.0f} KiB each"
        )
        assert grown <= UNREAD * PER_CLIENT_BYTES
        assert seen < UNREAD * OFFERED_BYTES / 5, "the provider was not held back"
    wait_for("the worker is at rest", worker.at_rest, 20.0)
