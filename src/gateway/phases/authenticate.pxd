from gateway.base.context cimport Compiled, Context, KeyEntry

cdef class Authenticator:
    cdef bytes _pepper
    cdef object _digest
    cpdef authenticate(self, Context ctx)
