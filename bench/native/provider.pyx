"""The server's side of a connection: a provider that plays prepared answers; see the stub.

Rules.
- A connection answers one request at a time, in order; what a client sends meanwhile waits, bounded.
- Written is what was prepared, never a buffer that is used again: a write may keep it.
- A plain connection writes to its descriptor itself, and gives the transport only what the kernel would not take. As long as
  the transport holds some of that, all goes through it.
- Events that are due leave in one call of sendmsg(2).
- What a request asks for is looked up in its bytes, `"stream"` followed by a colon and `true`, wherever it stands: text cannot
  hold it, since its quotes would be escaped.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t

from _fastpath.http1 cimport ChunkedDecoder, RequestHead, parse_request_into
from bench.native.agenda cimport Agenda, Task, clock_ns
from bench.native.draw cimport Draw, Random

cdef extern from "<string.h>" nogil:
    void* memmem(const void* text, size_t size, const void* word, size_t word_size)
    int memcmp(const void* a, const void* b, size_t size)
    void* memset(void* data, int byte, size_t size)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t send(int fd, const void* data, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    const int MSG_NOSIGNAL
    const int MSG_DONTWAIT

import socket
import struct

from _fastpath.http1 import ProtocolError

cdef enum State:
    HEAD        # the next request's head, of which nothing or a part has come
    BODY
    DUE         # the first byte of the answer waits for its time
    PLAYING     # its parts are sent
    HELD        # nothing is sent any more
    CLOSED

cdef enum FaultKind:
    ERROR, ERROR_EVENT, STALL, RESET, CLOSE, TRUNCATE

cdef enum Streaming:
    ASKED, ALWAYS, NEVER

cdef enum:
    HEAD_LIMIT = 65_536
    BODY_LIMIT = 67_108_864     # of one request
    WAITING_LIMIT = 1_048_576   # of requests that come while one is answered
    WHOLE_LIMIT = 1_048_576     # an answer up to here is kept in one piece too
    BATCH = 64                  # parts a write
    ROUTES_LIMIT = 4_096        # paths that are remembered
    NS_PER_MS = 1_000_000

cdef tuple FAULTS = ("error", "error_event", "stall", "reset", "close", "truncate")
cdef tuple STREAMING = ("asked", "always", "never")
cdef bytes _NOTHING = b""
cdef bytes _CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef bytes _RESET_ON_CLOSE = struct.pack("ii", 1, 0)
cdef bytes _NO_STREAM = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\ncontent-length: 24\r\n\r\n"
    b"a stream needs HTTP/1.1\n"
)


cdef bint says_true(const char* body, Py_ssize_t size, const char* key, Py_ssize_t key_size) noexcept nogil:
    """Whether a JSON text holds the member `key` (with its quotes) and the value true."""
    cdef const char* end = body + size
    cdef const char* at = body
    while True:
        at = <const char*>memmem(at, end - at, key, key_size)
        if at == NULL:
            return False
        at += key_size
        while at < end and (at[0] == c" " or at[0] == c"\n" or at[0] == c"\t" or at[0] == c"\r"):
            at += 1
        if at == end or at[0] != c":":
            continue
        at += 1
        while at < end and (at[0] == c" " or at[0] == c"\n" or at[0] == c"\t" or at[0] == c"\r"):
            at += 1
        if end - at >= 4 and memcmp(at, b"true", 4) == 0:
            return True


@cython.final
cdef class Answer:
    def __init__(self, bytes start not None, parts, int64_t tokens, bint streamed):
        cdef Py_ssize_t size = 0
        cdef bytes part
        parts = list(parts)
        self.start = start
        self.tokens = tokens
        self.streamed = streamed
        if streamed:
            framed = {}  # equal parts are one object
            self.head = start + b"transfer-encoding: chunked\r\n\r\n"
            self.parts = [
                framed[part] if part in framed else framed.setdefault(part, b"%x\r\n%b\r\n" % (len(part), part))
                for part in parts
            ]
            self.end = b"0\r\n\r\n"
        else:
            self.parts = [b"".join(parts)]
            self.head = start + b"content-length: %d\r\n\r\n" % len(self.parts[0])
            self.end = _NOTHING
        for part in self.parts:
            size += PyBytes_GET_SIZE(part)
        if size <= WHOLE_LIMIT:
            self.whole = b"".join([self.head, *self.parts, self.end])


@cython.final
cdef class Fault:
    def __init__(
        self, str kind not None, double share, double at, double for_ms, bytes answer not None, bytes event not None
    ):
        self.kind = FAULTS.index(kind)
        self.share = share
        self.at = at
        self.for_ns = <int64_t>(for_ms * NS_PER_MS)
        self.answer = answer
        self.event = b"%x\r\n%b\r\n" % (len(event), event) if event else _NOTHING


@cython.final
cdef class Route:
    def __init__(
        self,
        Draw latency_ms not None,
        Draw gap_ms not None,
        faults,
        answers,
        streams,
        streams_with_usage,
        str streaming not None,
        bytes fixed=None,
    ):
        self.latency_ms = latency_ms
        self.gap_ms = gap_ms
        self.faults = [<Fault?>fault for fault in faults]
        self.answers = [<Answer?>answer for answer in answers]
        self.streams = [<Answer?>answer for answer in streams]
        self.streams_with_usage = [<Answer?>answer for answer in streams_with_usage]
        self.streaming = STREAMING.index(streaming)
        self.fixed = fixed

    cdef Fault pick(self, Random random):
        cdef double at = random.unit()
        cdef Fault fault
        for fault in self.faults:
            if at < fault.share:
                return fault
            at -= fault.share
        return None


cdef Answer one_of(list answers, Random random):
    if len(answers) == 1:
        return <Answer>answers[0]
    return <Answer>answers[random.bits() % <size_t>len(answers)]


@cython.final
cdef class Provider:
    def __init__(self, Agenda agenda not None, seed, resolve, freezes=(), bint tls=False):
        self.agenda = agenda
        self.random = Random(seed)
        self.resolve = resolve
        self.routes = {}
        self.freezes = [
            (<int64_t>(begin * 1e9), <int64_t>(length * 1e9), <int64_t>(period * 1e9)) for begin, length, period in freezes
        ]
        self.tls = tls

    def accept(self):
        cdef Connection connection = Connection.__new__(Connection)
        connection.provider = self
        connection.head = RequestHead.__new__(RequestHead)
        connection.fd = -1
        return connection

    def counts(self):
        return {
            "connections": self.connections,
            "requests": self.requests,
            "answers": self.answers,
            "events": self.events,
            "sent_bytes": self.sent_bytes,
            "left": self.left,
            "refused": self.refused,
            **{f"fault_{kind}": self.faults[i] for i, kind in enumerate(FAULTS)},
        }

    cdef Route find(self, RequestHead head):
        cdef Route route
        key = head.path if head.method == "POST" and not head.query else (head.method, head.path, head.query)
        found = self.routes.get(key)
        if found is not None:
            return <Route>found
        route = self.resolve(head.method, head.path, head.query)
        if len(self.routes) < ROUTES_LIMIT:
            self.routes[key] = route
        return route

    cdef int64_t frozen_until(self, int64_t now_ns):
        cdef int64_t since, begin, length, period, until = 0
        since = now_ns - self.began_ns
        for begin, length, period in self.freezes:
            if since < begin:
                continue
            if period:
                begin = begin + (since - begin) // period * period
            if since < begin + length:
                until = max(until, self.began_ns + begin + length)
        return until


@cython.final
cdef class Connection(Task):
    # -- asyncio.Protocol

    def connection_made(self, transport):
        self.transport = transport
        self.provider.connections += 1
        if not self.provider.tls:
            self.fd = transport.get_extra_info("socket").fileno()

    def connection_lost(self, exception):
        if self.state == DUE or self.state == PLAYING or self.state == HELD:
            self.provider.left += 1
        self.state = CLOSED
        self.fd = -1
        self.transport = None
        self.waiting = None
        self.parts = None
        self.provider.agenda.drop(self)

    def eof_received(self):
        return False

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        if self.state == PLAYING and self.place < 0:
            self.pump(clock_ns())

    def data_received(self, bytes data not None):
        if self.state == HEAD:
            self.read(data if self.waiting is None else self.waiting + data)
        elif self.state == BODY:
            self.read_body(data, 0)
        elif self.state != CLOSED:
            self.waiting = data if self.waiting is None else self.waiting + data
            if PyBytes_GET_SIZE(self.waiting) > WAITING_LIMIT:
                self.provider.refused += 1
                self.reset()

    # -- requests

    cdef int read(self, bytes buf) except -1:
        """Reads requests from the beginning of `buf`, as many as can be answered at once, and keeps the rest."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(buf), at = 0
        self.waiting = None
        self.reading = True
        try:
            while self.state == HEAD and at < size:
                at = self.read_one(buf, at)
                if at < 0:
                    return 0
                if at == size and self.waiting is not None and self.state == HEAD:
                    buf, self.waiting = self.waiting, None
                    size, at = PyBytes_GET_SIZE(buf), 0
        finally:
            self.reading = False
        if at < size and self.state != CLOSED:
            self.waiting = buf[at:]
        return 0

    cdef Py_ssize_t read_one(self, bytes buf, Py_ssize_t at) except -2:
        """Where the next request begins; -1 where this one is incomplete: what has come of it is kept."""
        cdef RequestHead head = self.head
        cdef Py_ssize_t size = PyBytes_GET_SIZE(buf), used
        try:
            used = parse_request_into(head, buf, at, HEAD_LIMIT)
        except ProtocolError as error:
            self.refuse(error.status, error.reason)
            return -1
        if used == 0:
            self.waiting = buf[at:]
            return -1
        if head.content_length > BODY_LIMIT:
            self.refuse(413, "the body is too large")
            return -1
        at += used
        self.keep_alive = head.keep_alive and head.minor == 1
        if head.chunked or head.content_length > size - at:
            self.state = BODY
            self.body = []
            self.body_bytes = 0
            self.remaining = head.content_length
            self.decoder = ChunkedDecoder() if head.chunked else None
            if head.expect_continue and at == size:
                self.put(_CONTINUE)
            self.read_body(buf, at)
            return size
        used = max(head.content_length, <int64_t>0)
        self.complete(PyBytes_AS_STRING(buf) + at, used)
        return at + used

    cdef int read_body(self, bytes data, Py_ssize_t start) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), end = size
        cdef bytes body
        cdef bint last
        if self.decoder is not None:
            pieces = []
            try:
                end = self.decoder.feed_into(data, start, pieces)
            except ProtocolError as error:
                return self.refuse(error.status, error.reason)
            for body in pieces:
                self.keep(body)
            last = self.decoder.done
        else:
            end = min(size, start + self.remaining)
            self.remaining -= end - start
            self.keep(data if start == 0 and end == size else data[start:end])
            last = self.remaining == 0
        if self.body_bytes > BODY_LIMIT:
            return self.refuse(413, "the body is too large")
        if not last:
            return 0
        body = <bytes>self.body[0] if len(self.body) == 1 else b"".join(self.body)
        self.body = None
        if end < size:
            self.waiting = data[end:]
        return self.complete(PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))

    cdef int keep(self, bytes data) except -1:
        self.body_bytes += PyBytes_GET_SIZE(data)
        self.body.append(data)
        return 0

    cdef int complete(self, const char* body, Py_ssize_t size) except -1:
        """A request has come whole: answers it, or says when."""
        cdef Provider provider = self.provider
        cdef Route route = provider.find(self.head)
        cdef bint streams = route.streaming == ALWAYS
        cdef double delay_ms
        cdef int64_t now_ns
        provider.requests += 1
        self.state = DUE
        if route.fixed is not None:
            self.put(route.fixed)
            return self.finish()
        self.route = route
        if route.streaming == ASKED:
            streams = says_true(body, size, b'"stream"', 8)
        if not streams:
            self.answer = one_of(route.answers, provider.random)
        elif self.head.minor == 0:
            self.put(_NO_STREAM)
            return self.finish()
        elif route.streaming == ASKED and says_true(body, size, b'"include_usage"', 15):
            self.answer = one_of(route.streams_with_usage, provider.random)
        else:
            self.answer = one_of(route.streams, provider.random)
        self.fault = route.pick(provider.random) if route.faults else None
        delay_ms = route.latency_ms.next(provider.random)
        if not streams:
            delay_ms += self.answer.tokens * route.gap_ms.mean
        now_ns = 0
        if provider.freezes or delay_ms > 0:
            now_ns = clock_ns()
            if provider.began_ns == 0:
                provider.began_ns = now_ns
        if delay_ms > 0 or (provider.freezes and provider.frozen_until(now_ns)):
            provider.agenda.set(self, now_ns + <int64_t>(delay_ms * NS_PER_MS))
            return 0
        return self.begin(now_ns)

    # -- answers

    cdef int run(self, int64_t now_ns) except -1:
        cdef int64_t until_ns
        if self.provider.freezes:
            until_ns = self.provider.frozen_until(now_ns)
            if until_ns:
                self.provider.agenda.set(self, until_ns)
                return 0
        return self.begin(now_ns) if self.state == DUE else self.pump(now_ns)

    cdef int begin(self, int64_t now_ns) except -1:
        """The first byte is due."""
        cdef Answer answer = self.answer
        cdef Fault fault = self.fault
        cdef Py_ssize_t cut
        cdef bytes body
        if fault is not None:
            self.provider.faults[fault.kind] += 1
            if fault.kind == ERROR or (fault.kind == ERROR_EVENT and not answer.streamed):
                self.put(fault.answer)
                return self.finish()
        elif answer.whole is not None and (not answer.streamed or (self.route.gap_ms.code == 0 and self.route.gap_ms.a == 0)):
            self.put(answer.whole)
            if answer.streamed:
                self.provider.events += len(answer.parts)
            self.provider.answers += 1
            return self.finish()
        self.state = PLAYING
        self.parts = answer.parts
        self.prefix = answer.head
        self.end = answer.end
        self.position = 0
        self.stop = len(self.parts)
        self.next_ns = now_ns if now_ns else clock_ns()
        if fault is not None and answer.streamed:
            self.stop = min(<Py_ssize_t>(fault.at * self.stop), self.stop - 1)
        elif fault is not None:
            body = <bytes>self.parts[0]
            cut = min(<Py_ssize_t>(fault.at * PyBytes_GET_SIZE(body)), PyBytes_GET_SIZE(body) - 1)
            self.parts = [body[:cut], body[cut:]]
            self.stop = 1
            if fault.kind == TRUNCATE:
                self.prefix = answer.start + b"content-length: %d\r\n\r\n" % cut
        return self.pump(self.next_ns)

    cdef int pump(self, int64_t now_ns) except -1:
        """Sends the parts that are due."""
        cdef Draw gap_ms = self.route.gap_ms
        cdef Random random = self.provider.random
        cdef list batch
        cdef bint ends
        while self.state == PLAYING:
            batch = []
            if self.prefix is not None:
                batch.append(self.prefix)
                self.prefix = None
            while self.position < self.stop and self.next_ns <= now_ns and len(batch) < BATCH:
                batch.append(self.parts[self.position])
                self.position += 1
                self.next_ns += <int64_t>(gap_ms.next(random) * NS_PER_MS)
                if self.answer.streamed:
                    self.provider.events += 1
            ends = self.position == self.stop
            if ends and self.fault is None:
                batch.append(self.end)
            if batch:
                self.put_batch(batch)
            if self.state != PLAYING:
                return 0
            if ends and self.fault is None:
                self.provider.answers += 1
                return self.finish()
            if ends:
                if self.next_ns > now_ns and self.position:
                    # what goes wrong does so when the next part would have come
                    self.provider.agenda.set(self, self.next_ns)
                    return 0
                return self.stopped(now_ns)
            if self.paused:
                return 0
            if self.next_ns > now_ns:
                self.provider.agenda.set(self, self.next_ns)
                return 0
        return 0

    cdef int stopped(self, int64_t now_ns) except -1:
        """The place is reached where the answer goes wrong."""
        cdef Fault fault = self.fault
        self.fault = None
        if fault.kind == STALL:
            if fault.for_ns == 0:
                self.state = HELD
                return 0
            self.stop = len(self.parts)
            self.next_ns = now_ns + fault.for_ns
            self.provider.agenda.set(self, self.next_ns)
            return 0
        if fault.kind == RESET:
            return self.reset()
        if fault.kind == CLOSE:
            self.state = CLOSED
            self.fd = -1
            self.transport.close()
            return 0
        if fault.kind == ERROR_EVENT:
            self.put_batch([fault.event, self.end])
        elif self.end:
            self.put(self.end)
        return self.finish()

    cdef int finish(self) except -1:
        """The answer has been written."""
        if self.state == CLOSED:
            return 0
        self.parts = None
        self.route = None
        self.answer = None
        if not self.keep_alive:
            self.state = CLOSED
            self.fd = -1
            self.transport.close()
            return 0
        self.state = HEAD
        if not self.reading and self.waiting is not None:
            return self.read(self.waiting)
        return 0

    cdef int refuse(self, int status, str reason) except -1:
        """What came is no request: says so, and closes."""
        cdef bytes body = reason.encode() + b"\n"
        self.provider.refused += 1
        self.put(
            b"HTTP/1.1 %d Refused\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )
        if self.state != CLOSED:
            self.state = CLOSED
            self.fd = -1
            self.transport.close()
        return 0

    cdef int reset(self) except -1:
        self.state = CLOSED
        self.fd = -1
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()
        return 0

    # -- bytes

    cdef bint direct(self) except -1:
        """Whether the descriptor may be written to: nothing waits in the transport."""
        if self.fd < 0:
            return False
        if self.buffered:
            self.buffered = self.transport.get_write_buffer_size() > 0
        return not self.buffered

    cdef ssize_t taken(self, ssize_t sent) except -1:
        """How much of a write the kernel took, where it did not take all; the rest is for the transport."""
        if sent < 0:
            if errno != EAGAIN:
                self.state = CLOSED  # the client has left
                self.fd = -1
                self.transport.abort()
            sent = 0
        self.buffered = True
        return sent

    cdef int put(self, bytes data) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef ssize_t sent = 0
        self.provider.sent_bytes += size
        if self.direct():
            sent = send(self.fd, PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == size:
                return 0
            sent = self.taken(sent)
        if self.state != CLOSED:
            self.transport.write(memoryview(data)[sent:] if sent else data)
        return 0

    cdef int put_batch(self, list batch) except -1:
        cdef iovec pieces[BATCH + 2]
        cdef msghdr message
        cdef Py_ssize_t i, count = len(batch), size = 0
        cdef ssize_t sent = 0
        cdef bytes data
        if count == 1:
            return self.put(<bytes>batch[0])
        for i in range(count):
            data = <bytes>batch[i]
            pieces[i].iov_base = PyBytes_AS_STRING(data)
            pieces[i].iov_len = PyBytes_GET_SIZE(data)
            size += PyBytes_GET_SIZE(data)
        self.provider.sent_bytes += size
        if self.direct():
            memset(&message, 0, sizeof(message))
            message.msg_iov = pieces
            message.msg_iovlen = count
            sent = sendmsg(self.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == size:
                return 0
            sent = self.taken(sent)
        if self.state != CLOSED:
            data = b"".join(batch)
            self.transport.write(memoryview(data)[sent:] if sent else data)
        return 0
