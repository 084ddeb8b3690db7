"""Where a JSON text ends: the standard library's reader is the oracle."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.native.whole import Whole

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.lists(VALUES, max_size=4) | st.dictionaries(st.text(max_size=8), VALUES, max_size=4) | st.text()


patient = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # of a machine that does other things


def whole(*pieces: bytes) -> bool:
    judge = Whole()
    for piece in pieces:
        judge.feed(piece)
    return judge.whole


@patient
@given(value=BODIES, ascii_only=st.booleans(), indent=st.none() | st.just(2))
def test_a_text_is_whole_at_its_last_byte_and_nowhere_before(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(errors="surrogatepass")
    judge = Whole()
    for at in range(len(text)):
        assert not judge.whole, text[:at]
        judge.feed(text[at : at + 1])
    assert judge.whole
    assert whole(text)


@patient
@given(value=BODIES, data=st.data())
def test_where_it_is_cut_does_not_matter(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value).encode()
    end = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, end))
    assert whole(text[:cut], text[cut:end]) == whole(text[:end]) == (end == len(text))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"", False),
        (b" \r\n\t", False),
        (b"\n{} \n", True),
        (b'{"a":"}"', False),
        (b'{"a":"\\"}', False),
        (b'{"a":"\\\\"}', True),
        (b'{"a":"\\\\\\"}"', False),
        (b'["\\u005c"]', True),
        (b"{}}", False),
        (b"null", True),
        (b"-1.5", True),
        (b'"', False),
        (b"\xc3\xa4", True),  # no JSON, and not for us to say
    ],
)
def test_corners(text: bytes, answer: bool) -> None:
    assert whole(text) is answer


def test_a_string_of_backslashes_takes_linear_time() -> None:
    """A million escapes, the next quote far away: a search for it at each of them would take minutes."""
    assert whole(b'["' + b"\\\\" * 1_000_000 + b'"]')
