"""The command line. Commands import what they need themselves, so that `throughway serve` is quick to start.

Exit codes (those of sysexits.h where they fit):

    0   done; a node that was told to stop has drained
    1   the node stopped, but something had to be cut
    64  the command was not understood
    69  the node (`status`, `restart`) or Redis (`config`) cannot be reached
    70  a part of the node could not be kept running; a restart failed, and the node serves as before
    73  an address or the state directory cannot be had
    75  another configuration was published meanwhile (`config push`)
    78  the configuration has mistakes, or a key or a version cannot be made or found
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Group, Parameter, validators

from gateway import __version__
from gateway.cli_config import (
    DEFAULT_CONFIG,
    EXIT_CONFIG,
    EXIT_UNAVAILABLE,
    HOW_TO_BEGIN,
    AsJson,
    CommandError,
    plain_table,
    say,
)
from gateway.cli_config import config as config_commands

if TYPE_CHECKING:
    from gateway.base.node import Node
    from gateway.base.snapshot import Key
    from gateway.control.config import Loaded
    from gateway.supervisor.progress import Progress, Step

EXIT_USAGE = 64
EXIT_FAILED = 70
EXIT_CANNOT_START = 73

DEMO_DIR = Path("demo-state")
MODEL_TIMEOUT_S = 120.0

app = App(
    name="throughway",
    help="A throughput-focused LLM gateway: one address for every model, in the dialect that applications already speak.",
    version=f"throughway {__version__}",
    help_format="plaintext",
)
keys = App(name="keys", help="Make, list and revoke callers' keys. They are kept as HMACs in the state directory.")
app.command(keys)
app.command(config_commands)
_PLANES = Group("Serve", sort_key=0)
_CHECKS = Group("Look", sort_key=1)
_KEYS = Group("Keys", sort_key=2)
keys.group = (_KEYS,)

Config = Annotated[Path, Parameter(name=["--config", "-c"], help="The configuration file.")]
Workers = Annotated[
    int | None,
    Parameter(
        name=["--workers", "-w"],
        help="Worker processes; one for each core that may be used if not given.",
        validator=validators.Number(gte=1, lte=1024),
    ),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    Parameter(name="--log-level", help="Instead of the file's log_level."),
]


# -- serving


@app.command(group=_PLANES)
def serve(*, config: Config = DEFAULT_CONFIG, workers: Workers = None, log_level: LogLevel = None) -> int:
    """Serve applications, and the control plane beside them, on this machine."""
    return _serve(config, workers, log_level, data_plane=True, control_plane=True)


@app.command(name="data-plane", group=_PLANES)
def data_plane(*, config: Config = DEFAULT_CONFIG, workers: Workers = None, log_level: LogLevel = None) -> int:
    """Serve applications only."""
    return _serve(config, workers, log_level, data_plane=True, control_plane=False)


@app.command(name="control-plane", group=_PLANES)
def control_plane(*, config: Config = DEFAULT_CONFIG, log_level: LogLevel = None) -> int:
    """Serve the control plane only: the admin API and its page."""
    return _serve(config, None, log_level, data_plane=False, control_plane=True)


def _serve(config: Path, workers: int | None, log_level: str | None, *, data_plane: bool, control_plane: bool) -> int:
    from gateway.app import Options, start  # noqa: PLC0415

    options = Options(config, workers, data_plane=data_plane, control_plane=control_plane, log_level=log_level)

    def on_ready(loaded: Loaded, count: int) -> None:
        node = loaded.node
        parts = [f"{count} worker{'s' * (count != 1)} on {node.listen}, ops on {node.ops}"] if data_plane else []
        if control_plane and node.admin is not None:
            parts.append(f"control plane on {node.admin.listen}")
        say(f"throughway {__version__} serves: {'; '.join(parts)}; configuration {loaded.snapshot.version}")

    with _explained(nothing="started"):
        code, failure = start(options, on_ready=on_ready, on_warning=lambda line: say(f"warning: {line}"))
    if failure:
        say(f"throughway: {failure}")
    return code


@app.command(group=_PLANES)
def demo(
    *, state_dir: Annotated[Path, Parameter(help="Where the demo keeps its files.")] = DEMO_DIR, port: int = 8080
) -> int:
    """Serve a small real model on this machine through the gateway, and print a key and a command to try."""
    from rich.console import Console  # noqa: PLC0415

    from gateway.app import Options, start  # noqa: PLC0415
    from gateway.demo import DemoError, prepare, serve_model, wait_until_ready  # noqa: PLC0415
    from gateway.supervisor import ChildSpec  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    with _explained(nothing="started"):
        plan = prepare(state_dir, port=port)
    for note in plan.notes:
        console.print(f"note: {note}")
    log_file = state_dir / "throughway.log"
    extra = []
    if plan.model_port is not None:
        # After the workers: a stream that is under way ends before its model does.
        extra.append(
            ChildSpec("demo-model", serve_model, args={"port": plan.model_port}, drain_order=1, essential=False)
        )

    def on_ready(loaded: Loaded, _: int) -> None:
        if plan.model_port is not None:
            with console.status("The model is loading ...") as status:
                try:
                    wait_until_ready(
                        plan.model_port, MODEL_TIMEOUT_S, lambda s: status.update(f"The model is loading ... {s:.0f} s")
                    )
                except DemoError as error:
                    console.print(f"throughway: {error} (see {log_file})")
                    return
        node = loaded.node
        print(f"Throughway serves {', '.join(plan.models)} on http://{plan.listen}/v1\n")
        print(f"  key            {plan.key}")
        print(f"  metrics        http://{node.ops}/metrics")
        if node.admin is not None:
            print(f"  control plane  http://{node.admin.listen}/  (its token is in {node.admin_token_file})")
        print(f"  log            {log_file}\n")
        print(f"Try it in another terminal:\n\n{plan.try_it()}\n\nCtrl-C stops it, a second one at once.", flush=True)

    with _explained(nothing="started"):
        code, failure = start(
            Options(plan.config_path, log_file=log_file.resolve(), restarts=False),
            extra=extra,
            on_ready=on_ready,
            on_warning=lambda line: console.print(f"warning: {line}", markup=False),
        )
    if failure:
        console.print(f"throughway: {failure}")
    return code


@app.command(group=_PLANES)
def restart(
    *,
    config: Config = DEFAULT_CONFIG,
    wait: Annotated[
        bool, Parameter(negative="", help="Return when the old processes have finished what they had, too.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Restart a running node in place, with the version that is installed now; no request is lost.

    A new version that cannot start, or refuses the configuration, changes nothing: the old one goes on serving.
    """
    from gateway.control.config import outline  # noqa: PLC0415
    from gateway.supervisor import NoNodeError, progress  # noqa: PLC0415

    with _explained(nothing="changed"):
        node = outline(config).node  # its secrets are in the node's environment
    last, seen = None, 0
    try:
        for last in progress.restart((node.state_dir, node.control_state_dir), wait=wait):
            for step in last.steps[seen:]:
                _show_step(last, step, as_json=json)
            seen = len(last.steps)
    except NoNodeError as error:
        _fail(EXIT_UNAVAILABLE, str(error))
    except KeyboardInterrupt:
        _fail(EXIT_UNAVAILABLE, "the restart goes on; nobody watches it now")
    assert last is not None
    for line in last.errors:
        say(f"throughway: {line}")
    if last.state == progress.FAILED:
        _fail(EXIT_FAILED, f"the restart failed; version {last.version_before} serves on")
    return 0


# -- looking


@app.command(group=_CHECKS)
def check(
    file: Path = DEFAULT_CONFIG,
    *,
    print_: Annotated[
        bool, Parameter(name="--print", negative="", help="Show the configuration as it takes effect.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Check a configuration: file, line, column and key of each mistake, all at once."""
    import msgspec  # noqa: PLC0415

    from gateway.base.errors import ConfigurationError, MissingConfigurationError  # noqa: PLC0415
    from gateway.control.config import effective, load  # noqa: PLC0415

    try:
        loaded = load(file)
    except ConfigurationError as error:
        if json:
            print(msgspec.json.encode({"valid": False, "problems": error.problems}).decode())
        elif isinstance(error, MissingConfigurationError):
            _fail(EXIT_CONFIG, f"{error}. {HOW_TO_BEGIN}")
        else:
            for problem in error.problems:
                print(problem)
            count = len(error.problems)
            print(f"{file}: {count} mistake{'s' * (count != 1)}", file=sys.stderr)
        return EXIT_CONFIG
    if json:
        answer = {"valid": True, "version": loaded.snapshot.version, "warnings": loaded.warnings}
        print(msgspec.json.encode(answer).decode())
        return 0
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if print_:
        print(effective(file), end="")
    else:
        snapshot = loaded.snapshot
        print(
            f"{file} is valid: {len(snapshot.providers)} providers, {len(snapshot.models)} models, "
            f"{len(snapshot.teams)} teams, {len(snapshot.keys)} keys"
        )
    return 0


@app.command(group=_CHECKS)
def models(file: Path = DEFAULT_CONFIG, *, json: AsJson = False) -> int:
    """Show what is known of the models of a configuration: how long a prompt may be, what it may hold, and who says so.

    What a model takes is all that nobody denies: the file's `capabilities`, or the registry of public models.
    """
    import msgspec  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from gateway.control.config import known_targets  # noqa: PLC0415

    with _explained():
        known = known_targets(file)
    if json:
        print(msgspec.json.encode(known).decode())
        return 0
    figures = ("context", "answer")
    table = plain_table("model", "served by", *figures, "takes", "said by", "retires", right=figures)
    for column in table.columns:
        column.no_wrap = column.header in (*figures, "retires")
    for target in known:
        taken = [name for name in target.input or () if name != "text"]
        taken += [told for name, told in _TOLD.items() if target.features.get(name, True)]
        table.add_row(
            target.model,
            f"{target.provider} {target.target}",
            f"{target.context_tokens:,}" if target.context_tokens else "",
            f"{target.max_output_tokens:,}" if target.max_output_tokens else "",
            (" ".join(taken) or "text alone") if target.sources else "anything",
            " ".join(sorted({source.split()[0] for source in target.sources.values()})) or "nobody",
            target.retires or "",
        )
    Console(markup=False, highlight=False).print(table)
    return 0


_TOLD = {"tools": "tools", "structured_output": "schema", "reasoning": "reasoning"}
"""Features in a table, and what they are called there."""


@app.command(group=_CHECKS)
def status(*, config: Config = DEFAULT_CONFIG, json: AsJson = False) -> int:
    """Show what happens now: workers, requests in flight, pools, versions."""
    import msgspec  # noqa: PLC0415

    from gateway.base.node import Node  # noqa: PLC0415
    from gateway.control.config import state_dir_of  # noqa: PLC0415

    with _explained():
        state_dir = state_dir_of(config)  # and nothing else: the file may have been broken since the node took it
    try:
        ops = Node(state_dir=state_dir).ops_file.read_text().strip()
    except FileNotFoundError:
        _fail(EXIT_UNAVAILABLE, f"no node runs on {state_dir}; `throughway serve` starts one")
    except OSError as error:
        _fail(EXIT_UNAVAILABLE, f"{error.filename}: {error.strerror or error}")
    try:
        answer = _get(ops, "/status")
    except OSError as error:
        _fail(EXIT_UNAVAILABLE, f"no node answers on {ops}: {error.strerror or error}; is it running?")
    if json:
        print(answer.decode())
    else:
        _show_status(msgspec.json.decode(answer))
    return 0


def _get(address: str, path: str) -> bytes:
    """Asks a listener: `HOST:PORT` or `unix:PATH`. Raises OSError."""
    import http.client  # noqa: PLC0415
    import socket  # noqa: PLC0415

    unix_path = address.removeprefix("unix:") if address.startswith("unix:") else None
    connection = http.client.HTTPConnection("localhost" if unix_path else address, timeout=5)
    try:
        if unix_path:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(5)
            connection.sock.connect(unix_path)
        connection.request("GET", path)
        return connection.getresponse().read()
    except http.client.HTTPException as error:
        raise OSError(f"it speaks no HTTP ({type(error).__name__})") from error
    finally:
        connection.close()


def _show_status(answer: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415

    console = Console(markup=False)
    config = answer["config"]
    console.print(
        f"throughway {answer['version']}: {answer['readiness']}; configuration {config['version']} "
        f"(generation {config['generation']})",
        highlight=False,
    )
    source = config["source"]
    where = f" ({source['where']})" if source["where"] else ""
    sequence = f", sequence {source['sequence']}" if source["sequence"] is not None else ""
    at_s = source["loaded_at_s"]
    since = f", since {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(at_s))}" if at_s else ""
    console.print(f"source: {source['kind']}{where}{sequence}{since}", markup=False, highlight=False, soft_wrap=True)
    if source["fault"]:
        console.print(f"fault: {source['fault']}", style="red", markup=False, highlight=False, soft_wrap=True)
    for problem in config["problems"]:
        console.print(f"refused: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
    figures = {name: title for name, title in _WORKER_COLUMNS.items() if name != "state"}
    table = plain_table(*_WORKER_COLUMNS.values(), right=figures.values())
    for worker in answer["workers"]:
        table.add_row(*(str(worker[name]) for name in _WORKER_COLUMNS))
    console.print(table)
    for each in answer.get("calibrations", []):  # which a node of an older version does not tell
        console.print(
            f"prompt tokens of {each['provider']} {each['model']}, {each['script']}: {each['ratio']:.3f} of what is counted here",
            highlight=False,
            soft_wrap=True,
        )


_WORKER_COLUMNS = {
    "worker": "worker",
    "pid": "pid",
    "state": "state",
    "generation": "config",
    "in_flight": "in\nflight",
    "connections": "clients",
    "upstream_busy": "upstream\nbusy",
    "upstream_idle": "upstream\nidle",
    "loop_lag_us": "loop lag\nus",
}
"""What `status` shows of each worker, and the titles: together they fit 80 columns."""


@app.command(group=_CHECKS)
def version() -> int:
    """Print the version."""
    print(f"throughway {__version__}")
    return 0


# -- keys


@keys.command(name="create")
def create_key(
    name: str,
    *,
    config: Config = DEFAULT_CONFIG,
    team: str | None = None,
    model: Annotated[tuple[str, ...], Parameter(help="A model's name or a pattern with *; may be repeated.")] = ("*",),
    passthrough: Annotated[
        tuple[str, ...], Parameter(help="A provider that it may ask at /PROVIDER/..., or *; may be repeated.")
    ] = (),
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    concurrency: int | None = None,
    budget_usd: Annotated[str | None, Parameter(help="Dollars a period, such as 12.50.")] = None,
    budget_per: Literal["day", "week", "month", "total"] = "month",
    expires: Annotated[
        str | None,
        Parameter(
            help="How long it works, such as 12h, 30d or 8w; or until when: 2027-01-31 (to its end, UTC), 2027-01-31T12:00:00Z."
        ),
    ] = None,
    json: AsJson = False,
) -> int:
    """Make a key. Its secret is shown once, here, and kept nowhere."""
    import msgspec  # noqa: PLC0415

    from gateway.base.snapshot import Budget, Limits  # noqa: PLC0415
    from gateway.control.config import outline  # noqa: PLC0415
    from gateway.control.keys import KeyStore  # noqa: PLC0415

    with _explained(nothing="made"):
        of_file = outline(config, with_pepper=True)
        assert of_file.pepper is not None
        if name in {k.name for k in of_file.keys}:
            _fail(EXIT_CONFIG, f"there is a key named {name!r} already; choose another name or revoke it first")
        if team is not None and team not in of_file.teams:
            known = ", ".join(of_file.teams) or "none"
            _fail(EXIT_CONFIG, f"there is no team {team!r} in {config}; there are: {known}")
        for what, value in (
            ("--requests-per-minute", requests_per_minute),
            ("--tokens-per-minute", tokens_per_minute),
            ("--concurrency", concurrency),
        ):
            if value is not None and value < 1:
                _fail(EXIT_USAGE, f"{what} must be at least 1; leave it out for no limit")
        stored, secret = KeyStore(of_file.node.keys_file).create(
            name,
            pepper=of_file.pepper,
            team=team,
            models=model,
            passthrough=passthrough,
            limits=Limits(requests_per_minute, tokens_per_minute, concurrency),
            budget=None if budget_usd is None else Budget(_nano_usd(budget_usd), budget_per),
            expires_at_s=None if expires is None else _expiry(expires),
        )
    until = _instant(stored.key.expires_at_s)
    if json:
        made = {"id": stored.key.id, "name": name, "secret": secret, "expires": until or None}
        print(msgspec.json.encode(made).decode())
    else:
        print(secret)
        effect = _takes_effect(of_file.node, in_fleet=of_file.in_fleet)
        until = until and f", to work until {until}"
        say(f"key {name!r} ({stored.key.id}) is made{until}; {effect}. The secret is not kept.")
    return 0


def _nano_usd(text: str) -> int:
    from decimal import Decimal, InvalidOperation  # noqa: PLC0415

    from gateway.base.snapshot import NANO_USD  # noqa: PLC0415

    try:
        value = Decimal(text) * NANO_USD
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or not 0 < value < 1 << 62 or value != int(value):
        _fail(EXIT_USAGE, f"--budget-usd must be a positive number of dollars such as 12.50; it is {text!r}")
    return int(value)


def _expiry(text: str) -> int:
    """Unix time of a duration from now, or of a date."""
    from gateway.control.config import instant  # noqa: PLC0415

    if duration := re.fullmatch(r"(\d{1,4})([hdw])", text):
        at_s = int(time.time()) + int(duration[1]) * {"h": 3_600, "d": 86_400, "w": 604_800}[duration[2]]
    elif date := instant(text):
        at_s = int(date.timestamp())
    else:
        _fail(
            EXIT_USAGE, f"--expires must be a time such as 12h, 30d or 8w, or a date such as 2027-01-31; it is {text!r}"
        )
    if at_s <= time.time():
        _fail(EXIT_USAGE, f"--expires lies in the past: {text!r}; the key would never work")
    return at_s


def _instant(at_s: int | None) -> str:
    """As RFC 3339 has it; "" for none."""
    return "" if at_s is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


@keys.command(name="list")
def list_keys(*, config: Config = DEFAULT_CONFIG, json: AsJson = False) -> int:
    """List the keys of the state directory and those of the configuration file."""
    import msgspec  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from gateway.control.config import outline  # noqa: PLC0415
    from gateway.control.keys import KeyStore  # noqa: PLC0415

    with _explained():
        of_file = outline(config)
        stored = KeyStore(of_file.node.keys_file).list()
    rows = [(k, _state_of(k), "file") for k in of_file.keys]
    rows += [(s.key, _state_of(s.key) if s.live else "revoked", "store") for s in stored]
    if json:
        shown = [
            {
                "id": k.id,
                "name": k.name,
                "team": k.team,
                "models": k.models,
                "passthrough": k.passthrough,
                "state": state,
                "source": source,
                "expires": _instant(k.expires_at_s) or None,
            }
            for k, state, source in rows
        ]
        print(msgspec.json.encode(shown).decode())
        return 0
    table = plain_table("name", "id", "team", "models", "state", "source", "expires")
    for key, state, source in rows:
        row = (key.name, key.id, key.team or "", " ".join(key.models), state, source, _instant(key.expires_at_s))
        table.add_row(*row)
    Console(markup=False).print(table)
    return 0


def _state_of(key: Key) -> str:
    return "expired" if key.expires_at_s is not None and key.expires_at_s <= time.time() else "live"


@keys.command(name="revoke")
def revoke_key(key: Annotated[str, Parameter(help="Its id or its name.")], *, config: Config = DEFAULT_CONFIG) -> int:
    """Revoke a key. A running node refuses it within a second."""
    from gateway.base.errors import ConfigurationError  # noqa: PLC0415
    from gateway.base.node import Node  # noqa: PLC0415
    from gateway.control.config import fleet_settings, state_dir_of  # noqa: PLC0415
    from gateway.control.keys import KeyStore  # noqa: PLC0415

    with _explained():
        node = Node(state_dir=state_dir_of(config))  # whatever else is wrong with the file
        revoked = KeyStore(node.keys_file).revoke(key)
    try:
        in_fleet = fleet_settings(config, with_pepper=False).redis is not None
    except ConfigurationError:
        in_fleet = True  # if it ever took a release
    print(f"key {revoked.key.name!r} ({revoked.key.id}) is revoked; {_takes_effect(node, in_fleet=in_fleet)}")
    return 0


def _takes_effect(node: Node, *, in_fleet: bool) -> str:
    """When a change of the keys does, and what must be done for that."""
    if in_fleet and node.last_good_file.exists():
        return "the fleet takes it once `throughway config push` has published it"
    return "a running node takes it within a second"


def _show_step(progress: Progress, step: Step, *, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415

    if as_json:
        line = {"restart": progress.number, "version": progress.version}
        print(msgspec.json.encode({**line, **msgspec.structs.asdict(step)}).decode(), flush=True)
    else:
        print(step.message, flush=True)


# -- talking


def _fail(code: int, line: str) -> NoReturn:
    say(f"throughway: {line}")
    sys.exit(code)


@contextmanager
def _explained(nothing: str = "") -> Iterator[None]:
    """Errors of operation end the command with one line each and their exit code.

    Args:
        nothing: what was not done then, such as "started"; of a command that changes nothing anyway: "".
    """
    from gateway.base.errors import ConfigurationError, MissingConfigurationError  # noqa: PLC0415
    from gateway.control.keys import KeyStoreError  # noqa: PLC0415
    from gateway.demo import DemoError  # noqa: PLC0415
    from gateway.supervisor import StartError  # noqa: PLC0415

    try:
        yield
    except MissingConfigurationError as error:
        _fail(EXIT_CONFIG, f"{error}. {HOW_TO_BEGIN}")
    except ConfigurationError as error:
        for problem in error.problems:
            say(str(problem))
        _fail(EXIT_CONFIG, f"the configuration has mistakes{nothing and f'; nothing was {nothing}'}")
    except KeyStoreError as error:
        _fail(EXIT_CONFIG, str(error))
    except (StartError, DemoError) as error:
        _fail(EXIT_CANNOT_START, str(error))


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    try:
        result: Callable[..., int] | int | None = app(
            argv, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        _fail(EXIT_USAGE, f"{str(error).strip().splitlines()[0]} (`throughway --help` lists the commands)")
    except CommandError as error:
        _fail(error.code, str(error))
    except BrokenPipeError:  # `throughway ... | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        result = 0
    sys.exit(result if isinstance(result, int) else 0)


if __name__ == "__main__":
    main()
