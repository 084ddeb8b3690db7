from libc.stdint cimport int64_t

cdef class LogWriter:
    cdef str _level
    cdef int _threshold
    cdef bint _requests
    cdef object _lines, _writer, _put
    cdef int64_t _prefix_ms
    cdef bytes _prefix
    cpdef request(self, bytes record, str error=*)
