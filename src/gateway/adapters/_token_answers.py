"""What issuers of tokens answer, read with care: RFC 6749 sections 5.1 and 5.2, which metadata servers follow too.

Microsoft's managed identities write numbers as text. An issuer may repeat in an error what it was sent: only words that can be no
secret are told on.
"""

from __future__ import annotations

import math
import re

import msgspec

from gateway.base.ports import Token, TokenError

MAX_TOKEN_BYTES = 16_384
MAX_LIFE_S = 86_400
"""A token that lives longer is renewed within a day all the same."""
MAX_SAID_CHARS = 300
"""Of an issuer's own words on an error."""

_VISIBLE = re.compile(r"[!-~]+\Z")
_PLAIN_WORD = re.compile(r"[(\"']?(?:[A-Za-z][a-z'-]{0,15}|[A-Z]{2,8}|[0-9]{1,4}|AADSTS[0-9]{1,9})[)\"'.,:;!?]*\Z")
_CODE = re.compile(r"[a-z_]{1,40}\Z")


class _Answered(msgspec.Struct):
    access_token: str
    expires_in: int | float | str
    token_type: str = "Bearer"  # noqa: S105 - the name of a type


class _Refused(msgspec.Struct):
    error: object = ""
    error_description: object = ""


_answers, _refusals = msgspec.json.Decoder(_Answered), msgspec.json.Decoder(_Refused)


def read_token(status: int, body: bytes) -> Token:
    """The token that was answered.

    Raises:
        TokenError: none was.
    """
    if status != 200:
        raise TokenError(f"was answered {status}{_said(body)}")
    try:
        answer = _answers.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise TokenError("was answered what is no token: JSON with `access_token` and `expires_in` is wanted") from None
    if answer.token_type.lower() != "bearer":
        raise TokenError("was answered a token of another type than Bearer")
    if not _VISIBLE.match(answer.access_token) or len(answer.access_token) > MAX_TOKEN_BYTES:
        raise TokenError(f"was answered a token that is not 1 to {MAX_TOKEN_BYTES:,} visible ASCII characters")
    return Token(answer.access_token, min(_life_s(answer.expires_in), MAX_LIFE_S))


def _life_s(told: int | float | str) -> float:
    try:
        life_s = float(told)
    except (ValueError, OverflowError):
        life_s = math.nan
    if not life_s > 0:
        raise TokenError("was answered a token that has expired already, or says no `expires_in`")
    return life_s


def _said(body: bytes) -> str:
    """The issuer's own words, such as can be no secret."""
    try:
        refused = _refusals.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""
    code = refused.error if isinstance(refused.error, str) and _CODE.match(refused.error) else ""
    text = refused.error_description if isinstance(refused.error_description, str) else ""
    words = [word if _PLAIN_WORD.match(word) else "…" for word in text[:MAX_SAID_CHARS].split()]
    return "".join(f": {part}" for part in (code, re.sub(r"…( …)+", "…", " ".join(words))) if part)
