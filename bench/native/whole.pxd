cdef class Whole:
    cdef long depth
    cdef bint begun, in_string, escaped
    cdef void reset(self) noexcept
    cdef void take(self, const char* data, Py_ssize_t size) noexcept
    cdef bint ended(self) noexcept
