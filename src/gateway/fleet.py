"""How a node, and the command line, meet the fleet: which Redis, which pepper, which snapshot to begin with."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.adapters.last_good import read_last_good
from gateway.adapters.release import RefusedError, Seal, require_resolved
from gateway.adapters.shared_pepper import known, remembered, settle
from gateway.base.errors import ConfigurationError, Problem
from gateway.base.node import Node
from gateway.base.ports import SnapshotSource
from gateway.base.redis_url import RedisUrl, parse
from gateway.base.snapshot import Snapshot
from gateway.control.config import FileSource, FleetSettings, Loaded, fleet_settings, load, resolve
from gateway.supervisor import DEFAULT_START_METHOD

if TYPE_CHECKING:  # redis-py is wanted in the processes alone that speak with Redis
    from gateway.adapters.redis_store import ReleaseStore

MEET_S = 2.0
"""The longest that Redis keeps a node from starting."""
URL_VARIABLE = "THROUGHWAY_REDIS_URL"
PEPPER_BYTES = 32


class NoFleetError(ValueError):
    """Neither the environment nor the file names a Redis, or the pepper cannot be known. The message is one line."""


# -- the command line


class Fleet:
    """What a command needs to speak with the fleet."""

    def __init__(self, url: RedisUrl, store: ReleaseStore, settings: FleetSettings) -> None:
        self.url = url
        self.store = store
        self.settings = settings

    def pepper(self) -> bytes:
        """The fleet's pepper. Raises NoFleetError where there is none, RefusedError where it was replaced, RedisDownError."""
        pepper = self._known_pepper()
        if pepper is None:
            raise NoFleetError(
                "the pepper of the fleet is not known: name the configuration that sets it with --config FILE"
            )
        return pepper

    def pepper_to_publish(self, *, share: bool) -> bytes:
        """The fleet's pepper; where it has none yet the state directory's, else a new one.

        Args:
            share: whether it becomes the fleet's.

        Raises:
            RefusedError: it was replaced.
            RedisDownError: Redis cannot be asked.
        """
        pepper = self._known_pepper()
        if pepper is None:
            pepper = own_pepper(self.settings.node) or new_pepper()
        if share and self.settings.pepper is None:
            pepper = self._share(pepper)
        return pepper

    def _known_pepper(self) -> bytes | None:
        if self.settings.pepper is not None:
            return self.settings.pepper
        return known(self.store, self._pepper_file) if self._is_the_files else self.store.pepper()

    def _share(self, pepper: bytes) -> bytes:
        """The fleet's pepper, which is this one where it had none; remembered where the state directory is the caller's own."""
        folder = self.settings.node.state_dir
        if self._is_the_files and folder.is_dir() and folder.stat().st_uid == os.geteuid():
            return settle(self.store, self._pepper_file, pepper)
        return self.store.share_pepper(pepper)

    @property
    def _is_the_files(self) -> bool:
        """Whether this is the fleet of the state directory, and not one that the environment names in its place."""
        return self.settings.redis == self.url

    @property
    def _pepper_file(self) -> Path:
        return self.settings.node.fleet_pepper_file


def open_fleet(config: Path, environ: Mapping[str, str] | None = None, *, signs: bool) -> Fleet:
    """The fleet of THROUGHWAY_REDIS_URL, else that of a configuration's `redis`.

    Args:
        config: the file, which need not exist.
        environ: None: the process's environment.
        signs: whether the pepper will be asked for.

    Raises:
        NoFleetError: neither names one.
        ConfigurationError: the file's settings are wrong.
        gateway.adapters.redis_client.RedisDownError: no node of a Cluster answers.
    """
    from gateway.adapters.redis_store import ReleaseStore  # noqa: PLC0415

    environ = os.environ if environ is None else environ
    text = environ.get(URL_VARIABLE)
    if text and not config.exists():
        settings = FleetSettings(None, None, Node())
    else:
        settings = fleet_settings(config, environ, with_pepper=signs)
    url = settings.redis
    if text:
        try:
            url = parse(text)
        except ValueError as error:
            raise NoFleetError(f"{URL_VARIABLE} {error}") from error
    if url is None:
        raise NoFleetError(f"no Redis is named: set {URL_VARIABLE}, or `redis:` in {config}")
    return Fleet(url, ReleaseStore(url), settings)


def new_pepper() -> bytes:
    """Hexadecimal digits, as the file of a node's own pepper holds."""
    return os.urandom(PEPPER_BYTES).hex().encode()


def own_pepper(node: Node) -> bytes | None:
    """The pepper that the node made for itself; None where it has none."""
    try:
        return node.pepper_file.read_bytes().strip() or None
    except FileNotFoundError:
        return None


# -- a node


def load_node(config: Path) -> Loaded:
    """A node's configuration, as `control.config.load` makes it, with the fleet's snapshot and pepper where it belongs to a fleet.

    Raises:
        ConfigurationError: the file has mistakes.
    """
    warnings = meet(config)
    loaded = load(config, create=True)
    snapshot, more = first_snapshot(loaded)
    told = [Problem(str(config), 0, 0, "redis", text) for text in (*warnings, *more)]
    return msgspec.structs.replace(loaded, snapshot=snapshot, warnings=[*loaded.warnings, *told])


def meet(config: Path) -> list[str]:
    """Before a node starts: takes the fleet's pepper and its newest release from Redis into the state directory.

    A process of its own does it, so that whatever keeps it (name resolution, a frozen server, many addresses) ends after MEET_S. What
    it did not get is taken up by the agent when it can be had.

    Returns:
        What an operator should read.
    """
    try:
        settings = fleet_settings(config)
    except ConfigurationError:
        return []  # `load` comes next, and reports all that is wrong with the file
    if settings.redis is None:
        return []
    context = multiprocessing.get_context(DEFAULT_START_METHOD)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(  # type: ignore[attr-defined]
        target=_meet, args=(config, settings, theirs), daemon=True
    )
    process.start()
    theirs.close()
    try:
        warnings: list[str] = (
            ours.recv() if ours.poll(MEET_S) else [f"{settings.redis} does not answer within {MEET_S:g} s"]
        )
    except EOFError:
        warnings = [f"{settings.redis} could not be asked: the process that should have ended with {process.exitcode}"]
    finally:
        process.kill()
        process.join()
        ours.close()
    return warnings


def _meet(config: Path, settings: FleetSettings, answer: Connection) -> None:
    """The process."""
    from gateway.adapters.redis_client import RedisDownError  # noqa: PLC0415
    from gateway.adapters.redis_source import RedisSource  # noqa: PLC0415
    from gateway.adapters.redis_store import ReleaseStore  # noqa: PLC0415

    assert settings.redis is not None
    warnings: list[str] = []
    try:
        store = ReleaseStore(settings.redis)
        node, pepper, pepper_file = settings.node, settings.pepper, None
        if pepper is None:
            pepper, pepper_file = _fleet_pepper(store, node), node.fleet_pepper_file
        source = RedisSource(
            settings.redis, pepper, node.last_good_file, FileSource(config), resolve_here, pepper_file=pepper_file
        )
        source.look(store)
        if source.status.fault:
            warnings.append(source.status.fault)
    except (RedisDownError, OSError) as error:
        warnings.append(str(error))
    answer.send(warnings)
    answer.close()


def _fleet_pepper(store: ReleaseStore, node: Node) -> bytes:
    """The pepper that the fleet shares, ours where it has none yet; the remembered one where Redis holds another."""
    own = own_pepper(node) or new_pepper()
    try:
        return settle(store, node.fleet_pepper_file, own)
    except RefusedError:  # the source's first look tells it
        return remembered(node.fleet_pepper_file) or own


def source_of(config: Path, node: Node, pepper: bytes) -> SnapshotSource:
    """The source of a node's snapshots: its file, with Redis above it where it has one."""
    file = FileSource(config, serving=node)
    if node.redis is None:
        return file
    from gateway.adapters.redis_source import RedisSource  # noqa: PLC0415

    pepper_file = node.fleet_pepper_file if _shares_pepper(config, node, pepper) else None
    return RedisSource(node.redis, pepper, node.last_good_file, file, resolve_here, pepper_file=pepper_file)


def _shares_pepper(config: Path, node: Node, pepper: bytes) -> bool:
    """Whether the node's pepper is the one that the fleet shares in Redis."""
    try:
        return fleet_settings(config).pepper is None
    except ConfigurationError:  # the file was broken since the node has read it
        return remembered(node.fleet_pepper_file) == pepper


def first_snapshot(loaded: Loaded) -> tuple[Snapshot, list[str]]:
    """What a node begins with: the last good release, which `meet` has just renewed if it could, else the file's; and warnings."""
    node, pepper = loaded.node, loaded.pepper
    if node.redis is None or pepper is None:
        return loaded.snapshot, []
    try:
        found = read_last_good(node.last_good_file, Seal(pepper))
        if found is None:
            return loaded.snapshot, []
        require_resolved(found[1], resolve_here)
    except (OSError, RefusedError) as error:
        return loaded.snapshot, [f"{node.last_good_file} cannot be used, the file serves: {error}"]
    return found[1], []


def resolve_here(reference: str) -> str:
    """The secret behind a reference, on this node. Raises ValueError."""
    return resolve(reference, os.environ)
