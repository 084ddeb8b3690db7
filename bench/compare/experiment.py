"""Rounds of turns. In a turn one target is started afresh, alone on its core, goes through every phase, and is stopped.

Rules:
- Load and upstream have the other cores to themselves, as far as the machine lets them: the target never shares its own.
- The order turns with each round, so that a machine that grows slower favours nobody.
- What goes wrong in a phase fails that phase, with its reason; a target that does not start fails as a whole. The rest of
  the run goes on.
- CPU is of all processes of the target, and read once it has come to rest.
"""

from __future__ import annotations

import os
import platform
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Final

from bench import proc, rounds, servers
from bench.compare import callers, place, press, streams
from bench.compare.install import missing
from bench.compare.peers import DIRECT, PEERS, Peer
from bench.compare.place import Place, Where
from bench.compare.samples import Conditions, Held, Load, Machine, Memory, Run, Skipped, Target, Turn
from bench.compare.scenes import SCENES, Scene
from bench.errors import BenchError, MissingError

_MEMORY_EVERY_S: Final = 0.5
_FULL_ROUNDS: Final = 10
"""How often each connection of a full load should be answered: what is under way at the end has cost CPU, and counts for nothing."""
_FULL_AT_MOST_S: Final = 30

_HELD_WINDOW_S: Final = 8.0
_HELD_BEGUN_S: Final = 90.0

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Args:
        targets: names, each of `PEERS`; direct and what is missing are seen to.
        rounds: turns of each target, 1 or more.
        scenarios: names, each of `SCENES`.
        seconds: of a phase.
        connections: of a full load.
        warm_up_s: of each scenario with a full load, before the first phase.
        streams: held at the same time, at the end; 0 for none.
    """

    targets: tuple[str, ...]
    scenarios: tuple[str, ...] = ("chat", "stream")
    rounds: int = 3
    seconds: int = 4
    connections: int = 64
    warm_up_s: int = 2
    streams: int = 1_000


@dataclass(frozen=True, slots=True)
class Phase:
    """One load. Steps on the way to a full one are for latency alone: what they cost is not told apart."""

    name: str
    scenario: Scene
    connections: int
    full: bool = False
    first: bool = False
    """A caller of streams, who waits for the first token."""


def phases(settings: Settings) -> tuple[Phase, ...]:
    """In the order in which they are gone through: a lone caller, steps up to a full load, streams."""
    chat = SCENES["chat"]
    steps = [count for count in (1, 2, 4, 8, 16, 32, 64, 128, 256) if count < settings.connections]
    return (
        *(Phase(f"chat {count}", chat, count) for count in steps if "chat" in settings.scenarios),
        *(Phase("stream first", SCENES[name], 1, first=True) for name in settings.scenarios if name == "stream"),
        *(Phase(f"{name} full", SCENES[name], settings.connections, full=True) for name in settings.scenarios),
    )


def steps(settings: Settings) -> int:
    """How often `on_step` is called at most."""
    return len({DIRECT, *settings.targets}) * settings.rounds * (3 + len(phases(settings)) + bool(settings.streams))


def run(settings: Settings, on_step: OnStep) -> Run:
    """Compares.

    Raises:
        BenchError: there is nothing to compare with: the upstream or the load failed.
        MissingError: something that no run can do without.
    """
    names = tuple(dict.fromkeys((DIRECT, *settings.targets)))
    skipped = tuple(Skipped(name, reason) for name in names if (reason := missing(name, PEERS[name].packages)))
    peers = [PEERS[name] for name in names if name not in {one.name for one in skipped}]
    versions = {peer.name: place.version(peer) for peer in peers}
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="throughway-bench-") as temporary, _apart() as (core, others):
        directory = Path(temporary)
        bench = _Bench(settings, press.press(directory), directory, core, f"sk-bench-{secrets.token_hex(16)}", on_step)
        with provider(directory) as upstream:
            turns = bench.rounds(peers, upstream.port)
        machine = Machine(
            rounds.cpu_model(), len(others) + 1, platform.release(), platform.python_version(), bench.press.version
        )
    return Run(
        machine=machine,
        conditions=Conditions(
            rounds=settings.rounds,
            scenarios=settings.scenarios,
            seconds=settings.seconds,
            warm_up_s=settings.warm_up_s,
            connections=settings.connections,
            streams=settings.streams,
            target_core=core,
            other_cores=tuple(others),
            busy_before=busy,
        ),
        targets=tuple(
            Target(
                name=peer.name,
                version=versions[peer.name],
                does=peer.does,
                features=peer.features,
                turns=tuple(turns[peer.name]),
            )
            for peer in peers
        ),
        skipped=skipped,
    )


@contextmanager
def _apart() -> Iterator[tuple[int, list[int]]]:
    """Moves this process, and what it will start, off the last core of those it may use, which is the target's.

    Raises:
        MissingError: there is only one.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise MissingError("a comparison needs two cores: one for the target, one for load and upstream")
    *others, core = allowed
    os.sched_setaffinity(0, others)
    try:
        yield core, others
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def provider(directory: Path) -> Iterator[servers.Server]:
    """The scriptable provider, ready."""
    port, log = servers.free_port(), directory / "provider.log"
    command = [sys.executable, "-m", "bench", "upstream", "--listen", f"127.0.0.1:{port}"]
    command += ["--script", str(servers.CONF / "provider.toml")]
    with servers.running("the provider", command, log, directory=servers.CONF.parents[1]) as process:
        server = servers.Server("the provider", process, port, log)
        server.wait_until(f"{port}/v1/models")
        yield server


@dataclass(frozen=True, slots=True)
class _Bench:
    settings: Settings
    press: press.Press
    directory: Path
    core: int
    key: str
    on_step: OnStep

    def rounds(self, peers: Sequence[Peer], upstream_port: int) -> dict[str, list[Turn]]:
        turns: dict[str, list[Turn]] = {peer.name: [] for peer in peers}
        for number in range(1, self.settings.rounds + 1):
            for peer in peers if number % 2 else reversed(peers):
                directory = self.directory / f"{number}-{peer.name}"
                directory.mkdir()
                where = Where(directory, upstream_port, self.key, self.core)
                turns[peer.name].append(self._turn(number, peer, where))
        return turns

    def _turn(self, number: int, peer: Peer, where: Where) -> Turn:
        label = f"round {number} of {self.settings.rounds}, {peer.name}"
        self.on_step(f"{label}: start")
        notes = _Notes()
        try:
            with place.started(peer, where, SCENES["chat"]) as target:
                notes.start_s = target.start_s
                self._phases(target, notes, label)
        except BenchError as error:
            notes.faults["stop" if notes.ready else "start"] = str(error)
        return notes.turn(number)

    def _phases(self, target: Place, notes: _Notes, label: str) -> None:
        with notes.phase("idle"):
            notes.note(target, "idle")
            if notes.memory:
                notes.idle_bytes = notes.memory[-1].size_bytes
        notes.ready = True
        wrong, per_s = self._prepare(target, notes)
        for phase in phases(self.settings):
            if phase.scenario.name not in self._scenarios(target):
                continue
            self.on_step(f"{label}: {phase.name}")
            with notes.phase(phase.name):
                if reason := wrong.get(phase.scenario.name):
                    raise BenchError(reason)
                notes.loads[phase.name] = self._load(target, notes, phase, per_s.get(phase.scenario.name))
        self._half(target, notes, label)
        with notes.phase("end"):
            notes.note(target, "end")
        if self.settings.streams and "held" in target.peer.scenarios:
            self.on_step(f"{label}: {self.settings.streams} streams")
            with notes.phase("held"):
                notes.held = self._hold(target, notes)

    def _prepare(self, target: Place, notes: _Notes) -> tuple[dict[str, str], dict[str, float]]:
        """Has each scenario prove itself, and warms it up: what is wrong, and requests/s, both by scenario."""
        wrong: dict[str, str] = {}
        per_s: dict[str, float] = {}
        for name in self._scenarios(target):
            if reason := target.prove(SCENES[name]):
                wrong[name] = reason
            elif self.settings.warm_up_s:
                ask = target.ask(SCENES[name])
                try:
                    per_s[name] = self.press.warm(ask, self.settings.connections, self.settings.warm_up_s)
                    rounds.rest(target)
                except BenchError as error:
                    wrong[name] = f"while it was warmed up: {error}"
        with notes.phase("warm"):
            notes.note(target, "warm")
        return wrong, per_s

    def _half(self, target: Place, notes: _Notes, label: str) -> None:
        """Arrivals at half the rate of its full load, through the target, which rests since then, and then direct."""
        full = notes.loads.get("chat full")
        if full is None or target.process is None:
            return
        per_s = full.requests / full.duration_s / 2
        direct = Place(PEERS[DIRECT], {**target.values, "PORT": target.values["UPSTREAM"]})
        for name, asked in (("chat half", target), ("chat half direct", direct)):
            self.on_step(f"{label}: {name}")
            with notes.phase(name):
                ask = asked.ask(SCENES["chat"])
                seen = callers.arrive(ask, per_s, self.settings.connections, self.settings.seconds)
                notes.loads[name] = Load(
                    scenario="chat",
                    connections=self.settings.connections,
                    requests=seen.requests,
                    duration_s=seen.duration_us / 1e6,
                    latency_us=seen.latency_us,
                    offered_per_s=per_s,
                )

    def _hold(self, target: Place, notes: _Notes) -> Held:
        rounds.rest(target)
        tree = target.tree()
        before = proc.memory_bytes(tree) if tree else None
        spent_s = [0.0, 0.0]
        sizes: list[int] = []

        def on_open() -> None:
            spent_s[0] = proc.cpu_s(tree)

        def on_end() -> None:
            spent_s[1] = proc.cpu_s(tree)
            if tree:
                sizes.append(proc.memory_bytes(tree))

        with notes.watched(target, "held", when=True):
            flow = streams.hold(
                target.ask(SCENES["held"]), self.settings.streams, _HELD_WINDOW_S, _HELD_BEGUN_S, on_open, on_end
            )
        return Held(
            streams=flow.streams,
            begun_s=flow.begun_s,
            window_s=flow.window_s,
            events=flow.events,
            cpu_s=spent_s[1] - spent_s[0] if tree else None,
            before_bytes=before,
            size_bytes=sizes[0] if sizes else None,
        )

    def _scenarios(self, target: Place) -> list[str]:
        return [name for name in self.settings.scenarios if name in target.peer.scenarios]

    def _seconds(self, phase: Phase, per_s: float | None) -> int:
        """A full load of a slow target lasts longer, up to a bound."""
        if not phase.full or per_s is None or self.settings.seconds >= _FULL_AT_MOST_S:
            return self.settings.seconds
        needed = _FULL_ROUNDS * phase.connections / max(per_s, 1.0)
        return max(self.settings.seconds, min(_FULL_AT_MOST_S, ceil(needed)))

    def _load(self, target: Place, notes: _Notes, phase: Phase, per_s: float | None) -> Load:
        tree = target.tree()
        if phase.full:
            rounds.rest(target)
        began_s = proc.cpu_s(tree)
        ask, seconds = target.ask(phase.scenario), self._seconds(phase, per_s)
        with notes.watched(target, phase.name, when=phase.connections > 1):
            if phase.first:
                seen = callers.first_tokens(ask, seconds)
            else:
                seen = self.press.closed(ask, phase.connections, seconds)
        if phase.full:
            rounds.rest(target)
        cpu_s = proc.cpu_s(tree) - began_s
        if target.tree() != tree:
            raise BenchError("it started or lost a process while it was measured")
        return Load(
            scenario=phase.scenario.name,
            connections=phase.connections,
            requests=seen.requests,
            duration_s=seen.duration_us / 1e6,
            latency_us=seen.latency_us,
            cpu_s=cpu_s if tree and phase.full else None,
        )


@dataclass(slots=True)
class _Notes:
    """What a turn has seen so far."""

    began_s: float = field(default_factory=time.monotonic)
    ready: bool = False
    start_s: float | None = None
    idle_bytes: int | None = None
    loads: dict[str, Load] = field(default_factory=dict)
    held: Held | None = None
    memory: list[Memory] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What goes wrong within fails the phase, and nothing else."""
        try:
            yield
        except BenchError as error:
            self.faults[name] = str(error)

    def note(self, target: Place, phase: str) -> None:
        if tree := target.tree():
            self.memory.append(Memory(time.monotonic() - self.began_s, proc.memory_bytes(tree), phase))

    @contextmanager
    def watched(self, target: Place, phase: str, *, when: bool) -> Iterator[None]:
        """Notes the memory now and then. Not `when` a single caller is timed: the target's address space is locked meanwhile."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_MEMORY_EVERY_S):
                with suppress(BenchError):  # a process that ended: the phase itself reports that
                    self.note(target, phase)

        thread = threading.Thread(target=watch, name="memory", daemon=True)
        if when:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            if when:
                thread.join()

    def turn(self, number: int) -> Turn:
        return Turn(
            round=number,
            start_s=self.start_s,
            idle_bytes=self.idle_bytes,
            loads=self.loads,
            held=self.held,
            memory=tuple(self.memory),
            faults=self.faults,
        )
