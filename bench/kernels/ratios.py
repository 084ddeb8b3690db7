"""How many times faster a kernel is than a library that does the same, in one process: what the budgets hold."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from statistics import median

from _fastpath import tokens
from _fastpath.bucket import Table
from _fastpath.shm import NodeMemory
from bench.kernels import bucket, cachekey, http1, jsonscan, sse
from bench.kernels.bodies import BODIES
from bench.kernels.frame import Case, Run, called, samples
from bench.kernels.native import loops
from bench.kernels.wire import EVENTS
from tests.support import texts
from tests.support.tiktokens import oracles

ROUNDS = 15
Pair = tuple[Run, Run]
"""The kernel and the library."""


def pairs() -> dict[str, Pair]:
    with tempfile.TemporaryDirectory() as folder:
        table = Table(NodeMemory.create(f"{folder}/node", bucket.SLOTS, 64, 1024), 0)
        count = oracles(Path(folder), ("o200k_base",))["o200k_base"]
    plans = {scopes: table.plan(bucket.scopes(scopes)) for scopes in (1, 3)}
    check = bucket.cases(plans, plans[3])[1]
    counted = partial(loops.count_tokens, tokens.get("o200k_base"), texts.CHAT.encode())
    return {
        "jsonscan.long_prompt, msgspec": pair(jsonscan.case, "a long prompt", "msgspec"),
        "jsonscan.chinese, msgspec": pair(jsonscan.case, "Chinese, Japanese, Korean", "msgspec"),
        "jsonscan.tools, msgspec": pair(jsonscan.case, "50 tools", "msgspec"),
        "cachekey.short_chat, sha256": pair(cachekey.case, "a short chat", "json, sha256"),
        "cachekey.long_prompt, sha256": pair(cachekey.case, "a long prompt", "json, sha256"),
        "sse.an_event_a_read, msgspec": of(sse.case("", EVENTS), "split and msgspec"),
        "http1.request, httptools": of(http1.CASES[0], "httptools"),
        "http1.response, httptools": of(http1.CASES[1], "httptools"),
        "bucket.check, lock": of(check, "lock"),
        "tokens.o200k_chat, tiktoken": (counted, called(count, texts.CHAT)),
    }


def of(case: Case, library: str) -> Pair:
    return case.runs["kernel"], case.runs[library]


def pair(make: Callable[[str, bytes], Case], what: str, library: str) -> Pair:
    return of(make(what, BODIES[what]), library)


def ratio(kernel: Run, library: Run) -> float:
    """The median of the rounds' own: what slows the machine in a round slows both."""
    taken = samples({"kernel": kernel, "library": library}, ROUNDS)
    return median(theirs / ours for ours, theirs in zip(taken["kernel"], taken["library"], strict=True))


def ratios(names: Iterable[str] | None = None) -> Mapping[str, float]:
    """Of these, or of all."""
    known = pairs()
    return {name: round(ratio(*known[name]), 2) for name in (known if names is None else names)}
