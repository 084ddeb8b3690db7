"""The client's side of many connections; see the stub.

Rules.
- A connection carries one request at a time.
- What is counted was to be sent in the measured time; all else is played and forgotten.
- A stream is whole when its dialect's terminal came and its framing ended well. Text cannot look like a terminal: in JSON its quotes
  are escaped. An answer in JSON is whole when its framing ended well and its first value did.
- A request's deadline is looked at when the agenda comes to it: the connection stands there with an older one, and is put back.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, errno
from libc.stdint cimport int64_t

from _fastpath.http1 cimport (
    BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, BODY_NONE, K_CONTENT_ENCODING, K_CONTENT_TYPE,
    ChunkedDecoder, ResponseHead, Span, parse_response_into,
)
from bench.native.agenda cimport Agenda, Task, clock_ns
from bench.native.draw cimport Draw, Random
from bench.native.histogram cimport Histogram
from bench.native.whole cimport Whole

cdef extern from "<string.h>" nogil:
    void* memmem(const void* text, size_t size, const void* word, size_t word_size)
    void* memchr(const void* text, int byte, size_t size)
    int memcmp(const void* a, const void* b, size_t size)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void* data, size_t size, int flags)
    const int MSG_NOSIGNAL
    const int MSG_DONTWAIT

from collections import deque

from _fastpath.http1 import ProtocolError

cdef enum State:
    FRESH
    IDLE
    SENT        # the answer's head is not complete
    BODY
    CLOSED

cdef enum Dialect:
    NONE, OPENAI, ANTHROPIC, GEMINI

cdef enum:
    HEAD_LIMIT = 65_536
    EVENT_LIMIT = 8_388_608     # of an event that is not complete
    QUEUE_LIMIT = 4_000_000     # requests that wait for a connection
    NS_PER_MS = 1_000_000

cdef tuple DIALECTS = ("none", "openai", "anthropic", "gemini")


cdef inline bint has(const char* text, Py_ssize_t size, const char* word, Py_ssize_t word_size) noexcept nogil:
    return memmem(text, size, word, word_size) != NULL


cdef inline bint begins(const char* text, Py_ssize_t size, const char* word, Py_ssize_t word_size) noexcept nogil:
    return size >= word_size and memcmp(text, word, word_size) == 0


cdef bint has_text(const char* text, Py_ssize_t size, const char* key, Py_ssize_t key_size) noexcept nogil:
    """Whether the member `key` (with its quotes and colon) is a string that is not empty, anywhere in `text`."""
    cdef const char* end = text + size
    cdef const char* at = text
    while True:
        at = <const char*>memmem(at, end - at, key, key_size)
        if at == NULL:
            return False
        at += key_size
        if at < end and at[0] == c" ":
            at += 1
        if end - at >= 2 and at[0] == c'"' and at[1] != c'"':
            return True


@cython.final
cdef class Payload:
    def __init__(self, bytes request not None, double weight, str dialect not None, bint streams):
        self.request = request
        self.weight = weight
        self.dialect = DIALECTS.index(dialect)
        self.streams = streams


@cython.final
cdef class Load(Task):
    def __init__(
        self, Agenda agenda not None, seed, payloads, Draw interval_ns, double timeout_ms, on_lost, bint tls
    ):
        cdef Payload payload
        self.agenda = agenda
        self.random = Random(seed)
        self.payloads = list(payloads)
        for payload in self.payloads:
            self.weights += payload.weight
        self.interval_ns = interval_ns
        self.timeout_ns = <int64_t>(timeout_ms * NS_PER_MS)
        self.on_lost = on_lost
        self.tls = tls
        self.callers = set()
        self.idle = deque()
        self.queue = deque()
        self.latency = Histogram()
        self.first = Histogram()
        self.gap = Histogram()
        self.duration = Histogram()
        self.lag = Histogram()
        self.failures = {}
        self.statuses = {}

    def accept(self):
        cdef Caller caller = Caller.__new__(Caller)
        caller.load = self
        caller.fd = -1
        caller.head = ResponseHead.__new__(ResponseHead)
        caller.text = Whole.__new__(Whole)
        return caller

    @property
    def pending(self):
        return self.busy + len(self.queue)

    def start(self, int64_t begin_ns, int64_t from_ns, int64_t until_ns):
        cdef Caller caller
        self.from_ns = from_ns
        self.until_ns = until_ns
        if self.interval_ns is not None:
            self.next_ns = begin_ns
            self.agenda.set(self, begin_ns)
            return
        idle, self.idle = self.idle, deque()
        for caller in idle:
            self.free(caller, clock_ns())

    def stop(self):
        self.stopped = True
        self.agenda.drop(self)
        while self.queue:
            self.unsent += 1
            self.fail("unsent", self.queue.popleft())

    def close(self):
        cdef Caller caller
        self.stop()
        for caller in self.callers:
            caller.state = CLOSED
            caller.fd = -1
            caller.transport.abort()

    def refused(self):
        if not self.stopped and self.until_ns:
            self.fail("connect", clock_ns())

    cdef Payload choose(self):
        cdef Payload payload
        cdef double at
        if len(self.payloads) == 1:
            return <Payload>self.payloads[0]
        at = self.random.unit() * self.weights
        for payload in self.payloads:
            at -= payload.weight
            if at < 0:
                return payload
        return payload

    cdef int run(self, int64_t now_ns) except -1:
        """The schedule has come to the next requests."""
        cdef int64_t due_ns = <int64_t>self.next_ns
        while due_ns <= now_ns and due_ns < self.until_ns:
            if self.counts(due_ns):
                self.lag.add(clock_ns() - due_ns)
            self.launch(due_ns)
            self.next_ns += self.interval_ns.next(self.random)
            due_ns = <int64_t>self.next_ns
        if due_ns < self.until_ns and not self.stopped:
            self.agenda.set(self, due_ns)
        return 0

    cdef int launch(self, int64_t intended_ns) except -1:
        cdef Caller caller
        while self.idle:
            caller = <Caller>self.idle.popleft()  # all take their turn
            if caller.state == IDLE:
                return caller.send(self.choose(), intended_ns, clock_ns())
        if self.counts(intended_ns):
            self.waited += 1
        if len(self.queue) >= QUEUE_LIMIT:
            self.unsent += 1
            return self.fail("unsent", intended_ns)
        self.queue.append(intended_ns)
        return 0

    cdef int free(self, Caller caller, int64_t now_ns) except -1:
        """A connection has nothing to do."""
        if self.queue:
            return caller.send(self.choose(), self.queue.popleft(), now_ns)
        if self.interval_ns is None and self.until_ns and now_ns < self.until_ns and not self.stopped:
            return caller.send(self.choose(), now_ns, now_ns)
        self.idle.append(caller)
        return 0

    cdef bint counts(self, int64_t intended_ns) noexcept:
        return self.from_ns <= intended_ns < self.until_ns

    cdef int fail(self, str kind, int64_t intended_ns) except -1:
        if self.counts(intended_ns):
            self.failures[kind] = self.failures.get(kind, 0) + 1
        return 0


@cython.final
cdef class Caller(Task):
    # -- asyncio.Protocol

    def connection_made(self, transport):
        self.transport = transport
        self.state = IDLE
        self.load.callers.add(self)
        if not self.load.tls:
            self.fd = transport.get_extra_info("socket").fileno()
        self.load.free(self, clock_ns())

    def connection_lost(self, exception):
        cdef int state = self.state
        self.state = CLOSED
        self.fd = -1
        self.transport = None
        self.load.callers.discard(self)
        self.load.agenda.drop(self)
        if state == SENT:
            self.give_up("cut" if self.got_bytes else "closed")
        elif state == BODY and self.kind == BODY_CLOSE and exception is None:
            self.complete(clock_ns())
        elif state == BODY:
            self.give_up("cut")
        if not self.load.stopped:
            self.load.reconnects += 1
            self.load.on_lost()

    def eof_received(self):
        return False

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass

    def data_received(self, bytes data not None):
        cdef int64_t now_ns = clock_ns()
        if self.counted:
            self.load.received_bytes += PyBytes_GET_SIZE(data)
        try:
            self.received(data, now_ns)
        except ProtocolError:
            self.give_up("protocol")

    # -- asking

    cdef int send(self, Payload payload, int64_t intended_ns, int64_t now_ns) except -1:
        cdef Load load = self.load
        self.payload = payload
        self.intended_ns = intended_ns
        self.counted = load.counts(intended_ns)
        self.state = SENT
        self.got_bytes = self.streamed = self.in_json = self.terminal = self.broken = False
        self.waiting = None
        self.tail = None
        self.events = 0
        self.token_ns = 0
        self.deadline_ns = intended_ns + load.timeout_ns
        load.busy += 1
        if self.counted:
            load.sent += 1
        if self.place < 0:
            load.agenda.set(self, max(self.deadline_ns, now_ns))
        return self.write(payload.request)

    cdef int write(self, bytes data) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef ssize_t taken = 0
        if self.fd >= 0:
            if self.buffered:
                self.buffered = self.transport.get_write_buffer_size() > 0
            if not self.buffered:
                taken = send(self.fd, PyBytes_AS_STRING(data), size, MSG_DONTWAIT | MSG_NOSIGNAL)
                if taken == size:
                    return 0
                if taken < 0:
                    if errno != EAGAIN:
                        self.transport.abort()  # `connection_lost` says what became of the request
                        return 0
                    taken = 0
                self.buffered = True
        self.transport.write(memoryview(data)[taken:] if taken else data)
        return 0

    cdef int run(self, int64_t now_ns) except -1:
        """The agenda has come to a deadline, which may have moved."""
        if self.state != SENT and self.state != BODY:
            return 0
        if now_ns < self.deadline_ns:
            self.load.agenda.set(self, self.deadline_ns)
            return 0
        return self.give_up("timeout")

    # -- reading

    cdef int received(self, bytes data, int64_t now_ns) except -1:
        cdef ResponseHead head = self.head
        cdef Py_ssize_t start = 0, used
        cdef Span* span
        if self.state == BODY:
            return self.take(data, 0, now_ns)
        if self.state != SENT:
            if self.state == IDLE:
                self.state = CLOSED
                self.transport.abort()
            return 0
        self.got_bytes = True
        if self.waiting is not None:
            data = self.waiting + data
            self.waiting = None
        while True:
            used = parse_response_into(head, data, start, HEAD_LIMIT)
            if used == 0:
                self.waiting = data[start:]
                return 0
            start += used
            if head.status >= 200:
                break
        self.kind = head.body_kind_code("POST")
        self.remaining = head.content_length if self.kind == BODY_LENGTH else 0
        if self.kind == BODY_CHUNKED:
            if self.decoder is None:
                self.decoder = ChunkedDecoder(502)
            else:
                self.decoder.reset()
        if head.status < 300 and head.known[<int>K_CONTENT_TYPE] >= 0:
            span = &head.values[head.known[<int>K_CONTENT_TYPE]]
            self.streamed = begins(PyBytes_AS_STRING(head.buf) + span.start, span.size, b"text/event-stream", 17)
            if head.known[<int>K_CONTENT_ENCODING] < 0 and self.kind != BODY_NONE:
                self.in_json = begins(PyBytes_AS_STRING(head.buf) + span.start, span.size, b"application/json", 16)
                self.text.reset()
        self.state = BODY
        return self.take(data, start, now_ns)

    cdef int take(self, bytes data, Py_ssize_t start, int64_t now_ns) except -1:
        """A part of the body."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), end = size
        cdef bint last = False
        cdef bytes piece
        if self.kind == BODY_CHUNKED:
            pieces = []
            end = self.decoder.feed_into(data, start, pieces)
            last = self.decoder.done
            for piece in pieces:
                self.look(PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece), now_ns)
        else:
            if self.kind == BODY_LENGTH:
                end = min(size, start + self.remaining)
                self.remaining -= end - start
                last = self.remaining == 0
            elif self.kind == BODY_NONE:
                end = start
                last = True
            if end > start:
                self.look(PyBytes_AS_STRING(data) + start, end - start, now_ns)
        if not last:
            return 0
        if end < size:
            return self.give_up("protocol")
        return self.complete(now_ns)

    cdef int look(self, const char* data, Py_ssize_t size, int64_t now_ns) except -1:
        """What came of the body, without its framing."""
        if self.streamed:
            return self.read_events(data, size, now_ns)
        if self.in_json:
            self.text.take(data, size)
        return 0

    cdef int read_events(self, const char* data, Py_ssize_t size, int64_t now_ns) except -1:
        """Finds the blank lines behind events. What follows the last one is kept."""
        cdef bytes joined
        cdef const char* end
        cdef const char* begin
        cdef const char* line
        cdef Py_ssize_t seen = 0
        if self.tail is not None:
            seen = max(PyBytes_GET_SIZE(self.tail) - 3, <Py_ssize_t>0)
            joined = self.tail + PyBytes_FromStringAndSize(data, size)
            self.tail = None
            data = PyBytes_AS_STRING(joined)
            size = PyBytes_GET_SIZE(joined)
        begin = data
        end = data + size
        line = data + seen
        while True:
            line = <const char*>memchr(line, c"\n", end - line)
            if line == NULL:
                break
            line += 1
            if line < end and line[0] == c"\n":
                self.judge(begin, line - begin, now_ns)
                line += 1
                begin = line
            elif end - line >= 2 and line[0] == c"\r" and line[1] == c"\n":
                self.judge(begin, line - begin, now_ns)
                line += 2
                begin = line
        if begin < end:
            if end - begin > EVENT_LIMIT:
                raise ProtocolError(502, "an event without end")
            self.tail = PyBytes_FromStringAndSize(begin, end - begin)
        return 0

    cdef int judge(self, const char* event, Py_ssize_t size, int64_t now_ns) except -1:
        """An event: is it the terminal, an error, text?"""
        cdef int dialect = self.payload.dialect
        cdef bint text = False
        if event[0] == c":":
            return 0
        self.events += 1
        if begins(event, size, b"event: error", 12) or begins(event, size, b'data: {"error"', 14):
            self.broken = True
        elif dialect == OPENAI:
            if begins(event, size, b"data: [DONE]", 12) or begins(event, size, b"data:[DONE]", 11):
                self.terminal = True
            else:
                text = (
                    has_text(event, size, b'"content":', 10)
                    or has_text(event, size, b'"reasoning_content":', 20)
                    or has(event, size, b'"tool_calls":', 13)
                )
        elif dialect == ANTHROPIC:
            if begins(event, size, b"event: message_stop", 19) or has(event, size, b'"type":"message_stop"', 21):
                self.terminal = True
            else:
                text = has(event, size, b'"content_block_delta"', 21)
        elif dialect == GEMINI:
            if has(event, size, b'"finishReason"', 14):
                self.terminal = True
            text = has_text(event, size, b'"text":', 7)
        else:
            text = True
        if text and self.counted:
            if self.token_ns == 0:
                self.load.first.add(now_ns - self.intended_ns)
            else:
                self.load.gap.add(now_ns - self.token_ns)
            self.token_ns = now_ns
        return 0

    # -- the end

    cdef int complete(self, int64_t now_ns) except -1:
        """The answer's framing has ended well."""
        cdef Load load = self.load
        cdef bint alive = self.state == BODY
        load.busy -= 1
        if self.counted:
            load.events += self.events
            if self.head.status >= 300:
                load.statuses[self.head.status] = load.statuses.get(self.head.status, 0) + 1
                load.fail("status", self.intended_ns)
            elif self.payload.streams and not self.streamed:
                load.fail("protocol", self.intended_ns)
            elif self.streamed and self.broken:
                load.fail("error_event", self.intended_ns)
            elif self.streamed and not self.terminal and self.payload.dialect != NONE:
                load.fail("no_terminal", self.intended_ns)
            elif self.in_json and not self.text.ended():
                load.fail("half_json", self.intended_ns)
            else:
                load.answered += 1
                load.latency.add(now_ns - self.intended_ns)
                if self.streamed:
                    load.duration.add(now_ns - self.intended_ns)
        if not alive:
            return 0
        if not self.head.keep_alive or self.kind == BODY_CLOSE:
            self.state = CLOSED
            self.fd = -1
            self.transport.abort()
            return 0
        self.state = IDLE
        return load.free(self, now_ns)

    cdef int give_up(self, str kind) except -1:
        """The request has failed, and its connection is of no use."""
        cdef Load load = self.load
        load.busy -= 1
        if self.counted:
            load.events += self.events
        load.fail(kind, self.intended_ns)
        self.state = CLOSED
        self.fd = -1
        if self.transport is not None:
            self.transport.abort()
        return 0
