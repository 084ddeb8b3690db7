cimport cython
from libc.stdint cimport int64_t

from _fastpath.http1 cimport ChunkedDecoder, ResponseHead
from _fastpath.wheel cimport Timer, Wheel

@cython.final
cdef class UpstreamConnection(Timer):
    cdef Wheel wheel
    cdef object pool                           # told of `released(connection)` and `lost(connection)`
    cdef object transport
    cdef object sink                           # who takes the response of the request under way
    cdef ResponseHead head
    cdef ChunkedDecoder decoder
    cdef int state
    cdef int kind                              # how the body is framed
    cdef int64_t remaining
    cdef bytes waiting
    cdef str method
    cdef int64_t gap_ns, total_deadline_ns
    cdef bint read_paused, write_paused, reusable, got_bytes
    cdef bint peer_ended                       # in an orderly way
    cdef readonly int64_t keep_alive_ms        # how long the provider says it keeps an idle connection; 0: it says nothing
    cdef readonly int64_t requests             # carried so far, the one under way included
    cdef readonly int64_t idle_since_ns
    cdef readonly int64_t sent_ns              # when the request under way was written
    cdef readonly int64_t first_byte_ns        # when the first byte of its response came; 0 before
    cdef readonly int64_t last_byte_ns
    cpdef bint is_stale(self) except -1
    cpdef rest(self, int64_t idle_ms)
    cpdef send(self, parts, sink, str method, int64_t first_byte_ms, int64_t gap_ms, int64_t total_deadline_ns)
    cdef _received(self, bytes data)
    cdef _read_head(self, bytes data)
    cdef _read_body(self, bytes data, Py_ssize_t start)
    cdef _complete(self, bint more)
    cdef _give_back(self)
    cdef _end_with_connection(self)
    cdef _protocol_error(self, str reason)
    cdef _fail(self, str kind, str message)
    cdef void _arm_gap(self, int64_t from_ns)
