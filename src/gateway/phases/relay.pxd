cimport cython
from libc.stdint cimport int64_t

from _fastpath.http1 cimport ResponseHead
from _fastpath.sse cimport ChatScanner, EventScanner
from _fastpath.wheel cimport now_ns
from _fastpath.writer cimport Writer
from gateway.base.context cimport Compiled, Context, RouteMetrics, TargetEntry
from _fastpath.answer cimport AnswerCounter
from _fastpath.usage cimport Usage, charged

cdef Writer _out

cpdef bytes response_fields(Context ctx, bytes content_type)
cdef Writer _write_fields(Context ctx, bytes content_type)

cdef class Relay:
    cdef list _collected
    cdef AnswerCounter _counter
    cdef tuple _head
    cdef object _meter
    cdef int _mode
    cdef EventScanner _scanner
    cdef Py_ssize_t _size
    cdef object _steps
    cdef public Context ctx
    @cython.locals(usage=Usage)
    cdef _respond(self, int status, bytes content_type, bytes body)
    cdef _respond_read(self, int status, bytes body)
    @cython.locals(usage=Usage)
    cdef _answer(self, int status, bytes content_type, bytes body, Usage usage)
    cdef Usage _told(self, EventScanner scanner)
    cdef bytes _error_event(self, fault, message, param)
    cdef _collect(self, bytes data, bint last)
    cdef _begin_passing(self)
    @cython.locals(counter=AnswerCounter)
    cdef _pass(self, bytes data, bint last)
    cdef bint _is_stream(self, bytes content_type) except -1
    cdef bint _begin_stream(self, bytes content_type) except -1
    @cython.locals(before=int64_t, out=bytes, scanner=EventScanner)
    cdef _stream(self, bytes data, bint last)
    cdef _end_stream(self, bytes out)
    cdef _stream_ended_early(self, bytes out)
    cdef bint _note_told_error(self) except -1
    @cython.locals(scanner=EventScanner, counter=AnswerCounter)
    cdef _count(self, bint complete)
    cdef bint _is_little(self, int64_t output, int64_t size) except -1
    cdef _count_what_came(self)
    @cython.locals(counter=AnswerCounter)
    cdef Usage _usage_of(self, list parts, Usage told, bint complete=*)
    cdef Usage _usage_counted(self, AnswerCounter counter, Usage told, bint complete)
    @cython.locals(at=int64_t)
    cdef _note_tokens(self, int64_t n)
    cdef _hold(self)
    cdef tuple _told_in(self, ResponseHead head)
    cdef _provider_fault(self, int status, bytes body, tuple head)
    cdef _conclude(self, bytes event)
    cdef _note_fault(self, error)
    cdef _note_provider_time(self)
    cdef bint _caller_set_the_deadline(self) except -1

@cython.locals(waited=int64_t)
cpdef int64_t overhead_us(Context ctx, int64_t at_ns) except -1
