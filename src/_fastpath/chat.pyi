"""OpenAI's chat completions, the usual ones: what governs a request, and what an answer used, in one pass over the bytes.

Both functions answer None where a body is anything but usual (content in parts, an unexpected type, a fault of syntax): then
the dialect's own reader decides, which knows all forms and says what is wrong. What they do answer is what that reader would.
"""

from typing import final

from _fastpath.usage import Usage

@final
class Reading:
    """What governs a request, read once from its body by its dialect. Offsets are of the body's bytes."""

    model: str
    model_start: int
    """Of the value of `model`, with its quotes."""
    model_end: int
    close: int
    """Of the body's closing brace."""
    stream: bool
    include_usage: bool
    """The caller asked for a usage chunk itself."""
    options_start: int
    """Of the value of `stream_options`; -1 where it is absent."""
    options_end: int
    texts: list[str]
    """What is counted as the prompt."""
    fixed_tokens: int
    """Prompt tokens that are not text: framing, images."""
    max_output_tokens: int
    """The caller's bound; -1 where it set none."""
    choices: int
    """Answers that will be paid for: `n`, or `best_of` where it is larger."""

    def __init__(
        self,
        model: str,
        model_start: int,
        model_end: int,
        close: int,
        stream: bool = False,
        include_usage: bool = False,
        options_start: int = -1,
        options_end: int = -1,
    ) -> None: ...

TOKENS_A_MESSAGE: int
"""Of its framing, its role among it."""
TOKENS_OF_PRIMING: int
MAX_CHOICES: int
MOST_TOKENS: int

def read_request(body: bytes, max_depth: int) -> Reading | None:
    """What governs a request whose messages are text.

    Raises:
        ScanError: as `_fastpath.jsonscan.scan` does.
    """

def read_answer(body: bytes) -> tuple[Usage | None, str] | None:
    """The usage of a whole answer, None where it tells none, and the last choice's finish reason, "" where it tells none."""
