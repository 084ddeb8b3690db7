"""Arrivals at a constant rate, against the small server of `test_streams`. The timer is a kernel of the bench, for Linux."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from bench.compare.samples import SHARES
from bench.errors import BenchError
from tests.bench.compare.test_streams import served

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench runs on Linux only")
if sys.platform == "linux":
    from bench.compare import arrivals

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def test_as_many_arrive_as_the_rate_says() -> None:
    with served(lambda connection: connection.sendall(WHOLE)) as ask:
        seen = arrivals.arrive(ask, per_s=200, connections=8, seconds=0.5)
    assert seen.requests == 100
    assert seen.duration_us == 0.5e6


def test_a_request_that_waits_for_a_connection_waits_since_it_was_due() -> None:
    def answer(connection: socket.socket) -> None:
        time.sleep(0.02)
        connection.sendall(WHOLE)

    with served(answer) as ask:
        seen = arrivals.arrive(ask, per_s=100, connections=1, seconds=0.3)
    # 30 arrivals 10 ms apart, one at a time for 20 ms each: the last of them waits as long as all the others were late
    assert seen.latency_us[SHARES.index(0.0)] >= 19_000
    assert seen.latency_us[SHARES.index(0.99)] > 250_000


@pytest.mark.parametrize(
    ("answered", "message"),
    [
        (b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n", "requests some failed: .* status"),
        (b"nonsense\r\n\r\n", "requests some failed: .* protocol"),
        (b"", "requests some failed: .* closed"),
    ],
    ids=["refused", "no HTTP", "lost"],
)
def test_one_failed_request_fails_the_figure(answered: bytes, message: str) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(answered)
        if not answered:
            connection.shutdown(socket.SHUT_RDWR)

    with served(answer) as ask, pytest.raises(BenchError, match=message):
        arrivals.arrive(ask, per_s=50, connections=2, seconds=0.2)


def test_who_never_answers_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "ANSWER_S", 0.2)
    with served(lambda _: None) as ask, pytest.raises(BenchError, match=r"requests some failed: .*timeout"):
        arrivals.arrive(ask, per_s=100, connections=2, seconds=0.1)


def test_quantiles_of_buckets_are_the_values_that_so_many_stay_within() -> None:
    found = dict(zip(SHARES, arrivals.quantiles([(10.0, 500), (20.0, 490), (90.0, 10)]), strict=True))
    assert (found[0.0], found[0.5], found[0.9], found[0.99], found[0.999]) == (10, 10, 20, 20, 90)
