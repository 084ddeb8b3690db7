"""The timer wheel: never early, at most two ticks late, whatever is armed, moved and cancelled meanwhile."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.wheel import Timer, Wheel, now_ns
from tests.fastpath.fakes import FakeLoop

NS_PER_MS = 1_000_000
TICK_MS = 10
TICK_NS = TICK_MS * NS_PER_MS
SLOTS = 4


class Modelled:
    """A wheel of four slots beside its slow model: a dict of deadlines. Time is what the test says it is."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.wheel = Wheel(self.loop.as_loop(), tick_ms=TICK_MS, slots=SLOTS)
        self.at_ns = now_ns()
        self.wheel.advance(self.at_ns)
        self.timers = [Timer(self._expiry(n)) for n in range(6)]
        self.deadlines: dict[int, int] = {}
        self.fired: list[int] = []
        self.then: dict[int, Callable[[], None]] = {}

    def _expiry(self, n: int) -> Callable[[], None]:
        def expire() -> None:
            assert self.deadlines.pop(n) <= self.at_ns, "early, cancelled or twice"
            self.fired.append(n)
            self.then.pop(n, lambda: None)()

        return expire

    def arm(self, n: int, delay_ms: int) -> None:
        """`set` reckons from the real clock; the delay is chosen so that the deadline lies on the test's."""
        self.wheel.set(self.timers[n], (self.at_ns - now_ns()) // NS_PER_MS + delay_ms)
        self.deadlines[n] = self.timers[n].deadline_ns

    def cancel(self, n: int) -> None:
        self.wheel.cancel(self.timers[n])
        self.deadlines.pop(n, None)

    def advance(self, by_ms: int) -> None:
        self.at_ns += by_ms * NS_PER_MS
        self.wheel.advance(self.at_ns)
        overdue = {n for n, at in self.deadlines.items() if at + 2 * TICK_NS <= self.at_ns}
        assert not overdue, "later than two ticks"
        assert all(self.timers[n].deadline_ns == self.deadlines.get(n, 0) for n in range(len(self.timers)))
        assert len(self.deadlines) <= self.wheel.armed <= len(self.timers)


which = st.integers(0, 5)
delay_ms = st.integers(0, 4 * TICK_MS * SLOTS)
action = st.one_of(
    st.tuples(st.just("arm"), which, delay_ms),
    st.tuples(st.just("cancel"), which, st.just(0)),
    st.tuples(st.just("advance"), which, st.integers(0, 3 * TICK_MS)),
    st.tuples(st.just("stall"), which, st.integers(0, 3 * TICK_MS * SLOTS)),
    st.tuples(st.just("rearm itself"), which, delay_ms),
    st.tuples(st.just("arm the next"), which, delay_ms),
    st.tuples(st.just("cancel the next"), which, st.just(0)),
    st.tuples(st.just("raise"), which, st.just(0)),
)


def fail() -> None:
    raise RuntimeError("of a callback")


@settings(max_examples=300, deadline=None)
@given(st.lists(action, max_size=40))
def test_no_timer_is_early_or_later_than_two_ticks_or_forgotten(script: list[tuple[str, int, int]]) -> None:
    world = Modelled()
    raised: list[int] = []

    def fault(n: int) -> None:
        raised.append(n)
        fail()

    for what, n, ms in script:
        after = (n + 1) % len(world.timers)
        if what == "arm":
            world.arm(n, ms)
        elif what == "cancel":
            world.cancel(n)
        elif what in ("advance", "stall"):
            world.advance(ms)
        elif what == "rearm itself":
            world.then[n] = lambda n=n, ms=ms: world.arm(n, ms)  # type: ignore[misc]
        elif what == "arm the next":
            world.then[n] = lambda n=after, ms=ms: world.arm(n, ms)  # type: ignore[misc]
        elif what == "cancel the next":
            world.then[n] = lambda n=after: world.cancel(n)  # type: ignore[misc]
        else:
            world.then[n] = lambda n=n: fault(n)  # type: ignore[misc]
    for _ in range(40 * SLOTS):
        world.advance(TICK_MS)
    assert not world.deadlines, "all have expired in the end"
    assert world.wheel.armed == 0
    assert len(world.loop.reports) == len(raised)


def test_a_callback_that_raises_is_reported_and_the_others_expire() -> None:
    world = Modelled()
    for n in range(4):
        world.arm(n, 5)
    world.then[1] = fail
    world.advance(30)
    assert sorted(world.fired) == [0, 1, 2, 3]
    assert [str(report["exception"]) for report in world.loop.reports] == ["of a callback"]


def test_what_even_the_report_cannot_take_costs_no_other_timer_its_slot() -> None:
    wheel = Wheel(None, tick_ms=TICK_MS, slots=SLOTS)  # without a loop nobody is told: the fault comes out of `advance`
    fired: list[str] = []
    first, second = Timer(fail), Timer(lambda: fired.append("second"))
    wheel.set(first, 1)
    wheel.set(second, 1)
    at_ns = now_ns() + 3 * TICK_NS
    with pytest.raises(RuntimeError, match="of a callback"):
        wheel.advance(at_ns)
    assert wheel.armed == 1
    wheel.advance(at_ns + TICK_NS)
    assert fired == ["second"]


def test_rearming_earlier_takes_effect_at_once() -> None:
    world = Modelled()
    world.arm(0, 10 * TICK_MS * SLOTS)
    world.arm(0, TICK_MS)
    world.advance(3 * TICK_MS)
    assert world.fired == [0]


def test_rearming_later_costs_no_second_place() -> None:
    world = Modelled()
    for ms in range(10, 1000, 10):
        world.arm(0, ms)
    assert world.wheel.armed == 1
    world.advance(900)
    assert world.fired == []
    world.advance(120)
    assert world.fired == [0]


def test_a_callback_that_closes_the_wheel_ends_it() -> None:
    loop = FakeLoop()
    wheel = Wheel(loop.as_loop(), tick_ms=TICK_MS, slots=SLOTS)
    fired: list[int] = []

    def end() -> None:
        fired.append(1)
        wheel.close()

    timers = [Timer(end) for _ in range(3)]
    late = Timer(lambda: fired.append(2))
    for timer in timers:
        wheel.set(timer, 1)
    wheel.set(late, 1)
    wheel.set(late, 100_000)  # stands in a slot that comes round before its deadline
    wheel.advance(now_ns() + 10 * TICK_NS)
    assert fired == [1]
    assert wheel.armed == 0
    wheel.set(late, 1)  # of a closed wheel: nothing
    wheel.advance(now_ns() + 100 * TICK_NS)
    assert fired == [1]


def test_time_that_stands_still_or_runs_back_does_nothing() -> None:
    world = Modelled()
    world.arm(0, 15)
    world.wheel.advance(world.at_ns - 5 * TICK_NS)
    world.advance(0)
    assert world.fired == []


@pytest.mark.parametrize(("tick_ms", "slots"), [(0, 8), (-1, 8), (10, 0), (10, 1), (10, 3), (10, 12)])
def test_a_wheel_that_cannot_turn_is_refused(tick_ms: int, slots: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Wheel(None, tick_ms=tick_ms, slots=slots)


def test_a_closed_wheel_keeps_no_timer() -> None:
    wheel = Wheel(FakeLoop().as_loop(), tick_ms=TICK_MS, slots=SLOTS)
    timer = Owned(lambda: None)
    seen = weakref.ref(timer)
    wheel.set(timer, 10)
    wheel.close()
    del timer
    gc.collect()
    assert seen() is None


class Owned(Timer):
    """One that can be weakly referred to."""


def test_a_running_wheel_keeps_to_the_clock() -> None:
    async def main() -> list[tuple[int, int]]:
        wheel = Wheel(asyncio.get_running_loop(), tick_ms=5, slots=8)
        wheel.start()
        met: list[tuple[int, int]] = []

        def set_one(delay_ms: int) -> Timer:
            due_ns = now_ns() + delay_ms * NS_PER_MS
            timer = Timer(lambda: met.append((delay_ms, now_ns() - due_ns)))
            wheel.set(timer, delay_ms)
            return timer

        timers = [set_one(delay_ms) for delay_ms in (0, 1, 7, 23, 61)]
        assert len(timers) == wheel.armed
        await asyncio.sleep(0.15)
        wheel.close()
        return met

    met = uvloop.run(main())
    assert [delay for delay, _ in met] == [0, 1, 7, 23, 61]
    assert all(late_ns >= 0 for _, late_ns in met)
    assert min(late_ns for _, late_ns in met) <= 2 * 5 * NS_PER_MS, "two ticks, and what the machine adds"
