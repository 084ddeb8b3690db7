"""A wire-tap between a proxy and the gateway: passes bytes on, and keeps those of both directions."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field

from tests.probes.wire import Answer, dechunked, read_answers


@dataclass(slots=True)
class Conversation:
    """One connection that the proxy opened."""

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes


def requests_in(asked: bytes) -> list[Request]:
    """The whole requests in a byte stream, read by RFC 9112 section 6 alone, up to where their framing is in doubt.

    Any method and any field will do: h11 knows no keep-alive of HTTP/1.0, llhttp no method but its own, and the proxies
    send both.
    """
    return read_requests(asked)[0]


def read_requests(asked: bytes) -> tuple[list[Request], bytes]:
    """The requests, and what is behind the last whole one."""
    found: list[Request] = []
    while asked:
        head, end, rest = asked.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        parts = line.split(b" ")
        fields = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        framing = [(name, value.lower()) for name, value in fields if name in (b"content-length", b"transfer-encoding")]
        body: bytes | None = b""
        if not end or len(parts) != 3 or len(framing) > 1:
            break
        if framing and framing[0][1] == b"chunked":
            body, rest = dechunked(rest)
        elif framing:
            if not framing[0][1].isdigit():
                break
            size = int(framing[0][1])
            body, rest = (rest[:size], rest[size:]) if len(rest) >= size else (None, rest)
        if body is None:
            break
        found.append(Request(parts[0].decode("latin-1"), parts[1].decode("latin-1").partition("?")[0], body))
        asked = rest
    return found, asked


def answers_in(answered: bytes, requests: list[Request]) -> list[Answer]:
    """The whole final answers in a byte stream. Raises AssertionError where something else is left."""
    bodiless = [index for index, request in enumerate(requests) if request.method == "HEAD"]
    answers, rest = read_answers(answered, bodiless, ended=True)
    assert not rest, f"bytes that are no answer: {rest[:200]!r}"
    return [answer for answer in answers if answer.status >= 200]


class Tap:
    """Listens on a port of its own, passes on to `port`. A context manager; its threads end with it."""

    def __init__(self, port: int) -> None:
        self._onward = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="tap")]
        self.port: int = self._listener.getsockname()[1]
        self.conversations: list[Conversation] = []

    def __enter__(self) -> Tap:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._threads[0].join(10)
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                asking, _ = self._listener.accept()
            except OSError:
                return
            answering = socket.create_connection(("127.0.0.1", self._onward), 10)
            answering.settimeout(None)
            conversation = Conversation()
            self.conversations.append(conversation)
            self._sockets += [asking, answering]
            for one, other, kept in (
                (asking, answering, conversation.asked),
                (answering, asking, conversation.answered),
            ):
                self._threads.append(threading.Thread(target=_pump, args=(one, other, kept), name="tap"))
                self._threads[-1].start()


def _pump(one: socket.socket, other: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65_536):
            kept += data
            other.sendall(data)
    with contextlib.suppress(OSError):  # whoever has ended is told to the other side
        other.shutdown(socket.SHUT_WR)
