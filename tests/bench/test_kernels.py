"""The micro-benchmarks of kernels run, and say so where a counter is wrong."""

from __future__ import annotations

import pytest

from bench.kernels import tokens


def test_tokens_are_measured_for_each_encoding_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    tokens.main(rounds=1)
    said = capsys.readouterr().out
    for word in (*tokens.ENCODINGS, *(kind.split()[0] for kind in tokens.TEXTS), "MB/s", " x "):
        assert word in said
    assert "differ" not in said


def test_a_counter_that_differs_from_tiktoken_is_named() -> None:
    counters = {"kernel": len, "tiktoken": len, "other": lambda text: len(text) + 1}
    assert tokens.row("o200k_base", "code", counters, 1)[-1] == "differ: other"
