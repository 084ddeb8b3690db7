"""Kernels at work, for callgrind to count: each a few times, and then more often. `bench.kernels.counts` starts it.

    python -m bench.kernels.counted KERNEL[=WASTE] ...

What is read is the same in every version of this tree, so that counts can be compared. WASTE is how many instructions are added to
each time, for the test that an increase is seen. Little is imported, since callgrind makes it slow.
"""

# ruff: noqa: RUF001 - Chinese has a comma of its own

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial

from _fastpath import tokens
from _fastpath.bucket import Scope, Table
from _fastpath.cachekey import CacheKeys
from _fastpath.http1 import RequestHead, ResponseHead
from _fastpath.shm import NodeMemory
from bench.kernels.native import loops
from bench.kernels.wire import EVENTS, REQUEST_HEAD, RESPONSE_HEAD, SCHEMA, chat

Run = Callable[[int], object]

FEW = 10
KEYS = (b"model", b"stream", b"messages", b"stream_options")
ASCII = 'The quick brown fox doesn\'t jump; it reads 12 pages of a manual, \n and says: "no". '
CHINESE = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。\n"
SHORT, LONG, TURNS, WIDE = chat(ASCII, 240, 1), chat(ASCII, 20_000, 1), chat(ASCII, 200, 20), chat(CHINESE, 2_000, 2)
TOOLS = json.dumps({"model": "m", "tools": [SCHEMA] * 10}).encode()


def limits(run: Callable[..., object], scopes: int) -> Run:
    with tempfile.TemporaryDirectory() as folder:  # the mapping outlives the file
        memory = NodeMemory.create(f"{folder}/node", slots=8, limit_rows=64, metrics_bytes=1024)
    plan = Table(memory, 0).plan([Scope(b"%d" % i, 10**12, 10**12) for i in range(scopes)])
    return partial(run, plan, 1)


KERNELS: dict[str, tuple[int, Callable[[], Run]]] = {
    # name: (how many times are counted, what makes the run)
    "jsonscan.short_chat": (2_000, lambda: partial(loops.scan_body, SHORT, KEYS)),
    "jsonscan.turns": (1_000, lambda: partial(loops.scan_body, TURNS, KEYS)),
    "jsonscan.chinese": (1_000, lambda: partial(loops.scan_body, WIDE, KEYS)),
    "jsonscan.tools": (300, lambda: partial(loops.scan_body, TOOLS, KEYS)),
    "chat.short_chat": (2_000, lambda: partial(loops.read_chat, SHORT)),
    "chat.turns": (500, lambda: partial(loops.read_chat, TURNS)),
    "cachekey.short_chat": (2_000, lambda: partial(loops.cache_key, CacheKeys(bytes(32), b"t"), SHORT)),
    "cachekey.long_prompt": (300, lambda: partial(loops.cache_key, CacheKeys(bytes(32), b"t"), LONG)),
    "cachekey.tools": (200, lambda: partial(loops.cache_key, CacheKeys(bytes(32), b"t"), TOOLS)),
    "sse.an_event_a_read": (20, lambda: partial(loops.feed, EVENTS[:200])),
    "sse.cut_events": (20, lambda: partial(loops.feed, cut(b"".join(EVENTS[:200]), 150))),
    "http1.request": (2_000, lambda: partial(loops.request_head, RequestHead(), REQUEST_HEAD)),
    "http1.response": (2_000, lambda: partial(loops.response_head, ResponseHead(), RESPONSE_HEAD)),
    "bucket.check": (20_000, lambda: limits(loops.admit_alone, 1)),
    "bucket.three_scopes_settled": (10_000, lambda: limits(loops.admit, 3)),
    "tokens.cl100k_base": (500, lambda: partial(loops.count_tokens, tokens.get("cl100k_base"), ASCII.encode())),
    "tokens.o200k_base": (500, lambda: partial(loops.count_tokens, tokens.get("o200k_base"), ASCII.encode())),
}


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def main(arguments: list[str]) -> None:
    for argument in arguments:
        kernel, _, wasted = argument.partition("=")
        more, make = KERNELS[kernel]
        run = make()
        run(1)  # what is made once
        for times in (FEW, FEW + more):
            loops.mark()
            run(times)
            loops.waste(int(wasted or 0) * times)
        loops.mark()


if __name__ == "__main__":
    main(sys.argv[1:])
