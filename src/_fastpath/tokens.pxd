from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Failure:
    NO_MEMORY = -1
    TOO_LONG = -2

cdef struct Vocabulary:
    bint cased                  # the pattern: of o200k_base, not of cl100k_base
    const uint64_t* narrow      # whole tokens of up to 7 bytes, hashed
    uint64_t narrow_slots
    const uint64_t* wide        # of up to 15
    uint64_t wide_slots
    const uint64_t* rest        # the others
    uint64_t rest_slots
    const uint8_t* rest_text
    const uint64_t* records     # of a token: the two that it is merged of, the longest other that it begins with, size
    const uint32_t* pairs       # of two tokens what they merge to, hashed
    uint64_t pairs_slots
    const uint64_t* trie
    uint64_t root
    const uint64_t* characters  # where the bytes of a character lead to, by its code point
    uint64_t* followers         # which token follows another, as far as it was asked for lately

cdef class Encoding:
    cdef readonly str name
    cdef Vocabulary* _vocabulary

    # Tokens of `size` bytes of UTF-8, without a Python object, or a Failure. Invalid sequences count as U+FFFD. The text may be
    # a part of a larger buffer: nothing outside of it is read. `steps` is how much work may be done, and becomes what is left
    # of it: a token takes one, what is not remembered of merging eight more, each 16 bytes one. TOO_LONG where it is not enough.
    cdef Py_ssize_t count_utf8(self, const uint8_t* text, Py_ssize_t size, Py_ssize_t* steps) noexcept nogil
    cdef Py_ssize_t count_object(self, text, Py_ssize_t* steps) except NO_MEMORY

cpdef Encoding get(str name)
