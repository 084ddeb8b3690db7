cimport cython
from libc.stdint cimport int64_t

@cython.final
cdef class Reading:
    cdef public str model
    cdef public Py_ssize_t model_start, model_end, close, usage_start, usage_end
    cdef public bint stream, include_usage
    cdef public list texts, image_spans, images
    cdef public int64_t more_images, needs
    cdef public bytes usage_text
    cdef public object request
    cdef public int64_t fixed_tokens, max_output_tokens, choices

cpdef Reading read_request(bytes body, int max_depth)
cpdef bint read_part_of(Reading reading, bytes body, str name, Py_ssize_t start, Py_ssize_t end) except -1
cpdef int64_t read_prompt(Reading reading, bytes body, Py_ssize_t start, Py_ssize_t end, int64_t most) except -2
cpdef int read_declared(Reading reading, bytes value) except -1
cpdef tuple read_answer(bytes body)
