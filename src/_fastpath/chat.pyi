"""OpenAI's chat completions, the usual ones: what governs a request, and what an answer used, in one pass over the bytes.

`read_request` and `read_answer` answer None where a body is anything but usual (an unexpected type, a number in an odd spelling, a
fault of syntax): then the dialect's own reader decides, which says what is wrong, and reads prompts by the other two functions. What they do
answer is what that reader would.

In a message, in its parts and in `stream_options`, a member that governs stands once: which of two counts, readers do not agree on.
"""

from typing import Any, final

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
    usage_start: int
    """Where to write `usage_text`, in order to ask for a usage chunk: in place of what stands there."""
    usage_end: int
    usage_text: bytes
    texts: list[bytes]
    """What is counted as the prompt, in UTF-8."""
    fixed_tokens: int
    """Prompt tokens that are not text: framing, audio, files; images when their model is known."""
    image_spans: list[tuple[int, int, bool]] | None
    """Of the first MAX_IMAGES images: where the address stands between its quotes, (0, 0) where there is none; and whether low detail will do."""
    more_images: int
    """How many there are beyond."""
    needs: int
    """NEEDS_IMAGE, NEEDS_AUDIO, ...: what a model must take or do beside text."""
    images: list[Any] | None
    """What a dialect knows of them."""
    max_output_tokens: int
    """The caller's bound, of several the largest; -1 where it set none."""
    choices: int
    """Answers that will be paid for: `n`, or `best_of` where it is larger."""
    request: Any
    """What a dialect has read of it beyond what governs; None where it has not."""

    def __init__(
        self,
        model: str,
        model_start: int,
        model_end: int,
        close: int,
        stream: bool = False,
    ) -> None: ...

TOKENS_A_MESSAGE: int
"""Of its framing, its role among it."""
TOKENS_OF_PRIMING: int
TOKENS_A_NAME: int
TOKENS_OF_MEDIA: int
"""Of a part that is neither text nor image, at the least."""
MAX_IMAGES: int
MEDIA_BYTES_A_TOKEN: int
"""Of what else stands in a part of a message: audio, a file."""
MAX_CHOICES: int
MOST_TOKENS: int

NEEDS_IMAGE: int
NEEDS_AUDIO: int
NEEDS_VIDEO: int
NEEDS_PDF: int
"""Any file, where it is read natively: what it is only its bytes tell."""
NEEDS_TOOLS: int
NEEDS_JSON_SCHEMA: int

def read_request(body: bytes, max_depth: int) -> Reading | None:
    """What governs a request.

    Raises:
        ScanError: as `_fastpath.jsonscan.scan` does; "duplicate" also for a member that governs in a message or its parts.
    """

def read_part_of(reading: Reading, body: bytes, name: str, start: int, end: int) -> bool:
    """Notes what the value of `messages` or `stream_options` governs; False where it cannot be read.

    Args:
        start, end: of the value, in a body that `_fastpath.jsonscan.scan` has accepted.

    Raises:
        ScanError: "duplicate".
        ValueError: another name, or no span of the body.
    """

def read_prompt(reading: Reading, body: bytes, start: int, end: int, most: int) -> int:
    """Notes what a prompt costs: a text, token ids, or a list of texts or of lists of ids; or null.

    Returns how many prompts it is, at least 1; more than `most` as soon as there are more; -1 where it cannot be read. The span as above.
    """

def read_declared(reading: Reading, value: bytes) -> int:
    """Notes what the value of `tools`, `functions` or `response_format` costs and needs; not null.

    Args:
        value: well-formed JSON that begins with its first byte.
    """

def read_answer(body: bytes) -> tuple[Usage | None, str] | None:
    """The usage of a whole answer, None where it tells none, and the last choice's finish reason, "" where it tells none."""
