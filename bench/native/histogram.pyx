"""How often which values were seen, to three significant digits; see the stub.

Buckets are those of HdrHistogram (Tene): a value's leading bit says which power of two it belongs to, its next ten bits which of the
1,024 parts of it. Values below 2,048 make the first two runs of parts, one value each.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

cdef extern from *:
    int __builtin_clzll(unsigned long long value) nogil

cdef enum:
    HALF_BITS = 10
    HALF = 1_024
    ALL = 2_047             # the mask of two halves

cdef int64_t LARGEST = (<int64_t>1 << 42) - 1


cdef inline Py_ssize_t slot_of(int64_t value) noexcept nogil:
    cdef int shift = 64 - __builtin_clzll(<uint64_t>(value | ALL)) - (HALF_BITS + 1)
    return ((shift + 1) << HALF_BITS) + <Py_ssize_t>(value >> shift) - HALF


cdef inline int64_t largest_of(Py_ssize_t slot) noexcept nogil:
    cdef int64_t run = slot >> HALF_BITS
    if run < 2:
        return slot
    return (((slot & (HALF - 1)) + HALF + 1) << (run - 1)) - 1


@cython.final
cdef class Histogram:
    def __cinit__(self):
        memset(self.counts, 0, sizeof(self.counts))

    cdef void add(self, int64_t value) noexcept:
        if value < 0:
            value = 0
        elif value > LARGEST:
            value = LARGEST
        self.counts[slot_of(value)] += 1
        if self.count == 0 or value < self.minimum:
            self.minimum = value
        if value > self.maximum:
            self.maximum = value
        self.count += 1
        self.total += value

    def record(self, int64_t value, int64_t times=1):
        if times < 1:
            raise ValueError("a value is recorded once at least")
        value = min(max(value, <int64_t>0), LARGEST)
        self.add(value)
        self.counts[slot_of(value)] += times - 1
        self.count += times - 1
        self.total += value * (times - 1)

    def percentile(self, double percent):
        cdef int64_t wanted, seen = 0
        cdef Py_ssize_t slot
        if not 0 <= percent <= 100:
            raise ValueError("a percentile is from 0 to 100")
        if self.count == 0:
            return 0
        wanted = min(max(<int64_t>(percent * self.count / 100.0 + 0.5), <int64_t>1), self.count)
        for slot in range(<Py_ssize_t>SLOTS):
            seen += self.counts[slot]
            if seen >= wanted:
                return largest_of(slot)
        raise AssertionError("the counts add up to the count")

    def merge(self, Histogram other not None):
        cdef Py_ssize_t slot
        if other.count == 0:
            return
        for slot in range(<Py_ssize_t>SLOTS):
            self.counts[slot] += other.counts[slot]
        self.minimum = other.minimum if self.count == 0 else min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        self.count += other.count
        self.total += other.total

    def __reduce__(self):
        cdef Py_ssize_t slot
        counts = [(slot, self.counts[slot]) for slot in range(<Py_ssize_t>SLOTS) if self.counts[slot]]
        return restored, (counts, self.minimum, self.maximum, self.count, self.total)

    def buckets(self):
        cdef Py_ssize_t slot
        return [(largest_of(slot), self.counts[slot]) for slot in range(<Py_ssize_t>SLOTS) if self.counts[slot]]

    @property
    def mean(self):
        return <double>self.total / <double>self.count if self.count else 0.0


def restored(counts, int64_t minimum, int64_t maximum, int64_t count, int64_t total):
    cdef Histogram made = Histogram()
    cdef Py_ssize_t slot
    cdef int64_t times
    for slot, times in counts:
        made.counts[slot] = times
    made.minimum = minimum
    made.maximum = maximum
    made.count = count
    made.total = total
    return made
