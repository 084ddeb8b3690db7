"""`throughway config`: what a fleet runs, published in Redis. See docs/fleet.md."""

from __future__ import annotations

import getpass
import os
import socket
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.adapters.release import Release
    from gateway.base.snapshot import Snapshot
    from gateway.control.config.changes import Change
    from gateway.fleet import Fleet

EXIT_UNAVAILABLE = 69
EXIT_CONFLICT = 75
EXIT_CONFIG = 78

DEFAULT_CONFIG = Path("gateway.yaml")

config = App(
    name="config",
    help="Publish a fleet's configuration in Redis (THROUGHWAY_REDIS_URL, else the file's `redis`), and look at what was published.",
)
config.group = (Group("Fleet", sort_key=3),)

Config = Annotated[
    Path, Parameter(name=["--config", "-c"], help="The file that names Redis and the pepper, where it sets them.")
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="For machines.")]
Note = Annotated[str, Parameter(help="A line for the history.")]


_PUSH_NEEDS = ("redis", "pepper", "keys")
"""The sections whose secrets make what is published. Those of providers are the nodes' to resolve: here they are only missed."""

HOW_TO_BEGIN = """\
Name yours, see it all work without one by `throughway demo`, or begin with these lines:

    providers:
      openai: {kind: openai, base_url: https://api.openai.com/v1, api_key: env:OPENAI_API_KEY}
    models:
      gpt-4o-mini: {targets: [{provider: openai}]}"""
"""For whoever has no configuration file yet."""


class CommandError(Exception):
    """Ends the command with one line, or a few that help, and an exit code."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


@config.command
def push(
    file: Path = DEFAULT_CONFIG,
    *,
    note: Note = "",
    over: Annotated[
        str | None, Parameter(help="Publish only if this version is in force now; `none`: only if none is.")
    ] = None,
    dry_run: Annotated[bool, Parameter(name="--dry-run", negative="", help="Only show what would change.")] = False,
    json: AsJson = False,
) -> int:
    """Check a configuration as `throughway check` does, publish its providers, models, teams and keys, and show what has changed.

    A credential of a provider that is not here is a warning: the nodes need it.
    """
    from gateway.control.config import load  # noqa: PLC0415

    with _opened(file, signs=True) as fleet:
        pointer = fleet.store.pointer()
        pepper = fleet.pepper_to_publish(share=not dry_run)
        loaded = load(file, pepper=pepper, needed=_PUSH_NEEDS)
        for warning in loaded.warnings:
            say(f"warning: {warning}")
        return _publish(fleet, pepper, pointer, loaded.snapshot, note=note, over=over, dry_run=dry_run, json=json)


@config.command
def rollback(
    version: str | None = None, *, config: Config = DEFAULT_CONFIG, note: Note = "", json: AsJson = False
) -> int:
    """Publish a version of the history again; the one before the present if none is named."""
    with _opened(config, signs=True) as fleet:
        from gateway.adapters.release import Seal  # noqa: PLC0415

        pointer = fleet.store.pointer()
        release = fleet.store.find(version) if version is not None else _before(fleet)
        pepper = fleet.pepper()
        Seal(pepper).check(release)  # what somebody else put into the history must not get our signature
        snapshot = fleet.store.snapshot(release)
        note = note or f"back to {release.version}"
        _warn_of_keys(_in_force(fleet, Seal(pepper), pointer)[1], snapshot)
        return _publish(fleet, pepper, pointer, snapshot, note=note, over=None, dry_run=False, json=json)


@config.command
def history(*, config: Config = DEFAULT_CONFIG, json: AsJson = False) -> int:
    """List what was published, the newest first: at most 100 releases are kept."""
    import msgspec  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    with _opened(config) as fleet:
        releases = fleet.store.history()
    if json:
        print(msgspec.json.encode([_fields_of(release) for release in releases]).decode())
        return 0
    table = plain_table("", "version", "sequence", "published", "by", "note")
    for index, release in enumerate(releases):
        at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(release.at_ms / 1_000))
        table.add_row("" if index else "*", release.version, str(release.sequence), at, release.by, release.note)
    Console(markup=False).print(table) if releases else say("nothing was published yet")
    return 0


@config.command
def show(version: str | None = None, *, config: Config = DEFAULT_CONFIG, json: AsJson = False) -> int:
    """Show a version of the history, or what is in force, as JSON. Secrets are references, keys are named by the start of their HMACs."""
    import msgspec  # noqa: PLC0415

    from gateway.control.config.changes import document  # noqa: PLC0415

    with _opened(config) as fleet:
        release = fleet.store.find(version)
        shown = {**_fields_of(release), **document(fleet.store.snapshot(release))}
    text = msgspec.json.encode(shown)
    print((text if json else msgspec.json.format(text, indent=2)).decode())
    return 0


@config.command
def diff(a: str | None = None, b: str | None = None, *, config: Config = DEFAULT_CONFIG, json: AsJson = False) -> int:
    """Show what differs between two versions: from A (the one before the present) to B (the present)."""
    from gateway.control.config.changes import changes  # noqa: PLC0415

    with _opened(config) as fleet:
        before = fleet.store.find(a) if a is not None else _before(fleet)
        after = fleet.store.find(b)
        found = changes(fleet.store.snapshot(before), fleet.store.snapshot(after))
    _print_changes(found, {"from": before.version, "to": after.version}, json=json)
    return 0


# -- the work


def _publish(
    fleet: Fleet,
    pepper: bytes,
    pointer: bytes | None,
    snapshot: Snapshot,
    *,
    note: str,
    over: str | None,
    dry_run: bool,
    json: bool,
) -> int:
    from gateway.adapters.release import Seal  # noqa: PLC0415
    from gateway.control.config.changes import changes  # noqa: PLC0415

    seal = Seal(pepper)
    present, before = _in_force(fleet, seal, pointer)
    version = None if present is None else present.version
    if over is not None and over != (version or "none"):
        raise CommandError(EXIT_CONFLICT, f"{version or 'nothing'} is in force, not {over}; nothing was published")
    found = changes(before, snapshot)
    about: dict[str, Any] = {"version": snapshot.version, "previous": version, "published": False}
    if dry_run:
        _print_changes(found, about, json=json)
        return 0
    if before is not None and before.version == snapshot.version:
        _print_changes(found, about, json=json)
        say(f"{snapshot.version} is in force already; nothing was published")
        return 0
    release = fleet.store.publish(seal, snapshot, over=pointer, by=_who(), note=note)
    _print_changes(found, {**about, **_fields_of(release), "published": True}, json=json)
    say(f"published {release.version} (sequence {release.sequence}) over {version or 'nothing'} in {fleet.url}")
    return 0


def _in_force(fleet: Fleet, seal: Any, pointer: bytes | None) -> tuple[Release | None, Snapshot | None]:
    """The release in force and its content; None where there is none that this fleet's nodes could run."""
    from gateway.adapters.release import RefusedError  # noqa: PLC0415

    if pointer is None:
        return None, None
    try:
        release: Release = seal.read(pointer)
        return release, fleet.store.snapshot(release)
    except RefusedError as error:
        say(f"warning: what is in force cannot be used, so everything is shown as added: {error}")
        return None, None


def _warn_of_keys(present: Snapshot | None, wanted: Snapshot) -> None:
    """To go back makes keys work again that were revoked since."""
    known = {key.hmac for key in present.keys} if present is not None else set()
    names = [key.name for key in wanted.keys if key.hmac not in known]
    if names:
        say(f"warning: keys that do not work now work again: {', '.join(names[:20])}{' ...' * (len(names) > 20)}")


def _before(fleet: Fleet) -> Release:
    """The release before the present one."""
    releases = fleet.store.history()
    if len(releases) < 2:
        raise CommandError(EXIT_CONFIG, f"{fleet.url} has no version before the present one")
    return releases[1]


def _fields_of(release: Release) -> dict[str, Any]:
    return {
        "version": release.version,
        "sequence": release.sequence,
        "at_ms": release.at_ms,
        "by": release.by,
        "note": release.note,
    }


def _who() -> str:
    """As the machine knows who asks: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


# -- talking


def _print_changes(found: list[Change], about: dict[str, Any], *, json: bool) -> None:
    import msgspec  # noqa: PLC0415

    from gateway.control.config.changes import lines  # noqa: PLC0415

    if json:
        print(msgspec.json.encode({**about, "changes": found}).decode())
    else:
        for line in lines(found) or ["no difference"]:
            print(line)


def plain_table(*titles: str, right: Collection[str] = ()) -> Table:
    """Without rules. What is wider than the terminal goes on in the next line: nothing is ever cut off.

    Args:
        right: the titles of columns whose figures stand below each other.
    """
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", justify="right" if title in right else "left")
    return table


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def _opened(file: Path, *, signs: bool = False) -> Iterator[Fleet]:
    """The fleet of a file or of the environment; errors of operation end the command."""
    from gateway.adapters.redis_client import RedisDownError  # noqa: PLC0415
    from gateway.adapters.redis_store import ConflictError, UnknownVersionError  # noqa: PLC0415
    from gateway.adapters.release import RefusedError  # noqa: PLC0415
    from gateway.base.errors import ConfigurationError, MissingConfigurationError  # noqa: PLC0415
    from gateway.fleet import URL_VARIABLE, NoFleetError, open_fleet  # noqa: PLC0415

    try:
        fleet = open_fleet(file, signs=signs)
        if fleet.settings.redis not in (None, fleet.url):
            say(f"note: {URL_VARIABLE} counts, not `redis` of {file}")
        try:
            yield fleet
        finally:
            fleet.store.close()
    except MissingConfigurationError as error:
        raise CommandError(EXIT_CONFIG, f"{error}. {HOW_TO_BEGIN}") from error
    except ConfigurationError as error:
        for problem in error.problems:
            say(str(problem))
        raise CommandError(EXIT_CONFIG, "the configuration has mistakes; nothing was published") from error
    except RedisDownError as error:
        raise CommandError(EXIT_UNAVAILABLE, str(error)) from error
    except ConflictError as error:
        raise CommandError(EXIT_CONFLICT, str(error)) from error
    except (NoFleetError, UnknownVersionError, RefusedError) as error:
        raise CommandError(EXIT_CONFIG, str(error)) from error
