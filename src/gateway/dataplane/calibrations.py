"""A worker's calibrations: one for each target that is counted with a vocabulary not its own.

They outlive snapshots. What a worker has learnt stands in two counters of the node's metrics, whose quotient is the ratio; so a worker
that follows another in its slot begins with what that one knew.
"""

from __future__ import annotations

import msgspec

from _fastpath.metrics import Registry, collect
from _fastpath.shm import NodeMemory
from gateway.base.calibration import Calibration, Ratio
from gateway.base.snapshot import Snapshot

TOLD = "throughway_calibration_told_tokens_total"
COUNTED = "throughway_calibration_counted_tokens_total"


class Learnt(msgspec.Struct, frozen=True):
    """What the workers of a node have learnt of one kind of script of a target."""

    provider: str
    model: str
    script: str
    ratio: float
    """Tokens told for each that was counted here, of all observations."""
    counted_tokens: int


def learnt(memory: NodeMemory) -> list[Learnt]:
    """In the order of names. At most three a target, of those that were ever configured."""
    sums: dict[tuple[str, str, str], dict[str, int]] = {}
    for sample in collect(memory):
        if sample.name in (TOLD, COUNTED) and "script" in sample.labels:
            of = sample.labels
            sums.setdefault((of["provider"], of["model"], of["script"]), {})[sample.name] = sample.value
    return [
        Learnt(*target, round(tokens[TOLD] / tokens[COUNTED], 3), tokens[COUNTED])
        for target, tokens in sorted(sums.items())
        if tokens.get(COUNTED) and TOLD in tokens
    ]


class Calibrations:
    """At most one a target of the snapshot that is in use."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._by_target: dict[tuple[str, str], Calibration] = {}

    def of(self, provider: str, model: str) -> Calibration:
        """The calibration of a provider's model, always the same."""
        found = self._by_target.get((provider, model))
        if found is None:
            made = Calibration(lambda script: self._ratio({"provider": provider, "model": model, "script": script}))
            found = self._by_target[provider, model] = made
        return found

    def _ratio(self, labels: dict[str, str]) -> Ratio:
        told, counted = (self._registry.counter(name, labels) for name in (TOLD, COUNTED))

        def learn(told_tokens: int, counted_tokens: int) -> None:
            told.add(told_tokens)
            counted.add(counted_tokens)

        return Ratio(told.value, counted.value, learn)

    def keep(self, snapshot: Snapshot) -> None:
        """Forgets the targets that are no longer there; their counters stay."""
        used = {(target.provider, target.model) for model in snapshot.models for target in model.targets}
        for gone in self._by_target.keys() - used:
            del self._by_target[gone]
