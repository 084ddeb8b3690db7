"""The tables say of every token what the vocabulary says; searched here as the kernel searches them, but slowly."""

from __future__ import annotations

import itertools

import pytest

from vocabularies import table

MERGES = [
    "th",
    "he",
    "in",
    "the",
    " the",
    "aa",
    "aaaa",
    "ab",
    "abab",
    "aaaaaaaa",
    "ing",
    "thing",
    " thing",
    "\x00\x00",
    "aaaaaaaa" * 2,
]
TOKENS = [bytes([byte]) for byte in range(256)] + [merge.encode() for merge in MERGES]
RANKS = {token: rank for rank, token in enumerate(TOKENS)}


def split(record: int) -> tuple[int, int, int, int]:
    """A record: the two that a token is merged of, the longest other that it begins with, its size."""
    fields = [record >> shift & table.NO_TOKEN for shift in range(0, 3 * table.TOKEN_BITS, table.TOKEN_BITS)]
    return fields[0], fields[1], fields[2], record >> 3 * table.TOKEN_BITS


def test_a_record_tells_of_what_a_token_is_merged() -> None:
    records = table.records(TOKENS)
    for rank, token in enumerate(TOKENS):
        left, right, shorter, size = split(records[rank])
        assert size == len(token)
        if size == 1:
            assert {left, right, shorter} == {table.NO_TOKEN}
        else:
            assert TOKENS[left] + TOKENS[right] == token
            assert TOKENS[shorter] == max((t for t in TOKENS if token.startswith(t) and t != token), key=len)
    assert split(records[RANKS[b"the"]])[:2] == (RANKS[b"th"], RANKS[b"e"])  # and not t + he: th has the lower rank


@pytest.mark.parametrize("broken", [[b"abc"], [b"abc", b"ab"]], ids=["no parts", "of a higher rank"])
def test_a_token_that_merging_does_not_make_is_refused(broken: list[bytes]) -> None:
    with pytest.raises(ValueError, match="the token b'abc' is not made by merging tokens of lower ranks"):
        table.records(TOKENS[:256] + broken)


def test_the_trie_finds_each_token_and_nothing_else() -> None:
    nodes, root = table.trie(TOKENS)

    def walk(text: bytes) -> int | None:
        """The token that the text is; None where it is none; ends where there is no way on."""
        base, slot = root, 0
        for byte in text:
            slot = nodes[base + byte]
            if slot & 0x1FF != 256 | byte:
                return None
            base = slot >> 9 & 0x7FFFFF
        return (slot >> 32) - 1 if slot >> 32 else None

    for rank, token in enumerate(TOKENS):
        assert walk(token) == rank
    for text in map(bytes, itertools.product(b"abthe in", repeat=3)):
        assert walk(text) == RANKS.get(text)


def test_slots_of_the_trie_belong_to_one_node_each() -> None:
    nodes, _ = table.trie(TOKENS)
    bases = [at - (slot & 0xFF) for at, slot in enumerate(nodes) if slot]
    children = {
        base: [at for at, slot in enumerate(nodes) if slot and at - (slot & 0xFF) == base] for base in set(bases)
    }
    assert sum(map(len, children.values())) == len(
        {token[:size] for token in TOKENS for size in range(1, len(token) + 1)}
    )


def test_pairs_hold_each_merge_once() -> None:
    records = table.records(TOKENS)
    slots = [slot for slot in table.pairs(records) if slot]
    assert sorted(slot & table.NO_TOKEN for slot in slots) == list(range(256, len(TOKENS)))


@pytest.mark.parametrize(("words", "sizes"), [(1, range(1, 8)), (2, range(8, 16))])
def test_short_tokens_are_all_there_with_their_sizes(words: int, sizes: range) -> None:
    slots = table.short_tokens(TOKENS, words).tobytes()
    width = 8 * words
    kept = [slots[at : at + width] for at in range(0, len(slots), width) if slots[at + width - 1]]
    assert {slot[: slot[-1] & 0x0F] for slot in kept} == {token for token in TOKENS if len(token) in sizes}
    assert len(kept) < len(slots) // width  # a search ends at a free slot


@pytest.mark.parametrize("far", [table.FAR, 2])
@pytest.mark.parametrize("words", [1, 2])
def test_short_tokens_are_within_the_reach_of_the_slot_where_they_should_be(
    words: int, far: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "FAR", far)
    tokens = [b"%0*d" % (8 * words - 3, number) for number in range(3_000)]
    slots = table.short_tokens(tokens, words)
    size = len(slots) // words
    for token in tokens:
        key = table._key(token)
        at = home = table._slot(table._fold(key[0] ^ table.KEY_0, key[-1] ^ table.KEY_1), size)
        reach = slots[words * home + words - 1] >> 60
        while slots[words * at + words - 1] & ~(15 << 60) != key[-1] or (words == 2 and slots[words * at] != key[0]):
            at = (at + 1) % size
        assert reach == far or (at - home) % size < reach < far
    assert max(slot >> 60 for slot in slots[words - 1 :: words]) == far


def test_characters_lead_where_their_bytes_lead() -> None:
    tokens = [*TOKENS, b"\xe4\xb8", "中".encode(), "中中".encode(), "é".encode(), "é中".encode()]
    nodes, root = table.trie(tokens)
    found = table.characters(nodes, root)
    assert {chr(code) for code, slot in enumerate(found) if slot} == {*map(chr, range(128)), "é", "中"}
    for character in ("é", "中"):
        slot = found[ord(character)]
        assert tokens[(slot >> 32) - 1] == character.encode()
        further = nodes[(slot >> 9 & 0x7FFFFF) + "中".encode()[0]]
        assert further & 0x1FF == 256 | "中".encode()[0]


def test_long_tokens_are_all_there() -> None:
    slots, text = table.long_tokens(TOKENS)
    found = {text[slot >> 8 & 0xFFFFFF :][: slot & 0xFF] for slot in slots if slot}
    assert found == {token for token in TOKENS if len(token) > 15}
    assert 0 in slots
