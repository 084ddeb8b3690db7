"""Reading the file: `load` once, `FileSource` again and again while serving, `effective` for `check --print`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.base import redis_url
from gateway.base.errors import MissingConfigurationError, Problem
from gateway.base.files import Signature, signature
from gateway.base.node import Node
from gateway.base.ports import SourceStatus
from gateway.base.redis_url import RedisUrl
from gateway.base.snapshot import Key, Snapshot, SnapshotError, decode
from gateway.control._secret_file import make_secret_file
from gateway.control.config import _compile, _yaml
from gateway.control.config._certificates import check_certificates
from gateway.control.config._check import check, matches, names_of
from gateway.control.config._emit import to_yaml
from gateway.control.config._kinds import INVALID
from gateway.control.config._reading import Reading, in_order, why
from gateway.control.config._schema import SCHEMA
from gateway.control.keys import KeyStore, KeyStoreError, StoredKey, key_hmac
from gateway.control.prices import PriceBook

PEPPER_BYTES = 32

_NO_PEPPER = b"check"
"""Stands for the pepper in a check, which must not make one. Keys hashed under it open nothing: no node has it."""


class Loaded(msgspec.Struct, frozen=True):
    """A configuration that can be served."""

    node: Node
    snapshot: Snapshot
    warnings: list[Problem]
    workers: int | None
    """None: one for each core that the node may use."""
    pepper: bytes | None
    """The key of callers' HMACs. None: there is none yet, and the snapshot's keys open nothing (a check)."""

    def __repr__(self) -> str:
        return f"Loaded(version={self.snapshot.version}, warnings={len(self.warnings)}, pepper=***)"


class Outline(msgspec.Struct, frozen=True):
    """What must be known of a configuration to manage its node: no secret of it, but for the pepper where that is asked for."""

    node: Node
    in_fleet: bool
    """Whether the file names a Redis. Which one, `node` tells only where that is known here."""
    teams: tuple[str, ...]
    keys: tuple[Key, ...]
    """Those that stand in the file, without HMACs."""
    pepper: bytes | None

    def __repr__(self) -> str:
        return f"Outline(state_dir={self.node.state_dir}, pepper=***)"


class FleetSettings(msgspec.Struct, frozen=True):
    """What must be known of a configuration before the fleet can be asked for the rest."""

    redis: RedisUrl | None
    pepper: bytes | None
    """None: the file sets none."""
    node: Node
    """With the state directory and Redis; all else as it is by default."""

    def __repr__(self) -> str:
        return f"FleetSettings(redis={self.redis}, pepper=***)"


def load(
    path: str | os.PathLike[str],
    environ: Mapping[str, str] | None = None,
    *,
    create: bool = False,
    pepper: bytes | None = None,
    needed: Collection[str] | None = None,
) -> Loaded:
    """Reads, validates and compiles a configuration.

    Args:
        path: the YAML file. Paths in it are relative to its directory.
        environ: where `env:NAME` looks; None: the process's environment.
        create: whether a missing pepper is made and kept in `state_dir`. Without it nothing is written.
        pepper: the fleet's; it counts where the file sets none.
        needed: the sections whose secrets must be here; what the others lack is a warning. None: all.

    Raises:
        ConfigurationError: with every mistake, in the order of the file.
    """
    return _load(_reading(path, environ, needed=needed), create=create, certificates=True, fleet_pepper=pepper)


def outline(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None, *, with_pepper: bool = False
) -> Outline:
    """Reads and validates a configuration without need of the secrets that its node has and whoever manages it has not.

    Args:
        path, environ: as for `load`.
        with_pepper: whether the pepper is wanted; one that is missing is made and kept in `state_dir`, as by `load`.

    Raises:
        ConfigurationError: with every mistake, in the order of the file.
    """
    reading = _reading(path, environ, needed=("pepper",) if with_pepper else ())
    values, _ = _checked(reading)
    node, in_fleet = _compile.node(values), "redis" in values
    pepper = _pepper(values, node, reading, in_fleet=in_fleet, create=True) if with_pepper else None
    reading.raise_if_faulty()
    return Outline(node, in_fleet, tuple(values.get("teams", {})), _compile.keys_unhashed(values), pepper)


def fleet_settings(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None, *, with_pepper: bool = True
) -> FleetSettings:
    """The settings `redis`, `pepper` and `state_dir` alone, whatever else is wrong with the file.

    Args:
        path, environ: as for `load`.
        with_pepper: whether the pepper is wanted: who only looks need not have it.

    Raises:
        ConfigurationError: the file cannot be read, or one of these is wrong.
    """
    reading = _reading(path, environ)
    root = _parsed(reading)
    reading.raise_if_faulty()
    values: dict[str, Any] = {}
    for name in ("redis", "state_dir", *(["pepper"] if with_pepper else [])):
        if isinstance(root, _yaml.Mapping) and name in root.pairs:
            reading.marks[name,] = root.marks[name]
            values[name] = SCHEMA.fields[name].kind.read(root.pairs[name], (name,), reading)
    reading.raise_if_faulty()
    redis = redis_url.parse(values["redis"].value) if "redis" in values else None
    state_dir = Path(values.get("state_dir", reading.path("state")))
    pepper = str(values["pepper"].value).encode() if "pepper" in values else None
    return FleetSettings(redis, pepper, Node(redis=redis, state_dir=state_dir))


def effective(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> str:
    """The configuration as it takes effect, as YAML: defaults filled in, secrets as the references that give them.

    Raises:
        ConfigurationError: as `load`.
    """
    reading = _reading(path, environ)
    values, _, _ = _validated(reading)
    return to_yaml(SCHEMA.show(values))


def validated(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The complete normal form, whether its secrets are here or not. Raises ConfigurationError."""
    return _validated(_reading(path, environ, needed=()))[0]


def state_dir_of(path: str | os.PathLike[str]) -> Path:
    """The state directory that a configuration names, whatever else is wrong with it.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    reading = _reading(path, {})
    text = _text(reading)
    reading.raise_if_faulty()
    try:
        return reading.path(_yaml.glance(text, "state_dir") or str(Node().state_dir))
    except ValueError as error:
        reading.error(("state_dir",), str(error))
        reading.raise_if_faulty()
        raise


class FileSource:
    """The snapshot of a file, and whether it has changed (a `gateway.base.ports.SnapshotSource`).

    Args:
        path: the YAML file.
        environ: where `env:NAME` looks; None: the process's environment.
        create: as for `load`.
        serving: the node that serves already what an earlier source has read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        environ: Mapping[str, str] | None = None,
        *,
        create: bool = False,
        serving: Node | None = None,
    ) -> None:
        self.path = Path(path)
        self._serving = serving
        self._environ = environ
        self._create = create
        self._watched: dict[Path, Signature] = {}
        self.loaded: Loaded | None = None
        """What the last good `load` found."""
        self._loaded_at_s: float | None = None

    def watch(self, wake: Callable[[], object]) -> None:
        """Nothing: `changed` is asked often enough."""

    def close(self) -> None:
        """Nothing was begun."""

    @property
    def status(self) -> SourceStatus:
        return SourceStatus("file", str(self.path), loaded_at_s=self._loaded_at_s)

    def load(self) -> Snapshot:
        """Reads, validates and compiles. After a failure `loaded` stays the last good one.

        Raises:
            ConfigurationError: with every mistake.
        """
        node = self._node
        reading = _reading(self.path, self._environ, serving=node is not None)
        if node is not None:
            reading.watch(node.keys_file)  # a broken file does not say where it is
        try:
            # Certificates are renewed one file after another, and beside the configuration: who uses them watches them.
            loaded = _load(reading, create=self._create, certificates=False)
        finally:
            self._watched = reading.watched
        self.loaded = self._compared(loaded)
        self._loaded_at_s = time.time()
        return self.loaded.snapshot

    def last_good(self) -> Snapshot | None:
        """After a failed `load`: what the node serves, with the store's keys as they are now. A key that was revoked must not go on
        until somebody mends the file."""
        node = self._node
        try:
            if node is None:
                return None
            snapshot = self.loaded.snapshot if self.loaded else decode(node.snapshot_file.read_bytes())
            return _compile.with_stored(snapshot, KeyStore(node.keys_file).list())
        except (OSError, SnapshotError, KeyStoreError):
            return None  # `load` has reported the store, and the node that wrote the snapshot its own faults

    @property
    def _node(self) -> Node | None:
        """Whose state is in use; None before the first good `load`."""
        return self._serving or (self.loaded.node if self.loaded else None)

    def changed(self) -> bool:
        """Whether a file that the last `load` read was touched since.

        Takes a `stat` each for the configuration, the keys' store, and the secrets and certificates named by path.
        """
        return not self._watched or any(signature(file) != before for file, before in self._watched.items())

    @property
    def log_level(self) -> str | None:
        """As the last good `load` found it: the one setting of the node that takes effect while it runs."""
        return self.loaded.node.log_level if self.loaded else None

    @property
    def warnings(self) -> list[str]:
        return [str(problem) for problem in self.loaded.warnings] if self.loaded else []

    def _compared(self, loaded: Loaded) -> Loaded:
        """Warns of node settings that differ from those which the node was started with."""
        if self.loaded is None:
            return loaded
        node = msgspec.structs.replace(self.loaded.node, log_level=loaded.node.log_level)
        kept = msgspec.structs.replace(loaded, node=node, workers=self.loaded.workers)
        names = [name for name in Node.__struct_fields__ if getattr(loaded.node, name) != getattr(kept.node, name)]
        if loaded.workers != kept.workers:
            names.append("workers")
        restart = [
            Problem(
                str(self.path), 0, 0, name, "has changed; it takes effect at the next restart (`throughway restart`)"
            )
            for name in names
        ]
        return msgspec.structs.replace(kept, warnings=[*restart, *loaded.warnings])


def _reading(
    path: str | os.PathLike[str],
    environ: Mapping[str, str] | None,
    *,
    serving: bool = False,
    needed: Collection[str] | None = None,
) -> Reading:
    return Reading(Path(path), os.environ if environ is None else environ, serving=serving, needed=needed)


def _load(reading: Reading, *, create: bool, certificates: bool, fleet_pepper: bytes | None = None) -> Loaded:
    values, stored, book = _validated(reading)
    if certificates:
        check_certificates(values, reading)
    node = _compile.node(values)
    if create:
        _keep_prices(book, node, reading)
    if "pepper" not in values and fleet_pepper is not None:
        pepper: bytes | None = fleet_pepper
    else:
        pepper = _pepper(values, node, reading, in_fleet="redis" in values, create=create)
    if pepper is not None:
        _check_pepper(pepper, node, stored, reading)
    hashed_under = _NO_PEPPER if pepper is None else pepper
    _check_same_secrets(values, stored, hashed_under, reading)
    reading.raise_if_faulty()
    return Loaded(
        node=node,
        snapshot=_compile.snapshot(values, stored, hashed_under),
        warnings=in_order(reading.warnings),
        workers=values["workers"] or None,
        pepper=pepper,
    )


def _validated(reading: Reading) -> tuple[dict[str, Any], tuple[StoredKey, ...], PriceBook]:
    """The complete normal form, the stored keys, and where prices were found. Raises ConfigurationError."""
    values, stored = _checked(reading)
    return values, stored, _compile.complete(values, reading)


def _checked(reading: Reading) -> tuple[dict[str, Any], tuple[StoredKey, ...]]:
    """The normal form, in which of models what others say may lack, and the stored keys. Raises ConfigurationError."""
    root = _parsed(reading)
    values: Any = SCHEMA.defaults() if root is None else SCHEMA.read(root, (), reading)
    if root is None or values is INVALID:
        reading.raise_if_faulty()
    values.setdefault("state_dir", str(reading.path("state")))
    check(values, root, reading)
    stored = _stored(values, root, reading)
    reading.raise_if_faulty()
    return values, stored


def _keep_prices(book: PriceBook, node: Node, reading: Reading) -> None:
    try:
        book.keep()
    except OSError as error:
        reading.warn(("state_dir",), f"prices cannot be kept in {node.prices_file}: {why(error)}; starts take longer")


def _parsed(reading: Reading) -> _yaml.Node | None:
    """The file's tree; None where it is empty or the reading knows why it is none."""
    text = _text(reading)
    try:
        return _yaml.parse(text, reading.error) if text else None
    except _yaml.FatalError as fatal:
        reading.error((), fatal.message, fatal.mark)
    return None


def _text(reading: Reading) -> str:
    """The file's content; "" where the reading knows why there is none. Raises MissingConfigurationError."""
    try:
        return _not_wiped_out(reading.content(reading.file).decode("utf-8-sig"), reading)
    except FileNotFoundError as error:
        raise MissingConfigurationError([Problem(str(reading.file), 0, 0, "", "there is no such file")]) from error
    except OSError as error:
        reading.problems.append(Problem(str(reading.file), 0, 0, "", f"cannot be read: {why(error)}"))
    except UnicodeDecodeError as error:
        reading.problems.append(Problem(str(reading.file), 0, 0, "", f"is not UTF-8: byte {error.start} is wrong"))
    except ValueError as error:
        reading.problems.append(Problem(str(reading.file), 0, 0, "", f"is {error}"))
    return ""


def _not_wiped_out(text: str, reading: Reading) -> str:
    """Raises ValueError for a file that is empty while an earlier reading of it is in force."""
    if reading.serving and not text.strip():
        raise ValueError("empty, as while it is being written; to take everything away, write `{}`")
    return text


# -- the pepper and the store


def _pepper(values: dict[str, Any], node: Node, reading: Reading, *, in_fleet: bool, create: bool) -> bytes | None:
    """The key of HMACs: the setting, else what is known of the fleet's, else the node's own, made in `state_dir` if `create`."""
    if "pepper" in values:
        return str(values["pepper"].value).encode()
    of_fleet = in_fleet and node.fleet_pepper_file.exists()
    file = node.fleet_pepper_file if of_fleet else node.pepper_file
    try:
        if create and not of_fleet:
            make_secret_file(file, lambda: os.urandom(PEPPER_BYTES).hex())
        pepper = reading.content(file, 1_024).strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = why(error) if isinstance(error, OSError) else str(error)
        reading.error(
            ("pepper",), f"cannot keep the pepper in {file}: {reason}; make it writable or set `pepper: env:NAME`"
        )
        return None
    if len(pepper) < PEPPER_BYTES:
        reading.error(
            ("pepper",), f"{file} holds no pepper; restore it, or remove it with the keys that were made under it"
        )
    return pepper


def _stored(values: dict[str, Any], root: _yaml.Node | None, reading: Reading) -> tuple[StoredKey, ...]:
    """The store's keys, checked against the file."""
    file = Node(state_dir=Path(values["state_dir"])).keys_file
    reading.watch(file)
    try:
        stored = KeyStore(file).list()
    except KeyStoreError as error:
        reading.problems.append(Problem(str(file), 0, 0, "", str(error)))
        return ()
    _check_names(stored, file, values, reading)
    _check_references(stored, file, root, reading)
    return stored


def _check_names(stored: tuple[StoredKey, ...], file: Path, values: dict[str, Any], reading: Reading) -> None:
    live = {entry.key.name for entry in stored if entry.live}
    for index, key in enumerate(values.get("keys", [])):
        name = key.get("name") if isinstance(key, dict) else None
        if name in live:
            reading.error(
                ("keys", index, "name"), f'a key of {file} is named "{name}" too; rename this one or revoke that one'
            )


def _check_references(stored: tuple[StoredKey, ...], file: Path, root: _yaml.Node | None, reading: Reading) -> None:
    teams, models, providers = (names_of(root, section) for section in ("teams", "models", "providers"))
    for key in (entry.key for entry in stored if entry.live):
        if key.team is not None and key.team not in teams:
            message = f'no team is named "{key.team}"; define it, or `throughway keys revoke {key.name}`'
            reading.problems.append(Problem(str(file), 0, 0, key.name, message))
        for pattern in key.models:
            if pattern != "*" and not matches(pattern, models):
                reading.warnings.append(Problem(str(file), 0, 0, key.name, f'"{pattern}" matches no model'))
        for provider in key.passthrough:
            if provider != "*" and provider not in providers:
                reading.warnings.append(Problem(str(file), 0, 0, key.name, f'no provider is named "{provider}"'))


def _check_pepper(pepper: bytes, node: Node, stored: tuple[StoredKey, ...], reading: Reading) -> None:
    if stored and not KeyStore(node.keys_file).made_under(pepper):
        reading.error(
            ("pepper",),
            f"the keys in {node.keys_file} were made under another pepper; restore it, or move that file away",
        )


def _check_same_secrets(values: dict[str, Any], stored: tuple[StoredKey, ...], pepper: bytes, reading: Reading) -> None:
    names = {entry.key.hmac: entry.key.name for entry in stored if entry.live}
    for index, key in enumerate(values.get("keys", []) if names else []):
        other = names.get(key_hmac(pepper, key["key"].value))
        if other is not None:
            reading.error(
                ("keys", index, "key"), f'has the same secret as the stored key "{other}"; each key needs its own'
            )
