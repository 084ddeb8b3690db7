"""What is due is done in order, never early, and what is dropped is not."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import uvloop

from bench.native.agenda import Agenda, Call, now_ns

MS = 1_000_000


async def all_done(agenda: Agenda) -> None:
    """Returns once nothing is left to do. Nobody tells: a task that did would be one of those that are tested."""
    while len(agenda):  # noqa: ASYNC110
        await asyncio.sleep(0.002)


def play(scene: Callable[[Agenda], Awaitable[None]], tick_us: int = 0) -> None:
    async def main() -> None:
        agenda = Agenda(asyncio.get_running_loop(), tick_us)
        try:
            await scene(agenda)
        finally:
            agenda.close()

    uvloop.run(main())


def test_many_are_done_in_the_order_of_their_times_and_none_early() -> None:
    numbers = random.Random(5)
    done: list[tuple[int, int]] = []

    def note(due: int, now: int) -> None:
        done.append((due, now))

    async def scene(agenda: Agenda) -> None:
        begun = now_ns()
        for _ in range(2_000):
            due = begun + numbers.randrange(30 * MS)
            agenda.at(Call(partial(note, due)), due)
        await all_done(agenda)

    play(scene)
    assert len(done) == 2_000
    assert [due for due, _ in done] == sorted(due for due, _ in done)
    assert all(due <= now for due, now in done)


def test_random_moves_and_cancellations_leave_the_heap_what_a_sorted_list_is() -> None:
    """The twin: a dict of deadlines. What is done at the end, and in which order, is what the dict says."""
    numbers = random.Random(11)
    done: list[int] = []

    def note(number: int, _: int) -> None:
        done.append(number)

    async def scene(agenda: Agenda) -> None:
        base = now_ns() + 50 * MS
        calls = [Call(partial(note, number)) for number in range(300)]
        due: dict[int, int] = {}
        for _ in range(3_000):
            number = numbers.randrange(300)
            if numbers.random() < 0.3:
                agenda.cancel(calls[number])
                due.pop(number, None)
            else:
                due[number] = numbers.randrange(10 * MS)
                agenda.at(calls[number], base + due[number])
            assert len(agenda) == len(due)
        await all_done(agenda)
        assert [due[number] for number in done] == sorted(due.values())

    play(scene)
    assert done


def test_a_task_may_put_itself_back() -> None:
    times: list[int] = []

    async def scene(agenda: Agenda) -> None:
        def again(now: int) -> None:
            times.append(now)
            if len(times) < 5:
                agenda.at(call, now + MS)

        call = Call(again)
        agenda.at(call, now_ns())
        await all_done(agenda)

    play(scene)
    assert all(later - earlier >= MS for earlier, later in pairwise(times))


def test_between_two_wakes_lies_a_tick_and_a_lone_task_waits_for_none() -> None:
    done: list[int] = []

    async def scene(agenda: Agenda) -> None:
        begun = now_ns() + 5 * MS
        for number in range(400):  # one each 50 us for 20 ms
            agenda.at(Call(done.append), begun + number * 50_000)
        await all_done(agenda)
        assert 1 <= agenda.wakes <= 6  # 20 ms in ticks of 5 ms; fewer where the machine was busy

    play(scene, tick_us=5_000)
    assert len(done) == 400


def test_a_task_that_fails_is_reported_and_the_others_are_done() -> None:
    reports: list[dict[str, Any]] = []
    done: list[int] = []

    async def scene(agenda: Agenda) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        due = now_ns() + MS
        agenda.at(Call(lambda _: 1 // 0), due)
        agenda.at(Call(done.append), due + 1)
        await all_done(agenda)

    play(scene)
    assert len(done) == 1
    (report,) = reports
    assert isinstance(report["exception"], ZeroDivisionError)


def test_a_closed_agenda_keeps_no_task_alive() -> None:
    class Watched:
        def __call__(self, _: int) -> None: ...

    async def scene(agenda: Agenda) -> None:
        watched = Watched()
        seen = weakref.ref(watched)
        agenda.at(Call(watched), now_ns() + 10**12)
        del watched
        gc.collect()
        assert seen() is not None
        agenda.close()
        gc.collect()
        assert seen() is None

    play(scene)


def test_a_tick_is_not_negative() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"^tick_us must not be negative$"):
            Agenda(asyncio.get_running_loop(), -1)

    uvloop.run(main())
