from libc.stdint cimport int64_t

from _fastpath.wheel cimport now_ns
from _fastpath.writer cimport Ids
from gateway.base.context cimport Compiled, Context, TargetEntry
from gateway.phases cimport route, transform, upstream
from gateway.phases.account cimport Accountant
from gateway.phases.admit cimport Admission
from gateway.phases.authenticate cimport Authenticator
from gateway.phases.relay cimport Relay

cdef class Pipeline:
    cdef Authenticator _authenticate
    cdef Accountant _accountant
    cdef object _report
    cdef object _response_ids
    cdef tuple _beside
    cdef Compiled _compiled
    cdef Admission _admit
    cdef Ids _ids
    cdef _govern(self, Context ctx, endpoint)
    cdef bint _count_here(self, Context ctx, endpoint) except -1
    cdef bint _attempt(self, Context ctx) except -1
    cdef _answer_itself(self, Context ctx)
    cpdef settle(self, Context ctx)
    cpdef release(self, Context ctx)
    cpdef finish(self, Context ctx)
    cpdef cancel(self, Context ctx)
    cpdef fault_of(self, str kind)
    cpdef bint retry(self, Context ctx, error) except -1
    cpdef refuse(self, Context ctx, error)
    cpdef crash(self, Context ctx, error)
