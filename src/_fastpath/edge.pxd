from libc.stdint cimport int64_t

from _fastpath.http1 cimport ChunkedDecoder, RequestHead
from _fastpath.wheel cimport Timer, Wheel

cdef class Edge:
    cdef Wheel wheel
    cdef object loop, on_request, on_head, on_refusal
    cdef public object refusal_fields
    cdef int64_t head_limit, body_limit, all_bodies_limit, max_in_flight, max_connections
    cdef int64_t head_ns, body_gap_ns, body_ns, body_byte_ns, idle_ns, write_ns, write_byte_ns
    cdef set _connections
    cdef int64_t arriving                      # connections that were accepted and do not stand yet
    cdef bytes date_line
    cdef int64_t date_until_ns
    cdef readonly bint retiring, draining
    cdef readonly int64_t in_flight            # requests taken and not yet answered
    cdef readonly int64_t body_bytes           # of bodies, from their first byte to the end of the answer
    cdef readonly int64_t requests             # handed to the application, ever
    cdef readonly int64_t timeouts
    cdef readonly int64_t refused_connections
    cdef bytes date(self, int64_t now_ns)
    cdef _report(self, error)

cdef class Exchange:
    cdef EdgeConnection connection
    cdef int state
    cdef bint chunked, mute
    cdef bint until_close                      # the body ends with the connection
    cdef int64_t unwritten                     # of the length announced; -1 where none was
    cdef bytes unsent
    cdef readonly str method, path
    cdef readonly bytes query
    cdef readonly bytes body
    cdef readonly int64_t received_ns
    cdef public object on_disconnect, on_drain
    cdef public str client
    cdef _send(self, EdgeConnection connection, bytes data, bint last)
    cdef _send_large(self, EdgeConnection connection, bytes head, bytes data, bint last)

cdef class EdgeConnection(Timer):
    cdef Edge edge
    cdef str client                            # whose connection it is, where a proxy is trusted to tell; else None
    cdef object transport
    cdef RequestHead head
    cdef Exchange exchange                     # the one being received or answered
    cdef int state
    cdef bytes waiting                         # bytes not yet parsed
    cdef bint waited                           # `waiting` is an incomplete head, which was read so far
    cdef list parts
    cdef int64_t parts_bytes
    cdef ChunkedDecoder decoder
    cdef int64_t began_ns
    cdef int64_t closed_ns                     # when it was to close
    cdef int64_t paused_ns                     # when the client had last fallen behind
    cdef int64_t offered                       # bytes that it had not taken then
    cdef int64_t untaken                       # the same when the write time-out was last armed
    cdef bint close_after, read_paused, write_paused
    cdef _read(self, bytes buf)
    cdef _await_body(self, Exchange exchange, bytes buf, Py_ssize_t start)
    cdef _read_body(self, bytes data, Py_ssize_t start)
    cdef _keep_part(self, bytes part)
    cdef _hand_over(self, Exchange exchange)
    cdef _crashed(self, Exchange exchange, error)
    cdef _keep_waiting(self, bytes data)
    cdef _go_on(self)
    cdef _resume_reading(self)
    cdef bint will_close(self) noexcept
    cdef bytes persistence(self)
    cdef answer(self, Exchange exchange, int status, bytes headers, bytes framing, bytes body)
    cdef finish(self, Exchange exchange)
    cdef break_off(self, Exchange exchange)
    cdef _release(self, Exchange exchange)
    cdef _leave(self, Exchange exchange)
    cdef _refuse(self, int status, str reason)
    cdef _linger(self)
    cdef _close(self)
    cdef str peer_name(self)
    cdef void _await(self)
    cdef bint _takes_enough(self) except -1
    cdef _time_out(self)
