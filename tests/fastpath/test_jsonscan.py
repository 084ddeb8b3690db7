"""`_fastpath.jsonscan` against an independent, slow tokenizer and the standard library's decoder."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.jsonscan import ScanError, scan

SPACE = b" \t\n\r"


def slow_string(body: bytes, at: int) -> int:
    """The offset behind the string whose opening quote is at `at`."""
    at += 1
    while body[at : at + 1] != b'"':
        at += 2 if body[at : at + 1] == b"\\" else 1
    return at + 1


def slow_value(body: bytes, at: int) -> int:
    """The offset behind the value at `at` of a valid document."""
    if body[at : at + 1] == b'"':
        return slow_string(body, at)
    if body[at : at + 1] not in (b"{", b"["):
        while at < len(body) and body[at : at + 1] not in (b",", b"}", b"]", b" ", b"\t", b"\n", b"\r"):
            at += 1
        return at
    depth = 0
    while True:
        byte = body[at : at + 1]
        if byte == b'"':
            at = slow_string(body, at)
            continue
        depth += (byte in (b"{", b"[")) - (byte in (b"}", b"]"))
        at += 1
        if depth == 0:
            return at


def slow_space(body: bytes, at: int) -> int:
    while body[at : at + 1] and body[at] in SPACE:
        at += 1
    return at


def slow_spans(body: bytes) -> tuple[dict[str, tuple[int, int]], int]:
    """The spans of the top-level values of a valid object by key, and the offset of its closing brace."""
    spans: dict[str, tuple[int, int]] = {}
    at = slow_space(body, slow_space(body, 0) + 1)
    while body[at : at + 1] != b"}":
        key_end = slow_string(body, at)
        key = json.loads(body[at:key_end])
        at = slow_space(body, slow_space(body, key_end) + 1)
        end = slow_value(body, at)
        spans[key] = (at, end)
        at = slow_space(body, end)
        if body[at : at + 1] == b",":
            at = slow_space(body, at + 1)
    return spans, at


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def refusal(body: bytes, max_depth: int = 100) -> ScanError | None:
    try:
        scan(body, (), max_depth)
    except ScanError as error:
        return error
    return None


def pairs(items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """As json's object_pairs_hook: keeps what a dict would lose."""
    return items


def load(body: bytes) -> Any:
    """What a strict decoder makes of the body, objects as dicts; raises ValueError."""

    def no_constant(name: str) -> Any:
        raise ValueError(name)

    return json.loads(body.decode("utf-8"), parse_constant=no_constant)


# --- tables -------------------------------------------------------------------------------------------------------

ACCEPTED: list[bytes] = [
    b"{}",
    b" \t\r\n{ \n} \r\n",
    b'{"model":"m"}',
    b'{ "model" : "m" , "n" : 1 }',
    b'{"model":{"a":["}",{"b":"]"}]},"n":-1.5e+10}',
    b'{"model":"\\"model\\":2,\\\\","n":null}',
    '{"model":"é漢😀\x7f","n":true}'.encode(),
    b'{"mod\\u0065l":"m"}',
    b'{"":1," ":2}',
    b'{"model":1,"Models":2}',
    b'{"\\ud83d":1,"\\ude00":2,"\\ud83d\\ude00":3}',
    b'{"a":"\\u12"}',  # escapes in values are the decoder's
    b'{"a":[1 2 "x"::]}',  # so are the separators below the top level
]

REFUSED: list[tuple[bytes, str, int]] = [
    (b"", "syntax", 0),
    (b" \n", "syntax", 2),
    (b"\xef\xbb\xbf{}", "syntax", 0),
    (b"\xff{}", "utf8", 0),
    (b"[]", "not_object", 0),
    (b" null", "not_object", 1),
    (b'"x"', "not_object", 0),
    (b"1", "not_object", 0),
    (b"}", "syntax", 0),
    (b"{", "syntax", 1),
    (b'{"a"', "syntax", 4),
    (b'{"a":', "syntax", 5),
    (b'{"a":1', "syntax", 6),
    (b'{"a":1,', "syntax", 7),
    (b'{"a":1,}', "syntax", 7),
    (b'{,"a":1}', "syntax", 1),
    (b'{"a":1,,"b":2}', "syntax", 7),
    (b'{"a":1 "b":2}', "syntax", 7),
    (b'{"a" 1}', "syntax", 5),
    (b'{"a":}', "syntax", 5),
    (b'{"a"::1}', "syntax", 5),
    (b"{a:1}", "syntax", 1),
    (b"{'a':1}", "syntax", 1),
    (b'{"a":1 2}', "syntax", 7),
    (b'{"a":1}}', "syntax", 7),
    (b'{"a":1} {}', "syntax", 8),
    (b'{"a":1}\0', "syntax", 7),
    (b'{"a":1}\xe9', "utf8", 7),
    ('{"a":1}é'.encode(), "syntax", 7),
    (b'{"a":[}]', "syntax", 6),
    (b'{"a":{]}', "syntax", 6),
    (b'{"a":[1}', "syntax", 7),
    (b'{"a":[', "syntax", 6),
    (b'{"a":[/*x*/]}', "syntax", 6),
    (b'{"a":"x', "syntax", 7),
    (b'{"a":"x\\', "syntax", 8),
    (b'{"a":"x\\"', "syntax", 9),
    (b'{"a":"x\ny"}', "syntax", 7),
    (b'{"a":"x\\\ny"}', "syntax", 8),
    (b'{"a":"\0"}', "syntax", 6),
    (b'{"\\x":1}', "syntax", 2),
    (b'{"\\u12":1}', "syntax", 2),
    (b'{"\\u12g4":1}', "syntax", 2),
    (b'{"a":1,"a":2}', "duplicate", 7),
    (b'{"a":1,"\\u0061":2}', "duplicate", 7),
    (b'{"\\u0061":1,"a":2}', "duplicate", 12),
    (b'{"a\\/":1,"a/":2}', "duplicate", 9),
    ('{"😀":1,"\\ud83d\\uDE00":2}'.encode(), "duplicate", 10),
    (b'{"\\ud83d":1,"\\ud83d":2}', "duplicate", 12),
    (b'{"":1,"":2}', "duplicate", 6),
    (b'{"a":"\xc0\xaf"}', "utf8", 6),
    (b'{"a":"\xe0\x80\xaf"}', "utf8", 6),
    (b'{"a":"\xf0\x80\x80\xaf"}', "utf8", 6),
    (b'{"a":"\xed\xa0\x80"}', "utf8", 6),
    (b'{"a":"\xf4\x90\x80\x80"}', "utf8", 6),
    (b'{"a":"\xf5\x80\x80\x80"}', "utf8", 6),
    (b'{"a":"\x80"}', "utf8", 6),
    (b'{"a":"\xe2\x82"}', "utf8", 6),
    (b'{"a":"\xe2\x82', "utf8", 6),
    (b'{"a":"\\\xff"}', "utf8", 7),
    (b'{"\xff":1}', "utf8", 2),
    (b'{"a":["\xff"]}', "utf8", 7),
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_accepts_what_is_acceptable(body: bytes) -> None:
    assert scan(body)[-1] == body.rindex(b"}")


@pytest.mark.parametrize(("body", "kind", "offset"), REFUSED)
def test_refuses_with_kind_and_offset(body: bytes, kind: str, offset: int) -> None:
    error = refusal(body)
    assert error is not None
    assert (error.kind, error.offset) == (kind, offset)


@pytest.mark.parametrize("padding", range(40))
def test_faults_are_found_at_every_alignment(padding: int) -> None:
    for fault, kind in ((b"\x1f", "syntax"), (b"\xff", "utf8"), (b"\n", "syntax"), (b"\0", "syntax")):
        for tail in (b"", b"y" * 40):
            error = refusal(b'{"a":"' + b"x" * padding + fault + tail + b'"}')
            assert error is not None
            assert (error.kind, error.offset) == (kind, 6 + padding)
        body = b'{"a":"' + b"x" * padding + b'","b":"\x7f"}'
        assert scan(body, (b"a",))[:2] == (5, 7 + padding)


@pytest.mark.parametrize("prefix", [body for body in ACCEPTED if body.endswith(b"}")])
def test_every_proper_prefix_is_refused(prefix: bytes) -> None:
    for size in range(len(prefix)):
        assert refusal(prefix[:size]) is not None


def test_spans_follow_the_order_of_the_keys_asked_for() -> None:
    body = b'{"n" : 2 ,"mod\\u0065l": "m" }'
    spans = scan(body, (b"model", b"absent", b"n", b"model"))
    assert spans[2:4] == (-1, -1)
    assert [body[spans[i] : spans[i + 1]] for i in (0, 4, 6)] == [b'"m"', b"2", b'"m"']
    assert spans[8] == len(body) - 1


def test_nested_keys_are_neither_found_nor_duplicates() -> None:
    assert scan(b'{"a":{"model":1,"model":2}}', (b"model",))[:2] == (-1, -1)


def test_the_duplicate_key_is_told_decoded_and_always_encodable() -> None:
    error = refusal(b'{"m\\u00e9":1,"m\xc3\xa9":2}')
    assert error is not None
    assert error.key == "mé"
    lone = refusal(b'{"\\ud800x":1,"\\ud800x":2}')
    assert lone is not None
    assert lone.key is not None
    assert lone.key.encode().endswith(b"x")
    plain = refusal(b"{")
    assert plain is not None
    assert plain.key is None


@pytest.mark.parametrize("max_depth", [1, 2, 63, 64, 65, 100, 1024])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"k":', b"}")])
def test_depth_is_bounded_exactly(max_depth: int, opening: bytes, closing: bytes) -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' + opening * (depth - 1) + b"1" + closing * (depth - 1) + b"}"

    assert refusal(nested(max_depth), max_depth) is None
    error = refusal(nested(max_depth + 1), max_depth)
    assert error is not None
    assert (error.kind, error.offset) == ("depth", 5 + len(opening) * (max_depth - 1))


@pytest.mark.parametrize("max_depth", [-1, 0, 1025])
def test_max_depth_out_of_bounds_is_a_programmers_error(max_depth: int) -> None:
    with pytest.raises(ValueError, match="max_depth"):
        scan(b"{}", (), max_depth)


def test_wrong_types_are_type_errors() -> None:
    wrong: Any
    for wrong in (None, "{}", bytearray(b"{}")):
        with pytest.raises(TypeError):
            scan(wrong)
    for wrong in (None, ["a"], ("a",)):
        with pytest.raises(TypeError):
            scan(b'{"a":1}', wrong)


@pytest.mark.parametrize("escaped", [False, True])
def test_a_thousand_keys_pass_and_one_more_is_too_many(escaped: bool) -> None:
    def members(count: int) -> bytes:
        return b",".join(b'"%sk%d":%d' % (b"\\u006b" if escaped else b"", i, i) for i in range(count))

    body = b"{" + members(1000) + b"}"
    keys = tuple(b"%sk%d" % (b"k" if escaped else b"", i) for i in range(1000))
    spans = scan(body, keys)
    assert [int(body[spans[2 * i] : spans[2 * i + 1]]) for i in range(1000)] == list(range(1000))
    error = refusal(b"{" + members(1001) + b"}")
    assert error is not None
    assert error.kind == "too_many"
    for i in (0, 15, 16, 63, 64, 500, 998):
        doubled = refusal(b"{" + members(999) + b',"\\u006b%s%d":0}' % (b"k" if escaped else b"", i))
        assert doubled is not None
        assert doubled.kind == "duplicate"


@pytest.mark.parametrize("size", [*range(20), 31, 32, 33, 64])
def test_keys_of_every_length_differ_by_any_one_byte(size: int) -> None:
    key = b"k" * size
    others = [key[:i] + b"x" + key[i + 1 :] for i in range(size)] + [key + b"k"]
    body = b"{" + b",".join(b'"%s":%d' % (name, i) for i, name in enumerate([key, *others])) + b"}"
    spans = scan(body, (key, *others))
    assert [int(body[spans[2 * i] : spans[2 * i + 1]]) for i in range(len(others) + 1)] == list(range(len(others) + 1))


def test_time_grows_no_faster_than_the_body() -> None:
    def shapes(size: int) -> list[bytes]:
        return [
            b'{"a":"' + b"\\n" * (size // 2) + b'"}',
            b'{"a":"' + b"x\xc3\xa9" * (size // 3) + b'"}',
            b'{"a":[' + b"[]," * min(size // 3, 99_000) + b"1," * min(size // 3, 400_000) + b"1]}",
            b"{" + b",".join(b'"%s%d":1' % (b"k" * (size // 500), i) for i in range(500)) + b"}",
            b"{" + b",".join(b'"\\u006b%s%d":1' % (b"k" * (size // 500), i) for i in range(500)) + b"}",
        ]

    def fastest(body: bytes) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            scan(body)
            times.append(time.perf_counter() - began)
        return min(times)

    for small, large in zip(shapes(100_000), shapes(1_600_000), strict=True):
        assert fastest(large) < 16 * 8 * fastest(small)  # quadratic would be 256


# --- properties ---------------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["model", "n", "usage", '"', "\\", "a" * 40, "é" * 20, "😀"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
spaces = st.text(" \t\n\r", max_size=3)


@st.composite
def key_texts(draw: st.DrawFn, key: str) -> str:
    """A spelling of the key: some of its characters escaped as UTF-16 code units."""
    spelled = ""
    for character in key:
        if draw(st.booleans()):
            units = character.encode("utf-16-be", "surrogatepass")
            spelled += "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2))
        else:
            spelled += json.dumps(character, ensure_ascii=False)[1:-1]
    return f'"{spelled}"'


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Objects that json.loads accepts; their keys may repeat in other spellings."""
    keys = draw(st.lists(texts.map(str.casefold), max_size=6))  # of none that governs, but for its case
    members = []
    for key in keys:
        text = json.dumps(draw(values), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
        members.append(draw(spaces) + draw(key_texts(key)) + draw(spaces) + ":" + draw(spaces) + text + draw(spaces))
    return (draw(spaces) + "{" + draw(spaces) + ",".join(members) + "}" + draw(spaces)).encode()


@given(documents())
@settings(max_examples=300, deadline=None)
def test_spans_and_duplicates_are_those_of_the_oracle(body: bytes) -> None:
    members = json.loads(body, object_pairs_hook=pairs)
    keys = [key for key, _ in members]
    error = refusal(body)
    if len(set(keys)) < len(keys):
        assert error is not None
        assert error.kind == "duplicate"
        assert error.key in keys
        return
    assert error is None
    spans, closing = slow_spans(body)
    wanted = [*keys, "not there"]
    flat = scan(body, tuple(key.encode() for key in wanted))
    assert flat[-1] == closing
    assert [flat[2 * i : 2 * i + 2] for i in range(len(wanted))] == [spans.get(key, (-1, -1)) for key in wanted]


@given(st.dictionaries(texts.map(str.casefold), values, max_size=4))
@settings(max_examples=150, deadline=None)
def test_depth_is_that_of_the_oracle(value: dict[str, Any]) -> None:
    body, depth = json.dumps(value).encode(), depth_of(value)
    assert refusal(body, depth) is None
    if depth > 1:
        error = refusal(body, depth - 1)
        assert error is not None
        assert error.kind == "depth"


def utf8_fault(text: bytes) -> int | None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return None


@given(st.lists(st.binary(max_size=5) | texts.map(str.encode), max_size=8).map(b"".join))
@settings(max_examples=400, deadline=None)
def test_utf8_is_judged_as_the_standard_library_does(raw: bytes) -> None:
    inside = bytes(byte for byte in raw if byte >= 0x20 and byte not in b'"\\')
    fault = utf8_fault(inside)
    for body in (b'{"a":"%s"}' % inside, b'{"%s" : 1}' % inside, b'{"a":[["%s"]]}' % inside):
        error = refusal(body)
        if fault is None:
            assert error is None
        else:
            assert error is not None
            assert (error.kind, error.offset) == ("utf8", body.index(inside) + fault)


def test_utf8_is_judged_right_for_every_lead_and_second_byte() -> None:
    for lead in range(0x80, 0x100):
        for second in range(0x7E, 0x100):
            for tail in (b"", b"\x80", b"\x80\x80", b"\x80\x80\x80"):
                inside = bytes([lead, second]) + tail
                error = refusal(b'{"a":"%s"}' % inside)
                assert (error is not None) == (utf8_fault(inside) is not None)


SPLICES = [b"", *(bytes([byte]) for byte in b'"\\{}[],:\xff\n\x001'), b"\xed\xa0\x80", b"\\u0061"]


@given(documents(), st.data())
@settings(max_examples=500, deadline=None)
def test_mutated_documents_are_read_as_the_oracle_reads_them_or_refused(body: bytes, data: st.DataObject) -> None:
    mutated = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(mutated) - 1)))
        mutated[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(SPLICES))
    mutant = bytes(mutated)
    error = refusal(mutant)
    try:
        value = load(mutant)
        members = json.loads(mutant, object_pairs_hook=pairs)
    except ValueError:
        if utf8_fault(mutant) is not None:
            assert error is not None
        return
    if not isinstance(value, dict):
        assert error is not None
        return
    assert (error is not None) == (len(members) > len(value))
    if error is None:
        spans, closing = slow_spans(mutant)
        flat = scan(mutant, tuple(key.encode("utf-8", "surrogatepass") for key in value))
        assert flat[-1] == closing
        assert list(zip(flat[:-1:2], flat[1::2], strict=True)) == [spans[key] for key in value]
        assert {key: load(mutant[slice(*spans[key])]) for key in value} == value


@given(st.binary(max_size=60) | st.text('{}[]":,\\u0aé \n', max_size=40).map(str.encode))
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_scanned_or_refused_with_a_fault_inside_them(body: bytes) -> None:
    error = refusal(body)
    if error is None:
        assert utf8_fault(body) is None
        assert body[scan(body)[-1]] == ord("}")
    else:
        assert error.kind in {"syntax", "utf8", "depth", "duplicate", "not_object"}
        assert 0 <= error.offset <= len(body)


@pytest.mark.parametrize(
    "key", ["Model", "MODEL", "mOdel", "\u017ftream", "max_to\u212aens", "Max_Completion_Tokens", "N", "Stream_Options"]
)
def test_a_key_that_governs_but_for_its_case_is_refused(key: str) -> None:
    for text in (json.dumps({"model": "m", key: 1}, ensure_ascii=False), json.dumps({"model": "m", key: 1})):
        with pytest.raises(ScanError) as caught:
            scan(text.encode())
        assert (caught.value.kind, caught.value.key) == ("disguised", key)


@pytest.mark.parametrize(
    "key", ["Models", "Temperature", "x-Model", "m\u00f6del", "nn", "\u017f", "max_completion_tokensX"]
)
def test_other_keys_are_left_alone(key: str) -> None:
    scan(json.dumps({"model": "m", key: 1}, ensure_ascii=False).encode())


def test_containers_are_bounded() -> None:
    most = 100_000 - 1
    scan(b'{"a":[' + b",".join([b"[]"] * most) + b"]}")
    with pytest.raises(ScanError) as caught:
        scan(b'{"a":[' + b",".join([b"{}"] * (most + 1)) + b"]}")
    assert caught.value.kind == "too_many"


AROUND = "aé世😀".encode()
SECOND = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)


@pytest.mark.parametrize("lead", [0x7F, 0x80, 0xBF, *range(0xC0, 0x100)], ids=hex)
def test_utf8_is_judged_as_python_decodes_it_wherever_it_stands(lead: int) -> None:
    """Strings are read sixteen bytes at a time: each sequence stands at each place of a block, and behind each kind of character."""
    tails = [b"", *(bytes([a]) for a in SECOND), *(bytes([a, b]) for a in SECOND[2:8] for b in SECOND)]
    tails += [bytes([a, b, c]) for a in (0x80, 0x8F, 0x90, 0xBF) for b in (0x80, 0xBF) for c in SECOND[1:9]]
    for at in range(17):
        before = b'{"a":"' + b"x" * at + AROUND.decode()[: at % 5].encode()
        for tail in tails:
            body = before + bytes([lead]) + tail + AROUND * 2 + b'"}'
            control = next((i for i, byte in enumerate(body) if byte < 0x20), len(body))
            try:
                body.decode()
                start = len(body)
            except UnicodeDecodeError as error:
                start = error.start
            if min(control, start) == len(body):
                scan(body)
                continue
            with pytest.raises(ScanError) as caught:
                scan(body)
            expected = ("utf8", start) if start < control else ("syntax", control)
            assert (caught.value.kind, caught.value.offset) == expected, body


@pytest.mark.parametrize("byte", range(256), ids=hex)
def test_a_byte_between_values_is_judged_wherever_it_stands(byte: int) -> None:
    letter = bytes([byte])
    passes = letter in b" \t\r\n,:+-.0123456789" or letter.isalpha()
    for at in range(40):
        body = b'{"a":[' + b"7" * at + letter + b"1," * 20 + b"1]}"
        if passes:
            scan(body)
            continue
        with pytest.raises(ScanError) as caught:
            scan(body)
        if letter not in b'"[]{}':
            assert (caught.value.kind, caught.value.offset) == ("utf8" if byte >= 0x80 else "syntax", 6 + at)


def test_escapes_are_resolved_wherever_they_stand() -> None:
    for at in range(40):
        for tail in range(20):
            key = "k" * at + "\n" + "t" * tail + "é"
            body = json.dumps({key: 1, "b": 2}).encode()
            start, end, *_ = scan(body, (key.encode(), b"b"))
            assert body[start:end] == b"1"


@pytest.mark.parametrize(
    ("special", "kind"),
    [
        (rb"\n", None),
        (rb"\"", None),
        (rb"\\", None),
        ("é世😀".encode(), None),
        (b"{]", None),
        (b"\x01", "syntax"),
        (b"\xff", "utf8"),
    ],
)
def test_a_string_in_a_container_is_judged_wherever_it_begins_and_ends(special: bytes, kind: str | None) -> None:
    """Containers are read 64 bytes at a time."""
    for before in range(0, 130):
        for inside in (0, 1, 17, 63, 64, 65, 130):
            head = b'{"a":[' + b"1," * (before // 2) + b" " * (before % 2) + b'"' + b"x" * inside
            body = head + special + b'",{"k":[{"model":"no"}]}],"model":"m"}' + b" " * (before % 3)
            if kind is None:
                start, end, closing = scan(body, (b"model",))
                assert (body[start:end], body[closing:].strip()) == (b'"m"', b"}")
                with pytest.raises(ScanError, match="syntax"):
                    scan(body.replace(b"}]}]", b"}]}}"))
                continue
            with pytest.raises(ScanError) as caught:
                scan(body)
            assert (caught.value.kind, caught.value.offset) == (kind, len(head))
