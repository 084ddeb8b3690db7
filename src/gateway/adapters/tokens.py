"""Counts prompt tokens with the kernel: exactly from the first request on, and without loading anything.

No prompt may hold the loop for long, and what a byte costs to count depends on what the caller sends. So the bound is one of the
work: STEPS are a millisecond or two of any text. What is left undone then is estimated from samples.
"""

from __future__ import annotations

from collections.abc import Callable

from _fastpath.tokens import ENCODINGS, Encoding, get

STEPS = 65_536
"""Of the kernel, for one prompt: about 200 kB of prose or code, 150 kB of Chinese, 10 kB of random letters."""
SAMPLES = 32
SAMPLE_CHARS = 512
"""A sample gains a token where a cut falls into one: less than one in a hundred."""


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

    def count(self, texts: list[str], encoding: str) -> int:
        """Tokens of the texts of a prompt. Raises KeyError for an encoding that the configuration could not have named."""
        counting = self._encodings[encoding]
        exact = counting.count_all(texts, STEPS)
        if exact is not None:
            return exact
        self._on_estimate()
        return _estimate("".join(texts), counting)


def _estimate(text: str, encoding: Encoding) -> int:
    """The tokens of samples at even distances, in proportion; rounded up."""
    if len(text) <= SAMPLES * SAMPLE_CHARS:
        return encoding.count(text)
    step = (len(text) - SAMPLE_CHARS) // (SAMPLES - 1)
    found = sum(encoding.count(text[at : at + SAMPLE_CHARS]) for at in range(0, SAMPLES * step, step))
    return -(-found * len(text) // (SAMPLES * SAMPLE_CHARS))
