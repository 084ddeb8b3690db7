"""JSON that is carried on as it stands."""

from __future__ import annotations

from typing import Any

import msgspec

ABSENT = msgspec.Raw(b"null")
"""The default of a field that is kept unread: a union with Raw would admit nothing but null."""


def given(value: object) -> bool:
    """Neither left out nor null."""
    return value is not ABSENT and value is not None and value != ABSENT


def decode_leniently(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """What a provider said: its bytes are passed on as they are, so a text that is not UTF-8 is read as well as it can be.

    Raises:
        msgspec.DecodeError, RecursionError: as the decoder does.
    """
    try:
        return decoder.decode(body)
    except UnicodeDecodeError:  # which msgspec leaves as it is
        return decoder.decode(str(body, "utf-8", "replace"))
