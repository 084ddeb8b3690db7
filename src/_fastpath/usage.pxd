cimport cython
from libc.stdint cimport int64_t

@cython.final
cdef class Usage:
    cdef public int64_t input, output, cache_read, cache_write, reasoning, input_audio, output_audio, calls
    cdef public bint estimated

cpdef Usage charged(Usage told, int64_t prompt, int64_t made, int64_t media, bint complete)

# Prices in nano-USD a million tokens; -1 where a kind has none of its own.
@cython.final
cdef class Rates:
    cdef readonly int64_t input, output, cache_read, cache_write, input_audio, output_audio, request_nano_usd
    cpdef int64_t cost(self, Usage usage) noexcept
    cpdef int64_t most(self, int64_t input, int64_t output) noexcept
