"""A request's key: the kernel beside what is commonly done, SHA-256 of `json.dumps` with sorted keys, from the body's bytes and from
a body that is decoded already; and beside BLAKE2b of the body as it is spelt.

    python -m bench.kernels.cachekey [ROUNDS]
"""

from __future__ import annotations

import json
from functools import partial
from hashlib import blake2b, sha256

from _fastpath.cachekey import CacheKeys
from bench.kernels.bodies import BODIES
from bench.kernels.frame import Case, Run, called, rounds_asked_for, show
from bench.kernels.native import loops

KEYS = CacheKeys(bytes(32), b"tenant", (b"user",))


def sorted_sha(value: object) -> bytes:
    return sha256(json.dumps(value, sort_keys=True).encode()).digest()


def case(what: str, body: bytes) -> Case:
    runs: dict[str, Run] = {
        "kernel": partial(loops.cache_key, KEYS, body),
        "json, sha256": called(lambda: sorted_sha(json.loads(body))),
        "dumps, sha256": called(sorted_sha, json.loads(body)),
        "blake2b": called(lambda: blake2b(body).digest()),
    }
    return Case(what, runs, size_bytes=len(body), bar=1.0 if what == "a long prompt" else None)


def main(rounds: int) -> None:
    show([case(what, body) for what, body in BODIES.items()], rounds)


if __name__ == "__main__":
    main(rounds_asked_for())
