"""What providers tell of prompts corrects what the next ones reserve, and outlives snapshots and workers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from _fastpath.metrics import collect
from gateway.base.calibration import FIRST, LATIN, ONE, WIDE
from gateway.base.snapshot import Key, Limits, Model, Provider, Snapshot, Target
from gateway.dataplane.calibrations import COUNTED, TOLD, Calibrations, Learnt, learnt
from gateway.dataplane.compile import compile_snapshot
from tests.support.rig import Rig, response_head

WORDS = 40
FRAMING = 7
LIMIT = 100_000
QUESTION = json.dumps(
    {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "word " * WORDS}]}
).encode()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """A worker with a model whose vocabulary nobody knows; the rig's counter takes a word for a token."""
    return calibrated(Rig(tmp_path, Key("k1", "app", "", limits=Limits(tokens_per_minute=LIMIT))))


def calibrated(rig: Rig) -> Rig:
    model = rig.compiled.models["m"]
    calibrations = Calibrations(rig.registry)
    for target in model.targets:
        target.calibration = calibrations.of(target.provider.name, target.target.model)
    model.calibrations = [target.calibration for target in model.targets if target.calibration is not None]
    return rig


def reserves(rig: Rig) -> int:
    """Tokens for the prompt, seen in so short a time that the bucket has refilled by less than one."""
    assert rig.key.plan is not None
    for _ in range(200):
        began = time.monotonic()
        before = rig.key.plan.tokens_left()[1]
        rig.ask(QUESTION)
        reserved = before - rig.key.plan.tokens_left()[1]
        took_s = time.monotonic() - began
        rig.sink().on_response(response_head(500), b"{}")
        if took_s * LIMIT / 60 < 1:
            return reserved - 1
    raise AssertionError("this machine is too busy to look")


def answer(rig: Rig, prompt_tokens: int | None, *, later: bool = True) -> None:
    if later:
        rig.key.learns_at_ms = 0
    rig.ask(QUESTION)
    usage = {"usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 1}} if prompt_tokens is not None else {}
    rig.sink().on_response(response_head(), json.dumps(usage).encode())


def summed(rig: Rig) -> dict[str, int]:
    return {s.name: s.value for s in collect(rig.memory) if s.name in (TOLD, COUNTED)}


def test_what_a_provider_tells_corrects_what_the_next_prompts_reserve(rig: Rig) -> None:
    assert reserves(rig) == pytest.approx(WORDS + FRAMING, abs=1)  # the bucket refills while we look
    for _ in range(60):
        answer(rig, 2 * WORDS + FRAMING)
    assert reserves(rig) == pytest.approx(2 * WORDS + FRAMING, abs=2)
    assert summed(rig) == {TOLD: 60 * 2 * WORDS, COUNTED: 60 * WORDS}
    assert learnt(rig.memory) == [Learnt("one", "upstream-m", LATIN, 2.0, 60 * WORDS)]


def test_what_is_billed_is_what_the_provider_tells(rig: Rig) -> None:
    for _ in range(30):
        answer(rig, 2 * WORDS + FRAMING)
    answer(rig, 55)
    assert rig.keeper.records[-1].input_tokens == 55


def test_a_key_is_believed_once_a_second(rig: Rig) -> None:
    answer(rig, 2 * WORDS + FRAMING)
    for _ in range(20):
        answer(rig, 2 * WORDS + FRAMING, later=False)
    assert summed(rig)[COUNTED] == WORDS


def test_nothing_is_learnt_where_no_usage_is_told(rig: Rig) -> None:
    answer(rig, None)
    assert rig.record.estimated
    assert summed(rig).get(COUNTED, 0) == 0


def test_a_worker_begins_with_what_the_one_before_it_learnt(rig: Rig) -> None:
    for _ in range(FIRST):
        answer(rig, 2 * WORDS + FRAMING)
    ratio = Calibrations(rig.registry).of("one", "upstream-m").of(LATIN)
    assert ratio.value == 2 * ONE
    assert Calibrations(rig.registry).of("one", "upstream-m").of(WIDE).value == ONE


def test_calibrations_outlive_snapshots_and_are_bounded_by_them(rig: Rig) -> None:
    calibrations = Calibrations(rig.registry)
    kept, gone = calibrations.of("one", "a"), calibrations.of("one", "b")
    calibrations.keep(Snapshot("v", models=(Model("m", (Target("one", "a"), Target("two", "c"))),)))
    assert calibrations.of("one", "a") is kept
    assert calibrations.of("one", "b") is not gone


@pytest.mark.parametrize("estimated", [True, False])
def test_only_models_that_are_estimated_are_corrected(rig: Rig, estimated: bool) -> None:
    provider = Provider("one", "openai", "https://h.example/v1")
    model = Model("m", (Target("one", "claude-x"),), estimated=estimated)
    pools: Any = type("Pools", (), {"of": lambda self, provider: None})()
    snapshot = Snapshot("v", providers=(provider,), models=(model,))
    calibrations = Calibrations(rig.registry)
    making = compile_snapshot(snapshot, pools, str, rig.admission, calibrations)
    while True:
        try:
            next(making)
        except StopIteration as made:
            entry = made.value.models["m"]
            break
    expected = calibrations.of("one", "claude-x") if estimated else None
    assert entry.targets[0].calibration is expected
    assert entry.calibrations == ([expected] if estimated else None)
