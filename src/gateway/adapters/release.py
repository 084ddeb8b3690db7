"""A release: what says that from now on a fleet runs a certain snapshot, and how a node makes sure of it.

A release names the snapshot's version and the SHA-256 of its bytes, and carries a sequence number and a signature over all of
that: HMAC-SHA256 under a key made from the pepper, which every node of a fleet has anyway. So neither what was damaged nor what
was slipped in by somebody who can only write to the store is ever run, and neither is an old release that was put back, since
nobody can give it a higher number.

The sequence number is the Unix time of the publication in milliseconds, or the predecessor's plus one where that is later. A
store that was emptied or restored from a backup therefore goes on above what the nodes have seen.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from gateway.base.certificates import explain, load_pair
from gateway.base.credentials import read_service_account
from gateway.base.snapshot import Provider, Snapshot, SnapshotError, decode, encode

LAYOUT = 1
"""Of a release and of what it stands beside; a node refuses others."""

Resolve = Callable[[str], str]
"""The secret behind a reference, on this node; raises ValueError."""

Reason = Literal[
    "malformed",
    "layout",
    "pepper",
    "pepper_replaced",
    "signature",
    "stale",
    "missing",
    "damaged",
    "unresolved",
    "large",
    "disk",
]
"""Why a release is refused: a closed set, since it labels metrics."""


class RefusedError(ValueError):
    """This release is not run. The message is one line with what would help."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Release(msgspec.Struct, frozen=True):
    """See the module."""

    layout: int
    sequence: int
    version: str
    digest: str
    """Hex SHA-256 of the snapshot's bytes."""
    at_ms: int
    """Unix time of the publication."""
    by: str
    """Who published it, as the machine knows them."""
    note: str = ""
    signed_with: str = ""
    """Names the key of the signature; says nothing about it."""
    signature: str = ""


class _Layout(msgspec.Struct):
    layout: int


_releases = msgspec.json.Decoder(Release)
_layouts = msgspec.json.Decoder(_Layout)


class Seal:
    """Signs releases, and knows its own signature.

    Args:
        pepper: the fleet's.
    """

    def __init__(self, pepper: bytes) -> None:
        self._key = hmac.digest(pepper, b"throughway release", "sha256")
        self.name = hmac.digest(self._key, b"name", "sha256").hex()[:16]

    def release(self, snapshot: Snapshot, *, after: Release | None, by: str, note: str = "") -> tuple[bytes, bytes]:
        """A new release of a snapshot, and the snapshot's bytes.

        Args:
            after: the one that it replaces.
            by, note: for the history.
        """
        value = encode(snapshot)
        now_ms = time.time_ns() // 1_000_000
        release = Release(
            LAYOUT,
            now_ms if after is None else max(now_ms, after.sequence + 1),
            snapshot.version,
            hashlib.sha256(value).hexdigest(),
            now_ms,
            by,
            note,
            self.name,
        )
        return msgspec.json.encode(msgspec.structs.replace(release, signature=self._sign(release))), value

    def read(self, data: bytes) -> Release:
        """The release that these bytes are. Raises RefusedError: it is none of ours."""
        release = parse(data)
        self.check(release)
        return release

    def check(self, release: Release) -> None:
        """Raises RefusedError where it is none of ours."""
        if release.signed_with != self.name:
            raise RefusedError(
                "pepper",
                f"release {release.version} was signed under another pepper ({release.signed_with[:16]}, here {self.name}): set "
                "`pepper:` to the same secret everywhere, or restart this node to take up the pepper that Redis keeps",
            )
        if not hmac.compare_digest(release.signature.encode("utf-8", "replace"), self._sign(release).encode()):
            raise RefusedError(
                "signature", f"the signature of release {release.version} is wrong: it was changed; publish again"
            )

    def _sign(self, release: Release) -> str:
        signed = msgspec.json.encode(msgspec.structs.replace(release, signature=""), order="deterministic")
        return hmac.digest(self._key, signed, "sha256").hex()


def parse(data: bytes) -> Release:
    """A release as it is written, whoever signed it. Raises RefusedError: it is none, or of another layout."""
    try:
        layout = _layouts.decode(data).layout
        if layout != LAYOUT:
            raise RefusedError(
                "layout",
                f"the release has layout {layout}, this version reads {LAYOUT}; upgrade this node, or publish again",
            )
        return _releases.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError("malformed", f"what stands there is no release ({error}); publish again") from error


def open_value(release: Release, value: bytes | None) -> Snapshot:
    """The snapshot of a release, out of the bytes that are stored for it. Raises RefusedError."""
    if value is None:
        raise RefusedError("missing", f"the content of release {release.version} is missing; publish again")
    if hashlib.sha256(value).hexdigest() != release.digest:
        raise RefusedError("damaged", f"the content of release {release.version} is damaged; publish again")
    try:
        snapshot = decode(value)
    except SnapshotError as error:
        raise RefusedError("layout", f"the content of release {release.version} cannot be read: {error}") from error
    if snapshot.version != release.version:
        raise RefusedError("damaged", f"release {release.version} stands beside the content of {snapshot.version}")
    return snapshot


def require_newer(release: Release, than: Release | None) -> None:
    """Raises RefusedError where this node has run a later release, or another one with the same number."""
    if than is None or release.sequence > than.sequence or release == than:
        return
    raise RefusedError(
        "stale",
        f"release {release.version} (sequence {release.sequence}) is older than {than.version} (sequence {than.sequence}), which "
        "this node has run; to go back on purpose, `throughway config rollback`",
    )


def require_resolved(snapshot: Snapshot, resolve: Resolve) -> None:
    """Raises RefusedError, naming each provider whose secret or certificates are not to be had on this node."""
    missing = []
    for provider in snapshot.providers:
        try:
            _require_all_of(provider, resolve)
        except ValueError as error:
            missing.append(f'provider "{provider.name}": {error}')
    if missing:
        raise RefusedError(
            "unresolved", f"release {snapshot.version} needs what this node has not: {'; '.join(missing[:10])}"
        )


def _require_all_of(provider: Provider, resolve: Resolve) -> None:
    """Raises ValueError: what is missing."""
    for reference in provider.references():
        resolve(reference)
    if provider.auth is not None and provider.auth.key_file:
        read_service_account(Path(provider.auth.key_file)).signer()
    where = ""
    try:
        if provider.ca_file is not None:
            where = f"ca_file {provider.ca_file}"
            ssl.create_default_context(cafile=provider.ca_file)
        if provider.cert_file is not None and provider.key_file is not None:
            where = f"cert_file {provider.cert_file} with key_file {provider.key_file}"
            load_pair(ssl.create_default_context(), provider.cert_file, provider.key_file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{where}: {explain(error)}") from error
