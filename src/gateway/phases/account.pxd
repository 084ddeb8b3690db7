cimport cython
from libc.stdint cimport int64_t

from _fastpath.metrics cimport Cell
from _fastpath.wheel cimport now_ns, unix_ms
from _fastpath.writer cimport Writer
from gateway.base.context cimport Context, KeyEntry, ModelEntry, RouteMetrics, TargetEntry
from _fastpath.usage cimport Usage

cdef class Accountant:
    cdef object _registry, _spool, _log
    cdef Writer _out
    cdef dict _requests
    cdef public int64_t tokens_in_flight
    cdef public Cell unpriced, estimated
    cpdef RouteMetrics route_metrics(self, Context ctx, TargetEntry target)
    cpdef settle(self, Context ctx)
    cdef _learn(self, Context ctx, calibration, Usage usage)
    cpdef release(self, Context ctx)
    @cython.locals(duration_us=int64_t, provider_us=int64_t, first_token_us=int64_t)
    cpdef finish(self, Context ctx)
    cdef bytes _record(
        self, Context ctx, Usage usage, int64_t duration_us, int64_t overhead_us, int64_t first_token_us
    )
    cdef _count_refusal(self, Context ctx)
    cpdef count(self, str endpoint, str model, str provider, str code)
