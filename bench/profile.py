"""Where a worker's time goes: a flame graph under load, and Cython's annotation of each kernel.

    python -m bench.profile [FOLDER]        # or: make profile

Leaves in FOLDER (build/profile):

    SCENARIO.svg    a flame graph of the worker's loop while wrk presses on it; what Linux does is in the calls of libc
    kernels/*.html  the source of each kernel; the yellower a line, the more of Python's C API it calls

py-spy samples the stacks, native frames included; it stops the worker for each sample, so that what is slow looks as it is,
and how fast the whole is does not.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console

from bench import flame, load, servers
from bench.errors import BenchError, MissingError
from bench.scenarios import SCENARIOS, Scenario

ROOT: Final = Path(__file__).parents[1]
SECONDS: Final = 10
HERTZ: Final = 250
LOOP: Final = "uv_run"
IDLE: Final = "epoll_pwait"
KEY: Final = "tw-bench-0123456789abcdef0123456789abcdef"
_err = Console(stderr=True, highlight=False)


def flame_graph(scenario: Scenario, into: Path, seconds: int = SECONDS) -> None:
    """Presses on one worker and samples it meanwhile.

    Raises:
        MissingError: a program is missing.
        BenchError: something did not start, failed, or could not be sampled.
    """
    spy = Path(sys.executable).with_name("py-spy")
    if not spy.exists():
        raise MissingError("stacks are sampled by py-spy, which is missing: make setup")
    press = load.Load(servers.find("wrk"), connections=64)
    with (
        TemporaryDirectory(prefix="throughway-bench-") as folder,
        servers.upstream(Path(folder)) as upstream,
        servers.gateway(Path(folder), upstream.port, KEY) as gateway,
        ThreadPoolExecutor() as beside,
    ):
        script = Path(folder) / "load.lua"
        script.write_text(load.script(scenario.body, KEY))
        press.run(gateway.url(scenario), script, 1)
        pressed = beside.submit(press.run, gateway.url(scenario), script, seconds + 2)
        time.sleep(1)
        raw = Path(folder) / "stacks"
        options = [
            "--native",
            "--rate",
            str(HERTZ),
            "--duration",
            str(seconds),
            "--format",
            "raw",
            "--output",
            str(raw),
        ]
        command = [str(spy), "record", *options, "--pid", str(gateway.workers()[0])]
        spied = subprocess.run(command, capture_output=True, text=True, check=False)
        pressed.result()
        if spied.returncode != 0 or not raw.exists():
            raise BenchError(f"py-spy failed: {(spied.stderr or spied.stdout).strip()[-500:]}")
        whole = flame.fold(raw.read_text().splitlines(), LOOP, IDLE)
    if whole.samples == 0:
        raise BenchError(f"no stack goes through {LOOP}: were the symbols stripped?")
    into.write_text(
        flame.render(whole, f"{scenario.title}: the loop of a worker under load, {whole.samples:,} samples")
    )


def annotate(into: Path) -> list[Path]:
    """Writes the annotation of each kernel, without touching what is built.

    Raises:
        BenchError: Cython failed.
    """
    into.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="throughway-bench-") as folder:
        kernels = sorted((ROOT / "src" / "_fastpath").glob("*.pyx"))
        switches = "boundscheck=False,wraparound=False,cdivision=True,initializedcheck=False"  # as setup.py has them
        command = [sys.executable, "-m", "cython", "--annotate", "-3", "-I", "src", "-X", switches, "-o"]
        for kernel in kernels:
            made = Path(folder) / kernel.with_suffix(".c").name
            ran = subprocess.run(
                [*command, str(made), str(kernel)], cwd=ROOT, capture_output=True, text=True, check=False
            )
            if ran.returncode != 0:
                raise BenchError(f"Cython failed on {kernel.name}: {ran.stderr.strip()[-500:]}")
            shutil.copy(made.with_suffix(".html"), into)
    return [into / kernel.with_suffix(".html").name for kernel in kernels]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scenario in SCENARIOS.values():
        graph = folder / f"{scenario.name}.svg"
        _err.print(f"{scenario.title}: {SECONDS} s under load")
        flame_graph(scenario, graph)
        print(graph)
    _err.print("annotating the kernels")
    print(*annotate(folder / "kernels"), sep="\n")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "profile")
    except BenchError as error:
        sys.exit(f"bench: {error}")
