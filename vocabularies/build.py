"""Writes the file of vocabularies that `_fastpath/tokens` maps: the classes of characters, and the tables of each vocabulary.

Its first page is a directory of 64-bit words, little-endian, whose order stands in DIRECTORY and OF_VOCABULARY here and as
enumerations in `_fastpath/tokens.pyx`.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from array import array
from pathlib import Path

from vocabularies import classes, source, table

FILE_NAME = "vocabularies.bin"
MAGIC = b"TWVOCAB2"
"""Of this layout: another one has another number."""
PAGE_BYTES = 4096
LINE_BYTES = 64
DIRECTORY = ("magic", "size", "digest_0", "digest_1", "digest_2", "digest_3", "stage", "blocks", "leads")
OF_VOCABULARY = (
    *("narrow", "narrow_slots", "wide", "wide_slots", "rest", "rest_slots", "rest_text"),
    *("records", "tokens", "pairs", "pairs_slots", "trie", "root", "characters"),
)
VOCABULARY_AT = (16, 32)
"""The words at which the vocabularies begin, in the order of `source.FILES`."""


class _Writer:
    def __init__(self) -> None:
        self._content = bytearray(PAGE_BYTES)
        self._directory = array("Q", bytes(PAGE_BYTES))

    def put(self, word: int, value: int) -> None:
        self._directory[word] = value

    def add(self, word: int, section: bytes | array[int]) -> None:
        """A section, which begins on a line of the cache; the directory tells where."""
        self._content += bytes(-len(self._content) % LINE_BYTES)
        self.put(word, len(self._content))
        self._content += memoryview(section).cast("B")

    def finish(self, digest: bytes) -> bytes:
        self._content += bytes(LINE_BYTES)  # a text is read in words of eight bytes
        head = array("Q", MAGIC)
        head.append(len(self._content))
        head.frombytes(digest)
        self._directory[: len(head)] = head
        self._content[:PAGE_BYTES] = self._directory.tobytes()[:PAGE_BYTES]
        return bytes(self._content)


def inputs_digest() -> bytes:
    """SHA-256 of all that the file is made of: the sources' own digests, the classes, and these modules."""
    total = hashlib.sha256(repr(source.FILES).encode())
    for path in (classes.CLASSES_FILE, *(Path(str(module.__file__)) for module in (classes, source, table))):
        total.update(path.read_bytes())
    total.update(Path(__file__).read_bytes())
    return total.digest()


def content() -> bytes:
    """The file. Raises VocabularyError where the published vocabularies cannot be had."""
    if sys.byteorder != "little":
        raise source.VocabularyError("the tables are laid out for little-endian machines, and this is none")
    writer = _Writer()
    of_code_points = classes.read_classes()
    stage, blocks = classes.two_stages(of_code_points)
    writer.add(DIRECTORY.index("stage"), array("H", stage))
    writer.add(DIRECTORY.index("blocks"), blocks)
    writer.add(DIRECTORY.index("leads"), classes.of_lead_bytes(of_code_points))
    for at, name in zip(VOCABULARY_AT, source.FILES, strict=True):
        _add_vocabulary(writer, at, source.read_tokens(source.published(name)))
    return writer.finish(inputs_digest())


def _add_vocabulary(writer: _Writer, at: int, tokens: list[bytes]) -> None:
    if any(len(token) != 1 for token in tokens[:256]) or len(tokens) > table.NO_TOKEN:
        raise source.VocabularyError("the vocabulary does not begin with the single bytes, or is too large")

    def word(name: str) -> int:
        return at + OF_VOCABULARY.index(name)

    for name, words in (("narrow", 1), ("wide", 2)):
        slots = table.short_tokens(tokens, words)
        writer.add(word(name), slots)
        writer.put(word(f"{name}_slots"), len(slots) // words)
    rest, rest_text = table.long_tokens(tokens)
    writer.add(word("rest"), rest)
    writer.put(word("rest_slots"), len(rest))
    writer.add(word("rest_text"), rest_text)
    made_of = table.records(tokens)
    writer.add(word("records"), made_of)
    writer.put(word("tokens"), len(tokens))
    pairs = table.pairs(made_of)
    writer.add(word("pairs"), pairs)
    writer.put(word("pairs_slots"), len(pairs))
    nodes, root = table.trie(tokens)
    writer.add(word("trie"), nodes)
    writer.put(word("root"), root)
    writer.add(word("characters"), table.characters(nodes, root))


def is_current(path: Path) -> bool:
    """Whether the file was made of what it would be made of now."""
    try:
        with path.open("rb") as file:
            head = file.read(48)
            return (
                head[:8] == MAGIC
                and head[16:] == inputs_digest()
                and path.stat().st_size == int.from_bytes(head[8:16], "little")
            )
    except FileNotFoundError:
        return False


def build(path: Path) -> None:
    """Writes the file unless it is current. Workers that have the old one mapped keep it. Raises VocabularyError."""
    if is_current(path):
        return
    made = content()
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(made)
    made_at = Path(file.name)
    made_at.chmod(0o644)
    made_at.replace(path)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
