"""What single requests see, measured by the bench's own load generator: arrivals at a rate, and a lone caller of streams.

A request that finds no free connection waits for one, and its latency counts from the moment it was due: what a slow target
makes others wait is not left out (the omission that closed loops commit).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.compare.press import ANSWER_S, Ask, Seen
from bench.compare.samples import SHARES
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.client.result import Result

_MAX_LAG_MS: Final = 1e9
"""Direct at the same rate is taken off: what this side is late, it is late there too."""


def arrive(ask: Ask, per_s: float, connections: int, seconds: float) -> Seen:
    """An open loop: asks `per_s` times a second.

    Args:
        ask: the request.
        per_s: arrivals a second, evenly spaced.
        connections: as many requests are under way at most.
        seconds: of arrivals; the answers may take longer.

    Raises:
        BenchError: a request failed.
    """
    result = _asked(ask, ask.body, per_s, connections, seconds)
    return _seen(result, result.latency_buckets_us)


def first_tokens(ask: Ask, seconds: float) -> Seen:
    """A lone caller of streams: from each request to the first event with text, one request at a time on one connection.

    Raises:
        BenchError: an answer was no whole stream.
    """
    result = _asked(ask, msgspec.json.decode(ask.body), None, 1, seconds)
    return _seen(result, [] if result.streams is None else result.streams.first_token_buckets_us)


def _asked(ask: Ask, body: Any, per_s: float | None, connections: int, seconds: float) -> Result:
    from bench.client import run, session  # noqa: PLC0415  (native, Linux)
    from bench.client.payloads import Entry, Target  # noqa: PLC0415

    host, port = ask.place
    settings = session.Settings(
        target=Target("http", host, port, ""),
        rate=per_s,
        arrivals="constant",
        processes=1,
        connections=connections,
        seconds=seconds,
        warm_up_s=0.0,
        timeout_s=ANSWER_S,
        seed=1,
        max_lag_ms=_MAX_LAG_MS,
        trust=None,
        check_certificate=True,
    )
    entry = Entry(path=ask.path, body=body, headers=dict(ask.headers))
    return run.run(settings, [entry], None, lambda *_: None)


def _seen(result: Result, buckets: Sequence[tuple[float, int]]) -> Seen:
    if result.failed:
        said = ", ".join(f"{count:,} {kind}" for kind, count in result.failures.items() if count)
        raise BenchError(f"of {result.requests:,} requests some failed: {said}")
    if not buckets:
        raise BenchError(f"of {result.requests:,} streams none had an event with text")
    return Seen(
        requests=result.answered,
        duration_us=round(result.seconds * 1e6),
        latency_us=quantiles(buckets),
    )


def quantiles(buckets: Sequence[tuple[float, int]]) -> tuple[float, ...]:
    """What buckets, (at most, count) in order, hold at each of `SHARES`."""
    total = sum(count for _, count in buckets)
    found: list[float] = []
    below, index = 0, 0
    for share in SHARES:
        while below + buckets[index][1] < share * total:
            below += buckets[index][1]
            index += 1
        found.append(buckets[index][0])
    return tuple(found)
