"""The releases of a fleet in Redis.

    {throughway}:config:pointer          the release in force
    {throughway}:config:history          releases, the newest first, at most HISTORY of them
    {throughway}:config:value:VERSION    a snapshot's bytes; never changed, since VERSION is made from them
    {throughway}:config:changed          a channel: says that the pointer has changed
    {throughway}:pepper                  the fleet's pepper, where the nodes are given none

The hash tag keeps all of it in one slot of a Cluster. A publication is one script: it compares the pointer with the release that
its author saw, and then changes everything or nothing.
"""

from __future__ import annotations

from gateway.adapters.redis_client import Client, connect, translated
from gateway.adapters.release import RefusedError, Release, Seal, open_value, parse
from gateway.base.redis_url import RedisUrl
from gateway.base.snapshot import Snapshot

HISTORY = 100
"""Releases that are kept, with their contents."""
MAX_VALUE_BYTES = 67_108_864
"""Of a snapshot: some 200,000 keys. No more is ever read, whatever stands there."""
MAX_SMALL_BYTES = 16_384
"""Of a release, and of the pepper."""
MAX_NOTE = 500
"""Characters of an author and of a note; the rest is cut off."""
POINTER = "{throughway}:config:pointer"
LIST = "{throughway}:config:history"
VALUE = "{throughway}:config:value:"
CHANNEL = "{throughway}:config:changed"
PEPPER = "{throughway}:pepper"

_PUBLISH = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
for i = 4, #KEYS do redis.call('DEL', KEYS[i]) end
redis.call('SET', KEYS[3], ARGV[3])
redis.call('LPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
"""
"""KEYS: pointer, history, value, values that go. ARGV: the pointer's expected bytes, release, value, HISTORY, channel, version."""


class ConflictError(RuntimeError):
    """Somebody else has published meanwhile."""


class UnknownVersionError(ValueError):
    """The history has no such version. The message is one line."""


class ReleaseStore:
    """See the module. Methods raise RedisDownError.

    Args:
        url: where.
        client: made from `url` if not given.
    """

    def __init__(self, url: RedisUrl, client: Client | None = None) -> None:
        self.url = url
        self.client = client if client is not None else connect(url)

    def close(self) -> None:
        with translated(self.url):
            self.client.close()

    # -- reading

    def pointer(self) -> bytes | None:
        """The release in force, as it is stored."""
        return self._read(POINTER, MAX_SMALL_BYTES)

    def value(self, version: str) -> bytes | None:
        """The bytes of a snapshot."""
        return self._read(VALUE + version, MAX_VALUE_BYTES)

    def _read(self, key: str, limit: int) -> bytes | None:
        """What is longer than `limit` comes back a byte longer than that, and so fits nothing."""
        with translated(self.url):
            return self.client.getrange(key, 0, limit) or None

    def history(self) -> list[Release]:
        """Releases, the newest first; what is none is passed over."""
        with translated(self.url):
            entries = self.client.lrange(LIST, 0, HISTORY - 1)
        found = []
        for entry in entries:
            try:
                found.append(parse(entry))
            except RefusedError:
                continue  # of a newer version, or damaged: nothing that could be gone back to from here
        return found

    def find(self, version: str | None) -> Release:
        """The newest release of a version, or of the only one that begins so; of the version in force for None.

        Raises:
            UnknownVersionError: there is none, or more than one.
        """
        history = self.history()
        if version is None:
            if not history:
                raise UnknownVersionError(
                    f"{self.url} holds no configuration yet; `throughway config push FILE` publishes one"
                )
            return history[0]
        fitting = {release.version: release for release in reversed(history) if release.version.startswith(version)}
        if len(fitting) != 1:
            what = "no version that is, or begins with," if not fitting else f"{len(fitting)} versions that begin with"
            raise UnknownVersionError(f'{self.url} has {what} "{version}"; `throughway config history` lists them')
        return next(iter(fitting.values()))

    def snapshot(self, release: Release) -> Snapshot:
        """The content of a release. Raises RefusedError."""
        return open_value(release, self.value(release.version))

    # -- writing

    def publish(self, seal: Seal, snapshot: Snapshot, *, over: bytes | None, by: str, note: str = "") -> Release:
        """Makes a snapshot the one in force.

        Args:
            seal: signs it.
            over: the pointer that its author saw.
            by, note: for the history.

        Raises:
            ConflictError: the pointer is another one by now; nothing was changed.
            RefusedError: the pointer is of a layout that this version does not know, or the snapshot is too large.
        """
        before = _replaced(over)
        release, value = seal.release(snapshot, after=before, by=by[:MAX_NOTE], note=note[:MAX_NOTE])
        if len(value) > MAX_VALUE_BYTES:
            raise RefusedError(
                "large", f"the configuration has {len(value):,} bytes, more than {MAX_VALUE_BYTES:,}; take keys out"
            )
        history = self.history()
        kept = {each.version for each in history[: HISTORY - 1]} | {snapshot.version}
        gone = sorted({each.version for each in history[HISTORY - 1 :]} - kept)
        keys = [POINTER, LIST, VALUE + snapshot.version, *(VALUE + version for version in gone)]
        with translated(self.url):
            done = self.client.eval(
                _PUBLISH, len(keys), *keys, over or b"", release, value, HISTORY, CHANNEL, snapshot.version
            )
        if not done:
            raise ConflictError("somebody else has published meanwhile; look at `throughway config diff` and try again")
        return parse(release)

    # -- the shared pepper

    def pepper(self) -> bytes | None:
        """The pepper that the fleet shares, where it shares one here."""
        return self._read(PEPPER, MAX_SMALL_BYTES)

    def share_pepper(self, pepper: bytes) -> bytes:
        """Makes this the fleet's pepper unless it has one; the fleet's."""
        with translated(self.url):
            self.client.set(PEPPER, pepper, nx=True)
        return self.pepper() or pepper


def _replaced(pointer: bytes | None) -> Release | None:
    """The release of a pointer; None where there is none, or only what is damaged: to publish again is what mends it."""
    try:
        return None if pointer is None else parse(pointer)
    except RefusedError as error:
        if error.reason == "layout":
            raise
        return None
