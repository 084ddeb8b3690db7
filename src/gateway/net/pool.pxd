from libc.stdint cimport int64_t

from _fastpath.upstream cimport UpstreamConnection
from _fastpath.wheel cimport Timer, Wheel, now_ns

cdef class UpstreamPool:
    cdef public str name
    cdef public Wheel wheel
    cdef object _loop, _dial
    cdef Py_ssize_t _max, _warm, _dialling
    cdef int64_t _connect_ms
    cdef list _idle
    cdef object _waiting
    cdef set _tasks, _open
    cdef bint _closed
    cdef Timer _warmer
    cdef public int64_t dialled, dial_failures
    cpdef UpstreamConnection take(self)
    cpdef released(self, UpstreamConnection connection)
    cpdef lost(self, UpstreamConnection connection)
