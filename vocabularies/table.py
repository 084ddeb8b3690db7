"""Compiles a vocabulary to the tables that `_fastpath/tokens.pyx` reads; that module says how they are used.

A token is its rank, below 2**18 - 1; the single bytes have the first 256. Each table is made by one function here and searched by one
there; both compute the same hashes. Tables are little-endian.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence

TOKEN_BITS = 18
NO_TOKEN = (1 << TOKEN_BITS) - 1
NARROW = 7
WIDE = 15
"""Bytes of the longest tokens that stand in a slot, of one word and of two."""
FAR = 8
"""Slots: where tokens lie so far from where they should be, the trie is asked."""
LOADS = {"short": 0.85, "long": 0.6, "pairs": 0.7}
"""How full the hash tables are."""

_WORD = (1 << 64) - 1
KEY_0 = 0x9E3779B97F4A7C15
KEY_1 = 0xD1B54A32D192ED03
KEY_2 = 0x8CB92BA72F3D8DD7


def _fold(a: int, b: int) -> int:
    product = a * b
    return (product ^ product >> 64) & _WORD


def _slot(digest: int, slots: int) -> int:
    return (digest >> 32) * slots >> 32


# -- whole tokens


def _key(token: bytes) -> tuple[int, ...]:
    """One word or two: the token, zeros, and its size."""
    words = 1 if len(token) <= NARROW else 2
    padded = token.ljust(8 * words - 1, b"\0") + bytes([len(token)])
    return tuple(int.from_bytes(padded[at : at + 8], "little") for at in range(0, len(padded), 8))


def short_tokens(tokens: Sequence[bytes], words: int) -> array[int]:
    """Tokens that fit in so many words with their size, hashed; zeros where a slot is free.

    The last four bits of a slot are of those tokens that should stand there: how many slots from it on have to be looked at to
    find any of them, at most FAR. So most of what is no token is found to be none at the first slot.
    """
    keys = [key for key in map(_key, (token for token in tokens if len(token) <= WIDE)) if len(key) == words]
    slots = int(len(keys) / LOADS["short"]) + 1
    table = array("Q", bytes(8 * words * slots))
    reach = bytearray(slots)
    for key in keys:  # the frequent ones first: they find their slots free
        home = at = _slot(_fold(key[0] ^ KEY_0, key[-1] ^ KEY_1), slots)
        while table[words * at + words - 1]:
            at = (at + 1) % slots
        table[words * at : words * at + words] = array("Q", key)
        reach[home] = max(reach[home], min((at - home) % slots + 1, FAR))
    for at, far in enumerate(reach):
        table[words * at + words - 1] |= far << 60
    return table


def _long_digest(token: bytes) -> int:
    digest = KEY_2 ^ len(token)
    for at in (*range(0, len(token) - 8, 8), len(token) - 8):
        digest = _fold(digest ^ int.from_bytes(token[at : at + 8], "little"), KEY_0)
    return digest


def long_tokens(tokens: Sequence[bytes]) -> tuple[array[int], bytes]:
    """The others, hashed: a slot is half the digest, offset and size in the text that follows; zero where it is free."""
    chosen = [token for token in tokens if len(token) > WIDE]
    slots = int(len(chosen) / LOADS["long"]) + 1
    table = array("Q", bytes(8 * slots))
    text = bytearray()
    for token in chosen:
        digest = _long_digest(token)
        at = _slot(digest, slots)
        while table[at]:
            at = (at + 1) % slots
        table[at] = (digest & 0xFFFFFFFF) << 32 | len(text) << 8 | len(token)
        text += token
    return table, bytes(text)


# -- how tokens are merged


def _last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[int, int]:
    """What byte pair encoding merges last to make a token.

    Raises ValueError for a token that it does not make, or of parts that rank behind it: the kernel relies on neither being so.
    """
    parts = [token[at : at + 1] for at in range(len(token))]
    merged = [ranks.get(a + b, NO_TOKEN) for a, b in itertools.pairwise(parts)]
    left = right = b""
    while merged and (rank := min(merged)) != NO_TOKEN:
        at = merged.index(rank)
        left, right = parts[at : at + 2]
        parts[at : at + 2] = [left + right]
        del merged[at]
        for pair in range(max(at - 1, 0), min(at + 1, len(merged))):
            merged[pair] = ranks.get(parts[pair] + parts[pair + 1], NO_TOKEN)
    rank = ranks[token]
    if len(parts) != 1 or ranks[left] >= rank or ranks[right] >= rank:
        raise ValueError(f"the token {token!r} is not made by merging tokens of lower ranks")
    return ranks[left], ranks[right]


def records(tokens: Sequence[bytes]) -> array[int]:
    """For each token: the two that it is merged of, the longest other that it begins with, its size."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    table = array("Q", bytes(8 * len(tokens)))
    for rank, token in enumerate(tokens):
        left, right, shorter = NO_TOKEN, NO_TOKEN, NO_TOKEN
        if len(token) > 1:
            left, right = _last_merge(token, ranks)
            shorter = next(ranks[token[:size]] for size in range(len(token) - 1, 0, -1) if token[:size] in ranks)
        table[rank] = left | right << TOKEN_BITS | shorter << 2 * TOKEN_BITS | len(token) << 3 * TOKEN_BITS
    return table


def pairs(made_of: array[int]) -> array[int]:
    """The same the other way round, hashed: for two tokens the one that they merge to; a slot is 14 bits of digest and it."""
    slots = int(len(made_of) / LOADS["pairs"]) + 1
    table = array("I", bytes(4 * slots))
    for token, record in enumerate(made_of):
        left, right = record & NO_TOKEN, record >> TOKEN_BITS & NO_TOKEN
        if left != NO_TOKEN:
            digest = (left << TOKEN_BITS | right) * KEY_0 & _WORD
            at = _slot(digest, slots)
            while table[at]:
                at = (at + 1) % slots
            table[at] = (digest >> TOKEN_BITS & 0x3FFF) << TOKEN_BITS | token
    return table


# -- which token a text begins with


class _Node:
    __slots__ = ("base", "children", "slot", "token")

    def __init__(self) -> None:
        self.children: dict[int, _Node] | None = None
        self.token = NO_TOKEN
        self.slot = 0
        self.base = 0


def _tree(tokens: Sequence[bytes]) -> list[_Node]:
    """All nodes that have children, each before its own: the root, then those of frequent tokens."""
    root = _Node()
    root.children = {}
    inner = [root]
    for rank, token in enumerate(tokens):
        node = root
        for byte in token:
            if node.children is None:
                node.children = {}
                inner.append(node)
            child = node.children.get(byte)
            if child is None:
                child = node.children[byte] = _Node()
            node = child
        node.token = rank
    return inner


WINDOW = 2048
"""Bits that are searched for room at once."""
REFUSALS = 8
"""So many nodes that do not fit into a window leave it as it is: one count for those of a single child, one for the others."""
LINE = 8
"""Slots of a line of the cache."""


class _Room:
    """Which slots and which bases are free, as bits."""

    def __init__(self, slots: int) -> None:
        windows = slots // WINDOW + 1
        self._taken = [0] * (windows + 1)
        self._bases = [1] + [0] * windows  # a base of 0 says that there are no children
        self._single = dict.fromkeys(range(windows), 0)
        self._several = dict.fromkeys(range(windows), 0)
        """Windows that have room for nodes of a single child, and of several; and how often they had none."""

    def place(self, labels: Sequence[int], near: int) -> int:
        """A base that is nobody's yet with base + label free for each label, as near to a slot as may be."""
        windows = self._several if len(labels) > 1 else self._single
        wished = max(near - near % LINE - labels[0], 0)
        base = self._in_window(windows, wished // WINDOW, wished % WINDOW, labels)
        if base is None:
            found = (self._in_window(windows, window, 0, labels) for window in list(windows))
            base = next((each for each in found if each is not None), None)
            if base is None:
                raise ValueError("there is no room left")
        self._bases[base // WINDOW] |= 1 << base % WINDOW
        for slot in (base + label for label in labels):
            self._taken[slot // WINDOW] |= 1 << slot % WINDOW
        return base

    def _in_window(self, windows: dict[int, int], window: int, wished: int, labels: Sequence[int]) -> int | None:
        """A base in a window, from the bit that is wished for on where there is one."""
        if window not in windows:
            return None
        taken = self._taken[window] | self._taken[window + 1] << WINDOW
        refused = self._bases[window]
        for label in labels:
            refused |= taken >> label
        room = ~refused & ((1 << WINDOW) - 1)
        if room:
            room = room >> wished << wished or room
            return window * WINDOW + (room & -room).bit_length() - 1
        windows[window] += 1
        if windows[window] > REFUSALS:
            del windows[window]
        return None


def trie(tokens: Sequence[bytes]) -> tuple[array[int], int]:
    """A double array, and the root's base.

    The child of a node for a byte is at base + byte, if that slot says it is of this byte: bases differ, so no other
    node has such a child there. A slot: 9 bits 256 + byte, 23 bits base (0 where there are no children), 18 bits token + 1.
    """
    inner = _tree(tokens)
    root = inner[0]
    room = _Room(int(1.3 * sum(len(node.children or ()) for node in inner)) + 16 * WINDOW)
    for node in inner:  # those of frequent tokens first; a node before its children
        children = node.children or {}
        node.base = room.place(sorted(children), node.slot)
        for byte, child in children.items():
            child.slot = node.base + byte
    table = array("Q", bytes(8 * (max(node.base for node in inner) + 256)))
    for node in inner:
        for byte, child in (node.children or {}).items():
            token = 0 if child.token == NO_TOKEN else child.token + 1
            table[node.base + byte] = 256 | byte | child.base << 9 | token << 32
    return table, root.base


CHARACTERS = 1 << 16
"""Code points of one to three bytes of UTF-8."""


def characters(nodes: array[int], root: int) -> array[int]:
    """By code point the slot of the trie that its bytes lead to; 0 where they are no token: a longer one may begin with them all the same."""
    table = array("Q", bytes(8 * CHARACTERS))
    for code in (*range(0xD800), *range(0xE000, CHARACTERS)):
        base, slot = root, 0
        for byte in chr(code).encode():
            slot = nodes[base + byte] if base + byte < len(nodes) else 0
            if slot & 0x1FF != 256 | byte:
                break
            base = slot >> 9 & 0x7FFFFF
        else:
            table[code] = slot if slot >> 32 else 0
    return table
