"""The ledger in one SQLite file: what every request used and cost, in integer nano-USD. Budgets are rebuilt from it.

One process writes (the node's agent), others may read at the same time (WAL).

`synchronous=FULL`: the shipper deletes a segment once `write` has returned, so the commit must have reached the disk by
then. With WAL and NORMAL, SQLite's usual pair, a loss of power can take back the last commits
(sqlite.org/pragma.html), and the segment would be gone too. One fsync a batch of some thousand records, beside the
request path, is a fair price.

Rows keep their rowid, as `seq`, in the order of arrival, so the table grows at its end; `id` is text of random order,
and as the key of a table without rowid it would scatter wide rows over the whole file and stand a second time in each
index.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from gateway.base.files import make_private
from gateway.base.usage import UsageRecord

BUSY_TIMEOUT_MS = 5_000

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE usage_records (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            at_ms INTEGER NOT NULL,
            key_id TEXT NOT NULL,
            team TEXT NOT NULL,
            endpoint TEXT NOT NULL,
            model TEXT NOT NULL,
            provider TEXT NOT NULL,
            target_model TEXT NOT NULL,
            config_version TEXT NOT NULL,
            status INTEGER NOT NULL,
            code TEXT NOT NULL,
            stream INTEGER NOT NULL,
            input_tokens INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL,
            cost_nano_usd INTEGER NOT NULL,
            duration_us INTEGER NOT NULL,
            cache_read_tokens INTEGER NOT NULL,
            cache_write_tokens INTEGER NOT NULL,
            reasoning_tokens INTEGER NOT NULL,
            estimated INTEGER NOT NULL,
            unpriced INTEGER NOT NULL,
            first_token_us INTEGER NOT NULL,
            overhead_us INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            finish_reason TEXT NOT NULL,
            trace_id TEXT NOT NULL,
            tags TEXT NOT NULL
        ) STRICT
        """,
        "CREATE INDEX usage_by_key ON usage_records (key_id, at_ms)",
        "CREATE INDEX usage_by_team ON usage_records (team, at_ms)",
        # Covers `spent_since`, which every start of a node asks: it never touches the rows themselves.
        "CREATE INDEX usage_by_time ON usage_records (at_ms, key_id, team, cost_nano_usd)",
    ),
)
"""Each a transaction, in order, never changed once released. The file's `user_version` counts those it has."""

_FIELDS = UsageRecord.__struct_fields__
_INSERT = (  # ON CONFLICT and not OR IGNORE, which would pass over a broken constraint too
    f"INSERT INTO usage_records ({', '.join(_FIELDS)}) VALUES ({', '.join('?' * len(_FIELDS))}) "  # noqa: S608 - our names
    "ON CONFLICT (id) DO NOTHING"
)

# Left to itself SQLite takes `usage_by_key`, whose order suits the grouping, and reads all that was ever spent.
_SPENT = """
    SELECT key_id, team, sum(cost_nano_usd) FROM usage_records INDEXED BY usage_by_time
    WHERE at_ms >= ? GROUP BY key_id, team
"""

Grouping = Literal["key", "team", "model", "provider", "target_model", "endpoint", "code", "day", "hour"]

_GROUPINGS: dict[Grouping, str] = {
    "key": "key_id",
    "team": "team",
    "model": "model",
    "provider": "provider",
    "target_model": "target_model",
    "endpoint": "endpoint",
    "code": "code",
    "day": "strftime('%Y-%m-%d', at_ms / 1000, 'unixepoch')",
    "hour": "strftime('%Y-%m-%dT%H:00Z', at_ms / 1000, 'unixepoch')",
}


class LedgerError(Exception):
    """The ledger's file cannot be used as it is."""


class Total(msgspec.Struct, frozen=True):
    """Sums over the records of one group."""

    name: str
    """Of the group: a key's id, a team, a day of UTC such as "2026-03-01" ..."""
    requests: int
    errors: int
    """Requests that ended with a code."""
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int
    estimated: int
    """Requests whose tokens we counted ourselves."""
    unpriced: int
    """Requests for whose model no price is known."""


class SqliteLedger:
    """A ledger in a SQLite file, made and brought up to date on opening. Implements `UsageSink`.

    An instance may move between threads, but only one may use it at a time.

    Raises:
        LedgerError: the file was written by a newer version.
        sqlite3.Error: it cannot be opened, or is no database.
    """

    def __init__(self, path: Path) -> None:
        make_private(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite's own files take over this mode
        self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate(path)
        except BaseException:
            self._db.close()
            raise

    def _migrate(self, path: Path) -> None:
        if self._version() == len(MIGRATIONS):
            return
        with self._transaction():
            version = self._version()  # again: another process may have been faster
            if version > len(MIGRATIONS):
                raise LedgerError(
                    f"{path} has schema {version} and this version knows {len(MIGRATIONS)}: "
                    "start the newer version, or move the file away to begin a new ledger"
                )
            for number, statements in enumerate(MIGRATIONS[version:], version + 1):
                for statement in statements:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    def _version(self) -> int:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return int(version)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def write(self, records: Sequence[UsageRecord]) -> None:
        """Stores records in one transaction; those whose id is there already are passed over.

        Raises:
            sqlite3.Error: nothing was stored; the same call may succeed later.
            OverflowError: a figure has more than 64 bits; nothing was stored.
        """
        with self._transaction():
            self._db.executemany(_INSERT, map(msgspec.structs.astuple, records))

    def spent_since(self, at_ms: int) -> tuple[dict[str, int], dict[str, int]]:
        """Nano-USD spent from a moment on: by key id, and by team."""
        keys: dict[str, int] = {}
        teams: dict[str, int] = {}
        rows = self._db.execute(
            _SPENT,
            (at_ms,),
        )
        for key_id, team, cost in rows:
            keys[key_id] = keys.get(key_id, 0) + cost
            teams[team] = teams.get(team, 0) + cost
        return keys, teams

    def totals(self, since_ms: int, until_ms: int, by: Grouping) -> list[Total]:
        """Sums over `since_ms <= at_ms < until_ms`, a row a group, in the order of names. Days and hours are of UTC."""
        rows = self._db.execute(
            f"""
            SELECT {_GROUPINGS[by]} AS name, count(*), sum(code <> ''), sum(input_tokens), sum(output_tokens),
                sum(cache_read_tokens), sum(cache_write_tokens), sum(reasoning_tokens), sum(cost_nano_usd),
                sum(estimated), sum(unpriced)
            FROM usage_records WHERE at_ms >= ? AND at_ms < ? GROUP BY 1 ORDER BY 1
            """,  # noqa: S608 - our own expressions
            (since_ms, until_ms),
        )
        return [Total(*row) for row in rows]

    def recent(self, limit: int) -> list[UsageRecord]:
        """The records of the latest requests, newest first."""
        rows = self._db.execute(
            f"SELECT {', '.join(_FIELDS)} FROM usage_records ORDER BY at_ms DESC, seq DESC LIMIT ?",  # noqa: S608
            (limit,),
        )
        return [msgspec.convert(dict(zip(_FIELDS, row, strict=True)), UsageRecord, strict=False) for row in rows]

    def close(self) -> None:
        self._db.close()
