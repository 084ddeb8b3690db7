from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from * nogil:
    """
    #ifndef TW_ATOMICS
    #define TW_ATOMICS
    #include <stdint.h>
    static inline int64_t tw_load(int64_t *at) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
    static inline void tw_store(int64_t *at, int64_t value) { __atomic_store_n(at, value, __ATOMIC_SEQ_CST); }
    static inline int64_t tw_add(int64_t *at, int64_t n) { return __atomic_add_fetch(at, n, __ATOMIC_SEQ_CST); }
    static inline int tw_swap_if(int64_t *at, int64_t *expected, int64_t value) {
        return __atomic_compare_exchange_n(at, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline int64_t tw_peek(int64_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
    static inline void tw_poke(int64_t *at, int64_t value) { __atomic_store_n(at, value, __ATOMIC_RELAXED); }
    #endif
    """
    # Sequentially consistent: what one process does and then reads is ordered against what another does and then reads.
    int64_t load "tw_load" (int64_t *at) noexcept
    void store "tw_store" (int64_t *at, int64_t value) noexcept
    int64_t add "tw_add" (int64_t *at, int64_t n) noexcept             # the new value
    bint swap_if "tw_swap_if" (int64_t *at, int64_t *expected, int64_t value) noexcept  # else stores what stood there
    # Relaxed: whole, but in no order; for numbers that have one writer.
    int64_t peek "tw_peek" (int64_t *at) noexcept
    void poke "tw_poke" (int64_t *at, int64_t value) noexcept

cdef inline int64_t monotonic_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1_000_000_000 + at.tv_nsec

cdef enum:
    GAUGES = 32

cdef struct Header:
    int64_t magic
    int64_t layout
    int64_t boot[2]
    int64_t size
    int64_t slots
    int64_t limit_rows
    int64_t metrics_bytes
    int64_t hash_key[2]           # of the limits' keys, random for each file
    int64_t _rest[6]
    int64_t snapshot_generation   # on a cache line of its own

cdef struct Slot:                 # 384 bytes
    int64_t pid
    int64_t state
    int64_t heartbeat_ns
    int64_t tenancy               # one more with each occupant, and with each departure
    int64_t _rest[12]
    int64_t gauges[GAUGES]

# What one slot holds of a row. Written by the slot's process, and zeroed by the supervisor once that has ended.
cdef struct Share:
    int64_t in_flight
    int64_t reserved_nano

# One row of limits; the shares of all slots follow it. See `_fastpath.bucket`.
cdef struct Row:
    int64_t key[2]
    int64_t epoch                 # even: in service; odd: changing hands
    int64_t home[2]               # of a row of money: the key of its scope's row
    int64_t period                # of a row of money: its own; of a scope's row: the one that was last asked for
    int64_t _rest[2]
    int64_t last_used_ns
    int64_t requests_tat_ns
    int64_t tokens_tat_ns
    int64_t spent_nano
    int64_t _more[4]

cdef class NodeMemory:
    cdef char *_base
    cdef Header *_header
    cdef Py_ssize_t _size
    cdef Py_ssize_t _rows_at
    cdef Py_ssize_t _row_bytes
    cdef Py_ssize_t _metrics_at
    cdef Py_ssize_t _region_bytes
    cdef int _fd
    cdef bint _closed
    cdef int _slots
    cdef int64_t _limit_rows
    cdef Py_ssize_t _metrics_bytes

    cdef int require_open(self) except -1
    cdef Slot *slot_at(self, int slot) except NULL
    cdef inline Row *row_at(self, int64_t index) noexcept nogil:
        return <Row *>(self._base + self._rows_at + index * self._row_bytes)
    cdef inline char *metrics_region(self, int slot) noexcept nogil:
        return self._base + self._metrics_at + slot * self._region_bytes
    cdef void _zero_shares(self, int slot) noexcept nogil

cdef inline Share *shares_of(Row *row) noexcept nogil:
    return <Share *>(row + 1)
