"""An ASGI server as an edge: exchanges (`gateway.base.ports.Exchange`) over ASGI's `receive` and `send`.

Theory. The server calls the application with a coroutine of its own for each request; our application is synchronous and
answers whenever its provider speaks. Between the two stands one bounded buffer an exchange: `respond`, `write` and `end` fill
it, the coroutine empties it into `send`, which waits for the client. So backpressure runs from the client's socket to the
provider's: a full buffer makes `write` answer False, an emptied one calls `on_drain`.

Rules.
- `receive` is pending while a request is answered, but for its first WATCH_S: it is how ASGI tells that the client has left, and
  costs a fifth of all that a short request costs, since the server answers it from a thread of its own.
- An answer that breaks off is a coroutine that returns without the last part: the server then resets the HTTP/2 stream, or
  closes the HTTP/1.1 connection without the end of its framing (pinned by tests; ASGI itself does not promise it).
- What the server leaves unbounded is bounded here: bodies, their sum and their parts, requests, the gap between two reads, a body's
  time in all, the wait for a client that does not take what it asked for.
- What the server's parser lets pass and the native edge refuses is refused here, as far as the scope shows it.
- An application that raises ends its own request, and the loop's exception handler is told.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Protocol

from _fastpath.wheel import now_ns
from gateway.base.node import Bounds, ServerTimeouts
from gateway.base.ports import Exchange
from gateway.net.edge import RefusalFields

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

WRITE_HIGH_BYTES = 32_768
"""Of an answer that wait to be sent, past which the application is asked to pause."""
WRITE_LOW_BYTES = WRITE_HIGH_BYTES // 4
PART_BYTES = 32_768
"""The most that is sent at once: a client that takes less within the write time-out is dropped."""
JOIN_BYTES = 4_096
"""Smaller parts of a body are joined: each object costs some 50 bytes beside its own."""
FREE_PARTS = 8_192
"""Receptions of a body, each of which costs the loop some 40 us however small it is."""
BYTES_A_PART = 256
"""That a body must have for each further one."""
WATCH_S = 0.05
"""How long a request may be answered before it is asked whether its client has left."""
MAX_FIELDS = 100
MAX_TARGET_BYTES = 8_192
MAX_LENGTH_DIGITS = 18

_FRESH, _STARTED, _ENDED = range(3)
_CREDENTIALS = (b"x-api-key", b"api-key", b"x-goog-api-key")
_SINGLE = frozenset(
    [b"host", b"content-length", b"transfer-encoding", b"expect", b"content-type", b"authorization", *_CREDENTIALS]
)
"""Fields of which two recipients might each believe another one where they are repeated."""
_AUTHORITY = re.compile(
    rb"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::(?P<port>[0-9]{0,5}))?"
)
_GOVERNING = (b"content-encoding", b"traceparent")
_SERVER = (b"server", b"throughway")
_CLOSE = (b"connection", b"close")
_FULL = "the worker holds as many bytes of request bodies as it may"
_NO_WEBSOCKET = "this version speaks no WebSocket; use POST, with server-sent events for streams"


class Application(Protocol):
    """What answers exchanges: `gateway.dataplane.pipeline.Pipeline`."""

    def on_request(self, exchange: Exchange, /) -> None: ...
    def on_head(self, exchange: Exchange, /) -> bool: ...
    def on_refusal(self, status: int, reason: str, peer: str, /) -> tuple[bytes, bytes]: ...


class Caller(Protocol):
    """The connection that a request came on, where the server was handed it by us: `gateway.net.relay.Carried`."""

    peer: str
    client: str | None

    def begin(self, *, http2: bool) -> None: ...
    def end(self) -> None: ...


class AsgiExchange:
    """A request and the answer to it: `gateway.base.ports.Exchange`."""

    __slots__ = (
        "_broken",
        "_buffered",
        "_first",
        "_flush",
        "_gone",
        "_head",
        "_headers",
        "_http1",
        "_mute",
        "_parts",
        "_paused",
        "_state",
        "_unwritten",
        "_waker",
        "_watch",
        "body",
        "body_bytes",
        "client",
        "complete",
        "last",
        "method",
        "on_disconnect",
        "on_drain",
        "path",
        "peer",
        "query",
        "received_ns",
    )

    def __init__(self, scope: Message, received_ns: int, caller: Caller | None = None) -> None:
        headers: Headers = scope["headers"]
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        self.query: bytes = scope["query_string"]
        self.body = b""
        self.body_bytes = 0
        """Received of the body."""
        self.complete = False
        """The body has been received whole."""
        self.last = False
        """Nothing is asked behind it: an answer over HTTP/1.1 says so, and ends its connection."""
        self.received_ns = received_ns
        self.peer = caller.peer if caller is not None else _peer(scope)
        self.client: str | None = caller.client if caller is not None else None
        self.on_disconnect: Callable[[], object] | None = None
        self.on_drain: Callable[[], object] | None = None
        self._first = dict(reversed(headers))
        self._headers = headers
        self._http1: bool = scope["http_version"].startswith("1")
        self._state = _FRESH
        self._head: Message | None = None
        self._parts: deque[bytes] = deque()
        self._buffered = 0
        self._unwritten = -1
        self._mute = False
        self._flush = self._broken = self._gone = self._paused = False
        self._waker: asyncio.Future[None] | None = None
        self._watch: asyncio.Future[Message] | None = None

    # -- the request

    @property
    def started(self) -> bool:
        return self._state != _FRESH

    @property
    def plain(self) -> bool:
        first = self._first
        return (
            first.get(b"content-type") == b"application/json"
            and not any(name in first for name in _GOVERNING)
            and not any(name.startswith(b"x-throughway-") for name in first)
        )

    @property
    def content_type(self) -> bytes | None:
        return self._first.get(b"content-type")

    @property
    def traceparent(self) -> bytes | None:
        return self._first.get(b"traceparent")

    def header(self, name: bytes) -> bytes | None:
        return self._first.get(name)

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self._headers if found == name]

    def credential(self) -> bytes | None:
        found = self._first.get(b"authorization")
        if found is not None:
            if found[:7].lower() != b"bearer ":
                return b""
            found = found[7:].strip()
        for name in _CREDENTIALS:
            value = self._first.get(name)
            if value is not None:
                if found is not None and found != value:
                    return b""
                found = value
        return found

    # -- the answer, as the application gives it

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        if self._state != _FRESH or self._gone:
            return
        self._state = _ENDED
        bodiless = status in (204, 304)
        self._head = self._start(status, headers, -1 if bodiless else len(body))
        if not bodiless and self.method != "HEAD":
            self._put(body)
        self._wake()

    def start(self, status: int, headers: bytes, length: int = -1) -> None:
        if self._state != _FRESH or self._gone:
            return
        self._state = _STARTED
        self._mute = self.method == "HEAD" or status in (204, 304)
        self._unwritten = length
        self._head = self._start(status, headers, length)

    def flush(self) -> None:
        if self._state == _STARTED and self._head is not None:
            self._flush = True
            self._wake()

    def write(self, data: bytes) -> bool:
        if self._state != _STARTED:
            return True
        self._send(data)
        self._wake()
        if self._buffered > WRITE_HIGH_BYTES:
            self._paused = True
        return not self._paused

    def end(self, data: bytes = b"") -> None:
        if self._state != _STARTED:
            return
        self._send(data)
        if self._unwritten > 0 and not self._mute:
            self.abort()
            raise RuntimeError(f"the answer ended {self._unwritten} bytes before the length it announced")
        self._state = _ENDED
        self._wake()

    def abort(self) -> None:
        if self._state == _ENDED:
            return
        self._state = _ENDED
        self._broken = True
        self._flush = self._head is not None  # it leaves with a part of the body, if with an empty one
        self._wake()

    def _start(self, status: int, headers: bytes, length: int) -> Message:
        lines = headers.split(b"\r\n")
        fields: list[Any] = [line.split(b": ", 1) for line in lines if line]
        if length >= 0:
            fields.append((b"content-length", b"%d" % length))
        fields.append(_SERVER)
        if self._http1 and (self.last or not self.complete):
            fields.append(_CLOSE)
        return {"type": "http.response.start", "status": status, "headers": fields}

    def _send(self, data: bytes) -> None:
        if self._mute:
            return
        if self._unwritten >= 0:
            if len(data) > self._unwritten:
                raise RuntimeError("more bytes of an answer than the length it announced")
            self._unwritten -= len(data)
        self._put(data)

    def _put(self, data: bytes) -> None:
        if not data:
            return
        self._buffered += len(data)
        if len(data) <= PART_BYTES:
            self._parts.append(data)
        else:
            self._parts.extend(data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES))

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    # -- the answer, as the client takes it

    async def deliver(self, send: Send, write_s: float) -> None:
        """Sends the answer as it comes, until it has ended, has broken off, or nobody is there to take it."""
        while not self._gone:
            if not (self._parts or self._flush or self._state == _ENDED):
                self._waker = asyncio.get_running_loop().create_future()
                await self._waker
                continue
            if self._broken and not self._parts and not self._flush:
                return
            if self._head is not None:
                head, self._head = self._head, None
                await self._taken(send(head), write_s)
                continue  # the client may have left meanwhile
            self._flush = False
            part = self._take()
            last = self._state == _ENDED and not self._parts and not self._broken
            if last:
                self.unwatch()
            await self._taken(send({"type": "http.response.body", "body": part, "more_body": not last}), write_s)
            if last:
                return
            if self._drained():
                await asyncio.sleep(
                    0
                )  # whoever fills it at once must not keep the loop from hearing that the client has left

    async def _taken(self, sending: Awaitable[None], write_s: float) -> None:
        if not asyncio.isfuture(sending):  # the server had room for it
            await sending
            return
        try:
            async with asyncio.timeout(write_s):
                await sending
        except TimeoutError:
            self.leave()

    def _take(self) -> bytes:
        parts, size = self._parts, 0
        taken: list[bytes] = []
        while parts and (not taken or size + len(parts[0]) <= PART_BYTES):
            taken.append(parts.popleft())
            size += len(taken[-1])
        self._buffered -= size
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _drained(self) -> bool:
        """Whether the answer may go on that had been held up."""
        if not self._paused or self._buffered > WRITE_LOW_BYTES or self._gone:
            return False
        self._paused = False
        if self.on_drain is not None:
            self.on_drain()
        return True

    # -- the client's leaving

    def watch(self, receive: Receive) -> None:
        """Hears of it from now on."""
        self._watch = asyncio.ensure_future(receive())
        self._watch.add_done_callback(partial(self._heard, receive))

    def unwatch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()

    def _heard(self, receive: Receive, heard: asyncio.Future[Message]) -> None:
        if self._watch is None or heard.cancelled():
            return
        if heard.exception() is None and heard.result()["type"] == "http.request":  # the empty end of a body
            self.watch(receive)
        else:
            self.leave()

    def leave(self) -> None:
        """Nobody is there any more to take the answer."""
        if self._gone:
            return
        callback = self.on_disconnect if self._state != _ENDED else None
        self._gone = True
        self._state = _ENDED
        self.on_disconnect = self.on_drain = None
        self._parts.clear()
        self._buffered = 0
        self.unwatch()
        self._wake()
        if callback is not None:
            callback()


class AsgiEdge:
    """The application that the server calls, in front of ours.

    Args:
        application: answers exchanges.
        bounds, timeouts: of this edge; see `gateway.base.node`.
        refusal_fields: what is added to refusals below the application.
        caller_of: finds a connection by the server's name of its client; None: the server's client is the caller.
    """

    def __init__(
        self,
        application: Application,
        bounds: Bounds,
        timeouts: ServerTimeouts,
        refusal_fields: RefusalFields | None = None,
        caller_of: Callable[[str], Caller | None] | None = None,
    ) -> None:
        self._application = application
        self._caller_of = caller_of
        self._refusal_fields = refusal_fields
        self._bounds = bounds
        self._body_gap_s = timeouts.body_gap_ms / 1_000
        self._body_s = timeouts.body_ms / 1_000
        self._body_bytes_per_s = timeouts.body_bytes_per_s
        self._write_s = timeouts.write_ms / 1_000
        self._exchanges: set[AsgiExchange] = set()
        self._unwatched: list[tuple[AsgiExchange, Receive]] = []
        """Of the last WATCH_S."""
        self._retiring = False
        self.body_bytes = 0

    @property
    def in_flight(self) -> int:
        """Requests taken and not yet answered."""
        return len(self._exchanges)

    def retire(self) -> None:
        """From now on each answer over HTTP/1.1 says that it is the last one on its connection."""
        self._retiring = True
        for exchange in self._exchanges:
            exchange.last = True

    def abort_all(self) -> None:
        """Breaks off every answer; each request is accounted for as one whose client has left."""
        for exchange in list(self._exchanges):
            exchange.leave()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """The ASGI 3 application."""
        if scope["type"] not in ("http", "websocket"):
            raise ValueError(f"an ASGI scope of type {scope['type']!r}")
        caller = None
        if self._caller_of is not None:
            caller = self._caller_of(scope["client"][0])
            if caller is None:  # it has left
                return
            caller.begin(http2=scope["http_version"] == "2")
        try:
            serve = self._serve if scope["type"] == "http" else self._refuse_websocket
            await serve(scope, receive, send, caller)
        finally:
            if caller is not None:
                caller.end()

    async def _serve(self, scope: Message, receive: Receive, send: Send, caller: Caller | None) -> None:
        exchange = AsgiExchange(scope, now_ns(), caller)
        exchange.last = self._retiring
        fault = self._fault(exchange, scope)
        if fault is not None:
            self._refuse(exchange, *fault)
            await exchange.deliver(send, self._write_s)
            return
        self._exchanges.add(exchange)
        try:
            if await self._read(exchange, scope, receive):
                self._watch_soon(exchange, receive)
                self._call(self._application.on_request, exchange)
            await exchange.deliver(send, self._write_s)
        finally:
            self._exchanges.discard(exchange)
            self.body_bytes -= exchange.body_bytes
            exchange.body = b""
            exchange.leave()

    def _watch_soon(self, exchange: AsgiExchange, receive: Receive) -> None:
        """Most are answered before: they need not be watched."""
        if not self._unwatched:
            asyncio.get_running_loop().call_later(WATCH_S, self._watch_all)
        self._unwatched.append((exchange, receive))

    def _watch_all(self) -> None:
        unwatched, self._unwatched = self._unwatched, []
        for exchange, receive in unwatched:
            if exchange in self._exchanges:
                exchange.watch(receive)

    def _fault(self, exchange: AsgiExchange, scope: Message) -> tuple[int, str] | None:
        """What is wrong with a head: status and reason."""
        bounds = self._bounds
        if len(self._exchanges) >= bounds.in_flight:
            return 503, "the worker holds as many requests as it may"
        fault = _head_fault(scope, bounds.head_bytes)
        length = exchange.header(b"content-length")
        if fault is None and length is not None and int(length) > bounds.body_bytes:
            return 413, f"the body is {int(length)} bytes, the limit {bounds.body_bytes}"
        return fault

    # -- the body

    async def _read(self, exchange: AsgiExchange, scope: Message, receive: Receive) -> bool:
        """Receives the body; False where the request was answered, or its client left, before it was complete."""
        length = exchange.header(b"content-length")
        announced = int(length) if length is not None else -1
        chunked = exchange.header(b"transfer-encoding") is not None
        if announced == 0 or (announced < 0 and not chunked and scope["http_version"] != "2"):
            exchange.complete = True
            return True
        asked = announced > 0 or chunked
        if asked and not self._wanted(exchange):
            return False
        parts: list[bytes] = []
        received = 0
        more = True
        while more and exchange.body_bytes != announced:
            try:
                async with asyncio.timeout(self._patience_s(exchange)):
                    message = await receive()
            except TimeoutError:
                self._refuse(exchange, 408, "the body did not arrive in time")
                return False
            if message["type"] != "http.request":
                if scope["http_version"] != "2":  # the server tells a malformed chunk and a client that has left alike
                    self._refuse(exchange, 400, "malformed chunked coding, or an incomplete body")
                else:
                    exchange.leave()
                return False
            more = message.get("more_body", False)
            if not asked and more:  # over HTTP/2 only its first part tells that there is a body
                asked = True
                if not self._wanted(exchange):
                    return False
            fault = self._keep(exchange, message.get("body", b""), parts)
            received += 1
            if received > FREE_PARTS + exchange.body_bytes // BYTES_A_PART:
                fault = 400, "the body comes in too many small parts"
            if fault is not None:
                self._refuse(exchange, *fault)
                return False
        exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        exchange.complete = True
        return True

    def _patience_s(self, exchange: AsgiExchange) -> float:
        """How long the next part of a body may take."""
        passed_s = (now_ns() - exchange.received_ns) / 1e9
        return min(self._body_gap_s, self._body_s + exchange.body_bytes / self._body_bytes_per_s - passed_s)

    def _wanted(self, exchange: AsgiExchange) -> bool:
        """Whether the application takes the body that is to come; else it has answered."""
        if not self._call(self._application.on_head, exchange):
            if not exchange.started:
                self._crashed(exchange, RuntimeError("on_head refused a request without an answer"))
            return False
        return True

    def _keep(self, exchange: AsgiExchange, part: bytes, parts: list[bytes]) -> tuple[int, str] | None:
        if part:
            if parts and len(parts[-1]) < JOIN_BYTES:
                parts[-1] += part
            else:
                parts.append(part)
            exchange.body_bytes += len(part)
            self.body_bytes += len(part)
        if exchange.body_bytes > self._bounds.body_bytes:
            return 413, f"the body is longer than the limit of {self._bounds.body_bytes} bytes"
        return (503, _FULL) if self.body_bytes > self._bounds.all_bodies_bytes else None

    # -- what ends a request before its time

    def _call(self, function: Callable[[Exchange], Any], exchange: AsgiExchange) -> Any:
        try:
            return function(exchange)
        except Exception as error:
            self._crashed(exchange, error)
            return None

    def _crashed(self, exchange: AsgiExchange, error: Exception) -> None:
        """A fault of the application ends its request, loudly, and no other."""
        _report(error)
        if exchange.started:
            exchange.abort()
        else:
            self._refuse(exchange, 500, "the application failed")

    def _refuse(self, exchange: AsgiExchange, status: int, reason: str) -> None:
        fields, body = self._refusal(status, reason, exchange.peer)
        if self._refusal_fields is not None:
            fields += self._refusal_fields(exchange.header(b"origin"))
        exchange.respond(status, fields, body)

    def _refusal(self, status: int, reason: str, peer: str) -> tuple[bytes, bytes]:
        try:
            return self._application.on_refusal(status, reason, peer)
        except Exception as error:
            _report(error)
            return b"", b""

    async def _refuse_websocket(self, scope: Message, receive: Receive, send: Send, caller: Caller | None) -> None:
        """The seam of WebSocket: an exchange of its own kind begins here, once there is a dialect that speaks it."""
        await receive()
        peer = caller.peer if caller is not None else _peer(scope)
        headers, body = self._refusal(501, _NO_WEBSOCKET, peer)
        fields = [line.split(b": ", 1) for line in headers.split(b"\r\n") if line]
        fields.append([b"content-length", b"%d" % len(body)])
        if self._retiring:
            fields.append([*_CLOSE])
        await send({"type": "websocket.http.response.start", "status": 501, "headers": fields})
        await send({"type": "websocket.http.response.body", "body": body})


def _peer(scope: Message) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client and client[0] else "unix"


def _report(error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": "the application behind the edge failed", "exception": error}
    )


def _head_fault(scope: Message, head_bytes: int) -> tuple[int, str] | None:
    """What the native edge would refuse and the server lets pass."""
    headers: Headers = scope["headers"]
    target_bytes = len(scope["raw_path"]) + len(scope["query_string"])
    if scope["method"] == "CONNECT":
        return 501, "CONNECT is not implemented"
    if target_bytes > MAX_TARGET_BYTES:
        return 414, "the request target is too long"
    if len(headers) > MAX_FIELDS:
        return 431, "too many header fields"
    if target_bytes + sum(len(name) + len(value) + 4 for name, value in headers) > head_bytes:
        return 431, "the head is too long"
    seen: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _SINGLE and name in seen:
            return 400, f"repeated {name.decode()}"
        seen[name] = value
    if scope["http_version"] != "2":
        if scope["http_version"] != "1.1":
            return 505, "an HTTP version other than 1.1 and 2"
        if not _is_authority(seen.get(b"host", b"")):
            return 400, "no Host, or a malformed one"
        if not _is_target(scope):
            return 400, "malformed request target"
        if seen.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            return 400, "a Transfer-Encoding other than chunked"
    length = seen.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
        return 400, "malformed Content-Length"
    if seen.get(b"expect", b"100-continue").lower() != b"100-continue":
        return 417, "an expectation other than 100-continue"
    return None


def _is_authority(text: bytes) -> bool:
    """Whether it is uri-host [ ":" port ] (RFC 9110 section 7.2)."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return False
    if found["ipv6"] is not None:
        try:
            socket.inet_pton(socket.AF_INET6, found["ipv6"].decode())
        except OSError:
            return False
    return int(found["port"] or 0) <= 65_535


def _is_target(scope: Message) -> bool:
    """Whether a target of HTTP/1.1 has a form that its method allows (RFC 9112 section 3.2), and bytes that a target may have."""
    path: bytes = scope["raw_path"]
    in_form = path.startswith(b"/") or (path == b"*" and scope["method"] == "OPTIONS")
    return in_form and path.isascii() and scope["query_string"].isascii()
