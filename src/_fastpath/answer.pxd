from libc.stdint cimport int64_t, uint8_t

# What a value of an answer is to the one who pays for it.
cdef enum Kind:
    MUTE            # costs nothing: names, roles, log probabilities
    TOP             # the answer itself
    USAGE
    CHOICES
    CHOICE
    PRODUCED        # strings in it are text
    MEDIA           # strings in it are audio, images or video, in base64

# Of a member's value, by the kind of its object.
cdef int kind_within(int kind, const uint8_t* key, Py_ssize_t size) noexcept nogil

cdef enum:
    DEEPEST = 64        # containers whose kinds are told apart
    KEY_BYTES = 24      # longest key that is looked at

cdef class AnswerCounter:
    cdef readonly int64_t text_bytes, media_bytes
    cdef readonly bytes usage
    cdef bytes usage_part           # what has come of one
    cdef int usage_depth            # of its object; 0 while none is being read
    # around the value that is next
    cdef int depth
    cdef uint8_t kinds[DEEPEST]
    cdef uint8_t objects[DEEPEST]   # whether it is one, and no list
    cdef int kind
    cdef bint key_next
    # of the string that is being read
    cdef bint in_string, is_key, escaped
    cdef uint8_t key[KEY_BYTES]
    cdef Py_ssize_t key_size

    cpdef feed(self, bytes data)
    # private:
    cdef void take_part(self, const uint8_t* part, Py_ssize_t size) noexcept nogil
    cdef bint in_object(self) noexcept nogil
    cdef void enter(self, bint is_object) noexcept nogil
    cdef void leave(self) noexcept nogil
    cdef void next_value(self) noexcept nogil
    cdef keep_usage(self, const uint8_t* part, Py_ssize_t size, bint last)
