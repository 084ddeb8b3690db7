cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t

cpdef enum:
    MAX_HEADERS = 100

# Headers that are looked up on every message, by index in `known`: -1 where absent.
# A header that repeats keeps its first occurrence here, except those whose repetition the parser refuses.
cdef enum Known:
    K_HOST, K_CONTENT_LENGTH, K_TRANSFER_ENCODING, K_CONNECTION, K_EXPECT, K_CONTENT_TYPE, K_AUTHORIZATION
    K_X_API_KEY, K_API_KEY, K_X_GOOG_API_KEY, K_TRACEPARENT, K_X_REQUEST_ID, K_ACCEPT, K_USER_AGENT
    K_CONTENT_ENCODING, K_RETRY_AFTER, K_KEEP_ALIVE, K_UPGRADE
    K_X_THROUGHWAY   # the first field whose name begins with `x-throughway-`
    K_COUNT

# How the body of a response ends: what `ResponseHead.body_kind_code` returns.
cdef enum BodyKind:
    BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_CLOSE

cdef struct Span:
    uint32_t start   # offset in `Head.buf`
    uint32_t size

cdef class Head:
    """What request and response heads share. Spans point into `buf`, which is kept alive and never changed."""
    cdef bytes buf
    cdef int count                       # of header fields
    cdef Span names[MAX_HEADERS]         # as received; compare without case
    cdef Span values[MAX_HEADERS]        # optional white space trimmed
    cdef int known[K_COUNT]
    cdef readonly int minor              # HTTP/1.<minor>: 0 or 1
    cdef readonly bint keep_alive        # as the message asks, RFC 9112 section 9.3
    cdef readonly bint chunked           # Transfer-Encoding is exactly `chunked`
    cdef readonly int64_t content_length # -1 where none was given
    cdef bytes known_value(self, int which)   # the value, None where absent; no exception
    # private:
    cdef bint asks_close, asks_keep_alive     # options seen in Connection
    cdef void begin(self, bytes buf) noexcept
    cdef int take_known(self, int which, const uint8_t* value, Py_ssize_t size) except -1
    cdef bytes slice(self, Span span)

@cython.final
cdef class RequestHead(Head):
    cdef readonly str method             # interned: "GET", "POST", ... or a new str for an unknown token
    cdef Span target
    cdef readonly str path               # target without query, percent-decoding NOT applied; ASCII
    cdef readonly bytes query            # what follows "?", b"" where absent
    cdef readonly bint expect_continue
    # private:
    cdef Span authority                  # of an absolute-form target; size 0 for the other forms

@cython.final
cdef class ResponseHead(Head):
    cdef readonly int status
    cdef readonly bytes reason
    cdef int body_kind_code(self, str method) noexcept   # a BodyKind: how the body of a response to `method` ends
    # private:
    cdef bint never_has_body(self) noexcept

# Each returns the number of bytes of the head (from `start`, with the blank line), or 0 where more bytes are needed.
# `limit` bounds the head's bytes. Raises ProtocolError.
cdef Py_ssize_t parse_request_into(RequestHead head, bytes buf, Py_ssize_t start, Py_ssize_t limit) except -1
cdef Py_ssize_t parse_response_into(ResponseHead head, bytes buf, Py_ssize_t start, Py_ssize_t limit) except -1

@cython.final
cdef class ChunkedDecoder:
    cdef readonly bint done              # the last chunk and the trailer section were read
    cdef int state
    cdef int64_t remaining               # bytes of the current chunk not yet seen
    cdef Py_ssize_t line_bytes           # of the size line or trailer section so far
    cdef int digits
    # Appends each piece of payload to `out` as bytes; returns the offset in `data` up to which it read (all of it,
    # unless `done`, after which what follows belongs to the next message). Raises ProtocolError.
    cdef Py_ssize_t feed_into(self, bytes data, Py_ssize_t start, list out) except -1
    cdef void reset(self) noexcept
    # private:
    cdef int status                      # of the ProtocolErrors: 400 for a request's body, 502 for a response's
    cdef int refuse(self, str reason) except -1
    cdef int after_lf(self) noexcept
    cdef int read_size(self, uint8_t byte) except -1
    cdef int read_extension(self, uint8_t byte) except -1
    cdef int read_trailer(self, uint8_t byte) except -1
    cdef int read_framing(self, uint8_t byte) except -1
