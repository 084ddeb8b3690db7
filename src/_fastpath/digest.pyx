"""SipHash-2-4 with a 128-bit result (Aumasson and Bernstein, 2012), for tables that must not tell what they hold.

A table keyed by such a digest under a random key can be asked with a secret without comparing secrets: who does not know the key
can neither find two inputs of one digest nor learn from the time a look-up takes.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef inline uint64_t _rotl(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


cdef inline uint64_t _load(const uint8_t* at) noexcept nogil:
    """Little-endian, whatever the machine."""
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value |= <uint64_t>at[i] << (8 * i)
    return value


cdef inline void _store(uint8_t* at, uint64_t value) noexcept nogil:
    cdef int i
    for i in range(8):
        at[i] = <uint8_t>(value >> (8 * i))


cdef inline void _rounds(uint64_t* v, int n) noexcept nogil:
    for _ in range(n):
        v[0] += v[1]; v[1] = _rotl(v[1], 13); v[1] ^= v[0]; v[0] = _rotl(v[0], 32)
        v[2] += v[3]; v[3] = _rotl(v[3], 16); v[3] ^= v[2]
        v[0] += v[3]; v[3] = _rotl(v[3], 21); v[3] ^= v[0]
        v[2] += v[1]; v[1] = _rotl(v[1], 17); v[1] ^= v[2]; v[2] = _rotl(v[2], 32)


cdef void siphash128(const uint8_t* key, const uint8_t* data, Py_ssize_t size, uint8_t* out) noexcept nogil:
    cdef uint64_t k0 = _load(key), k1 = _load(key + 8), word
    cdef uint64_t[4] v
    cdef Py_ssize_t at = 0
    cdef int i
    v[0] = k0 ^ 0x736F6D6570736575ULL
    v[1] = k1 ^ 0x646F72616E646F6DULL ^ 0xEE
    v[2] = k0 ^ 0x6C7967656E657261ULL
    v[3] = k1 ^ 0x7465646279746573ULL
    while at + 8 <= size:
        word = _load(data + at)
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
        at += 8
    word = <uint64_t>(size & 0xFF) << 56
    for i in range(<int>(size - at)):
        word |= <uint64_t>data[at + i] << (8 * i)
    v[3] ^= word
    _rounds(v, 2)
    v[0] ^= word
    v[2] ^= 0xEE
    _rounds(v, 4)
    _store(out, v[0] ^ v[1] ^ v[2] ^ v[3])
    v[1] ^= 0xDD
    _rounds(v, 4)
    _store(out + 8, v[0] ^ v[1] ^ v[2] ^ v[3])


@cython.final
cdef class Digester:
    def __init__(self, bytes key not None):
        if PyBytes_GET_SIZE(key) != 16:
            raise ValueError(f"the key is {PyBytes_GET_SIZE(key)} bytes; it must be 16")
        memcpy(self._key, PyBytes_AS_STRING(key), 16)

    def digest(self, bytes data not None):
        cdef uint8_t[16] out
        siphash128(self._key, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), out)
        return PyBytes_FromStringAndSize(<char*>out, 16)
