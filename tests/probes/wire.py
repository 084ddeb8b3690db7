"""A client of raw bytes: plays a probe's steps on a socket and tells what came back.

It reads answers by RFC 9112 section 6.3 and by nothing of ours, since it judges what is ours.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

WAIT_S = 5.0
IMPATIENT_S = 0.2
SMALL_BUFFER_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Await:
    """Goes on when so many answers have come whole: interim ones (100) count too."""

    answers: int


class _HalfClose:
    def __repr__(self) -> str:
        return "HALF_CLOSE"


HALF_CLOSE = _HalfClose()
"""The client will send nothing more, and says so (FIN)."""

Step = bytes | float | Await | _HalfClose
"""`bytes` are one write; a `float` is a pause in seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def said_close(self) -> bool:
        """Whether it tells the client that the connection ends with it."""
        options = [option.strip().lower() for option in self.fields.get("connection", "").split(",")]
        return "close" in options or (self.fields["-version"] == "HTTP/1.0" and "keep-alive" not in options)

    @property
    def code(self) -> str | None:
        """Of an error in OpenAI's shape."""
        try:
            return str(json.loads(self.body)["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(slots=True)
class Outcome:
    """What a connection brought.

    Args:
        answers: in order.
        closed: the server closed; False where it was still open when the last answer had come.
        reset: it closed by a reset, which can take an answer away.
        rest: bytes that are no whole answer.
    """

    answers: list[Answer] = field(default_factory=list)
    closed: bool = False
    reset: bool = False
    rest: bytes = b""

    @property
    def statuses(self) -> tuple[int, ...]:
        return tuple(answer.status for answer in self.answers)


def connected(address: tuple[str, int], buffer_bytes: int | None = None) -> socket.socket:
    """A connected socket; with `buffer_bytes` it takes no more than about that ahead of its reader. Raises OSError."""
    made = socket.socket()
    try:
        if buffer_bytes is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        made.settimeout(WAIT_S)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


class Wire:
    """One connection. A context manager.

    Args:
        bodiless: which answers, counted without interim ones, are to HEAD.
        reads: False: it takes nothing of what is sent to it, and has a small buffer for it.
        patient: whether `Await` insists. Else it goes on where the answers do not come within IMPATIENT_S.
    """

    def __init__(
        self,
        address: tuple[str, int],
        bodiless: Sequence[int] = (),
        tls: ssl.SSLContext | None = None,
        *,
        patient: bool = True,
        reads: bool = True,
    ) -> None:
        self._socket = connected(address, SMALL_BUFFER_BYTES if not reads else None)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=address[0])
        self._socket.setblocking(False)
        if self._socket.family != socket.AF_UNIX:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._bodiless = bodiless
        self._patient = patient
        self._reads = reads
        self._buffer = b""
        self.outcome = Outcome()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        self._socket.close()

    def play(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if isinstance(step, bytes):
                self._send(step)
            elif isinstance(step, float):
                self._listen_for(step)
            elif isinstance(step, Await):
                if self._patient:
                    self.wait_for(step.answers)
                else:
                    with contextlib.suppress(AssertionError):
                        self.wait_for(step.answers, IMPATIENT_S)
            else:
                with contextlib.suppress(OSError):  # the server may have closed before
                    self._socket.shutdown(socket.SHUT_WR)

    def wait_for(self, answers: int, wait_s: float = WAIT_S) -> None:
        """Reads until so many answers have come, or the server has closed. Raises AssertionError after `wait_s`."""
        deadline = time.monotonic() + wait_s
        while len(self.outcome.answers) < answers and not self.outcome.closed:
            self._read(deadline - time.monotonic())
            if time.monotonic() >= deadline:
                raise AssertionError(
                    f"not {answers} answers within {wait_s} s: {self.outcome} and {self._buffer[:500]!r}"
                )

    def wait_for_end(self, wait_s: float = WAIT_S, *, announced: bool = False) -> None:
        """Reads until the server closes, or with `announced` has said that it will. Raises AssertionError after `wait_s`."""
        deadline = time.monotonic() + wait_s
        while not self.outcome.closed:
            if announced and self.outcome.answers and self.outcome.answers[-1].said_close:
                self._listen_for(0.05)  # nothing may follow
                self.outcome.closed = True
                return
            self._read(deadline - time.monotonic())
            if time.monotonic() >= deadline:
                raise AssertionError(f"still open after {wait_s} s: {self.outcome} and {self._buffer[:500]!r}")

    def break_off(self) -> None:
        """The client is gone (RST)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # -- bytes

    def _send(self, data: bytes) -> None:
        """Sends all of it, and reads meanwhile: a server may answer, and stop to read, in the middle."""
        view = memoryview(data)
        deadline = time.monotonic() + WAIT_S
        while view and not self.outcome.closed and time.monotonic() < deadline:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._read(0.01)
            except OSError:  # the server has closed; what it said before is still to be read
                return

    def _listen_for(self, duration_s: float) -> None:
        until = time.monotonic() + duration_s
        while (left := until - time.monotonic()) > 0 and not self.outcome.closed:
            self._read(left)

    def _read(self, wait_s: float) -> None:
        if not self._reads:
            time.sleep(max(0.0, wait_s))
            return
        if not getattr(self._socket, "pending", int)() and not self._selector.select(max(0.0, wait_s)):
            return
        try:
            data = self._socket.recv(1_048_576)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except ConnectionResetError:
            self.outcome.closed = self.outcome.reset = True
            return
        if data:
            self._buffer += data
            self._parse()
            return
        self.outcome.closed = True
        self._parse()
        self.outcome.rest = self._buffer

    def _parse(self) -> None:
        answers, self._buffer = read_answers(
            self._buffer, self._bodiless, ended=self.outcome.closed, before=len(self._final())
        )
        self.outcome.answers += answers

    def _final(self) -> list[Answer]:
        return [answer for answer in self.outcome.answers if answer.status >= 200]


def read_answers(
    data: bytes, bodiless: Sequence[int] = (), *, ended: bool, before: int = 0
) -> tuple[list[Answer], bytes]:
    """The answers that `data` begins with, interim ones included, and what is behind the last whole one.

    Args:
        bodiless: which final answers are to HEAD.
        ended: whether nothing comes behind `data`.
        before: final answers that came before.
    """
    answers: list[Answer] = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status = first.split(" ", 2)[:2]
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        fields["-version"] = version
        final = before + sum(answer.status >= 200 for answer in answers)
        if int(status) < 200 or int(status) in (204, 304) or final in bodiless:
            body: bytes | None = b""
        elif fields.get("transfer-encoding") == "chunked":
            body, rest = dechunked(rest)
        elif "content-length" in fields:
            size = int(fields["content-length"])
            body, rest = (rest[:size], rest[size:]) if len(rest) >= size else (None, rest)
        else:
            body, rest = (rest, b"") if ended else (None, rest)
        if body is None:
            break
        data = rest
        answers.append(Answer(int(status), fields, body))
    return answers, data


def dechunked(data: bytes) -> tuple[bytes | None, bytes]:
    """The payload of the chunked body that `data` begins with, None where it is not whole, and what is behind it."""
    body = b""
    while b"\r\n" in data:
        line, _, data = data.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            _, end, rest = (b"\r\n" + data).partition(b"\r\n\r\n")  # of the trailers, if there are any
            return (body, rest) if end else (None, data)
        if len(data) < size + 2:
            break
        body, data = body + data[:size], data[size + 2 :]
    return None, data
