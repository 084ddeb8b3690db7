"""What a decoder does not tell of a body: the kernel beside msgspec and orjson, which decode it whole, and msgspec where it takes one
member and skips the rest.

    python -m bench.kernels.jsonscan [ROUNDS]
"""

from __future__ import annotations

from functools import partial

import msgspec
import orjson

from bench.kernels.bodies import BODIES
from bench.kernels.frame import Case, Run, called, rounds_asked_for, show
from bench.kernels.native import loops

KEYS = (b"model", b"stream", b"messages", b"stream_options")


class Spliced(msgspec.Struct):
    model: msgspec.Raw


def case(what: str, body: bytes) -> Case:
    runs: dict[str, Run] = {
        "kernel": partial(loops.scan_body, body, KEYS),
        "msgspec": called(msgspec.json.Decoder().decode, body),
        "orjson": called(orjson.loads, body),
        "msgspec.Raw": called(msgspec.json.Decoder(Spliced).decode, body),
    }
    return Case(what, runs, size_bytes=len(body), bar=2.0 if len(body) > 10_000 else None)


def main(rounds: int) -> None:
    show([case(what, body) for what, body in BODIES.items()], rounds)


if __name__ == "__main__":
    main(rounds_asked_for())
