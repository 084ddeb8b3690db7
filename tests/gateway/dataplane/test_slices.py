"""A large configuration is taken into use without keeping the loop from its requests."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest
import uvloop

from _fastpath.bucket import Table
from _fastpath.shm import NodeMemory
from _fastpath.wheel import Wheel
from gateway.base.snapshot import (
    Budget,
    Encoded,
    Key,
    Limits,
    Model,
    Price,
    Provider,
    Snapshot,
    Target,
    Team,
    encode,
)
from gateway.dataplane.compile import Pools, compile_snapshot, dismantle
from gateway.dataplane.slices import in_slices
from gateway.phases.admit import Admission

KEYS, MODELS, TEAMS = 10_000, 1_000, 100
STALL_SHARE = 1 / 300
"""A turn of the loop takes less of all that the work takes: 2 ms of 600, and as much more on a slower machine."""
ROUNDS = 8
"""At most; one that is good is enough: what comes by chance is not in all of them."""


def large(generation: int = 0, keys: int = KEYS, models: int = MODELS) -> Snapshot:
    """As large as is promised, with everything that a key and a model can have."""
    price = Price(150_000_000, 600_000_000)
    return Snapshot(
        "",
        tuple(Provider(f"p{i}", "openai", f"http://127.0.0.1:{9 + i}/v{generation}") for i in range(10)),
        tuple(
            Model(
                f"model-{i}",
                tuple(Target(f"p{(i + j) % 10}", f"m{i}", 1 + j, price) for j in range(2)),
                (f"model-{(i + 1) % models}",),
            )
            for i in range(models)
        ),
        tuple(Team(f"team{i}", Limits(6_000), Budget(10**12, "month")) for i in range(TEAMS)),
        tuple(
            Key(
                f"cfg-key{i:05}",
                f"key{i:05}",
                hashlib.sha256(b"%d %d" % (generation, i)).hexdigest(),
                f"team{i % TEAMS}",
                ("model-1*", "model-2*"),
                Limits(600, 100_000, 50),
                Budget(10**10, "day"),
            )
            for i in range(keys)
        ),
    ).sealed()


class Counter:
    def count(self, texts: Sequence[bytes], encoding: str) -> int:
        return len(texts)

    def exactly(self, texts: list[bytes], encoding: str) -> int | None:
        return self.count(texts, encoding)


async def take_up(memory: NodeMemory, data: list[bytes]) -> None:
    """Takes snapshots into use one after the other, as a worker does, the collector at rest."""
    gc.disable()
    try:
        await _take_up(memory, data)
    finally:
        gc.enable()


async def _take_up(memory: NodeMemory, data: list[bytes]) -> None:
    wheel = Wheel(asyncio.get_running_loop())
    pools = Pools(asyncio.get_running_loop(), wheel)
    table = Table(memory, 0)
    before = None
    for each in data:
        encoded = await asyncio.to_thread(Encoded, each)
        snapshot = await in_slices(encoded.decode())
        await asyncio.to_thread(pools.prepare, snapshot.providers)
        admission = Admission(table, Counter(), {team.name: team for team in snapshot.teams})
        compiled = await in_slices(compile_snapshot(snapshot, pools, lambda reference: reference, admission))
        assert (len(compiled.key_by_hmac), len(compiled.models)) == (len(snapshot.keys), len(snapshot.models))
        pools.keep(snapshot.providers)
        del snapshot
        if before is not None:
            await in_slices(dismantle(before))
            assert not before.key_by_hmac and not before.models
        before = compiled
    wheel.close()


def in_loop(work: Callable[[], object]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())  # type: ignore[arg-type]


def test_ten_thousand_keys_and_a_thousand_models_are_taken_up_without_a_stall(tmp_path: Path) -> None:
    memory = NodeMemory.create(str(tmp_path / "memory"), 1, 65_536, 4_096)
    data = [encode(large(0)), encode(large(1))]
    longest: list[float] = []
    shares: list[float] = []

    async def work() -> None:
        async def turns() -> None:
            """What a turn of the loop takes, in CPU time, which no neighbour on the machine adds to."""
            while True:
                began = time.thread_time()
                await asyncio.sleep(0)
                longest[-1] = max(longest[-1], time.thread_time() - began)

        other = asyncio.create_task(turns())
        began = time.thread_time()
        await take_up(memory, data)
        shares.append(longest[-1] / (time.thread_time() - began))
        other.cancel()

    while len(shares) < ROUNDS and min(shares, default=1.0) >= STALL_SHARE:
        longest.append(0.0)
        in_loop(work)
        gc.collect()
    turns = (f"{each * 1e6:.0f} us (1/{1 / share:.0f})" for each, share in zip(longest, shares, strict=True))
    print(f"longest turns of the loop, and of all the work: {', '.join(turns)}")
    assert min(shares) < STALL_SHARE


def test_the_loop_goes_on_while_steps_are_done_and_their_result_comes_back() -> None:
    def steps() -> Generator[None, None, str]:
        for _ in range(200):
            end = time.perf_counter() + 0.0002
            while time.perf_counter() < end:
                pass
            yield
        return "done"

    turns = 0

    async def work() -> None:
        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(turn())
        assert await in_slices(steps()) == "done"
        other.cancel()

    in_loop(work)
    assert turns > 20


def test_a_step_that_fails_is_heard_of() -> None:
    def steps() -> Generator[None, None, None]:
        yield
        raise ValueError("bad")

    async def work() -> None:
        with pytest.raises(ValueError, match="bad"):
            await in_slices(steps(), rests=False)

    in_loop(work)
