"""The node's shared memory: what `attach` accepts, and whose numbers a slot holds."""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from _fastpath.bucket import ADMITTED, Scope, Table
from _fastpath.shm import LAYOUT_VERSION, LayoutError, NodeMemory

# Offsets of the header's numbers.
MAGIC, LAYOUT, BOOT, SIZE, SLOTS, ROWS, METRICS = 0, 8, 16, 32, 40, 48, 56


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "node")


@pytest.fixture
def memory(path: str) -> Iterator[NodeMemory]:
    memory = NodeMemory.create(path, slots=3, limit_rows=10, metrics_bytes=5000)
    yield memory
    memory.close()


def overwrite(path: str, offset: int, number: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(struct.pack("=q", number))


def test_attach_finds_what_create_laid_out(path: str, memory: NodeMemory) -> None:
    other = NodeMemory.attach(path)
    assert (other.slots, other.limit_rows, other.metrics_bytes) == (3, 10, 5000)
    assert (memory.slots, memory.limit_rows, memory.metrics_bytes) == (3, 10, 5000)


def test_the_file_is_its_owners_alone_and_nothing_else_is_left(path: str, memory: NodeMemory) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(os.path.dirname(path)) == ["node"]


def test_the_whole_file_is_allocated(path: str, memory: NodeMemory) -> None:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("a sparse file here")
    status = os.stat(path)
    assert status.st_blocks * 512 >= status.st_size


@pytest.mark.parametrize(
    ("offset", "number", "says"),
    [
        (MAGIC, 0, "not the node's"),
        (LAYOUT, LAYOUT_VERSION + 1, "layout"),
        (BOOT, 1, "last boot"),
        (BOOT + 8, 1, "last boot"),
        (SIZE, 4096, "bytes"),
        (SLOTS, 2, "bytes|impossible"),
        (SLOTS, 4, "bytes"),
        (SLOTS, 0, "impossible"),
        (SLOTS, 2**40, "impossible"),
        (ROWS, 10**4, "bytes"),
        (ROWS, -1, "impossible"),
        (METRICS, 2**29, "bytes"),
        (METRICS, 2**62, "impossible"),
    ],
)
def test_attach_refuses_a_header_that_does_not_fit(
    path: str, memory: NodeMemory, offset: int, number: int, says: str
) -> None:
    overwrite(path, offset, number)
    with pytest.raises(LayoutError, match=says):
        NodeMemory.attach(path)


@pytest.mark.parametrize("size", [0, 100, 4096, -4096, 4096 * 100])
def test_attach_refuses_a_file_of_another_size(path: str, memory: NodeMemory, size: int) -> None:
    os.truncate(path, size if size >= 0 else os.stat(path).st_size + size)
    with pytest.raises(LayoutError):
        NodeMemory.attach(path)


def test_attach_follows_no_link(path: str, memory: NodeMemory) -> None:
    os.symlink(path, path + ".link")
    with pytest.raises(OSError, match="link"):
        NodeMemory.attach(path + ".link")


def test_attach_of_nothing_is_not_found(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        NodeMemory.attach(path)


@pytest.mark.parametrize("sizes", [(0, 1, 1024), (1025, 1, 1024), (1, 0, 1024), (1, 2**30, 1024), (1, 1, 1000)])
def test_create_refuses_sizes_out_of_bounds(path: str, sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be from"):
        NodeMemory.create(path, *sizes)
    assert not os.path.exists(path)


def test_create_leaves_those_who_mapped_the_older_file_alone(path: str, memory: NodeMemory) -> None:
    memory.occupy(1, 77)
    newer = NodeMemory.create(path, slots=1, limit_rows=1, metrics_bytes=1024)
    assert memory.pid(1) == 77
    assert newer.pid(0) == 0
    assert NodeMemory.attach(path).slots == 1


def test_what_one_writes_the_others_read(path: str, memory: NodeMemory) -> None:
    other = NodeMemory.attach(path)
    assert [memory.announce_snapshot(), other.announce_snapshot()] == [1, 2]
    assert memory.snapshot_generation == other.snapshot_generation == 2
    memory.occupy(2, 4711)
    memory.set_state(2, 3)
    memory.set_gauge(2, 31, -5)
    assert (other.pid(2), other.state(2), other.gauge(2, 31)) == (4711, 3, -5)
    assert (other.pid(1), other.state(1), other.gauge(1, 31)) == (0, 0, 0)


def test_a_heartbeat_is_the_monotonic_clock(memory: NodeMemory) -> None:
    before = time.monotonic_ns()
    memory.beat(0)
    assert before <= memory.heartbeat_ns(0) <= time.monotonic_ns()


def test_a_new_occupant_starts_from_nothing(memory: NodeMemory) -> None:
    memory.occupy(0, 1)
    memory.set_state(0, 2)
    memory.set_gauge(0, 4, 9)
    before = time.monotonic_ns()
    memory.occupy(0, 2)
    assert (memory.pid(0), memory.state(0), memory.gauge(0, 4)) == (2, 1, 0)
    assert memory.heartbeat_ns(0) >= before


def test_a_vacated_slot_holds_nothing(memory: NodeMemory) -> None:
    memory.occupy(0, 1)
    memory.set_gauge(0, 4, 9)
    memory.beat(0)
    memory.vacate(0)
    assert (memory.pid(0), memory.state(0), memory.gauge(0, 4), memory.heartbeat_ns(0)) == (0, 0, 0, 0)


@pytest.mark.parametrize("slot", [-1, 3, 10**6])
def test_a_slot_that_is_not_there_is_an_index_error(memory: NodeMemory, slot: int) -> None:
    for call in (memory.pid, memory.state, memory.beat, memory.heartbeat_ns, memory.vacate):
        with pytest.raises(IndexError):
            call(slot)
    with pytest.raises(IndexError):
        memory.occupy(slot, 1)
    with pytest.raises(IndexError):
        Table(memory, slot)


@pytest.mark.parametrize("which", [-1, 32])
def test_a_gauge_that_is_not_there_is_an_index_error(memory: NodeMemory, which: int) -> None:
    with pytest.raises(IndexError):
        memory.set_gauge(0, which, 1)
    with pytest.raises(IndexError):
        memory.gauge(0, which)


def test_closed_memory_refuses_and_what_was_made_from_it_lives_on(memory: NodeMemory) -> None:
    plan = Table(memory, 0).plan([Scope(b"a", concurrency=1)])
    memory.close()
    memory.close()
    with pytest.raises(ValueError, match="closed"):
        memory.beat(0)
    with pytest.raises(ValueError, match="closed"):
        Table(memory, 0)
    assert plan.admit(1, 1) == ADMITTED


def test_memory_that_was_never_opened_counts_as_closed() -> None:
    with pytest.raises(ValueError, match="closed"):
        NodeMemory().pid(0)
