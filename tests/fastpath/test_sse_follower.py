"""The follower hands out each event once, whole, by its name, however the stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.sse import EventFollower
from tests.support.goldens import events_of

LINES = st.sampled_from(
    [
        "",
        "",
        "data: {}",
        "data:x",
        "data",
        "data: two",
        "event: message_start",
        "event:",
        "event",
        "eventual: x",
        "database: x",
        ": ping",
        "id: 7",
        "data: [DONE]",
    ]
)
STREAMS = st.builds(
    lambda lines, end: (end.join(lines) + end + end).encode(),
    st.lists(LINES, max_size=30),
    st.sampled_from(["\n", "\r\n", "\r"]),
)


def followed(stream: bytes, cuts: list[int]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    follower, found, passed = EventFollower(), [], b""
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        found += follower.follow(stream[start:end])
        passed += follower.passed
    return found, passed


@given(STREAMS, st.data())
def test_the_same_events_as_the_standard_has_them_across_any_cuts(stream: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    found, passed = followed(stream, cuts)
    assert [each for each in found if each[1]] == [each for each in events_of(stream) if each[1]]
    assert stream.startswith(passed)


def test_a_name_belongs_to_its_event_alone() -> None:
    assert followed(b"event: a\ndata: 1\n\ndata: 2\n\nevent: b\n\ndata: 3\n\n", [])[0] == [
        (b"a", b"1"),
        (b"", b"2"),
        (b"", b"3"),
    ]


def test_an_event_that_is_too_long_is_counted_and_not_handed_out() -> None:
    follower = EventFollower(16)
    assert follower.follow(b"data: " + b"x" * 100 + b"\n\ndata: 1\n\n") == [(b"", b"1")]
    assert follower.oversized == 1


@pytest.mark.parametrize("whole", [b"data: 1\n\n", b": ping\n\n"])
def test_what_passes_is_whole_events(whole: bytes) -> None:
    follower = EventFollower()
    follower.follow(whole + b"data: hal")
    assert follower.passed == whole
