cdef class Spool:
    cdef object _on_dropped, _segments, _writer, _put
    cpdef append(self, bytes record)
