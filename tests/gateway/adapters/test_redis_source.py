"""A node that follows Redis: what it takes, what it refuses, and what serves while Redis is ill."""

from __future__ import annotations

import os
import stat
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from gateway.adapters import redis_source
from gateway.adapters.redis_source import POLL_S, RedisSource
from gateway.adapters.redis_store import PEPPER, POINTER, VALUE, ReleaseStore
from gateway.adapters.release import Seal, parse
from gateway.base.errors import ConfigurationError, Problem
from gateway.base.ports import SourceStatus
from gateway.base.redis_url import RedisUrl
from gateway.base.redis_url import parse as parse_url
from gateway.base.snapshot import Model, Provider, Snapshot, Target
from tests.support.redis_server import RedisServer

SHARED = b"p" * 32
SEAL = Seal(SHARED)
WAIT_S = 15.0


def snapshot(number: int, reference: str | None = None) -> Snapshot:
    return Snapshot(
        "",
        providers=(Provider("p", "openai", "https://h/v1", reference),),
        models=(Model("m", (Target("p", f"m-{number}"),)),),
    ).sealed()


FILE = snapshot(0)


class File:
    """The node's own file, as the test wants it."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.touched = False

    def watch(self, wake: Callable[[], object]) -> None: ...
    def close(self) -> None: ...

    status = SourceStatus("file", "gateway.yaml")
    log_level: str | None = "info"
    warnings: Sequence[str] = ()

    def load(self) -> Snapshot:
        self.touched = False
        if self.problem:
            raise ConfigurationError([Problem("gateway.yaml", 1, 1, "", self.problem)])
        return FILE

    def last_good(self) -> Snapshot | None:
        return FILE

    def changed(self) -> bool:
        return self.touched


class Node:
    """A source, and an agent that only waits for it."""

    def __init__(
        self, url: RedisUrl, directory: Path, environ: dict[str, str] | None = None, *, shares: bool = False
    ) -> None:
        self.file = File()
        self.environ = environ if environ is not None else {}
        self.last_good = directory / "last-good"
        self.pepper_file = directory / "fleet-pepper"
        self.source = RedisSource(
            url, SHARED, self.last_good, self.file, self.resolve, pepper_file=self.pepper_file if shares else None
        )
        self.woken = threading.Event()

    def __enter__(self) -> Node:
        self.source.watch(self.woken.set)
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def resolve(self, reference: str) -> str:
        scheme, _, name = reference.partition(":")
        if scheme == "file":
            try:
                return Path(name).read_text()
            except OSError:
                raise ValueError(f"cannot read the file {name}") from None
        if name not in self.environ:
            raise ValueError(f"the environment variable {name} is not set")
        return self.environ[name]

    def wait(self, ask: Callable[[SourceStatus], bool]) -> SourceStatus:
        deadline = time.monotonic() + WAIT_S
        while not ask(self.source.status):
            assert time.monotonic() < deadline, self.source.status
            self.woken.wait(0.05)
            self.woken.clear()
        return self.source.status

    def wait_for(self, kind: str, reason: str = "") -> SourceStatus:
        return self.wait(lambda status: (status.kind, status.reason) == (kind, reason))

    def wait_until_it_serves(self, wanted: Snapshot) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.source.load() != wanted:
            assert time.monotonic() < deadline, self.source.status
            self.woken.wait(0.01)
            self.woken.clear()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def store(server: RedisServer) -> Iterator[ReleaseStore]:
    made = ReleaseStore(server.url)
    yield made
    made.close()


def publish(store: ReleaseStore, wanted: Snapshot, seal: Seal = SEAL) -> int:
    return store.publish(seal, wanted, over=store.pointer(), by="test").sequence


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that waits for the next poll comes sooner."""
    monkeypatch.setattr(redis_source, "POLL_S", 0.2)
    monkeypatch.setattr(redis_source, "LONGEST_DELAY_S", 0.3)


pytestmark = pytest.mark.usefixtures("quick")


def test_the_file_serves_until_something_is_published(server: RedisServer, store: ReleaseStore, tmp_path: Path) -> None:
    with Node(server.url, tmp_path) as node:
        assert node.source.load() == FILE
        time.sleep(0.3)
        assert node.source.status.kind == "file"
        assert not node.source.status.fault
        sequence = publish(store, snapshot(1))
        status = node.wait_for("redis")
        assert node.source.changed()
        assert node.source.load() == snapshot(1)
        assert not node.source.changed()
        assert (status.sequence, status.where) == (sequence, str(server.url))


def test_an_announcement_is_followed_at_once(server: RedisServer, store: ReleaseStore, tmp_path: Path) -> None:
    redis_source.POLL_S = POLL_S  # monkeypatched: nothing but the announcement can be as quick
    took = []
    with Node(server.url, tmp_path) as node:
        publish(store, snapshot(1))
        node.wait_for("redis")
        for number in range(2, 22):
            began = time.monotonic()
            sequence = publish(store, snapshot(number))
            node.wait(lambda status, wanted=sequence: status.sequence == wanted)  # type: ignore[misc]
            took.append(time.monotonic() - began)
    assert statistics.median(took) < 0.1


def test_what_was_missed_is_caught_by_the_poll(server: RedisServer, store: ReleaseStore, tmp_path: Path) -> None:
    with Node(server.url, tmp_path) as node:
        publish(store, snapshot(1))
        node.wait_for("redis")
        pointer, value = SEAL.release(snapshot(2), after=parse(store.pointer() or b""), by="test")
        with server.client() as client:  # without an announcement
            client.set(VALUE + snapshot(2).version, value)
            client.set(POINTER, pointer)
        node.wait_until_it_serves(snapshot(2))


Damage = Callable[[RedisServer, ReleaseStore], None]


def _pointer(data: bytes) -> Damage:
    def put(server: RedisServer, _: ReleaseStore) -> None:
        with server.client() as client:
            client.set(POINTER, data)

    return put


def _truncate(server: RedisServer, store: ReleaseStore) -> None:
    pointer, value = SEAL.release(snapshot(2), after=parse(store.pointer() or b""), by="test")
    with server.client() as client:
        client.set(VALUE + snapshot(2).version, value[: len(value) // 2])
        client.set(POINTER, pointer)


def _without_value(server: RedisServer, store: ReleaseStore) -> None:
    pointer, _ = SEAL.release(snapshot(2), after=parse(store.pointer() or b""), by="test")
    _pointer(pointer)(server, store)


def _forge(server: RedisServer, store: ReleaseStore) -> None:
    publish(store, snapshot(2), Seal(b"x" * 32))
    forged = msgspec.structs.replace(parse(store.pointer() or b""), signed_with=SEAL.name)
    _pointer(msgspec.json.encode(forged))(server, store)


def _replay(server: RedisServer, store: ReleaseStore) -> None:
    pointer, value = SEAL.release(snapshot(2), after=None, by="test")
    old = msgspec.structs.replace(parse(pointer), sequence=1, signature="")
    signed = msgspec.structs.replace(old, signature=SEAL._sign(old))
    with server.client() as client:
        client.set(VALUE + snapshot(2).version, value)
        client.set(POINTER, msgspec.json.encode(signed))


def _empty(server: RedisServer, _: ReleaseStore) -> None:
    with server.client() as client:
        client.flushall()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_pointer(b"rubbish"), "malformed"),
        (_pointer(b"\xff" * 1_000), "malformed"),
        (_pointer(b'{"layout":2}'), "layout"),
        (_truncate, "damaged"),
        (_without_value, "missing"),
        (_forge, "signature"),
        (lambda _, store: publish(store, snapshot(2), Seal(b"x" * 32)), "pepper"),
        (_replay, "stale"),
        (lambda _, store: publish(store, snapshot(2, "env:ABSENT")), "unresolved"),
        (_empty, "empty"),
    ],
)
def test_what_is_bad_is_refused_and_reported_while_the_last_good_one_serves(
    server: RedisServer, store: ReleaseStore, tmp_path: Path, damage: Damage, reason: str
) -> None:
    with Node(server.url, tmp_path) as node:
        publish(store, snapshot(1))
        node.wait_until_it_serves(snapshot(1))
        damage(server, store)
        status = node.wait_for("last-known-good", reason)
        assert status.fault
        assert node.source.load() == snapshot(1)
        if reason == "layout":  # which no publication of this version overwrites
            _empty(server, store)
        publish(store, snapshot(3))
        node.wait_until_it_serves(snapshot(3))
        assert node.wait_for("redis").fault == ""


def test_a_missing_secret_is_named_and_taken_up_once_it_is_there(
    server: RedisServer, store: ReleaseStore, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    with Node(server.url, tmp_path) as node:
        publish(store, snapshot(1, f"file:{secret}"))
        status = node.wait_for("file", "unresolved")
        assert f'provider "p": cannot read the file {secret}' in status.fault
        assert node.source.load() == FILE
        secret.write_text("one")
        node.wait_until_it_serves(snapshot(1, f"file:{secret}"))
        assert not node.source.changed()
        os.utime(secret, ns=(1, 1))  # the credential behind the reference changes: workers must hear of it
        assert node.source.changed()
        node.source.load()
        assert not node.source.changed()
        secret.unlink()
        assert node.source.changed()
        with pytest.raises(ConfigurationError, match="cannot read the file"):
            node.source.load()
        assert not node.source.changed()
        secret.write_text("two")
        assert node.source.load() == snapshot(1, f"file:{secret}")


def test_a_release_that_waits_for_a_secret_is_fetched_once(
    server: RedisServer, store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []
    value_of = ReleaseStore.value

    def value(self: ReleaseStore, version: str) -> bytes | None:
        fetched.append(version)
        return value_of(self, version)

    monkeypatch.setattr(ReleaseStore, "value", value)
    environ: dict[str, str] = {}
    with Node(server.url, tmp_path, environ) as node:
        publish(store, snapshot(1, "env:LATER"))
        node.wait_for("file", "unresolved")
        time.sleep(0.5)
        environ["LATER"] = "secret"
        node.wait_for("redis")
    assert fetched == [snapshot(1, "env:LATER").version]


def test_a_full_disk_keeps_no_release_from_serving_and_is_told(
    server: RedisServer, store: ReleaseStore, tmp_path: Path
) -> None:
    with Node(server.url, tmp_path) as node:
        node.last_good.mkdir()  # nothing can be written there
        publish(store, snapshot(1))
        status = node.wait_for("redis", "disk")
        assert "cannot be written" in status.fault
        assert node.source.load() == snapshot(1)
        time.sleep(5 * redis_source.POLL_S)
        assert node.source.status.reason == "disk", "it is told for as long as it lasts"
        node.last_good.rmdir()
        node.wait_for("redis")
        assert node.last_good.is_file(), "and what could not be written is written then"


@pytest.mark.parametrize("illness", ["killed", "frozen"])
def test_while_redis_is_away_the_last_good_one_serves_and_all_is_well_again_after(
    server: RedisServer, store: ReleaseStore, tmp_path: Path, illness: str
) -> None:
    with Node(server.url, tmp_path) as node:
        publish(store, snapshot(1))
        node.wait_until_it_serves(snapshot(1))
        server.kill() if illness == "killed" else server.freeze()
        status = node.wait_for("last-known-good", "unreachable")
        assert str(server.url) in status.fault
        began = time.monotonic()
        assert node.source.load() == snapshot(1)
        assert time.monotonic() - began < 0.5
        server.start() if illness == "killed" else server.thaw()
        if illness == "killed":
            assert "publish it again" in node.wait_for("last-known-good", "empty").fault
        publish(store, snapshot(2))
        node.wait_until_it_serves(snapshot(2))
        node.wait_for("redis")


def test_a_node_that_starts_without_redis_has_its_last_good_release_and_refuses_older_ones(
    server: RedisServer, store: ReleaseStore, tmp_path: Path
) -> None:
    publish(store, snapshot(1))
    before = store.pointer()
    assert before is not None
    with Node(server.url, tmp_path) as node:
        node.wait_until_it_serves(snapshot(1))
        publish(store, snapshot(2))
        node.wait_until_it_serves(snapshot(2))
    server.kill()
    node = Node(server.url, tmp_path)
    assert node.source.load() == snapshot(2)
    assert node.source.status.kind == "last-known-good"
    server.start()
    with server.client() as client:  # as after a restore from a backup
        client.set(POINTER, before)
        client.set(VALUE + snapshot(1).version, SEAL.release(snapshot(1), after=None, by="x")[1])
    with node:
        node.wait_for("last-known-good", "stale")
        assert node.source.load() == snapshot(2)


def test_a_damaged_file_of_the_last_good_release_is_reported_and_the_nodes_own_file_serves(
    server: RedisServer, store: ReleaseStore, tmp_path: Path
) -> None:
    publish(store, snapshot(1))
    with Node(server.url, tmp_path) as node:
        node.wait_until_it_serves(snapshot(1))
    node.last_good.write_bytes(node.last_good.read_bytes()[:-10])
    again = Node(server.url, tmp_path)
    assert again.source.status.reason == "last_good"
    assert again.source.load() == FILE
    with again:
        again.wait_until_it_serves(snapshot(1))
        assert again.source.status.fault == ""


def test_mistakes_in_the_file_stop_nothing_that_redis_holds(
    server: RedisServer, store: ReleaseStore, tmp_path: Path
) -> None:
    with Node(server.url, tmp_path) as node:
        node.file.problem = "is broken"
        with pytest.raises(ConfigurationError):
            node.source.load()
        publish(store, snapshot(1))
        node.wait_for("redis")
        node.file.touched = True
        assert node.source.load() == snapshot(1)
        assert any("is broken" in warning for warning in node.source.warnings)
        node.file.problem, node.file.touched = None, True
        assert node.source.changed()
        assert node.source.load() == snapshot(1)
        assert not node.source.warnings


def test_a_shared_pepper_that_redis_has_lost_is_put_back(server: RedisServer, tmp_path: Path) -> None:
    with Node(server.url, tmp_path, shares=True) as node, server.client() as client:
        for _ in range(2):
            deadline = time.monotonic() + WAIT_S
            while client.get(PEPPER) != SHARED:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            client.flushall()
        assert node.pepper_file.read_bytes() == SHARED
        assert stat.S_IMODE(node.pepper_file.stat().st_mode) == 0o600


def test_a_shared_pepper_that_somebody_replaced_is_refused_until_it_is_put_back(
    server: RedisServer, store: ReleaseStore, tmp_path: Path
) -> None:
    theirs = b"x" * 32
    with Node(server.url, tmp_path, shares=True) as node, server.client() as client:
        publish(store, snapshot(1))
        node.wait_until_it_serves(snapshot(1))
        client.set(PEPPER, theirs)
        publish(store, snapshot(2), Seal(theirs))
        fault = node.wait_for("last-known-good", "pepper_replaced").fault
        assert str(node.pepper_file) in fault and "x" * 32 not in fault and "p" * 32 not in fault
        assert node.source.load() == snapshot(1)
        with Node(server.url, tmp_path, shares=True) as another:  # a start does not follow it either
            another.wait_for("last-known-good", "pepper_replaced")
            assert another.source.load() == snapshot(1)
        client.set(PEPPER, SHARED)
        publish(store, snapshot(3))
        node.wait_until_it_serves(snapshot(3))
        assert node.wait_for("redis").fault == ""


def test_a_node_that_began_before_it_knew_the_fleets_pepper_says_how_to_take_it_up(
    server: RedisServer, tmp_path: Path
) -> None:
    with server.client() as client:
        client.set(PEPPER, b"x" * 32)
        with Node(server.url, tmp_path, shares=True) as node:
            assert "throughway restart" in node.wait_for("file", "pepper").fault
            assert node.pepper_file.read_bytes() == b"x" * 32, "remembered: nobody can change it until then"
            assert client.get(PEPPER) == b"x" * 32


def test_where_the_shared_pepper_cannot_be_remembered_nothing_is_taken(
    server: RedisServer, store: ReleaseStore, tmp_path: Path
) -> None:
    (tmp_path / "fleet-pepper").mkdir()
    publish(store, snapshot(1))
    with Node(server.url, tmp_path, shares=True) as node:
        assert "cannot be used" in node.wait_for("file", "disk").fault


def test_a_source_that_is_closed_ends_its_thread(server: RedisServer, tmp_path: Path) -> None:
    with Node(server.url, tmp_path):
        time.sleep(0.2)
        assert "redis-config" in {thread.name for thread in threading.enumerate()}
    assert "redis-config" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.nightly
def test_after_a_failover_of_sentinels_the_new_master_is_followed(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "one") as one,
        RedisServer(tmp_path / "two", [f"replicaof 127.0.0.1 {one.port}"]) as two,
    ):
        watch = [
            f"sentinel monitor main 127.0.0.1 {one.port} 1",
            "sentinel down-after-milliseconds main 500",
            "sentinel failover-timeout main 2000",
        ]
        with RedisServer(tmp_path / "sentinel", watch, program="redis-sentinel") as sentinel:
            url = parse_url(f"redis+sentinel://{sentinel.address}/main")
            store = ReleaseStore(url)
            publish(store, snapshot(1))
            with two.client() as client, Node(url, tmp_path) as node:
                node.wait_until_it_serves(snapshot(1))
                deadline = time.monotonic() + WAIT_S
                while client.getrange(POINTER, 0, -1) != store.pointer():
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                with sentinel.client() as asked:
                    while asked.execute_command("SENTINEL", "REPLICAS", "main") == []:
                        assert time.monotonic() < deadline
                        time.sleep(0.05)
                one.kill()
                node.wait_for("last-known-good", "unreachable")
                node.wait_for("redis")
                store.close()
                store = ReleaseStore(url)
                publish(store, snapshot(2))
                node.wait_until_it_serves(snapshot(2))
            store.close()
