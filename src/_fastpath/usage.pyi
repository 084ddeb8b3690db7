"""What a call used, and what that costs, in integer nano-USD."""

from typing import final

MOST_NANO_USD: int
"""The largest amount; 72 million dollars."""

@final
class Usage:
    """Tokens of one call. `input` and `output` are totals; the other counts are parts of them."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    input_audio: int
    output_audio: int
    estimated: bool
    """Counted by us, in whole or in part, because the provider told nothing that can be true."""
    calls: int
    """How often the price of a call is charged: the search units of a rerank."""

    def __init__(
        self,
        input: int = 0,
        output: int = 0,
        cache_read: int = 0,
        cache_write: int = 0,
        reasoning: int = 0,
        input_audio: int = 0,
        output_audio: int = 0,
        estimated: bool = False,
        calls: int = 1,
    ) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

def charged(told: Usage | None, prompt: int, made: int, media: int, complete: bool) -> Usage:
    """What a call is charged for: what the provider told, as far as it can be true, else what was counted here.

    A prompt is never nought tokens where some were counted; an answer is neither nought where something was made, nor sixteen times
    fewer than were counted (64 bytes of text a token), nor, where it is not complete, fewer at all.

    Args:
        told: by the provider, None where it told nothing; changed in place.
        prompt: tokens that were counted of the prompt.
        made: the same of the text that has been seen of the answer.
        media: the same of its audio, images and video.
        complete: what was told is of all that was seen.
    """

@final
class Rates:
    """Prices in nano-USD a million tokens; -1 for a kind that is priced as the whole it is a part of.

    Args:
        request_nano_usd: of a call, whatever it uses.
    """

    def __init__(
        self,
        input: int,
        output: int,
        *,
        cache_read: int = -1,
        cache_write: int = -1,
        input_audio: int = -1,
        output_audio: int = -1,
        request_nano_usd: int = 0,
    ) -> None: ...
    def cost(self, usage: Usage) -> int:
        """Of a call, in nano-USD, rounded up; from 0 to MOST_NANO_USD. Parts with a price of their own (cached, cache-written,
        audio) are taken out of the totals before those are priced."""

    def most(self, input: int, output: int) -> int:
        """Of so many tokens, none of which is cheaper for being cached."""

    @property
    def input(self) -> int: ...
    @property
    def output(self) -> int: ...
    @property
    def cache_read(self) -> int: ...
    @property
    def cache_write(self) -> int: ...
    @property
    def input_audio(self) -> int: ...
    @property
    def output_audio(self) -> int: ...
    @property
    def request_nano_usd(self) -> int: ...
