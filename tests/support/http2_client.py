"""A caller that speaks HTTP/2 frame by frame, for what no well-behaved client does: it resets, closes, or takes nothing."""

from __future__ import annotations

import json
import socket
import ssl
import time
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from hyperframe.frame import Frame, GoAwayFrame

Fields = list[tuple[str, str]]


class Http2Stream:
    """What has come of one answer."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        """Politely."""
        self.reset: ErrorCodes | int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


class Http2Client:
    """One connection. Use it as a context manager.

    Args:
        port: of 127.0.0.1.
        tls: speaks TLS with it and asks for `h2` by ALPN; else the server must know beforehand.
        takes: opens the windows again as bytes come; else an answer stops at the 64 KiB that HTTP/2 begins with.
        before: sent first of all, as a load balancer's PROXY header is.
    """

    def __init__(
        self, port: int, tls: ssl.SSLContext | None = None, *, takes: bool = True, before: bytes = b""
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(before)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="127.0.0.1")
            assert self._socket.selected_alpn_protocol() == "h2"
        self._takes = takes
        self.streams: dict[int, Http2Stream] = {}
        self.open = True
        self._protocol = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        # This library takes GOAWAY for the end of the connection; it lets streams that are under way go on (RFC 9113 section 6.8).
        self._protocol._frame_dispatch_table[GoAwayFrame] = self._note_goaway
        self.goaway = False
        """The server takes no further request on this connection."""
        self._protocol.initiate_connection()
        self._flush()

    def __enter__(self) -> Http2Client:
        return self

    @property
    def certificate(self) -> bytes | None:
        """That the server has shown."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.getpeercert(binary_form=True)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves without a word."""
        self._socket.close()

    def request(
        self,
        path: str,
        body: bytes | None = None,
        fields: Fields | None = None,
        *,
        method: str = "POST",
        end: bool = True,
    ) -> int:
        """Sends a request; its number. Without `end` the body goes on."""
        number = self._protocol.get_next_available_stream_id()
        self.streams[number] = Http2Stream()
        pseudo = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "gateway.example")]
        self._protocol.send_headers(number, [*pseudo, *(fields or [])], end_stream=body is None and end)
        if body is not None:
            self._protocol.send_data(number, body, end_stream=end)
        self._flush()
        return number

    def chat(self, key: str, body: dict[str, Any], *fields: tuple[str, str]) -> int:
        sent = [("authorization", f"Bearer {key}"), ("content-type", "application/json"), *fields]
        return self.request("/v1/chat/completions", json.dumps(body).encode(), sent)

    def send(self, number: int, data: bytes, *, end: bool = False) -> None:
        self._protocol.send_data(number, data, end_stream=end)
        self._flush()

    def ping(self) -> None:
        self._protocol.ping(b"8 bytes!")
        self._flush()

    def reset(self, number: int) -> None:
        """As clients do whose caller has lost patience."""
        self._protocol.reset_stream(number, ErrorCodes.CANCEL)
        self._flush()

    def read(self, timeout_s: float = 5.0) -> bool:
        """Takes what comes in one read; False where nothing came in time, or the connection is over."""
        self._socket.settimeout(timeout_s)
        try:
            data = self._socket.recv(1_048_576)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        if not data:
            self.open = False
            return False
        for event in self._protocol.receive_data(data):
            self._note(event)
        self._flush()
        return True

    def answer(self, number: int, timeout_s: float = 10.0) -> Http2Stream:
        """The answer, once it is over or the connection is."""
        deadline = time.monotonic() + timeout_s
        stream = self.streams[number]
        while not stream.over and self.open:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"no end of the answer within {timeout_s} s"
            self.read(left_s)
        return stream

    def until(self, number: int, seen: bytes, timeout_s: float = 10.0) -> Http2Stream:
        """The answer, once its body holds `seen`."""
        deadline = time.monotonic() + timeout_s
        stream = self.streams[number]
        while seen not in stream.body:
            assert self.open and not stream.over and time.monotonic() < deadline, stream.body
            self.read(deadline - time.monotonic())
        return stream

    def _note(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            stream = self.streams[event.stream_id]
            stream.headers = {str(name): str(value) for name, value in event.headers}
            stream.status = int(stream.headers[":status"])
        elif isinstance(event, DataReceived):
            self.streams[event.stream_id].body += event.data
            if self._takes and event.flow_controlled_length:
                self._protocol.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.streams[event.stream_id].ended = True
        elif isinstance(event, StreamReset):
            self.streams[event.stream_id].reset = event.error_code

    def _note_goaway(self, _: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        self.goaway = True
        return [], []

    def _flush(self) -> None:
        self._socket.sendall(self._protocol.data_to_send())
