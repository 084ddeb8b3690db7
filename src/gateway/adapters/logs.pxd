from _fastpath.wheel cimport unix_ms
from _fastpath.writer cimport Writer

cdef class LogWriter:
    cdef str _level
    cdef int _threshold
    cdef bint _requests
    cdef object _lines, _writer, _put
    cdef Writer _out
    cpdef request(self, bytes record, str error=*)
