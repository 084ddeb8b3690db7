"""The order of the phases, and what needs no provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.base.context import Compiled
from gateway.base.errors import CATALOGUE, PROVIDER_BUSY, GatewayError
from gateway.base.snapshot import Key, Limits, Model, Target
from tests.support.rig import PRICE, Rig, response_head

FULL = GatewayError(PROVIDER_BUSY, "Too many requests wait for a connection to 'one'.", retry_after_ms=1_000)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    models = (
        Model("m", (Target("one", "upstream-m", price=PRICE),), ("spare",)),
        Model("spare", (Target("two", "x"),)),
        Model("a/b c", (Target("one", "x"),)),
    )
    return Rig(tmp_path, Key("k1", "app", "", limits=Limits(concurrency=3)), models=models)


def error_of(answer: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(answer)["error"]
    return error


def test_a_crash_in_a_phase_answers_500_with_the_id_and_ends_no_other_request(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = rig.ask()
    monkeypatch.setattr(rig.pools["one"], "take", lambda: 1 // 0)
    got = rig.ask(b'{"model":"m","messages":[{"role":"user","content":"a-prompt"}]}')
    error = error_of(got.sent)
    assert (got.status, error["code"], error["type"]) == (500, "internal_error", "server_error")
    assert got.answer_headers["x-request-id"] in error["message"]
    assert "ZeroDivision" not in error["message"]
    ((level, event, fields),) = rig.keeper.events
    assert (level, event, fields["id"]) == ("error", "request_crashed", got.answer_headers["x-request-id"])
    assert "ZeroDivisionError" in fields["error"] and "a-prompt" not in fields["error"]
    assert rig.record.code == "internal_error"
    rig.sink().on_response(response_head(), b"{}")
    assert other.status == 200
    assert rig.in_flight == 0


def test_a_crash_before_the_body_has_come_is_answered_too(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.rig import FakeExchange

    exchange = FakeExchange()
    monkeypatch.setattr(exchange, "credential", lambda: 1 // 0)
    assert rig.pipeline.on_head(exchange) is False
    assert exchange.status == 500


def test_too_many_waiting_for_a_provider_is_told_as_such(rig: Rig) -> None:
    for pool in rig.pools.values():
        pool.empty, pool.full = True, FULL
    got = rig.ask()
    assert (got.status, error_of(got.sent)["code"]) == (503, "provider_pool_exhausted")
    assert got.answer_headers["retry-after"] == "1"
    assert rig.in_flight == 0


def test_a_full_pool_is_passed_over_for_a_fallback_after_a_failure(rig: Rig) -> None:
    rig.pools["two"].empty, rig.pools["two"].full = True, FULL
    got = rig.ask()
    rig.sink().on_error("closed", "why")
    assert (got.status, error_of(got.sent)["code"]) == (502, "provider_unreachable"), (
        "the failure that was, not the pool's"
    )
    assert rig.in_flight == 0


def test_a_full_pool_is_passed_over_for_a_fallback_at_once(rig: Rig) -> None:
    rig.pools["one"].empty, rig.pools["one"].full = True, FULL
    got = rig.ask()
    rig.sink("two").on_response(response_head(), b"{}")
    assert got.status == 200


def test_requests_keep_the_snapshot_that_they_began_with(rig: Rig) -> None:
    got = rig.ask()
    rig.pipeline.swap(Compiled("fedcba9876543210"), rig.admission)
    rig.sink().on_response(response_head(), b"{}")
    assert got.answer_headers["x-throughway-config-version"] == "0123456789abcdef"
    assert rig.ask().status == 401, "who comes now finds the new one"
    assert rig.in_flight == 0


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/v1/models", "GET", 200, None),
        ("/v1/models", "HEAD", 200, None),
        ("/v1/models/m", "GET", 200, None),
        ("/v1/models/a%2Fb%20c", "GET", 200, None),
        ("/v1/models/a/b%20c", "GET", 200, None),
        ("/v1/models/none", "GET", 404, "model_not_found"),
        ("/v1/models", "POST", 405, "method_not_allowed"),
        ("/v1/chat/completions", "GET", 405, "method_not_allowed"),
        ("/v1/chat/completions/", "POST", 404, "not_found"),
        ("/v1/modelsx", "GET", 404, "not_found"),
        ("/", "GET", 404, "not_found"),
        ("*", "OPTIONS", 404, "not_found"),
    ],
)
def test_what_is_answered_without_a_provider(rig: Rig, path: str, method: str, status: int, code: str | None) -> None:
    got = rig.ask(path=path, method=method)
    assert got.status == status
    assert "x-request-id" in got.answer_headers and "x-throughway-config-version" in got.answer_headers
    if code is not None:
        assert error_of(got.sent)["code"] == code


def test_models_are_listed_for_the_key(rig: Rig) -> None:
    rig.key.allowed["spare"] = False
    listed = json.loads(rig.ask(path="/v1/models", method="GET").sent)
    assert listed == {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "throughway"} for name in ("m", "a/b c")],
    }
    assert rig.ask(path="/v1/models/spare", method="GET").status == 403


@pytest.mark.parametrize("status", [400, 408, 413, 414, 417, 431, 500, 501, 503, 505])
def test_what_never_became_a_request_is_counted_reported_and_answered(rig: Rig, status: int) -> None:
    fields, body = rig.pipeline.on_refusal(status, "the reason", "10.0.0.1:5")
    error = error_of(body)
    assert error["message"] == "The reason."
    assert CATALOGUE[error["code"]].status == status
    assert fields.startswith(b"content-type: application/json\r\n") and fields.endswith(b"\r\n")
    assert (b"retry-after: 1" in fields) == (status in (408, 500, 503))
    ((_, event, told),) = rig.keeper.events
    assert (event, told["status"], told["code"], told["peer"]) == (
        "request_refused",
        status,
        error["code"],
        "10.0.0.1:5",
    )


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"1", True),
        (b"86400000", True),
        (b"86400001", False),
        (b"0", False),
        (b"-1", False),
        (b"1.5", False),
        ("٣".encode(), False),
        (b"", False),
        (b"000000000000000001", False),
    ],
)
def test_the_deadline_is_a_whole_number_of_milliseconds(rig: Rig, value: bytes, accepted: bool) -> None:
    got = rig.ask(headers={b"x-throughway-timeout-ms": value})
    if accepted:
        assert rig.connection().deadline_ns == got.received_ns + int(value) * 1_000_000 or int(value) > 600_000
    else:
        assert (got.status, error_of(got.sent)["param"]) == (400, "x-throughway-timeout-ms")
    assert rig.in_flight == int(accepted)


def test_the_body_is_not_awaited_of_who_may_not_send_it(rig: Rig) -> None:
    from tests.support.rig import FakeExchange

    for headers, status in (
        ({b"authorization": b"Bearer no"}, 401),
        ({b"content-type": b"text/plain"}, 415),
        ({b"content-encoding": b"gzip"}, 415),
    ):
        exchange = FakeExchange(headers=headers)
        assert rig.pipeline.on_head(exchange) is False
        assert exchange.status == status
    assert rig.pipeline.on_head(FakeExchange()) is True


@pytest.mark.parametrize(
    "media_type",
    [b"application/json", b"Application/JSON", b"application/json; charset=utf-8", b"application/json ;x=y"],
)
def test_json_by_every_spelling(rig: Rig, media_type: bytes) -> None:
    rig.ask(headers={b"content-type": media_type})
    assert rig.in_flight == 1


def test_many_failing_targets_are_tried_within_the_bound_and_settled_once(tmp_path: Path) -> None:
    names = tuple("abcdefgh")
    rig = Rig(
        tmp_path,
        Key("k1", "app", "", limits=Limits(concurrency=1)),
        models=(Model("m", tuple(Target(n, "x") for n in names)),),
    )
    got = rig.ask()
    for _ in range(10):
        for name in names:
            for connection in rig.pools[name].made:
                if connection.sink is not None:
                    sink, connection.sink = connection.sink, None
                    sink.on_error("closed", "why")
    assert (got.status, got.answer_headers["x-throughway-attempts"]) == (502, "4")
    assert rig.record.attempts == 4 and rig.in_flight == 0
