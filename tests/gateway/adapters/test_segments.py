from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters import segments
from gateway.base.usage import UsageRecord
from tests.gateway.adapters.helpers import frames_of, record


def _bytes(groups: list[list[UsageRecord]]) -> list[bytes]:
    return [b"".join(frame.data for frame in frames_of(group).frames) for group in groups]


def _ids(data: bytes) -> list[str]:
    return [each.id for payload in segments.scan(data).payloads for each in segments.decode(payload)]


GROUPS = [[record(f"a{n}") for n in range(3)], [record("b0", tags="x=TWU1")], [record(f"c{n}") for n in range(2)]]
FRAMES = _bytes(GROUPS)
WHOLE = b"".join(FRAMES)


def test_records_come_back_as_they_were() -> None:
    records = [record(cost_nano_usd=-1, tags="team=ünï"), record(stream=False, estimated=True), record(attempts=3)]
    (frame,) = frames_of(records).frames
    (payload,) = segments.scan(frame.data).payloads
    assert segments.decode(payload) == records


def test_a_cut_at_every_byte_keeps_every_whole_frame_and_nothing_else() -> None:
    ends = [len(b"".join(FRAMES[: n + 1])) for n in range(len(FRAMES))]
    for cut in range(len(WHOLE) + 1):
        found = segments.scan(WHOLE[:cut])
        whole = sum(end <= cut for end in ends)
        assert len(found.payloads) == whole, cut
        assert found.gaps == 0
        assert found.tail_bytes == cut - ([0, *ends][whole])


def test_any_changed_byte_costs_its_own_frame_only() -> None:
    borders = [0, len(FRAMES[0]), len(FRAMES[0] + FRAMES[1]), len(WHOLE)]
    for at in range(len(WHOLE)):
        hurt = max(n for n in range(len(FRAMES)) if borders[n] <= at)
        data = bytearray(WHOLE)
        data[at] ^= 0x41
        found = segments.scan(bytes(data))
        expected = [each.id for n, group in enumerate(GROUPS) if n != hurt for each in group]
        assert _ids(bytes(data)) == expected, at
        assert found.gaps == (hurt < len(FRAMES) - 1)
        assert (found.tail_bytes > 0) == (hurt == len(FRAMES) - 1)


@given(st.lists(st.one_of(st.sampled_from(FRAMES), st.binary(max_size=40), st.just(b"TWU1")), max_size=8))
def test_frames_are_found_in_order_between_any_garbage(parts: list[bytes]) -> None:
    expected = [part for part in parts if part in FRAMES]
    found = segments.scan(b"".join(parts)).payloads
    assert [bytes(payload) for payload in found] == [frame[12:] for frame in expected]


@given(st.binary(max_size=400))
def test_no_bytes_make_scanning_fail(data: bytes) -> None:
    found = segments.scan(data)
    assert sum(12 + len(payload) for payload in found.payloads) + found.tail_bytes <= len(data)


def test_a_huge_record_is_refused_and_costs_no_other_its_place() -> None:
    records = [record(str(n)) for n in range(9)]
    records[4] = record("huge", tags="x" * segments.MAX_PAYLOAD_BYTES)
    frames, refused = frames_of(records)
    assert refused == 1
    assert _ids(b"".join(frame.data for frame in frames)) == ["0", "1", "2", "3", "5", "6", "7", "8"]
    assert sum(frame.records for frame in frames) == 8


def test_long_records_are_spread_over_frames() -> None:
    records = [record(str(n), tags="x" * 60_000) for n in range(100)]
    frames, refused = frames_of(records)
    assert refused == 0
    assert all(len(frame.data) <= segments.MAX_PAYLOAD_BYTES + 12 for frame in frames)
    assert _ids(b"".join(frame.data for frame in frames)) == [each.id for each in records]


def test_segments_wait_oldest_first_whoever_their_owner_is(tmp_path: Path) -> None:
    names = [
        segments.name(owner, ms, seq) for ms in (5, 70, 1_772_366_400_123) for seq, owner in ((1, "w9-x"), (2, "a"))
    ]
    for name in random.Random(7).sample(names, len(names)):
        (tmp_path / (name + segments.READY)).touch()
    for foreign in ("readme.ready", "x-1-2.tmp", "x-1-2.corrupt"):
        (tmp_path / foreign).touch()
    assert [path.stem for path in segments.waiting(tmp_path)] == names


def test_a_segment_is_claimed_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "w-1-1.ready"
    path.touch()
    first = segments.claim(path)
    assert first is not None
    assert segments.claim(path) is None
    assert segments.claim(tmp_path / "w-1-2.ready") is None
