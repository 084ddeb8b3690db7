"""The HTTP/1.1 kernel against one table of cases: whole, cut at every byte, and with trailing data."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.http1 import (
    MAX_HEADERS,
    ChunkedDecoder,
    Head,
    ProtocolError,
    RequestHead,
    ResponseHead,
    parse_request,
    parse_response,
)
from tests.fastpath.http1_cases import CHUNKED, REQUESTS, RESPONSES, Case, ChunkedCase, request, response

Parser = Callable[[bytes], tuple[Head, int] | None]
Outcome = tuple[object, ...]

SIDES: list[tuple[Parser, Case]] = [(parse_request, case) for case in REQUESTS] + [
    (parse_response, case) for case in RESPONSES
]
every_head = pytest.mark.parametrize(("parse", "case"), SIDES, ids=[f"{p.__name__}: {c.name}" for p, c in SIDES])
every_body = pytest.mark.parametrize("case", CHUNKED, ids=[case.name for case in CHUNKED])

ATTRIBUTES = {
    RequestHead: "method path query target expect_continue minor keep_alive chunked content_length",
    ResponseHead: "status reason minor keep_alive chunked content_length",
}


def shown(head: Head) -> Outcome:
    """All that a head tells."""
    return (*(getattr(head, name) for name in ATTRIBUTES[type(head)].split()), head.headers())


def outcome(parse: Parser, raw: bytes) -> Outcome | None:
    """What became of `raw`: the refusal, the head and where it ended, or None."""
    try:
        parsed = parse(raw)
    except ProtocolError as error:
        return (error.status, error.reason)
    return parsed and (*shown(parsed[0]), parsed[1])


def cuts(raw: bytes) -> Iterable[int]:
    """Every length of a prefix; of a very long head its beginning, its end and a few between."""
    size = len(raw)
    return range(size) if size < 2000 else [*range(100), *range(100, size - 40, 997), *range(size - 40, size)]


@every_head
def test_a_whole_head_is_accepted_or_refused_as_the_table_says(parse: Parser, case: Case) -> None:
    if case.status:
        with pytest.raises(ProtocolError) as caught:
            parse(case.raw)
        assert caught.value.status == case.status
        assert str(caught.value) == caught.value.reason != ""
        return
    parsed = parse(case.raw)
    assert parsed is not None
    head, end = parsed
    assert end == len(case.raw)
    for name, value in case.head.items():
        found = getattr(head, name)
        assert (found() if name == "headers" else found) == value, name


@every_head
def test_no_cut_changes_the_verdict(parse: Parser, case: Case) -> None:
    whole = outcome(parse, case.raw)
    found = [outcome(parse, case.raw[:cut]) for cut in cuts(case.raw)]
    undecided = found.count(None)
    assert found == [None] * undecided + [whole] * (len(found) - undecided)
    assert undecided == len(found) or not case.valid


@every_head
@pytest.mark.parametrize("trailing", [b"\r\n", b"\x00", b"GET / HTTP/1.1\r\n", b" folded"])
def test_what_follows_or_precedes_a_head_is_not_its_own(parse: Parser, case: Case, trailing: bytes) -> None:
    assert outcome(parse, case.raw + trailing) == outcome(parse, case.raw)


@pytest.mark.parametrize("case", [case for case in REQUESTS if case.valid], ids=lambda case: case.name)
def test_a_head_is_found_behind_another(case: Case) -> None:
    before = b"x" * 37
    parsed = parse_request(before + case.raw + b"rest", len(before))
    alone = parse_request(case.raw)
    assert parsed is not None and alone is not None
    assert parsed[1] == len(before) + len(case.raw)
    assert shown(parsed[0]) == shown(alone[0])


@every_head
def test_a_refusal_never_repeats_the_bytes_of_the_peer(parse: Parser, case: Case) -> None:
    marked = case.raw.replace(b"A: ", b"A: sEcReT")
    found = outcome(parse, marked)
    if found and len(found) == 2:
        assert "sEcReT" not in str(found)


@pytest.mark.parametrize(
    "prefix",
    [
        *[b"\n", b"\r\n\r", b"GET\n", b"GET  ", b"GET /\n", b"GET /" + b"a" * 8192],
        *[b"GET / HTTX", b"GET / HTTP/3.0", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\n "],
        *[b"GET / HTTP/1.1\r\nA ", b"GET / HTTP/1.1\r\nA\n", b"GET / HTTP/1.1\r\nA: b\n", b"GET / HTTP/1.1\r\nA: \x00"],
        *[b"GET / HTTP/1.1\r\nHost: /\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n"],
    ],
)
def test_what_is_certainly_wrong_is_refused_before_it_is_complete(prefix: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_request(prefix)
    assert parse_request(prefix[:-1]) is None


@pytest.mark.parametrize(
    ("parse", "raw", "status"), [(parse_request, request(), 431), (parse_response, response(), 502)]
)
def test_the_limit_counts_every_byte_of_the_head(parse: Callable[..., object], raw: bytes, status: int) -> None:
    assert parse(raw + b"more", 0, len(raw)) is not None
    assert parse(raw[:-2], 0, len(raw) - 1) is None
    for sent in (raw[:-1], raw, raw + b"more"):
        with pytest.raises(ProtocolError) as caught:
            parse(sent, 0, len(raw) - 1)
        assert caught.value.status == status


@pytest.mark.parametrize("limit", [0, -1, -(2**62)])
def test_no_head_fits_a_limit_of_nothing(limit: int) -> None:
    with pytest.raises(ProtocolError):
        parse_request(b"", 0, limit)


@pytest.mark.parametrize("parse", [parse_request, parse_response])
@pytest.mark.parametrize("start", [-1, 5, 2**40])
def test_a_start_outside_the_buffer_is_an_error_of_the_caller(parse: Callable[..., object], start: int) -> None:
    with pytest.raises(ValueError, match="outside") as caught:
        parse(b"GET ", start)
    assert not isinstance(caught.value, ProtocolError)
    with pytest.raises(ValueError, match="outside"):
        ChunkedDecoder().feed(b"0\r\n\r", start if start != 5 else 6)


KNOWN = (
    b"content-type authorization x-api-key api-key x-goog-api-key traceparent x-request-id accept user-agent "
    b"content-encoding retry-after keep-alive upgrade host connection expect"
).split()


@pytest.mark.parametrize("name", [*KNOWN, b"x-unknown", b"acceps", b"a-name-longer-than-any-known-one"])
def test_a_field_is_found_whatever_its_case_and_its_first_value_wins(name: bytes) -> None:
    parsed = parse_response(response(b"x-before: 0", name.upper() + b":  one ", name + b": two"))
    assert parsed is not None
    head = parsed[0]
    assert head.header(name) == head.header(name.title()) == b"one"
    assert head.header(name + b"x") is None
    assert head.header(name[:-1]) is None
    assert head.header(b"") is None


def test_usual_methods_and_recent_paths_are_the_same_objects() -> None:
    first = parse_request(request(line=b"POST /v1/a HTTP/1.1"))
    second = parse_request(request(line=b"POST /v1/a?b HTTP/1.1"))
    assert first is not None and second is not None
    assert first[0].method is second[0].method
    assert first[0].path is second[0].path


path_texts = st.text(st.characters(min_codepoint=0x24, max_codepoint=0x7E, exclude_characters="?"), max_size=70)


@given(st.lists(path_texts, max_size=60))
def test_paths_that_share_a_place_in_the_cache_are_not_mixed_up(names: list[str]) -> None:
    for name in names * 2:
        parsed = parse_request(request(line=f"GET /{name} HTTP/1.1".encode()))
        assert parsed is not None
        assert parsed[0].path == f"/{name}"


def test_a_new_head_says_nothing() -> None:
    assert RequestHead().headers() == ResponseHead().headers() == []
    assert RequestHead().header(b"host") is None
    assert RequestHead().content_length == -1


def test_one_more_field_than_the_bound_is_too_many() -> None:
    fields = [b"A: b"] * (MAX_HEADERS - 1)
    assert parse_request(request(*fields)) is not None
    with pytest.raises(ProtocolError, match="too many"):
        parse_request(request(*fields, b"A: b"))


REUSED: list[tuple[type[RequestHead] | type[ResponseHead], list[Case]]] = [
    (RequestHead, REQUESTS),
    (ResponseHead, RESPONSES),
]


@pytest.mark.parametrize(("kind", "cases"), REUSED, ids=["requests", "responses"])
def test_a_re_used_head_carries_nothing_over(kind: type[RequestHead] | type[ResponseHead], cases: list[Case]) -> None:
    plain = next(case.raw for case in cases if case.valid)
    empty = kind()
    fresh = kind()
    assert fresh.parse(plain) == len(plain)
    for case in cases:
        head = kind()
        for raw in (case.raw, case.raw[:-1]):
            with suppress(ProtocolError):
                head.parse(raw)
            assert head.parse(plain) == len(plain)
            assert shown(head) == shown(fresh), case.name
        assert head.parse(b"") == 0
        assert shown(head) == shown(empty), case.name


@pytest.mark.parametrize(
    ("line", "fields", "method", "kind"),
    [
        (b"HTTP/1.1 200 OK", [], "GET", "close"),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5"], "GET", "length"),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 0"], "GET", "length"),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], "POST", "chunked"),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], "HEAD", "none"),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5"], "HEAD", "none"),
        (b"HTTP/1.1 100 Continue", [], "POST", "none"),
        (b"HTTP/1.1 103 Hints", [b"Content-Length: 5"], "POST", "none"),
        (b"HTTP/1.1 204 No Content", [b"Transfer-Encoding: chunked"], "POST", "none"),
        (b"HTTP/1.1 304 Not Modified", [b"Content-Length: 5"], "GET", "none"),
        (b"HTTP/1.1 500 Oops", [], "POST", "close"),
        (b"HTTP/1.0 200 OK", [b"Content-Length: 5"], "GET", "length"),
    ],
)
def test_body_kind_follows_rfc_9112(line: bytes, fields: list[bytes], method: str, kind: str) -> None:
    parsed = parse_response(response(*fields, line=line))
    assert parsed is not None
    assert parsed[0].body_kind(method) == kind


# --- robustness ---------------------------------------------------------------------------------------------------


TRICKS = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b",", b"\x00", b"\x7f", b"\xff"]


@st.composite
def mutated_heads(draw: st.DrawFn) -> bytes:
    """A head of the table with a few bytes changed, taken out, put in or doubled."""
    raw = bytearray(draw(st.sampled_from([case.raw for _, case in SIDES if len(case.raw) < 500])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from(TRICKS) | st.binary(max_size=3))
    return bytes(raw)


@pytest.mark.parametrize("parse", [parse_request, parse_response])
@given(raw=st.binary(max_size=200) | mutated_heads())
def test_any_bytes_are_accepted_refused_or_incomplete_however_they_are_cut(parse: Parser, raw: bytes) -> None:
    whole = outcome(parse, raw)
    for cut in range(len(raw)):
        found = outcome(parse, raw[:cut])
        assert found is None or found == whole


@given(raw=st.binary(max_size=60) | st.text("0123456789abcdefg;\r\n ", max_size=40).map(str.encode))
def test_any_bytes_are_a_chunked_body_or_a_protocol_error(raw: bytes) -> None:
    assert decoded(ChunkedDecoder(), [raw]) == decoded(ChunkedDecoder(), [raw[i : i + 1] for i in range(len(raw))])


# --- chunked bodies -----------------------------------------------------------------------------------------------


def decoded(decoder: ChunkedDecoder, pieces: Iterable[bytes]) -> tuple[bytes, int, str]:
    """The payload, how many bytes belonged to the body, and the reason of the refusal."""
    payload, read = b"", 0
    try:
        for piece in pieces:
            found, end = decoder.feed(piece)
            payload += b"".join(found)
            read += end
    except ProtocolError as error:
        return b"", 0, error.reason
    return payload, read, ""


def in_pieces(raw: bytes, ends: Iterable[int]) -> Iterator[bytes]:
    start = 0
    for end in (*sorted(ends), len(raw)):
        yield raw[start:end]
        start = end


@every_body
@pytest.mark.parametrize("trailing", [b"", b"GET / HTTP/1.1\r\n", b"\r\n"])
def test_a_chunked_body_is_decoded_or_refused_as_the_table_says(case: ChunkedCase, trailing: bytes) -> None:
    decoder = ChunkedDecoder()
    payload, read, reason = decoded(decoder, [case.raw + trailing])
    if case.payload is None:
        assert reason and not decoder.done
    else:
        assert (payload, read, reason) == (case.payload, len(case.raw), "")
        assert decoder.done


@every_body
def test_a_chunked_body_may_be_cut_anywhere(case: ChunkedCase) -> None:
    whole = decoded(ChunkedDecoder(), [case.raw + b"next"])
    assert decoded(ChunkedDecoder(), in_pieces(case.raw + b"next", range(len(case.raw) + 4))) == whole
    for cut in range(0, len(case.raw), 1 + len(case.raw) // 300):
        decoder = ChunkedDecoder()
        assert decoded(decoder, [case.raw[:cut], case.raw[cut:] + b"next"]) == whole
        assert not case.valid or decoder.done


def test_a_body_that_lacks_its_last_byte_is_not_done() -> None:
    for case in CHUNKED:
        decoder = ChunkedDecoder()
        decoded(decoder, [case.raw[:-1]])
        assert not decoder.done, case.name


def test_a_refused_body_stays_refused_with_the_status_it_was_given() -> None:
    decoder = ChunkedDecoder(502)
    for piece in (b"x", b"5\r\nhello", b"\n"):
        with pytest.raises(ProtocolError) as caught:
            decoder.feed(piece)
        assert caught.value.status == 502


def test_a_read_that_is_all_payload_is_passed_on_as_it_is() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"100\r\n") == ([], 5)
    data = b"x" * 255
    pieces, end = decoder.feed(data)
    assert pieces[0] is data and end == 255


def test_nothing_is_read_behind_the_end_of_the_body() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"..0\r\n\r\n0\r\n\r\n", 2) == ([], 7)
    assert decoder.feed(b"5\r\nhello") == ([], 0)


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    style=st.sampled_from(["%x", "%X", "%04x"]),
    extension=st.sampled_from([b"", b";a", b';a="b c"']),
    trailers=st.sampled_from([b"", b"A: b\r\n", b"A:\r\nB: c\r\n"]),
    data=st.data(),
)
def test_any_chunking_cut_anywhere_gives_the_payload_back(
    chunks: list[bytes], style: str, extension: bytes, trailers: bytes, data: st.DataObject
) -> None:
    raw = b"".join((style % len(chunk)).encode() + extension + b"\r\n" + chunk + b"\r\n" for chunk in chunks)
    raw += b"0" + extension + b"\r\n" + trailers + b"\r\n"
    ends = data.draw(st.lists(st.integers(0, len(raw)), max_size=10))
    decoder = ChunkedDecoder()
    assert decoded(decoder, in_pieces(raw + b"next", ends)) == (b"".join(chunks), len(raw), "")
    assert decoder.done
