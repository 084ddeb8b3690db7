cimport cython
from libc.stdint cimport int64_t

@cython.final
cdef class Gatherer:
    cdef list _items
    cdef readonly int64_t weight    # of the items that wait
    cdef int64_t _max_weight
    cdef object _wake
    cdef readonly int64_t refused
    cpdef bint put(self, item, int64_t weight=*) except -1
