# cython: auto_pickle=False, autotestdict=False
"""The node's shared memory: one file, mapped by every process of the node.

    header | slots | rows of limits | a region of metrics for each slot

Each part begins on a page; slots and rows begin on cache lines of their own. `_fastpath.bucket` knows what rows mean,
`_fastpath.metrics` what regions hold.

Rules:
- Every number is a naturally aligned 64-bit integer, read and written whole. Nothing here is ever locked, so a process
  may be killed at any instruction.
- A slot belongs to one living process. The supervisor calls `occupy` before the process starts to use it, and `vacate`
  after `waitpid`: only then does anyone but the occupant write to the slot's numbers.
- The file is good for one boot, since it holds times of CLOCK_MONOTONIC, and for one layout. `create` never changes a
  file in place: processes that mapped an older one go on with that.
- Space is allocated when the file is made: a write to a mapped hole on a full disk would be a SIGBUS.
- `close` ends the use of the object. The mapping lives until the tables, plans and registries made from it are gone, so
  none of them can be left with a dangling pointer.
"""

import errno
import os
import stat
import sys
import uuid

from libc.stdint cimport int64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close

cimport cython

cdef extern from * nogil:
    """
    #ifdef __APPLE__
    #include <sys/sysctl.h>
    #include <sys/time.h>
    static int64_t tw_boot_time_us(void) {
        struct timeval at; size_t size = sizeof at;
        if (sysctlbyname("kern.boottime", &at, &size, NULL, 0) != 0) return 0;
        return (int64_t)at.tv_sec * 1000000 + at.tv_usec;
    }
    #else
    static int64_t tw_boot_time_us(void) { return 0; }
    #endif
    """
    int64_t tw_boot_time_us() noexcept

LAYOUT_VERSION = 1

cdef enum:
    PAGE = 4096
    CACHE_LINES = 128  # two: neighbouring lines are fetched together
    MAX_SLOTS = 1024
    MAX_ROWS = 1 << 24
    MAX_REGION = 1 << 30
    MIN_REGION = 1024

cdef int64_t MAGIC = 0x3159415748474854  # "THGHWAY1"


class LayoutError(RuntimeError):
    """The file is not this layout: another version, another boot, another size."""


cdef Py_ssize_t _rounded(Py_ssize_t size, Py_ssize_t unit) noexcept:
    return (size + unit - 1) // unit * unit


def _boot_id():
    """Two numbers that differ from boot to boot: random(4) on Linux, the time of the boot elsewhere."""
    if sys.platform == "linux":
        with open("/proc/sys/kernel/random/boot_id") as file:
            number = uuid.UUID(file.read().strip()).int
        return number >> 65, number & (2**63 - 1)
    return tw_boot_time_us(), 0


def _allocate(fd, size):
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # it cannot; a sparse file must do
                raise
    os.ftruncate(fd, size)


@cython.final
cdef class NodeMemory:
    def __cinit__(self):
        self._fd = -1
        self._closed = True

    def __dealloc__(self):
        if self._base is not NULL:
            munmap(self._base, self._size)
        if self._fd >= 0:
            close(self._fd)

    @staticmethod
    def create(path: str, slots: int, limit_rows: int, metrics_bytes: int) -> NodeMemory:
        if not 1 <= slots <= MAX_SLOTS:
            raise ValueError(f"slots must be from 1 to {MAX_SLOTS}, not {slots}")
        if not 1 <= limit_rows <= MAX_ROWS:
            raise ValueError(f"limit_rows must be from 1 to {MAX_ROWS}, not {limit_rows}")
        if not MIN_REGION <= metrics_bytes <= MAX_REGION:
            raise ValueError(f"metrics_bytes must be from {MIN_REGION} to {MAX_REGION}, not {metrics_bytes}")
        cdef NodeMemory self = NodeMemory.__new__(NodeMemory)
        self._lay_out(slots, limit_rows, metrics_bytes)
        unfinished = f"{path}.{os.getpid()}.new"
        if os.path.lexists(unfinished):  # of a killed process that had our pid
            os.unlink(unfinished)
        self._fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(self._fd, 0o600)
            _allocate(self._fd, self._size)
            self._map()
            self._write_header()
            os.rename(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise
        self._closed = False
        return self

    @staticmethod
    def attach(path: str) -> NodeMemory:
        cdef NodeMemory self = NodeMemory.__new__(NodeMemory)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size < PAGE:
            raise LayoutError(f"{path}: not the node's shared memory")
        self._size = status.st_size
        self._map()
        self._require_layout(path)
        self._closed = False
        return self

    def _lay_out(self, int slots, int64_t limit_rows, Py_ssize_t metrics_bytes):
        """Sets where the parts begin, from the three numbers that the header holds too."""
        self._slots = slots
        self._limit_rows = limit_rows
        self._metrics_bytes = metrics_bytes
        self._row_bytes = _rounded(sizeof(Row) + slots * sizeof(Share), CACHE_LINES)
        self._region_bytes = _rounded(metrics_bytes, PAGE)
        self._rows_at = PAGE + _rounded(slots * sizeof(Slot), PAGE)
        self._metrics_at = self._rows_at + _rounded(limit_rows * self._row_bytes, PAGE)
        self._size = self._metrics_at + slots * self._region_bytes

    def _map(self):
        cdef void *base = mmap(NULL, self._size, PROT_READ | PROT_WRITE, MAP_SHARED, self._fd, 0)
        if base == MAP_FAILED:
            raise MemoryError(f"cannot map {self._size} bytes of shared memory")
        self._base = <char *>base
        self._header = <Header *>base

    def _write_header(self):
        cdef Header *header = self._header
        header.boot[0], header.boot[1] = _boot_id()
        header.size = self._size
        header.slots = self._slots
        header.limit_rows = self._limit_rows
        header.metrics_bytes = self._metrics_bytes
        for i in range(2):
            header.hash_key[i] = int.from_bytes(os.urandom(8), "little", signed=True)
        header.layout = LAYOUT_VERSION
        store(&header.magic, MAGIC)

    def _require_layout(self, path):
        cdef Header *header = self._header
        if header.magic != MAGIC:
            raise LayoutError(f"{path}: not the node's shared memory")
        if header.layout != LAYOUT_VERSION:
            raise LayoutError(f"{path}: layout {header.layout}, this version reads {LAYOUT_VERSION}")
        if (header.boot[0], header.boot[1]) != _boot_id():
            raise LayoutError(f"{path}: made before the last boot")
        size = self._size
        if not (1 <= header.slots <= MAX_SLOTS and 1 <= header.limit_rows <= MAX_ROWS
                and MIN_REGION <= header.metrics_bytes <= MAX_REGION):
            raise LayoutError(f"{path}: its header holds impossible sizes")
        self._lay_out(<int>header.slots, header.limit_rows, header.metrics_bytes)
        laid_out, self._size = self._size, size  # what is mapped is what must be unmapped
        if not laid_out == size == header.size:
            raise LayoutError(f"{path}: {size} bytes, its header asks for {laid_out}")

    def close(self):
        self._closed = True

    cdef int require_open(self) except -1:
        if self._closed:
            raise ValueError("the shared memory is closed")
        return 0

    cdef Slot *slot_at(self, int slot) except NULL:
        self.require_open()
        if not 0 <= slot < self._slots:
            raise IndexError(f"slot {slot} of {self._slots}")
        return <Slot *>(self._base + PAGE) + slot

    cdef void _zero_shares(self, int slot) noexcept nogil:
        cdef int64_t i
        cdef Row *row
        for i in range(self._limit_rows):
            row = self.row_at(i)
            if load(&row.key[0]) or load(&row.epoch):
                store(&shares_of(row)[slot].in_flight, 0)
                store(&shares_of(row)[slot].reserved_nano, 0)

    @property
    def slots(self):
        return self._slots

    @property
    def limit_rows(self):
        return self._limit_rows

    @property
    def metrics_bytes(self):
        return self._metrics_bytes

    @property
    def snapshot_generation(self):
        self.require_open()
        return load(&self._header.snapshot_generation)

    def announce_snapshot(self):
        self.require_open()
        return add(&self._header.snapshot_generation, 1)

    def occupy(self, slot: int, pid: int) -> None:
        self._clear(slot)
        cdef Slot *at = self.slot_at(slot)
        store(&at.heartbeat_ns, monotonic_ns())
        store(&at.state, 1)
        store(&at.pid, pid)

    def vacate(self, slot: int) -> None:
        self._clear(slot)

    def _clear(self, int slot):
        cdef Slot *at = self.slot_at(slot)
        cdef int i
        store(&at.pid, 0)
        store(&at.state, 0)
        store(&at.heartbeat_ns, 0)
        add(&at.tenancy, 1)
        for i in range(GAUGES):
            store(&at.gauges[i], 0)
        self._zero_shares(slot)

    def beat(self, slot: int) -> None:
        store(&self.slot_at(slot).heartbeat_ns, monotonic_ns())

    def heartbeat_ns(self, slot: int) -> int:
        return load(&self.slot_at(slot).heartbeat_ns)

    def pid(self, slot: int) -> int:
        return load(&self.slot_at(slot).pid)

    def set_state(self, slot: int, state: int) -> None:
        store(&self.slot_at(slot).state, state)

    def state(self, slot: int) -> int:
        return load(&self.slot_at(slot).state)

    def set_gauge(self, int slot, int which, int64_t value):
        cdef Slot *at = self.slot_at(slot)
        if not 0 <= which < GAUGES:
            raise IndexError(f"gauge {which} of {GAUGES}")
        poke(&at.gauges[which], value)

    def gauge(self, int slot, int which):
        cdef Slot *at = self.slot_at(slot)
        if not 0 <= which < GAUGES:
            raise IndexError(f"gauge {which} of {GAUGES}")
        return peek(&at.gauges[which])
