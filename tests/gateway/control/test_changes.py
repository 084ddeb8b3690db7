"""What differs between two configurations, as it is told."""

from __future__ import annotations

from gateway.base.snapshot import Budget, Key, Limits, Model, Provider, Snapshot, Target, Team
from gateway.control.config.changes import changes, document, lines

BEFORE = Snapshot(
    "",
    providers=(Provider("p", "openai", "https://a/v1", "env:A"),),
    models=(Model("m", (Target("p", "x"),)), Model("old", (Target("p", "x"),))),
    teams=(Team("t", Limits(requests_per_minute=60)),),
    keys=(Key("cfg-k", "k", "a" * 64, "t"),),
).sealed()
AFTER = Snapshot(
    "",
    providers=(Provider("p", "openai", "https://b/v1", "env:B"),),
    models=(Model("m", (Target("p", "x"), Target("p", "y"))), Model("new", (Target("p", "x"),))),
    teams=(Team("t", Limits(requests_per_minute=90), Budget(5, "day")),),
    keys=(Key("cfg-k", "k", "b" * 64),),
).sealed()


def test_each_setting_that_changed_is_a_line_of_its_own_place() -> None:
    told = lines(changes(BEFORE, AFTER))
    assert told[0] == "~ providers p: base_url https://a/v1 -> https://b/v1, api_key env:A -> env:B"
    assert told[1].startswith('~ models m: targets [{"provider":"p","model":"x"}] -> [{')
    assert told[2:4] == ["+ models new", "- models old"]
    assert told[4] == '~ teams t: limits.requests_per_minute 60 -> 90, budget none -> {"nano_usd":5,"per":"day"}'
    assert told[5] == "~ keys k: hmac aaaaaaaa... -> bbbbbbbb..., team t -> none"


def test_from_nothing_all_is_added_and_to_itself_nothing_changes() -> None:
    assert {change.action for change in changes(None, AFTER)} == {"added"}
    assert changes(AFTER, AFTER) == []


def test_a_document_shows_no_whole_hmac() -> None:
    assert document(BEFORE)["keys"][0]["hmac"] == "aaaaaaaa..."
    assert document(BEFORE)["version"] == BEFORE.version
