"""`encrypted_content` of a reasoning item: the one place of this dialect where a client keeps what it does not understand.

In it stands a signature of whatever dialect (`codec/signatures`), and two things that have no other place here:

    tw1.redacted.SIGNATURE          the thought itself, encrypted, of a dialect that tells that from the signature of a thought
    tw1.call.LENGTH.ID.SIGNATURE    the signature of the call whose id that is (Gemini's), LENGTH being that of the id
"""

from __future__ import annotations

from gateway.base.messages import DialectName, Signature, Thinking
from gateway.codec.signatures import shown, taken

OWN: DialectName = "openai_responses"

_REDACTED = "tw1.redacted."
_CALL = "tw1.call."


def of_thinking(thinking: Thinking) -> str | None:
    """What stands in the item of a thought."""
    signature = thinking.signature
    if signature is None:
        return None
    told = shown(signature, OWN)
    return _REDACTED + told if thinking.redacted and signature.dialect != OWN else told


def of_call(call_id: str, signature: Signature) -> str:
    """What stands in the item beside a call."""
    return f"{_CALL}{len(call_id)}.{call_id}.{shown(signature, OWN)}"


def call_of(encrypted: str) -> tuple[str, Signature] | None:
    """The id of the call whose signature it is, and that; None where it is of no call."""
    if not encrypted.startswith(_CALL):
        return None
    length, _, rest = encrypted[len(_CALL) :].partition(".")
    if not length.isdecimal() or len(length) > 4 or rest[int(length) : int(length) + 1] != ".":
        return None
    return rest[: int(length)], taken(rest[int(length) + 1 :], OWN)


def thinking_of(text: str, encrypted: str, *, summary: bool) -> Thinking:
    """The thought of an item; `text` is "" where it is hidden."""
    if encrypted.startswith(_REDACTED):
        return Thinking(text, taken(encrypted[len(_REDACTED) :], OWN), redacted=True)
    signature = taken(encrypted, OWN)
    return Thinking(text, signature, redacted=not text and signature.dialect == OWN, summary=summary)
