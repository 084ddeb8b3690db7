"""The client side of a connection: what a provider may send, however it is cut, and what a sink may do meanwhile."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import struct
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.http1 import ResponseHead
from _fastpath.upstream import UpstreamConnection
from _fastpath.wheel import Wheel, now_ns
from tests.fastpath.fakes import Clock, FakeLoop, FakeTransport
from tests.fastpath.http1_cases import REFUSED_RESPONSES, VALID_RESPONSES, Case, response

T = TypeVar("T")
REQUEST = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


class Sink:
    """Keeps what it is told, and does what the test wants done at it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.status = 0
        self.body = b""
        self.ends = 0
        self.parts: list[bytes] = []
        self.then: dict[str, Callable[[], object]] = {}

    def _tell(self, event: str, detail: object, *, end: bool = False) -> None:
        assert self.ends == 0 or event == "crash", f"{event} after the end: {self.events}"
        self.events.append((event, detail))
        self.ends += end
        self.then.get(event, lambda: None)()

    def on_response(self, head: ResponseHead, body: bytes) -> None:
        self.status, self.body = head.status, body
        self._tell("response", head.status, end=True)

    def on_head(self, head: ResponseHead, more: bool) -> None:
        self.status = head.status
        self._tell("head", more)

    def on_data(self, data: bytes, last: bool) -> None:
        assert self.events[0][0] == "head"
        assert data or last, "a part of nothing"
        self.body += data
        self.parts.append(data)
        self._tell("last" if last else "data", data, end=last)

    def on_error(self, kind: str, message: str) -> None:
        assert message
        self._tell("error", kind, end=True)

    def on_crash(self, error: Exception) -> None:
        assert "crash" not in self.names, "told twice"
        self._tell("crash", str(error), end=True)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def failure(self) -> object:
        """The kind of the error that it was told of."""
        return dict(self.events).get("error")


class Pool:
    def __init__(self) -> None:
        self.released_ones: list[UpstreamConnection] = []
        self.lost_ones: list[UpstreamConnection] = []
        self.next: Callable[[UpstreamConnection], object] = lambda _: None

    def released(self, connection: UpstreamConnection) -> None:
        self.released_ones.append(connection)
        self.next(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        self.lost_ones.append(connection)


class Bench:
    """One connection on fakes."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.wheel = Wheel(self.loop.as_loop(), tick_ms=5, slots=64)
        self.clock = Clock(self.wheel)
        self.pool = Pool()
        self.connection = UpstreamConnection(self.wheel, self.pool)
        self.transport = FakeTransport(self.loop, cast(asyncio.Protocol, self.connection))
        self.transport.connect()

    def send(
        self, method: str = "POST", *, first_ms: int = 60_000, gap_ms: int = 60_000, total_ms: int = 60_000
    ) -> Sink:
        sink = Sink()
        self.connection.send(REQUEST, sink, method, first_ms, gap_ms, now_ns() + total_ms * 1_000_000)
        return sink

    def feed(self, *parts: bytes) -> None:
        for part in filter(None, parts):
            self.transport.feed(part)
            self.loop.run()

    def over(self) -> None:
        self.transport.lose()
        self.loop.run()
        assert self.pool.lost_ones == [self.connection]
        assert self.loop.reports == []
        self.clock.pass_ms(1_000, 50)
        assert self.wheel.armed == 0
        assert (self.connection.closed, self.connection.idle) == (True, False)


# -- responses


@dataclass(frozen=True)
class Answer:
    name: str
    raw: bytes
    body: bytes = b""
    method: str = "POST"
    status: int = 200
    reused: bool = True
    until_close: bool = False


def sized(body: bytes, *fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return response(b"Content-Length: %d" % len(body), *fields, line=line) + body


CHUNKED = response(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n"
ANSWERS = [
    Answer("length", sized(b"hello"), b"hello"),
    Answer("length zero", sized(b"")),
    Answer("chunked", CHUNKED + b"\r\n", b"hello world"),
    Answer("chunked with trailers", CHUNKED + b"X: y\r\n\r\n", b"hello world"),
    Answer("chunked and empty", response(b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    Answer("until close", response() + b"hello", b"hello", reused=False, until_close=True),
    Answer("until close and empty", response(), reused=False, until_close=True),
    Answer("1.0", sized(b"hello", line=b"HTTP/1.0 200 OK"), b"hello", reused=False),
    Answer("1.0 keep-alive", sized(b"hello", b"Connection: keep-alive", line=b"HTTP/1.0 200 OK"), b"hello"),
    Answer("close", sized(b"hello", b"Connection: close"), b"hello", reused=False),
    Answer(
        "chunked and close",
        CHUNKED.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n") + b"\r\n",
        b"hello world",
        reused=False,
    ),
    Answer("head", response(b"Content-Length: 5"), method="HEAD"),
    Answer("head, chunked", response(b"Transfer-Encoding: chunked"), method="HEAD"),
    Answer("head without length", response(), method="HEAD"),
    Answer("204", response(line=b"HTTP/1.1 204 x"), status=204),
    Answer("204 with a length", response(b"Content-Length: 3", line=b"HTTP/1.1 204 x"), status=204, reused=False),
    Answer("304", response(b"Content-Length: 9", line=b"HTTP/1.1 304 x"), status=304),
    Answer("100 before", response(line=b"HTTP/1.1 100 Continue") + sized(b"hello"), b"hello"),
    Answer("103 twice before", response(b"Link: x", line=b"HTTP/1.1 103 x") * 2 + sized(b"hello"), b"hello"),
    Answer("429", sized(b"slow down", line=b"HTTP/1.1 429 Too Many"), b"slow down", status=429),
]


def check(bench: Bench, sink: Sink, answer: Answer) -> None:
    if answer.until_close:
        assert sink.ends == 0
        bench.transport.feed_eof()
        bench.loop.run()
    assert (sink.status, sink.body, sink.ends) == (answer.status, answer.body, 1), sink.events
    assert sink.names[-1] in ("response", "last")
    assert (bench.connection.idle, bench.transport.is_closing()) == (answer.reused, not answer.reused)
    assert bench.pool.released_ones == [bench.connection] * answer.reused
    bench.over()


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_each_answer_whole_byte_by_byte_and_cut_anywhere(answer: Answer) -> None:
    cuts = [[answer.raw], [answer.raw[i : i + 1] for i in range(len(answer.raw))]]
    cuts += [[answer.raw[:i], answer.raw[i:]] for i in range(1, len(answer.raw))]
    for parts in cuts:
        bench = Bench()
        sink = bench.send(answer.method)
        bench.feed(*parts)
        check(bench, sink, answer)


@pytest.mark.parametrize("answer", [a for a in ANSWERS if not a.until_close and len(a.raw) < 90], ids=lambda a: a.name)
def test_each_short_answer_with_two_cuts(answer: Answer) -> None:
    size = len(answer.raw)
    for first in range(1, size - 1):
        for second in range(first + 1, size, 3):
            bench = Bench()
            sink = bench.send(answer.method)
            bench.feed(answer.raw[:first], answer.raw[first:second], answer.raw[second:])
            check(bench, sink, answer)


def test_a_whole_answer_is_told_at_once_and_a_large_one_in_parts() -> None:
    bench = Bench()
    sink = bench.send()
    bench.feed(sized(b"hello"))
    assert sink.names == ["response"]
    sink = bench.send()
    bench.feed(sized(b"x" * 100)[:-60], b"x" * 50, b"x" * 10)
    assert sink.events[0] == ("head", True)
    assert [len(part) for part in sink.parts] == [40, 50, 10]
    assert sink.names == ["head", "data", "data", "last"]
    sink = bench.send()
    bench.feed(response(b"Content-Length: 1"), b"x")
    assert sink.events == [("head", False), ("last", b"x")]
    bench.over()


def test_a_read_that_is_all_body_is_passed_on_as_it_is() -> None:
    bench = Bench()
    sink = bench.send()
    read = bytes(1_000)
    bench.feed(response(b"Content-Length: 3000"))
    bench.transport.feed(read)
    assert sink.parts[0] is read
    bench.over()


@pytest.mark.parametrize("case", REFUSED_RESPONSES, ids=lambda case: case.name)
def test_what_breaks_http_is_an_error_of_its_own_kind(case: Case) -> None:
    for step in (len(case.raw), 1 if len(case.raw) < 3_000 else 997):
        bench = Bench()
        sink = bench.send()
        bench.feed(*[case.raw[i : i + step] for i in range(0, len(case.raw), step)])
        assert sink.failure() == "protocol" or not case.raw.endswith(b"\r\n\r\n"), sink.events
        bench.transport.feed_eof()
        bench.loop.run()
        assert sink.failure() in ("protocol", "truncated")
        assert sink.ends == 1
        assert bench.pool.released_ones == []
        bench.over()


@pytest.mark.parametrize("case", VALID_RESPONSES, ids=lambda case: case.name)
def test_valid_heads_are_understood(case: Case) -> None:
    bench = Bench()
    sink = bench.send()
    bench.feed(case.raw + case.body)
    if case.head.get("status") == 100:
        assert sink.events == [], "more is to come"
    else:
        assert sink.status >= 200
        assert "error" not in sink.names
    bench.over()


@pytest.mark.parametrize("raw", [b"5\nhello", b"g\r\n", b"5\r\nhelloX", b"0\r\nbad trailer\r\n"])
def test_a_bad_chunk_is_an_error_after_what_was_good(raw: bytes) -> None:
    bench = Bench()
    sink = bench.send()
    bench.feed(response(b"Transfer-Encoding: chunked") + b"2\r\nok\r\n", raw)
    assert sink.names == ["head", "data", "error"]
    assert (sink.body, sink.failure()) == (b"ok", "protocol")
    assert bench.transport.aborted
    bench.over()


def test_nobody_switches_protocols() -> None:
    bench = Bench()
    sink = bench.send()
    bench.feed(response(b"Upgrade: x", line=b"HTTP/1.1 101 Switching"))
    assert sink.failure() == "protocol"
    bench.over()


# -- disagreements


@pytest.mark.parametrize("answer", [a for a in ANSWERS if a.reused], ids=lambda a: a.name)
def test_bytes_behind_an_answer_cost_the_connection_not_the_answer(answer: Answer) -> None:
    for parts in ([answer.raw + b"H"], [answer.raw[:-1], answer.raw[-1:] + b"HTTP/1.1 200 OK\r\n"]):
        bench = Bench()
        sink = bench.send(answer.method)
        bench.feed(*parts)
        assert (sink.status, sink.body, sink.ends) == (answer.status, answer.body, 1)
        assert bench.pool.released_ones == []
        assert bench.transport.aborted
        bench.over()


def test_bytes_on_an_idle_connection_close_it() -> None:
    bench = Bench()
    bench.feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert bench.transport.aborted
    assert not bench.connection.idle
    bench.over()


def test_an_idle_connection_that_the_peer_ends_is_not_idle_any_more() -> None:
    """At once: a request that is sent before the loop tells of the loss would fail."""
    bench = Bench()
    bench.transport.feed_eof()
    assert not bench.connection.idle
    with pytest.raises(RuntimeError, match="closed"):
        bench.send()
    bench.over()


def test_one_request_at_a_time() -> None:
    bench = Bench()
    sink = bench.send()
    with pytest.raises(RuntimeError, match="carries a request"):
        bench.send()
    bench.feed(sized(b"x"))
    assert sink.names == ["response"]
    bench.over()


def test_an_answer_before_its_request_has_left_costs_the_connection() -> None:
    bench = Bench()
    sink = bench.send()
    bench.transport.block()
    bench.feed(sized(b"too large", line=b"HTTP/1.1 413 x"))
    assert (sink.status, sink.body) == (413, b"too large")
    assert bench.pool.released_ones == []
    bench.over()


# -- ends


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"", "closed"),
        (b"H", "truncated"),
        (response(line=b"HTTP/1.1 100 x"), "truncated"),
        (response(b"Content-Length: 5"), "truncated"),
        (sized(b"hello")[:-1], "truncated"),
        (CHUNKED, "truncated"),
    ],
)
def test_a_connection_that_ends_early(sent: bytes, kind: str, error: Exception | None) -> None:
    bench = Bench()
    sink = bench.send()
    bench.feed(sent)
    if error is None:
        bench.transport.feed_eof()
    bench.transport.lose(error)
    bench.loop.run()
    assert (sink.failure(), sink.ends) == (kind, 1)
    bench.over()


@pytest.mark.parametrize("polite", [False, True])
@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_body_until_close_is_whole_only_after_an_orderly_end(polite: bool, error: Exception | None) -> None:
    """uvloop tells of a TLS connection that was cut without close_notify by `connection_lost(None)` alone."""
    bench = Bench()
    sink = bench.send()
    bench.feed(response() + b"half")
    if polite:
        bench.transport.feed_eof()
    bench.transport.lose(error)
    assert sink.names[-1] == ("last" if polite and error is None else "error")
    assert sink.failure() == (None if polite and error is None else "truncated")
    bench.over()


# -- time


def test_the_first_byte_has_its_time() -> None:
    bench = Bench()
    sink = bench.send(first_ms=100, gap_ms=10)
    bench.clock.pass_ms(80)
    assert sink.events == []
    bench.clock.pass_ms(60)
    assert (sink.failure(), sink.ends) == ("first_byte", 1)
    assert bench.transport.aborted
    bench.over()


def test_neither_half_a_head_nor_interim_answers_extend_the_time_of_the_first_byte() -> None:
    for part in (OK, response(line=b"HTTP/1.1 100 Continue")):
        bench = Bench()
        sink = bench.send(first_ms=100)
        bench.feed(part)
        bench.clock.pass_ms(80)
        bench.feed(part if part is not OK else b"a: b\r\n")
        bench.clock.pass_ms(60)
        assert sink.failure() == "first_byte"
        bench.over()


def test_the_gap_between_reads_has_its_time() -> None:
    bench = Bench()
    sink = bench.send(gap_ms=60)
    bench.feed(response(b"Content-Length: 100"))
    for _ in range(5):
        bench.clock.sleep_ms(20)
        bench.feed(b"x")
    assert sink.failure() is None
    bench.clock.pass_ms(100)
    assert (sink.failure(), sink.ends) == ("gap", 1)
    bench.over()


def test_the_whole_has_its_time_however_lively_it_is() -> None:
    bench = Bench()
    sink = bench.send(gap_ms=50, total_ms=100)
    bench.feed(response(b"Content-Length: 100"))
    for _ in range(12):
        bench.clock.sleep_ms(10)
        bench.feed(b"x")
    assert (sink.failure(), sink.ends) == ("total", 1)
    bench.over()


def test_the_deadline_of_the_whole_counts_before_the_first_byte_too() -> None:
    bench = Bench()
    sink = bench.send(first_ms=1_000, total_ms=20)
    bench.clock.sleep_ms(40)
    assert sink.failure() == "total"
    bench.over()


def test_an_idle_connection_rests_so_long_and_a_request_ends_the_rest() -> None:
    bench = Bench()
    bench.connection.rest(100)
    bench.clock.pass_ms(60)
    sink = bench.send(first_ms=10_000)
    bench.clock.pass_ms(200)
    assert sink.events == []
    bench.feed(sized(b""))
    bench.connection.rest(100)
    bench.clock.pass_ms(1_000)
    assert bench.transport.aborted
    assert sink.ends == 1
    bench.over()


def test_while_the_sink_pauses_only_the_whole_has_its_time() -> None:
    bench = Bench()
    sink = bench.send(gap_ms=40, total_ms=10_000)
    bench.feed(response(b"Content-Length: 100") + b"x")
    bench.connection.pause_reading()
    bench.connection.pause_reading()
    assert not bench.transport.is_reading()
    bench.clock.sleep_ms(100)
    assert sink.failure() is None
    bench.connection.resume_reading()
    bench.connection.resume_reading()
    assert bench.transport.is_reading()
    bench.clock.sleep_ms(60)
    assert sink.failure() == "gap"
    bench.over()


def test_a_pause_ends_with_the_total_deadline() -> None:
    bench = Bench()
    sink = bench.send(gap_ms=40, total_ms=50)
    bench.feed(response(b"Content-Length: 100") + b"x")
    bench.connection.pause_reading()
    bench.clock.sleep_ms(70)
    assert sink.failure() == "total"
    bench.connection.resume_reading()
    bench.over()


def test_a_pause_does_not_outlive_its_response() -> None:
    """The last read may come behind the pause: the next request must not wait for bytes that nobody reads."""
    bench = Bench()
    sink = bench.send()
    sink.then["data"] = bench.connection.pause_reading
    bench.feed(response(b"Content-Length: 3"), b"a")
    assert not bench.transport.is_reading()
    cast(asyncio.Protocol, bench.connection).data_received(b"bc")  # was read already
    assert sink.names == ["head", "data", "last"]
    assert bench.transport.is_reading()
    assert bench.connection.idle
    bench.over()


def test_a_pause_at_the_end_pauses_nobody_else() -> None:
    bench = Bench()
    for event, raw in (("last", [response(b"Content-Length: 1"), b"a"]), ("response", [sized(b"a")])):
        sink = bench.send()
        sink.then[event] = bench.connection.pause_reading
        bench.feed(*raw)
        assert bench.transport.is_reading()
    bench.connection.pause_reading()  # idle: nothing to pause
    assert bench.transport.is_reading()
    bench.over()


# -- sinks that do things


@pytest.mark.parametrize(
    ("event", "parts"),
    [
        ("response", [sized(b"hello")]),
        ("head", [sized(b"hello")[:-1]]),
        ("head", [response(b"Content-Length: 5")]),
        ("data", [sized(b"hello")[:-1]]),
        ("last", [CHUNKED[:-9], CHUNKED[-9:] + b"\r\n"]),
        ("error", [b"BAD\r\n\r\n"]),
    ],
)
def test_a_sink_that_raises_crashes_once_and_costs_the_connection(event: str, parts: list[bytes]) -> None:
    def fail() -> None:
        raise LookupError("of the sink")

    bench = Bench()
    sink = bench.send()
    sink.then[event] = fail
    bench.feed(*parts, b"more")
    assert sink.names[-1] == "crash"
    assert bench.transport.aborted
    assert bench.pool.released_ones == []
    bench.over()
    assert sink.names.count("crash") == 1


def test_a_sink_that_raises_at_the_polite_end_crashes_once() -> None:
    def fail() -> None:
        raise LookupError("of the sink")

    for event, polite in (("last", True), ("error", False)):
        bench = Bench()
        sink = bench.send()
        sink.then[event] = fail
        bench.feed(response() + b"x")
        if polite:
            bench.transport.feed_eof()
        bench.over()
        assert sink.names == ["head", "data", event, "crash"]


@pytest.mark.parametrize(
    ("event", "parts"),
    [
        ("head", [sized(b"hello")[:-1], b"o"]),
        ("head", [response(b"Content-Length: 5"), b"hello"]),
        ("data", [sized(b"hello")[:-1], b"o"]),
        ("data", [CHUNKED[:-9], CHUNKED[-9:]]),
        ("last", [response(b"Content-Length: 5"), b"hello"]),
        ("response", [sized(b"hello")]),
    ],
)
def test_a_sink_that_closes_hears_nothing_more(event: str, parts: list[bytes]) -> None:
    bench = Bench()
    sink = bench.send()
    sink.then[event] = bench.connection.close
    for part in parts:
        bench.transport.feed(part)
    assert sink.names[-1] == event
    assert bench.transport.aborted
    assert bench.pool.released_ones == [], "a closed connection is not given back"
    bench.connection.close()
    bench.connection.pause_reading()
    bench.connection.resume_reading()
    bench.over()
    assert sink.names[-1] == event


def test_close_before_any_byte_and_after_the_loss() -> None:
    bench = Bench()
    sink = bench.send()
    bench.connection.close()
    bench.connection.close()
    bench.over()
    bench.connection.close()
    bench.connection.pause_reading()
    bench.connection.resume_reading()
    assert sink.events == []


def test_the_connection_is_the_sinks_own_until_it_has_been_told() -> None:
    """The pool hands it to whoever waits, who sends at once: a sink that fails or closes must not hit that request."""

    def fail() -> None:
        raise LookupError("of the first sink")

    for event, parts in (("response", [sized(b"one")]), ("last", [response(b"Content-Length: 3"), b"one"])):
        for act in (fail, None):
            bench = Bench()
            later: list[Sink] = []
            bench.pool.next = lambda _, bench=bench, later=later: later or later.append(bench.send())  # type: ignore[misc]
            first = bench.send()
            first.then[event] = act or bench.connection.close
            bench.feed(*parts)
            assert later == [], "a connection that was closed is given to nobody"
            bench.over()


def test_who_waits_sends_at_once_and_hears_its_own_answer() -> None:
    bench = Bench()
    later: list[Sink] = []
    bench.pool.next = lambda _: later.append(bench.send()) if len(later) < 3 else None
    first = bench.send()
    for n in range(4):
        bench.feed(sized(b"%d" % n))
    assert [sink.body for sink in [first, *later]] == [b"0", b"1", b"2", b"3"]
    assert bench.connection.requests == 4
    bench.over()


def test_a_fault_of_whoever_waits_is_none_of_the_first_sinks() -> None:
    def fail(_: object) -> None:
        raise LookupError("of the pool")

    bench = Bench()
    first = bench.send()
    bench.pool.next = fail
    with pytest.raises(LookupError):
        bench.transport.feed(sized(b"x"))
    assert first.names == ["response"]
    assert bench.transport.aborted
    bench.over()


def test_stamps_tell_when_what_came() -> None:
    bench = Bench()
    before = now_ns()
    bench.send()
    connection = bench.connection
    assert connection.first_byte_ns == 0
    bench.feed(OK)
    first = connection.first_byte_ns
    bench.feed(b"content-length: 1\r\n\r\n", b"x")
    assert before <= connection.sent_ns <= first < connection.last_byte_ns <= now_ns()
    assert connection.idle_since_ns == connection.last_byte_ns
    assert connection.first_byte_ns == first
    bench.over()


# -- whatever comes, in whatever order

op = st.one_of(
    st.tuples(st.just("feed"), st.integers(1, 200)),
    st.tuples(st.sampled_from(["pause", "resume", "close", "eof", "lose", "loop", "block", "unblock"]), st.just(0)),
    st.tuples(st.just("time"), st.integers(1, 120)),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=4),
    st.lists(op, max_size=30),
    st.sampled_from(["", "head", "data", "last", "response", "error"]),
    st.sampled_from(["raise", "close", "pause"]),
)
def test_each_request_hears_of_one_end(
    answers: list[Answer], script: list[tuple[str, int]], event: str, act: str
) -> None:
    bench = Bench()
    sinks: list[Sink] = []
    closed: set[int] = set()
    raw = b""

    def fail() -> None:
        raise LookupError("of the sink")

    def close() -> None:
        closed.add(len(sinks) - 1)
        bench.connection.close()

    acts: dict[str, Callable[[], None]] = {"raise": fail, "close": close, "pause": bench.connection.pause_reading}
    waiting = list(answers)
    for what, size in script:
        if bench.connection.idle and waiting:
            answer = waiting.pop(0)
            raw = answer.raw
            sinks.append(bench.send(answer.method, first_ms=100, gap_ms=100, total_ms=5_000))
            if event:
                sinks[-1].then[event] = acts[act]
        if what == "feed" and raw and bench.transport.is_reading():
            part, raw = raw[:size], raw[size:]
            bench.transport.feed(part)
        elif what == "pause":
            bench.connection.pause_reading()
        elif what == "resume":
            bench.connection.resume_reading()
        elif what == "close" and sinks and not sinks[-1].ends:
            close()
        elif what == "eof":
            bench.transport.feed_eof()
        elif what == "lose":
            bench.transport.lose()
        elif what == "loop":
            bench.loop.run()
        elif what == "block":
            bench.transport.block()
        elif what == "unblock":
            bench.transport.unblock()
        elif what == "time":
            bench.clock.pass_ms(size)
        assert not (bench.connection.idle and not bench.transport.is_reading()), "at rest, and nobody reads"
        assert bench.pool.released_ones.count(bench.connection) <= sum(sink.ends for sink in sinks)
    bench.over()
    for n, sink in enumerate(sinks):
        ends = [name for name in sink.names if name in ("response", "last", "error", "crash")]
        raising = act == "raise" and event in ends
        assert len(ends) == 1 + raising or (n in closed and not ends) or ends == ["crash"], sink.events


# -- over sockets

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class World:
    loop: asyncio.AbstractEventLoop
    wheel: Wheel
    pool: Pool
    port: int
    tls: ssl.SSLContext | None = None
    failures: list[dict[str, Any]] = field(default_factory=list)

    async def connect(self) -> UpstreamConnection:
        connection = UpstreamConnection(self.wheel, self.pool)
        name = "localhost" if self.tls else None
        make = cast(Callable[[], asyncio.BaseProtocol], lambda: connection)
        await self.loop.create_connection(make, "127.0.0.1", self.port, ssl=self.tls, server_hostname=name)
        return connection

    async def ask(self, connection: UpstreamConnection, method: str = "POST", **times: int) -> Sink:
        sink = Sink()
        timeouts = {"first_ms": 5_000, "gap_ms": 5_000, "total_ms": 10_000} | times
        deadline_ns = now_ns() + timeouts["total_ms"] * 1_000_000
        connection.send([REQUEST], sink, method, timeouts["first_ms"], timeouts["gap_ms"], deadline_ns)
        async with asyncio.timeout(5):
            while not sink.ends:  # noqa: ASYNC110 - a sink is called, it is no future
                await asyncio.sleep(0.002)
        return sink


def run(
    main: Callable[[World], Coroutine[Any, Any, T]],
    script: Script,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> T:
    async def bounded() -> T:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(script, "127.0.0.1", 0, ssl=tls[0] if tls else None)
        wheel = Wheel(loop, tick_ms=5, slots=64)
        wheel.start()
        world = World(loop, wheel, Pool(), server.sockets[0].getsockname()[1], tls[1] if tls else None)
        loop.set_exception_handler(lambda _, report: world.failures.append(report))
        try:
            async with asyncio.timeout(20):
                result = await main(world)
            assert world.failures == []
        finally:
            server.close()
            wheel.close()
        return result

    return uvloop.run(bounded())


async def read_request(reader: asyncio.StreamReader) -> bool:
    try:
        await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return True


@pytest.mark.parametrize("step", [100_000, 1])
def test_answers_over_a_socket(step: int) -> None:
    answers = [answer for answer in ANSWERS if answer.reused] * 2

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_request(reader)
            for at in range(0, len(answer.raw), step):
                writer.write(answer.raw[at : at + step])
                await asyncio.sleep(0)
        await reader.read()
        writer.close()

    async def main(world: World) -> None:
        connection = await world.connect()
        for answer in answers:
            sink = await world.ask(connection, answer.method)
            assert (sink.status, sink.body) == (answer.status, answer.body), answer.name
        assert connection.requests == len(answers)
        connection.close()

    run(main, script)


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize(
    ("sent", "broken", "end"),
    [
        (b"", False, "closed"),
        (b"", True, "closed"),
        (b"HTTP", False, "truncated"),
        (sized(b"hello")[:-1], False, "truncated"),
        (sized(b"hello")[:-1], True, "truncated"),
        (response() + b"x", False, "last"),
        (response() + b"x", True, "truncated"),
    ],
)
def test_ends_over_a_socket(sent: bytes, broken: bool, end: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(sent)
        await asyncio.sleep(0.02)
        reset(writer) if broken else writer.close()

    async def main(world: World) -> None:
        sink = await world.ask(await world.connect())
        assert sink.names[-1] == end if end == "last" else sink.failure() == end
        assert len(world.pool.lost_ones) == 1

    run(main, script)


def test_time_outs_over_a_socket() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response(b"Content-Length: 5") + b"x")
        await reader.read()
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def gap(world: World) -> None:
        assert (await world.ask(await world.connect(), gap_ms=40)).failure() == "gap"
        assert (await world.ask(await world.connect(), total_ms=40)).failure() == "total"

    async def first(world: World) -> None:
        assert (await world.ask(await world.connect(), first_ms=40)).failure() == "first_byte"

    run(gap, script)
    run(first, silent)


def test_a_paused_connection_holds_the_provider_back() -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(response(b"Content-Length: 50000000"))
        for _ in range(500):
            writer.write(bytes(100_000))
            await writer.drain()
            sent += 100_000
        await reader.read()
        writer.close()

    async def main(world: World) -> None:
        connection = await world.connect()
        sink = Sink()
        sink.then["head"] = connection.pause_reading
        connection.send(REQUEST, sink, "POST", 5_000, 5_000, now_ns() + 10_000_000_000)
        await asyncio.sleep(0.2)
        assert sent < 20_000_000
        connection.resume_reading()
        sizes = 0
        while not sink.ends:
            sizes = max(sizes, len(sink.parts))
            sink.body = b""
            await asyncio.sleep(0.002)
        assert sum(len(part) for part in sink.parts) == 50_000_000
        connection.close()

    run(main, script)


def test_a_connection_that_its_peer_closed_is_known_to_be_stale_before_the_loop_tells() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop)
        peers, connections = [], []
        for _ in range(3):
            connection = UpstreamConnection(wheel, Pool())
            make = cast(Callable[[], asyncio.BaseProtocol], lambda connection=connection: connection)
            await loop.create_connection(make, *listener.getsockname())
            peers.append(listener.accept()[0])
            connections.append(connection)
        quiet, closed, talking = connections
        peers[1].close()
        peers[2].send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert not closed.is_stale(), "asked only after a second of rest"
        time.sleep(1.05)  # noqa: ASYNC251 - the loop must not run
        assert [connection.is_stale() for connection in (quiet, closed, talking)] == [False, True, True]
        for connection in connections:
            connection.close()
        peers[0].close()
        peers[2].close()
        await asyncio.sleep(0)
        wheel.close()

    with listener:
        uvloop.run(main())


def test_over_tls_a_body_until_close_needs_the_peers_word(tmp_path: Path) -> None:
    from tests.support.certificates import Authority

    authority = Authority("Test CA")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(*authority.issue("localhost").write(tmp_path))
    client_side = ssl.create_default_context(cadata=authority.pem.decode())
    polite = True

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(response() + b"half")
        await asyncio.sleep(0.02)
        if polite:
            writer.close()
        else:
            with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as beneath:
                beneath.shutdown(socket.SHUT_RDWR)
            writer.transport.abort()

    async def main(world: World) -> list[str]:
        return (await world.ask(await world.connect())).names

    assert run(main, script, (server_side, client_side)) == ["head", "data", "last"]
    polite = False
    assert run(main, script, (server_side, client_side)) == ["head", "data", "error"]


def test_dialled_sockets_do_not_wait_to_fill_packets() -> None:
    """uvloop sees to that; the dialer asks for it once more."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main(world: World) -> None:
        make = cast(Callable[[], asyncio.BaseProtocol], lambda: UpstreamConnection(world.wheel, world.pool))
        transport, _ = await world.loop.create_connection(make, "127.0.0.1", world.port)
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        transport.abort()
        await asyncio.sleep(0)

    run(main, script)


def test_ten_thousand_connections_leave_nothing_behind() -> None:
    def come_and_go(times: int) -> None:
        for n in range(times):
            bench.pool.lost_ones.clear()
            bench.pool.released_ones.clear()
            connection = UpstreamConnection(bench.wheel, bench.pool)
            transport = FakeTransport(bench.loop, cast(asyncio.Protocol, connection))
            transport.connect()
            connection.send(REQUEST, Sink(), "POST", 10_000, 10_000, now_ns() + 10**12)
            transport.feed(CHUNKED if n % 2 else sized(b"hello"))
            transport.lose()
        gc.collect()

    bench = Bench()
    come_and_go(100)
    objects = len(gc.get_objects())
    tracemalloc.start()
    try:
        come_and_go(10_000)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert len(gc.get_objects()) - objects < 50
