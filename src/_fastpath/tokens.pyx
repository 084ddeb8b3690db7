"""Exact token counts for OpenAI's encodings: what tiktoken's `encode_ordinary` would make, counted without making it.

Theory. An encoding splits a text into pieces by a regular expression. A piece that is a token counts as one; within any
other, byte pair encoding merges the two neighbours whose union has the lowest rank, leftmost first, until none has one.

- The two patterns are read by hand: `piece_end` is the regular expression, one function for each of its alternatives, in their
  order. Most pieces are a word of ASCII with perhaps something before it; `ascii_word` finds their end with a few instructions.
- No merge ever crosses a border of the result, so whatever stands between two borders was merged as if it stood alone. Hence a
  row of tokens is the result if, and only if, each pair of neighbours is what byte pair encoding makes of those two alone
  (`may_adjoin`). `merged_count` looks for that row from left to right: the longest token that may follow, else a shorter one, else
  one step back. A position where the text could not be continued is marked and not tried again, which makes it linear. A run may
  need many steps back for each token; so in a long piece it is noticed when the search goes round in circles, and what the next
  rounds will bring is written down at once, as far as the text repeats (`rounds_ahead`).
- Whether a piece is a token is found in a hash table, most often at the first slot, whether it is or not; where tokens lie far from
  their slots the trie decides, so that no piece is dear.
- Whether two tokens may adjoin is found by taking their merges back, the latest first: at no time may the two parts that
  touch have been about to merge. That relies on each token having a higher rank than its parts, which the build checks.

Rules.
- Tables are made at build time by `vocabularies/table.py`, lie in one file, are mapped read-only and never written.
- Of what is written, `followers` alone is shared: a table of fixed size whose entries are whole words, so that threads that race
  can only lose each other's entries.
- Work is counted in steps of about one duration, so that a caller may bound what he does not want to wait for.
- Input is hostile. Each byte is read a bounded number of times, nothing recurses, and nothing outside the text is read.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

import mmap
import os
from pathlib import Path

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif

    typedef struct { uint64_t low, high; } Chunk;   /* sixteen bytes of text, zeros where it has ended */

    /* The text is [at, end); `begin` is where its buffer begins. */
    static inline Chunk load_chunk(const uint8_t* begin, const uint8_t* at, const uint8_t* end) {
        Chunk chunk = {0, 0};
        if (end - at >= 16) {
            memcpy(&chunk, at, 16);
        } else if (end - begin >= 16) {     /* the last sixteen bytes, shifted */
            unsigned __int128 last;
            memcpy(&last, end - 16, 16);
            last >>= 8 * (16 - (end - at));
            chunk.low = (uint64_t)last;
            chunk.high = (uint64_t)(last >> 64);
        } else {
            memcpy(&chunk, at, (size_t)(end - at));
        }
        return chunk;
    }

    /* Which of the sixteen bytes are letters of ASCII, a bit each; and which of those are capitals. */
    static inline uint32_t letter_bits(Chunk chunk, uint32_t* capitals) {
        uint32_t letters = 0, lower = 0;
    #if defined(__SSE2__)
        __m128i bytes = _mm_set_epi64x((long long)chunk.high, (long long)chunk.low);
        __m128i folded = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
        /* 'a'..'z' become the lowest 26 signed values */
        __m128i distance = _mm_add_epi8(folded, _mm_set1_epi8((char)(0x80 - 'a')));
        letters = (uint32_t)_mm_movemask_epi8(_mm_cmplt_epi8(distance, _mm_set1_epi8(-128 + 26)));
        lower = (uint32_t)_mm_movemask_epi8(_mm_slli_epi16(bytes, 2));
    #else
        int i;
        for (i = 0; i < 16; i++) {
            uint8_t byte = (uint8_t)((i < 8 ? chunk.low : chunk.high) >> (8 * (i & 7)));
            letters |= (uint32_t)((uint8_t)((byte | 0x20) - 'a') < 26) << i;
            lower |= (uint32_t)(byte >> 5 & 1) << i;
        }
    #endif
        *capitals = letters & ~lower;
        return letters;
    }

    #define likely(condition) __builtin_expect(!!(condition), 1)

    static inline int zeros_below(uint32_t bits) { return __builtin_ctz(bits); }

    static inline uint64_t fold(uint64_t a, uint64_t b) {
        __extension__ unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }

    static inline void* anonymous_pages(size_t size) {
        void* pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return pages == MAP_FAILED ? NULL : pages;
    }

    static inline uint64_t load_word(const uint8_t* at) { uint64_t word; memcpy(&word, at, 8); return word; }
    static inline uint64_t recall(const uint64_t* at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
    static inline void remember(uint64_t* at, uint64_t word) { __atomic_store_n(at, word, __ATOMIC_RELAXED); }
    """
    ctypedef struct Chunk:
        uint64_t low
        uint64_t high
    Chunk load_chunk(const uint8_t* begin, const uint8_t* at, const uint8_t* end) noexcept nogil
    uint32_t letter_bits(Chunk chunk, uint32_t* capitals) noexcept nogil
    int zeros_below(uint32_t bits) noexcept nogil
    uint64_t fold(uint64_t a, uint64_t b) noexcept nogil
    bint likely(bint condition) noexcept nogil
    uint64_t load_word(const uint8_t* at) noexcept nogil
    void* anonymous_pages(size_t size) noexcept nogil
    int munmap(void* pages, size_t size) noexcept nogil
    uint64_t recall(const uint64_t* at) noexcept nogil
    void remember(uint64_t* at, uint64_t word) noexcept nogil

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    const uint8_t* PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    Py_ssize_t PY_SSIZE_T_MAX
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL


# --- what the file of vocabularies holds; the build writes it by the same lists -------------------------------------

cdef enum:
    MAGIC, SIZE, DIGEST_0, DIGEST_1, DIGEST_2, DIGEST_3, STAGE, BLOCKS, LEADS

cdef enum:
    NARROW, NARROW_SLOTS, WIDE, WIDE_SLOTS, REST, REST_SLOTS, REST_TEXT, RECORDS, TOKENS, PAIRS, PAIRS_SLOTS, TRIE, ROOT, CHARACTERS

cdef enum:
    PAGE_BYTES = 4096
    STEPS_A_VERDICT = 8     # a step is about what a token takes that is found at once: 15 ns
    BYTES_A_STEP = 16
    CL100K_AT = 16
    O200K_AT = 32
    TOKEN_BITS = 18
    NO_TOKEN = (1 << 18) - 1
    SINGLE_BYTES = 256      # tokens below are bytes
    REACH_BITS = 4          # of a slot: how many from it on have to be looked at
    FAR = 8                 # so many or more: the trie knows it sooner
    MAX_TOKEN = 128         # bytes of the longest
    FOLLOWER_BITS = 13      # of a vocabulary's table of followers: 2**13 entries of eight bytes

cdef Py_ssize_t ENDLESS = PY_SSIZE_T_MAX
cdef uint64_t KEY_0 = 0x9E3779B97F4A7C15ULL
cdef uint64_t KEY_1 = 0xD1B54A32D192ED03ULL
cdef uint64_t KEY_2 = 0x8CB92BA72F3D8DD7ULL

# --- classes of characters --------------------------------------------------------------------------------------------

cdef enum Class:
    OTHER, MARK, UPPER, LOWER, CASELESS, NUMBER, SPACE, NEWLINE
    MIXED = 255     # of a lead byte: its characters are of several classes
    INVALID = 256   # no character begins here
    END = 257

cdef const uint16_t* stage      # of a block of 128 code points: which block of classes it has
cdef const uint8_t* blocks
cdef const uint8_t* leads       # the class of all characters that begin with a byte, or MIXED


cdef inline bint is_tail(uint8_t byte) noexcept nogil:
    return byte & 0xC0 == 0x80


cdef Class class_beyond_ascii(const uint8_t* at, const uint8_t* end, int* size) noexcept nogil:
    """Unicode 16.0, table 3-7: which sequences of bytes are characters."""
    cdef uint8_t lead = at[0]
    cdef uint32_t code
    if lead < 0xC2 or lead > 0xF4:
        return INVALID
    if lead < 0xE0:
        if end - at < 2 or not is_tail(at[1]):
            return INVALID
        size[0] = 2
        code = (lead & 0x1F) << 6 | (at[1] & 0x3F)
    elif lead < 0xF0:
        if end - at < 3 or not (is_tail(at[1]) and is_tail(at[2])):
            return INVALID
        size[0] = 3
        code = (lead & 0x0F) << 12 | (at[1] & 0x3F) << 6 | (at[2] & 0x3F)
        if code < 0x800 or 0xD800 <= code < 0xE000:
            return INVALID
    else:
        if end - at < 4 or not (is_tail(at[1]) and is_tail(at[2]) and is_tail(at[3])):
            return INVALID
        size[0] = 4
        code = (lead & 0x07) << 18 | (at[1] & 0x3F) << 12 | (at[2] & 0x3F) << 6 | (at[3] & 0x3F)
        if code < 0x10000 or code > 0x10FFFF:
            return INVALID
    return <Class>blocks[(<uint32_t>stage[code >> 7] << 7) + (code & 127)]


cdef inline Class class_at(const uint8_t* at, const uint8_t* end, int* size) noexcept nogil:
    """The class of the character at `at` and its size in bytes; of END and INVALID the size is not set."""
    cdef uint8_t lead, of
    if at >= end:
        return END
    lead = at[0]
    of = leads[lead]
    if lead < 0x80:
        size[0] = 1
        return <Class>of
    # most ideographs; 0xE0 and 0xED, which do not go with every tail, have characters of several classes
    if of != MIXED and lead & 0xF0 == 0xE0 and end - at >= 3 and is_tail(at[1]) and is_tail(at[2]):
        size[0] = 3
        return <Class>of
    return class_beyond_ascii(at, end, size)


cdef inline bint is_letter(Class of) noexcept nogil:
    return of == UPPER or of == LOWER or of == CASELESS


cdef inline bint is_space(Class of) noexcept nogil:
    return of == SPACE or of == NEWLINE


# --- the alternatives of the patterns: each returns where its match ends, NULL where there is none ---------------------

cdef const uint8_t* contraction(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """(?i:'s|'t|'re|'ve|'m|'ll|'d), in which an s may be long."""
    cdef uint8_t first, second
    if end - at < 2 or at[0] != c"'":
        return NULL
    first = at[1] | 0x20
    if first == c"s" or first == c"t" or first == c"m" or first == c"d":
        return at + 2
    if end - at < 3:
        return NULL
    if at[1] == 0xC5 and at[2] == 0xBF:
        return at + 3
    second = at[2] | 0x20
    if (first == c"r" and second == c"e") or (first == c"v" and second == c"e") or (first == c"l" and second == c"l"):
        return at + 3
    return NULL


cdef const uint8_t* letters(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """\\p{L}+"""
    cdef const uint8_t* begin = at
    cdef int size
    while is_letter(class_at(at, end, &size)):
        at += size
    return at if at != begin else NULL


cdef const uint8_t* cased_word(const uint8_t* at, const uint8_t* end, bint* capitals_alone) noexcept nogil:
    """[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+

    Where only its first part can match, and something of it, the end of that is returned and `capitals_alone` set.
    """
    cdef const uint8_t* begin = at
    cdef const uint8_t* caseless_end = NULL     # where the first part may stop and give what is before to the second
    cdef int size
    cdef Class of = class_at(at, end, &size)
    capitals_alone[0] = False
    while of == UPPER or of == CASELESS or of == MARK:
        at += size
        if of != UPPER:
            caseless_end = at
        of = class_at(at, end, &size)
    if of == LOWER:
        while of == LOWER or of == CASELESS or of == MARK:
            at += size
            of = class_at(at, end, &size)
        return at
    if caseless_end != NULL:
        return caseless_end
    if at == begin:
        return NULL
    capitals_alone[0] = True
    return at


cdef const uint8_t* cased_piece(const uint8_t* at, const uint8_t* end, Class of, int size) noexcept nogil:
    """The first two alternatives of o200k_base: a word with perhaps something before and a contraction behind."""
    cdef const uint8_t* found = NULL
    cdef const uint8_t* capitals = NULL
    cdef const uint8_t* more
    cdef bint capitals_alone
    if not is_letter(of):
        found = cased_word(at + size, end, &capitals_alone)
        if found != NULL and capitals_alone:
            capitals, found = found, NULL
    if found == NULL and (is_letter(of) or of == MARK):
        found = cased_word(at, end, &capitals_alone)
        if found != NULL and capitals_alone and capitals == NULL:
            capitals = found
            found = NULL
    if found == NULL:
        found = capitals
    if found != NULL:
        more = contraction(found, end)
        if more != NULL:
            return more
    return found


cdef const uint8_t* number(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """\\p{N}{1,3}"""
    cdef int size, count = 0
    while count < 3 and class_at(at, end, &size) == NUMBER:
        at += size
        count += 1
    return at if count else NULL


cdef const uint8_t* symbols(const uint8_t* at, const uint8_t* end, bint slashes) noexcept nogil:
    """ ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]* where a slash is of the last class in o200k_base alone.

    The end and one more where an invalid sequence, which would count as U+FFFD, is among them.
    """
    cdef const uint8_t* begin
    cdef int size
    cdef Class of
    if at[0] == c" ":
        at += 1
    begin = at
    of = class_at(at, end, &size)
    while of == OTHER or of == MARK:
        at += size
        of = class_at(at, end, &size)
    if of == INVALID:
        return end + 1
    if at == begin:
        return NULL
    while at < end and (at[0] == c"\r" or at[0] == c"\n" or (slashes and at[0] == c"/")):
        at += 1
    return at


cdef const uint8_t* white_space(const uint8_t* at, const uint8_t* end, bint cased) noexcept nogil:
    """The alternatives of white space: \\s*[\\r\\n]+|\\s+(?!\\S)|\\s+ of o200k_base, \\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s of cl100k_base."""
    cdef const uint8_t* begin = at
    cdef const uint8_t* last = at           # where the last character begins
    cdef const uint8_t* lines_end = NULL
    cdef int size
    cdef Class of = class_at(at, end, &size)
    while is_space(of):
        last = at
        at += size
        if of == NEWLINE:
            lines_end = at
        of = class_at(at, end, &size)
    if of == END and not cased:
        return at
    if lines_end != NULL:
        return lines_end
    return at if of == END or last == begin else last


cdef const uint8_t* piece_end(const uint8_t* at, const uint8_t* end, bint cased) noexcept nogil:
    """Where the piece that begins at `at` ends; behind `end` where an invalid sequence is a part of it."""
    cdef const uint8_t* found = NULL
    cdef int size = 0
    cdef Class of = class_at(at, end, &size)
    if of == INVALID:
        return end + 1
    if of == NUMBER:
        return number(at, end)
    if cased:
        if of != NEWLINE:
            found = cased_piece(at, end, of, size)
    else:
        found = contraction(at, end)
        if found == NULL:
            if is_letter(of):
                found = letters(at, end)
            elif of != NEWLINE:
                found = letters(at + size, end)
    if found == NULL:
        found = symbols(at, end, cased)
    if found == NULL:
        found = white_space(at, end, cased)
    return found


# --- whole tokens -----------------------------------------------------------------------------------------------------

cdef inline uint64_t slot_of(uint64_t digest, uint64_t slots) noexcept nogil:
    return ((digest >> 32) * slots) >> 32


cdef inline bint is_in_slot(const uint64_t* slot, uint64_t first, uint64_t last, int wide) noexcept nogil:
    return (slot[wide] ^ last) << REACH_BITS == 0 and (slot[0] ^ first) << (0 if wide else REACH_BITS) == 0


cdef bint is_in_trie(const Vocabulary* v, Chunk chunk, int size) noexcept nogil:
    cdef uint64_t node = v.root << 9
    cdef uint64_t byte
    cdef int at
    for at in range(size):
        byte = (chunk.low if at < 8 else chunk.high) >> 8 * (at & 7) & 0xFF
        node = v.trie[(node >> 9 & 0x7FFFFF) + byte]
        if (node ^ byte) & 0x1FF != 256:
            return False
    return node >> 32 != 0


cdef inline bint is_short_token(const Vocabulary* v, Chunk chunk, int size) noexcept nogil:
    """Whether the first `size` bytes, 1 to 15, are a token. Both tables are searched by the same instructions."""
    cdef int wide = size > 7
    cdef uint64_t kept = ~<uint64_t>0 >> (8 * ((16 - size) & 7)) if size & 7 else ~<uint64_t>0
    cdef uint64_t first = chunk.low if wide else (chunk.low & kept) | <uint64_t>size << 56
    cdef uint64_t last = ((chunk.high & kept if size > 8 else 0) | <uint64_t>size << 56) if wide else first
    cdef const uint64_t* table = v.wide if wide else v.narrow
    cdef uint64_t slots = v.wide_slots if wide else v.narrow_slots
    cdef uint64_t at = slot_of(fold(first ^ KEY_0, last ^ KEY_1), slots)
    cdef const uint64_t* slot = table + (at << wide)
    cdef int reach
    if likely(is_in_slot(slot, first, last, wide)):
        return True
    reach = slot[wide] >> (64 - REACH_BITS)
    if reach == FAR:
        return is_in_trie(v, chunk, size)
    while reach > 1:
        at += 1
        if at == slots:
            at = 0
        slot = table + (at << wide)
        if is_in_slot(slot, first, last, wide):
            return True
        reach -= 1
    return False


cdef bint is_long_token(const Vocabulary* v, const uint8_t* text, Py_ssize_t size) noexcept nogil:
    """The same for more than 15."""
    cdef uint64_t digest = KEY_2 ^ <uint64_t>size
    cdef uint64_t slot, at
    cdef Py_ssize_t offset = 0
    if size > MAX_TOKEN:
        return False
    while offset < size - 8:
        digest = fold(digest ^ load_word(text + offset), KEY_0)
        offset += 8
    digest = fold(digest ^ load_word(text + size - 8), KEY_0)
    at = slot_of(digest, v.rest_slots)
    while True:
        slot = v.rest[at]
        if slot == 0:
            return False
        if slot >> 32 == <uint32_t>digest and <Py_ssize_t>(slot & 0xFF) == size:
            if memcmp(v.rest_text + (slot >> 8 & 0xFFFFFF), text, size) == 0:
                return True
        at += 1
        if at == v.rest_slots:
            at = 0


# --- byte pair encoding -----------------------------------------------------------------------------------------------

cdef inline uint32_t left_of(uint64_t record) noexcept nogil:
    return record & NO_TOKEN


cdef inline uint32_t right_of(uint64_t record) noexcept nogil:
    return record >> TOKEN_BITS & NO_TOKEN


cdef inline uint32_t shorter_of(uint64_t record) noexcept nogil:
    return record >> 2 * TOKEN_BITS & NO_TOKEN


cdef inline Py_ssize_t size_of(uint64_t record) noexcept nogil:
    return record >> 3 * TOKEN_BITS


cdef inline uint32_t merged(const Vocabulary* v, uint32_t left, uint32_t right) noexcept nogil:
    """What two tokens merge to, or NO_TOKEN."""
    cdef uint64_t digest = (<uint64_t>left << TOKEN_BITS | right) * KEY_0
    cdef uint32_t mark = digest >> TOKEN_BITS & 0x3FFF
    cdef uint64_t at = slot_of(digest, v.pairs_slots)
    cdef uint64_t record
    cdef uint32_t slot = v.pairs[at]
    while slot:
        if slot >> TOKEN_BITS == mark:
            record = v.records[slot & NO_TOKEN]
            if left_of(record) == left and right_of(record) == right:
                return slot & NO_TOKEN
        at += 1
        if at == v.pairs_slots:
            at = 0
        slot = v.pairs[at]
    return NO_TOKEN


cdef bint may_adjoin(const Vocabulary* v, uint32_t left, uint32_t right) noexcept nogil:
    """Whether byte pair encoding leaves these two tokens as they are when nothing else is there.

    Takes merges back from the end. `until` is the rank of the merge that took one of the two away: until then, they
    stood side by side. Of two merges of one rank the left one came first.
    """
    cdef uint32_t until = NO_TOKEN
    while True:
        if merged(v, left, right) < until:
            return False
        if left < SINGLE_BYTES and right < SINGLE_BYTES:
            return True
        if right >= left:
            until = right + 1
            right = left_of(v.records[right])
        else:
            until = left
            left = right_of(v.records[left])


cdef uint32_t find_follower(
    const Vocabulary* v, uint64_t* place, uint32_t left, uint32_t longest_right, Py_ssize_t* steps
) noexcept nogil:
    cdef uint32_t right = longest_right
    while right != NO_TOKEN:
        steps[0] -= STEPS_A_VERDICT
        if may_adjoin(v, left, right):
            break
        right = shorter_of(v.records[right])
    remember(place, (<uint64_t>left << TOKEN_BITS | longest_right) << (TOKEN_BITS + 1) | (right + 1))
    return right


cdef inline uint32_t follower(
    const Vocabulary* v, uint32_t left, uint32_t longest_right, Py_ssize_t* steps
) noexcept nogil:
    """The longest token that may adjoin `left`, of `longest_right` and those that it begins with; NO_TOKEN if none may."""
    cdef uint64_t pair = <uint64_t>left << TOKEN_BITS | longest_right
    cdef uint64_t* place = v.followers + (pair * KEY_0 >> (64 - FOLLOWER_BITS))
    cdef uint64_t known = recall(place)
    # mostly; said of itself, so that the processor need not wait for it to look for the next token
    if likely(known == (pair << (TOKEN_BITS + 1) | (longest_right + 1))):
        return longest_right
    if known != 0 and known >> (TOKEN_BITS + 1) == pair:
        return <uint32_t>(known & (2 * NO_TOKEN + 1)) - 1
    return find_follower(v, place, left, longest_right, steps)


cdef struct Longest:
    uint32_t token      # the longest that a text begins with; every byte is one
    Py_ssize_t size     # of it
    Py_ssize_t seen     # how many bytes that follows from; ENDLESS where it follows from the text's end


cdef inline void find_longest(
    const Vocabulary* v, const uint8_t* text, Py_ssize_t size, Longest* found
) noexcept nogil:
    cdef uint64_t node = 0, best
    cdef Py_ssize_t at = 3
    # a character of three bytes, of which all text in many scripts consists: the way through the trie is known
    if text[0] & 0xF0 == 0xE0 and size >= 3:
        node = v.characters[(text[0] & 0x0F) << 12 | (text[1] & 0x3F) << 6 | (text[2] & 0x3F)]
    if node == 0:
        node = v.trie[v.root + text[0]]
        at = 1
    best = node
    found.size = at
    found.seen = ENDLESS
    while at < size:
        node = v.trie[(node >> 9 & 0x7FFFFF) + text[at]]
        if (node ^ text[at]) & 0x1FF != 256:
            found.seen = at + 1
            break
        at += 1
        if node >> 32:
            best = node
            found.size = at
    found.token = (best >> 32) - 1


cdef enum:
    SOON_FOUND = 8     # to find a token that follows from so few bytes takes no longer than to compare them

cdef inline bint are_alike(
    const uint8_t* text, Py_ssize_t at, Py_ssize_t other, Py_ssize_t count, Py_ssize_t size
) noexcept nogil:
    """Whether the same `count` bytes stand at both places of a text."""
    if text[at] != text[other]:
        return False
    if count <= 8 and at + 8 <= size and other + 8 <= size:
        return (load_word(text + at) ^ load_word(text + other)) << (64 - 8 * count) == 0
    return memcmp(text + at, text + other, count) == 0


cdef inline Py_ssize_t alike_size(const uint8_t* one, const uint8_t* other, Py_ssize_t most) noexcept nogil:
    """How many bytes of two texts are the same, up to `most`; both may be read so far."""
    cdef Py_ssize_t size = 0
    while most - size >= 8 and load_word(one + size) == load_word(other + size):
        size += 8
    while size < most and one[size] == other[size]:
        size += 1
    return size


cdef enum:
    MARK_TOKENS = 64    # a mark is as old as that, then there is a new one: a longer cycle is not found
    LOOKED_AT_A_TOKEN = 32  # bytes: what is looked at in vain is worth that many found otherwise

cdef struct Mark:       # where a search was, to find out whether it goes round in circles
    uint32_t token      # the last one then; NO_TOKEN where it was taken back since
    Py_ssize_t count
    Py_ssize_t at
    Py_ssize_t reach    # where what was looked at since ends
    Py_ssize_t until    # the count from which on there is a new one
    Py_ssize_t ask      # the count from which on it is asked again whether the text repeats


cdef Py_ssize_t rounds_ahead(Mark* mark, const uint8_t* text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t count) noexcept nogil:
    """How many times more a search will do what it did since the mark, whose token is the last one again.

    What it did follows from that token and from the text that it looked at. So it does the same wherever both are the same.
    """
    cdef Py_ssize_t alike = alike_size(text + mark.at, text + at, size - at)
    mark.ask = count + 1 + alike // LOOKED_AT_A_TOKEN
    return max(at + alike - mark.reach, 0) // (at - mark.at)


cdef Py_ssize_t repeat(uint32_t* row, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t times) noexcept nogil:
    """Writes what stands between the two so many times more behind it; returns where that ends."""
    cdef Py_ssize_t at
    for at in range(end, end + times * (end - begin)):
        row[at] = row[at - (end - begin)]
    return end + times * (end - begin)


cdef inline Py_ssize_t search(
    const Vocabulary* v, const uint8_t* text, Py_ssize_t size, uint32_t* row, uint8_t* dead, Py_ssize_t* steps, bint is_long
) noexcept nogil:
    """Tokens of a piece, or TOO_LONG. `row` has room for `size` tokens, `dead` a zero bit for each position: there the text has no way on."""
    cdef Py_ssize_t count = 0, at = 0, behind, asked_at = 0, rounds
    cdef Longest answer     # for the text at `asked_at`: a run asks the same again and again
    cdef uint32_t token
    cdef Mark mark = Mark(NO_TOKEN, 0, 0, 0, 0, 0)
    find_longest(v, text, size, &answer)
    token = answer.token
    while True:
        while token != NO_TOKEN:
            if count:
                token = follower(v, row[count - 1], token, steps)
                if token == NO_TOKEN:
                    break
            if likely(token == answer.token):
                behind = at + answer.size
            else:
                behind = at + size_of(v.records[token])
            if not dead[behind >> 3] >> (behind & 7) & 1:
                break
            token = shorter_of(v.records[token])
        if token != NO_TOKEN:
            row[count] = token
            count += 1
            at = behind
            if at == size:
                return count
            steps[0] -= 1
            if steps[0] < 0:
                return TOO_LONG
            if is_long and token == mark.token and count >= mark.ask:
                rounds = rounds_ahead(&mark, text, size, at, count)
                if rounds:
                    at += rounds * (at - mark.at)
                    count = repeat(row, mark.count, count, rounds)
                    mark.until = count
            if is_long and count >= mark.until:
                mark = Mark(token, count, at, at, count + MARK_TOKENS, 0)
            if answer.seen <= SOON_FOUND or size - at < answer.seen or not are_alike(text, at, asked_at, answer.seen, size):
                find_longest(v, text + at, size - at, &answer)
                asked_at = at
            if is_long:
                mark.reach = max(mark.reach, size if answer.seen > size - at else at + answer.seen)
            token = answer.token
        else:
            dead[at >> 3] |= 1 << (at & 7)
            count -= 1
            at -= size_of(v.records[row[count]])
            token = shorter_of(v.records[row[count]])
            if is_long and count < mark.count:
                mark.token = NO_TOKEN
                mark.until = 0


cdef enum:
    ON_STACK = 512      # bytes of the longest piece that is merged without memory of its own
    DEAD_BYTES = 65     # bits for their positions and for their end


cdef Py_ssize_t merged_count(
    const Vocabulary* v, const uint8_t* text, Py_ssize_t size, Py_ssize_t* steps
) noexcept nogil:
    """Tokens of a piece; TOO_LONG; or NO_MEMORY: a long one takes up to five bytes for each of its own."""
    cdef uint32_t[ON_STACK] row
    cdef uint8_t[DEAD_BYTES] dead
    cdef size_t needed
    cdef void* pages
    cdef Py_ssize_t count
    if size <= ON_STACK:
        if size < 128:
            memset(dead, 0, 16)
        else:
            memset(dead, 0, DEAD_BYTES)
        return search(v, text, size, row, dead, steps, False)
    # pages of its own, which are zero and go back at once: an allocator would keep them
    needed = 4 * <size_t>size + (size >> 3) + 1
    pages = anonymous_pages(needed)
    if pages == NULL:
        return NO_MEMORY
    count = search(v, text, size, <uint32_t*>pages, <uint8_t*>pages + 4 * size, steps, True)
    munmap(pages, needed)
    return count


# --- a text -----------------------------------------------------------------------------------------------------------

cdef inline int ascii_word(Chunk chunk, const uint8_t* at, const uint8_t* end, bint cased) noexcept nogil:
    """The size of the piece that begins at `at` if it is a word of ASCII, perhaps with another character before, and surely ends

    within the chunk; else 0, and it is for `piece_end` to say.
    """
    cdef uint32_t capitals, small, found = letter_bits(chunk, &capitals)
    cdef int before = not found & 1
    cdef int size
    cdef uint8_t next_byte, first
    if not found >> before & 1:
        return 0
    if before:
        first = at[0]
        if first >= 0x80 or leads[first] == NUMBER or leads[first] == NEWLINE or (not cased and first == c"'"):
            return 0
    if cased:
        small = found & ~capitals
        size = before + zeros_below(~(capitals >> before))
        size += zeros_below(~(small >> size))
    else:
        size = before + zeros_below(~(found >> before))
    if size > 15:
        return 0
    if end - at > size:
        next_byte = at[size]
        if next_byte >= 0x80 or (cased and next_byte == c"'"):
            return 0
    return size


cdef inline int tiny_count(const Vocabulary* v, Chunk chunk, int size) noexcept nogil:
    """Tokens of a piece of two or three bytes that is none itself: of what is left after a merge, nothing is merged."""
    cdef Chunk behind
    if size == 2:
        return 2
    behind.low = chunk.low >> 8
    behind.high = 0
    return 2 if is_short_token(v, chunk, 2) or is_short_token(v, behind, 2) else 3


cdef inline Py_ssize_t count_pieces(
    const Vocabulary* v, const uint8_t* text, Py_ssize_t size, Py_ssize_t* counted, Py_ssize_t* steps, bint cased
) noexcept nogil:
    """Tokens of the pieces before the one with the first invalid sequence; `counted` becomes their size. Or a Failure."""
    cdef const uint8_t* at = text
    cdef const uint8_t* end = text + size
    cdef const uint8_t* behind
    cdef Py_ssize_t count = 0, more, left = steps[0], left_after
    cdef Chunk chunk
    cdef int word
    while at < end:
        left -= 1
        if left < 0:
            return TOO_LONG
        chunk = load_chunk(text, at, end)
        word = ascii_word(chunk, at, end, cased)
        if word:
            behind = at + word
        else:
            behind = piece_end(at, end, cased)
            if behind > end:
                break
        more = behind - at
        if is_short_token(v, chunk, <int>more) if more <= 15 else is_long_token(v, at, more):
            count += 1
        elif more <= 3:
            count += tiny_count(v, chunk, <int>more)
        else:
            left_after = left
            more = merged_count(v, at, more, &left_after)
            if more < 0:
                return more
            left = left_after
            count += more
        at = behind
    counted[0] = at - text
    steps[0] = left
    return count


cdef Py_ssize_t count_valid(
    const Vocabulary* v, const uint8_t* text, Py_ssize_t size, Py_ssize_t* counted, Py_ssize_t* steps
) noexcept nogil:
    if v.cased:
        return count_pieces(v, text, size, counted, steps, True)
    return count_pieces(v, text, size, counted, steps, False)


cdef Py_ssize_t invalid_size(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Bytes of the sequence that one U+FFFD replaces: a character that was begun well, or a single byte (Unicode 16.0, 3.9)."""
    cdef uint8_t lead = at[0]
    cdef uint8_t lowest = 0x80, highest = 0xBF
    cdef Py_ssize_t size = 1
    cdef int wanted = 3 if lead >= 0xF0 else 2 if lead >= 0xE0 else 1
    if lead < 0xC2 or lead > 0xF4:
        return 1
    if lead == 0xE0:
        lowest = 0xA0
    elif lead == 0xED:
        highest = 0x9F
    elif lead == 0xF0:
        lowest = 0x90
    elif lead == 0xF4:
        highest = 0x8F
    while size <= wanted and at + size < end and lowest <= at[size] <= highest:
        lowest, highest = 0x80, 0xBF
        size += 1
    return size


cdef Py_ssize_t replace_invalid(const uint8_t* text, Py_ssize_t size, uint8_t* out) noexcept nogil:
    """Copies a text with U+FFFD for each invalid sequence; `out` has room for three times its size. Returns the size of the copy."""
    cdef const uint8_t* at = text
    cdef const uint8_t* end = text + size
    cdef Py_ssize_t made = 0
    cdef int width
    while at < end:
        if class_at(at, end, &width) == INVALID:
            memcpy(out + made, b"\xEF\xBF\xBD", 3)
            made += 3
            at += invalid_size(at, end)
        else:
            memcpy(out + made, at, width)
            made += width
            at += width
    return made


cdef Py_ssize_t count_repaired(
    const Vocabulary* v, const uint8_t* text, Py_ssize_t size, Py_ssize_t* steps
) noexcept nogil:
    cdef uint8_t* repaired = <uint8_t*>malloc(3 * size)
    cdef Py_ssize_t count
    if repaired == NULL:
        return NO_MEMORY
    count = count_valid(v, repaired, replace_invalid(text, size, repaired), &size, steps)
    free(repaired)
    return count


# --- the face ---------------------------------------------------------------------------------------------------------

ENCODINGS = ("cl100k_base", "o200k_base", "o200k_harmony")

cdef enum:
    GIL_KEPT_BYTES = 65536      # a larger text is counted without the GIL

_FILE = Path(__file__).with_name("vocabularies.bin")

cdef object _mapping = None     # kept as long as the process lives: tables point into it
cdef Vocabulary cl100k_base
cdef Vocabulary o200k_base
cdef dict _encodings = {}       # at most one for each name


cdef int open_vocabulary(Vocabulary* v, const uint8_t* file, int at, bint cased) except -1:
    cdef const uint64_t* directory = <const uint64_t*>file + at
    v.cased = cased
    v.narrow = <const uint64_t*>(file + directory[NARROW])
    v.narrow_slots = directory[NARROW_SLOTS]
    v.wide = <const uint64_t*>(file + directory[WIDE])
    v.wide_slots = directory[WIDE_SLOTS]
    v.rest = <const uint64_t*>(file + directory[REST])
    v.rest_slots = directory[REST_SLOTS]
    v.rest_text = file + directory[REST_TEXT]
    v.records = <const uint64_t*>(file + directory[RECORDS])
    v.pairs = <const uint32_t*>(file + directory[PAIRS])
    v.pairs_slots = directory[PAIRS_SLOTS]
    v.trie = <const uint64_t*>(file + directory[TRIE])
    v.root = directory[ROOT]
    v.characters = <const uint64_t*>(file + directory[CHARACTERS])
    v.followers = <uint64_t*>calloc(1 << FOLLOWER_BITS, sizeof(uint64_t))
    if v.followers == NULL:
        raise MemoryError
    return 0


cdef int map_vocabularies() except -1:
    global _mapping, stage, blocks, leads
    cdef Py_buffer view
    cdef const uint8_t* file
    cdef const uint64_t* directory
    try:
        with _FILE.open("rb") as opened:
            if os.fstat(opened.fileno()).st_size < PAGE_BYTES:
                raise RuntimeError(f"{_FILE} is not of this version: install the package anew")
            mapping = mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    except FileNotFoundError:
        raise RuntimeError(f"{_FILE} is missing: install the package anew, or build it with `pip install --editable .`") from None
    PyObject_GetBuffer(mapping, &view, PyBUF_SIMPLE)     # never released, so that the mapping stays
    file = <const uint8_t*>view.buf
    directory = <const uint64_t*>file
    if memcmp(file, b"TWVOCAB2", 8) != 0 or directory[SIZE] != <uint64_t>view.len:
        raise RuntimeError(f"{_FILE} is not of this version: install the package anew")
    stage = <const uint16_t*>(file + directory[STAGE])
    blocks = file + directory[BLOCKS]
    leads = file + directory[LEADS]
    open_vocabulary(&cl100k_base, file, CL100K_AT, False)
    open_vocabulary(&o200k_base, file, O200K_AT, True)
    _mapping = mapping
    return 0


@cython.final
cdef class Encoding:
    def __cinit__(self, str name not None):
        if name not in ENCODINGS:
            raise ValueError(f"there is no encoding {name!r}; known are {', '.join(ENCODINGS)}")
        if _mapping is None:
            map_vocabularies()
        self.name = name
        self._vocabulary = &cl100k_base if name == "cl100k_base" else &o200k_base

    cdef Py_ssize_t count_utf8(self, const uint8_t* text, Py_ssize_t size, Py_ssize_t* steps) noexcept nogil:
        cdef Py_ssize_t counted, count, more
        steps[0] -= size // BYTES_A_STEP
        count = count_valid(self._vocabulary, text, size, &counted, steps)
        if counted == size or count < 0:
            return count
        more = count_repaired(self._vocabulary, text + counted, size - counted, steps)
        return count + more if more >= 0 else more

    cdef Py_ssize_t count_object(self, text, Py_ssize_t* steps) except NO_MEMORY:
        """Tokens of a str or bytes, or TOO_LONG."""
        cdef const uint8_t* data
        cdef Py_ssize_t size, count
        if isinstance(text, str):
            if PyUnicode_IS_COMPACT_ASCII(text):
                data, size = PyUnicode_1BYTE_DATA(text), PyUnicode_GET_LENGTH(text)
            else:
                try:
                    data = <const uint8_t*>PyUnicode_AsUTF8AndSize(text, &size)
                except UnicodeEncodeError:
                    return self.count_object(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), steps)
        elif isinstance(text, bytes):
            data, size = <const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
        else:
            raise TypeError(f"text is of type {type(text).__name__}; it must be str or bytes")
        if size <= GIL_KEPT_BYTES:
            count = self.count_utf8(data, size, steps)
        else:
            with nogil:
                count = self.count_utf8(data, size, steps)
        if count == NO_MEMORY:
            raise MemoryError
        return count

    def count(self, text):
        cdef Py_ssize_t steps = PY_SSIZE_T_MAX
        return self.count_object(text, &steps)

    def count_all(self, list texts not None, Py_ssize_t steps):
        cdef Py_ssize_t count, total = 0
        for text in texts:
            count = self.count_object(text, &steps)
            if count == TOO_LONG:
                return None
            total += count
        return total


cpdef Encoding get(str name):
    cdef Encoding encoding = _encodings.get(name)
    if encoding is None:
        encoding = _encodings[name] = Encoding(name)
    return encoding


def count(text, str encoding not None):
    return get(encoding).count(text)
