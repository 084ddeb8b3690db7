# cython: auto_pickle=False, autotestdict=False
"""Counts what an answer holds that has to be paid for, as it passes; see the stub.

Theory. Providers tell what an answer used, at its end; but callers leave before, connections break, and some tell nothing, or
nought. Then what has passed is counted here. Whatever stands in a message is taken for produced but for what is known not to be: a
provider that invents a member must not give its text away.

Rules.
- The walk judges nothing: it follows strings, brackets, commas and colons, and what it makes of a text that is no JSON is bounded by
  that text.
- What is counted depends on the bytes alone and never on how they were cut.
- A key that is spelt with an escape is unknown, so its value counts like any other.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp, memcpy, strlen

from _fastpath.jsonscan cimport find_either

cdef extern from * nogil:
    """
    #include <stdint.h>
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif

    /* The offset of the first byte that is a quote or a bracket; `end` where there is none. */
    static inline Py_ssize_t find_bracket(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) {
    #if defined(__SSE2__)
        const __m128i quotes = _mm_set1_epi8('"'), bit = _mm_set1_epi8(0x20);
        const __m128i opening = _mm_set1_epi8('{'), closing = _mm_set1_epi8('}');
        while (end - at >= 16) {
            __m128i block = _mm_loadu_si128((const __m128i*)(data + at));
            __m128i folded = _mm_or_si128(block, bit);    /* square brackets to braces, a quote to itself */
            __m128i found = _mm_or_si128(_mm_cmpeq_epi8(block, quotes),
                _mm_or_si128(_mm_cmpeq_epi8(folded, opening), _mm_cmpeq_epi8(folded, closing)));
            int mask = _mm_movemask_epi8(found);
            if (mask)
                return at + __builtin_ctz((unsigned)mask);
            at += 16;
        }
    #endif
        while (at < end && data[at] != '"' && (data[at] | 0x20) != '{' && (data[at] | 0x20) != '}')
            at++;
        return at;
    }
    """
    Py_ssize_t find_bracket(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept

cdef enum:
    QUOTE = 0x22
    BACKSLASH = 0x5C
    MAX_USAGE_BYTES = 8192      # of the object; a longer one is none

cdef bytes TOO_LONG = bytes(MAX_USAGE_BYTES)

cdef enum:
    MUTE_COUNT = 16
    MEDIA_COUNT = 9
cdef const char* MUTE_KEYS[MUTE_COUNT]
MUTE_KEYS[:] = [
    b"id", b"role", b"type", b"index", b"object", b"format", b"status", b"created", b"mime_type", b"signature", b"logprobs",
    b"expires_at", b"annotations", b"tool_call_id", b"file_id", b"detail",
]
cdef const char* MEDIA_KEYS[MEDIA_COUNT]
MEDIA_KEYS[:] = [
    b"audio", b"image", b"images", b"image_url", b"video", b"video_url", b"b64_json", b"inline_data", b"input_audio",
]


cdef inline bint is_key(const uint8_t* key, Py_ssize_t size, const char* name) noexcept nogil:
    return <Py_ssize_t>strlen(name) == size and memcmp(key, name, size) == 0


cdef inline bint is_among(const uint8_t* key, Py_ssize_t size, const char** names, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        if is_key(key, size, names[i]):
            return True
    return False


cdef int kind_within(int kind, const uint8_t* key, Py_ssize_t size) noexcept nogil:
    if kind == PRODUCED or kind == MEDIA:
        if is_among(key, size, MUTE_KEYS, MUTE_COUNT):
            return MUTE
        if is_among(key, size, MEDIA_KEYS, MEDIA_COUNT):
            return MEDIA
        return PRODUCED if is_key(key, size, b"text") or is_key(key, size, b"transcript") else kind
    if kind == CHOICE:
        if is_key(key, size, b"message") or is_key(key, size, b"delta") or is_key(key, size, b"text"):
            return PRODUCED
    elif kind == TOP:
        if is_key(key, size, b"choices"):
            return CHOICES
        if is_key(key, size, b"usage"):
            return USAGE
    return MUTE


@cython.final
cdef class AnswerCounter:
    def __cinit__(self):
        self.kind = TOP
        self.usage_part = b""

    cpdef feed(self, bytes data):
        cdef const uint8_t* buf
        cdef Py_ssize_t at = 0, size, start, usage_from = 0
        cdef uint8_t byte
        if data is None:
            raise TypeError("data must be bytes")
        buf = <const uint8_t*>PyBytes_AS_STRING(data)
        size = PyBytes_GET_SIZE(data)
        while at < size:
            if self.in_string:
                start = at
                if self.escaped:
                    self.escaped = False
                    at += 1
                at = find_either(buf, at, size, QUOTE, BACKSLASH)
                if at < size and buf[at] == BACKSLASH:
                    self.escaped = True
                    at += 1
                    self.take_part(buf + start, at - start)
                    continue
                self.take_part(buf + start, at - start)
                if at < size:
                    at += 1
                    self.in_string = False
                    if self.is_key:
                        self.kind = kind_within(self.kinds[self.depth], self.key, self.key_size)
                continue
            if not self.in_object():        # what numbers are made of, and commas, change nothing
                at = find_bracket(buf, at, size)
                if at == size:
                    break
            byte = buf[at]
            at += 1
            if byte == QUOTE:
                self.in_string = True
                self.is_key = self.key_next
                self.key_next = False
                self.key_size = 0
            elif byte == c",":
                self.next_value()
            elif byte == c"{" or byte == c"[":
                self.enter(byte == c"{")
                if self.kinds[min(self.depth, DEEPEST - 1)] == USAGE and not self.usage_depth:
                    self.usage_depth = self.depth
                    usage_from = at - 1
            elif byte == c"}" or byte == c"]":
                if self.depth == self.usage_depth and self.depth:
                    self.keep_usage(buf + usage_from, at - usage_from, True)
                self.leave()
        if self.usage_depth:
            self.keep_usage(buf + usage_from, size - usage_from, False)

    cdef void take_part(self, const uint8_t* part, Py_ssize_t size) noexcept nogil:
        """Of the string that is being read."""
        if self.is_key:
            if self.key_size + size <= KEY_BYTES:
                memcpy(self.key + self.key_size, part, size)
            self.key_size = min(self.key_size + size, KEY_BYTES + 1)
        elif self.kind == PRODUCED:
            self.text_bytes += size
        elif self.kind == MEDIA:
            self.media_bytes += size

    cdef bint in_object(self) noexcept nogil:
        """What lies too deep to be told apart is all values, of the kind around it."""
        return 0 < self.depth < DEEPEST and self.objects[self.depth]

    cdef void enter(self, bint is_object) noexcept nogil:
        self.depth += 1
        if self.depth < DEEPEST:
            self.kinds[self.depth] = CHOICE if self.kind == CHOICES and is_object else self.kind
            self.objects[self.depth] = is_object
        self.next_value()

    cdef void leave(self) noexcept nogil:
        if self.depth:
            self.depth -= 1
        self.next_value()
        self.key_next = False

    cdef void next_value(self) noexcept nogil:
        """Sets what is next in the container that is open: a key, or a value of its kind."""
        self.kind = self.kinds[min(self.depth, DEEPEST - 1)] if self.depth else TOP
        self.key_next = self.in_object()

    cdef keep_usage(self, const uint8_t* part, Py_ssize_t size, bint last):
        """Keeps a part of the object of usage, while it is not too long."""
        if PyBytes_GET_SIZE(self.usage_part) + size > MAX_USAGE_BYTES:
            self.usage_part = TOO_LONG
        else:
            self.usage_part += PyBytes_FromStringAndSize(<const char*>part, size)
        if last:
            if self.usage_part is not TOO_LONG:
                self.usage = self.usage_part
            self.usage_part = b""
            self.usage_depth = 0
