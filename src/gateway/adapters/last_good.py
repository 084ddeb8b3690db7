"""The last good release on disk: what a node begins with while Redis is away, and the number below which it takes none.

    one line: the release, as JSON; then the snapshot's bytes

It is checked like what comes from Redis: signature, digest, version.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.adapters.release import Release, Seal, open_value
from gateway.base.files import replace_private
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
