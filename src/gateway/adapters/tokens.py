"""Counts prompt tokens with the kernel: exactly from the first request on, and without loading anything.

No prompt may hold the loop for long, and what a byte costs to count depends on what the caller sends. So the bound is one of the
work: STEPS are a millisecond or two of any text. What is left undone then is estimated from samples.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from _fastpath.tokens import ENCODINGS, Encoding, get

STEPS = 65_536
"""Of the kernel, for one prompt: about 200 kB of prose or code, 150 kB of Chinese, 10 kB of random letters."""
SAMPLES = 32
SAMPLE_BYTES = 512
"""A sample gains a token where a cut falls into one: about one in a hundred."""


class KernelCounter:
    """A `TokenCounter`.

    Args:
        on_estimate: called for each prompt that is estimated.

    Raises:
        RuntimeError: the package is incomplete: its vocabularies are missing or of another version.
    """

    def __init__(self, on_estimate: Callable[[], object] = lambda: None) -> None:
        self._encodings = {name: get(name) for name in ENCODINGS}
        self._on_estimate = on_estimate

    def count(self, texts: list[bytes], encoding: str) -> int:
        """Tokens of the texts of a prompt. Raises KeyError for an encoding that the configuration could not have named."""
        counting = self._encodings[encoding]
        exact = counting.count_all(texts, STEPS)
        if exact is not None:
            return exact
        self._on_estimate()
        return _estimate(b"".join(texts), counting)

    def exactly(self, texts: list[bytes], encoding: str) -> int | None:
        """The same without an estimate: None where the bound of the work is not enough."""
        return self._encodings[encoding].count_all(texts, STEPS)


def _estimate(text: bytes, encoding: Encoding) -> int:
    """The tokens of samples, one somewhere in each of as many stretches, in proportion; rounded up.

    Where a sample lies is drawn anew each time, so that no text can be made which is dense but where it is looked at.
    """
    if len(text) <= SAMPLES * SAMPLE_BYTES:
        return encoding.count(text)
    stretch = len(text) // SAMPLES
    starts = [at * stretch + secrets.randbelow(stretch - SAMPLE_BYTES + 1) for at in range(SAMPLES)]
    samples = [text[_character_at(text, at) : _character_at(text, at + SAMPLE_BYTES)] for at in starts]
    return -(-sum(map(encoding.count, samples)) * len(text) // max(1, sum(map(len, samples))))


def _character_at(text: bytes, at: int) -> int:
    """Where the next character begins: half a one would count as several tokens."""
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at += 1
    return at
