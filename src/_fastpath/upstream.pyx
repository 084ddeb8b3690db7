"""The HTTP/1.1 client side of a connection to a provider, as an asyncio protocol for uvloop.

Theory. A connection carries one request at a time. Whoever sends one gives a *sink*, which is called inside `data_received`
as the response arrives:

    on_response(head, body)     the whole response came in one read; nothing else is called
    on_head(head, more)         else: the head; `more` says that a part of the body follows in this very read
    on_data(data, last)         a part of the body; `last` with the last one (which may be empty)
    on_error(kind, message)     the response will not be complete; nothing else is called after it
    on_crash(error)             one of the above raised; the connection is closed

When the response is complete and the connection can be used again, the pool has it back once the sink has been told. So as
long as a sink is called, the connection is its own: whatever it does to it, closing it among that, hits no other request.

Rules.
- Bytes on a connection that carries no request, or behind a complete response, mean that the two sides disagree: it is closed.
- `data` is the very object that was read where all of it is body.
- What is read goes through one buffer of the process, filled and emptied within one turn of the loop. The loop's own way would
  hand on up to 256 KiB at once, which wait in the worker where a client takes nothing, and leave holes in the heap; and over TLS
  would make an object of that size for each read, and end each with an exception.
- While the sink has paused reading, only the total deadline runs: a slow client is no fault of the provider.
- A body that ends with the connection ends with the peer's FIN, over TLS with its close_notify (RFC 9112 section 9.8): any
  other end truncates it.
- A connection that still has bytes of its request to send when the response is complete is not used again.
- Errors' kinds: "connect", "first_byte", "gap", "total" are time-outs; "closed" came before any byte of the response,
  "truncated" after; "protocol" is a response that breaks HTTP.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t

from _fastpath.http1 cimport (
    BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, BODY_NONE, K_KEEP_ALIVE, ChunkedDecoder, ResponseHead, parse_response_into,
)
from _fastpath.wheel cimport Timer, Wheel, monotonic_ns

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* buffer, size_t size, int flags)
    const int MSG_PEEK
    const int MSG_DONTWAIT

from _fastpath.http1 import ProtocolError

cdef enum State:
    CONNECTING
    IDLE
    SENT       # a request is out, its response's head is not complete
    BODY       # the response's body is coming
    COMPLETE   # the sink is being told of the end
    CLOSED

cdef enum:
    HEAD_LIMIT = 65_536
    READ_BYTES = 65_536
    NS_PER_MS = 1_000_000
    STALE_AFTER_NS = 1_000_000_000  # a connection idle for longer is asked whether its peer has closed it


cdef bytearray _buffer = bytearray(READ_BYTES)
cdef object _room = memoryview(_buffer)  # a bytearray that is looked at is never moved


cdef int64_t _told_ms(bytes keep_alive):
    """What `timeout=SECONDS` in a Keep-Alive field says (RFC 2068 section 19.7.1.1), in ms; 0 where it says nothing."""
    for parameter in keep_alive.split(b","):
        name, _, value = parameter.strip().partition(b"=")
        if name.lower() == b"timeout" and value.isdigit() and len(value) <= 6:
            return 1_000 * int(value)
    return 0


cdef _report(object sink, str kind, str message):
    if sink is None:
        return
    try:
        sink.on_error(kind, message)
    except Exception as error:
        sink.on_crash(error)


@cython.final
cdef class UpstreamConnection(Timer):
    """One connection. Made by a pool, which is told `released(connection)` and `lost(connection)`."""

    def __init__(self, Wheel wheel not None, pool):
        self.wheel = wheel
        self.pool = pool
        self.head = ResponseHead.__new__(ResponseHead)
        self.state = CONNECTING

    @property
    def idle(self):
        return self.state == IDLE

    @property
    def closed(self):
        return self.state == CLOSED

    # -- asyncio.Protocol

    def connection_made(self, transport):
        self.transport = transport
        self.state = IDLE
        self.idle_since_ns = monotonic_ns()

    def connection_lost(self, exception):
        cdef int state = self.state
        self.wheel.forget(self)
        self.state = CLOSED
        self.transport = None
        pool, self.pool = self.pool, None
        pool.lost(self)
        if state == SENT and self.got_bytes:
            self._fail("truncated", "the connection closed in the head of the answer")
        elif state == SENT:
            self._fail("closed", "the connection closed before an answer")
        elif state == BODY and self.kind == BODY_CLOSE and self.peer_ended and exception is None:
            self._end_with_connection()
        elif state == BODY:
            self._fail("truncated", "the connection closed before the answer was complete")

    def eof_received(self):
        self.peer_ended = True
        if self.state == IDLE:
            self.close()  # now, so that nobody takes it before it is lost
        return False

    def pause_writing(self):
        self.write_paused = True  # a request's body is bounded and already in memory: there is nobody to pause

    def resume_writing(self):
        self.write_paused = False

    def get_buffer(self, sizehint):
        return _room

    def buffer_updated(self, Py_ssize_t size):
        self.data_received(PyBytes_FromStringAndSize(PyByteArray_AS_STRING(_buffer), size))

    def data_received(self, bytes data):
        try:
            self._received(data)
        except Exception as error:
            sink = self.sink
            self.close()
            if sink is None:
                raise
            sink.on_crash(error)

    cdef _received(self, bytes data):
        self.last_byte_ns = monotonic_ns()
        if self.state == BODY:
            self._read_body(data, 0)
        elif self.state == SENT:
            if not self.got_bytes:
                self.got_bytes = True
                self.first_byte_ns = self.last_byte_ns
            self._read_head(data if self.waiting is None else self.waiting + data)
        else:
            self.close()

    # -- requests

    cpdef bint is_stale(self) except -1:
        """Whether the peer has closed this idle connection, as far as the kernel knows. A system call, after a second of rest only."""
        cdef char byte
        cdef ssize_t got
        if monotonic_ns() - self.idle_since_ns < STALE_AFTER_NS:
            return False
        handle = self.transport.get_extra_info("socket")
        if handle is None:
            return True
        got = recv(handle.fileno(), &byte, 1, MSG_PEEK | MSG_DONTWAIT)
        # 0: closed. 1: bytes that nobody asked for (over TLS a session ticket: then a fresh connection is only dearer).
        return not (got < 0 and errno == EAGAIN)

    cpdef send(self, parts, sink, str method, int64_t first_byte_ms, int64_t gap_ms, int64_t total_deadline_ns):
        """Writes a request on this idle connection.

        Args:
            parts: bytes, or a list of bytes where the body is large.
            sink: takes the response.
            method: tells whether the response has a body.
            first_byte_ms, gap_ms: bounds of waiting for the head, and between two reads.
            total_deadline_ns: CLOCK_MONOTONIC; the response must be complete by then.
        """
        if self.state != IDLE:
            raise RuntimeError("this connection carries a request already, or is closed")
        self.state = SENT
        self.sink = sink
        self.method = method
        self.gap_ns = gap_ms * NS_PER_MS
        self.total_deadline_ns = total_deadline_ns
        self.requests += 1
        self.got_bytes = False
        self.first_byte_ns = 0
        self.waiting = None
        self.sent_ns = monotonic_ns()
        self.wheel.arm(self, min(self.sent_ns + first_byte_ms * NS_PER_MS, total_deadline_ns))
        if type(parts) is bytes:
            self.transport.write(parts)
        else:
            self.transport.writelines(parts)

    cpdef rest(self, int64_t idle_ms):
        """Closes this idle connection if nothing is sent on it for so long."""
        self.wheel.arm(self, monotonic_ns() + idle_ms * NS_PER_MS)

    def pause_reading(self):
        if not self.read_paused and self.state == BODY:
            self.read_paused = True
            self.transport.pause_reading()
            self.wheel.arm(self, self.total_deadline_ns)

    def resume_reading(self):
        if self.read_paused:
            self.read_paused = False
            if self.state != CLOSED:
                self.transport.resume_reading()
                self._arm_gap(monotonic_ns())

    def close(self):
        """Drops the connection, and with it the request it carries: the sink hears nothing more."""
        self.sink = None
        if self.state != CLOSED:
            self.state = CLOSED
            self.wheel.forget(self)
            if self.transport is not None:
                self.transport.abort()

    # -- responses

    cdef _read_head(self, bytes data):
        cdef ResponseHead head = self.head
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t start = 0, used, body_end
        cdef bytes body
        self.waiting = None
        try:
            while True:
                used = parse_response_into(head, data, start, HEAD_LIMIT)
                if used == 0:
                    self.waiting = data[start:]
                    return
                start += used
                if head.status >= 200:
                    break
                if head.status == 101:
                    raise ProtocolError(502, "the provider switched protocols, which nobody asked for")
        except ProtocolError as error:
            self._protocol_error(error.reason)
            return
        self.kind = head.body_kind_code(self.method)
        self.remaining = head.content_length if self.kind == BODY_LENGTH else 0
        self.reusable = head.keep_alive and self.kind != BODY_CLOSE
        if self.keep_alive_ms == 0 and head.known[<int>K_KEEP_ALIVE] >= 0:
            self.keep_alive_ms = _told_ms(head.known_value(K_KEEP_ALIVE))
        if self.kind == BODY_NONE or (self.kind == BODY_LENGTH and size - start >= self.remaining):
            body_end = start + self.remaining
            body = PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, self.remaining)
            self._complete(body_end < size)
            self.sink.on_response(head, body)
            self._give_back()
            return
        self.state = BODY
        if self.kind == BODY_CHUNKED:
            if self.decoder is None:
                self.decoder = ChunkedDecoder(502)
            else:
                self.decoder.reset()
        self._arm_gap(self.last_byte_ns)
        self.sink.on_head(head, start < size)
        if start < size and self.state == BODY:
            self._read_body(data, start)

    cdef _read_body(self, bytes data, Py_ssize_t start):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t end = size
        cdef bint last = False
        cdef list out
        if self.kind == BODY_CHUNKED:
            out = []
            try:
                end = self.decoder.feed_into(data, start, out)
            except ProtocolError as error:
                self._protocol_error(error.reason)
                return
            last = self.decoder.done
            data = <bytes>out[0] if len(out) == 1 else b"".join(out)
        elif self.kind == BODY_LENGTH:
            end = min(size, start + self.remaining)
            self.remaining -= end - start
            last = self.remaining == 0
            if start > 0 or end < size:
                data = data[start:end]
        elif start > 0:
            data = data[start:]
        if last:
            self._complete(end < size)
            self.sink.on_data(data, True)
            self._give_back()
            return
        if not self.read_paused:
            self._arm_gap(self.last_byte_ns)
        if PyBytes_GET_SIZE(data):
            self.sink.on_data(data, False)

    cdef _complete(self, bint more):
        """The response has been read whole; `more`: bytes came behind it."""
        self.state = COMPLETE
        self.wheel.disarm(self)
        if more or self.write_paused:
            self.reusable = False

    cdef _give_back(self):
        """The sink has been told: the pool has the connection back, or it is dropped."""
        if self.state != COMPLETE:
            return  # the sink has closed it
        if not self.reusable or self.transport.is_closing():
            self.close()
            return
        self.sink = None
        self.state = IDLE
        self.idle_since_ns = self.last_byte_ns
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.pool.released(self)

    cdef _end_with_connection(self):
        sink = self.sink
        self.sink = None
        try:
            sink.on_data(b"", True)
        except Exception as error:
            sink.on_crash(error)

    cdef _protocol_error(self, str reason):
        sink = self.sink
        self.close()
        _report(sink, "protocol", reason)

    cdef _fail(self, str kind, str message):
        sink = self.sink
        self.sink = None
        _report(sink, kind, message)

    # -- time

    cdef void _arm_gap(self, int64_t from_ns):
        self.wheel.arm(self, min(from_ns + self.gap_ns, self.total_deadline_ns))

    cdef void expire(self):
        cdef int state = self.state
        sink = self.sink
        self.close()
        if state == IDLE or sink is None:
            return
        if monotonic_ns() >= self.total_deadline_ns:
            _report(sink, "total", "the answer was not complete in time")
        elif state == SENT:
            _report(sink, "first_byte", "no answer came in time")
        else:
            _report(sink, "gap", "the answer stalled")
