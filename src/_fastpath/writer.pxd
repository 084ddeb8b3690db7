cimport cython
from libc.stdint cimport int64_t

@cython.final
cdef class Writer:
    cdef char* _data
    cdef Py_ssize_t _size, _capacity
    cdef char* room(self, Py_ssize_t size) except NULL    # for so many bytes, behind what was written
    cpdef Writer raw(self, bytes piece, Py_ssize_t start=*)
    cpdef Writer text(self, str piece)
    cpdef Writer json(self, str piece)
    cpdef Writer number(self, int64_t value)
    cpdef Writer usd(self, int64_t nano_usd)
    cpdef Writer utc(self, int64_t unix_ms)
    cpdef Writer begin(self)
    cpdef bytes take(self)

@cython.final
cdef class Ids:
    cdef bytes _prefix
    cdef int64_t _count
    cpdef str next(self)
