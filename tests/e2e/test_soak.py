"""A node that serves for hours grows by nothing: neither memory, nor file descriptors, nor threads.

The traffic is mixed: answers, streams, embeddings, providers that fail, requests that are refused, callers that leave, kept
and new connections, both edges, names that were never seen before, and a configuration that changes now and then. What a
leaked task would hold (its request, its socket, its coroutine) is seen as memory and descriptors; tasks are not counted.

    THROUGHWAY_SOAK_S=7200 .venv/bin/python -m pytest -s tests/e2e/test_soak.py

is the whole of it, with a bound on the slope of the memory; the nightly tier plays ten minutes of it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.conftest import Tls, environment, secret_of, settings
from tests.e2e.node import Gateway, wait_for
from tests.support.http2_client import Http2Client
from tests.support.scripted_upstream import (
    RESET,
    STALL,
    Script,
    ScriptedUpstream,
    chat_events,
    completion,
    error,
    json_answer,
    stream,
)

SOAK_S = float(os.environ.get("THROUGHWAY_SOAK_S", "600"))
WARM_UP_S = min(SOAK_S / 4, 600.0)
"""Until caches, pools and tables are as full as they get; not part of `SOAK_S`."""
SAMPLES = 120
SAMPLE_S = min(SOAK_S / SAMPLES, 15.0)
RELOAD_S = SOAK_S / 20
CALLERS = 16
PAUSE_S = 0.4
"""The longest pause of a caller between two requests."""
REUSES = 20
"""Requests on one connection, at most."""

HOUR_S = 3_600.0
SLOPE_KIB_H = 1_024.0
SLOPE_FROM_S = 3_600.0
"""From this length on a slope is told from the noise."""
STEP_KIB = 2_048.0
"""What a shorter run may grow by, between the medians of its first and its last third.

Memory comes and goes in arenas of a MiB, so that two of them are noise, and a slope of 1 MiB/h, which is 0.1 MiB here, could
not be seen. At 70 requests a second a growth of 2 MiB in the 400 s between the middles of the thirds of ten minutes is 75
bytes a request: the smallest object that is left behind by each of them is seen.
"""


# -- the traffic


class Act(NamedTuple):
    """What a caller does, and how often; `{n}` in the body is a number that was never used before.

    Args:
        statuses: it may be answered with.
        leaves_s: the caller leaves after so long, answered or not.
    """

    weight: int
    statuses: tuple[int, ...]
    script: Script = ()
    body: dict[str, Any] | bytes = b""
    path: str = "/v1/chat/completions"
    method: str = "POST"
    key: str = "main"
    leaves_s: float | None = None


CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say {n}. " * 40}]}
STREAM = {**CHAT, "stream": True}
EMBEDDINGS = {"data": [{"index": 0, "object": "embedding", "embedding": [0.25] * 256}], "usage": {"prompt_tokens": 5}}
WORDS = ("word ",) * 30

ACTS: dict[str, Act] = {
    "chat": Act(30, (200,), json_answer(completion()), CHAT),
    "long": Act(3, (200,), json_answer(completion("x" * 300_000)), {**CHAT, "user": "u" * 10_000}),
    "stream": Act(25, (200,), stream(chat_events(WORDS)), STREAM),
    "slow stream": Act(5, (200,), stream([p for e in chat_events(WORDS) for p in (e, 0.02)]), STREAM),
    "embedding": Act(
        10, (200,), json_answer(EMBEDDINGS), {"model": "embed-small", "input": "Number {n}"}, "/v1/embeddings"
    ),
    "models": Act(5, (200,), path="/v1/models", method="GET"),
    "provider fails": Act(3, (500, 502, 503), error(500, "boom"), CHAT),
    "provider limits": Act(2, (429,), error(429, "slow down"), CHAT),
    "provider goes": Act(2, (502,), [RESET], CHAT),
    "provider breaks off": Act(2, (200,), stream([*chat_events(WORDS)[:9], RESET]), STREAM),
    "provider stalls": Act(1, (504,), [STALL], {**CHAT, "model": "brief"}),
    "fails over": Act(3, (200,), (), {**CHAT, "model": "spare"}),
    "no such key": Act(2, (401,), body=CHAT, key="{n}"),
    "no such model": Act(2, (404,), body={**CHAT, "model": "model-{n}"}),
    "no such path": Act(2, (404,), body=CHAT, path="/v1/nothing-{n}"),
    "no JSON": Act(2, (400,), body=b"{"),
    "limited": Act(3, (200, 429), json_answer(completion()), CHAT, key="rpm"),
    "leaves a stream": Act(4, (200,), stream([*chat_events(WORDS)[:9], STALL]), STREAM, leaves_s=0.1),
    "leaves unanswered": Act(4, (), [STALL], CHAT, leaves_s=0.1),
}


class Traffic:
    """Plays acts at random, from threads of its own, from `__enter__` to `__exit__`; `rest` lets all callers go for a while."""

    def __init__(self, node: Gateway, tls: Tls, upstream: ScriptedUpstream) -> None:
        self.done: collections.Counter[str] = collections.Counter()
        self.faults: collections.Counter[str] = collections.Counter()
        self._node = node
        self._tls = tls
        for name, act in ACTS.items():
            upstream.script(act.script, name=name)
        upstream.script(error(500), name="fails over", b=json_answer(completion()))
        self._numbers = itertools.count()
        self._going, self._ending = threading.Event(), threading.Event()
        self._resting = threading.Semaphore(0)
        self._threads = [
            threading.Thread(target=lambda: asyncio.run(self._main()), name="http1"),
            threading.Thread(target=self._call_by_http2, name="http2"),
        ]

    def __enter__(self) -> Traffic:
        self._going.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def rest(self) -> Iterator[None]:
        """No caller is connected meanwhile."""
        self._going.clear()
        try:
            for _ in range(CALLERS + 1):
                assert self._resting.acquire(timeout=30), "a caller does not come to rest"
            yield
        finally:
            self._going.set()

    def _choose(self, chance: random.Random) -> tuple[str, Act]:
        (chosen,) = chance.choices(list(ACTS.items()), [act.weight for act in ACTS.values()])
        return chosen

    def _filled(self, name: str, act: Act) -> tuple[str, str, bytes]:
        """Path, secret and body."""
        number = str(next(self._numbers))
        body = act.body
        if isinstance(body, dict):
            body = json.dumps({**body, "x_script": name}).replace("{n}", number).encode()
        return act.path.replace("{n}", number), secret_of(act.key.replace("{n}", number)), body

    def _note(self, name: str, act: Act, status: int) -> None:
        self.done[name] += 1
        if status not in act.statuses:
            self.faults[f"{name}: {status}"] += 1

    # -- by HTTP/1.1, on the native edge

    async def _main(self) -> None:
        await asyncio.gather(*(self._call(random.Random(number)) for number in range(CALLERS)))

    async def _call(self, chance: random.Random) -> None:
        rests = False
        while not self._ending.is_set():
            if not self._going.is_set():
                if not rests:
                    self._resting.release()
                rests = True
                await asyncio.sleep(0.05)
                continue
            rests = False
            reader, writer = await asyncio.open_connection("127.0.0.1", self._node.port)
            try:
                for _ in range(chance.choice((1, REUSES))):
                    await asyncio.sleep(chance.uniform(0, PAUSE_S))
                    if not self._going.is_set() or self._ending.is_set():
                        break
                    if not await self._ask(reader, writer, *self._choose(chance)):
                        break
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, act: Act) -> bool:
        """One act; whether the connection may be used again."""
        path, secret, body = self._filled(name, act)
        fields = f"host: h\r\nauthorization: Bearer {secret}\r\ncontent-type: application/json\r\n"
        writer.write(f"{act.method} {path} HTTP/1.1\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body)
        try:
            async with asyncio.timeout(act.leaves_s or 20.0):
                status, kept = await self._answer(reader)
        except (OSError, EOFError, TimeoutError) as fault:
            self.done[name] += 1
            if act.leaves_s is None:
                self.faults[f"{name}: {type(fault).__name__}"] += 1
            return False
        self._note(name, act, status)
        return kept

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bool]:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        if "content-length" in fields:
            await reader.readexactly(int(fields["content-length"]))
        else:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        return int(lines[0][9:12]), fields.get("connection") != "close"

    # -- by HTTP/2, on the second edge

    def _call_by_http2(self) -> None:
        chance = random.Random("http2")
        rests = False
        while not self._ending.is_set():
            if not self._going.is_set():
                if not rests:
                    self._resting.release()
                rests = True
                time.sleep(0.05)
                continue
            rests = False
            with Http2Client(self._node.http2_port, self._tls.context("h2")) as client:
                for _ in range(REUSES):
                    time.sleep(chance.uniform(0, PAUSE_S))
                    if not self._going.is_set() or self._ending.is_set():
                        break
                    self._ask_by_http2(client, *self._choose(chance))

    def _ask_by_http2(self, client: Http2Client, name: str, act: Act) -> None:
        path, secret, body = self._filled(name, act)
        fields = [("authorization", f"Bearer {secret}"), ("content-type", "application/json")]
        number = client.request(path, body or None, fields, method=act.method)
        if act.leaves_s is not None:
            client.read(act.leaves_s)
            client.reset(number)
            self.done[name] += 1
        else:
            self._note(name, act, client.answer(number, 20.0).status)


# -- what is measured


class Sample(NamedTuple):
    at_s: float
    rss_kib: int


class Holdings(NamedTuple):
    """What a process holds at rest."""

    descriptors: int
    threads: int


def rss_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4


def at_rest(node: Gateway, traffic: Traffic) -> dict[int, Holdings]:
    """Of each process, while nobody is connected; connections to providers that wait in pools are left out."""
    with traffic.rest():

        def idle() -> bool:
            (worker,) = node.status()["workers"]
            return all(worker[what] == 0 for what in ("in_flight", "connections", "upstream_busy"))

        wait_for("nobody is connected", idle, 30.0, 0.1)
        (worker,) = node.status()["workers"]
        pooled = {worker["pid"]: worker["upstream_idle"]}
        return {
            pid: Holdings(len(os.listdir(f"/proc/{pid}/fd")) - pooled.get(pid, 0), len(os.listdir(f"/proc/{pid}/task")))
            for pid in node.processes()
        }


def slope_kib_h(samples: list[Sample]) -> float:
    """By least squares."""
    return statistics.linear_regression([s.at_s for s in samples], [s.rss_kib for s in samples]).slope * HOUR_S


def growth_kib(samples: list[Sample]) -> float:
    """Between the medians of the first and the last third."""
    third = len(samples) // 3
    first, last = (statistics.median(s.rss_kib for s in part) for part in (samples[:third], samples[-third:]))
    return last - first


class Soak:
    """Runs a node under traffic for a while, and keeps its house: neither its log nor what its provider got grows."""

    def __init__(self, node: Gateway, upstream: ScriptedUpstream, reload: Callable[[int], None]) -> None:
        self.samples: dict[int, list[Sample]] = collections.defaultdict(list)
        self.reloads = 0
        self._node = node
        self._upstream = upstream
        self._reload = reload
        self._reloaded_at = time.monotonic()

    def last(self, duration_s: float, *, measured: bool) -> None:
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            time.sleep(SAMPLE_S)
            self._upstream.forget()
            assert b'"request_crashed"' not in self._node.log_file.read_bytes()
            os.truncate(self._node.log_file, 0)  # it is appended to
            if time.monotonic() - self._reloaded_at >= RELOAD_S:
                self.reloads += 1
                self._reload(self.reloads)
                self._reloaded_at = time.monotonic()
            if measured:
                for pid in self._node.processes():
                    self.samples[pid].append(Sample(time.monotonic(), rss_kib(pid)))


@pytest.mark.nightly
@pytest.mark.timeout(WARM_UP_S + SOAK_S + 240)
def test_a_node_that_serves_for_long_does_not_grow(upstream: ScriptedUpstream, tls: Tls, tmp_path: Path) -> None:
    keys: dict[str, dict[str, Any]] = {"main": {}, "rpm": {"limits": {"requests_per_minute": 30}}}
    own = settings(upstream, keys, http2={"tls": tls.settings})
    node = Gateway(tmp_path, own, environment(keys))

    def reload(number: int) -> None:
        """A model more, or a model less."""
        before = node.status()["config"]["version"]
        models = {**node.settings["models"], **({"changing": {"targets": [{"provider": "b"}]}} if number % 2 else {})}
        node.configure({**node.settings, "models": models})
        node.signal(signal.SIGHUP)
        wait_for("the next configuration", lambda: node.status()["config"]["version"] != before)

    with node.running(), Traffic(node, tls, upstream) as traffic:
        soak = Soak(node, upstream, reload)
        soak.last(WARM_UP_S, measured=False)
        before = at_rest(node, traffic)
        begun, begun_at = traffic.done.total(), time.monotonic()
        soak.last(SOAK_S, measured=True)
        rate = (traffic.done.total() - begun) / (time.monotonic() - begun_at)
        after = at_rest(node, traffic)
        assert soak.reloads >= 15 and not node.status()["config"]["problems"]
        names = dict.fromkeys(after, "agent") | {node.process.pid: "supervisor", node.worker_pids()[0]: "worker"}
    print(
        f"\n{traffic.done.total()} requests, {rate:.0f} a second, {soak.reloads} configurations, {SOAK_S:g} s measured"
    )
    for pid, name in names.items():
        samples = soak.samples[pid]
        print(
            f"{name}: RSS {samples[0].rss_kib} to {samples[-1].rss_kib} KiB, by thirds {growth_kib(samples):+.0f} KiB, "
            f"slope {slope_kib_h(samples):+.0f} KiB/h; {before.get(pid)} to {after[pid]}"
        )
    assert set(traffic.done) == set(ACTS)
    assert not traffic.faults
    assert after.keys() == before.keys(), "the same processes"
    for pid, held in after.items():
        assert held.descriptors <= before[pid].descriptors and held.threads <= before[pid].threads, names[pid]
    for pid, name in names.items():
        if SOAK_S >= SLOPE_FROM_S:
            assert slope_kib_h(soak.samples[pid]) <= SLOPE_KIB_H, name
        else:
            assert growth_kib(soak.samples[pid]) <= STEP_KIB, name
