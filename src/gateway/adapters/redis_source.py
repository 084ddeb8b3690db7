"""The snapshot out of Redis (a `gateway.base.ports.SnapshotSource`), with the node's own file beneath it.

A thread follows Redis: it subscribes to the channel that announces a publication, and looks at the pointer with every
announcement and every POLL_S, which catches what was missed. A release is taken if it is signed under our pepper, newer than what
this node has run, whole, and if every secret and file that it refers to is found here. It is written to disk then, and the agent
is woken. What is refused is reported, and looked at again with each poll, since what was wrong may be mended (a secret's file, a
value restored).

What serves:

    Redis holds a good release                       that one                                     "redis"
    Redis is away, is empty, or holds a bad one      the last good release, from memory or disk   "last-known-good"
    neither ever held one                            the node's file                              "file"

Nothing that asks this source ever waits for Redis.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from gateway.adapters.last_good import read_last_good, write_last_good
from gateway.adapters.redis_client import PubSub, RedisDownError, translated
from gateway.adapters.redis_store import CHANNEL, ReleaseStore
from gateway.adapters.release import RefusedError, Release, Resolve, Seal, open_value, require_newer, require_resolved
from gateway.adapters.shared_pepper import settle
from gateway.base.errors import ConfigurationError, Problem
from gateway.base.files import Signature, signature
from gateway.base.ports import SnapshotSource, SourceKind, SourceStatus
from gateway.base.redis_url import RedisUrl
from gateway.base.snapshot import Snapshot

POLL_S = 2.0
"""How often the pointer is looked at unasked."""
SILENCE_S = 3 * POLL_S
"""A subscription whose pings are not answered for so long is made anew."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0
"""Before Redis is tried again: a random time up to the first, up to twice as much each time, and up to the last."""
STOP_S = 0.25
"""The thread looks so often whether it should end."""


class _Taken(msgspec.Struct, frozen=True):
    """A release that was found good."""

    release: Release
    snapshot: Snapshot
    files: dict[str, Signature]
    """What it refers to on this node, as it was when it was taken."""
    at_s: float


class RedisSource:
    """See the module.

    Args:
        url: where.
        pepper: the fleet's: the key of signatures and of callers' HMACs.
        last_good: the file of the last good release.
        fallback: the node's own file.
        resolve: the secret behind a reference; raises ValueError.
        pepper_file: where the pepper that the fleet shares in Redis is remembered; None where it shares none. See `shared_pepper`.
    """

    def __init__(
        self,
        url: RedisUrl,
        pepper: bytes,
        last_good: Path,
        fallback: SnapshotSource,
        resolve: Resolve,
        *,
        pepper_file: Path | None = None,
    ) -> None:
        self._url = url
        self._pepper = pepper
        self._seal = Seal(pepper)
        self._last_good = last_good
        self._fallback = fallback
        self._resolve = resolve
        self._pepper_file = pepper_file
        self._lock = threading.Lock()
        """Over the six that follow, which the thread changes and the agent reads."""
        self._taken: _Taken | None = None
        self._newest: Release | None = None
        """That this node has run."""
        self._kind: SourceKind = "file"
        self._fault = ""
        self._reason = ""
        self._news = False
        self._fetched: tuple[Release, bytes, Snapshot] | None = None
        self._unwritten: bytes | None = None
        """The content of what serves, where the disk did not take it: tried again at each look."""
        """The newest release that is whole, until it is taken."""
        self._file_problems: list[str] = []
        self._wake: Callable[[], object] = lambda: None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._read_last_good()

    # -- the port

    def watch(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._thread = threading.Thread(target=self._follow, name="redis-config", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            # One that waits for Redis right now ends by its time-outs, or with the process.
            self._thread.join(STOP_S * 2)

    def changed(self) -> bool:
        with self._lock:
            news, taken = self._news, self._taken
        return news or self._fallback.changed() or (taken is not None and _signatures(taken.files) != taken.files)

    def load(self) -> Snapshot:
        """What serves. The file is read too: it has the node's log level, and stands in while there is no release.

        Raises:
            ConfigurationError: the file has mistakes, and there is no release; or a secret of the release has gone since.
        """
        with self._lock:
            self._news = False
            before = taken = self._taken
            if taken is not None:
                taken = self._taken = msgspec.structs.replace(taken, files=_signatures(taken.files))
        if taken is None:
            self._file_problems = []
            return self._fallback.load()
        if before is not None and taken.files != before.files:
            self._require_resolved(taken.snapshot)
        if self._fallback.changed():
            self._file_problems = []
            try:
                self._fallback.load()
            except ConfigurationError as error:
                self._file_problems = [str(problem) for problem in error.problems]
        return taken.snapshot

    def last_good(self) -> Snapshot | None:
        """The file's, while there is no release: the keys of a release are its own."""
        with self._lock:
            taken = self._taken
        return self._fallback.last_good() if taken is None else None

    def _require_resolved(self, snapshot: Snapshot) -> None:
        try:
            require_resolved(snapshot, self._resolve)
        except RefusedError as error:
            raise ConfigurationError([Problem(str(self._url), 0, 0, "", str(error))]) from error

    @property
    def log_level(self) -> str | None:
        return self._fallback.log_level

    @property
    def warnings(self) -> Sequence[str]:
        return [*self._file_problems, *self._fallback.warnings]

    @property
    def status(self) -> SourceStatus:
        with self._lock:
            taken, kind, fault, reason = self._taken, self._kind, self._fault, self._reason
        if taken is None:
            return msgspec.structs.replace(self._fallback.status, fault=fault, reason=reason)
        return SourceStatus(kind, str(self._url), taken.release.sequence, taken.at_s, fault, reason)

    # -- following Redis

    def _follow(self) -> None:
        """The thread."""
        delay_s = FIRST_DELAY_S
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._session()
            except RedisDownError as error:
                self._tell("unreachable", str(error))
            except Exception as error:  # a fault of ours must be seen, and must not end the following
                self._tell("internal", f"{type(error).__name__}: {error}")
            if time.monotonic() - began > LONGEST_DELAY_S:
                delay_s = FIRST_DELAY_S
            self._stopping.wait(random.uniform(0, delay_s))  # noqa: S311 - spreads the nodes, hides nothing
            delay_s = min(delay_s * 2, LONGEST_DELAY_S)

    def _session(self) -> None:
        """One connection's time. Raises RedisDownError at its end."""
        store = ReleaseStore(self._url)
        try:
            with translated(self._url):
                subscription = store.client.pubsub()
            try:
                with translated(self._url):
                    subscription.subscribe(CHANNEL)
                self._attend(store, subscription)
            finally:
                with translated(self._url):
                    subscription.close()
        finally:
            store.close()

    def _attend(self, store: ReleaseStore, subscription: PubSub) -> None:
        heard_s = time.monotonic()
        look_s = heard_s
        while not self._stopping.is_set():
            now_s = time.monotonic()
            if now_s >= look_s:
                look_s = now_s + POLL_S
                self.look(store)
                with translated(self._url):
                    subscription.ping()
            with translated(self._url):
                message = subscription.get_message(timeout=min(STOP_S, max(0.001, look_s - time.monotonic())))
            if message is not None:
                heard_s = time.monotonic()
                if message["type"] == "message":
                    look_s = heard_s
            elif time.monotonic() - heard_s > SILENCE_S:
                raise RedisDownError(f"{self._url} does not answer on the subscription")

    def look(self, store: ReleaseStore) -> None:
        """Compares the pointer with what serves, and takes what is newer. Raises RedisDownError."""
        try:
            self._require_same_pepper(store)
        except RefusedError as error:
            self._tell(error.reason, str(error))
            return
        pointer = store.pointer()
        with self._lock:
            taken = self._taken
        if pointer is None:
            if taken is None:
                self._tell("", "")
            else:
                self._tell(
                    "empty", f"{self._url} holds no configuration any more; the last good one serves; publish it again"
                )
            return
        try:
            release = self._seal.read(pointer)
            if taken is not None and release == taken.release:
                self._confirm(*self._write(release))
                return
            require_newer(release, self._newest)
            value, snapshot = self._fetch(store, release)
            files = _signatures(_files(snapshot))
            require_resolved(snapshot, self._resolve)
        except RefusedError as error:
            self._tell(error.reason, str(error))
            return
        self._fetched = None
        self._unwritten = value
        self._take(release, snapshot, files, *self._write(release))

    def _write(self, release: Release) -> tuple[str, str]:
        """Keeps what is not on disk yet. The fault, if it cannot be kept: it serves all the same."""
        if self._unwritten is None:
            return "", ""
        try:
            write_last_good(self._last_good, release, self._unwritten)
        except OSError as error:
            fault = f"{self._last_good} cannot be written: {error.strerror}; a start without Redis would not have this release"
            return "disk", fault
        self._unwritten = None
        return "", ""

    def _require_same_pepper(self, store: ReleaseStore) -> None:
        """Raises RefusedError where the fleet shares another pepper than ours, RedisDownError."""
        if self._pepper_file is None:
            return
        try:
            pepper = settle(store, self._pepper_file, self._pepper)
        except OSError as error:
            raise RefusedError(
                "disk", f"{self._pepper_file} cannot be used: {error.strerror}; nothing is taken"
            ) from error
        if pepper != self._pepper:
            raise RefusedError(
                "pepper",
                f"{self._url} shares a pepper that this node has not begun with; it is taken up by `throughway restart`",
            )

    def _fetch(self, store: ReleaseStore, release: Release) -> tuple[bytes, Snapshot]:
        """The content of a release. One that waits for a secret is fetched once. Raises RedisDownError, RefusedError."""
        if self._fetched is None or self._fetched[0] != release:
            value = store.value(release.version)
            self._fetched = (release, value or b"", open_value(release, value))
        return self._fetched[1:]

    # -- what is known

    def _notify(self) -> None:
        if not self._stopping.is_set():
            self._wake()

    def _take(
        self, release: Release, snapshot: Snapshot, files: dict[str, Signature], reason: str = "", fault: str = ""
    ) -> None:
        with self._lock:
            self._taken, self._newest = _Taken(release, snapshot, files, time.time()), release
            self._kind, self._news = "redis", True
            self._reason, self._fault = reason, fault
        self._notify()

    def _confirm(self, reason: str, fault: str) -> None:
        """Redis holds what serves."""
        with self._lock:
            same = (self._kind, self._reason, self._fault) == ("redis", reason, fault)
            self._kind, self._reason, self._fault = "redis", reason, fault
        if not same:
            self._notify()

    def _tell(self, reason: str, fault: str) -> None:
        """What serves stays; why nothing newer does is told once."""
        with self._lock:
            if reason == self._reason == "unreachable":
                return  # in other words
            same = (self._reason, self._fault) == (reason, fault)
            self._kind = "file" if self._taken is None else "last-known-good"
            self._reason, self._fault = reason, fault
        if not same:
            self._notify()

    def _read_last_good(self) -> None:
        try:
            found = read_last_good(self._last_good, self._seal)
            if found is None:
                return
            self._newest, snapshot = found
            files = _signatures(_files(snapshot))
            require_resolved(snapshot, self._resolve)
        except (OSError, RefusedError) as error:
            self._reason, self._fault = "last_good", f"{self._last_good} cannot be used: {error}"
            return
        self._kind = "last-known-good"
        self._taken = _Taken(self._newest, snapshot, files, self._newest.at_ms / 1_000)


def _files(snapshot: Snapshot) -> dict[str, Signature]:
    """The files that a snapshot refers to."""
    references = [reference for p in snapshot.providers for reference in p.references()]
    names = [each.removeprefix("file:") for each in references if each.startswith("file:")]
    names += [file for p in snapshot.providers for file in (p.ca_file, p.cert_file, p.key_file) if file]
    names += [p.auth.key_file for p in snapshot.providers if p.auth is not None and p.auth.key_file]
    return dict.fromkeys(names)


def _signatures(files: dict[str, Signature]) -> dict[str, Signature]:
    return {name: signature(Path(name)) for name in files}
