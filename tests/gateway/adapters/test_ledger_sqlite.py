from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters import ledger_sqlite
from gateway.adapters.ledger_sqlite import LedgerError, SqliteLedger, Total
from gateway.adapters.shipper import Shipper
from gateway.base.usage import UsageRecord
from tests.gateway.adapters.helpers import record, seal

DAY_MS = 86_400_000
NOON_MS = 1_772_366_400_000  # 2026-03-01T12:00:00Z


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "state" / "ledger.sqlite3")
    yield opened
    opened.close()


def test_records_come_back_as_they_were(ledger: SqliteLedger) -> None:
    plain, odd = record(), record(estimated=True, stream=False, tags="a=b", cost_nano_usd=2**63 - 1, code="overloaded")
    ledger.write([plain, odd])
    assert ledger.recent(5) == [odd, plain]


def test_each_field_of_a_record_has_its_column(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    SqliteLedger(path).close()
    db = sqlite3.connect(path)
    columns = [row[1] for row in db.execute("PRAGMA table_info(usage_records)")]
    db.close()
    assert columns == ["seq", *UsageRecord.__struct_fields__]


def test_an_id_counts_once_however_often_it_is_written(ledger: SqliteLedger) -> None:
    ledger.write([record("a", cost_nano_usd=5), record("b", cost_nano_usd=7)])
    ledger.write([record("b", cost_nano_usd=7), record("c", cost_nano_usd=11), record("c", cost_nano_usd=11)])
    assert ledger.spent_since(0)[1] == {"search": 23}


def test_a_batch_is_stored_whole_or_not_at_all(ledger: SqliteLedger) -> None:
    with pytest.raises(OverflowError):
        ledger.write([record("a"), record("b", input_tokens=2**63)])
    assert ledger.recent(5) == []
    with pytest.raises(sqlite3.IntegrityError):
        ledger.write([record("a"), record("b", team=None)])
    ledger.write([record("a")])
    assert len(ledger.recent(5)) == 1


def test_spending_is_summed_exactly_by_key_and_team_from_a_moment_on(ledger: SqliteLedger) -> None:
    huge = 2**53 + 1  # not a float
    ledger.write([
        record(at_ms=NOON_MS - 1, cost_nano_usd=1_000),
        record(at_ms=NOON_MS, key_id="k1", team="t1", cost_nano_usd=huge),
        record(at_ms=NOON_MS + 1, key_id="k1", team="t2", cost_nano_usd=2),
        record(at_ms=NOON_MS + 2, key_id="k2", team="t1", cost_nano_usd=4),
    ])  # fmt: skip
    assert ledger.spent_since(NOON_MS) == ({"k1": huge + 2, "k2": 4}, {"t1": huge + 4, "t2": 2})
    assert ledger.spent_since(NOON_MS + DAY_MS) == ({}, {})


def test_totals_take_their_bounds_half_open_and_group_by_name(ledger: SqliteLedger) -> None:
    ledger.write([
        record(at_ms=NOON_MS - 1, model="before"),
        record(at_ms=NOON_MS, model="a", code="overloaded", input_tokens=1, output_tokens=2, cost_nano_usd=3),
        record(at_ms=NOON_MS + 1, model="a", input_tokens=10, output_tokens=20, cost_nano_usd=30, cache_read_tokens=5),
        record(at_ms=NOON_MS + 1, model="b", estimated=True, unpriced=True, cost_nano_usd=0),
        record(at_ms=NOON_MS + 2, model="after"),
    ])  # fmt: skip
    assert ledger.totals(NOON_MS, NOON_MS + 2, "model") == [
        Total("a", 2, 1, 11, 22, 5, 0, 0, 33, 0, 0),
        Total("b", 1, 0, 123, 456, 0, 0, 0, 0, 1, 1),
    ]


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("day", ["2026-03-01", "2026-03-02"]),
        ("hour", ["2026-03-01T12:00Z", "2026-03-01T23:00Z", "2026-03-02T00:00Z"]),
        ("key", ["key_search"]),
        ("team", ["search"]),
        ("provider", ["openai"]),
        ("target_model", ["gpt-4o-mini-2024-07-18"]),
        ("endpoint", ["/v1/chat/completions"]),
        ("code", [""]),
    ],
)
def test_every_grouping_names_its_groups(by: ledger_sqlite.Grouping, names: list[str], ledger: SqliteLedger) -> None:
    midnight = NOON_MS + DAY_MS // 2
    ledger.write([record(at_ms=at) for at in (NOON_MS, midnight - 1, midnight)])
    assert [total.name for total in ledger.totals(0, midnight + 1, by)] == names


def test_what_budgets_ask_at_start_never_touches_the_rows(ledger: SqliteLedger, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "state" / "ledger.sqlite3")
    plan = " ".join(row[3] for row in db.execute("EXPLAIN QUERY PLAN " + ledger_sqlite._SPENT, (5,)))
    db.close()
    assert "SEARCH usage_records USING COVERING INDEX usage_by_time" in plan


def test_a_commit_is_on_disk_before_its_segment_is_deleted(ledger: SqliteLedger) -> None:
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_one_writes_while_another_reads(ledger: SqliteLedger, tmp_path: Path) -> None:
    reader = SqliteLedger(tmp_path / "state" / "ledger.sqlite3")
    ledger.write([record("a")])
    assert [each.id for each in reader.recent(1)] == ["a"]
    reader.close()


def test_the_file_is_its_owners_alone(ledger: SqliteLedger, tmp_path: Path) -> None:
    ledger.write([record()])
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


def test_a_ledger_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(LedgerError, match=r"schema 99 and this version knows 1: start the newer version"):
        SqliteLedger(path)


def test_a_migration_that_fails_leaves_the_older_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite3"
    first = SqliteLedger(path)
    first.write([record("a")])
    first.close()
    monkeypatch.setattr(
        ledger_sqlite, "MIGRATIONS", (*ledger_sqlite.MIGRATIONS, ("CREATE TABLE extra (a)", "nonsense"))
    )
    with pytest.raises(sqlite3.OperationalError):
        SqliteLedger(path)
    monkeypatch.undo()
    again = SqliteLedger(path)
    assert [each.id for each in again.recent(5)] == ["a"]
    again.close()


def test_the_shipper_waits_out_a_locked_ledger(ledger: SqliteLedger, tmp_path: Path) -> None:
    ledger._db.execute("PRAGMA busy_timeout = 1")
    seal(tmp_path / "spool", [record("a"), record("b", cost_nano_usd=2**63)])
    shipper = Shipper(tmp_path / "spool", ledger)
    other = sqlite3.connect(tmp_path / "state" / "ledger.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert shipper.run_once().error == "OperationalError: database is locked"
    other.close()
    result = shipper.run_once()
    assert (result.records, result.rejected, result.corrupt, result.error) == (1, 1, 1, "")
