from libc.stdint cimport int64_t

from _fastpath.chat cimport Reading, read_answer, read_part_of, read_prompt, read_request
from _fastpath.jsonscan cimport scan
from _fastpath.usage cimport Usage

cdef tuple _scan(bytes body, bytes prompt)
cdef int64_t _bounded(value, str param, int64_t most) except? -1
cdef Reading _reading(governed, bytes body, tuple spans)
cpdef Reading read_chat(bytes body)
cpdef Reading _read_any_chat(bytes body)
cpdef tuple response_usage(bytes body)
