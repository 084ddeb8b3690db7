"""Bytes made piece by piece: header lines, records. What `%` does with a format that is read anew each time.

One buffer that is used again; `take` makes the bytes and leaves it empty. It keeps at most KEPT_BYTES.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    FIRST_BYTES = 1_024
    KEPT_BYTES = 65_536
    NUMBER_BYTES = 20       # of the longest int64, with its sign
    NANO_DIGITS = 9
    ESCAPED_BYTES = 6       # of the longest escape
    UTC_LENGTH = 24          # 2026-03-01T12:00:00.123Z
    DAY_MS = 86_400_000
    LAST_DAY = 2_932_896    # 9999-12-31

cdef const char* HEX_DIGITS = b"0123456789abcdef"
cdef uint8_t SHORT_ESCAPE[128]    # the letter behind the backslash; 1 for \\u00XX; 0 for what stands as it is


cdef void fill_escapes():
    cdef int code
    short = dict(zip('"\\\b\f\n\r\t', '"\\bfnrt'))
    for code in range(128):
        SHORT_ESCAPE[code] = ord(short[chr(code)]) if chr(code) in short else code < 0x20


fill_escapes()


cdef char* put_digits(char* at, uint64_t value) noexcept nogil:
    """The decimal digits of `value`; returns where they end."""
    cdef char digits[NUMBER_BYTES]
    cdef int n = 0
    while True:
        digits[n] = <char>(c"0" + value % 10)
        n += 1
        value //= 10
        if value == 0:
            break
    while n:
        n -= 1
        at[0] = digits[n]
        at += 1
    return at


cdef char* put_nano(char* at, int64_t nano) noexcept nogil:
    """Nine digits behind a point, without the zeros at their end; nothing for 0."""
    cdef int n = NANO_DIGITS
    if nano == 0:
        return at
    while nano % 10 == 0:
        nano //= 10
        n -= 1
    at[0] = c"."
    at += n
    for _ in range(n):
        at[0] = <char>(c"0" + nano % 10)
        at -= 1
        nano //= 10
    return at + n + 1


cdef char* put_padded(char* at, int value, int digits) noexcept nogil:
    """So many digits of `value`, zeros before it; returns where they end."""
    cdef int n
    for n in range(digits - 1, -1, -1):
        at[n] = <char>(c"0" + value % 10)
        value //= 10
    return at + digits


cdef char* put_date(char* at, int64_t day) noexcept nogil:
    """Year, month and day of a day since 1970. Years are counted from March, so that the leap day is the last of its year."""
    cdef int64_t shifted = day + 719_468                   # since 0000-03-01
    cdef int64_t era = shifted // 146_097                  # of 400 years
    cdef int of_era = <int>(shifted % 146_097)
    cdef int year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    cdef int of_year = of_era - (365 * year + year // 4 - year // 100)
    cdef int month = (5 * of_year + 2) // 153              # 0 is March
    cdef int of_month = of_year - (153 * month + 2) // 5
    at = put_padded(at, <int>(era * 400) + year + (month >= 10), 4)
    at[0] = c"-"
    at = put_padded(at + 1, month + 3 if month < 10 else month - 9, 2)
    at[0] = c"-"
    return put_padded(at + 1, of_month + 1, 2)


@cython.final
cdef class Writer:
    def __dealloc__(self):
        PyMem_Free(self._data)

    cdef char* room(self, Py_ssize_t size) except NULL:
        cdef Py_ssize_t capacity
        cdef char* grown
        if self._data == NULL or self._size + size > self._capacity:
            capacity = max(2 * (self._size + size), <Py_ssize_t>FIRST_BYTES)
            grown = <char*>PyMem_Realloc(self._data, capacity)
            if grown == NULL:
                raise MemoryError
            self._data = grown
            self._capacity = capacity
        return self._data + self._size

    cpdef Writer begin(self):
        self._size = 0
        return self

    cpdef Writer raw(self, bytes piece, Py_ssize_t start=0):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece) - start
        if size > 0 and start >= 0:
            memcpy(self.room(size), PyBytes_AS_STRING(piece) + start, size)
            self._size += size
        return self

    cpdef Writer text(self, str piece):
        cdef Py_ssize_t size = 0
        cdef const char* source
        try:
            source = PyUnicode_AsUTF8AndSize(piece, &size)
        except UnicodeEncodeError:
            return self.raw(piece.encode("utf-8", "replace"))
        memcpy(self.room(size), source, size)
        self._size += size
        return self

    cpdef Writer json(self, str piece):
        cdef Py_ssize_t size = 0, i
        cdef const uint8_t* source
        cdef char* at
        cdef uint8_t byte, escape
        try:
            source = <const uint8_t*>PyUnicode_AsUTF8AndSize(piece, &size)
        except UnicodeEncodeError:
            return self.json(piece.encode("utf-8", "replace").decode())
        at = self.room(ESCAPED_BYTES * size + 2)
        at[0] = c'"'
        at += 1
        for i in range(size):
            byte = source[i]
            escape = SHORT_ESCAPE[byte] if byte < 128 else 0
            if escape == 0:
                at[0] = <char>byte
                at += 1
                continue
            at[0] = c"\\"
            if escape != 1:
                at[1] = <char>escape
                at += 2
                continue
            memcpy(at + 1, b"u00", 3)
            at[4] = HEX_DIGITS[byte >> 4]
            at[5] = HEX_DIGITS[byte & 15]
            at += 6
        at[0] = c'"'
        self._size = at + 1 - self._data
        return self

    cpdef Writer number(self, int64_t value):
        cdef char* at = self.room(NUMBER_BYTES)
        if value < 0:
            at[0] = c"-"
            at = put_digits(at + 1, <uint64_t>0 - <uint64_t>value)
        else:
            at = put_digits(at, <uint64_t>value)
        self._size = at - self._data
        return self

    cpdef Writer usd(self, int64_t nano_usd):
        cdef char* at = self.room(NUMBER_BYTES + 1)
        if nano_usd < 0:
            raise ValueError("an amount is not negative")
        at = put_digits(at, <uint64_t>(nano_usd // 1_000_000_000))
        self._size = put_nano(at, nano_usd % 1_000_000_000) - self._data
        return self

    cpdef Writer utc(self, int64_t unix_ms):
        cdef int64_t day = unix_ms // DAY_MS
        cdef int ms = <int>(unix_ms % DAY_MS)
        cdef char* at = self.room(UTC_LENGTH)
        if unix_ms < 0 or day > LAST_DAY:
            raise ValueError("a time outside the years 1970 to 9999")
        at = put_date(at, day)
        at[0] = c"T"
        at = put_padded(at + 1, ms // 3_600_000, 2)
        at[0] = c":"
        at = put_padded(at + 1, ms // 60_000 % 60, 2)
        at[0] = c":"
        at = put_padded(at + 1, ms // 1_000 % 60, 2)
        at[0] = c"."
        at = put_padded(at + 1, ms % 1_000, 3)
        at[0] = c"Z"
        self._size += UTC_LENGTH
        return self

    cpdef bytes take(self):
        cdef bytes made = PyBytes_FromStringAndSize(self._data, self._size)
        self._size = 0
        if self._capacity > KEPT_BYTES:
            PyMem_Free(self._data)
            self._data = NULL
            self._capacity = 0
        return made


@cython.final
cdef class Ids:
    def __init__(self, bytes prefix not None):
        prefix.decode("ascii")
        self._prefix = prefix

    cpdef str next(self):
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._prefix)
        cdef char name[80]
        cdef int64_t value
        cdef int i
        self._count += 1
        value = self._count
        if size > 64:
            raise ValueError("the prefix is longer than 64 bytes")
        memcpy(name, PyBytes_AS_STRING(self._prefix), size)
        for i in range(7, -1, -1):
            name[size + i] = HEX_DIGITS[value & 15]
            value >>= 4
        return name[:size + 8].decode("ascii")
