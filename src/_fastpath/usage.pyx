"""What a call used, and what that costs, in integer nano-USD.

Sums are of 128 bits: tokens are at most 63 bits and so is a price. An amount is never negative, whatever a provider says of the
parts of its total, and at most MOST_NANO_USD, so that many of them can be added up in 64 bits.
"""

cimport cython
from libc.stdint cimport int64_t

cdef extern from * nogil:
    """
    typedef __int128 tw_wide;
    #define TW_MOST_NANO_USD ((int64_t)1 << 56)
    static inline tw_wide tw_times(int64_t a, int64_t b) { return (tw_wide)a * b; }
    /* A sum of prices a million, rounded up to whole ones, and what a request costs beside them. */
    static inline int64_t tw_total(tw_wide millionths, tw_wide base) {
        tw_wide whole = millionths / 1000000 + (millionths % 1000000 > 0) + base;
        return whole > TW_MOST_NANO_USD ? TW_MOST_NANO_USD : whole < 0 ? 0 : (int64_t)whole;
    }
    """
    ctypedef long long wide "tw_wide"    # of 128 bits
    wide times "tw_times" (int64_t a, int64_t b) noexcept
    int64_t total "tw_total" (wide millionths, wide base) noexcept


MOST_NANO_USD = 1 << 56

cdef enum:
    C_FEWEST = 16       # an answer of this many times fewer tokens than were counted is none


@cython.final
cdef class Usage:
    __hash__ = None

    def __cinit__(self):
        self.calls = 1

    def __init__(
        self,
        int64_t input=0,
        int64_t output=0,
        int64_t cache_read=0,
        int64_t cache_write=0,
        int64_t reasoning=0,
        int64_t input_audio=0,
        int64_t output_audio=0,
        bint estimated=False,
        int64_t calls=1,
    ):
        self.input = input
        self.output = output
        self.cache_read = cache_read
        self.cache_write = cache_write
        self.reasoning = reasoning
        self.input_audio = input_audio
        self.output_audio = output_audio
        self.estimated = estimated
        self.calls = calls

    def __eq__(self, other):
        return isinstance(other, Usage) and counts(self) == counts(other)

    def __repr__(self):
        return f"Usage{counts(self)}"


cdef tuple counts(Usage usage):
    return (
        usage.input, usage.output, usage.cache_read, usage.cache_write, usage.reasoning, usage.input_audio,
        usage.output_audio, usage.estimated, usage.calls,
    )


cpdef Usage charged(Usage told, int64_t prompt, int64_t made, int64_t media, bint complete):
    cdef Usage usage = Usage.__new__(Usage) if told is None else told
    if usage.input == 0 and prompt > 0:
        usage.input = prompt
        usage.estimated = True
    if usage.output * C_FEWEST < made or (usage.output < made + media and (usage.output == 0 or not complete)):
        usage.output = made + media
        usage.output_audio = max(usage.output_audio, media)
        usage.estimated = True
    usage.estimated |= told is None
    return usage


cdef inline wide apart(int64_t tokens, int64_t price, int64_t of_whole) noexcept nogil:
    """What changes where a part has a price of its own."""
    return times(tokens, price - of_whole) if tokens and price >= 0 else times(0, 0)


@cython.final
cdef class Rates:
    def __init__(
        self,
        int64_t input,
        int64_t output,
        *,
        int64_t cache_read=-1,
        int64_t cache_write=-1,
        int64_t input_audio=-1,
        int64_t output_audio=-1,
        int64_t request_nano_usd=0,
    ):
        self.input = input
        self.output = output
        self.cache_read = cache_read
        self.cache_write = cache_write
        self.input_audio = input_audio
        self.output_audio = output_audio
        self.request_nano_usd = request_nano_usd

    cpdef int64_t cost(self, Usage usage) noexcept:
        return total(
            times(self.input, usage.input)
            + times(self.output, usage.output)
            + apart(usage.cache_read, self.cache_read, self.input)
            + apart(usage.cache_write, self.cache_write, self.input)
            + apart(usage.input_audio, self.input_audio, self.input)
            + apart(usage.output_audio, self.output_audio, self.output),
            times(self.request_nano_usd, usage.calls),
        )

    cpdef int64_t most(self, int64_t input, int64_t output) noexcept:
        return total(times(self.input, input) + times(self.output, output), times(self.request_nano_usd, 1))
