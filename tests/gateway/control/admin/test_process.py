"""The control plane as its callers see it: a real process, HTTP, a real ledger and a real store of keys."""

from __future__ import annotations

import json
import re
import socket
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.adapters.ledger_sqlite import SqliteLedger
from gateway.base.node import Address
from gateway.base.snapshot import Key, Model, Provider, Snapshot, Target, Team, encode
from gateway.control.admin._access import admin_token
from gateway.control.keys import KeyStore, key_hmac
from tests.gateway.adapters.helpers import record
from tests.gateway.control.admin.process import PEPPER, TOKEN, ControlPlane, Ops, Silent, control_plane

NOISE_S = 2.0
"""What a busy machine may add to what is claimed."""
AT_MS = 1_772_366_400_123  # 2026-03-01T12:00:00.123Z
SNAPSHOT = Snapshot(
    version="",
    providers=(Provider("openai", "openai", "https://api.openai.com/v1"),),
    models=(Model("gpt-4o", (Target("openai", "gpt-4o"),)),),
    teams=(Team("search"),),
    keys=(Key("cfg-declared", "declared", "ab" * 32),),
).sealed()
STATUS = {"version": "0.1.0", "ready": True, "readiness": "1 of 1 workers serving", "config": {}, "workers": []}


@pytest.fixture(scope="module")
def ops() -> Iterator[Ops]:
    ops = Ops()
    ops.say("/status", STATUS)
    ops.say("/metrics", b"throughway_workers_serving 1.0\n")
    yield ops
    ops.close()


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory, ops: Ops) -> Iterator[ControlPlane]:
    """One process for the tests that leave it as they found it."""
    state = tmp_path_factory.mktemp("state")
    (state / "snapshot.json").write_bytes(encode(SNAPSHOT))
    ledger = SqliteLedger(state / "ledger.sqlite3")
    ledger.write(
        [
            record("req_1", at_ms=AT_MS, model="a", input_tokens=10, output_tokens=20, cost_nano_usd=1_000),
            record("req_2", at_ms=AT_MS + 1, model="a", input_tokens=1, output_tokens=2, cost_nano_usd=2_000),
            record("req_3", at_ms=AT_MS + 2, model="b", status=502, code="provider_unreachable", cost_nano_usd=0),
            record("req_4", at_ms=AT_MS + 86_400_000, model="b", cost_nano_usd=5),
        ]
    )
    ledger.close()
    with control_plane(state, ops=ops.address) as control:
        yield control


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """The status and code of an error, whose shape is checked on the way."""
    body = answer.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["message"]
    return answer.status_code, body["error"]["code"]


# -- who may ask


ROUTES = [
    ("GET", "/", False),
    ("GET", "/healthz", False),
    ("GET", "/readyz", False),
    ("GET", "/metrics", False),
    ("GET", "/admin/v1/openapi.json", False),
    ("GET", "/admin/v1/status", True),
    ("GET", "/admin/v1/keys", True),
    ("POST", "/admin/v1/keys", True),
    ("DELETE", "/admin/v1/keys/some", True),
    ("GET", "/admin/v1/usage", True),
    ("GET", "/admin/v1/usage/records", True),
]


@pytest.mark.parametrize(("method", "path", "guarded"), ROUTES)
def test_an_endpoint_is_open_or_asks_for_the_token(
    control: ControlPlane, method: str, path: str, guarded: bool
) -> None:
    answer = control.http.request(method, path)
    if guarded:
        assert error_of(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert control.http.request(method, path, headers=control.authorized).status_code != 401
    else:
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([("authorization", "Bearer wrong")], "is wrong"),
        ([("authorization", f"Bearer {TOKEN}x")], "is wrong"),
        ([("authorization", f"Basic {TOKEN}")], "is not one `Bearer TOKEN`"),
        ([("authorization", TOKEN)], "is not one `Bearer TOKEN`"),
        ([("authorization", f"Bearer {TOKEN}"), ("authorization", f"Bearer {TOKEN}")], "is not one `Bearer TOKEN`"),
        ([("x-api-key", TOKEN)], "is needed"),
        ([("cookie", f"token={TOKEN}")], "is needed"),
    ],
)
def test_only_the_bearer_token_opens(control: ControlPlane, headers: list[tuple[str, str]], says: str) -> None:
    answer = control.http.get("/admin/v1/status", headers=headers)
    assert error_of(answer) == (401, "unauthorized")
    assert says in answer.json()["error"]["message"]
    assert TOKEN not in answer.text


def test_an_address_that_guesses_is_locked_out_and_the_log_says_so_without_the_guess(tmp_path: Path) -> None:
    with control_plane(tmp_path) as control:
        for _ in range(30):  # forgetting the token is no guess
            assert control.http.get("/admin/v1/status").status_code == 401
        for guess in range(10):
            headers = {"authorization": f"Bearer guess-canary-{guess}"}
            assert control.http.get("/admin/v1/status", headers=headers).status_code == 401
        locked = control.get("/admin/v1/status")
        assert error_of(locked) == (429, "too_many_attempts")
        assert 0 < int(locked.headers["retry-after"]) <= 60
        assert control.get("/healthz").status_code == 200
        assert "throughway_control_wrong_tokens_total 10.0" in control.get("/metrics").text
        control.stop()
        assert len(control.events("admin.locked_out")) == 1
        assert "guess-canary" not in control.output()


def test_a_token_is_made_at_the_first_start_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "admin-token"
    with control_plane(tmp_path, token="") as control:
        assert control.http.get("/healthz").status_code == 200
        token = file.read_text().strip()
        assert control.http.get("/admin/v1/keys", headers={"authorization": f"Bearer {token}"}).status_code == 200
        control.stop()
        assert control.events("admin.token_made")[0]["file"] == str(file)
        assert token not in control.output()
        assert admin_token(control.node, Silent()) == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(token) - len("tw_admin_") >= 43  # 32 bytes in base64


# -- keys


def test_a_key_is_made_shown_once_listed_and_revoked(control: ControlPlane) -> None:
    wanted = {
        "name": "search-prod",
        "team": "search",
        "models": ["gpt-*"],
        "limits": {"requests_per_minute": 600, "concurrency": 5},
        "budget": {"usd": 0.1, "per": "day"},
        "expires": "2099-01-31T12:00:00+02:00",
    }
    made = control.post("/admin/v1/keys", wanted)
    assert made.status_code == 201
    key = made.json()
    secret = key.pop("secret")
    assert key["limits"] == {"requests_per_minute": 600, "tokens_per_minute": None, "concurrency": 5}
    assert (key["name"], key["team"], key["models"]) == ("search-prod", "search", ["gpt-*"])
    assert (key["budget"], key["expires"]) == ({"usd": 0.1, "per": "day"}, "2099-01-31T10:00:00Z")
    assert (key["state"], key["source"], key["revoked"]) == ("live", "store", None)

    kept = control.node.keys_file.read_text()
    assert key_hmac(PEPPER, secret) in kept
    assert secret not in kept
    (stored,) = KeyStore(control.node.keys_file).list()
    assert stored.key.budget is not None
    assert stored.key.budget.nano_usd == 100_000_000

    listed = control.get("/admin/v1/keys")
    assert [entry["name"] for entry in listed.json()["keys"]] == ["declared", "search-prod"]
    assert listed.json()["keys"][1] == key
    assert secret not in listed.text
    assert stored.key.hmac not in listed.text

    assert error_of(control.post("/admin/v1/keys", wanted)) == (409, "conflict")
    for _ in range(2):
        revoked = control.delete(f"/admin/v1/keys/{key['id']}")
        assert revoked.status_code == 200
        assert revoked.json()["state"] == "revoked"
        assert revoked.json()["revoked"] is not None
    assert not KeyStore(control.node.keys_file).list()[0].live
    again = control.post("/admin/v1/keys", {"name": "search-prod"})
    assert again.status_code == 201
    assert control.delete(f"/admin/v1/keys/{again.json()['id']}").status_code == 200
    assert secret not in control.output()
    assert again.json()["secret"] not in control.output()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({}, 400, "`name`"),
        ([], 400, "object"),
        ({"name": "k", "limit": {}}, 400, "unknown field `limit`"),
        ({"name": "k", "limits": {"rpm": 1}}, 400, "unknown field `rpm` - at `$.limits`"),
        ({"name": "k", "limits": {"concurrency": "5"}}, 400, "Expected `int | null`, got `str`"),
        ({"name": "k", "limits": {"concurrency": 0}}, 400, "$.limits.concurrency"),
        ({"name": "k", "budget": {"usd": -1, "per": "day"}}, 400, "$.budget.usd"),
        ({"name": "k", "budget": {"usd": 1, "per": "year"}}, 400, "$.budget.per"),
        ({"name": "k", "budget": {"usd": 1e-10, "per": "day"}}, 400, "nano-dollar"),
        ({"name": "k", "models": []}, 400, "$.models"),
        ({"name": "k", "expires": "2099-01-31T12:00:00"}, 400, "$.expires"),
        ({"name": "k", "expires": "2000-01-01T00:00:00Z"}, 400, "past"),
        ({"name": "a b"}, 400, "name"),
        ({"name": "k*"}, 400, "name"),
        ({"name": ""}, 400, "name"),
        ({"name": "k", "team": "nobody"}, 400, 'no team named "nobody"'),
        ({"name": "declared"}, 409, "declared"),
    ],
)
def test_a_wrong_key_is_refused_with_what_is_wrong(control: ControlPlane, body: object, status: int, says: str) -> None:
    before = KeyStore(control.node.keys_file).list()
    answer = control.post("/admin/v1/keys", body)
    assert error_of(answer)[0] == status
    assert says in answer.json()["error"]["message"]
    assert KeyStore(control.node.keys_file).list() == before


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (b"{", "application/json", (400, "invalid_request")),
        (b'{"name": "\xff"}', "application/json", (400, "invalid_request")),
        (b"[" * 60_000, "application/json", (400, "invalid_request")),
        (b"", "application/json", (400, "invalid_request")),
        (b"name=k", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
        (b" " * 70_000, "application/json", (413, "body_too_large")),
    ],
)
def test_a_body_that_is_no_json_is_refused(
    control: ControlPlane, content: bytes, kind: str, expected: tuple[int, str]
) -> None:
    headers = {**control.authorized, "content-type": kind}
    assert error_of(control.http.post("/admin/v1/keys", content=content, headers=headers)) == expected


def test_keys_that_are_not_the_stores_are_not_revoked(control: ControlPlane) -> None:
    assert error_of(control.delete("/admin/v1/keys/cfg-declared")) == (409, "conflict")
    assert error_of(control.delete("/admin/v1/keys/nosuch")) == (404, "not_found")


# -- usage


def test_usage_is_summed_by_what_is_asked(control: ControlPlane) -> None:
    report = control.get("/admin/v1/usage?since=2026-03-01&until=2026-03-02&by=model").json()
    figures = {group["name"]: group for group in report["groups"]}
    assert (figures["a"]["requests"], figures["a"]["errors"]) == (2, 0)
    assert (figures["a"]["input_tokens"], figures["a"]["output_tokens"]) == (11, 22)
    assert figures["a"]["cost_nano_usd"] == 3_000
    assert (figures["b"]["requests"], figures["b"]["errors"]) == (1, 1)
    assert (report["total"]["requests"], report["total"]["cost_nano_usd"]) == (3, 3_000)
    assert (report["since"], report["until"]) == ("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
    by_day = control.get("/admin/v1/usage?since=2026-03-01T00:00:00Z&until=2026-03-03T02:00:00%2B02:00&by=day").json()
    assert {group["name"]: group["requests"] for group in by_day["groups"]} == {"2026-03-01": 3, "2026-03-02": 1}


def test_usage_is_that_of_the_last_thirty_days_by_default(control: ControlPlane) -> None:
    report = control.get("/admin/v1/usage").json()
    since, until = datetime.fromisoformat(report["since"]), datetime.fromisoformat(report["until"])
    assert (until - since).days == 30
    assert abs((datetime.now(UTC) - until).total_seconds()) < 60


def test_the_latest_requests_come_newest_first_with_all_their_fields(control: ControlPlane) -> None:
    records = control.get("/admin/v1/usage/records?limit=2").json()["records"]
    assert [entry["id"] for entry in records] == ["req_4", "req_3"]
    assert records[0]["estimated"] is False  # a default, and not left out
    assert len(control.get("/admin/v1/usage/records").json()["records"]) == 4


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("usage?since=yesterday", "since"),
        ("usage?since=2026-03-02&until=2026-03-01", "before until"),
        ("usage?by=colour", "by"),
        ("usage?sinse=2026-03-01", '"sinse"'),
        ("usage?until=0001-01-01T00:00:00%2B23:00", "until"),
        ("usage?until=0001-01-02", "before"),
        ("usage/records?limit=0", "limit"),
        ("usage/records?limit=1001", "limit"),
        ("usage/records?limit=many", "limit"),
    ],
)
def test_a_wrong_question_is_refused_with_what_is_wrong(control: ControlPlane, query: str, says: str) -> None:
    answer = control.get(f"/admin/v1/{query}")
    assert error_of(answer) == (400, "invalid_request")
    assert says in answer.json()["error"]["message"]


# -- status, probes, metrics


def test_status_holds_the_nodes_own_and_the_versions(control: ControlPlane) -> None:
    report = control.get("/admin/v1/status").json()
    assert report["node"] == {"up": True, "error": None, "status": STATUS}
    assert set(report["versions"]) == {"throughway", "python", "granian", "litestar"}


def test_metrics_are_the_nodes_and_its_own(control: ControlPlane) -> None:
    text = control.http.get("/metrics").text
    for line in ("throughway_workers_serving 1.0", "throughway_control_up 1.0", "throughway_node_up 1.0"):
        assert line in text.splitlines()
    assert re.search(r'^throughway_control_requests_total\{status="200"\} \d', text, re.MULTILINE)


def test_it_serves_without_a_data_plane(tmp_path: Path) -> None:
    with control_plane(tmp_path) as control:
        assert control.http.get("/readyz").text == "ready\n"
        report = control.get("/admin/v1/status").json()["node"]
        assert (report["up"], report["status"]) == (False, None)
        assert "data plane is down" in report["error"]
        metrics = control.http.get("/metrics").text.splitlines()
        assert {"throughway_control_up 1.0", "throughway_node_up 0.0"} <= set(metrics)
        assert control.post("/admin/v1/keys", {"name": "first"}).status_code == 201
        assert error_of(control.post("/admin/v1/keys", {"name": "k", "team": "search"})) == (503, "unavailable")


# -- the page, the document, paths


def test_the_page_loads_nothing_from_elsewhere_and_its_policy_admits_its_own_parts_alone(control: ControlPlane) -> None:
    answer = control.http.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://|//cdn|src=|@import|url\(", answer.text)
    assert " on" not in "".join(re.findall(r"<[a-z][^>]*>", answer.text.partition("<script>")[0])), "no inline handlers"
    assert "innerHTML" not in answer.text
    assert TOKEN not in answer.text


def test_every_answer_forbids_sniffing_and_caching(control: ControlPlane) -> None:
    for path in ("/", "/admin/v1/keys", "/nothing"):
        headers = control.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", (404, "not_found")),
        ("GET", "/admin/v1/nothing", (404, "not_found")),
        ("GET", "/schema", (404, "not_found")),
        ("PUT", "/admin/v1/keys", (405, "method_not_allowed")),
        ("OPTIONS", "/admin/v1/keys", (401, "unauthorized")),
    ],
)
def test_what_is_not_there_is_refused_in_the_one_shape(
    control: ControlPlane, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert error_of(control.http.request(method, path)) == expected


# -- the process


def exchange(control: ControlPlane, *parts: bytes) -> bytes:
    """What the server answers to these bytes, until it closes or is silent."""
    with socket.create_connection(control.listener.getsockname(), timeout=2) as connection:
        for part in parts:
            connection.sendall(part)
        return connection.recv(65_536)


def test_a_body_that_breaks_framing_is_the_callers_error(control: ControlPlane) -> None:
    head = f"POST /admin/v1/keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
    head += "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    assert exchange(control, head.encode(), b"zz\r\n").startswith(b"HTTP/1.1 400 ")


def test_sigterm_lets_requests_finish_and_cuts_idle_and_half_sent_ones(tmp_path: Path, ops: Ops) -> None:
    with control_plane(tmp_path, ops=ops.address) as control:
        assert control.get("/healthz").status_code == 200  # leaves an idle connection
        half = socket.create_connection(control.listener.getsockname())
        half.sendall(b"GET /healthz HTTP/1.1\r\nho")
        answers: list[dict[str, Any]] = []
        ops.delay_s = 0.5
        try:
            asking = threading.Thread(target=lambda: answers.append(control.get("/admin/v1/status").json()))
            asking.start()
            time.sleep(0.2)
            seconds = control.stop()
            asking.join()
        finally:
            ops.delay_s = 0.0
            half.close()
        assert control.process.exitcode == 0
        assert answers[0]["node"]["up"] is True
        assert seconds < 1.0 + NOISE_S
        # The socket is the supervisor's: a caller waits in its queue for the successor.
        socket.create_connection(control.listener.getsockname(), timeout=1).close()
        assert control.events("admin.stopped")[0]["requests_cut"] == 0


def test_it_serves_on_a_unix_socket_and_ends_at_once_when_idle(tmp_path: Path) -> None:
    with control_plane(tmp_path, listen=Address(path=str(tmp_path / "admin.sock"))) as control:
        assert control.get("/admin/v1/keys").json() == {"keys": []}
        assert control.stop() < 1.0 + NOISE_S
        assert control.process.exitcode == 0


def test_a_token_file_that_others_can_read_ends_the_start_loudly(tmp_path: Path) -> None:
    (tmp_path / "admin-token").write_text("tw_admin_" + "x" * 43)
    (tmp_path / "admin-token").chmod(0o644)
    with control_plane(tmp_path, token="") as control:
        control.process.join(10)
        assert control.process.exitcode == 1
        assert "chmod 600" in control.output()
        assert "x" * 43 not in control.output()


def test_no_secret_reaches_the_log(control: ControlPlane) -> None:
    control.get("/admin/v1/keys?token=query-canary")
    control.get("/path-canary/admin")
    control.post("/admin/v1/keys", {"name": "body-canary", "secret": "body-canary"})
    deadline = time.monotonic() + 5
    while control.output().count('"status":404') == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    lines = [json.loads(line) for line in control.output().splitlines()]
    assert {line["event"] for line in lines} <= {
        "admin.started",
        "admin.request",
        "admin.key_created",
        "admin.key_revoked",
    }
    assert "canary" not in control.output()
