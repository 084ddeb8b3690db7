"""The command line as a person meets it: its help, its errors of one line, its exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap
import time
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import __version__, cli
from gateway.base.node import Node
from gateway.control.config import load
from gateway.control.keys import KeyStore
from gateway.control.registry import registry

CONFIG = """\
listen: 127.0.0.1:0
ops: 127.0.0.1:1
admin: {listen: '127.0.0.1:0', token: env:ADMIN_TOKEN}
providers:
  local: {kind: openai, base_url: 'http://127.0.0.1:9/v1'}
models:
  small: {targets: [{provider: local, model: small}]}
teams:
  search: {limits: {requests_per_minute: 60}}
"""
CANARY = "canary-admin-token-0123456789"

WITHOUT_ITS_SECRETS = """\
listen: 127.0.0.1:0
ops: 127.0.0.1:1
admin: {listen: '127.0.0.1:0', token: env:NOT_IN_THIS_SHELL}
redis: env:NOT_IN_THIS_SHELL
providers:
  local:
    kind: openai
    base_url: 'http://127.0.0.1:9/v1'
    api_key: env:NOT_IN_THIS_SHELL
    headers: {x-org: 'file:/nowhere/org'}
models:
  small: {targets: [{provider: local, model: small}]}
keys:
  - {name: declared, key: env:NOT_IN_THIS_SHELL}
  - {name: another, key: 'file:/nowhere/key'}
"""
"""The node has them all; who manages it has none."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG)
    return path


def throughway(*words: str | Path, columns: int = 100) -> tuple[int, str, str]:
    """Runs a command: (exit code, standard output, standard error). Those that start processes have one of their own."""
    environ = {"ADMIN_TOKEN": CANARY, "COLUMNS": str(columns)}
    if words[0] in ("check", "keys", "models", "restart", "status"):
        return _here([*map(str, words)], environ)
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, **environ},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def _here(words: list[str], environ: dict[str, str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environ.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.getvalue(), err.getvalue()


def test_help_names_every_command() -> None:
    code, out, _ = throughway("--help")
    assert code == 0
    for command in (
        "serve",
        "data-plane",
        "control-plane",
        "check",
        "demo",
        "keys",
        "models",
        "restart",
        "status",
        "version",
    ):
        assert f" {command} " in out


def test_version_is_the_packages() -> None:
    assert throughway("version") == (0, f"throughway {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["serv"], 'Did you mean "serve"?'),
        (["serve", "--wrong"], "--wrong"),
        (["keys", "create"], "--name"),
        (["serve", "--workers", "many"], "many"),
    ],
)
def test_a_command_that_is_not_understood_is_one_line(words: list[str], says: str) -> None:
    code, _, err = throughway(*words)
    assert code == 64
    assert says in err
    assert err.count("\n") == 1


def test_check_finds_a_good_file_good(config: Path) -> None:
    code, out, _ = throughway("check", config)
    assert code == 0
    assert "is valid: 1 providers, 1 models, 1 teams, 0 keys" in out


def test_check_prints_what_takes_effect_and_no_secret(config: Path) -> None:
    code, out, err = throughway("check", config, "--print")
    assert code == 0
    assert "requests_per_minute: 60" in out
    assert "env:ADMIN_TOKEN" in out
    assert CANARY not in out + err


def test_check_names_every_mistake_with_its_place(config: Path) -> None:
    config.write_text(CONFIG.replace("provider: local", "provider: locl").replace("kind:", "knd:"))
    code, out, err = throughway("check", config)
    assert code == 78
    assert f"{config}:5:" in out
    assert f"{config}:7:" in out
    assert 'did you mean "local"?' in out
    assert "mistakes" in err


MODELS = """\
providers:
  openai: {kind: openai, base_url: 'https://api.openai.com/v1', api_key: env:NOT_IN_THIS_SHELL}
  local: {kind: openai, base_url: 'http://127.0.0.1:9/v1'}
models:
  smart:
    targets: [{provider: openai, model: gpt-4.1}, {provider: local, model: x, capabilities: {tools: false}}]
    capabilities: {context_tokens: 9000}
  free: {targets: [{provider: local}]}
"""


def test_models_shows_what_is_known_and_who_says_so(tmp_path: Path) -> None:
    (file := tmp_path / "gateway.yaml").write_text(MODELS)
    code, out, err = throughway("models", file)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    smart, own, free = (next(line.split() for line in lines if word in line) for word in ("gpt-4.1", "local x", "free"))
    assert "9,000" in smart and "32,768" in smart and {"config", "registry"} <= set(smart)
    assert "9,000" in own and "config" in own and "registry" not in own and "tools" not in own
    assert free[-2:] == ["anything", "nobody"]
    narrow = throughway("models", file, columns=80)[1].splitlines()
    assert max(map(len, narrow)) <= 80


def test_models_speaks_json(tmp_path: Path) -> None:
    (file := tmp_path / "gateway.yaml").write_text(MODELS)
    code, out, _ = throughway("models", file, "--json")
    smart, own, free = json.loads(out)
    assert code == 0 and smart["sources"]["context_tokens"] == "config"
    assert smart["sources"]["input"] == smart["sources"]["tools"] == f"registry {registry().made}"
    assert smart["input"] == ["text", "image", "video", "pdf"] and smart["features"]["tools"] is True
    assert own["context_tokens"] == 9_000 and own["features"] == {"tools": False} and own["input"] is None
    assert own["sources"] == {"context_tokens": "config", "tools": "config"}
    assert (free["context_tokens"], free["features"], free["sources"], free["retires"]) == (None, {}, {}, None)


def test_models_of_a_broken_file_are_not_shown(config: Path) -> None:
    config.write_text(CONFIG + "nonsense: 1\n")
    code, out, err = throughway("models", config)
    assert code == 78 and not out and "nonsense" in err


def test_check_speaks_json(config: Path) -> None:
    code, out, _ = throughway("check", config, "--json")
    assert (code, json.loads(out)["valid"]) == (0, True)
    config.write_text("modls: {}\n")
    code, out, _ = throughway("check", config, "--json")
    assert code == 78
    assert json.loads(out)["problems"][0]["line"] == 1


def test_serve_refuses_a_broken_file_and_starts_nothing(config: Path) -> None:
    config.write_text("listen: [1]\n")
    code, _, err = throughway("serve", "--config", config)
    assert code == 78
    assert f"{config}:1:" in err


def test_serve_says_which_address_is_taken(config: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(
            CONFIG.replace("ops: 127.0.0.1:1", "ops: 127.0.0.1:0").replace(
                "listen: 127.0.0.1:0", f"listen: 127.0.0.1:{port}", 1
            )
        )
        code, _, err = throughway("serve", "--config", config)
    assert code == 73
    assert f"127.0.0.1:{port}" in err


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--config"],
        ["status", "--config"],
        ["restart", "--config"],
        ["keys", "create", "app", "--config"],
        ["check"],
        ["config", "push"],
    ],
)
def test_a_missing_file_is_named_and_how_to_begin_is_told(tmp_path: Path, words: list[str]) -> None:
    code, _, err = throughway(*words, tmp_path / "none.yaml")
    assert code == 78
    assert err.startswith(f"throughway: {tmp_path}/none.yaml: there is no such file. ")
    assert "mistake" not in err
    beginning = tmp_path / "gateway.yaml"
    beginning.write_text(textwrap.dedent(err.partition("\n\n")[2]))
    assert load(beginning, {"OPENAI_API_KEY": "sk-test"}).snapshot.models[0].name == "gpt-4o-mini"


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        (["serve"], "; nothing was started"),
        (["keys", "create", "app"], "; nothing was made"),
        (["keys", "list"], ""),
    ],
)
def test_what_was_not_done_is_said_of_commands_that_do_something(config: Path, words: list[str], ending: str) -> None:
    config.write_text("listen: [1]\n")
    code, _, err = throughway(*words, "--config", config)
    assert (code, err.splitlines()[-1]) == (78, f"throughway: the configuration has mistakes{ending}")


def test_status_fits_a_terminal_of_80_columns_and_cuts_no_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"worker": 1023, "pid": 4_194_304, "generation": 123_456, "in_flight": 10_000, "connections": 16_384}
    figures |= {"upstream_busy": 65_536, "upstream_idle": 65_535, "loop_lag_us": 12_345_678}
    source = {"kind": "file", "where": "/etc/throughway/gateway.yaml", "sequence": None, "loaded_at_s": 0, "fault": ""}
    answer = {
        "version": __version__,
        "readiness": "1 of 1 workers serving",
        "config": {"version": "0123456789abcdef", "generation": 123_456, "problems": [], "source": source},
        "workers": [{**figures, "state": "draining"}],
    }
    for columns in (80, 40):
        monkeypatch.setenv("COLUMNS", str(columns))
        cli._show_status(answer)
        shown = capsys.readouterr().out
        assert "…" not in shown
        if columns == 80:
            assert max(map(len, shown.splitlines())) <= columns
            assert [int(word) for word in shown.splitlines()[-1].split() if word.isdigit()] == list(figures.values())
    learnt = {"provider": "anthropic", "model": "claude-x", "script": "latin", "ratio": 1.25, "counted_tokens": 9_000}
    cli._show_status({**answer, "calibrations": [learnt]})
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "prompt tokens of anthropic claude-x, latin: 1.250 of what is counted here"


def test_a_list_of_keys_cuts_no_id(config: Path) -> None:
    names = [f"[a]-key-with-a-rather-long-name-{number}" for number in range(3)]
    for name in names:
        assert throughway("keys", "create", name, "--model", "small", "--config", config)[0] == 0
    _, out, _ = throughway("keys", "list", "--config", config, columns=40)
    assert "…" not in out
    _, out, _ = throughway("keys", "list", "--config", config, columns=100)
    assert all(name in out for name in names)


def test_status_of_a_node_that_does_not_run_says_so(config: Path) -> None:
    code, _, err = throughway("status", "--config", config)
    assert code == 69
    assert err == f"throughway: no node runs on {config.parent / 'state'}; `throughway serve` starts one\n"
    ops_file = Node(state_dir=config.parent / "state").ops_file
    ops_file.parent.mkdir(parents=True)
    for address in ("127.0.0.1:1", f"unix:{config.parent}/ops.sock"):
        ops_file.write_text(f"{address}\n")  # as a node leaves it that was killed
        code, _, err = throughway("status", "--config", config)
        assert code == 69
        assert address in err


def test_status_is_asked_of_a_unix_socket_too(config: Path) -> None:
    import socket
    import threading

    path = config.parent / "ops.sock"
    ops_file = Node(state_dir=config.parent / "state").ops_file
    ops_file.parent.mkdir(parents=True)
    ops_file.write_text(f"unix:{path}\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1_024).startswith(b"GET /status HTTP/1.1\r\n")
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

        answering = threading.Thread(target=answer)
        answering.start()
        assert throughway("status", "--json", "--config", config) == (0, "{}\n", "")
        answering.join()


def test_restart_of_a_node_that_does_not_run_says_so(config: Path) -> None:
    code, _, err = throughway("restart", "--config", config)
    assert code == 69
    assert err == f"throughway: no node runs on {config.parent / 'state'}; `throughway serve` starts one\n"


def test_restart_names_the_mistakes_of_the_configuration(config: Path) -> None:
    config.write_text("listen: [1]\n")
    code, _, err = throughway("restart", "--config", config)
    assert code == 78
    assert f"{config}:1:" in err
    assert "nothing was changed" in err


def test_a_key_is_made_listed_and_revoked_and_its_secret_kept_nowhere(config: Path) -> None:
    code, out, _ = throughway("keys", "create", "app", "--team", "search", "--budget-usd", "12.50", "--config", config)
    assert code == 0
    secret = out.strip()
    assert secret.startswith("tw_")
    for file in config.parent.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()

    code, out, _ = throughway("keys", "list", "--json", "--config", config)
    assert [(k["name"], k["state"]) for k in json.loads(out)] == [("app", "live")]

    assert throughway("keys", "create", "app", "--config", config)[0] == 78
    assert throughway("keys", "revoke", "app", "--config", config)[0] == 0
    code, _, err = throughway("keys", "revoke", "app", "--config", config)
    assert code == 78
    assert "app" in err


def test_keys_are_managed_without_the_secrets_of_the_node(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(WITHOUT_ITS_SECRETS)
    code, out, said = throughway("keys", "create", "app", "--config", file)
    assert (code, out.startswith("tw_")) == (0, True), said
    assert throughway("keys", "create", "declared", "--config", file)[0] == 78, "a name of the file's"
    code, out, said = throughway("keys", "list", "--json", "--config", file)
    assert code == 0, said
    assert [(k["name"], k["source"]) for k in json.loads(out)] == [
        ("declared", "file"),
        ("another", "file"),
        ("app", "store"),
    ]
    assert throughway("keys", "revoke", "app", "--config", file)[0] == 0
    code, out, _ = throughway("check", file)
    assert code == 78
    assert out.count("NOT_IN_THIS_SHELL is not set") == 4 and out.count("cannot read the file /nowhere/") == 2


def test_a_key_is_made_under_the_pepper_that_is_set_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(f"{WITHOUT_ITS_SECRETS}pepper: env:NOT_IN_THIS_SHELL\n")
    code, out, err = throughway("keys", "create", "app", "--config", file)
    assert (code, out) == (78, "")
    assert f"{file}:16:9: pepper: the environment variable NOT_IN_THIS_SHELL is not set" in err
    assert err.count("is not set") == 1, "of the others nothing is said"
    assert throughway("keys", "list", "--config", file)[0] == 0


def test_a_node_is_restarted_by_who_has_none_of_its_secrets(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(WITHOUT_ITS_SECRETS)
    code, _, err = throughway("restart", "--config", file)
    assert (code, err) == (69, f"throughway: no node runs on {tmp_path / 'state'}; `throughway serve` starts one\n")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--team", "serch"], 78, "search"),
        (["--budget-usd", "-1"], 64, "--budget-usd"),
        (["--budget-usd", "lots"], 64, "--budget-usd"),
        (["--requests-per-minute", "0"], 64, "--requests-per-minute"),
        (["--expires", "soon"], 64, "such as 12h, 30d or 8w, or a date"),
        (["--expires", "30"], 64, "--expires"),
        (["--expires", "0d"], 64, "in the past"),
        (["--expires", "2020-01-31"], 64, "in the past"),
        (["--expires", "99999d"], 64, "--expires"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_with_the_reason(
    config: Path, words: list[str], code: int, says: str
) -> None:
    got, out, err = throughway("keys", "create", "app", *words, "--config", config)
    assert got == code
    assert says in err
    assert out == ""


@pytest.mark.parametrize(
    ("expires", "end"),
    [
        ("12h", 12 * 3_600),
        ("30d", 30 * 86_400),
        ("8w", 56 * 86_400),
        ("2190-01-31", datetime(2190, 2, 1, tzinfo=UTC)),
        ("2190-01-31T12:00:00Z", datetime(2190, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_a_key_may_be_made_for_a_time_and_its_end_is_shown(config: Path, expires: str, end: int | datetime) -> None:
    end_s = end.timestamp() if isinstance(end, datetime) else time.time() + end
    code, out, err = throughway("keys", "create", "app", "--expires", expires, "--json", "--config", config)
    assert code == 0, err
    made = json.loads(out)
    assert datetime.fromisoformat(made["expires"]).timestamp() == pytest.approx(end_s, abs=60)
    (listed,) = json.loads(throughway("keys", "list", "--json", "--config", config)[1])
    assert (listed["expires"], listed["state"]) == (made["expires"], "live")
    assert made["expires"] in throughway("keys", "list", "--config", config)[1]


def test_a_key_whose_time_is_over_is_shown_as_expired(config: Path) -> None:
    pepper = load(config, {"ADMIN_TOKEN": CANARY}, create=True).pepper
    assert pepper is not None
    store = KeyStore(Node(state_dir=config.parent / "state").keys_file)
    store.create("over", pepper=pepper, expires_at_s=int(time.time()))
    store.create("revoked", pepper=pepper, expires_at_s=int(time.time()))
    store.revoke("revoked")
    store.create("for-ever", pepper=pepper)
    listed = json.loads(throughway("keys", "list", "--json", "--config", config)[1])
    assert [(key["name"], key["state"]) for key in listed] == [
        ("over", "expired"),
        ("revoked", "revoked"),
        ("for-ever", "live"),
    ]
    assert listed[-1]["expires"] is None


@pytest.mark.parametrize("workers", ["0", "-1", "1025"])
def test_a_number_of_workers_out_of_bounds_is_not_understood(workers: str, tmp_path: Path) -> None:
    code, _, said = throughway("serve", "--workers", workers, "--config", tmp_path / "gateway.yaml")
    assert (code, "--workers" in said, "Traceback" in said) == (64, True, False), said


def test_a_key_is_revoked_in_spite_of_a_broken_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    whole = "state_dir: ./kept\nmodels: {}\n"
    file.write_text(whole)
    code, _, said = throughway("keys", "create", "app", "--config", file)
    assert code == 0, said
    file.write_text("state_dir: ./kept\nmodels: {a: [\n")
    code, told, said = throughway("keys", "revoke", "app", "--config", file)
    assert code == 0, said
    assert "is revoked; a running node takes it within a second" in told
    file.write_text(whole)
    assert "revoked" in throughway("keys", "list", "--config", file)[1]
