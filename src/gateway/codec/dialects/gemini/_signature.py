"""Thought signatures on Gemini's wire, where they are bytes in base64.

A foreign one (see `codec.signatures`) is therefore put into base64 once more, so that Google's clients can decode it; they send
it back in the alphabet for URLs. One of an encrypted thought is marked, since the part that carries it has no place to say so.
"""

from __future__ import annotations

import base64
import binascii

from gateway.base.messages import Signature, Thinking
from gateway.codec import signatures

_REDACTED = "red."
_HEADS = ("dHcxL", "cmVkL")
"""What "tw1." and "red." begin with in base64."""
_URL_SAFE = str.maketrans("+/", "-_")

SKIP = "skip_thought_signature_validator"
"""Google's own word for a call that another model made ("Thought signatures", FAQ): Gemini 3 refuses one without a signature."""


def shown(signature: Signature, redacted: bool = False) -> str:
    """As `thoughtSignature`."""
    if signature.dialect == "gemini":
        return signature.value
    text = (_REDACTED if redacted else "") + signatures.shown(signature, "gemini")
    return base64.urlsafe_b64encode(text.encode()).decode()


def taken(text: str) -> tuple[Signature, bool]:
    """Whose it is, and whether the thought is encrypted."""
    if text.startswith(_HEADS):
        inner = _decoded(text)
        redacted = inner.startswith(_REDACTED)
        signature = signatures.taken(inner.removeprefix(_REDACTED), "gemini")
        if signature.dialect != "gemini":
            return signature, redacted
    return Signature("gemini", text), False


def thinking(text: str, signature: str) -> Thinking:
    """A thought, by its text and its `thoughtSignature` ("" for none); Gemini tells summaries of what it thought."""
    if not signature:
        return Thinking(text, summary=bool(text))
    whose, redacted = taken(signature)
    return Thinking(text, whose, redacted, bool(text))


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text.translate(_URL_SAFE) + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
