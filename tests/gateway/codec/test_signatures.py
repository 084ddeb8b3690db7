"""A signature comes back to the provider that made it, and to no other."""

from __future__ import annotations

import pytest

from gateway.base.messages import Signature
from gateway.codec.signatures import shown, taken


@pytest.mark.parametrize("value", ["", "EqQBCkYI", "a.b.c", "tw1.gemini.x"])
def test_a_foreign_signature_is_known_again(value: str) -> None:
    signature = Signature("gemini", value)
    assert taken(shown(signature, "anthropic"), "anthropic") == signature


def test_ones_own_stands_as_it_is() -> None:
    assert shown(Signature("anthropic", "EqQB"), "anthropic") == "EqQB"
    assert taken("EqQB", "anthropic") == Signature("anthropic", "EqQB")


@pytest.mark.parametrize("text", ["tw1.", "tw1.nobody.x", "tw2.gemini.x"])
def test_what_only_looks_like_a_mark_is_ones_own(text: str) -> None:
    assert taken(text, "openai_chat") == Signature("openai_chat", text)
