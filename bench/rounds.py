"""The experiment: all targets stand ready, one is pressed at a time, and each round presses all of them.

Rules:
- Each target proves with one request that it gives the whole answer, before anything is measured.
- The order turns with each round, so that a machine that grows slower favours nobody.
- A sample's CPU is read once the target has come to rest: records still on their way to the ledger are paid by the
  requests that made them, and do not disturb whoever is next.
- A target whose processes changed meanwhile has crashed, and gives no figure.
"""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bench import load, proc, servers
from bench.errors import BenchError
from bench.figures import Comparison, Machine, Report, Sample, Series
from bench.load import Load
from bench.scenarios import SCENARIOS, Scenario
from bench.servers import Target

_REST_WINDOW_S: Final = 0.25
_REST_SHARE: Final = 0.05
"""Of a core: a target that spends less is at rest."""
_REST_AT_MOST_S: Final = 30.0

OnStep = Callable[[str], None]
"""Told in a few words what begins now."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Args:
        scenarios: names, each of `SCENARIOS`.
        rounds: how often each target takes its turn, 1 or more.
        seconds: of a turn.
        connections: of the load.
        warm_up_s: of each target before each scenario; 0 leaves it out.
    """

    scenarios: tuple[str, ...] = ("chat",)
    rounds: int = 5
    seconds: int = 4
    connections: int = 64
    warm_up_s: int = 2

    @property
    def steps(self) -> int:
        """How often `on_step` is called."""
        return 1 + len(self.scenarios) * 2 * (1 + self.rounds)


def run(settings: Settings, on_step: OnStep) -> Report:
    """Starts all that takes part, measures, and stops it.

    Raises:
        BenchError: there is no figure that may be trusted; nothing that was started is left.
    """
    press = Load(servers.find("wrk"), settings.connections)
    key = f"sk-bench-{secrets.token_hex(16)}"
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="throughway-bench-")))
        on_step("starting")
        instant = stack.enter_context(servers.upstream(directory))
        targets: tuple[Target, ...] = (
            stack.enter_context(servers.nginx_proxy(directory, instant.port)),
            stack.enter_context(servers.gateway(directory, instant.port, key)),
        )
        comparisons = []
        for name in settings.scenarios:
            script = directory / f"{name}.lua"
            script.write_text(load.script(SCENARIOS[name].body, key))
            bench = _Bench(SCENARIOS[name], settings, press, script, on_step)
            for target in targets:
                bench.prepare(target, key)
            comparisons.append(bench.compare(targets))
    return Report(_machine(press.wrk), settings.rounds, settings.seconds, settings.connections, tuple(comparisons))


@dataclass(frozen=True, slots=True)
class _Bench:
    """One scenario, ready to press on any target."""

    scenario: Scenario
    settings: Settings
    press: Load
    script: Path
    on_step: OnStep

    def prepare(self, target: Target, key: str) -> None:
        """Proves that the target works, and warms it up."""
        self.on_step(f"{self.scenario.name}, warm-up: {target.name}")
        status, answer = servers.post(target.url(self.scenario), key, self.scenario.body)
        if status != 200 or not all(part in answer for part in self.scenario.proof):
            raise BenchError(f"{target.name} answers the scenario {self.scenario.name} with {status}: {answer[:500]}")
        if self.settings.warm_up_s:
            self._load(target, self.settings.warm_up_s)
            rest(target)

    def compare(self, targets: Sequence[Target]) -> Comparison:
        samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
        for number in range(1, self.settings.rounds + 1):
            for target in targets if number % 2 else reversed(targets):
                self.on_step(f"{self.scenario.name}, round {number} of {self.settings.rounds}: {target.name}")
                samples[target.name].append(self._sample(target))
        series = tuple(Series(target.name, target.features, tuple(samples[target.name])) for target in targets)
        return Comparison(self.scenario.name, self.scenario.title, series)

    def _sample(self, target: Target) -> Sample:
        workers, tree = target.workers(), target.tree()
        worker_began_s, tree_began_s = proc.cpu_s(workers), proc.cpu_s(tree)
        outcome = self._load(target, self.settings.seconds)
        rest(target)
        worker_s, tree_s = proc.cpu_s(workers) - worker_began_s, proc.cpu_s(tree) - tree_began_s
        if target.tree() != tree:
            raise BenchError(f"{target.name} started or lost a process while it was measured")
        if worker_s == 0:
            raise BenchError(f"{target.name} did too little to be measured: give it more --seconds")
        return Sample(
            requests=outcome.requests,
            requests_per_s=outcome.requests / outcome.duration_us * 1e6,
            p50_us=outcome.p50_us,
            p99_us=outcome.p99_us,
            worker_cpu_us=worker_s / outcome.requests * 1e6,
            tree_cpu_us=tree_s / outcome.requests * 1e6,
        )

    def _load(self, target: Target, seconds: int) -> load.Outcome:
        try:
            return self.press.run(target.url(self.scenario), self.script, seconds)
        except BenchError as error:
            raise BenchError(f"{target.name}, scenario {self.scenario.name}: {error}") from error


class Restless(Protocol):
    """Something that may have work left when a load has ended."""

    @property
    def name(self) -> str: ...

    @property
    def afterwork_s(self) -> float:
        """How long after a request work for it may begin."""

    def tree(self) -> list[int]: ...


def rest(target: Restless) -> None:
    """Waits until the target has nothing more to do.

    Raises:
        BenchError: it never came to rest.
    """
    time.sleep(target.afterwork_s)
    tree = target.tree()
    deadline = time.monotonic() + _REST_AT_MOST_S
    spent_s, before_s = float("inf"), proc.cpu_s(tree)
    while spent_s > _REST_SHARE * _REST_WINDOW_S:
        if time.monotonic() > deadline:
            raise BenchError(f"{target.name} was still at work {_REST_AT_MOST_S:.0f} s after the load had ended")
        time.sleep(_REST_WINDOW_S)
        now_s = proc.cpu_s(tree)
        spent_s, before_s = now_s - before_s, now_s


def _machine(wrk: str) -> Machine:
    return Machine(
        cpu=cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
        nginx=version_line(servers.find("nginx"), "-v").removeprefix("nginx version: nginx/"),
        wrk=version_line(wrk, "-v").removeprefix("wrk ").partition(" ")[0],
    )


def cpu_model() -> str:
    """What the processor calls itself."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.machine()


def version_line(program: str, *options: str) -> str:
    """The first line of what it says of itself. Neither nginx nor wrk says it on the stream, or with the status, one expects."""
    ran = subprocess.run([program, *options], capture_output=True, text=True, timeout=10, check=False)
    return (ran.stdout + ran.stderr).strip().partition("\n")[0]
