from libc.stdint cimport int64_t

from _fastpath.wheel cimport now_ns
from gateway.base.context cimport Context, TargetEntry

cdef class Waiter:
    cdef public bint cancelled
    cdef public int64_t deadline_ns
    cdef Context _ctx
    cdef object _parts, _sink
    cdef str _method

cpdef begin(Context ctx, object parts, object sink, str method=*)
cdef _send(Context ctx, object connection, object parts, object sink, str method)
cpdef cancel(Context ctx)
