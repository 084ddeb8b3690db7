"""Whether a request may, and what it takes from which limit."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.base.snapshot import Budget, Key, Limits, Model, Target, Team
from gateway.dataplane.pipeline import LONG_BODY_BYTES
from gateway.phases.admit import EXPECTED_OUTPUT, key_scope, team_scope
from tests.support.rig import PRICE, Rig, response_head

NO_LIMITS = Limits()
WORDS = "one two three four five"
"""Five tokens, and 7 of framing."""
PROMPT = 12
PICTURE = "data:image/gif;base64," + base64.b64encode(b"GIF89a\x80\x02\xe0\x01\xf7\0\0").decode()
"""Of 640 x 480, as much of it as says so."""


def rig_with(
    directory: Path, limits: Limits = NO_LIMITS, budget: Budget | None = None, team: Team | None = None, **model: Any
) -> Rig:
    key = Key("k1", "app", "", team.name if team is not None else None, limits=limits, budget=budget)
    models = (Model("m", (Target("one", "up", price=PRICE),), **model),)
    return Rig(directory, key, team, models)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": WORDS}], **fields}).encode()


def budget_left(rig: Rig) -> int:
    assert rig.key.plan is not None
    return rig.key.plan.budget_left()


def tokens_left(rig: Rig) -> int:
    assert rig.key.plan is not None
    return rig.key.plan.tokens_left()[1]


def milliseconds(duration: str) -> float:
    """Of "1m2s", "1.5s" or "120ms", as OpenAI writes them."""
    found = re.fullmatch(r"(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?", duration)
    assert found is not None and duration, duration
    minutes, seconds, rest = (float(part or 0) for part in found.groups())
    return minutes * 60_000 + seconds * 1_000 + rest


@pytest.mark.parametrize(
    ("fields", "longest"),
    [
        ({}, 1_000),  # the model's own bound
        ({"max_tokens": 50}, 50),
        ({"max_completion_tokens": 70, "max_tokens": 50}, 70),
        ({"max_completion_tokens": 1, "max_tokens": 900}, 900),  # some providers honour the one, some the other
        ({"max_tokens": 1, "n_predict": 900}, 900),
        ({"max_tokens": 50, "best_of": 3}, 150),
        ({"max_tokens": 50, "n": 3}, 150),
    ],
)
def test_money_is_reserved_for_the_longest_answer(tmp_path: Path, fields: dict[str, Any], longest: int) -> None:
    rig = rig_with(tmp_path, budget=Budget(10**9, "day"), max_output_tokens=1_000)
    rig.ask(body(**fields))
    assert 10**9 - budget_left(rig) == PROMPT * 150 + longest * 600


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, PROMPT + EXPECTED_OUTPUT),
        ({"max_tokens": 50}, PROMPT + 50),
        ({"n": 2}, PROMPT + 2 * EXPECTED_OUTPUT),
        ({"max_tokens": 5_000}, 1_000),
    ],
)
def test_tokens_are_reserved_for_the_expected_answer(tmp_path: Path, fields: dict[str, Any], tokens: int) -> None:
    rig = rig_with(tmp_path, Limits(tokens_per_minute=1_000))
    rig.ask(body(**fields))
    assert abs(1_000 - tokens - tokens_left(rig)) <= 1  # the bucket refills while we look


def test_a_prompt_that_no_minute_admits_can_never_pass(tmp_path: Path) -> None:
    rig = rig_with(tmp_path, Limits(tokens_per_minute=PROMPT - 1))
    got = rig.ask(body())
    assert got.status == 429 and json.loads(got.sent)["error"]["code"] == "request_exceeds_limit"
    assert "retry-after" not in got.answer_headers
    assert rig.in_flight == 0


@pytest.mark.parametrize("cost", [0, 1, 10**6])
def test_settling_replaces_the_reservation_by_what_was_used(tmp_path: Path, cost: int) -> None:
    rig = rig_with(tmp_path, Limits(concurrency=5), Budget(10**9, "day"))
    rig.ask(body())
    rig.sink().on_response(
        response_head(), json.dumps({"usage": {"prompt_tokens": 4, "completion_tokens": cost}}).encode()
    )
    assert budget_left(rig) == 10**9 - 4 * 150 - 600 * cost
    assert rig.in_flight == 0


def test_a_refusal_of_the_team_gives_back_what_the_key_gave(tmp_path: Path) -> None:
    team = Team("t", Limits(requests_per_minute=1))
    rig = rig_with(tmp_path, Limits(requests_per_minute=5), Budget(10**9, "day"), team)
    rig.ask(body())
    got = rig.ask(body())
    assert got.status == 429 and b"team 't'" in got.sent
    assert rig.table.in_flight(key_scope("k1")) == rig.table.in_flight(team_scope("t")) == 1
    rig.sink().on_response(response_head(), b"{}")
    assert rig.table.in_flight(key_scope("k1")) == rig.table.in_flight(team_scope("t")) == 0


@pytest.mark.parametrize(
    ("limits", "budget", "code", "status"),
    [
        (Limits(requests_per_minute=1), None, "rate_limit_exceeded", 429),
        (Limits(tokens_per_minute=300), None, "rate_limit_exceeded", 429),
        (Limits(concurrency=1), None, "rate_limit_exceeded", 429),
        (Limits(), Budget(4_000_000, "day"), "budget_exceeded", 402),
    ],
)
def test_each_limit_refuses_the_second_of_two_at_once(
    tmp_path: Path, limits: Limits, budget: Budget | None, code: str, status: int
) -> None:
    rig = rig_with(tmp_path, limits, budget)
    rig.ask(body())
    got = rig.ask(body())
    assert got.status == status and json.loads(got.sent)["error"]["code"] == code
    assert ("retry-after" in got.answer_headers) == (status == 429)
    assert rig.in_flight == 1, "what was refused holds nothing"
    assert len(rig.pools["one"].made) == 1


def test_a_key_without_limits_reserves_nothing(tmp_path: Path) -> None:
    rig = rig_with(tmp_path)
    assert rig.key.plan is None
    got = rig.ask(body())
    rig.sink().on_response(response_head(), b'{"usage":{"prompt_tokens":1}}')
    assert not any(name.startswith("x-ratelimit") for name in got.answer_headers)


def test_the_headers_tell_what_is_left(tmp_path: Path) -> None:
    rig = rig_with(tmp_path, Limits(requests_per_minute=10, tokens_per_minute=1_000))
    got = rig.ask(body(max_tokens=88))
    rig.sink().on_response(response_head(), b'{"usage":{"prompt_tokens":1}}')
    headers = got.answer_headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("10", "9")
    assert (headers["x-ratelimit-limit-tokens"], headers["x-ratelimit-remaining-tokens"]) == ("1000", "900")
    assert 5_900 <= milliseconds(headers["x-ratelimit-reset-requests"]) <= 6_000
    assert 5_900 <= milliseconds(headers["x-ratelimit-reset-tokens"]) <= 6_060


def test_a_model_that_is_unknown_or_forbidden_debits_nothing(tmp_path: Path) -> None:
    rig = rig_with(tmp_path, Limits(requests_per_minute=1))
    assert rig.ask(body(model="other")).status == 404
    rig.key.allowed["m"] = False
    assert rig.ask(body()).status == 403
    rig.key.allowed["m"] = True
    rig.ask(body())
    assert rig.in_flight == 1


LONG = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * LONG_BODY_BYTES}]}).encode()
"""One word."""


def requests_left(rig: Rig) -> int:
    assert rig.key.plan is not None
    return rig.key.plan.requests_left()[1]


@pytest.mark.parametrize(
    ("limits", "said"),
    [(Limits(requests_per_minute=1), b"requests per minute"), (Limits(concurrency=1), b"concurrent requests")],
)
def test_a_long_body_is_not_read_for_a_key_that_may_send_none(tmp_path: Path, limits: Limits, said: bytes) -> None:
    rig = rig_with(tmp_path, limits)
    rig.ask(body())
    got = rig.ask(b"no JSON " * LONG_BODY_BYTES)
    assert got.status == 429 and said in got.sent
    assert rig.in_flight == 1
    assert rig.ask(b"no JSON").status == 400, "a short one is read at once"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (LONG + b"!", 400),
        (LONG.replace(b'"m"', b'"other"', 1), 404),
        (LONG[:-1] + b',"max_tokens":1000000}', 402),
    ],
)
def test_a_long_body_stays_counted_as_a_request_whatever_stands_in_it(tmp_path: Path, sent: bytes, status: int) -> None:
    rig = rig_with(
        tmp_path, Limits(requests_per_minute=2, tokens_per_minute=1_000, concurrency=1), Budget(10**6, "day")
    )
    for left in (1, 0):
        assert rig.ask(sent).status == status
        assert requests_left(rig) == left and rig.in_flight == 0
        assert budget_left(rig) == 10**6 and tokens_left(rig) >= 999
    assert rig.ask(sent).status == 429


def test_a_long_body_that_is_admitted_counts_once_with_all_that_it_may_take(tmp_path: Path) -> None:
    rig = rig_with(
        tmp_path, Limits(requests_per_minute=5, tokens_per_minute=1_000, concurrency=1), Budget(10**9, "day")
    )
    got = rig.ask(LONG[:-1] + b',"max_tokens":50}')
    assert got.calls == [] and rig.in_flight == 1
    assert requests_left(rig) == 4 and abs(1_000 - 8 - 50 - tokens_left(rig)) <= 1
    assert 10**9 - budget_left(rig) == 8 * 150 + 50 * 600
    rig.sink().on_response(response_head(), b'{"usage":{"prompt_tokens":4,"completion_tokens":2}}')
    assert requests_left(rig) == 4 and rig.in_flight == 0
    assert 10**9 - budget_left(rig) == 4 * 150 + 2 * 600


def test_a_long_body_of_a_key_without_limits_is_read_as_ever(tmp_path: Path) -> None:
    rig = rig_with(tmp_path)
    assert rig.ask(LONG).calls == []
    assert rig.ask(LONG + b"!").status == 400


@pytest.mark.parametrize(
    ("target", "url", "tokens"),
    [
        ("gpt-4o", "https://pictures.example/a.png", 85 + 8 * 170),
        ("gpt-4o", PICTURE, 85 + 2 * 170),
        ("gpt-4o-mini", PICTURE, 2_833 + 2 * 5_667),
        ("gpt-5-mini", PICTURE, 486),
        ("claude-sonnet-4", PICTURE, 410),
    ],
)
def test_an_image_reserves_what_the_targets_model_makes_of_it(
    tmp_path: Path, target: str, url: str, tokens: int
) -> None:
    rig = Rig(
        tmp_path,
        Key("k1", "app", "", limits=Limits(tokens_per_minute=100_000)),
        models=(Model("m", (Target("one", target),)),),
    )
    content = [{"type": "text", "text": WORDS}, {"type": "image_url", "image_url": {"url": url}}]
    before = tokens_left(rig)
    rig.ask(body(messages=[{"role": "user", "content": content}], max_tokens=1))
    assert before - tokens_left(rig) == pytest.approx(PROMPT + tokens + 1, abs=60)  # the bucket refills while we look


def test_of_several_targets_the_dearest_image_is_reserved_for(tmp_path: Path) -> None:
    models = (Model("m", (Target("one", "gpt-4o"), Target("one", "gpt-4o-mini"))),)
    rig = Rig(tmp_path, Key("k1", "app", "", limits=Limits(tokens_per_minute=100_000)), models=models)
    content = [{"type": "text", "text": WORDS}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    before = tokens_left(rig)
    rig.ask(body(messages=[{"role": "user", "content": content}], max_tokens=1))
    assert before - tokens_left(rig) == pytest.approx(PROMPT + 2_833 + 2 * 5_667 + 1, abs=60)
