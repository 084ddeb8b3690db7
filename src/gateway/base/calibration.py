"""Prompts of models whose vocabulary is not public: counted with another one, and corrected by what providers say they were.

Theory. Between two vocabularies the ratio of tokens depends on the script above all, and then on the kind of text; what an
application sends is of one kind. So for each target and kind of script a ratio is followed: each answer whose provider told its
prompt tokens is an observation, and the ratio takes a step towards it. The step is bounded, so the ratio tends to the middle of
what is seen, and a single odd one moves it little.

Rules.
- A reservation alone depends on a ratio. What is settled and billed is what the provider tells.
- A ratio is bounded (LEAST, MOST), whatever anybody sends and a provider answers.
- A key is believed at most once in PAUSE_MS: who asks a thousand times a second moves a ratio no faster than others.
- Short prompts say little, and where framing or images weigh much the text was not what was told: such are passed over.
"""

from __future__ import annotations

from collections.abc import Callable

LATIN, WIDE, OTHER = "latin", "wide", "other"
"""Kinds of scripts: Latin and code; Chinese, Japanese, Korean, and emoji; all others."""
SAMPLE_BYTES = 192
RECENT_TEXTS = 64
"""Of a prompt's, which may be very many."""

ONE = 1_000_000
"""A ratio of one: ratios are in millionths."""
LEAST = ONE // 2
MOST = ONE * 5 // 2
FEWEST_TOKENS = 32
"""Of the text of a prompt that is learnt from."""
FRAMING_SHARE = 4
"""The text has at least so many times the tokens of what is not text."""
FIRST = 16
"""Observations that may move a ratio far: each by a tenth of it at the most."""
SLOWEST = 32
"""Later ones move it by this part of the difference, and by a fiftieth of it at the most."""
PAUSE_MS = 1_000


def script_of(texts: list[bytes]) -> str:
    """Which kind of script most of a prompt is of, by some bytes from the middle of its longest recent text."""
    longest = max(texts[-RECENT_TEXTS:], key=len, default=b"")
    middle = max(0, (len(longest) - SAMPLE_BYTES) // 2)
    sample = longest[middle : middle + SAMPLE_BYTES].decode(errors="ignore")  # what the cuts left of characters
    if sample.isascii():
        return LATIN
    wide = sum(character >= "\u2e80" for character in sample)
    latin = sum(character < "\u0370" or "\u2000" <= character < "\u2e80" for character in sample)
    if latin * 3 > len(sample) * 2:
        return LATIN
    return WIDE if wide * 2 > len(sample) - latin else OTHER


class Ratio:
    """What one token counted here is in a target's own, of one kind of script.

    Args:
        told, counted: what earlier observations add up to, of a worker before this one; 0 where there were none.
        on_learn: called with both for each observation that is taken.
    """

    __slots__ = ("_on_learn", "seen", "value")

    def __init__(
        self, told: int = 0, counted: int = 0, on_learn: Callable[[int, int], object] = lambda told, counted: None
    ) -> None:
        self.seen = FIRST if counted else 0
        self.value = _bounded(told * ONE // counted) if counted else ONE
        """In millionths."""
        self._on_learn = on_learn

    def corrected(self, counted: int) -> int:
        """Tokens as the target will probably count them; rounded up."""
        return -(-counted * self.value // ONE)

    def learn(self, counted: int, beside: int, told: int) -> bool:
        """Takes an observation, or passes it over.

        Args:
            counted: tokens of the prompt's text, as counted here.
            beside: tokens of what is not text, such as framing and images.
            told: prompt tokens, as the provider says.

        Returns:
            Whether it was taken.
        """
        if counted < FEWEST_TOKENS or counted < FRAMING_SHARE * beside or told <= beside:
            return False
        observed = _bounded((told - beside) * ONE // counted)
        gain = min(self.seen + 2, SLOWEST)
        most = self.value // (10 if self.seen < FIRST else 50)
        self.value = _bounded(self.value + max(-most, min(most, (observed - self.value) // gain)))
        self.seen += 1
        self._on_learn(observed * counted // ONE, counted)
        return True


def _bounded(ratio: int) -> int:
    return max(LEAST, min(MOST, ratio))


class Calibration:
    """The ratios of a target: one for each kind of script, made when it is first wanted."""

    __slots__ = ("_make", "_ratios")

    def __init__(self, make: Callable[[str], Ratio] = lambda script: Ratio()) -> None:
        self._make = make
        self._ratios: dict[str, Ratio] = {}

    def of(self, script: str) -> Ratio:
        ratio = self._ratios.get(script)
        if ratio is None:
            ratio = self._ratios[script] = self._make(script)
        return ratio
