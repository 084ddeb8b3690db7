from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from gateway.adapters import segments, shipper
from gateway.adapters.shipper import Shipper
from tests.gateway.adapters.helpers import ListSink, files, frames_of, record, seal, segments_of


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


def test_a_directory_that_is_not_there_is_an_empty_one(tmp_path: Path, sink: ListSink) -> None:
    result = Shipper(tmp_path / "none", sink).run_once()
    assert (result.records, result.segments, result.bytes_left, result.error) == (0, 0, 0, "")


def test_segments_are_shipped_oldest_first_and_deleted(tmp_path: Path, sink: ListSink) -> None:
    seal(tmp_path, [record("late")], at_ms=9)
    seal(tmp_path, [record("early"), record("next")], at_ms=1)
    result = Shipper(tmp_path, sink).run_once()
    assert (result.records, result.segments, result.bytes_left) == (3, 2, 0)
    assert list(sink.records) == ["early", "next", "late"]
    assert segments_of(tmp_path) == []


def test_transactions_are_bounded_and_span_segments(tmp_path: Path, sink: ListSink) -> None:
    for at_ms in range(10):
        seal(tmp_path, [record() for _ in range(100)], at_ms)
    Shipper(tmp_path, sink, batch_records=250).run_once()
    assert sink.batches == [300, 300, 300, 100]


def test_descriptors_are_bounded_when_segments_are_small(
    tmp_path: Path, sink: ListSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "BATCH_SEGMENTS", 4)
    for at_ms in range(10):
        seal(tmp_path, [record()], at_ms)
    Shipper(tmp_path, sink).run_once()
    assert sink.batches == [4, 4, 2]


def test_a_run_is_bounded_and_asks_to_be_called_again_at_once(
    tmp_path: Path, sink: ListSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper, "RUN_RECORDS", 200)
    for at_ms in range(5):
        seal(tmp_path, [record() for _ in range(100)], at_ms)
    ships = Shipper(tmp_path, sink, batch_records=100)
    assert ships.run_once().records == 200
    assert ships.next_delay_ms == 0
    assert ships.run_once().bytes_left > 0
    assert ships.run_once().records == 100
    assert ships.next_delay_ms == shipper.IDLE_DELAY_MS


def test_a_crash_between_commit_and_delete_ships_again_without_effect(
    tmp_path: Path, sink: ListSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = seal(tmp_path, [record("a"), record("b")])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _crash)
        with pytest.raises(KeyboardInterrupt):
            Shipper(tmp_path, sink).run_once()
    assert path.exists()
    assert list(sink.records) == ["a", "b"]
    assert Shipper(tmp_path, sink).run_once().records == 2
    assert list(sink.records) == ["a", "b"]
    assert segments_of(tmp_path) == []


def _crash(path: Path, missing_ok: bool = False) -> None:
    raise KeyboardInterrupt


def test_while_the_sink_is_down_nothing_is_deleted_and_pauses_grow(tmp_path: Path, sink: ListSink) -> None:
    seal(tmp_path, [record("a")])
    ships = Shipper(tmp_path, sink)
    sink.fault = ConnectionError("ledger is away")
    delays = []
    for _ in range(20):
        result = ships.run_once()
        assert (result.records, result.segments, result.error) == (0, 0, "ConnectionError: ledger is away")
        assert result.bytes_left > 0
        delays.append(ships.next_delay_ms)
    assert shipper.FIRST_BACKOFF_MS // 2 <= delays[0] <= shipper.FIRST_BACKOFF_MS
    assert shipper.MAX_BACKOFF_MS // 2 <= min(delays[8:]) <= max(delays) <= shipper.MAX_BACKOFF_MS
    sink.fault = None
    assert ships.run_once().records == 1
    assert ships.next_delay_ms == shipper.IDLE_DELAY_MS


def test_the_open_segment_of_a_living_worker_is_left_alone_and_of_a_dead_one_adopted(
    tmp_path: Path, sink: ListSink
) -> None:
    path = seal(tmp_path, [record("a")], suffix=segments.OPEN)
    with path.open("ab") as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        result = Shipper(tmp_path, sink).run_once()
        assert (result.segments, result.bytes_left) == (0, path.stat().st_size)
    assert Shipper(tmp_path, sink).run_once().records == 1
    assert segments_of(tmp_path) == []


def test_an_orphan_cut_at_every_byte_gives_all_that_was_whole(tmp_path: Path, sink: ListSink) -> None:
    frames = [frames_of([record(id_)]).frames[0].data for id_ in ("a", "b")]
    whole = b"".join(frames)
    path = tmp_path / ("w-1-1" + segments.OPEN)
    for cut in range(0, len(whole) + 1, 7):
        path.write_bytes(whole[:cut])
        sink.records.clear()
        result = Shipper(tmp_path, sink).run_once()
        assert list(sink.records) == ["a", "b"][: (cut >= len(frames[0])) + (cut >= len(whole))]
        assert result.torn == (cut not in (0, len(frames[0]), len(whole)))
        assert (result.corrupt, result.segments) == (0, 1)


@pytest.mark.parametrize("suffix", [segments.READY, segments.OPEN])
def test_a_damaged_frame_costs_itself_only_and_its_segment_is_kept(suffix: str, tmp_path: Path, sink: ListSink) -> None:
    path = seal(tmp_path, [record(str(n)) for n in range(3 * segments.FRAME_RECORDS)], suffix=suffix)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    ships = Shipper(tmp_path, sink)
    result = ships.run_once()
    assert (result.records, result.corrupt, result.segments) == (2 * segments.FRAME_RECORDS, 1, 1)
    (kept,) = files(tmp_path, segments.CORRUPT)
    assert kept.read_bytes() == data
    assert ships.run_once().segments == 0


def test_a_sealed_segment_that_ends_in_a_tear_is_damage(tmp_path: Path, sink: ListSink) -> None:
    path = seal(tmp_path, [record()])
    path.write_bytes(path.read_bytes()[:-1])
    result = Shipper(tmp_path, sink).run_once()
    assert (result.torn, result.corrupt) == (0, 1)


def test_a_whole_frame_of_something_else_is_damage(
    tmp_path: Path, sink: ListSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal(tmp_path, [record(team=7)])
    result = Shipper(tmp_path, sink).run_once()
    assert (result.records, result.corrupt, result.error) == (0, 1, "")


def test_a_record_that_no_ledger_takes_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Choosy(ListSink):
        def write(self, records: object) -> None:
            assert isinstance(records, list)
            if any(each.cost_nano_usd > 2**63 - 1 for each in records):
                raise OverflowError
            super().write(records)

    sink = Choosy()
    seal(tmp_path, [record("a"), record("b", cost_nano_usd=2**63), record("c")])
    result = Shipper(tmp_path, sink).run_once()
    assert (result.records, result.rejected, result.corrupt) == (2, 1, 1)
    assert list(sink.records) == ["a", "c"]
    assert len(files(tmp_path, segments.CORRUPT)) == 1
