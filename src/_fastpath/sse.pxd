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

cdef class EventScanner:
    # what it is told of the stream, by those that read its events; a subclass in Python may set it too
    cdef public bint terminal
    cdef public bytes error
    cdef public bytes usage
    cdef public object told
    cdef public str fault
    cdef public int64_t events
    cdef public int64_t content_events
    cdef public int64_t content_bytes
    cdef public int64_t media_bytes
    cdef public bint usage_is_last
    cdef readonly int64_t oversized
    cdef bint named                             # whether `event` fields are read
    cdef Py_ssize_t max_held
    # what is held: the beginning of an incomplete event
    cdef uint8_t* held
    cdef Py_ssize_t held_size, held_capacity
    # of the event being read; offsets from its beginning
    cdef Py_ssize_t line                        # where the current line begins
    cdef Span data                              # the value of its first data line
    cdef Span name                              # of its last event line
    cdef list data_lines                        # all of them, where there are several
    cdef bint passing                           # it is oversized, and its beginning has left
    # of the stream
    cdef bint first_line                        # a byte order mark may stand before it
    cdef bint after_cr                          # all ends with CR: LF would belong to the same line end
    cdef bint last_hidden                       # the last event was hidden, so would be that LF

    cpdef bytes feed(self, bytes data)
    cpdef bytes finish(self)
    cpdef bytes failed(self, str code, str message)
    # private:
    cdef bint judge(self, const uint8_t* payload, Py_ssize_t size, const uint8_t* buf) except -1
    cdef bytes read(self, const uint8_t* buf, Py_ssize_t at, Py_ssize_t size, bytes whole)
    cdef int take_line(self, const uint8_t* buf, Py_ssize_t end) except -1
    cdef bint end_event(self, const uint8_t* buf, Py_ssize_t size) except -1
    cdef void begin_event(self) noexcept
    cdef void pass_on(self) noexcept
    cdef void pass_unread(self, Py_ssize_t size) noexcept
    cdef void move_origin(self, Py_ssize_t offset) noexcept
    cdef int hold(self, const uint8_t* data, Py_ssize_t size) except -1
    cdef void drop_held(self, Py_ssize_t size) noexcept

@cython.final
cdef class ChatScanner(EventScanner):
    cdef bint hide_usage
    cdef bytes finish_bytes, model_bytes        # as they stand, escapes not resolved

cdef class EventFollower(EventScanner):
    cdef list found
    cdef readonly bytes passed

    cpdef list follow(self, bytes data)
