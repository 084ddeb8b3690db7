"""Exact token counts for OpenAI's encodings: what tiktoken's `encode_ordinary` would make, counted without making it."""

from typing import final

ENCODINGS: tuple[str, ...]
"""cl100k_base, o200k_base and o200k_harmony, which has the tokens of o200k_base: special ones are never made of text."""

@final
class Encoding:
    """A vocabulary with its pattern; any number of threads may use one. `get` has one of each.

    Raises:
        ValueError: no such encoding.
        RuntimeError: the file of vocabularies is missing, or of another version of this package.
    """

    def __new__(cls, name: str) -> Encoding: ...
    @property
    def name(self) -> str: ...
    def count(self, text: str | bytes) -> int:
        """Tokens of a text.

        Special tokens in it are ordinary text. Lone surrogates of a str and invalid sequences of UTF-8 count as U+FFFD, one for
        each as `bytes.decode(errors="replace")` has them. An ASCII str and bytes are read where they are.

        Raises:
            TypeError: neither str nor bytes.
            MemoryError
        """
    def count_all(self, texts: list[str] | list[bytes], steps: int) -> int | None:
        """Tokens of several texts together, or None where that would take more than so many steps of about 15 ns.

        A token takes one step, what merging has to find out eight more, and each 16 bytes one: 65,536 steps are enough for some
        200 kB of prose, and for 10 kB of random letters. Raises as `count` does.
        """

def get(name: str) -> Encoding:
    """The encoding of that name, always the same object. The first one maps the vocabularies, read-only and shared."""

def count(text: str | bytes, encoding: str) -> int:
    """Tokens of a text in the encoding of that name; raises what `Encoding` and its `count` do."""
