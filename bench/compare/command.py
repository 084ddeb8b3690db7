"""`python -m bench compare` and `python -m bench report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators
from rich.console import Console

from bench import progress
from bench.compare import experiment, figures, html, install, samples, terminal
from bench.compare.peers import PEERS, USUAL
from bench.compare.samples import Run
from bench.errors import BenchError, MissingError

compare_app = App(name="compare", help_format="plaintext", version_flags=())
report_app = App(name="report", help_format="plaintext", version_flags=())

_err = Console(stderr=True, highlight=False)
_POSITIVE = validators.Number(gte=1)
_Name = Literal[
    "direct", "nginx", "haproxy", "envoy", "litellm", "tensorzero", "portkey", "ferro", "smg", "throughway"
]  # the names of PEERS; a test holds the two together


@compare_app.default
def compare(
    *,
    target: Annotated[
        tuple[_Name, ...],
        Parameter(negative="", help="What to compare; may be repeated. All that are there, if none is named."),
    ] = (),
    install_: Annotated[
        bool,
        Parameter(
            name="--install", negative="", help="Install what is missing of them, each into an environment of its own."
        ),
    ] = False,
    scenario: Annotated[
        tuple[Literal["chat", "stream"], ...], Parameter(negative="", help="What is asked; may be repeated.")
    ] = ("chat", "stream"),
    rounds: Annotated[int, Parameter(validator=_POSITIVE, help="Turns of each target.")] = 3,
    seconds: Annotated[int, Parameter(validator=_POSITIVE, help="Of each phase of a turn.")] = 4,
    connections: Annotated[int, Parameter(validator=_POSITIVE, help="Of a full load.")] = 64,
    warm_up: Annotated[
        int, Parameter(validator=validators.Number(gte=0), help="Seconds of each scenario, before the first phase.")
    ] = 2,
    streams: Annotated[
        int, Parameter(validator=validators.Number(gte=0), help="Held open at the same time, at the end; 0 for none.")
    ] = 1_000,
    json: Annotated[bool, Parameter(negative="", help="Print samples and figures as JSON.")] = False,
    page: Annotated[
        Path | None, Parameter(name="--html", help="Write the report to this file, as one page that needs no other.")
    ] = None,
) -> int:
    """Measure gateways beside each other: the same scenarios through each, in turn, alone on the same core.

    Needs Linux, two cores, and Debian's package wrk. Installs nothing unless told to.
    """
    if sys.platform != "linux":
        raise MissingError("the bench runs on Linux only: it reads CPU times from /proc")
    _check_writable(page)
    names = target or USUAL
    if install_:
        for name in names:
            _install(name)
    settings = experiment.Settings(
        names, tuple(dict.fromkeys(scenario)), rounds, seconds, connections, warm_up, streams
    )
    with progress.steps(_err, experiment.steps(settings)) as on_step:
        run = experiment.run(settings, on_step)
    _report(run, json=json, page=page)
    return 0


@report_app.default
def report(
    file: Annotated[Path, Parameter(help="What `compare --json` printed.")],
    *,
    page: Annotated[Path | None, Parameter(name="--html", help="Write the page to this file.")] = None,
) -> int:
    """Show a saved run of compare again."""
    _check_writable(page)
    _report(samples.read(file), json=False, page=page)
    return 0


def _report(run: Run, *, json: bool, page: Path | None) -> None:
    if json:
        print(figures.as_json(run).decode())
    else:
        Console(highlight=False).print(terminal.render(run))
    if page is not None:
        page.write_text(html.render(run))
        _err.print(f"The page is {page}", markup=False, soft_wrap=True)


def _check_writable(path: Path | None) -> None:
    if path is not None and not path.resolve().parent.is_dir():
        raise BenchError(f"{path} cannot be written: its folder does not exist")


def _install(name: str) -> None:
    """What cannot be installed is left out of the run, and says why."""
    with _err.status(f"installing {name}"):
        try:
            install.install(name, PEERS[name].packages)
        except BenchError as error:
            _err.print(f"{name}: {error}", style="yellow", markup=False, soft_wrap=True)
