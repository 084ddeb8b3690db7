"""The command line of the bench.

Exit codes:

    0    measured, and within the budget if one was given
    1    measured, and a ratio exceeds the budget
    64   the command was not understood
    69   something that it needs is missing: a program, or Linux
    70   the run failed: no figure may be trusted
    130  Ctrl-C, 143 SIGTERM; whatever was started has been stopped
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter, validators
from rich.console import Console

from bench import page, progress, rounds, table
from bench.errors import BenchError, MissingError

EXIT_OVER_BUDGET = 1
EXIT_USAGE = 64
EXIT_MISSING = 69
EXIT_FAILED = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

app = App(
    name="bench",
    help="CPU a governed request of the gateway, beside nginx's bare proxy in the same run.",
    help_format="plaintext",
    version_flags=(),
)
app.command("bench.compare.command:compare_app", name="compare")
app.command("bench.compare.command:report_app", name="report")
app.command("bench.upstream.command:app", name="upstream")
app.command("bench.client.command:app", name="load")
_err = Console(stderr=True, highlight=False)

_POSITIVE = validators.Number(gte=1)


@app.default
def bench(
    *,
    scenario: Annotated[
        tuple[Literal["chat", "stream"], ...], Parameter(negative="", help="What is asked; may be repeated.")
    ] = ("chat",),
    rounds_: Annotated[
        int, Parameter(name="--rounds", validator=_POSITIVE, help="How often nginx and the gateway take turns.")
    ] = 5,
    seconds: Annotated[int, Parameter(validator=_POSITIVE, help="Of a turn.")] = 4,
    connections: Annotated[int, Parameter(validator=_POSITIVE, help="Kept open by wrk.")] = 64,
    warm_up: Annotated[
        int, Parameter(validator=validators.Number(gte=0), help="Seconds, before the first turn; 0 for none.")
    ] = 2,
    budget: Annotated[
        float | None, Parameter(help="Exit with 1 if the gateway's worker costs more than so many times nginx's.")
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="Print the report as JSON.")] = False,
    html: Annotated[
        Path | None, Parameter(help="Write the report to this file, as one page that needs no other.")
    ] = None,
) -> int:
    """Measure CPU microseconds a governed request of the gateway beside nginx's bare proxy_pass in the same run.

    Needs Linux and Debian's packages nginx and wrk. Starts and stops all that it measures by itself, on free ports.
    """
    if sys.platform != "linux":
        raise MissingError("the bench runs on Linux only: it reads CPU times from /proc")
    if html is not None and not html.resolve().parent.is_dir():
        raise BenchError(f"{html} cannot be written: its folder does not exist")
    settings = rounds.Settings(tuple(dict.fromkeys(scenario)), rounds_, seconds, connections, warm_up)
    with progress.steps(_err, settings.steps) as on_step:
        report = rounds.run(settings, on_step)
    if html is not None:
        html.write_text(page.render(report))
        _err.print(f"The page is {html}", markup=False, soft_wrap=True)
    if json:
        print(report.as_json().decode())
    else:
        Console(highlight=False).print(table.render(report))
    breaches = [] if budget is None else report.breaches(budget)
    for breach in breaches:
        _err.print(f"over budget: {breach}", style="red", markup=False, soft_wrap=True)
    return EXIT_OVER_BUDGET if breaches else 0


@app.command(name="budgets")
def budgets_(
    *,
    update: Annotated[bool, Parameter(negative="", help="Write what was measured into the file.")] = False,
) -> int:
    """Hold kernels against bench/budgets.toml: instructions by callgrind, and ratios to libraries in the same run.

    Needs valgrind. Exits with 1 where a figure breaks its budget; says which commit last moved that.
    """
    from bench.kernels import kept  # noqa: PLC0415 - compiles what it needs, which other commands do not

    return kept.main(update=update, console=Console(highlight=False), errors=_err)


def _on_terminate(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main(argv: list[str] | None = None) -> int:
    try:
        code = app(argv, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:
        return EXIT_USAGE
    except BenchError as error:
        _err.print(f"bench: {error}", markup=False, soft_wrap=True)
        return EXIT_MISSING if isinstance(error, MissingError) else EXIT_FAILED
    except KeyboardInterrupt:
        _err.print("bench: interrupted; all that it started is stopped")
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _on_terminate)
    sys.exit(main())
