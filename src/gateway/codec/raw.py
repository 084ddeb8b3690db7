"""JSON that is carried on as it stands."""

from __future__ import annotations

import msgspec

ABSENT = msgspec.Raw(b"null")
"""The default of a field that is kept unread: a union with Raw would admit nothing but null."""


def given(value: object) -> bool:
    """Neither left out nor null."""
    return value is not ABSENT and value is not None and value != ABSENT
