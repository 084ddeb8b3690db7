"""A list that one side fills and another takes."""

from __future__ import annotations

import threading

import pytest

from _fastpath.gather import Gatherer


def test_items_come_out_as_they_went_in_and_the_first_wakes() -> None:
    woken: list[int] = []
    gatherer = Gatherer(10, lambda: woken.append(1))
    assert [gatherer.put(n) for n in range(3)] == [True] * 3
    assert (gatherer.take(), len(woken)) == ([0, 1, 2], 1)
    gatherer.put("next")
    assert (gatherer.take(), len(woken)) == (["next"], 2)


def test_weight_is_bounded_and_what_is_refused_is_counted() -> None:
    gatherer = Gatherer(10, lambda: None)
    assert gatherer.put("a", 7)
    assert not gatherer.put("b", 4)
    assert gatherer.put("c", 3)
    assert not gatherer.put("d")
    assert (gatherer.take(), gatherer.refused) == (["a", "c"], 2)
    assert gatherer.put("e", 10)


def test_nothing_is_taken_after_closing() -> None:
    gatherer = Gatherer(10, lambda: None)
    gatherer.put("a")
    gatherer.close()
    assert not gatherer.put("b", 0) and not gatherer.put("b")
    assert gatherer.take() == ["a"]


def test_what_waking_raises_is_raised_and_the_item_is_kept() -> None:
    gatherer = Gatherer(10, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        gatherer.put("a")
    assert gatherer.take() == ["a"]


def test_threads_lose_and_double_nothing() -> None:
    gatherer = Gatherer(1 << 40, lambda: None)
    taken: list[tuple[int, int]] = []
    done = threading.Event()

    def take() -> None:
        while not done.is_set():
            taken.extend(gatherer.take())

    def put(who: int) -> None:
        for n in range(20_000):
            gatherer.put((who, n))

    taker = threading.Thread(target=take)
    putters = [threading.Thread(target=put, args=(who,)) for who in range(4)]
    taker.start()
    for thread in putters:
        thread.start()
    for thread in putters:
        thread.join()
    done.set()
    taker.join()
    taken.extend(gatherer.take())
    for who in range(4):
        assert [n for owner, n in taken if owner == who] == list(range(20_000))
