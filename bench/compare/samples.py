"""What a run has seen, as `--json` stores it and `report` reads it again. Raw: figures are worked out by `figures`.

A latency is stored as quantiles on one grid, dense towards the tail: steps of equal width on a scale of 1/(1-p), ten a
decade, up to 99.99 %. That is what the plots draw, and it costs the same however many requests there were.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from bench.errors import BenchError

SCHEMA: Final = 2
"""Raised when a reader of older files would misread a new one."""

SHARES: Final = tuple(sorted({0.5, *(round(1 - 10 ** (-step / 10), 6) for step in range(41))}))
"""The grid: shares of requests, 0 to 0.9999; among them 0.5, 0.9, 0.99 and 0.999 exactly."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of one turn."""

    scenario: str
    connections: int
    requests: int
    duration_s: float
    latency_us: tuple[float, ...]
    """At each of `SHARES`."""
    cpu_s: float | None = None
    """User and system time of all processes of the target; None for direct, and on the way to a full load."""
    offered_per_s: float | None = None
    """Arrivals of an open loop; None for a closed one."""

    def at(self, share: float) -> float | None:
        """The latency that this share of requests stays within; None where not one request lies beyond it.

        Args:
            share: one of `SHARES`.
        """
        if self.requests * (1 - share) < 1 - 1e-9:
            return None
        return self.latency_us[SHARES.index(share)]


class Memory(msgspec.Struct, frozen=True):
    """Of all processes of the target, once: proportional set size (a page that n processes share counts 1/n)."""

    at_s: float
    """Since the start of the turn."""
    size_bytes: int
    phase: str


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Streams that were open at the same time, each with four events a second."""

    streams: int
    begun_s: float
    """From the first request until each had its first event."""
    window_s: float
    """How long all of them flowed."""
    events: int
    """That came meanwhile."""
    cpu_s: float | None
    """That the target spent meanwhile; None for direct."""
    before_bytes: int | None
    """Memory, at rest before; None for direct."""
    size_bytes: int | None
    """Memory at the end of the window."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """A target from its start to its stop."""

    round: int
    start_s: float | None = None
    """From exec to the first whole answer; None for direct."""
    idle_bytes: int | None = None
    """After the first answer, at rest."""
    loads: dict[str, Load] = {}
    """By phase."""
    held: Held | None = None
    memory: tuple[Memory, ...] = ()
    faults: dict[str, str] = {}
    """Why a phase gave no figure, by phase; `start` stands for all of them."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway and its turns."""

    name: str
    version: str
    does: str
    """In two or three words."""
    features: tuple[str, ...]
    """What was switched on."""
    turns: tuple[Turn, ...]


class Skipped(msgspec.Struct, frozen=True):
    name: str
    reason: str


class Machine(msgspec.Struct, frozen=True):
    cpu: str
    cores: int
    kernel: str
    python: str
    load: str
    """The program that made the load, with its version."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """How it was measured."""

    rounds: int
    scenarios: tuple[str, ...]
    seconds: int
    """Of a phase."""
    warm_up_s: int
    connections: int
    """Of a full load."""
    streams: int
    """Held at the same time."""
    target_core: int
    other_cores: tuple[int, ...]
    """Of load and upstream."""
    busy_before: float
    """Load average of the machine when the run began."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    schema: int = SCHEMA
    machine: Machine
    conditions: Conditions
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...] = ()

    def target(self, name: str) -> Target | None:
        return next((target for target in self.targets if target.name == name), None)


def read(path: Path) -> Run:
    """A run that `--json` has stored.

    Raises:
        BenchError: it cannot be read, is no run, or is one of another schema.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema != SCHEMA:
            raise BenchError(f"{path} has schema {schema}; this bench reads {SCHEMA}")
        run = msgspec.json.decode(content, type=Run)
    except msgspec.DecodeError as error:
        raise BenchError(f"{path} is no run of compare: {error}") from error
    for target in run.targets:
        for turn in target.turns:
            for phase, load in turn.loads.items():
                if len(load.latency_us) != len(SHARES):
                    raise BenchError(
                        f"{path}: {target.name}, {phase}: {len(load.latency_us)} quantiles, not {len(SHARES)}"
                    )
    return run


class _Schema(msgspec.Struct):
    schema: int
