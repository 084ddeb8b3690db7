"""Limits in shared memory: against a slow model, under real processes, and under processes that are killed."""

from __future__ import annotations

import multiprocessing
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from _fastpath.bucket import (
    ADMITTED,
    BUDGET,
    CONCURRENCY,
    REQUESTS,
    TABLE_FULL,
    TOKENS,
    UNLIMITED,
    Plan,
    Scope,
    Table,
)
from _fastpath.shm import NodeMemory

MINUTE_NS = 60 * 10**9
HOUR_NS = 3600 * 10**9
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "node")


@pytest.fixture
def memory(path: str) -> Iterator[NodeMemory]:
    memory = NodeMemory.create(path, slots=8, limit_rows=64, metrics_bytes=1024)
    yield memory
    memory.close()


# -- one process, by a made-up clock


def admitted(plan: Plan, now_ns: int, tries: int, tokens: int = 0) -> int:
    return sum(plan.admit_at(now_ns, tokens, 0) == ADMITTED for _ in range(tries))


@pytest.mark.parametrize("limit", [1, 7, 60, 601, 7000])
def test_a_limit_of_n_a_minute_is_a_burst_of_n_that_refills_evenly(memory: NodeMemory, limit: int) -> None:
    plan = Table(memory, 0).plan([Scope(b"a", requests_per_minute=limit)])
    assert admitted(plan, 10**12, limit + 5) == limit
    each_ns = Fraction(MINUTE_NS, limit)
    assert plan.admit_at(10**12 + int(each_ns) - 1, 0, 0) == REQUESTS
    assert plan.admit_at(10**12 + int(each_ns) + 1, 0, 0) == ADMITTED
    assert admitted(plan, 10**12 + int(each_ns) + 1 + MINUTE_NS, limit + 5) == limit


@settings(max_examples=60, deadline=None)
@given(
    limit=st.one_of(st.integers(1, 10**6), st.integers(10**6, 10**12), st.sampled_from([999_983, 7 * 10**9])),
    steps=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=100, max_size=300),
)
def test_roundings_never_add_up_to_a_unit(
    tmp_path_factory: pytest.TempPathFactory, limit: int, steps: list[tuple[int, int]]
) -> None:
    """An exact twin in fractions agrees with every decision that does not hang on a nanosecond."""
    memory = NodeMemory.create(str(tmp_path_factory.mktemp("b") / "node"), 1, 4, 1024)
    plan = Table(memory, 0).plan([Scope(b"a", tokens_per_minute=limit)])
    now_ns, tat = 10**15, Fraction(0)
    for wait_ns, tokens in steps:
        now_ns += wait_ns
        units = tokens % (limit + 1)
        after = max(tat, Fraction(now_ns)) + Fraction(units * MINUTE_NS, limit)
        took = plan.admit_at(now_ns, units, 0) == ADMITTED
        over_ns = after - now_ns - MINUTE_NS
        assert took == (over_ns <= 0) or abs(over_ns) < 2
        if took:
            tat = after


def test_a_request_larger_than_the_bucket_never_passes(memory: NodeMemory) -> None:
    plan = Table(memory, 0).plan([Scope(b"a", tokens_per_minute=100)])
    assert plan.admit_at(10**12, 101, 0) == TOKENS
    assert plan.retry_after_ms == -1
    assert plan.admit_at(10**12, 100, 0) == ADMITTED


def test_retry_after_is_when_the_same_request_passes(memory: NodeMemory) -> None:
    plan = Table(memory, 0).plan([Scope(b"a", tokens_per_minute=600)])
    assert plan.admit_at(10**12, 600, 0) == ADMITTED
    assert plan.admit_at(10**12, 50, 0) == TOKENS
    assert plan.retry_after_ms == 5000
    assert plan.admit_at(10**12 + 5000 * 10**6 - 1, 50, 0) == TOKENS
    assert plan.retry_after_ms == 1
    assert plan.admit_at(10**12 + 5000 * 10**6, 50, 0) == ADMITTED


@pytest.mark.parametrize(
    ("scope", "why"),
    [
        (Scope(b"z", requests_per_minute=0), REQUESTS),
        (Scope(b"z", tokens_per_minute=0), TOKENS),
        (Scope(b"z", concurrency=0), CONCURRENCY),
        (Scope(b"z", budget_nano_usd=0), BUDGET),
    ],
)
def test_a_limit_of_nothing_refuses_all(memory: NodeMemory, scope: Scope, why: int) -> None:
    plan = Table(memory, 0).plan([Scope(b"first", 5, 50, 5, 50), scope])
    for _ in range(20):
        assert plan.admit_at(10**12, 1, 1) == why
        assert plan.refused_scope == 1
        assert plan.retry_after_ms == (-1 if why in (REQUESTS, TOKENS) else 0)
    first = Table(memory, 0).plan([Scope(b"first", 5, 50, 5, 50)])
    assert admitted(first, 10**12, 6, tokens=10) == 5


def test_settling_debits_more_tokens_or_gives_back_the_rest(memory: NodeMemory) -> None:
    plan = Table(memory, 0).plan([Scope(b"a", tokens_per_minute=600)])
    assert plan.admit_at(10**12, 600, 0) == ADMITTED
    plan.settle(600, 100, 0, 0)
    assert plan.admit_at(10**12, 500, 0) == ADMITTED
    plan.settle(500, 1100, 0, 0)  # a minute beyond the burst
    assert plan.admit_at(10**12, 0, 0) == TOKENS
    assert plan.retry_after_ms == 60_000
    assert plan.admit_at(10**12 + MINUTE_NS, 0, 0) == ADMITTED
    assert plan.admit_at(10**12 + MINUTE_NS, 1, 0) == TOKENS


def test_cancel_gives_back_all(memory: NodeMemory) -> None:
    table = Table(memory, 0)
    plan = table.plan([Scope(b"a", 1, 10, 1, 10, period=5), Scope(b"b", 1, 10, 1, 10)])
    for _ in range(100):
        assert plan.admit_at(10**12, 10, 10) == ADMITTED
        assert plan.admit_at(10**12, 0, 0) == REQUESTS
        assert table.in_flight(b"a") == table.in_flight(b"b") == 1
        plan.cancel(10, 10)
    assert (table.in_flight(b"a"), table.spent(b"a", 5), plan.budget_left()) == (0, 0, 10)


def test_a_new_period_renews_the_budget_and_nothing_else(memory: NodeMemory) -> None:
    table = Table(memory, 0)
    today = table.plan([Scope(b"a", 2, UNLIMITED, 1, 100, period=1)])
    tomorrow = table.plan([Scope(b"a", 2, UNLIMITED, 1, 100, period=2)])
    assert today.admit_at(10**12, 0, 100) == ADMITTED
    assert tomorrow.admit_at(10**12, 0, 100) == CONCURRENCY
    today.settle(0, 0, 100, 100)
    assert today.admit_at(10**12, 0, 1) == BUDGET
    assert tomorrow.admit_at(10**12, 0, 100) == ADMITTED
    tomorrow.settle(0, 0, 100, 60)
    assert tomorrow.admit_at(10**12, 0, 0) == REQUESTS
    assert [table.spent(b"a", period) for period in (0, 1, 2, 3)] == [0, 100, 60, 0]


def test_seeding_raises_what_was_spent_and_never_lowers_it(memory: NodeMemory) -> None:
    table = Table(memory, 3)
    table.seed_spent(b"a", 7, 500)
    table.seed_spent(b"a", 7, 400)
    assert table.spent(b"a", 7) == 500
    plan = Table(memory, 0).plan([Scope(b"a", budget_nano_usd=600, period=7)])
    assert plan.budget_left() == 100
    assert plan.admit_at(10**12, 0, 101) == BUDGET
    assert plan.admit_at(10**12, 0, 100) == ADMITTED
    assert plan.budget_left() == 0
    assert table.in_flight(b"a") == 1


def test_what_is_left_is_told_of_the_tightest(memory: NodeMemory) -> None:
    plan = Table(memory, 0).plan([Scope(b"a", 100, 5000), Scope(b"b"), Scope(b"c", 10, 9000, budget_nano_usd=70)])
    assert (plan.requests_left(), plan.tokens_left(), plan.budget_left()) == ((10, 10, 0), (5000, 5000, 0), 70)
    assert plan.admit(4500, 20) == ADMITTED
    limit, left, reset_ms = plan.requests_left()
    assert (limit, left) == (10, 9)
    assert 5_000 <= reset_ms <= 6_000
    limit, left, reset_ms = plan.tokens_left()
    assert (limit, left // 100) == (5000, 5)
    assert 53_000 <= reset_ms <= 54_000
    assert plan.budget_left() == 50
    free = Table(memory, 0).plan([Scope(b"b")])
    assert (free.requests_left(), free.tokens_left(), free.budget_left()) == ((-1, -1, 0), (-1, -1, 0), -1)


def test_admit_reads_the_monotonic_clock(memory: NodeMemory) -> None:
    plan = Table(memory, 0).plan([])
    before = time.monotonic_ns()
    assert plan.admit(1, 1) == ADMITTED
    assert before <= plan.clock_ns <= time.monotonic_ns()


def test_faulty_scopes_plans_and_amounts_are_refused(memory: NodeMemory) -> None:
    table = Table(memory, 0)
    for faulty in (
        lambda: Scope(b""),
        lambda: Scope(b"x" * 65),
        lambda: Scope(b"a", requests_per_minute=-2),
        lambda: Scope(b"a", tokens_per_minute=10**12 + 1),
        lambda: table.plan([Scope(b"%d" % i) for i in range(9)]),
        lambda: table.plan([Scope(b"a"), Scope(b"a", period=1)]),
        lambda: table.plan([]).admit(-1, 0),
        lambda: table.plan([]).admit(0, -1),
    ):
        with pytest.raises(ValueError):
            faulty()


def test_enormous_settlements_saturate(memory: NodeMemory) -> None:
    plan = Table(memory, 0).plan([Scope(b"a", tokens_per_minute=1)])
    assert plan.admit_at(10**12, 0, 0) == ADMITTED
    plan.settle(0, 2**62, 0, 0)
    assert plan.admit_at(10**12, 0, 0) == TOKENS
    assert plan.retry_after_ms > 364 * 86400 * 1000


# -- a slow model


@dataclass
class ModelScope:
    """What one scope should be, in exact numbers."""

    requests: int
    tokens: int
    concurrency: int
    budget: int
    tat: dict[int, Fraction] = field(default_factory=lambda: {REQUESTS: Fraction(0), TOKENS: Fraction(0)})
    in_flight: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    reserved: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    spent: int = 0

    def debit(self, slot: int, now: int, tokens: int, nano: int) -> tuple[int, int]:
        """(what refuses, retry in ms). What was debited before a refusal is given back."""
        undo: list[Callable[[], None]] = []
        outcome = self._debit(slot, now, tokens, nano, undo)
        if outcome[0]:
            for step in undo:
                step()
        return outcome

    def _debit(self, slot: int, now: int, tokens: int, nano: int, undo: list[Callable[[], None]]) -> tuple[int, int]:
        for kind, limit, units in ((REQUESTS, self.requests, 1), (TOKENS, self.tokens, tokens)):
            if limit < 0:
                continue
            if units > limit:
                return kind, -1
            charge = Fraction(units * MINUTE_NS, limit) if units else Fraction(0)
            after = max(self.tat[kind], Fraction(now)) + charge
            wait = after - now - MINUTE_NS
            if wait > 0:
                return kind, -int(-wait // 10**6)
            self.tat[kind] = after
            undo.append(lambda kind=kind, charge=charge: self.give_back(kind, charge))  # type: ignore[misc]
        if 0 <= self.concurrency <= sum(self.in_flight.values()):
            return CONCURRENCY, 0
        if 0 <= self.budget < self.spent + sum(self.reserved.values()) + nano:
            return BUDGET, 0
        self.in_flight[slot] += 1
        self.reserved[slot] += nano
        return ADMITTED, 0

    def give_back(self, kind: int, charge: Fraction) -> None:
        self.tat[kind] -= charge

    def cancel(self, slot: int, tokens: int, nano: int) -> None:
        self.end(slot, -tokens, nano, 0)
        if self.requests > 0:
            self.tat[REQUESTS] -= Fraction(MINUTE_NS, self.requests)

    def end(self, slot: int, more_tokens: int, reserved: int, spent: int) -> None:
        self.in_flight[slot] -= 1
        self.reserved[slot] -= reserved
        self.spent += spent
        if self.tokens > 0:
            self.tat[TOKENS] += Fraction(more_tokens * MINUTE_NS, self.tokens)


# Divisors of 60e9, so that native integers and fractions must agree to the last decision.
RATES = st.sampled_from([-1, -1, 0, 1, 3, 10, 60, 6000])
LIMITS = st.tuples(RATES, RATES, st.integers(-1, 4), st.one_of(st.just(-1), st.integers(0, 300)), st.integers(0, 2))
NAMES = [b"org", b"team", b"app", b"key"]
PLANS = [[3, 1], [3], [0, 1, 2, 3], [2, 0]]


PICKS = st.integers(0, 1_000)
"""One of those that are held. Where strangers' rows lie differs from run to run, and so what is held: what is drawn must not depend on it."""
ROWS = 16


class BucketsAgainstModel(RuleBasedStateMachine):
    """Two slots admit by four plans over four scopes, while strangers take the rows that rest."""

    def __init__(self) -> None:
        super().__init__()
        with tempfile.TemporaryDirectory() as directory:
            self.memory = NodeMemory.create(f"{directory}/node", 2, ROWS, 1024)
        self.now = 10**13
        self.strangers = 0
        self.held: list[tuple[int, int, int, int]] = []

    @initialize(limits=st.lists(LIMITS, min_size=4, max_size=4))
    def begin(self, limits: list[tuple[int, int, int, int, int]]) -> None:
        self.model = [ModelScope(*limit[:4]) for limit in limits]
        self.periods = [limit[4] for limit in limits]
        self.scopes = [Scope(name, *limit) for name, limit in zip(NAMES, limits, strict=True)]
        self.tables = [Table(self.memory, slot) for slot in range(2)]
        self.make_plans()

    def make_plans(self) -> None:
        try:
            self.plans = [
                [table.plan_at(self.now, [self.scopes[i] for i in plan]) for plan in PLANS] for table in self.tables
            ]
        except RuntimeError:  # strangers have taken all that rested: the plans of before go on
            assert self.tables[0].rows_used == ROWS

    @rule(
        slot=st.integers(0, 1),
        which=st.integers(0, 3),
        tokens=st.one_of(st.integers(0, 12), st.integers(0, 7000)),
        nano=st.integers(0, 120),
        wait=st.one_of(st.just(0), st.integers(0, 2 * MINUTE_NS), st.integers(0, 60).map(lambda s: s * 10**9)),
    )
    def admit(self, slot: int, which: int, tokens: int, nano: int, wait: int) -> None:
        self.now += wait
        plan = self.plans[slot][which]
        outcome, expected, position = plan.admit_at(self.now, tokens, nano), (ADMITTED, 0), 0
        if outcome == TABLE_FULL:  # nothing was taken, as the model will tell
            assert self.strangers and self.tables[0].rows_used == ROWS and plan.retry_after_ms == 0
            return
        for position, i in enumerate(PLANS[which]):
            expected = self.model[i].debit(slot, self.now, tokens, nano)
            if expected[0]:
                for j in PLANS[which][:position]:
                    self.model[j].cancel(slot, tokens, nano)
                break
        assert outcome == expected[0]
        if outcome:
            assert (plan.refused_scope, plan.retry_after_ms) == (position, expected[1])
        else:
            self.held.append((slot, which, tokens, nano))

    @rule(pick=PICKS, tokens=st.integers(0, 50), nano=st.integers(0, 120))
    def settle(self, pick: int, tokens: int, nano: int) -> None:
        if not self.held:
            return
        slot, which, reserved_tokens, reserved = self.held.pop(pick % len(self.held))
        self.plans[slot][which].settle(reserved_tokens, tokens, reserved, nano)
        for i in PLANS[which]:
            self.model[i].end(slot, tokens - reserved_tokens, reserved, nano)

    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        if not self.held:
            return
        slot, which, tokens, nano = self.held.pop(pick % len(self.held))
        self.plans[slot][which].cancel(tokens, nano)
        for i in PLANS[which]:
            self.model[i].cancel(slot, tokens, nano)

    @rule(slot=st.integers(0, 1))
    def lose_a_worker(self, slot: int) -> None:
        self.memory.vacate(slot)
        self.held = [one for one in self.held if one[0] != slot]
        for scope in self.model:
            scope.in_flight[slot] = scope.reserved[slot] = 0

    @rule(hours=st.integers(1, 30), count=st.integers(1, ROWS), nano=st.integers(0, 9))
    def strangers_take_rows_that_rest(self, hours: int, count: int, nano: int) -> None:
        """Nothing is lost by it: what rested was as if it had never been used."""
        self.now += hours * HOUR_NS
        for _ in range(count):
            self.strangers += 1
            try:
                plan = self.tables[0].plan_at(self.now, [Scope(b"stranger/%d" % self.strangers, 5, 5, 5, 50)])
            except RuntimeError:
                assert self.tables[0].rows_used == ROWS
                continue
            assert plan.admit_at(self.now, 5, nano) == ADMITTED
            plan.cancel(5, nano)

    @rule()
    def reload(self) -> None:
        if not self.held:
            self.make_plans()

    @invariant()
    def the_numbers_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        for name, scope, period in zip(NAMES, self.model, self.periods, strict=True):
            assert self.tables[0].in_flight(name) == sum(scope.in_flight.values())
            assert self.tables[1].spent(name, period) == scope.spent
        for which, plan in enumerate(PLANS):
            scopes = [self.model[i] for i in plan if self.model[i].budget >= 0]
            left = [max(0, s.budget - s.spent - sum(s.reserved.values())) for s in scopes]
            assert self.plans[0][which].budget_left() == min(left, default=-1)


TestBucketsAgainstModel = BucketsAgainstModel.TestCase
TestBucketsAgainstModel.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


# -- rows


def row_offset(slots: int) -> int:
    """Of the first row in the file, as laid out by `_fastpath.shm`."""
    return 4096 + (slots * 384 + 4095) // 4096 * 4096


def set_epoch(path: str, slots: int, epoch: int) -> None:
    with open(path, "r+b") as file:
        file.seek(row_offset(slots) + 16)
        file.write(struct.pack("=q", epoch))


@pytest.fixture
def one_row(path: str) -> Table:
    return Table(NodeMemory.create(path, slots=2, limit_rows=1, metrics_bytes=1024), 0)


T = 10**13


def test_the_same_scope_has_the_same_row_in_every_process(memory: NodeMemory) -> None:
    tables = [Table(memory, slot) for slot in range(8)]
    for table in tables:
        table.plan([Scope(b"a", 1), Scope(b"b", 1, period=3)])
    assert tables[0].rows_used == 3


def test_a_full_table_says_so_and_costs_those_within_nothing(path: str) -> None:
    table = Table(NodeMemory.create(path, slots=1, limit_rows=20, metrics_bytes=1024), 0)
    plans = [table.plan_at(T, [Scope(b"%d" % i, concurrency=2)]) for i in range(20)]
    assert [plan.admit_at(T, 0, 0) for plan in plans] == [ADMITTED] * 20
    with pytest.raises(RuntimeError, match="full"):
        table.plan_at(T, [Scope(b"one more")])
    with pytest.raises(RuntimeError, match="full"):
        table.seed_spent(b"one more", 5, 1)
    assert table.rows_used == 20
    assert [plan.admit_at(T, 0, 0) for plan in plans] == [ADMITTED] * 20
    assert [plan.admit_at(T, 0, 0) for plan in plans] == [CONCURRENCY] * 20


def test_an_idle_row_is_used_again_and_its_old_plan_finds_another_or_refuses(one_row: Table) -> None:
    old = one_row.plan_at(T, [Scope(b"old", requests_per_minute=1)])
    assert old.admit_at(T, 0, 0) == ADMITTED
    old.settle(0, 0, 0, 0)
    with pytest.raises(RuntimeError, match="full"):
        one_row.plan_at(T + HOUR_NS, [Scope(b"new")])
    new = one_row.plan_at(T + HOUR_NS + 1, [Scope(b"new", requests_per_minute=1)])
    assert new.admit_at(T + HOUR_NS + 2, 0, 0) == ADMITTED
    assert old.admit_at(T + HOUR_NS + 2, 0, 0) == TABLE_FULL
    assert (old.retry_after_ms, old.refused_scope) == (0, 0)
    assert (one_row.in_flight(b"old"), one_row.in_flight(b"new")) == (0, 1)
    assert old.requests_left()[:2] == (1, 1)
    new.settle(0, 0, 0, 0)
    assert old.admit_at(T + 3 * HOUR_NS, 0, 0) == ADMITTED
    assert new.admit_at(T + 3 * HOUR_NS, 0, 0) == TABLE_FULL


@pytest.mark.parametrize("kept_by", ["a request in flight", "money spent", "a bucket overdrawn", "recent use"])
def test_a_row_that_means_something_is_never_used_again(one_row: Table, kept_by: str) -> None:
    plan = one_row.plan_at(T, [Scope(b"old", tokens_per_minute=10)])
    assert plan.admit_at(T, 0, 5) == ADMITTED
    if kept_by == "money spent":
        plan.settle(0, 0, 5, 5)
    elif kept_by == "a bucket overdrawn":
        plan.settle(0, 10_000, 5, 0)
    elif kept_by == "recent use":
        plan.cancel(0, 5)
        assert plan.admit_at(T + 9 * HOUR_NS, 0, 5) == ADMITTED
        plan.cancel(0, 5)
    with pytest.raises(RuntimeError, match="full"):
        one_row.plan_at(T + 10 * HOUR_NS, [Scope(b"new")])
    again = one_row.plan_at(T + 10 * HOUR_NS, [Scope(b"old")])
    assert again.admit_at(T + 10 * HOUR_NS, 0, 0) == ADMITTED
    if kept_by == "a bucket overdrawn":
        one_row.plan_at(T + 100 * HOUR_NS, [Scope(b"old")]).cancel(0, 0)
        one_row.plan_at(T + 100 * HOUR_NS, [Scope(b"new")])


def test_money_of_a_period_is_forgotten_only_when_its_scope_has_gone_on(path: str) -> None:
    table = Table(NodeMemory.create(path, slots=1, limit_rows=3, metrics_bytes=1024), 0)
    monday, tuesday = (table.plan_at(T, [Scope(b"a", period=period)]) for period in (1, 2))
    for plan, spent in ((monday, 9), (tuesday, 5)):
        assert plan.admit_at(T, 0, spent) == ADMITTED
        plan.settle(0, 0, spent, spent)
    later = T + 100 * HOUR_NS
    assert tuesday.admit_at(later, 0, 0) == ADMITTED
    tuesday.cancel(0, 0)
    table.plan_at(later, [Scope(b"b")])
    assert (table.spent(b"a", 1), table.spent(b"a", 2)) == (0, 5)


def test_money_of_the_present_period_is_kept_however_long_it_rests(path: str) -> None:
    table = Table(NodeMemory.create(path, slots=1, limit_rows=2, metrics_bytes=1024), 0)
    tuesday = table.plan_at(T, [Scope(b"a", period=2)])
    assert tuesday.admit_at(T, 0, 5) == ADMITTED
    tuesday.settle(0, 0, 5, 5)
    later = T + 100 * HOUR_NS
    assert table.plan_at(later, [Scope(b"a")]).admit_at(later, 0, 0) == ADMITTED  # holds the scope's row
    with pytest.raises(RuntimeError, match="full"):
        table.plan_at(later, [Scope(b"b")])
    assert table.spent(b"a", 2) == 5
    table.plan_at(later, [Scope(b"a", period=3)])
    assert (table.spent(b"a", 2), table.rows_used) == (0, 2)


def test_a_row_left_half_taken_by_a_killed_process_goes_on(path: str, one_row: Table) -> None:
    plan = one_row.plan_at(T, [Scope(b"old", requests_per_minute=2, budget_nano_usd=100)])
    assert plan.admit_at(T, 0, 30) == ADMITTED
    plan.settle(0, 0, 30, 30)
    set_epoch(path, 2, 3)  # killed before it wrote anything
    assert one_row.spent(b"old", 0) == 0  # nobody's, for the moment
    with pytest.raises(RuntimeError, match="full"):
        one_row.plan_at(T + 2 * HOUR_NS, [Scope(b"new")])
    assert plan.admit_at(T, 0, 71) == BUDGET
    assert plan.admit_at(T, 0, 70) == ADMITTED
    assert plan.admit_at(T, 0, 0) == REQUESTS
    assert one_row.spent(b"old", 0) == 30


def test_an_idle_row_left_half_taken_by_a_killed_process_is_taken(path: str, one_row: Table) -> None:
    one_row.plan_at(T, [Scope(b"old")])
    set_epoch(path, 2, 3)
    plan = one_row.plan_at(T + 2 * HOUR_NS, [Scope(b"new", concurrency=1)])
    assert plan.admit_at(T + 2 * HOUR_NS, 0, 0) == ADMITTED
    assert one_row.rows_used == 1


# -- real processes


@dataclass
class Hammering:
    """What one process did: what it got, by which clocks, and when it surely held it."""

    units: int = 0
    first_ns: int = 0
    last_ns: int = 0
    spent: int = 0
    held: list[tuple[int, int, int]] = field(default_factory=list)  # (scope, from, to), within the time it was held

    def admitted(self, clock_ns: int, units: int) -> None:
        self.units += units
        self.first_ns = self.first_ns or clock_ns
        self.last_ns = clock_ns


def hammer_rate(path: str, slot: int, seconds: float, limit: int, most: int, out: Connection) -> None:
    plan = Table(NodeMemory.attach(path), slot).plan([Scope(b"one", tokens_per_minute=limit), Scope(b"any", 10**9)])
    done, draw = Hammering(), random.Random(slot)
    sizes = [draw.randint(1, most) for _ in range(1000)]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for units in sizes:
            if plan.admit(units, 0) == ADMITTED:
                done.admitted(plan.clock_ns, units)
                plan.settle(units, units, 0, 0)
    out.send(done)


def hammer_concurrency(path: str, slot: int, seconds: float, limit: int, most: int, out: Connection) -> None:
    scopes = [Scope(b"one", concurrency=limit), Scope(b"some", 6 * 10**6)]
    plan = Table(NodeMemory.attach(path), slot).plan(scopes)
    done, draw = Hammering(), random.Random(slot)
    holding: list[int] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if draw.random() < 0.5 and plan.admit(0, 0) == ADMITTED:
            holding.append(time.monotonic_ns())
        elif holding:
            done.held.append((0, holding.pop(), time.monotonic_ns()))
            plan.settle(0, 0, 0, 0)
    for since in holding:
        done.held.append((0, since, time.monotonic_ns()))
        plan.settle(0, 0, 0, 0)
    out.send(done)


def hammer_budget(path: str, slot: int, seconds: float, limit: int, most: int, out: Connection) -> None:
    table = Table(NodeMemory.attach(path), slot)
    plan = table.plan([Scope(b"one", budget_nano_usd=limit, period=9), Scope(b"two", budget_nano_usd=2 * limit)])
    done, draw = Hammering(), random.Random(slot)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        reserved = draw.randint(1, most)
        if plan.admit(0, reserved) == ADMITTED:
            assert table.spent(b"one", 9) + reserved <= limit
            spent = draw.randint(0, reserved)
            plan.settle(0, 0, reserved, spent)
            done.spent += spent
    out.send(done)


def patiently_planned(table: Table, scope: Scope) -> Plan:
    """A holder of the lock that the machine does not let run for long makes the table seem full."""
    until = time.monotonic() + 10
    while True:
        try:
            return table.plan([scope])
        except RuntimeError:
            if time.monotonic() > until:
                raise


def hammer_last_unit(path: str, slot: int, seconds: float, began_ns: int, periods: int, out: Connection) -> None:
    """Every millisecond all go for the one unit of a new period."""
    table = Table(NodeMemory.attach(path), 4 * slot)  # shares on cache lines of their own: more time between reads
    plans = [patiently_planned(table, Scope(b"one", budget_nano_usd=1, period=1 + i)) for i in range(periods)]
    done = Hammering()
    while (period := (time.monotonic_ns() - began_ns) // 10**6) < periods:
        if period >= 0 and plans[period].admit(0, 1) == ADMITTED:
            plans[period].settle(0, 0, 1, 1)
            done.spent += 1
    out.send(done)


def hammer_rows(path: str, slot: int, seconds: float, began_ns: int, scopes: int, out: Connection) -> None:
    """Few rows, and scopes that all turn to and leave again, while a millisecond counts for a quarter of an hour."""
    table = Table(NodeMemory.attach(path), slot)
    done, draw = Hammering(), random.Random(slot)
    until = time.monotonic() + seconds
    plans: dict[int, Plan] = {}
    while time.monotonic() < until:
        passed_ns = time.monotonic_ns() - began_ns
        now_ns = 2 * HOUR_NS + passed_ns * 10**6
        which = (passed_ns // (4 * 10**6) + draw.randrange(3)) % scopes
        try:
            if which not in plans or draw.random() < 0.1:
                plans[which] = table.plan_at(now_ns, [Scope(b"%d" % which, concurrency=1)])
        except RuntimeError:
            continue
        if plans[which].admit_at(now_ns, 0, 0) == ADMITTED:
            since = time.monotonic_ns()
            if draw.random() < 0.01:
                time.sleep(0.0005)
            done.held.append((which, since, time.monotonic_ns()))
            plans[which].settle(0, 0, 0, 0)
    out.send(done)


Hammer = Callable[[str, int, float, int, int, Connection], None]


def run(hammer: Hammer, path: str, processes: int, seconds: float, limit: int, most: int) -> list[Hammering]:
    started = []
    for slot in range(processes):
        ours, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=hammer, args=(path, slot, seconds, limit, most, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    results: list[Hammering] = []
    for process, ours in started:
        results.append(ours.recv())
        process.join()
        assert process.exitcode == 0
    return results


def most_at_once(results: list[Hammering], scope: int) -> int:
    edges = sorted(
        edge for done in results for which, since, to in done.held if which == scope for edge in ((since, 1), (to, -1))
    )
    standing = most = 0
    for _, step in edges:
        standing += step
        most = max(most, standing)
    return most


CROWDS = [
    pytest.param(4, 1.0, id="fast"),
    pytest.param(8, 10.0, id="long", marks=[pytest.mark.nightly, pytest.mark.timeout(120)]),
]


@pytest.mark.parametrize(
    ("processes", "seconds"),
    [
        pytest.param(8, 1.0, id="fast"),
        pytest.param(8, 10.0, id="long", marks=[pytest.mark.nightly, pytest.mark.timeout(120)]),
    ],
)
def test_processes_never_admit_more_than_burst_and_refill(
    path: str, memory: NodeMemory, processes: int, seconds: float
) -> None:
    limit, most = 300_007, 3
    results = run(hammer_rate, path, processes, seconds, limit, most)
    taken = sum(done.units for done in results)
    elapsed_ns = max(done.last_ns for done in results) - min(done.first_ns for done in results if done.first_ns)
    allowed = limit + Fraction(limit * elapsed_ns, MINUTE_NS)
    assert allowed * Fraction(98, 100) <= taken <= allowed + 1


@pytest.mark.parametrize(("processes", "seconds"), CROWDS)
def test_processes_never_hold_more_than_the_concurrency(
    path: str, memory: NodeMemory, processes: int, seconds: float
) -> None:
    results = run(hammer_concurrency, path, processes, seconds, limit=3, most=0)
    assert most_at_once(results, 0) == 3
    assert Table(memory, 0).in_flight(b"one") == 0
    assert all(len(done.held) > 100 for done in results)


@pytest.mark.parametrize(("processes", "seconds"), CROWDS)
def test_processes_never_spend_more_than_the_budget(
    path: str, memory: NodeMemory, processes: int, seconds: float
) -> None:
    limit, most = int(10**8 * seconds), 1000
    results = run(hammer_budget, path, processes, seconds, limit, most)
    table = Table(memory, 0)
    spent = table.spent(b"one", 9)
    assert spent == table.spent(b"two", 0) == sum(done.spent for done in results)
    assert spent <= limit
    assert table.plan([Scope(b"one", budget_nano_usd=limit, period=9)]).budget_left() == limit - spent


def test_a_reservation_beyond_the_budget_is_refused_before_it_is_added_up(memory: NodeMemory) -> None:
    plan = Table(memory, 0).plan([Scope(b"one", budget_nano_usd=10, period=1)])
    assert plan.admit(0, 4) == ADMITTED
    plan.settle(0, 0, 4, 4)
    for nano in (2**63 - 1, 2**56, 11):
        assert plan.admit(0, nano) == BUDGET
        assert plan.admit(0, 7) == BUDGET
    assert plan.admit(0, 6) == ADMITTED


def test_a_reader_never_misses_money_between_reserved_and_spent(tmp_path: Path) -> None:
    path, periods = str(tmp_path / "units"), 3000
    memory = NodeMemory.create(
        path, slots=16, limit_rows=4 * periods, metrics_bytes=1024
    )  # half full, a window can be whole
    results = run(hammer_last_unit, path, 4, 0, time.monotonic_ns() + 2_500 * 10**6, periods)
    table = Table(memory, 0)
    spent = [table.spent(b"one", 1 + period) for period in range(periods)]
    assert sum(spent) == sum(done.spent for done in results) > periods // 30
    assert max(spent) == 1


@pytest.mark.parametrize(("processes", "seconds"), CROWDS)
def test_rows_that_change_hands_are_never_two_for_one_scope(tmp_path: Path, processes: int, seconds: float) -> None:
    path = str(tmp_path / "rows")
    memory = NodeMemory.create(path, slots=8, limit_rows=6, metrics_bytes=1024)
    results = run(hammer_rows, path, processes, seconds, time.monotonic_ns(), 12)
    for scope in range(12):
        assert most_at_once(results, scope) <= 1
        assert Table(memory, 0).in_flight(b"%d" % scope) == 0
    assert len({scope for done in results for scope, _, _ in done.held}) > memory.limit_rows


def hold_and_hammer(path: str, slot: int) -> None:
    """Until it is killed."""
    table = Table(NodeMemory.attach(path), slot)
    plan = table.plan([Scope(b"one", concurrency=4, budget_nano_usd=10**12, period=3), Scope(b"two", concurrency=4)])
    began_ns = time.monotonic_ns()
    while True:
        if plan.admit(0, 1000) == ADMITTED:
            plan.settle(0, 0, 1000, 1)
        now_ns = 2 * HOUR_NS + (time.monotonic_ns() - began_ns) * 10**6
        try:  # rows change hands too
            table.plan_at(now_ns, [Scope(b"%d" % (now_ns % 30), concurrency=1)])
        except RuntimeError:
            continue


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=[pytest.mark.nightly, pytest.mark.timeout(200)])])
def test_a_killed_process_leaves_nothing_held(tmp_path: Path, kills: int) -> None:
    path = str(tmp_path / "killed")
    memory = NodeMemory.create(path, slots=3, limit_rows=12, metrics_bytes=1024)
    table = Table(memory, 2)
    budget = 10**12
    plan = table.plan([Scope(b"one", concurrency=4, budget_nano_usd=budget, period=3), Scope(b"two", concurrency=4)])
    assert plan.admit(0, 10) == ADMITTED  # one is ours all the time, so that the rows stay
    draw = random.Random(kills)
    for _ in range(kills // 2):
        processes = [SPAWN.Process(target=hold_and_hammer, args=(path, slot)) for slot in range(2)]
        spent = table.spent(b"one", 3)
        for process in processes:
            process.start()
        while table.spent(b"one", 3) < spent + 1000 and all(process.is_alive() for process in processes):
            time.sleep(0.001)
        time.sleep(draw.random() * 0.05)
        for slot, process in enumerate(processes):
            assert process.is_alive()
            process.kill()
            process.join()
            memory.vacate(slot)
        assert table.in_flight(b"one") == table.in_flight(b"two") == 1
        assert [plan.admit(0, 10) for _ in range(4)] == [ADMITTED] * 3 + [CONCURRENCY]
        for _ in range(3):
            plan.cancel(0, 10)
        assert plan.budget_left() == budget - table.spent(b"one", 3) - 10


@pytest.mark.parametrize(
    ("seconds", "kills"),
    [(1.5, 20), pytest.param(60.0, 1_000, marks=[pytest.mark.nightly, pytest.mark.timeout(200)])],
    ids=["fast", "long"],
)
def test_killed_at_any_instruction_processes_leave_no_lock_no_place_and_no_overshoot(
    tmp_path: Path, seconds: float, kills: int
) -> None:
    path, seed = str(tmp_path / "killed"), random.SystemRandom().getrandbits(32)
    NodeMemory.create(path, slots=3, limit_rows=40, metrics_bytes=1024)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fastpath.bucket_killer", path, str(seconds), str(seed)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    killed, admitted, too_soon, no_place, no_money = map(int, done.stdout.split())
    assert killed >= kills
    assert admitted > 30_000
    assert min(too_soon, no_place, no_money) > 0
