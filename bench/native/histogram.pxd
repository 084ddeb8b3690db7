from libc.stdint cimport int64_t

cdef enum:
    SLOTS = 33_792          # up to 2**42 ns, an hour and more

cdef class Histogram:
    cdef int64_t counts[SLOTS]
    cdef readonly int64_t count, minimum, maximum, total
    cdef void add(self, int64_t value) noexcept
