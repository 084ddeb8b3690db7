"""Who may, decided while serving: keys made and revoked, and a configuration that changes under load."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import secret_of
from tests.e2e.node import Gateway, wait_for
from tests.support.scripted_upstream import ScriptedUpstream, completion, json_answer

MakeGateway = Callable[..., Gateway]
AGENT_LOOK_S = 0.6
"""By then the node's agent has had its first look at the file."""


@pytest.fixture
def node(make_gateway: MakeGateway) -> Gateway:
    return make_gateway()


@pytest.fixture
def fine(upstream: ScriptedUpstream) -> str:
    return upstream.script(json_answer(completion()))


def status_of(node: Gateway, script: str, key: str, model: str = "gpt-4o-mini") -> int:
    return node.ask({"model": model, "messages": [], "x_script": script}, key).status


def test_a_key_works_within_a_second_of_its_making_and_not_a_second_after_its_end(node: Gateway, fine: str) -> None:
    made = node.command("keys", "create", "app", "--model", "gpt-*", "--requests-per-minute", "100000", "--json")
    assert made.returncode == 0, made.stderr
    begun = time.monotonic()
    created = json.loads(made.stdout)
    wait_for("the new key works", lambda: status_of(node, fine, created["secret"]) == 200, 5.0)
    assert time.monotonic() - begun < 1
    assert status_of(node, fine, created["secret"], "pair") == 403
    assert secret_of("main") not in made.stdout and created["id"] in node.command("keys", "list").stdout
    assert node.command("keys", "revoke", "app").returncode == 0
    begun = time.monotonic()
    wait_for("it is refused", lambda: status_of(node, fine, created["secret"]) == 401, 5.0)
    assert time.monotonic() - begun < 1
    assert status_of(node, fine, secret_of("main")) == 200
    listed = json.loads(node.command("keys", "list", "--json").stdout)
    assert {(k["name"], k["state"]) for k in listed} == {("main", "live"), ("app", "revoked")}
    assert created["secret"] not in "".join(p.read_text("latin-1") for p in node.state_dir.rglob("*") if p.is_file())


def test_a_key_that_was_made_for_a_time_ends_with_it_and_says_so(node: Gateway, fine: str) -> None:
    end = int(time.time()) + 4
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    made = node.command("keys", "create", "guest", "--expires", until, "--json")
    assert made.returncode == 0, made.stderr
    secret = json.loads(made.stdout)["secret"]
    wait_for("the key works", lambda: status_of(node, fine, secret) == 200, 3.0)
    wait_for("it ends", lambda: status_of(node, fine, secret) == 401, 6.0)
    assert end <= time.time() < end + 1
    error = node.ask({"model": "gpt-4o-mini", "messages": []}, secret).error
    assert (error["code"], error["type"]) == ("api_key_expired", "authentication_error")


def agent_of(node: Gateway) -> int:
    return int([e["pid"] for e in node.log("child.started") if e["child"] == "agent"][-1])


def test_a_key_ends_within_a_second_of_its_revocation_while_the_file_is_broken(node: Gateway, fine: str) -> None:
    secrets = {}
    for name in ("first", "second"):
        secrets[name] = json.loads(node.command("keys", "create", name, "--json").stdout)["secret"]
    wait_for("the keys work", lambda: all(status_of(node, fine, secret) == 200 for secret in secrets.values()), 5.0)
    node.configure("models: {gpt-4o-mini: [\n")
    wait_for("it is refused", lambda: node.status()["config"]["problems"], 5.0)
    for name, secret in secrets.items():
        done = node.command("keys", "revoke", name)
        assert "a running node takes it within a second" in done.stdout, done
        begun = time.monotonic()
        wait_for("the key is refused", lambda secret=secret: status_of(node, fine, secret) == 401, 5.0)  # type: ignore[misc]
        assert time.monotonic() - begun < 1.5
        assert status_of(node, fine, secret_of("main")) == 200
        assert node.status()["config"]["problems"], "what is wrong is still told"
        if name == "first":  # the next agent finds a file that it cannot read, and knows what serves all the same
            pid = agent_of(node)
            os.kill(pid, signal.SIGKILL)
            wait_for("another agent", lambda pid=pid: agent_of(node) != pid, 5.0)  # type: ignore[misc]
    node.configure(node.settings)
    wait_for("it is mended", lambda: not node.status()["config"]["problems"], 5.0)
    assert [status_of(node, fine, secret) for secret in secrets.values()] == [401, 401]


@pytest.mark.nightly
def test_key_commands_explain_what_is_wrong(node: Gateway) -> None:
    for arguments, code in (
        (("keys", "revoke", "nobody"), 78),
        (("keys", "create", "main"), 78),
        (("keys", "create", "a b"), 78),
        (("keys", "create", "x", "--team", "none"), 78),
        (("keys", "create", "x", "--budget-usd", "much"), 64),
        (("keys", "create", "x", "--concurrency", "0"), 64),
        (("keys", "create"), 64),
    ):
        done = node.command(*arguments)
        assert done.returncode == code, (arguments, done)
        assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("throughway: "), done


@contextmanager
def load(node: Gateway, script: str, callers: int = 4) -> Iterator[list[int]]:
    """Requests one after the other, from several callers, until the end: their statuses."""
    statuses: list[int] = []
    ended = threading.Event()

    def call() -> None:
        while not ended.is_set():
            statuses.append(status_of(node, script, secret_of("main")))

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def swapped(node: Gateway, version: str) -> bool:
    status = node.status()
    return status["config"]["version"] != version and all(
        w["generation"] == status["config"]["generation"] for w in status["workers"]
    )


def wait_until_swapped(node: Gateway, version: str) -> None:
    wait_for("the change is in use", lambda: swapped(node, version), 5.0)


def test_a_changed_file_is_taken_up_under_load_without_a_failed_request(node: Gateway, fine: str) -> None:
    with load(node, fine) as statuses:
        for turn in range(3):
            version = node.status()["config"]["version"]
            models = {**node.settings["models"], f"added-{turn}": {"targets": [{"provider": "a"}]}}
            node.configure({**node.settings, "models": models})
            wait_until_swapped(node, version)
            assert status_of(node, fine, secret_of("main"), f"added-{turn}") == 200
    assert len(statuses) > 50 and set(statuses) == {200}
    assert status_of(node, fine, secret_of("main"), "added-0") == 404
    assert node.metric("throughway_config_reloads_total") == 3


def test_a_broken_edit_is_reported_and_the_last_good_one_serves_on(node: Gateway, fine: str) -> None:
    version = node.status()["config"]["version"]
    with load(node, fine) as statuses:
        node.configure({**node.settings, "modles": {}, "keys": [{"name": "k"}]})
        problems = wait_for("it is reported", lambda: node.status()["config"]["problems"], 5.0)
        time.sleep(0.3)
    assert any("modles" in p and "models" in p and "gateway.yaml:" in p for p in problems), problems
    assert any("keys[0]" in p for p in problems)
    assert set(statuses) == {200}
    assert node.status()["config"]["version"] == version
    assert node.log("config.refused")[-1]["level"] == "error"
    assert node.metric("throughway_config_reload_failures_total") == 1
    node.configure("not: [yaml")
    wait_for("the next one is reported too", lambda: node.metric("throughway_config_reload_failures_total") == 2, 5.0)
    node.configure(node.settings)
    wait_for("mended", lambda: not node.status()["config"]["problems"], 5.0)
    assert status_of(node, fine, secret_of("main")) == 200


@pytest.mark.parametrize(
    "broken", ["no-yaml", *(pytest.param(b, marks=pytest.mark.nightly) for b in ("unknown", "moved"))]
)
def test_status_shows_why_an_edit_was_refused(node: Gateway, broken: str) -> None:
    """Whatever became of the file: an unknown key, no YAML behind its first lines, another ops listener beside a mistake."""
    elsewhere = {**node.settings, "ops": "127.0.0.1:1", "modles": {}}
    text = {
        "unknown": json.dumps({**node.settings, "modles": {}}),
        "no-yaml": "listen: 127.0.0.1:1\nteams: {a: [b, {c: d}]}\nstate_dir: state\nmodels: [yaml",
        "moved": json.dumps(elsewhere),
    }[broken]
    node.configure(text)
    wait_for("it is reported", lambda: node.status()["config"]["problems"], 5.0)
    shown = node.command("status")
    assert shown.returncode == 0, shown.stderr
    assert "refused:" in shown.stdout and "gateway.yaml:" in shown.stdout


@pytest.mark.nightly
def test_a_broken_edit_survives_a_worker_that_starts_anew(node: Gateway, fine: str) -> None:
    """The last good snapshot lies on disk: who starts now takes that one."""
    node.configure("broken: [")
    wait_for("it is reported", lambda: node.status()["config"]["problems"], 5.0)
    old = node.status()["workers"][0]["pid"]
    os.kill(old, signal.SIGKILL)
    wait_for(
        "another one serves",
        lambda: node.status()["workers"][0]["pid"] not in (0, None, old) and node.status()["ready"],
        5.0,
    )
    assert status_of(node, fine, secret_of("main")) == 200


def test_sighup_reads_the_configuration_again(node: Gateway) -> None:
    time.sleep(AGENT_LOOK_S)
    before = node.status()
    node.signal(signal.SIGHUP)
    wait_for("read again", lambda: node.status()["config"]["reloaded_at_s"], 5.0)
    after = node.status()
    assert after["workers"][0]["pid"] == before["workers"][0]["pid"], "a reload restarts no worker"
    assert after["config"]["version"] == before["config"]["version"]


@pytest.mark.nightly
def test_a_secret_file_that_changes_changes_the_key(make_gateway: MakeGateway, fine: str) -> None:
    node = make_gateway(start=False)
    secret = node.directory / "secret"
    secret.write_text("sk-first-secret-0123456789")
    node.settings["keys"] = [{"name": "main", "key": f"file:{secret}"}]
    node.configure(node.settings)
    node.start()
    assert status_of(node, fine, "sk-first-secret-0123456789") == 200
    secret.write_text("sk-second-secret-0123456789")
    wait_for("the new secret works", lambda: status_of(node, fine, "sk-second-secret-0123456789") == 200, 5.0)
    assert status_of(node, fine, "sk-first-secret-0123456789") == 401


def test_the_log_level_follows_the_configuration(node: Gateway, fine: str) -> None:
    time.sleep(AGENT_LOOK_S)
    node.configure({**node.settings, "log_level": "warning"})
    time.sleep(1)
    before = len(node.log())
    assert status_of(node, fine, secret_of("main")) == 200
    time.sleep(0.3)
    assert len(node.log()) == before


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-goog-api-key"])
def test_every_place_for_a_credential(header: str, gateway: Gateway, fine: str) -> None:
    value = secret_of("main") if header != "authorization" else f"Bearer {secret_of('main')}"
    assert (
        gateway.ask({"model": "gpt-4o-mini", "messages": [], "x_script": fine}, headers={header: value}).status == 200
    )


@pytest.mark.parametrize("spelling", ['"mod\\u0065l"', '"m\\u006fdel"'])
def test_an_escaped_key_governs_all_the_same(spelling: str, gateway: Gateway, fine: str) -> None:
    body = f'{{{spelling}: "pair", "messages": [], "x_script": "{fine}"}}'.encode()
    assert gateway.ask(body, secret_of("some")).status == 403


def test_an_escaped_model_is_the_model_it_spells(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    script = upstream.script(json_answer(completion()))
    body = f'{{"model": "gpt-4o-m\\u0069ni", "messages": [], "x_script": "{script}"}}'.encode()
    assert gateway.ask(body, secret_of("some")).status == 200
    assert upstream.requests_of(script)[0].json["model"] == "upstream-mini"
