"""OpenAI's chat completions, the usual ones, in one pass over the bytes; see the stub.

Theory. A decoder that makes objects spends most of its time on objects that nobody looks at. Here `jsonscan` has found the
members of the top level and what may be at odds with RFC 8259; each value is then walked once more, strictly, and what
governs is taken from the bytes on the way.

Rules.
- The walk is strict and narrow: it returns -1 (UNSURE) for a fault and for whatever it does not care to read, and the
  dialect's reader decides. So it may be stricter than a decoder, and never laxer.
- Functions that read take `at`, where to begin, and `end`, one past the last byte they may look at, and return the offset
  behind what they read. Recursion is bounded: what nests deeper than MAX_DEPTH is not read.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, strlen

from _fastpath.jsonscan cimport (
    MAX_DEPTH, Member, Scan, begin_scan, member_named, read_body, refuse, skip_plain, unescape,
)
from _fastpath.usage cimport Usage

from _fastpath.jsonscan import ScanError

cdef enum:
    UNSURE = -1
    QUOTE = 0x22
    BACKSLASH = 0x5C
    MAX_DIGITS = 10
    ESCAPED_KEY_BYTES = 128     # longest key with escapes that is looked at: six bytes for each of the longest name that governs

cdef enum:
    C_TOKENS_A_MESSAGE = 4      # three, and one of the role (OpenAI cookbook, "How to count tokens with tiktoken")
    C_TOKENS_OF_PRIMING = 3
    C_TOKENS_A_NAME = 1
    C_TOKENS_OF_MEDIA = 765     # of what nobody knows the size of, at the least: as an image of 1024 x 1024
    C_MAX_IMAGES = 500          # OpenAI's bound; of more, none is looked at
    C_MEDIA_BYTES_A_TOKEN = 512 # of audio and files in base64, to reserve for
    C_MAX_CHOICES = 128
    C_MOST_TOKENS = 100_000_000

cdef enum:      # what a request needs of a model beside text; snapshots hold these bits, so none changes its place
    C_IMAGE = 1
    C_AUDIO = 2
    C_VIDEO = 4
    C_PDF = 8
    C_TOOLS = 16
    C_JSON_SCHEMA = 32

TOKENS_A_MESSAGE = C_TOKENS_A_MESSAGE
TOKENS_OF_PRIMING = C_TOKENS_OF_PRIMING
TOKENS_A_NAME = C_TOKENS_A_NAME
TOKENS_OF_MEDIA = C_TOKENS_OF_MEDIA
MAX_IMAGES = C_MAX_IMAGES
MEDIA_BYTES_A_TOKEN = C_MEDIA_BYTES_A_TOKEN
MAX_CHOICES = C_MAX_CHOICES
MOST_TOKENS = C_MOST_TOKENS
NEEDS_IMAGE = C_IMAGE
NEEDS_AUDIO = C_AUDIO
NEEDS_VIDEO = C_VIDEO
NEEDS_PDF = C_PDF
NEEDS_TOOLS = C_TOOLS
NEEDS_JSON_SCHEMA = C_JSON_SCHEMA

cdef struct Span:
    Py_ssize_t start
    Py_ssize_t end      # 0 where there is no such span

cdef struct Key:
    const uint8_t* text
    Py_ssize_t size                         # -1 of one with escapes that is too long to matter
    uint8_t resolved[ESCAPED_KEY_BYTES]

# A member that governs and stands twice in its object: some readers take the first one, some the last.
cdef struct Twice:
    Py_ssize_t at                           # of the second key; 0 where there is none
    const char* name

cdef bytes ASK_IN_NOTHING = b',"stream_options":{"include_usage":true}'
cdef bytes ASK_IN_NULL = b'{"include_usage":true}'
cdef bytes ASK_IN_EMPTY = b'"include_usage":true'
cdef bytes ASK_IN_OTHERS = b',"include_usage":true'
cdef bytes ASK_FOR_IT = b"true"


@cython.final
cdef class Reading:
    def __init__(
        self,
        str model,
        Py_ssize_t model_start,
        Py_ssize_t model_end,
        Py_ssize_t close,
        bint stream=False,
    ):
        self.model = model
        self.model_start = model_start
        self.model_end = model_end
        self.close = close
        self.stream = stream
        self.usage_start = self.usage_end = close
        self.usage_text = ASK_IN_NOTHING
        self.texts = []
        self.max_output_tokens = -1
        self.choices = 1


# --- the strict walk (RFC 8259) -----------------------------------------------------------------------------------

cdef inline Py_ssize_t skip_space(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    while at < end and (data[at] == c" " or data[at] == c"\n" or data[at] == c"\r" or data[at] == c"\t"):
        at += 1
    return at


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return c"0" <= byte <= c"9"


cdef inline bint is_hex(uint8_t byte) noexcept nogil:
    return is_digit(byte) or c"a" <= (byte | 0x20) <= c"f"


cdef inline bint is_hex4(const uint8_t* data) noexcept nogil:
    return is_hex(data[0]) and is_hex(data[1]) and is_hex(data[2]) and is_hex(data[3])


cdef Py_ssize_t unicode_escape_size(const uint8_t* data, Py_ssize_t room) noexcept nogil:
    """Of `\\uXXXX`, or of the two that are a pair of surrogates; UNSURE for half a pair, as for anything else."""
    if room < 6 or not is_hex4(data + 2):
        return UNSURE
    if (data[2] | 0x20) != c"d" or data[3] < c"8":
        return 6
    if (data[3] | 0x20) > c"b" or room < 12 or data[6] != BACKSLASH or data[7] != c"u" or not is_hex4(data + 8):
        return UNSURE
    return 12 if (data[8] | 0x20) == c"d" and (data[9] | 0x20) >= c"c" else UNSURE


cdef Py_ssize_t skip_string(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, bint* escaped) noexcept nogil:
    """`at` is the opening quote. `jsonscan` has judged UTF-8 and control bytes."""
    cdef uint8_t byte
    cdef Py_ssize_t size
    at += 1
    escaped[0] = False
    while True:
        at = skip_plain(data, at, end)
        if at >= end:
            return UNSURE
        byte = data[at]
        if byte == QUOTE:
            return at + 1
        if byte >= 0x80:
            while at < end and data[at] >= 0x80:
                at += 1
        elif byte != BACKSLASH or end - at < 2:
            return UNSURE
        elif data[at + 1] == c"u":
            size = unicode_escape_size(data + at, end - at)
            if size < 0:
                return UNSURE
            escaped[0] = True
            at += size
        elif data[at + 1] in (c'"', c"\\", c"/", c"b", c"f", c"n", c"r", c"t"):
            escaped[0] = True
            at += 2
        else:
            return UNSURE


cdef inline Py_ssize_t skip_digits(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """At least one."""
    cdef Py_ssize_t start = at
    while at < end and is_digit(data[at]):
        at += 1
    return at if at > start else UNSURE


cdef Py_ssize_t skip_number(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    if at < end and data[at] == c"-":
        at += 1
    if at < end and data[at] == c"0":
        at += 1
    else:
        at = skip_digits(data, at, end)
    if 0 <= at < end and data[at] == c".":
        at = skip_digits(data, at + 1, end)
    if 0 <= at < end and (data[at] | 0x20) == c"e":
        at += 1
        if at < end and (data[at] == c"+" or data[at] == c"-"):
            at += 1
        at = skip_digits(data, at, end)
    return at


cdef inline Py_ssize_t skip_word(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, const char* word
) noexcept nogil:
    cdef Py_ssize_t size = strlen(word)
    return at + size if end - at >= size and memcmp(data + at, word, size) == 0 else UNSURE


cdef Py_ssize_t skip_value(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int room=MAX_DEPTH) noexcept nogil:
    """`room`: how many containers deep it may be."""
    cdef bint escaped
    if at >= end:
        return UNSURE
    if data[at] == QUOTE:
        return skip_string(data, at, end, &escaped)
    if data[at] == c"{":
        return skip_object(data, at, end, room - 1) if room else UNSURE
    if data[at] == c"[":
        return skip_array(data, at, end, room - 1) if room else UNSURE
    if data[at] == c"t":
        return skip_word(data, at, end, b"true")
    if data[at] == c"f":
        return skip_word(data, at, end, b"false")
    if data[at] == c"n":
        return skip_word(data, at, end, b"null")
    return skip_number(data, at, end)


cdef Py_ssize_t skip_array(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int room) noexcept nogil:
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == c"]":
        return at + 1
    while True:
        at = skip_value(data, at, end, room)
        if at < 0:
            return UNSURE
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            return at + 1 if at < end and data[at] == c"]" else UNSURE
        at = skip_space(data, at + 1, end)


cdef Py_ssize_t take_key(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Key* key) noexcept nogil:
    """A key and its colon; returns where the value begins."""
    cdef bint escaped
    key.text = data + at + 1
    if at >= end or data[at] != QUOTE:
        return UNSURE
    at = skip_string(data, at, end, &escaped)
    if at < 0:
        return UNSURE
    key.size = data + at - 1 - key.text
    if escaped:
        key.size = unescape(key.text, key.size, key.resolved) if key.size <= ESCAPED_KEY_BYTES else -1
        key.text = key.resolved
    at = skip_space(data, at, end)
    return skip_space(data, at + 1, end) if at < end and data[at] == c":" else UNSURE


cdef inline Py_ssize_t next_member(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """Behind a value: where the next key begins, or the closing brace; UNSURE for anything else."""
    at = skip_space(data, at, end)
    if at < end and data[at] == c"}":
        return at
    if at >= end or data[at] != c",":
        return UNSURE
    at = skip_space(data, at + 1, end)
    return at if at < end and data[at] == QUOTE else UNSURE


cdef Py_ssize_t skip_object(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int room) noexcept nogil:
    cdef bint escaped
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = skip_string(data, at, end, &escaped) if data[at] == QUOTE else UNSURE
        if at >= 0:
            at = skip_space(data, at, end)
            at = skip_space(data, at + 1, end) if at < end and data[at] == c":" else UNSURE
        if at >= 0:
            at = skip_value(data, at, end, room)
        if at >= 0:
            at = next_member(data, at, end)
    return at + 1 if 0 <= at < end else UNSURE


# --- what governs -------------------------------------------------------------------------------------------------

cdef inline bint is_key(const Key* key, const char* name) noexcept nogil:
    cdef Py_ssize_t size = strlen(name)
    return key.size == size and memcmp(key.text, name, size) == 0


cdef inline bint is_first(int* seen, int bit, const char* name, Py_ssize_t at, Twice* twice) noexcept nogil:
    """Whether the member of that name has not been seen in its object yet."""
    if seen[0] & bit:
        twice.at = at
        twice.name = name
        return False
    seen[0] |= bit
    return True


cdef inline bint is_null(const uint8_t* data, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    return end - start == 4 and memcmp(data + start, b"null", 4) == 0


cdef int64_t whole_number(const uint8_t* data, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    """A number of digits alone; UNSURE for any other."""
    cdef int64_t value = 0
    cdef Py_ssize_t at
    if end - start > MAX_DIGITS or end == start or (data[start] == c"0" and end - start > 1):
        return UNSURE
    for at in range(start, end):
        if not is_digit(data[at]):
            return UNSURE
        value = value * 10 + (data[at] - c"0")
    return value


cdef bytes text_of(const uint8_t* data, Py_ssize_t start, Py_ssize_t end, bint escaped):
    """What stands between a string's quotes, as UTF-8: the walk lets no lone surrogate pass."""
    cdef bytes resolved
    cdef Py_ssize_t size
    if not escaped:
        return PyBytes_FromStringAndSize(<const char*>data + start, end - start)
    resolved = PyBytes_FromStringAndSize(NULL, end - start)
    size = unescape(data + start, end - start, <uint8_t*>PyBytes_AS_STRING(resolved))
    return resolved[:size]


cdef Py_ssize_t take_text(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, list texts) except -2:
    """A string, which is kept where it is not empty, or null."""
    cdef Py_ssize_t start = at + 1
    cdef bint escaped
    if at >= end or data[at] != QUOTE:
        return skip_word(data, at, end, b"null")
    at = skip_string(data, at, end, &escaped)
    if at > start + 1:
        texts.append(text_of(data, start, at - 1, escaped))
    return at


cdef enum:      # members of a message or a part that were seen
    ROLE = 1
    CONTENT = 2
    NAME = 4
    TOOL_CALLS = 8
    FUNCTION_CALL = 16
    TYPE = 32
    TEXT = 64
    IMAGE = 128
    DETAIL = 256
    URL = 512
    USAGE = 1024


cdef int note_image(Reading reading, Py_ssize_t start, Py_ssize_t end, bint low) except -1:
    reading.needs |= C_IMAGE
    if reading.image_spans is None:
        reading.image_spans = []
    if len(reading.image_spans) < C_MAX_IMAGES:
        reading.image_spans.append((start, end, low))
    else:
        reading.more_images += 1
    return 0


cdef Py_ssize_t read_image(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Reading reading, Twice* twice
) except -2:
    """The value of `image_url`: an address, or an object of it and how closely to look; or null."""
    cdef Key key
    cdef Py_ssize_t start
    cdef Py_ssize_t url_start = 0, url_end = 0
    cdef int seen = 0
    cdef bint escaped, is_url, low = False
    if at < end and data[at] == c"n":
        return skip_word(data, at, end, b"null")
    if at < end and data[at] == QUOTE:
        start = at + 1
        at = skip_string(data, at, end, &escaped)
        if at >= 0:
            note_image(reading, start, at - 1, False)
        return at
    if at >= end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        start = at
        at = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        if is_key(&key, b"detail"):
            if not is_first(&seen, DETAIL, b"detail", start, twice) or at >= end or data[at] != QUOTE:
                return UNSURE
            start = at
            at = skip_string(data, at, end, &escaped)
            if at - start == 5 and memcmp(data + start, b'"low"', 5) == 0:
                low = True
        else:
            is_url = is_key(&key, b"url")
            if is_url and not is_first(&seen, URL, b"url", start, twice):
                return UNSURE
            start = at + 1
            at = skip_value(data, at, end)
            if is_url and at >= 0:
                url_start, url_end = start, at - 1
        if at >= 0:
            at = next_member(data, at, end)
    if not 0 <= at < end:
        return UNSURE
    note_image(reading, url_start, url_end, low)
    return at + 1


cdef inline int need_of(const Key* key) noexcept nogil:
    """What the member of a part brings. A file may be other than a PDF: who refuses it looks."""
    if is_key(key, b"input_audio") or is_key(key, b"audio_url"):
        return C_AUDIO
    if is_key(key, b"video_url"):
        return C_VIDEO
    return C_PDF if is_key(key, b"file") else 0


cdef Py_ssize_t read_part(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Reading reading, int64_t* tokens, Twice* twice
) except -2:
    """A part of a message's content. All that it holds is reserved for: nobody knows which of several a provider takes."""
    cdef Key key
    cdef Py_ssize_t start, key_at
    cdef int seen = 0
    cdef int64_t media = 0
    cdef bint escaped
    if at >= end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        key_at = at
        at = start = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        if is_key(&key, b"text"):
            if not is_first(&seen, TEXT, b"text", key_at, twice):
                return UNSURE
            at = take_text(data, at, end, reading.texts)
        elif is_key(&key, b"type"):
            if not is_first(&seen, TYPE, b"type", key_at, twice) or at >= end or data[at] != QUOTE:
                return UNSURE
            at = skip_string(data, at, end, &escaped)
        elif is_key(&key, b"image_url"):
            if not is_first(&seen, IMAGE, b"image_url", key_at, twice):
                return UNSURE
            at = read_image(data, at, end, reading, twice)
        else:
            at = skip_value(data, at, end)
            media += (at - start) // C_MEDIA_BYTES_A_TOKEN
            if at >= 0 and not is_null(data, start, at):
                reading.needs |= need_of(&key)
        if at >= 0:
            at = next_member(data, at, end)
    if not seen & (TEXT | IMAGE):       # audio, a file, or whatever else there will be
        media = max(media, C_TOKENS_OF_MEDIA)
    tokens[0] += media
    return at + 1 if 0 <= at < end else UNSURE


cdef Py_ssize_t read_content(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Reading reading, int64_t* tokens, Twice* twice
) except -2:
    """A text, parts, or null."""
    if at >= end or data[at] != c"[":
        return take_text(data, at, end, reading.texts)
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == c"]":
        return at + 1
    while True:
        at = read_part(data, at, end, reading, tokens, twice)
        if at < 0:
            return UNSURE
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            return at + 1 if at < end and data[at] == c"]" else UNSURE
        at = skip_space(data, at + 1, end)


cdef Py_ssize_t read_message(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Reading reading, int64_t* tokens, Twice* twice
) except -2:
    """One message. `at` is its brace."""
    cdef Key key
    cdef Py_ssize_t start, key_at
    cdef int seen = 0
    cdef bint escaped
    if at >= end or data[at] != c"{":
        return UNSURE
    tokens[0] += C_TOKENS_A_MESSAGE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        key_at = at
        at = start = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        if is_key(&key, b"content"):
            if not is_first(&seen, CONTENT, b"content", key_at, twice):
                return UNSURE
            at = read_content(data, at, end, reading, tokens, twice)
        elif is_key(&key, b"role"):
            if not is_first(&seen, ROLE, b"role", key_at, twice) or at >= end or data[at] != QUOTE:
                return UNSURE
            at = skip_string(data, at, end, &escaped)
        elif is_key(&key, b"name"):
            if not is_first(&seen, NAME, b"name", key_at, twice):
                return UNSURE
            tokens[0] += C_TOKENS_A_NAME if at < end and data[at] == QUOTE else 0
            at = take_text(data, at, end, reading.texts)
        elif is_key(&key, b"tool_calls") or is_key(&key, b"function_call"):
            if key.size == 10 and not is_first(&seen, TOOL_CALLS, b"tool_calls", key_at, twice):
                return UNSURE
            if key.size != 10 and not is_first(&seen, FUNCTION_CALL, b"function_call", key_at, twice):
                return UNSURE
            at = skip_value(data, at, end)
            if at >= 0 and not is_null(data, start, at):
                reading.texts.append(text_of(data, start, at, False))
        else:
            at = skip_value(data, at, end)
        if at >= 0:
            at = next_member(data, at, end)
    return at + 1 if 0 <= at < end and seen & ROLE else UNSURE


cdef bint read_messages(
    const uint8_t* data, Py_ssize_t start, Py_ssize_t end, Reading reading, Twice* twice
) except -1:
    """Notes what a list of messages costs; False where it is none, or a member that governs stands twice in it."""
    cdef Py_ssize_t at = start
    cdef int64_t tokens = 0
    if data[at] != c"[":
        return False
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == c"]":
        return at == end - 1
    while True:
        at = read_message(data, at, end, reading, &tokens, twice)
        if at < 0:
            return False
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            reading.fixed_tokens += tokens
            return at == end - 1
        at = skip_space(data, at + 1, end)


cdef bint read_options(
    const uint8_t* data, Py_ssize_t start, Py_ssize_t end, Reading reading, Twice* twice
) except -1:
    """The value of `stream_options`: whether it asks for usage, and what to write where in order that it does."""
    cdef Key key
    cdef Py_ssize_t at, key_at
    cdef int seen = 0
    reading.usage_start = start
    reading.usage_end = end
    reading.usage_text = ASK_IN_NULL
    if is_null(data, start, end):
        return True
    if data[start] != c"{":
        return False
    at = skip_space(data, start + 1, end)
    reading.usage_start = reading.usage_end = end - 1
    reading.usage_text = ASK_IN_EMPTY if at == end - 1 else ASK_IN_OTHERS
    while 0 <= at < end and data[at] != c"}":
        key_at = at
        at = take_key(data, at, end, &key)
        if at < 0:
            return False
        if is_key(&key, b"include_usage"):
            if not is_first(&seen, USAGE, b"include_usage", key_at, twice):
                return False
            reading.usage_start = at
            reading.usage_text = ASK_FOR_IT
            if at < end and data[at] != c"t" and data[at] != c"f" and data[at] != c"n":
                return False
            reading.include_usage = at < end and data[at] == c"t"
            at = skip_value(data, at, end)
            reading.usage_end = at
        else:
            at = skip_value(data, at, end)
        if at >= 0:
            at = next_member(data, at, end)
    return at == end - 1


cdef Py_ssize_t read_ids(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int64_t* tokens) noexcept nogil:
    """A token id, or a list of them."""
    cdef Py_ssize_t start = at
    if at < end and data[at] != c"[":
        tokens[0] += 1
        at = skip_digits(data, at, end)
        return at if at == start + 1 or data[start] != c"0" else UNSURE
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == c"]":
        return at + 1
    while True:
        if at >= end or data[at] == c"[":
            return UNSURE
        at = read_ids(data, at, end, tokens)
        if at < 0:
            return UNSURE
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            return at + 1 if at < end and data[at] == c"]" else UNSURE
        at = skip_space(data, at + 1, end)


cpdef int64_t read_prompt(Reading reading, bytes body, Py_ssize_t start, Py_ssize_t end, int64_t most) except -2:
    cdef const uint8_t* data
    cdef Py_ssize_t at = start
    cdef int64_t tokens = 0, prompts = 0
    if reading is None or body is None or not 0 <= start < end <= PyBytes_GET_SIZE(body):
        raise ValueError("a reading, and a span of a body")
    data = <const uint8_t*>PyBytes_AS_STRING(body)
    if data[at] != c"[":
        return 1 if take_text(data, at, end, reading.texts) == end else UNSURE
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == c"]":
        return 1 if at == end - 1 else UNSURE
    while True:
        if at >= end:
            return UNSURE
        prompts += data[at] == QUOTE or data[at] == c"["
        if prompts > most:
            return prompts
        if data[at] == QUOTE:
            at = take_text(data, at, end, reading.texts)
        else:
            at = read_ids(data, at, end, &tokens)
        if at < 0:
            return UNSURE
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            reading.fixed_tokens += tokens
            return max(prompts, 1) if at == end - 1 else UNSURE
        at = skip_space(data, at + 1, end)


cdef refuse_twice(Twice* twice):
    if twice.at:
        raise ScanError("duplicate", twice.at, twice.name.decode())


cpdef bint read_part_of(Reading reading, bytes body, str name, Py_ssize_t start, Py_ssize_t end) except -1:
    cdef Twice twice = Twice(0, NULL)
    cdef const uint8_t* data
    cdef bint well
    if reading is None or body is None or not 0 <= start < end <= PyBytes_GET_SIZE(body):
        raise ValueError("a reading, and a span of a body")
    data = <const uint8_t*>PyBytes_AS_STRING(body)
    if name == "messages":
        well = read_messages(data, start, end, reading, &twice)
    elif name == "stream_options":
        well = read_options(data, start, end, reading, &twice)
    else:
        raise ValueError(f"{name} is read otherwise")
    refuse_twice(&twice)
    return well


cdef inline bint take_number(Scan* state, const char* name, int64_t* value) noexcept nogil:
    """False where the member is no whole number; `value` stays where it is absent or null."""
    cdef Member* member = member_named(state, name)
    if member == NULL or is_null(state.data, member.start, member.end):
        return True
    value[0] = whole_number(state.data, member.start, member.end)
    return value[0] >= 0


cdef inline bint take_most(Scan* state, const char* name, int64_t* most) noexcept nogil:
    """The larger of `most` and a bound of the answer: some providers honour the one, some the other."""
    cdef int64_t bound = -1
    if not take_number(state, name, &bound) or bound == 0 or bound > C_MOST_TOKENS:
        return False
    most[0] = max(most[0], bound)
    return True


cdef inline bint take_choices_asked(Scan* state, const char* name, int64_t* choices) noexcept nogil:
    cdef int64_t asked = 1
    if not take_number(state, name, &asked) or not 1 <= asked <= C_MAX_CHOICES:
        return False
    choices[0] = max(choices[0], asked)
    return True


cdef Reading read_scanned(Scan* state):
    cdef const uint8_t* data = state.data
    cdef Member* model = member_named(state, b"model")
    cdef Member* messages = member_named(state, b"messages")
    cdef Member* options = member_named(state, b"stream_options")
    cdef Member* member
    cdef Twice twice = Twice(0, NULL)
    cdef Reading reading
    cdef bint escaped
    cdef int i
    if state.resolved_base != NULL:     # a key with escapes
        return None
    for i in range(state.count):
        member = &state.members[i]
        if member != messages and member != options and skip_value(data, member.start, member.end) != member.end:
            return None
    if model == NULL or model.end - model.start < 3 or data[model.start] != QUOTE:
        return None
    skip_string(data, model.start, model.end, &escaped)
    reading = Reading.__new__(Reading)
    if escaped:
        reading.model = text_of(data, model.start + 1, model.end - 1, True).decode()
    else:
        reading.model = PyUnicode_DecodeUTF8(<const char*>data + model.start + 1, model.end - model.start - 2, NULL)
    reading.model_start = model.start
    reading.model_end = model.end
    reading.close = reading.usage_start = reading.usage_end = state.closing
    reading.usage_text = ASK_IN_NOTHING
    reading.texts = []
    reading.choices = 1
    reading.max_output_tokens = -1
    reading.fixed_tokens = C_TOKENS_OF_PRIMING
    member = member_named(state, b"stream")
    if member != NULL and not is_null(data, member.start, member.end):
        if data[member.start] != c"t" and data[member.start] != c"f":
            return None
        reading.stream = data[member.start] == c"t"
    if (options != NULL and not read_options(data, options.start, options.end, reading, &twice)) or (
        messages != NULL and not read_messages(data, messages.start, messages.end, reading, &twice)
    ):
        refuse_twice(&twice)
        return None
    if not (
        take_choices_asked(state, b"n", &reading.choices)
        and take_choices_asked(state, b"best_of", &reading.choices)
        and take_most(state, b"max_tokens", &reading.max_output_tokens)
        and take_most(state, b"max_completion_tokens", &reading.max_output_tokens)
        and take_most(state, b"n_predict", &reading.max_output_tokens)
    ):
        return None
    take_declared(state, b"tools", reading)
    take_declared(state, b"functions", reading)
    take_declared(state, b"response_format", reading)
    return reading


cdef int take_declared(Scan* state, const char* name, Reading reading) except -1:
    """What is declared as JSON is counted as it is written."""
    cdef Member* member = member_named(state, name)
    if member != NULL and not is_null(state.data, member.start, member.end):
        reading.texts.append(text_of(state.data, member.start, member.end, False))
        note_declared(reading, state.data, member.start, member.end)
    return 0


cdef int note_declared(Reading reading, const uint8_t* data, Py_ssize_t start, Py_ssize_t end) except -1:
    """Tools, which are a list that is not empty; or the form of the answer, an object."""
    cdef Key key
    cdef Py_ssize_t at = skip_space(data, start + 1, end)
    if data[start] == c"[":
        if at < end and data[at] != c"]":
            reading.needs |= C_TOOLS
        return 0
    if data[start] != c"{":
        return 0
    while 0 <= at < end and data[at] != c"}":
        at = start = take_key(data, at, end, &key)
        if at >= 0:
            at = skip_value(data, at, end)
        if at >= 0:
            if is_key(&key, b"type") and at - start == 13 and memcmp(data + start, b'"json_schema"', 13) == 0:
                reading.needs |= C_JSON_SCHEMA
            at = next_member(data, at, end)
    return 0


cpdef int read_declared(Reading reading, bytes value) except -1:
    if reading is None or not value:
        raise ValueError("a reading, and the JSON of what is declared")
    reading.texts.append(value)
    return note_declared(reading, <const uint8_t*>PyBytes_AS_STRING(value), 0, PyBytes_GET_SIZE(value))


cpdef Reading read_request(bytes body, int max_depth):
    cdef Scan state
    if body is None:
        raise TypeError("body must be bytes")
    if not 1 <= max_depth <= MAX_DEPTH:
        raise ValueError(f"max_depth must be from 1 to {MAX_DEPTH}")
    begin_scan(&state, body, max_depth)
    try:
        if read_body(&state) < 0:
            refuse(&state)
        return read_scanned(&state)
    finally:
        free(state.resolved_base)


# --- answers ------------------------------------------------------------------------------------------------------

cdef Py_ssize_t take_count(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, int64_t* value) noexcept nogil:
    """A count of tokens, or null, which is none. Of a key that stands twice the last one counts, here and below."""
    cdef Py_ssize_t start = at
    value[0] = 0
    if at < end and data[at] == c"n":
        return skip_word(data, at, end, b"null")
    at = skip_number(data, at, end)
    if at < 0:
        return UNSURE
    value[0] = whole_number(data, start, at)
    return at if 0 <= value[0] <= C_MOST_TOKENS else UNSURE


cdef Py_ssize_t take_details(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, const char** names, int64_t** values, int count
) noexcept nogil:
    """An object of counts, of which those in `names` are wanted; or null."""
    cdef Key key
    cdef int i
    for i in range(count):
        values[i][0] = 0
    if at < end and data[at] == c"n":
        return skip_word(data, at, end, b"null")
    if at >= end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        for i in range(count):
            if is_key(&key, names[i]):
                at = take_count(data, at, end, values[i])
                break
        else:
            at = skip_value(data, at, end)
        if at >= 0:
            at = next_member(data, at, end)
    return at + 1 if 0 <= at < end else UNSURE


cdef Py_ssize_t take_usage(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Usage usage) noexcept nogil:
    """The object of usage. `at` is its brace."""
    cdef Key key
    cdef const char* prompt_names[4]
    cdef int64_t* prompt_values[4]
    cdef int64_t written = 0, hit = 0, cached = 0, other_read = 0, other_written = 0
    cdef const char* completion_names[2]
    cdef int64_t* completion_values[2]
    # OpenAI's own name of what was written, and that of those who had it before.
    prompt_names[:] = [b"cached_tokens", b"cache_write_tokens", b"cache_creation_tokens", b"audio_tokens"]
    prompt_values[:] = [&usage.cache_read, &usage.cache_write, &written, &usage.input_audio]
    completion_names[:] = [b"reasoning_tokens", b"audio_tokens"]
    completion_values[:] = [&usage.reasoning, &usage.output_audio]
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        if is_key(&key, b"prompt_tokens"):
            at = take_count(data, at, end, &usage.input)
        elif is_key(&key, b"completion_tokens"):
            at = take_count(data, at, end, &usage.output)
        elif is_key(&key, b"prompt_tokens_details"):
            at = take_details(data, at, end, prompt_names, prompt_values, 4)
        elif is_key(&key, b"completion_tokens_details"):
            at = take_details(data, at, end, completion_names, completion_values, 2)
        elif is_key(&key, b"prompt_cache_hit_tokens"):
            at = take_count(data, at, end, &hit)
        elif is_key(&key, b"cached_tokens"):
            at = take_count(data, at, end, &cached)
        elif is_key(&key, b"cache_read_input_tokens"):
            at = take_count(data, at, end, &other_read)
        elif is_key(&key, b"cache_creation_input_tokens"):
            at = take_count(data, at, end, &other_written)
        else:
            at = skip_value(data, at, end)
        if at >= 0:
            at = next_member(data, at, end)
    # Of several names of one the largest value counts.
    usage.cache_read = max(max(usage.cache_read, hit), max(cached, other_read))
    written = max(written, other_written)
    # Parts are together never more than their whole, or they would earn money.
    usage.cache_read = min(usage.cache_read, usage.input)
    usage.cache_write = min(max(usage.cache_write, written), usage.input - usage.cache_read)
    usage.input_audio = min(usage.input_audio, usage.input - usage.cache_read - usage.cache_write)
    usage.reasoning = min(usage.reasoning, usage.output)
    usage.output_audio = min(usage.output_audio, usage.output)
    return at + 1 if 0 <= at < end else UNSURE


cdef Py_ssize_t take_choice(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Span* reason) noexcept nogil:
    """A choice; `reason` becomes the text of its finish reason."""
    cdef Key key
    cdef Py_ssize_t start
    cdef bint escaped = False
    reason.start = reason.end = 0
    if at >= end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = start = take_key(data, at, end, &key)
        if at < 0:
            return UNSURE
        if not is_key(&key, b"finish_reason"):
            at = skip_value(data, at, end)
        elif at < end and data[at] == c"n":
            reason.start = reason.end = 0
            at = skip_word(data, at, end, b"null")
        elif at < end and data[at] == QUOTE:
            at = skip_string(data, at, end, &escaped)
            if at < 0 or escaped:
                return UNSURE
            reason.start = start + 1
            reason.end = at - 1
        else:
            return UNSURE
        if at >= 0:
            at = next_member(data, at, end)
    return at + 1 if 0 <= at < end else UNSURE


cdef Py_ssize_t take_choices(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, Span* reason) noexcept nogil:
    """A list of choices, or null; `reason` becomes the last one's."""
    reason.start = reason.end = 0
    if at < end and data[at] == c"n":
        return skip_word(data, at, end, b"null")
    if at >= end or data[at] != c"[":
        return UNSURE
    at = skip_space(data, at + 1, end)
    if at < end and data[at] == c"]":
        return at + 1
    while True:
        at = take_choice(data, at, end, reason)
        if at < 0:
            return UNSURE
        at = skip_space(data, at, end)
        if at >= end or data[at] != c",":
            return at + 1 if at < end and data[at] == c"]" else UNSURE
        at = skip_space(data, at + 1, end)


cdef Py_ssize_t take_answer(
    const uint8_t* data, Py_ssize_t end, Usage usage, bint* has_usage, Span* reason
) noexcept nogil:
    """The whole body; returns its end."""
    cdef Key key
    cdef Py_ssize_t at = skip_space(data, 0, end)
    if at == end or data[at] != c"{":
        return UNSURE
    at = skip_space(data, at + 1, end)
    while 0 <= at < end and data[at] != c"}":
        at = take_key(data, at, end, &key)
        if at < 0 or at >= end:
            return UNSURE
        if is_key(&key, b"choices"):
            at = take_choices(data, at, end, reason)
        elif not is_key(&key, b"usage"):
            at = skip_value(data, at, end)
        elif has_usage[0] or (data[at] != c"{" and data[at] != c"n"):
            return UNSURE
        elif data[at] == c"n":
            at = skip_word(data, at, end, b"null")
        else:
            has_usage[0] = True
            at = take_usage(data, at, end, usage)
        if at >= 0:
            at = next_member(data, at, end)
    return skip_space(data, at + 1, end) if 0 <= at < end else UNSURE


cpdef tuple read_answer(bytes body):
    cdef const uint8_t* data
    cdef Py_ssize_t end
    cdef Usage usage = Usage.__new__(Usage)
    cdef Span reason = Span(0, 0)
    cdef bint has_usage = False
    if body is None:
        raise TypeError("body must be bytes")
    data = <const uint8_t*>PyBytes_AS_STRING(body)
    end = PyBytes_GET_SIZE(body)
    if take_answer(data, end, usage, &has_usage, &reason) != end:
        return None
    try:
        text = PyUnicode_DecodeUTF8(<const char*>data + reason.start, reason.end - reason.start, NULL)
    except UnicodeDecodeError:
        return None
    return (usage if has_usage else None), text
