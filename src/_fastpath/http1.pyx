# cython: auto_pickle=False, autotestdict=False
"""HTTP/1.1 heads and chunked bodies, sans-IO (RFC 9110, RFC 9112).

Theory. A head is read in one pass from left to right, in the caller's `bytes`, and each byte is judged by what stands
before it alone. So the verdict cannot depend on how the stream was cut: a prefix of a head is either refused for the
reason for which the whole is refused, or found incomplete. A read that ran out of bytes begins again from `start` with
more of them; `limit` bounds that work.

Rules.
- Functions that read take `at`, where to begin, and `end`, one past the last byte they may look at. They return the
  offset behind what they read; 0, which is behind nothing, says that more bytes are needed.
- Spans are offsets in `Head.buf`. No Python object is made for a field until it is asked for.
- Strictness is safety here: whatever another recipient might frame or route in another way is refused, even where the
  RFC would let us be lenient. The reason of a refusal never repeats the peer's bytes.
- CONNECT is answered 501: nothing here tunnels.

Warning. After a refusal, or where more bytes are needed, a head holds an unfinished reading: parse again or drop it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_DecodeASCII, PyUnicode_GET_LENGTH
from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, strlen

cdef extern from *:
    """
    #include <sys/socket.h>
    #include <arpa/inet.h>
    """
    enum: AF_INET6
    int inet_pton(int family, const char* text, void* address) nogil


class ProtocolError(ValueError):
    """The peer broke HTTP/1.1; see the stub."""

    def __init__(self, status, reason):
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self):
        return self.reason


# --- bytes and their classes --------------------------------------------------------------------------------------

cdef enum:
    HTAB = 9
    LF = 10
    CR = 13
    SP = 32

cdef enum:
    TOKEN = 1       # tchar, RFC 9110 section 5.6.2
    TARGET = 2      # what may stand in a request target: visible ASCII without "#"
    VALUE = 4       # field-vchar, SP and HTAB, RFC 9110 section 5.5
    REG_NAME = 8    # unreserved and sub-delims, RFC 3986 section 3.2.2
    DIGIT = 16

cdef enum:
    MAX_METHOD_BYTES = 32
    MAX_TARGET_BYTES = 8192
    MAX_LENGTH_DIGITS = 18      # the largest number of digits that cannot overflow 64 bits
    MAX_CACHED_PATH_BYTES = 64
    PATH_SLOTS = 16             # a power of two

cdef uint8_t CLASS[256]
cdef uint8_t LOWER[256]         # ASCII upper case folded, everything else itself
cdef uint8_t HEX[256]           # the value of a hexadecimal digit; 255 for other bytes


cdef void fill_byte_tables():
    cdef int code
    for code in range(256):
        letter = chr(code)
        alnum = code < 128 and letter.isalnum()
        CLASS[code] = (
            (TOKEN if alnum or letter in "!#$%&'*+-.^_`|~" else 0)
            | (TARGET if 0x21 <= code <= 0x7E and letter != "#" else 0)
            | (VALUE if (code >= 0x20 and code != 0x7F) or code == HTAB else 0)
            | (REG_NAME if alnum or letter in "-._~!$&'()*+,;=" else 0)
            | (DIGIT if letter in "0123456789" else 0)
        )
        LOWER[code] = ord(letter.lower()) if code < 128 else code
        HEX[code] = int(letter, 16) if letter in "0123456789abcdefABCDEF" else 255


fill_byte_tables()


cdef inline Py_ssize_t skip_class(
    const uint8_t* data, Py_ssize_t at, Py_ssize_t end, uint8_t byte_class
) noexcept nogil:
    while at < end and CLASS[data[at]] & byte_class:
        at += 1
    return at


cdef inline bint has_control(const uint8_t* data) noexcept nogil:
    """Whether any of eight bytes is below 0x20 or DEL (the zero-byte test of "Hacker's Delight", section 6-1)."""
    cdef uint64_t word, del_is_zero
    memcpy(&word, data, 8)
    del_is_zero = word ^ <uint64_t>0x7F7F7F7F7F7F7F7F
    return (
        ((word - <uint64_t>0x2020202020202020) & ~word)
        | ((del_is_zero - <uint64_t>0x0101010101010101) & ~del_is_zero)
    ) & <uint64_t>0x8080808080808080 != 0


cdef inline Py_ssize_t skip_value(const uint8_t* data, Py_ssize_t at, Py_ssize_t end) noexcept nogil:
    """`skip_class` for VALUE, eight bytes at a time."""
    cdef Py_ssize_t stop
    while True:
        while end - at >= 8 and not has_control(data + at):
            at += 8
        stop = min(end, at + 8)
        at = skip_class(data, at, stop, VALUE)
        if at < stop or at == end:
            return at


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == SP or byte == HTAB


cdef inline bint same_folded(const uint8_t* text, const char* lower, Py_ssize_t size) noexcept nogil:
    """Whether `size` bytes are `lower`, which is in lower case, without regard to ASCII case."""
    cdef Py_ssize_t i
    for i in range(size):
        if LOWER[text[i]] != <uint8_t>lower[i]:
            return False
    return True


cdef inline bint is_word(const uint8_t* text, Py_ssize_t size, const char* lower) noexcept nogil:
    return size == <Py_ssize_t>strlen(lower) and same_folded(text, lower, size)


# --- known fields -------------------------------------------------------------------------------------------------

cdef const char* KNOWN_NAMES[K_COUNT]
KNOWN_NAMES[:] = [
    b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"content-type", b"authorization",
    b"x-api-key", b"api-key", b"x-goog-api-key", b"traceparent", b"x-request-id", b"accept", b"user-agent",
    b"content-encoding", b"retry-after", b"keep-alive", b"upgrade",
    b"x-throughway-",
]

# Known fields by the length of their names: the first of each length, and for each field the next one as long.
cdef enum:
    MAX_KNOWN_BYTES = 17
    OWN_PREFIX_BYTES = 13    # of `x-throughway-`
cdef int first_of_size[MAX_KNOWN_BYTES + 1]
cdef int next_of_size[K_COUNT]


cdef void fill_known_tables() noexcept:
    cdef int which
    cdef Py_ssize_t size
    for size in range(MAX_KNOWN_BYTES + 1):
        first_of_size[size] = -1
    for which in range(K_COUNT - 1, -1, -1):
        size = strlen(KNOWN_NAMES[which])
        next_of_size[which] = first_of_size[size]
        first_of_size[size] = which


fill_known_tables()


cdef inline int known_field(const uint8_t* name, Py_ssize_t size) noexcept nogil:
    """The index in `Known` of a field's name, -1 for any other."""
    cdef int which = first_of_size[size] if size <= MAX_KNOWN_BYTES else -1
    while which >= 0 and not same_folded(name, KNOWN_NAMES[which], size):
        which = next_of_size[which]
    return which


# --- heads --------------------------------------------------------------------------------------------------------

cdef class Head:
    def __cinit__(self):
        self.begin(b"")

    cdef void begin(self, bytes buf) noexcept:
        """Forgets the message before."""
        cdef int which
        self.buf = buf
        self.count = 0
        for which in range(<int>K_COUNT):
            self.known[which] = -1
        self.minor = 1
        self.asks_close = self.asks_keep_alive = False
        self.keep_alive = False
        self.chunked = False
        self.content_length = -1

    cdef int take_known(self, int which, const uint8_t* value, Py_ssize_t size) except -1:
        """Judges the known field that was just read: what frames the body and what decides the connection's life."""
        if which == K_CONTENT_LENGTH:
            refuse_repeat(self, which)
            if self.chunked:
                raise ProtocolError(400, "Content-Length together with Transfer-Encoding")
            self.content_length = read_content_length(value, size)
        elif which == K_TRANSFER_ENCODING:
            refuse_repeat(self, which)
            if self.content_length >= 0:
                raise ProtocolError(400, "Content-Length together with Transfer-Encoding")
            if self.minor == 0:
                raise ProtocolError(400, "Transfer-Encoding in HTTP/1.0")
            if not is_word(value, size, b"chunked"):
                raise ProtocolError(400, "a Transfer-Encoding other than chunked")
            self.chunked = True
        elif which == K_CONNECTION:
            read_connection_options(self, value, size)
        return 0

    cdef bytes slice(self, Span span):
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self.buf) + span.start, span.size)

    cdef bytes known_value(self, int which):
        return self.slice(self.values[self.known[which]]) if self.known[which] >= 0 else None

    def header(self, bytes name not None):
        """The first value of the header `name` (lower-case), or None."""
        name = name.lower()
        cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(self.buf)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
        cdef int i, which = known_field(<const uint8_t*>PyBytes_AS_STRING(name), size)
        if which >= 0:
            return self.known_value(which)
        for i in range(self.count):
            if self.names[i].size == size and same_folded(data + self.names[i].start, name, size):
                return self.slice(self.values[i])
        return None

    def headers(self):
        """All fields in order, names in lower case."""
        cdef int i
        return [(self.slice(self.names[i]).lower(), self.slice(self.values[i])) for i in range(self.count)]


@cython.final
cdef class RequestHead(Head):
    def __cinit__(self):
        self.begin(b"")

    @property
    def target(self):
        return self.slice(self.target)

    def parse(self, bytes buf not None, Py_ssize_t start=0, Py_ssize_t limit=65536):
        """`parse_request` into this head: the bytes the head takes, 0 where more are needed."""
        return parse_request_into(self, buf, start, limit)

    cdef void begin(self, bytes buf) noexcept:
        Head.begin(self, buf)
        self.method = self.path = ""
        self.query = b""
        self.target = self.authority = Span(0, 0)
        self.expect_continue = False

    cdef int take_known(self, int which, const uint8_t* value, Py_ssize_t size) except -1:
        if which == K_HOST:
            refuse_repeat(self, which)
            if not is_authority(value, size):
                raise ProtocolError(400, "malformed Host")
            if self.authority.size and not same_authority(self, value, size):
                raise ProtocolError(400, "Host differs from the target's authority")
        elif which == K_EXPECT:
            refuse_repeat(self, which)
            if not is_word(value, size, b"100-continue"):
                raise ProtocolError(417, "an expectation other than 100-continue")
            self.expect_continue = self.minor == 1      # RFC 9110 section 10.1.1: ignored in HTTP/1.0
        elif K_CONTENT_TYPE <= which <= K_X_GOOG_API_KEY:
            refuse_repeat(self, which)
        return Head.take_known(self, which, value, size)


@cython.final
cdef class ResponseHead(Head):
    def __cinit__(self):
        self.begin(b"")

    def parse(self, bytes buf not None, Py_ssize_t start=0, Py_ssize_t limit=65536):
        """`parse_response` into this head: the bytes the head takes, 0 where more are needed."""
        return parse_response_into(self, buf, start, limit)

    cdef void begin(self, bytes buf) noexcept:
        Head.begin(self, buf)
        self.status = 0
        self.reason = b""

    cdef bint never_has_body(self) noexcept:
        return self.status < 200 or self.status == 204 or self.status == 304

    cdef int body_kind_code(self, str method) noexcept:
        if method == "HEAD" or self.never_has_body():
            return BODY_NONE
        if self.chunked:
            return BODY_CHUNKED
        return BODY_LENGTH if self.content_length >= 0 else BODY_CLOSE

    def body_kind(self, str method not None):
        """How the body of this response to a request of `method` ends (RFC 9112 section 6.3)."""
        return BODY_KINDS[self.body_kind_code(method)]


cdef tuple BODY_KINDS = ("none", "length", "chunked", "close")


cdef inline int refuse_repeat(Head head, int which) except -1:
    """Raises where the field just read is not the first of its name: two recipients might each believe another one."""
    if head.known[which] != head.count - 1:
        raise ProtocolError(400, f"repeated {KNOWN_NAMES[which].decode('ascii')}")
    return 0


cdef int64_t read_content_length(const uint8_t* value, Py_ssize_t size) except -1:
    cdef int64_t length = 0
    cdef Py_ssize_t i
    if size == 0 or size > MAX_LENGTH_DIGITS or skip_class(value, 0, size, DIGIT) != size:
        raise ProtocolError(400, "malformed Content-Length")
    for i in range(size):
        length = length * 10 + (value[i] - c"0")
    return length


cdef void read_connection_options(Head head, const uint8_t* value, Py_ssize_t size) noexcept nogil:
    """Notes `close` and `keep-alive` in a list of options (RFC 9110 section 7.6.1); others mean nothing here."""
    cdef Py_ssize_t at = 0, first, last
    while at < size:
        first = at
        while at < size and value[at] != c",":
            at += 1
        last = at
        at += 1
        while first < last and is_blank(value[first]):
            first += 1
        while first < last and is_blank(value[last - 1]):
            last -= 1
        if is_word(value + first, last - first, b"close"):
            head.asks_close = True
        elif is_word(value + first, last - first, b"keep-alive"):
            head.asks_keep_alive = True


cdef inline bint persists(Head head) noexcept nogil:
    """RFC 9112 section 9.3: `close` wins, then the version, then `keep-alive`."""
    return not head.asks_close and (head.minor == 1 or head.asks_keep_alive)


# --- authorities: uri-host [ ":" port ], RFC 9110 section 7.2 -------------------------------------------------------

cdef Py_ssize_t ip_literal_size(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    """Bytes of the bracketed IPv6 address that `text` begins with, 0 for anything else in brackets."""
    cdef char address[46]       # INET6_ADDRSTRLEN
    cdef uint8_t binary[16]
    cdef const uint8_t* closing = <const uint8_t*>memchr(text, c"]", size)
    cdef Py_ssize_t inner = closing - text - 1 if closing != NULL else 0
    if inner <= 0 or inner >= <Py_ssize_t>sizeof(address):
        return 0
    memcpy(address, text + 1, inner)
    address[inner] = 0
    return inner + 2 if inet_pton(AF_INET6, address, binary) == 1 else 0


cdef Py_ssize_t reg_name_size(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at = 0
    while True:
        at = skip_class(text, at, size, REG_NAME)
        if size - at < 3 or text[at] != c"%" or HEX[text[at + 1]] > 15 or HEX[text[at + 2]] > 15:
            return at
        at += 3


cdef bint is_port(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    """Whether `text` is ":" and a port, which may be empty."""
    cdef int port = 0
    cdef Py_ssize_t i
    if text[0] != c":" or size > 6 or skip_class(text, 1, size, DIGIT) != size:
        return False
    for i in range(1, size):
        port = port * 10 + (text[i] - c"0")
    return port <= 65535


cdef bint is_authority(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t host
    if size == 0:
        return False
    host = ip_literal_size(text, size) if text[0] == c"[" else reg_name_size(text, size)
    return host > 0 and (host == size or is_port(text + host, size - host))


cdef bint same_authority(RequestHead head, const uint8_t* value, Py_ssize_t size) noexcept:
    cdef const uint8_t* authority = <const uint8_t*>PyBytes_AS_STRING(head.buf) + head.authority.start
    cdef Py_ssize_t i
    if size != head.authority.size:
        return False
    for i in range(size):
        if LOWER[authority[i]] != LOWER[value[i]]:
            return False
    return True


# --- lines --------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t read_crlf(const uint8_t* data, Py_ssize_t at, Py_ssize_t end, str otherwise) except -1:
    """Reads CRLF; `otherwise` is the reason of the refusal where neither CR nor LF stands."""
    if at == end:
        return 0
    if data[at] != CR:
        raise ProtocolError(400, "a bare LF" if data[at] == LF else otherwise)
    if at + 1 == end:
        return 0
    if data[at + 1] != LF:
        raise ProtocolError(400, "a bare CR")
    return at + 2


cdef Py_ssize_t read_version(Head head, const uint8_t* data, Py_ssize_t at, Py_ssize_t end) except -1:
    """Reads "HTTP/" DIGIT "." DIGIT (RFC 9112 section 2.3)."""
    cdef const char* form = b"HTTP/0.0"
    cdef int i
    for i in range(8):
        if at + i == end:
            return 0
        if not (CLASS[data[at + i]] & DIGIT if form[i] == c"0" else data[at + i] == <uint8_t>form[i]):
            raise ProtocolError(400, "malformed HTTP version")
    if data[at + 5] != c"1" or data[at + 7] > c"1":
        raise ProtocolError(505, "an HTTP version other than 1.0 and 1.1")
    head.minor = data[at + 7] - c"0"
    return at + 8


cdef int refuse_name(const uint8_t* data, Py_ssize_t start, Py_ssize_t at) except -1:
    """Raises what is wrong with a field line whose name ends at `at` with something else than a colon, or is empty."""
    cdef uint8_t byte = data[at]
    if byte == LF:
        raise ProtocolError(400, "a bare LF")
    if is_blank(byte):
        raise ProtocolError(400, "a folded field line" if at == start else "white space in or behind a field name")
    if byte == CR:
        raise ProtocolError(400, "a field line without a colon")
    if byte == c":":
        raise ProtocolError(400, "an empty field name")
    raise ProtocolError(400, "a field name with a byte that no token has")


cdef Py_ssize_t read_field(Head head, const uint8_t* data, Py_ssize_t start, Py_ssize_t end) except -1:
    """Reads one field line (RFC 9112 section 5) into the head."""
    cdef Py_ssize_t colon, value, stop, after
    cdef int which, index = head.count
    if index == MAX_HEADERS:
        raise ProtocolError(431, "too many header fields")
    colon = skip_class(data, start, end, TOKEN)
    if colon == end:
        return 0
    if data[colon] != c":" or colon == start:
        refuse_name(data, start, colon)
    value = colon + 1
    while value < end and is_blank(data[value]):
        value += 1
    stop = skip_value(data, value, end)
    after = read_crlf(data, stop, end, "a control byte in a field value")
    if after == 0:
        return 0
    while stop > value and is_blank(data[stop - 1]):
        stop -= 1
    head.names[index] = Span(<uint32_t>start, <uint32_t>(colon - start))
    head.values[index] = Span(<uint32_t>value, <uint32_t>(stop - value))
    head.count = index + 1
    which = known_field(data + start, colon - start)
    if which < 0 and colon - start > OWN_PREFIX_BYTES and same_folded(data + start, KNOWN_NAMES[<int>K_X_THROUGHWAY], OWN_PREFIX_BYTES):
        which = K_X_THROUGHWAY
    if which >= 0:
        if head.known[which] < 0:
            head.known[which] = index
        head.take_known(which, data + value, stop - value)
    return after


cdef Py_ssize_t read_fields(Head head, const uint8_t* data, Py_ssize_t at, Py_ssize_t end) except -1:
    """Reads field lines up to and with the blank line."""
    while at < end and data[at] != CR:
        at = read_field(head, data, at, end)
        if at == 0:
            return 0
    return read_crlf(data, at, end, "")


cdef Py_ssize_t window_end(bytes buf, Py_ssize_t start, Py_ssize_t limit) except -1:
    """One past the last byte of `buf` that a head of at most `limit` bytes may have."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(buf)
    if start < 0 or start > size:
        raise ValueError("start is outside the buffer")
    if size - start > limit:
        size = start + max(limit, 0)
    if <uint64_t>size > UINT32_MAX:
        raise ValueError("a head must lie in the first 4 GiB of its buffer")
    return size


cdef Py_ssize_t head_size(
    Py_ssize_t after, bytes buf, Py_ssize_t start, Py_ssize_t limit
) except -1:
    """What `parse_*_into` returns for a head that ends at `after`, 0 where it did not end in its window."""
    if after == 0 and PyBytes_GET_SIZE(buf) - start >= limit:
        raise ProtocolError(431, "the head is too long")
    return after - start if after else 0


# --- requests -----------------------------------------------------------------------------------------------------

cdef tuple METHODS = ("POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE")
cdef list recent_paths = [""] * PATH_SLOTS


cdef inline bint is_text(str text, const uint8_t* data, Py_ssize_t size):
    return PyUnicode_GET_LENGTH(text) == size and memcmp(PyUnicode_1BYTE_DATA(text), data, size) == 0


cdef str method_name(const uint8_t* data, Py_ssize_t size):
    for method in METHODS:
        if is_text(<str>method, data, size):
            return <str>method
    return PyUnicode_DecodeASCII(<const char*>data, size, NULL)


cdef str path_text(const uint8_t* data, Py_ssize_t size):
    """The path as str: the one made before for the same bytes where it is still at hand, its hash already computed."""
    cdef Py_ssize_t slot = (size * 7 + data[size - 1] + data[size // 2] * 3) & (PATH_SLOTS - 1)
    cdef str path
    if size > MAX_CACHED_PATH_BYTES:
        return PyUnicode_DecodeASCII(<const char*>data, size, NULL)
    path = <str>recent_paths[slot]
    if not is_text(path, data, size):
        path = PyUnicode_DecodeASCII(<const char*>data, size, NULL)
        recent_paths[slot] = path
    return path


cdef Py_ssize_t skip_authority(RequestHead head, const uint8_t* data, Py_ssize_t at, Py_ssize_t end) except -1:
    """Reads scheme and authority of an absolute-form target (RFC 9112 section 3.2.2); `Host` must repeat the latter."""
    cdef Py_ssize_t start
    if end - at > 7 and same_folded(data + at, b"http://", 7):
        start = at + 7
    elif end - at > 8 and same_folded(data + at, b"https://", 8):
        start = at + 8
    else:
        raise ProtocolError(400, "a request target of no known form")
    at = start
    while at < end and data[at] != c"/" and data[at] != c"?":
        at += 1
    if not is_authority(data + start, at - start):
        raise ProtocolError(400, "malformed authority in the request target")
    head.authority = Span(<uint32_t>start, <uint32_t>(at - start))
    return at


cdef int split_target(RequestHead head, const uint8_t* data, Py_ssize_t at, Py_ssize_t end) except -1:
    """Finds path and query in the request target of each form (RFC 9112 section 3.2)."""
    cdef const uint8_t* mark
    cdef Py_ssize_t stop
    if head.method == "CONNECT":
        raise ProtocolError(501, "CONNECT is not implemented")
    if end - at == 1 and data[at] == c"*":
        if head.method != "OPTIONS":
            raise ProtocolError(400, "the target * with a method other than OPTIONS")
        head.path = "*"
        return 0
    if data[at] != c"/":
        at = skip_authority(head, data, at, end)
    mark = <const uint8_t*>memchr(data + at, c"?", end - at)
    stop = mark - data if mark != NULL else end
    head.path = path_text(data + at, stop - at) if stop > at else "/"
    if mark != NULL:
        head.query = PyBytes_FromStringAndSize(<const char*>mark + 1, end - stop - 1)
    return 0


cdef Py_ssize_t read_method(RequestHead head, const uint8_t* data, Py_ssize_t start, Py_ssize_t end) except -1:
    """Reads the method and the space behind it."""
    cdef Py_ssize_t at = skip_class(data, start, min(end, start + MAX_METHOD_BYTES + 1), TOKEN)
    if at - start > MAX_METHOD_BYTES:
        raise ProtocolError(501, "a method longer than any known one")      # RFC 9112 section 3
    if at == end:
        return 0
    if data[at] == LF:
        raise ProtocolError(400, "a bare LF")
    if at == start or data[at] != SP:
        raise ProtocolError(400, "malformed request line")
    head.method = method_name(data + start, at - start)
    return at + 1


cdef Py_ssize_t read_target(RequestHead head, const uint8_t* data, Py_ssize_t start, Py_ssize_t end) except -1:
    """Reads the request target and the space behind it."""
    cdef Py_ssize_t at = skip_class(data, start, min(end, start + MAX_TARGET_BYTES + 1), TARGET)
    if at - start > MAX_TARGET_BYTES:
        raise ProtocolError(414, "the request target is too long")
    if at == end:
        return 0
    if data[at] == LF:
        raise ProtocolError(400, "a bare LF")
    if at == start or data[at] == CR:
        raise ProtocolError(400, "malformed request line")
    if data[at] != SP:
        raise ProtocolError(400, "a byte in the request target that no URI has")
    head.target = Span(<uint32_t>start, <uint32_t>(at - start))
    return at + 1


cdef Py_ssize_t read_request_line(RequestHead head, const uint8_t* data, Py_ssize_t at, Py_ssize_t end) except -1:
    """Reads the request line (RFC 9112 section 3), and one empty line before it (section 2.2)."""
    if at < end and data[at] == CR:
        at = read_crlf(data, at, end, "")
        if at == 0:
            return 0
    at = read_method(head, data, at, end)
    if at == 0:
        return 0
    at = read_target(head, data, at, end)
    if at == 0:
        return 0
    at = read_version(head, data, at, end)
    if at == 0:
        return 0
    at = read_crlf(data, at, end, "malformed request line")
    if at:
        split_target(head, data, head.target.start, head.target.start + head.target.size)
    return at


cdef Py_ssize_t parse_request_into(RequestHead head, bytes buf, Py_ssize_t start, Py_ssize_t limit) except -1:
    cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(buf)
    cdef Py_ssize_t end = window_end(buf, start, limit)
    cdef Py_ssize_t at
    head.begin(buf)
    at = read_request_line(head, data, start, end)
    if at:
        at = read_fields(head, data, at, end)
    if at:
        if head.minor == 1 and head.known[<int>K_HOST] < 0:
            raise ProtocolError(400, "no Host")
        head.keep_alive = persists(head)
    return head_size(at, buf, start, limit)


# --- responses ----------------------------------------------------------------------------------------------------

cdef Py_ssize_t read_status(ResponseHead head, const uint8_t* data, Py_ssize_t at, Py_ssize_t end) except -1:
    """Reads SP and three digits."""
    cdef int i
    for i in range(4):
        if at + i == end:
            return 0
        if not (CLASS[data[at + i]] & DIGIT if i else data[at] == SP) or (i == 1 and data[at + 1] == c"0"):
            raise ProtocolError(400, "malformed status")
        head.status = head.status * 10 + (data[at + i] - c"0") if i else 0
    return at + 4


cdef Py_ssize_t read_status_line(ResponseHead head, const uint8_t* data, Py_ssize_t at, Py_ssize_t end) except -1:
    """Reads the status line (RFC 9112 section 4); a missing reason may miss its space too."""
    cdef Py_ssize_t start
    at = read_version(head, data, at, end)
    if at == 0:
        return 0
    at = read_status(head, data, at, end)
    if at == 0 or at == end:
        return 0
    if data[at] == SP:
        start = at + 1
        at = skip_value(data, start, end)
        head.reason = PyBytes_FromStringAndSize(<const char*>data + start, at - start)
    return read_crlf(data, at, end, "malformed status line")


cdef Py_ssize_t read_response(ResponseHead head, bytes buf, Py_ssize_t start, Py_ssize_t limit) except -1:
    cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(buf)
    cdef Py_ssize_t end = window_end(buf, start, limit)
    cdef Py_ssize_t at = read_status_line(head, data, start, end)
    if at:
        at = read_fields(head, data, at, end)
    return head_size(at, buf, start, limit)


cdef inline bint announces_a_body_in_vain(ResponseHead head) noexcept:
    """Whether a status that never has a body frames one: what follows has two readings, so nothing more may be read.
    304 is no such status: there the fields tell of the response that was not sent (RFC 9110 section 8.6)."""
    return head.status != 304 and head.never_has_body() and (head.chunked or head.content_length > 0)


cdef Py_ssize_t parse_response_into(ResponseHead head, bytes buf, Py_ssize_t start, Py_ssize_t limit) except -1:
    cdef Py_ssize_t size
    head.begin(buf)
    try:
        size = read_response(head, buf, start, limit)
    except ProtocolError as fault:
        raise ProtocolError(502, fault.reason) from None    # whatever an upstream breaks, it is a bad gateway to ours
    head.keep_alive = size > 0 and persists(head) and not announces_a_body_in_vain(head)
    return size


# --- chunked bodies -----------------------------------------------------------------------------------------------

cdef enum:
    MAX_SIZE_DIGITS = 15
    MAX_EXTENSION_BYTES = 256
    MAX_TRAILER_BYTES = 8192

cdef enum State:
    REFUSED             # for good
    SIZE                # in the digits of a chunk's size
    EXTENSION           # behind them, up to CR: at the beginning of a name
    EXTENSION_NAME
    EXTENSION_VALUE     # behind "="
    EXTENSION_TOKEN     # in a value that is a token
    EXTENSION_QUOTED
    EXTENSION_ESCAPED   # behind a backslash in quotes
    EXTENSION_END       # behind the closing quote
    SIZE_LF
    DATA
    DATA_CR
    DATA_LF
    TRAILER             # at the beginning of a trailer line, which may be the blank one
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    LAST_LF


cdef inline bint is_line_end(State state) noexcept nogil:
    return state == SIZE_LF or state == DATA_LF or state == TRAILER_LF or state == LAST_LF


@cython.final
cdef class ChunkedDecoder:
    def __cinit__(self, int status=400):
        self.status = status
        self.reset()

    cdef void reset(self) noexcept:
        self.done = False
        self.state = SIZE
        self.remaining = 0
        self.line_bytes = 0
        self.digits = 0

    cdef int refuse(self, str reason) except -1:
        self.state = REFUSED
        raise ProtocolError(self.status, reason)

    cdef int after_lf(self) noexcept:
        """The state behind the line that ends here."""
        if self.state == LAST_LF:
            self.done = True
        if self.state == SIZE_LF:
            self.line_bytes = 0
            return DATA if self.remaining else TRAILER
        if self.state == DATA_LF:
            self.digits = 0
            return SIZE
        return TRAILER

    cdef int read_size(self, uint8_t byte) except -1:
        if HEX[byte] < 16:
            self.digits += 1
            if self.digits > MAX_SIZE_DIGITS:
                self.refuse("a chunk size that is too large")
            self.remaining = self.remaining * 16 + HEX[byte]
        elif self.digits and byte == CR:
            self.state = SIZE_LF
        elif self.digits and byte == c";":
            self.state = EXTENSION
            self.line_bytes = 1
        else:
            self.refuse("malformed chunk size")
        return 0

    cdef int read_extension(self, uint8_t byte) except -1:
        """`*( ";" name [ "=" ( token / quoted-string ) ] )`, RFC 9112 section 7.1.1."""
        self.line_bytes += 1
        if self.state == EXTENSION_QUOTED or self.state == EXTENSION_ESCAPED:
            if byte == HTAB or not CLASS[byte] & VALUE:
                self.refuse("a control byte in a chunk extension")
            if self.state == EXTENSION_ESCAPED or byte not in (c'"', c"\\"):
                self.state = EXTENSION_QUOTED
            else:
                self.state = EXTENSION_END if byte == c'"' else EXTENSION_ESCAPED
        elif CLASS[byte] & TOKEN and self.state != EXTENSION_END:
            if self.state == EXTENSION:
                self.state = EXTENSION_NAME
            elif self.state == EXTENSION_VALUE:
                self.state = EXTENSION_TOKEN
        elif byte == c"=" and self.state == EXTENSION_NAME:
            self.state = EXTENSION_VALUE
        elif byte == c'"' and self.state == EXTENSION_VALUE:
            self.state = EXTENSION_QUOTED
        elif self.state == EXTENSION or self.state == EXTENSION_VALUE:
            self.refuse("malformed chunk extension")
        elif byte == c";":
            self.state = EXTENSION
        elif byte == CR:
            self.state = SIZE_LF
        else:
            self.refuse("malformed chunk extension")
        if self.line_bytes > MAX_EXTENSION_BYTES and self.state != SIZE_LF:
            self.refuse("a chunk extension that is too long")
        return 0

    cdef int read_trailer(self, uint8_t byte) except -1:
        if self.state == TRAILER_VALUE:
            if byte == CR:
                self.state = TRAILER_LF
            elif not CLASS[byte] & VALUE:
                self.refuse("a control byte in a trailer")
        elif CLASS[byte] & TOKEN:
            self.state = TRAILER_NAME
        elif self.state == TRAILER_NAME and byte == c":":
            self.state = TRAILER_VALUE
        elif self.state == TRAILER and byte == CR:
            self.state = LAST_LF
        else:
            self.refuse("malformed trailer")
        return 0

    cdef int read_framing(self, uint8_t byte) except -1:
        """Moves on by one byte that is no payload."""
        if self.state == REFUSED:
            self.refuse("the body was refused before")
        if self.state >= TRAILER:
            self.line_bytes += 1
            if self.line_bytes > MAX_TRAILER_BYTES:
                self.refuse("trailers that are too long")
        if is_line_end(<State>self.state):
            if byte != LF:
                self.refuse("a bare CR")
            self.state = self.after_lf()
        elif byte == LF:
            self.refuse("a bare LF")
        elif self.state == SIZE:
            self.read_size(byte)
        elif EXTENSION <= self.state <= EXTENSION_END:
            self.read_extension(byte)
        elif self.state == DATA_CR:
            if byte != CR:
                self.refuse("a chunk longer than its size")
            self.state = DATA_LF
        else:
            self.read_trailer(byte)
        return 0

    cdef Py_ssize_t feed_into(self, bytes data, Py_ssize_t start, list out) except -1:
        cdef const uint8_t* octets = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), at = start, piece
        while at < size and not self.done:
            if self.state != DATA:
                self.read_framing(octets[at])
                at += 1
                continue
            piece = min(size - at, <Py_ssize_t>self.remaining)
            out.append(data if piece == size else PyBytes_FromStringAndSize(<const char*>octets + at, piece))
            at += piece
            self.remaining -= piece
            if self.remaining == 0:
                self.state = DATA_CR
        return at

    def feed(self, bytes data not None, Py_ssize_t start=0):
        """The payload in `data` from `start`, and the offset up to which it was read."""
        if start < 0 or start > PyBytes_GET_SIZE(data):
            raise ValueError("start is outside the buffer")
        cdef list pieces = []
        cdef Py_ssize_t at = self.feed_into(data, start, pieces)
        return pieces, at


# --- the Python face ----------------------------------------------------------------------------------------------

def parse_request(bytes buf not None, Py_ssize_t start=0, Py_ssize_t limit=65536):
    """The request head that begins at `start`, and the offset behind it; None where more bytes are needed."""
    cdef RequestHead head = RequestHead.__new__(RequestHead)
    cdef Py_ssize_t size = parse_request_into(head, buf, start, limit)
    return (head, start + size) if size else None


def parse_response(bytes buf not None, Py_ssize_t start=0, Py_ssize_t limit=65536):
    """The response head that begins at `start`, and the offset behind it; None where more bytes are needed."""
    cdef ResponseHead head = ResponseHead.__new__(ResponseHead)
    cdef Py_ssize_t size = parse_response_into(head, buf, start, limit)
    return (head, start + size) if size else None
