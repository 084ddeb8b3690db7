"""Callers' keys: their form, their HMACs, and the store of those made by `throughway keys create`.

A key reads `tw_KEYID_SECRETCHECK`: ten base32 digits that name it, 32 base62 digits of secret (190 bits), and six of
the CRC-32 of all that precedes, so that a mistyped key is told from a revoked one without a look-up. Only an
HMAC-SHA256 of the whole, under the node's pepper, is kept: who reads the store can neither use nor guess a key.

The store is one JSON file, replaced as a whole (write, fsync, rename), written under an fcntl lock by one process at a
time. A revoked key stays in it, so that its name in old records still resolves; its name may be given again.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import string
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gateway.base.files import make_private, replace_private
from gateway.base.snapshot import Budget, Key, Limits

MAX_KEYS = 100_000
PREFIX = "tw"
FORMAT = 1

_BASE32 = string.ascii_lowercase + "234567"
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_DIGITS, _SECRET_DIGITS, _CHECK_DIGITS = 10, 32, 6


class KeyStoreError(ValueError):
    """The store cannot do what was asked. The message is one line with the fix."""


class StoredKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key of the store, revoked or not."""

    key: Key
    created_at_s: int
    """Unix time."""
    revoked_at_s: int | None = None

    @property
    def live(self) -> bool:
        return self.revoked_at_s is None


class _File(msgspec.Struct, frozen=True):
    format: int
    pepper_mark: str
    """Tells under which pepper the HMACs were made; says nothing about it."""
    keys: tuple[StoredKey, ...] = ()


def key_hmac(pepper: bytes, secret: str) -> str:
    """Hex HMAC-SHA256 of a whole key under the pepper (RFC 2104)."""
    return hmac.digest(pepper, secret.encode(), "sha256").hex()


def new_secret() -> tuple[str, str]:
    """A new key: its id, and the whole of it."""
    key_id = _random_digits(_BASE32, _ID_DIGITS)
    body = f"{PREFIX}_{key_id}_" + _random_digits(_BASE62, _SECRET_DIGITS)
    return key_id, body + _checksum(body)


def key_id_of(secret: str) -> str | None:
    """The id in a key of our form; None where the form or the checksum is wrong, as after a slip in copying."""
    prefix, _, rest = secret.partition("_")
    key_id, _, digits = rest.partition("_")
    sound = (
        prefix == PREFIX
        and len(key_id) == _ID_DIGITS
        and len(digits) == _SECRET_DIGITS + _CHECK_DIGITS
        and set(key_id) <= set(_BASE32)
        and set(digits) <= set(_BASE62)
        and secret[-_CHECK_DIGITS:] == _checksum(secret[:-_CHECK_DIGITS])
    )
    return key_id if sound else None


def pepper_mark(pepper: bytes) -> str:
    """Sixteen hex digits that tell peppers apart."""
    return hmac.digest(pepper, b"throughway pepper mark", "sha256").hex()[:16]


class KeyStore:
    """The keys of one state directory.

    Args:
        path: the file; it and its directory need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(
        self,
        name: str,
        *,
        pepper: bytes,
        team: str | None = None,
        models: tuple[str, ...] = ("*",),
        passthrough: tuple[str, ...] = (),
        limits: Limits = Limits(),  # noqa: B008 (immutable)
        budget: Budget | None = None,
        expires_at_s: int | None = None,
    ) -> tuple[StoredKey, str]:
        """Adds a key.

        Args:
            name: not that of another live key.
            pepper: the node's.
            team: the name of a team of the configuration.
            models: names, or patterns with `*`.
            passthrough: names of providers that it may ask as they stand, or `*`.
            limits, budget: of this key alone.
            expires_at_s: Unix time.

        Returns:
            What is kept, and the secret: the caller shows it once, nobody can find it again.

        Raises:
            KeyStoreError: the name is taken or malformed, the pepper is another one, or the store is full or
            unreadable.
        """
        _check_name(name)
        with self._locked():
            stored = self._read()
            self._check_room(stored, name, pepper)
            key_id, secret = new_secret()
            key = Key(key_id, name, key_hmac(pepper, secret), team, models, limits, budget, expires_at_s, passthrough)
            added = StoredKey(key, int(time.time()))
            self._write(_File(FORMAT, pepper_mark(pepper), (*stored.keys, added)))
        return added, secret

    def list(self) -> tuple[StoredKey, ...]:
        """All keys, revoked ones too, in the order in which they were made.

        Raises:
            KeyStoreError: the file is not a store.
        """
        return self._read().keys

    def made_under(self, pepper: bytes) -> bool:
        """Whether the keys can be checked under this pepper."""
        mark = self._read().pepper_mark
        return not mark or mark == pepper_mark(pepper)

    def revoke(self, id_or_name: str) -> StoredKey:
        """Ends a live key for ever.

        Raises:
            KeyStoreError: no live key has this id or name.
        """
        with self._locked():
            stored = self._read()
            index = self._find(stored, id_or_name)
            revoked = msgspec.structs.replace(stored.keys[index], revoked_at_s=int(time.time()))
            keys = (*stored.keys[:index], revoked, *stored.keys[index + 1 :])
            self._write(_File(FORMAT, stored.pepper_mark, keys))
        return revoked

    def _find(self, stored: _File, id_or_name: str) -> int:
        for index, entry in enumerate(stored.keys):
            if entry.live and id_or_name in (entry.key.id, entry.key.name):
                return index
        raise KeyStoreError(f'no live key has the id or name "{id_or_name}"; `throughway keys list` shows them')

    def _check_room(self, stored: _File, name: str, pepper: bytes) -> None:
        if any(entry.live and entry.key.name == name for entry in stored.keys):
            raise KeyStoreError(
                f'a key named "{name}" exists; choose another name or `throughway keys revoke {name}` first'
            )
        if len(stored.keys) >= MAX_KEYS:
            raise KeyStoreError(f"{self.path} holds {MAX_KEYS:,} keys, its bound; move revoked ones out of it")
        if stored.keys and stored.pepper_mark != pepper_mark(pepper):
            raise KeyStoreError(
                f"{self.path} was made under another pepper; restore that pepper, or move the file away"
            )

    def _read(self) -> _File:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return _File(FORMAT, "")
        except OSError as error:
            raise KeyStoreError(
                f"cannot read {self.path}: {_why(error)}; give it back to the user who serves"
            ) from error
        try:
            stored = _decoder.decode(data)
        except msgspec.DecodeError as error:
            raise KeyStoreError(f"{self.path} is not a store of keys ({error}); restore it from a backup") from error
        if stored.format != FORMAT:
            raise KeyStoreError(
                f"{self.path} has format {stored.format}, this version reads {FORMAT}; use the newer version"
            )
        return stored

    def _write(self, stored: _File) -> None:
        try:
            replace_private(self.path, msgspec.json.format(msgspec.json.encode(stored), indent=1) + b"\n")
            _sync_directory(self.path.parent)
        except OSError as error:
            raise KeyStoreError(f"cannot write {self.path}: {_why(error)}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time. The lock has a file of its own, since the store's is replaced."""
        try:
            make_private(self.path.parent)
            lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyStoreError(f"cannot write in {self.path.parent}: {_why(error)}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


_decoder = msgspec.json.Decoder(_File)


def _random_digits(alphabet: str, count: int) -> str:
    """Digits of the system's randomness, all equally likely: bytes past the last whole multiple are dropped."""
    usable = 256 - 256 % len(alphabet)
    digits = ""
    while len(digits) < count:
        digits += "".join(alphabet[byte % len(alphabet)] for byte in os.urandom(count) if byte < usable)
    return digits[:count]


def _checksum(text: str) -> str:
    rest, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECK_DIGITS):
        rest, digit = divmod(rest, 62)
        digits = _BASE62[digit] + digits
    return digits


def _check_name(name: str) -> None:
    if not name or len(name) > 48 or not all("!" <= c <= "~" for c in name) or "*" in name:
        raise KeyStoreError(
            f"{name!r} is no name for a key: at most 48 visible ASCII characters without spaces and `*`"
        )


def _sync_directory(directory: Path) -> None:
    """Makes a rename in it last through a power failure."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
