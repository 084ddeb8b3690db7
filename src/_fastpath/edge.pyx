"""The HTTP/1.1 server side of a connection, as an asyncio protocol for uvloop.

Theory. A connection answers one request at a time, in order. Bytes that arrive while a request is being answered wait,
bounded, and are parsed when the answer has ended and the client has taken it; so pipelining needs no queue of its own. A
request that came whole in one read goes to the application inside `data_received`: no task, no future, no copy of its head.

Rules.
- At most one `write` or `writelines` a callback: uvloop turns each into a system call.
- What is written is immutable bytes, never a buffer that is used again.
- The application sees a request only when its body is complete; before that, when the body has not come with the head, it
  is asked once (`on_head`) whether the request deserves its body.
- After an error of framing the connection lingers: the answer is sent, our side is shut, and what still comes is dropped for
  a short while, since closing a socket with unread bytes resets it and may take the answer with it.
- End of file from the client means that it has left, as with nginx; its request is cancelled.
- One timer a connection. What it means follows from the state (`_await`); while the client does not take what was written, it
  is the write time-out, which runs anew whenever some of it has been taken, and in the long run enough.
- An application that raises ends its own request, and the loop's exception handler is told.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memcmp, memcpy
from posix.strings cimport strncasecmp

from _fastpath.http1 cimport (
    ChunkedDecoder, RequestHead, Span, K_API_KEY, K_AUTHORIZATION, K_CONTENT_ENCODING, K_CONTENT_TYPE, K_TRACEPARENT,
    K_X_API_KEY, K_X_GOOG_API_KEY, K_X_THROUGHWAY, parse_request_into,
)
from _fastpath.wheel cimport Timer, Wheel, monotonic_ns

import fcntl
import socket
import struct
import sys
import termios
from email.utils import formatdate
from http import HTTPStatus

from _fastpath.http1 import ProtocolError

cdef enum ConnectionState:
    AWAITING   # the next request's head, of which nothing or a part has come
    BODY       # its body
    BUSY       # the application has it
    LINGERING  # answered for the last time; what comes is dropped
    CLOSED

cdef enum ExchangeState:
    FRESH      # nothing of the answer
    STARTED
    ENDED

cdef enum:
    NS_PER_MS = 1_000_000
    JOIN_BYTES = 65_536         # up to here a part is copied beside its framing; beyond, it is written as it is
    WRITE_HIGH_BYTES = 65_536   # buffered bytes past which the application is asked to pause
    PART_BYTES = 4_096          # smaller parts of a body are joined: each object costs some 50 bytes beside its own
    LINGER_NS = 2_000_000_000
    FRESH_NS = 1_000_000_000    # while draining: from there on a connection that never asked anything is closed

cdef dict _STATUS_LINES = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
cdef str _FULL = "the worker holds as many bytes of request bodies as it may"
cdef bytes _CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef bytes _CLOSE = b"connection: close\r\n"
cdef bytes _KEEP_ALIVE = b"connection: keep-alive\r\n"  # only HTTP/1.0 needs to be told
cdef bytes _NO_BYTES = b""
cdef bytes _RESET_ON_CLOSE = struct.pack("ii", 1, 0)


cdef bytes _status_line(int status):
    line = _STATUS_LINES.get(status)
    return line if line is not None else b"HTTP/1.1 %d Unknown\r\n" % status


def untaken(transport):
    """Bytes that were written and that the other end has not taken: those of the transport's buffer, and those that the kernel still
    holds, where it tells. It wakes a writer late: of a large buffer a slow client takes for minutes before any of ours moves."""
    try:
        held = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return transport.get_write_buffer_size()
    return transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)


cdef inline char* _put(char* at, const char* source, Py_ssize_t size) noexcept nogil:
    memcpy(at, source, size)
    return at + size


cdef inline char* _put_hex(char* at, Py_ssize_t value) noexcept nogil:
    cdef char digits[16]
    cdef int n = 0
    while value:
        digits[n] = b"0123456789abcdef"[value & 15]
        value >>= 4
        n += 1
    while n:
        n -= 1
        at[0] = digits[n]
        at += 1
    return at


cdef bytes _join_head(int status, bytes headers, bytes date, bytes connection, bytes framing, bytes body):
    """Status line, `headers`, `date`, `connection`, `framing` (each whole lines), the blank line, `body`; in one allocation."""
    cdef bytes line = _status_line(status)
    cdef Py_ssize_t size = (
        PyBytes_GET_SIZE(line) + PyBytes_GET_SIZE(date) + PyBytes_GET_SIZE(headers) + PyBytes_GET_SIZE(connection)
        + PyBytes_GET_SIZE(framing) + 2 + PyBytes_GET_SIZE(body)
    )
    cdef bytes result = PyBytes_FromStringAndSize(NULL, size)
    cdef char* at
    at = PyBytes_AS_STRING(result)
    at = _put(at, PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line))
    at = _put(at, PyBytes_AS_STRING(date), PyBytes_GET_SIZE(date))
    at = _put(at, PyBytes_AS_STRING(headers), PyBytes_GET_SIZE(headers))
    at = _put(at, PyBytes_AS_STRING(connection), PyBytes_GET_SIZE(connection))
    at = _put(at, PyBytes_AS_STRING(framing), PyBytes_GET_SIZE(framing))
    at = _put(at, b"\r\n", 2)
    _put(at, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
    return result


cdef bytes _chunk(bytes head, bytes data, bint last):
    """`head` and `data` as one chunk, with the last chunk behind it if `last`, in one allocation."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t room
    cdef char prefix[18]
    cdef char* end = prefix
    cdef bytes result
    cdef char* at
    if size:
        end = _put(_put_hex(prefix, size), b"\r\n", 2)
    room = PyBytes_GET_SIZE(head) + (end - prefix) + (size + 2 if size else 0) + (5 if last else 0)
    result = PyBytes_FromStringAndSize(NULL, room)
    at = _put(PyBytes_AS_STRING(result), PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
    at = _put(at, prefix, end - prefix)
    if size:
        at = _put(at, PyBytes_AS_STRING(data), size)
        at = _put(at, b"\r\n", 2)
    if last:
        _put(at, b"0\r\n\r\n", 5)
    return result


cdef bytes _bearer(RequestHead head):
    """The token of `authorization: Bearer TOKEN`, b"" for any other scheme."""
    cdef Span* span = &head.values[head.known[<int>K_AUTHORIZATION]]
    cdef const char* value = PyBytes_AS_STRING(head.buf) + span.start
    cdef Py_ssize_t size = span.size, at = 7    # a field's value has no white space around it
    if size < 8 or strncasecmp(value, b"bearer ", 7) != 0:
        return _NO_BYTES
    while at < size and (value[at] == c" " or value[at] == c"\t"):
        at += 1
    return PyBytes_FromStringAndSize(value + at, size - at)


cdef class Edge:
    """What the connections of a listener share: the application, the bounds, and what is counted.

    Args:
        loop, wheel: the worker's event loop and timers.
        on_request: called with each Exchange whose body is complete.
        on_head: called with an Exchange whose body is still to come; answers True to receive it, or has answered whole.
        on_refusal: called with (status, reason, peer) for what is refused below the application (framing, bounds, time-outs);
            returns the fields and the body of the answer.
    """

    def __init__(
        self,
        loop,
        Wheel wheel not None,
        on_request,
        on_head,
        on_refusal,
        *,
        int64_t head_bytes,
        int64_t body_bytes,
        int64_t all_bodies_bytes,
        int64_t max_in_flight,
        int64_t max_connections,
        int64_t head_ms,
        int64_t body_gap_ms,
        int64_t body_ms,
        int64_t body_bytes_per_s,
        int64_t idle_ms,
        int64_t write_ms,
        int64_t write_bytes_per_s,
    ):
        self.loop = loop
        self.wheel = wheel
        self.on_request = on_request
        self.on_head = on_head
        self.on_refusal = on_refusal
        self.head_limit = head_bytes
        self.body_limit = body_bytes
        self.all_bodies_limit = all_bodies_bytes
        self.max_in_flight = max_in_flight
        self.max_connections = max_connections
        self.head_ns = head_ms * NS_PER_MS
        self.body_gap_ns = body_gap_ms * NS_PER_MS
        self.body_ns = body_ms * NS_PER_MS
        self.body_byte_ns = 1_000 * NS_PER_MS // body_bytes_per_s
        self.idle_ns = idle_ms * NS_PER_MS
        self.write_ns = write_ms * NS_PER_MS
        self.write_byte_ns = 1_000 * NS_PER_MS // write_bytes_per_s
        self._connections = set()
        self.date_line = b""
        self.date_until_ns = 0

    def __call__(self):
        """A protocol for one accepted socket."""
        return EdgeConnection.__new__(EdgeConnection, self)

    def arrive(self):
        """Counts a connection that was accepted elsewhere and does not stand yet; False, and refused, past the bound."""
        if self.connections >= self.max_connections:
            self.refused_connections += 1
            return False
        self.arriving += 1
        return True

    def arrived(self):
        """One that was counted so stands, or is gone."""
        self.arriving -= 1

    def on_behalf_of(self, str client):
        """A protocol for one accepted socket of `client`, which need not be its other end; None: of its other end."""
        cdef EdgeConnection connection = EdgeConnection.__new__(EdgeConnection, self)
        connection.client = client
        return connection

    cdef _report(self, error):
        self.loop.call_exception_handler({"message": "the application behind the edge failed", "exception": error})

    @property
    def connections(self):
        return len(self._connections) + self.arriving

    def retire(self):
        """From now on each answer says that it is the last one on its connection, and closes it. Who rests between two requests is
        left in peace: a client may be sending the next one, and closing now would lose it. It is answered, or the idle time-out
        comes, as ever."""
        self.retiring = True

    def drain(self):
        """As `retire`, and who asks nothing is closed: now, and later as soon as what it asked before has been answered. Who has
        just come, and never asked anything, gets the time for its first request to arrive."""
        cdef EdgeConnection connection
        cdef int64_t until_ns = monotonic_ns() + FRESH_NS
        self.retiring = self.draining = True
        for connection in list(self._connections):
            if connection.state == AWAITING and connection.waiting is None:
                if connection.began_ns:
                    connection._close()
                else:
                    self.wheel.arm(connection, until_ns)

    def abort_all(self):
        """Breaks every connection, whatever it does."""
        cdef EdgeConnection connection
        for connection in list(self._connections):
            connection.transport.abort()

    cdef bytes date(self, int64_t now_ns):
        if now_ns >= self.date_until_ns:
            self.date_line = b"date: " + formatdate(usegmt=True).encode() + b"\r\n"
            self.date_until_ns = now_ns + 500 * NS_PER_MS
        return self.date_line


@cython.final
cdef class Exchange:
    """A request and the answer to it: `gateway.base.ports.Exchange`."""

    @property
    def finished(self):
        """The answer has ended, or nobody is there to take it."""
        return self.state == ENDED

    @property
    def started(self):
        return self.state != FRESH

    @property
    def peer(self):
        return "" if self.connection is None else self.connection.peer_name()

    def header(self, bytes name not None):
        if self.connection is None:
            return None
        return self.connection.head.header(name)

    def values(self, bytes name not None):
        if self.connection is None:
            return []
        return [value for field, value in self.connection.head.headers() if field == name]

    def credential(self):
        """The caller's secret, from `authorization: Bearer`, `x-api-key`, `api-key` or `x-goog-api-key`; None where there is
        none, and b"" where there is more than one, which is no credential at all."""
        cdef RequestHead head
        cdef bytes found = None, value
        if self.connection is None:
            return None
        head = self.connection.head
        if head.known[<int>K_AUTHORIZATION] >= 0:
            found = _bearer(head)
        for which in (K_X_API_KEY, K_API_KEY, K_X_GOOG_API_KEY):
            if head.known[<int>which] >= 0:
                value = head.known_value(<int>which)
                if found is not None and found != value:
                    return b""
                found = value
        return found

    @property
    def plain(self):
        """Content-type is `application/json` to the letter, and no field that would change how the request is handled is there:
        content-encoding, traceparent or one of ours (`x-throughway-...`)."""
        cdef RequestHead head
        cdef Span* span
        if self.connection is None:
            return False
        head = self.connection.head
        if head.known[<int>K_CONTENT_TYPE] < 0:
            return False
        span = &head.values[head.known[<int>K_CONTENT_TYPE]]
        return (
            span.size == 16
            and memcmp(PyBytes_AS_STRING(head.buf) + span.start, b"application/json", 16) == 0
            and head.known[<int>K_CONTENT_ENCODING] < 0
            and head.known[<int>K_TRACEPARENT] < 0
            and head.known[<int>K_X_THROUGHWAY] < 0
        )

    @property
    def content_type(self):
        return None if self.connection is None else self.connection.head.known_value(K_CONTENT_TYPE)

    @property
    def traceparent(self):
        return None if self.connection is None else self.connection.head.known_value(K_TRACEPARENT)

    def respond(self, int status, bytes headers not None, bytes body not None):
        cdef EdgeConnection connection = self.connection
        cdef bytes framing
        if self.state != FRESH or connection is None:
            return
        self.state = ENDED
        if status == 204 or status == 304:
            framing = body = _NO_BYTES
        else:
            framing = b"content-length: %d\r\n" % PyBytes_GET_SIZE(body)
        connection.answer(self, status, headers, framing, _NO_BYTES if self.method == "HEAD" else body)

    def start(self, int status, bytes headers not None, int64_t length=-1):
        cdef EdgeConnection connection = self.connection
        cdef bytes framing
        if self.state != FRESH or connection is None:
            return
        self.state = STARTED
        self.unwritten = -1
        self.mute = self.method == "HEAD"
        if status == 204 or status == 304:
            self.mute = True
            framing = _NO_BYTES
        elif length >= 0:
            self.unwritten = length
            framing = b"content-length: %d\r\n" % length
        elif connection.head.minor == 1:
            self.chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            connection.close_after = self.until_close = True
            framing = _NO_BYTES
        self.unsent = _join_head(
            status, headers, connection.edge.date(monotonic_ns()), connection.persistence(), framing, _NO_BYTES
        )

    def flush(self):
        """Sends the head that `start` made, if it has not left with a part of the body."""
        if self.state == STARTED and self.connection is not None and self.unsent is not None:
            head = self.unsent
            self.unsent = None
            self.connection.transport.write(head)

    def write(self, bytes data not None):
        cdef EdgeConnection connection = self.connection
        if self.state != STARTED or connection is None:
            return True
        self._send(connection, data, False)
        return not connection.write_paused

    def end(self, bytes data not None=b""):
        cdef EdgeConnection connection = self.connection
        if self.state != STARTED or connection is None:
            return
        self._send(connection, data, True)
        self.state = ENDED
        if self.unwritten > 0 and not self.mute:
            connection.break_off(self)
            raise RuntimeError(f"the answer ended {self.unwritten} bytes before the length it announced")
        connection.finish(self)

    def abort(self):
        cdef EdgeConnection connection = self.connection
        if self.state == ENDED or connection is None:
            return
        self.flush()
        self.state = ENDED
        connection.break_off(self)

    cdef _send(self, EdgeConnection connection, bytes data, bint last):
        cdef bytes head = self.unsent if self.unsent is not None else _NO_BYTES
        if self.mute:
            data = _NO_BYTES
            last = False
        elif self.unwritten >= 0:
            if PyBytes_GET_SIZE(data) > self.unwritten:  # the client would read the rest as the next answer
                raise RuntimeError("more bytes of an answer than the length it announced")
            self.unwritten -= PyBytes_GET_SIZE(data)
        self.unsent = None
        if PyBytes_GET_SIZE(data) > JOIN_BYTES:
            self._send_large(connection, head, data, last)
        elif self.chunked and (data or last):
            connection.transport.write(_chunk(head, data, last))
        elif head or data:
            connection.transport.write(head + data)

    cdef _send_large(self, EdgeConnection connection, bytes head, bytes data, bint last):
        """`data` is written as it is, beside its framing."""
        if self.chunked:
            connection.transport.writelines(
                (head + b"%x\r\n" % PyBytes_GET_SIZE(data), data, b"\r\n0\r\n\r\n" if last else b"\r\n")
            )
        elif head:
            connection.transport.writelines((head, data))
        else:
            connection.transport.write(data)


@cython.final
cdef class EdgeConnection(Timer):
    """One accepted connection."""

    def __cinit__(self, Edge edge not None):
        self.edge = edge
        self.head = RequestHead.__new__(RequestHead)
        self.state = AWAITING

    # -- asyncio.Protocol

    def connection_made(self, transport):
        cdef Edge edge = self.edge
        self.transport = transport
        if len(edge._connections) >= edge.max_connections:
            edge.refused_connections += 1
            self.state = CLOSED
            transport.abort()
            return
        edge._connections.add(self)
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        edge.wheel.arm(self, monotonic_ns() + edge.head_ns)

    def connection_lost(self, exception):
        cdef Exchange exchange = self.exchange
        self.edge._connections.discard(self)
        self.state = CLOSED
        self.waiting = None
        self.transport = None
        self.edge.wheel.forget(self)
        if exchange is not None:
            self._leave(exchange)

    def data_received(self, bytes data):
        if self.state == AWAITING:
            if self.waiting is None and not self.write_paused:
                self.began_ns = monotonic_ns()
                self._read(data)
            elif self.waited:
                self._read(self.waiting + data)
            else:
                self._keep_waiting(data)
        elif self.state == BODY:
            self._read_body(data, 0)
        elif self.state == BUSY:
            self._keep_waiting(data)

    def eof_received(self):
        cdef Exchange exchange = self.exchange
        self.waiting = None
        self.state = CLOSED
        self.closed_ns = monotonic_ns()
        self._await()  # the transport closes when it has flushed, which the client may prevent
        if exchange is not None:
            self._leave(exchange)
        return False

    def pause_writing(self):
        if self.transport is None:
            return
        self.write_paused = True
        self.paused_ns = monotonic_ns()
        self.offered = self.untaken = untaken(self.transport)
        self.edge.wheel.arm(self, self.paused_ns + self.edge.write_ns)

    def resume_writing(self):
        cdef Exchange exchange = self.exchange
        self.write_paused = False
        if self.transport is None:
            return
        self._await()
        if self.state == AWAITING:
            self._go_on()
        elif exchange is not None and exchange.on_drain is not None:
            exchange.on_drain()

    # -- reading

    cdef _read(self, bytes buf):
        """Reads the request that `buf` begins with, of which `began_ns` tells when its first bytes came."""
        cdef RequestHead head = self.head
        cdef Edge edge = self.edge
        cdef Py_ssize_t size = PyBytes_GET_SIZE(buf)
        cdef Py_ssize_t end, body_end
        cdef Exchange exchange
        self.waiting = None
        try:
            end = parse_request_into(head, buf, 0, edge.head_limit)
        except ProtocolError as error:
            self._refuse(error.status, error.reason)
            return
        if end == 0:
            self.waiting = buf
            if not self.waited:  # the first bytes of this head: its time runs from here, however slowly the rest comes
                self.waited = True
                self._await()
            return
        self.waited = False
        if edge.in_flight >= edge.max_in_flight:
            self._refuse(503, "the worker holds as many requests as it may")
            return
        if not head.chunked and head.content_length > edge.body_limit:
            self._refuse(413, f"the body is {head.content_length} bytes, the limit {edge.body_limit}")
            return
        exchange = Exchange.__new__(Exchange)
        exchange.connection = self
        exchange.client = self.client
        exchange.method = head.method
        exchange.path = head.path
        exchange.query = head.query
        exchange.received_ns = self.began_ns
        exchange.body = b""
        self.exchange = exchange
        edge.in_flight += 1
        if not head.chunked:
            body_end = end + (head.content_length if head.content_length > 0 else 0)
            if body_end <= size:
                if body_end > end:
                    exchange.body = PyBytes_FromStringAndSize(PyBytes_AS_STRING(buf) + end, body_end - end)
                    self.parts_bytes = body_end - end
                    edge.body_bytes += self.parts_bytes
                    if edge.body_bytes > edge.all_bodies_limit:
                        self._refuse(503, _FULL)
                        return
                if body_end < size:
                    self.waiting = buf[body_end:]
                self._hand_over(exchange)
                return
        self._await_body(exchange, buf, end)

    cdef _await_body(self, Exchange exchange, bytes buf, Py_ssize_t start):
        cdef RequestHead head = self.head
        self.state = BODY
        self.parts = []
        self.decoder = ChunkedDecoder() if head.chunked else None
        try:
            if not self.edge.on_head(exchange):
                if exchange.state != ENDED:
                    raise RuntimeError("on_head refused a request without an answer")
                return
        except Exception as error:
            self._crashed(exchange, error)
            return
        if self.exchange is not exchange or self.state != BODY:
            return
        if head.expect_continue and start == PyBytes_GET_SIZE(buf):
            self.transport.write(_CONTINUE)
        if start < PyBytes_GET_SIZE(buf):
            self._read_body(buf, start)
        else:
            self._await()

    cdef _read_body(self, bytes data, Py_ssize_t start):
        cdef Edge edge = self.edge
        cdef Exchange exchange = self.exchange
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t end
        cdef bint complete
        cdef list out
        if self.decoder is None:
            end = start + min(size - start, self.head.content_length - self.parts_bytes)
            self._keep_part(data if start == 0 and end == size else data[start:end])
            complete = self.parts_bytes == self.head.content_length
        else:
            out = []
            try:
                end = self.decoder.feed_into(data, start, out)
            except ProtocolError as error:
                self._refuse(error.status, error.reason)
                return
            if out:
                self._keep_part(<bytes>out[0] if len(out) == 1 else b"".join(out))
            complete = self.decoder.done
        if self.parts_bytes > edge.body_limit:
            self._refuse(413, f"the body is longer than the limit of {edge.body_limit} bytes")
            return
        if edge.body_bytes > edge.all_bodies_limit:
            self._refuse(503, _FULL)
            return
        if not complete:
            self._await()
            return
        exchange.body = <bytes>self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts = None
        self.decoder = None
        if end < size:
            self.waiting = data[end:]
        self._hand_over(exchange)

    cdef _keep_part(self, bytes part):
        cdef Py_ssize_t last = len(self.parts) - 1
        self.parts_bytes += PyBytes_GET_SIZE(part)
        self.edge.body_bytes += PyBytes_GET_SIZE(part)
        if last >= 0 and PyBytes_GET_SIZE(<bytes>self.parts[last]) < PART_BYTES:
            self.parts[last] = <bytes>self.parts[last] + part
        else:
            self.parts.append(part)

    cdef _hand_over(self, Exchange exchange):
        self.state = BUSY
        self._await()
        self.edge.requests += 1
        try:
            self.edge.on_request(exchange)
        except Exception as error:
            self._crashed(exchange, error)

    cdef _crashed(self, Exchange exchange, error):
        """A fault of the application ends its request, loudly, and no other."""
        self.edge._report(error)
        if exchange.connection is self and exchange.state == FRESH:
            self._refuse(500, "the application failed")
        else:
            exchange.abort()

    # -- what waits

    cdef _keep_waiting(self, bytes data):
        self.waiting = data if self.waiting is None else self.waiting + data
        if PyBytes_GET_SIZE(self.waiting) > self.edge.head_limit and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    cdef _go_on(self):
        """Has `_next` called where an answer has ended, the client has taken it, and something waits."""
        if not self.write_paused and not self.waited and (self.waiting is not None or self.read_paused):
            self.edge.loop.call_soon(self._next)

    def _next(self):
        """Goes on with what waited while a request was answered."""
        cdef bytes waiting = self.waiting
        if self.state != AWAITING or self.write_paused or self.waited:
            return
        if waiting is not None:
            self.began_ns = monotonic_ns()
            self._read(waiting)
        if self.waiting is None or PyBytes_GET_SIZE(self.waiting) <= self.edge.head_limit:
            self._resume_reading()

    cdef _resume_reading(self):
        if self.read_paused:
            self.read_paused = False
            if self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    # -- writing

    cdef bint will_close(self) noexcept:
        return self.close_after or not self.head.keep_alive or self.state == BODY

    cdef bytes persistence(self):
        """The `connection` line of an answer (RFC 9112 section 9.3), which binds us: only who was told is closed after it."""
        if self.edge.retiring:
            self.close_after = True
        if self.will_close():
            return _CLOSE
        return _NO_BYTES if self.head.minor == 1 else _KEEP_ALIVE

    cdef answer(self, Exchange exchange, int status, bytes headers, bytes framing, bytes body):
        cdef bytes date = self.edge.date(monotonic_ns())
        cdef bytes connection = self.persistence()
        if PyBytes_GET_SIZE(body) <= JOIN_BYTES:
            self.transport.write(_join_head(status, headers, date, connection, framing, body))
        else:
            self.transport.writelines((_join_head(status, headers, date, connection, framing, _NO_BYTES), body))
        self.finish(exchange)

    cdef finish(self, Exchange exchange):
        """The answer has been written whole."""
        cdef bint close = self.will_close()
        cdef bint unread = self.state == BODY or self.read_paused
        self._release(exchange)
        if self.edge.draining and self.waiting is None:
            close = True
        if not close:
            self.state = AWAITING
            self._await()
            self._go_on()
        elif unread:
            self._linger()
        else:
            self._close()

    cdef break_off(self, Exchange exchange):
        """The answer stays incomplete: the connection closes without the end of its framing."""
        self._release(exchange)
        if exchange.until_close:  # its framing has no other end than a polite close
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()
        self._close()

    cdef _close(self):
        """Closes once what is buffered has been taken, which the write time-out bounds. TLS would have the client say good-bye; who has
        taken all and does not is closed all the same."""
        self.state = CLOSED
        self.waiting = None
        self.closed_ns = monotonic_ns()
        self.transport.close()
        self._await()

    cdef _release(self, Exchange exchange):
        exchange.connection = None
        exchange.on_disconnect = None
        exchange.on_drain = None
        self.exchange = None
        self.edge.in_flight -= 1
        self.edge.body_bytes -= self.parts_bytes
        self.parts_bytes = 0
        self.parts = None
        self.decoder = None
        self.head.buf = _NO_BYTES  # a connection at rest keeps nothing of what it read

    cdef _leave(self, Exchange exchange):
        """The client has gone before its answer was complete."""
        callback = exchange.on_disconnect
        exchange.state = ENDED
        self._release(exchange)
        if callback is not None:
            callback()

    cdef _refuse(self, int status, str reason):
        """Answers what never became a request of the application, and closes."""
        cdef Exchange exchange = self.exchange
        cdef bytes headers, body, framing, origin = None
        if self.edge.refusal_fields is not None and PyBytes_GET_SIZE(self.head.buf):
            origin = self.head.header(b"origin")
        if exchange is not None:
            exchange.state = ENDED
            self._release(exchange)
        try:
            headers, body = self.edge.on_refusal(status, reason, self.peer_name())
            if self.edge.refusal_fields is not None:
                headers = headers + self.edge.refusal_fields(origin)
        except Exception as error:
            self.edge._report(error)
            headers = body = _NO_BYTES
        framing = b"content-length: %d\r\n" % PyBytes_GET_SIZE(body)
        if self.head.method == "HEAD":
            body = _NO_BYTES
        self.transport.write(_join_head(status, headers, self.edge.date(monotonic_ns()), _CLOSE, framing, body))
        self._linger()

    cdef _linger(self):
        """Shuts our side, and drops what still comes until the client closes or the time is over."""
        self.state = LINGERING
        self.waiting = None
        self._resume_reading()
        self._await()
        # TLS has no half-close; `connection: close` and the length tell such a client as much.
        if not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    cdef str peer_name(self):
        if self.client is not None:
            return self.client
        peer = self.transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unix"

    # -- time

    cdef void _await(self):
        """Arms the timer for what is awaited in this state."""
        cdef Edge edge = self.edge
        if self.write_paused:
            return
        if self.state == BUSY:
            edge.wheel.disarm(self)
        elif self.state == BODY:
            edge.wheel.arm(
                self,
                min(
                    monotonic_ns() + edge.body_gap_ns,
                    self.began_ns + edge.body_ns + self.parts_bytes * edge.body_byte_ns,
                ),
            )
        elif self.state == LINGERING:
            edge.wheel.arm(self, monotonic_ns() + LINGER_NS)
        elif self.state == CLOSED:
            edge.wheel.arm(self, monotonic_ns() + min(edge.write_ns, LINGER_NS))
        elif self.waited:
            edge.wheel.arm(self, self.began_ns + edge.head_ns)
        else:
            edge.wheel.arm(self, monotonic_ns() + edge.idle_ns)

    cdef void expire(self):
        cdef Edge edge = self.edge
        if self.write_paused and self._takes_enough():
            edge.wheel.arm(self, monotonic_ns() + edge.write_ns)
        elif self.state == LINGERING and not self.write_paused:
            self.transport.abort()
        elif self.state == AWAITING and not self.waited and not self.write_paused:
            self._close()
        elif self.state == CLOSED and not self.write_paused and untaken(self.transport) == 0:
            self.transport.abort()
        elif self.state == CLOSED and not self.write_paused and edge.wheel.now_ns < self.closed_ns + edge.write_ns:
            self._await()
        else:
            edge.timeouts += 1
            self._time_out()

    cdef bint _takes_enough(self) except -1:
        """Whether the client has taken some of what was written since this was last asked, and enough since it fell behind."""
        cdef int64_t before = self.untaken
        cdef int64_t owed_ns = self.edge.wheel.now_ns - self.paused_ns - self.edge.write_ns
        self.untaken = untaken(self.transport)
        return self.untaken < before and (self.offered - self.untaken) * self.edge.write_byte_ns >= owed_ns

    cdef _time_out(self):
        if self.write_paused or self.state == CLOSED:
            self.transport.abort()
        elif self.state == BODY:
            self._refuse(408, "the body did not arrive in time")
        else:
            self._refuse(408, "the head did not arrive in time")
