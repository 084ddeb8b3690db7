"""The canonical form of embeddings: what is asked for and what is answered, in the words of no dialect.

Beside `gateway.base.messages`, by its rules: what one side has no place for is told to `Lost` or refused.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from _fastpath.usage import Usage
from gateway.base.messages import Block

Vector: TypeAlias = str | msgspec.Raw
"""A JSON list of numbers as it came, or, as a `str`, the base64 of 32-bit floats, the lowest byte first."""


class EmbedInput(msgspec.Struct, omit_defaults=True):
    """What becomes one vector."""

    blocks: list[Block]
    tokens: list[int] = []
    """In place of `blocks`: the ids of tokens, of the model's own vocabulary."""
    dimensions: int | None = None
    """Of the vector; None: as many as the model makes."""
    task: str = ""
    """What the vector is for, such as "RETRIEVAL_QUERY"; "" where nobody said."""
    title: str = ""
    """Of the document that the input is a part of."""


class EmbedRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Vectors are asked for, one of each input."""

    model: str
    inputs: list[EmbedInput]
    encoding: Literal["float", "base64"] = "float"
    """How the caller wants them."""
    user: str = ""
    """An opaque name of the end user, for the provider's abuse checks."""


class EmbedAnswer(msgspec.Struct, omit_defaults=True):
    model: str
    vectors: list[Vector]
    """In the order of the inputs."""
    usage: Usage | None = None
