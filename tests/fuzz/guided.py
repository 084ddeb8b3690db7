"""Fuzzes one target guided by coverage: `python -m tests.fuzz.guided TARGET FOLDER [OPTION OF LIBFUZZER ...]`.

Needs an interpreter into which libFuzzer and the sanitisers are preloaded, and kernels that are built for it; `test_fuzz.py`
shows how. Inputs that reach what none had reached before are kept in FOLDER, which begins as `corpus/` is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gateway.codec.proxy_protocol"]):  # the one that is Python
    from tests.fuzz.targets import TARGETS

from tests.fuzz.mutate import MAX_INPUT_BYTES
from tests.fuzz.run import corpus_of

CUT_BYTES = 2
"""Of the end of an input: where it is cut."""


def main(target: str, folder: Path, options: list[str]) -> None:
    read = TARGETS[target]

    def read_one(data: bytes) -> None:
        whole = data[:-CUT_BYTES]
        read(whole, int.from_bytes(data[-CUT_BYTES:], "little") % (len(whole) + 1))

    for number, data in enumerate(corpus_of(target)):
        (folder / str(number)).write_bytes(data + (len(data) // 2).to_bytes(CUT_BYTES, "little"))
    atheris.Setup([sys.argv[0], *options, f"-max_len={MAX_INPUT_BYTES}", str(folder)], read_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
