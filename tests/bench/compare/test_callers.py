"""What single requests see, against the small server of `test_streams`. The timer is a kernel of the bench, for Linux."""

from __future__ import annotations

import socket
import sys
import time
from dataclasses import replace

import pytest

from bench.compare.samples import SHARES
from bench.errors import BenchError
from tests.bench.compare.test_streams import EVENT, HEAD, chunk, served

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench runs on Linux only")
if sys.platform == "linux":
    from bench.compare import callers

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


def test_as_many_arrive_as_the_rate_says() -> None:
    with served(lambda connection: connection.sendall(WHOLE)) as ask:
        seen = callers.arrive(ask, per_s=200, connections=8, seconds=0.5)
    assert seen.requests == 100
    assert seen.duration_us == 0.5e6


def test_a_request_that_waits_for_a_connection_waits_since_it_was_due() -> None:
    def answer(connection: socket.socket) -> None:
        time.sleep(0.02)
        connection.sendall(WHOLE)

    with served(answer) as ask:
        seen = callers.arrive(ask, per_s=100, connections=1, seconds=0.3)
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
        callers.arrive(ask, per_s=50, connections=2, seconds=0.2)


def test_who_never_answers_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "ANSWER_S", 0.2)
    with served(lambda _: None) as ask, pytest.raises(BenchError, match=r"requests some failed: .*timeout"):
        callers.arrive(ask, per_s=100, connections=2, seconds=0.1)


# -- the first token


def test_the_wait_ends_with_the_first_event_and_not_with_the_stream() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + chunk(EVENT))
        time.sleep(0.05)
        connection.sendall(chunk(EVENT) + b"0\r\n\r\n")

    with served(answer) as ask:
        seen = callers.first_tokens(ask, 0.2)
    assert 2 <= seen.requests <= 5
    assert seen.latency_us[SHARES.index(0.5)] < 40_000


@pytest.mark.parametrize(
    ("path", "answered", "message"),
    [
        ("/v1/chat/completions", HEAD + chunk(EVENT) + b"0\r\n\r\n", "requests some failed: .* no_terminal"),
        ("/v1", HEAD + chunk(EVENT), "requests some failed: .* cut"),
        ("/v1", HEAD + b"0\r\n\r\n", "streams none had an event with text"),
        ("/v1", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "requests some failed: .* protocol"),
        ("/v1", b"HTTP/1.1 429 X\r\ncontent-length: 2\r\n\r\n{}", "requests some failed: .* status"),
        ("/v1", HEAD + b"zz\r\n", "requests some failed: .* protocol"),
    ],
    ids=["without its end", "cut", "empty", "no stream", "refused", "broken"],
)
def test_a_stream_that_is_not_whole_fails_the_figure(path: str, answered: bytes, message: str) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(answered)
        if not answered.endswith(b"0\r\n\r\n"):
            connection.shutdown(socket.SHUT_WR)

    with served(answer) as ask, pytest.raises(BenchError, match=message):
        callers.first_tokens(replace(ask, url=ask.url.removesuffix("/v1") + path), 0.1)


def test_quantiles_of_buckets_are_the_values_that_so_many_stay_within() -> None:
    found = dict(zip(SHARES, callers.quantiles([(10.0, 500), (20.0, 490), (90.0, 10)]), strict=True))
    assert (found[0.0], found[0.5], found[0.9], found[0.99], found[0.999]) == (10, 10, 20, 20, 90)
