from libc.stdint cimport uint8_t, uint16_t, uint64_t

cdef extern from * nogil:
    """
    #ifndef TW_SKIP_PLAIN
    #define TW_SKIP_PLAIN
    #include <stdint.h>
    #include <string.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif

    static inline int is_plain(uint8_t byte) {
        return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\\\';
    }

    /* The first byte of a string that is not plain ASCII: a quote, a backslash, a control byte or a part of UTF-8. */
    static inline Py_ssize_t skip_plain(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) {
    #if defined(__SSE2__)
        const __m128i space = _mm_set1_epi8(0x20), quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\\\');
        while (end - at >= 16) {
            __m128i block = _mm_loadu_si128((const __m128i*)(data + at));
            /* compared with their signs, bytes from 0x80 on are less than a space, too */
            __m128i special = _mm_or_si128(_mm_cmplt_epi8(block, space),
                _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)));
            int mask = _mm_movemask_epi8(special);
            if (mask)
                return at + __builtin_ctz((unsigned)mask);
            at += 16;
        }
    #else
        const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
        while (end - at >= 8) {  /* the zero-byte test of "Hacker's Delight", section 6-1 */
            uint64_t word, quote, backslash;
            memcpy(&word, data + at, 8);
            quote = word ^ (ones * '"');
            backslash = word ^ (ones * '\\\\');
            if ((word | (word - ones * 0x20) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & highs)
                break;
            at += 8;
        }
    #endif
        while (at < end && is_plain(data[at]))
            at++;
        return at;
    }

    /* The offset of the first byte that is `a` or `b`; `end` where there is none. */
    static inline Py_ssize_t find_either(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, uint8_t a, uint8_t b) {
    #if defined(__SSE2__)
        const __m128i as = _mm_set1_epi8((char)a), bs = _mm_set1_epi8((char)b);
        while (end - at >= 16) {
            __m128i block = _mm_loadu_si128((const __m128i*)(data + at));
            int mask = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(block, as), _mm_cmpeq_epi8(block, bs)));
            if (mask)
                return at + __builtin_ctz((unsigned)mask);
            at += 16;
        }
    #else
        const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
        while (end - at >= 8) {  /* the zero-byte test of "Hacker's Delight", section 6-1 */
            uint64_t word, no_a, no_b;
            memcpy(&word, data + at, 8);
            no_a = word ^ (ones * a);
            no_b = word ^ (ones * b);
            if ((((no_a - ones) & ~no_a) | ((no_b - ones) & ~no_b)) & highs)
                break;
            at += 8;
        }
    #endif
        while (at < end && data[at] != a && data[at] != b)
            at++;
        return at;
    }
    #endif
    """
    # The first byte of a string that is not plain ASCII: a quote, a backslash, a control byte or a part of UTF-8.
    Py_ssize_t skip_plain(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept
    # The first byte that is `a` or `b`; `end` where there is none.
    Py_ssize_t find_either(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, uint8_t a, uint8_t b) noexcept

cdef enum:
    MAX_MEMBERS = 1000      # of the top-level object
    MAX_DEPTH = 1024        # the largest `max_depth`
    SLOTS = 2048            # a power of two, more than twice MAX_MEMBERS
    MAX_STRUCTURE = 4_194_304   # bytes below the top level that stand in no string, and A_STRING for each string or bracket
    A_STRING = 8
    MAX_CONTAINERS = 100_000    # below the top level: each becomes an object where the body is decoded

cdef enum Fault:
    NONE, SYNTAX, UTF8, DEPTH, DUPLICATE, NOT_OBJECT, TOO_MANY, DISGUISED, NO_MEMORY

cdef struct Member:
    const uint8_t* key      # escapes resolved; in the body, or in `Scan.resolved`
    Py_ssize_t key_size
    uint64_t digest
    Py_ssize_t start        # of its value
    Py_ssize_t end

cdef struct Scan:
    const uint8_t* data
    Py_ssize_t end
    int max_depth
    bint escaped                        # the last string holds a backslash
    int fault                           # a Fault, NONE while all is well
    Py_ssize_t fault_at
    uint8_t* resolved                   # where the next key with escapes is resolved to; NULL before the first
    uint8_t* resolved_base
    Py_ssize_t closing                  # the offset of the object's brace
    int count
    int containers                      # opened so far, below the top level
    int max_containers
    Py_ssize_t structure                # seen so far, below the top level
    int slots_in_use                    # of `slots`: a power of two
    uint8_t closers[MAX_DEPTH]          # the bracket that each open container waits for
    uint16_t slots[SLOTS]               # 1 + index of a member, 0 where free
    Member members[MAX_MEMBERS]

cdef inline Py_ssize_t note(Scan* state, Fault fault, Py_ssize_t at) noexcept nogil:
    state.fault = fault
    state.fault_at = at
    return -1

cpdef tuple scan(bytes body, tuple keys=*, int max_depth=*, int max_containers=*)

# Resolves the escapes of the `size` bytes between a string's quotes into `out`, which must hold as many bytes; lone
# surrogates become three bytes that are no UTF-8. Returns the size of the result, -1 where an escape is malformed.
cdef Py_ssize_t unescape(const uint8_t* text, Py_ssize_t size, uint8_t* out) noexcept nogil

# For kernels that read the members themselves: `begin_scan`, then `read_body`, which returns -1 at a fault that `refuse`
# raises; afterwards `free(state.resolved_base)`.
cdef void begin_scan(Scan* state, bytes body, int max_depth) noexcept
cdef Py_ssize_t read_body(Scan* state) noexcept nogil

# `at` is the opening quote.
cdef inline Py_ssize_t skip_string(Scan* state, Py_ssize_t at) noexcept nogil:
    state.escaped = False
    return skip_rest(state, at + 1)

# `at` is within the string.
cdef inline Py_ssize_t skip_rest(Scan* state, Py_ssize_t at) noexcept nogil:
    at = skip_plain(state.data, at, state.end)
    return at + 1 if at < state.end and state.data[at] == c'"' else finish_string(state, at)

cdef Py_ssize_t finish_string(Scan* state, Py_ssize_t at) noexcept nogil    # from `at` on, which is not plain
cdef refuse(Scan* state)
cdef Member* member_named(Scan* state, const char* key) noexcept nogil    # NULL where there is none
