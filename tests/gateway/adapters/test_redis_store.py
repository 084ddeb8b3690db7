"""The releases of a fleet in a real Redis: publication, conflict, history; over TLS, ACL users, sockets, Sentinel and Cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters import redis_store
from gateway.adapters.redis_client import RedisDownError
from gateway.adapters.redis_store import (
    CHANNEL,
    HISTORY,
    LIST,
    POINTER,
    VALUE,
    ConflictError,
    ReleaseStore,
    UnknownVersionError,
)
from gateway.adapters.release import RefusedError, Seal, parse
from gateway.base.redis_url import parse as parse_url
from gateway.base.snapshot import Model, Provider, Snapshot, Target
from tests.support.certificates import Authority
from tests.support.redis_server import RedisServer, free_port

SEAL = Seal(b"p" * 32)
PASSWORD = "canary-of-a-password"
READER = f"user node on >{PASSWORD} resetchannels ~{{throughway}}:* &{{throughway}}:* -@all +getrange +subscribe +unsubscribe +ping"
WRITER = (
    f"user ops on >{PASSWORD} resetchannels ~{{throughway}}:* &{{throughway}}:* "
    "-@all +get +getrange +set +del +lrange +lpush +ltrim +eval +publish +subscribe +unsubscribe +ping"
)


def snapshot(number: int = 0) -> Snapshot:
    return Snapshot(
        "",
        providers=(Provider("p", "openai", "https://h/v1", "env:KEY"),),
        models=(Model("m", (Target("p", f"m-{number}"),)),),
    ).sealed()


def publish(store: ReleaseStore, number: int) -> str:
    return store.publish(SEAL, snapshot(number), over=store.pointer(), by="test").version


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def store(server: RedisServer) -> Iterator[ReleaseStore]:
    with server.client() as client:
        client.flushall()
    made = ReleaseStore(server.url)
    yield made
    made.close()


# -- publication


def test_what_is_published_is_found_again_and_announced(store: ReleaseStore, server: RedisServer) -> None:
    with server.client() as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=5)
        version = publish(store, 1)
        message = listener.get_message(timeout=5)
    assert message is not None and message["data"] == version.encode()
    pointer = store.pointer()
    assert pointer is not None
    release = SEAL.read(pointer)
    assert release.version == version
    assert store.snapshot(release) == snapshot(1)
    assert [each.version for each in store.history()] == [version]


def test_of_two_that_publish_over_the_same_release_one_is_told_of_the_conflict(store: ReleaseStore) -> None:
    publish(store, 0)
    seen = store.pointer()
    store.publish(SEAL, snapshot(1), over=seen, by="one")
    with pytest.raises(ConflictError):
        store.publish(SEAL, snapshot(2), over=seen, by="two")
    with pytest.raises(ConflictError):
        store.publish(SEAL, snapshot(3), over=None, by="three")
    assert [each.version for each in store.history()] == [snapshot(1).version, snapshot(0).version]
    assert store.value(snapshot(2).version) is None


def test_of_many_that_publish_at_once_each_either_wins_or_hears_of_it(store: ReleaseStore, server: RedisServer) -> None:
    outcomes: list[str] = []

    def work(number: int) -> None:
        mine = ReleaseStore(server.url)
        for turn in range(10):
            try:
                mine.publish(SEAL, snapshot(100 * number + turn), over=mine.pointer(), by="test")
                outcomes.append("published")
            except ConflictError:
                outcomes.append("conflict")
        mine.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sequences = [each.sequence for each in store.history()]
    assert len(outcomes) == 40
    assert outcomes.count("published") == len(sequences)
    assert sequences == sorted(set(sequences), reverse=True)


def test_the_history_is_bounded_and_the_values_with_it(store: ReleaseStore, server: RedisServer) -> None:
    for number in range(HISTORY + 5):
        publish(store, number)
    publish(store, 50)  # again: its value must outlive its first release
    for number in range(HISTORY, HISTORY + 60):
        publish(store, 1_000 + number)
    with server.client() as client:
        values = {key.decode().removeprefix(VALUE) for key in client.scan_iter(VALUE + "*", count=1_000)}
    history = store.history()
    assert len(history) == HISTORY
    assert values == {each.version for each in history}
    assert snapshot(50).version in values


def test_a_release_is_found_by_the_beginning_of_its_version(store: ReleaseStore) -> None:
    with pytest.raises(UnknownVersionError, match="holds no configuration yet"):
        store.find(None)
    versions = [publish(store, number) for number in range(3)]
    assert store.find(None).version == versions[-1]
    assert store.find(versions[0][:12]).version == versions[0]
    with pytest.raises(UnknownVersionError, match="no version"):
        store.find("zzz")
    with pytest.raises(UnknownVersionError, match="3 versions"):
        store.find("")


def test_publishing_again_mends_what_was_damaged_but_overwrites_no_newer_layout(
    store: ReleaseStore, server: RedisServer
) -> None:
    version = publish(store, 1)
    with server.client() as client:
        client.set(VALUE + version, b"rubbish")
        client.set(POINTER, b"rubbish")
        client.lpush(LIST, b"rubbish")
        with pytest.raises(RefusedError):
            store.snapshot(store.find(version))
        assert publish(store, 1) == version
        assert store.snapshot(store.find(version)) == snapshot(1)
        client.set(POINTER, b'{"layout":99}')
    with pytest.raises(RefusedError, match="layout 99"):
        publish(store, 2)


def test_no_more_is_read_than_a_release_or_a_snapshot_can_have(
    store: ReleaseStore, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish(store, 1)
    monkeypatch.setattr(redis_store, "MAX_VALUE_BYTES", 1_000)
    with server.client() as client:
        client.set(VALUE + version, b"x" * 5_000)
        client.set(POINTER, b"x" * 50_000)
    assert len(store.value(version) or b"") == 1_001
    assert len(store.pointer() or b"") == redis_store.MAX_SMALL_BYTES + 1
    monkeypatch.setattr(redis_store, "MAX_VALUE_BYTES", 10)
    with pytest.raises(RefusedError, match="more than 10"):
        publish(store, 1)
    assert len(parse(SEAL.release(snapshot(), after=None, by="x")[0]).by) == 1


def test_the_pepper_is_shared_by_whoever_comes_first(store: ReleaseStore) -> None:
    assert store.pepper() is None
    assert store.share_pepper(b"first") == b"first"
    assert store.share_pepper(b"second") == b"first"
    assert store.pepper() == b"first"


# -- in each form


def round_trip(url: str, number: int = 7) -> None:
    store = ReleaseStore(parse_url(url))
    version = publish(store, number)
    assert store.snapshot(store.find(version)) == snapshot(number)
    subscription = store.client.pubsub()
    subscription.subscribe(CHANNEL)
    assert subscription.get_message(timeout=5) is not None
    subscription.ping()
    pong = subscription.get_message(timeout=5)
    assert pong is not None and pong["type"] == "pong"
    publish(store, number + 1)
    message = subscription.get_message(timeout=5)
    assert message is not None and message["type"] == "message"
    subscription.close()
    store.close()


def test_over_a_unix_socket(server: RedisServer) -> None:
    round_trip(f"unix://{server.socket_file}?db=3")


def test_over_tls_with_a_private_authority(tmp_path: Path) -> None:
    authority = Authority("a test's")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    files = authority.issue("localhost").write(tmp_path)
    with RedisServer(tmp_path / "redis", tls=(*files, str(ca_file))) as server:
        round_trip(f"rediss://localhost:{server.port}?ssl_ca_certs={ca_file}")
        round_trip(f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={ca_file}&ssl_check_hostname=false", 17)
        for url in (
            f"rediss://localhost:{server.port}",  # the system's authorities do not know it
            f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={ca_file}",  # it is not issued for the address
            f"redis://localhost:{server.port}",
        ):
            with pytest.raises(RedisDownError):
                ReleaseStore(parse_url(url)).pointer()


def test_as_users_of_an_acl_that_may_do_no_more_than_they_must(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", ["user default off", READER, WRITER]) as server:
        round_trip(f"redis://ops:{PASSWORD}@{server.address}")
        reader = ReleaseStore(parse_url(f"redis://node:{PASSWORD}@{server.address}"))
        assert reader.pointer() is not None
        with pytest.raises(RedisDownError, match="refuses") as refused:
            reader.share_pepper(b"mine")
        assert PASSWORD not in str(refused.value)
        for wrong in (f"redis://node:wrong-{PASSWORD}@{server.address}", f"redis://{server.address}"):
            with pytest.raises(RedisDownError, match="refuses") as refused:
                ReleaseStore(parse_url(wrong)).pointer()
            assert PASSWORD not in str(refused.value)


def test_in_a_cluster_all_lies_in_one_slot(tmp_path: Path) -> None:
    reader = f"{READER} +cluster|slots +command"
    with RedisServer(tmp_path / "redis", ["cluster-enabled yes", f"cluster-port {free_port()}", reader]) as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
            deadline = time.monotonic() + 10
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        round_trip(f"redis+cluster://127.0.0.1:{free_port()},{server.address}")  # the first host is dead
        node = ReleaseStore(parse_url(f"redis+cluster://node:{PASSWORD}@{server.address}"))
        assert node.pointer() is not None
        node.close()


def test_behind_sentinels(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", [f"requirepass {PASSWORD}"]) as server:
        watch = [
            f"sentinel monitor main 127.0.0.1 {server.port} 1",
            f"sentinel auth-pass main {PASSWORD}",
        ]
        with RedisServer(tmp_path / "sentinel", watch, program="redis-sentinel") as sentinel:
            hosts = f"127.0.0.1:{free_port()},{sentinel.address}"  # the first is dead
            round_trip(f"redis+sentinel://:{PASSWORD}@{hosts}/main")
            with pytest.raises(RedisDownError):
                ReleaseStore(parse_url(f"redis+sentinel://:{PASSWORD}@{hosts}/other")).pointer()


def test_a_frozen_server_is_given_up_in_time(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as server:
        store = ReleaseStore(server.url)
        publish(store, 1)
        server.freeze()
        began = time.monotonic()
        with pytest.raises(RedisDownError):
            store.pointer()
        assert time.monotonic() - began < 4
        server.thaw()
        assert parse(store.pointer() or b"").version == snapshot(1).version


def test_a_dead_server_is_given_up_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(RedisDownError, match="cannot be used"):
        ReleaseStore(parse_url(f"redis://127.0.0.1:{free_port()}")).pointer()
    assert time.monotonic() - began < 1
