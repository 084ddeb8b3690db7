"""Which target answers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.context import Context, ModelEntry, TargetEntry
from gateway.base.snapshot import Model, Provider, Target
from gateway.codec.kinds import KINDS
from gateway.phases.route import MAX_ATTEMPTS, MAX_SCHEDULE, choose, schedule
from tests.support.rig import FakeExchange, FakePool, Rig


def targets_of(*weights: int) -> list[TargetEntry]:
    return [
        TargetEntry(
            Target(f"p{i}", "m", w), Provider(f"p{i}", "openai", "http://h/v1"), FakePool(), {}, KINDS["openai"]
        )
        for i, w in enumerate(weights)
    ]


def turn_of(*weights: int) -> str:
    return "".join(t.target.provider[1:] for t in schedule(targets_of(*weights)))


@pytest.mark.parametrize(
    ("weights", "turn"),
    [
        ((1,), "0"),
        ((1, 1), "01"),
        ((5, 1, 1), "0010200"),
        ((2, 4), "101"),
        ((0, 3), "1"),
        ((0, 0), ""),
        ((10, 10, 10), "012"),
    ],
)
def test_a_turn_is_evenly_spread_as_nginx_spreads_it(weights: tuple[int, ...], turn: str) -> None:
    assert turn_of(*weights) == turn


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=6))
def test_each_target_has_its_share_and_the_turn_its_bound(weights: list[int]) -> None:
    turn = schedule(targets_of(*weights))
    total = sum(weights)
    assert len(turn) <= MAX_SCHEDULE + len(weights)
    counts = Counter(t.target.provider for t in turn)
    for number, weight in enumerate(weights):
        share = counts[f"p{number}"] / len(turn) if turn else 0
        assert (share > 0) == (weight > 0)
        assert abs(share - (weight / total if total else 0)) < 0.02


def context(rig: Rig, model: ModelEntry) -> Context:
    ctx = Context(FakeExchange(), rig.compiled, "req_1", 1)
    ctx.model = model
    return ctx


def test_every_target_is_tried_once_then_those_of_the_fallbacks(tmp_path: Path) -> None:
    models = (
        Model("m", (Target("a", "x", 3), Target("b", "x", 1), Target("c", "x", 0)), ("f", "g")),
        Model("f", (Target("d", "x"),)),
        Model("g", (Target("e", "x"),)),
    )
    rig = Rig(tmp_path, models=models)
    ctx = context(rig, rig.compiled.models["m"])
    tried = []
    while (target := choose(ctx)) is not None:
        tried.append(target.target.provider)
        ctx.excluded = ctx.excluded | {target}
    assert sorted(tried[:2]) == ["a", "b"]
    assert tried[2:] == ["c", "d", "e"]


def test_attempts_are_bounded(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    ctx = context(rig, rig.compiled.models["m"])
    ctx.attempts = MAX_ATTEMPTS - 1
    assert choose(ctx) is not None
    ctx.attempts = MAX_ATTEMPTS
    assert choose(ctx) is None


def test_turns_go_round_over_requests(tmp_path: Path) -> None:
    rig = Rig(tmp_path, models=(Model("m", (Target("a", "x", 2), Target("b", "x", 1))),))
    model = rig.compiled.models["m"]
    chosen = [choose(context(rig, model)) for _ in range(6)]
    assert [t.target.provider for t in chosen if t is not None] == ["a", "b", "a"] * 2
