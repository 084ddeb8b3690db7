"""What a node does with its files: their directories are its own alone, they are replaced as a whole, and changes of others' are noticed.

Whoever can write into a node's state is that node, and who can read it knows its keys.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

PRIVATE = stat.S_IRWXU
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OWNER_ALONE = stat.S_IRUSR | stat.S_IWUSR

Signature = tuple[int, int, int] | None
"""Of a file: mtime in ns, size, inode; None where it cannot be read. Editors that replace a file change its inode."""


def make_private(directory: Path) -> None:
    """Makes a directory for its owner alone, with those above it that are missing. One that is there stays as it is. Raises OSError."""
    for each in reversed([directory, *directory.parents]):
        if not each.exists():
            each.mkdir(mode=PRIVATE, exist_ok=True)


def is_loose(directory: Path) -> bool:
    """Whether others than its owner may enter, read or write it. Raises OSError."""
    return bool(directory.stat().st_mode & _OTHERS)


def replace_private(file: Path, data: bytes, *, durable: bool = True) -> None:
    """Replaces a file that its owner alone may read: another reader sees the old one or the new one, whole.

    Args:
        file: its directory is made where it is missing.
        data: its new content.
        durable: whether it must outlast a loss of power, which takes the time of a disk.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    make_private(file.parent)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, _OWNER_ALONE), "wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def signature(file: Path) -> Signature:
    """What changes when the file's content does."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
