# cython: auto_pickle=False, autotestdict=False
"""What a JSON decoder does not tell: duplicate keys, invalid UTF-8 and depth, and where top-level values stand.

Theory. Whoever governs a request must read it exactly as the provider will. Decoders differ where a document is at odds
with RFC 8259: which of two equal keys counts, what an invalid byte stands for. So such a document is refused. One pass
from left to right splits it into strings, brackets and the rest; a strict decoder that accepts it splits it alike. Containers
are split 64 bytes at a time, by the parity of the quotes before each byte (Langdale and Lemire, "Parsing Gigabytes of JSON per
Second", 2019).

Rules.
- Functions that read take `at`, where to begin, and return the offset behind what they read, or -1 after noting the
  fault in the `Scan`: the first fault, in the order of bytes, is the one reported.
- Below the top level only strings and brackets are judged. Numbers, literals, commas, colons and escapes down there are
  left to the decoder that follows, for it reads them anyway.
- Input is hostile. Each byte is read a bounded number of times, nothing recurses, and the table of keys is hashed under
  a secret of the process, so that nobody can prepare keys that collide.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_New
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset, strlen

import os

cdef extern from *:
    """
    static inline uint64_t fold_product(uint64_t a, uint64_t b) {
        __extension__ unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }

    /* Sixteen bytes at once: GCC and Clang make the machine's own vectors of them, on x86-64 and aarch64 alike. */
    typedef uint8_t block_t __attribute__((vector_size(16)));

    static inline block_t load_block(const uint8_t* data) {
        block_t block;
        memcpy(&block, data, 16);
        return block;
    }

    /* A bit for each byte that is set, of one that is all ones or zero. */
    static inline unsigned bits_of(block_t mask) {
    #if defined(__SSE2__)
        __m128i whole;
        memcpy(&whole, &mask, 16);
        return (unsigned)_mm_movemask_epi8(whole);
    #else
        uint64_t half[2];  /* little-endian, as all that we build for; the product brings the sign of byte k to bit 56 + k */
        memcpy(half, &mask, 16);
        half[0] = ((half[0] >> 7) & 0x0101010101010101u) * 0x0102040810204080u >> 56;
        half[1] = ((half[1] >> 7) & 0x0101010101010101u) * 0x0102040810204080u >> 56;
        return (unsigned)(half[0] | half[1] << 8);
    #endif
    }

    /* The number of the first byte that is set, 16 where none is. */
    static inline int first_set(block_t mask) {
        unsigned bits = bits_of(mask);
        return bits ? __builtin_ctz(bits) : 16;
    }

    /* What may stand between strings, but for brackets: white space, numbers, literals, commas and colons. */
    static inline block_t is_between(block_t b) {
        block_t letter = (block_t)((block_t)((b | 0x20) - 'a') < 26);
        block_t digit = (block_t)(((block_t)(b - '+') < 16) & (b != '/'));  /* and + , - . : */
        block_t space = (block_t)(((block_t)(b - 0x09) < 2) | (b == 0x0D) | (b == ' '));
        return letter | digit | space;
    }

    /* Goes on over what stands between strings and brackets, as far as whole blocks are made of it. */
    static Py_ssize_t skip_blocks_between(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) {
        int size = 16;
        while (size == 16 && end - at >= 16) {
            size = first_set(~is_between(load_block(data + at)));
            at += size;
        }
        return at;
    }

    /* 64 bytes that begin outside of strings, a bit each. */
    typedef struct {
        uint64_t quotes;
        uint64_t strings;   /* from each opening quote to before the closing one */
        uint64_t brackets;  /* outside of strings */
        uint64_t odd;       /* in strings: backslashes, control bytes and what is not ASCII; outside: what must not stand there */
    } window_t;

    /* The strings are right up to the first odd byte. */
    static inline window_t read_window(const uint8_t* data) {
        window_t w = {0, 0, 0, 0};
        uint64_t between = 0, strings;
        int i;
        for (i = 0; i < 64; i += 16) {
            block_t b = load_block(data + i), folded = b | 0x20;
            w.quotes |= (uint64_t)bits_of((block_t)(b == '"')) << i;
            w.brackets |= (uint64_t)bits_of((block_t)((folded == '{') | (folded == '}'))) << i;
            w.odd |= (uint64_t)bits_of((block_t)((b < 0x20) | (b >= 0x80) | (b == 0x5C))) << i;
            between |= (uint64_t)bits_of(is_between(b)) << i;
        }
        strings = w.quotes;  /* each bit becomes the parity of the quotes up to it */
        for (i = 1; i < 64; i *= 2)
            strings ^= strings << i;
        w.strings = strings;
        w.brackets &= ~strings;
        w.odd = (w.odd & strings) | (~strings & ~(between | w.quotes | w.brackets));
        return w;
    }

    /* Copies what stands before the next backslash, and says how much that was; up to `size` bytes of `out` may be written. */
    static Py_ssize_t copy_plain(const uint8_t* text, Py_ssize_t size, uint8_t* out) {
        Py_ssize_t at = 0;
        int plain = 16;
        while (plain == 16 && size - at >= 16) {
            block_t block = load_block(text + at);
            memcpy(out + at, &block, 16);
            plain = first_set((block_t)(block == 0x5C));
            at += plain;
        }
        for (; plain == 16 && at < size && text[at] != 0x5C; at++)
            out[at] = text[at];
        return at;
    }

    /* Goes on from the beginning of a character over what is plain ASCII or valid UTF-8 (RFC 3629), to the beginning of
       another one: of what is neither, or of one in the last bytes before `end`. Three bytes before `at` may be read. */
    static Py_ssize_t skip_text(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) {
        int size = 16, back;
        while (size == 16 && end - at >= 16) {
            block_t b = load_block(data + at);
            block_t b1 = load_block(data + at - 1), b2 = load_block(data + at - 2), b3 = load_block(data + at - 3);
            block_t special = (block_t)((b < 0x20) | (b == '"') | (b == 0x5C));
            block_t continues = (block_t)((b & 0xC0) == 0x80);
            block_t must = (block_t)((b1 >= 0xC0) | (b2 >= 0xE0) | (b3 >= 0xF0));
            block_t no_lead = (block_t)(((b & 0xFE) == 0xC0) | (b >= 0xF5));
            block_t overlong = (block_t)(((b1 == 0xE0) & (b < 0xA0)) | ((b1 == 0xF0) & (b < 0x90)));
            block_t beyond = (block_t)(((b1 == 0xED) & (b >= 0xA0)) | ((b1 == 0xF4) & (b >= 0x90)));  /* surrogates, too */
            size = first_set(special | (continues ^ must) | no_lead | overlong | beyond);
            at += size;
        }
        for (back = 1; back <= 3; back++) {  /* a character that goes on at `at` begins here */
            uint8_t byte = data[at - back];
            if (byte >= 0xC0)
                return byte >= (back == 1 ? 0xC0 : back == 2 ? 0xE0 : 0xF0) ? at - back : at;
            if (byte < 0x80)
                break;
        }
        return at;
    }
    """
    # declared with plain pointers: Cython would keep references of its own
    PyObject* PyTuple_GET_ITEM(tuple items, Py_ssize_t index)
    void PyTuple_SET_ITEM(tuple items, Py_ssize_t index, PyObject* item)    # takes the reference over
    PyObject* PyLong_FromSsize_t(Py_ssize_t value) except NULL
    uint64_t fold_product(uint64_t a, uint64_t b) noexcept nogil
    Py_ssize_t skip_blocks_between(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil
    ctypedef struct Window "window_t":
        uint64_t quotes, strings, brackets, odd
    Window read_window(const uint8_t* data) noexcept nogil
    int first_bit "__builtin_ctzll" (uint64_t bits) noexcept nogil          # its number; some are set
    int bits_before "__builtin_clzll" (uint64_t bits) noexcept nogil        # zeros above the last that is set
    Py_ssize_t copy_plain(const uint8_t* text, Py_ssize_t size, uint8_t* out) noexcept nogil
    Py_ssize_t skip_text(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil


class ScanError(ValueError):
    """The body is not one acceptable JSON object; see the stub."""

    def __init__(self, kind, offset, key=None):
        super().__init__(kind, offset, key)
        self.kind = kind
        self.offset = offset
        self.key = key

    def __str__(self):
        return f"{self.kind} at byte {self.offset}"


cdef tuple FAULT_NAMES = ("", "syntax", "utf8", "depth", "duplicate", "not_object", "too_many", "disguised")

# --- bytes and their classes --------------------------------------------------------------------------------------

cdef enum:
    QUOTE = 0x22
    COMMA = 0x2C
    COLON = 0x3A
    BACKSLASH = 0x5C
    OPEN_OBJECT = 0x7B
    CLOSE_OBJECT = 0x7D

cdef enum:
    WIDTH = 64
    FEW = 8       # bytes that are looked at one by one

cdef enum:
    SPACE = 1
    SCALAR = 2          # what numbers and literals are made of
    SEPARATOR = 4       # comma and colon
    OPENING = 8
    CLOSING = 16
    STRING = 32

cdef uint8_t CLASS[256]     # 0 for what stands in strings alone
cdef uint8_t HEX[256]       # the value of a hexadecimal digit; 255 for other bytes
cdef uint8_t ESCAPED[256]   # what a backslash and this letter stand for; 0 for other bytes


cdef void fill_byte_tables():
    cdef int code
    for code in range(256):
        letter = chr(code)
        CLASS[code] = (
            (SPACE if letter in " \t\n\r" else 0)
            | (SCALAR if code < 128 and (letter.isalnum() or letter in "+-.") else 0)
            | (SEPARATOR if letter in ",:" else 0)
            | (OPENING if letter in "{[" else 0)
            | (CLOSING if letter in "}]" else 0)
            | (STRING if letter == '"' else 0)
        )
        HEX[code] = int(letter, 16) if letter in "0123456789abcdefABCDEF" else 255
        ESCAPED[code] = ord(dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t')).get(letter, "\0"))


fill_byte_tables()


cdef inline Py_ssize_t skip_class(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, uint8_t byte_class
) noexcept nogil:
    while at < end and CLASS[data[at]] & byte_class:
        at += 1
    return at


cdef inline Py_ssize_t skip_space(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Mostly over one or none. A zero stands behind the last byte, as it does behind those of every object of Python's."""
    if data[at] > c" ":
        return at
    if data[at] == c" " and data[at + 1] > c" ":
        return at + 1
    return skip_class(data, at, end, SPACE)


# --- UTF-8 (RFC 3629) ---------------------------------------------------------------------------------------------

cdef inline bint is_continuation(uint8_t byte) noexcept nogil:
    return byte & 0xC0 == 0x80


cdef Py_ssize_t sequence_size(const uint8_t* data, Py_ssize_t size) noexcept nogil:
    """The bytes of the sequence of two or more at `data`, of which `size` may be read; 0 where it is no UTF-8."""
    cdef uint8_t lead = data[0]
    if size < 2 or not is_continuation(data[1]):
        return 0
    if lead < 0xE0:
        return 2 if lead >= 0xC2 else 0                     # C0 and C1 would be overlong
    if size < 3 or not is_continuation(data[2]):
        return 0
    if lead < 0xF0:
        if lead == 0xE0:
            return 3 if data[1] >= 0xA0 else 0              # overlong
        return 3 if lead != 0xED or data[1] < 0xA0 else 0   # surrogates
    if size < 4 or not is_continuation(data[3]):
        return 0
    if lead == 0xF0:
        return 4 if data[1] >= 0x90 else 0                  # overlong
    return 4 if lead < 0xF4 or (lead == 0xF4 and data[1] < 0x90) else 0     # beyond U+10FFFF


# --- values -------------------------------------------------------------------------------------------------------

cdef Py_ssize_t misplaced(Scan* state, Py_ssize_t at) noexcept nogil:
    """Notes a byte (or the end) where it must not stand: a fault of UTF-8 if it is one, of syntax otherwise."""
    if at < state.end and state.data[at] >= 0x80 and not sequence_size(state.data + at, state.end - at):
        return note(state, UTF8, at)
    return note(state, SYNTAX, at)


cdef Py_ssize_t finish_string(Scan* state, Py_ssize_t at) noexcept nogil:
    cdef const uint8_t* data = state.data
    cdef Py_ssize_t end = state.end, size
    while True:
        if at == end:
            return note(state, SYNTAX, end)
        if data[at] == QUOTE:
            return at + 1
        if data[at] == BACKSLASH:
            state.escaped = True
            at += 1
            if at < end and (data[at] == QUOTE or data[at] == BACKSLASH):
                at += 1     # any other byte is judged like its neighbours
            at = skip_plain(data, at, end)
            continue
        if data[at] < 0x20:
            return note(state, SYNTAX, at)
        if at >= 3:
            at = skip_text(data, at, end)
        while at < end and data[at] >= 0x80:
            size = sequence_size(data + at, end - at)
            if size == 0:
                return note(state, UTF8, at)
            at += size
        at = skip_plain(data, at, end)


cdef inline Py_ssize_t skip_between(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Over what is no string and no bracket: mostly a few bytes, of a list of numbers all."""
    cdef Py_ssize_t few = min(end, at + FEW)
    at = skip_class(data, at, few, SPACE | SCALAR | SEPARATOR)
    if at < few or at == end:
        return at
    return skip_class(data, skip_blocks_between(data, at, end), end, SPACE | SCALAR | SEPARATOR)


cdef inline int take_bracket(Scan* state, Py_ssize_t at, int depth) noexcept nogil:
    """The depth behind the bracket at `at`; -1 where it must not stand there."""
    cdef uint8_t byte = state.data[at]
    if CLASS[byte] & OPENING:
        if depth == state.max_depth:
            return <int>note(state, DEPTH, at)
        state.containers += 1
        if state.containers > state.max_containers:
            return <int>note(state, TOO_MANY, at)
        state.closers[depth] = byte + 2     # as ASCII has it, for braces and square brackets alike
        return depth + 1
    if state.closers[depth - 1] != byte:
        return <int>note(state, SYNTAX, at)
    return depth - 1


cdef Py_ssize_t skip_container(Scan* state, Py_ssize_t at, int depth) noexcept nogil:
    """`at` is the opening bracket, `depth` the number of containers around it."""
    cdef const uint8_t* data = state.data
    cdef Py_ssize_t end = state.end, start
    cdef int base = depth
    cdef uint8_t byte_class
    if end <= MAX_STRUCTURE // A_STRING:    # it cannot reach the bound, whatever it is made of
        while end - at >= WIDTH:
            at = skip_window(state, at, base, &depth)
            if at < 0 or depth == base:
                return at
    while True:
        start = at
        at = skip_between(data, at, end)
        if at == end:
            return note(state, SYNTAX, end)
        state.structure += at - start + A_STRING
        if state.structure > MAX_STRUCTURE:
            return note(state, TOO_MANY, at)
        byte_class = CLASS[data[at]]
        if byte_class & STRING:
            at = skip_string(state, at)
            if at < 0:
                return -1
        elif byte_class & (OPENING | CLOSING):
            depth = take_bracket(state, at, depth)
            at += 1
            if depth <= base:
                return at if depth == base else -1
        else:
            return misplaced(state, at)


cdef inline Py_ssize_t skip_window(Scan* state, Py_ssize_t at, int base, int* depth) noexcept nogil:
    """What stands in the next 64 bytes of a container, and all of a string that begins in them; up to its end, if it ends there."""
    cdef Window window = read_window(state.data + at)
    cdef int odd = first_bit(window.odd) if window.odd else WIDTH
    cdef Py_ssize_t bracket
    if window.odd:
        window.brackets &= (<uint64_t>1 << odd) - 1
    while window.brackets:
        bracket = at + first_bit(window.brackets)
        window.brackets &= window.brackets - 1
        depth[0] = take_bracket(state, bracket, depth[0])
        if depth[0] <= base:
            return bracket + 1 if depth[0] == base else -1
    if not window.odd:
        return at + WIDTH if not window.strings >> 63 else skip_rest(state, at + WIDTH)
    if not window.strings >> odd & 1:
        return misplaced(state, at + odd)
    window.quotes &= (<uint64_t>1 << odd) - 1
    return skip_string(state, at + 63 - bits_before(window.quotes))


cdef inline Py_ssize_t skip_value(Scan* state, Py_ssize_t at) noexcept nogil:
    """A value of the top-level object."""
    cdef uint8_t byte_class = CLASS[state.data[at]] if at < state.end else 0
    if byte_class & STRING:
        return skip_string(state, at)
    if byte_class & OPENING:
        return skip_container(state, at, 1)
    if byte_class & SCALAR:
        return skip_class(state.data, at, state.end, SCALAR)
    return misplaced(state, at)


# --- escapes ------------------------------------------------------------------------------------------------------

cdef inline int read_hex4(const uint8_t* text) noexcept nogil:
    """-1 where one of the four bytes is no hexadecimal digit."""
    cdef int i, value = 0
    for i in range(4):
        if HEX[text[i]] == 255:
            return -1
        value = value << 4 | HEX[text[i]]
    return value


cdef inline int put_utf8(int code, uint8_t* out) noexcept nogil:
    """Surrogates are put like any other code point of their size."""
    if code < 0x80:
        out[0] = code
        return 1
    if code < 0x800:
        out[0] = 0xC0 | code >> 6
        out[1] = 0x80 | code & 0x3F
        return 2
    if code < 0x10000:
        out[0] = 0xE0 | code >> 12
        out[1] = 0x80 | code >> 6 & 0x3F
        out[2] = 0x80 | code & 0x3F
        return 3
    out[0] = 0xF0 | code >> 18
    out[1] = 0x80 | code >> 12 & 0x3F
    out[2] = 0x80 | code >> 6 & 0x3F
    out[3] = 0x80 | code & 0x3F
    return 4


cdef Py_ssize_t unescape(const uint8_t* text, Py_ssize_t size, uint8_t* out) noexcept nogil:
    cdef Py_ssize_t at = 0, made = 0, run
    cdef int code, low
    while at < size:
        run = copy_plain(text + at, size - at, out + made)
        made += run
        at += run
        while at < size and text[at] == BACKSLASH:
            if size - at >= 2 and ESCAPED[text[at + 1]]:
                out[made] = ESCAPED[text[at + 1]]
                made += 1
                at += 2
                continue
            code = read_hex4(text + at + 2) if size - at >= 6 and text[at + 1] == c"u" else -1
            if code < 0:
                return -1
            at += 6
            if 0xD800 <= code < 0xDC00 and size - at >= 6 and text[at] == BACKSLASH and text[at + 1] == c"u":
                low = read_hex4(text + at + 2)
                if 0xDC00 <= low < 0xE000:
                    code = 0x10000 + (code - 0xD800 << 10) + (low - 0xDC00)
                    at += 6
            made += put_utf8(code, out + made)
    return made


# --- members ------------------------------------------------------------------------------------------------------

cdef uint64_t SECRET[2]
SECRET[:] = [int.from_bytes(os.urandom(8), "little") | 1, int.from_bytes(os.urandom(8), "little") | 1]


cdef inline uint64_t load_8(const uint8_t* data) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, data, 8)
    return word


cdef inline uint64_t load_4(const uint8_t* data) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, data, 4)
    return word


cdef inline uint64_t digest_of(const uint8_t* key, Py_ssize_t size) noexcept nogil:
    """A keyed hash: each 16 bytes, and the last ones, are folded in by a 64 x 64 bit product (as wyhash does it)."""
    cdef uint64_t digest = SECRET[0] ^ <uint64_t>size, first = 0, last = 0
    while size > 16:
        digest = fold_product(load_8(key) ^ SECRET[1], load_8(key + 8) ^ digest)
        key += 16
        size -= 16
    if size >= 8:           # the two words may overlap
        first = load_8(key)
        last = load_8(key + size - 8)
    elif size >= 4:
        first = load_4(key)
        last = load_4(key + size - 4)
    elif size > 0:
        first = <uint64_t>key[0] << 16 | <uint64_t>key[size >> 1] << 8 | key[size - 1]
    return fold_product(first ^ SECRET[1], last ^ digest)


cdef inline int slot_of(Scan* state, const uint8_t* key, Py_ssize_t size, uint64_t digest) noexcept nogil:
    """The slot that holds the member of this key, or the free one where it belongs."""
    cdef int mask = state.slots_in_use - 1
    cdef int slot = <int>(digest & <uint64_t>mask)
    cdef Member* member
    while state.slots[slot]:
        member = &state.members[state.slots[slot] - 1]
        if member.digest == digest and member.key_size == size and memcmp(member.key, key, size) == 0:
            break
        slot = (slot + 1) & mask
    return slot


cdef inline int find_member(Scan* state, PyObject* wanted) except -1:
    """1 + the index of the member whose key `wanted` is, 0 where there is none."""
    cdef const uint8_t* key
    cdef Py_ssize_t size
    if not PyBytes_CheckExact(<object>wanted):
        raise TypeError("keys must be bytes")
    key = <const uint8_t*>PyBytes_AS_STRING(<object>wanted)
    size = PyBytes_GET_SIZE(<object>wanted)
    return state.slots[slot_of(state, key, size, digest_of(key, size))]


cdef void set_slots(Scan* state, int slots_in_use) noexcept nogil:
    """Begins the table anew with so many slots: small objects pay for a small table."""
    cdef int i
    cdef Member* member
    state.slots_in_use = slots_in_use
    memset(state.slots, 0, slots_in_use * sizeof(uint16_t))
    for i in range(state.count):
        member = &state.members[i]
        state.slots[slot_of(state, member.key, member.key_size, member.digest)] = i + 1


cdef Py_ssize_t resolve_key(Scan* state, Member* member) noexcept nogil:
    """Replaces the key's span by its bytes with the escapes resolved; -1 where one is malformed."""
    cdef Py_ssize_t at = member.key - state.data, size
    if state.resolved_base == NULL:     # no key grows by it: what is left of the body is room enough for all
        state.resolved = state.resolved_base = <uint8_t*>malloc(state.end - at)
        if state.resolved_base == NULL:
            return note(state, NO_MEMORY, at)
    size = unescape(member.key, member.key_size, state.resolved)
    if size < 0:
        return note(state, SYNTAX, at)
    member.key = state.resolved
    member.key_size = size
    state.resolved += size
    return size


# What governs a request. Readers that compare names without regard to case (Go's `encoding/json` does, and so do programs
# that are written in it) would take `Model` for it, and the last of two.
cdef enum:
    GOVERNED_COUNT = 17
    MAX_GOVERNED_BYTES = 21
cdef const char* GOVERNED[GOVERNED_COUNT]
GOVERNED[:] = [
    b"model", b"stream", b"stream_options", b"n", b"best_of", b"max_tokens", b"max_completion_tokens", b"messages",
    b"prompt", b"input", b"suffix", b"tools", b"functions", b"response_format", b"service_tier", b"dimensions",
    b"n_predict",
]


cdef uint64_t BEYOND_ASCII = 0x8080808080808080
cdef uint64_t UPPER = 0x4040404040404040


cdef inline bint is_lower(const uint8_t* key, Py_ssize_t size) noexcept nogil:
    """Whether no byte is beyond ASCII or, as upper case is, between 0x40 and 0x5F; some that are not count as such, too."""
    cdef uint64_t word, any_of = 0
    cdef Py_ssize_t at = 0
    if size < 4:
        for at in range(size):
            any_of |= (key[at] & 0x80) | (key[at] & 0x40 & ~(key[at] << 1))
        return any_of == 0
    if size < 8:            # the two halves may overlap
        word = load_4(key) | load_4(key + size - 4) << 32
        return word & BEYOND_ASCII == 0 and word & ~(word << 1) & UPPER == 0
    while True:
        word = load_8(key + at)
        any_of |= (word & BEYOND_ASCII) | (word & ~(word << 1) & UPPER)
        if at + 8 == size:
            return any_of == 0
        at = min(at + 8, size - 8)


cdef bint is_disguised(const uint8_t* key, Py_ssize_t size) noexcept nogil:
    """Whether a key is one that governs but for the case of its letters, as Unicode folds it: U+017F is an s, U+212A a k."""
    cdef uint8_t folded[MAX_GOVERNED_BYTES]
    cdef uint8_t byte
    cdef Py_ssize_t at = 0, made = 0
    cdef bint changed = False
    cdef int i
    while at < size:
        if made == MAX_GOVERNED_BYTES:
            return False
        byte = key[at]
        at += 1
        if c"A" <= byte <= c"Z":
            byte |= 0x20
            changed = True
        elif byte == 0xC5 and at < size and key[at] == 0xBF:
            byte = c"s"
            at += 1
            changed = True
        elif byte == 0xE2 and size - at >= 2 and key[at] == 0x84 and key[at + 1] == 0xAA:
            byte = c"k"
            at += 2
            changed = True
        elif byte >= 0x80:
            return False
        folded[made] = byte
        made += 1
    if not changed:
        return False
    for i in range(GOVERNED_COUNT):
        if <Py_ssize_t>strlen(GOVERNED[i]) == made and memcmp(GOVERNED[i], folded, made) == 0:
            return True
    return False


cdef Py_ssize_t take_key(Scan* state, Py_ssize_t at) noexcept nogil:
    """Reads the key at `at` into the next member and files it."""
    cdef Member* member = &state.members[state.count]
    cdef Py_ssize_t start = at
    cdef int slot
    if at == state.end or state.data[at] != QUOTE:
        return misplaced(state, at)
    if state.count == MAX_MEMBERS:
        return note(state, TOO_MANY, at)
    at = skip_string(state, at)
    if at < 0:
        return -1
    member.key = state.data + start + 1
    member.key_size = at - start - 2
    if state.escaped and resolve_key(state, member) < 0:
        return -1
    if not is_lower(member.key, member.key_size) and is_disguised(member.key, member.key_size):
        return note(state, DISGUISED, start)
    member.digest = digest_of(member.key, member.key_size)
    if 2 * state.count >= state.slots_in_use:
        set_slots(state, 4 * state.slots_in_use)
    slot = slot_of(state, member.key, member.key_size, member.digest)
    if state.slots[slot]:
        return note(state, DUPLICATE, start)
    state.count += 1
    state.slots[slot] = state.count
    return at


cdef Py_ssize_t take_member(Scan* state, Py_ssize_t at) noexcept nogil:
    """Key, colon and value, and the white space that follows."""
    cdef Member* member = &state.members[state.count]
    at = take_key(state, at)
    if at < 0:
        return -1
    at = skip_space(state.data, at, state.end)
    if at == state.end or state.data[at] != COLON:
        return misplaced(state, at)
    member.start = skip_space(state.data, at + 1, state.end)
    member.end = skip_value(state, member.start)
    if member.end < 0:
        return -1
    return skip_space(state.data, member.end, state.end)


# --- the body -----------------------------------------------------------------------------------------------------

cdef Py_ssize_t begin_object(Scan* state) noexcept nogil:
    cdef Py_ssize_t at = skip_space(state.data, 0, state.end)
    if at < state.end and state.data[at] == OPEN_OBJECT:
        return at + 1
    if at < state.end and (CLASS[state.data[at]] & (STRING | SCALAR | OPENING)):
        return note(state, NOT_OBJECT, at)
    return misplaced(state, at)


cdef Py_ssize_t read_body(Scan* state) noexcept nogil:
    cdef const uint8_t* data = state.data
    cdef Py_ssize_t end = state.end, at = begin_object(state)
    if at < 0:
        return -1
    at = skip_space(data, at, end)
    if at == end or data[at] != CLOSE_OBJECT:
        at = take_member(state, at)
        while 0 <= at < end and data[at] == COMMA:
            at = take_member(state, skip_space(data, at + 1, end))
        if at < 0:
            return -1
        if at == end or data[at] != CLOSE_OBJECT:
            return misplaced(state, at)
    state.closing = at
    at = skip_space(data, at + 1, end)
    return at if at == end else misplaced(state, at)


cdef void begin_scan(Scan* state, bytes body, int max_depth) noexcept:
    """The arrays of `state` are left as they are: what is read of them was written before."""
    state.data = <const uint8_t*>PyBytes_AS_STRING(body)
    state.end = PyBytes_GET_SIZE(body)
    state.max_depth = max_depth
    state.fault = NONE
    state.resolved = state.resolved_base = NULL
    state.count = 0
    state.containers = 0
    state.max_containers = MAX_CONTAINERS
    state.structure = 0
    set_slots(state, 32)


cdef refuse(Scan* state):
    """Raises what `state` noted."""
    cdef Member* member
    key = None
    if state.fault == NO_MEMORY:
        raise MemoryError
    if state.fault == DUPLICATE or state.fault == DISGUISED:
        member = &state.members[state.count]
        key = PyBytes_FromStringAndSize(<const char*>member.key, member.key_size).decode("utf-8", "replace")
    raise ScanError(FAULT_NAMES[state.fault], state.fault_at, key)


cdef Member* member_named(Scan* state, const char* key) noexcept nogil:
    cdef Py_ssize_t size = strlen(key)
    cdef int number = state.slots[slot_of(state, <const uint8_t*>key, size, digest_of(<const uint8_t*>key, size))]
    return &state.members[number - 1] if number else NULL


cdef inline int put_span(tuple spans, Py_ssize_t index, Py_ssize_t start, Py_ssize_t end) except -1:
    PyTuple_SET_ITEM(spans, index, PyLong_FromSsize_t(start))
    PyTuple_SET_ITEM(spans, index + 1, PyLong_FromSsize_t(end))
    return 0


cdef tuple locate(Scan* state, tuple keys):
    """The spans of the values of `keys` and the closing brace, flat."""
    cdef Py_ssize_t count = PyTuple_GET_SIZE(keys), i
    cdef tuple spans = PyTuple_New(2 * count + 1)
    cdef Member* member
    cdef int number
    for i in range(count):
        number = find_member(state, PyTuple_GET_ITEM(keys, i))
        if number:
            member = &state.members[number - 1]
            put_span(spans, 2 * i, member.start, member.end)
        else:
            put_span(spans, 2 * i, -1, -1)
    PyTuple_SET_ITEM(spans, 2 * count, PyLong_FromSsize_t(state.closing))
    return spans


cpdef tuple scan(bytes body, tuple keys=(), int max_depth=100, int max_containers=MAX_CONTAINERS):
    """Checks `body` and locates the values of the top-level `keys`; see the stub."""
    cdef Scan state
    if body is None or keys is None:
        raise TypeError("body must be bytes and keys a tuple")
    if not 1 <= max_depth <= MAX_DEPTH:
        raise ValueError(f"max_depth must be from 1 to {MAX_DEPTH}")
    if not 0 <= max_containers <= MAX_CONTAINERS:
        raise ValueError(f"max_containers must be from 0 to {MAX_CONTAINERS}")
    begin_scan(&state, body, max_depth)
    state.max_containers = max_containers
    try:
        if read_body(&state) < 0:
            refuse(&state)
        return locate(&state, keys)
    finally:
        free(state.resolved_base)
