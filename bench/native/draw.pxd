from libc.stdint cimport uint64_t

cdef class Random:
    cdef uint64_t state
    cdef double spare           # the second of a pair of normal deviates
    cdef bint has_spare
    cdef uint64_t bits(self) noexcept
    cdef double unit(self) noexcept
    cdef double normal(self) noexcept

cdef class Draw:
    cdef readonly str kind
    cdef readonly double a, b
    cdef int code
    cdef double sigma
    cdef double next(self, Random random) noexcept
