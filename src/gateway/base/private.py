"""Directories that their owner alone may enter: whoever can write into a node's state is that node, who can read it knows its keys."""

from __future__ import annotations

import stat
from pathlib import Path

PRIVATE = stat.S_IRWXU
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(directory: Path) -> None:
    """Makes a directory for its owner alone, with those above it that are missing. One that is there stays as it is. Raises OSError."""
    for each in reversed([directory, *directory.parents]):
        if not each.exists():
            each.mkdir(mode=PRIVATE, exist_ok=True)


def is_loose(directory: Path) -> bool:
    """Whether others than its owner may enter, read or write it. Raises OSError."""
    return bool(directory.stat().st_mode & _OTHERS)
