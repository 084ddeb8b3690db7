from libc.stdint cimport uint8_t, uint16_t, uint64_t

cdef enum:
    MAX_MEMBERS = 1000      # of the top-level object
    MAX_DEPTH = 1024        # the largest `max_depth`
    SLOTS = 2048            # a power of two, more than twice MAX_MEMBERS

cdef struct Member:
    const uint8_t* key      # escapes resolved; in the body, or in `Scan.resolved`
    Py_ssize_t key_size
    uint64_t digest
    Py_ssize_t start        # of its value
    Py_ssize_t end

cdef struct Scan:
    const uint8_t* data
    Py_ssize_t end
    int max_depth
    bint escaped                        # the last string holds a backslash
    int fault                           # a Fault, NONE while all is well
    Py_ssize_t fault_at
    uint8_t* resolved                   # where the next key with escapes is resolved to; NULL before the first
    uint8_t* resolved_base
    Py_ssize_t closing                  # the offset of the object's brace
    int count
    int slots_in_use                    # of `slots`: a power of two
    uint8_t closers[MAX_DEPTH]          # the bracket that each open container waits for
    uint16_t slots[SLOTS]               # 1 + index of a member, 0 where free
    Member members[MAX_MEMBERS]

cpdef tuple scan(bytes body, tuple keys=*, int max_depth=*)
cpdef tuple last_usage(bytes tail)

# Resolves the escapes of the `size` bytes between a string's quotes into `out`, which must hold as many bytes; lone
# surrogates become three bytes that are no UTF-8. Returns the size of the result, -1 where an escape is malformed.
cdef Py_ssize_t unescape(const uint8_t* text, Py_ssize_t size, uint8_t* out) noexcept nogil
