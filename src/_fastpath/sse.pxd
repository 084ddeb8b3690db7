cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef struct Span:
    Py_ssize_t start
    Py_ssize_t end          # 0, behind nothing, where there is no such span

# What one payload says; spans are offsets in the payload.
cdef struct Look:
    Span usage              # of the object
    Span model              # between the quotes, not empty
    Span finish_reason      # between the quotes, not empty
    bint failed             # `error` is there and not null
    bint no_choices         # `choices` is an empty array
    bint has_content
    int64_t content_bytes
    int64_t media_bytes

@cython.final
cdef class ChatScanner:
    cdef bint hide_usage
    cdef Py_ssize_t max_held
    cdef readonly bint terminal
    cdef readonly bytes error
    cdef readonly bytes usage
    cdef readonly int64_t events
    cdef readonly int64_t content_events
    cdef readonly int64_t content_bytes
    cdef readonly int64_t media_bytes
    cdef readonly bint usage_is_last
    cdef readonly int64_t oversized
    cdef bytes finish_bytes, model_bytes        # as they stand, escapes not resolved
    # what is held: the beginning of an incomplete event
    cdef uint8_t* held
    cdef Py_ssize_t held_size, held_capacity
    # of the event being read; offsets from its beginning
    cdef Py_ssize_t line                        # where the current line begins
    cdef Span data                              # the value of its first data line
    cdef list data_lines                        # all of them, where there are several
    cdef bint passing                           # it is oversized, and its beginning has left
    # of the stream
    cdef bint first_line                        # a byte order mark may stand before it
    cdef bint after_cr                          # all ends with CR: LF would belong to the same line end
    cdef bint last_hidden                       # the last event was hidden, so would be that LF

    cpdef bytes feed(self, bytes data)
    cpdef bytes finish(self)
    # private:
    cdef bytes read(self, const uint8_t* buf, Py_ssize_t at, Py_ssize_t size, bytes whole)
    cdef int take_line(self, const uint8_t* buf, Py_ssize_t end) except -1
    cdef bint end_event(self, const uint8_t* buf, Py_ssize_t size) except -1
    cdef bint judge(self, const uint8_t* payload, Py_ssize_t size) except -1
    cdef void begin_event(self) noexcept
    cdef void pass_on(self) noexcept
    cdef void pass_unread(self, Py_ssize_t size) noexcept
    cdef void move_origin(self, Py_ssize_t offset) noexcept
    cdef int hold(self, const uint8_t* data, Py_ssize_t size) except -1
    cdef void drop_held(self, Py_ssize_t size) noexcept
