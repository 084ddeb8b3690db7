from libc.stdint cimport int64_t

cdef int64_t monotonic_ns() noexcept nogil
cpdef int64_t now_ns() noexcept
cpdef int64_t unix_ms() noexcept

cdef class Timer:
    """A deadline in a wheel. Subclass it natively and override `expire`, or make one with a Python callback."""
    cdef Timer _prev
    cdef Timer _next
    cdef Wheel _wheel               # None while it stands in no slot
    cdef readonly int64_t deadline_ns# 0: disarmed
    cdef int64_t _slot_tick         # the tick in whose slot it stands
    cdef object _callback
    cdef void expire(self)

cdef class Wheel:
    cdef list _slots
    cdef int64_t _mask
    cdef int64_t _tick_ns
    cdef int64_t _tick                # the last tick that was run
    cdef readonly int64_t armed
    cdef object _loop
    cdef object _handle
    cdef bint _closed
    cdef readonly int64_t now_ns      # stamped at each tick
    cdef void arm(self, Timer timer, int64_t deadline_ns)
    cdef void disarm(self, Timer timer) noexcept
    cdef void forget(self, Timer timer) noexcept   # disarms and unlinks: the wheel keeps no reference
    cdef _run_slot(self, Timer head, int64_t now_ns)
    cdef _meet(self, Timer timer, int64_t now_ns)
    cdef void _take(self, Timer timer) noexcept
    cdef _put_back(self, Timer timer)
    cdef void _insert(self, Timer timer, int64_t deadline_ns)
