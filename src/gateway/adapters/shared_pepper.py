"""The pepper that a fleet without a `pepper` setting shares in Redis, as each state directory remembers it.

Who can write to Redis can replace it there. Were that followed, all keys would stop to work, and HMACs and signatures made under the
new one would count. So whoever meets the fleet's pepper for the first time writes it down, and from then on believes that file: another
one in Redis is refused and reported, and one that Redis has lost is put back. To change it on purpose the file is removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.adapters.release import RefusedError
from gateway.base.files import replace_private

if TYPE_CHECKING:  # a node without Redis loads nothing of it
    from gateway.adapters.redis_store import ReleaseStore


def remembered(file: Path) -> bytes | None:
    """What this state directory has seen first; None where it has seen none. Raises OSError."""
    try:
        return file.read_bytes().strip() or None
    except FileNotFoundError:
        return None


def known(store: ReleaseStore, file: Path) -> bytes | None:
    """The fleet's pepper; None where neither Redis nor the file has one.

    Raises:
        RefusedError: Redis holds another one than the file.
        RedisDownError, OSError: it cannot be asked, the file cannot be read.
    """
    theirs, ours = (store.pepper() or b"").strip() or None, remembered(file)
    if theirs is not None and ours is not None and theirs != ours:
        raise RefusedError(
            "pepper_replaced",
            f"{store.url} holds another pepper than {file} remembers: somebody has replaced it; nothing is taken from there until the "
            "remembered one is put back, or, if the change is meant, that file removed (docs/fleet.md)",
        )
    return ours or theirs


def settle(store: ReleaseStore, file: Path, own: bytes) -> bytes:
    """The fleet's pepper, remembered from now on and put back where Redis has lost it.

    Args:
        own: becomes the fleet's where it has none.

    Raises:
        RefusedError: as `known`.
        RedisDownError, OSError: it cannot be asked, the file cannot be read or written.
    """
    pepper = known(store, file) or own
    if store.pepper() is None:
        pepper = store.share_pepper(pepper)
    if remembered(file) is None:
        replace_private(file, pepper)
    return pepper
