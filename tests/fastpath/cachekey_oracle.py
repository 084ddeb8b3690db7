"""A slow twin of `_fastpath.cachekey`: the standard library reads, Python's integers compute what the module's docstring says."""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

MAX_DEPTH = 100
PIECE_BLOCKS = 64
WORD = (1 << 64) - 1
TAGS = [
    "",
    "root",
    "object",
    "array",
    "end",
    "string",
    "long_string",
    "number",
    "long_number",
    "true",
    "false",
    "null",
    "digest",
]


class RefusedError(ValueError):
    pass


class Number(NamedTuple):
    """digits * 10**exponent, the last digit not zero; zero has no digits."""

    negative: bool
    digits: str
    exponent: int


Value = None | bool | str | Number | list["Value"] | dict[str, "Value"]


# -- reading


def number(text: str) -> Number:
    spelt = re.fullmatch(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)0*([0-9]*))?", text)
    assert spelt is not None
    sign, units, fraction, exponent_sign, exponent = (part or "" for part in spelt.groups())
    if len(exponent) > 9:
        raise RefusedError("exponent")
    digits = (units + fraction).lstrip("0")
    last = digits.rstrip("0")
    above = int((exponent_sign + exponent) if exponent else "0") - len(fraction) + len(digits) - len(last)
    return Number(sign == "-", last, above if last else 0)


def members(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise RefusedError("duplicate")
    return dict(pairs)


def no_constant(name: str) -> Value:
    raise RefusedError(name)


def depth_of(value: Value) -> int:
    """Of containers. The reader has bounded it."""
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def read(body: bytes) -> dict[str, Value]:
    """The request.

    Raises:
        RefusedError: it is no JSON object, or one that has no key.
    """
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=members, parse_int=number, parse_float=number, parse_constant=no_constant
        )
        if not isinstance(value, dict) or depth_of(value) > MAX_DEPTH:
            raise RefusedError("no object, or too deep")
    except (ValueError, RecursionError) as fault:
        raise RefusedError from fault
    return value


# -- spelling


def spell(value: Value, chance: random.Random) -> str:
    """Any of the spellings of a value."""
    if isinstance(value, dict):
        pairs = [f"{spell(key, chance)}{space(chance)}:{spell(member, chance)}" for key, member in value.items()]
        chance.shuffle(pairs)
        return space(chance) + "{" + ",".join(pairs) + space(chance) + "}" + space(chance)
    if isinstance(value, list):
        return "[" + ",".join(space(chance) + spell(element, chance) + space(chance) for element in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(spell_letter(letter, chance) for letter in value) + '"'
    if isinstance(value, Number):
        return space(chance) + spell_number(value, chance)
    return json.dumps(value)


def space(chance: random.Random) -> str:
    return chance.choice(["", "", " ", "\n\t ", "\r\n"])


def spell_letter(letter: str, chance: random.Random) -> str:
    escaped = "".join(
        rf"\u{unit:04x}"
        for unit in struct.unpack(
            ">" + "H" * (len(letter.encode("utf-16-be", "surrogatepass")) // 2),
            letter.encode("utf-16-be", "surrogatepass"),
        )
    )
    if "\ud800" <= letter <= "\udfff" or chance.random() < 0.2:
        return escaped.upper().replace(r"\U", r"\u") if chance.random() < 0.5 else escaped
    return json.dumps(letter, ensure_ascii=False)[1:-1]


def spell_number(value: Number, chance: random.Random) -> str:
    zeros = chance.randrange(3)
    digits, exponent = (value.digits or "0") + "0" * zeros, value.exponent - zeros
    if not value.digits:
        exponent = chance.randrange(-5, 5)
    point = chance.randrange(len(digits)) if chance.random() < 0.5 else 0
    if point and (digits[0] != "0" or len(digits) - point == 1):
        exponent += point
        digits = f"{digits[:-point]}.{digits[-point:]}"
    elif len(digits) > 1 and digits[0] == "0":
        digits = "0"
    sign = "-" if value.negative else ""
    if exponent == 0 and chance.random() < 0.7:
        return sign + digits
    if 0 < exponent < 20 and "." not in digits and digits != "0" and chance.random() < 0.5:
        return sign + digits + "0" * exponent
    return f"{sign}{digits}{chance.choice('eE')}{chance.choice(['', '+']) if exponent >= 0 else '-'}{chance.choice(['', '00'])}{abs(exponent)}"


# -- the key


def block(tag: str, detail: int = 0, exponent: int = 0, last: int = 0) -> bytes:
    return (
        bytes([TAGS.index(tag), detail])
        + (exponent & ((1 << 48) - 1)).to_bytes(6, "little")
        + last.to_bytes(8, "little")
    )


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def string(text: bytes) -> bytes:
    if len(text) <= 14:
        return padded(bytes([TAGS.index("string"), len(text)]) + text)
    return block("long_string", last=len(text)) + padded(text)


class Twin:
    def __init__(self, secret: bytes, tenant: bytes, left_out: tuple[bytes, ...] = ()) -> None:
        told = b"".join(struct.pack("<Q", len(part)) + part for part in [tenant, *sorted(set(left_out))])
        seed = hashlib.blake2b(told, key=secret, person=b"throughway-cache").digest()
        words = struct.unpack("<132Q", hashlib.shake_256(seed).digest(132 * 8))
        self.nh, self.k = words[:130], words[130:]
        self.left_out = left_out

    def key(self, body: bytes, context: bytes) -> bytes:
        kept = {name: value for name, value in read(body).items() if utf8(name) not in self.left_out}
        return self.digest(block("root") + string(context) + b"".join(self.members(kept)))

    def members(self, value: dict[str, Value]) -> Iterator[bytes]:
        for name in sorted(value, key=utf8):
            yield string(utf8(name))
            member = value[name]
            if isinstance(member, dict | list):
                yield block("digest") + self.digest(self.tokens(member))
            else:
                yield self.tokens(member)

    def tokens(self, value: Value) -> bytes:
        if isinstance(value, dict):
            return block("object", last=len(value)) + b"".join(self.members(value))
        if isinstance(value, list):
            return block("array") + b"".join(map(self.tokens, value)) + block("end", last=len(value))
        if isinstance(value, str):
            return string(utf8(value))
        if isinstance(value, Number):
            if len(value.digits) <= 18:
                return block("number", value.negative, value.exponent, int(value.digits or "0"))
            long = block("long_number", value.negative, value.exponent, len(value.digits))
            return long + padded(value.digits.encode())
        return block(json.dumps(value))

    def digest(self, blocks: bytes) -> bytes:
        count = len(blocks) // 16
        pieces = [blocks[at : at + 16 * PIECE_BLOCKS] for at in range(0, len(blocks), 16 * PIECE_BLOCKS)]
        hidden = b"".join(self.compress(piece, shift).to_bytes(16, "little") for piece in pieces for shift in (0, 2))
        return siphash_128(self.k, hidden + struct.pack("<Q", count))

    def compress(self, piece: bytes, shift: int) -> int:
        """NH, RFC 4418, section 5.2.2, with words of 64 bits."""
        words = struct.unpack(f"<{len(piece) // 8}Q", piece)
        key = self.nh[shift:]
        whole: int = sum(
            ((words[i] + key[i]) & WORD) * ((words[i + 1] + key[i + 1]) & WORD) for i in range(0, len(words), 2)
        )
        return whole & ((1 << 128) - 1)


def utf8(text: str) -> bytes:
    """Lone surrogates too."""
    return (
        text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")
    )


def turned(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & WORD


def siphash_128(k: tuple[int, ...], message: bytes) -> bytes:
    """SipHash-2-4 with 128 bits, as its authors' paper and reference have it."""
    v = [
        k[0] ^ 0x736F6D6570736575,
        k[1] ^ 0x646F72616E646F6D ^ 0xEE,
        k[0] ^ 0x6C7967656E657261,
        k[1] ^ 0x7465646279746573,
    ]

    def rounds(count: int) -> None:
        for _ in range(count):
            v[0] = (v[0] + v[1]) & WORD
            v[1] = turned(v[1], 13) ^ v[0]
            v[0] = turned(v[0], 32)
            v[2] = (v[2] + v[3]) & WORD
            v[3] = turned(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & WORD
            v[3] = turned(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & WORD
            v[1] = turned(v[1], 17) ^ v[2]
            v[2] = turned(v[2], 32)

    message = message + bytes(-(len(message) + 1) % 8) + bytes([len(message) % 256])
    for (word,) in struct.iter_unpack("<Q", message):
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xEE
    rounds(4)
    first = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    rounds(4)
    return struct.pack("<2Q", first, v[0] ^ v[1] ^ v[2] ^ v[3])
