"""Deadlines of many on one timer of the kernel; see the stub.

libuv's timers count in milliseconds, which is more than many answers take. timerfd(2) counts in nanoseconds and is watched
as any descriptor is. Setting it also takes back its readiness, so that nobody needs to read it.

Rules.
- The heap is of four, its entries carry their deadlines: a sift touches no task but to tell it its place.
- A task that is done has left the heap already: it may put itself back.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, itimerspec, timespec
from posix.unistd cimport close

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* new, itimerspec* old)
    const int TFD_NONBLOCK
    const int TFD_CLOEXEC
    const int TFD_TIMER_ABSTIME

cdef enum:
    NS_PER_S = 1_000_000_000
    FIRST_CAPACITY = 64


cdef int64_t clock_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <int64_t>at.tv_sec * NS_PER_S + at.tv_nsec


def now_ns():
    return clock_ns()


cdef class Task:
    def __cinit__(self, *_, **__):
        self.place = -1

    cdef int run(self, int64_t now_ns) except -1:
        return 0


@cython.final
cdef class Call(Task):
    cdef object callback

    def __init__(self, callback):
        self.callback = callback

    cdef int run(self, int64_t now_ns) except -1:
        self.callback(now_ns)
        return 0


@cython.final
cdef class Agenda:
    def __cinit__(self, *_, **__):
        self.timer = -1

    def __init__(self, loop, int64_t tick_us=0):
        if tick_us < 0:
            raise ValueError("tick_us must not be negative")
        self.loop = loop
        self.tick_ns = tick_us * 1_000
        self.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.timer < 0:
            raise OSError("timerfd_create failed")
        loop.add_reader(self.timer, self._wake)

    def __dealloc__(self):
        if self.timer >= 0:
            close(self.timer)
        while self.size:
            self.remove(self.size - 1)
        free(self.heap)

    def __len__(self):
        return self.size

    def at(self, Task task not None, int64_t due_ns):
        self.set(task, due_ns)

    def cancel(self, Task task not None):
        self.drop(task)

    def close(self):
        """Forgets all tasks and the timer."""
        if self.timer >= 0:
            self.loop.remove_reader(self.timer)
            close(self.timer)
            self.timer = -1
        while self.size:
            self.remove(self.size - 1)

    cdef int set(self, Task task, int64_t due_ns) except -1:
        cdef Entry entry
        if task.place < 0:
            self.push(task, due_ns)
        else:
            entry = self.heap[task.place]
            entry.due_ns = due_ns
            self.lift(task.place, entry)
            self.sink(task.place, self.heap[task.place])
        if not self.running and (self.armed_ns == 0 or self.heap[0].due_ns < self.armed_ns):
            self.arm()
        return 0

    cdef void drop(self, Task task) noexcept:
        if task.place >= 0:
            self.remove(task.place)

    def _wake(self):
        cdef Task task
        cdef int64_t now_ns = clock_ns()
        self.wakes += 1
        self.woke_ns = now_ns
        self.armed_ns = 0
        self.running = True
        try:
            while self.size and self.heap[0].due_ns <= now_ns:
                task = <Task>self.heap[0].task
                self.remove(0)
                task.run(now_ns)
        finally:
            self.running = False
            self.arm()

    cdef void arm(self) noexcept:
        cdef itimerspec when
        cdef int64_t at_ns = 0
        if self.timer < 0:
            return
        if self.size:
            at_ns = max(self.heap[0].due_ns, self.woke_ns + self.tick_ns, <int64_t>1)
        self.armed_ns = at_ns
        when.it_interval.tv_sec = when.it_interval.tv_nsec = 0
        when.it_value.tv_sec = at_ns // NS_PER_S
        when.it_value.tv_nsec = at_ns % NS_PER_S
        timerfd_settime(self.timer, TFD_TIMER_ABSTIME, &when, NULL)

    # -- the heap

    cdef int push(self, Task task, int64_t due_ns) except -1:
        cdef Entry entry
        cdef Py_ssize_t capacity
        cdef void* grown
        if self.size == self.capacity:
            capacity = max(<Py_ssize_t>FIRST_CAPACITY, 2 * self.capacity)
            grown = realloc(self.heap, capacity * sizeof(Entry))
            if grown == NULL:
                raise MemoryError
            self.heap = <Entry*>grown
            self.capacity = capacity
        Py_INCREF(task)
        entry.due_ns = due_ns
        entry.task = <PyObject*>task
        self.size += 1
        self.lift(self.size - 1, entry)
        return 0

    cdef void lift(self, Py_ssize_t at, Entry entry) noexcept:
        cdef Py_ssize_t parent
        while at:
            parent = (at - 1) // 4
            if self.heap[parent].due_ns <= entry.due_ns:
                break
            self.heap[at] = self.heap[parent]
            (<Task>self.heap[at].task).place = at
            at = parent
        self.heap[at] = entry
        (<Task>entry.task).place = at

    cdef void sink(self, Py_ssize_t at, Entry entry) noexcept:
        cdef Py_ssize_t child, least, stop
        while 4 * at + 1 < self.size:
            least = 4 * at + 1
            stop = min(least + 4, self.size)
            for child in range(least + 1, stop):
                if self.heap[child].due_ns < self.heap[least].due_ns:
                    least = child
            if self.heap[least].due_ns >= entry.due_ns:
                break
            self.heap[at] = self.heap[least]
            (<Task>self.heap[at].task).place = at
            at = least
        self.heap[at] = entry
        (<Task>entry.task).place = at

    cdef void remove(self, Py_ssize_t at) noexcept:
        cdef PyObject* gone = self.heap[at].task
        cdef Entry last
        cdef Py_ssize_t moved
        (<Task>gone).place = -1
        self.size -= 1
        if at < self.size:
            last = self.heap[self.size]
            self.lift(at, last)
            moved = (<Task>last.task).place
            self.sink(moved, last)
        Py_DECREF(<Task>gone)
