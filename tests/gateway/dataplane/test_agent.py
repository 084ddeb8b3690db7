"""The node's agent: what it lets the workers have."""

from __future__ import annotations

import pytest

from gateway.base.snapshot import Budget, Key, Limits, Snapshot, Team
from gateway.dataplane.agent import _too_large

LIMITED, BUDGETED, FREE = Limits(requests_per_minute=1), Budget(1, "day"), Limits()


@pytest.mark.parametrize(
    ("keys", "rows", "fits"),
    [
        ([(LIMITED, None)] * 4, 8, True),
        ([(LIMITED, None)] * 5, 8, False),
        ([(FREE, BUDGETED)] * 2, 8, True),  # the scope's row and the period's
        ([(LIMITED, BUDGETED)] * 3, 8, False),
        ([(FREE, None)] * 100, 8, True),
    ],
)
def test_a_snapshot_whose_limits_do_not_fit_the_nodes_table_is_refused_with_the_remedy(
    keys: list[tuple[Limits, Budget | None]], rows: int, fits: bool
) -> None:
    made = tuple(Key(f"k{i}", f"k{i}", "", limits=limits, budget=budget) for i, (limits, budget) in enumerate(keys))
    why = _too_large(Snapshot("v", keys=made), rows)
    assert (why == "") is fits
    assert fits or "restart it" in why


def test_teams_count_too() -> None:
    assert _too_large(Snapshot("v", teams=(Team("t", LIMITED, BUDGETED),)), 2)
