from __future__ import annotations

import signal

import pytest

from gateway.supervisor import Backoff, Policy, describe_exit
from gateway.supervisor._policy import MS, Deaths


@pytest.mark.parametrize(
    ("deaths", "delay_ms"),
    [
        (0, 0),
        (1, 0),
        (2, 100),
        (3, 200),
        (4, 400),
        (5, 800),
        (6, 1600),
        (7, 3200),
        (8, 6400),
        (9, 10_000),
        (10**9, 10_000),
    ],
)
def test_the_first_successor_starts_at_once_and_later_ones_back_off(deaths: int, delay_ms: int) -> None:
    assert Backoff().delay_ms(deaths) == delay_ms


def test_a_child_that_served_long_enough_starts_the_back_off_anew() -> None:
    deaths = Deaths(Policy())
    for ready, healthy, delay_ms in [
        (True, False, 0),
        (True, False, 100),
        (False, False, 200),
        (True, True, 0),
        (False, False, 100),
    ]:
        deaths.note(0, ready=ready, healthy=healthy)
        assert deaths.delay_ms == delay_ms


@pytest.mark.parametrize(
    ("deaths", "looping"),
    [
        ([(0, False), (1, False), (2, False), (3, False)], False),
        ([(0, False), (1, False), (2, False), (3, False), (10_000, False)], True),
        ([(0, False), (1, False), (2, False), (3, False), (10_001, False)], False),
        ([(0, False), (5_000, False), (6_000, False), (7_000, False), (11_000, False), (12_000, False)], True),
        ([(0, False), (1, False), (2, True), (3, False), (4, False), (5, False), (6, False)], False),
        ([(0, True), (1, True), (2, True), (3, True), (4, True), (5, True)], False),
    ],
)
def test_five_deaths_before_becoming_ready_within_ten_seconds_are_a_crash_loop(
    deaths: list[tuple[int, bool]], looping: bool
) -> None:
    record = Deaths(Policy())
    for at_ms, ready in deaths:
        record.note(at_ms * MS, ready=ready, healthy=False)
    assert record.looping is looping


def test_a_child_has_grace_lame_duck_and_slack_to_end() -> None:
    assert Policy(drain_grace_ms=30_000, lame_duck_ms=2_000).term_grace_ms == 37_000


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (-signal.SIGKILL, "signal SIGKILL"),
        (-(signal.SIGRTMIN + 1), "signal 35"),
    ],
)
def test_an_exit_is_told_as_a_person_would(code: int, text: str) -> None:
    assert describe_exit(code) == text
