"""Whether a JSON text has come to its end; see the stub.

A bracket counts outside of strings, and a string ends at a quote with no backslash before it that is not itself escaped.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

cdef extern from "<string.h>" nogil:
    void* memchr(const void* text, int byte, size_t size)


@cython.final
cdef class Whole:
    def feed(self, bytes data not None):
        self.take(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    @property
    def whole(self):
        return self.ended()

    cdef bint ended(self) noexcept:
        return self.begun and not self.in_string and self.depth == 0

    cdef void reset(self) noexcept:
        self.depth = 0
        self.begun = self.in_string = self.escaped = False

    cdef void take(self, const char* data, Py_ssize_t size) noexcept:
        cdef const char* at = data
        cdef const char* end = data + size
        cdef const char* quote = data       # the next one, if it is not behind `at`
        cdef const char* slash
        cdef char byte
        while at < end:
            if self.escaped:
                self.escaped = False
                at += 1
            elif self.in_string:
                if quote < at:
                    quote = at
                if quote < end and quote[0] != c'"':
                    quote = <const char*>memchr(quote, c'"', end - quote)
                    if quote == NULL:
                        quote = end
                slash = <const char*>memchr(at, c"\\", quote - at)
                if slash != NULL:
                    self.escaped = True
                    at = slash + 1
                elif quote < end:
                    self.in_string = False
                    at = quote + 1
                else:
                    at = end
            else:
                byte = at[0]
                at += 1
                if byte == c'"':
                    self.begun = self.in_string = True
                elif byte == c"{" or byte == c"[":
                    self.begun = True
                    self.depth += 1
                elif byte == c"}" or byte == c"]":
                    self.depth -= 1
                elif byte > c" " or byte < 0:
                    self.begun = True
