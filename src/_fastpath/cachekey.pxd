cimport cython
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    MAX_DEPTH = 100             # of containers, the object itself included
    MAX_LEFT_OUT = 16           # names
    MAX_OPEN_MEMBERS = 65_536   # of all objects that are open at one point, together
    FIRST_SLOTS = 64            # members that need no memory but the stack's

cdef struct Keys:
    uint64_t nh[130]
    uint64_t k[2]               # of SipHash

@cython.final
cdef class CacheKeys:
    cdef Keys _keys
    cdef tuple _left_out

    cpdef bytes key(self, bytes body, bytes context)
    # private:
    cdef bint _leaves_out(self, const uint8_t* key, Py_ssize_t size) noexcept
