"""`_fastpath.cachekey` against a slow twin: equal requests have equal keys, others have others, and what two would read differently has none."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest

from _fastpath.cachekey import CacheKeys
from _fastpath.jsonscan import ScanError
from tests.fastpath.cachekey_oracle import Number, RefusedError, Twin, Value, read, siphash_128, spell
from tests.support import texts

SECRET = bytes(range(32))
KEYS = CacheKeys(SECRET, b"acme", (b"user", b"metadata"))
TWIN = Twin(SECRET, b"acme", (b"user", b"metadata"))
CORPUS = sorted((Path(__file__).parents[1] / "fuzz" / "corpus" / "cachekey").iterdir())


def key(body: bytes | str) -> bytes:
    return KEYS.key(body.encode() if isinstance(body, str) else body, b"")


def fault(body: bytes | str) -> str:
    with pytest.raises(ScanError) as caught:
        key(body)
    assert 0 <= caught.value.offset <= len(body)
    return caught.value.kind


# -- the twin


def test_the_twins_siphash_is_that_of_its_authors() -> None:
    """The first two of their `vectors_sip128`."""
    k = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert siphash_128(k, b"").hex() == "a3817f04ba25a8e66df67214c7550293"
    assert siphash_128(k, b"\0").hex() == "da87c1d86b99af44347659119b22fc45"


NAMES = [
    "user",
    "metadata",
    "model",
    "a",
    "ab",
    "aaaaaaaa",
    "aaaaaaaab",
    "a\0",
    "é",
    "",
    "\ud800",
    "tool_choice",
    "x" * 30,
]
LETTERS = [
    "a",
    "Z",
    '"',
    "\\",
    "/",
    "\n",
    "\0",
    "\x7f",
    "é",
    "ж",
    "\u2028",
    "世",
    "\ud7ff",
    "\ud800",
    "\udbff",
    "\udc00",
    "\udfff",
    "\ue000",
    "😀",
]


def made_number(chance: random.Random) -> Number:
    digits = "".join(chance.choices("0123456789", k=chance.choice([0, 1, 2, 5, 17, 18, 19, 20, 40]))).strip("0")
    return Number(chance.random() < 0.3, digits, chance.randrange(-400, 400) if digits else 0)


def made_text(chance: random.Random) -> str:
    text = "".join(chance.choices(LETTERS, k=chance.choice([0, 1, 2, 5, 14, 15, 16, 40])))
    return str(json.loads(json.dumps(text)))  # halves of a pair that stand side by side are one character


def made(chance: random.Random, depth: int) -> Value:
    kind = chance.randrange(8 if depth else 5)
    if kind < 3:
        return (
            [None, True, False][chance.randrange(3)] if kind == 0 else (made_number if kind == 1 else made_text)(chance)
        )
    if kind < 5:
        return made_text(chance)
    if kind == 5:
        return [made(chance, depth - 1) for _ in range(chance.randrange(5))]
    return made_object(chance, depth - 1, chance.choice([0, 1, 2, 3, 20]))


def made_object(chance: random.Random, depth: int, width: int) -> dict[str, Value]:
    names = [chance.choice(NAMES) if chance.random() < 0.8 else made_text(chance) for _ in range(width)]
    return {name: made(chance, depth) for name in names}


@pytest.mark.parametrize("seed", range(4))
def test_every_spelling_has_the_key_that_the_twin_computes(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(150):
        request, context = made_object(chance, 3, 6), chance.randbytes(chance.choice([0, 5, 14, 15, 40]))
        bodies = [spell(request, chance).encode() for _ in range(3)]
        assert {KEYS.key(body, context) for body in bodies} == {TWIN.key(bodies[0], context)}, bodies


def changed(value: Value, chance: random.Random) -> Value:
    """The same but for one thing, somewhere, or nothing."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice([*value])
        if chance.random() < 0.2:
            return {(other + "a" if other == name else other): member for other, member in value.items()}
        return {**value, name: changed(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], changed(value[at], chance), *value[at + 1 :]]
    if isinstance(value, Number):
        return value._replace(negative=not value.negative) if chance.random() < 0.5 else made_number(chance)
    if isinstance(value, str) and value:
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(["x", "é", ""]) + value[at + 1 :]
    return made(chance, 1)


def governs(body: bytes) -> dict[str, Value]:
    return {name: value for name, value in read(body).items() if name not in ("user", "metadata")}


def test_requests_have_one_key_just_where_they_are_equal() -> None:
    chance = random.Random(1)
    equal = 0
    for _ in range(1_000):
        request = made_object(chance, 3, 3)
        one, two = (
            spell({"input": value, "user": made(chance, 1)}, chance).encode()
            for value in (request, changed(request, chance))
        )
        equal += governs(one) == governs(two)
        assert (key(one) == key(two)) == (governs(one) == governs(two)), (one, two)
    assert 10 < equal < 500


@pytest.mark.parametrize("size", [0, 1, 7, 8, 13, 14, 15, 16, 17, 31, 32, 1000, 1024, 5000, 100_000])
def test_texts_of_every_length_have_the_twins_key(size: int) -> None:
    text = (texts.PROSE + texts.CJK) * (1 + size // len(texts.PROSE))
    body = json.dumps({"model": "m", "input": text[:size]}, ensure_ascii=False).encode()
    assert key(body) == TWIN.key(body, b"")


def test_each_byte_of_a_long_text_counts() -> None:
    text = texts.PROSE[:2100].encode("ascii", "ignore").replace(b"\n", b" ").replace(b'"', b"'")
    bodies = [b'{"input":"' + text[:at] + b"~" + text[at + 1 :] + b'"}' for at in range(len(text))]
    assert len(set(map(key, bodies))) == len(bodies)


# -- what is alike, and what is not


@pytest.mark.parametrize(
    "spellings",
    [
        ['{"a":1,"b":[true,null]}', '{ "b" : [ true , null ] , "a" : 1 }', '\n{"b":[true,null],"a":1}\t\r\n'],
        ['{"t":1}', '{"t":1.0}', '{"t":1e0}', '{"t":10e-1}', '{"t":0.1E+1}', '{"t":1.000000000000000000000000}', '{"t":100e-002}'],
        ['{"t":0.7}', '{"t":7e-1}', '{"t":0.70}', '{"t":70E-2}'],
        ['{"t":0}', '{"t":0.0}', '{"t":0e5}', '{"t":0E-999999999}'],
        ['{"t":-0}', '{"t":-0.0}', '{"t":-0e5}'],
        ['{"t":1e22}', '{"t":10000000000000000000000}', '{"t":1' + "0" * 22 + ".0}"],
        ['{"t":12345678901234567890123}', '{"t":1234567890123456789.0123e4}', '{"t":1234567890123456789012300e-2}'],
        [r'{"t":"A/\n\t\""}', r'{"t":"\u0041\/\u000a\u0009\u0022"}'],
        ['{"t":"😀é"}', r'{"t":"\ud83d\ude00\u00e9"}', r'{"t":"\uD83D\uDE00\u00E9"}'],
        ['{"é":1}', r'{"\u00e9":1}'],
        [r'{"t":"\ud800"}', r'{"t":"\uD800"}'],
        ['{"a":1}', '{"a":1,"user":"u","metadata":{"b":[1]}}', r'{"\u0075ser":[],"a":1}'],
    ],
    ids=lambda spellings: spellings[0],
)  # fmt: skip
def test_what_is_spelt_in_several_ways_has_one_key(spellings: list[str]) -> None:
    assert len(set(map(key, spellings))) == 1
    assert key(spellings[0]) == TWIN.key(spellings[0].encode(), b"")


@pytest.mark.parametrize("count", range(1, 22))
@pytest.mark.parametrize("digit", ["1", "9", "40"])
def test_a_number_of_any_length_is_read_alike_wherever_it_stands(digit: str, count: int) -> None:
    """Eight digits are read at once where so many bytes are left, and one by one near the end of the body."""
    number = (digit * count)[:count]
    near_the_end, far = f'{{"a":{number}}}', f'{{"a":{number}}}{" " * 30}'
    assert key(near_the_end) == key(far) == TWIN.key(far.encode(), b"")
    listed = f'{{"a":[{number},{number} , -{number}]}}'
    assert key(listed) == TWIN.key(listed.encode(), b"")
    for behind in "/:;?\x00\xb0":
        assert fault(f'{{"a":{number}{behind}}}{" " * 30}') == "syntax"
    assert fault(f'{{"a":0{number}}}{" " * 30}') == "syntax"


DIFFERENT = [
    "{}", '{"a":null}', '{"a":true}', '{"a":false}', '{"a":0}', '{"a":-0}', '{"a":1}', '{"a":-1}', '{"a":"1"}',
    '{"a":""}', '{"a":[]}', '{"a":{}}', '{"a":[1]}', '{"a":[[1]]}', '{"a":[[],1]}', '{"a":[1,[]]}', '{"a":[1,2]}',
    '{"a":[2,1]}', '{"a":[null]}', '{"a":[[]]}', '{"a":[{}]}', '{"a":[{},{}]}', '{"a":{"b":1}}', '{"a":[{"b":1}]}',
    '{"a":{},"b":1}', '{"a":1,"b":1}', '{"b":1}', '{"A":1}', '{"a":10}', '{"a":0.1}', '{"a":1e400}', '{"a":1e401}',
    '{"a":9007199254740992}', '{"a":9007199254740993}', '{"a":9007199254740993.5}', '{"a":123456789012345678901}',
    '{"a":123456789012345678902}', '{"a":-123456789012345678901}', '{"a":123456789012345678901e1}', '{"a":" "}',
    '{"a":"a"}', '{"a":"a\\u0000"}', '{"a":"\\u0000"}', '{"a":"\\u0000\\u0000"}', '{"a":"é"}', '{"a":"e\\u0301"}',
    '{"a":"\\ud800"}', '{"a":"\\udc00"}', '{"a":"\\udc00\\ud800"}', '{"a":"\ufffd"}', '{"a":"\U00010000"}',
    '{"a":"123456789012345"}', '{"a":"1234567890123456"}', '{"a":"aaaaaaaaaaaaaa"}', '{"a":"aaaaaaaaaaaaaa\\u0000"}',
    '{"":1}', '{"a\\u0000":1}', '{"a":{"user":1}}', '{"a":[1,{"b":2}]}', '{"a":[{"b":2},1]}',
    '{"a":[{"b":1},{"c":1}]}', '{"a":[{"b":1,"c":1}]}', '{"a":"[]"}', '{"a":"null"}',
]  # fmt: skip


def test_what_differs_has_another_key() -> None:
    assert len(set(map(key, DIFFERENT))) == len(DIFFERENT)
    for body in DIFFERENT:
        assert key(body) == TWIN.key(body.encode(), b"")


@pytest.mark.parametrize("value", [r'"\ud"', r'"\ud83"', r'"a\x"', r'["\u12"]', r'{"\u":1}', "01", "[1,]", "1.e5"])
def test_what_is_left_out_is_judged_all_the_same(value: str) -> None:
    assert fault(f'{{"metadata": {value}}}') == fault(f'{{"a": {value}}}') == "syntax"


def test_tenant_secret_context_and_what_is_left_out_are_parts_of_the_key() -> None:
    body = b'{"model":"m"}'
    makers = [
        CacheKeys(SECRET, b"acme"),
        CacheKeys(SECRET, b"acme2"),
        CacheKeys(SECRET[::-1], b"acme"),
        CacheKeys(SECRET, b"acme", (b"user",)),
        CacheKeys(SECRET, b"acme", (b"user", b"seed")),
        CacheKeys(SECRET, b"acme\4\0\0\0\0\0\0\0user"),
    ]
    keys = [maker.key(body, context) for maker in makers for context in (b"", b"chat", b"model", b"x" * 40)]
    assert len(set(keys)) == len(keys)
    assert all(len(one) == 16 for one in keys)
    again = CacheKeys(SECRET, b"acme", (b"seed", b"user", b"seed"))
    assert again.key(body, b"") == makers[4].key(body, b"")


def test_faulty_arguments_are_refused() -> None:
    for secret, tenant, left_out in [
        (bytes(31), b"a", ()),
        (bytes(65), b"a", ()),
        (SECRET, b"", ()),
        (SECRET, b"a", tuple(b"%d" % i for i in range(17))),
    ]:
        with pytest.raises(ValueError):
            CacheKeys(secret, tenant, left_out)
    for arguments in [("s", b"a"), (SECRET, "a"), (SECRET, None), (SECRET, b"a", ("user",)), (SECRET, b"a", [])]:
        with pytest.raises(TypeError):
            CacheKeys(*arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        KEYS.key("{}", b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        KEYS.key(b"{}", None)  # type: ignore[arg-type]


# -- what has no key


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "not_object"), ("[]", "not_object"), ("1", "not_object"), ("\ufeff{}", "not_object"), ("{", "syntax"),
        ("{}{", "syntax"), ("{} 1", "syntax"), ('{"a"}', "syntax"), ('{"a":}', "syntax"), ('{"a":1,}', "syntax"),
        ('{,"a":1}', "syntax"), ('{"a":1 "b":2}', "syntax"), ("{a:1}", "syntax"), ("{'a':1}", "syntax"),
        ('{"a":[1,]}', "syntax"), ('{"a":[,1]}', "syntax"), ('{"a":[1', "syntax"), ('{"a":[1}', "syntax"),
        ('{"a":{"b":1]', "syntax"), ('{"a":nul}', "syntax"), ('{"a":truE}', "syntax"), ('{"a":NaN}', "syntax"),
        ('{"a":Infinity}', "syntax"), ('{"a":01}', "syntax"), ('{"a":-}', "syntax"), ('{"a":+1}', "syntax"),
        ('{"a":.5}', "syntax"), ('{"a":1.}', "syntax"), ('{"a":1e}', "syntax"), ('{"a":1e+}', "syntax"),
        ('{"a":-01}', "syntax"), ('{"a":1e1234567890}', "syntax"), ('{"a":0x10}', "syntax"), ('{"a":1', "syntax"),
        ('{"a":"', "syntax"), ('{"a":"\n"}', "syntax"), (r'{"a":"\x"}', "syntax"), (r'{"a":"\u12g4"}', "syntax"),
        (r'{"a":"\u123"}', "syntax"), (r'{"\x":1}', "syntax"), (r'{"a":["\x"]}', "syntax"),
        ('{"a":1,"a":1}', "duplicate"), (r'{"a":1,"\u0061":2}', "duplicate"),
        ('{"a":{"b":1,"c":2,"b":1}}', "duplicate"), ('{"a":[{"b":1,"b":2}]}', "duplicate"),
        ('{"user":1,"user":2}', "duplicate"), ('{"a":' * 101 + "1" + "}" * 101, "depth"),
        ('{"a":' + "[" * 100 + "]" * 100 + "}", "depth"),
    ],
)  # fmt: skip
def test_what_two_would_read_differently_has_no_key(body: str, kind: str) -> None:
    assert fault(body) == kind
    with pytest.raises(RefusedError):
        read(body.encode())


def test_invalid_utf8_has_no_key() -> None:
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"):
        assert fault(b'{"a":"' + bad + b'"}') == "utf8"
        assert fault(b'{"' + bad + b'":1}') == "utf8"


def test_the_duplicate_key_and_its_second_place_are_named() -> None:
    with pytest.raises(ScanError) as caught:
        key(r'{"x":{"zz":1,"a":2,"\u007az":3}}')
    assert (caught.value.kind, caught.value.key, caught.value.offset) == ("duplicate", "zz", 19)


def test_a_hundred_levels_are_read_and_no_more() -> None:
    deep = b'{"a":' * 50 + b"[" * 50 + b"]" * 50 + b"}" * 50
    assert key(deep) == TWIN.key(deep, b"")


def test_wide_objects_are_sorted_and_bounded() -> None:
    chance = random.Random(1)
    for count in (12, 13, 63, 64, 65, 257, 5000, 65_535):
        names = [f'"{"k" * (i % 20)}{i}":{i}' for i in range(count)]
        bodies = []
        for _ in range(2):
            chance.shuffle(names)
            bodies.append(
                "{" + ",".join(names) + ',"in":{"b":1,"a":2}}' if count < 65_535 else "{" + ",".join(names) + "}"
            )
        assert key(bodies[0]) == key(bodies[1])
        if count <= 5000:
            assert key(bodies[0]) == TWIN.key(bodies[0].encode(), b"")
    assert fault("{" + ",".join(f'"{i}":1' for i in range(65_537)) + "}") == "too_many"
    within = ",".join(f'"{i}":1' for i in range(40_000))
    assert fault('{"b":{' + within + ',"z":{' + within + "}}}") == "too_many"
    key('{"a":{' + within + '},"b":{' + within + "}}")


def test_many_escaped_keys_and_values_stand_side_by_side() -> None:
    body = json.dumps({f"ключ{i}": {f"ж{j}": "й" * j for j in range(30)} for i in range(30)}).encode()
    assert key(body) == TWIN.key(body, b"") == key(json.dumps(json.loads(body), ensure_ascii=False))


def test_keys_of_several_threads_are_right() -> None:
    body = json.dumps({"a": [texts.CHAT] * 50, "b": {"c": "\n" * 50}}).encode()
    right = key(body)
    wrong: list[int] = []

    def many() -> None:
        wrong.extend(1 for _ in range(200) if key(body) != right)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_every_beginning_of_a_body_is_refused_or_read(file: Path) -> None:
    body = file.read_bytes()
    for end in range(len(body) + 1):
        part = body[:end]
        try:
            expected = TWIN.key(part, b"")
        except RefusedError:
            with pytest.raises(ScanError):
                key(part)
        else:
            assert key(part) == expected
