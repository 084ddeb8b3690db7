from __future__ import annotations

import json

import pytest

from bench.scenarios import SCENARIOS, Scenario

EACH = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


@EACH
def test_a_request_is_a_chat_request_of_the_size_that_figures_are_given_for(scenario: Scenario) -> None:
    assert {"model", "messages"} <= json.loads(scenario.body).keys()
    assert 350 <= len(scenario.body) <= 400


@EACH
def test_an_answer_holds_its_own_proof(scenario: Scenario) -> None:
    assert all(part in scenario.answer for part in scenario.proof)


def test_the_stream_is_of_about_fifty_events_and_ends_as_its_dialect_says() -> None:
    events = SCENARIOS["stream"].answer.split("\n\n")
    assert 45 <= len(events) <= 60
    assert events[-2:] == ["data: [DONE]", ""]
    assert json.loads(events[-3].removeprefix("data: "))["usage"]["total_tokens"] == 94


def test_no_parameter_of_a_location_is_longer_than_nginx_takes() -> None:
    for scenario in SCENARIOS.values():
        assert all(len(line) < 4_096 for line in scenario.location().splitlines())


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("it's", "set $x_0 'it\\'s';"),
        ("a\r\nb", "set $x_0 'a\\r\\nb';"),
        ('"\\n"', "set $x_0 '\"\\\\n\"';"),
    ],
    ids=["quote", "line end", "backslash"],
)
def test_an_answer_is_quoted_for_nginx(answer: str, line: str) -> None:
    assert line in _scenario(answer).location()


def test_an_answer_with_a_dollar_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="dollar"):
        _scenario("$5").location()


def _scenario(answer: str) -> Scenario:
    return Scenario("x", "", "", "", answer, "text/plain", ())
