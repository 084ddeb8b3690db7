"""`throughway config` as a person meets it, against a real Redis: what it says, what it writes, how it ends."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.redis_store import PEPPER, POINTER, VALUE, ReleaseStore
from gateway.adapters.release import Seal
from gateway.base.redis_url import parse
from gateway.base.snapshot import Snapshot
from gateway.cli import main
from gateway.control.keys import KeyStore, key_hmac
from tests.support.redis_server import RedisServer, free_port

SHARED = "the-pepper-of-the-command-lines-tests-01"
CANARY = "canary-provider-credential"
CALLER = "canary-of-a-callers-key-0123456789"
PASSWORD = "canary-of-a-password"

CONFIG = """\
redis: env:FLEET_URL
pepper: env:PEPPER
providers:
  local: {kind: openai, base_url: 'http://127.0.0.1:9/v1', api_key: env:PROVIDER_KEY}
models:
  small: {targets: [{provider: local, model: small}]}
teams:
  search: {limits: {requests_per_minute: 60}}
keys:
  - {name: app, key: env:CALLER, team: search}
"""


class Shell:
    """Runs commands in a directory with a configuration of it."""

    def __init__(self, directory: Path, server: RedisServer) -> None:
        self.directory = directory
        self.file = directory / "gateway.yaml"
        self.url = f"redis://:{PASSWORD}@{server.address}/0"
        self.environ = {"FLEET_URL": self.url, "PEPPER": SHARED, "PROVIDER_KEY": CANARY, "CALLER": CALLER}
        self.write(CONFIG)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def run(self, *words: str, **environ: str) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of `throughway config WORDS`."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.directory)
            patch.delenv("THROUGHWAY_REDIS_URL", raising=False)
            for name, value in {"COLUMNS": "200", **self.environ, **environ}.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main(["config", *words])
        output = out.getvalue() + err.getvalue()
        for secret in (CANARY, CALLER, PASSWORD, SHARED):
            assert secret not in output
        assert isinstance(ended.value.code, int)
        return ended.value.code, out.getvalue(), err.getvalue()

    def json(self, *words: str) -> Any:
        code, out, err = self.run(*words, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), [f"requirepass {PASSWORD}"]) as running:
        yield running


@pytest.fixture
def shell(tmp_path: Path, server: RedisServer) -> Shell:
    with server.client(password=PASSWORD) as client:
        client.flushall()
    return Shell(tmp_path, server)


def test_a_configuration_is_pushed_changed_compared_and_rolled_back(shell: Shell) -> None:
    first = shell.json("push")
    assert (first["published"], first["previous"]) == (True, None)
    assert [(c["section"], c["name"], c["action"]) for c in first["changes"]] == [
        ("providers", "local", "added"),
        ("models", "small", "added"),
        ("teams", "search", "added"),
        ("keys", "app", "added"),
    ]
    shell.write(CONFIG.replace("requests_per_minute: 60", "requests_per_minute: 90").replace("small: {", "large: {"))
    code, out, err = shell.run("push", "gateway.yaml", "--note", "more")
    assert code == 0
    assert out.splitlines() == [
        "+ models large",
        "- models small",
        "~ teams search: limits.requests_per_minute 60 -> 90",
    ]
    assert f"over {first['version']} in redis://127.0.0.1" in err
    second, before = shell.json("history")
    assert (before["version"], second["note"]) == (first["version"], "more")
    assert second["sequence"] > before["sequence"]
    assert "@" in second["by"]
    assert shell.run("history")[1].splitlines()[1].startswith(f"*  {second['version']}")

    assert shell.run("diff")[1] == out
    assert shell.run("diff", second["version"][:6], first["version"])[1].splitlines()[0] == "- models large"
    assert shell.run("diff", second["version"], second["version"])[1] == "no difference\n"
    shown = shell.json("show")
    assert (shown["version"], shown["models"][0]["name"]) == (second["version"], "large")
    assert shown["keys"][0]["hmac"] == key_hmac(SHARED.encode(), CALLER)[:8] + "..."
    assert shown["providers"][0]["api_key"] == "env:PROVIDER_KEY"
    assert json.loads(shell.run("show", first["version"])[1])["models"][0]["name"] == "small"

    back = shell.json("rollback")
    assert (back["version"], back["previous"]) == (first["version"], second["version"])
    assert [release["version"] for release in shell.json("history")] == [
        first["version"],
        second["version"],
        first["version"],
    ]


def test_what_is_in_force_already_is_not_published_again(shell: Shell) -> None:
    shell.run("push")
    code, out, err = shell.run("push")
    assert (code, out) == (0, "no difference\n")
    assert "in force already" in err
    assert len(shell.json("history")) == 1


def test_a_dry_run_and_a_configuration_with_mistakes_publish_nothing(shell: Shell) -> None:
    code, out, _ = shell.run("push", "--dry-run")
    assert code == 0
    assert "+ models small" in out
    shell.write(CONFIG.replace("provider: local", "provider: locl"))
    code, _, err = shell.run("push")
    assert code == 78
    assert 'did you mean "local"?' in err
    assert "nothing was published" in err
    assert shell.json("history") == []


def test_who_publishes_over_another_version_than_they_think_is_told_of_the_conflict(shell: Shell) -> None:
    first = shell.json("push", "--over", "none")
    shell.write(CONFIG.replace("60", "70"))
    code, _, err = shell.run("push", "--over", "0123456789abcdef")
    assert code == 75
    assert f"{first['version']} is in force" in err
    assert shell.run("push", "--over", "none")[0] == 75
    assert shell.run("push", "--over", first["version"])[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "0123"], "no version that is, or begins with,"),
        (["rollback", "0123"], "no version that is, or begins with,"),
        (["show"], "holds no configuration yet"),
        (["diff"], "no version before the present one"),
        (["rollback"], "no version before the present one"),
    ],
)
def test_a_version_that_is_not_there_is_named(shell: Shell, words: list[str], says: str) -> None:
    code, _, err = shell.run(*words)
    assert code == 78
    assert says in err
    assert err.count("\n") == 1


def test_who_only_looks_needs_no_secret_but_the_address(shell: Shell) -> None:
    shell.run("push")
    for secret in ("PEPPER", "PROVIDER_KEY", "CALLER"):
        del shell.environ[secret]
    for words in (["history"], ["show"], ["diff"]):
        assert shell.run(*words)[0] == (78 if words == ["diff"] else 0)
    code, _, err = shell.run("rollback")
    assert code == 78
    assert "PEPPER is not set" in err


def test_who_publishes_needs_no_secret_of_a_provider_and_is_told_what_the_nodes_need(shell: Shell) -> None:
    del shell.environ["PROVIDER_KEY"]
    code, _, err = shell.run("push")
    assert code == 0
    assert "warning: gateway.yaml:4:" in err
    assert (
        "providers.local.api_key: gives no secret here, as it must on each node: the environment variable PROVIDER_KEY"
        in err
    )
    del shell.environ["CALLER"]
    code, _, err = shell.run("push")
    assert code == 78
    assert "CALLER is not set" in err


def test_a_redis_that_cannot_be_had_is_named_without_its_password(shell: Shell) -> None:
    dead = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}"
    for url, says in ((dead, "cannot be used"), (shell.url.replace("canary-of", "wrong"), "refuses")):
        code, _, err = shell.run("history", FLEET_URL=url)
        assert code == 69
        assert says in err
        assert err.count("\n") == 1


def test_redis_is_that_of_the_environment_else_that_of_the_file_else_nowhere(shell: Shell) -> None:
    shell.run("push")
    shell.file.unlink()
    assert shell.run("history")[0] == 78
    code, out, _ = shell.run("history", "--json", THROUGHWAY_REDIS_URL=shell.url)
    assert (code, len(json.loads(out))) == (0, 1)
    code, _, err = shell.run("history", THROUGHWAY_REDIS_URL="http://x")
    assert code == 78
    assert "THROUGHWAY_REDIS_URL expected a URL" in err
    shell.write(CONFIG.replace("redis: env:FLEET_URL\n", ""))
    code, _, err = shell.run("history")
    assert code == 78
    assert "set THROUGHWAY_REDIS_URL, or `redis:`" in err
    shell.write(CONFIG)
    code, _, err = shell.run("history", FLEET_URL=f"redis://127.0.0.1:{free_port()}", THROUGHWAY_REDIS_URL=shell.url)
    assert code == 0
    assert "THROUGHWAY_REDIS_URL counts, not `redis` of" in err


def test_without_a_pepper_of_its_own_a_fleet_gets_one_and_a_push_warns(shell: Shell, server: RedisServer) -> None:
    shell.write(CONFIG.replace("pepper: env:PEPPER\n", ""))
    (shell.directory / "state").mkdir()
    (shell.directory / "state" / "pepper").write_text("of-this-state-directory-0123456789abcdef\n")
    version = shell.json("push")["version"]
    with server.client(password=PASSWORD) as client:
        assert client.get(PEPPER) == b"of-this-state-directory-0123456789abcdef"
        client.set(PEPPER, b"another-pepper-0123456789abcdef0123456789")
    remembered = shell.directory / "state" / "fleet-pepper"
    for words in (["push"], ["push", "--dry-run"], ["rollback", version]):
        code, _, err = shell.run(*words)
        assert code == 78
        assert f"holds another pepper than {remembered} remembers" in err
    remembered.unlink()
    code, _, err = shell.run("push")
    assert code == 0
    assert "set `pepper: env:NAME`" in err
    assert "cannot be used, so everything is shown as added" in err


def test_going_back_names_the_keys_that_work_again(shell: Shell) -> None:
    first = shell.json("push")
    shell.write(CONFIG[: CONFIG.index("keys:")])
    shell.json("push")
    code, out, err = shell.run("rollback", first["version"])
    assert code == 0
    assert "+ keys app" in out
    assert "warning: keys that do not work now work again: app" in err


def test_a_dry_run_shares_no_pepper_and_knows_the_state_directorys(shell: Shell, server: RedisServer) -> None:
    shell.write(CONFIG.replace("pepper: env:PEPPER\n", ""))
    (shell.directory / "state").mkdir()
    (shell.directory / "state" / "pepper").write_text("of-this-state-directory-0123456789abcdef\n")
    stored, _ = KeyStore(shell.directory / "state" / "keys.json").create(
        "stored", pepper=b"of-this-state-directory-0123456789abcdef"
    )
    code, out, _ = shell.run("push", "--dry-run")
    assert code == 0
    assert f"+ keys {stored.key.name}" in out
    with server.client(password=PASSWORD) as client:
        assert client.get(PEPPER) is None


def test_what_was_slipped_into_the_history_gets_no_signature(shell: Shell) -> None:
    shell.run("push")
    store = ReleaseStore(parse(shell.url))
    evil = Snapshot("").sealed()
    store.publish(Seal(b"x" * 32), evil, over=store.pointer(), by="mallory")
    code, _, err = shell.run("rollback", evil.version)
    assert code == 78
    assert "signed under another pepper" in err
    store.close()


def test_stored_content_that_is_damaged_is_never_shown_as_good(shell: Shell, server: RedisServer) -> None:
    version = shell.json("push")["version"]
    with server.client(password=PASSWORD) as client:
        client.set(VALUE + version, b"{}")
        code, _, err = shell.run("show")
        assert code == 78
        assert "is damaged" in err
        client.set(POINTER, b'{"layout":9}')
    code, _, err = shell.run("push")
    assert code == 78
    assert "layout 9" in err


def test_commands_are_listed_and_misunderstandings_are_one_line(shell: Shell) -> None:
    code, out, _ = shell.run("--help")
    assert code == 0
    for command in ("push", "history", "show", "diff", "rollback"):
        assert f" {command} " in out
    code, _, err = shell.run("psh")
    assert code == 64
    assert err.count("\n") == 1
