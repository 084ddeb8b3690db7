"""Callers of streams, against a small server of this test."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.compare import streams
from bench.compare.press import Ask
from bench.errors import BenchError

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BODY = b'{"stream":true}'
EVENT = b'data: {"n":1}\n\n'
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@contextmanager
def served(answer: Callable[[socket.socket], None]) -> Iterator[Ask]:
    """A server that reads a request and leaves the rest to `answer`, a thread a connection."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                asked = b""
                while data := connection.recv(65_536):
                    asked += data
                    if asked.endswith(BODY):  # head and body may come apart
                        asked = b""
                        answer(connection)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield Ask(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", {"authorization": "Bearer k"}, BODY.decode())
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def test_held_streams_are_counted_while_all_flow() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD)
        while True:
            connection.sendall(chunk(EVENT))
            time.sleep(0.02)

    called: list[str] = []
    with served(answer) as ask:
        flow = streams.hold(ask, 20, 0.3, 10, lambda: called.append("open"), lambda: called.append("end"))
    assert (flow.streams, called) == (20, ["open", "end"])
    assert 0.3 <= flow.window_s < 3
    assert 20 <= flow.events <= 20 * 0.02 * 3_000


@pytest.mark.parametrize(
    ("answered", "message"),
    [
        (b"HTTP/1.1 503 X\r\ncontent-length: 2\r\n\r\nno", "a stream was refused: b'HTTP/1.1 503 X.* b'no'"),
        (HEAD + chunk(EVENT) + chunk(DONE), "a stream ended before it was left"),
        (b"", "a stream failed"),
    ],
    ids=["refused", "ended", "cut"],
)
def test_a_held_stream_that_fails_fails_them_all(answered: bytes, message: str) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(answered)
        connection.shutdown(socket.SHUT_WR)

    with served(answer) as ask, pytest.raises(BenchError, match=message):
        streams.hold(ask, 4, 30, 10, lambda: None, lambda: None)


def test_streams_that_do_not_begin_are_counted() -> None:
    turns = iter(range(100))

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + (chunk(EVENT) if next(turns) < 3 else b""))

    with served(answer) as ask, pytest.raises(BenchError, match=r"of 5 streams 3 had begun after 0\.5 s"):
        streams.hold(ask, 5, 30, 0.5, lambda: None, lambda: None)
