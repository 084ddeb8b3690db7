"""Signatures of one dialect, carried through another.

A provider signs what its model thought and wants it back unchanged; a client of another dialect keeps it as an opaque text and sends it
back. So that on the way back it is known whose it is, a foreign one is marked: `tw1.<dialect>.<value>`.
"""

from __future__ import annotations

from typing import get_args

from gateway.base.messages import DialectName, Signature

_MARK = "tw1."
MARK = b'"tw1.'
"""What begins a JSON string that is marked: where it stands in a body, something may be for another provider than the one that is asked."""
_NAMES: tuple[DialectName, ...] = get_args(DialectName)


def shown(signature: Signature, own: DialectName) -> str:
    """As it stands in an answer of the dialect `own`."""
    return signature.value if signature.dialect == own else f"{_MARK}{signature.dialect}.{signature.value}"


def taken(text: str, own: DialectName) -> Signature:
    """What a caller of the dialect `own` sends back."""
    if text.startswith(_MARK):
        name, _, value = text[len(_MARK) :].partition(".")
        for dialect in _NAMES:
            if dialect == name:
                return Signature(dialect, value)
    return Signature(own, text)
