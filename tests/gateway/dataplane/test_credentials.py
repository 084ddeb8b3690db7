"""A worker's tokens: fetched from each kind of issuer, renewed ahead of their end, kept while an issuer is ill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from _fastpath.metrics import Registry
from _fastpath.shm import NodeMemory
from _fastpath.wheel import Wheel, now_ns
from gateway.adapters.token_sources import token_source
from gateway.base.context import Credential
from gateway.base.snapshot import Auth, Provider
from gateway.dataplane import credentials as module
from gateway.dataplane.credentials import Credentials, Fetcher, pause_s, renewal_s, shown_s
from tests.support.token_server import CLIENT, CLIENT_SECRET, POD_ASSERTION, TENANT, TokenServer, token_server

KINDS = (
    "google_service_account",
    "google_metadata",
    "entra_client_secret",
    "entra_managed_identity",
    "entra_workload_identity",
)


@pytest.fixture
def issuer() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


def auth_of(kind: str, issuer: TokenServer, directory: Path) -> Auth:
    pod_file = directory / "pod-token"
    pod_file.write_text(POD_ASSERTION + "\n")
    fields: dict[str, Any] = {
        "google_service_account": {"key_file": str(issuer.write_key(directory / "key.json"))},
        "google_metadata": {"endpoint": issuer.url},
        "entra_client_secret": {
            "endpoint": issuer.url,
            "tenant_id": TENANT,
            "client_id": CLIENT,
            "client_secret": "env:CLIENT_SECRET",
        },
        "entra_managed_identity": {"endpoint": issuer.url, "client_id": CLIENT},
        "entra_workload_identity": {"endpoint": issuer.url, "tenant_id": TENANT, "client_id": CLIENT},
    }[kind]
    if kind == "entra_workload_identity":
        fields["token_file"] = str(pod_file)
    return Auth(kind, **fields)  # type: ignore[arg-type]


class Worker:
    """As far as tokens go."""

    def __init__(self, directory: Path) -> None:
        self.memory = NodeMemory.create(str(directory / "node.mem"), 1, 64, 1 << 18)
        self.registry = Registry(self.memory, 0)
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        loop = asyncio.get_running_loop()
        self.wheel = Wheel(loop)
        self.wheel.start()
        resolve = {"env:CLIENT_SECRET": CLIENT_SECRET}.__getitem__
        self.credentials = Credentials(
            lambda auth: token_source(auth, resolve, {}), Fetcher(loop, self.wheel), self.registry, self._report
        )

    def _report(self, level: str, event: str, **fields: Any) -> None:
        self.events.append((level, event, fields))

    def of(self, auth: Auth, name: str = "p") -> Credential:
        made = self.credentials.of(Provider(name, "vertex", "https://provider.example/v1", auth=auth))
        assert made is not None
        return made

    def metric(self, name: str, provider: str = "p") -> int:
        cell = self.registry.gauge if name.endswith("missing") else self.registry.counter
        return cell(f"throughway_provider_{name}", {"provider": provider}).value

    @property
    def failures(self) -> list[str]:
        return [fields["error"] for _, event, fields in self.events if event == "credential.failed"]


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Worker]:
    worker = Worker(directory)
    try:
        yield worker
    finally:
        worker.credentials.close()
        await asyncio.sleep(0.05)
        worker.wheel.close()


def shown(credential: Credential) -> str:
    return credential.line.decode().removeprefix("authorization: Bearer ").removesuffix("\r\n")


async def until(what: Any, within_s: float = 5.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_issuer_is_asked_as_it_wants_to_be(kind: str, issuer: TokenServer, tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as worker:
            credential = worker.of(auth_of(kind, issuer, tmp_path))
            assert (credential.line, credential.until_ns) == (b"", 0)
            await worker.credentials.begin()
            assert worker.failures == [] and issuer.is_valid(shown(credential))
            assert 3_580 < (credential.until_ns - now_ns()) / 1e9 < 3_600
            assert worker.metric("tokens_missing") == 0 and worker.metric("token_renewals_total") == 1

    uvloop.run(main())
    assert len(issuer.asked) == 1


def test_a_token_is_renewed_ahead_of_its_end_by_one_question(issuer: TokenServer, tmp_path: Path) -> None:
    issuer.life_s = 2.0

    async def main() -> None:
        async with running(tmp_path) as worker:
            credential = worker.of(auth_of("google_service_account", issuer, tmp_path))
            await worker.credentials.begin()
            end = time.monotonic() + 6.0
            seen = set()
            while time.monotonic() < end:  # whatever a request would be shown is valid, at any time
                assert now_ns() < credential.until_ns
                assert issuer.is_valid(shown(credential))
                seen.add(shown(credential))
                await asyncio.sleep(0.01)
            assert len(seen) >= 4 and worker.failures == []

    uvloop.run(main())
    assert 4 <= len(issuer.asked) <= 6, "a question in 1.3 to 1.5 s"


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (
            "refuse",
            "127.0.0.1 was answered 401: invalid_client: AADSTS7000215: Invalid client secret provided. Trace ID: …",
        ),
        ("garbage", "127.0.0.1 was answered what is no token"),
        ("endless", "cannot ask 127.0.0.1: the answer is longer than 65,536 bytes"),
        ("drip", "cannot ask 127.0.0.1: no whole answer within 0.7 s"),
        ("hang", "cannot ask 127.0.0.1: no whole answer within 0.7 s"),
        ("dead token", "127.0.0.1 was answered a token that has expired already"),
        ("echo", "127.0.0.1 was answered 400: invalid_grant: what was sent is …"),
    ],
)
def test_an_issuer_that_fails_costs_nothing_until_the_old_token_ends(
    mode: Any, said: str, issuer: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FETCH_MS", 700)
    issuer.life_s = 1.8

    async def main() -> None:
        async with running(tmp_path) as worker:
            credential = worker.of(auth_of("entra_client_secret", issuer, tmp_path))
            await worker.credentials.begin()
            first = shown(credential)
            issuer.mode = mode
            await until(lambda: worker.failures)
            assert worker.failures[0].startswith(said)
            assert shown(credential) == first and (issuer.is_valid(first) or mode in ("hang", "drip"))
            await until(lambda: now_ns() >= credential.until_ns)
            await until(lambda: worker.metric("tokens_missing") == 1)
            issuer.mode = "issue"
            await until(lambda: now_ns() < credential.until_ns)
            assert shown(credential) != first and issuer.is_valid(shown(credential))
            assert worker.metric("tokens_missing") == 0
            assert worker.metric("token_failures_total") == len(worker.failures)
            told = json.dumps(worker.events)
            assert not [secret for secret in (CLIENT_SECRET, *issuer.issued) if secret in told]

    uvloop.run(main())


def test_a_worker_waits_for_its_first_tokens_but_not_for_ever(
    issuer: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_TOKENS_S", 0.4)
    issuer.mode = "hang"

    async def main() -> None:
        async with running(tmp_path) as worker:
            credential = worker.of(auth_of("google_metadata", issuer, tmp_path))
            began = time.monotonic()
            await worker.credentials.begin()
            assert 0.35 < time.monotonic() - began < 1.5
            assert credential.until_ns == 0 and worker.metric("tokens_missing") == 1
            began = time.monotonic()
            await worker.credentials.begin()
            assert time.monotonic() - began < 0.1, "only those that are new are waited for"

    uvloop.run(main())


def test_an_issuer_that_is_not_there_is_told_at_once_and_asked_again_when_hurried(
    issuer: TokenServer, tmp_path: Path
) -> None:
    auth = auth_of("entra_client_secret", issuer, tmp_path)
    absent = tmp_path / "absent.json"
    missing = Auth("google_service_account", key_file=str(absent))

    async def main() -> None:
        async with running(tmp_path) as worker:
            worker.of(auth)
            without = worker.of(missing, "q")
            began = time.monotonic()
            await worker.credentials.begin()
            assert time.monotonic() - began < 2.0
            assert worker.failures == [f"cannot read the file {absent}: no such file or directory"]
            await until(lambda: len(worker.failures) >= 4, 12.0)  # the pauses are seconds by now
            issuer.write_key(absent)
            await worker.credentials.begin()  # as each new snapshot does
            await until(lambda: without.until_ns, 1.0)

    uvloop.run(main())


def test_a_token_outlives_a_snapshot_that_leaves_its_provider_unchanged(issuer: TokenServer, tmp_path: Path) -> None:
    auth = auth_of("entra_managed_identity", issuer, tmp_path)

    def provider(name: str, **fields: Any) -> Provider:
        return Provider(name, "azure", "https://provider.example/v1", auth=auth, **fields)

    async def main() -> None:
        async with running(tmp_path) as worker:
            before = worker.credentials.of(provider("p"))
            gone = worker.credentials.of(provider("q"))
            await worker.credentials.begin()
            after = worker.credentials.of(provider("p", max_connections=5))
            await worker.credentials.begin()
            worker.credentials.keep([provider("p", max_connections=5)])
            assert after is before and len(issuer.asked) == 2
            assert gone is not None and issuer.is_valid(shown(gone)), "requests that pin the old snapshot still use it"
            again = worker.credentials.of(provider("q"))
            assert again is not gone

    uvloop.run(main())


def test_a_token_that_its_provider_refuses_is_replaced_but_not_at_each_refusal(
    issuer: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_PAUSE_S", 0.3)

    async def main() -> None:
        async with running(tmp_path) as worker:
            credential = worker.of(auth_of("google_metadata", issuer, tmp_path))
            await worker.credentials.begin()
            first = shown(credential)
            for _ in range(100):
                credential.on_refused()
            await asyncio.sleep(0.2)
            assert shown(credential) == first, "it is new: another one would be refused, too"
            await asyncio.sleep(0.2)
            for _ in range(100):
                credential.on_refused()
            await until(lambda: shown(credential) != first)
            assert len(issuer.asked) == 2 and worker.failures == []

    uvloop.run(main())


def test_a_provider_without_auth_has_no_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as worker:
            assert worker.credentials.of(Provider("p", "openai", "https://provider.example/v1")) is None
            await worker.credentials.begin()

    uvloop.run(main())


def test_the_metadata_address_is_connected_to_for_metadata_alone(tmp_path: Path) -> None:
    """Nothing listens there in a test: what counts is whether it is tried."""
    link_local = "http://169.254.169.254:9"
    kinds = {
        "metadata": Auth("google_metadata", endpoint=link_local),
        "other": Auth("entra_client_secret", "https://169.254.169.254:9", "", "", TENANT, CLIENT, "env:CLIENT_SECRET"),
        "elsewhere": Auth("entra_managed_identity", endpoint="http://169.254.1.1:9"),
    }

    async def main() -> None:
        async with running(tmp_path) as worker:
            worker.credentials._fetcher = Fetcher(asyncio.get_running_loop(), worker.wheel)
            for name, auth in kinds.items():
                worker.of(auth, name)
            for keeper in worker.credentials._keepers.values():
                keeper.begin()
            await until(
                lambda: (
                    len({f["provider"] for _, e, f in worker.events if e == "credential.failed"} - {"metadata"}) == 2
                )
            )
            said = {f["provider"]: f["error"] for _, e, f in worker.events if e == "credential.failed"}
            refused = "cannot ask {}: its address is none that may be connected to for this"
            assert said["other"] == refused.format("169.254.169.254")
            assert said["elsewhere"] == refused.format("169.254.1.1")
            assert "may be connected to" not in said.get("metadata", "")

    uvloop.run(main())


@pytest.mark.parametrize("life_s", [1.0, 2.0, 60.0, 300.0, 3_599.0, 86_400.0])
def test_times(life_s: float) -> None:
    for chance in (0.0, 0.5, 1.0):
        assert 0.65 * life_s <= renewal_s(life_s, chance) <= 0.75 * life_s
        assert renewal_s(life_s, chance) < shown_s(life_s) < life_s
    pauses = [pause_s(failures, 1.0) for failures in range(1, 20)]
    assert pauses == sorted(pauses) and pauses[0] == 1.0 and pauses[-1] == 30.0
    assert pause_s(1, 0.0) == 0.5
