"""Counts prompt tokens with quicktok, which carries its vocabularies.

A vocabulary takes about half a second to load, so it is loaded beside the loop once the worker serves; until then, and for
texts beyond EXACT_CHARS, tokens are estimated from the text's length.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import quicktok

EXACT_CHARS = 65_536
"""Longer texts are estimated, so that no prompt holds the loop for long."""
CHARS_A_TOKEN = 4
"""Of English prose; other scripts have fewer, so an estimate of them is low, and the provider's own usage corrects it."""

_Count = Callable[[str], int]


def estimate(text: str) -> int:
    """About the tokens of `text`, rounded up."""
    return -(-len(text) // CHARS_A_TOKEN)


class QuicktokCounter:
    """A `TokenCounter`.

    Args:
        on_estimate: called for each text that is estimated.
    """

    def __init__(self, on_estimate: Callable[[], object] = lambda: None) -> None:
        self._exact: dict[str, _Count] = {}
        self._on_estimate = on_estimate

    def count(self, text: str, encoding: str) -> int:
        """Tokens of `text`; an estimate where the encoding is not loaded, or the text is long."""
        exact = self._exact.get(encoding)
        if exact is None or len(text) > EXACT_CHARS:
            self._on_estimate()
            return estimate(text)
        return exact(text)

    def load(self, encodings: Iterable[str]) -> None:
        """Loads vocabularies. Raises ValueError or KeyError for a name that quicktok does not carry."""
        for name in encodings:
            if name not in self._exact:
                self._exact[name] = quicktok.get_encoding(name).count

    def load_in_background(self, encodings: Iterable[str]) -> threading.Thread:
        """The same on a thread, which ends when all are loaded. The loading itself does not hold the GIL."""
        thread = threading.Thread(target=self.load, args=(list(encodings),), name="load-vocabularies", daemon=True)
        thread.start()
        return thread
