from libc.stdint cimport int64_t

from _fastpath.http1 cimport ChunkedDecoder, RequestHead
from _fastpath.wheel cimport Timer, Wheel

cdef class Edge:
    cdef Wheel wheel
    cdef object on_request, on_head, on_refusal, loop_call_soon
    cdef int64_t head_limit, body_limit, all_bodies_limit, max_in_flight, max_connections
    cdef int64_t head_ns, body_gap_ns, idle_ns, write_ns
    cdef set _connections
    cdef bytes date_line
    cdef int64_t date_until_ns
    cdef readonly bint draining
    cdef readonly int64_t in_flight            # requests taken and not yet answered
    cdef readonly int64_t body_bytes           # of bodies that are being received
    cdef readonly int64_t requests             # handed to the application, ever
    cdef readonly int64_t timeouts
    cdef readonly int64_t refused_connections
    cdef bytes date(self, int64_t now_ns)

cdef class Exchange:
    cdef EdgeConnection connection
    cdef int state
    cdef bint chunked, mute
    cdef bytes unsent
    cdef readonly str method, path
    cdef readonly bytes query
    cdef readonly bytes body
    cdef readonly int64_t received_ns
    cdef public object on_disconnect, on_drain
    cdef _send(self, EdgeConnection connection, bytes data, bint last)

cdef class EdgeConnection(Timer):
    cdef Edge edge
    cdef object transport
    cdef RequestHead head
    cdef Exchange exchange                     # the one being received or answered
    cdef int state
    cdef bytes waiting                         # bytes not yet parsed
    cdef int waited                            # a part of a head has come
    cdef list parts
    cdef int64_t parts_bytes
    cdef ChunkedDecoder decoder
    cdef int64_t began_ns
    cdef bint close_after, read_paused, write_paused
    cdef _read(self, bytes buf)
    cdef _await_body(self, Exchange exchange, bytes buf, Py_ssize_t start)
    cdef _read_body(self, bytes data, Py_ssize_t start)
    cdef _hand_over(self, Exchange exchange)
    cdef bint will_close(self) noexcept
    cdef answer(self, Exchange exchange, int status, bytes headers, bytes framing, bytes body)
    cdef finish(self, Exchange exchange)
    cdef break_off(self, Exchange exchange)
    cdef _release(self, Exchange exchange)
    cdef _leave(self, Exchange exchange)
    cdef void _drop_body(self) noexcept
    cdef _refuse(self, int status, str reason)
    cdef _linger(self)
    cdef _close(self)
    cdef str peer_name(self)
