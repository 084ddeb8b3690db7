"""Two nodes of two workers each that take their configuration from one Redis."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from _fastpath.shm import NodeMemory
from gateway.adapters.redis_client import RedisDownError
from gateway.adapters.redis_store import CHANNEL, LIST, POINTER, VALUE, ReleaseStore
from gateway.adapters.redis_store import PEPPER as PEPPER_KEY
from gateway.adapters.release import Seal
from gateway.base.node import G_GENERATION
from gateway.base.snapshot import Key, Limits, Model, Provider, Snapshot, Target
from gateway.control.keys import key_hmac
from tests.e2e.conftest import MakeGateway, environment, secret_of, settings
from tests.e2e.node import Answer, Gateway, wait_for
from tests.support.redis_server import RedisServer
from tests.support.scripted_upstream import DONE, ScriptedUpstream, chat_events, completion, json_answer, stream

PEPPER = "the-pepper-of-the-fleets-tests-0123456789"
SEAL = Seal(PEPPER.encode())
WORKERS = 2
CONVERGED_S = 0.25


class Fleet:
    """Nodes, their Redis, and who publishes for them."""

    def __init__(self, directory: Path, upstream: ScriptedUpstream, count: int = 2) -> None:
        self.redis = RedisServer(directory / "redis")
        self.redis.start()
        self.upstream = upstream
        self.store = ReleaseStore(self.redis.url)
        self.nodes = []
        for number in range(count):
            folder = directory / f"node-{number}"
            folder.mkdir()
            own = {"redis": f"redis://{self.redis.address}/0", "pepper": "env:PEPPER"}
            secrets = {**environment({"main": {}}), "PEPPER": PEPPER}
            self.nodes.append(Gateway(folder, own, secrets, WORKERS))

    def close(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(AssertionError):
                node.kill()
        self.redis.kill()

    def snapshot(
        self, number: int, *, reference: str = "env:PROVIDER_KEY", provider: str = "a", extra: int = 0
    ) -> Snapshot:
        """A good configuration: the model `m` and the key `main` are in every one of them."""
        return Snapshot(
            "",
            providers=(Provider("p", "openai", self.upstream.base_url(provider), reference),),
            models=(
                Model("m", (Target("p", f"upstream-{number}"),)),
                *(Model(f"other-{i}", (Target("p", "x"),)) for i in range(extra)),
            ),
            keys=(
                Key("main", "main", key_hmac(PEPPER.encode(), secret_of("main"))),
                *(Key(f"k{i}", f"k{i}", f"{i:064x}", limits=Limits(requests_per_minute=60)) for i in range(extra)),
            ),
        ).sealed()

    def publish(self, snapshot: Snapshot) -> None:
        self.store.publish(SEAL, snapshot, over=self.store.pointer(), by="test")

    def wait_for_version(self, version: str, timeout_s: float = 15.0) -> None:
        """Until every worker of every node runs it."""

        def there() -> bool:
            return all(_runs(node.status(), version) for node in self.nodes)

        wait_for(f"{version} everywhere", there, timeout_s)


def _runs(status: dict[str, Any], version: str) -> bool:
    config = status["config"]
    return config["version"] == version and all(w["generation"] == config["generation"] for w in status["workers"])


@contextlib.contextmanager
def fleet_in(directory: Path, upstream: ScriptedUpstream) -> Iterator[Fleet]:
    made = Fleet(directory, upstream)
    try:
        yield made
        for node in made.nodes:
            if node._process is not None and node.process.poll() is None:
                node.stop()
    finally:
        made.close()


@pytest.fixture
def fleet(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Fleet]:
    """Of a test's own; none of its nodes runs."""
    with fleet_in(tmp_path, upstream) as made:
        yield made


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedUpstream) -> Iterator[Fleet]:
    """A fleet that serves what was published before it started, while its own files hold nothing of it."""
    with fleet_in(tmp_path_factory.mktemp("fleet"), upstream) as made:
        made.publish(made.snapshot(0))
        for node in made.nodes:
            node.begin()
        for node in made.nodes:
            node.wait_until_ready()
            wait_for("it follows Redis", lambda node=node: _source(node, "redis"))  # type: ignore[misc]
        made.publish(made.snapshot(0, provider="b"))  # the first one meets processes that still warm up
        made.wait_for_version(made.snapshot(0, provider="b").version)
        yield made


@pytest.fixture
def fine(upstream: ScriptedUpstream) -> str:
    return upstream.script(json_answer(completion()))


def ask(node: Gateway, script: str, model: str = "m") -> Answer:
    return node.ask({"model": model, "messages": [], "x_script": script}, secret_of("main"))


# -- convergence


class Watched:
    """The generations that the workers of a fleet run, read in their shared memory."""

    def __init__(self, fleet: Fleet) -> None:
        self._memories = [NodeMemory.attach(str(node.state_dir / "run" / "node.mem")) for node in fleet.nodes]

    def generations(self) -> list[int]:
        return [memory.gauge(slot, G_GENERATION) for memory in self._memories for slot in range(WORKERS)]

    def time_until_all_follow(self, before: list[int], began: float) -> float:
        """Seconds until each worker runs the next generation."""
        while any(now <= then for now, then in zip(self.generations(), before, strict=True)):
            assert time.monotonic() < began + 20, (before, self.generations())
            time.sleep(0.0005)
        return time.monotonic() - began


def converge(fleet: Fleet, pushes: int) -> list[float]:
    watched = Watched(fleet)
    took = []
    for number in range(1, pushes + 1):
        before = watched.generations()
        began = time.monotonic()
        fleet.publish(fleet.snapshot(number))
        took.append(watched.time_until_all_follow(before, began))
    took.sort()
    print(f"{pushes} pushes to 2 x {WORKERS} workers: median {statistics.median(took) * 1e3:.0f} ms,", end=" ")
    print(f"p99 {took[int(len(took) * 0.99)] * 1e3:.0f} ms, longest {took[-1] * 1e3:.0f} ms")
    return took


def test_a_push_reaches_every_worker_of_the_fleet_at_once(started: Fleet, fine: str) -> None:
    took = converge(started, 20)
    assert statistics.median(took) < CONVERGED_S
    for node in started.nodes:
        answer = ask(node, fine)
        assert (answer.status, answer.headers["x-throughway-model"]) == (200, "upstream-20")
        assert answer.headers["x-throughway-config-version"] == started.snapshot(20).version


@pytest.mark.nightly
def test_ninety_nine_of_a_hundred_pushes_reach_every_worker_within_a_quarter_of_a_second(started: Fleet) -> None:
    took = converge(started, 200)
    assert took[int(len(took) * 0.99)] <= CONVERGED_S


def test_a_stream_keeps_the_configuration_it_began_with_and_is_not_cut_by_others(started: Fleet) -> None:
    events = chat_events()
    slow = started.upstream.script(stream([events[0], 0.8, events[1], 0.8, *events[2:]]))
    started.publish(started.snapshot(500))
    started.wait_for_version(started.snapshot(500).version)
    node = started.nodes[0]
    answers: list[Answer] = []
    body = {"model": "m", "messages": [], "stream": True, "stream_options": {"include_usage": True}, "x_script": slow}
    caller = threading.Thread(target=lambda: answers.append(node.ask(body, secret_of("main"))))
    caller.start()
    wait_for("the stream begins", lambda: started.upstream.requests_of(slow))
    for number in range(501, 504):  # the provider is another one each time, and so are its connections
        started.publish(started.snapshot(number, provider="ab"[number % 2]))
        started.wait_for_version(started.snapshot(number, provider="ab"[number % 2]).version)
    caller.join()
    (answer,) = answers
    assert answer.headers["x-throughway-config-version"] == started.snapshot(500).version
    assert answer.body.endswith(DONE)


# -- what operators see


def test_status_metrics_and_log_tell_of_the_source_and_its_faults(started: Fleet) -> None:
    node = started.nodes[0]
    started.publish(started.snapshot(0))
    started.wait_for_version(started.snapshot(0).version)
    source = wait_for("redis serves", lambda: _source(node, "redis"))
    wait_for("its metric", lambda: node.metric("throughway_config_source", source="redis") == 1)
    assert source["where"] == f"redis://{started.redis.address}"
    assert source["sequence"] == started.store.find(None).sequence
    assert node.metric("throughway_config_source_up") == 1
    assert node.metric("throughway_config_sequence") == source["sequence"]
    faults = len(node.log("config.source_fault"))

    started.publish(started.snapshot(1, reference="env:NOT_ON_THIS_NODE"))
    source = wait_for("refused", lambda: _source(node, "last-known-good"))
    assert 'provider "p": the environment variable NOT_ON_THIS_NODE is not set' in source["fault"]
    wait_for("its metric", lambda: node.metric("throughway_config_source_up") == 0)
    assert node.metric("throughway_config_source_faults_total", reason="unresolved") == 1
    shown = node.command("status").stdout
    assert "last-known-good" in shown and "NOT_ON_THIS_NODE" in shown
    wait_for("its line", lambda: node.log("config.source_fault")[faults:])
    assert [line["reason"] for line in node.log("config.source_fault")[faults:]] == ["unresolved"]

    started.publish(started.snapshot(2))
    started.wait_for_version(started.snapshot(2).version)
    wait_for("well again", lambda: _source(node, "redis"))
    wait_for("told", lambda: node.log("config.source_recovered"))


def _source(node: Gateway, kind: str) -> dict[str, Any] | None:
    source: dict[str, Any] = node.status()["config"]["source"]
    return source if source["kind"] == kind else None


def test_a_node_that_is_the_first_serves_its_file_until_something_is_published(fleet: Fleet, fine: str) -> None:
    node = fleet.nodes[0]
    node.configure({**node.settings, **settings(fleet.upstream, {"main": {}})})
    node.start()
    assert ask(node, fine, "gpt-4o-mini").status == 200
    fleet.publish(fleet.snapshot(1))
    version = fleet.snapshot(1).version
    wait_for("it serves", lambda: _runs(node.status(), version))
    assert (ask(node, fine).status, ask(node, fine, "gpt-4o-mini").status) == (200, 404)
    generation = node.status()["config"]["generation"]
    node.configure({**node.settings, "log_level": "debug"})
    wait_for("the file is read", lambda: node.status()["config"]["generation"] > generation)
    wait_for("the workers follow", lambda: _runs(node.status(), version))
    assert (ask(node, fine).status, ask(node, fine, "gpt-4o-mini").status) == (200, 404)


@pytest.mark.nightly
@pytest.mark.parametrize("illness", ["dead", "frozen"])
def test_a_start_without_redis_is_short_and_has_the_last_good_release(fleet: Fleet, fine: str, illness: str) -> None:
    node = fleet.nodes[0]
    fleet.publish(fleet.snapshot(7))
    node.start()
    node.stop()
    fleet.redis.kill() if illness == "dead" else fleet.redis.freeze()
    began = time.monotonic()
    node.start()
    took = time.monotonic() - began
    assert ask(node, fine).headers["x-throughway-model"] == "upstream-7"
    assert _source(node, "last-known-good")
    print(f"a start with Redis {illness} took {took:.2f} s")
    fleet.redis.start() if illness == "dead" else fleet.redis.thaw()
    fleet.publish(fleet.snapshot(8))
    wait_for("it follows again", lambda: ask(node, fine).headers["x-throughway-model"] == "upstream-8")


@pytest.mark.nightly
def test_a_fleet_without_a_pepper_of_its_own_shares_one(fleet: Fleet, fine: str) -> None:
    for node in fleet.nodes:
        del node.settings["pepper"]
        node.configure(node.settings)
    first, second = fleet.nodes
    first.start()
    assert fleet.store.pepper() == (first.state_dir / "fleet-pepper").read_bytes()
    second.start()
    published = first.directory / "published.yaml"
    published.write_text(json.dumps({**first.settings, **settings(fleet.upstream, {"main": {}})}))
    pushed = first.command("config", "push", str(published), config=False)
    assert pushed.returncode == 0, pushed.stderr
    for node in fleet.nodes:
        wait_for("the key works", lambda node=node: ask(node, fine, "gpt-4o-mini").status == 200)  # type: ignore[misc]
    with fleet.redis.client() as client:
        client.set(PEPPER_KEY, b"of-somebody-who-can-write-there-0123456789")
    for node in fleet.nodes:
        wait_for("it is told", lambda node=node: node.log("config.source_fault"))  # type: ignore[misc]
        assert node.log("config.source_fault")[-1]["reason"] == "pepper_replaced"
        assert "another pepper" in node.status()["config"]["source"]["fault"]
        assert node.metric("throughway_config_source_faults_total", reason="pepper_replaced") == 1
        assert "another pepper" in node.command("status").stdout
    second.stop()
    second.start()
    assert ask(second, fine, "gpt-4o-mini").status == 200
    with fleet.redis.client() as client:  # what the operators mean to change, they change as docs/fleet.md says
        client.set(PEPPER_KEY, b"the-new-one-of-the-operators-0123456789")
    (first.state_dir / "fleet-pepper").unlink()
    pushed = first.command("config", "push", str(published), config=False)
    assert pushed.returncode == 0, pushed.stderr
    for node in fleet.nodes:
        (node.state_dir / "fleet-pepper").unlink(missing_ok=True)
        done = node.command("restart", "--wait")
        assert done.returncode == 0, done.stderr
        assert ask(node, fine, "gpt-4o-mini").status == 200
        assert (node.state_dir / "fleet-pepper").read_bytes() == fleet.store.pepper()
        wait_for("all is well", lambda node=node: not node.status()["config"]["source"]["fault"])  # type: ignore[misc]
    fleet.redis.kill()
    second.stop()
    second.start()
    assert ask(second, fine, "gpt-4o-mini").status == 200


# -- under load


class Load:
    """Callers that never stop; each answer but 200 is kept."""

    def __init__(self, nodes: list[Gateway], script: str, callers: int = 2, model: str = "m") -> None:
        self._body = json.dumps({"model": model, "messages": [], "x_script": script})
        self._stop = threading.Event()
        self.failures: list[object] = []
        self.answered = 0
        self.versions: set[str] = set()
        self._threads = [threading.Thread(target=self._call, args=(node,)) for node in nodes for _ in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, node: Gateway) -> None:
        headers = {"content-type": "application/json", "authorization": f"Bearer {secret_of('main')}"}
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
        while not self._stop.is_set():
            try:
                connection.request("POST", "/v1/chat/completions", self._body, headers)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if response.status != 200:
                self.failures.append((response.status, body[:300]))
            self.answered += 1
            self.versions.add(response.headers["x-throughway-config-version"])
            time.sleep(0.002)
        connection.close()


class Mutations:
    """Changes of what a fleet is given, most of them broken; after `heal` all is well."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self._fleet = fleet
        self._random = random.Random(seed)
        self._number = 0
        self._ill = ""
        self.done: dict[str, int] = {}

    def one(self) -> None:
        kinds = [self._good, self._good, self._broken_file, self._good_file, self._garble, self._truncate, self._replay]
        kinds += [self._forge, self._unresolved, self._flush, self._kill, self._freeze, self._large]
        kind = self._random.choice(kinds)
        if self._ill and (self._random.random() < 0.4 or kind not in (self._broken_file, self._good_file)):
            kind = self._mend
        self.done[kind.__name__.strip("_")] = self.done.get(kind.__name__.strip("_"), 0) + 1
        with contextlib.suppress(RedisDownError):
            kind()

    def heal(self) -> Snapshot:
        self._mend()
        for node in self._fleet.nodes:
            node.configure(node.settings)
        with self._fleet.redis.client() as client:
            client.flushall()
        last = self._fleet.snapshot(1_000_000)
        self._fleet.publish(last)
        return last

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _good(self) -> None:
        with self._fleet.redis.client() as client:
            client.delete(POINTER)  # which may be broken by now
        self._fleet.publish(self._fleet.snapshot(self._next(), provider=self._random.choice("ab")))

    def _large(self) -> None:
        self._fleet.publish(self._fleet.snapshot(self._next(), extra=300))

    def _unresolved(self) -> None:
        self._fleet.publish(self._fleet.snapshot(self._next(), reference="env:NOT_THERE"))

    def _garble(self) -> None:
        self._put(POINTER, self._random.randbytes(200))

    def _truncate(self) -> None:
        pointer, value = SEAL.release(self._fleet.snapshot(self._next()), after=None, by="test")
        self._put(VALUE + self._fleet.snapshot(self._number).version, value[: self._random.randrange(len(value))])
        self._put(POINTER, pointer)

    def _replay(self) -> None:
        with self._fleet.redis.client() as client:
            past = client.lrange(LIST, 1, 5)
        if past:
            self._put(POINTER, self._random.choice(past))

    def _forge(self) -> None:
        self._fleet.store.publish(
            Seal(b"x" * 32), self._fleet.snapshot(self._next()), over=self._fleet.store.pointer(), by="test"
        )

    def _flush(self) -> None:
        with self._fleet.redis.client() as client:
            client.flushall()

    def _put(self, key: str, data: bytes) -> None:
        with self._fleet.redis.client() as client:
            client.set(key, data)
            client.publish(CHANNEL, b"")

    def _broken_file(self) -> None:
        self._random.choice(self._fleet.nodes).configure(
            self._random.choice(["{", "listen: [", "modls: {}\n", "\0", ""])
        )

    def _good_file(self) -> None:
        node = self._random.choice(self._fleet.nodes)
        node.configure({**node.settings, "log_level": self._random.choice(["info", "warning"])})

    def _kill(self) -> None:
        self._fleet.redis.kill()
        self._ill = "killed"

    def _freeze(self) -> None:
        self._fleet.redis.freeze()
        self._ill = "frozen"

    def _mend(self) -> None:
        ill, self._ill = self._ill, ""
        if ill == "killed":
            self._fleet.redis.start()
        elif ill == "frozen":
            self._fleet.redis.thaw()


def mutate(fleet: Fleet, script: str, count: int, seed: int) -> None:
    mutations = Mutations(fleet, seed)
    with Load(fleet.nodes, script) as load:
        for _ in range(count):
            mutations.one()
            time.sleep(0.05)
        last = mutations.heal()
        fleet.wait_for_version(last.version)
        time.sleep(0.1)
    print(f"{count} mutations {mutations.done}; {load.answered} requests under {len(load.versions)} versions")
    assert not load.failures, load.failures[:5]
    assert load.answered > count // 2
    assert len(load.versions) > 1
    for node in fleet.nodes:
        assert ask(node, script).headers["x-throughway-config-version"] == last.version


def test_fifty_random_changes_under_load_fail_no_request(started: Fleet, fine: str) -> None:
    mutate(started, fine, 50, seed=1)


def rewrite(node: Gateway, script: str, count: int, seed: int) -> None:
    """The same with a node's own file: good ones, broken ones, none at all."""
    chance = random.Random(seed)
    good = {**node.settings}
    broken: list[Callable[[str], str]] = [
        lambda text: text[: chance.randrange(len(text))],
        lambda text: text.replace('"targets"', '"tragets"'),
        lambda text: text.replace("env:PROVIDER_KEY", "env:NOT_THERE"),
        lambda text: text.replace('"provider": "a"', '"provider": "zz"', 1),
        lambda text: text.replace("127.0.0.1", "127.0.0.1:x", 3),
        lambda _: "",
        lambda _: "\0\1\2",
        lambda _: "- [",
    ]
    counts = {"good": 0, "broken": 0, "gone": 0}
    with Load([node], script, callers=4, model="gpt-4o-mini") as load:
        for number in range(count):
            kind = chance.choice(["good", "good", "broken", "broken", "gone"])
            counts[kind] += 1
            text = json.dumps({**good, "models": {**good["models"], f"m{number}": {"targets": [{"provider": "a"}]}}})
            if kind == "gone":
                node.config_file.unlink(missing_ok=True)
            else:
                node.configure(text if kind == "good" else chance.choice(broken)(text))
            time.sleep(0.06)
        node.configure({**good, "models": {**good["models"], "last": {"targets": [{"provider": "a"}]}}})
        wait_for("the last one serves", lambda: ask(node, script, "last").status == 200)
    print(f"{count} files {counts}; {load.answered} requests under {len(load.versions)} versions")
    assert not load.failures, load.failures[:5]
    assert load.answered > count // 2
    assert len(load.versions) > 1


def test_fifty_random_changes_of_the_file_under_load_fail_no_request(make_gateway: MakeGateway, fine: str) -> None:
    rewrite(make_gateway(workers=2), fine, 50, seed=1)


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_thousand_random_changes_of_the_file_under_load_fail_no_request(make_gateway: MakeGateway, fine: str) -> None:
    rewrite(make_gateway(workers=2), fine, 1_000, seed=2)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_thousand_random_changes_under_load_fail_no_request_and_leak_nothing(started: Fleet, fine: str) -> None:
    def resident_kib() -> int:
        pids = [worker["pid"] for node in started.nodes for worker in node.status()["workers"]]
        lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    mutate(started, fine, 100, seed=2)
    before = resident_kib()
    mutate(started, fine, 1_000, seed=3)
    grown = (resident_kib() - before) / len(started.nodes) / WORKERS
    print(f"each worker grew by {grown:.0f} KiB")
    assert grown < 16_384
