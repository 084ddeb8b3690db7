"""A profile shows what the worker does, and every kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import profile
from bench.scenarios import SCENARIOS

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300)]


def test_a_flame_graph_shows_kernels_phases_and_the_loop(tmp_path: Path) -> None:
    graph = tmp_path / "chat.svg"
    profile.flame_graph(SCENARIOS["chat"], graph, seconds=4)
    drawn = graph.read_text()
    for frame in ("EdgeConnection", "Accountant", "Admission", "count_pieces", "uv_run"):
        assert frame in drawn, frame


def test_each_kernel_is_annotated(tmp_path: Path) -> None:
    pages = profile.annotate(tmp_path / "kernels")
    assert {page.stem for page in pages} == {
        kernel.stem for kernel in (profile.ROOT / "src" / "_fastpath").glob("*.pyx")
    }
    assert all("cython" in page.read_text().lower() for page in pages)
