"""What the endpoints do. What blocks is synchronous and runs on a few threads; the loop never waits for it."""

from __future__ import annotations

import asyncio
import platform
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal, ParamSpec, TypeVar

import msgspec

from gateway import __version__
from gateway.base.ports import Grouping, UsageReader
from gateway.base.snapshot import Key, Snapshot, SnapshotError, decode
from gateway.control.admin._errors import AdminError
from gateway.control.admin._models import (
    KeyBudget,
    KeyInfo,
    KeyLimits,
    KeyRequest,
    NewKey,
    NodeReport,
    RequestRecord,
    StatusReport,
    UsageReport,
    UsageTotal,
)
from gateway.control.admin._node import NodeClient, NodeDownError
from gateway.control.admin._services import Services
from gateway.control.keys import KeyStore, KeyStoreError, StoredKey

THREADS = 4
READINESS_S = 1.0
"""How long an answer to /readyz, which anybody may ask for, is given again."""
_KEY_NAME = re.compile(r"[!-)+-~]{1,48}")

P = ParamSpec("P")
T = TypeVar("T")


class Control:
    """See the module. Methods raise AdminError."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._log = services.log
        self._store = KeyStore(services.node.keys_file)
        self._creating = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, "admin")
        self._started = time.monotonic()
        self._readiness: tuple[float, list[str]] = (-READINESS_S, [])
        self._asking = asyncio.Lock()
        self.node = NodeClient(services.node.ops)

    async def close(self) -> None:
        await self.node.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _on_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    # -- status

    async def status(self) -> StatusReport:
        try:
            node = NodeReport(up=True, error=None, status=await self.node.status())
        except NodeDownError as error:
            node = NodeReport(up=False, error=str(error), status=None)
        return StatusReport(_versions(), int(time.monotonic() - self._started), node)

    async def unready(self) -> list[str]:
        """Why the control plane is not ready; nothing when it is."""
        async with self._asking:
            asked, faults = self._readiness
            if time.monotonic() - asked >= READINESS_S:
                faults = await self._on_thread(self._faults)
                self._readiness = time.monotonic(), faults
        return faults

    def _faults(self) -> list[str]:
        faults = []
        try:
            self._open_usage().close()
        except AdminError:
            faults.append("the ledger cannot be opened")
        try:
            self._stored()
        except AdminError:
            faults.append("the store of keys cannot be read")
        return faults

    # -- keys

    async def keys(self) -> list[KeyInfo]:
        """All keys, revoked ones too: those of the configuration, then those of the store in their order."""
        return await self._on_thread(self._keys)

    async def create_key(self, wanted: KeyRequest) -> NewKey:
        return await self._on_thread(self._create_key, wanted)

    async def revoke_key(self, key_id: str) -> KeyInfo:
        """Revoking again changes nothing."""
        return await self._on_thread(self._revoke_key, key_id)

    def _keys(self) -> list[KeyInfo]:
        stored = self._stored()
        return [*map(_declared_info, _declared(self._snapshot(), stored)), *map(_info, stored)]

    def _create_key(self, wanted: KeyRequest) -> NewKey:
        if not _KEY_NAME.fullmatch(wanted.name):
            raise AdminError(400, "name: 1 to 48 visible ASCII characters without spaces and `*` are a key's name")
        try:
            budget = wanted.budget.compiled() if wanted.budget else None
        except ValueError as error:
            raise AdminError(400, str(error)) from error
        if wanted.expires is not None and wanted.expires.timestamp() <= time.time():
            raise AdminError(400, "expires: lies in the past; the key would never work")
        with self._creating:  # so that of two requests with one name the second is told so
            self._check_against_others(wanted)
            try:
                entry, secret = self._store.create(
                    wanted.name,
                    pepper=self._services.pepper,
                    team=wanted.team,
                    models=wanted.models,
                    passthrough=wanted.passthrough,
                    limits=wanted.limits.compiled(),
                    budget=budget,
                    expires_at_s=int(wanted.expires.timestamp()) if wanted.expires else None,
                )
            except KeyStoreError as error:
                raise self._store_failed(error) from error
        self._log.event("info", "admin.key_created", id=entry.key.id, name=entry.key.name, team=entry.key.team)
        return NewKey(**msgspec.structs.asdict(_info(entry)), secret=secret)

    def _check_against_others(self, wanted: KeyRequest) -> None:
        """A key that the configuration does not admit would keep the node from taking any change. Raises AdminError."""
        snapshot, stored = self._snapshot(), self._stored()
        names = {entry.key.name for entry in stored if entry.live}
        if wanted.name in names.union(key.name for key in _declared(snapshot, stored)):
            raise AdminError(409, f'name: a live key is named "{wanted.name}"; choose another name or revoke that key')
        if wanted.team is None:
            return
        if snapshot is None:
            raise AdminError(503, "team: no team is known before the data plane has started in this state directory")
        if wanted.team not in {team.name for team in snapshot.teams}:
            raise AdminError(400, f'team: the configuration has no team named "{wanted.team[:64]}"')

    def _revoke_key(self, key_id: str) -> KeyInfo:
        entry = next((entry for entry in self._stored() if entry.key.id == key_id), None)
        if entry is None:
            raise self._no_such_key(key_id)
        if not entry.live:
            return _info(entry)
        try:
            revoked = self._store.revoke(key_id)
        except KeyStoreError as error:
            raise self._store_failed(error) from error
        self._log.event("info", "admin.key_revoked", id=revoked.key.id, name=revoked.key.name)
        return _info(revoked)

    def _no_such_key(self, key_id: str) -> AdminError:
        if any(key.id == key_id for key in _declared(self._snapshot(), self._stored())):
            return AdminError(409, "the key stands in the configuration; remove it there")
        return AdminError(404, "no key has this id; GET /admin/v1/keys lists them")

    def _stored(self) -> tuple[StoredKey, ...]:
        try:
            return self._store.list()
        except KeyStoreError as error:
            raise self._store_failed(error) from error

    def _store_failed(self, error: KeyStoreError) -> AdminError:
        self._log.event("error", "admin.keys_unavailable", error=str(error))
        return AdminError(503, str(error))

    def _snapshot(self) -> Snapshot | None:
        """What the node serves from this state directory; None before its first start."""
        file = self._services.node.snapshot_file
        try:
            return decode(file.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, SnapshotError) as error:
            self._log.event("error", "admin.snapshot_unreadable", file=str(file), error=str(error))
            raise AdminError(503, "the node's snapshot cannot be read; the log says why") from error

    # -- usage

    async def usage(self, since: datetime, until: datetime, by: Grouping) -> UsageReport:
        """Sums over the requests received in `since <= t < until`."""
        groups = await self._on_thread(self._totals, _ms(since), _ms(until), by)
        return UsageReport(since, until, by, groups, _sum(groups))

    async def recent(self, limit: int) -> list[RequestRecord]:
        return await self._on_thread(self._recent, limit)

    def _totals(self, since_ms: int, until_ms: int, by: Grouping) -> list[UsageTotal]:
        rows = self._asked(lambda usage: usage.totals(since_ms, until_ms, by))
        return [msgspec.convert(row, UsageTotal, from_attributes=True) for row in rows]

    def _recent(self, limit: int) -> list[RequestRecord]:
        records = self._asked(lambda usage: usage.recent(limit))
        return [RequestRecord(**msgspec.structs.asdict(record)) for record in records]

    def _asked(self, question: Callable[[UsageReader], T]) -> T:
        with closing(self._open_usage()) as usage:
            try:
                return question(usage)
            except Exception as error:  # each store has its own, and the port does not know them
                raise self._ledger_failed(error) from error

    def _open_usage(self) -> UsageReader:
        try:
            return self._services.open_usage()
        except Exception as error:  # likewise
            raise self._ledger_failed(error) from error

    def _ledger_failed(self, error: Exception) -> AdminError:
        self._log.event("error", "admin.ledger_unavailable", error=f"{type(error).__name__}: {error}")
        return AdminError(503, "the ledger cannot be read; the log says why")


def _versions() -> dict[str, str]:
    return {
        "throughway": __version__,
        "python": platform.python_version(),
        "granian": version("granian"),
        "litestar": version("litestar"),
    }


def _declared(snapshot: Snapshot | None, stored: tuple[StoredKey, ...]) -> list[Key]:
    """The keys that stand in the configuration. The snapshot holds the store's too, and for a while revoked ones."""
    ours = {entry.key.id for entry in stored}
    return [key for key in snapshot.keys if key.id not in ours] if snapshot else []


def _info(entry: StoredKey) -> KeyInfo:
    return msgspec.structs.replace(
        _declared_info(entry.key),
        state="revoked" if entry.revoked_at_s is not None else _state(entry.key),
        source="store",
        created=_instant(entry.created_at_s),
        revoked=_instant(entry.revoked_at_s),
    )


def _declared_info(key: Key) -> KeyInfo:
    return KeyInfo(
        id=key.id,
        name=key.name,
        team=key.team,
        models=key.models,
        passthrough=key.passthrough,
        limits=KeyLimits.of(key.limits),
        budget=KeyBudget.of(key.budget) if key.budget else None,
        state=_state(key),
        source="config",
        created=None,
        expires=_instant(key.expires_at_s),
        revoked=None,
    )


def _state(key: Key) -> Literal["live", "expired"]:
    return "expired" if key.expires_at_s is not None and key.expires_at_s <= time.time() else "live"


def _instant(at_s: int | None) -> datetime | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC)


def _ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1_000)


def _sum(groups: list[UsageTotal]) -> UsageTotal:
    figures = [name for name in UsageTotal.__struct_fields__ if name != "name"]
    return UsageTotal("total", *(sum(getattr(group, name) for group in groups) for name in figures))
