cimport cython
from libc.stdint cimport int64_t

from _fastpath.shm cimport NodeMemory, Row, Share

cdef enum:
    MAX_SCOPES = 8

cdef struct Rate:
    int64_t per_minute         # -1: unlimited
    int64_t remainder          # of the charges so far, in 1/per_minute ns
    int64_t charged_ns         # by the running `admit`
    int64_t remainder_before   # the running `admit`

# A row as this process knows it: good while the row's epoch is still the one noted here.
cdef struct Place:
    int64_t key[2]
    Row *row
    Share *share               # this slot's, in the row
    int64_t epoch

# One scope of a plan.
cdef struct Lane:
    Rate requests
    Rate tokens
    int64_t concurrency
    int64_t budget_nano
    int64_t period
    int64_t reserved_nano      # by the running `admit`
    Place scope                # rates and concurrency
    Place money                # what was spent and is reserved in the period; the same as `scope` in period 0

cdef class Scope:
    cdef bytes _scope_id
    cdef Lane _limits

cdef class Table:
    cdef NodeMemory _memory
    cdef int _slot
    cdef int _slots
    cdef int64_t _window
    cdef int _key_of(self, bytes scope_id, int64_t period, int64_t *key) except -1
    cdef inline Row *_probe(self, int64_t *key, int64_t i) noexcept nogil:
        return self._memory.row_at(<int64_t>((<unsigned long long>key[0] + <unsigned long long>i)
                                             % <unsigned long long>self._memory._limit_rows))
    cdef bint _find(self, Place *place) noexcept nogil
    cdef int _place_lane(self, Lane *lane, int64_t now_ns) except -1
    cdef int _claim(self, Place *place, int64_t *home, int64_t period, int64_t now_ns) except -1
    cdef bint _claim_locked(self, Place *place, int64_t *home, int64_t period, int64_t now_ns) noexcept nogil
    cdef bint _hand_over(self, Row *row, int64_t *key, int64_t *home, int64_t period, int64_t now_ns) noexcept nogil
    cdef bint _idle(self, Row *row, int64_t now_ns) noexcept nogil
    cdef bint _period_is_over(self, Row *row) noexcept nogil
    cdef void _note(self, Place *place, Row *row, int64_t epoch) noexcept nogil

@cython.final
cdef class Plan:
    cdef Table _table
    cdef int _count
    cdef Lane _lanes[MAX_SCOPES]
    cdef readonly int refused_scope
    cdef readonly int64_t retry_after_ms
    cdef readonly int64_t clock_ns

    cpdef int admit(self, int64_t tokens, int64_t nano_usd) except -1
    cpdef settle(self, int64_t reserved_tokens, int64_t tokens, int64_t reserved_nano_usd, int64_t nano_usd)
    cpdef cancel(self, int64_t tokens, int64_t nano_usd)
    cpdef bytes limit_fields(self)
    cpdef int admit_at(self, int64_t now_ns, int64_t tokens, int64_t nano_usd) except -1
    cdef int _admit_once(self, int64_t now_ns, int64_t tokens, int64_t nano_usd) noexcept nogil
    cdef int _place(self, int64_t now_ns) except -1
    cdef Row *_row_of(self, Place *place) noexcept nogil
