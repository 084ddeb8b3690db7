from libc.stdint cimport uint8_t

cdef void siphash128(const uint8_t* key, const uint8_t* data, Py_ssize_t size, uint8_t* out) noexcept nogil

cdef class Digester:
    cdef uint8_t[16] _key
