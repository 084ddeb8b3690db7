# cython: auto_pickle=False, autotestdict=False
"""Counters, gauges and histograms of one process, in its slot's region of the node's shared memory.

A region is a list of records that only grows: a record is written behind the last one, then `used_bytes` is stored,
which publishes it. What a killed process wrote behind `used_bytes` is not there, and is overwritten. A published record
changes in its values alone, and those have one writer, the slot's process: an increment is a load and a store.

A series is known by its kind, name, labels and bounds. A successor finds its predecessor's records and goes on counting
in them. A gauge counts only while its slot has the occupant that set it: `NodeMemory.occupy` and `vacate` change the
slot's tenancy, and that makes all of its gauges 0 at once.

Memory is bounded by the region, and label sets by that: each name keeps room for one series with the labels
{"overflow": "true"}, taken by all series of the name that come when the region is full. Names that come when there is
no room even for that share `throughway_metrics_overflow` and its `_gauge` and `_histogram` (the last without bounds),
whose room is kept from the start.
"""

import itertools
import json

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy, memset

cimport cython

from _fastpath.shm cimport NodeMemory, Slot, add, load, peek, poke, store

from _fastpath.shm import LayoutError

cdef enum:
    COUNTER = 1
    GAUGE = 2
    HISTOGRAM = 3
    MAX_KEY_BYTES = 2048  # a longer series counts in its name's overflow
    MAX_NAME = 200

_KIND_NAMES = {COUNTER: "counter", GAUGE: "gauge", HISTOGRAM: "histogram"}
_OVERFLOW_LABELS = {"overflow": "true"}
_OVERFLOW_NAMES = {
    COUNTER: "throughway_metrics_overflow",
    GAUGE: "throughway_metrics_overflow_gauge",
    HISTOGRAM: "throughway_metrics_overflow_histogram",
}


cdef bytes _key_of(str name, dict labels):
    if not all([type(part) is str for pair in labels.items() for part in pair]):
        raise TypeError("labels and their values are str")
    cdef str text = json.dumps([name, sorted(labels.items())], ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


cdef int64_t _padded(int64_t size) noexcept:
    return (size + 7) & ~7


cdef int64_t _values_count(int kind, int64_t bounds_count) noexcept:
    return bounds_count + 2 if kind == HISTOGRAM else 1


cdef int64_t _record_bytes(int kind, int64_t key_bytes, int64_t bounds_count) noexcept:
    return sizeof(Record) + _padded(key_bytes) + 8 * (bounds_count + _values_count(kind, bounds_count))


cdef bytes _record_key(Record *record):
    return (<char *>(record + 1))[:record.key_bytes]


cdef int64_t *_record_bounds(Record *record) noexcept:
    return <int64_t *>(<char *>(record + 1) + _padded(record.key_bytes))


cdef int64_t *_record_values(Record *record) noexcept:
    return _record_bounds(record) + record.bounds_count


cdef tuple _record_bounds_tuple(Record *record):
    cdef int i
    return tuple([_record_bounds(record)[i] for i in range(record.bounds_count)])


cdef list _offsets(Region *region, int64_t capacity):
    """Where the published records begin.

    Raises:
        LayoutError: the records do not add up to the length that was published.
    """
    cdef int64_t used = load(&region.used_bytes)
    cdef int64_t at = sizeof(Region)
    cdef Record *record
    cdef list offsets = []
    if used == 0:
        return offsets
    while at < used <= capacity and used - at >= <int64_t>sizeof(Record):
        record = <Record *>(<char *>region + at)
        if (not COUNTER <= record.kind <= HISTOGRAM or record.bounds_count > MAX_BOUNDS
                or record.size_bytes != _record_bytes(record.kind, record.key_bytes, record.bounds_count)):
            break
        offsets.append(at)
        at += record.size_bytes
    if at != used:
        raise LayoutError("a region of metrics is damaged")
    return offsets


@cython.final
cdef class Registry:
    def __cinit__(self, NodeMemory memory not None, int slot):
        cdef Slot *at = memory.slot_at(slot)  # raises
        cdef Record *record
        self._memory = memory
        self._region = <Region *>memory.metrics_region(slot)
        self._tenancy = load(&at.tenancy)
        self._capacity = memory._metrics_bytes & ~7
        self._series = {}
        self._families = set()
        self._declared = {}
        if load(&self._region.used_bytes) == 0:
            store(&self._region.used_bytes, sizeof(Region))
        for kind, name in _OVERFLOW_NAMES.items():
            self._keep_room(kind, name, ())
        for offset in _offsets(self._region, self._capacity):
            record = self._at(offset)
            key = _record_key(record)
            self._keep_room(record.kind, json.loads(key)[0], _record_bounds_tuple(record))
            self._note(record.kind, key, _record_bounds_tuple(record), offset)

    cdef Record *_at(self, int64_t offset) noexcept:
        return <Record *>(<char *>self._region + offset)

    cdef int64_t _free_bytes(self) noexcept:
        return self._capacity - load(&self._region.used_bytes) - self._kept_bytes

    def _keep_room(self, int kind, str name, tuple bounds):
        """Keeps room for the overflow series of a name, once."""
        if (kind, bounds, name) not in self._families:
            self._families.add((kind, bounds, name))
            self._kept_bytes += _record_bytes(kind, len(_key_of(name, _OVERFLOW_LABELS)), len(bounds))

    def _note(self, int kind, bytes key, tuple bounds, int64_t offset):
        self._series[kind, bounds, key] = offset
        if key == _key_of(json.loads(key)[0], _OVERFLOW_LABELS):
            self._kept_bytes -= self._at(offset).size_bytes

    cdef Record *_series_of(self, int kind, str name, dict labels, tuple bounds) except NULL:
        cdef bytes key = _key_of(name, labels)
        self._memory.require_open()
        if not 1 <= len(name) <= MAX_NAME:
            raise ValueError(f"a metric's name has 1 to {MAX_NAME} characters, not {len(name)}")
        if self._declared.setdefault(name, (kind, bounds)) != (kind, bounds):
            raise ValueError(f"{name} was declared as another kind, or with other bounds")
        offset = self._series.get((kind, bounds, key))
        if offset is not None:
            return self._at(offset)
        if (kind, bounds, name) not in self._families:
            if self._free_bytes() < _record_bytes(kind, len(_key_of(name, _OVERFLOW_LABELS)), len(bounds)):
                add(&self._region.dropped_series, 1)
                return self._overflow_of(kind, _OVERFLOW_NAMES[kind], ())
            self._keep_room(kind, name, bounds)
        if len(key) > MAX_KEY_BYTES or self._free_bytes() < _record_bytes(kind, len(key), len(bounds)):
            add(&self._region.dropped_series, 1)
            return self._overflow_of(kind, name, bounds)
        return self._append(kind, key, bounds)

    cdef Record *_overflow_of(self, int kind, str name, tuple bounds) except NULL:
        cdef bytes key = _key_of(name, _OVERFLOW_LABELS)
        offset = self._series.get((kind, bounds, key))
        return self._append(kind, key, bounds) if offset is None else self._at(offset)

    cdef Record *_append(self, int kind, bytes key, tuple bounds) except NULL:
        cdef int64_t offset = load(&self._region.used_bytes)
        cdef Record *record = self._at(offset)
        cdef int64_t size = _record_bytes(kind, len(key), len(bounds))
        cdef int i
        if offset + size > self._capacity:
            raise RuntimeError("another registry writes to this slot")
        memset(record, 0, size)  # a killed predecessor may have written here
        record.size_bytes = <uint32_t>size
        record.kind = kind
        record.bounds_count = len(bounds)
        record.key_bytes = len(key)
        record.tenancy = self._tenancy
        memcpy(record + 1, <char *>key, len(key))
        for i in range(len(bounds)):
            _record_bounds(record)[i] = bounds[i]
        store(&self._region.used_bytes, offset + size)
        self._note(kind, key, bounds, offset)
        return record

    def counter(self, str name not None, dict labels=None):
        return self._cell(COUNTER, name, labels or {})

    def gauge(self, str name not None, dict labels=None):
        return self._cell(GAUGE, name, labels or {})

    def _cell(self, int kind, str name, dict labels):
        cdef Record *record = self._series_of(kind, name, labels, ())
        cdef Cell cell = Cell.__new__(Cell)
        if kind == GAUGE and load(&record.tenancy) != self._tenancy:
            store(_record_values(record), 0)
            store(&record.tenancy, self._tenancy)
        cell._at = _record_values(record)
        cell._monotone = kind == COUNTER
        cell._memory = self._memory
        return cell

    def histogram(self, str name not None, tuple bounds not None, dict labels=None):
        cdef Record *record
        cdef Histogram histogram
        if len(bounds) > MAX_BOUNDS or any([low >= high for low, high in zip(bounds, bounds[1:])]):
            raise ValueError(f"bounds are at most {MAX_BOUNDS} increasing integers")
        record = self._series_of(HISTOGRAM, name, labels or {}, bounds)
        histogram = Histogram.__new__(Histogram)
        histogram._bounds = _record_bounds(record)
        histogram._counts = _record_values(record)
        histogram._bounds_count = record.bounds_count
        histogram._memory = self._memory
        return histogram

    @property
    def dropped_series(self):
        return load(&self._region.dropped_series)


@cython.final
cdef class Cell:
    def __cinit__(self):
        self._at = &self._own

    cpdef add(self, int64_t amount=1):
        if self._monotone and amount < 0:
            raise ValueError("a counter never falls")
        self.inc(amount)

    def set(self, int64_t value):
        if self._monotone and value < peek(self._at):
            raise ValueError("a counter never falls")
        self.put(value)

    @property
    def value(self):
        return peek(self._at)


@cython.final
cdef class Histogram:
    def __cinit__(self):
        self._counts = self._own

    cpdef observe(self, int64_t value):
        self.record(value, 1)

    cpdef observe_n(self, int64_t value, int64_t n):
        if n < 0:
            raise ValueError("a count never falls")
        self.record(value, n)


# -- reading

@cython.final
cdef class Sample:
    cdef readonly str kind
    cdef readonly str name
    cdef readonly dict labels
    cdef readonly object value
    cdef readonly object total
    cdef readonly tuple bounds
    cdef readonly tuple buckets

    def __repr__(self):
        return f"Sample({self.kind} {self.name} {self.labels} {self.value})"


def collect(NodeMemory memory not None):
    cdef int slot, i
    cdef int64_t tenancy
    cdef Region *region
    cdef Record *record
    cdef list values
    cdef dict sums = {}
    for slot in range(memory._slots):
        tenancy = load(&memory.slot_at(slot).tenancy)
        region = <Region *>memory.metrics_region(slot)
        for offset in _offsets(region, memory._metrics_bytes):
            record = <Record *>(<char *>region + <int64_t>offset)
            series = (record.kind, _record_bounds_tuple(record), _record_key(record))
            values = sums.get(series)
            if values is None:
                values = sums[series] = [0] * _values_count(record.kind, record.bounds_count)
            if record.kind == GAUGE and load(&record.tenancy) != tenancy:
                continue
            for i in range(len(values)):
                values[i] += peek(_record_values(record) + i)
    samples = [_sample_of(series[0], series[1], series[2], values) for series, values in sums.items()]
    samples.sort(key=_by_name_and_labels)
    return samples


def _by_name_and_labels(Sample sample not None):
    return sample.name, sorted(sample.labels.items()), sample.kind, sample.bounds


cdef Sample _sample_of(int kind, tuple bounds, bytes key, list values):
    cdef Sample sample = Sample.__new__(Sample)
    sample.kind = _KIND_NAMES[kind]
    sample.name, labels = json.loads(key)
    sample.labels = dict(labels)
    sample.bounds = bounds
    if kind == HISTOGRAM:
        sample.total = values.pop()
        sample.buckets = tuple(itertools.accumulate(values))
        sample.value = sum(values)
    else:
        sample.total = 0
        sample.buckets = ()
        sample.value = values[0]
    return sample
