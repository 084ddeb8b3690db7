"""`python -m bench upstream`: the command line of the mock provider."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter, validators
from rich.console import Console
from rich.table import Table

from bench.errors import MissingError

app = App(name="upstream", help_format="plaintext", version_flags=())


@app.default
def upstream(
    *,
    script: Annotated[Path | None, Parameter(help="What to play: a .toml or .yaml file.")] = None,
    listen: Annotated[str, Parameter(help="HOST:PORT; port 0 for any that is free.")] = "127.0.0.1:9000",
    tls: Annotated[
        Path | None, Parameter(help="Serve TLS with this certificate and key (one PEM file); made where there is none.")
    ] = None,
    workers: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=256), help="Processes.")] = 1,
    latency_ms: Annotated[str | None, Parameter(help="Before the first byte: a number or a distribution.")] = None,
    tokens_per_s: Annotated[float | None, Parameter(help="Events of a stream a second.")] = None,
    gap_ms: Annotated[str | None, Parameter(help="Between two events: a number or a distribution.")] = None,
    text_bytes: Annotated[str | None, Parameter(help="Of an answer's text: a number or a distribution.")] = None,
    token_bytes: Annotated[int | None, Parameter(help="Of text in an event of a stream.")] = None,
    tick_us: Annotated[
        int, Parameter(validator=validators.Number(gte=0, lte=100_000), help="How late a dense event may be.")
    ] = 500,
    seed: Annotated[int | None, Parameter(help="Of all that is drawn.")] = None,
    fault: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="KIND:SHARE[,KEY=VALUE...], such as error:0.05,status=429; may be repeated."),
    ] = (),
    json: Annotated[bool, Parameter(negative="", help="Print what was done as JSON.")] = False,
) -> int:
    """Serve a mock provider: OpenAI chat completions, Anthropic messages and Gemini generateContent, streamed and not.

    Prints its address, plays until it is interrupted, and then says what it did. A distribution is uniform:FROM,TO,
    exponential:MEAN or lognormal:MEDIAN,P99. Options stand above what the script says.
    """
    if sys.platform != "linux":
        raise MissingError("the mock provider runs on Linux only: its timers are timerfd(2)")
    from bench.upstream import script as scripts  # noqa: PLC0415  (native, Linux)
    from bench.upstream import serve  # noqa: PLC0415

    content = msgspec.to_builtins(scripts.Script() if script is None else scripts.load(script))
    over = {
        "latency_ms": latency_ms,
        "tokens_per_s": tokens_per_s,
        "gap_ms": gap_ms,
        "text_bytes": text_bytes,
        "token_bytes": token_bytes,
        "seed": seed,
        "faults": [msgspec.to_builtins(scripts.fault(text)) for text in fault] or None,
    }
    content |= {key: value for key, value in over.items() if value is not None}
    if tokens_per_s is not None and gap_ms is None:
        content["gap_ms"] = None
    if gap_ms is not None and tokens_per_s is None:
        content["tokens_per_s"] = None
    summary = serve.serve(
        scripts.checked(content), serve.parse_address(listen), workers, tick_us, tls, lambda url: print(url, flush=True)
    )
    if json:
        print(msgspec.json.encode(summary).decode())
    else:
        Console(highlight=False).print(_table(summary.counts, summary.cpu_s))
    return 0


def _table(counts: dict[str, int], cpu_s: float) -> Table:
    table = Table.grid(padding=(0, 2))
    for key, count in counts.items():
        if count:
            table.add_row(key.replace("_", " "), f"{count:,}")
    table.add_row("CPU", f"{cpu_s:.2f} s")
    if counts["requests"]:
        table.add_row("CPU a request", f"{cpu_s / counts['requests'] * 1e6:.1f} us")
    if counts["events"]:
        table.add_row("CPU an event", f"{cpu_s / counts['events'] * 1e6:.2f} us")
    return table
