"""The run: one process asks, or several together, and one result comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.client import crew, session
from bench.client.payloads import Entry
from bench.client.result import Generator, Part, Result, Streams, buckets_us, times
from bench.client.session import Settings
from bench.errors import BenchError


def run(
    settings: Settings, entries: Sequence[Entry], key: str | None, on_progress: Callable[[str, float], object]
) -> Result:
    """Asks, and says what came.

    Args:
        settings: how.
        entries: what.
        key: the caller's.
        on_progress: called now and then with what is done and which share of it.

    Raises:
        BenchError: the target cannot be reached, or did not answer at all.
    """
    play = session.play if settings.processes == 1 else crew.play
    return _result(settings, play(settings, entries, key, on_progress))


def _result(settings: Settings, seen: Part) -> Result:
    if seen.requests == 0:
        raise BenchError("nothing was asked: give it more --seconds")
    streamed = seen.duration.count > 0 or seen.first.count > 0
    streams = Streams(times(seen.first), times(seen.gap), times(seen.duration), seen.events, buckets_us(seen.first))
    return Result(
        target=f"{settings.target.scheme}://{settings.target.authority}{settings.target.prefix}",
        loop="closed" if settings.rate is None else "open",
        arrivals=None if settings.rate is None else settings.arrivals,
        asked_per_s=settings.rate,
        connections=settings.connections,
        seconds=settings.seconds,
        requests=seen.requests,
        answered=seen.answered,
        answered_per_s=seen.answered / settings.seconds,
        received_bytes=seen.received_bytes,
        latency=times(seen.latency),
        failures=dict(sorted(seen.failures.items())),
        statuses=dict(sorted(seen.statuses.items())),
        streams=streams if streamed else None,
        generator=Generator(
            lag=times(seen.lag),
            max_lag_us=settings.max_lag_ms * 1e3,
            busy_share=seen.busy_share,
            cpu_us_per_request=seen.cpu_s / seen.requests * 1e6,
            processes=settings.processes,
            waited=seen.waited,
            reconnects=seen.reconnects,
        ),
        latency_buckets_us=buckets_us(seen.latency),
    )
