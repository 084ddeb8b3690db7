from libc.stdint cimport int64_t

from _fastpath.http1 cimport ChunkedDecoder, ResponseHead
from bench.native.agenda cimport Agenda, Task
from bench.native.draw cimport Draw, Random
from bench.native.histogram cimport Histogram
from bench.native.whole cimport Whole

cdef class Payload:
    cdef bytes request          # head and body
    cdef int dialect
    cdef double weight
    cdef bint streams

cdef class Load(Task):
    cdef Agenda agenda
    cdef Random random
    cdef list payloads
    cdef double weights
    cdef Draw interval_ns       # None: a closed loop
    cdef object on_lost
    cdef bint tls
    cdef int64_t timeout_ns
    cdef set callers            # all that are connected
    cdef object idle
    cdef object queue           # of intended times that wait for a connection
    cdef double next_ns
    cdef int64_t from_ns, until_ns
    cdef bint stopped
    cdef readonly Histogram latency, first, gap, duration, lag
    cdef readonly int64_t busy
    cdef readonly int64_t sent, answered, events, received_bytes, waited, unsent, reconnects
    cdef readonly dict failures, statuses
    cdef Payload choose(self)
    cdef int launch(self, int64_t intended_ns) except -1
    cdef int free(self, Caller caller, int64_t now_ns) except -1
    cdef bint counts(self, int64_t intended_ns) noexcept
    cdef int fail(self, str kind, int64_t intended_ns) except -1

cdef class Caller(Task):
    cdef Load load
    cdef object transport
    cdef int fd
    cdef int state
    cdef bint buffered
    cdef ResponseHead head
    cdef ChunkedDecoder decoder
    cdef bytes waiting
    cdef int kind
    cdef int64_t remaining
    # of the request under way
    cdef Payload payload
    cdef int64_t intended_ns, deadline_ns, token_ns
    cdef bint counted, got_bytes, streamed, in_json, terminal, broken
    cdef int64_t events
    cdef Whole text             # of an answer in JSON
    cdef bytes tail             # of an event that is not complete
    cdef int send(self, Payload payload, int64_t intended_ns, int64_t now_ns) except -1
    cdef int write(self, bytes data) except -1
    cdef int received(self, bytes data, int64_t now_ns) except -1
    cdef int take(self, bytes data, Py_ssize_t start, int64_t now_ns) except -1
    cdef int look(self, const char* data, Py_ssize_t size, int64_t now_ns) except -1
    cdef int read_events(self, const char* data, Py_ssize_t size, int64_t now_ns) except -1
    cdef int judge(self, const char* event, Py_ssize_t size, int64_t now_ns) except -1
    cdef int complete(self, int64_t now_ns) except -1
    cdef int give_up(self, str kind) except -1
