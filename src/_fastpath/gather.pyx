"""A bounded list that one side fills and another takes whole.

Both are called with the GIL held and run no Python while they change anything, so that each is atomic for the other
threads, and for a signal handler that interrupts the program between two instructions of Python: no lock is needed.
"""

cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class Gatherer:
    def __init__(self, int64_t max_weight, wake):
        self._items = []
        self._max_weight = max_weight
        self._wake = wake

    cpdef bint put(self, item, int64_t weight=1) except -1:
        cdef bint first
        if self.weight + weight > self._max_weight:
            self.refused += 1
            return False
        first = not self._items
        self.weight += weight
        self._items.append(item)
        if first:
            self._wake()
        return True

    def close(self):
        self._max_weight = -1

    def take(self):
        cdef list items = self._items
        self._items = []
        self.weight = 0
        return items
