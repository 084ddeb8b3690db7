"""Following a stream of 200-byte events: the kernel beside what a Python gateway does, splitting lines and decoding each payload.

python -m bench.kernels.sse [ROUNDS]
"""

from __future__ import annotations

from functools import partial

import msgspec

from bench.kernels.frame import Case, Run, called, rounds_asked_for, show
from bench.kernels.native import loops
from bench.kernels.wire import EVENTS

READ_BYTES = 16_384
STREAM = b"".join(EVENTS)


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    delta: Delta
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    choices: list[Choice]
    model: str
    usage: msgspec.Raw | None = None


def decoded(reads: list[bytes]) -> int:
    """What a stream's client would do, with the fastest decoder and a schema: how much content there was."""
    decode, held, content = msgspec.json.Decoder(Chunk).decode, b"", 0
    for read in reads:
        *events, held = (held + read).split(b"\n\n")
        for event in events:
            for choice in decode(event[6:]).choices:
                content += len(choice.delta.content or "")
    return content


def case(what: str, reads: list[bytes]) -> Case:
    runs: dict[str, Run] = {"kernel": partial(loops.feed, reads), "split and msgspec": called(decoded, reads)}
    return Case(what, runs, size_bytes=len(STREAM), bar=1.0)


def cut(size: int) -> list[bytes]:
    return [STREAM[at : at + size] for at in range(0, len(STREAM), size)]


def main(rounds: int) -> None:
    show(
        [
            case("an event a read", EVENTS),
            case(f"reads of {READ_BYTES:,} bytes, cutting events", cut(READ_BYTES)),
            case("reads of 150 bytes, cutting each event", cut(150)),
        ],
        rounds,
    )


if __name__ == "__main__":
    main(rounds_asked_for())
