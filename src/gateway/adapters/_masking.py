"""Takes secrets out of what is about to be logged: by the name of the field, and by the look of the text.

Masking stands at the sink because there every line passes; no caller has to remember it. What it cannot know is a
secret with no shape of its own under a name that says nothing: that must not be logged in the first place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

MASK = "***"
MAX_TEXT = 8_192
"""Characters of one text that are logged."""
MAX_DEPTH = 6
MAX_ITEMS = 100
"""Entries of one list or mapping that are logged."""

_NAME = re.compile(
    r"authorization|api[-_ ]?key|token|secret|passw|cookie|credential|pepper|private[-_ ]?key|signature", re.IGNORECASE
)
_TEXT = re.compile(
    r"""
    (?P<bearer>\bbearer\s+)[^\s"',;]+                                      # RFC 6750
    | (?<![A-Za-z0-9])(?P<key>sk-|tw_|xox[a-z]-|gh[a-z]_|hf_|pk-)[A-Za-z0-9_.+/=-]{6,}
    | (?<![A-Za-z0-9])(?P<cloud>AIza|AKIA|ASIA)[A-Za-z0-9_-]{12,}             # Google, AWS
    | (?P<jwt>\beyJ)[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_.-]*                       # RFC 7519
    | (?P<user>://[^\s/:@]*:)[^\s/@]+(?=@)                                   # RFC 3986, userinfo
    | (?P<query>[?&](?:key|token|sig|signature)=)[^\s"'&]+
    | (?P<param>(?:api[-_]?key|(?:access|refresh|id|auth|session)[-_]?token|secret|password|authorization)
        ["']?\s*[=:]\s*["']?(?:basic\s+)?)(?!bearer\b|\*)[^\s"'&,;}]+
    | (?P<pem>-----BEGIN\ [A-Z ]*PRIVATE\ KEY-----)[\s\S]*?(?:-----END\ [A-Z ]*-----|\Z)
    """,
    re.IGNORECASE | re.VERBOSE,
)


def mask_text(text: str) -> str:
    """Text in which "***" stands for what looks like a credential; its kind stays. Shortened to MAX_TEXT."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "..."
    text = _TEXT.sub(_keep_kind, text)
    # A lone surrogate (a file name, a header read as such) has no UTF-8: show it escaped.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _keep_kind(match: re.Match[str]) -> str:
    assert match.lastgroup is not None
    return match[match.lastgroup] + MASK


def mask_fields(fields: Mapping[str, object], depth: int = 0) -> dict[str, object]:
    """A copy of `fields` that is safe to log and to encode as JSON."""
    masked: dict[str, object] = {}
    for count, (name, value) in enumerate(fields.items()):
        if count == MAX_ITEMS:
            masked["..."] = f"{len(fields) - MAX_ITEMS} more"
            break
        masked[mask_text(str(name))] = _masked_as_secret(value) if _names_secret(str(name)) else _masked(value, depth)
    return masked


@lru_cache(maxsize=1024)
def _names_secret(name: str) -> bool:
    return _NAME.search(name) is not None


def _masked_as_secret(value: object) -> object:
    """Numbers go through: `input_tokens` counts, it does not open anything. So does what is empty or absent."""
    return value if value is None or isinstance(value, bool | int | float) or value in ("", b"") else MASK


def _masked(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, bytes | bytearray):
        return mask_text(value.decode("utf-8", "backslashreplace"))
    if depth < MAX_DEPTH:
        if isinstance(value, Mapping):
            return mask_fields(value, depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return [_masked(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
    return mask_text(str(value))
