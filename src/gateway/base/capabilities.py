"""What a request needs of a model beside text, and whether a target is known not to have it.

A refusal must be right: what nobody knows is not held against a model, and of what the request needs only that counts which is certain.
A file may be no PDF. A count may be wrong, in a vocabulary that is not the model's, or of what a provider writes in other words than it got it
(tools), passes over (earlier thoughts) or shortens when it is asked to.

How long an answer may become is left to the provider. Where the prompt fits and the sum of prompt and bound does not, OpenAI and vLLM
refuse, Anthropic refuses with its older models and ends the answer at the context with its newer ones, and Google's bounds of the two are apart.
"""

from __future__ import annotations

import msgspec

from _fastpath.chat import (
    NEEDS_AUDIO,
    NEEDS_IMAGE,
    NEEDS_JSON_SCHEMA,
    NEEDS_PDF,
    NEEDS_TOOLS,
    NEEDS_VIDEO,
    Reading,
)
from gateway.base.messages import Request, Thinking
from gateway.base.ports import Exchange
from gateway.base.snapshot import Target

BY_NAME = {
    "image": NEEDS_IMAGE,
    "audio": NEEDS_AUDIO,
    "video": NEEDS_VIDEO,
    "pdf": NEEDS_PDF,
    "tools": NEEDS_TOOLS,
    "structured_output": NEEDS_JSON_SCHEMA,
}
"""The bits of `Reading.needs` and `Target.lacks`, by the words of the configuration."""
PARTS = ("image", "audio", "video", "pdf")
"""Those that stand in a prompt, beside text."""
MARGIN = 16
"""A prompt that was counted exactly may be wrong by one in so many tokens."""

_TOLD = {
    NEEDS_IMAGE: "images",
    NEEDS_AUDIO: "audio",
    NEEDS_VIDEO: "video",
    NEEDS_PDF: "PDF documents",
    NEEDS_TOOLS: "tools",
    NEEDS_JSON_SCHEMA: "output by a JSON schema",
}
_SHORTENING = (b'"truncation"', b'"context_management"', b'"transforms"', b'"plugins"')
"""Fields by which a caller asks for a shorter prompt than it sends: OpenAI's Responses, Anthropic, OpenRouter (both)."""
_LONGER = b"context-"
"""In `anthropic-beta`: a longer context than the model's own, or one that is edited (`context-1m-...`, `context-management-...`)."""


class Demand(msgspec.Struct, frozen=True):
    """What a request certainly needs."""

    needs: int
    """Bits of BY_NAME."""
    tokens: int
    """Of its prompt, at the least, whatever the vocabulary."""
    own_tokens: int
    """The same in the vocabulary that it was counted in."""

    def met_by(self, target: Target, *, own: bool) -> bool:
        """Whether the target is not known to be unable.

        Args:
            own: whether it has that vocabulary.
        """
        return not self.lacking(target) and not 0 < target.context_tokens < (self.own_tokens if own else self.tokens)

    def lacking(self, target: Target) -> int:
        return self.needs & target.lacks


def words(bits: int) -> str:
    """For a sentence: "images, tools"."""
    return ", ".join(word for bit, word in _TOLD.items() if bits & bit)


def certain_needs(reading: Reading, body: bytes) -> int:
    """Of what was read natively, a file is a PDF only if it says so."""
    if reading.request is None and reading.needs & NEEDS_PDF and b"application/pdf" not in body:
        return reading.needs & ~NEEDS_PDF
    return reading.needs


def certain_tokens(reading: Reading, exchange: Exchange, counted: int, *, exact: bool) -> tuple[int, int]:
    """`Demand.tokens` and `own_tokens` of a prompt; 0 where they cannot be said.

    Args:
        counted: tokens of its texts. Images and other media are not among them: nobody knows what those come to.
        exact: whether none was left out, and all of it is put to the model as it stands.
    """
    if _is_shortened(exchange) or (reading.request is not None and _has_thoughts(reading.request.request)):
        return 0, 0
    return counted // 2, counted - counted // MARGIN if exact else counted // 2


def _is_shortened(exchange: Exchange) -> bool:
    beta = b",".join(exchange.values(b"anthropic-beta"))
    return _LONGER in beta or any(name in exchange.body for name in _SHORTENING)


def _has_thoughts(request: Request) -> bool:
    return any(isinstance(block, Thinking) for message in request.messages for block in message.blocks)
