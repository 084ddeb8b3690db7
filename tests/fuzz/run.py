"""Fuzzes one target: `python -m tests.fuzz.run TARGET SEED COUNT FILE`.

FILE holds the input that is being read, so that it is known after the sanitiser has ended the process. Prints how many
inputs there were and how many were accepted.
"""

from __future__ import annotations

import itertools
import mmap
import sys
from pathlib import Path

from tests.fuzz.mutate import MAX_INPUT_BYTES, WORDS, inputs
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
SIZE_BYTES = 8


def corpus_of(target: str) -> list[bytes]:
    return [file.read_bytes()[:MAX_INPUT_BYTES] for file in sorted((CORPUS / target).iterdir())]


def fuzz(target: str, seed: int, count: int, file: Path) -> int:
    """Reads `count` inputs; how many were accepted. Raises whatever the target does that it must not do."""
    read = TARGETS[target]
    file.write_bytes(bytes(SIZE_BYTES + MAX_INPUT_BYTES))
    accepted = 0
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as now:
        for data, cut in itertools.islice(inputs(corpus_of(target), WORDS[target], seed), count):
            size = len(data)
            now[: SIZE_BYTES + size] = size.to_bytes(SIZE_BYTES, "little") + data
            accepted += read(data, cut)
    return accepted


def last_input(file: Path) -> bytes:
    """What was being read."""
    kept = file.read_bytes()
    return kept[SIZE_BYTES : SIZE_BYTES + int.from_bytes(kept[:SIZE_BYTES], "little")]


if __name__ == "__main__":
    name, seed_text, count_text, path = sys.argv[1:]
    print(int(count_text), fuzz(name, int(seed_text), int(count_text), Path(path)))
