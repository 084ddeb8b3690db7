"""What can be said of the application without a process: every handler's access, the document, the lockout."""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, get

from gateway.base.node import Address, Admin, Node
from gateway.base.ports import UsageReader
from gateway.control.admin import _observer, _routes
from gateway.control.admin._access import (
    ATTEMPTS,
    MAX_PEERS,
    WINDOW_S,
    Access,
    Gatekeeper,
    Lockout,
    admin_token,
    peer_of,
)
from gateway.control.admin._app import build_app
from gateway.control.admin._control import Control
from gateway.control.admin._errors import CODES, AdminError
from gateway.control.admin._metrics import Metrics
from gateway.control.admin._models import KeyBudget
from gateway.control.admin._observer import Observer
from gateway.control.admin._services import Services
from tests.gateway.control.admin.process import Silent
from tests.gateway.control.admin.test_process import ROUTES


def no_ledger() -> UsageReader:
    raise OSError("none here")


def make(tmp_path: Path) -> Litestar:
    node = Node(admin=Admin(Address(), "x" * 32), state_dir=tmp_path)

    async def made() -> Litestar:
        control = Control(Services(node, b"pepper", no_ledger, Silent()))
        try:
            return build_app(control, Gatekeeper("x" * 32, Silent()), Metrics(), Silent())
        finally:
            await control.close()

    return asyncio.run(made())


def test_every_route_declares_its_access_and_stands_in_the_table_of_the_tests(tmp_path: Path) -> None:
    declared = set()
    for route in make(tmp_path).routes:
        for handler in getattr(route, "route_handlers", []):
            for method in handler.http_methods - {"OPTIONS"}:
                guarded = Access(handler.opt["access"]) is Access.TOKEN
                declared.add((str(method), route.path_format.replace("{key_id}", "some"), guarded))
    assert declared == set(ROUTES)


def test_a_handler_without_access_keeps_the_control_plane_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return ""

    monkeypatch.setattr(_routes, "HANDLERS", [*_routes.HANDLERS, forgotten])
    with pytest.raises(RuntimeError, match="/forgotten"):
        make(tmp_path)


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    (handler,) = [
        handler
        for route in make(tmp_path_factory.mktemp("state")).routes
        if route.path == "/admin/v1/openapi.json"
        for handler in route.route_handlers  # type: ignore[union-attr]
        if "GET" in handler.http_methods
    ]
    served = asyncio.run(handler.fn())  # type: ignore[arg-type]
    made: dict[str, object] = json.loads(served)
    return made


def test_the_document_is_openapi_31_and_describes_every_endpoint_of_the_api(document: dict[str, object]) -> None:
    assert str(document["openapi"]).startswith("3.1")
    paths = document["paths"]
    assert isinstance(paths, dict)
    described = {(method.upper(), path) for path, item in paths.items() for method in item}
    expected = {
        (method, path.replace("/some", "/{key_id}"))
        for method, path, _ in ROUTES
        if path not in ("/", "/admin/v1/openapi.json")
    }
    assert described == expected
    guarded = {(method, path.replace("/some", "/{key_id}")): guarded for method, path, guarded in ROUTES}
    for path, item in paths.items():
        for method, operation in item.items():
            assert operation.get("security", []) == ([{"token": []}] if guarded[method.upper(), path] else [])


def test_the_schemas_of_the_document_are_sound_and_refuse_unknown_fields(document: dict[str, object]) -> None:
    validator: Any = import_module("jsonschema").Draft202012Validator  # its types are a package of their own
    components = document["components"]
    assert isinstance(components, dict)
    schemas = components["schemas"]
    wanted = {**schemas["KeyRequest"], "components": components}
    accepts = validator(wanted).is_valid
    assert accepts({"name": "k", "models": ["gpt-*"], "limits": {"concurrency": 1}, "budget": None})
    for wrong in (
        {},
        {"name": "k", "models": [""]},
        {"name": "k", "limits": {"concurrency": 0}},
        {"name": "k", "x": 1},
    ):
        assert not accepts(wrong)
    for schema in schemas.values():
        validator.check_schema(schema)
    references = {part.partition('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]}
    assert references <= set(schemas)
    assert schemas["KeyRequest"]["additionalProperties"] is False
    assert schemas["KeyRequest"]["required"] == ["name"]
    assert "hmac" not in json.dumps(schemas)


def test_the_documentation_names_every_endpoint_and_every_code() -> None:
    text = (Path(__file__).parents[4] / "docs/admin-api.md").read_text()
    for method, path, _ in ROUTES:
        assert f"`{method} {path.replace('/some', '/{id}')}`" in text
    for status, code in CODES.items():
        assert f"| {status} | `{code}` |" in text


def test_an_empty_token_file_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "admin-token").touch(0o600)
    with pytest.raises(ValueError, match="holds no admin token"):
        admin_token(Node(state_dir=tmp_path), Silent())


def test_a_body_that_does_not_arrive_in_time_or_ends_early_is_the_callers_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def stalled() -> dict[str, object]:
        await asyncio.sleep(60)
        return {}

    async def left() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def read(receive: Any) -> int:
        statuses = []

        async def app(_scope: object, bounded: Any, _send: object) -> None:
            try:
                await bounded()
            except AdminError as error:
                statuses.append(error.status)

        observer = Observer(app, Metrics(), Silent())
        await observer({"type": "http", "method": "POST"}, receive, receive)  # type: ignore[arg-type]
        assert observer.idle.is_set()
        return statuses[0]

    monkeypatch.setattr(_observer, "BODY_S", 0.05)
    assert asyncio.run(read(stalled)) == 408
    assert asyncio.run(read(left)) == 400


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_lockout_begins_with_the_last_attempt_and_ends_with_the_window() -> None:
    clock = Clock()
    lockout = Lockout(clock)
    assert [lockout.failed("a") for _ in range(ATTEMPTS)] == [False] * (ATTEMPTS - 1) + [True]
    assert lockout.wait_s("a") == WINDOW_S
    assert lockout.wait_s("b") == 0
    clock.now += WINDOW_S - 0.5
    assert lockout.wait_s("a") == 1
    clock.now += 0.5
    assert lockout.wait_s("a") == 0
    assert lockout.failed("a") is False


def test_failures_of_different_windows_are_not_added_up() -> None:
    clock = Clock()
    lockout = Lockout(clock)
    for _ in range(5 * ATTEMPTS):
        lockout.failed("a")
        assert lockout.wait_s("a") == 0
        clock.now += WINDOW_S / (ATTEMPTS - 2)


def test_the_lockout_remembers_a_bounded_number_of_addresses() -> None:
    lockout = Lockout(Clock())
    for number in range(MAX_PEERS + 50):
        lockout.failed(str(number))
    assert len(lockout._failures) == MAX_PEERS


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (("192.0.2.7", 5000), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5000), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 5000), "2001:db8:1:2::/64"),
        (("", 0), ""),
        (None, ""),
    ],
)
def test_a_peer_is_an_address_or_the_network_that_one_caller_commands(
    client: tuple[str, int] | None, peer: str
) -> None:
    assert peer_of(client) == peer


@pytest.mark.parametrize(
    ("usd", "nano"), [(0.1, 100_000_000), (10, 10_000_000_000), (0.000000001, 1), (123456.789012345, 123456789012345)]
)
def test_a_budget_is_exact_to_the_nano_dollar(usd: float, nano: int) -> None:
    budget = KeyBudget(usd, "day").compiled()
    assert budget.nano_usd == nano
    assert KeyBudget.of(budget).usd == usd
