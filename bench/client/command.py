"""`python -m bench load`: the command line of the load generator."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import App, Parameter, validators
from rich.console import Console

from bench import progress
from bench.errors import BenchError, MissingError

EXIT_FAILURES: Final = 1
EXIT_DOUBTFUL: Final = 70

app = App(name="load", help_format="plaintext", version_flags=())
_POSITIVE = validators.Number(gt=0)


@app.default
def load(
    url: Annotated[str, Parameter(help="Of the gateway: http://HOST:PORT.")],
    *,
    rate: Annotated[
        float | None, Parameter(validator=_POSITIVE, help="Requests a second: an open loop. Left out: a closed one.")
    ] = None,
    arrivals: Annotated[Literal["constant", "poisson"], Parameter(help="Of an open loop.")] = "constant",
    connections: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=60_000), help="Kept open.")] = 64,
    processes: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=64), help="That ask; they share connections and rate.")
    ] = 1,
    seconds: Annotated[float, Parameter(validator=_POSITIVE, help="Measured.")] = 10.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0), help="Seconds before.")] = 2.0,
    timeout: Annotated[float, Parameter(validator=_POSITIVE, help="Seconds, of a request.")] = 60.0,
    payloads: Annotated[Path | None, Parameter(help="What is asked: a .jsonl or .yaml file of entries.")] = None,
    dialect: Annotated[Literal["openai", "anthropic", "gemini"], Parameter(help="Of the built-in request.")] = "openai",
    model: Annotated[str, Parameter(help="Of the built-in request.")] = "gpt-4o-mini",
    stream: Annotated[bool, Parameter(negative="", help="The built-in request asks for a stream.")] = False,
    prompt_bytes: Annotated[int, Parameter(validator=validators.Number(gte=1), help="Of the built-in request.")] = 240,
    key: Annotated[str | None, Parameter(help="The caller's: env:NAME or file:PATH.")] = None,
    ca: Annotated[Path | None, Parameter(help="Authorities of a TLS target (PEM).")] = None,
    insecure: Annotated[bool, Parameter(negative="", help="Take a TLS target's certificate unread.")] = False,
    tolerate: Annotated[
        float, Parameter(validator=validators.Number(gte=0, lte=1), help="Exit with 1 if a larger share fails.")
    ] = 0.0,
    max_lag_ms: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0), help="Exit with 70 if the schedule's lateness exceeds it at p99."
        ),
    ] = 1.0,
    seed: Annotated[int, Parameter(help="Of all that is drawn.")] = 1,
    json: Annotated[bool, Parameter(negative="", help="Print the result as JSON.")] = False,
) -> int:
    """Load a gateway, and measure what its callers see.

    An open loop (--rate) times each request from when it was to be sent, so that a target which stands still is charged for all
    that waited. Exits with 70 where the load generator itself was the limit: the figures are printed, and not to be trusted.
    """
    if sys.platform != "linux":
        raise MissingError("the load generator runs on Linux only: its timers are timerfd(2)")
    from bench.client import payloads as mixes  # noqa: PLC0415  (native, Linux)
    from bench.client import run, session, table  # noqa: PLC0415

    target = mixes.target(url)
    entries = [mixes.built_in(dialect, model, stream, prompt_bytes)] if payloads is None else mixes.load(payloads)
    settings = session.Settings(
        target=target,
        rate=rate,
        arrivals=arrivals,
        processes=processes,
        connections=connections,
        seconds=seconds,
        warm_up_s=warm_up,
        timeout_s=timeout,
        seed=seed,
        max_lag_ms=max_lag_ms,
        trust=ca,
        check_certificate=not insecure,
    )
    err = Console(stderr=True, highlight=False)
    with progress.shares(err) as on_progress:
        result = run.run(settings, entries, _secret(key), on_progress)
    if json:
        print(result.as_json().decode())
    else:
        Console(highlight=False).print(table.render(result))
    for doubt in result.doubts:
        err.print(f"not to be trusted: {doubt}", style="red", markup=False, soft_wrap=True)
    if result.doubts:
        return EXIT_DOUBTFUL
    return EXIT_FAILURES if result.failed_share > tolerate else 0


def _secret(reference: str | None) -> str | None:
    """The secret that is referred to; never the reference itself, which others may see in a list of processes."""
    if reference is None:
        return None
    kind, _, name = reference.partition(":")
    if kind == "env":
        if name not in os.environ:
            raise BenchError(f"--key {reference}: the environment has no {name}")
        secret = os.environ[name]
    elif kind == "file":
        try:
            secret = Path(name).read_text().strip()
        except OSError as error:
            raise BenchError(f"--key {reference}: {error.strerror}") from error
    else:
        raise BenchError("--key: a key is env:NAME or file:PATH")
    if not secret or not secret.isascii() or not secret.isprintable():
        raise BenchError(f"--key {reference}: what it holds is no key")
    return secret
