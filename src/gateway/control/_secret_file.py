"""A file for a secret that the node makes itself: its pepper, the admin token."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gateway.base.files import make_private

_NAME_BYTES = 8


def make_secret_file(file: Path, secret: Callable[[], str]) -> bool:
    """Makes the file unless it is there. It appears whole: of two processes that start at once both read the same.

    Args:
        file: readable by its owner alone from its first byte on. Its directory is made where it is missing.
        secret: the line to keep; asked only where the file is missing.

    Returns:
        Whether the file is this call's.

    Raises:
        OSError: it cannot be made.
    """
    if file.exists():
        return False
    make_private(file.parent)
    temporary = file.with_name(f".{file.name}.{os.urandom(_NAME_BYTES).hex()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f"{secret()}\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        file.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True
