cimport cython
from libc.stdint cimport int64_t

from _fastpath.bucket cimport Plan
from _fastpath.wheel cimport unix_ms
from gateway.base.context cimport Compiled, Context, KeyEntry, ModelEntry

cdef class Admission:
    cdef object _table, _counter
    cdef dict _teams
    cpdef compile(self, KeyEntry entry)
    @cython.locals(plan=Plan)
    cpdef enter(self, Context ctx)
    cdef Plan _plan_of(self, KeyEntry entry)
    @cython.locals(
        plan=Plan, bound=int64_t, tokens=int64_t, prompt=int64_t, counted=int64_t, refused=int, nano_usd=int64_t
    )
    cpdef admit(self, Context ctx)
    cdef _pass_over(self, Context ctx, int64_t counted)

cpdef ModelEntry find_model(Compiled compiled, KeyEntry entry, str name)
