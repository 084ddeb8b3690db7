"""Which target answers: smooth weighted round robin over a model's targets, then over those of its fallbacks."""

from __future__ import annotations

from math import gcd

from gateway.base.context import Context, ModelEntry, TargetEntry

MAX_ATTEMPTS = 4
MAX_SCHEDULE = 1_024
"""Longest turn; weights beyond it are scaled down."""


def schedule(targets: list[TargetEntry]) -> list[TargetEntry]:
    """One turn of smooth weighted round robin (as nginx does it): each target as often as its weight, evenly spread."""
    weights = [t.target.weight for t in targets]
    total = sum(weights)
    if total == 0:
        return []
    scale = max(1, -(-total // MAX_SCHEDULE))
    weights = [w and max(1, w // scale) for w in weights]
    divisor = gcd(*weights)
    weights = [w // divisor for w in weights]
    total = sum(weights)
    current = [0] * len(targets)
    turn = []
    for _ in range(total):
        current = [c + w for c, w in zip(current, weights, strict=True)]
        best = max(range(len(targets)), key=current.__getitem__)
        current[best] -= total
        turn.append(targets[best])
    return turn


def choose(ctx: Context) -> TargetEntry | None:
    """The next target to try, None where none is left."""
    assert ctx.model is not None
    if ctx.attempts >= MAX_ATTEMPTS:
        return None
    excluded = ctx.excluded
    target = _of_model(ctx.model, excluded)
    if target is None:
        for fallback in ctx.model.fallbacks:
            target = _of_model(fallback, excluded)
            if target is not None:
                break
    return target


def _of_model(model: ModelEntry, excluded: frozenset[TargetEntry]) -> TargetEntry | None:
    turn = model.schedule
    if len(turn) == 1 and turn[0] not in excluded:
        return turn[0]
    for _ in range(len(turn)):
        target = turn[model.turn % len(turn)]
        model.turn += 1
        if target not in excluded:
            return target
    return next((t for t in model.targets if t not in excluded), None)  # those of weight 0
