"""What /metrics says of a node in which one worker hands over to the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from _fastpath.shm import NodeMemory
from gateway.base import node as slots
from gateway.dataplane.exposition import render


@pytest.fixture
def memory(tmp_path: Path) -> NodeMemory:
    return NodeMemory.create(str(tmp_path / "memory"), slots.slot_count(2), 8, 65_536)


def occupy(memory: NodeMemory, slot: int, number: int, state: int, in_flight: int, generation: int) -> None:
    memory.occupy(slot, 100 + slot)
    memory.set_gauge(slot, slots.G_ROLE, slots.ROLE_WORKER)
    memory.set_gauge(slot, slots.G_WORKER, number)
    memory.set_gauge(slot, slots.G_IN_FLIGHT, in_flight)
    memory.set_gauge(slot, slots.G_GENERATION, generation)
    memory.set_state(slot, state)


def series(memory: NodeMemory) -> dict[str, float]:
    lines = render(memory, 2).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_each_worker_has_its_gauges_whatever_its_slot(memory: NodeMemory) -> None:
    occupy(memory, 3, 0, slots.SERVING, in_flight=5, generation=2)
    found = series(memory)
    assert found['throughway_in_flight_requests{worker="0"}'] == 5
    assert found['throughway_in_flight_requests{worker="1"}'] == 0
    assert found["throughway_workers_serving"] == 1


def test_who_retires_and_who_follows_are_one_worker(memory: NodeMemory) -> None:
    occupy(memory, 0, 0, slots.RETIRING, in_flight=7, generation=1)
    occupy(memory, 2, 0, slots.SERVING, in_flight=1, generation=4)
    occupy(memory, 1, 1, slots.SERVING, in_flight=2, generation=4)
    found = series(memory)
    assert found['throughway_in_flight_requests{worker="0"}'] == 8
    assert found['throughway_config_generation{worker="0"}'] == 4
    assert found["throughway_workers_serving"] == 2
