"""What a request used, cost and took: told once, however it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from _fastpath.metrics import collect
from _fastpath.usage import Usage
from gateway.base.snapshot import Model, Price, Target
from gateway.base.usage import rates_of
from gateway.phases.account import MAX_ERROR_CHARS
from tests.support.rig import Rig, response_head


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def samples(rig: Rig) -> dict[tuple[str, str], int]:
    """Values by name and code."""
    return {(s.name, dict(s.labels).get("code", "")): s.value for s in collect(rig.memory)}


PRICE = Price(
    input=150_000_000,
    output=600_000_000,
    cache_read=75_000_000,
    cache_write=187_500_000,
    input_audio=10**9,
    output_audio=2 * 10**9,
)


@pytest.mark.parametrize(
    ("usage", "nano_usd"),
    [
        (Usage(), 0),
        (Usage(1, 1), 750),
        (Usage(1_117, 46, cache_read=1_024), 93 * 150 + 1_024 * 75 + 46 * 600),
        (Usage(100, 0, cache_write=40), 60 * 150 + 7_500),
        (Usage(100, 50, input_audio=10, output_audio=20), 90 * 150 + 10 * 1_000 + 30 * 600 + 20 * 2_000),
        (Usage(10, 100, reasoning=90), 1_500 + 60_000),
    ],
)
def test_prices_by_hand(usage: Usage, nano_usd: int) -> None:
    assert rates_of(PRICE).cost(usage) == nano_usd


def test_parts_of_a_nano_dollar_are_rounded_up_and_requests_have_their_price() -> None:
    assert rates_of(Price(input=1, output=0)).cost(Usage(1, 0)) == 1
    assert rates_of(Price(input=1, output=0)).cost(Usage(1_000_000, 0)) == 1
    assert rates_of(Price(input=1, output=0)).cost(Usage(1_000_001, 0)) == 2
    assert rates_of(Price(input=0, output=0, request_nano_usd=7)).cost(Usage(5, 5)) == 7


def test_metrics_and_record_agree(rig: Rig) -> None:
    rig.ask()
    rig.sink().on_response(response_head(), b'{"usage":{"prompt_tokens":4,"completion_tokens":2}}')
    rig.ask()
    rig.sink().on_response(response_head(400), b"{}")
    found = samples(rig)
    assert found["throughway_requests_total", "ok"] == 1
    assert found["throughway_requests_total", "provider_rejected"] == 1
    assert found["throughway_input_tokens_total", ""] == 4
    assert found["throughway_output_tokens_total", ""] == 2
    assert found["throughway_cost_nano_usd_total", ""] == rig.keeper.records[0].cost_nano_usd == 4 * 150 + 2 * 600
    assert found["throughway_added_latency_us", ""] == found["throughway_provider_latency_us", ""] == 2
    assert found["throughway_estimated_usage_total", ""] == 0


def test_a_target_without_a_price_is_counted_as_such(tmp_path: Path) -> None:
    rig = Rig(tmp_path, models=(Model("m", (Target("one", "up"),)),))
    rig.ask()
    rig.sink().on_response(response_head(), b'{"usage":{"prompt_tokens":4}}')
    assert (rig.record.unpriced, rig.record.cost_nano_usd) == (True, 0)
    assert samples(rig)["throughway_unpriced_requests_total", ""] == 1


def test_usage_that_the_provider_did_not_tell_is_estimated_and_counted(rig: Rig) -> None:
    rig.ask(b'{"model":"m","messages":[{"role":"user","content":"one two"}]}')
    rig.sink().on_response(response_head(), b"{}")
    assert (rig.record.estimated, rig.record.input_tokens) == (True, 3 + 4 + 2)
    assert samples(rig)["throughway_estimated_usage_total", ""] == 1


def test_what_belongs_to_no_key_is_logged_and_not_recorded(rig: Rig) -> None:
    got = rig.ask(headers={b"authorization": b"Bearer nobody"})
    assert got.status == 401
    assert rig.keeper.records == []
    ((line, error),) = rig.keeper.lines
    assert (line.code, line.key_id) == ("invalid_api_key", "") and "unknown" in error


def test_the_error_stands_in_the_log_alone_and_is_bounded(rig: Rig) -> None:
    rig.ask()
    rig.sink().on_response(response_head(400), json.dumps({"error": {"message": "e" * 1_000}}).encode())
    ((line, error),) = rig.keeper.lines
    assert line == rig.record
    assert len(error) == MAX_ERROR_CHARS and error.startswith("eee")


def test_labels_come_from_the_configuration_and_the_catalogue_alone(rig: Rig) -> None:
    for number in range(30):
        rig.ask(json.dumps({"model": f"made-up-{number}"}).encode())
        rig.ask(path=f"/made-up/{number}")
        rig.ask(method=f"MADE{number}")
    values = {value for sample in collect(rig.memory) for _, value in dict(sample.labels).items()}
    assert not any("made" in value.lower() for value in values)


def test_times_add_up(rig: Rig) -> None:
    rig.ask()
    rig.sink().on_response(response_head(), b"{}")
    record = rig.record
    assert 0 <= record.overhead_us <= record.duration_us < 5_000_000
    assert record.first_token_us == 0
