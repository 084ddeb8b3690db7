"""How a node meets its fleet before it starts: with Redis well, empty, frozen, dead, or unwilling."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.redis_store import PEPPER, ReleaseStore
from gateway.adapters.release import Seal
from gateway.base.snapshot import Model, Provider, Snapshot, Target
from gateway.control.config import load
from gateway.fleet import MEET_S, first_snapshot, load_node, meet, source_of
from tests.support.redis_server import RedisServer, free_port

SECRET = "the-pepper-of-the-tests-of-meeting-01234"
NODE = "redis: env:FLEET_URL\npepper: env:PEPPER\n"
SHARING = "redis: env:FLEET_URL\n"


# A node forks before it has any thread; pytest's clock is one.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def snapshot(name: str, reference: str | None = None) -> Snapshot:
    return Snapshot(
        "",
        providers=(Provider("p", "openai", "https://h/v1", reference),),
        models=(Model(name, (Target("p", name),)),),
    ).sealed()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as running:
        monkeypatch.setenv("FLEET_URL", f"redis://{running.address}")
        monkeypatch.setenv("PEPPER", SECRET)
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(NODE)
    return path


def publish(server: RedisServer, wanted: Snapshot, pepper: bytes = SECRET.encode()) -> None:
    store = ReleaseStore(server.url)
    store.publish(Seal(pepper), wanted, over=store.pointer(), by="test")
    store.close()


def begins_with(file: Path) -> tuple[Snapshot, list[str]]:
    return first_snapshot(load(file, create=True))


def test_what_was_published_is_there_before_the_node_starts(server: RedisServer, file: Path) -> None:
    assert meet(file) == []
    assert begins_with(file)[0].models == ()
    publish(server, snapshot("m"))
    assert meet(file) == []
    assert begins_with(file) == (snapshot("m"), [])
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("illness", ["dead", "frozen"])
def test_a_redis_that_is_ill_keeps_no_node_from_starting(server: RedisServer, file: Path, illness: str) -> None:
    publish(server, snapshot("m"))
    meet(file)
    server.kill() if illness == "dead" else server.freeze()
    began = time.monotonic()
    (warning,) = meet(file)
    assert time.monotonic() - began < MEET_S + 1
    assert str(server.url) in warning
    assert begins_with(file) == (snapshot("m"), [])
    assert not multiprocessing.active_children()


def test_a_last_good_release_that_this_node_cannot_run_gives_way_to_the_file(
    server: RedisServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDER_KEY", "secret")
    publish(server, snapshot("m", "env:PROVIDER_KEY"))
    assert meet(file) == []
    monkeypatch.delenv("PROVIDER_KEY")
    begun, (warning,) = begins_with(file)
    assert begun.models == ()
    assert 'provider "p": the environment variable PROVIDER_KEY is not set' in warning


def test_a_node_is_loaded_with_what_the_fleet_has_published(server: RedisServer, file: Path) -> None:
    publish(server, snapshot("m"))
    loaded = load_node(file)
    assert (loaded.snapshot, loaded.pepper, loaded.warnings) == (snapshot("m"), SECRET.encode(), [])
    server.kill()
    (warning,) = load_node(file).warnings
    assert str(warning).startswith(f"{file}: redis: {server.url} cannot be used")


def test_what_redis_holds_and_a_node_cannot_run_is_told_at_the_start(server: RedisServer, file: Path) -> None:
    publish(server, snapshot("m", "env:NOT_HERE"))
    (warning,) = meet(file)
    assert "NOT_HERE is not set" in warning


def test_a_fleet_shares_the_pepper_of_its_first_node(server: RedisServer, file: Path, tmp_path: Path) -> None:
    file.write_text(SHARING)
    own = tmp_path / "state" / "pepper"
    own.parent.mkdir()
    own.write_text("pepper-of-a-node-that-was-alone-0123456789\n")
    assert meet(file) == []
    assert load(file, create=True).pepper == own.read_bytes().strip()
    other = tmp_path / "other" / "gateway.yaml"
    other.parent.mkdir()
    other.write_text(SHARING)
    assert meet(other) == []
    server.kill()
    assert load(other, create=True).pepper == own.read_bytes().strip()
    assert not (other.parent / "state" / "pepper").exists()


def test_a_pepper_that_somebody_replaced_in_redis_is_told_and_not_followed(server: RedisServer, file: Path) -> None:
    file.write_text(SHARING)
    assert meet(file) == []
    first = load(file, create=True).pepper
    with server.client() as client:
        client.set(PEPPER, b"of-somebody-who-can-write-there-0123456789")
        (warning,) = meet(file)
        assert "another pepper" in warning and "0123456789" not in warning
        assert load(file, create=True).pepper == first
        client.flushall()
        assert meet(file) == []
        assert client.get(PEPPER) == first, "what it has lost is put back"
        client.set(PEPPER, b"the-operators-new-pepper-0123456789abcdef")
        (file.parent / "state" / "fleet-pepper").unlink()  # as docs/fleet.md says
        assert meet(file) == []
    assert load(file, create=True).pepper == b"the-operators-new-pepper-0123456789abcdef"


def test_an_agent_that_starts_beside_a_broken_file_knows_whose_pepper_it_has(server: RedisServer, file: Path) -> None:
    file.write_text(SHARING)
    assert meet(file) == []
    loaded = load(file, create=True)
    assert loaded.pepper is not None
    file.write_text("redis: [\n")
    for pepper, reason in ((loaded.pepper, "pepper_replaced"), (SECRET.encode(), "")):
        with server.client() as client:
            client.set(PEPPER, b"of-somebody-who-can-write-there-0123456789")
        source = source_of(file, loaded.node, pepper)
        source.watch(lambda: None)
        time.sleep(0.3)
        assert source.status.reason == reason
        source.close()


def test_a_node_that_may_not_share_its_pepper_says_so_and_starts(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = "user default on nopass ~* &* -@all +getrange +subscribe"
    with RedisServer(tmp_path / "redis", [reader]) as server:
        monkeypatch.setenv("FLEET_URL", f"redis://{server.address}")
        file.write_text(SHARING)
        (warning,) = meet(file)
        assert "refuses" in warning and "set" in warning
        assert load(file, create=True).pepper == (tmp_path / "state" / "pepper").read_bytes().strip()


@pytest.mark.parametrize("text", ["", "redis: [1]\n", "redis: env:NOT_SET\n", "{", "listen: 8080\n"])
def test_without_a_redis_that_could_be_asked_nobody_is_asked(file: Path, text: str) -> None:
    file.write_text(text)
    assert meet(file) == []


def test_a_node_without_redis_loads_no_client_of_it(file: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import gateway.app, gateway.fleet as fleet; from gateway.base.node import Node;"
        f"fleet.source_of(Path({str(file)!r}), Node(), b''); assert 'redis' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=50)


def test_the_source_of_a_node_with_redis_follows_it(server: RedisServer, file: Path) -> None:
    publish(server, snapshot("m"))
    loaded = load(file, create=True)
    assert loaded.pepper is not None
    source = source_of(file, loaded.node, loaded.pepper)
    source.watch(lambda: None)
    deadline = time.monotonic() + 10
    while source.load() != snapshot("m"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    source.close()


def test_a_dead_address_is_told_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_URL", f"redis://user:canary-password@127.0.0.1:{free_port()}")
    monkeypatch.setenv("PEPPER", SECRET)
    began = time.monotonic()
    (warning,) = meet(file)
    assert time.monotonic() - began < MEET_S
    assert "canary" not in warning and "user" not in warning
