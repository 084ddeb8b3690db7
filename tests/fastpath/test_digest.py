"""SipHash-2-4-128 beside the vectors of its authors and a slow twin."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.digest import Digester

KEY = bytes(range(16))
MASK = (1 << 64) - 1

# From the authors' reference implementation (vectors_sip128): the message of n bytes 00 01 02 ...
VECTORS = {
    0: "a3817f04ba25a8e66df67214c7550293",
    1: "da87c1d86b99af44347659119b22fc45",
}


def slow(key: bytes, data: bytes) -> bytes:
    """The paper's description, word by word."""
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotl(x: int, n: int) -> int:
        return (x << n | x >> (64 - n)) & MASK

    def rounds(n: int) -> None:
        for _ in range(n):
            v[0] = (v[0] + v[1]) & MASK
            v[1] = rotl(v[1], 13) ^ v[0]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK
            v[1] = rotl(v[1], 17) ^ v[2]
            v[2] = rotl(v[2], 32)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    low = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    high = v[0] ^ v[1] ^ v[2] ^ v[3]
    return low.to_bytes(8, "little") + high.to_bytes(8, "little")


@pytest.mark.parametrize("size", VECTORS)
def test_the_authors_vectors_hold(size: int) -> None:
    assert Digester(KEY).digest(bytes(range(size))).hex() == VECTORS[size]
    assert slow(KEY, bytes(range(size))).hex() == VECTORS[size]


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=600))
def test_it_agrees_with_the_slow_twin(key: bytes, data: bytes) -> None:
    assert Digester(key).digest(data) == slow(key, data)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"the key is {size} bytes"):
        Digester(bytes(size))
