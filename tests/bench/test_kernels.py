"""The micro-benchmarks of kernels run, and say so where a counter is wrong."""

from __future__ import annotations

from typing import Protocol

import msgspec
import pytest

from bench.kernels import bodies, bucket, cachekey, frame, http1, jsonscan, sse, tokens, wire


class Measured(Protocol):
    def main(self, rounds: int) -> None: ...


def test_tokens_are_measured_for_each_encoding_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    tokens.main(rounds=1)
    said = capsys.readouterr().out
    for word in (*tokens.ENCODINGS, *(kind.split()[0] for kind in tokens.TEXTS), "MB/s", " x "):
        assert word in said
    assert "differ" not in said


def test_a_counter_that_differs_from_tiktoken_is_named() -> None:
    counters = {"kernel": len, "tiktoken": len, "other": lambda text: len(text) + 1}
    assert tokens.row("o200k_base", "code", counters, 1)[-1] == "differ: other"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (bucket, ["the clock alone", "contended", "of lock", "ns"]),
        (cachekey, ["a short chat", "50 tools", "sha256", "GB/s"]),
        (jsonscan, ["a long prompt", "10,000 numbers", "of msgspec", "of orjson", "GB/s"]),
        (sse, ["an event a read", "split and msgspec", "GB/s"]),
        (http1, ["a request", "a response", "of httptools", "of h11", "ns"]),
    ],
    ids=["bucket", "cachekey", "jsonscan", "sse", "http1"],
)
def test_a_kernel_is_measured_beside_what_does_the_same(
    module: Measured, said: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(frame, "TURN_S", 0.0005)
    module.main(1)
    table = capsys.readouterr().out
    for word in said:
        assert word in table


def test_a_figure_is_of_bytes_or_of_parts_and_is_held_against_its_bar() -> None:
    fast, slow = frame.Case("a", {}, size_bytes=10**9, bar=2.0), frame.Case("b", {}, parts=10, bar=60)
    assert (fast.figure(0.25), fast.reaches(4.0), fast.reaches(1.9)) == (4.0, True, False)
    assert (slow.figure(5e-7), slow.reaches(50.0), slow.reaches(61.0)) == (50.0, True, False)
    spent = frame.Case(
        "c", {"kernel": lambda times: sum(range(times)), "other": lambda times: sum(range(3 * times))}, bar=0
    )
    what, figure, bar, ratio = frame.row(spent, 3)
    assert (what, bar) == ("c", "<= 0 ns: missed")
    assert float(figure.removesuffix(" ns")) > 0 and float(ratio.removesuffix(" x")) > 1


def test_the_bodies_are_what_a_decoder_reads_and_the_heads_have_ten_fields() -> None:
    assert all(msgspec.json.decode(body)["model"] for body in bodies.BODIES.values())
    assert {len(event) for event in wire.EVENTS} <= set(range(180, 220))
    assert wire.REQUEST_HEAD.count(b"\r\n") - 2 == wire.RESPONSE_HEAD.count(b"\r\n") - 2 == 10
