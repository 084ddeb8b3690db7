# cython: auto_pickle=False, autotestdict=False
"""A key of 128 bits for what a JSON request asks, however it is spelt.

Theory. A request is a tree. What a container holds becomes a list of tokens; an object's members come in the order of their
keys, and a container that is a member's value is first made a digest of its own list, for its place is not known before its
object closes. So one pass over the bytes is enough. The digest of the outermost object is the key.

A digest is F(NH(tokens), how many blocks). NH is UMAC's (Black and others, 1999; RFC 4418, section 5.2), with words of 64 bits and
two Toeplitz iterations: of each 1,024 bytes it makes 32, and two different texts of one length meet for a fraction of at most
2**-128 of its keys. F is SipHash-2-4 with 128 bits (Aumasson and Bernstein, 2012): it makes independent numbers of different
values, so that nothing is learnt of NH's key, and nothing that stands above a digest depends on it. NH alone may not be shown;
F alone would be five times slower. Both keys are derived from the secret, the tenant and the names left out, by keyed BLAKE2b and
SHAKE256.

Tokens are whole blocks of 16 bytes, so that a list of them is read in one way only:

    STRING size bytes             up to 14 bytes, padded with zeros
    LONG_STRING size, blocks      the bytes, padded with zeros
    NUMBER sign exponent digits   digits * 10**exponent, the last digit not zero, below 10**18; zero has its sign
    LONG_NUMBER sign exponent size, blocks      more digits, as ASCII, padded with zeros
    TRUE, FALSE, NULL
    OBJECT count                  of members that follow: key, value, sorted by the bytes of their keys
    ARRAY ... END count
    DIGEST, block                 of a container that is a member's value
    ROOT                          context, and the members of the outermost object that are not left out

Rules.
- Functions that read take `at`, where to begin, and return the offset behind what they read, or -1 after noting a fault.
- Strings are judged by `jsonscan`; all else is judged here, by RFC 8259: what is no JSON has no key.
- Nothing is allocated for a request with few members and no escapes. Recursion is bounded by MAX_DEPTH.
"""

import hashlib

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy

from _fastpath.jsonscan cimport (
    DEPTH, DUPLICATE, NO_MEMORY, NOT_OBJECT, SYNTAX, TOO_MANY, Fault, Scan, begin_scan, note, refuse, skip_string, unescape,
)

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* Little-endian, as all that we build for. */

    __extension__ typedef unsigned __int128 tw_wide;

    enum { TW_PIECE = 64 };  /* blocks */

    typedef struct {
        tw_wide nh[2];   /* of the piece that is open */
        uint64_t count;  /* of blocks */
        uint64_t v[4];   /* SipHash's state, begun with the second piece */
    } tw_sum;

    #define TW_TURN(x, n) ((x) << (n) | (x) >> (64 - (n)))

    static inline void tw_rounds(uint64_t* v, int count) {
        while (count--) {
            v[0] += v[1]; v[1] = TW_TURN(v[1], 13) ^ v[0]; v[0] = TW_TURN(v[0], 32);
            v[2] += v[3]; v[3] = TW_TURN(v[3], 16) ^ v[2];
            v[0] += v[3]; v[3] = TW_TURN(v[3], 21) ^ v[0];
            v[2] += v[1]; v[1] = TW_TURN(v[1], 17) ^ v[2]; v[2] = TW_TURN(v[2], 32);
        }
    }

    static inline void tw_hide_word(uint64_t* v, uint64_t word) {
        v[3] ^= word;
        tw_rounds(v, 2);
        v[0] ^= word;
    }

    static inline void tw_begin(tw_sum* sum, const uint64_t* k) {
        sum->nh[0] = sum->nh[1] = 0;
        sum->count = 0;
        sum->v[0] = k[0] ^ 0x736f6d6570736575u;
        sum->v[1] = k[1] ^ 0x646f72616e646f6du ^ 0xee;
        sum->v[2] = k[0] ^ 0x6c7967656e657261u;
        sum->v[3] = k[1] ^ 0x7465646279746573u;
    }

    static inline void tw_hide_piece(uint64_t* v, const tw_wide* nh) {
        for (int i = 0; i < 2; i++) {
            tw_hide_word(v, (uint64_t)nh[i]);
            tw_hide_word(v, (uint64_t)(nh[i] >> 64));
        }
    }

    static void __attribute__((noinline)) tw_end_piece(tw_sum* sum) {
        tw_hide_piece(sum->v, sum->nh);
        sum->nh[0] = sum->nh[1] = 0;
    }

    static inline void tw_put(tw_sum* sum, const uint64_t* keys, const uint64_t* word) {
        const uint64_t* key = keys + 2 * (sum->count % TW_PIECE);
        sum->nh[0] += (tw_wide)(word[0] + key[0]) * (word[1] + key[1]);
        sum->nh[1] += (tw_wide)(word[0] + key[2]) * (word[1] + key[3]);
        if (++sum->count % TW_PIECE == 0)
            tw_end_piece(sum);
    }

    /* The same of a few blocks, for one round trip of the sums through memory. */
    static inline void tw_put_few(tw_sum* sum, const uint64_t* keys, const uint64_t* word, int count) {
        Py_ssize_t at = sum->count % TW_PIECE;
        const uint64_t* key = keys + 2 * at;
        tw_wide first = sum->nh[0], second = sum->nh[1];
        if (at + count >= TW_PIECE) {
            for (; count; count--, word += 2)
                tw_put(sum, keys, word);
            return;
        }
        sum->count += count;
        for (; count; count--, word += 2, key += 2) {
            first += (tw_wide)(word[0] + key[0]) * (word[1] + key[1]);
            second += (tw_wide)(word[0] + key[2]) * (word[1] + key[3]);
        }
        sum->nh[0] = first;
        sum->nh[1] = second;
    }

    static inline void tw_absorb(tw_sum* sum, const uint64_t* keys, const uint8_t* data, Py_ssize_t count) {
        while (count) {
            Py_ssize_t at = sum->count % TW_PIECE, i, piece = TW_PIECE - at < count ? TW_PIECE - at : count;
            const uint64_t* key = keys + 2 * at;
            tw_wide first = sum->nh[0], second = sum->nh[1];
            uint64_t word[2];
            for (i = 0; i < piece; i++, key += 2) {
                memcpy(word, data + 16 * i, 16);
                first += (tw_wide)(word[0] + key[0]) * (word[1] + key[1]);
                second += (tw_wide)(word[0] + key[2]) * (word[1] + key[3]);
            }
            sum->nh[0] = first;
            sum->nh[1] = second;
            sum->count += piece;
            data += 16 * piece;
            count -= piece;
            if (at + piece == TW_PIECE)
                tw_end_piece(sum);
        }
    }

    /* SipHash-2-4-128 of the NH of all pieces, and of the number of blocks. */
    static inline void tw_end(const tw_sum* sum, uint64_t* out) {
        uint64_t v[4];
        uint64_t words = 4 * ((sum->count + TW_PIECE - 1) / TW_PIECE) + 1;
        memcpy(v, sum->v, sizeof(v));  /* they stay in registers */
        if (sum->count % TW_PIECE)
            tw_hide_piece(v, sum->nh);
        tw_hide_word(v, sum->count);
        tw_hide_word(v, 8 * words << 56);
        v[2] ^= 0xee;
        tw_rounds(v, 4);
        out[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
        v[1] ^= 0xdd;
        tw_rounds(v, 4);
        out[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
    }

    /* Fewer than 16 bytes as two words, padded with zeros; nothing behind them is read. */
    static inline void tw_pad(const uint8_t* data, Py_ssize_t size, uint64_t* word) {
        uint64_t low = 0, high = 0;
        uint32_t half, other;
        if (size >= 8) {
            memcpy(&low, data, 8);
            if (size > 8) {
                memcpy(&high, data + size - 8, 8);
                high >>= 8 * (16 - size);
            }
        } else if (size >= 4) {
            memcpy(&half, data, 4);
            memcpy(&other, data + size - 4, 4);
            low = half | (uint64_t)other << 8 * (size - 4);
        } else if (size > 0)
            low = data[0] | (uint64_t)data[size >> 1] << 8 * (size >> 1) | (uint64_t)data[size - 1] << 8 * (size - 1);
        word[0] = low;
        word[1] = high;
    }

    /* Two keys are in the order of these where they differ. Of eight bytes or more `room` is, where they may be read. */
    static inline uint64_t tw_order(const uint8_t* key, Py_ssize_t size, Py_ssize_t room) {
        uint64_t word[2];
        if (room >= 8) {
            memcpy(word, key, 8);
            if (size < 8)
                word[0] = size ? word[0] << 8 * (8 - size) >> 8 * (8 - size) : 0;
        } else
            tw_pad(key, size < 8 ? size : 8, word);
        return __builtin_bswap64(word[0]);
    }

    /* How many of the next eight bytes are digits, up to the first that is none, and the number that they make. */
    static inline int tw_digits(const uint8_t* data, uint64_t* number) {
        const uint64_t high = 0xF0F0F0F0F0F0F0F0u, zeros = 0x3030303030303030u;
        uint64_t word, other;
        int count;
        memcpy(&word, data, 8);
        /* a carry comes of a byte that is no digit, and so tells nothing of those before it */
        other = ((word & high) ^ zeros) | (((word + 0x0606060606060606u) & high) ^ zeros);
        count = other ? __builtin_ctzll(other) >> 3 : 8;
        if (count == 0)
            return 0;
        word = (word & 0x0F0F0F0F0F0F0F0Fu) << 8 * (8 - count);  /* zeros come first */
        word = word * 10 + (word >> 8);  /* pairs, then fours, then all (Lemire, "Quickly parsing eight digits", 2018) */
        *number = ((word & 0x000000FF000000FFu) * 0x000F424000000064u
            + ((word >> 16) & 0x000000FF000000FFu) * 0x0000271000000001u) >> 32;
        return count;
    }
    """
    ctypedef struct Sum "tw_sum":
        pass
    void begin_sum "tw_begin" (Sum* sum, const uint64_t* k) noexcept nogil
    void put_words "tw_put" (Sum* sum, const uint64_t* nh_keys, const uint64_t* word) noexcept nogil
    void put_few "tw_put_few" (Sum* sum, const uint64_t* nh_keys, const uint64_t* word, int count) noexcept nogil
    void absorb "tw_absorb" (Sum* sum, const uint64_t* nh_keys, const uint8_t* data, Py_ssize_t count) noexcept nogil
    void end_sum "tw_end" (const Sum* sum, uint64_t* out) noexcept nogil
    void pad "tw_pad" (const uint8_t* data, Py_ssize_t size, uint64_t* word) noexcept nogil
    uint64_t order_of "tw_order" (const uint8_t* key, Py_ssize_t size, Py_ssize_t room) noexcept nogil
    int read_digits "tw_digits" (const uint8_t* data, uint64_t* number) noexcept nogil

cdef enum Tag:
    ROOT = 1
    OBJECT, ARRAY, END, STRING, LONG_STRING, NUMBER, LONG_NUMBER, TRUE, FALSE, NULL_, DIGEST

cdef enum:
    BLOCK = 16
    SHORT_TEXT = 14            # of a string in the block of its tag
    SHORT_NUMBER = 18           # of a number in the block of its tag
    EXPONENT_DIGITS = 9         # without zeros before them
    FEW = 12                    # members that are sorted by insertion

cdef enum Kind:
    OF_BLOCK, OF_DIGEST, OF_STRING, OF_ESCAPED, OF_DIGITS

# A value: the block of its token, the digest of a container, or where a string or long number stands.
cdef struct Item:
    Kind kind
    uint64_t block[2]
    const uint8_t* text
    Py_ssize_t size
    const uint8_t* key          # of a member, escapes resolved
    Py_ssize_t key_size
    uint64_t order              # of the key, as far as eight bytes tell
    Py_ssize_t at               # where the member begins

cdef struct Walk:
    Scan scan
    const Keys* keys
    Item* items                 # of the members of all open objects
    Py_ssize_t count
    Py_ssize_t capacity
    Item first[FIRST_SLOTS]


# --- tokens -------------------------------------------------------------------------------------------------------

cdef inline void set_block(uint64_t* block, Tag tag, uint8_t detail, int64_t exponent, uint64_t number) noexcept nogil:
    """A tag, a byte, six bytes and eight."""
    block[0] = <uint64_t>tag | <uint64_t>detail << 8 | <uint64_t>exponent << 16
    block[1] = number


cdef inline void put_block(Sum* sum, const Keys* keys, const uint64_t* block) noexcept nogil:
    put_words(sum, keys.nh, block)


cdef inline void put(Sum* sum, const Keys* keys, Tag tag, uint64_t number) noexcept nogil:
    cdef uint64_t block[2]
    set_block(block, tag, 0, 0, number)
    put_block(sum, keys, block)


cdef void put_bytes(Sum* sum, const Keys* keys, const uint8_t* data, Py_ssize_t size) noexcept nogil:
    """In blocks, the last one padded with zeros."""
    cdef uint64_t block[2]
    cdef Py_ssize_t whole = size // BLOCK
    absorb(sum, keys.nh, data, whole)
    if size % BLOCK:
        pad(data + whole * BLOCK, size % BLOCK, block)
        put_block(sum, keys, block)


cdef inline void set_string(uint64_t* block, const uint8_t* data, Py_ssize_t size) noexcept nogil:
    """Of at most SHORT_TEXT bytes."""
    pad(data, size, block)
    block[1] = block[1] << 16 | block[0] >> 48
    block[0] = block[0] << 16 | <uint64_t>size << 8 | <uint64_t>STRING


cdef void put_string(Sum* sum, const Keys* keys, const uint8_t* data, Py_ssize_t size) noexcept nogil:
    cdef uint64_t block[2]
    if size > SHORT_TEXT:
        put(sum, keys, LONG_STRING, size)
        put_bytes(sum, keys, data, size)
        return
    set_string(block, data, size)
    put_block(sum, keys, block)


cdef int put_escaped(Sum* sum, Walk* walk, const Item* item) noexcept nogil:
    """-1 where an escape is malformed."""
    cdef Py_ssize_t size
    cdef uint8_t* resolved = room_for_text(walk, item.text)
    if resolved == NULL:
        return -1
    size = unescape(item.text, item.size, resolved)
    if size < 0:
        return <int>note(&walk.scan, SYNTAX, item.text - walk.scan.data - 1)
    put_string(sum, walk.keys, resolved, size)
    return 0


cdef void put_digits(Sum* sum, const Keys* keys, const Item* item) noexcept nogil:
    """The digits of a number of many, from its first to its last that is not zero."""
    cdef uint64_t block[2]
    cdef uint8_t* into = <uint8_t*>block
    cdef int filled = 0
    cdef Py_ssize_t i
    put_block(sum, keys, item.block)
    block[0] = block[1] = 0
    for i in range(item.size):
        if item.text[i] == c".":
            continue
        into[filled] = item.text[i]
        filled += 1
        if filled == BLOCK:
            put_block(sum, keys, block)
            block[0] = block[1] = 0
            filled = 0
    if filled:
        put_block(sum, keys, block)


cdef int put_item(Sum* sum, Walk* walk, const Item* item) noexcept nogil:
    if item.kind == OF_STRING:
        put_string(sum, walk.keys, item.text, item.size)
    elif item.kind == OF_ESCAPED:
        return put_escaped(sum, walk, item)
    elif item.kind == OF_DIGITS:
        put_digits(sum, walk.keys, item)
    else:
        if item.kind == OF_DIGEST:
            put(sum, walk.keys, DIGEST, 0)
        put_block(sum, walk.keys, item.block)
    return 0


# --- scalars ------------------------------------------------------------------------------------------------------

cdef inline uint8_t next_byte(Walk* walk, Py_ssize_t* at) noexcept nogil:
    """The byte behind white space, not taken; 0 at the end, as it stands behind the bytes of every object."""
    cdef const uint8_t* data = walk.scan.data
    cdef uint8_t byte = data[at[0]]
    while byte <= c" " and (byte == c" " or byte == c"\n" or byte == c"\r" or byte == c"\t"):
        at[0] += 1
        byte = data[at[0]]
    return byte


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return c"0" <= byte <= c"9"


cdef inline Py_ssize_t skip_digits(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    while at < end and is_digit(data[at]):
        at += 1
    return at


cdef inline Py_ssize_t fail(Walk* walk, Fault fault, Py_ssize_t at) noexcept nogil:
    return note(&walk.scan, fault, at)


cdef Py_ssize_t take_exponent(Walk* walk, Py_ssize_t at, int64_t* exponent) noexcept nogil:
    """`at` is behind the letter."""
    cdef const uint8_t* data = walk.scan.data
    cdef Py_ssize_t end = walk.scan.end, first
    cdef bint negative = at < end and data[at] == c"-"
    cdef int64_t value = 0
    if at < end and (data[at] == c"-" or data[at] == c"+"):
        at += 1
    if at == end or not is_digit(data[at]):
        return fail(walk, SYNTAX, at)
    while at < end and data[at] == c"0":
        at += 1
    first = at
    at = skip_digits(data, at, end)
    if at - first > EXPONENT_DIGITS:
        return fail(walk, SYNTAX, first)
    while first < at:
        value = value * 10 + (data[first] - c"0")
        first += 1
    exponent[0] = -value if negative else value
    return at


cdef Py_ssize_t take_number(Walk* walk, Py_ssize_t at, Item* item) noexcept nogil:
    cdef const uint8_t* data = walk.scan.data
    cdef Py_ssize_t end = walk.scan.end, first, last, point, after
    cdef bint negative = data[at] == c"-"
    cdef int64_t exponent = 0, shift
    cdef uint64_t digits = 0
    at += negative
    first = at
    if end - at >= 8:
        at += read_digits(data + at, &digits)
    while at < end and is_digit(data[at]):
        digits = digits * 10 + (data[at] - c"0")
        at += 1
    if at == first or (data[first] == c"0" and at - first > 1):
        return fail(walk, SYNTAX, first)
    if at - first <= SHORT_NUMBER and (at == end or (data[at] != c"." and data[at] | 0x20 != c"e")):
        if data[at - 1] == c"0":
            while digits and digits % 10 == 0:
                digits //= 10
                exponent += 1
        item.kind = OF_BLOCK
        set_block(item.block, NUMBER, negative, exponent, digits)
        return at
    point = last = at                       # behind the units, behind all digits
    if at < end and data[at] == c".":
        last = skip_digits(data, at + 1, end)
        if last == at + 1:
            return fail(walk, SYNTAX, last)
    after = last
    if after < end and data[after] | 0x20 == c"e":
        after = take_exponent(walk, after + 1, &exponent)
        if after < 0:
            return -1
    while first < last and (data[first] == c"0" or data[first] == c"."):
        first += 1
    while first < last and (data[last - 1] == c"0" or data[last - 1] == c"."):
        last -= 1
    shift = point - last if last <= point else point + 1 - last     # how many places the last digit is above the units
    set_number(item, data + first, last - first, negative, exponent + shift)
    return after


cdef void set_number(Item* item, const uint8_t* text, Py_ssize_t size, bint negative, int64_t exponent) noexcept nogil:
    """`text`: from the first digit that is not zero to the last, perhaps with a point in it; of zero, nothing."""
    cdef uint64_t digits = 0
    cdef Py_ssize_t i, count = size
    for i in range(size):
        if text[i] == c".":
            count -= 1
        elif i <= SHORT_NUMBER:
            digits = digits * 10 + (text[i] - c"0")
    if count <= SHORT_NUMBER:
        item.kind = OF_BLOCK
        set_block(item.block, NUMBER, negative, exponent if count else 0, digits)
        return
    item.kind = OF_DIGITS
    item.text = text
    item.size = size
    set_block(item.block, LONG_NUMBER, negative, exponent, count)


cdef inline Py_ssize_t take_word(Walk* walk, Py_ssize_t at, const char* word, int size, Tag tag, Item* item) noexcept nogil:
    if walk.scan.end - at < size or memcmp(walk.scan.data + at, word, size) != 0:
        return fail(walk, SYNTAX, at)
    item.kind = OF_BLOCK
    set_block(item.block, tag, 0, 0, 0)
    return at + size


cdef inline Py_ssize_t take_string(Walk* walk, Py_ssize_t at, Item* item) noexcept nogil:
    cdef Py_ssize_t after = skip_string(&walk.scan, at)
    item.kind = OF_ESCAPED if walk.scan.escaped else OF_STRING
    item.text = walk.scan.data + at + 1
    item.size = after - at - 2
    return after


# --- containers ---------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t take_scalar(Walk* walk, Py_ssize_t at, uint8_t byte, Item* item) noexcept nogil:
    if byte == c'"':
        return take_string(walk, at, item)
    if is_digit(byte) or byte == c"-":
        return take_number(walk, at, item)
    if byte == c"t":
        return take_word(walk, at, b"true", 4, TRUE, item)
    if byte == c"f":
        return take_word(walk, at, b"false", 5, FALSE, item)
    return take_word(walk, at, b"null", 4, NULL_, item)


cdef Py_ssize_t take_container(Walk* walk, Py_ssize_t at, int depth, Sum* sum) noexcept nogil:
    """Puts all that is in the container at `at`; `depth`: of the containers around it."""
    if depth == MAX_DEPTH:
        return fail(walk, DEPTH, at)
    return take_object(walk, at, depth, sum) if walk.scan.data[at] == c"{" else take_array(walk, at, depth, sum)


cdef Py_ssize_t take_array(Walk* walk, Py_ssize_t at, int depth, Sum* sum) noexcept nogil:
    cdef Item item
    cdef uint64_t count = 0
    cdef uint8_t byte
    put(sum, walk.keys, ARRAY, 0)
    at += 1
    byte = next_byte(walk, &at)
    at += byte == c"]"
    while byte != c"]":
        byte = next_byte(walk, &at)
        if byte == c"{" or byte == c"[":
            at = take_container(walk, at, depth + 1, sum)
        else:
            at = take_scalar(walk, at, byte, &item)
            if at < 0:
                return -1
            if item.kind == OF_BLOCK:
                put_block(sum, walk.keys, item.block)
            elif put_item(sum, walk, &item) < 0:
                return -1
        if at < 0:
            return -1
        count += 1
        byte = next_byte(walk, &at)
        if byte != c"," and byte != c"]":
            return fail(walk, SYNTAX, at)
        at += 1
    put(sum, walk.keys, END, count)
    return at


cdef int grow(Walk* walk, Py_ssize_t at) noexcept nogil:
    cdef Item* grown
    cdef Py_ssize_t capacity = 4 * walk.capacity
    if capacity > MAX_OPEN_MEMBERS:
        return <int>fail(walk, TOO_MANY, at)
    grown = <Item*>realloc(NULL if walk.items == walk.first else walk.items, capacity * sizeof(Item))
    if grown == NULL:
        return <int>fail(walk, NO_MEMORY, at)
    if walk.items == walk.first:
        memcpy(grown, walk.first, walk.count * sizeof(Item))
    walk.items = grown
    walk.capacity = capacity
    return 0


cdef uint8_t* room_for_text(Walk* walk, const uint8_t* text) noexcept nogil:
    """Where to resolve the escapes of `text`. Keys stay there, one behind the other, a value only while it is read; none grows, so
    what is left of the body behind the first key with escapes is room enough for all."""
    cdef Scan* scan = &walk.scan
    if scan.resolved_base == NULL:
        scan.resolved = scan.resolved_base = <uint8_t*>malloc(scan.end)
        if scan.resolved_base == NULL:
            fail(walk, NO_MEMORY, text - scan.data)
    return scan.resolved


cdef Py_ssize_t take_key(Walk* walk, Py_ssize_t at, Item* member) noexcept nogil:
    """The key and its colon."""
    cdef Py_ssize_t after, size, room
    cdef uint8_t* resolved
    if next_byte(walk, &at) != c'"':
        return fail(walk, SYNTAX, at)
    after = skip_string(&walk.scan, at)
    if after < 0:
        return -1
    member.at = at
    member.key = walk.scan.data + at + 1
    member.key_size = after - at - 2
    room = walk.scan.end - at - 1
    if walk.scan.escaped:
        resolved = room_for_text(walk, member.key)
        if resolved == NULL:
            return -1
        size = unescape(member.key, member.key_size, resolved)
        if size < 0:
            return fail(walk, SYNTAX, at)
        walk.scan.resolved = resolved + size
        member.key = resolved
        member.key_size = room = size
    member.order = order_of(member.key, member.key_size, room)
    if next_byte(walk, &after) != c":":
        return fail(walk, SYNTAX, after)
    return after + 1


cdef Py_ssize_t take_members(Walk* walk, Py_ssize_t at, int depth) noexcept nogil:
    """All of the object whose brace is at `at`, as items."""
    cdef uint8_t byte
    at += 1
    if next_byte(walk, &at) == c"}":
        return at + 1
    while True:
        if walk.count == walk.capacity and grow(walk, at) < 0:
            return -1
        walk.count += 1
        at = take_member(walk, at, depth, walk.count - 1)
        if at < 0:
            return -1
        byte = next_byte(walk, &at)
        if byte != c"," and byte != c"}":
            return fail(walk, SYNTAX, at)
        at += 1
        if byte == c"}":
            return at


cdef Py_ssize_t take_member(Walk* walk, Py_ssize_t at, int depth, Py_ssize_t index) noexcept nogil:
    cdef Item* member = &walk.items[index]
    cdef Sum sum
    cdef uint8_t byte
    at = take_key(walk, at, member)
    if at < 0:
        return -1
    byte = next_byte(walk, &at)
    if byte != c"{" and byte != c"[":
        return take_scalar(walk, at, byte, member)
    begin_sum(&sum, walk.keys.k)
    at = take_container(walk, at, depth + 1, &sum)
    member = &walk.items[index]         # they may have moved
    member.kind = OF_DIGEST
    end_sum(&sum, member.block)
    return at


cdef Py_ssize_t take_object(Walk* walk, Py_ssize_t at, int depth, Sum* sum) noexcept nogil:
    cdef Py_ssize_t first = walk.count, count, i
    cdef uint8_t turns[FEW]
    at = take_members(walk, at, depth)
    if at < 0:
        return -1
    count = walk.count - first
    if not sort(walk, walk.items + first, count, turns):
        return -1
    put(sum, walk.keys, OBJECT, count)
    for i in range(count):
        if put_member(sum, walk, in_turn(walk.items + first, count, turns, i)) < 0:
            return -1
    walk.count = first
    return at


cdef int put_member(Sum* sum, Walk* walk, const Item* member) noexcept nogil:
    """The key and the value: mostly a block each."""
    cdef const Keys* keys = walk.keys
    cdef uint64_t blocks[6]
    if member.key_size > SHORT_TEXT or member.kind >= OF_ESCAPED:
        put_string(sum, keys, member.key, member.key_size)
        return put_item(sum, walk, member)
    set_string(blocks, member.key, member.key_size)
    if member.kind == OF_STRING and member.size <= SHORT_TEXT:
        set_string(blocks + 2, member.text, member.size)
        put_few(sum, keys.nh, blocks, 2)
    elif member.kind == OF_STRING:
        set_block(blocks + 2, LONG_STRING, 0, 0, member.size)
        put_few(sum, keys.nh, blocks, 2)
        put_bytes(sum, keys, member.text, member.size)
    elif member.kind == OF_DIGEST:
        set_block(blocks + 2, DIGEST, 0, 0, 0)
        memcpy(blocks + 4, member.block, BLOCK)
        put_few(sum, keys.nh, blocks, 3)
    else:
        memcpy(blocks + 2, member.block, BLOCK)
        put_few(sum, keys.nh, blocks, 2)
    return 0


cdef int compare(const void* a, const void* b) noexcept nogil:
    cdef const Item* left = <const Item*>a
    cdef const Item* right = <const Item*>b
    cdef int order
    if left.order != right.order:
        return 1 if left.order > right.order else -1
    order = memcmp(left.key, right.key, min(left.key_size, right.key_size))
    return order if order else (left.key_size > right.key_size) - (left.key_size < right.key_size)


cdef bint sort(Walk* walk, Item* items, Py_ssize_t count, uint8_t* turns) noexcept nogil:
    """Sorts the members of an object. A few stay where they are, for they are large and were just written: `turns` has their order.
    False where two have one key."""
    cdef Py_ssize_t i, at
    if count > FEW:
        qsort(items, count, sizeof(Item), &compare)
    else:
        for i in range(count):
            at = i
            while at > 0 and compare(&items[turns[at - 1]], &items[i]) > 0:
                turns[at] = turns[at - 1]
                at -= 1
            turns[at] = <uint8_t>i
    return all_differ(walk, items, count, turns)


cdef inline Item* in_turn(Item* items, Py_ssize_t count, const uint8_t* turns, Py_ssize_t i) noexcept nogil:
    return &items[i if count > FEW else turns[i]]


cdef inline bint all_differ(Walk* walk, Item* items, Py_ssize_t count, const uint8_t* turns) noexcept nogil:
    cdef Py_ssize_t i
    cdef Item* item
    cdef Item* before
    for i in range(1, count):
        before = in_turn(items, count, turns, i - 1)
        item = in_turn(items, count, turns, i)
        if compare(before, item) == 0:
            fail(walk, DUPLICATE, max(item.at, before.at))
            walk.scan.members[walk.scan.count].key = item.key       # for whoever raises it
            walk.scan.members[walk.scan.count].key_size = item.key_size
            return False
    return True


# --- the Python face ----------------------------------------------------------------------------------------------

cdef void begin_walk(Walk* walk, const Keys* keys, bytes body) noexcept:
    begin_scan(&walk.scan, body, MAX_DEPTH)
    walk.keys = keys
    walk.items = walk.first
    walk.count = 0
    walk.capacity = FIRST_SLOTS


cdef void end_walk(Walk* walk) noexcept:
    free(walk.scan.resolved_base)
    if walk.items != walk.first:
        free(walk.items)


cdef Py_ssize_t take_body(Walk* walk, uint8_t* turns) noexcept nogil:
    cdef Py_ssize_t at = 0
    if next_byte(walk, &at) != c"{":
        return fail(walk, NOT_OBJECT, at)
    at = take_members(walk, at, 0)
    if at < 0 or not sort(walk, walk.items, walk.count, turns):
        return -1
    next_byte(walk, &at)
    return at if at == walk.scan.end else fail(walk, SYNTAX, at)


@cython.final
cdef class CacheKeys:
    """Makes the keys of one tenant; see the stub."""

    def __cinit__(self, bytes secret not None, bytes tenant not None, tuple left_out not None=()):
        if not 32 <= len(secret) <= 64:
            raise ValueError("a secret has 32 to 64 bytes")
        if not tenant:
            raise ValueError("a tenant has a name")
        if len(left_out) > MAX_LEFT_OUT:
            raise ValueError(f"at most {MAX_LEFT_OUT} names can be left out")
        names = sorted({<bytes?>name for name in left_out})
        told = b"".join([len(part).to_bytes(8, "little") + part for part in [tenant, *names]])
        seed = hashlib.blake2b(told, key=secret, person=b"throughway-cache").digest()
        memcpy(&self._keys, PyBytes_AS_STRING(hashlib.shake_256(seed).digest(sizeof(Keys))), sizeof(Keys))
        self._left_out = tuple(names)

    cpdef bytes key(self, bytes body, bytes context):
        """The 16 bytes of the body's key."""
        cdef Walk walk
        cdef Sum sum, left_out
        cdef Sum* into
        cdef Item* member
        cdef uint64_t digest[2]
        cdef uint8_t turns[FEW]
        cdef Py_ssize_t i
        if body is None or context is None:
            raise TypeError("body and context must be bytes")
        begin_walk(&walk, &self._keys, body)
        try:
            if take_body(&walk, turns) < 0:
                refuse(&walk.scan)
            begin_sum(&sum, self._keys.k)
            begin_sum(&left_out, self._keys.k)
            put(&sum, &self._keys, ROOT, 0)
            put_string(&sum, &self._keys, <const uint8_t*>PyBytes_AS_STRING(context), PyBytes_GET_SIZE(context))
            for i in range(walk.count):
                member = in_turn(walk.items, walk.count, turns, i)
                into = &left_out if self._leaves_out(member.key, member.key_size) else &sum
                if put_member(into, &walk, member) < 0:     # escapes are judged here, in what is left out too
                    refuse(&walk.scan)
            end_sum(&sum, digest)
            return PyBytes_FromStringAndSize(<const char*>digest, BLOCK)
        finally:
            end_walk(&walk)

    cdef bint _leaves_out(self, const uint8_t* key, Py_ssize_t size) noexcept:
        for name in self._left_out:
            if PyBytes_GET_SIZE(<bytes>name) == size and memcmp(PyBytes_AS_STRING(<bytes>name), key, size) == 0:
                return True
        return False
