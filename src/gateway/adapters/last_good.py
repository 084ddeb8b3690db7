"""The last good release on disk: what a node begins with while Redis is away, and the number below which it takes none.

    one line: the release, as JSON; then the snapshot's bytes

It is checked like what comes from Redis: signature, digest, version.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.adapters.release import Release, Seal, open_value
from gateway.base.private import make_private
from gateway.base.snapshot import Snapshot


def read_last_good(file: Path, seal: Seal) -> tuple[Release, Snapshot] | None:
    """What `write_last_good` wrote; None where nothing was. Raises OSError, RefusedError."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return None
    pointer, _, value = data.partition(b"\n")
    release = seal.read(pointer)
    return release, open_value(release, value)


def write_last_good(file: Path, release: Release, value: bytes) -> None:
    """Replaces the file as a whole. Raises OSError."""
    replace_private(file, msgspec.json.encode(release) + b"\n" + value)


def replace_private(file: Path, data: bytes) -> None:
    """Replaces a file that its owner alone may read: another reader sees the old one or the new one, whole. Raises OSError."""
    make_private(file.parent)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
