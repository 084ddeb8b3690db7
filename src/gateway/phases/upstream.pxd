from libc.stdint cimport int64_t

from _fastpath.wheel cimport now_ns
from gateway.base.context cimport Context, TargetEntry

cdef class Waiter:
    cdef public bint cancelled
    cdef public int64_t deadline_ns
    cdef Context _ctx
    cdef object _parts, _sink

cpdef begin(Context ctx, object parts, object sink)
cdef _send(Context ctx, object connection, object parts, object sink)
cpdef cancel(Context ctx)
