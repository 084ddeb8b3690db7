"""Metrics in shared memory: sums over slots, successors, bounded memory."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.metrics import Cell, Histogram, Registry, Sample, collect
from _fastpath.shm import LayoutError, NodeMemory

PAGE = 4096
OVERFLOW = {"overflow": "true"}


def make(directory: Path, slots: int = 3, metrics_bytes: int = PAGE) -> NodeMemory:
    return NodeMemory.create(str(directory / "node"), slots, 1, metrics_bytes)


@pytest.fixture
def memory(tmp_path: Path) -> NodeMemory:
    return make(tmp_path)


def sample(memory: NodeMemory, name: str, labels: dict[str, str] | None = None) -> Sample:
    [found] = [s for s in collect(memory) if s.name == name and s.labels == (labels or {})]
    return found


def test_counters_and_gauges_are_summed_over_slots(memory: NodeMemory) -> None:
    for slot in range(3):
        registry = Registry(memory, slot)
        registry.counter("requests", {"code": "200"}).add(slot + 1)
        registry.gauge("open").set(-slot)
    assert sample(memory, "requests", {"code": "200"}).value == 6
    assert sample(memory, "requests", {"code": "200"}).kind == "counter"
    assert (sample(memory, "open").value, sample(memory, "open").kind) == (-3, "gauge")


def test_the_order_of_labels_does_not_matter_and_their_text_survives(memory: NodeMemory) -> None:
    registry = Registry(memory, 0)
    registry.counter("c", {"b": 'ü"\\\n', "a": "€"}).add()
    registry.counter("c", {"a": "€", "b": 'ü"\\\n'}).add()
    assert sample(memory, "c", {"a": "€", "b": 'ü"\\\n'}).value == 2
    registry.counter("lone", {"x": "\ud800"}).add()
    assert sample(memory, "lone", {"x": "?"}).value == 1


def test_samples_come_sorted(memory: NodeMemory) -> None:
    registry = Registry(memory, 0)
    for name, label in [("b", "2"), ("b", "1"), ("a", "9")]:
        registry.counter(name, {"l": label})
    assert [(s.name, s.labels["l"]) for s in collect(memory)] == [("a", "9"), ("b", "1"), ("b", "2")]


@given(
    bounds=st.sets(st.integers(-1000, 1000), max_size=32).map(sorted).map(tuple),
    values=st.lists(st.tuples(st.integers(-1200, 1200), st.integers(0, 5))),
)
def test_a_histogram_counts_what_is_at_or_below_each_bound(
    tmp_path_factory: pytest.TempPathFactory, bounds: tuple[int, ...], values: list[tuple[int, int]]
) -> None:
    memory = make(tmp_path_factory.mktemp("h"))
    histograms = [Registry(memory, slot).histogram("h", bounds) for slot in range(2)]
    for i, (value, n) in enumerate(values):
        if n == 1:
            histograms[i % 2].observe(value)
        else:
            histograms[i % 2].observe_n(value, n)
    found = sample(memory, "h")
    every = list(Counter({i: n for i, (_, n) in enumerate(values)}).elements())
    observed = [values[i][0] for i in every]
    assert found.bounds == bounds
    assert found.buckets == (*(sum(v <= bound for v in observed) for bound in bounds), len(observed))
    assert (found.kind, found.value, found.total) == ("histogram", len(observed), sum(observed))


def test_a_counter_never_falls(memory: NodeMemory) -> None:
    registry = Registry(memory, 0)
    counter, histogram = registry.counter("c"), registry.histogram("h", ())
    counter.set(5)
    with pytest.raises(ValueError, match="never falls"):
        counter.add(-1)
    with pytest.raises(ValueError, match="never falls"):
        counter.set(4)
    with pytest.raises(ValueError, match="never falls"):
        histogram.observe_n(1, -1)
    assert counter.value == 5
    gauge = registry.gauge("g")
    gauge.add(-3)
    assert gauge.value == -3


def test_a_successor_goes_on_counting_and_its_gauges_begin_at_0(memory: NodeMemory) -> None:
    memory.occupy(0, 100)
    first = Registry(memory, 0)
    first.counter("c").add(5)
    first.gauge("g").set(7)
    first.gauge("gone", {"of": "the first"}).set(8)
    first.histogram("h", (10,)).observe(3)
    memory.vacate(0)
    assert [sample(memory, name).value for name in ("c", "g", "h")] == [5, 0, 1]
    memory.occupy(0, 101)
    second = Registry(memory, 0)
    second.counter("c").add(1)
    second.histogram("h", (10,)).observe(30)
    assert [sample(memory, name).value for name in ("c", "g", "h")] == [6, 0, 2]
    assert sample(memory, "h").buckets == (1, 2)
    gauge = second.gauge("g")
    assert gauge.value == 0
    gauge.add(2)
    assert second.gauge("g").value == 2  # asked for again by the same occupant, it stays
    assert sample(memory, "g").value == 2
    assert sample(memory, "gone", {"of": "the first"}).value == 0
    assert len(collect(memory)) == 4


def test_a_full_region_counts_in_each_names_overflow_series(tmp_path: Path) -> None:
    memory = make(tmp_path, slots=1, metrics_bytes=2048)
    registry = Registry(memory, 0)
    registry.histogram("h", (1, 2, 3), {"k": "v"}).observe(2)
    for i in range(1000):
        registry.counter("c", {"user": str(i)}).add()
    kept = [s for s in collect(memory) if s.name == "c" and s.labels != OVERFLOW]
    assert 5 < len(kept) < 50
    assert all(s.value == 1 for s in kept)
    assert sample(memory, "c", OVERFLOW).value == 1000 - len(kept) == registry.dropped_series
    overflow = registry.histogram("h", (1, 2, 3), {"k": "another"})
    overflow.observe(3)
    assert sample(memory, "h", OVERFLOW).buckets == (0, 0, 1, 1)
    registry.counter("c", {"user": "0"}).add()  # those that are there go on
    assert sample(memory, "c", {"user": "0"}).value == 2


def test_names_without_room_share_one_series_a_kind(tmp_path: Path) -> None:
    memory = make(tmp_path, slots=1, metrics_bytes=2048)
    registry = Registry(memory, 0)
    for i in range(100):
        registry.counter(f"counter_{i}").add()
        registry.gauge(f"gauge_{i}").add()
        registry.histogram(f"histogram_{i}", tuple(range(32))).observe(i)
    samples = collect(memory)
    for kind in ("counter", "gauge", "histogram"):
        assert sum(s.value for s in samples if s.kind == kind) == 100, kind
    assert sample(memory, "throughway_metrics_overflow", OVERFLOW).value > 0
    assert sample(memory, "throughway_metrics_overflow_gauge", OVERFLOW).value > 0
    assert sample(memory, "throughway_metrics_overflow_histogram", OVERFLOW).value > 0


@given(data=st.data())
def test_nothing_counted_is_ever_lost_and_the_region_never_overrun(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    memory = make(tmp_path_factory.mktemp("f"), slots=2, metrics_bytes=data.draw(st.sampled_from([1024, 1600, 2048])))
    neighbour = Registry(memory, 1).counter("neighbour")
    neighbour.add(42)
    total = 0
    registry = Registry(memory, 0)
    for name, label, restart in data.draw(
        st.lists(st.tuples(st.integers(0, 9), st.text(max_size=60), st.booleans()), max_size=60)
    ):
        if restart:
            registry = Registry(memory, 0)
        registry.counter(f"name_{name}", {"label": label}).add()
        total += 1
    assert sum(s.value for s in collect(memory) if s.name != "neighbour") == total
    assert neighbour.value == 42


def test_a_successor_keeps_room_for_the_same_overflow_series(tmp_path: Path) -> None:
    memory = make(tmp_path, slots=1, metrics_bytes=2048)
    registry = Registry(memory, 0)
    for i in range(100):
        registry.counter("c", {"user": str(i)}).add()
        registry = Registry(memory, 0)
    assert sum(s.value for s in collect(memory)) == 100
    assert registry.dropped_series == sample(memory, "c", OVERFLOW).value


def region_offset(memory: NodeMemory, path: str) -> int:
    with open(path, "rb") as file:
        return len(file.read()) - memory.slots * PAGE


def test_what_a_killed_writer_left_unpublished_is_not_there(tmp_path: Path) -> None:
    memory = make(tmp_path, slots=1)
    registry = Registry(memory, 0)
    registry.counter("a").add(3)
    path = str(tmp_path / "node")
    offset = region_offset(memory, path)
    with open(path, "r+b") as file:
        file.seek(offset)
        [used] = struct.unpack("=q", file.read(8))
        file.seek(offset + used)
        file.write(b"\xff" * 500)  # a record half written, not published
    assert [s.value for s in collect(memory)] == [3]
    successor = Registry(memory, 0)
    assert successor.counter("b").value == 0
    assert successor.histogram("h", (1,)) is not None
    assert [(s.name, s.value) for s in collect(memory)] == [("a", 3), ("b", 0), ("h", 0)]


@pytest.mark.parametrize("used", [1, 17, 40, PAGE + 8, -8, 2**62])
def test_a_damaged_region_is_a_layout_error(tmp_path: Path, used: int) -> None:
    memory = make(tmp_path, slots=1)
    Registry(memory, 0).counter("a" * 50).add(3)
    path = str(tmp_path / "node")
    with open(path, "r+b") as file:
        file.seek(region_offset(memory, path))
        file.write(struct.pack("=q", used))
    with pytest.raises(LayoutError):
        collect(memory)
    with pytest.raises(LayoutError):
        Registry(memory, 0)


def test_a_name_has_one_kind_and_one_set_of_bounds(memory: NodeMemory) -> None:
    registry = Registry(memory, 0)
    registry.histogram("h", (1, 2))
    with pytest.raises(ValueError, match="other bounds"):
        registry.histogram("h", (1, 3), {"x": "y"})
    with pytest.raises(ValueError, match="another kind"):
        registry.counter("h")


@pytest.mark.parametrize("bounds", [(2, 1), (1, 1), tuple(range(33))])
def test_bounds_increase_and_are_at_most_32(memory: NodeMemory, bounds: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="increasing"):
        Registry(memory, 0).histogram("h", bounds)


def test_names_are_bounded_and_labels_are_text(memory: NodeMemory) -> None:
    registry = Registry(memory, 0)
    for name in ("", "n" * 201):
        with pytest.raises(ValueError, match="characters"):
            registry.counter(name)
    with pytest.raises(TypeError):
        registry.counter("c", {"code": 200})  # type: ignore[dict-item]
    registry.counter("c", {"long": "x" * 3000}).add()
    assert sample(memory, "c", OVERFLOW).value == 1


def test_two_registries_of_one_slot_cannot_overrun_it(tmp_path: Path) -> None:
    memory = make(tmp_path, slots=1, metrics_bytes=2048)
    one, other = Registry(memory, 0), Registry(memory, 0)
    for i in range(12):
        one.counter(f"a{i}", {"k": "v" * 30})
    for i in range(100):
        other.counter("b", {"i": str(i)})
    with pytest.raises(RuntimeError, match="another registry"):
        for i in range(12):
            one.counter(f"a{i}", {"k": "w" * 300})
    assert len(collect(memory)) > 12


def test_cells_outside_of_a_registry_count_for_themselves() -> None:
    cell, histogram = Cell(), Histogram()
    cell.add(2)
    histogram.observe(3)
    assert cell.value == 2
