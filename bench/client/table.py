"""The figures for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.client.result import Result, Times

_COLUMNS = ("mean", "p50", "p90", "p99", "p99.9", "max")


def render(result: Result) -> Group:
    """What was asked, the times, what failed, and what the load generator did."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("ms")
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    table.add_row("latency", *_row(result.latency))
    if (streams := result.streams) is not None:
        table.add_row("first token", *_row(streams.first_token))
        table.add_row("gap", *_row(streams.gap))
        table.add_row("whole stream", *_row(streams.duration))
    parts: list[RenderableType] = [Text(f"\n{_asked(result)}", style="bold"), table, Text(_answered(result))]
    if result.failed:
        parts.append(Text(_failed(result), style="red"))
    if result.truncated:
        parts.append(Text(_truncated(result), style="red"))
    parts.append(Text(_generator(result), style="dim"))
    return Group(*parts)


def _asked(result: Result) -> str:
    rate = "" if result.asked_per_s is None else f" {result.asked_per_s:,.0f} requests/s ({result.arrivals}),"
    return f"{result.target}: {result.loop} loop,{rate} {result.connections:,} connections, {result.seconds:g} s"


def _row(times: Times) -> list[str]:
    values = (times.mean_us, times.p50_us, times.p90_us, times.p99_us, times.p999_us, times.max_us)
    return [f"{value / 1e3:,.3f}" for value in values]


def _answered(result: Result) -> str:
    events = "" if result.streams is None else f", {result.streams.events / result.seconds:,.0f} events/s"
    return f"{result.answered:,} of {result.requests:,} answered, {result.answered_per_s:,.0f}/s{events}"


def _failed(result: Result) -> str:
    statuses = ", ".join(f"{count:,} x {status}" for status, count in result.statuses.items())
    kinds = _kinds(result.failures).replace(" status", f" status ({statuses})")
    return f"{result.failed:,} failed ({result.failed_share:.2%}): {kinds}"


def _truncated(result: Result) -> str:
    total = sum(result.truncated.values())
    return f"{total:,} of them truncated, their callers left with a part: {_kinds(result.truncated)}"


def _kinds(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items())


def _generator(result: Result) -> str:
    generator = result.generator
    lag = "" if result.loop == "closed" else f", its lateness p99 {generator.lag.p99_us:,.0f} us"
    several = f" ({generator.processes} processes, of them the busiest)" if generator.processes > 1 else ""
    waited = f", {generator.waited:,} requests waited for a connection" if generator.waited else ""
    return (
        f"load generator{several}: {generator.cpu_us_per_request:.1f} us of CPU a request, {generator.busy_share:.0%} of a core"
        f"{lag}{waited}, {generator.reconnects:,} reconnects"
    )
