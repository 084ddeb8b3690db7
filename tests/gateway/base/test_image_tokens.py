"""Images cost what providers document, and tell their size by their first bytes."""

from __future__ import annotations

import base64
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.base.image_tokens import MAX_SEGMENTS, Image, Size, cost_of_model, size_of

# -- formulas: the examples of the providers' pages


@pytest.mark.parametrize(
    ("model", "size", "low", "tokens"),
    [
        ("gpt-4o", (1024, 1024), False, 765),
        ("gpt-4o", (2048, 4096), False, 1_105),
        ("gpt-4o", (4096, 8192), True, 85),
        ("gpt-4o-2024-08-06", (128, 64), False, 255),
        ("openai/gpt-4.1", (512, 512), False, 255),
        ("gpt-4o-mini", (1024, 1024), False, 2_833 + 4 * 5_667),
        ("gpt-4o-mini", (128, 64), True, 2_833),
        ("gpt-5", (1024, 1024), False, 70 + 4 * 140),
        ("o3", (128, 64), False, 225),
        ("o1", (128, 64), True, 75),
        ("gpt-4.1-mini", (1024, 1024), False, 1_659),
        ("gpt-4.1-mini", (1800, 2400), False, 2_353),  # 1,452 patches
        ("gpt-4.1-mini", (4000, 1474), False, 2_348),
        ("gpt-4.1-nano", (128, 64), False, 20),
        ("o4-mini", (128, 64), False, 14),
        ("claude-sonnet-4", (200, 200), False, 54),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", (200, 200), False, 54),
        ("anthropic/claude-opus-4", (1000, 1000), False, 1_334),
        ("claude-haiku", (8000, 8000), False, 1_600),
        ("gemini-2.5-flash", (384, 384), False, 258),
        ("gemini-2.5-flash", (960, 540), False, 516),
        ("a-local-model", (1024, 1024), False, 765),
    ],
)
def test_an_image_costs_what_its_provider_documents(model: str, size: Size, low: bool, tokens: int) -> None:
    assert cost_of_model(model)(Image(size, low)) == tokens


MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-mini", "o3", "o4-mini", "claude-x", "gemini-x", "other")


@pytest.mark.parametrize("model", MODELS)
@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_an_image_of_unknown_size_is_taken_for_the_largest(model: str, width: int, height: int) -> None:
    cost = cost_of_model(model)
    assert 0 < cost(Image((width, height))) <= cost(Image(None))


# -- sizes


def png(width: int, height: int) -> bytes:
    head = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0d" + head + zlib.crc32(head).to_bytes(4) + b"\0\0\0\0IDAT"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\xf7\0\0"


def jpeg(width: int, height: int, before: int = 2, marker: int = 0xC0) -> bytes:
    notes = b"\xff\xe1\x10\x02" + bytes(0x1000)
    table = b"\xff\xff\xdb\x00\x05" + bytes(3)
    frame = bytes([0xFF, marker]) + b"\0\x11\x08" + height.to_bytes(2) + width.to_bytes(2) + b"\x03"
    return b"\xff\xd8" + notes * before + table + frame + bytes(20)


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF\x40\0\0\0WEBP" + kind + b"\x20\0\0\0" + body + bytes(20)


def vp8(width: int, height: int) -> bytes:
    body = b"\x30\x01\0\x9d\x01\x2a" + (width | 0x4000).to_bytes(2, "little") + height.to_bytes(2, "little")
    return webp(b"VP8 ", body)


def vp8l(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + (width - 1 | (height - 1) << 14).to_bytes(4, "little"))


def vp8x(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def url(data: bytes, kind: str = "png") -> bytes:
    return f"data:image/{kind};base64,".encode() + base64.b64encode(data)


FORMS = [png, gif, jpeg, vp8, vp8l, vp8x]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (300, 4_000)])
def test_an_image_tells_its_size(form: object, size: Size) -> None:
    data: bytes = form(*size)  # type: ignore[operator]
    assert size_of(url(data)) == size
    assert size_of(url(data).replace(b"/", b"\\/").replace(b"image\\/", b"image/")) == size


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xCF])
def test_a_jpeg_of_any_coding_tells_its_size(marker: int) -> None:
    assert size_of(url(jpeg(800, 600, 1, marker))) == (800, 600)
    assert size_of(url(jpeg(800, 600, MAX_SEGMENTS))) is None


@pytest.mark.parametrize("form", FORMS)
def test_an_image_that_is_cut_off_has_no_size_and_is_no_fault(form: object) -> None:
    whole = url(form(640, 480))  # type: ignore[operator]
    for end in range(len(whole) if len(whole) < 500 else 120):
        assert size_of(whole[:end]) in (None, (640, 480))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"https://pictures.example/a.png",
        b"data:image/png,raw",
        b"data:text/plain;base64,AAAA",
        b"data:image/png;base64,",
        b"data:image/png;base64,!!!!",
        b"data:image/svg+xml;base64," + base64.b64encode(b"<svg width='10'>" * 4),
        url(png(0, 10)),
    ],
)
def test_what_tells_no_size_has_none(text: bytes) -> None:
    assert size_of(text) is None


@given(
    st.binary(max_size=200),
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8 ", b""]),
)
def test_whatever_is_called_an_image_is_no_fault(data: bytes, start: bytes) -> None:
    size = size_of(url(start + data))
    assert size is None or min(size) > 0


def test_a_large_image_is_looked_at_and_not_decoded() -> None:
    data = random.Random(3).randbytes(5_000_000)
    assert size_of(url(jpeg(4_000, 3_000, 20) + data)) == (4_000, 3_000)
