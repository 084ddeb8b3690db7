from libc.stdint cimport int64_t

from _fastpath.http1 cimport ChunkedDecoder, RequestHead
from bench.native.agenda cimport Agenda, Task
from bench.native.draw cimport Draw, Random

cdef class Answer:
    cdef bytes start            # status line and fields, but for what frames the body
    cdef bytes head             # all of it, with the blank line
    cdef list parts             # what follows, each a write of its own where it is paced
    cdef bytes end              # what closes a chunked body
    cdef bytes whole            # head, parts and end; None where that is too long to be kept twice
    cdef readonly bint streamed
    cdef readonly int64_t tokens

cdef class Fault:
    cdef int kind
    cdef double share, at
    cdef int64_t for_ns
    cdef bytes answer           # whole, of an error
    cdef bytes event            # in a stream

cdef class Route:
    cdef Draw latency_ms, gap_ms
    cdef list faults
    cdef list answers, streams, streams_with_usage
    cdef int streaming          # a Streaming
    cdef bytes fixed            # an answer to whatever is asked; None where the above answers
    cdef Fault pick(self, Random random)

cdef class Provider:
    cdef Agenda agenda
    cdef Random random
    cdef object resolve
    cdef dict routes
    cdef list freezes
    cdef int64_t began_ns
    cdef bint tls
    cdef int64_t connections, requests, answers, events, sent_bytes, left, refused   # ever
    cdef int64_t faults[6]
    cdef Route find(self, RequestHead head)
    cdef int64_t frozen_until(self, int64_t now_ns)

cdef class Connection(Task):
    cdef Provider provider
    cdef object transport
    cdef int fd                 # where to write beside the transport; -1 where that must not be
    cdef int state
    cdef RequestHead head
    cdef ChunkedDecoder decoder
    cdef bytes waiting
    cdef list body
    cdef int64_t body_bytes, remaining
    cdef bint reading           # inside `read`, which goes on by itself
    cdef bint buffered, paused, keep_alive
    # of the answer under way
    cdef Route route
    cdef Answer answer
    cdef Fault fault
    cdef list parts
    cdef bytes prefix, end
    cdef Py_ssize_t position, stop
    cdef int64_t next_ns
    cdef int read(self, bytes buf) except -1
    cdef Py_ssize_t read_one(self, bytes buf, Py_ssize_t at) except -2
    cdef int read_body(self, bytes data, Py_ssize_t start) except -1
    cdef int keep(self, bytes data) except -1
    cdef int complete(self, const char* body, Py_ssize_t size) except -1
    cdef int begin(self, int64_t now_ns) except -1
    cdef int pump(self, int64_t now_ns) except -1
    cdef int stopped(self, int64_t now_ns) except -1
    cdef int finish(self) except -1
    cdef bint direct(self) except -1
    cdef ssize_t taken(self, ssize_t sent) except -1
    cdef int put(self, bytes data) except -1
    cdef int put_batch(self, list batch) except -1
    cdef int refuse(self, int status, str reason) except -1
    cdef int reset(self) except -1
