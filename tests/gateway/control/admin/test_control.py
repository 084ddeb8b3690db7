"""What the endpoints do when something they need is broken, without a process around it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.adapters.ledger_sqlite import SqliteLedger
from gateway.base.node import Address, Node
from gateway.control.admin import Services, _control, _node
from gateway.control.admin._control import Control
from gateway.control.admin._errors import AdminError
from gateway.control.admin._models import KeyRequest
from tests.gateway.control.admin.process import NOBODY, PEPPER, Ops, Silent

T = TypeVar("T")


@pytest.fixture
def ops() -> Iterator[Ops]:
    ops = Ops()
    yield ops
    ops.close()


def ask(state: Path, question: Callable[[Control], Awaitable[T]], ops: Address = NOBODY) -> T:
    """The answer of a control plane of a state directory."""
    node = Node(ops=ops, state_dir=state)

    async def asked() -> T:
        control = Control(Services(node, PEPPER, lambda: SqliteLedger(node.ledger_file), Silent()))
        try:
            return await question(control)
        finally:
            await control.close()

    return asyncio.run(asked())


QUESTIONS: dict[str, Callable[[Control], Awaitable[object]]] = {
    "usage": lambda control: control.usage(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), "model"),
    "recent": lambda control: control.recent(1),
    "keys": lambda control: control.keys(),
    "create": lambda control: control.create_key(KeyRequest(name="k")),
    "revoke": lambda control: control.revoke_key("k"),
}


@pytest.mark.parametrize(
    ("file", "fault", "fails"),
    [
        ("ledger.sqlite3", "the ledger cannot be opened", {"usage", "recent"}),
        ("keys.json", "the store of keys cannot be read", {"keys", "create", "revoke"}),
        ("snapshot.json", None, {"keys", "create", "revoke"}),
    ],
)
def test_a_broken_file_makes_unavailable_what_needs_it_and_nothing_else(
    tmp_path: Path, file: str, fault: str | None, fails: set[str]
) -> None:
    (tmp_path / file).write_bytes(b"this is neither a database nor JSON " * 100)
    assert ask(tmp_path, Control.unready) == ([fault] if fault else [])
    failed = set()
    for name, question in QUESTIONS.items():
        try:
            ask(tmp_path, question)
        except AdminError as error:
            if error.status == 503:
                failed.add(name)
    assert failed == fails


def test_readiness_is_asked_of_the_disk_once_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def thrice(control: Control) -> list[list[str]]:
        faults = [await control.unready()]
        (tmp_path / "keys.json").write_text("{")
        faults.append(await control.unready())
        monkeypatch.setattr(_control, "READINESS_S", 0.0)
        faults.append(await control.unready())
        return faults

    assert ask(tmp_path, thrice) == [[], [], ["the store of keys cannot be read"]]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, b""), "answered 500"),
        ((200, b"[1]"), "something else than its status"),
        ((200, b"x" * 2_000), "more than 1,000 bytes"),
        (None, "did not answer within 0.2 s"),
    ],
)
def test_a_node_that_answers_badly_is_down_in_bounded_time(
    tmp_path: Path, ops: Ops, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes] | None, says: str
) -> None:
    monkeypatch.setattr(_node, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(_node, "MAX_ANSWER_BYTES", 1_000)
    if answer is None:
        ops.delay_s = 5.0
    else:
        ops.answers["/status"] = answer
    report = ask(tmp_path, Control.status, ops.address).node
    assert (report.up, report.status) == (False, None)
    assert says in str(report.error)


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_a_node_that_listens_everywhere_is_asked_on_loopback(tmp_path: Path, ops: Ops, host: str) -> None:
    ops.say("/status", {"version": "1"})
    report = ask(tmp_path, Control.status, Address(host, ops.address.port))
    assert report.node.status == {"version": "1"}


def test_two_requests_for_one_name_make_one_key(tmp_path: Path) -> None:
    async def race(control: Control) -> list[object]:
        wanted = [control.create_key(KeyRequest(name="same")) for _ in range(4)]
        return list(await asyncio.gather(*wanted, return_exceptions=True))

    results = ask(tmp_path, race)
    assert sorted(getattr(result, "status", 201) for result in results) == [201, 409, 409, 409]
