cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from _fastpath.shm cimport NodeMemory, peek, poke

cdef enum:
    MAX_BOUNDS = 32

# What a slot's region begins with. Records follow, each behind the other.
cdef struct Region:
    int64_t used_bytes         # with this head; stored last, after the record that it takes in
    int64_t dropped_series

# A series. Behind it: the key, padded to 8 bytes; bounds; values. All numbers are int64.
# values: the number of a counter or gauge; of a histogram the count at each bound, the count beyond, and the sum.
cdef struct Record:
    uint32_t size_bytes        # with all of that
    uint8_t kind
    uint8_t bounds_count
    uint16_t key_bytes
    int64_t tenancy            # of a gauge: the occupancy of the slot in which it was set

cdef class Registry:
    cdef NodeMemory _memory
    cdef Region *_region
    cdef int64_t _tenancy
    cdef int64_t _capacity
    cdef int64_t _kept_bytes   # for the overflow series that are not made yet
    cdef dict _series          # (kind, bounds, key) -> offset of the record
    cdef set _families         # (kind, bounds, name) for whose overflow series there is room
    cdef dict _declared        # name -> (kind, bounds), by this process
    cdef int64_t _free_bytes(self) noexcept
    cdef Record *_at(self, int64_t offset) noexcept
    cdef Record *_series_of(self, int kind, str name, dict labels, tuple bounds) except NULL
    cdef Record *_overflow_of(self, int kind, str name, tuple bounds) except NULL
    cdef Record *_append(self, int kind, bytes key, tuple bounds) except NULL

@cython.final
cdef class Cell:
    cdef int64_t *_at
    cdef int64_t _own          # counts where no registry does
    cdef bint _monotone
    cdef NodeMemory _memory
    cpdef add(self, int64_t amount=*)
    cdef inline void inc(self, int64_t n) noexcept:
        poke(self._at, peek(self._at) + n)
    cdef inline void put(self, int64_t value) noexcept:
        poke(self._at, value)

@cython.final
cdef class Histogram:
    cdef int64_t *_bounds
    cdef int64_t *_counts      # the sum stands behind them
    cdef int _bounds_count
    cdef int64_t _own[2]
    cdef NodeMemory _memory
    cpdef observe(self, int64_t value)
    cpdef observe_n(self, int64_t value, int64_t n)
    cdef inline void record(self, int64_t value, int64_t n) noexcept:
        cdef int i
        cdef int bucket = 0
        for i in range(self._bounds_count):  # no branch: compilers make vector code of it
            bucket += value > self._bounds[i]
        poke(self._counts + bucket, peek(self._counts + bucket) + n)
        poke(self._counts + self._bounds_count + 1, peek(self._counts + self._bounds_count + 1) + value * n)
