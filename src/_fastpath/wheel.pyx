"""A hashed timer wheel with lazy correction.

Rules:
- A timer stands in at most one slot, as a node of that slot's doubly linked ring (the slot's head is a Timer too).
- Moving a deadline later, and disarming, touch only `deadline_ns`. When the slot comes round, a timer whose deadline lies
  ahead is put in its right slot, a disarmed one is dropped, and one whose deadline has passed expires.
- Moving a deadline earlier relinks at once.
"""

cimport cython
from posix.time cimport clock_gettime, timespec, CLOCK_MONOTONIC, CLOCK_REALTIME
from libc.stdint cimport int64_t

import asyncio


cdef int64_t monotonic_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * 1_000_000_000 + at.tv_nsec


cpdef int64_t now_ns() noexcept:
    return monotonic_ns()


cpdef int64_t unix_ms() noexcept:
    cdef timespec at
    clock_gettime(CLOCK_REALTIME, &at)
    return <int64_t>at.tv_sec * 1_000 + at.tv_nsec // 1_000_000


cdef class Timer:
    def __init__(self, callback=None):
        self._callback = callback

    cdef void expire(self):
        if self._callback is not None:
            self._callback()


cdef inline void _unlink(Timer timer) noexcept:
    timer._prev._next = timer._next
    timer._next._prev = timer._prev
    timer._prev = None
    timer._next = None


@cython.final
cdef class Wheel:
    def __init__(self, loop=None, int64_t tick_ms=50, int64_t slots=512):
        cdef Timer head
        if tick_ms < 1 or slots < 2 or slots & (slots - 1):
            raise ValueError("tick_ms must be at least 1 and slots a power of two")
        self._loop = loop
        self._tick_ns = tick_ms * 1_000_000
        self._mask = slots - 1
        self._slots = []
        for _ in range(slots):
            head = Timer()
            head._prev = head
            head._next = head
            self._slots.append(head)
        self.now_ns = monotonic_ns()
        self._tick = self.now_ns // self._tick_ns

    def start(self):
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(self._tick_ns / 1e9, self._run)

    def close(self):
        cdef Timer head
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for head in self._slots:
            while head._next is not head:
                self._take(head._next)
            head._prev = None  # a ring is a cycle: break it
            head._next = None
        self._slots = []

    def _run(self):
        if self._closed:
            return
        self._handle = self._loop.call_later(self._tick_ns / 1e9, self._run)
        self.advance(monotonic_ns())

    def advance(self, int64_t now_ns):
        cdef int64_t last = now_ns // self._tick_ns
        cdef int64_t tick = self._tick
        self.now_ns = now_ns
        if last - tick > self._mask + 1:  # a long stall: once round meets every slot
            tick = last - self._mask - 1
        while tick < last and not self._closed:
            tick += 1
            self._tick = tick
            self._run_slot(<Timer>self._slots[tick & self._mask], now_ns)

    cdef _run_slot(self, Timer head, int64_t now_ns):
        cdef Timer due
        if head._next is head:
            return
        # Move the ring aside first: what expiry does to the wheel must not meet a ring that is being walked.
        due = Timer()
        due._next = head._next
        due._prev = head._prev
        due._next._prev = due
        due._prev._next = due
        head._next = head
        head._prev = head
        try:
            while due._next is not due:
                self._meet(due._next, now_ns)
        finally:
            while due._next is not due:  # only if not even the report of a fault was possible
                self._put_back(due._next)
            due._prev = None
            due._next = None

    cdef _meet(self, Timer timer, int64_t now_ns):
        """The slot of `timer` has come round."""
        cdef int64_t deadline_ns = timer.deadline_ns
        self._take(timer)
        if deadline_ns == 0 or self._closed:
            return
        if deadline_ns > now_ns:
            self._insert(timer, deadline_ns)
            return
        timer.deadline_ns = 0
        try:
            timer.expire()
        except Exception as error:  # one timer's fault must not stop the others
            if self._loop is None:
                raise
            self._loop.call_exception_handler({"message": "a timer's callback failed", "exception": error})

    cdef void _take(self, Timer timer) noexcept:
        """Out of its slot."""
        _unlink(timer)
        timer._wheel = None
        self.armed -= 1

    cdef _put_back(self, Timer timer):
        self._take(timer)
        if timer.deadline_ns != 0 and not self._closed:
            self._insert(timer, timer.deadline_ns)

    cdef void _insert(self, Timer timer, int64_t deadline_ns):
        cdef int64_t tick = deadline_ns // self._tick_ns + 1  # rounded up: never early
        cdef Timer head
        if tick <= self._tick:
            tick = self._tick + 1
        if tick > self._tick + self._mask:  # beyond one round: it is corrected when that slot comes
            tick = self._tick + self._mask
        head = <Timer>self._slots[tick & self._mask]
        timer._slot_tick = tick
        timer._prev = head._prev
        timer._next = head
        head._prev._next = timer
        head._prev = timer
        timer._wheel = self
        self.armed += 1

    cdef void arm(self, Timer timer, int64_t deadline_ns):
        timer.deadline_ns = deadline_ns
        if timer._wheel is not None:
            if deadline_ns // self._tick_ns + 1 >= timer._slot_tick:
                return
            self._take(timer)
        if not self._closed:
            self._insert(timer, deadline_ns)

    cdef void disarm(self, Timer timer) noexcept:
        timer.deadline_ns = 0

    cdef void forget(self, Timer timer) noexcept:
        timer.deadline_ns = 0
        if timer._wheel is not None:
            self._take(timer)

    def set(self, Timer timer not None, int64_t delay_ms):
        self.arm(timer, monotonic_ns() + delay_ms * 1_000_000)

    def cancel(self, Timer timer not None):
        self.forget(timer)
