from cpython.object cimport PyObject
from libc.stdint cimport int64_t

cdef int64_t clock_ns() noexcept nogil

cdef struct Entry:
    int64_t due_ns
    PyObject* task          # a Task, which the agenda owns a reference to

cdef class Task:
    """Something that is to be done at a time. Subclass it natively and override `run`."""
    cdef Py_ssize_t place   # in the heap; -1 while it is on no agenda
    cdef int run(self, int64_t now_ns) except -1

cdef class Agenda:
    cdef Entry* heap
    cdef Py_ssize_t size, capacity
    cdef int timer
    cdef int64_t tick_ns
    cdef int64_t armed_ns           # what the timer is set to; 0: it is not
    cdef int64_t woke_ns
    cdef bint running
    cdef object loop
    cdef readonly int64_t wakes
    cdef int set(self, Task task, int64_t due_ns) except -1
    cdef void drop(self, Task task) noexcept
    # private:
    cdef int push(self, Task task, int64_t due_ns) except -1
    cdef void lift(self, Py_ssize_t at, Entry entry) noexcept
    cdef void sink(self, Py_ssize_t at, Entry entry) noexcept
    cdef void remove(self, Py_ssize_t at) noexcept
    cdef void arm(self) noexcept
