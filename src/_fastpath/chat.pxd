cimport cython
from libc.stdint cimport int64_t

@cython.final
cdef class Reading:
    cdef public str model
    cdef public Py_ssize_t model_start, model_end, close, options_start, options_end
    cdef public bint stream, include_usage
    cdef public list texts
    cdef public int64_t fixed_tokens, max_output_tokens, choices

cpdef Reading read_request(bytes body, int max_depth)
cpdef tuple read_answer(bytes body)
